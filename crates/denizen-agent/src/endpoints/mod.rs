//! The local protocols: thin adapters onto the broker, behind one gate.
//!
//! Every request passes the gate before its protocol sees it, in this order: method, path, forwarding headers, host,
//! browser, and `Metadata` except for App Service, whose own header does that work. Each dialect reads the query. Nothing
//! is routed that is not exactly a known path.
//!
//! ```text
//!            local listener                         IMDS listener
//!   token path   /msi/token   instance       token path   instance   versions
//!       |            |            |              |            |          |
//!     [arc]    [app_service] [instance]        [imds]    [instance]   [imds]
//!       \____________|___________________________/
//!                    v
//!                 [broker]
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | [`gate`] | the checks, and the one canonicalizer of paths |
//! | [`query`] | the lenient query string |
//! | [`arc`], [`imds`], [`app_service`] | the dialects |
//! | [`instance`] | `/metadata/instance` |
//! | [`answer`] | where an error becomes a status and a body |
//!
//! Arc's keys are issued and redeemed by [`crate::challenge`]. Tests: `endpoints/tests/`, over raw sockets.

use http::request::Parts;

use denizen_wire::Clock;

use crate::{broker::Broker, caller::Caller};

pub mod answer;
pub mod app_service;
pub mod arc;
pub mod gate;
pub mod imds;
pub mod instance;
pub mod query;

use answer::{Answer, Style};
pub use gate::ListenerKind;
use gate::Route;

/// Everything that answers.
pub struct Endpoints {
    /// The token path.
    pub broker: Broker,
    /// Arc, where a key directory can be had.
    pub arc: Option<arc::ArcEndpoint>,
    /// App Service, where a secret was set.
    pub app_service: Option<app_service::AppServiceEndpoint>,
    /// The instance document.
    pub instance: instance::InstanceDocument,
    /// The time.
    pub clock: Clock,
}

impl Endpoints {
    /// Answers one request.
    pub async fn answer(&self, kind: ListenerKind, caller: Caller, request: &Parts) -> Answer {
        let route = match gate::admit(kind, request) {
            Ok(route) => route,
            Err((style, fault)) => return style.fault(fault),
        };
        let query = request.uri.query().unwrap_or_default();
        match (kind, route) {
            (ListenerKind::Local, Route::Token) => match &self.arc {
                Some(arc) => arc.answer(&self.broker, &self.clock, caller, request, query).await,
                None => Style::OAuth.fault(arc::off()),
            },
            (ListenerKind::Local, Route::AppService) => match &self.app_service {
                Some(endpoint) => endpoint.answer(&self.broker, &self.clock, caller, request, query).await,
                None => Style::AppService.fault(app_service::off()),
            },
            (ListenerKind::Imds, Route::Token) => imds::token(&self.broker, &self.clock, caller, query).await,
            (ListenerKind::Local | ListenerKind::Imds, Route::Instance) => {
                self.instance.answer(request.uri.path(), query)
            }
            (ListenerKind::Imds, Route::Versions) => imds::versions(),
            // The gate admits no such route on these listeners.
            (ListenerKind::Imds, Route::AppService) | (ListenerKind::Local, Route::Versions) => {
                Style::OAuth.fault(gate::unknown_path())
            }
        }
    }
}

#[cfg(test)]
mod tests;
