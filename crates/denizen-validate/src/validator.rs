//! The order of the checks.
//!
//! Size and form, algorithm (RS256 only), issuer (a trusted one, by exact name), times, audience, key, signature; then
//! the claims again, from the signed bytes, and the rest. Nothing is fetched for an untrusted issuer, and unknown keys
//! cause at most one fetch in five minutes, so an unauthenticated caller cannot cause outgoing requests at will.

use std::sync::Arc;

use denizen_wire::{Clock, UnixTime};
use http::{HeaderMap, header};
use reqwest::Client;

use crate::{
    Claims, RevocationStatus, Revocations, TokenValidatorBuilder, ValidationError, error, jwt::Unverified,
    keys::IssuerKeys,
};

/// Validates access tokens. Cheap to clone; clones share the cached keys.
#[derive(Clone)]
pub struct TokenValidator(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) issuers: Vec<Arc<IssuerKeys>>,
    pub(crate) http: Client,
    pub(crate) audiences: Vec<String>,
    pub(crate) policy: AccessPolicy,
    pub(crate) skew: i64,
    pub(crate) revocations: Option<Arc<dyn Revocations>>,
    pub(crate) clock: Clock,
}

/// Who is authorized: whoever meets one of these. The builder refuses an empty policy.
#[derive(Default)]
pub(crate) struct AccessPolicy {
    pub(crate) roles: Vec<String>,
    pub(crate) scopes: Vec<String>,
    pub(crate) principals: Vec<String>,
    pub(crate) anyone: bool,
}

impl TokenValidator {
    /// Starts the configuration of a validator for tokens with this `aud` claim, compared exactly.
    pub fn builder(audience: &str) -> TokenValidatorBuilder {
        TokenValidatorBuilder::new(audience)
    }

    /// Fetches the keys of every trusted authority that are not cached yet, so that a wrong address is found at the
    /// start and the first caller need not wait. Optional.
    ///
    /// # Errors
    /// [`ValidationError::KeysUnavailable`] for the first authority whose keys cannot be fetched.
    pub async fn prepare(&self) -> Result<(), ValidationError> {
        for issuer_keys in &self.0.issuers {
            issuer_keys.keys(&self.0.http).await?;
        }
        Ok(())
    }

    /// Validates the token of a request with exactly one `Authorization: Bearer` header.
    ///
    /// # Errors
    /// Why the request is rejected.
    pub async fn authenticate(&self, headers: &HeaderMap) -> Result<Claims, ValidationError> {
        let checked = match bearer_token(headers) {
            Ok(token) => self.check(token).await,
            Err(error) => Err(error),
        };
        checked.inspect_err(log)
    }

    /// Validates a token.
    ///
    /// # Errors
    /// Why the token is rejected.
    pub async fn validate(&self, token: &str) -> Result<Claims, ValidationError> {
        self.check(token).await.inspect_err(log)
    }

    async fn check(&self, token: &str) -> Result<Claims, ValidationError> {
        let unverified = Unverified::read(token)?;
        let unverified_claims = unverified.claims()?;
        let issuer = self.0.issuers.iter().find(|known| known.issuer() == unverified_claims.iss);
        let issuer = issuer.ok_or_else(|| ValidationError::issuer(&unverified_claims.iss))?;
        // Cheap checks come before a signature check or a fetch. They are repeated on the signed claims below.
        let now = self.0.clock.now();
        self.times(unverified_claims.exp, unverified_claims.nbf, now)?;
        self.audience(&unverified_claims.aud)?;
        let key = issuer.key(&self.0.http, unverified.kid()).await?;

        let claims = unverified.verify(&key)?;
        if claims.issuer() != issuer.issuer() {
            return Err(ValidationError::issuer(claims.issuer()));
        }
        if claims.tenant_id() != issuer.tenant() {
            return Err(ValidationError::WrongTenant { found: error::truncated(claims.tenant()) });
        }
        if claims.version() != issuer.version() {
            return Err(ValidationError::Malformed("its version is not its issuer's"));
        }
        self.times(claims.expires().0, claims.not_before().map(|time| time.0), now)?;
        self.audience(claims.audience())?;
        self.revoked(&claims, now)?;
        self.authorize(&claims)?;
        Ok(claims)
    }

    fn times(&self, exp: i64, nbf: Option<i64>, now: UnixTime) -> Result<(), ValidationError> {
        if now.0 >= exp.saturating_add(self.0.skew) {
            return Err(ValidationError::Expired { at: UnixTime(exp) });
        }
        match nbf {
            Some(nbf) if nbf.saturating_sub(self.0.skew) > now.0 => {
                Err(ValidationError::NotYetValid { at: UnixTime(nbf) })
            }
            _ => Ok(()),
        }
    }

    fn audience(&self, found: &str) -> Result<(), ValidationError> {
        if self.0.audiences.iter().any(|audience| audience == found) {
            Ok(())
        } else {
            Err(ValidationError::WrongAudience { found: error::truncated(found) })
        }
    }

    fn revoked(&self, claims: &Claims, now: UnixTime) -> Result<(), ValidationError> {
        match self.0.revocations.as_ref().map(|source| source.status(claims)) {
            None | Some(RevocationStatus::Valid) => Ok(()),
            // A token without an epoch counts as epoch 0.
            Some(RevocationStatus::MinimumEpoch(epoch)) if claims.epoch().unwrap_or(0) >= epoch => Ok(()),
            Some(RevocationStatus::MinimumEpoch(_) | RevocationStatus::Revoked) => {
                Err(ValidationError::Revoked { now })
            }
        }
    }

    fn authorize(&self, claims: &Claims) -> Result<(), ValidationError> {
        let AccessPolicy { roles, scopes, principals, anyone } = &self.0.policy;
        let has = |allowed: &[String], found: &[String]| allowed.iter().any(|name| found.contains(name));
        let by_principal = claims.is_app_only()
            && principals.iter().any(|principal| principal.eq_ignore_ascii_case(claims.principal()));
        let by_role = claims.is_app_only() && has(roles, claims.roles());
        if *anyone || by_principal || by_role || has(scopes, claims.scopes()) {
            Ok(())
        } else {
            Err(ValidationError::NotAuthorized { principal: error::truncated(claims.principal()) })
        }
    }
}

fn bearer_token(headers: &HeaderMap) -> Result<&str, ValidationError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = match (values.next(), values.next()) {
        (Some(value), None) => value,
        (None, _) => return Err(ValidationError::MissingToken),
        (Some(_), Some(_)) => return Err(ValidationError::Malformed("there are several Authorization headers")),
    };
    let value = value.to_str().map_err(|_| ValidationError::Malformed("the Authorization header is no text"))?;
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim()),
        _ => Err(ValidationError::MissingToken),
    }
}

/// Logs why a token was rejected: never the token, only what the error says.
fn log(error: &ValidationError) {
    let status = error.status().as_u16();
    if matches!(error, ValidationError::KeysUnavailable { .. }) {
        tracing::warn!(status, %error, "token not checked");
    } else if matches!(error, ValidationError::MissingToken) {
        // An API on the internet gets many of these.
        tracing::debug!(status, %error, "request without a token");
    } else {
        tracing::info!(status, %error, "token rejected");
    }
}

// Not derived: a clock and a source of revocations have none.
impl std::fmt::Debug for TokenValidator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TokenValidator for {:?}", self.0.audiences)
    }
}
