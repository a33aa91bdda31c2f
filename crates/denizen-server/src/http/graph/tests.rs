//! Through the API, with a real store and real tokens: what tools send, what they get, and what is refused.

mod lists;
mod objects;
mod rights;

use std::{path::Path, sync::Arc};

use denizen_keys::{Custody, envelope::RootKey};
use denizen_wire::{ClientId, Clock, PrincipalId, ResourceId, TenantId};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use http_body_util::BodyExt as _;
use hyper::body::Bytes;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    app::{
        access::{Authorization, SystemReason},
        limits::Rates,
        set_up::{NewSetUp, Plan},
        vaults::NewVault,
    },
    domain::{
        claims::{
            Audience, ClientAuthMethod, Groups, IssuedBy, NewToken, Subject, access_token, audience::EntraIssued,
        },
        directory::{PrincipalKind, ServicePrincipal, SigningAlgorithm, TokenVersion},
        people::User,
        sign_in::SignIn,
    },
    http::{Body, Call, PublicNames, Service},
    issuers::Outbound,
    run::{Server, ServerConfig, database_in, root_key_in},
    store::{Engine, Record, Retention, StoreError, Write},
};

const AUTHORITY: &str = "https://localhost:8443";

/// A server with a tenant whose administrator asks.
struct Tenant {
    server: Server,
    service: Arc<Service>,
    plan: Plan,
    token: String,
    _folder: tempfile::TempDir,
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

impl Answer {
    fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }

    fn message(&self) -> &str {
        self.body["error"]["message"].as_str().unwrap_or_default()
    }

    /// The members of this name of a list.
    fn each(&self, name: &str) -> Vec<String> {
        let value = self.body["value"].as_array().unwrap_or_else(|| panic!("{}: {}", self.status, self.body));
        value.iter().map(|it| it[name].as_str().unwrap_or_default().to_owned()).collect()
    }

    fn id(&self) -> String {
        self.body["id"].as_str().unwrap_or_else(|| panic!("{}: {}", self.status, self.body)).to_owned()
    }
}

fn config(root: &Path, root_key: RootKey) -> ServerConfig {
    ServerConfig {
        engine: Engine::Sqlite { path: database_in(root) },
        names: PublicNames {
            authority: AUTHORITY.to_owned(),
            other_authorities: Vec::new(),
            vault_suffix: "vault.denizen.test".to_owned(),
            vault_port: 8444,
            vault_local: None,
        },
        root_key,
        custody: Custody::sealed(),
        clock: Clock::system(),
        entra_issued: EntraIssued::default(),
        connections: 0,
        retention: Retention::default(),
        rates: Rates::default(),
        outbound: Outbound::default(),
        password_grant: false,
    }
}

impl Tenant {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let key = RootKey::load_or_create(&root_key_in(&root)).unwrap();
        let server = Server::open(config(&root, key)).await.unwrap();
        let new = NewSetUp {
            domain: "contoso.example",
            display_name: "Contoso",
            resource_group: "servers",
            vault: NewVault { name: "main", location: "local", retention_days: 90 },
            administrator: "Administrator",
            more_roles: &[],
        };
        let plan = server.set_up.plan(&new, Clock::system().now()).await.unwrap();
        let set_up = || server.authorize(plan.tenant(), SystemReason::SetUp);
        server.set_up.carry_out(&set_up(), &plan).await.unwrap();
        server.signing.ensure_keys(&set_up()).await.unwrap();
        let service = server.services().unwrap().control;
        let mut tenant = Self { server, service, plan, token: String::new(), _folder: folder };
        tenant.token =
            tenant.token_of(&tenant.plan.client().to_string(), tenant.plan.secret().expose(), AUTHORITY).await;
        tenant
    }

    fn id(&self) -> TenantId {
        self.plan.tenant()
    }

    async fn token_of(&self, client: &str, secret: &str, resource: &str) -> String {
        let form = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([
                ("grant_type", "client_credentials"),
                ("client_id", client),
                ("client_secret", secret),
                ("scope", &format!("{resource}/.default")),
            ])
            .finish();
        let path = format!("/{}/oauth2/v2.0/token", self.id());
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let answer = self.raw(Method::POST, &path, &headers, form).await;
        answer.body["access_token"].as_str().unwrap_or_else(|| panic!("{}", answer.body)).to_owned()
    }

    async fn raw(&self, method: Method, path: &str, headers: &[(&str, &str)], body: String) -> Answer {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        let path = path.replace(' ', "%20").replace('"', "%22");
        let (body, peer) = (Body::Bytes(Bytes::from(body)), ([127, 0, 0, 1], 5).into());
        let (now, id) = (Clock::system().now(), Uuid::from_u128(0x7e57));
        let call = Call::new(method, &path.parse().unwrap(), map, body, peer, now, id);
        let (head, body) = self.service.handle(call).await.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
        Answer { status: head.status.as_u16(), headers: head.headers, body }
    }

    async fn send_as(&self, token: &str, method: Method, path: &str, body: Value) -> Answer {
        let bearer = format!("Bearer {token}");
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.raw(method, path, &[("authorization", &bearer)], body).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.send_as(&self.token, Method::GET, path, Value::Null).await
    }

    /// With `ConsistencyLevel: eventual`.
    async fn eventually(&self, path: &str) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        self.raw(Method::GET, path, &[("authorization", &bearer), ("ConsistencyLevel", "eventual")], String::new())
            .await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.send_as(&self.token, Method::POST, path, body).await
    }

    async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send_as(&self.token, Method::PATCH, path, body).await
    }

    async fn delete(&self, path: &str) -> Answer {
        self.send_as(&self.token, Method::DELETE, path, Value::Null).await
    }

    /// What was made must be.
    async fn made(&self, path: &str, body: Value) -> Value {
        let answer = self.post(path, body).await;
        assert_eq!(answer.status, 201, "{path}: {}", answer.body);
        answer.body
    }

    async fn user(&self, name: &str) -> String {
        let body = json!({
            "accountEnabled": true, "displayName": name, "mailNickname": name,
            "userPrincipalName": format!("{name}@contoso.example"),
            "passwordProfile": { "password": "correct horse", "forceChangePasswordNextSignIn": false },
        });
        self.made("/v1.0/users", body).await["id"].as_str().unwrap().to_owned()
    }

    async fn group(&self, name: &str) -> String {
        let body = json!({ "displayName": name, "mailNickname": name, "mailEnabled": false, "securityEnabled": true });
        self.made("/v1.0/groups", body).await["id"].as_str().unwrap().to_owned()
    }

    /// An application with a service principal and a secret: its object id, client id, principal and token.
    async fn client(&self, name: &str) -> (String, String, String, String) {
        let app = self.made("/v1.0/applications", json!({ "displayName": name })).await;
        let (object, client) = (app["id"].as_str().unwrap(), app["appId"].as_str().unwrap());
        let principal = self.made("/v1.0/servicePrincipals", json!({ "appId": client })).await;
        let secret = self.post(&format!("/v1.0/applications/{object}/addPassword"), json!({})).await;
        let token = self.token_of(client, secret.body["secretText"].as_str().unwrap(), "https://graph.microsoft.com");
        let token = token.await;
        (object.to_owned(), client.to_owned(), principal["id"].as_str().unwrap().to_owned(), token)
    }

    async fn assign(&self, principal: &str, role: &str) {
        let authorization = self.server.authorize(self.id(), SystemReason::SetUp);
        let principal: PrincipalId = principal.parse().unwrap();
        self.server.rbac.assign(&authorization, principal, role, &ResourceId::root()).await.unwrap();
    }

    /// A token by which a client acts for a user, with these scopes.
    async fn token_of_user(&self, user: &str, scp: &str) -> String {
        let (snapshot, now) = (self.server.store.snapshot(), Clock::system().now());
        let id: PrincipalId = user.parse().unwrap();
        let authorization = self.server.authorize(self.id(), SystemReason::SetUp);
        let user = &self.server.store.record::<User>(authorization.ctx(), &id).await.unwrap().unwrap();
        let methods = vec!["pwd".to_owned()];
        let session = Uuid::from_u128(0x5e);
        let sign_in = SignIn { tenant: self.id(), user: id, epoch: user.epoch, at: now, methods, session };
        let client = self.plan.client();
        let audience = Audience {
            asked: AUTHORITY.into(),
            application: None,
            version: TokenVersion::V1,
            algorithm: SigningAlgorithm::Rs256,
            issued_by: IssuedBy::Us,
        };
        let claims = access_token(&NewToken {
            authority: AUTHORITY,
            tenant: self.id(),
            subject: Subject::User { user, sign_in: &sign_in, client, scp, directory_roles: &[] },
            proof: ClientAuthMethod::Public,
            audience: &audience,
            roles: Vec::new(),
            groups: Groups::None,
            handles_challenges: false,
            now,
            not_before: now,
            lifetime: 600,
            uti: [7; 16],
        });
        let keys = self.server.signing.keys(&snapshot, self.id()).unwrap();
        keys.sign(&serde_json::to_string(&claims).unwrap(), TokenVersion::V1, SigningAlgorithm::Rs256, now)
            .unwrap()
            .token
    }

    /// The identity of a machine.
    async fn managed_identity(&self, resource_id: &str) -> String {
        let authorization = self.server.authorize(self.id(), SystemReason::SetUp);
        let principal = ServicePrincipal {
            tenant: self.id(),
            id: PrincipalId(Uuid::from_u128(0x1d)),
            client_id: ClientId(Uuid::from_u128(0x1e)),
            display_name: "web-1".to_owned(),
            kind: PrincipalKind::ManagedIdentity { resource_id: resource_id.parse().unwrap() },
            enabled: true,
            epoch: 0,
            keys: Vec::new(),
            federated: Vec::new(),
            token_lifetime: None,
        };
        self.insert(&authorization, &principal).await;
        principal.id.to_string()
    }

    async fn insert<R: Record>(&self, authorization: &Authorization, record: &R) {
        self.server
            .store
            .write(authorization, |tx| {
                Box::pin(async move {
                    tx.insert(record).await?;
                    Ok::<_, StoreError>(Write::commit("test", "test", ()))
                })
            })
            .await
            .unwrap();
    }

    async fn audited(&self) -> Vec<(String, String)> {
        let authorization = self.server.authorize(self.id(), SystemReason::SetUp);
        let records = self.server.store.audit_tail(authorization.ctx(), 500).await.unwrap();
        records.iter().map(|it| (it.action.clone(), format!("{:?}", it.outcome))).collect()
    }
}
