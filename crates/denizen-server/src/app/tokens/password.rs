//! `password`: a client that has asked a user for a password sends it. Whoever signs in so gives it to a program, and has no
//! second factor; it is off unless an operator insists.
//!
//! Tests: `http/sts/tests/people.rs`.

use denizen_keys::SecretString;

use super::{Asking, At, Issued, TokenError, TokenService, people::ForUser, refresh_token::NewRefreshToken};
use crate::{
    app::access::Authorization,
    domain::{Actor, scopes::Scopes},
    store::{StoreError, Write},
};

/// As the audit names it.
const SIGN_IN: &str = "Denizen.Directory/refreshTokens/issue";

impl TokenService {
    pub(super) async fn by_password(
        &self,
        at: &At<'_>,
        asking: &Asking<'_>,
        (name, password): (&str, &SecretString),
        scopes: &Scopes,
    ) -> Result<Issued, TokenError> {
        let Some(service) = &self.passwords else { return Err(TokenError::NoPasswordGrant) };
        let sign_in = service.password(at.ctx, at.tenant.id, name, password).await.and_then(|step| step.done());
        let sign_in = sign_in.map_err(TokenError::SignIn)?;
        let of = ForUser { sign_in: &sign_in, scopes, nonce: None, grant: "password" };
        let decided = self.decide(at, asking, &of).await?;
        let made = self.make(at, asking, &of, decided).await?;
        let mut refresh = None;
        if scopes.offline {
            let new = NewRefreshToken::new(asking.id, &scopes.text(), &sign_in, at.ctx.now);
            let ctx = at.ctx.by(Actor::Principal { id: sign_in.user, client: asking.id });
            let authorization = Authorization::by_sign_in(ctx, at.snapshot.clone(), SIGN_IN, &sign_in);
            let row = &new.row;
            let written = self.store.write(&authorization, |tx| {
                Box::pin(async move {
                    tx.issue(row).await?;
                    Ok::<_, StoreError>(Write::commit(SIGN_IN, row.id.to_string(), ()))
                })
            });
            written.await.map_err(TokenError::Unkept)?;
            refresh = Some(self.refresh_text(at, &new)?);
        }
        self.give(at, asking, made, refresh)
    }
}
