//! The request context: one value that goes through every operation. The store cannot be reached without it.

use std::{fmt, net::IpAddr};

use denizen_wire::{ClientId, PrincipalId, TenantId, UnixTime};
use uuid::Uuid;

/// Who acts, on which tenant, when, and under which request id.
#[derive(Clone, Debug)]
pub struct Ctx {
    /// The tenant every read and write of this operation is confined to.
    pub tenant: TenantId,
    /// Who is accountable for it.
    pub actor: Actor,
    /// The instant the operation happens at: one for all its records.
    pub now: UnixTime,
    /// Names the operation in logs, audit and answers.
    pub request_id: Uuid,
    /// The caller's own id for it, when it sent one.
    pub correlation_id: Option<Uuid>,
    /// The address it came from, for logs and audit. Nothing is decided by it.
    pub address: Option<IpAddr>,
}

impl Ctx {
    /// The context of an operation that no request asked for, or whose request says nothing of its sender.
    pub fn new(tenant: TenantId, actor: Actor, now: UnixTime, request_id: Uuid) -> Self {
        Self { tenant, actor, now, request_id, correlation_id: None, address: None }
    }

    /// The same operation with another actor, found out on the way.
    #[must_use]
    pub fn by(&self, actor: Actor) -> Self {
        Self { actor, ..self.clone() }
    }
}

/// Who is accountable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// A principal that proved itself with a token.
    Principal {
        /// Its object id.
        id: PrincipalId,
        /// The client it used.
        client: ClientId,
    },
    /// A user that has signed in.
    User(PrincipalId),
    /// A principal of another tenant than the operation's, that proved itself with a token of that tenant, or signed in
    /// there.
    Foreign {
        /// Its tenant.
        tenant: TenantId,
        /// Its object id.
        id: PrincipalId,
    },
    /// A client at the token endpoint that has proved its credential.
    Client(ClientId),
    /// Whoever holds a join token.
    JoinToken(Uuid),
    /// The server itself: set-up, rotation.
    System(&'static str),
    /// Nobody who has proved anything.
    Anonymous,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Principal { id, .. } => write!(f, "principal:{id}"),
            Self::User(id) => write!(f, "user:{id}"),
            Self::Foreign { tenant, id } => write!(f, "principal:{tenant}/{id}"),
            Self::Client(id) => write!(f, "client:{id}"),
            Self::JoinToken(id) => write!(f, "join-token:{id}"),
            Self::System(what) => write!(f, "system:{what}"),
            Self::Anonymous => f.write_str("anonymous"),
        }
    }
}
