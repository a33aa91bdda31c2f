//! Clients that send their certificate along and are known by its subject and its issuer (`x5c`).

use denizen_keys::x509::Certificate;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData, SignatureAlgorithm,
};

use super::*;
use crate::{
    app::signing::fixture::{APP, FABRIKAM, MACHINE, SIGNER, STRANGER, application, ctx},
    domain::{directory::Application, federation::TrustedSubject},
    store::Outcome,
};

const SUBJECT: &str = "CN=app.contoso.test,O=Contoso";

/// An authority, and what it signs.
struct Ca {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// The public half of the client's key, as a certificate has it.
struct ClientKey;

impl PublicKeyData for ClientKey {
    fn der_bytes(&self) -> &[u8] {
        // Behind the names of the algorithm, which are as long for every RSA key of 2048 bits.
        &SIGNER.public().spki_der()[24..]
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_RSA_SHA256
    }
}

fn params(common_name: &str, is_ca: IsCa) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Contoso");
    params.distinguished_name.push(DnType::CommonName, common_name);
    let date = |seconds| time::OffsetDateTime::from_unix_timestamp(seconds).unwrap();
    (params.not_before, params.not_after) = (date(NOW.0 - 1000), date(NOW.0 + 1000));
    if matches!(is_ca, IsCa::Ca(_)) {
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    }
    params.is_ca = is_ca;
    params
}

impl Ca {
    fn root() -> Self {
        let (key, params) = (KeyPair::generate().unwrap(), params("Root", IsCa::Ca(BasicConstraints::Unconstrained)));
        let certificate = Certificate::from_der(params.self_signed(&key).unwrap().der()).unwrap();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    /// An authority below this one.
    fn between(&self) -> Self {
        let (key, params) =
            (KeyPair::generate().unwrap(), params("Between", IsCa::Ca(BasicConstraints::Constrained(0))));
        let certificate = Certificate::from_der(params.signed_by(&key, &self.issuer).unwrap().der()).unwrap();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    /// A certificate of the client's key.
    fn signs(&self, params: &CertificateParams) -> Certificate {
        Certificate::from_der(params.signed_by(&ClientKey, &self.issuer).unwrap().der()).unwrap()
    }

    fn client(&self) -> Certificate {
        self.signs(&params("app.contoso.test", IsCa::ExplicitNoCa))
    }
}

struct Vouched {
    service: Service,
    root: Ca,
    between: Ca,
}

impl Vouched {
    async fn start() -> Self {
        let root = Ca::root();
        let between = root.between();
        let this = Self { service: Service::start().await, root, between };
        this.trust(&[SUBJECT], &[&this.root]).await;
        this
    }

    /// Has the application trust these subjects, and no certificate of its own.
    async fn trust(&self, subjects: &[&str], authorities: &[&Ca]) {
        let trusted = |subject: &&str| TrustedSubject {
            id: Uuid::from_u128(0x5b1),
            subject: (*subject).to_owned(),
            authorities: authorities.iter().map(|ca| b64::standard(ca.certificate.der())).collect(),
        };
        let trusted_subjects = subjects.iter().map(trusted).collect();
        let it = Application { keys: vec![], trusted_subjects, ..application(CONTOSO, APP) };
        self.service.deployment.put(CONTOSO, &it).await;
    }

    async fn present(&self, header: &Value) -> Answer {
        self.service.assert(APP, &signed(&SIGNER, header)).await
    }
}

fn signed(signer: &Signer, header: &Value) -> String {
    jws(signer, Algorithm::Ps256, header, &claims(APP, NOW), false)
}

fn chain(certificates: &[&Certificate]) -> Value {
    certificates.iter().map(|it| b64::standard(it.der())).collect::<Vec<_>>().into()
}

fn with(x5c: impl Into<Value>) -> Value {
    json!({"alg": "PS256", "typ": "JWT", "x5c": x5c.into()})
}

#[tokio::test]
async fn x5c_is_read_in_every_spelling_clients_send() {
    let it = Vouched::start().await;
    let direct = it.root.client();
    let der = b64::standard(direct.der());
    let broken: String =
        der.as_bytes().chunks(64).map(|line| String::from_utf8(line.to_vec()).unwrap() + "\n").collect();
    let of_pem = b64::standard(direct.pem().as_bytes());
    let both = b64::standard(format!("{}{}", direct.pem(), it.root.certificate.pem()).as_bytes());
    for (client, x5c) in [
        ("MSAL for Python, Go, Node", json!([der])),
        ("with the root as well", json!([der, b64::standard(it.root.certificate.der())])),
        ("the command line: lines of 64", json!([broken])),
        ("MSAL.NET: a text", json!(der)),
        ("a text in lines", json!(broken)),
        ("Rust: base64 of PEM text", json!([of_pem])),
        ("the same of a chain", json!([both])),
        ("the same as a text", json!(of_pem)),
    ] {
        let answer = it.present(&with(x5c)).await;
        let token = it.service.verified(CONTOSO, &answer.access_token()).await;
        assert_eq!((token.appid, token.appidacr.as_deref()), (Some(APP), Some("2")), "{client}");
    }
    // With either thumbprint, by either algorithm.
    let sha1 = json!({"alg": "RS256", "x5t": b64::standard(&direct.thumbprint_sha1()), "x5c": [der]});
    let text = jws(&SIGNER, Algorithm::Rs256, &sha1, &claims(APP, NOW), true);
    assert_eq!(it.service.assert(APP, &text).await.code(), 0);
    let sha256 = json!({"alg": "PS256", "x5t#S256": b64::url(&direct.thumbprint_sha256()), "x5c": [der]});
    assert_eq!(it.present(&sha256).await.code(), 0);
    // By way of an authority in between; and a renewed certificate is as good as the one before.
    assert_eq!(it.present(&with(chain(&[&it.between.client(), &it.between.certificate]))).await.code(), 0);
    assert_eq!(it.present(&with(chain(&[&it.root.client()]))).await.code(), 0);

    let tail = it.service.deployment.store.audit_tail(&ctx(CONTOSO, NOW), 1).await.unwrap();
    assert_eq!(
        (tail[0].outcome, tail[0].because.as_str()),
        (Outcome::Allowed, format!("credential {}", Uuid::from_u128(0x5b1)).as_str())
    );
}

#[tokio::test]
async fn d29_another_subject_another_issuer_and_another_key_prove_nothing() {
    let it = Vouched::start().await;
    let named = |name: &str| it.root.signs(&params(name, IsCa::ExplicitNoCa));
    for name in ["APP.contoso.test", "app.contoso.test.evil.test", "app.contoso.test,O=Contoso", "app.contoso.test "] {
        let answer = it.present(&with(chain(&[&named(name)]))).await;
        assert_eq!((answer.status, answer.code()), (StatusCode::UNAUTHORIZED, 700_030), "{name}: {}", answer.body);
    }
    let others = Ca::root();
    for (chain, why) in [
        (chain(&[&others.client()]), "an authority of the same name"),
        (chain(&[&others.client(), &it.root.certificate]), "with the trusted one beside it"),
        (chain(&[&it.between.client()]), "nobody vouches for who vouches"),
        (chain(&[&it.between.certificate, &it.root.certificate]), "an authority's own"),
    ] {
        let code = it.present(&with(chain)).await.code();
        assert!([700_027, 700_030].contains(&code), "{why}: {code}");
    }
    // Below a client's certificate: the leaf that is proved is the first.
    let leaf = it.root.client();
    let key = KeyPair::generate().unwrap();
    let nested = Issuer::new(params("app.contoso.test", IsCa::ExplicitNoCa), key);
    let below = params("app.contoso.test", IsCa::ExplicitNoCa).signed_by(&ClientKey, &nested).unwrap();
    let below = Certificate::from_der(below.der()).unwrap();
    assert_eq!(it.present(&with(chain(&[&below, &leaf]))).await.code(), 700_027);
    // Out of its time, for another use, by another key, with another's thumbprint.
    let mut ended = params("app.contoso.test", IsCa::ExplicitNoCa);
    ended.not_after = time::OffsetDateTime::from_unix_timestamp(NOW.0 - 1).unwrap();
    let answer = it.present(&with(chain(&[&it.root.signs(&ended)]))).await;
    assert_eq!(answer.code(), 700_027);
    assert!(answer.body.contains("has ended"), "{}", answer.body);
    let mut server = params("app.contoso.test", IsCa::ExplicitNoCa);
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    assert_eq!(it.present(&with(chain(&[&it.root.signs(&server)]))).await.code(), 700_027);
    let strangers = signed(&STRANGER, &with(chain(&[&leaf])));
    assert_eq!(it.service.assert(APP, &strangers).await.code(), 700_027);
    let mut thumbprint = with(chain(&[&leaf]));
    thumbprint["x5t#S256"] = b64::url(&[7; 32]).into();
    assert_eq!(it.present(&thumbprint).await.code(), 700_027);
    for (x5c, code) in [
        (json!([]), 700_027),
        (json!(["AAAA"]), 700_027),
        (json!("!"), 50_027),
        (json!(5), 50_027),
        (json!([5]), 50_027),
        (json!(vec![b64::standard(leaf.der()); 11]), 50_027),
    ] {
        assert_eq!(it.present(&with(x5c.clone())).await.code(), code, "{x5c}");
    }
    // The claims are held to what any assertion's are, and who signed it has proved himself.
    let answer = {
        let mut claims = claims(APP, NOW);
        claims["aud"] = "https://elsewhere.test".into();
        let text = jws(&SIGNER, Algorithm::Ps256, &with(chain(&[&leaf])), &claims, false);
        it.service.assert(APP, &text).await
    };
    assert_eq!(answer.code(), 700_023);
    let tail = it.service.deployment.store.audit_tail(&ctx(CONTOSO, NOW), 1).await.unwrap();
    assert_eq!((tail[0].outcome, tail[0].because.as_str()), (Outcome::Refused, "AADSTS700023"));
    // A client that trusts no subject, and one of another tenant.
    let machine = jws(&SIGNER, Algorithm::Ps256, &with(chain(&[&leaf])), &claims(MACHINE, NOW), false);
    assert_eq!(it.service.assert(MACHINE, &machine).await.code(), 700_027);
    let text = signed(&SIGNER, &with(chain(&[&leaf])));
    let client = APP.to_string();
    let answer = it.service.post(&format!("/{FABRIKAM}/oauth2/v2.0/token"), &assertion_form(&client, &text)).await;
    assert_eq!(answer.code(), 700_016);
    // A trust that is taken back.
    it.trust(&["CN=other,O=Contoso"], &[&it.root]).await;
    assert_eq!(it.present(&with(chain(&[&leaf]))).await.code(), 700_030);
    it.trust(&[SUBJECT], &[&others]).await;
    assert_eq!(it.present(&with(chain(&[&leaf]))).await.code(), 700_027);
    it.trust(&[SUBJECT], &[&others, &it.root]).await;
    assert_eq!(it.present(&with(chain(&[&leaf]))).await.code(), 0);
    it.trust(&[], &[]).await;
    assert_eq!(it.present(&with(chain(&[&leaf]))).await.code(), 700_027);
}
