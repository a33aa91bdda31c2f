//! The machine that `denizen dev` enrolled, as a client of the token service: what the agent does, without the agent.

use std::{
    fs,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use denizen_agent::identity_file::StateDirectory;
use denizen_keys::{Algorithm, Signer, b64, jws, random};
use denizen_wire::Clock;
use denizen_wire::oauth;
use hyper::body::Bytes;
use serde_json::json;

/// Long enough for any run.
const ASSERTION_LIFETIME: i64 = 600;

/// A machine's identity and its key.
pub(crate) struct Machine {
    client_id: String,
    token_endpoint: String,
    thumbprint: String,
    key: Signer,
}

impl Machine {
    /// Of an agent's state directory that no agent uses.
    pub(crate) fn load(state: &Path) -> Result<Self> {
        let state = StateDirectory::open(state)?;
        let identity = state.enrolled()?;
        let key = state.key()?.context("the machine has no key")?;
        let certificate = state.certificate(&key)?.context("the machine has no certificate")?;
        Ok(Self {
            client_id: identity.enrolled.client_id.to_string(),
            token_endpoint: identity.enrolled.token_endpoint,
            thumbprint: b64::url(&certificate.thumbprint_sha256()),
            key,
        })
    }

    /// Where it asks for tokens.
    pub(crate) fn token_endpoint(&self) -> &str {
        &self.token_endpoint
    }

    /// A token request for `resource`, with an assertion signed now.
    pub(crate) fn request(&self, resource: &str) -> Result<Bytes> {
        let now = Clock::system().now().0;
        let header = json!({"alg": Algorithm::Ps256.name(), "typ": "JWT", "x5t#S256": self.thumbprint});
        let claims = json!({
            "aud": self.token_endpoint, "iss": self.client_id, "sub": self.client_id, "jti": random::uuid_v4(),
            "nbf": now, "iat": now, "exp": now + ASSERTION_LIFETIME,
        });
        let assertion = jws::sign_compact(&self.key, Algorithm::Ps256, &header.to_string(), &claims.to_string())?;
        let form = form_urlencoded::Serializer::new(String::with_capacity(2048))
            .append_pair("client_id", &self.client_id)
            .append_pair("scope", &format!("{resource}/.default"))
            .append_pair("grant_type", "client_credentials")
            .append_pair("client_assertion_type", oauth::JWT_BEARER)
            .append_pair("client_assertion", &assertion)
            .finish();
        Ok(form.into())
    }
}

/// Copies an agent's state, so that a second agent can run as the same machine: a state directory has one owner.
pub(crate) fn copy_state(from: &Path, to: PathBuf) -> Result<PathBuf> {
    fs::DirBuilder::new().mode(0o700).create(&to).with_context(|| format!("making {}", to.display()))?;
    for name in ["identity.json", "node.key", "node.crt"] {
        let copy = to.join(name);
        fs::copy(from.join(name), &copy).with_context(|| format!("copying the agent's {name}"))?;
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o600))?;
    }
    Ok(to)
}
