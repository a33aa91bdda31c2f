//! The configuration of a validator. All errors are reported at once, and authorizing everybody must be explicit.

use std::sync::Arc;

use denizen_wire::Clock;
use reqwest::Client;

use crate::{
    Revocations, TokenValidator,
    authority::TrustedAuthority,
    fetch,
    keys::IssuerKeys,
    validator::{AccessPolicy, Inner},
};

/// The default for how far the clocks of issuer and resource may differ, seconds.
const SKEW: i64 = 300;
/// The largest value that may be configured.
const MAX_SKEW: i64 = 600;

/// Configures a [`TokenValidator`].
#[must_use]
pub struct TokenValidatorBuilder {
    audiences: Vec<String>,
    authorities: Vec<Result<TrustedAuthority, String>>,
    policy: AccessPolicy,
    development: bool,
    http: Option<Client>,
    skew: i64,
    revocations: Option<Arc<dyn Revocations>>,
    clock: Clock,
}

/// The errors of a configuration, one a line.
#[derive(Debug, thiserror::Error)]
#[error("the token validator cannot be configured like this:\n  {}", .0.join("\n  "))]
pub struct ConfigurationError(Vec<String>);

impl TokenValidatorBuilder {
    pub(crate) fn new(audience: &str) -> Self {
        Self {
            audiences: vec![audience.to_owned()],
            authorities: Vec::new(),
            policy: AccessPolicy::default(),
            development: false,
            http: None,
            skew: SKEW,
            revocations: None,
            clock: Clock::system(),
        }
    }

    /// Accepts this audience as well: for example an API's client id besides its URI.
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
        self.authorities.push(TrustedAuthority::new(authority, tenant));
        self
    }

    /// Trusts an authority whose issuer names do not follow from its URL: `iss` of its v1 and of its v2 tokens.
    pub fn trust_named(mut self, authority: &str, tenant: &str, iss: &str, iss_v2: &str) -> Self {
        self.authorities
            .push(TrustedAuthority::new(authority, tenant).map(|authority| authority.with_issuers(iss, iss_v2)));
        self
    }

    /// Authorizes principals that have this role (`roles`), in app-only tokens. It does not authorize users, whose
    /// role says nothing of the application that acts for them: that is said by scopes.
    pub fn allow_role(mut self, role: &str) -> Self {
        self.policy.roles.push(role.to_owned());
        self
    }

    /// Authorizes applications to which a user has delegated this scope (`scp`).
    pub fn allow_scope(mut self, scope: &str) -> Self {
        self.policy.scopes.push(scope.to_owned());
        self
    }

    /// Authorizes this service principal or managed identity, by object id (`oid`), in app-only tokens. It does not
    /// authorize users: what an application may do in a user's name is said by scopes.
    pub fn allow_principal(mut self, object_id: &str) -> Self {
        self.policy.principals.push(object_id.to_owned());
        self
    }

    /// Authorizes every principal of the trusted tenants: any of them can get a token for this audience. For programs
    /// that decide by [`Claims`](crate::Claims) themselves.
    pub fn allow_any_principal(mut self) -> Self {
        self.policy.anyone = true;
        self
    }

    /// Accepts authorities on this machine, with or without TLS. Anybody who can run such a development server can
    /// issue its tokens.
    pub fn accept_development_authorities(mut self) -> Self {
        self.development = true;
        self
    }

    /// Sets how far the clocks may differ, seconds: 0 to 600. The default is 300.
    pub fn clock_skew(mut self, seconds: i64) -> Self {
        self.skew = seconds;
        self
    }

    /// Checks every token against this source of revocations.
    pub fn revocations(mut self, source: Arc<dyn Revocations>) -> Self {
        self.revocations = Some(source);
        self
    }

    /// Replaces the system's clock.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Fetches metadata and keys with this client instead of one with the system's roots and proxies. A client that
    /// follows redirects is safe: a redirected document is refused.
    pub fn http_client(mut self, client: Client) -> Self {
        self.http = Some(client);
        self
    }

    /// Builds the validator. Keys are fetched with the first token, or by [`TokenValidator::prepare`].
    ///
    /// # Errors
    /// All errors of the configuration.
    pub fn build(self) -> Result<TokenValidator, ConfigurationError> {
        let Self { audiences, authorities, policy, development, http, skew, revocations, clock } = self;
        let mut errors = Vec::new();
        if audiences.iter().any(|audience| audience.trim().is_empty()) {
            errors.push("an audience is empty: name the audience of this resource's tokens".to_owned());
        }
        if authorities.is_empty() {
            errors.push("no authority is trusted: add .trust_entra(tenant) or .trust(authority, tenant)".to_owned());
        }
        let AccessPolicy { roles, scopes, principals, anyone } = &policy;
        if roles.is_empty() && scopes.is_empty() && principals.is_empty() && !anyone {
            errors.push(
                "nobody is authorized: add .allow_role(..), .allow_scope(..), .allow_principal(..), or \
                 .allow_any_principal() if the program decides by the claims itself"
                    .to_owned(),
            );
        }
        if [roles, scopes, principals].into_iter().flatten().any(|name| name.trim().is_empty()) {
            errors.push("a role, scope or principal is empty: name it, or leave it out".to_owned());
        }
        if !(0..=MAX_SKEW).contains(&skew) {
            errors.push(format!("the clock skew is {skew} s, and must be 0 to {MAX_SKEW} s"));
        }
        let mut issuers = Vec::new();
        for authority in authorities {
            match authority {
                Ok(authority) if authority.is_local() && !development => errors.push(format!(
                    "{} is on this machine or without TLS: anybody could issue a development server's tokens \
                     (.accept_development_authorities() accepts them nevertheless)",
                    authority.url()
                )),
                Ok(authority) => issuers.extend(IssuerKeys::of(&authority, &clock).map(Arc::new)),
                Err(error) => errors.push(error),
            }
        }
        for (position, issuer) in issuers.iter().enumerate() {
            if issuers.iter().take(position).any(|earlier| earlier.issuer() == issuer.issuer()) {
                errors.push(format!("two trusted authorities name themselves {}", issuer.issuer()));
            }
        }
        let http = http.map_or_else(fetch::client, Ok);
        if let Err(error) = &http {
            errors.push(format!("the HTTP client cannot be built: {error}"));
        }
        if let (Ok(http), true) = (http, errors.is_empty()) {
            let inner = Inner { issuers, http, audiences, policy, skew, revocations, clock };
            Ok(TokenValidator(Arc::new(inner)))
        } else {
            Err(ConfigurationError(errors))
        }
    }
}
