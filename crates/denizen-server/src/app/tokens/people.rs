//! What every grant that stands for a user ends in: the user as it is now, what the client may do for it, and its tokens.
//!
//! The user and what was consented to are looked up each time, whatever the code or the refresh token says: what was taken
//! away since is not given. Tests: `http/sts/tests/people.rs`.

use denizen_keys::random;
use denizen_wire::{PrincipalId, UnixTime};

use super::{
    Asking, At, GrantFault, Issued, IssuedForUser, NewAccessToken, TokenError, TokenService, Unrecorded, claimed, error,
};
use crate::{
    app::access::{Known, USER_IMPERSONATION},
    domain::{
        Actor, Ctx,
        claims::{self, Audience, IssuedBy, NewIdToken, Subject, audience},
        directory::{Application, SigningAlgorithm, TokenVersion},
        lifetimes,
        people::User,
        scopes::{DEFAULT, Scopes},
        sign_in::SignIn,
    },
};

/// What a grant stands for.
pub(super) struct ForUser<'s> {
    pub(super) sign_in: &'s SignIn,
    pub(super) scopes: &'s Scopes,
    /// Goes into the id token.
    pub(super) nonce: Option<String>,
    /// Which grant it was, for the audit.
    pub(super) grant: &'static str,
}

/// The tokens of one, signed and not handed out yet.
pub(super) struct Made {
    access_token: Unrecorded,
    id_token: Option<String>,
    scope: String,
    user: PrincipalId,
}

/// What was decided of one: nothing is kept or signed before.
pub(super) struct Decided {
    user: User,
    audience: Audience,
    /// What the client may do, by spaces.
    scp: String,
    roles: Vec<String>,
}

impl TokenService {
    /// Decides what a grant gives now.
    pub(super) async fn decide(
        &self,
        at: &At<'_>,
        asking: &Asking<'_>,
        of: &ForUser<'_>,
    ) -> Result<Decided, TokenError> {
        let (tenant, ForUser { sign_in, scopes, .. }) = (at.tenant.id, of);
        if sign_in.tenant != tenant {
            return Err(GrantFault::OtherTenant.into());
        }
        let hot = at.snapshot.user(tenant, sign_in.user).ok_or(GrantFault::UserGone)?;
        if !hot.enabled {
            return Err(GrantFault::UserDisabled.into());
        }
        hot.accepts(sign_in.epoch).map_err(|_| GrantFault::Revoked("the user's sessions were revoked"))?;
        let audience = self.audience(at.snapshot, at.tenant, &scopes.resource)?;
        let roles = claimed::roles(at.snapshot, tenant, sign_in.user, &audience);
        if !roles.is_let_in {
            return Err(GrantFault::NotAssigned(audience.asked).into());
        }
        let scp = permitted(at, asking, sign_in.user, &audience, scopes)?;
        let user = self.store.record::<User>(at.ctx, &sign_in.user).await.map_err(TokenError::Unkept)?;
        let user = user.ok_or(GrantFault::UserGone)?;
        // The record may be newer than what was decided by.
        if !user.enabled {
            return Err(GrantFault::UserDisabled.into());
        }
        if user.epoch > sign_in.epoch {
            return Err(GrantFault::Revoked("the user's sessions were revoked").into());
        }
        if asking.by.is_none() {
            self.admit(at, asking.id, Some(user.id))?;
        }
        Ok(Decided { user, audience, scp, roles: roles.values })
    }

    /// Signs the tokens of what was decided. Before what they are given for is spent: when a key cannot sign, the client can
    /// ask again.
    pub(super) async fn make(
        &self,
        at: &At<'_>,
        asking: &Asking<'_>,
        of: &ForUser<'_>,
        decided: Decided,
    ) -> Result<Made, TokenError> {
        let Decided { user, audience, scp, roles } = decided;
        let (sign_in, scopes, tenant) = (of.sign_in, of.scopes, at.tenant.id);
        let id_token = match scopes.openid {
            true => Some(self.id_token(at, asking, of, &user).await?),
            false => None,
        };
        let directory_roles = claimed::directory_roles(at.snapshot, self.access.roles(), tenant, user.id);
        let subject =
            Subject::User { user: &user, sign_in, client: asking.id, scp: &scp, directory_roles: &directory_roles };
        let groups = self.groups(at, user.id, &audience);
        let lifetime = lifetimes::of_user(u32::from_le_bytes(random::bytes()));
        let because = format!("{} of session {}", of.grant, sign_in.session);
        let scope = granted(&scp, scopes);
        let new = NewAccessToken { subject, audience, roles, groups, lifetime, because, by: asking.by.as_ref() };
        let access_token = self.sign(at, new, asking.proof()).await?;
        Ok(Made { access_token, id_token, scope, user: user.id })
    }

    /// Records what was made, and hands it out with the refresh token that was kept.
    pub(super) fn give(
        &self,
        at: &At<'_>,
        asking: &Asking<'_>,
        made: Made,
        refresh_token: Option<String>,
    ) -> Result<Issued, TokenError> {
        let Made { access_token, id_token, scope, user } = made;
        let issued = self.record(&known(at.ctx, asking, user), access_token)?;
        let of_user = IssuedForUser { scope, refresh_token, id_token, id: user, tenant: at.tenant.id };
        Ok(Issued { user: Some(of_user), ..issued })
    }

    async fn id_token(
        &self,
        at: &At<'_>,
        asking: &Asking<'_>,
        of: &ForUser<'_>,
        user: &User,
    ) -> Result<String, TokenError> {
        let (tenant, version, now) = (at.tenant.id, at.wishes.endpoint, at.ctx.now);
        let itself = Audience {
            asked: asking.id.to_string(),
            application: Some(asking.id),
            version,
            algorithm: SigningAlgorithm::Rs256,
            issued_by: IssuedBy::Us,
        };
        let claims = claims::id_token(&NewIdToken {
            authority: &self.authority,
            version,
            client: asking.id,
            user,
            sign_in: of.sign_in,
            nonce: of.nonce.clone(),
            email: of.scopes.email,
            roles: claimed::roles(at.snapshot, tenant, user.id, &itself).values,
            groups: self.groups(at, user.id, &itself),
            now,
            uti: random::bytes(),
        });
        let json = serde_json::to_string(&claims).map_err(TokenError::Unwritten)?;
        let keys = self.keys.keys(at.snapshot, tenant).map_err(TokenError::Signing)?;
        // Clients read id tokens by RS256, whatever a resource reads.
        let signed = self.keys.sign(&keys, json, TokenVersion::V2, SigningAlgorithm::Rs256, now).await;
        Ok(signed.map_err(TokenError::Signing)?.token)
    }
}

/// Who is accountable: the user, by this client. The code or the refresh token has proved it.
fn known(ctx: &Ctx, asking: &Asking<'_>, user: PrincipalId) -> Known {
    Known::proved(ctx.by(Actor::Principal { id: user, client: asking.id }))
}

/// What the client may do of what it asks for, by spaces.
fn permitted(
    at: &At<'_>,
    asking: &Asking<'_>,
    user: PrincipalId,
    audience_of: &Audience,
    scopes: &Scopes,
) -> Result<String, error::GrantFault> {
    let named = |permission: &&String| *permission != DEFAULT;
    let application = audience_of.application.and_then(|id| at.snapshot.application(at.tenant.id, id));
    let Some(application) = application else {
        // Who asks for an id token alone gets an access token that opens nothing.
        if scopes.permissions.is_empty() {
            return Ok("openid profile".to_owned());
        }
        // A resource of Azure's has no permissions of its own here: everything, as far as the user's roles go, or what
        // the client has named, which is less.
        let asked: Vec<&str> = match scopes.is_default() {
            true => vec![USER_IMPERSONATION],
            false => scopes.permissions.iter().filter(named).map(String::as_str).collect(),
        };
        // A tool that every tenant has, and that this one has not registered otherwise, acts as its user.
        if let Some(client) = asking.client {
            let id = audience::consent_id(&audience_of.asked);
            let grants: Vec<_> = at.snapshot.granted_to(at.tenant.id, client.principal.id, user, id).collect();
            let is_granted = |asked: &&str| grants.iter().any(|grant| grant.scopes.iter().any(|it| it == asked));
            if !asked.iter().all(is_granted) {
                return Err(GrantFault::Consent { client: asking.id, resource: audience_of.asked.clone() });
            }
        }
        return Ok(asked.join(" "));
    };
    let consented = consented(at, asking, user, application);
    let asked: Vec<&String> = scopes.permissions.iter().filter(named).collect();
    let missing = || GrantFault::Consent { client: asking.id, resource: audience_of.asked.clone() };
    if scopes.permissions.is_empty() {
        return Ok("openid profile".to_owned());
    }
    if asked.iter().any(|permission| !consented.contains(&permission.as_str())) || consented.is_empty() {
        return Err(missing());
    }
    match scopes.is_default() {
        true => Ok(consented.join(" ")),
        false => Ok(asked.iter().map(|permission| permission.as_str()).collect::<Vec<_>>().join(" ")),
    }
}

/// The permissions of an application that a client may use for a user.
fn consented<'s>(at: &At<'s>, asking: &Asking<'s>, user: PrincipalId, application: &'s Application) -> Vec<&'s str> {
    let enabled = application.scopes.iter().filter(|scope| scope.enabled).map(|scope| scope.value.as_str());
    // Whoever asks for itself has nobody to ask.
    if asking.id == application.client_id {
        return enabled.collect();
    }
    let tenant = at.tenant.id;
    let (Some(client), Some(resource)) =
        (asking.client, at.snapshot.principal_of_client(tenant, application.client_id))
    else {
        return Vec::new();
    };
    let grants: Vec<_> = at.snapshot.granted_to(tenant, client.principal.id, user, resource.id).collect();
    enabled.filter(|value| grants.iter().any(|grant| grant.scopes.iter().any(|it| it == value))).collect()
}

/// What was granted, as clients look tokens up by it: the permissions with their resource, what was asked for with `.default`,
/// and OpenID Connect's own.
fn granted(scp: &str, scopes: &Scopes) -> String {
    let mut text = Vec::new();
    if !scopes.permissions.is_empty() {
        text.extend(scp.split(' ').map(|permission| scopes.spelt(permission)));
    }
    if scopes.is_default() {
        text.push(scopes.spelt(DEFAULT));
    }
    for (is_asked, name) in [
        (scopes.openid, "openid"),
        (scopes.openid || scopes.profile, "profile"),
        (scopes.email, "email"),
        (scopes.offline, "offline_access"),
    ] {
        if is_asked {
            text.push(name.to_owned());
        }
    }
    text.join(" ")
}

/// Whether `asked` was asked for with what this one is for: a code or a refresh token may be used for less or for another
/// resource, and an id token and a refresh token come of it where either request asks for them.
pub(super) fn of_first_request(first: &str, asked: Option<&Scopes>) -> Result<Scopes, GrantFault> {
    // It was read when it was made.
    let first = Scopes::parse(first).map_err(|_| GrantFault::UnknownCode)?;
    Ok(match asked {
        None => first,
        Some(asked) => {
            // MSAL Go asks for a refresh token only here.
            let (openid, offline) = (first.openid || asked.openid, first.offline || asked.offline);
            Scopes { openid, email: first.email, offline, ..asked.clone() }
        }
    })
}

/// When one that was made now ends.
pub(super) fn ends(now: UnixTime, lifetime: i64) -> UnixTime {
    now + lifetime
}
