//! What is kept of a request whose sender proved nothing: a number for each reason, and a sampled line in the log.
//!
//! Anybody who can connect can send such requests as fast as a connection carries them, so nothing of them is durable:
//! no audit record ([`RecordProof`](crate::store::RecordProof)), and no more than a few lines of log in a period. The
//! numbers are in the metrics. Their labels are the reasons below and nothing that a stranger wrote; which client is
//! attacked, a sampled line names.
//!
//! Tests: below, and with each API.

use std::{
    error::Error,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use denizen_serve::Sampler;
use denizen_wire::{Causes, ClientId, TenantId};
use uuid::Uuid;

use crate::domain::Ctx;

/// Lines logged in one [`PERIOD`] for one reason.
const LINES: u32 = 5;
/// The period in which lines are counted.
const PERIOD: Duration = Duration::from_secs(10);

macro_rules! reasons {
    ($($(#[$doc:meta])* $reason:ident = ($api:literal, $text:literal),)*) => {
        /// Why somebody who proved nothing was refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Reason {
            $($(#[$doc])* $reason,)*
        }

        impl Reason {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$reason),*];

            /// The API that refused.
            pub fn api(self) -> &'static str {
                match self { $(Self::$reason => $api),* }
            }

            /// As the metrics name it.
            pub fn text(self) -> &'static str {
                match self { $(Self::$reason => $text),* }
            }
        }
    };
}

reasons! {
    /// The token request is none.
    TokenRequest = ("token service", "malformed request"),
    /// The path names no tenant.
    Tenant = ("token service", "unknown tenant"),
    /// There is no such client.
    Client = ("token service", "unknown client"),
    /// The secret is none of the client's.
    Secret = ("token service", "wrong secret"),
    /// The secret was the client's, and has ended.
    SecretEnded = ("token service", "ended secret"),
    /// The assertion is malformed, or is not signed by the client.
    Assertion = ("token service", "bad assertion"),
    /// The assertion is out of its time.
    AssertionTime = ("token service", "assertion out of its time"),
    /// What stands for a user is none of ours, or is spent: of a client that has nothing to prove itself with.
    Grant = ("token service", "bad grant"),
    /// The token of another issuer fits no federated credential.
    Federation = ("token service", "no federated credential"),
    /// The keys of a token's issuer could not be fetched.
    Issuer = ("token service", "issuer not reached"),
    /// What a client has sent a browser with is no request of it.
    SignInRequest = ("token service", "malformed sign-in request"),
    /// A form that none of our pages has sent.
    Forged = ("token service", "forged form"),
    /// There is no such user, or it has another password.
    Password = ("token service", "wrong password"),
    /// The account or the address has tried too often.
    LockedOut = ("token service", "locked out"),
    /// More right secrets were to be hashed at a time than can be.
    Busy = ("token service", "busy"),
    /// Too many refusals came from there ([`super::limits`]).
    Limited = ("token service", "over the limit"),
    /// There is no token: clients of the vault send their first request without one, to be challenged.
    NoToken = ("vault", "no token"),
    /// The token is none of ours.
    Token = ("vault", "bad token"),
    /// The token is out of its time.
    TokenTime = ("vault", "token out of its time"),
    /// There is no token.
    GraphNoToken = ("graph", "no token"),
    /// The token is none of ours.
    GraphToken = ("graph", "bad token"),
    /// The token is out of its time.
    GraphTokenTime = ("graph", "token out of its time"),
    /// The enrolment request is none.
    Enrolment = ("node", "malformed request"),
    /// There is no such join token.
    JoinToken = ("node", "unknown join token"),
    /// The join token could not be looked up.
    JoinTokenUnread = ("node", "join token not looked up"),
    /// The join token has ended.
    JoinTokenEnded = ("node", "ended join token"),
}

/// Counts and samples what strangers are refused. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Strangers(Arc<[Tally]>);

/// One reason's.
#[derive(Debug)]
struct Tally {
    count: AtomicU64,
    lines: Sampler,
}

/// Where a request came from and whom it named, as far as a line of the log may say it: ids of ours only.
#[derive(Clone, Copy, Debug)]
pub struct Stranger {
    /// The request's id.
    pub request_id: Uuid,
    /// The address it came from.
    pub address: Option<IpAddr>,
    /// The tenant it asked, where there is one.
    pub tenant: Option<TenantId>,
    /// The client it named.
    pub client: Option<ClientId>,
}

impl From<&Ctx> for Stranger {
    fn from(ctx: &Ctx) -> Self {
        Self { request_id: ctx.request_id, address: ctx.address, tenant: Some(ctx.tenant), client: None }
    }
}

impl Default for Strangers {
    fn default() -> Self {
        let tally = |_: &Reason| Tally { count: AtomicU64::new(0), lines: Sampler::new(LINES, PERIOD) };
        Self(Reason::ALL.iter().map(tally).collect())
    }
}

impl Strangers {
    /// Counts a refusal, and logs it now and then. The error's text must carry nothing of the request but what
    /// [`denizen_wire::shown`] lets through.
    pub fn refused(&self, reason: Reason, stranger: Stranger, error: &dyn Error) {
        let Some(tally) = self.0.get(reason as usize) else { return };
        tally.count.fetch_add(1, Ordering::Relaxed);
        let Stranger { request_id, address, tenant, client } = stranger;
        let [tenant, client] = [tenant.map(|id| id.0), client.map(|id| id.0)].map(|id| id.map(tracing::field::display));
        let (peer, error) = (address.map(tracing::field::display), Causes(error));
        let (api, text) = (reason.api(), reason.text());
        // Without a token is how every client of a vault begins.
        let admitted = if reason == Reason::NoToken { None } else { tally.lines.admit() };
        match admitted {
            Some(held_back) => tracing::warn!(
                api, reason = text, request = %request_id, peer, tenant, client, held_back, %error,
                "refused somebody who proved nothing"
            ),
            None => tracing::debug!(api, reason = text, request = %request_id, peer, tenant, client, %error, "refused"),
        }
    }

    /// How often each reason was given.
    pub fn counts(&self) -> impl Iterator<Item = (Reason, u64)> + '_ {
        Reason::ALL.iter().zip(self.0.iter()).map(|(reason, tally)| (*reason, tally.count.load(Ordering::Relaxed)))
    }

    /// How often this reason was given.
    #[cfg(test)]
    pub(crate) fn count(&self, reason: Reason) -> u64 {
        self.counts().find(|(other, _)| *other == reason).map_or(0, |(_, count)| count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_own_number_and_labels() {
        let strangers = Strangers::default();
        let nobody = Stranger { request_id: Uuid::nil(), address: None, tenant: None, client: None };
        for (times, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, times);
            for _ in 0..times {
                strangers.refused(*reason, nobody, &std::fmt::Error);
            }
        }
        for (times, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(strangers.count(*reason), times as u64);
        }
        let mut labels: Vec<_> = Reason::ALL.iter().map(|reason| (reason.api(), reason.text())).collect();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), Reason::ALL.len());
    }
}
