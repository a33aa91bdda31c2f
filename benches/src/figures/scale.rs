//! What a directory costs as it grows: memory, start, and the publishing of one change.
//!
//! `denizen dev` runs on a directory that gets more machines between its starts, each with its principal, a key and one
//! role at a scope that no other has. What is resident is all that the process holds: the agent, listeners and the
//! database's caches among it. A change is published while others read and hold snapshots, in a process of its own.

use std::{fmt::Write as _, path::Path};

use anyhow::{Context, Result};
use denizen_keys::envelope::RootKey;
use denizen_server::{
    domain::roles::BuiltInRoles,
    run::{Server, root_key_in},
};
use denizen_wire::Clock;

use super::{Page, Plan};
use crate::{
    child::Child,
    dev::{Dev, Manifest},
    fleet,
    peer::publish::{PUBLISHED, Published},
    report::{Verdict, median},
};

const NAME: &str = "scale";
/// What a million machines may take: resident, and from start to ready.
const MOST: u32 = 1_000_000;
const RESIDENT: f64 = (1u64 << 30) as f64;
const SECONDS: f64 = 20.0;
/// Directories below the largest.
const SMALLER: [u32; 2] = [1_000, 100_000];

/// Measures.
pub(crate) async fn run(plan: Plan) -> Result<Page> {
    let mut text = format!(
        "{:<10}{:>11}{:>11}{:>13}{:>12}{:>10}{:>15}{:>11}\n",
        "machines", "ready, s", "CPU-s", "resident MiB", "B a machine", "peak MiB", "publish, us", "p99, us"
    );
    // The first start makes keys, which takes memory that later ones do not have.
    let (mut dev, ()) = Dev::start().await?.again(async |_, _| Ok(())).await?;
    let empty = bytes(dev.child.memory()?.resident);
    let (mut filled, mut made, mut ratio) = (0, 0.0, 0.0);
    let largest = plan.machines.unwrap_or(MOST);
    let sizes = SMALLER.into_iter().filter(|size| *size < largest).chain([largest]);
    for size in sizes {
        let (mut ready, mut cpu, mut resident, mut peak) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for round in 0..plan.rounds.min(3) {
            let prepare = async |data: &Path, _: &Manifest| {
                let start = std::time::Instant::now();
                if round == 0 {
                    fill(data, filled..size).await?;
                    filled = size;
                }
                Ok::<_, anyhow::Error>(start.elapsed().as_secs_f64())
            };
            let (again, took) = dev.again(prepare).await?;
            (dev, made) = (again, made + took);
            let memory = dev.child.memory()?;
            ready.push(dev.ready.as_secs_f64());
            cpu.push(dev.child.cpu()?);
            resident.push(bytes(memory.resident));
            peak.push(bytes(memory.peak));
        }
        let publish = async |data: &Path, _: &Manifest| published(data).await;
        let (again, Published { mean, p99, .. }) = dev.again(publish).await?;
        dev = again;
        let (ready, resident) = (median(ready), median(resident));
        let _ = writeln!(
            text,
            "{size:<10}{ready:>11.2}{:>11.2}{:>13.0}{:>12.0}{:>10.0}{mean:>15.1}{p99:>11.1}",
            median(cpu),
            resident / MIB,
            (resident - empty) / f64::from(size),
            median(peak) / MIB,
        );
        // Held to what a million may take, whatever is measured.
        let share = f64::from(MOST) / f64::from(size);
        ratio = (RESIDENT / (empty + (resident - empty) * share)).min(SECONDS / (ready * share));
    }
    dev.child.stop().await?;
    let _ = writeln!(
        text,
        "\nwithout machines {:.0} MiB are resident; making the directory took {made:.0} s\n\
         held to 1 GiB and {SECONDS} s at a million: the worse of the two",
        empty / MIB
    );
    Ok(Page { text, verdict: Verdict { name: NAME, ratio, bar: 1.0, sound: true } })
}

const MIB: f64 = (1u64 << 20) as f64;

#[expect(clippy::cast_precision_loss, reason = "bytes of one process, far below 2^52")]
fn bytes(count: u64) -> f64 {
    count as f64
}

/// Adds machines to the directory that `denizen dev` has made.
async fn fill(data: &Path, numbers: std::ops::Range<u32>) -> Result<()> {
    let root_key = RootKey::load(&root_key_in(data))?;
    let server = Server::open_at_rest(data, root_key, "https://localhost:8443", Clock::system()).await?;
    let place = {
        let snapshot = server.store.snapshot();
        let tenant = snapshot.tenants().next().context("no tenant")?.id;
        let group = snapshot.resource_groups(tenant).next().context("no resource group")?.id.clone();
        let vault = snapshot.vaults(tenant).next().context("no vault")?.id.clone();
        let role = BuiltInRoles::load().named("Key Vault Secrets User").context("no such role")?.id;
        fleet::Place { tenant, group, vault: Some((vault, role)) }
    };
    fleet::fill(&server, &place, fleet::What::Machines, numbers).await?;
    server.store.close().await;
    Ok(())
}

async fn published(data: &Path) -> Result<Published> {
    let data = data.to_str().context("the directory's name is not UTF-8")?;
    let mut child = Child::start(&std::env::current_exe()?, &["peer", "publish", "--data", data], true)?;
    let published = serde_json::from_str(&child.says(PUBLISHED).await?)?;
    child.stop().await?;
    Ok(published)
}
