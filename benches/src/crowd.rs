//! Many principals, each with a role on the vault and a token of its own, and many secrets: written into a development
//! server's data while it is stopped, by the server's own use cases.
//!
//! The tokens are signed by the tenant's key with the claims that the token service writes. They are not asked for
//! over the wire: the figure is the vault's.

use denizen_wire::Clock;
use std::path::Path;

use anyhow::{Context, Result};
use denizen_keys::{SecretString, envelope::RootKey, random};
use denizen_server::{
    app::access::SystemReason,
    domain::{
        claims::{Audience, BACKDATED, ClientAuthMethod, Groups, IssuedBy, NewToken, Subject, access_token},
        directory::{SigningAlgorithm, TokenVersion},
        hot::Principal,
        secrets::NewSecret,
    },
    run::{Server, root_key_in},
};

use crate::dev::Manifest;

/// The vault of every development server.
const VAULT: &str = "dev";
/// What the tokens are for.
const RESOURCE: &str = "https://vault.azure.net";
/// The role that reads secrets.
const ROLE: &str = "Key Vault Secrets User";
/// The life of the tokens, seconds: longer than any run.
const LIFETIME: i64 = 3600;

/// A crowd, as its clients know it.
#[derive(Clone)]
pub(crate) struct Crowd {
    /// One for each principal.
    pub(crate) tokens: Vec<String>,
    /// Name and value of each secret.
    pub(crate) secrets: Vec<(String, String)>,
}

/// Writes a crowd of this many principals and secrets.
pub(crate) async fn gather(data: &Path, manifest: &Manifest, principals: usize, secrets: usize) -> Result<Crowd> {
    let root_key = RootKey::load(&root_key_in(&data.canonicalize()?))?;
    let server = Server::open_at_rest(data, root_key, &manifest.authority, Clock::system()).await?;
    let tenant = server.store.snapshot().tenants().next().context("no tenant")?.id;
    let vault = server.store.snapshot().vault(VAULT).context("no vault")?.clone();
    let set_up = || server.authorize(tenant, SystemReason::SetUp);
    let audience = Audience {
        asked: RESOURCE.into(),
        application: None,
        version: TokenVersion::V1,
        algorithm: SigningAlgorithm::Rs256,
        issued_by: IssuedBy::Us,
    };
    let mut crowd = Crowd { tokens: Vec::new(), secrets: Vec::new() };
    for n in 0..principals {
        let (_, principal) = server.directory.create_application(&set_up(), &format!("reader {n}")).await?;
        server.rbac.assign(&set_up(), principal.id, ROLE, &vault.id).await?;
        let now = Clock::system().now();
        let claims = access_token(&NewToken {
            authority: &manifest.authority,
            tenant,
            subject: Subject::App(&Principal::of(&principal, |id| id.into())),
            proof: ClientAuthMethod::Certificate,
            audience: &audience,
            roles: Vec::new(),
            groups: Groups::None,
            handles_challenges: false,
            now,
            not_before: now - BACKDATED,
            lifetime: LIFETIME,
            uti: random::bytes(),
        });
        let keys = server.signing.keys(&server.store.snapshot(), tenant)?;
        crowd
            .tokens
            .push(keys.sign(&serde_json::to_string(&claims)?, TokenVersion::V1, audience.algorithm, now)?.token);
    }
    for n in 0..secrets {
        let (name, value) = (format!("secret-{n:04}"), format!("the value of secret {n:04}, {:032x}", n * 7919));
        let new = NewSecret::of(SecretString::from(value.clone()));
        server.secrets.set(&set_up(), &vault, &name.parse()?, new).await?;
        crowd.secrets.push((name, value));
    }
    let store = server.store.clone();
    drop(server);
    store.close().await;
    Ok(crowd)
}
