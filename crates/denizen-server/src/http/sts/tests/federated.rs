//! Tokens of other issuers as credentials: whom they prove, and what each thing that is wrong with one is answered with.

use std::sync::{Arc, Mutex};

use denizen_keys::hash::hmac_sha256;
use denizen_wire::Clock;
use tokio::net::TcpListener;

use super::*;
use crate::{
    app::signing::fixture::{
        API, APP, FABRIKAM, MACHINE, OTHER_APP, SECRET, SIGNER, STRANGER, application, ctx, deployment_asking, machine,
        principal,
    },
    app::strangers::Reason,
    domain::{
        claims::audience::EntraIssued,
        directory::{Application, PrincipalKind, ServicePrincipal, SigningAlgorithm, TokenVersion},
        federation::{DEFAULT_AUDIENCE, FederatedCredential, Whom},
    },
    issuers::{
        Issuers,
        tests::{Answers, Authority, Issuer, signer},
    },
    store::Outcome,
};

const SUBJECT: &str = "repo:contoso/app:environment:Production";

/// The service, and an issuer that one of its applications trusts.
struct Federated {
    service: Service,
    issuer: Issuer,
    clock: Clock,
}

fn credential(issuer: &str, whom: Whom) -> FederatedCredential {
    FederatedCredential {
        id: Uuid::from_u128(0xfed),
        name: "production".into(),
        issuer: issuer.into(),
        whom,
        audiences: vec![DEFAULT_AUDIENCE.into()],
        description: String::new(),
    }
}

impl Federated {
    async fn start() -> Self {
        let (ca, clock) = (Authority::new(), Clock::manual(NOW));
        let issuer = Issuer::start(&ca).await;
        issuer.publish(&[("k1", signer())]);
        let issuers = Issuers::new(&ca.outbound(), clock.clone());
        let deployment = deployment_asking(EntraIssued::default(), issuers).await;
        let this = Self { service: Service::of(deployment), issuer, clock };
        this.trust(APP, vec![credential(&this.issuer.url(), Whom::Subject(SUBJECT.into()))]).await;
        this
    }

    async fn trust(&self, client: ClientId, federated: Vec<FederatedCredential>) {
        let it = Application { federated, ..application(CONTOSO, client) };
        self.service.deployment.put(CONTOSO, &it).await;
    }

    fn claims(&self) -> Value {
        json!({
            "iss": self.issuer.url(), "sub": SUBJECT, "aud": DEFAULT_AUDIENCE,
            "nbf": NOW, "iat": NOW, "exp": NOW + 600, "jti": "x",
        })
    }

    async fn present(&self, claims: &Value) -> Answer {
        self.service.assert(APP, &token("k1", claims)).await
    }

    /// The code that a token with one claim changed is answered with.
    async fn with(&self, name: &str, value: impl Into<Value>) -> i32 {
        let mut claims = self.claims();
        claims[name] = value.into();
        self.present(&claims).await.code()
    }
}

fn token(kid: &str, claims: &Value) -> String {
    jws(signer(), Algorithm::Rs256, &json!({"alg": "RS256", "typ": "JWT", "kid": kid}), claims, false)
}

/// SPIRE signs with a key on P-256 unless it is told otherwise.
#[tokio::test]
async fn an_issuer_may_sign_with_a_key_on_p_256() {
    let it = Federated::start().await;
    let (ec, other) = (Signer::generate_ec().unwrap(), Signer::generate_ec().unwrap());
    it.issuer.publish(&[("k1", signer()), ("ec", &ec)]);
    let signed = |by: &Signer, alg: Algorithm, kid: &str| {
        jws(by, alg, &json!({"alg": alg.name(), "kid": kid}), &it.claims(), false)
    };
    assert_eq!(it.service.assert(APP, &signed(&ec, Algorithm::Es256, "ec")).await.code(), 0);
    assert_eq!(it.service.assert(APP, &signed(signer(), Algorithm::Rs256, "k1")).await.code(), 0);
    for (by, alg, kid) in [
        (&other, Algorithm::Es256, "ec"),
        (&ec, Algorithm::Es256, "k1"),
        (signer(), Algorithm::Rs256, "ec"),
        (signer(), Algorithm::Ps256, "ec"),
    ] {
        assert_eq!(it.service.assert(APP, &signed(by, alg, kid)).await.code(), 700_027, "{kid}");
    }
    // A client's own assertion is signed with RSA.
    let own = jws(&ec, Algorithm::Es256, &json!({"alg": "ES256", "kid": "ec"}), &claims(APP, NOW), false);
    assert_eq!(it.service.assert(APP, &own).await.code(), 50_027);
}

#[tokio::test]
async fn a_token_of_a_trusted_issuer_gets_a_token_and_the_audit_says_whose() {
    let it = Federated::start().await;
    for alg in [Algorithm::Rs256, Algorithm::Ps256] {
        let text = jws(signer(), alg, &json!({"alg": alg.name(), "kid": "k1"}), &it.claims(), false);
        let answer = it.service.assert(APP, &text).await;
        let issued = it.service.verified(CONTOSO, &answer.access_token()).await;
        assert_eq!((issued.appid, issued.appidacr.as_deref()), (Some(APP), Some("2")));
        assert_eq!((issued.oid, issued.tid), (principal(CONTOSO, APP).id, CONTOSO));
    }
    // An application that reads v2.0 is told the same in its own way.
    let text = token("k1", &it.claims());
    let client = APP.to_string();
    let mut form = assertion_form(&client, &text);
    let scope = format!("{API}/.default");
    form[2] = ("scope", &scope);
    let answer = it.service.token(&form).await;
    assert_eq!(it.service.verified(CONTOSO, &answer.access_token()).await.azpacr.as_deref(), Some("2"));

    assert_eq!(it.issuer.asked().len(), 2, "the documents are fetched once");
    let tail = it.service.deployment.store.audit_tail(&ctx(CONTOSO, NOW), 1).await.unwrap();
    assert_eq!(tail[0].outcome, Outcome::Allowed);
    assert_eq!(tail[0].because, format!("credential {}", Uuid::from_u128(0xfed)));
    let expected = json!({"name": "production", "issuer": it.issuer.url(), "subject": SUBJECT});
    assert_eq!(tail[0].detail.as_ref().unwrap()["federated"], expected);
    // Dates in every spelling, as of the client's own assertions.
    for exp in [json!((NOW + 600).to_string()), json!((NOW + 600).0 as f64 + 0.5)] {
        assert_eq!(it.with("exp", exp).await, 0);
    }
    assert_eq!(it.with("aud", json!(["x", DEFAULT_AUDIENCE])).await, 0);
}

#[tokio::test]
async fn d25_each_thing_that_is_wrong_has_its_number_and_dials_nobody() {
    let it = Federated::start().await;
    let cased = SUBJECT.to_lowercase();
    for (name, value, code) in [
        ("iss", json!("https://elsewhere.test"), 700_211),
        ("iss", json!(format!("{}/", it.issuer.url())), 700_211),
        ("iss", json!(it.issuer.url().to_uppercase()), 700_211),
        ("sub", json!("repo:contoso/other"), 700_213),
        ("sub", json!(cased), 7_002_138),
        ("sub", json!(format!("{SUBJECT} ")), 700_213),
        ("aud", json!("api://other"), 700_212),
        ("aud", json!(["api://azureadtokenexchange"]), 700_212),
        ("aud", Value::Null, 700_212),
        ("exp", json!(NOW - 300), 700_024),
        ("exp", json!(NOW + 2 * 86_400), 700_024),
        ("nbf", json!(NOW + 301), 700_024),
        ("iat", json!(NOW + 301), 700_024),
        ("exp", Value::Null, 50_027),
        ("exp", json!("soon"), 50_027),
        ("sub", json!(5), 50_027),
    ] {
        assert_eq!(it.with(name, value.clone()).await, code, "{name} {value}");
    }
    let answer =
        it.present(&json!({"iss": it.issuer.url(), "sub": cased, "aud": DEFAULT_AUDIENCE, "exp": NOW + 9})).await;
    assert_eq!(
        (answer.status, answer.json::<Value>()["error"].as_str()),
        (StatusCode::UNAUTHORIZED, Some("invalid_client"))
    );
    assert!(answer.body.contains("matches with case-insensitive comparison"), "{}", answer.body);
    // An application that trusts nobody, a client that is nobody's, another tenant's.
    assert_eq!(it.service.assert(MACHINE, &token("k1", &it.claims())).await.code(), 700_211);
    assert_eq!(it.service.assert(OTHER_APP, &token("k1", &it.claims())).await.code(), 700_016);
    let client = OTHER_APP.to_string();
    let text = token("k1", &it.claims());
    let answer = it.service.post(&format!("/{FABRIKAM}/oauth2/v2.0/token"), &assertion_form(&client, &text)).await;
    assert_eq!(answer.code(), 700_211);
    assert_eq!(it.issuer.connections(), 0, "none of these is worth a connection");
    let strangers = it.service.deployment.tokens.strangers();
    assert!(strangers.count(Reason::Federation) > 5);
    assert_eq!(strangers.count(Reason::Issuer), 0);

    // Within five minutes clocks may differ.
    assert_eq!(it.with("exp", json!(NOW - 299)).await, 0);
    assert_eq!(it.with("nbf", json!(NOW + 300)).await, 0);
}

#[tokio::test]
async fn d28_what_is_forged_is_refused_whatever_it_is_signed_with() {
    let it = Federated::start().await;
    let good = token("k1", &it.claims());
    assert_eq!(it.service.assert(APP, &good).await.code(), 0);

    // Claims that fit, over a signature of other claims; and a signature that has a bit changed.
    let mut other = it.claims();
    other["sub"] = "repo:contoso/other".into();
    let (head, signature) = good.rsplit_once('.').unwrap();
    let body = b64::url(it.claims().to_string().replace("\"x\"", "\"y\"").as_bytes());
    let swapped = format!("{}.{body}.{signature}", head.split('.').next().unwrap());
    assert_eq!(it.service.assert(APP, &swapped).await.code(), 700_027);
    let flipped = format!(
        "{head}.{}",
        if signature.starts_with('A') { signature.replacen('A', "B", 1) } else { format!("A{}", &signature[1..]) }
    );
    assert_eq!(it.service.assert(APP, &flipped).await.code(), 700_027);
    let strangers = jws(&STRANGER, Algorithm::Rs256, &json!({"alg": "RS256", "kid": "k1"}), &it.claims(), false);
    assert_eq!(it.service.assert(APP, &strangers).await.code(), 700_027);

    // Algorithm confusion: none, and an HMAC whose secret is the public key.
    let compact = |header: Value, tag: &dyn Fn(&str) -> Vec<u8>| {
        let input =
            format!("{}.{}", b64::url(header.to_string().as_bytes()), b64::url(it.claims().to_string().as_bytes()));
        format!("{input}.{}", b64::url(&tag(&input)))
    };
    let public = signer().public();
    for secret in [public.spki_der(), public.rsa().unwrap().n(), public.rsa().unwrap().n_base64url().as_bytes()] {
        let text =
            compact(json!({"alg": "HS256", "kid": "k1"}), &|input| hmac_sha256(secret, input.as_bytes()).to_vec());
        assert_eq!(it.service.assert(APP, &text).await.code(), 50_027);
    }
    for alg in ["none", "None", "RS512", ""] {
        let text = compact(json!({"alg": alg, "kid": "k1"}), &|_| Vec::new());
        assert_eq!(it.service.assert(APP, &text).await.code(), 50_027, "{alg}");
    }
    // A key of another family has no such name.
    let text = compact(json!({"alg": "ES256", "kid": "k1"}), &|_| vec![0; 64]);
    assert_eq!(it.service.assert(APP, &text).await.code(), 700_027);
    // A key that the token brings along, and names that no key has.
    let jwk = json!(denizen_keys::jwk::RsaJwk::signing(STRANGER.public().rsa().unwrap(), "k1", None));
    for header in [
        json!({"alg": "RS256", "kid": "k1", "jwk": jwk}),
        json!({"alg": "RS256", "kid": "k2"}),
        json!({"alg": "RS256", "kid": ""}),
    ] {
        let text = jws(&STRANGER, Algorithm::Rs256, &header, &it.claims(), false);
        assert_eq!(it.service.assert(APP, &text).await.code(), 700_027, "{header}");
    }
    // Signed with another algorithm than the header says.
    let text = compact(json!({"alg": "RS256", "kid": "k1"}), &|input| {
        signer().sign(Algorithm::Ps256, input.as_bytes()).unwrap()
    });
    assert_eq!(it.service.assert(APP, &text).await.code(), 700_027);
}

/// A listener that counts who connects: nobody may.
#[tokio::test]
async fn d08_a_url_in_a_token_is_never_fetched() {
    let it = Federated::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = format!("https://localhost:{}/keys", listener.local_addr().unwrap().port());
    let met = Arc::new(Mutex::new(0));
    let count = Arc::clone(&met);
    let counting = tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            *count.lock().unwrap() += 1;
        }
    });
    for (signer, code) in [(signer(), 0), (&*STRANGER, 700_027)] {
        let header =
            json!({"alg": "RS256", "kid": "k1", "jku": at, "x5u": at, "jwk": {"kty": "RSA", "n": "x", "e": "AQAB"}});
        let text = jws(signer, Algorithm::Rs256, &header, &it.claims(), false);
        assert_eq!(it.service.assert(APP, &text).await.code(), code);
    }
    for iss in [at.as_str(), at.trim_end_matches("/keys")] {
        assert_eq!(it.with("iss", iss).await, 700_211);
    }
    counting.abort();
    assert_eq!(*met.lock().unwrap(), 0);
    assert_eq!(it.issuer.asked().len(), 2);
}

#[tokio::test]
async fn keys_roll_over_and_an_issuer_may_be_away() {
    let mut it = Federated::start().await;
    assert_eq!(it.present(&it.claims()).await.code(), 0);
    let before = it.issuer.asked().len();
    it.issuer.publish(&[("k2", signer())]);
    let text = token("k2", &it.claims());
    assert_eq!(it.service.assert(APP, &text).await.code(), 700_027);
    it.clock.advance(300);
    assert_eq!(it.service.assert(APP, &text).await.code(), 0);
    assert_eq!(it.issuer.asked().len(), before + 2);
    assert_eq!(it.service.assert(APP, &token("k1", &it.claims())).await.code(), 700_027, "it was withdrawn");

    // Away, it is believed for a day; then the answer is that it may be back in a while.
    it.issuer.answer("/keys", Answers::Status(503, "x: y"));
    it.clock.advance(23 * 3600);
    assert_eq!(it.service.assert(APP, &text).await.code(), 0);
    it.clock.advance(3601);
    it.service.now = NOW;
    let answer = it.service.assert(APP, &text).await;
    assert_eq!((answer.status, answer.code()), (StatusCode::SERVICE_UNAVAILABLE, 90_061), "{}", answer.body);
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert!(answer.body.contains("Request to External OIDC endpoint failed"), "{}", answer.body);
    assert_eq!(it.service.deployment.tokens.strangers().count(Reason::Issuer), 1);
    // What will not be otherwise by itself is no reason to ask again.
    it.issuer.answer("/keys", Answers::Status(302, "location: /elsewhere"));
    it.clock.advance(60);
    let answer = it.service.assert(APP, &text).await;
    assert_eq!((answer.status, answer.code()), (StatusCode::UNAUTHORIZED, 90_061), "{}", answer.body);
}

#[tokio::test]
async fn whom_an_expression_fits_is_let_in_and_no_other() {
    let it = Federated::start().await;
    let expression = "claims['sub'] matches 'repo:contoso/*' and claims['job'] eq 'deploy'".parse().unwrap();
    it.trust(APP, vec![credential(&it.issuer.url(), Whom::Expression(expression))]).await;
    let mut claims = it.claims();
    claims["job"] = "deploy".into();
    assert_eq!(it.present(&claims).await.code(), 0);
    for (name, value) in [("job", json!("Deploy")), ("job", Value::Null), ("sub", json!("repo:other/app"))] {
        let mut changed = claims.clone();
        changed[name] = value;
        assert_eq!(it.present(&changed).await.code(), 7_002_131, "{changed}");
    }
}

#[tokio::test]
async fn a_credential_that_is_removed_and_a_principal_that_is_disabled_prove_nothing_more() {
    let it = Federated::start().await;
    assert_eq!(it.present(&it.claims()).await.code(), 0);
    it.trust(APP, vec![]).await;
    assert_eq!(it.present(&it.claims()).await.code(), 700_211);
    it.trust(APP, vec![credential(&it.issuer.url(), Whom::Subject(SUBJECT.into()))]).await;
    assert_eq!(it.present(&it.claims()).await.code(), 0);
    let disabled = ServicePrincipal { enabled: false, ..principal(CONTOSO, APP) };
    it.service.deployment.put(CONTOSO, &disabled).await;
    assert_eq!(it.present(&it.claims()).await.code(), 7_000_112);
}

/// A managed identity's own list is what counts for it; there is no application.
#[tokio::test]
async fn a_user_assigned_identity_has_federated_credentials_too() {
    let it = Federated::start().await;
    let id = ClientId(Uuid::from_u128(0xa9));
    let resource_id = "/subscriptions/00000000-0000-0000-0000-000000000009/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id1";
    let identity = ServicePrincipal {
        kind: PrincipalKind::ManagedIdentity { resource_id: resource_id.parse().unwrap() },
        federated: vec![credential(&it.issuer.url(), Whom::Subject(SUBJECT.into()))],
        ..principal(CONTOSO, id)
    };
    it.service.deployment.put(CONTOSO, &identity).await;
    let answer = it.service.assert(id, &token("k1", &it.claims())).await;
    let issued = it.service.verified(CONTOSO, &answer.access_token()).await;
    assert_eq!((issued.oid, issued.appidacr.as_deref()), (identity.id, Some("2")));
    assert!(issued.xms_mirid.unwrap().as_str().ends_with("/userAssignedIdentities/id1"));
    // A start reads it again.
    let read: ServicePrincipal = serde_json::from_value(serde_json::to_value(&identity).unwrap()).unwrap();
    assert_eq!(read, identity);
}

/// Another tenant of this server, and this one: no connection is made, and the token's principal must still be good.
#[tokio::test]
async fn a_tenant_of_this_server_is_an_issuer_without_a_connection() {
    let it = Federated::start().await;
    let service = &it.service;
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", &MACHINE.to_string()),
        ("scope", "api://AzureADTokenExchange/.default"),
        ("client_assertion_type", oauth::JWT_BEARER),
        ("client_assertion", &assertion(&SIGNER, &claims(MACHINE, NOW))),
    ];
    let managed = service.token(&form).await.access_token();
    let own = |issuer: String, subject: String| credential(&issuer, Whom::Subject(subject));
    let issuer = format!("{AUTHORITY}/{CONTOSO}/");
    it.trust(APP, vec![own(issuer.clone(), machine().id.to_string())]).await;
    let answer = service.assert(APP, &managed).await;
    assert_eq!(service.verified(CONTOSO, &answer.access_token()).await.oid, principal(CONTOSO, APP).id);
    // The same subject of another tenant's, by the name of the issuer; and by a signature that is another tenant's.
    it.trust(APP, vec![own(format!("{AUTHORITY}/{FABRIKAM}/"), machine().id.to_string())]).await;
    assert_eq!(service.assert(APP, &managed).await.code(), 700_211);
    service.deployment.keys.ensure_keys(&service.deployment.auth(FABRIKAM, NOW)).await.unwrap();
    let client = OTHER_APP.to_string();
    let secret = secret_form(&client, SECRET, "api://AzureADTokenExchange/.default");
    let home = format!("/{FABRIKAM}/oauth2/v2.0/token");
    let theirs = service.post(&home, &secret).await.access_token();
    it.trust(APP, vec![own(format!("{AUTHORITY}/{FABRIKAM}/"), principal(FABRIKAM, OTHER_APP).id.to_string())]).await;
    assert_eq!(service.assert(APP, &theirs).await.code(), 0);
    assert_eq!(service.assert(APP, &managed).await.code(), 700_211);

    // A principal that is disabled or revoked had its token, and has it no longer for this.
    it.trust(APP, vec![own(issuer.clone(), machine().id.to_string())]).await;
    assert_eq!(service.assert(APP, &managed).await.code(), 0);
    for changed in [ServicePrincipal { enabled: false, ..machine() }, ServicePrincipal { epoch: 9, ..machine() }] {
        service.deployment.put(CONTOSO, &changed).await;
        assert_eq!(service.assert(APP, &managed).await.code(), 50_027);
    }
    service.deployment.put(CONTOSO, &machine()).await;

    // What is not an application's token, by our own key.
    let snapshot = service.deployment.store.snapshot();
    let keys = service.deployment.keys.keys(&snapshot, CONTOSO).unwrap();
    let mut claims = json!({"iss": issuer, "sub": machine().id, "oid": machine().id, "aud": DEFAULT_AUDIENCE, "exp": NOW + 60, "xms_epoch": 3});
    let signed =
        |claims: &Value| keys.sign(&claims.to_string(), TokenVersion::V1, SigningAlgorithm::Rs256, NOW).unwrap().token;
    let answer = service.assert(APP, &signed(&claims)).await;
    assert_eq!(answer.code(), 700_229, "{}", answer.body);
    claims["idtyp"] = "user".into();
    assert_eq!(service.assert(APP, &signed(&claims)).await.code(), 700_229);
    claims["idtyp"] = "app".into();
    assert_eq!(service.assert(APP, &signed(&claims)).await.code(), 0);
    let by_ec = keys.sign(&claims.to_string(), TokenVersion::V1, SigningAlgorithm::Es256, NOW).unwrap().token;
    assert_eq!(service.assert(APP, &by_ec).await.code(), 0, "for a resource that is set to ES256");
    claims["oid"] = Uuid::nil().to_string().into();
    assert_eq!(service.assert(APP, &signed(&claims)).await.code(), 50_027);
    assert_eq!(it.issuer.connections(), 0);
}
