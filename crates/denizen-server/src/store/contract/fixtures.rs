//! Records to test with. A number tells one from another, so that a test reads as what it is about.

use denizen_wire::{ClientId, PrincipalId, ResourceId, SubscriptionId, TenantId, UnixTime, node::MachineFacts};
use uuid::Uuid;

use crate::{
    domain::{
        Actor, Ctx,
        deleted::{DeletedKind, DeletedObject},
        directory::{
            Application, Kept, PasswordCredential, PrincipalKind, ServicePrincipal, SigningAlgorithm, SigningKey,
            Tenant,
        },
        federation::{FederatedCredential, Whom},
        grants::{AppRoleAssignment, PermissionGrant},
        hot::Principal,
        people::{ExternalIdentity, Group, Membership, Totp, User, UserPassword},
        resources::{JoinToken, Machine, ResourceGroup, Subscription, Vault},
        roles::{RoleAssignment, RoleDefinition, RoleId},
        secrets::SecretVersion,
        sign_in::{RefreshToken, SignIn},
    },
    store::{AuditEvent, Store},
};

pub(in crate::store) const NOW: UnixTime = UnixTime(1_795_239_900);

pub(in crate::store) fn tenant_id(n: u8) -> TenantId {
    TenantId(uuid(0xA0, n))
}

pub(in crate::store) fn uuid(kind: u8, n: u8) -> Uuid {
    Uuid::from_u128(u128::from_be_bytes([kind, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, n]))
}

pub(in crate::store) fn ctx(tenant: u8) -> Ctx {
    Ctx::new(tenant_id(tenant), Actor::System("test"), NOW, uuid(0xEE, tenant))
}

pub(in crate::store) fn event(action: &str) -> AuditEvent<'_> {
    AuditEvent::allowed(action, "/", "a test")
}

pub(in crate::store) fn tenant(n: u8) -> Tenant {
    Tenant {
        id: tenant_id(n),
        domain: format!("t{n}.example"),
        display_name: format!("Tenant {n}"),
        sealed_kek: format!("THE-SEALED-KEK-{n}"),
        created: NOW,
    }
}

pub(in crate::store) fn client(n: u8) -> ClientId {
    ClientId(uuid(0xC0, n))
}

pub(in crate::store) fn principal_id(n: u8) -> PrincipalId {
    PrincipalId(uuid(0xB0, n))
}

pub(in crate::store) fn application(tenant: u8, n: u8, uris: &[&str]) -> Application {
    Application {
        identifier_uris: uris.iter().map(|uri| (*uri).to_owned()).collect(),
        passwords: [
            (0xC2, Kept::Argon2id { hash: "THE-PASSWORD-HASH".to_owned(), check: 7 }),
            (0xC3, Kept::Mac([0xAB; 32])),
        ]
        .map(|(kind, kept)| PasswordCredential {
            key_id: uuid(kind, n),
            display_name: "p".to_owned(),
            hint: "abc".to_owned(),
            start: NOW,
            end: NOW + 60,
            kept,
        })
        .to_vec(),
        federated: federated(n),
        ..Application::new(tenant_id(tenant), client(n), uuid(0xC1, n), &format!("App {n}"))
    }
}

/// Every third has one, by turns with a subject and with an expression.
fn federated(n: u8) -> Vec<FederatedCredential> {
    let whom = match n % 6 {
        1 => Whom::Subject("subject".to_owned()),
        4 => Whom::Expression("claims['sub'] matches 'a*'".parse().unwrap()),
        _ => return Vec::new(),
    };
    vec![FederatedCredential {
        id: uuid(0xC3, n),
        name: "federated".to_owned(),
        issuer: "https://issuer.test".to_owned(),
        whom,
        audiences: vec!["audience".to_owned()],
        description: String::new(),
    }]
}

pub(in crate::store) fn principal(tenant: u8, n: u8) -> ServicePrincipal {
    ServicePrincipal {
        tenant: tenant_id(tenant),
        id: principal_id(n),
        client_id: client(n),
        display_name: format!("Principal {n}"),
        kind: PrincipalKind::Application,
        enabled: true,
        epoch: 0,
        keys: Vec::new(),
        token_lifetime: None,
        federated: federated(n),
    }
}

/// What the snapshot has of a principal.
pub(in crate::store) fn hot(principal: &ServicePrincipal) -> Principal {
    Principal::of(principal, |id| id.into())
}

/// How many machines there are, of all tenants: the snapshot has none.
pub(in crate::store) async fn machines_of(store: &Store) -> u64 {
    store.rows("SELECT COUNT(*) FROM machines", &[]).await.unwrap()[0].count(0).unwrap()
}

pub(in crate::store) fn signing_key(tenant: u8, n: u8) -> SigningKey {
    SigningKey {
        tenant: tenant_id(tenant),
        kid: format!("kid-{n}"),
        alg: SigningAlgorithm::Rs256,
        certificate: "MIIB".to_owned(),
        sealed: "THE-SEALED-KEY".to_owned(),
        created: NOW,
        signs_from: NOW + i64::from(n),
        signs_until: None,
        published_until: None,
    }
}

pub(in crate::store) fn subscription_id(n: u8) -> SubscriptionId {
    SubscriptionId(uuid(0x50, n))
}

pub(in crate::store) fn subscription(tenant: u8, n: u8) -> Subscription {
    Subscription { tenant: tenant_id(tenant), id: subscription_id(n), display_name: "S".to_owned(), created: NOW }
}

pub(in crate::store) fn group_id(subscription: u8, name: &str) -> ResourceId {
    ResourceId::subscription(subscription_id(subscription)).resource_group(name).unwrap()
}

pub(in crate::store) fn group(tenant: u8, name: &str) -> ResourceGroup {
    ResourceGroup { tenant: tenant_id(tenant), id: group_id(tenant, name), location: "onprem".to_owned(), created: NOW }
}

pub(in crate::store) fn machine_id(tenant: u8, name: &str) -> ResourceId {
    group_id(tenant, "rg").provider("Microsoft.HybridCompute/machines", name).unwrap()
}

pub(in crate::store) fn machine(tenant: u8, n: u8) -> Machine {
    Machine {
        tenant: tenant_id(tenant),
        id: machine_id(tenant, &format!("Srv{n}")),
        machine_id: uuid(0xD0, n),
        principal_id: principal_id(n),
        location: "onprem".to_owned(),
        facts: MachineFacts::default(),
        created: NOW,
    }
}

pub(in crate::store) fn vault_id(tenant: u8, name: &str) -> ResourceId {
    group_id(tenant, "rg").provider("Microsoft.KeyVault/vaults", name).unwrap()
}

pub(in crate::store) fn vault(tenant: u8, name: &str) -> Vault {
    Vault {
        tenant: tenant_id(tenant),
        id: vault_id(tenant, name),
        name: name.to_ascii_lowercase(),
        location: "onprem".to_owned(),
        sealed_key: "THE-SEALED-VAULT-KEY".to_owned(),
        retention_days: 7,
        created: NOW,
    }
}

pub(in crate::store) fn assignment(tenant: u8, n: u8, scope: &ResourceId, principal: u8) -> RoleAssignment {
    RoleAssignment {
        tenant: tenant_id(tenant),
        id: uuid(0xF0, n),
        scope: scope.clone(),
        principal: principal_id(principal),
        role: RoleId(uuid(0xF1, 1)),
        created: NOW,
        created_by: "test".to_owned(),
    }
}

pub(in crate::store) fn custom_role(tenant: u8, n: u8) -> RoleDefinition {
    RoleDefinition {
        tenant: Some(tenant_id(tenant)),
        id: RoleId(uuid(0xF1, n)),
        name: format!("Role {n}"),
        description: String::new(),
        actions: vec!["*/read".to_owned()],
        not_actions: Vec::new(),
        data_actions: Vec::new(),
        not_data_actions: Vec::new(),
        assignable_scopes: vec![ResourceId::root()],
    }
}

pub(in crate::store) fn join_token(tenant: u8, n: u8) -> JoinToken {
    JoinToken {
        id: uuid(0x70, n),
        tenant: tenant_id(tenant),
        hash: format!("{n:064x}"),
        resource_group: group_id(tenant, "rg"),
        machine_name: None,
        created: NOW,
        expires: NOW + 600,
    }
}

pub(in crate::store) fn user(tenant: u8, n: u8) -> User {
    User {
        tenant: tenant_id(tenant),
        id: PrincipalId(uuid(0xB1, n)),
        name: format!("User{n}@t{tenant}.example"),
        display_name: format!("User {n}"),
        given_name: None,
        surname: None,
        mail: None,
        mail_nickname: format!("user{n}"),
        enabled: true,
        epoch: 0,
        password: Some(UserPassword { hash: "THE-USERS-HASH".to_owned(), set: NOW, must_change: false }),
        totp: Some(Totp { sealed: "THE-SEALED-TOTP".to_owned(), set: NOW, last_step: 0 }),
        externals: vec![external(n)],
        created: NOW,
    }
}

pub(in crate::store) fn external(n: u8) -> ExternalIdentity {
    ExternalIdentity { issuer: "https://idp.example".to_owned(), subject: format!("subject-{n}") }
}

pub(in crate::store) fn user_group(tenant: u8, n: u8) -> Group {
    Group {
        tenant: tenant_id(tenant),
        id: PrincipalId(uuid(0xB2, n)),
        display_name: format!("Group {n}"),
        description: None,
        mail_nickname: format!("group{n}"),
        owners: Vec::new(),
        created: NOW,
    }
}

pub(in crate::store) fn membership(tenant: u8, group: u8, member: PrincipalId) -> Membership {
    Membership { tenant: tenant_id(tenant), group: user_group(tenant, group).id, member, since: NOW }
}

pub(in crate::store) fn app_role(tenant: u8, n: u8, principal: PrincipalId) -> AppRoleAssignment {
    AppRoleAssignment {
        tenant: tenant_id(tenant),
        id: uuid(0xF2, n),
        principal,
        resource: principal_id(1),
        role: uuid(0xF3, n),
        created: NOW,
    }
}

pub(in crate::store) fn permission_grant(tenant: u8, n: u8, client: u8) -> PermissionGrant {
    PermissionGrant {
        tenant: tenant_id(tenant),
        id: uuid(0xF4, n),
        client: principal_id(client),
        user: None,
        resource: principal_id(1),
        scopes: vec!["Orders.Read".to_owned()],
        created: NOW,
    }
}

pub(in crate::store) fn deleted_object(tenant: u8, n: u8) -> DeletedObject {
    DeletedObject {
        tenant: tenant_id(tenant),
        id: uuid(0xB3, n),
        kind: DeletedKind::User,
        display_name: "gone".to_owned(),
        deleted: NOW,
        record: serde_json::json!({ "hash": "THE-HASH-OF-WHO-IS-GONE" }),
    }
}

pub(in crate::store) fn refresh_token(tenant: u8, n: u8) -> RefreshToken {
    let sign_in = SignIn {
        tenant: tenant_id(tenant),
        user: user(tenant, 1).id,
        epoch: 0,
        at: NOW,
        methods: vec!["pwd".to_owned()],
        session: uuid(0x72, n),
    };
    RefreshToken {
        id: uuid(0x71, n),
        tenant: tenant_id(tenant),
        hash: format!("{n:064x}"),
        expires: NOW + 600,
        generation: 1,
        spent: None,
        client: client(1),
        scope: "openid".to_owned(),
        sign_in,
    }
}

/// A version whose sealed bytes are found by searching for `WRAPPED` and `SEALED`.
pub(in crate::store) fn secret(tenant: u8, vault: &str, name: &str, n: u8) -> SecretVersion {
    SecretVersion {
        tenant: tenant_id(tenant),
        vault: vault_id(tenant, vault),
        name: name.to_owned(),
        version: format!("{n:032x}"),
        content_type: Some("text/plain".to_owned()),
        tags: [("env".to_owned(), "dev".to_owned())].into(),
        enabled: true,
        nbf: None,
        exp: Some(NOW + 1000),
        created: NOW,
        updated: NOW,
        wrapped_key: format!("WRAPPED-{name}-{n}").into_bytes(),
        sealed_value: format!("SEALED-{name}-{n}").repeat(8).into_bytes(),
    }
}

/// One record of each kind of tenant 1, and a secret in its vault `v`.
pub(in crate::store) async fn insert_one_of_each(tx: &mut crate::store::Tx<'_>) {
    tx.insert(&application(1, 1, &["api://a"])).await.unwrap();
    tx.insert(&principal(1, 1)).await.unwrap();
    tx.insert(&signing_key(1, 1)).await.unwrap();
    tx.insert(&subscription(1, 1)).await.unwrap();
    tx.insert(&group(1, "rg")).await.unwrap();
    tx.insert(&machine(1, 1)).await.unwrap();
    tx.insert(&vault(1, "v")).await.unwrap();
    tx.insert(&assignment(1, 1, &vault_id(1, "v"), 1)).await.unwrap();
    tx.insert(&custom_role(1, 1)).await.unwrap();
    tx.insert(&user(1, 1)).await.unwrap();
    tx.insert(&user_group(1, 1)).await.unwrap();
    tx.insert(&membership(1, 1, user(1, 1).id)).await.unwrap();
    tx.insert(&app_role(1, 1, user(1, 1).id)).await.unwrap();
    tx.insert(&permission_grant(1, 1, 1)).await.unwrap();
    tx.insert(&deleted_object(1, 1)).await.unwrap();
    tx.secret_add(&secret(1, "v", "s", 1)).await.unwrap();
}

/// Numbers below the one asked for, the same in each run of a seed, so that a failure can be repeated (xorshift64*).
pub(in crate::store) fn numbers(mut seed: u64) -> impl FnMut(u64) -> u8 {
    move |below| {
        seed ^= seed >> 12;
        seed ^= seed << 25;
        seed ^= seed >> 27;
        u8::try_from((seed.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % below).unwrap()
    }
}

/// Puts a `fifo`, a `link` to `target`, or a `folder` where a file should be.
pub(in crate::store) fn put_no_file(kind: &str, at: &std::path::Path, target: &std::path::Path) {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    match kind {
        "fifo" => mknodat(CWD, at, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap(),
        "link" => std::os::unix::fs::symlink(target, at).unwrap(),
        "folder" => std::fs::create_dir(at).unwrap(),
        other => panic!("no {other}"),
    }
}
