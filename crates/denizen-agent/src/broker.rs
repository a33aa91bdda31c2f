//! The one token path: `caller -> policy -> cache -> upstream`.
//!
//! Every local protocol is a thin adapter onto [`Broker::token`]. The identity is chosen by an explicit selector; one
//! that names nothing assigned here is an error, and there is no falling back to the system-assigned identity.
//!
//! Touches the cache and, where the policy turns on it, the user database. Tests: `broker/tests.rs`.

use std::{borrow::Cow, sync::Arc};

use denizen_wire::{ClientId, PrincipalId, ResourceId};
use hyper::body::Bytes;

use crate::{
    cache::Cache,
    caller::{Caller, group::Membership},
    clock::Clock,
    metrics::Metrics,
    policy::{Policy, Proof},
    upstream::UpstreamError,
};

#[cfg(test)]
mod tests;

/// An identity this machine may use.
#[derive(Clone, Debug)]
pub struct Identity {
    /// By client id.
    pub client_id: ClientId,
    /// By object id.
    pub object_id: PrincipalId,
    /// By resource id: the machine's, for the system-assigned identity.
    pub resource_id: ResourceId,
}

/// Which identity is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// None was named: the machine's own.
    SystemAssigned,
    /// By client id.
    ClientId(String),
    /// By object id.
    ObjectId(String),
    /// By resource id.
    ResourceId(String),
}

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
    /// As the audit line names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Arc => "arc",
            Self::Imds => "imds",
            Self::AppService => "app-service",
        }
    }
}

/// A request for a token, after its dialect has been taken off.
#[derive(Debug)]
pub struct TokenRequest {
    /// Who asks.
    pub caller: Caller,
    /// What they showed.
    pub proof: Proof,
    /// For which identity.
    pub selector: Selector,
    /// For which resource.
    pub resource: String,
    /// How they asked.
    pub dialect: Dialect,
}

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokerError {
    /// The policy refused the caller; the text says which rule, and what mends it.
    #[error("{0}")]
    Refused(Cow<'static, str>),
    /// The selector names no identity of this machine.
    #[error("Identity not found")]
    NotAssigned,
    /// Upstream gave none.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
}

/// The broker.
pub struct Broker {
    system_assigned: Identity,
    policy: Policy,
    membership: Option<Membership>,
    cache: Cache,
    clock: Clock,
    metrics: Arc<Metrics>,
}

impl Broker {
    /// For a machine with `system_assigned`, under `policy`.
    pub fn new(system_assigned: Identity, policy: Policy, cache: Cache, clock: Clock, metrics: Arc<Metrics>) -> Self {
        let Policy::Group { group, .. } = &policy;
        let membership = group.clone().map(Membership::of);
        Self { system_assigned, policy, membership, cache, clock, metrics }
    }

    /// The answer's body: a token, and the identity it is for.
    pub async fn token(&self, request: TokenRequest) -> Result<Bytes, BrokerError> {
        let outcome = self.decide(&request).await;
        if outcome.is_ok() {
            self.metrics.tokens.count()
        } else {
            self.metrics.refusals.count()
        }
        outcome
    }

    async fn decide(&self, request: &TokenRequest) -> Result<Bytes, BrokerError> {
        let TokenRequest { caller, proof, selector, resource, dialect } = request;
        let now = self.clock.now();
        let member = match (&self.membership, caller.uid()) {
            (Some(membership), Some(uid)) if self.policy.needs_membership(caller, proof) => {
                membership.includes(uid, now).await
            }
            _ => false,
        };
        let decision = self.policy.decide(caller, member, proof);
        if !decision.allowed {
            tracing::warn!(target: "audit", %caller, resource = ?resource, dialect = dialect.name(), because = %decision.because, "token refused");
            return Err(BrokerError::Refused(decision.because));
        }
        let identity = self.select(selector).ok_or_else(|| {
            tracing::warn!(target: "audit", %caller, selector = ?selector, dialect = dialect.name(), "no such identity");
            BrokerError::NotAssigned
        })?;
        let live = self.cache.token(identity, resource).await?;
        tracing::info!(target: "audit", %caller, client_id = %identity.client_id, resource = ?resource, dialect = dialect.name(), "token issued");
        // Waiting for upstream may have taken a while.
        Ok(live.body(self.clock.now()))
    }

    /// Exactly the identity that was named.
    fn select(&self, selector: &Selector) -> Option<&Identity> {
        let own = &self.system_assigned;
        let named = match selector {
            Selector::SystemAssigned => true,
            Selector::ClientId(id) => id.parse() == Ok(own.client_id),
            Selector::ObjectId(id) => id.parse() == Ok(own.object_id),
            Selector::ResourceId(id) => id.parse::<ResourceId>().is_ok_and(|id| id == own.resource_id),
        };
        named.then_some(own)
    }
}
