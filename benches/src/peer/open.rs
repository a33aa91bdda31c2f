//! A database with a large directory, opened: by the store, or by a reader that does nothing with its rows but to decode
//! them.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use denizen_keys::{envelope::RootKey, mac::MacKey};
use denizen_server::{
    domain::{directory::ServicePrincipal, resources::Machine},
    run::{database_in, root_key_in},
    store::{Engine, Store, StoreKeys},
};
use rusqlite::{Connection, OpenFlags};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::end_with_our_parent;

/// What it prints before its [`Took`].
pub(crate) const OPENED: &str = "opened ";
/// Rows of a page, as the store reads them.
const PAGE: i64 = 4096;

/// Its arguments.
#[derive(Args)]
pub(crate) struct Open {
    /// By what
    #[arg(value_enum)]
    by: By,
    /// The data directory
    #[arg(long)]
    data: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum By {
    /// The store: every row checked, the snapshot made
    Store,
    /// Rows read and decoded
    Bare,
    /// Nothing: what the process itself takes
    Nothing,
    /// The tags of the rows, and nothing else
    Tags,
}

/// What it took.
#[derive(Serialize, Deserialize)]
pub(crate) struct Took {
    /// Of this process's time.
    pub(crate) seconds: f64,
    /// Machines that there were.
    pub(crate) machines: usize,
}

/// Opens it, says what it took, and keeps it open until whoever started it is gone.
pub(crate) async fn run(args: Open) -> Result<()> {
    let (start, path) = (Instant::now(), database_in(&args.data));
    let (took, _open) = match args.by {
        By::Nothing => (Took { seconds: 0.0, machines: 0 }, None),
        By::Store => {
            let keys = StoreKeys::of(&RootKey::load(&root_key_in(&args.data))?);
            let store = Store::open(Engine::Sqlite { path }, keys).await?;
            let seconds = start.elapsed().as_secs_f64();
            let snapshot = store.snapshot();
            let machines = snapshot.tenants().map(|tenant| snapshot.principals(tenant.id).count()).sum();
            (Took { seconds, machines }, Some(store))
        }
        By::Bare => {
            let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
            let machines = pages::<Machine>(&conn, MACHINES)?;
            let principals = pages::<ServicePrincipal>(&conn, PRINCIPALS)?;
            ensure!(machines <= principals, "each machine has a principal");
            drop(conn);
            (Took { seconds: start.elapsed().as_secs_f64(), machines }, None)
        }
        By::Tags => {
            let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
            let key = MacKey::new(&[7; 32]);
            let (machines, first) = tags(&conn, MACHINES, &key)?;
            let (_, second) = tags(&conn, PRINCIPALS, &key)?;
            drop(conn);
            (Took { seconds: (first + second).as_secs_f64(), machines }, None)
        }
    };
    announce(&took)?;
    end_with_our_parent();
    std::future::pending().await
}

const MACHINES: &str =
    "SELECT tenant, id, body FROM machines WHERE (tenant, id) > ($1, $2) ORDER BY tenant, id LIMIT $3";
const PRINCIPALS: &str =
    "SELECT tenant, id, body FROM service_principals WHERE (tenant, id) > ($1, $2) ORDER BY tenant, id LIMIT $3";

fn pages<T: DeserializeOwned>(conn: &Connection, sql: &'static str) -> Result<usize> {
    let (mut tenant, mut id, mut count) = (String::new(), String::new(), 0);
    loop {
        let page = page(conn, sql, &tenant, &id)?;
        let Some([last_tenant, last_id, _]) = page.last() else { return Ok(count) };
        (tenant, id) = (last_tenant.clone(), last_id.clone());
        for [_, _, body] in &page {
            std::hint::black_box(serde_json::from_str::<T>(body)?);
        }
        count += page.len();
    }
}

/// The rows after a key.
fn page(conn: &Connection, sql: &'static str, tenant: &str, id: &str) -> Result<Vec<[String; 3]>> {
    // By name: to SQLite `$1` is a name.
    let mut statement = conn.prepare_cached(sql)?;
    let rows = statement.query_map(&[("$1", &tenant as &dyn rusqlite::ToSql), ("$2", &id), ("$3", &PAGE)], |row| {
        Ok([row.get(0)?, row.get(1)?, row.get(2)?])
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Two tags for each row, one over all of it and one over a few bytes: timed apart from reading.
fn tags(conn: &Connection, sql: &'static str, key: &MacKey) -> Result<(usize, Duration)> {
    let (mut tenant, mut id) = (String::new(), String::new());
    let (mut count, mut took) = (0, Duration::ZERO);
    loop {
        let rows = page(conn, sql, &tenant, &id)?;
        let Some([last_tenant, last_id, _]) = rows.last() else { return Ok((count, took)) };
        (tenant, id) = (last_tenant.clone(), last_id.clone());
        let start = Instant::now();
        for [tenant, id, body] in &rows {
            let tag = key.tag(&[b"machine", tenant.as_bytes(), id.as_bytes(), body.as_bytes()]);
            std::hint::black_box(key.tag(&[tag.first_chunk::<16>().map_or(&[][..], |half| half.as_slice())]));
        }
        took += start.elapsed();
        count += rows.len();
    }
}

#[expect(clippy::print_stdout, reason = "the bench reads it")]
fn announce(took: &Took) -> Result<()> {
    println!("{OPENED}{}", serde_json::to_string(took)?);
    Ok(())
}
