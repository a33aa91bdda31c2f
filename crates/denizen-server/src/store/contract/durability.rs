//! Replicas let go of the head before their changes are durable, so that they wait for the disk at the same time. Nobody is
//! told of a change before it is durable, and no replica takes over what a crash of the database undoes.
//!
//! Each test has a server of its own: one that waits for a standby that never comes, or one that loses what it has not synced.

use std::time::Duration;

use denizen_test_postgres::Cluster;
use tempfile::TempDir;

use super::{attacks::until, fixtures::*};
use crate::{domain::directory::ServicePrincipal, store::*};

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

    /// The server loses what is in its memory.
    fn crash(&mut self) {
        self.cluster.crash().unwrap();
        self.cluster.start_again().unwrap();
    }
}

async fn rename(store: &Store, n: u8, epoch: u64) -> Result<Revision, StoreError> {
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
    assert_eq!(servers.ask("SELECT revision FROM head"), "3");
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
        store.audit_verify().await.unwrap();
    }
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
        servers.ask("CHECKPOINT");
        servers.stop_background_syncs();
        let syncs = [&one, &two].map(|store| store.core.statements.sync.try_write().unwrap());
        let undone = tokio::spawn({
            let one = one.clone();
            async move { rename(&one, 1, 5).await }
        });
        until("the change is visible", async || servers.ask("SELECT revision FROM head") == "2").await;
        let deciding = tokio::spawn({
            let two = two.clone();
            async move {
                match meanwhile {
                    Meanwhile::Follows => _ = two.has(Revision(2), Duration::from_secs(60)).await,
                    Meanwhile::Decides => {
                        let tx = two.begin(&ctx(1)).await.unwrap();
                        assert_eq!(epoch(&tx.snapshot()), 5, "it decides by what was there before");
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
                until("the second change is visible", async || servers.ask("SELECT revision FROM head") == "3").await;
            }
            Meanwhile::Follows | Meanwhile::Decides => tokio::time::sleep(Duration::from_millis(500)).await,
        }
        assert_eq!([epoch(&one.snapshot()), epoch(&two.snapshot())], [0; 2], "{meanwhile:?}");
        servers.crash();
        let left = servers.ask("SELECT revision FROM head");
        assert_eq!(left, "1", "{meanwhile:?}: the server has lost nothing, and the test shows nothing");
        drop(syncs);
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
            store.audit_verify().await.unwrap();
        }
    }
}
