//! Changes to a large directory, published while others read: how long the publishing of each takes, apart from the
//! database's part of a commit.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use denizen_keys::{envelope::RootKey, random};
use denizen_server::{
    app::access::SystemReason,
    domain::{directory::ServicePrincipal, roles::RoleAssignment},
    run::{Server, root_key_in},
    store::{StoreError, Write},
};
use denizen_wire::{Clock, PrincipalId};
use serde::{Deserialize, Serialize};

use super::end_with_our_parent;

/// What it prints before its [`Published`].
pub(crate) const PUBLISHED: &str = "published ";
/// Changes that are measured; what comes before them warms up.
const CHANGES: usize = 2000;
const WARM_UP: usize = 100;
/// Principals that are changed: spread over the directory.
const CHANGED: usize = 500;

/// Its arguments.
#[derive(Args)]
pub(crate) struct Publish {
    /// The data directory
    #[arg(long)]
    data: PathBuf,
}

/// What it took to publish one change, microseconds.
#[derive(Serialize, Deserialize)]
pub(crate) struct Published {
    /// On average.
    pub(crate) mean: f64,
    /// At most, of 99 in 100.
    pub(crate) p99: f64,
    /// How many snapshots were read meanwhile.
    pub(crate) read: u64,
}

/// Changes principals and assignments in turn, says what publishing took, and waits for whoever started it to go.
pub(crate) async fn run(args: Publish) -> Result<()> {
    let root_key = RootKey::load(&root_key_in(&args.data))?;
    let server = Server::open_at_rest(&args.data, root_key, "https://localhost:8443", Clock::system()).await?;
    let stop = std::sync::Arc::new(AtomicBool::new(false));
    let (tenant, some) = {
        let snapshot = server.store.snapshot();
        let tenant = snapshot.tenants().next().context("no tenant")?.id;
        let all: Vec<PrincipalId> = snapshot.principals(tenant).map(|principal| principal.id).collect();
        let some: Vec<PrincipalId> = all.iter().copied().step_by((all.len() / CHANGED).max(1)).collect();
        (tenant, some)
    };
    let (store, looked_at, stopped) = (server.store.clone(), some.clone(), stop.clone());
    // It holds a snapshot for as long as a slow request does.
    let reader = tokio::spawn(async move {
        let mut read = 0u64;
        while !stopped.load(Ordering::Relaxed) {
            let snapshot = store.snapshot();
            for id in &looked_at {
                std::hint::black_box((snapshot.principal(tenant, *id), snapshot.assignments_of(tenant, *id)));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
            read += 1;
        }
        read
    });
    let mut took = Vec::with_capacity(CHANGES);
    for number in 0..WARM_UP + CHANGES {
        let id = *some.get(number % some.len()).context("no principals")?;
        let before = server.store.published();
        change(&server, tenant, id, number % 2 == 0).await?;
        let after = server.store.published();
        ensure!(after.changes == before.changes + 1, "one change was published");
        if number >= WARM_UP {
            took.push((after.time.saturating_sub(before.time)).as_secs_f64() * 1e6);
        }
    }
    stop.store(true, Ordering::Relaxed);
    let read = reader.await?;
    ensure!(read > 0, "nobody read");
    took.sort_by(f64::total_cmp);
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let mean = took.iter().sum::<f64>() / took.len() as f64;
    let p99 = *took.get(took.len() * 99 / 100).context("nothing was measured")?;
    announce(&Published { mean, p99, read })?;
    end_with_our_parent();
    std::future::pending().await
}

/// Raises a principal's epoch, or takes one of its assignments away and gives it back under another id.
async fn change(
    server: &Server,
    tenant: denizen_wire::TenantId,
    id: PrincipalId,
    is_principal: bool,
) -> Result<(), StoreError> {
    let authorization = server.authorize(tenant, SystemReason::Command("bench"));
    let held = server.store.snapshot().assignments_of(tenant, id).first().map(|assignment| assignment.id);
    server
        .store
        .write(&authorization, |tx| {
            Box::pin(async move {
                match held.filter(|_| !is_principal) {
                    Some(held) => {
                        if let Some(before) = tx.remove::<RoleAssignment>(&held).await? {
                            tx.insert(&RoleAssignment { id: random::uuid_v4(), ..before }).await?;
                        }
                    }
                    None => {
                        if let Some(before) = tx.record::<ServicePrincipal>(&id).await? {
                            tx.put(&ServicePrincipal { epoch: before.epoch + 1, ..before }).await?;
                        }
                    }
                }
                Ok::<_, StoreError>(Write::commit("bench/change", "/", ()))
            })
        })
        .await
}

#[expect(clippy::print_stdout, reason = "the bench reads it")]
fn announce(published: &Published) -> Result<()> {
    println!("{PUBLISHED}{}", serde_json::to_string(published)?);
    Ok(())
}
