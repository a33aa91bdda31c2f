//! Clients that prove themselves by a secret: registered by the server's own use cases while it is stopped, and asking as
//! an SDK does.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::{Context, Result, ensure};
use denizen_keys::envelope::RootKey;
use denizen_server::{
    app::access::SystemReason,
    run::{Server, root_key_in},
};
use denizen_wire::{ClientId, Clock};
use hyper::body::Bytes;
use tokio::task::JoinSet;

use crate::{
    dev::Manifest,
    http::{self, Connection, Origin},
    load::{Program, Session},
};

/// Clients that are registered at a time: what waits commits together.
const AT_ONCE: usize = 64;

/// Clients with a secret each.
pub(super) struct Clients {
    /// The path of their token endpoint.
    pub(super) path: String,
    /// What each posts.
    pub(super) forms: Arc<[Bytes]>,
    /// Their ids.
    pub(super) ids: Vec<ClientId>,
}

/// Registers so many.
pub(super) async fn register(data: &Path, manifest: &Manifest, count: usize) -> Result<Clients> {
    let root_key = RootKey::load(&root_key_in(&data.canonicalize()?))?;
    let server = Server::open_at_rest(data, root_key, &manifest.authority, Clock::system()).await?;
    let tenant = server.store.snapshot().tenants().next().context("no tenant")?.id;
    let (mut running, mut forms, mut ids) = (JoinSet::new(), Vec::new(), Vec::new());
    for number in 0..count {
        let server = server.clone();
        running.spawn(async move {
            let authorization = server.authorize(tenant, SystemReason::SetUp);
            let name = format!("client {number}");
            let (application, _) = server.directory.create_application(&authorization, &name).await?;
            let id = application.client_id;
            let secret = server.directory.reset_password(&authorization, id, &name).await?;
            Ok::<_, anyhow::Error>((id, form(id, secret.expose())))
        });
        while running.len() >= AT_ONCE || (number + 1 == count && !running.is_empty()) {
            let (id, form) = running.join_next().await.context("nothing runs")???;
            ids.push(id);
            forms.push(form);
        }
    }
    let store = server.store.clone();
    drop(server);
    store.close().await;
    Ok(Clients { path: format!("/{tenant}/oauth2/v2.0/token"), forms: forms.into(), ids })
}

/// A request for a token by a secret.
pub(super) fn form(client: ClientId, secret: &str) -> Bytes {
    let form = form_urlencoded::Serializer::new(String::new())
        .append_pair("client_id", &client.to_string())
        .append_pair("scope", &format!("{}/.default", super::RESOURCE))
        .append_pair("grant_type", "client_credentials")
        .append_pair("client_secret", secret)
        .finish();
    form.into()
}

/// Requests that go on through the clients, each by the next one.
pub(super) struct BySecret {
    origin: Origin,
    path: String,
    forms: Arc<[Bytes]>,
    next: Arc<AtomicUsize>,
}

/// One connection of theirs.
pub(super) struct Asking {
    connection: Connection,
    path: String,
    forms: Arc<[Bytes]>,
    next: Arc<AtomicUsize>,
}

impl BySecret {
    /// Begins with the first client.
    pub(super) fn new(origin: Origin, path: &str, forms: &Arc<[Bytes]>) -> Self {
        Self { origin, path: path.to_owned(), forms: Arc::clone(forms), next: Arc::default() }
    }
}

impl Program for BySecret {
    type Session = Asking;

    async fn open(&self) -> Result<Asking> {
        let connection = self.origin.connect().await?;
        Ok(Asking { connection, path: self.path.clone(), forms: Arc::clone(&self.forms), next: Arc::clone(&self.next) })
    }
}

impl Session for Asking {
    async fn exchange(&mut self) -> Result<()> {
        let number = self.next.fetch_add(1, Ordering::Relaxed) % self.forms.len().max(1);
        let form = self.forms.get(number).context("no clients")?.clone();
        let answer = self.connection.send(http::post_form(&self.path, form)?).await?;
        ensure!(answer.status().is_success(), "no token: {}", http::excerpt(&answer));
        Ok(())
    }
}
