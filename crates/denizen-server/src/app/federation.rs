//! Whether a token of another issuer proves a client: workload identity federation.
//!
//! Everything that costs nothing comes first. Keys are fetched only for a token that fits a registered credential of the
//! client, issuer, subject and audience, and is in its time; so a stranger cannot make the server dial where it likes, or
//! often. Then the signature; then all of it is asked again of the claims that the signature covers.
//!
//! A tenant of this very server is an issuer whose keys are at hand: nothing is dialled, and the token's principal must
//! still be good. Such a token must be an application's, as Entra wants it (AADSTS700229); a managed identity's is one.
//!
//! Tests: `http/sts/tests/federated.rs`, through the API.

use std::sync::Arc;

use denizen_keys::{jws::LaxAssertion, jws::VerifiedAssertion};
use denizen_wire::{PrincipalId, TenantId, UnixTime};
use serde_json::{Map, Value};

use super::{
    credentials::{AuthenticatedClient, Client, CredentialError, ForeignToken, KeyReason},
    signing::{KeyRing, OpenKey},
};
use crate::{
    domain::{
        assertion::{self, Reason},
        claims::issuer,
        directory::TokenVersion,
        federation::{FederatedCredential, LONGEST, find, shown},
    },
    issuers::{IssuerError, Issuers},
    store::Snapshot,
};

/// Verifies tokens of other issuers.
#[derive(Clone)]
pub struct Federation {
    issuers: Issuers,
    keys: KeyRing,
    authority: Arc<str>,
}

impl Federation {
    /// Creates the checks. `keys` sign for the tenants of `authority`, which is this server.
    pub fn new(issuers: Issuers, keys: KeyRing, authority: &str) -> Self {
        Self { issuers, keys, authority: authority.into() }
    }

    /// Whether tokens of this issuer can be verified here: for whoever registers a credential.
    ///
    /// # Errors
    /// What it is refused for.
    pub fn check_issuer(&self, snapshot: &Snapshot, issuer: &str) -> Result<(), IssuerError> {
        match self.tenant_of(snapshot, issuer) {
            Some(_) => Ok(()),
            None if issuer
                .strip_prefix(&*self.authority)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) =>
            {
                Err(IssuerError::Document(
                    "this server's own issuers are AUTHORITY/TENANT-ID/ and AUTHORITY/TENANT-ID/v2.0, and it has no such tenant",
                ))
            }
            None => self.issuers.check(issuer),
        }
    }

    /// Verifies a token that is not the client's own.
    ///
    /// # Errors
    /// The first check that fails, in the order of the module's text.
    pub async fn verify(
        &self,
        snapshot: &Snapshot,
        client: Client<'_>,
        text: &str,
        now: UnixTime,
    ) -> Result<AuthenticatedClient, CredentialError> {
        let parsed = LaxAssertion::parse(text).map_err(CredentialError::Malformed)?;
        let listed = match client.application {
            Some(application) => application.federated.as_slice(),
            None => client.principal.federated(),
        };
        let (credential, _) = fitting(listed, parsed.unverified_claims(), now)?;
        let verified = match self.tenant_of(snapshot, &credential.issuer) {
            Some(tenant) => self.verified_here(snapshot, tenant, &parsed, now)?,
            None => self.verified_elsewhere(credential, &parsed).await?,
        };
        // What counts is what was signed.
        let (credential, token) = fitting(listed, &verified.claims, now)?;
        Ok(AuthenticatedClient::federated(client.principal.client_id, credential.id, token))
    }

    /// The signature of another server's token.
    async fn verified_elsewhere(
        &self,
        credential: &FederatedCredential,
        parsed: &LaxAssertion,
    ) -> Result<VerifiedAssertion, CredentialError> {
        let kid = parsed.kid.as_deref();
        let keys = self.issuers.keys(&credential.issuer, kid).await.map_err(CredentialError::Issuer)?;
        let mut named = keys.named(kid, parsed.alg).peekable();
        if named.peek().is_none() {
            return Err(unknown_key(kid));
        }
        named.find_map(|key| parsed.verify(key).ok()).ok_or(CredentialError::Key(KeyReason::Signature))
    }

    /// The signature of a token of this server, and that its principal would still get one.
    fn verified_here(
        &self,
        snapshot: &Snapshot,
        tenant: TenantId,
        parsed: &LaxAssertion,
        now: UnixTime,
    ) -> Result<VerifiedAssertion, CredentialError> {
        let keys = self.keys.keys(snapshot, tenant).map_err(|error| CredentialError::OwnKeys(Arc::new(error)))?;
        let kid = parsed.kid.as_deref();
        let is_named = |key: &&OpenKey| Some(key.kid()) == kid && parsed.alg == key.public().token_algorithm();
        let named = keys.published(now).find(is_named);
        let key = named.ok_or_else(|| unknown_key(kid))?;
        let verified = parsed.verify(key.public()).map_err(|_| CredentialError::Key(KeyReason::Signature))?;
        let claim = |name| verified.claims.get(name);
        if claim("idtyp").and_then(Value::as_str) != Some("app") {
            return Err(CredentialError::NotAppOnly(shown(claim("iss").and_then(Value::as_str).unwrap_or_default())));
        }
        let principal: Option<PrincipalId> = claim("oid").and_then(Value::as_str).and_then(|it| it.parse().ok());
        let epoch = claim("xms_epoch").and_then(Value::as_u64).unwrap_or_default();
        match principal.and_then(|id| snapshot.principal(tenant, id)) {
            Some(principal) => principal.accepts(epoch).map_err(CredentialError::IssuedTo)?,
            None => return Err(CredentialError::IssuedTo("does not exist any more")),
        }
        Ok(verified)
    }

    /// The tenant of this server that issues under this name, if one does.
    fn tenant_of(&self, snapshot: &Snapshot, name: &str) -> Option<TenantId> {
        let rest = name.strip_prefix(&*self.authority)?.strip_prefix('/')?;
        let id: TenantId = rest.split('/').next()?.parse().ok()?;
        let is_own = [TokenVersion::V1, TokenVersion::V2].into_iter().any(|it| issuer(&self.authority, id, it) == name);
        snapshot.tenant(id).filter(|_| is_own).map(|tenant| tenant.id)
    }
}

/// The credential that a token fits, which is in its time.
fn fitting<'c>(
    listed: &'c [FederatedCredential],
    claims: &Map<String, Value>,
    now: UnixTime,
) -> Result<(&'c FederatedCredential, ForeignToken), CredentialError> {
    if listed.is_empty() {
        let issuer = claims.get("iss").and_then(Value::as_str).unwrap_or_default();
        return Err(CredentialError::Claims(Reason::Issuer(denizen_wire::shown::identifier(issuer).into_owned())));
    }
    let credential = find(listed, claims).map_err(CredentialError::NotFederated)?;
    assertion::validity(claims, now).map_err(CredentialError::Claims)?;
    // For the audit: an issuer may write as much as it likes.
    let text = |name| claims.get(name).and_then(Value::as_str).unwrap_or_default().chars().take(LONGEST).collect();
    Ok((credential, ForeignToken { name: credential.name.clone(), issuer: text("iss"), subject: text("sub") }))
}

fn unknown_key(kid: Option<&str>) -> CredentialError {
    CredentialError::Key(KeyReason::NotPublished(shown(kid.unwrap_or("(none)"))))
}
