//! A list page of 100 out of 100,000 users, against the same page out of 1,000: a list costs its page and not the directory.
//!
//! The real program answers Microsoft Graph's lists over TLS, with SQLite and with PostgreSQL: from the start, by filter,
//! in an order, and from the middle, where following `@odata.nextLink` leads. CPU is the server's and, with PostgreSQL, that
//! of all of the database's processes, which serve nobody else. A list with `$count=true` is shown and not held to the bar: its
//! count is of the whole list.
//!
//! There are as many service principals as users, and what all of them take in memory is what the server with the large directory
//! has resident beside the one with the small.

use std::{fmt::Write as _, path::Path};

use anyhow::{Context, Result, ensure};
use denizen_keys::envelope::RootKey;
use denizen_server::{
    run::Server,
    store::{Engine, Postgres},
};
use denizen_test_postgres::Cluster;
use denizen_wire::Clock;
use serde_json::Value;

use super::{Page, Plan};
use crate::{
    child::{self, Memory},
    dev, fleet,
    http::{self, Connection, Origin},
    load::{Load, Program, Round, Session},
    report::{Comparison, Pair, Verdict},
    served::{Deployment, Served, word},
};

const NAME: &str = "graph-list";
/// The cost of a page of the small directory over that of the large one, which is at most one and a half times as much.
const BAR: f64 = 0.67;
const SMALL: u32 = 1_000;
const LARGE: u32 = 100_000;
/// How many to a page.
const PAGE: u32 = 100;
const RESOURCE: &str = "https://graph.microsoft.com";

/// A list that is asked for.
struct Question {
    name: &'static str,
    path: &'static str,
    /// Whether the page in the middle is asked for, and not the first.
    is_in_the_middle: bool,
    /// Whether it is held to the bar.
    counts: bool,
}

const fn first(name: &'static str, path: &'static str) -> Question {
    Question { name, path, is_in_the_middle: false, counts: true }
}

const QUESTIONS: [Question; 8] = [
    first("users", "/v1.0/users?$top=100&$select=id,displayName"),
    Question {
        is_in_the_middle: true,
        ..first("users, in the middle by nextLink", "/v1.0/users?$top=100&$select=id,displayName")
    },
    first(
        "users, $filter of all",
        "/v1.0/users?$top=100&$select=id,displayName&$filter=startswith(displayName,'user-0')",
    ),
    first("users, $orderby desc", "/v1.0/users?$top=100&$select=id,displayName&$orderby=displayName%20desc"),
    first(
        "users, $filter of 100, $orderby, $count",
        "/v1.0/users?$top=100&$select=id,displayName&$filter=startswith(displayName,'user-00005')\
         &$orderby=displayName&$count=true",
    ),
    Question {
        is_in_the_middle: true,
        ..first(
            "users, $filter of all, in the middle",
            "/v1.0/users?$top=100&$select=id,displayName&$filter=startswith(displayName,'user-0')",
        )
    },
    first(
        "managed identities by $filter",
        "/v1.0/servicePrincipals?$top=100&$select=id,displayName&$filter=servicePrincipalType%20eq%20'ManagedIdentity'",
    ),
    Question {
        counts: false,
        ..first(
            "users, $filter and $count of all (shown only)",
            "/v1.0/users?$top=100&$select=id,displayName&$filter=startswith(displayName,'user-0')\
             &$orderby=displayName&$count=true",
        )
    },
];

/// A page of one directory.
struct Pages {
    origin: Origin,
    token: String,
    path: String,
}

struct Reader {
    connection: Connection,
    token: String,
    path: String,
}

impl Program for Pages {
    type Session = Reader;

    async fn open(&self) -> Result<Reader> {
        Ok(Reader { connection: self.origin.connect().await?, token: self.token.clone(), path: self.path.clone() })
    }
}

impl Session for Reader {
    async fn exchange(&mut self) -> Result<()> {
        let body = asked(&mut self.connection, &self.token, &self.path).await?;
        let of = body.windows(14).filter(|window| window == b"\"displayName\":").count();
        ensure!(of == PAGE as usize, "{} has {of} items", self.path);
        Ok(())
    }
}

async fn asked(connection: &mut Connection, token: &str, path: &str) -> Result<hyper::body::Bytes> {
    let authorization = format!("Bearer {token}");
    let headers = [("authorization", &*authorization), ("consistencylevel", "eventual")];
    let answer = connection.send(http::get(path, &headers)?).await?;
    ensure!(answer.status().is_success(), "no page: {}", http::excerpt(&answer));
    Ok(answer.into_body())
}

/// A server over a directory of its own.
struct Directory {
    deployment: Deployment,
    served: Served,
    token: String,
    users: u32,
    /// The database's server, where it is one.
    cluster: Option<Cluster>,
}

/// Measures.
pub(crate) async fn run(plan: Plan) -> Result<Page> {
    let large = plan.machines.unwrap_or(LARGE);
    ensure!(large > SMALL, "a large directory has more than {SMALL} users");
    let load = Load::new(plan.connections, plan.time.div_f64(3.0));
    let mut text = format!(
        "pages of {PAGE}, {} connections, {} rounds; CPU of a page, us\n{:<12}{:<46}{:>11}{:>12}{:>7}   {}\n",
        plan.connections,
        plan.rounds,
        "engine",
        "list",
        "of 1,000",
        format!("of {large}"),
        "times",
        "least to most"
    );
    let (mut memory, mut ratio) = (String::new(), f64::INFINITY);
    for engine in ["SQLite", "PostgreSQL"] {
        let mut few = Directory::make(engine, SMALL).await?;
        let mut many = Directory::make(engine, large).await?;
        let started = (few.served.child.memory()?, many.served.child.memory()?);
        for question in &QUESTIONS {
            let (pages, of_few) = (many.pages(question).await?, few.pages(question).await?);
            let mut pairs = Vec::new();
            for round in 0..=plan.rounds {
                let pair = Pair { ours: many.round(load, &pages).await?, other: few.round(load, &of_few).await? };
                // The first fills caches.
                if round > 0 {
                    pairs.push(pair);
                }
            }
            let compared = Comparison { ours: "large", other: "small", pairs };
            text.push_str(&line(engine, question, &compared));
            if question.counts {
                ratio = ratio.min(compared.ratio());
            }
        }
        let used = (few.served.child.memory()?, many.served.child.memory()?);
        memory.push_str(&resident(engine, "started", started, large));
        memory.push_str(&resident(engine, "after its lists", used, large));
        few.stop().await?;
        many.stop().await?;
    }
    let _ = write!(
        text,
        "\n{large} users and {large} service principals, beside {SMALL} of each: resident\n{:<12}{:<18}{:>12}{:>12}{:>18}\n{memory}",
        "engine", "server", "small, MiB", "large, MiB", "KiB a principal"
    );
    let busy = std::fs::read_to_string("/proc/loadavg")?;
    let processors = std::thread::available_parallelism()?;
    let busy = busy.split_whitespace().take(3).collect::<Vec<_>>().join(" ");
    let _ = writeln!(text, "\nload of the machine at the end (1, 5, 15 min): {busy} on {processors} processors");
    Ok(Page { text, verdict: Verdict { name: NAME, ratio, bar: BAR, sound: true } })
}

fn line(engine: &str, question: &Question, compared: &Comparison) -> String {
    let cost = |side: fn(&Pair) -> &Round| compared.median(|pair| 1e6 / side(pair).per_cpu_second());
    let times: Vec<f64> = compared.pairs.iter().map(|pair| 1.0 / pair.ratio()).collect();
    let (least, most) = times.iter().fold((f64::INFINITY, 0.0), |(least, most), it| (it.min(least), it.max(most)));
    format!(
        "{engine:<12}{:<46}{:>11.0}{:>12.0}{:>7.2}   {least:.2} to {most:.2}\n",
        question.name,
        cost(|pair| &pair.other),
        cost(|pair| &pair.ours),
        1.0 / compared.ratio(),
    )
}

#[expect(clippy::cast_precision_loss, reason = "bytes of one process, far below 2^52")]
fn resident(engine: &str, when: &str, (few, many): (Memory, Memory), large: u32) -> String {
    let (few, many) = (few.resident as f64 / 1024.0, many.resident as f64 / 1024.0);
    let principals = f64::from(large - SMALL) * 2.0;
    format!("{engine:<12}{when:<18}{:>12.0}{:>12.0}{:>18.3}\n", few / 1024.0, many / 1024.0, (many - few) / principals)
}

impl Directory {
    /// Makes one with so many users and as many service principals, and starts a server over it.
    async fn make(engine: &str, users: u32) -> Result<Self> {
        let cluster = match engine {
            "PostgreSQL" => Some(tokio::task::spawn_blocking(cluster).await??),
            _ => None,
        };
        let url = cluster.as_ref().map(|cluster| cluster.url("denizen"));
        let deployment = Deployment::make(1, url.as_deref()).await?;
        fill(&deployment, url, users).await?;
        let cluster = tokio::task::spawn_blocking(move || {
            // As it is some time after a load.
            if let Some(cluster) = &cluster {
                cluster.query("denizen", "VACUUM ANALYZE")?;
            }
            Ok::<_, std::io::Error>(cluster)
        });
        let cluster = cluster.await??;
        let served = deployment.start(0, false).await?;
        let token = deployment.token_for(&served, RESOURCE).await?;
        Ok(Self { deployment, served, token, users, cluster })
    }

    /// A list's page.
    async fn pages(&self, question: &Question) -> Result<Pages> {
        let mut path = question.path.to_owned();
        if question.is_in_the_middle {
            let mut connection = self.served.control.connect().await?;
            for _ in 0..self.users / PAGE / 2 {
                let body: Value = serde_json::from_slice(&asked(&mut connection, &self.token, &path).await?)?;
                let link = word(&body, "@odata.nextLink")?;
                path = link.get(link.find("/v1.0/").context("no path")?..).context("no path")?.to_owned();
            }
        }
        Ok(Pages { origin: self.served.control.clone(), token: self.token.clone(), path })
    }

    /// One round, charged with what the database did for it.
    async fn round(&mut self, load: Load, pages: &Pages) -> Result<Round> {
        // What warms up is not charged to the server, and would be to the database.
        let load = Load { warm_up: 0, ..load };
        let before = self.database_cpu()?;
        let round = load.run(&mut self.served.child, pages).await?;
        Ok(Round { cpu: round.cpu + self.database_cpu()? - before, ..round })
    }

    fn database_cpu(&self) -> Result<f64> {
        let Some(cluster) = &self.cluster else { return Ok(0.0) };
        let first = child::cpu_with_ended_children(cluster.pid()?)?;
        // One that has ended meanwhile is charged to the first from then on.
        Ok(first + cluster.sessions()?.into_iter().filter_map(|pid| child::cpu_of(pid).ok()).sum::<f64>())
    }

    async fn stop(self) -> Result<()> {
        self.served.stop().await?;
        drop(self.deployment);
        Ok(())
    }
}

fn cluster() -> std::io::Result<Cluster> {
    std::fs::create_dir_all(dev::OUT)?;
    // Filled once and then read: nothing that it writes is measured.
    let cluster = Cluster::start_under(Path::new(dev::OUT), &[("fsync", "off"), ("autovacuum", "off")])?;
    cluster.create("denizen")?;
    Ok(cluster)
}

async fn fill(deployment: &Deployment, database: Option<String>, users: u32) -> Result<()> {
    let admin = deployment.admin()?;
    let data = deployment.directory().join("data-0").canonicalize()?;
    let root_key = RootKey::load(&deployment.directory().join("root.key"))?;
    // The authority stands in tokens alone, and none are made here.
    let (authority, clock) = ("https://localhost", Clock::system());
    let server = match database {
        None => Server::open_at_rest(&data, root_key, authority, clock).await?,
        Some(url) => {
            let engine = Engine::Postgres(Postgres::new(url, data.join("replica")));
            Server::open_engine_at_rest(engine, root_key, authority, clock).await?
        }
    };
    let tenant = word(&admin, "tenant_id")?.parse()?;
    let group = server.store.snapshot().resource_groups(tenant).next().context("no resource group")?.id.clone();
    fleet::fill(&server, &fleet::Place { tenant, group, vault: None }, fleet::What::Principals, 0..users).await?;
    server.store.close().await;
    Ok(())
}
