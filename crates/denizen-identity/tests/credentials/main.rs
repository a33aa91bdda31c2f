//! The credentials against faithful endpoints in process, and against faulty ones.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a failed one is the message of the test"
)]

mod attacks;
mod chain;
mod config;
mod constructors;
mod entra;
mod errors;
mod log;
mod matrix;
mod proxy;
mod sources;

use std::sync::Arc;

use denizen_identity::{
    Clock, Credential, CredentialContext, CredentialError, Environment, TokenRequest, UnixTime, UserAssigned,
    credential::ManagedIdentityCredential,
};
use denizen_identity_testkit::{ArcEndpoint, Issuer, Options};

/// When every test happens.
const NOW: UnixTime = UnixTime(1_795_239_900);
const VAULT: &str = "https://vault.azure.net/.default";

/// Endpoints and clients that agree on the time.
struct Time(Clock);

impl Time {
    fn new() -> Self {
        Self(Clock::manual(NOW))
    }

    fn options(&self) -> Options {
        Options::default().with_clock(self.0.clone())
    }

    fn context(&self, environment: Environment) -> CredentialContext {
        CredentialContext::of(environment).with_clock(self.0.clone())
    }

    /// How long was waited, seconds.
    fn waited(&self) -> i64 {
        self.0.now().since(NOW)
    }
}

/// A token for the vault, or the error.
async fn get(credential: &dyn Credential) -> Result<String, CredentialError> {
    credential.token(TokenRequest::new(&[VAULT])).await.map(|token| token.secret().to_owned())
}

/// The claims of a token.
fn claims(token: &str) -> serde_json::Value {
    use base64::Engine;
    let payload = token.split('.').nth(1).expect("a JWT");
    serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// The claims that a federated credential for `subject` trusts.
fn federated(issuer: &Issuer, subject: &str, now: UnixTime) -> serde_json::Value {
    serde_json::json!({
        "iss": issuer.iss(), "sub": subject, "aud": "api://AzureADTokenExchange",
        "iat": now, "nbf": now, "exp": now + 600,
    })
}

/// An agent and a credential that asks it.
struct Arcs {
    endpoint: ArcEndpoint,
    time: Time,
    issuer: Issuer,
}

impl Arcs {
    async fn start() -> Self {
        let time = Time::new();
        let options = time.options();
        let issuer = options.issuer.clone();
        Self { endpoint: ArcEndpoint::start(options).await.unwrap(), time, issuer }
    }

    /// Who signs what it gives.
    fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    fn context(&self) -> CredentialContext {
        let context = self.time.context(self.endpoint.environment());
        context.with_key_directory(self.endpoint.key_directory())
    }

    fn credential(&self, identity: Option<UserAssigned>) -> Arc<ManagedIdentityCredential> {
        let mut builder = ManagedIdentityCredential::builder().context(self.context());
        if let Some(identity) = identity {
            builder = builder.user_assigned(identity);
        }
        builder.build().unwrap()
    }
}
