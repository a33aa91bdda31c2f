//! A list page of 100 out of 100,000 service principals, against the same page out of 1,000: a list costs its page and not the
//! directory. Both servers are the real program with SQLite; what is asked is Microsoft Graph's `servicePrincipals`, from the
//! start, from the middle, and by the filter that names the managed identities.

use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};
use denizen_keys::envelope::RootKey;
use denizen_server::run::Server;
use denizen_wire::Clock;
use serde_json::Value;

use super::{Page, Plan, alternate, latencies};
use crate::{
    fleet::{self, Place},
    http::{self, Connection, Origin},
    load::{Load, Program, Session},
    report::Verdict,
    served::{Deployment, Served},
};

const NAME: &str = "graph-list";
/// The work of a page of the small directory over that of the large one.
const BAR: f64 = 0.80;
const SMALL: u32 = 1_000;
const LARGE: u32 = 100_000;
const RESOURCE: &str = "https://graph.microsoft.com";
/// What is listed; the second goes on from the middle.
const LISTS: [&str; 3] = [
    "/v1.0/servicePrincipals?$top=100&$select=id,displayName",
    "/v1.0/servicePrincipals?$top=100&$select=id,displayName&$filter=startswith(displayName,'server-00005')",
    "/v1.0/servicePrincipals?$top=100&$select=id,displayName&$filter=servicePrincipalType%20eq%20'ManagedIdentity'",
];

/// Pages of one directory, each list in turn.
struct Pages {
    origin: Origin,
    token: String,
    paths: Vec<String>,
}

struct Reader {
    connection: Connection,
    token: String,
    paths: Vec<String>,
    next: usize,
}

impl Program for Pages {
    type Session = Reader;

    async fn open(&self) -> Result<Reader> {
        let (token, paths) = (self.token.clone(), self.paths.clone());
        Ok(Reader { connection: self.origin.connect().await?, token, paths, next: 0 })
    }
}

impl Session for Reader {
    async fn exchange(&mut self) -> Result<()> {
        let path = self.paths.get(self.next % self.paths.len()).context("no list")?;
        self.next += 1;
        let authorization = format!("Bearer {}", self.token);
        let answer = self.connection.send(http::get(path, &[("authorization", &authorization)])?).await?;
        ensure!(answer.status().is_success(), "no page: {}", http::excerpt(&answer));
        let of = answer.body().windows(14).filter(|window| window == b"\"displayName\":").count();
        ensure!(of == 100, "{path} has {of} items: {}", http::excerpt(&answer));
        Ok(())
    }
}

/// Measures.
pub(crate) async fn run(plan: Plan) -> Result<Page> {
    let large = plan.machines.unwrap_or(LARGE);
    let (mut of_small, small) = started(SMALL).await?;
    let (mut of_large, many) = started(large).await?;
    let load = Load::new(plan.connections, plan.time);
    let ours = ("of a large directory", &mut of_large.1.child, &many);
    let compared = alternate(plan.rounds, load, ours, ("of a small one", &mut of_small.1.child, &small)).await?;
    let mut text = format!("pages of 100 out of {large} and out of {SMALL}, {} connections\n", plan.connections);
    text.push_str(&compared.table());
    text.push_str(&latencies(&compared));
    let ratio = compared.ratio();
    let _ = writeln!(text, "a page of the large directory costs {:.2} times one of the small", 1.0 / ratio);
    of_small.1.stop().await?;
    of_large.1.stop().await?;
    Ok(Page { text, verdict: Verdict { name: NAME, ratio, bar: BAR, sound: true } })
}

/// A server over a directory with so many managed identities, and what is asked of it.
async fn started(count: u32) -> Result<((Deployment, Served), Pages)> {
    let deployment = Deployment::make(1, None).await?;
    let admin = deployment.admin()?;
    let word = |name: &str| admin.get(name).and_then(Value::as_str).with_context(|| format!("no {name}"));
    let (data, root_key) = (deployment.directory().join("data-0"), deployment.directory().join("root.key"));
    // The authority stands in tokens alone, and none are made here.
    let (data, root_key) = (data.canonicalize()?, RootKey::load(&root_key)?);
    let server = Server::open_at_rest(&data, root_key, "https://localhost", Clock::system()).await?;
    let tenant = word("tenant_id")?.parse()?;
    let group = server.store.snapshot().resource_groups(tenant).next().context("no resource group")?.id.clone();
    fleet::fill(&server, &Place { tenant, group, vault: None }, 0..count).await?;
    let store = server.store.clone();
    drop(server);
    store.close().await;
    let served = deployment.start(0, false).await?;
    let token = deployment.token_for(&served, RESOURCE).await?;
    // The middle is where a link leads that was followed often; any link is good for any page of its list.
    let mut paths: Vec<String> = LISTS.iter().map(|&path| path.to_owned()).collect();
    let half = "/v1.0/servicePrincipals?$top=400&$select=id,displayName";
    let authorization = format!("Bearer {token}");
    let answer = served.control.connect().await?.send(http::get(half, &[("authorization", &authorization)])?).await?;
    let body: Value = serde_json::from_slice(answer.body())?;
    let link = body.get("@odata.nextLink").and_then(Value::as_str).context("no link")?;
    let at = link.find("/v1.0/").context("no path")?;
    paths.push(link.get(at..).context("no path")?.replace("400", "100"));
    let pages = Pages { origin: served.control.clone(), token, paths };
    Ok(((deployment, served), pages))
}
