//! The one token path: `caller -> policy -> cache -> token authority`.
//!
//! Every local protocol is a thin adapter onto [`Broker::token`]. The identity is chosen by an explicit selector; one
//! that names nothing assigned here is an error, and there is no falling back to the system-assigned identity.
//!
//! Each token that is given is in the audit log; refusals are, as far as [`crate::refusals`] lets them.
//!
//! Touches the cache and, where the policy turns on it, the user database. Tests: `broker/tests.rs`.

use std::{borrow::Cow, sync::Arc};

use denizen_wire::{Clock, shown};

use crate::{
    cache::{CachedToken, TokenCache},
    caller::{Caller, group::Membership},
    evidence::Evidence,
    identity::{Identities, Selector},
    metrics::Metrics,
    policy::Policy,
    refusals::Refusals,
    upstream::UpstreamError,
};

#[cfg(test)]
mod tests;

/// The local protocol by which a token was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Azure Arc's challenge.
    Arc,
    /// IMDS.
    Imds,
    /// App Service.
    AppService,
}

impl Dialect {
    /// The name in the audit log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Arc => "arc",
            Self::Imds => "imds",
            Self::AppService => "app-service",
        }
    }
}

/// A request for a token, independent of its dialect.
#[derive(Debug)]
pub struct TokenRequest {
    /// The caller.
    pub caller: Caller,
    /// What the caller showed.
    pub evidence: Evidence,
    /// The identity asked for.
    pub selector: Selector,
    /// The resource asked for.
    pub resource: String,
    /// The dialect of the request.
    pub dialect: Dialect,
}

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokerError {
    /// The policy refused the caller; the text names the rule and a hint.
    #[error("{0}")]
    Refused(Cow<'static, str>),
    /// The selector names no identity of this machine.
    #[error("Identity not found")]
    NotAssigned,
    /// The token authority gave none.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
}

/// Decides who gets which token.
pub struct Broker {
    identities: Identities,
    policy: Policy,
    membership: Option<Membership>,
    tokens: TokenCache,
    refusals: Arc<Refusals>,
    metrics: Arc<Metrics>,
}

impl Broker {
    /// Creates the broker of a machine with these identities, under `policy`.
    pub fn new(
        identities: Identities,
        policy: Policy,
        tokens: TokenCache,
        clock: &Clock,
        refusals: Arc<Refusals>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let membership = policy.group().map(|group| Membership::new(group, refusals.owners().clone(), clock.clone()));
        Self { identities, policy, membership, tokens, refusals, metrics }
    }

    /// Which refusals may be logged.
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// Decides, and gives a token or the reason why there is none.
    pub async fn token(&self, request: TokenRequest) -> Result<Arc<CachedToken>, BrokerError> {
        let outcome = self.decide(&request).await;
        if outcome.is_ok() {
            self.metrics.tokens.count();
        } else {
            self.metrics.refusals.count();
        }
        outcome
    }

    async fn decide(&self, request: &TokenRequest) -> Result<Arc<CachedToken>, BrokerError> {
        let TokenRequest { caller, evidence, selector, resource, dialect } = request;
        let member = match (&self.membership, caller.uid()) {
            (Some(membership), Some(uid)) if self.policy.needs_membership(caller, evidence) => {
                membership.includes(uid).await
            }
            _ => false,
        };
        let decision = self.policy.decide(caller, member, evidence);
        if !decision.allowed {
            if let Some(held_back) = self.refusals.admit(caller) {
                tracing::warn!(target: "audit", %caller, resource = ?shown::identifier(resource), dialect = dialect.name(), because = %decision.because, held_back, "token refused");
            }
            return Err(BrokerError::Refused(decision.because));
        }
        let identity = self.identities.select(selector).ok_or_else(|| {
            if let Some(held_back) = self.refusals.admit(caller) {
                tracing::warn!(target: "audit", %caller, selector = ?selector, dialect = dialect.name(), held_back, "no such identity");
            }
            BrokerError::NotAssigned
        })?;
        let token = self.tokens.get(identity, resource).await?;
        tracing::info!(target: "audit", %caller, client_id = %identity.client_id, resource = ?shown::identifier(resource), dialect = dialect.name(), "token issued");
        Ok(token)
    }
}
