//! A tenant with a store, a signing key and a vault, for the tests of everything that takes tokens.

use std::sync::{Arc, LazyLock};

use denizen_keys::{
    Algorithm, RsaBits, SecretString, Signer, b64,
    envelope::RootKey,
    jws::sign_compact,
    random,
    x509::{Certificate, self_signed},
};
use denizen_wire::{ClientId, Clock, PrincipalId, ResourceId, SubscriptionId, TenantId, UnixTime};
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

use crate::{
    app::{
        access::{Access, Authorization},
        key_encryption_keys::KeyEncryptionKeys,
        secrets::Secrets,
        vaults::{NewVault, Vaults},
    },
    domain::{
        Actor, Ctx,
        directory::{PrincipalKind, ServicePrincipal, SigningAlgorithm, SigningKey, Tenant},
        resources::{ResourceGroup, Subscription, Vault},
        roles::{BuiltInRoles, RoleAssignment},
        secrets::NewSecret,
    },
    store::{Engine, Outcome, Record, Store, StoreError, Write},
};

pub(crate) const NOW: UnixTime = UnixTime(1_795_239_900);
pub(crate) const AUTHORITY: &str = "https://localhost:8443";
pub(crate) const AUDIENCE: &str = "https://vault.azure.net";

/// Made once: a new RSA key for each test would take most of its time. Nothing is decided by their being shared.
static KEYS: LazyLock<[(Signer, Certificate); 2]> = LazyLock::new(|| {
    [(); 2].map(|()| {
        let signer = Signer::generate_rsa(RsaBits::B2048).unwrap();
        let certificate = self_signed(&signer, "test", NOW.0 - 1000, NOW.0 + 1_000_000).unwrap();
        (signer, certificate)
    })
});

/// One of two signing keys.
pub(crate) fn key(n: usize) -> &'static (Signer, Certificate) {
    &KEYS[n]
}

pub(crate) struct Fixture {
    pub(crate) dir: TempDir,
    pub(crate) store: Store,
    pub(crate) vaults: Vaults,
    pub(crate) secrets: Secrets,
    pub(crate) access: Access,
    pub(crate) key_encryption_keys: KeyEncryptionKeys,
    pub(crate) tenant: TenantId,
    pub(crate) group: ResourceId,
    pub(crate) vault: Arc<Vault>,
}

/// A principal with the client it comes by.
#[derive(Clone, Copy)]
pub(crate) struct Who {
    pub(crate) principal: PrincipalId,
    pub(crate) client: ClientId,
}

impl Fixture {
    /// A tenant whose key 0 signs, and its vault `dev`, which keeps deleted secrets for 90 days.
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store =
            Store::open(Engine::Sqlite { path: dir.path().join("denizen.db") }, crate::store::StoreKeys::of_test())
                .await
                .unwrap();
        let key_encryption_keys =
            KeyEncryptionKeys::new(RootKey::load_or_create(&dir.path().join("root.key")).unwrap());
        let vaults = Vaults::new(store.clone(), key_encryption_keys.clone());
        let secrets = Secrets::new(store.clone(), vaults.clone());
        let access = access(&store);
        let tenant = TenantId(Uuid::from_u128(0x7e));
        let group = set_up(&store, &key_encryption_keys, tenant, 1, &[key(0)]).await;
        let new = NewVault { name: "dev", location: "here", retention_days: 90 };
        vaults.create(&Authorization::of_test(ctx(tenant), &store), &group, &new).await.unwrap();
        let vault = Arc::clone(store.snapshot().vault("dev").unwrap());
        Self { dir, store, vaults, secrets, access, key_encryption_keys, tenant, group, vault }
    }

    pub(crate) fn ctx(&self) -> Ctx {
        ctx(self.tenant)
    }

    /// The server's own authorization in the tenant.
    pub(crate) fn auth(&self) -> Authorization {
        self.auth_of(self.ctx())
    }

    pub(crate) fn auth_of(&self, ctx: Ctx) -> Authorization {
        Authorization::of_test(ctx, &self.store)
    }

    /// A new principal, which may do nothing.
    pub(crate) async fn principal(&self) -> Who {
        let who = Who { principal: PrincipalId(random::uuid_v4()), client: ClientId(random::uuid_v4()) };
        put(&self.store, &self.ctx(), &self.record_of(who)).await;
        who
    }

    pub(crate) fn record_of(&self, who: Who) -> ServicePrincipal {
        ServicePrincipal {
            tenant: self.tenant,
            id: who.principal,
            client_id: who.client,
            display_name: "someone".into(),
            kind: PrincipalKind::Application,
            enabled: true,
            epoch: 0,
            keys: Vec::new(),
            token_lifetime: None,
            federated: Vec::new(),
        }
    }

    /// A new principal with a built-in role at a scope.
    pub(crate) async fn with_role(&self, role: &str, scope: &ResourceId) -> Who {
        let who = self.principal().await;
        let assignment = RoleAssignment {
            tenant: self.tenant,
            id: random::uuid_v4(),
            scope: scope.clone(),
            principal: who.principal,
            role: BuiltInRoles::load().named(role).unwrap().id,
            created: NOW,
            created_by: "test".into(),
        };
        put(&self.store, &self.ctx(), &assignment).await;
        who
    }

    /// What a good token of `who` says.
    pub(crate) fn claims(&self, who: Who) -> Value {
        json!({
            "aud": AUDIENCE,
            "iss": format!("{AUTHORITY}/{}/", self.tenant),
            "iat": NOW.0, "nbf": NOW.0 - 300, "exp": NOW.0 + 3600,
            "appid": who.client, "appidacr": "2", "idp": format!("{AUTHORITY}/{}/", self.tenant),
            "idtyp": "app", "oid": who.principal, "sub": who.principal, "tid": self.tenant,
            "uti": "u", "ver": "1.0", "xms_epoch": 0,
        })
    }

    /// A good token of `who`.
    pub(crate) fn token(&self, who: Who) -> String {
        sign(&self.claims(who))
    }

    pub(crate) async fn set(&self, name: &str, value: &str) -> String {
        let new = NewSecret::of(SecretString::from(value));
        self.secrets.set(&self.auth(), &self.vault, &name.parse().unwrap(), new).await.unwrap().version
    }

    /// Every file the server keeps, the audit's spool included.
    pub(crate) fn files(&self) -> Vec<std::path::PathBuf> {
        let (mut files, mut folders) = (Vec::new(), vec![self.dir.path().to_owned()]);
        while let Some(folder) = folders.pop() {
            for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() { folders.push(path) } else { files.push(path) }
            }
        }
        files
    }

    /// The audit records about this, oldest first: outcome, target, reason.
    pub(crate) async fn audited(&self, action: &str) -> Vec<(Outcome, String, String)> {
        let tail = self.store.audit_tail(&self.ctx(), 1000).await.unwrap();
        tail.into_iter().filter(|r| r.action == action).map(|r| (r.outcome, r.target, r.because)).collect()
    }
}

/// Signs with key 0, as the token service does.
pub(crate) fn sign(claims: &Value) -> String {
    sign_as(0, &json!({"typ": "JWT", "alg": "RS256", "kid": key(0).1.kid()}), claims)
}

pub(crate) fn sign_as(n: usize, header: &Value, claims: &Value) -> String {
    sign_compact(&key(n).0, Algorithm::Rs256, &header.to_string(), &claims.to_string()).unwrap()
}

pub(crate) fn access(store: &Store) -> Access {
    Access::new(store.clone(), Arc::new(BuiltInRoles::load()), AUTHORITY, Clock::system()).0
}

pub(crate) fn ctx(tenant: TenantId) -> Ctx {
    Ctx::new(tenant, Actor::System("test"), NOW, Uuid::from_u128(9))
}

pub(crate) async fn put<R: Record>(store: &Store, ctx: &Ctx, record: &R) {
    let put = store.write(ctx, |tx| {
        Box::pin(async move {
            tx.put(record).await?;
            Ok::<_, StoreError>(Write::commit("test", "test", ()))
        })
    });
    put.await.unwrap();
}

pub(crate) fn signing_key(tenant: TenantId, certificate: &Certificate) -> SigningKey {
    SigningKey {
        tenant,
        kid: certificate.kid(),
        alg: SigningAlgorithm::Rs256,
        certificate: b64::standard(certificate.der()),
        sealed: String::new(),
        created: NOW,
        signs_from: NOW,
        signs_until: None,
        published_until: None,
    }
}

/// A tenant with a subscription, a resource group and signing keys.
pub(crate) async fn set_up(
    store: &Store,
    key_encryption_keys: &KeyEncryptionKeys,
    tenant: TenantId,
    n: u128,
    keys: &[&(Signer, Certificate)],
) -> ResourceId {
    let ctx = ctx(tenant);
    let subscription = SubscriptionId(Uuid::from_u128(n));
    let group = ResourceId::subscription(subscription).resource_group("rg").unwrap();
    let record = Tenant {
        id: tenant,
        domain: format!("t{n}.test"),
        display_name: "T".into(),
        sealed_kek: key_encryption_keys.create(tenant),
        created: NOW,
    };
    put(store, &ctx, &record).await;
    for (_, certificate) in keys {
        put(store, &ctx, &signing_key(tenant, certificate)).await;
    }
    put(store, &ctx, &Subscription { tenant, id: subscription, display_name: "S".into(), created: NOW }).await;
    put(store, &ctx, &ResourceGroup { tenant, id: group.clone(), location: "here".into(), created: NOW }).await;
    group
}
