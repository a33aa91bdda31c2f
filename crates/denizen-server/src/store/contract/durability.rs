//! Replicas let go of the head before their changes are durable, so that they wait for the disk at the same time. Nobody is
//! told of a change before it is durable, and no replica takes over what a crash of the database undoes.
//!
//! Each test has a server of its own: one that waits for a standby that never comes, or one that loses what it has not synced.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use denizen_test_postgres::Cluster;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tempfile::TempDir;
use tokio::{sync::oneshot, task::JoinHandle, time::sleep};

use super::{attacks::until, fixtures::*};
use crate::{
    domain::directory::ServicePrincipal,
    store::{turn::Turn, *},
};

struct Servers {
    cluster: Cluster,
    folder: TempDir,
}

impl Servers {
    fn new() -> Self {
        let cluster = Cluster::start(&[("autovacuum", "off"), ("jit", "off")]).unwrap();
        cluster.create("denizen").unwrap();
        Self { cluster, folder: tempfile::tempdir().unwrap() }
    }

    async fn open(&self, name: &str) -> Store {
        let engine = Postgres::new(self.cluster.url("denizen"), self.folder.path().join(name));
        Store::open(Engine::Postgres(engine), StoreKeys::of_test()).await.unwrap()
    }

    /// Two replicas that know of one principal.
    async fn two(&self) -> [Store; 2] {
        let one = self.open("one").await;
        let mut tx = one.begin(&ctx(1)).await.unwrap();
        tx.insert(&tenant(1)).await.unwrap();
        tx.insert(&principal(1, 1)).await.unwrap();
        tx.commit(event("x")).await.unwrap();
        let two = self.open("two").await;
        assert_eq!([one.revision(), two.revision()], [Revision(1); 2]);
        [one, two]
    }

    fn ask(&self, sql: &str) -> String {
        self.cluster.query("denizen", sql).unwrap().trim().to_owned()
    }

    /// Every commit waits for this standby from now on, and nobody is that.
    async fn wait_for_a_standby(&self, name: &str) {
        self.ask(&format!("ALTER SYSTEM SET synchronous_standby_names = '{name}'"));
        self.ask("SELECT pg_reload_conf()");
        until("the server knows of the standby", async || self.ask("SHOW synchronous_standby_names") == name).await;
    }

    /// How many are in a commit that waits.
    fn waiting_commits(&self) -> String {
        self.ask("SELECT COUNT(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query LIKE '%COMMIT%'")
    }

    /// Stops the server's process that would sync in the background what nobody waits for.
    fn stop_background_syncs(&self) {
        let pid = self.ask("SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'");
        let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    }

    /// A change of the first replica that is visible and stays so, and is not durable until the guard is gone.
    async fn visible<'s>(
        &self,
        one: &'s Store,
    ) -> (tokio::sync::RwLockWriteGuard<'s, ()>, JoinHandle<Result<Revision, StoreError>>) {
        self.ask("CHECKPOINT");
        self.stop_background_syncs();
        let (held, next) = (one.core.statements.sync.try_write().unwrap(), one.revision().0 + 1);
        let store = one.clone();
        let change = tokio::spawn(async move { rename(&store, 1, 5).await });
        until("the change is visible", async || self.head() == next).await;
        (held, change)
    }

    /// How many versions of secrets the pages of their table have, removed ones among them.
    fn versions_on_disk(&self) -> String {
        self.ask("CREATE EXTENSION IF NOT EXISTS pageinspect SCHEMA pg_catalog");
        self.ask(
            "SELECT COUNT(*) FROM generate_series(0, pg_relation_size('secret_versions') / 8192 - 1) AS block, \
             heap_page_items(get_raw_page('secret_versions', block::INT)) WHERE t_data IS NOT NULL",
        )
    }

    /// The revision that whoever asks the database sees.
    fn head(&self) -> u64 {
        self.ask("SELECT revision FROM head").parse().unwrap()
    }

    /// The server loses what is in its memory.
    fn crash(&mut self) {
        self.cluster.crash().unwrap();
        self.cluster.start_again().unwrap();
    }
}

pub(super) async fn rename(store: &Store, n: u8, epoch: u64) -> Result<Revision, StoreError> {
    let mut tx = store.begin(&ctx(1)).await?;
    tx.put(&ServicePrincipal { epoch, ..principal(1, n) }).await?;
    tx.commit(event("x")).await
}

fn epoch(snapshot: &Snapshot) -> u64 {
    snapshot.principal(tenant_id(1), principal_id(1)).unwrap().epoch
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_wait_for_the_disk_at_the_same_time() {
    let servers = Servers::new();
    let [one, two] = servers.two().await;
    let three = servers.open("three").await;
    servers.wait_for_a_standby("nobody").await;
    let writes = [(&one, 2), (&two, 3)].map(|(store, n)| {
        let store = store.clone();
        tokio::spawn(async move { rename(&store, n, 1).await })
    });
    until("both wait for the standby", async || servers.waiting_commits() == "2").await;
    // Visible to all who ask the database, and known to none of the replicas.
    assert_eq!(servers.head(), 3);
    for store in [&one, &two, &three] {
        assert!(!store.has(Revision(2), Duration::from_millis(400)).await);
        assert_eq!(store.revision(), Revision(1), "it knows what may be undone");
    }
    assert!(writes.iter().all(|write| !write.is_finished()), "one was told of what may be undone");
    servers.wait_for_a_standby("").await;
    for write in writes {
        write.await.unwrap().unwrap();
    }
    for store in [&one, &two, &three] {
        assert!(store.has(Revision(3), Duration::from_secs(5)).await);
        assert!([2, 3].iter().all(|n| store.snapshot().principal(tenant_id(1), principal_id(*n)).is_some()));
        is_whole(store).await;
    }
}

/// Waits until the chain can be read: sessions of before a crash are met one by one.
async fn is_whole(store: &Store) {
    until("the chain is whole", async || store.audit_verify().await.is_ok()).await;
}

/// A vault with a secret in it.
async fn keep_secret(store: &Store) {
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    tx.insert(&subscription(1, 1)).await.unwrap();
    tx.insert(&group(1, "rg")).await.unwrap();
    tx.insert(&vault(1, "v")).await.unwrap();
    tx.secret_add(&secret(1, "v", "s", 1)).await.unwrap();
    tx.commit(event("x")).await.unwrap();
}

async fn delete_secret(store: Store) -> Result<Revision, StoreError> {
    let mut tx = store.begin(&ctx(1)).await?;
    tx.secret_delete(&vault_id(1, "v"), "s", NOW, NOW + 60).await?.unwrap();
    tx.commit(event("x")).await
}

async fn purge_secret(store: Store) -> Result<Revision, StoreError> {
    let mut tx = store.begin(&ctx(1)).await?;
    assert!(tx.secret_purge(&vault_id(1, "v"), "s").await?);
    tx.commit(event("x")).await
}

/// What the second replica does while the first one's change is visible and not durable.
#[derive(Clone, Copy, Debug)]
enum Meanwhile {
    /// It looks what is new.
    Follows,
    /// It decides that there is nothing to write.
    Decides,
    /// It writes.
    Writes,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_crash_undoes_was_known_to_nobody() {
    for meanwhile in [Meanwhile::Follows, Meanwhile::Decides, Meanwhile::Writes] {
        let mut servers = Servers::new();
        let [one, two] = servers.two().await;
        let (held, undone) = servers.visible(&one).await;
        let slow = two.core.statements.sync.try_write().unwrap();
        let (begun, has_begun) = oneshot::channel();
        let deciding = tokio::spawn({
            let two = two.clone();
            async move {
                match meanwhile {
                    Meanwhile::Follows => _ = two.has(Revision(2), Duration::from_secs(60)).await,
                    Meanwhile::Decides => {
                        let tx = two.begin(&ctx(1)).await.unwrap();
                        assert_eq!(epoch(&tx.snapshot()), 5, "it decides by what was there before");
                        begun.send(()).unwrap();
                        assert!(tx.dismiss().await.is_err(), "it was decided by what is undone");
                    }
                    Meanwhile::Writes => {
                        let mut tx = two.begin(&ctx(1)).await.unwrap();
                        tx.insert(&principal(1, 2)).await.unwrap();
                        assert!(tx.commit(event("x")).await.is_err(), "it stands on what is undone");
                    }
                }
            }
        });
        match meanwhile {
            Meanwhile::Writes => {
                until("the second change is visible", async || servers.head() == 3).await;
            }
            Meanwhile::Decides => has_begun.await.unwrap(),
            Meanwhile::Follows => tokio::time::sleep(Duration::from_millis(500)).await,
        }
        assert_eq!([epoch(&one.snapshot()), epoch(&two.snapshot())], [0; 2], "{meanwhile:?}");
        servers.crash();
        let left = servers.head();
        assert_eq!(left, 1, "{meanwhile:?}: the server has lost nothing, and the test shows nothing");
        drop((held, slow));
        let told = undone.await.unwrap();
        assert!(told.is_err(), "{meanwhile:?}: {told:?}");
        if !matches!(meanwhile, Meanwhile::Follows) {
            deciding.await.unwrap();
        }
        // Both go on from what there is.
        for (store, n) in [(&two, 7), (&one, 8)] {
            until("it writes", async || rename(store, n, 1).await.is_ok()).await;
        }
        let last = one.revision();
        for store in [&one, &two] {
            assert!(store.has(last, Duration::from_secs(5)).await);
            assert_eq!(epoch(&store.snapshot()), 0, "{meanwhile:?}");
            assert!(store.snapshot().principal(tenant_id(1), principal_id(2)).is_none());
            is_whole(store).await;
        }
    }
}

/// A transaction that has seen what is ahead, and ends without a write when it is told to.
async fn one_that_decides(store: &Store) -> (oneshot::Sender<()>, JoinHandle<Result<(), StoreError>>) {
    let ((tell, told), (begun, has_begun)) = (oneshot::channel(), oneshot::channel());
    let store = store.clone();
    let task = tokio::spawn(async move {
        let tx = store.begin(&ctx(1)).await.unwrap();
        assert_eq!(epoch(&tx.snapshot()), 5, "it is not ahead");
        begun.send(()).unwrap();
        let _ = told.await;
        tx.dismiss().await
    });
    has_begun.await.unwrap();
    (tell, task)
}

/// A reader ends the group that it waits for, and hangs up while what that group has seen is synced.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_hangs_up_while_a_group_ends_leaves_none_without_its_transaction() {
    let servers = Servers::new();
    let [one, two] = servers.two().await;
    let slow = two.core.statements.sync.try_write().unwrap();
    rename(&one, 1, 5).await.unwrap();
    let (tell, decides) = one_that_decides(&two).await;
    let reads = tokio::spawn({
        let two = two.clone();
        async move { two.record::<ServicePrincipal>(&ctx(1), &principal_id(1)).await }
    });
    sleep(Duration::from_millis(300)).await;
    let writes = tokio::spawn({
        let two = two.clone();
        async move { rename(&two, 2, 1).await }
    });
    until("it waits", async || two.core.queue.len() == 1).await;
    tell.send(()).unwrap();
    sleep(Duration::from_millis(300)).await;
    reads.abort();
    assert!(reads.await.unwrap_err().is_cancelled());
    sleep(Duration::from_millis(500)).await;
    assert_eq!(servers.ask("SELECT COUNT(*) FROM changes WHERE revision > 2"), "0", "written outside any transaction");
    drop(slow);
    decides.await.unwrap().unwrap();
    assert_eq!(writes.await.unwrap().unwrap(), Revision(3));
    rename(&one, 1, 6).await.unwrap();
    is_whole(&two).await;
}

/// What one session saw is not made durable by another: the server may have crashed in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_lost_session_saw_is_not_known() {
    let mut servers = Servers::new();
    let [one, two] = servers.two().await;
    let (held, undone) = servers.visible(&one).await;
    let slow = two.core.statements.sync.try_write().unwrap();
    let (tell, decides) = one_that_decides(&two).await;
    // Whoever comes first has the writer for a moment; another waits to write, and goes away: the group is left to them.
    let (release, released) = oneshot::channel::<()>();
    let first = tokio::spawn({
        let two = two.clone();
        async move {
            let turn = Turn::next(&two.core).await;
            let _ = released.await;
            drop(turn);
        }
    });
    sleep(Duration::from_millis(200)).await;
    let waits = tokio::spawn({
        let two = two.clone();
        async move { two.begin(&ctx(1)).await.map(drop) }
    });
    until("it waits", async || two.core.queue.len() == 1).await;
    tell.send(()).unwrap();
    sleep(Duration::from_millis(300)).await;
    waits.abort();
    let _ = waits.await;
    servers.crash();
    assert_eq!(servers.head(), 1, "the server has lost nothing, and the test shows nothing");
    drop(slow);
    release.send(()).unwrap();
    first.await.unwrap();
    assert!(decides.await.unwrap().is_err(), "it was decided by what is undone");
    assert_eq!((two.revision(), epoch(&two.snapshot())), (Revision(1), 0));
    drop(held);
    assert!(undone.await.unwrap().is_err());
    for (store, n) in [(&one, 6), (&two, 7)] {
        until("it writes", async || rename(store, n, 1).await.is_ok()).await;
    }
}

/// A witness waits in the spool, which no crash of the database undoes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_witness_names_nothing_that_a_crash_undoes() {
    let mut servers = Servers::new();
    let [one, two] = servers.two().await;
    let (held, undone) = servers.visible(&one).await;
    let slow = two.core.statements.sync.try_write().unwrap();
    let witness = tokio::spawn({
        let two = two.clone();
        async move { two.witness(NOW).await }
    });
    sleep(Duration::from_millis(500)).await;
    servers.crash();
    assert_eq!(servers.head(), 1, "the server has lost nothing, and the test shows nothing");
    drop((held, slow));
    assert!(undone.await.unwrap().is_err());
    let _ = witness.await.unwrap();
    for (store, n) in [(&two, 7), (&one, 8)] {
        until("it writes", async || rename(store, n, 1).await.is_ok()).await;
    }
    until("it is shipped", async || two.audit_tail(&ctx(1), 1).await.is_ok()).await;
    let engine = one.core.engine.clone();
    one.close().await;
    two.close().await;
    Trail::open(engine, StoreKeys::of_test()).await.unwrap().verify(None).await.unwrap();
}

/// A new replica writes its anchor once what it names is durable: or else it would be refused for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_anchor_names_nothing_that_a_crash_undoes() {
    let servers = Servers::new();
    let [one, two] = servers.two().await;
    two.close().await;
    let (held, undone) = servers.visible(&one).await;
    let engine = Engine::Postgres(Postgres::new(servers.cluster.url("denizen"), servers.folder.path().join("three")));
    // Its sync is the first statement that waits for anything.
    servers.wait_for_a_standby("nobody").await;
    let opens = tokio::spawn(Store::open(engine.clone(), StoreKeys::of_test()));
    let syncing = "SELECT COUNT(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    until("it syncs", async || servers.ask(syncing) == "1").await;
    assert!(!engine.has_trail(), "there is an anchor before what it names is durable");
    servers.wait_for_a_standby("").await;
    opens.await.unwrap().unwrap().close().await;
    assert!(engine.has_trail());
    drop(held);
    undone.await.unwrap().unwrap();
}

/// Who lists is not told that something is gone before it is gone for good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_leaves_out_nothing_that_a_crash_brings_back() {
    let servers = Servers::new();
    let [one, two] = servers.two().await;
    keep_secret(&one).await;
    assert!(two.has(Revision(2), Duration::from_secs(5)).await);
    servers.wait_for_a_standby("nobody").await;
    let deletes = tokio::spawn(delete_secret(one.clone()));
    until("the change is visible", async || servers.head() == 3).await;
    let lists = [&one, &two].map(|store| {
        let store = store.clone();
        tokio::spawn(async move { store.secrets(&ctx(1), &vault_id(1, "v"), None, 10).await })
    });
    sleep(Duration::from_millis(700)).await;
    assert!(lists.iter().all(|list| !list.is_finished()), "somebody was told of what is not durable");
    servers.wait_for_a_standby("").await;
    deletes.await.unwrap().unwrap();
    for list in lists {
        assert_eq!(list.await.unwrap().unwrap(), []);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn following_leaves_no_warnings_at_the_server() {
    let servers = Servers::new();
    let [one, two] = servers.two().await;
    for epoch in 0..20 {
        let revision = rename(&one, 1, epoch).await.unwrap();
        assert!(two.has(revision, Duration::from_secs(5)).await);
    }
    let log = std::fs::read_to_string(servers.cluster.folder().join("log")).unwrap();
    assert_eq!(log.lines().find(|line| line.contains("WARNING")), None);
}

/// What a principal's number was last, as somebody was told.
type Told = Arc<[AtomicU64; COUNTED as usize]>;

/// So many principals are counted up, by all replicas.
const COUNTED: u8 = 6;

/// One of those who use a replica at once: it counts up, looks, or reads, and goes away in the middle now and then.
async fn one_of_many(store: Store, told: Told, kind: u64, ends: Instant) {
    let mut next = numbers(0x9E37_79B9_7F4A_7C15 ^ (kind + 1));
    let epoch = |snapshot: &Snapshot, n: u8| snapshot.principal(tenant_id(1), principal_id(n)).unwrap().epoch;
    while Instant::now() < ends {
        let n = 1 + next(COUNTED.into());
        let work = async {
            let by = ctx(1);
            match kind % 4 {
                0 | 1 => {
                    let counted = store.write(&by, |tx| {
                        Box::pin(async move {
                            let before = epoch(&tx.snapshot(), n);
                            let it = tx.record::<ServicePrincipal>(&principal_id(n)).await?.unwrap();
                            assert_eq!(it.epoch, before, "the snapshot is not what the database has");
                            tx.put(&ServicePrincipal { epoch: before + 1, ..it }).await?;
                            Ok::<_, StoreError>(Write::commit("count", "x", before + 1))
                        })
                    });
                    counted.await
                }
                2 => {
                    let looked = store.write(&by, |tx| {
                        Box::pin(async move { Ok::<_, StoreError>(Write::Unchanged(epoch(&tx.snapshot(), n))) })
                    });
                    looked.await
                }
                _ => {
                    let _ = store.audit(&by, &event("read"));
                    store.record::<ServicePrincipal>(&by, &principal_id(n)).await.map(|it| it.unwrap().epoch)
                }
            }
        };
        let goes_away = Duration::from_micros(u64::from(next(200)) * 100 + 200);
        let patience = if next(3) == 0 { goes_away } else { Duration::from_secs(100) };
        match tokio::time::timeout(patience, work).await {
            Ok(Ok(seen)) => _ = told[usize::from(n) - 1].fetch_max(seen, Ordering::SeqCst),
            Ok(Err(_)) => sleep(Duration::from_millis(20)).await,
            Err(_) => {}
        }
    }
}

/// Three replicas under load, whose sessions are ended at random, and a server that crashes before it has synced: what is
/// left is no less than anybody was told, and no less than any replica knows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_after_crashes_is_no_less_than_anybody_knows() {
    let mut servers = Servers::new();
    let [one, two] = servers.two().await;
    let stores = [one, two, servers.open("three").await];
    let mut tx = stores[0].begin(&ctx(1)).await.unwrap();
    for n in 2..=COUNTED {
        tx.insert(&principal(1, n)).await.unwrap();
    }
    tx.commit(event("x")).await.unwrap();
    for store in &stores {
        assert!(store.has(Revision(2), Duration::from_secs(5)).await);
    }
    let (told, ends) = (Told::default(), Instant::now() + Duration::from_secs(12));
    let mut users = tokio::task::JoinSet::new();
    for kind in 0..12 {
        users.spawn(one_of_many(stores[kind % 3].clone(), told.clone(), (kind / 3) as u64, ends));
    }
    let (mut next, mut undone) = (numbers(77), 0);
    while Instant::now() < ends {
        for _ in 0..6 {
            sleep(Duration::from_millis(50 + u64::from(next(200)))).await;
            let end_one = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'denizen' \
                           ORDER BY random() LIMIT 1";
            servers.ask(end_one);
        }
        servers.stop_background_syncs();
        let mut held = Vec::new();
        for store in &stores {
            held.push(store.core.statements.sync.write().await);
        }
        sleep(Duration::from_millis(30 + u64::from(next(200)))).await;
        let visible = servers.head();
        servers.crash();
        let left = servers.head();
        undone += u32::from(visible != left);
        for store in &stores {
            assert!(store.revision().0 <= left, "a replica knows {:?}, and {left} is left", store.revision());
        }
        let epochs = "SELECT COALESCE((body::JSONB)->>'epoch', '0') FROM service_principals ORDER BY id";
        for (n, epoch) in (1..).zip(servers.ask(epochs).lines()) {
            let epoch: u64 = epoch.parse().unwrap();
            let was_told = told[usize::from(n) - 1].load(Ordering::SeqCst);
            assert!(was_told <= epoch, "{was_told} of {n} was told, and {epoch} is left");
            for store in &stores {
                let known = store.snapshot().principal(tenant_id(1), principal_id(n)).unwrap().epoch;
                assert!(known <= epoch, "{known} of {n} is known, and {epoch} is left");
            }
        }
        drop(held);
    }
    users.join_all().await;
    assert!(undone > 0, "no crash undid anything, and the test shows nothing");
    for (store, n) in stores.iter().zip(20..) {
        until("it writes again", async || rename(store, n, 1).await.is_ok()).await;
    }
    let last = stores.iter().map(Store::revision).max().unwrap();
    let fresh = servers.open("four").await;
    for store in &stores {
        assert!(store.has(last, Duration::from_secs(5)).await);
        let (mut followed, mut loaded) = (Snapshot::clone(&store.snapshot()), Snapshot::clone(&fresh.snapshot()));
        followed.outdate(&fresh.snapshot());
        loaded.outdate(&store.snapshot());
        assert!(followed == loaded, "what was followed is not what is loaded");
        is_whole(store).await;
    }
    let engine = fresh.core.engine.clone();
    for store in stores.into_iter().chain([fresh]) {
        store.close().await;
    }
    Trail::open(engine, StoreKeys::of_test()).await.unwrap().verify(None).await.unwrap();
}

/// A standby that tells the server what it reads keeps what was purged, until it has read it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_purged_while_a_standby_read_goes_afterwards() {
    let servers = Servers::new();
    let [one, _two] = servers.two().await;
    keep_secret(&one).await;
    delete_secret(one.clone()).await.unwrap();
    let says = [("hot_standby_feedback", "on"), ("wal_receiver_status_interval", "1")];
    let standby = servers.cluster.start_standby(&says).unwrap();
    let mut reads = PgConnection::connect(&standby.url("denizen")).await.unwrap();
    reads.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT COUNT(*) FROM secret_versions").await.unwrap();
    let said = "SELECT COUNT(*) FROM pg_stat_replication WHERE backend_xmin IS NOT NULL";
    until("the standby says what it reads", async || servers.ask(said) == "1").await;
    purge_secret(one.clone()).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(servers.versions_on_disk(), "1", "the standby keeps nothing, and the test shows nothing");
    reads.execute("COMMIT").await.unwrap();
    until("it is vacuumed", async || servers.versions_on_disk() == "0").await;
}

/// A head that is kept elsewhere is held against what is there later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_to_keep_is_given_once_it_is_durable() {
    let servers = Servers::new();
    let [one, _two] = servers.two().await;
    servers.wait_for_a_standby("nobody").await;
    let change = tokio::spawn({
        let one = one.clone();
        async move { rename(&one, 1, 5).await }
    });
    until("the change is visible", async || servers.head() == 2).await;
    let keeps = tokio::spawn({
        let engine = one.core.engine.clone();
        async move { Trail::open(engine, StoreKeys::of_test()).await.unwrap().head().await }
    });
    sleep(Duration::from_millis(500)).await;
    assert!(!keeps.is_finished(), "it names what a crash undoes");
    servers.wait_for_a_standby("").await;
    change.await.unwrap().unwrap();
    let kept = keeps.await.unwrap().unwrap();
    let trail = Trail::open(one.core.engine.clone(), StoreKeys::of_test()).await.unwrap();
    trail.verify(Some(&kept)).await.unwrap();
}

/// A page that was read before a crash is not handed out after it, whatever was written meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_before_a_crash_is_not_handed_out_after_it() {
    let mut servers = Servers::new();
    let [one, two] = servers.two().await;
    keep_secret(&one).await;
    assert!(two.has(Revision(2), Duration::from_secs(5)).await);
    servers.ask("CHECKPOINT");
    servers.stop_background_syncs();
    let [held, slow] = [&one, &two].map(|store| store.core.statements.sync.try_write().unwrap());
    let undone = tokio::spawn(delete_secret(one.clone()));
    until("the change is visible", async || servers.head() == 3).await;
    let lists = tokio::spawn({
        let two = two.clone();
        async move { two.secrets(&ctx(1), &vault_id(1, "v"), None, 10).await }
    });
    sleep(Duration::from_millis(200)).await;
    servers.crash();
    assert_eq!(servers.head(), 2, "the server has lost nothing, and the test shows nothing");
    drop(slow);
    until("it writes", async || rename(&two, 7, 1).await.is_ok()).await;
    let listed = lists.await.unwrap();
    drop(held);
    assert!(undone.await.unwrap().is_err());
    assert!(listed.is_err() || listed.unwrap().len() == 1, "somebody was told of what was undone");
}

/// A purge of which nobody knows for a while whether it was kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_purged_in_doubt_goes_as_well() {
    let mut servers = Servers::new();
    let [one, _two] = servers.two().await;
    keep_secret(&one).await;
    delete_secret(one.clone()).await.unwrap();
    let held = one.core.statements.sync.try_write().unwrap();
    let purges = tokio::spawn(purge_secret(one.clone()));
    until("the change is visible", async || servers.head() == 4).await;
    servers.ask("CHECKPOINT");
    servers.cluster.stop().unwrap();
    drop(held);
    assert!(purges.await.unwrap().is_err(), "nobody could know");
    servers.cluster.start_again().unwrap();
    assert_eq!(servers.versions_on_disk(), "1");
    until("it is vacuumed", async || {
        let _ = rename(&one, 1, 1).await;
        servers.versions_on_disk() == "0"
    })
    .await;
}

/// The connection that found no database does not look for it again for a second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_while_the_database_comes_back_leaves_nothing_in_its_spool() {
    let mut servers = Servers::new();
    let [one, _two] = servers.two().await;
    servers.cluster.stop().unwrap();
    one.audit(&ctx(1), &event("read")).unwrap();
    until("the database is looked for", async || one.shipper.shipped().await.is_err()).await;
    let core = one.core.clone();
    let starts = tokio::task::spawn_blocking(move || {
        servers.cluster.start_again().unwrap();
        servers
    });
    one.close().await;
    let _servers = starts.await.unwrap();
    assert_eq!(core.spool.behind(), 0);
}
