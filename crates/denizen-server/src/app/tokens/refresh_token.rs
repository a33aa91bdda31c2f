//! `refresh_token`: the user is not asked again. Each is spent once and followed by the next of its row; one that is brought
//! again later was copied, so the row is revoked.
//!
//! ```text
//!   tenant (16) | locator (16) | generation (4) | tag (32)      base64url
//! ```
//!
//! The tag binds the rest under a key of the tenant's, so a guess costs a computation and no look at the database; the
//! generation is the one thing that the row and the token must agree on. What follows a token is made of the same, so whoever
//! did not get its answer is given the same next one again for a moment ([`REFRESH_GRACE`]).
//!
//! Tests: `http/sts/tests/people.rs`.

use denizen_keys::{SecretString, b64, hash, random};
use denizen_wire::{ClientId, TenantId, UnixTime};
use uuid::Uuid;

use super::{
    Asking, At, GrantFault, Issued, TokenError, TokenService,
    people::{ForUser, ends, of_first_request},
};
use crate::{
    app::access::Authorization,
    domain::{
        Actor,
        scopes::Scopes,
        sign_in::{AuthorizationCode, REFRESH_GRACE, REFRESH_LIFETIME, RefreshToken, SignIn},
    },
    store::{Kept, OneTimeRefused, StoreError, Write},
};

/// As the audit names what is done to one.
const RENEW: &str = "Denizen.Directory/refreshTokens/renew";
pub(super) const REVOKE: &str = "Denizen.Directory/refreshTokens/revoke";
/// What the tenant's key is derived for. Tokens that are out depend on it.
const PURPOSE: &str = "refresh tokens";

const BYTES: usize = 16 + 16 + 4 + 32;

/// One that is about to be kept.
pub(super) struct NewRefreshToken {
    pub(super) row: RefreshToken,
    locator: [u8; 16],
}

impl NewRefreshToken {
    /// One that comes of a code: its id follows from the code's, so that it is found when the code is brought again.
    pub(super) fn of(code: &AuthorizationCode, client: ClientId, now: UnixTime) -> Self {
        let new = Self::new(client, &code.scope, &code.sign_in, now);
        Self { row: RefreshToken { id: id_of(code), ..new.row }, ..new }
    }

    pub(super) fn new(client: ClientId, scope: &str, sign_in: &SignIn, now: UnixTime) -> Self {
        let locator = random::bytes();
        let row = RefreshToken {
            id: random::uuid_v4(),
            tenant: sign_in.tenant,
            hash: hash::hex(&hash::sha256(&locator)),
            expires: ends(now, REFRESH_LIFETIME),
            generation: 1,
            spent: None,
            client,
            scope: scope.to_owned(),
            sign_in: sign_in.clone(),
        };
        Self { row, locator }
    }
}

/// The id of the refresh token that comes of a code.
pub(super) fn id_of(code: &AuthorizationCode) -> Uuid {
    let [id @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] =
        hash::sha256_of(&[b"refresh token", code.id.as_bytes()]);
    uuid::Builder::from_random_bytes(id).into_uuid()
}

/// A token, taken apart.
struct Parts {
    tenant: TenantId,
    locator: [u8; 16],
    generation: u32,
    tag: [u8; 32],
}

impl Parts {
    fn read(token: &SecretString) -> Option<Self> {
        let bytes: [u8; BYTES] = b64::decode_url(token.expose())?.try_into().ok()?;
        let (tenant, rest) = bytes.split_first_chunk::<16>()?;
        let (locator, rest) = rest.split_first_chunk::<16>()?;
        let (generation, rest) = rest.split_first_chunk::<4>()?;
        Some(Self {
            tenant: TenantId(Uuid::from_bytes(*tenant)),
            locator: *locator,
            generation: u32::from_be_bytes(*generation),
            tag: rest.try_into().ok()?,
        })
    }
}

/// The tenant that a token says it is of.
pub(super) fn tenant_of(token: &SecretString) -> Option<TenantId> {
    Parts::read(token).map(|parts| parts.tenant)
}

impl TokenService {
    /// The text of a row's token of this generation.
    fn text_of(&self, at: &At<'_>, locator: &[u8; 16], generation: u32) -> Result<String, TokenError> {
        let tenant = at.tenant.id;
        let key = self.keys.mac_key(at.snapshot, tenant, PURPOSE).map_err(TokenError::Signing)?;
        let number = generation.to_be_bytes();
        let tag = key.tag(&[tenant.0.as_bytes(), locator, &number]);
        Ok(b64::url(&[&tenant.0.as_bytes()[..], locator, &number, &tag].concat()))
    }

    /// The text of one that was just kept.
    pub(super) fn refresh_text(&self, at: &At<'_>, new: &NewRefreshToken) -> Result<String, TokenError> {
        self.text_of(at, &new.locator, new.row.generation)
    }

    pub(super) async fn by_refresh(
        &self,
        at: &At<'_>,
        asking: &Asking<'_>,
        token: &SecretString,
        scopes: Option<&Scopes>,
    ) -> Result<Issued, TokenError> {
        let parts = Parts::read(token).ok_or(GrantFault::UnknownRefresh)?;
        if parts.tenant != at.tenant.id {
            return Err(GrantFault::OtherTenant.into());
        }
        let key = self.keys.mac_key(at.snapshot, parts.tenant, PURPOSE).map_err(TokenError::Signing)?;
        let number = parts.generation.to_be_bytes();
        if !key.matches(&[parts.tenant.0.as_bytes(), &parts.locator, &number], &parts.tag) {
            return Err(GrantFault::UnknownRefresh.into());
        }
        let hash = hash::hex(&hash::sha256(&parts.locator));
        let kept = self.store.one_time::<RefreshToken>(&hash).await.map_err(TokenError::Unkept)?;
        let Kept { it: row, used } = kept.ok_or(GrantFault::RefreshEnded)?;
        let fresh = self.store.snapshot();
        let (at, asking) = &at.anew(asking, &fresh)?;
        if row.client != asking.id {
            return Err(GrantFault::RefreshOfAnother.into());
        }
        if used {
            return Err(GrantFault::Revoked("it was revoked").into());
        }
        if row.expires <= at.ctx.now {
            return Err(GrantFault::RefreshEnded.into());
        }
        let scopes = of_first_request(&row.scope, scopes)?;
        let of = ForUser { sign_in: &row.sign_in, scopes: &scopes, nonce: None, grant: "refresh token" };
        let decided = self.decide(at, asking, &of).await?;
        let made = self.make(at, asking, &of, decided).await?;
        let generation = self.spend(at, asking, &row, parts.generation).await?;
        let next = self.text_of(at, &parts.locator, generation)?;
        self.give(at, asking, made, Some(next))
    }

    /// Spends a generation of a row; gives the one that is good now.
    async fn spend(
        &self,
        at: &At<'_>,
        asking: &Asking<'_>,
        row: &RefreshToken,
        generation: u32,
    ) -> Result<u32, TokenError> {
        let ctx = at.ctx.by(Actor::Principal { id: row.sign_in.user, client: asking.id });
        let authorization = Authorization::by_sign_in(ctx, at.snapshot.clone(), RENEW, &row.sign_in);
        let (now, hash, id) = (at.ctx.now, &row.hash, row.id);
        let written = self.store.write(&authorization, |tx| {
            Box::pin(async move {
                let kept = tx.one_time::<RefreshToken>(hash).await?.filter(|kept| !kept.used);
                let Some(Kept { it, .. }) = kept else { return Err(StoreError::from(OneTimeRefused::Used)) };
                if it.generation == generation {
                    let next = it.generation.saturating_add(1);
                    let (expires, spent) = (ends(now, REFRESH_LIFETIME), Some(now));
                    tx.renew(&RefreshToken { generation: next, spent, expires, ..it }).await?;
                    return Ok(Write::commit(RENEW, id.to_string(), Some(next)));
                }
                let is_just_spent = it.spent.is_some_and(|spent| now <= spent + REFRESH_GRACE);
                if it.generation == generation.saturating_add(1) && is_just_spent {
                    return Ok(Write::Unchanged(Some(it.generation)));
                }
                tx.redeem::<RefreshToken>(hash).await?;
                let detail = serde_json::json!({ "reason": "a spent one was used again" });
                Ok(Write::commit(REVOKE, id.to_string(), None).detail(detail))
            })
        });
        match written.await {
            Ok(Some(generation)) => Ok(generation),
            Ok(None) => Err(GrantFault::Revoked("a refresh token that was spent before was used again").into()),
            Err(error) => Err(TokenError::of_write(error, |_| GrantFault::Revoked("it was revoked"))),
        }
    }
}
