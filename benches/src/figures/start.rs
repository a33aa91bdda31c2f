//! How long a server with a large directory takes to start, and what it holds in memory for each machine.
//!
//! A machine is what enrolment makes: its resource and its principal with a node key. The store reads, checks and
//! indexes every row; it is held against a reader that decodes the same rows and does nothing else, in a process of its
//! own, in turns.

use std::{fmt::Write as _, path::Path};

use anyhow::{Context, Result, ensure};
use denizen_keys::envelope::RootKey;
use denizen_server::{
    app::access::SystemReason,
    run::{Server, root_key_in},
};
use denizen_wire::{Clock, SubscriptionId, TenantId};
use uuid::Uuid;

use super::{Page, Plan};
use crate::{
    child::Child,
    fleet,
    peer::open::{OPENED, Took},
    report::{Verdict, median},
};

const NAME: &str = "start";
const BAR: f64 = 0.60;
/// Machines in the directory, unless told.
const MACHINES: u32 = 100_000;
/// Where runs keep their files: not under `/tmp`, which on some systems is memory.
const OUT: &str = "benches/out";
const TENANT: TenantId = TenantId(Uuid::from_u128(0x7e));

/// Measures.
pub(crate) async fn run(plan: Plan) -> Result<Page> {
    std::fs::create_dir_all(OUT)?;
    let folder = tempfile::Builder::new().prefix("start").tempdir_in(OUT)?;
    let data = folder.path().canonicalize()?;
    let count = plan.machines.unwrap_or(MACHINES);
    fill(&data, count).await?;
    let machines = f64::from(count);
    let mut text = format!(
        "{} machines\n{:<8}{:>12}{:>10}{:>14}{:>14}{:>10}{:>8}\n",
        count, "round", "store, s", "CPU-s", "B a machine", "bare, s", "CPU-s", "ratio"
    );
    let (mut ratios, mut stores, mut cpus, mut bytes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let empty = opened("nothing", &data, 0).await?.resident;
    for round in 1..=plan.rounds {
        let store = opened("store", &data, count).await?;
        let bare = opened("bare", &data, count).await?;
        let (ratio, held) = (bare.seconds / store.seconds, (store.resident - empty) / machines);
        let _ = writeln!(
            text,
            "{round:<8}{:>12.2}{:>10.2}{held:>14.0}{:>14.2}{:>10.2}{ratio:>8.3}",
            store.seconds, store.cpu, bare.seconds, bare.cpu
        );
        ratios.push(ratio);
        stores.push(store.seconds);
        cpus.push(store.cpu);
        bytes.push(held);
    }
    let tags = opened("tags", &data, count).await?.seconds;
    let (ratio, store, cpu) = (median(ratios), median(stores), median(cpus));
    let _ = writeln!(text, "median  {store:>12.2}{cpu:>10.2}{:>14.0}{:>14}{:>10}{ratio:>8.3}", median(bytes), "", "");
    let _ = writeln!(
        text,
        "\na machine takes {:.1} us of the start; its tags alone, computed once more, {:.1} us of CPU ({:.0} % of the start's)",
        store / machines * 1e6,
        tags / machines * 1e6,
        tags / cpu * 100.0
    );
    Ok(Page { text, verdict: Verdict { name: NAME, ratio, bar: BAR, sound: true } })
}

/// One opening, in a process of its own.
struct Opened {
    seconds: f64,
    cpu: f64,
    resident: f64,
}

#[expect(clippy::cast_precision_loss, reason = "bytes of one process, far below 2^52")]
async fn opened(by: &str, data: &Path, machines: u32) -> Result<Opened> {
    let data = data.to_str().context("the directory's name is not UTF-8")?;
    let mut child = Child::start(&std::env::current_exe()?, &["peer", "open", by, "--data", data], true)?;
    let took: Took = serde_json::from_str(&child.says(OPENED).await?)?;
    ensure!(took.machines == machines as usize, "{by} found {} machines", took.machines);
    let (cpu, memory) = (child.cpu()?, child.memory()?);
    child.stop().await?;
    Ok(Opened { seconds: took.seconds, cpu, resident: memory.anonymous as f64 })
}

/// A directory with so many machines.
async fn fill(data: &Path, machines: u32) -> Result<()> {
    let root_key = RootKey::load_or_create(&root_key_in(data))?;
    let server = Server::open_at_rest(data, root_key, "https://localhost:8443", Clock::system()).await?;
    let set_up = || server.authorize(TENANT, SystemReason::SetUp);
    server.directory.create_tenant(&set_up(), "bench.example", "Bench").await?;
    let subscription = SubscriptionId(Uuid::from_u128(0x5b));
    let group = server.directory.create_resource_group(&set_up(), subscription, "bench", "local").await?.id;
    fleet::fill(&server, &fleet::Place { tenant: TENANT, group, vault: None }, fleet::What::Machines, 0..machines)
        .await?;
    server.store.close().await;
    Ok(())
}
