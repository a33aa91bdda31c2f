//! Through the API, with a real store and a browser's cookies: what people see, what clients get, and what is refused.

mod flows;
mod refusals;

use std::{collections::BTreeMap, net::SocketAddr};

use denizen_keys::{SecretString, b64, hash};
use denizen_wire::{ClientId, PrincipalId, TenantId, UnixTime};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Bytes;
use uuid::Uuid;

use crate::{
    app::{
        signing::fixture::{AUTHORITY, CONTOSO, Deployment, FABRIKAM, NOW, application, deployment, principal},
        users::NewUser,
    },
    domain::{
        directory::{Application, PermissionScope, RedirectUris},
        sign_in::AuthorizationCode,
    },
    http::{Body, Call, PublicNames, Service, sts::Sts},
    store::Kept,
};

const REQUEST: Uuid = Uuid::from_u128(0x7e90e57);
pub(super) const ADA: &str = "ada@contoso.test";
pub(super) const PASSWORD: &str = "correct horse battery";
/// A program on a user's machine.
const PROGRAM: ClientId = ClientId(Uuid::from_u128(0xc1));
/// A server.
const SERVER: ClientId = ClientId(Uuid::from_u128(0xc2));
/// A page.
const SPA: ClientId = ClientId(Uuid::from_u128(0xc3));
/// A resource with permissions.
const ORDERS: ClientId = ClientId(Uuid::from_u128(0xc4));
const AZURE_CLI: &str = "04b07795-8ddb-461a-bbee-02f9e1bf7b46";
const CALLBACK: &str = "https://app.contoso.test/signin";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

/// A deployment, its pages, and one browser.
struct Site {
    deployment: Deployment,
    http: Service,
    now: UnixTime,
    ada: PrincipalId,
    cookies: BTreeMap<String, String>,
    /// What the browser says beside.
    headers: Vec<(&'static str, String)>,
}

/// An answer, read.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Site {
    async fn new() -> Self {
        let deployment = deployment().await;
        let list = |uris: &[&str]| uris.iter().map(|uri| (*uri).to_owned()).collect();
        let scope = |n, value: &str, users_consent| PermissionScope {
            id: Uuid::from_u128(n),
            value: value.to_owned(),
            display_name: format!("To {value}"),
            description: String::new(),
            users_consent,
            enabled: true,
        };
        let bare = |id| Application { passwords: vec![], keys: vec![], ..application(CONTOSO, id) };
        for application in [
            Application {
                display_name: "Program".to_owned(),
                public_client: true,
                redirect_uris: RedirectUris { public_client: list(&["http://localhost"]), ..RedirectUris::default() },
                ..bare(PROGRAM)
            },
            Application {
                display_name: "Shop <b>".to_owned(),
                redirect_uris: RedirectUris { web: list(&[CALLBACK]), ..RedirectUris::default() },
                ..application(CONTOSO, SERVER)
            },
            Application {
                redirect_uris: RedirectUris { spa: list(&["https://spa.contoso.test/"]), ..RedirectUris::default() },
                ..bare(SPA)
            },
            Application {
                display_name: "Orders".to_owned(),
                identifier_uris: list(&["api://shop-orders"]),
                scopes: vec![scope(1, "Read", true), scope(2, "Write", true), scope(3, "Manage", false)],
                ..bare(ORDERS)
            },
        ] {
            deployment.put(CONTOSO, &principal(CONTOSO, application.client_id)).await;
            deployment.put(CONTOSO, &application).await;
        }
        let new = |name: &str| NewUser {
            name: name.to_owned(),
            display_name: "Ada".to_owned(),
            password: Some(SecretString::from(PASSWORD)),
            must_change: false,
        };
        let ada = deployment.users.create(&deployment.auth(CONTOSO, NOW), &new(ADA)).await.unwrap().id;
        deployment.users.create(&deployment.auth(FABRIKAM, NOW), &new("bob@fabrikam.test")).await.unwrap();
        let names = PublicNames {
            authority: AUTHORITY.into(),
            other_authorities: vec!["https://127.0.0.1:8443".into()],
            vault_suffix: "vault.denizen.test".into(),
            vault_port: 8444,
            vault_local: None,
        };
        let sts = Sts::new(deployment.tokens.clone(), deployment.sign_in.clone(), names);
        let http = Service::new("control", sts).unwrap();
        Self { deployment, http, now: NOW, ada, cookies: BTreeMap::new(), headers: Vec::new() }
    }

    async fn send(&mut self, method: Method, uri: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut map = HeaderMap::new();
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let said = self.headers.iter().map(|(name, value)| (*name, value.as_str()));
        for (name, value) in headers.iter().copied().chain(said).chain([("cookie", cookies.join("; ").as_str())]) {
            map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        let body = Body::Bytes(Bytes::copy_from_slice(body.as_bytes()));
        let peer = SocketAddr::from(([192, 0, 2, 1], 1));
        let call = Call::new(method, &uri.parse().unwrap(), map, body, peer, self.now, REQUEST);
        let (head, body) = self.http.handle(call).await.into_parts();
        let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        for cookie in head.headers.get_all("set-cookie") {
            let cookie = cookie.to_str().unwrap();
            assert!(cookie.starts_with("__Host-"), "{cookie}");
            let (pair, attributes) = cookie.split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            assert!(attributes.starts_with(" Path=/; Secure; HttpOnly; SameSite=Lax"), "{cookie}");
            match attributes.contains("Max-Age=0") {
                true => _ = self.cookies.remove(name),
                false => _ = self.cookies.insert(name.to_owned(), value.to_owned()),
            }
        }
        Answer { status: head.status, headers: head.headers, body }
    }

    async fn get(&mut self, uri: &str) -> Answer {
        self.send(Method::GET, uri, &[], "").await
    }

    /// Opens the page as who is signed in, and continues where that is asked.
    async fn proceed(&mut self, uri: &str) -> Answer {
        let answer = self.get(uri).await;
        match answer.body.contains("value=\"continue\"") {
            true => self.submit(&answer, &[("decision", "continue")]).await,
            false => answer,
        }
    }

    async fn post(&mut self, uri: &str, form: &[(&str, &str)]) -> Answer {
        self.send(Method::POST, uri, &[("content-type", "application/x-www-form-urlencoded")], &encode(form)).await
    }

    /// Fills in the page's form and presses a button.
    async fn submit(&mut self, page: &Answer, fields: &[(&str, &str)]) -> Answer {
        let (action, hidden) = page.form();
        let mut form: Vec<(&str, &str)> = hidden.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        form.extend(fields);
        self.post(&action, &form).await
    }

    /// Signs in on a page that asks for name and password.
    async fn sign_in(&mut self, page: &Answer) -> Answer {
        self.submit(page, &[("name", ADA), ("password", PASSWORD)]).await
    }

    /// The code that a browser has brought its client.
    async fn code(&self, code: &str) -> AuthorizationCode {
        let hash = hash::hex(&hash::sha256(code.as_bytes()));
        let kept = self.deployment.store.one_time::<AuthorizationCode>(&hash).await.unwrap();
        let Some(Kept { it, used: false }) = kept else { panic!("no such code") };
        it
    }

    fn session(&self) -> Option<&String> {
        self.cookies.get("__Host-denizen-session")
    }
}

impl Answer {
    /// The action and the hidden fields of the page's form.
    fn form(&self) -> (String, Vec<(String, String)>) {
        let between = |text: &str, before: &str| -> Option<String> {
            let (_, rest) = text.split_once(before)?;
            Some(unescape(rest.split_once('"')?.0))
        };
        let form = self.body.split_once("<form ").unwrap_or_else(|| panic!("no form: {}", self.body)).1;
        let hidden = form.split("<input ").filter(|input| input.starts_with("type=\"hidden\""));
        let hidden = hidden.map(|input| (between(input, "name=\"").unwrap(), between(input, "value=\"").unwrap()));
        (between(form, "action=\"").unwrap(), hidden.collect())
    }

    fn title(&self) -> &str {
        let (_, rest) = self.body.split_once("<title>").unwrap_or_else(|| panic!("{} {}", self.status, self.body));
        rest.split_once(" - ").unwrap().0
    }

    /// What is read out of what is wrong, with its number.
    fn error(&self) -> (i32, String) {
        let (_, rest) = self.body.split_once("role=\"alert\"><p>").unwrap_or_else(|| panic!("{}", self.body));
        let text = unescape(rest.split_once("</p>").unwrap().0);
        let code =
            self.body.split_once("Error AADSTS").map(|(_, rest)| rest.split_once('.').unwrap().0.parse().unwrap());
        (code.unwrap_or_default(), text)
    }

    /// Where the browser is sent, and with what.
    fn sent(&self) -> (String, BTreeMap<String, String>) {
        assert_eq!(self.status, StatusCode::SEE_OTHER, "{}", self.body);
        let to = self.headers["location"].to_str().unwrap();
        let (to, query) = to.split_once(['?', '#']).unwrap_or((to, ""));
        (to.to_owned(), form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    /// The AADSTS number of the error that the client is sent.
    fn sent_code(&self) -> i32 {
        let (_, sent) = self.sent();
        let text = &sent["error_description"];
        text.strip_prefix("AADSTS").unwrap().split_once(':').unwrap().0.parse().unwrap()
    }
}

fn unescape(text: &str) -> String {
    text.replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

fn encode(form: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish()
}

fn challenge() -> String {
    b64::url(&hash::sha256(VERIFIER.as_bytes()))
}

/// What a client sends a browser with, less or otherwise by `changes`; an empty value leaves a parameter out.
fn asked(client: &str, redirect_uri: &str, changes: &[(&str, &str)]) -> String {
    asked_of(&CONTOSO.to_string(), client, redirect_uri, changes)
}

fn asked_of(tenant: &str, client: &str, redirect_uri: &str, changes: &[(&str, &str)]) -> String {
    let challenge = challenge();
    let mut parameters = vec![
        ("client_id", client),
        ("redirect_uri", redirect_uri),
        ("response_type", "code"),
        ("scope", "openid offline_access https://management.azure.com/.default"),
        ("state", "a state"),
        ("nonce", "a nonce"),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ];
    for (name, value) in changes {
        parameters.retain(|(other, _)| other != name);
        if !value.is_empty() {
            parameters.push((name, value));
        }
    }
    format!("/{tenant}/oauth2/v2.0/authorize?{}", encode(&parameters))
}

fn program(changes: &[(&str, &str)]) -> String {
    asked(AZURE_CLI, "http://localhost:8400", changes)
}

fn issuer(tenant: TenantId) -> String {
    format!("{AUTHORITY}/{tenant}/v2.0")
}
