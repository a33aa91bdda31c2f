//! Through the API, with a real store: what the clients send, what they get, and what is refused.

mod bad_input;
mod dialects;
mod discovery;
mod federated;
mod issuing;
mod limits;
mod people;
mod strangers;
mod vouched;

use std::net::{IpAddr, SocketAddr};

use denizen_keys::{Algorithm, Signer, b64, jws::Unverified};
use denizen_wire::{ClientId, TenantId, UnixTime, claims::AccessToken, oauth};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Bytes;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use uuid::Uuid;

use super::Sts;
use crate::{
    app::signing::fixture::{AUTHORITY, CONTOSO, Deployment, NOW, deployment, key_credential},
    http::{Body, Call, PublicNames, Reply, Service as HttpService},
};

const REQUEST: Uuid = Uuid::from_u128(0x7e90e57);

/// A deployment, its API, and a clock.
struct Service {
    deployment: Deployment,
    http: HttpService,
    now: UnixTime,
}

/// An answer, read.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Service {
    async fn start() -> Self {
        Self::of(deployment().await)
    }

    fn of(deployment: Deployment) -> Self {
        let names = PublicNames {
            authority: AUTHORITY.into(),
            other_authorities: Vec::new(),
            vault_suffix: "vault.denizen.test".into(),
            vault_port: 8444,
            vault_local: None,
        };
        let http = HttpService::new("control", Sts::new(deployment.tokens.clone(), deployment.sign_in.clone(), names))
            .unwrap();
        Self { deployment, http, now: NOW }
    }

    async fn send(&self, method: Method, uri: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.send_from([127, 0, 0, 1].into(), method, uri, headers, body).await
    }

    async fn send_from(
        &self,
        address: IpAddr,
        method: Method,
        uri: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        let body = Body::Bytes(Bytes::copy_from_slice(body.as_bytes()));
        let peer = SocketAddr::from((address, 1));
        let call = Call::new(method, &uri.parse().unwrap(), map, body, peer, self.now, REQUEST);
        Answer::read(self.http.handle(call).await).await
    }

    async fn get(&self, uri: &str) -> Answer {
        self.send(Method::GET, uri, &[], "").await
    }

    async fn post(&self, uri: &str, form: &[(&str, &str)]) -> Answer {
        self.send(Method::POST, uri, &[("content-type", "application/x-www-form-urlencoded")], &encode(form)).await
    }

    /// Posts to the v2 endpoint of Contoso.
    async fn token(&self, form: &[(&str, &str)]) -> Answer {
        self.post(&format!("/{CONTOSO}/oauth2/v2.0/token"), form).await
    }

    /// Posts an assertion to the v2 endpoint of Contoso, for the vaults.
    async fn assert(&self, client: ClientId, assertion: &str) -> Answer {
        self.token(&assertion_form(&client.to_string(), assertion)).await
    }

    /// The claims of a token that one of the tenant's published keys has signed.
    async fn verified(&self, tenant: TenantId, token: &str) -> AccessToken {
        let keys: Value = self.get(&format!("/{tenant}/discovery/v2.0/keys")).await.json();
        let parsed = Unverified::parse(token, 16_384).unwrap();
        let jwk = keys["keys"].as_array().unwrap().iter().find(|key| key["kid"].as_str() == parsed.kid()).unwrap();
        let jwk: denizen_keys::jwk::RsaJwk = serde_json::from_value(jwk.clone()).unwrap();
        parsed.verify(&jwk.to_public().unwrap(), &[Algorithm::Rs256]).unwrap().claims().unwrap()
    }
}

impl Answer {
    async fn read(response: Reply) -> Self {
        let (head, body) = response.into_parts();
        let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        Self { status: head.status, headers: head.headers, body }
    }

    fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The AADSTS number; 0 when it is no error.
    fn code(&self) -> i32 {
        serde_json::from_str::<oauth::Error>(&self.body).map_or(0, |error| error.error_codes[0])
    }

    fn access_token(&self) -> String {
        assert_eq!(self.status, StatusCode::OK, "{}", self.body);
        self.json::<Value>()["access_token"].as_str().unwrap().to_owned()
    }
}

fn encode(form: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish()
}

fn assertion_form<'a>(client: &'a str, assertion: &'a str) -> [(&'a str, &'a str); 5] {
    [
        ("grant_type", "client_credentials"),
        ("client_id", client),
        ("scope", "https://vault.azure.net/.default"),
        ("client_assertion_type", oauth::JWT_BEARER),
        ("client_assertion", assertion),
    ]
}

fn secret_form<'a>(client: &'a str, secret: &'a str, scope: &'a str) -> [(&'a str, &'a str); 4] {
    [("grant_type", "client_credentials"), ("client_id", client), ("client_secret", secret), ("scope", scope)]
}

/// A JWS by hand, in the spelling that the test wants.
fn jws(signer: &Signer, alg: Algorithm, header: &Value, claims: &Value, padded: bool) -> String {
    let encode = |bytes: &[u8]| match padded {
        true => b64::standard(bytes).replace('+', "-").replace('/', "_"),
        false => b64::url(bytes),
    };
    let input = format!("{}.{}", encode(header.to_string().as_bytes()), encode(claims.to_string().as_bytes()));
    let signature = signer.sign(alg, input.as_bytes()).unwrap();
    format!("{input}.{}", encode(&signature))
}

/// The claims most clients send.
fn claims(client: ClientId, now: UnixTime) -> Value {
    json!({
        "iss": client, "sub": client, "aud": format!("{AUTHORITY}/{CONTOSO}/oauth2/v2.0/token"),
        "nbf": now, "iat": now, "exp": now + 600, "jti": Uuid::from_u128(1),
    })
}

/// An ordinary assertion by the registered key.
fn assertion(signer: &Signer, claims: &Value) -> String {
    let header = json!({"alg": "PS256", "typ": "JWT", "x5t#S256": b64::url(&key_credential().x5t_s256)});
    jws(signer, Algorithm::Ps256, &header, claims, false)
}
