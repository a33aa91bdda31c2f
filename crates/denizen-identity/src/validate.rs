//! Checking the access tokens of callers: for the program that is asked, not for the one that asks.
//!
//! | module | holds |
//! |---|---|
//! | this one | [`TokenValidator`]: the order of the checks, and who is let in |
//! | [`builder`] | its configuration, refused as a whole where it is wrong |
//! | [`trust`] | an authority and a tenant of it, and the names its tokens give it |
//! | `keys` | the keys each authority publishes, kept, refreshed, rolled over |
//! | `jwt` | a token before and after its signature is checked, as different types |
//! | [`claims`] | what a checked token says |
//! | [`refusal`] | why a token is refused, for the log, for the caller, as a status |
//! | [`revocation`] | tokens that ended before their time |
//!
//! ```no_run
//! # async fn example(token: &str) -> Result<(), Box<dyn std::error::Error>> {
//! use denizen_identity::{environment::Environment, http::Client, validate::TokenValidator};
//!
//! let validator = TokenValidator::builder("api://orders")
//!     .trust_entra("11111111-2222-4333-8444-555555555555")
//!     .trust("https://denizen.example", "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee")
//!     .allow_role("Orders.Read")
//!     .build(Client::new(&Environment::of_process())?)?;
//! let claims = validator.validate(token).await?;
//! println!("{} of {}", claims.principal(), claims.tenant());
//! # Ok(()) }
//! ```
//!
//! The order is: size and form, algorithm (RS256 and no other), issuer (one that is trusted, by exact name), times,
//! audience, key, signature; and only then, on the bytes that were signed, everything again and the rest. Nothing is
//! fetched for a token whose issuer is unknown, and at most one refresh in five minutes for unknown keys, so a
//! stranger cannot make this program work or call out for him.
//!
//! Touches the network through the [`Client`] it is given, and nothing else. Tests: `tests/validate.rs`.

use std::sync::Arc;

use denizen_wire::UnixTime;
use http::{HeaderMap, header};

use crate::http::Client;

pub mod builder;
pub mod claims;
mod jwt;
mod keys;
pub mod refusal;
pub mod revocation;
pub mod trust;

pub use builder::{Builder, ConfigurationError};
pub use claims::Claims;
use jwt::Unverified;
use keys::Publication;
pub use refusal::Refusal;
pub use revocation::{EpochFloors, Revocations, Standing};

/// Decides whether a token lets its bearer in. Cheap to clone; clones share the keys they keep.
#[derive(Clone)]
pub struct TokenValidator(Arc<Inner>);

struct Inner {
    publications: Vec<Arc<Publication>>,
    http: Client,
    audiences: Vec<String>,
    admission: Admission,
    skew: i64,
    revocations: Option<Arc<dyn Revocations>>,
    clock: Arc<dyn Fn() -> UnixTime + Send + Sync>,
}

/// Who is let in: whoever meets one of these. An empty one lets nobody in, and is refused when it is configured.
#[derive(Default)]
struct Admission {
    roles: Vec<String>,
    scopes: Vec<String>,
    principals: Vec<String>,
    anyone: bool,
}

impl TokenValidator {
    /// For tokens made out to `audience`: the `aud` claim, compared exactly.
    pub fn builder(audience: &str) -> Builder {
        Builder::new(audience)
    }

    /// Fetches the keys of every trusted authority that are not there yet, so that a wrong address is found at the
    /// start and the first caller need not wait. A program that does without starts, and checks what it can.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`] for the first authority whose keys cannot be had.
    pub async fn prepare(&self) -> Result<(), Refusal> {
        for publication in &self.0.publications {
            publication.prepare(&self.0.http, &self.0.clock).await?;
        }
        Ok(())
    }

    /// Checks the token of a request: exactly one `Authorization: Bearer` header.
    ///
    /// # Errors
    /// Why the bearer is not let in.
    pub async fn authenticate(&self, headers: &HeaderMap) -> Result<Claims, Refusal> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(if headers.contains_key(header::AUTHORIZATION) {
                Refusal::Malformed("there are several Authorization headers")
            } else {
                Refusal::Missing
            });
        };
        let value = value.to_str().map_err(|_| Refusal::Malformed("the Authorization header is no text"))?;
        match value.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => self.validate(token.trim()).await,
            _ => Err(Refusal::Missing),
        }
    }

    /// Checks a token.
    ///
    /// # Errors
    /// Why its bearer is not let in.
    pub async fn validate(&self, token: &str) -> Result<Claims, Refusal> {
        let unverified = Unverified::read(token)?;
        let hint = unverified.hint()?;
        let publication = self.0.publications.iter().find(|known| known.issuer() == hint.iss);
        let publication = publication.ok_or_else(|| Refusal::issuer(&hint.iss))?;
        // What costs nothing is refused before what costs a signature check or a fetch. It is checked again below.
        let now = (self.0.clock)();
        self.times(hint.exp, hint.nbf, now)?;
        self.audience(&hint.aud)?;
        let key = publication.key(&self.0.http, unverified.kid(), &self.0.clock).await?;

        let claims = unverified.verify(&key)?;
        if claims.issuer() != publication.issuer() {
            return Err(Refusal::issuer(claims.issuer()));
        }
        if claims.tenant_id() != publication.tenant() {
            return Err(Refusal::Tenant { found: refusal::shown(claims.tenant()) });
        }
        if claims.version() != publication.version() {
            return Err(Refusal::Malformed("its version is not its issuer's"));
        }
        self.times(claims.expires().0, claims.not_before().map(|time| time.0), now)?;
        self.audience(claims.audience())?;
        self.revoked(&claims, now)?;
        self.admitted(&claims)?;
        Ok(claims)
    }

    fn times(&self, exp: i64, nbf: Option<i64>, now: UnixTime) -> Result<(), Refusal> {
        if now.0 >= exp.saturating_add(self.0.skew) {
            return Err(Refusal::Expired { at: UnixTime(exp) });
        }
        match nbf {
            Some(nbf) if nbf.saturating_sub(self.0.skew) > now.0 => Err(Refusal::NotYet { at: UnixTime(nbf) }),
            _ => Ok(()),
        }
    }

    fn audience(&self, found: &str) -> Result<(), Refusal> {
        if self.0.audiences.iter().any(|audience| audience == found) {
            Ok(())
        } else {
            Err(Refusal::Audience { found: refusal::shown(found) })
        }
    }

    fn revoked(&self, claims: &Claims, now: UnixTime) -> Result<(), Refusal> {
        match self.0.revocations.as_ref().map(|source| source.standing(claims)) {
            None | Some(Standing::Good) => Ok(()),
            // A token that does not say is as old as can be.
            Some(Standing::Since(epoch)) if claims.epoch().unwrap_or(0) >= epoch => Ok(()),
            Some(Standing::Since(_) | Standing::Revoked) => Err(Refusal::Revoked { now }),
        }
    }

    fn admitted(&self, claims: &Claims) -> Result<(), Refusal> {
        let Admission { roles, scopes, principals, anyone } = &self.0.admission;
        let has = |allowed: &[String], found: &[String]| allowed.iter().any(|name| found.contains(name));
        let by_principal = claims.is_app_only()
            && principals.iter().any(|principal| principal.eq_ignore_ascii_case(claims.principal()));
        if *anyone || by_principal || has(roles, claims.roles()) || has(scopes, claims.scopes()) {
            Ok(())
        } else {
            Err(Refusal::NotAdmitted { principal: refusal::shown(claims.principal()) })
        }
    }
}

// Not derived: a clock and a source of revocations have none.
impl std::fmt::Debug for TokenValidator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TokenValidator for {:?}", self.0.audiences)
    }
}
