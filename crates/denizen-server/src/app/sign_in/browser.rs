//! What a browser gets once its user has signed in: a session, codes for clients, decisions about devices; and what clients
//! may do in the user's name.
//!
//! Each is written by the user's own authorization, which ends with its epoch.
//!
//! Tests: `tests.rs` beside this file, and `http/sign_in/tests`.

use denizen_keys::{SecretString, random};
use denizen_wire::{ClientId, PrincipalId};

use super::{SignInError, SignInService};
use crate::{
    app::access::Authorization,
    domain::{
        Ctx,
        grants::PermissionGrant,
        sign_in::{
            AuthorizationCode, CODE_LIFETIME, DeviceDecision, SESSION_LIFETIME, Session, SignIn, UserCode, hash_of,
            hash_of_user_code,
        },
    },
    store::{Kept, Write},
};

/// A session begins.
const OPEN: &str = "Denizen.SignIn/sessions/write";
/// A session ends.
const CLOSE: &str = "Denizen.SignIn/sessions/delete";
/// A client gets a code.
const ISSUE_CODE: &str = "Denizen.SignIn/codes/write";
/// A user lets a client act for it.
const CONSENT: &str = "microsoft.directory/oAuth2PermissionGrants/create";
/// The most scopes that a grant holds.
const MOST_SCOPES: usize = 200;
/// A user decides about a device.
const DECIDE: &str = "Denizen.SignIn/devices/write";

/// A code that a client is to get.
#[derive(Clone, Debug)]
pub struct NewCode {
    /// The client that asked.
    pub client: ClientId,
    /// Where the browser is sent.
    pub redirect_uri: String,
    /// What was asked for, by spaces.
    pub scope: String,
    /// Goes into the id token as it came.
    pub nonce: Option<String>,
    /// The code challenge.
    pub challenge: Option<String>,
}

impl SignInService {
    /// Begins a session: the secret is what the browser keeps. A session that the browser had ends.
    ///
    /// # Errors
    /// The store's.
    pub async fn open_session(
        &self,
        ctx: &Ctx,
        sign_in: &SignIn,
        before: Option<&SecretString>,
    ) -> Result<SecretString, SignInError> {
        if let Some(before) = before {
            self.close_session(ctx, before).await?;
        }
        let ctx = Ctx { tenant: sign_in.tenant, ..ctx.clone() };
        let secret = random::token(32);
        let session = Session {
            id: sign_in.session,
            tenant: sign_in.tenant,
            hash: hash_of(&secret),
            expires: ctx.now + SESSION_LIFETIME,
            sign_in: sign_in.clone(),
        };
        let authorization = Authorization::by_user(&ctx, self.store.snapshot(), OPEN, sign_in);
        let session = &session;
        self.store
            .write(&authorization, |tx| {
                Box::pin(async move {
                    tx.issue(session).await?;
                    let target = format!("users/{}/sessions/{}", session.sign_in.user, session.id);
                    let methods = serde_json::json!({ "methods": session.sign_in.methods });
                    Ok::<_, SignInError>(Write::commit(OPEN, target, ()).detail(methods))
                })
            })
            .await?;
        Ok(secret)
    }

    /// Who has signed in in the browser that shows this; none when that is over: it ended, its user signed out, was disabled or
    /// was signed out everywhere.
    ///
    /// # Errors
    /// The store's.
    pub async fn session(&self, ctx: &Ctx, secret: &SecretString) -> Result<Option<SignIn>, SignInError> {
        let Some(Kept { it: session, used: false }) = self.store.one_time::<Session>(&hash_of(secret)).await? else {
            return Ok(None);
        };
        let snapshot = self.store.snapshot();
        let user = snapshot.user(session.tenant, session.sign_in.user);
        let is_good = user.is_some_and(|user| user.accepts(session.sign_in.epoch).is_ok());
        Ok((is_good && ctx.now < session.expires).then_some(session.sign_in))
    }

    /// Ends a session. One that is over already stays so.
    ///
    /// # Errors
    /// The store's.
    pub async fn close_session(&self, ctx: &Ctx, secret: &SecretString) -> Result<(), SignInError> {
        let hash = hash_of(secret);
        let Some(Kept { it: session, used: false }) = self.store.one_time::<Session>(&hash).await? else {
            return Ok(());
        };
        let ctx = Ctx { tenant: session.tenant, ..ctx.clone() };
        let snapshot = self.store.snapshot();
        if snapshot
            .user(session.tenant, session.sign_in.user)
            .is_none_or(|user| user.accepts(session.sign_in.epoch).is_err())
        {
            // It opens nothing any more.
            return Ok(());
        }
        let authorization = Authorization::by_user(&ctx, snapshot, CLOSE, &session.sign_in);
        let (hash, session) = (&hash, &session);
        self.store
            .write(&authorization, |tx| {
                Box::pin(async move {
                    match tx.redeem::<Session>(hash).await.map_err(SignInError::from) {
                        Ok(_) => {}
                        Err(SignInError::Over) => return Ok(Write::Unchanged(())),
                        Err(error) => return Err(error),
                    }
                    let target = format!("users/{}/sessions/{}", session.sign_in.user, session.id);
                    Ok(Write::commit(CLOSE, target, ()))
                })
            })
            .await
    }

    /// A code for a client.
    ///
    /// # Errors
    /// The store's.
    pub async fn issue_code(&self, ctx: &Ctx, sign_in: &SignIn, new: &NewCode) -> Result<SecretString, SignInError> {
        let ctx = Ctx { tenant: sign_in.tenant, ..ctx.clone() };
        let secret = random::token(32);
        let NewCode { client, redirect_uri, scope, nonce, challenge } = new.clone();
        let code = AuthorizationCode {
            id: random::uuid_v4(),
            tenant: sign_in.tenant,
            hash: hash_of(&secret),
            expires: ctx.now + CODE_LIFETIME,
            client,
            redirect_uri,
            scope,
            nonce,
            challenge,
            sign_in: sign_in.clone(),
        };
        let authorization = Authorization::by_user(&ctx, self.store.snapshot(), ISSUE_CODE, sign_in);
        let code = &code;
        self.store
            .write(&authorization, |tx| {
                Box::pin(async move {
                    tx.issue(code).await?;
                    let target = format!("users/{}/codes/{}", code.sign_in.user, code.id);
                    let client = serde_json::json!({ "client": code.client });
                    Ok::<_, SignInError>(Write::commit(ISSUE_CODE, target, ()).detail(client))
                })
            })
            .await?;
        Ok(secret)
    }

    /// A user lets a client use permissions of a resource in its name.
    ///
    /// # Errors
    /// The store's.
    pub async fn consent(
        &self,
        ctx: &Ctx,
        sign_in: &SignIn,
        client: PrincipalId,
        resource: PrincipalId,
        scopes: &[String],
    ) -> Result<(), SignInError> {
        let (tenant, user) = (sign_in.tenant, sign_in.user);
        let ctx = Ctx { tenant, ..ctx.clone() };
        let authorization = Authorization::by_user(&ctx, self.store.snapshot(), CONSENT, sign_in);
        let now = ctx.now;
        self.store
            .write(&authorization, |tx| {
                Box::pin(async move {
                    let snapshot = tx.snapshot();
                    let mut grants = snapshot.grants_of(tenant, client).iter();
                    let there = grants.find(|grant| grant.resource == resource && grant.user == Some(user));
                    let mut grant = match there {
                        Some(grant) => PermissionGrant::clone(grant),
                        None => PermissionGrant {
                            tenant,
                            id: random::uuid_v4(),
                            client,
                            user: Some(user),
                            resource,
                            scopes: Vec::new(),
                            created: now,
                        },
                    };
                    let before = grant.scopes.len();
                    for scope in scopes {
                        if !grant.scopes.contains(scope) {
                            grant.scopes.push(scope.clone());
                        }
                    }
                    if grant.scopes.len() == before {
                        return Ok(Write::Unchanged(()));
                    }
                    // The oldest give way: what a client still needs is asked again.
                    let over = grant.scopes.len().saturating_sub(MOST_SCOPES);
                    grant.scopes.drain(..over);
                    tx.put(&grant).await?;
                    let detail = serde_json::json!({ "client": client, "resource": resource, "scopes": scopes });
                    let target = format!("oauth2PermissionGrants/{}", grant.id);
                    Ok::<_, SignInError>(Write::commit(CONSENT, target, ()).detail(detail))
                })
            })
            .await
    }

    /// The device of a user code, as somebody types it: in any case, with or without its dash.
    ///
    /// # Errors
    /// [`SignInError::Locked`] when too many were tried from this address; [`SignInError::Over`] when there is none that can be
    /// decided; the store's.
    pub async fn device(&self, ctx: &Ctx, typed: &str) -> Result<UserCode, SignInError> {
        let admitted = self.guard.admit_user_code(ctx.address, ctx.now).map_err(SignInError::Locked)?;
        let kept = self.store.one_time::<UserCode>(&hash_of_user_code(typed)).await;
        admitted.end(match kept {
            Ok(Some(Kept { it, used: false })) if ctx.now < it.expires => Ok(it),
            Ok(_) => Err(SignInError::Over),
            Err(error) => Err(error.into()),
        })
    }

    /// A user decides about a device: once, whoever is first.
    ///
    /// # Errors
    /// [`SignInError::Over`] when it was decided, or its time is over; [`SignInError::Wrong`] when it is of another tenant than
    /// the user; the store's.
    pub async fn decide(
        &self,
        ctx: &Ctx,
        sign_in: &SignIn,
        device: &UserCode,
        approves: bool,
    ) -> Result<(), SignInError> {
        if !device.is_shared && device.tenant != sign_in.tenant {
            return Err(SignInError::Wrong);
        }
        let ctx = Ctx { tenant: device.tenant, ..ctx.clone() };
        let decision = DeviceDecision {
            id: random::uuid_v4(),
            tenant: device.tenant,
            hash: device.device.clone(),
            expires: device.expires,
            scope: device.scope.clone(),
            sign_in: approves.then(|| sign_in.clone()),
        };
        let authorization = Authorization::by_user(&ctx, self.store.snapshot(), DECIDE, sign_in);
        let (decision, device) = (&decision, &device);
        self.store
            .write(&authorization, |tx| {
                Box::pin(async move {
                    tx.redeem::<UserCode>(&device.hash).await?;
                    tx.issue(decision).await?;
                    let detail = serde_json::json!({ "client": device.client, "approved": approves });
                    let target = format!("users/{}/devices/{}", sign_in.user, device.id);
                    Ok::<_, SignInError>(Write::commit(DECIDE, target, ()).detail(detail))
                })
            })
            .await
    }
}
