//! The token service: each proof, and each way it is not one.

use aws_lc_rs::{
    digest::{SHA256, digest},
    rand::SystemRandom,
    rsa::KeyPair,
    signature::{RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding},
};
use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD as URL},
};
use denizen_identity::Environment;
use denizen_identity::http::Client;
use denizen_identity_testkit::{Application, Authority, ClientCertificate, Issuer, Options};
use denizen_wire::oauth::JWT_BEARER;
use http::Method;
use serde_json::{Value, json};

use crate::asking::{Answer, Asking};

const APP: &str = "80000000-0000-4000-8000-000000000001";

struct Bed {
    authority: Authority,
    asking: Asking,
    certificate: ClientCertificate,
    cluster: Issuer,
    now: i64,
}

impl Bed {
    async fn new() -> Self {
        let options = Options::default();
        let now = options.clock.now().0;
        let authority = Authority::start(options).await.unwrap();
        let certificate = ClientCertificate::generate().unwrap();
        let cluster = Issuer::default().at("https://cluster.example");
        authority.register(
            Application::new(APP)
                .with_secret("s3cret")
                .with_certificate(&certificate)
                .with_federated(&cluster, "system:serviceaccount:shop:orders")
                .with_user("ada@contoso.test", "pw"),
        );
        let asking = Asking::through(Client::with_roots(authority.roots()).unwrap());
        Self { authority, asking, certificate, cluster, now }
    }

    fn url(&self, path: &str) -> String {
        format!("{}/{}/{path}", self.authority.server().url(), self.authority.issuer().tenant())
    }

    async fn post(&self, fields: &[(&str, &str)]) -> Answer {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("client_id", APP).append_pair("scope", "https://vault.azure.net/.default");
        if !fields.iter().any(|(name, _)| *name == "grant_type") {
            form.append_pair("grant_type", "client_credentials");
        }
        form.extend_pairs(fields);
        let headers = [("Content-Type", "application/x-www-form-urlencoded")];
        self.asking.send(Method::POST, &self.url("oauth2/v2.0/token"), &headers, Some(&form.finish())).await
    }

    async fn asserted(&self, assertion: &str) -> Answer {
        self.post(&[("client_assertion_type", JWT_BEARER), ("client_assertion", assertion)]).await
    }

    fn assertion(&self, header: &Value, padding: &'static dyn RsaEncoding, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = json!({
            "iss": APP, "sub": APP, "aud": self.url("oauth2/v2.0/token"), "nbf": self.now, "exp": self.now + 600,
        });
        change(&mut claims);
        let text = format!("{}.{}", URL.encode(header.to_string()), URL.encode(claims.to_string()));
        let key = KeyPair::from_pkcs8(&self.certificate.key_der()).unwrap();
        let mut signature = vec![0; key.public_modulus_len()];
        key.sign(padding, &SystemRandom::new(), text.as_bytes(), &mut signature).unwrap();
        format!("{text}.{}", URL.encode(signature))
    }
}

fn code(answer: &Answer) -> (u16, i64) {
    (answer.status, answer.json()["error_codes"][0].as_i64().unwrap())
}

#[tokio::test]
async fn a_secret_is_a_proof() {
    let bed = Bed::new().await;
    let answer = bed.post(&[("client_secret", "s3cret")]).await;
    assert_eq!(answer.json()["expires_in"].as_i64(), Some(3599), "an integer, on this endpoint");
    assert_eq!(answer.claims()["aud"], "https://vault.azure.net");
    assert_eq!(answer.claims()["appid"], APP);
    assert_eq!(code(&bed.post(&[("client_secret", "guessed")]).await), (401, 7_000_215));
    assert_eq!(code(&bed.post(&[]).await), (401, 7_000_218));
    assert_eq!(code(&bed.post(&[("grant_type", "refresh_token")]).await), (400, 70003));
    let user = [("grant_type", "password"), ("username", "ada@contoso.test")];
    assert_eq!(bed.post(&[user[0], user[1], ("password", "pw")]).await.status, 200);
    assert_eq!(code(&bed.post(&[user[0], user[1], ("password", "wp")]).await), (400, 50126));

    let headers = [("Content-Type", "application/x-www-form-urlencoded")];
    let v1 = format!("client_id={APP}&client_secret=s3cret&grant_type=client_credentials&resource=r");
    let v1 = bed.asking.send(Method::POST, &bed.url("oauth2/token"), &headers, Some(&v1)).await;
    assert_eq!(v1.json()["expires_in"], "3599", "a text, on that one");
    let other = bed.url("oauth2/v2.0/token").replace(bed.authority.issuer().tenant(), "other");
    let other = bed.asking.send(Method::POST, &other, &headers, Some("")).await;
    assert_eq!(code(&other), (400, 90002));
    let stranger = "client_id=x&grant_type=g&scope=r/.default";
    let url = bed.url("oauth2/v2.0/token");
    let nobody = bed.asking.send(Method::POST, &url, &headers, Some(stranger));
    assert_eq!(code(&nobody.await), (400, 700_016));
}

#[tokio::test]
async fn a_certificate_is_a_proof_in_each_dialect() {
    let bed = Bed::new().await;
    let thumbprint = digest(&SHA256, bed.certificate.der());
    let ps256 = json!({"alg": "PS256", "typ": "JWT", "x5t#S256": URL.encode(thumbprint)});
    let rs256 = json!({"alg": "RS256", "typ": "JWT", "x5t#S256": BASE64_STANDARD.encode(thumbprint)});
    for (header, padding) in [(&ps256, &RSA_PSS_SHA256 as &'static dyn RsaEncoding), (&rs256, &RSA_PKCS1_SHA256)] {
        let assertion = bed.assertion(header, padding, |_| {});
        assert_eq!(bed.asserted(&assertion).await.status, 200, "{header}");
        assert_eq!(bed.asserted(&format!("{assertion}\n")).await.status, 200, "read from a file");
    }
    let floats = bed.assertion(&ps256, &RSA_PSS_SHA256, |c| c["exp"] = json!(bed.now as f64 + 600.25));
    assert_eq!(bed.asserted(&floats).await.status, 200);

    let refused = |header: &Value, change: fn(&mut Value, i64)| {
        let assertion = bed.assertion(header, &RSA_PSS_SHA256, |claims| change(claims, bed.now));
        let bed = &bed;
        async move { code(&bed.asserted(&assertion).await) }
    };
    assert_eq!(refused(&ps256, |c, now| c["exp"] = json!(now - 400)).await, (401, 700_024));
    assert_eq!(refused(&ps256, |c, now| c["nbf"] = json!(now + 400)).await, (401, 700_024));
    assert_eq!(refused(&ps256, |c, _| c["aud"] = json!("https://elsewhere")).await, (401, 700_023));
    assert_eq!(refused(&ps256, |c, _| c["sub"] = json!("other")).await, (401, 700_021));
    assert_eq!(refused(&rs256, |_, _| ()).await, (401, 700_027), "signed otherwise than it says");
    let unknown = json!({"alg": "PS256", "x5t#S256": URL.encode([0; 32])});
    assert_eq!(refused(&unknown, |_, _| ()).await, (401, 700_027));
}

#[tokio::test]
async fn a_federated_assertion_is_a_proof_where_all_of_it_matches() {
    let bed = Bed::new().await;
    let claims = json!({
        "iss": bed.cluster.iss(), "sub": "system:serviceaccount:shop:orders", "aud": "api://AzureADTokenExchange",
        "exp": bed.now + 600,
    });
    assert_eq!(bed.asserted(&bed.cluster.sign(&claims).unwrap()).await.status, 200);
    for (name, value, expected) in [
        ("iss", "https://other.example/", 700_211),
        ("sub", "system:serviceaccount:shop:Orders", 700_213),
        ("aud", "api://other", 700_212),
    ] {
        let mut claims = claims.clone();
        claims[name] = json!(value);
        assert_eq!(code(&bed.asserted(&bed.cluster.sign(&claims).unwrap()).await), (401, expected), "{name}");
    }
    let forged = Issuer::default().at("https://cluster.example").sign(&claims).unwrap();
    assert_eq!(code(&bed.asserted(&forged).await), (401, 700_027));
}

#[tokio::test]
async fn discovery_names_the_issuer_the_tokens_have() {
    let bed = Bed::new().await;
    let tenant = bed.authority.issuer().tenant().to_owned();
    let v1 = bed.asking.get(&bed.url(".well-known/openid-configuration"), &[]).await.json();
    let v2 = bed.asking.get(&bed.url("v2.0/.well-known/openid-configuration"), &[]).await.json();
    assert_eq!(v1["issuer"], format!("https://sts.windows.net/{tenant}/"));
    assert_eq!(v2["issuer"], format!("https://login.microsoftonline.com/{tenant}/v2.0"));
    assert_eq!(v2["token_endpoint"], bed.url("oauth2/v2.0/token"));
    let keys = bed.asking.get(v1["jwks_uri"].as_str().unwrap(), &[]).await.json();
    assert_eq!(keys["keys"][0]["kid"], bed.authority.issuer().kid().unwrap());

    bed.authority.issuer().rotate().unwrap();
    let keys = bed.asking.get(v2["jwks_uri"].as_str().unwrap(), &[]).await.json();
    assert_eq!(keys["keys"].as_array().unwrap().len(), 2);
    bed.authority.issuer().retire();
    let keys = bed.asking.get(v2["jwks_uri"].as_str().unwrap(), &[]).await.json();
    assert_eq!(keys["keys"].as_array().unwrap().len(), 1);

    let own = Authority::start_named_by_address(Options::default()).await.unwrap();
    assert_eq!(own.issuer().iss(), format!("{}/{tenant}/", own.server().url()));
    let environment: Environment = own.environment(&[("AZURE_CLIENT_ID", APP)]);
    assert_eq!(environment.get("AZURE_AUTHORITY_HOST"), Some(own.server().url().as_str()));
    assert!(Client::new(&environment).is_ok(), "the roots are in a file");
}
