//! Chains with real keys: what leads to an authority, and each thing that can be wrong with it.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, DnValue, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use time::OffsetDateTime;

use super::*;

const NOW: i64 = 1_795_239_900;

fn params(names: &[(DnType, &str)], ca: IsCa) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    for (kind, name) in names {
        params.distinguished_name.push(kind.clone(), *name);
    }
    if matches!(ca, IsCa::Ca(_)) {
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    }
    params.is_ca = ca;
    at(&mut params, NOW - 1000, NOW + 1000);
    params
}

fn at(params: &mut CertificateParams, from: i64, until: i64) {
    params.not_before = OffsetDateTime::from_unix_timestamp(from).unwrap();
    params.not_after = OffsetDateTime::from_unix_timestamp(until).unwrap();
}

/// An authority, or what it has signed.
struct Made {
    der: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

fn root(name: &str, path: BasicConstraints) -> Made {
    let (key, params) = (KeyPair::generate().unwrap(), params(&[(DnType::CommonName, name)], IsCa::Ca(path)));
    let der = params.self_signed(&key).unwrap().der().to_vec();
    Made { der, issuer: Issuer::new(params, key) }
}

impl Made {
    fn signs(&self, params: CertificateParams) -> Made {
        let key = KeyPair::generate().unwrap();
        let der = params.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        Made { der, issuer: Issuer::new(params, key) }
    }
}

fn client() -> CertificateParams {
    params(&[(DnType::OrganizationName, "Contoso"), (DnType::CommonName, "app.contoso.test")], IsCa::ExplicitNoCa)
}

#[test]
fn d33_a_chain_leads_to_an_authority_or_proves_nothing() {
    let authority = root("Root", BasicConstraints::Unconstrained);
    let other = root("Root", BasicConstraints::Unconstrained);
    let between =
        authority.signs(params(&[(DnType::CommonName, "Between")], IsCa::Ca(BasicConstraints::Constrained(0))));
    let leaf = between.signs(client());
    let check = |chain: &[&Made], authority: &Made, now| {
        let chain: Vec<Vec<u8>> = chain.iter().map(|it| it.der.clone()).collect();
        verify_client(&chain, std::slice::from_ref(&authority.der), now).map(|it| it.der().to_vec())
    };
    assert_eq!(check(&[&leaf, &between], &authority, NOW), Ok(leaf.der.clone()));
    // The authority's own certificate may come along, and what leads nowhere.
    assert_eq!(check(&[&leaf, &other, &between, &authority], &authority, NOW), Ok(leaf.der.clone()));
    assert_eq!(check(&[&leaf], &between, NOW), Ok(leaf.der.clone()), "an authority need not be a root");
    let direct = authority.signs(client());
    assert_eq!(check(&[&direct], &authority, NOW), Ok(direct.der.clone()));

    assert_eq!(check(&[&leaf], &authority, NOW), Err(ChainError::UnknownIssuer));
    assert!(check(&[&leaf, &between], &other, NOW).is_err(), "an authority of the same name");
    assert_eq!(check(&[], &authority, NOW), Err(ChainError::Empty));
    assert_eq!(check(&[&leaf; MOST_CERTIFICATES + 1], &authority, NOW), Err(ChainError::TooMany));
    for now in [NOW - 1001, NOW + 1001, -1, i64::MAX / 2] {
        assert_eq!(check(&[&leaf, &between], &authority, now), Err(ChainError::OutOfTime), "{now}");
    }
    // A certificate that ends before the others.
    let mut short = client();
    at(&mut short, NOW - 1000, NOW - 1);
    assert_eq!(check(&[&between.signs(short), &between], &authority, NOW), Err(ChainError::OutOfTime));

    // What a client's certificate has signed, and what stands below a path that has no more room.
    let nested = leaf.signs(client());
    assert!(check(&[&nested, &leaf, &between], &authority, NOW).is_err());
    let below = between.signs(params(&[(DnType::CommonName, "Below")], IsCa::Ca(BasicConstraints::Unconstrained)));
    assert!(check(&[&below.signs(client()), &below, &between], &authority, NOW).is_err());
    // An authority in a client's place.
    assert!(check(&[&between], &authority, NOW).is_err());
    let lone = params(&[(DnType::CommonName, "alone")], IsCa::NoCa);
    let key = KeyPair::generate().unwrap();
    let lone = vec![lone.self_signed(&key).unwrap().der().to_vec()];
    assert!(verify_client(&lone, std::slice::from_ref(&authority.der), NOW).is_err());

    for (uses, outcome) in [
        (vec![ExtendedKeyUsagePurpose::ClientAuth], Ok(())),
        (vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth], Ok(())),
        (vec![ExtendedKeyUsagePurpose::ServerAuth], Err(ChainError::OtherUse)),
        (vec![ExtendedKeyUsagePurpose::CodeSigning], Err(ChainError::OtherUse)),
    ] {
        let mut params = client();
        params.extended_key_usages = uses;
        assert_eq!(check(&[&authority.signs(params)], &authority, NOW).map(drop), outcome);
    }
    // A byte of a signature.
    let mut forged = direct.der.clone();
    *forged.last_mut().unwrap() ^= 1;
    assert!(verify_client(&[forged], std::slice::from_ref(&authority.der), NOW).is_err());
    for junk in [vec![], vec![0x30], vec![0; 20_000], direct.der[..100].to_vec()] {
        assert_eq!(verify_client(&[junk], std::slice::from_ref(&authority.der), NOW), Err(ChainError::Unreadable));
    }
}

#[test]
fn only_an_authority_is_taken_for_one() {
    let authority = root("Root", BasicConstraints::Unconstrained);
    assert_eq!(check_authority(&authority.der), Ok(()));
    assert_eq!(check_authority(&authority.signs(client()).der), Err(ChainError::NotAnAuthority));
    let mut without = params(&[(DnType::CommonName, "x")], IsCa::Ca(BasicConstraints::Unconstrained));
    without.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    assert_eq!(check_authority(&authority.signs(without).der), Err(ChainError::NotAnAuthority));
    assert_eq!(check_authority(b"x"), Err(ChainError::Unreadable));
}

#[test]
fn a_subject_has_one_text_and_a_text_one_subject() {
    let authority = root("Root", BasicConstraints::Unconstrained);
    let subject_of = |names: &[(DnType, &str)]| subject(&authority.signs(params(names, IsCa::NoCa)).der);
    assert_eq!(subject(&authority.signs(client()).der).unwrap(), "CN=app.contoso.test,O=Contoso");
    for (value, text) in [
        ("a,O=Contoso", "CN=a\\,O\\=Contoso".replace("\\=", "=")),
        (" a ", "CN=\\ a\\ ".to_owned()),
        ("#a", "CN=\\#a".to_owned()),
        ("a\\2C\"+;<>", "CN=a\\\\2C\\\"\\+\\;\\<\\>".to_owned()),
        ("a\n", "CN=a\\0A".to_owned()),
        ("Äpfel", "CN=Äpfel".to_owned()),
    ] {
        assert_eq!(subject_of(&[(DnType::CommonName, value)]).unwrap(), text);
    }
    // The name in one value is not the name in two.
    let two = subject_of(&[(DnType::OrganizationName, "Contoso"), (DnType::CommonName, "a")]).unwrap();
    assert_ne!(two, subject_of(&[(DnType::CommonName, "a,O=Contoso")]).unwrap());
    // What has no short name is shown as its bytes.
    let serial = subject_of(&[(DnType::CustomDnType(vec![2, 5, 4, 5]), "7")]).unwrap();
    assert_eq!(serial, "2.5.4.5=#0c37");
    assert!(subject_of(&[]).is_err());
    // However it is encoded, the text is the same.
    let mut printable = client();
    printable.distinguished_name = rcgen::DistinguishedName::new();
    printable.distinguished_name.push(DnType::CommonName, DnValue::PrintableString("app".try_into().unwrap()));
    assert_eq!(subject(&authority.signs(printable).der), subject_of(&[(DnType::CommonName, "app")]));
}
