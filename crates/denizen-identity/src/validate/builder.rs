//! How a validator is configured. Every fault is reported at once, and what would let everybody in must be said.

use std::sync::Arc;

use denizen_wire::UnixTime;

use super::{Admission, Inner, Publication, Revocations, TokenValidator, trust::Trust};
use crate::{
    clock::{Clock, SystemClock},
    http::Client,
};

/// How far the clocks of issuer and resource may differ unless it is configured otherwise, seconds.
const SKEW: i64 = 300;
/// The most it may be configured to.
const MAX_SKEW: i64 = 600;

/// A validator in the making.
#[must_use]
pub struct Builder {
    audiences: Vec<String>,
    trusts: Vec<Result<Trust, String>>,
    admission: Admission,
    development: bool,
    skew: i64,
    revocations: Option<Arc<dyn Revocations>>,
    clock: Arc<dyn Fn() -> UnixTime + Send + Sync>,
}

/// A configuration that is none; all of its faults, one a line.
#[derive(Debug, thiserror::Error)]
#[error("the token validator cannot be configured like this:\n  {}", .0.join("\n  "))]
pub struct ConfigurationError(Vec<String>);

impl Builder {
    pub(super) fn new(audience: &str) -> Self {
        Self {
            audiences: vec![audience.to_owned()],
            trusts: Vec::new(),
            admission: Admission::default(),
            development: false,
            skew: SKEW,
            revocations: None,
            clock: Arc::new(|| SystemClock.now()),
        }
    }

    /// Tokens made out to this audience are taken as well: an API's client id besides its URI, for one.
    pub fn audience(mut self, audience: &str) -> Self {
        self.audiences.push(audience.to_owned());
        self
    }

    /// Trusts Microsoft Entra ID (the public cloud) for this tenant, a GUID.
    pub fn trust_entra(self, tenant: &str) -> Self {
        self.trust("https://login.microsoftonline.com", tenant)
    }

    /// Trusts the authority at this URL for this tenant, a GUID: a Denizen server, or Entra in another cloud.
    pub fn trust(mut self, authority: &str, tenant: &str) -> Self {
        self.trusts.push(Trust::new(authority, tenant));
        self
    }

    /// Trusts an authority whose tokens do not name it by its address: these are their `iss`, in v1 and v2 tokens.
    pub fn trust_named(mut self, authority: &str, tenant: &str, iss: &str, iss_v2: &str) -> Self {
        self.trusts.push(Trust::new(authority, tenant).map(|trust| trust.named(iss, iss_v2)));
        self
    }

    /// Lets in who has this role (`roles`).
    pub fn allow_role(mut self, role: &str) -> Self {
        self.admission.roles.push(role.to_owned());
        self
    }

    /// Lets in the programs a user has given this scope (`scp`).
    pub fn allow_scope(mut self, scope: &str) -> Self {
        self.admission.scopes.push(scope.to_owned());
        self
    }

    /// Lets in this service principal or managed identity, by object id (`oid`), when it comes for itself. Users are
    /// not let in by it: their tokens are for what a program may do in their name, which their id does not say.
    pub fn allow_principal(mut self, object_id: &str) -> Self {
        self.admission.principals.push(object_id.to_owned());
        self
    }

    /// Lets in every principal of the trusted tenants: any of them can get a token for this audience. For programs
    /// that decide by [`super::Claims`] themselves.
    pub fn allow_any_principal(mut self) -> Self {
        self.admission.anyone = true;
        self
    }

    /// Takes authorities on this machine itself, with or without TLS. Such an authority is a development server,
    /// whose tokens anybody can make who can run one.
    pub fn accept_development_authorities(mut self) -> Self {
        self.development = true;
        self
    }

    /// How far the clocks may differ, seconds: 0 to 600. It is 300 unless it is said.
    pub fn clock_skew(mut self, seconds: i64) -> Self {
        self.skew = seconds;
        self
    }

    /// Asks this source whether a token ended before its time.
    pub fn revocations(mut self, source: Arc<dyn Revocations>) -> Self {
        self.revocations = Some(source);
        self
    }

    /// Takes the time from here and not from the system.
    pub fn clock(mut self, now: impl Fn() -> UnixTime + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(now);
        self
    }

    /// The validator. Nothing is fetched yet: the keys are, with the first token.
    ///
    /// # Errors
    /// Every fault of the configuration.
    pub fn build(self, http: Client) -> Result<TokenValidator, ConfigurationError> {
        let Self { audiences, trusts, admission, development, skew, revocations, clock } = self;
        let mut faults = Vec::new();
        if audiences.iter().any(|audience| audience.trim().is_empty()) {
            faults.push("an audience is empty: every token would be somebody else's".to_owned());
        }
        if trusts.is_empty() {
            faults.push("no authority is trusted: add .trust_entra(tenant) or .trust(authority, tenant)".to_owned());
        }
        let Admission { roles, scopes, principals, anyone } = &admission;
        if roles.is_empty() && scopes.is_empty() && principals.is_empty() && !anyone {
            faults.push(
                "nobody is let in: add .allow_role(..), .allow_scope(..), .allow_principal(..), or \
                 .allow_any_principal() if the program decides by the claims itself"
                    .to_owned(),
            );
        }
        if !(0..=MAX_SKEW).contains(&skew) {
            faults.push(format!("the clock skew is {skew} s, and must be 0 to {MAX_SKEW} s"));
        }
        let mut publications = Vec::new();
        for trust in trusts {
            match trust {
                Ok(trust) if trust.is_local() && !development => faults.push(format!(
                    "{} is on this machine, or without TLS: a development server's tokens are worth nothing \
                     (.accept_development_authorities() takes them all the same)",
                    trust.authority()
                )),
                Ok(trust) => publications.extend(Publication::of(&trust).map(Arc::new)),
                Err(fault) => faults.push(fault),
            }
        }
        for (position, publication) in publications.iter().enumerate() {
            if publications.iter().take(position).any(|earlier| earlier.issuer() == publication.issuer()) {
                faults.push(format!("two trusted authorities name themselves {}", publication.issuer()));
            }
        }
        if faults.is_empty() {
            let inner = Inner { publications, http, audiences, admission, skew, revocations, clock };
            Ok(TokenValidator(Arc::new(inner)))
        } else {
            Err(ConfigurationError(faults))
        }
    }
}
