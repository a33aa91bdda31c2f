//! `authorization_code`: a browser has brought the client a code. It is redeemed once; whoever brings it again was not the
//! client, or the client was not first, so what came of it is revoked.
//!
//! Tests: `http/sts/tests/people.rs`.

use denizen_keys::{SecretString, b64, constant_time_eq, hash};

use super::{
    Asking, At, GrantFault, Issued, TokenError, TokenService,
    people::{ForUser, of_first_request},
    refresh_token::{NewRefreshToken, id_of},
};
use crate::{
    app::access::Authorization,
    domain::{
        Actor,
        scopes::Scopes,
        sign_in::{AuthorizationCode, RefreshToken, hash_of},
    },
    store::{OneTimeRefused, StoreError, Write},
};

/// What the client brings.
pub(super) struct Redeemed<'r> {
    pub(super) code: &'r SecretString,
    pub(super) redirect_uri: &'r str,
    pub(super) verifier: Option<&'r SecretString>,
    pub(super) scopes: Option<&'r Scopes>,
}

/// As the audit names it.
const REDEEM: &str = "Denizen.Directory/authorizationCodes/redeem";

impl TokenService {
    pub(super) async fn by_code(
        &self,
        at: &At<'_>,
        asking: &Asking<'_>,
        redeemed: &Redeemed<'_>,
    ) -> Result<Issued, TokenError> {
        let hash = hash_of(redeemed.code);
        let kept = self.store.one_time::<AuthorizationCode>(&hash).await.map_err(TokenError::Unkept)?;
        let kept = kept.ok_or(GrantFault::UnknownCode)?;
        let fresh = self.store.snapshot();
        let (at, asking) = &at.anew(asking, &fresh)?;
        let code = &kept.it;
        if code.tenant != at.tenant.id {
            return Err(GrantFault::OtherTenant.into());
        }
        if code.client != asking.id {
            return Err(GrantFault::CodeOfAnother.into());
        }
        // A code that went to a server is a server's, which has a credential, whatever else the application is.
        let uris = asking.client.and_then(|client| client.application).map(|application| &application.redirect_uris);
        if asking.by.is_none() && uris.is_some_and(|uris| uris.web.contains(&code.redirect_uri)) {
            return Err(TokenError::NotPublic(asking.id));
        }
        if kept.used {
            self.revoke_what_came(at, asking, code).await?;
            return Err(GrantFault::CodeUsed.into());
        }
        if code.expires <= at.ctx.now {
            return Err(GrantFault::CodeEnded.into());
        }
        // Whoever shows neither a credential nor what the challenge was made of has shown nothing but the code.
        let proves_nothing = asking.by.is_none() && code.challenge.is_none();
        let fault = if proves_nothing { Some(GrantFault::Verifier) } else { fault_of(code, redeemed) };
        let scopes = of_first_request(&code.scope, redeemed.scopes)?;
        let of =
            ForUser { sign_in: &code.sign_in, scopes: &scopes, nonce: code.nonce.clone(), grant: "authorization code" };
        let made = match fault {
            None => {
                let decided = self.decide(at, asking, &of).await?;
                Some(self.make(at, asking, &of, decided).await?)
            }
            // Whoever has the code without what belongs to it does not get to try again.
            Some(_) => None,
        };
        let refresh = (made.is_some() && scopes.offline).then(|| NewRefreshToken::of(code, asking.id, at.ctx.now));
        let kept = self.redeem_code(at, asking, code, refresh.as_ref()).await;
        if let Err(TokenError::Grant(GrantFault::CodeUsed)) = &kept {
            // Somebody else was a moment faster.
            self.revoke_what_came(at, asking, code).await?;
        }
        kept?;
        match (fault, made) {
            (None, Some(made)) => {
                let refresh = refresh.map(|new| self.refresh_text(at, &new)).transpose()?;
                self.give(at, asking, made, refresh)
            }
            (fault, _) => Err(fault.unwrap_or(GrantFault::UnknownCode).into()),
        }
    }

    /// Consumes it, and keeps what comes of it.
    async fn redeem_code(
        &self,
        at: &At<'_>,
        asking: &Asking<'_>,
        code: &AuthorizationCode,
        refresh: Option<&NewRefreshToken>,
    ) -> Result<(), TokenError> {
        let authorization = self.of_code(at, asking, code);
        let (hash, id) = (&code.hash, code.id);
        let written = self.store.write(&authorization, |tx| {
            Box::pin(async move {
                tx.redeem::<AuthorizationCode>(hash).await?;
                if let Some(new) = refresh {
                    tx.issue(&new.row).await?;
                }
                Ok::<_, StoreError>(Write::commit(REDEEM, id.to_string(), ()))
            })
        });
        let refused = |why| match why {
            OneTimeRefused::Used => GrantFault::CodeUsed,
            OneTimeRefused::Expired => GrantFault::CodeEnded,
            OneTimeRefused::Unknown => GrantFault::UnknownCode,
        };
        written.await.map_err(|error| TokenError::of_write(error, refused))
    }

    /// A code that is brought twice: one of the two is a thief's (RFC 6749, section 4.1.2).
    async fn revoke_what_came(
        &self,
        at: &At<'_>,
        asking: &Asking<'_>,
        code: &AuthorizationCode,
    ) -> Result<(), TokenError> {
        let authorization = self.of_code(at, asking, code);
        let id = id_of(code);
        let written = self.store.write(&authorization, |tx| {
            Box::pin(async move {
                match tx.revoke::<RefreshToken>(id).await? {
                    true => Ok::<_, StoreError>(Write::commit(super::refresh_token::REVOKE, id.to_string(), ())),
                    false => Ok(Write::Unchanged(())),
                }
            })
        });
        match written.await {
            // There is nothing left to revoke.
            Ok(()) | Err(StoreError::NotAuthorized) => Ok(()),
            Err(error) => Err(TokenError::Unkept(error)),
        }
    }

    fn of_code(&self, at: &At<'_>, asking: &Asking<'_>, code: &AuthorizationCode) -> Authorization {
        let ctx = at.ctx.by(Actor::Principal { id: code.sign_in.user, client: asking.id });
        Authorization::by_sign_in(ctx, at.snapshot.clone(), REDEEM, &code.sign_in)
    }
}

/// What does not belong to the code.
fn fault_of(code: &AuthorizationCode, redeemed: &Redeemed<'_>) -> Option<GrantFault> {
    if code.redirect_uri != redeemed.redirect_uri {
        return Some(GrantFault::RedirectUri);
    }
    let challenge_of = |verifier: &SecretString| b64::url(&hash::sha256(verifier.expose().as_bytes())).into_bytes();
    match (&code.challenge, redeemed.verifier) {
        (None, None) => None,
        (Some(challenge), Some(verifier)) if constant_time_eq(challenge.as_bytes(), &challenge_of(verifier)) => None,
        // A verifier without a challenge is refused too: somebody has left the challenge out on the way (RFC 9700, 2.1.1).
        _ => Some(GrantFault::Verifier),
    }
}
