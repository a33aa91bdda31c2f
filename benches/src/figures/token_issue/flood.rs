//! Strangers who send wrong secrets as fast as they are answered, each request another one, at the clients that are
//! measured beside them and at others. They come from an address of their own.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use ::http::StatusCode;
use anyhow::{Context, Result, ensure};
use denizen_wire::ClientId;
use tokio::task::JoinSet;

use super::secrets::form;
use crate::http::{self, Origin};

/// Connections of theirs.
pub(super) const CONNECTIONS: usize = 64;
/// Where they come from.
const FROM: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// A flood that runs.
pub(super) struct Flood {
    running: JoinSet<Result<()>>,
    over: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
}

impl Flood {
    /// Begins one.
    pub(super) async fn begin(origin: &Origin, path: &str, clients: &[ClientId]) -> Result<Self> {
        let mut flood = Self { running: JoinSet::new(), over: Arc::default(), sent: Arc::default() };
        let origin = origin.clone().reached_from(FROM);
        for number in 0..CONNECTIONS {
            let mut connection = origin.connect().await?;
            let client = *clients.get(number % clients.len().max(1)).context("no clients")?;
            let (path, over, sent) = (path.to_owned(), Arc::clone(&flood.over), Arc::clone(&flood.sent));
            flood.running.spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    let guess = sent.fetch_add(1, Ordering::Relaxed);
                    let wrong = form(client, &format!("wrong-secret-{guess:030}"));
                    let answer = connection.send(http::post_form(&path, wrong)?).await?;
                    let refused = [StatusCode::UNAUTHORIZED, StatusCode::TOO_MANY_REQUESTS].contains(&answer.status());
                    ensure!(refused, "a wrong secret is answered {}", http::excerpt(&answer));
                }
                Ok(())
            });
        }
        Ok(flood)
    }

    /// Ends it; how many wrong secrets were sent.
    pub(super) async fn end(mut self) -> Result<u64> {
        self.over.store(true, Ordering::Relaxed);
        while let Some(ended) = self.running.join_next().await {
            ended??;
        }
        Ok(self.sent.load(Ordering::Relaxed))
    }
}
