//! The clock that decides when something is removed for good: looked at by the schedules, confirmed by whoever keeps the
//! server.
//!
//! Tests: `run.rs`.

use super::{ChangeError, access::Authorization};
use crate::store::{Store, Write};

/// The action of confirming it, for the audit.
const CONFIRM: &str = "Denizen.Server/clock/confirm";

/// The use case of the server's clock.
#[derive(Clone)]
pub struct ServerClock {
    store: Store,
}

impl ServerClock {
    /// Creates the use case.
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// Believes the clock from here on, whatever was seen before. Takes an authorization for each tenant, because each
    /// tenant's audit says so, and before it is done.
    ///
    /// # Errors
    /// The store's; the clock is not confirmed then.
    pub async fn confirm(&self, authorizations: &[Authorization]) -> Result<(), ChangeError> {
        let standing = format!("{:?}", self.store.clock_standing());
        for authorization in authorizations {
            authorization.check(CONFIRM, authorization.tenant(), &["/"])?;
            let standing = &standing;
            self.store
                .write(authorization, |_| {
                    Box::pin(async move {
                        let detail = serde_json::json!({ "now": authorization.now(), "before": standing });
                        let target = authorization.tenant().to_string();
                        Ok::<_, ChangeError>(Write::commit(CONFIRM, target, ()).detail(detail))
                    })
                })
                .await?;
        }
        Ok(self.store.confirm_clock().await?)
    }
}
