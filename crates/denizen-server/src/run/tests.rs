//! TLS that is damaged, and schedules under a clock that jumped.

use denizen_wire::{ClientId, PrincipalId, ResourceId, SubscriptionId, UnixTime};
use uuid::Uuid;

use super::*;
use crate::{
    app::{
        directory::{self, DirectoryError, GroupChange, Named, NewAppRole},
        secrets::NewSecret,
        users::NewUser,
        vaults::NewVault,
    },
    domain::{Ctx, clock_watch::ClockStanding, resources::Vault as VaultRecord, secrets::SecretName},
    store::Outcome,
};

#[test]
fn what_a_damaged_tls_key_holds_is_not_shown() {
    const MARKER: &str = "MARKER-hunter2";
    let numbers = format!("{:?}", MARKER.as_bytes());
    for text in [
        MARKER.to_owned(),
        format!("-----BEGIN PRIVATE KEY-----\\n{MARKER}\\n-----END PRIVATE KEY-----\\n"),
        format!("-----BEGIN PRIVATE KEY----- {MARKER} -----END PRIVATE KEY-----\n"),
        format!("-----BEGIN PRIVATE KEY-----\n{MARKER}!\n-----END PRIVATE KEY-----\n"),
        format!("-----BEGIN PRIVATE KEY-----\n{MARKER}\n"),
        "-----BEGIN PRIVATE KEY-----\nTUFSS0VSLWh1bnRlcjI=\n-----END PRIVATE KEY-----\n".to_owned(),
    ] {
        for error in [tls("", &SecretString::from(&*text)).unwrap_err(), tls(&text, &"".into()).unwrap_err()] {
            let printed = format!("{error} {error:?}");
            assert!(!printed.contains(MARKER) && !printed.contains(numbers.trim_matches(['[', ']'])), "{printed}");
        }
    }
}

const DAY: i64 = 24 * 3600;
const HOUR: i64 = 3600;
const NOW: UnixTime = UnixTime(1_795_239_900);
const TENANT: TenantId = TenantId(Uuid::from_u128(0x7e));

async fn open(folder: &tempfile::TempDir, clock: &Clock) -> Server {
    let root = folder.path().canonicalize().unwrap();
    let key = RootKey::load_or_create(&root_key_in(&root)).unwrap();
    Server::open_at_rest(&root, key, "https://localhost:8443", clock.clone()).await.unwrap()
}

/// A server with a deleted secret that can be recovered for 90 days, a retired signing key, and an ended join token.
struct Kept {
    folder: tempfile::TempDir,
    clock: Clock,
    server: Server,
    vault: Arc<VaultRecord>,
}

impl Kept {
    async fn new() -> Self {
        let (folder, clock) = (tempfile::tempdir().unwrap(), Clock::manual(NOW));
        let server = open(&folder, &clock).await;
        let set_up = || server.authorize(TENANT, SystemReason::SetUp);
        server.directory.create_tenant(&set_up(), "t.example", "T").await.unwrap();
        let subscription = SubscriptionId(Uuid::from_u128(0x5b));
        let group = server.directory.create_resource_group(&set_up(), subscription, "dev", "local").await.unwrap();
        let new = NewVault { name: "dev", location: "local", retention_days: 90 };
        server.vaults.create(&set_up(), &group.id, &new).await.unwrap();
        let vault = Arc::clone(server.store.snapshot().vault("dev").unwrap());
        let name: SecretName = "s".parse().unwrap();
        server.secrets.set(&set_up(), &vault, &name, NewSecret::of(SecretString::from("v"))).await.unwrap();
        server.secrets.delete(&set_up(), &vault, &name).await.unwrap();
        server.machines.create_join_token(&set_up(), &group.id, None, HOUR).await.unwrap();
        server.keep_schedules_once().await;
        Self { folder, clock, server, vault }
    }

    fn ctx(&self) -> Ctx {
        self.server.authorize(TENANT, SystemReason::SetUp).ctx().clone()
    }

    /// As after a stop and a start at another time.
    async fn started_at(&mut self, now: UnixTime) {
        self.server.store.clone().close().await;
        self.clock = Clock::manual(now);
        self.server = open(&self.folder, &self.clock).await;
    }

    /// Whether the secret, the first signing key and the join token are still there.
    async fn there(&self) -> [bool; 3] {
        let store = &self.server.store;
        let secret = store.deleted_secret(&self.ctx(), &self.vault.id, "s").await.unwrap();
        let changes = store.changes_since(&self.ctx(), crate::store::Revision(0), 1000).await.unwrap();
        let gone = |kind| changes.iter().any(|change| change.kind == kind && change.after.is_none());
        [secret.is_some(), !gone(crate::store::Kind::SigningKey), !gone(crate::store::Kind::JoinToken)]
    }
}

#[tokio::test]
async fn a_start_with_the_clock_ahead_removes_nothing_until_somebody_confirms() {
    let mut kept = Kept::new().await;
    kept.started_at(NOW + 100 * DAY).await;
    assert_eq!(kept.server.store.clock_standing(), ClockStanding::Ahead(100 * DAY));
    kept.server.keep_schedules_once().await;
    assert_eq!(kept.there().await, [true; 3]);
    // What is not removed goes on: keys are made, and writes are written.
    assert!(kept.server.store.snapshot().signing_keys(TENANT).len() >= 2);
    // A name whose secret looks past its time is not taken over either.
    let (name, new): (SecretName, _) = ("s".parse().unwrap(), NewSecret::of(SecretString::from("w")));
    let authorization = kept.server.authorize(TENANT, SystemReason::SetUp);
    assert!(kept.server.secrets.set(&authorization, &kept.vault, &name, new).await.is_err());
    assert_eq!(kept.there().await, [true; 3]);
    // Started again, it is as wary.
    kept.started_at(NOW + 100 * DAY + HOUR).await;
    kept.server.keep_schedules_once().await;
    assert_eq!(kept.there().await, [true; 3]);

    kept.server.confirm_clock().await.unwrap();
    kept.server.keep_schedules_once().await;
    assert_eq!(kept.there().await, [false; 3]);
    let records = kept.server.store.audit_tail(&kept.ctx(), 100).await.unwrap();
    let confirmed: Vec<_> = records.iter().filter(|it| it.action == "Denizen.Server/clock/confirm").collect();
    assert_eq!(confirmed.len(), 1, "{records:?}");
    assert_eq!(
        (confirmed[0].outcome, confirmed[0].actor.as_str()),
        (Outcome::Allowed, "system:the clock was confirmed")
    );
    // What was confirmed is remembered.
    kept.started_at(NOW + 100 * DAY + 2 * HOUR).await;
    assert!(kept.server.store.clock_standing().is_trusted());
}

#[tokio::test]
async fn a_clock_that_was_corrected_goes_on_as_before() {
    let mut kept = Kept::new().await;
    kept.started_at(NOW + 100 * DAY).await;
    for _ in 0..5 {
        kept.clock.advance(HOUR);
        kept.server.keep_schedules_once().await;
    }
    kept.clock.set(NOW + 5 * HOUR);
    assert!(kept.server.store.clock_standing().is_trusted(), "the writes of the wrong clock dragged the time along");
    kept.server.keep_schedules_once().await;
    kept.started_at(NOW + 6 * HOUR).await;
    assert!(kept.server.store.clock_standing().is_trusted());
    let name: SecretName = "s".parse().unwrap();
    let authorization = kept.server.authorize(TENANT, SystemReason::SetUp);
    kept.server.secrets.recover(&authorization, &kept.vault, &name).await.unwrap();
}

#[tokio::test]
async fn a_clock_that_jumps_while_the_server_runs_is_noticed() {
    let kept = Kept::new().await;
    kept.clock.advance(HOUR);
    kept.server.keep_schedules_once().await;
    kept.clock.set(NOW + 100 * DAY);
    kept.server.keep_schedules_once().await;
    assert_eq!(kept.there().await, [true; 3]);
    assert_eq!(kept.server.store.clock_standing(), ClockStanding::Ahead(100 * DAY - HOUR));
    // Back, before what was seen: distrusted as well, and nothing is forgotten by it.
    kept.clock.set(NOW - DAY);
    kept.server.keep_schedules_once().await;
    assert_eq!(kept.server.store.clock_standing(), ClockStanding::Behind(DAY + HOUR));
    assert_eq!(kept.there().await, [true; 3]);
}

#[tokio::test]
async fn hour_by_hour_everything_goes_when_its_time_is_over() {
    let kept = Kept::new().await;
    let mut gone_on = None;
    for day in 1..=100 {
        for _ in 0..4 {
            kept.clock.advance(6 * HOUR);
            kept.server.keep_schedules_once().await;
        }
        assert!(kept.server.store.clock_standing().is_trusted(), "day {day}");
        if gone_on.is_none() && !kept.there().await[0] {
            gone_on = Some(day);
        }
    }
    assert_eq!(gone_on, Some(90));
    assert_eq!(kept.there().await, [false; 3]);
}

/// What a directory has that names one another.
struct Made {
    app: ClientId,
    resource_app: ClientId,
    client: PrincipalId,
    resource: PrincipalId,
    team: PrincipalId,
    user: PrincipalId,
}

impl Made {
    async fn new(server: &Server) -> Self {
        let auth = server.authorize(TENANT, SystemReason::SetUp);
        let directory = &server.directory;
        let (app, client) = directory.create_application(&auth, "client").await.unwrap();
        let (resource_app, resource) = directory.create_application(&auth, "resource").await.unwrap();
        let group = |name: &str, members: Vec<Uuid>| GroupChange {
            display_name: Some(name.to_owned()),
            mail_nickname: Some(name.to_owned()),
            members,
            ..GroupChange::default()
        };
        let team = directory.create_group(&auth, &group("team", vec![client.id.0])).await.unwrap().id;
        let all = directory.create_group(&auth, &group("all", vec![team.0])).await.unwrap().id;
        let (name, display_name) = ("ada@t.example".to_owned(), String::new());
        let new = NewUser { name, display_name, password: None, must_change: false };
        let user = server.users.create(&auth, &new).await.unwrap().id;
        directory.add_member(&auth, all, user).await.unwrap();
        for principal in [client.id, team, user] {
            server.rbac.assign(&auth, principal, "Reader", &ResourceId::root()).await.unwrap();
            let role = NewAppRole { principal, resource: resource.id, role: Uuid::nil() };
            directory.give_app_role(&auth, directory::actions::UPDATE_APP_ROLES, role).await.unwrap();
        }
        for user in [None, Some(user)] {
            directory.grant_scopes(&auth, (client.id, user, resource.id), "read").await.unwrap();
        }
        let (app, resource_app) = (app.client_id, resource_app.client_id);
        Self { app, resource_app, client: client.id, resource: resource.id, team, user }
    }
}

/// How many memberships, roles, app roles and grants a principal has.
fn left(server: &Server, id: PrincipalId) -> [usize; 4] {
    let snapshot = server.store.snapshot();
    [
        snapshot.memberships_of(TENANT, id).count(),
        snapshot.assignments_of(TENANT, id).len(),
        snapshot.app_roles_of(TENANT, id).len(),
        snapshot.grants_of(TENANT, id).len(),
    ]
}

#[tokio::test]
async fn what_was_deleted_of_the_directory_goes_after_thirty_days_with_all_that_names_it() {
    let mut kept = Kept::new().await;
    let Made { client, team, user, .. } = Box::pin(Made::new(&kept.server)).await;
    assert_eq!([client, team, user].map(|id| left(&kept.server, id)), [[1, 1, 1, 2], [1, 1, 1, 0], [1, 1, 1, 0]]);
    let auth = kept.server.authorize(TENANT, SystemReason::SetUp);
    kept.server.directory.delete_group(&auth, team).await.unwrap();
    kept.server.directory.delete_user(&auth, &user.to_string()).await.unwrap();
    assert_eq!([team, user].map(|id| left(&kept.server, id)), [[1, 1, 1, 0], [1, 1, 1, 0]]);

    // A clock that jumped removes nothing.
    Box::pin(kept.started_at(NOW + 40 * DAY)).await;
    Box::pin(kept.server.keep_schedules_once()).await;
    assert_eq!(left(&kept.server, team), [1, 1, 1, 0]);
    Box::pin(kept.started_at(NOW + HOUR)).await;
    let mut gone_on = None;
    for day in 1..=31 {
        for _ in 0..4 {
            kept.clock.advance(6 * HOUR);
            Box::pin(kept.server.keep_schedules_once()).await;
        }
        if gone_on.is_none() && left(&kept.server, team) == [0; 4] {
            gone_on = Some(day);
        }
    }
    assert_eq!(gone_on, Some(30));
    assert_eq!(left(&kept.server, user), [0; 4]);
    // The user's consent went with it, and the membership in the group; what names neither did not.
    assert_eq!(left(&kept.server, client), [0, 1, 1, 1]);
    let auth = kept.server.authorize(TENANT, SystemReason::SetUp);
    for id in [team, user] {
        let gone = kept.server.directory.restore(&auth, id.0).await.unwrap_err();
        assert!(matches!(gone, DirectoryError::Missing(_)), "{gone}");
    }
}

#[tokio::test]
async fn what_is_removed_for_good_by_hand_goes_at_once_with_all_that_names_it() {
    let kept = Kept::new().await;
    let Made { app, resource_app, client, resource, .. } = Box::pin(Made::new(&kept.server)).await;
    let (auth, directory) = (kept.server.authorize(TENANT, SystemReason::SetUp), &kept.server.directory);
    directory.delete_application(&auth, Named::Client(resource_app)).await.unwrap();
    assert_eq!(left(&kept.server, client), [1, 1, 1, 2]);
    directory.purge(&auth, resource.0).await.unwrap();
    assert_eq!(left(&kept.server, client), [1, 1, 0, 0], "what it was given at the resource");
    directory.delete_application(&auth, Named::Client(app)).await.unwrap();
    directory.purge(&auth, client.0).await.unwrap();
    assert_eq!(left(&kept.server, client), [0; 4]);
    let again = directory.purge(&auth, client.0).await.unwrap_err();
    assert!(matches!(again, DirectoryError::Missing(_)), "{again}");
}
