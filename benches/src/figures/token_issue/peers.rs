//! Other token services under the same load: client credentials by a secret, JWT access tokens signed by RSA-2048.
//!
//! `oidc-provider` is pinned in `benches/peers/oidc-provider` and started here.

use std::{path::Path, sync::Arc};

use anyhow::{Context, Result};
use denizen_keys::{
    ca::{DevCa, SanEntry},
    random,
};
use denizen_wire::Clock;
use hyper::body::Bytes;

use super::secrets::BySecret;
use crate::{child::Child, dev::text, http::Origin, peer::LISTENING};

/// Where the peer's program is.
const OIDC_PROVIDER: &str = "benches/peers/oidc-provider/server.mjs";

/// Starts oidc-provider, with a certificate of its own in `directory`.
pub(super) async fn oidc_provider(directory: &Path) -> Result<(Child, BySecret)> {
    let now = Clock::system().now().0;
    let ca = DevCa::generate("Bench peer", now)?;
    let issued = ca.issue_server(&[SanEntry::Dns("localhost".into())], now, 1)?;
    let (certificate, key) = (directory.join("peer.crt"), directory.join("peer.key"));
    std::fs::write(&certificate, issued.chain_pem())?;
    std::fs::write(&key, issued.key_pem().expose())?;
    let secret = random::token(32);
    let arguments = [OIDC_PROVIDER, text(&certificate)?, text(&key)?, secret.expose()];
    let node = which("node")?;
    let mut child = Child::start(&node, &arguments, false)?;
    let url = child.says(LISTENING).await.context("is benches/peers/oidc-provider installed? ./bench does that")?;
    child.ignore_output();
    let form = form_urlencoded::Serializer::new(String::new())
        .append_pair("client_id", "bench")
        .append_pair("scope", "api")
        .append_pair("grant_type", "client_credentials")
        .append_pair("client_secret", secret.expose())
        .finish();
    let forms: Arc<[Bytes]> = Arc::new([form.into()]);
    Ok((child, BySecret::new(Origin::of(&url, Some(ca.ca_pem()))?, "/token", &forms)))
}

#[expect(clippy::disallowed_methods, reason = "where a peer's program is, is the environment's to say")]
fn which(program: &str) -> Result<std::path::PathBuf> {
    let path = std::env::var_os("PATH").context("no PATH")?;
    let found = std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file());
    found.with_context(|| format!("{program} is missing"))
}
