//! A deployment for the tests of the token service: a real store in a directory of its own, two tenants, and
//! clients of each kind.

use std::sync::{Arc, LazyLock};

use denizen_keys::{RsaBits, SecretString, Signer, envelope::RootKey, hash, password, x509};
use denizen_wire::{ClientId, Clock, PrincipalId, TenantId, UnixTime};
use uuid::Uuid;

use crate::{
    app::{
        access::{Access, Authorization},
        credentials::Credentials,
        federation::Federation,
        hashing::Hashing,
        key_encryption_keys::KeyEncryptionKeys,
        passwords::Passwords,
        sign_in::SignInService,
        signing::KeyRing,
        tokens::TokenService,
        users::Users,
    },
    domain::{
        Actor, Ctx,
        claims::audience::{EntraIssued, OwnResources},
        directory::{
            Application, Kept, KeyCredential, PasswordCredential, PrincipalKind, ServicePrincipal, SigningKey, Tenant,
            TokenVersion,
        },
        roles::BuiltInRoles,
    },
    issuers::{Issuers, Outbound},
    store::{Engine, OneTime, Record, Store, StoreError, Write},
};

pub(crate) const NOW: UnixTime = UnixTime(1_795_239_900);
pub(crate) const AUTHORITY: &str = "https://localhost:8443";
pub(crate) const VAULT: &str = "https://vault.denizen.test:8444";
pub(crate) const SECRET: &str = "abcDEF-0123456789_the-right-secret";

pub(crate) const CONTOSO: TenantId = TenantId(Uuid::from_u128(0xc0));
pub(crate) const FABRIKAM: TenantId = TenantId(Uuid::from_u128(0xfa));
/// An application of Contoso's, with a secret and a certificate.
pub(crate) const APP: ClientId = ClientId(Uuid::from_u128(0xa1));
/// A machine's identity in Contoso, with a certificate of its own and no application.
pub(crate) const MACHINE: ClientId = ClientId(Uuid::from_u128(0xa2));
/// An application of Contoso's that is a resource: `api://orders`, reading v2.0.
pub(crate) const API: ClientId = ClientId(Uuid::from_u128(0xa3));
/// An application of Fabrikam's, with the same secret and the same certificate as [`APP`].
pub(crate) const OTHER_APP: ClientId = ClientId(Uuid::from_u128(0xb1));

/// The key that clients sign with, its certificate registered.
pub(crate) static SIGNER: LazyLock<Signer> = LazyLock::new(|| Signer::generate_rsa(RsaBits::B2048).unwrap());
/// A key that nobody has registered.
pub(crate) static STRANGER: LazyLock<Signer> = LazyLock::new(|| Signer::generate_rsa(RsaBits::B2048).unwrap());
static HASH: LazyLock<String> = LazyLock::new(|| password::hash(&SecretString::from(SECRET)));

pub(crate) struct Deployment {
    pub(crate) store: Store,
    pub(crate) keys: KeyRing,
    pub(crate) tokens: TokenService,
    pub(crate) users: Users,
    pub(crate) sign_in: SignInService,
    place: tempfile::TempDir,
}

pub(crate) fn ctx(tenant: TenantId, now: UnixTime) -> Ctx {
    Ctx::new(tenant, Actor::System("test"), now, Uuid::from_u128(0x4e9))
}

pub(crate) fn key_credential() -> KeyCredential {
    static CERTIFICATE: LazyLock<x509::Certificate> =
        LazyLock::new(|| x509::self_signed(&SIGNER, "client", NOW.0 - 1000, NOW.0 + 1_000_000).unwrap());
    KeyCredential {
        key_id: Uuid::from_u128(0xce47),
        display_name: "certificate".into(),
        start: NOW - 1000,
        end: NOW + 1_000_000,
        x5t: CERTIFICATE.thumbprint_sha1(),
        x5t_s256: CERTIFICATE.thumbprint_sha256(),
        n: hash::hex(SIGNER.public().rsa().unwrap().n()),
        e: hash::hex(SIGNER.public().rsa().unwrap().e()),
    }
}

/// [`SECRET`] as the first release kept it.
pub(crate) fn password_credential() -> PasswordCredential {
    let key_id = Uuid::from_u128(0x5ec);
    PasswordCredential {
        key_id,
        display_name: "secret".into(),
        hint: "abc".into(),
        start: NOW - 1000,
        end: NOW + 1_000_000,
        kept: Kept::Argon2id { hash: HASH.clone(), check: Kept::check_of(key_id, SECRET) },
    }
}

/// A secret of a client of this tenant, as it is kept now.
pub(crate) fn new_password_credential(tenant: &Tenant, client: ClientId, secret: &str) -> PasswordCredential {
    let mac = KEY_ENCRYPTION_KEYS.client_secret_mac(tenant, client, &secret.into()).unwrap();
    PasswordCredential { key_id: Uuid::from_u128(0x5ec2), kept: Kept::Mac(mac), ..password_credential() }
}

pub(crate) fn application(tenant: TenantId, client_id: ClientId) -> Application {
    Application {
        passwords: vec![password_credential()],
        keys: vec![key_credential()],
        ..Application::new(tenant, client_id, Uuid::from_u128(client_id.0.as_u128() + 0x1000), "application")
    }
}

pub(crate) fn principal(tenant: TenantId, client_id: ClientId) -> ServicePrincipal {
    ServicePrincipal {
        tenant,
        id: PrincipalId(Uuid::from_u128(client_id.0.as_u128() + 0x2000)),
        client_id,
        display_name: "principal".into(),
        kind: PrincipalKind::Application,
        enabled: true,
        epoch: 3,
        keys: vec![],
        token_lifetime: Some(3600),
        federated: Vec::new(),
    }
}

pub(crate) fn machine() -> ServicePrincipal {
    let id = "/subscriptions/00000000-0000-0000-0000-000000000009/resourceGroups/rg/providers/Microsoft.HybridCompute/machines/web01";
    ServicePrincipal {
        kind: PrincipalKind::ManagedIdentity { resource_id: id.parse().unwrap() },
        keys: vec![key_credential()],
        token_lifetime: None,
        ..principal(CONTOSO, MACHINE)
    }
}

/// What Contoso's tenant and keys are in every deployment: RSA keys take long to make, so they are made once.
struct Contoso {
    sealed_kek: String,
    keys: Vec<SigningKey>,
}

/// What every deployment's keys are under.
pub(crate) static KEY_ENCRYPTION_KEYS: LazyLock<KeyEncryptionKeys> = LazyLock::new(|| {
    let place = tempfile::tempdir().unwrap();
    KeyEncryptionKeys::new(RootKey::load_or_create(&place.path().canonicalize().unwrap().join("root.key")).unwrap())
});
static MADE: tokio::sync::OnceCell<Contoso> = tokio::sync::OnceCell::const_new();

/// Two tenants with their clients; Contoso has signing keys, Fabrikam has not yet (RSA keys take long to make).
pub(crate) async fn deployment() -> Deployment {
    deployment_with(EntraIssued::default()).await
}

/// The same, whose tokens for some resources name Entra as their issuer.
pub(crate) async fn deployment_with(entra_issued: EntraIssued) -> Deployment {
    deployment_asking(entra_issued, Issuers::new(&Outbound::default(), Clock::manual(NOW))).await
}

/// The same, which asks other issuers for their keys.
pub(crate) async fn deployment_asking(entra_issued: EntraIssued, issuers: Issuers) -> Deployment {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().canonicalize().unwrap();
    let store = Store::open(Engine::Sqlite { path: root.join("denizen.db") }, crate::store::StoreKeys::of_test())
        .await
        .unwrap();
    let key_encryption_keys = KEY_ENCRYPTION_KEYS.clone();
    let keys = KeyRing::new(store.clone(), key_encryption_keys.clone());
    let own_resources = OwnResources::named([VAULT]);
    let (access, _) = Access::new(store.clone(), Arc::new(BuiltInRoles::load()), AUTHORITY, Clock::system());
    let credentials = Credentials::new(key_encryption_keys.clone(), Hashing::of_this_machine());
    let federation = Federation::new(issuers, keys.clone(), AUTHORITY);
    let tokens = TokenService::new(
        store.clone(),
        keys.clone(),
        (credentials, federation),
        AUTHORITY,
        own_resources,
        entra_issued,
        access,
    );
    let passwords = Passwords::new(Hashing::of_this_machine());
    let users = Users::new(store.clone(), key_encryption_keys.clone(), passwords.clone());
    let sign_in = SignInService::new(store.clone(), users.clone(), passwords, tokens.strangers().clone());
    let deployment = Deployment { store, keys, tokens, users, sign_in, place };
    for (id, domain) in [(CONTOSO, "contoso.test"), (FABRIKAM, "fabrikam.test")] {
        let tenant = Tenant {
            id,
            domain: domain.into(),
            display_name: domain.into(),
            sealed_kek: key_encryption_keys.create(id),
            created: NOW,
        };
        deployment.put(id, &tenant).await;
    }
    let contoso = MADE
        .get_or_init(async || {
            deployment.keys.ensure_keys(&deployment.auth(CONTOSO, NOW)).await.unwrap();
            Contoso {
                sealed_kek: deployment.store.snapshot().tenant(CONTOSO).unwrap().sealed_kek.clone(),
                keys: deployment.signing_keys(CONTOSO).iter().map(|key| SigningKey::clone(key)).collect(),
            }
        })
        .await;
    if deployment.signing_keys(CONTOSO).is_empty() {
        let tenant = Tenant::clone(deployment.store.snapshot().tenant(CONTOSO).unwrap());
        deployment.put(CONTOSO, &Tenant { sealed_kek: contoso.sealed_kek.clone(), ..tenant }).await;
        for key in &contoso.keys {
            deployment.put(CONTOSO, key).await;
        }
    }
    for (tenant, client) in [(CONTOSO, APP), (FABRIKAM, OTHER_APP)] {
        deployment.put(tenant, &application(tenant, client)).await;
        deployment.put(tenant, &principal(tenant, client)).await;
    }
    deployment.put(CONTOSO, &machine()).await;
    let api = Application {
        identifier_uris: vec!["api://orders".into()],
        token_version: TokenVersion::V2,
        passwords: vec![],
        keys: vec![],
        ..application(CONTOSO, API)
    };
    deployment.put(CONTOSO, &api).await;
    deployment
}

impl Deployment {
    /// The server's own authorization.
    pub(crate) fn auth(&self, tenant: TenantId, now: UnixTime) -> Authorization {
        Authorization::of_test(ctx(tenant, now), &self.store)
    }

    /// The size of every file that the deployment keeps.
    pub(crate) fn bytes_on_disk(&self) -> Vec<(std::path::PathBuf, u64)> {
        let (mut files, mut folders) = (Vec::new(), vec![self.place.path().to_owned()]);
        while let Some(folder) = folders.pop() {
            for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                match std::fs::metadata(&path).unwrap() {
                    found if found.is_dir() => folders.push(path),
                    found => files.push((path, found.len())),
                }
            }
        }
        files.sort();
        files
    }

    /// Writes a record.
    pub(crate) async fn put<R: Record>(&self, tenant: TenantId, record: &R) {
        crate::app::access::tests::fixture::put(&self.store, &ctx(tenant, NOW), record).await;
    }

    /// Removes a record.
    pub(crate) async fn remove<R: Record>(&self, tenant: TenantId, key: &R::Key) {
        let ctx = ctx(tenant, NOW);
        let removed = self.store.write(&ctx, |tx| {
            Box::pin(async move {
                tx.remove::<R>(key).await?;
                Ok::<_, StoreError>(Write::commit("test", "/", ()))
            })
        });
        removed.await.unwrap();
    }

    /// Keeps what is consumed once.
    pub(crate) async fn issue<T: OneTime>(&self, one: &T) {
        let ctx = ctx(one.tenant(), NOW);
        let issued = self.store.write(&ctx, |tx| {
            Box::pin(async move {
                tx.issue(one).await?;
                Ok::<_, StoreError>(Write::commit("test", "/", ()))
            })
        });
        issued.await.unwrap();
    }

    /// A tenant's signing keys, as they are kept.
    pub(crate) fn signing_keys(&self, tenant: TenantId) -> Vec<Arc<SigningKey>> {
        self.store.snapshot().signing_keys(tenant).to_vec()
    }
}
