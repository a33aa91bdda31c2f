//! How machines come in: join tokens, and enrolment with one.
//!
//! A join token is single use, lives minutes, and is kept only as a hash. The machine proves that it holds its node
//! key by signing the request; the key then stands in the directory as a key credential of the machine's
//! system-assigned identity, and from there on the agent is an ordinary OAuth client.
//!
//! What could go wrong, and what happens then:
//! - the token is raced: it is consumed inside the transaction that makes the machine, so one of them wins;
//! - the answer is lost: the agent asks again with the same token *and the same key*, and gets the same answer;
//! - the proof was made for another server or another token: its audience and its hash say so.
//!
//! Tests: `tests.rs` beside this file, and `tests/it`.

use denizen_keys::{Algorithm, SecretString, b64, hash, jws::Unverified, random, x509::Certificate};
use denizen_wire::{
    ClientId, PrincipalId, ResourceId, TenantId, UnixTime,
    node::{ENROL_PATH, EnrolClaims, EnrolRequest, Enrolled, MachineName, PROOF_LIFETIME},
};

use super::{
    ChangeError,
    access::{Access, Authorization, WrongAuthorization},
};
use crate::{
    domain::{
        Actor, Ctx,
        directory::{KeyCredential, PrincipalKind, ServicePrincipal},
        resources::{JoinToken, Machine},
    },
    store::{AuditEvent, OneTimeRefused, Store, StoreError, Write},
};

#[cfg(test)]
mod tests;

/// The resource type of a machine.
pub const MACHINES: &str = "Microsoft.HybridCompute/machines";
/// The action of making a join token.
const CREATE_JOIN_TOKEN: &str = "Denizen.Node/joinTokens/write";
/// The action of an enrolment.
const CONNECT: &str = "Microsoft.HybridCompute/machines/write";
/// The action of the schedule that removes them.
const FORGET_JOIN_TOKENS: &str = "Denizen.Node/joinTokens/delete";
/// A join token is known for this long after its end, seconds: whoever sends it is told that it has expired.
const KEEP_ENDED: i64 = 24 * 3600;
/// What a join token starts with, so that it can be told from other secrets when it turns up somewhere.
const TOKEN_PREFIX: &str = "dzj";
/// A join token's longest life, seconds.
pub const MAX_JOIN_TOKEN_LIFETIME: i64 = 24 * 3600;
/// Clocks may differ by this much, seconds.
const SKEW: i64 = 300;

/// Join tokens and enrolment.
#[derive(Clone)]
pub struct Machines {
    store: Store,
    access: Access,
    authority: String,
    other_authorities: Vec<String>,
}

/// Why a machine may not come in. The texts are for the operator at the agent: each names the rule and the fix.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// The request breaks a rule of form.
    #[error("{0}")]
    Malformed(String),
    /// The join token.
    #[error("the join token {0}; make a new one, it is good for one machine")]
    Token(OneTimeRefused),
    /// What the token lets into was removed.
    #[error("the join token's resource group is gone; make a new token in another one")]
    GroupGone,
    /// The token is bound to another name.
    #[error("the join token is bound to the machine name '{0}'; enrol under that name or make a token without one")]
    OtherName(String),
    /// The proof of possession.
    #[error("the proof of possession {0}; the agent makes one for each attempt, so check its clock and server URL")]
    Proof(&'static str),
    /// A machine of that name is there, with another key.
    #[error("a machine named '{0}' is connected already; disconnect it first or choose another name")]
    Exists(String),
    /// It was called with the authorization of another operation: our fault.
    #[error(transparent)]
    Authorization(#[from] WrongAuthorization),
    /// The store.
    #[error(transparent)]
    Store(StoreError),
}

impl From<StoreError> for EnrolError {
    fn from(error: StoreError) -> Self {
        if let StoreError::Refused(why) = error {
            Self::Token(why)
        } else if matches!(error, StoreError::NotAuthorized) {
            Self::GroupGone
        } else {
            Self::Store(error)
        }
    }
}

impl Machines {
    /// Creates the use cases of a store; `authority` is the base of the enrolment URL that proofs must name.
    pub fn new(store: Store, access: Access, authority: &str) -> Self {
        Self { store, access, authority: authority.to_owned(), other_authorities: Vec::new() }
    }

    /// Adds names by which machines also reach this server: an enrolment proof may be meant for any of them.
    #[must_use]
    pub fn with_other_authorities(self, others: &[String]) -> Self {
        Self { other_authorities: others.to_vec(), ..self }
    }

    /// Makes a join token for one machine in `resource_group`, good for `lifetime` seconds. It is returned here and
    /// kept nowhere.
    pub async fn create_join_token(
        &self,
        authorization: &Authorization,
        resource_group: &ResourceId,
        machine_name: Option<&str>,
        lifetime: i64,
    ) -> Result<SecretString, ChangeError> {
        if !(1..=MAX_JOIN_TOKEN_LIFETIME).contains(&lifetime) {
            return Err(ChangeError::Invalid(format!(
                "a join token lives 1 to {MAX_JOIN_TOKEN_LIFETIME} seconds, not {lifetime}"
            )));
        }
        authorization.check(CREATE_JOIN_TOKEN, authorization.tenant(), &[resource_group.canonical()])?;
        let (tenant, created) = (authorization.tenant(), authorization.now());
        let token = SecretString::from(format!("{TOKEN_PREFIX}.{}.{}", tenant.0.simple(), random::token(32).expose()));
        let record = &JoinToken {
            id: random::uuid_v4(),
            tenant,
            hash: hash::hex(&hash::sha256(token.expose().as_bytes())),
            resource_group: resource_group.clone(),
            machine_name: machine_name.map(str::to_owned),
            created,
            expires: created + lifetime,
        };
        self.store
            .write(authorization, |tx| {
                Box::pin(async move {
                    if tx.snapshot().resource_group(tenant, resource_group).is_none() {
                        return Err(ChangeError::Missing(format!("the resource group {resource_group}")));
                    }
                    tx.issue(record).await?;
                    Ok(Write::commit(CREATE_JOIN_TOKEN, resource_group.as_str().to_owned(), ()))
                })
            })
            .await?;
        Ok(token)
    }

    /// Removes the tenant's join tokens that ended a day ago, used or not; gives how many. For the server's schedule.
    ///
    /// # Errors
    /// The store's.
    pub async fn forget_ended_tokens(&self, authorization: &Authorization) -> Result<u64, ChangeError> {
        authorization.check(FORGET_JOIN_TOKENS, authorization.tenant(), &["/"])?;
        let before = authorization.now() - KEEP_ENDED;
        self.store
            .write(authorization, |tx| {
                Box::pin(async move {
                    Ok::<_, ChangeError>(match tx.forget_expired(before).await? {
                        0 => Write::Unchanged(0),
                        gone => Write::commit(FORGET_JOIN_TOKENS, authorization.tenant().to_string(), gone)
                            .detail(serde_json::json!({ "removed": gone })),
                    })
                })
            })
            .await
    }

    /// Enrols a machine. Refusals are audited too.
    ///
    /// `ctx` makes the context of the request in the tenant that the token names.
    ///
    /// # Errors
    /// Each names the rule that refused and what would satisfy it.
    pub async fn enrol(
        &self,
        request: &EnrolRequest,
        ctx: impl FnOnce(TenantId, Actor) -> Ctx,
    ) -> Result<Enrolled, EnrolError> {
        let tenant = tenant_of(&request.join_token)
            .filter(|tenant| self.store.snapshot().tenant(*tenant).is_some())
            .ok_or(EnrolError::Token(OneTimeRefused::Unknown))?;
        let ctx = ctx(tenant, Actor::Anonymous);
        let outcome = self.admit(&ctx, request).await;
        if let Err(refused) = &outcome
            && !matches!(refused, EnrolError::Store(_))
        {
            // The name is whatever a stranger sent: the audit takes no more of it than a name can have.
            let name: String = request.machine_name.chars().take(MachineName::MAX_LENGTH).collect();
            self.store.note(&ctx, &AuditEvent::refused(CONNECT, name, refused.to_string()));
        }
        outcome
    }

    async fn admit(&self, ctx: &Ctx, request: &EnrolRequest) -> Result<Enrolled, EnrolError> {
        let name: MachineName =
            request.machine_name.parse().map_err(|error| EnrolError::Malformed(format!("'machineName': {error}")))?;
        let token_hash = hash::hex(&hash::sha256(request.join_token.as_bytes()));
        let token_hash = token_hash.as_str();
        let certificate = b64::decode_lax(&request.certificate)
            .ok_or_else(|| EnrolError::Malformed("'certificate' is not base64".into()))
            .and_then(|der| {
                Certificate::from_der(&der).map_err(|e| EnrolError::Malformed(format!("'certificate': {e}")))
            })?;
        self.check_proof(ctx, request, &certificate, token_hash)?;

        let (authorization, token) = &self.access.enrolment(ctx, token_hash, CONNECT).await?;
        if let Some(bound) = &token.machine_name
            && *bound != request.machine_name
        {
            return Err(EnrolError::OtherName(bound.clone()));
        }
        let id = &machine_id(token, name.as_str())?;
        authorization.check(CONNECT, ctx.tenant, &[id.canonical()])?;
        let principal = &ServicePrincipal {
            tenant: ctx.tenant,
            id: PrincipalId(random::uuid_v4()),
            client_id: ClientId(random::uuid_v4()),
            display_name: request.machine_name.clone(),
            kind: PrincipalKind::ManagedIdentity { resource_id: id.clone() },
            enabled: true,
            epoch: 0,
            keys: vec![key_credential(&certificate)?],
            token_lifetime: None,
        };
        let machine_id = random::uuid_v4();
        match self
            .store
            .write(authorization, |tx| {
                Box::pin(async move {
                    // First, so that of any number of requests with one token, one goes on.
                    tx.redeem::<JoinToken>(token_hash).await?;
                    let snapshot = tx.snapshot();
                    if snapshot.machine(ctx.tenant, id).is_some() {
                        return Err(EnrolError::Exists(request.machine_name.clone()));
                    }
                    let group = snapshot.resource_group(ctx.tenant, &token.resource_group);
                    let machine = Machine {
                        tenant: ctx.tenant,
                        id: id.clone(),
                        machine_id,
                        principal_id: principal.id,
                        location: group.map_or_else(String::new, |group| group.location.clone()),
                        facts: request.machine.clone(),
                        created: ctx.now,
                    };
                    tx.insert(principal).await?;
                    tx.insert(&machine).await?;
                    Ok(Write::commit(CONNECT, machine.id.as_str().to_owned(), machine))
                })
            })
            .await
        {
            Ok(machine) => Ok(self.enrolled(&machine, principal)),
            Err(EnrolError::Token(OneTimeRefused::Used)) => self.repeated(ctx, token_hash, request, &certificate).await,
            Err(refused) => Err(refused),
        }
    }

    /// The same machine asks again because it never saw the answer: same token, same name, same key.
    async fn repeated(
        &self,
        ctx: &Ctx,
        token_hash: &str,
        request: &EnrolRequest,
        certificate: &Certificate,
    ) -> Result<Enrolled, EnrolError> {
        let used = EnrolError::Token(OneTimeRefused::Used);
        let Some(token) = self.store.one_time::<JoinToken>(token_hash).await.map_err(EnrolError::Store)? else {
            return Err(used);
        };
        let snapshot = self.store.snapshot();
        let id = machine_id(&token, &request.machine_name)?;
        let same_key = |principal: &&std::sync::Arc<ServicePrincipal>| {
            principal.keys.iter().any(|key| key.x5t_s256 == certificate.thumbprint_sha256())
        };
        snapshot
            .machine(ctx.tenant, &id)
            .and_then(|machine| Some((machine, snapshot.principal(ctx.tenant, machine.principal_id).filter(same_key)?)))
            .map(|(machine, principal)| self.enrolled(machine, principal))
            .ok_or(used)
    }

    fn check_proof(
        &self,
        ctx: &Ctx,
        request: &EnrolRequest,
        certificate: &Certificate,
        token_hash: &str,
    ) -> Result<(), EnrolError> {
        let public = certificate.public_key().map_err(|e| EnrolError::Malformed(format!("'certificate': {e}")))?;
        let claims: EnrolClaims = Unverified::parse(&request.proof, 16 * 1024)
            .and_then(|jws| jws.verify(&public, &[Algorithm::Rs256]))
            .map_err(|_| EnrolError::Proof("is not signed by the key it brings"))?
            .claims()
            .map_err(|_| EnrolError::Proof("has other claims than aud, join, name, iat, exp"))?;
        let ours = |authority: &String| claims.aud.strip_suffix(ENROL_PATH) == Some(authority);
        let refused = if !ours(&self.authority) && !self.other_authorities.iter().any(ours) {
            "was made for another server"
        } else if claims.join != token_hash {
            "was made for another join token"
        } else if claims.name != request.machine_name {
            "was made for another machine name"
        } else if claims.exp <= ctx.now.0 - SKEW || claims.iat > ctx.now.0 + SKEW {
            "is not fresh"
        } else if claims.exp.saturating_sub(claims.iat) > PROOF_LIFETIME {
            "lives too long"
        } else if certificate.not_after() <= ctx.now.0 || certificate.not_before() > ctx.now.0 + SKEW {
            "comes with a certificate that is not valid now"
        } else {
            return Ok(());
        };
        Err(EnrolError::Proof(refused))
    }

    fn enrolled(&self, machine: &Machine, principal: &ServicePrincipal) -> Enrolled {
        Enrolled {
            tenant_id: machine.tenant,
            resource_id: machine.id.clone(),
            client_id: principal.client_id,
            principal_id: principal.id,
            token_endpoint: format!("{}/{}/oauth2/v2.0/token", self.authority, machine.tenant),
            machine_id: machine.machine_id,
            location: machine.location.clone(),
            other: serde_json::Map::new(),
        }
    }
}

fn machine_id(token: &JoinToken, name: &str) -> Result<ResourceId, EnrolError> {
    token.resource_group.provider(MACHINES, name).map_err(|e| EnrolError::Malformed(format!("'machineName': {e}")))
}

fn tenant_of(join_token: &str) -> Option<TenantId> {
    let mut parts = join_token.split('.');
    let (prefix, tenant, secret) = (parts.next()?, parts.next()?, parts.next()?);
    let whole = prefix == TOKEN_PREFIX && !secret.is_empty() && parts.next().is_none() && join_token.len() <= 256;
    (whole && tenant.len() == 32).then(|| uuid::Uuid::try_parse(tenant).ok().map(TenantId)).flatten()
}

fn key_credential(certificate: &Certificate) -> Result<KeyCredential, EnrolError> {
    let public = certificate.public_key().map_err(|e| EnrolError::Malformed(format!("'certificate': {e}")))?;
    Ok(KeyCredential {
        key_id: random::uuid_v4(),
        display_name: "node key".into(),
        start: UnixTime(certificate.not_before()),
        end: UnixTime(certificate.not_after()),
        x5t: certificate.thumbprint_sha1(),
        x5t_s256: certificate.thumbprint_sha256(),
        n: hash::hex(public.n()),
        e: hash::hex(public.e()),
    })
}
