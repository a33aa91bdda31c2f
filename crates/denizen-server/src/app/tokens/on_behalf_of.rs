//! `jwt-bearer` with `requested_token_use=on_behalf_of`: a resource that was called with a user's token asks for another
//! resource, for the same user. The token must be for the resource that brings it.
//!
//! No refresh token is kept of it: the resource has the user's token each time it is called.
//!
//! Tests: `http/sts/tests/people.rs`.

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
        let own = [asking.id.to_string(), format!("api://{}", asking.id)];
        let audiences: Vec<String> = own.iter().chain(names).map(|name| audience::canonical(name)).collect();
        let caller = self
            .access
            .authenticate(at.snapshot, assertion.expose(), &audiences, at.tenant.id, at.ctx.now)
            .map_err(|refusal| GrantFault::Assertion(refusal.error.to_string()))?;
        // A canonical name may be several's: what counts is what the token says, and no service of Azure's or of ours is a
        // client.
        let said = caller.written_audience();
        let is_anothers = audience::is_first_party(said) || self.own_resources.covers(said);
        let is_own = own.iter().chain(names).any(|name| name == said) && !is_anothers;
        if !is_own {
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
        self.give(at, asking, &of, decided, None).await
    }
}
