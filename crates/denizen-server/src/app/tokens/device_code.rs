//! `device_code` (RFC 8628): a device without a browser shows a short code, a person types it elsewhere and decides.
//!
//! ```text
//!   DeviceCode ── polled by its secret ──────────────┐
//!   UserCode   ── typed, redeemed by the decision ─> DeviceDecision ── redeemed by the next poll
//! ```
//!
//! Nothing is changed in place: each arrow is one row consumed and another made. How often a device asks is remembered in this
//! process alone. Tests: `http/sts/tests/people/device.rs`.

use std::{sync::Arc, time::Duration};

use denizen_keys::{SecretString, random};
use denizen_wire::{ClientId, UnixTime};
use moka::sync::Cache;

use super::{
    Asking, At, GrantFault, Issued, TokenError, TokenService, log_failure,
    people::{ForUser, ends, of_first_request},
    refresh_token::NewRefreshToken,
};
use crate::{
    app::{access::Authorization, strangers::Reason},
    domain::{
        Actor, Ctx,
        built_in_clients::built_in_client,
        scopes::Scopes,
        sign_in::{
            DEVICE_CODE_LIFETIME, DEVICE_INTERVAL, DeviceCode, DeviceDecision, SignIn, UserCode, hash_of,
            hash_of_user_code,
        },
    },
    store::{Kept, StoreError, Write},
};

/// As the audit names them.
const BEGIN: &str = "Denizen.Directory/deviceCodes/issue";
const REDEEM: &str = "Denizen.Directory/deviceCodes/redeem";
/// Letters and digits that are not taken for one another; no vowels, so that no word comes about.
const ALPHABET: &[u8; 25] = b"BCDFGHJKLMNPQRSTVWXZ34679";
/// 25^9 codes, of which a few are good for a quarter of an hour.
const USER_CODE: usize = 9;
/// How many devices' last questions are remembered.
const REMEMBERED: u64 = 65_536;

/// When each device has asked last.
#[derive(Clone)]
pub struct DeviceFlow {
    asked: Arc<Cache<String, UnixTime>>,
}

impl Default for DeviceFlow {
    fn default() -> Self {
        let lasts = Duration::from_secs(DEVICE_CODE_LIFETIME.unsigned_abs());
        Self { asked: Arc::new(Cache::builder().max_capacity(REMEMBERED).time_to_live(lasts).build()) }
    }
}

impl DeviceFlow {
    /// Whether a device asks before its time. A second is forgiven: the network moves questions together.
    fn is_too_fast(&self, hash: &str, now: UnixTime) -> bool {
        self.asked.get(hash).is_some_and(|last| now < last + (DEVICE_INTERVAL - 1))
    }
}

/// What a device is told to show and to ask with. Has no `Debug`: it holds a secret.
pub struct DeviceAuthorization {
    /// What it polls with.
    pub device_code: SecretString,
    /// What a person types.
    pub user_code: String,
    /// How long both are good, seconds.
    pub expires_in: i64,
    /// How long to wait between two polls, seconds.
    pub interval: i64,
}

impl TokenService {
    /// Begins: a device asks for a code. `is_shared` when users of every tenant may decide.
    ///
    /// # Errors
    /// [`TokenError::Limited`]; [`TokenError::UnknownClient`], [`TokenError::NotPublic`], [`TokenError::Disabled`],
    /// [`TokenError::UnknownResource`]; the store's.
    pub async fn device_authorization(
        &self,
        ctx: &Ctx,
        client: &str,
        scopes: &Scopes,
        is_shared: bool,
    ) -> Result<DeviceAuthorization, TokenError> {
        let begun = self.begin_device(ctx, client, scopes, is_shared).await;
        begun.map_err(|error| {
            if error.is_ours() {
                log_failure(ctx, &error);
                return error;
            }
            let reason = if matches!(error, TokenError::Limited(_)) { Reason::Limited } else { Reason::Client };
            let asker = self.limits.asker(ctx.address, ctx.now);
            self.refuse_stranger(ctx, client.parse().ok(), asker, (reason, error))
        })
    }

    async fn begin_device(
        &self,
        ctx: &Ctx,
        client: &str,
        scopes: &Scopes,
        is_shared: bool,
    ) -> Result<DeviceAuthorization, TokenError> {
        // First: whoever asks has proved nothing, and the answer says what the tenant knows.
        self.limits.asks_for_device_code(ctx.address, ctx.now)?;
        let snapshot = self.store.snapshot();
        let tenant = snapshot.tenant(ctx.tenant);
        let name = || tenant.map_or_else(String::new, |tenant| tenant.domain.clone());
        let id: ClientId = client.parse().map_err(|_| TokenError::MalformedClient { tenant: name() })?;
        let unknown = || TokenError::UnknownClient { client: id, tenant: name() };
        let tenant = tenant.ok_or_else(unknown)?;
        match snapshot.application(tenant.id, id) {
            Some(application) if application.public_client => {}
            Some(_) => return Err(TokenError::NotPublic(id)),
            None if built_in_client(id).is_some() => {}
            None => return Err(unknown()),
        }
        if snapshot.principal_of_client(tenant.id, id).is_some_and(|principal| !principal.enabled) {
            return Err(TokenError::Disabled(id));
        }
        self.audience(&snapshot, tenant, &scopes.resource)?;
        self.limits.keeps_device_code(ctx.now)?;
        let (device_code, user_code) = (random::token(32), user_code());
        let expires = ends(ctx.now, DEVICE_CODE_LIFETIME);
        let device =
            DeviceCode { id: random::uuid_v4(), tenant: tenant.id, hash: hash_of(&device_code), expires, client: id };
        let typed = UserCode {
            id: random::uuid_v4(),
            tenant: tenant.id,
            hash: hash_of_user_code(&user_code),
            expires,
            device: device.hash.clone(),
            client: id,
            scope: scopes.text(),
            is_shared,
            address: ctx.address,
        };
        let authorization = Authorization::to_begin(ctx.clone(), snapshot.clone(), BEGIN);
        let (device, typed) = (&device, &typed);
        let written = self.store.write(&authorization, |tx| {
            Box::pin(async move {
                tx.issue(device).await?;
                tx.issue(typed).await?;
                Ok::<_, StoreError>(Write::commit(BEGIN, device.id.to_string(), ()))
            })
        });
        written.await.map_err(TokenError::Unkept)?;
        let (expires_in, interval) = (DEVICE_CODE_LIFETIME, DEVICE_INTERVAL);
        Ok(DeviceAuthorization { device_code, user_code, expires_in, interval })
    }

    pub(super) async fn by_device(
        &self,
        at: &At<'_>,
        asking: &Asking<'_>,
        device_code: &SecretString,
    ) -> Result<Issued, TokenError> {
        let hash = hash_of(device_code);
        if self.devices.is_too_fast(&hash, at.ctx.now) {
            return Err(GrantFault::TooFast(DEVICE_INTERVAL).into());
        }
        let kept = self.store.one_time::<DeviceCode>(&hash).await.map_err(TokenError::Unkept)?;
        let Kept { it: device, .. } = kept.ok_or(GrantFault::UnknownDevice)?;
        if device.client != asking.id {
            return Err(GrantFault::UnknownDevice.into());
        }
        if device.expires <= at.ctx.now {
            return Err(GrantFault::DeviceEnded.into());
        }
        let decision = self.store.one_time::<DeviceDecision>(&hash).await.map_err(TokenError::Unkept)?;
        let Some(Kept { it: decision, used }) = decision else {
            self.devices.asked.insert(hash, at.ctx.now);
            return Err(GrantFault::Pending.into());
        };
        if used {
            return Err(GrantFault::DeviceEnded.into());
        }
        let fresh = self.store.snapshot();
        let (at, asking) = &at.anew(asking, &fresh)?;
        let Some(sign_in) = &decision.sign_in else { return Err(GrantFault::Declined.into()) };
        let scopes = of_first_request(&decision.scope, None)?;
        let of = ForUser { sign_in, scopes: &scopes, nonce: None, grant: "device code" };
        let decided = self.decide(at, asking, &of).await?;
        let made = self.make(at, asking, &of, decided).await?;
        let new = NewRefreshToken::new(asking.id, &decision.scope, sign_in, at.ctx.now);
        let refresh = scopes.offline.then_some(new);
        self.redeem_decision(at, asking, &decision, sign_in, refresh.as_ref()).await?;
        let refresh = refresh.map(|new| self.refresh_text(at, &new)).transpose()?;
        self.give(at, asking, made, refresh)
    }

    async fn redeem_decision(
        &self,
        at: &At<'_>,
        asking: &Asking<'_>,
        decision: &DeviceDecision,
        sign_in: &SignIn,
        refresh: Option<&NewRefreshToken>,
    ) -> Result<(), TokenError> {
        let ctx = at.ctx.by(Actor::Principal { id: sign_in.user, client: asking.id });
        let authorization = Authorization::by_sign_in(ctx, at.snapshot.clone(), REDEEM, sign_in);
        let is_here = decision.tenant == at.tenant.id;
        if is_here || refresh.is_some() {
            let written = self.store.write(&authorization, |tx| {
                Box::pin(async move {
                    if is_here {
                        tx.redeem::<DeviceDecision>(&decision.hash).await?;
                    }
                    if let Some(new) = refresh {
                        tx.issue(&new.row).await?;
                    }
                    Ok::<_, StoreError>(Write::commit(REDEEM, decision.id.to_string(), ()))
                })
            });
            written.await.map_err(|error| TokenError::of_write(error, |_| GrantFault::DeviceEnded))?;
        }
        if is_here { Ok(()) } else { self.redeem_elsewhere(at, decision, sign_in).await }
    }

    /// Redeems a decision that lies under another tenant than the user's: the device had named none. The refresh token is kept
    /// before; one whose decision was redeemed by somebody else meanwhile is given to nobody.
    async fn redeem_elsewhere(
        &self,
        at: &At<'_>,
        decision: &DeviceDecision,
        sign_in: &SignIn,
    ) -> Result<(), TokenError> {
        let ctx = Ctx { tenant: decision.tenant, ..at.ctx.clone() };
        let authorization = Authorization::by_user(&ctx, at.snapshot.clone(), REDEEM, sign_in);
        let written = self.store.write(&authorization, |tx| {
            Box::pin(async move {
                tx.redeem::<DeviceDecision>(&decision.hash).await?;
                Ok::<_, StoreError>(Write::commit(REDEEM, decision.id.to_string(), ()))
            })
        });
        written.await.map_err(|error| TokenError::of_write(error, |_| GrantFault::DeviceEnded))
    }
}

fn user_code() -> String {
    let mut code = String::with_capacity(USER_CODE);
    while code.len() < USER_CODE {
        let [byte] = random::bytes::<1>();
        // 250 is the last multiple of 25: what is above it would favour some letters.
        if let Some(letter) = ALPHABET.get(usize::from(byte % 25)).filter(|_| byte < 250) {
            code.push(char::from(*letter));
        }
    }
    code
}
