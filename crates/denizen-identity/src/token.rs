//! What is asked for and what is got: a request of scopes, and an access token.

use std::{borrow::Cow, sync::Arc};

use denizen_wire::UnixTime;
use zeroize::Zeroizing;

use crate::error::{CredentialError, Failed, FailureKind};

/// An access token. Cheap to clone; zeroed when the last clone goes. Has no `Debug`: it is a secret.
#[derive(Clone)]
#[non_exhaustive]
pub struct Token {
    secret: Arc<Zeroizing<String>>,
    /// When it ends.
    pub expires_on: UnixTime,
    /// When the server wants it to be renewed, if it said so.
    pub refresh_on: Option<UnixTime>,
}

impl Token {
    /// A token that ends at `expires_on`.
    pub fn new(secret: String, expires_on: UnixTime) -> Self {
        Self { secret: Arc::new(Zeroizing::new(secret)), expires_on, refresh_on: None }
    }

    /// The same, to be renewed at `refresh_on`.
    #[must_use]
    pub fn refreshed_on(self, refresh_on: Option<UnixTime>) -> Self {
        Self { refresh_on, ..self }
    }

    /// The JWT itself.
    pub fn secret(&self) -> &str {
        &self.secret
    }
}

/// What a token is asked for.
#[derive(Clone, Copy, Debug)]
pub struct TokenRequest<'a> {
    scopes: &'a [&'a str],
    claims: Option<&'a str>,
    tenant_id: Option<&'a str>,
    fresh: bool,
    in_chain: bool,
}

impl<'a> TokenRequest<'a> {
    /// For these scopes (`https://vault.azure.net/.default`). Managed identities take exactly one.
    pub fn new(scopes: &'a [&'a str]) -> Self {
        Self { scopes, claims: None, tenant_id: None, fresh: false, in_chain: false }
    }

    /// With a claims challenge a resource server sent: no token from the cache answers it.
    #[must_use]
    pub fn with_claims(self, claims: &'a str) -> Self {
        Self { claims: Some(claims), ..self }
    }

    /// In this tenant rather than the credential's own. It must be among the additionally allowed ones.
    #[must_use]
    pub fn for_tenant(self, tenant_id: &'a str) -> Self {
        Self { tenant_id: Some(tenant_id), ..self }
    }

    /// From the source, whatever the cache holds.
    #[must_use]
    pub fn fresh(self) -> Self {
        Self { fresh: true, ..self }
    }

    /// On behalf of a chain, which wants to know soon whether there is anybody to ask (IMDS is probed first).
    #[must_use]
    pub fn in_chain(self) -> Self {
        Self { in_chain: true, ..self }
    }

    /// The scopes.
    pub fn scopes(&self) -> &'a [&'a str] {
        self.scopes
    }

    /// The claims challenge.
    pub fn claims(&self) -> Option<&'a str> {
        self.claims
    }

    /// The tenant, if it is not the credential's own.
    pub fn tenant_id(&self) -> Option<&'a str> {
        self.tenant_id
    }

    pub(crate) fn bypasses_cache(&self) -> bool {
        self.fresh || self.claims.is_some()
    }

    /// What a token is remembered under. Borrowed in the usual case, so that a cached token costs no allocation.
    pub(crate) fn key(&self) -> Cow<'a, str> {
        match (self.scopes, self.tenant_id) {
            ([scope], None) => Cow::Borrowed(scope),
            (scopes, tenant) => Cow::Owned(format!("{}\n{}", scopes.join(" "), tenant.unwrap_or_default())),
        }
    }

    pub(crate) fn to_ask(self) -> Ask {
        Ask {
            scopes: self.scopes.iter().map(|s| (*s).to_owned()).collect(),
            claims: self.claims.map(str::to_owned),
            tenant_id: self.tenant_id.map(str::to_owned),
            in_chain: self.in_chain,
        }
    }
}

/// A [`TokenRequest`] that outlives its caller: fetching goes on in the background.
#[derive(Clone)]
pub(crate) struct Ask {
    pub(crate) scopes: Vec<String>,
    pub(crate) claims: Option<String>,
    pub(crate) tenant_id: Option<String>,
    pub(crate) in_chain: bool,
}

impl Ask {
    /// The one resource a managed identity is asked for: the scope without its final `/.default`, nothing else
    /// changed (`https://management.core.windows.net//.default` keeps one of its slashes).
    pub(crate) fn resource(&self, credential: &'static str) -> Result<&str, CredentialError> {
        match self.scopes.as_slice() {
            [scope] if !scope.is_empty() => Ok(scope.strip_suffix("/.default").unwrap_or(scope)),
            scopes => Err(Failed::new(
                credential,
                FailureKind::Configuration,
                format!("a managed identity gives a token for exactly one scope, {} were asked for", scopes.len()),
            )
            .with_remedy("ask for one scope per token")
            .into()),
        }
    }

    #[cfg(feature = "developer")]
    pub(crate) fn as_request<'a>(&'a self, scopes: &'a [&'a str]) -> TokenRequest<'a> {
        TokenRequest {
            scopes,
            claims: self.claims.as_deref(),
            tenant_id: self.tenant_id.as_deref(),
            fresh: false,
            in_chain: self.in_chain,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(scope: &str) -> String {
        TokenRequest::new(&[scope]).to_ask().resource("x").unwrap().to_owned()
    }

    #[test]
    fn only_the_final_default_is_taken_off() {
        assert_eq!(resource("https://vault.azure.net/.default"), "https://vault.azure.net");
        assert_eq!(resource("https://management.core.windows.net//.default"), "https://management.core.windows.net/");
        assert_eq!(resource("https://management.azure.com/"), "https://management.azure.com/");
        assert!(TokenRequest::new(&["a", "b"]).to_ask().resource("x").is_err());
        assert!(TokenRequest::new(&[]).to_ask().resource("x").is_err());
    }

    #[test]
    fn another_tenant_is_another_key() {
        let scopes = ["s"];
        assert_eq!(TokenRequest::new(&scopes).key(), "s");
        assert_ne!(TokenRequest::new(&scopes).key(), TokenRequest::new(&scopes).for_tenant("t").key());
    }
}
