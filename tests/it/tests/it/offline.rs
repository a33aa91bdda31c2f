//! The server's own use cases over a data directory that no process holds: what an operator's commands will do, and
//! what only the keeper of the signing key can do.

use std::path::Path;

use denizen_keys::envelope::RootKey;
use denizen_server::{
    app::access::{Authorization, SystemReason},
    domain::directory::{SigningAlgorithm, TokenVersion},
    run::{Server, root_key_in},
};
use denizen_wire::{Clock, TenantId, UnixTime};
use serde_json::Value;

/// An open server that does not listen.
pub(crate) struct Offline {
    pub(crate) server: Server,
    pub(crate) tenant: TenantId,
    /// The server's time.
    clock: Clock,
}

impl Offline {
    /// Opens what is in `data`, as `authority`.
    pub(crate) async fn open(data: &Path, authority: &str) -> Self {
        let root_key = RootKey::load(&root_key_in(&data.canonicalize().unwrap())).unwrap();
        let clock = Clock::manual(Clock::system().now());
        let server = Server::open_at_rest(data, root_key, authority, clock.clone()).await.unwrap();
        let tenant = server.store.snapshot().tenants().next().unwrap().id;
        Self { server, tenant, clock }
    }

    pub(crate) fn now(&self) -> UnixTime {
        Clock::system().now()
    }

    /// The operator's authorization for anything.
    pub(crate) fn authorization(&self) -> Authorization {
        self.server.authorize(self.tenant, SystemReason::SetUp)
    }

    /// The same, as it was so many seconds ago.
    pub(crate) fn authorization_before(&self, seconds: i64) -> Authorization {
        self.clock.set(self.now() + (-seconds));
        let authorization = self.authorization();
        self.clock.set(self.now());
        authorization
    }

    /// Signs any claims with the key whose turn it is.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        let keys = self.server.signing.keys(&self.server.store.snapshot(), self.tenant).unwrap();
        keys.sign(&claims.to_string(), TokenVersion::V1, SigningAlgorithm::Rs256, self.now()).unwrap().token
    }

    pub(crate) async fn close(self) {
        let Self { server, .. } = self;
        let store = server.store.clone();
        drop(server);
        store.close().await;
    }
}
