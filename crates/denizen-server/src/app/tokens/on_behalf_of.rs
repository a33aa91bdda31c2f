//! `jwt-bearer` with `requested_token_use=on_behalf_of`: a resource that was called with a user's token asks for another
//! resource, for the same user. The token must be for the resource that brings it.
//!
//! No refresh token is kept of it: the resource has the user's token each time it is called.
//!
//! Tests: `http/sts/tests/people/on_behalf_of.rs`.

use denizen_keys::SecretString;

use super::{Asking, At, GrantFault, Issued, TokenError, TokenService, people::ForUser};
use crate::{
    app::access::{AuthError, Subject},
    domain::{claims::audience, scopes::Scopes, sign_in::SignIn},
};

impl TokenService {
    pub(super) async fn on_behalf(
        &self,
        at: &At<'_>,
        asking: &Asking<'_>,
        assertion: &SecretString,
        scopes: &Scopes,
    ) -> Result<Issued, TokenError> {
        // Whoever has not proved to be the resource has no business with what was sent to it.
        let (Some(client), Some(_)) = (asking.client, &asking.by) else {
            return Err(TokenError::NotPublic(asking.id));
        };
        let names = client.application.map_or(&[][..], |application| &application.identifier_uris);
        let own = asking.id.to_string();
        let audiences = std::iter::once(&own).chain(names).map(|name| audience::canonical(name)).collect::<Vec<_>>();
        let caller = self
            .access
            .authenticate_assertion(at.snapshot, assertion.expose(), &audiences, at.tenant.id, at.ctx.now)
            .map_err(|refusal| GrantFault::Assertion(refusal.error.to_string()))?;
        // A canonical name may be several's: what counts is whom the token's own text means.
        let said = caller.written_audience();
        let meant = at.snapshot.application_behind(at.tenant.id, &self.own_resources, said);
        if meant.is_none_or(|application| application.client_id != asking.id) {
            let why = AuthError::Audience { expected: asking.id.to_string(), found: said.to_owned() };
            return Err(GrantFault::Assertion(why.to_string()).into());
        }
        let Subject::User { methods, at: signed_in, session, .. } = &caller.subject else {
            return Err(GrantFault::AppOnly.into());
        };
        let user = at.snapshot.user(at.tenant.id, caller.principal).ok_or(GrantFault::UserGone)?;
        let sign_in = SignIn {
            tenant: at.tenant.id,
            user: caller.principal,
            // It was compared just now.
            epoch: user.epoch,
            at: *signed_in,
            methods: methods.clone(),
            session: *session,
        };
        let scopes = Scopes { offline: false, ..scopes.clone() };
        let of = ForUser { sign_in: &sign_in, scopes: &scopes, nonce: None, grant: "on behalf of" };
        let decided = self.decide(at, asking, &of).await?;
        let made = self.make(at, asking, &of, decided).await?;
        self.give(at, asking, made, None)
    }
}
