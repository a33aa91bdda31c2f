//! How machines come in: join tokens, and enrolment with one.
//!
//! A join token is single use, lives minutes, and is kept only as a hash. The machine proves that it holds its node
//! key by signing the request; the key then stands in the directory as a key credential of the machine's
//! system-assigned identity, and from there on the agent is an ordinary OAuth client.
//!
//! What could go wrong, and what happens then:
//! - the token is raced: it is consumed inside the transaction that makes the machine, so one of them wins;
//! - the answer is lost: the agent asks again with the same token *and the same key*, and gets the same answer;
//! - the agent is killed before it has kept the answer, and comes back with a new token: enrolment is idempotent by key,
//!   so the machine of that name and key gets the identity it has. If its certificate was made anew, that one is registered;
//! - the proof was made for another server or another token: its audience and its hash say so.
//!
//! Tests: `tests.rs` beside this file, and `tests/it`.

use denizen_keys::{
    Algorithm, JwsError, RsaPublic, SecretString, b64, hash, jws::Unverified, random, x509::Certificate,
};
use denizen_wire::{
    Causes, ClientId, PrincipalId, ResourceId, TenantId, UnixTime,
    node::{ENROL_PATH, EnrolClaims, EnrolRequest, Enrolled, MachineName, PROOF_LIFETIME},
};

use super::{
    ChangeError,
    access::{Access, Authorization, Enrolment, WrongAuthorization},
    strangers::{Reason, Strangers},
};
use crate::{
    domain::{
        Ctx,
        directory::{KeyCredential, PrincipalKind, ServicePrincipal},
        resources::{JoinToken, Machine},
    },
    store::{AuditEvent, OneTimeRefused, Outcome, Store, StoreError, Tx, Write},
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
    #[error(transparent)]
    Proof(ProofFault),
    /// A machine of that name is there, with another key.
    #[error("a machine named '{0}' is connected already; disconnect it first or choose another name")]
    Exists(String),
    /// It was called with the authorization of another operation: our fault.
    #[error(transparent)]
    Authorization(#[from] WrongAuthorization),
    /// The store, before it has said whether there is such a token.
    #[error("the join token cannot be looked up")]
    Unread(#[source] StoreError),
    /// The store.
    #[error(transparent)]
    Store(StoreError),
}

/// What is wrong with a proof of possession.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the proof of possession {rule}; the agent makes one for each attempt, so check its clock and server URL")]
pub struct ProofFault {
    rule: &'static str,
    /// Why it cannot be read.
    #[source]
    cause: Option<JwsError>,
}

impl EnrolError {
    /// Why somebody was refused who holds no join token; none for everybody else, whose refusal is recorded.
    pub fn of_a_stranger(&self) -> Option<Reason> {
        match self {
            Self::Token(OneTimeRefused::Unknown) => Some(Reason::JoinToken),
            Self::Token(OneTimeRefused::Expired) => Some(Reason::JoinTokenEnded),
            Self::Unread(_) => Some(Reason::JoinTokenUnread),
            Self::Token(OneTimeRefused::Used)
            | Self::Malformed(_)
            | Self::GroupGone
            | Self::OtherName(_)
            | Self::Proof(_)
            | Self::Exists(_)
            | Self::Authorization(_)
            | Self::Store(_) => None,
        }
    }
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

    /// What is kept of requests that proved nothing.
    pub fn strangers(&self) -> &Strangers {
        self.access.strangers()
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

    /// Removes what is consumed once, of the tenant, and ended a day ago, used or not; gives how many. For the server's schedule.
    /// A few hundred in a transaction, so that writers wait for no more than that.
    ///
    /// # Errors
    /// The store's; those of the transactions before are removed.
    pub async fn forget_ended_tokens(&self, authorization: &Authorization) -> Result<u64, ChangeError> {
        authorization.check(FORGET_JOIN_TOKENS, authorization.tenant(), &["/"])?;
        let before = authorization.now() - KEEP_ENDED;
        let mut all = 0;
        loop {
            let gone = self.forget_some(authorization, before).await?;
            all += gone;
            if gone < Tx::FORGOTTEN_AT_ONCE.unsigned_abs() {
                return Ok(all);
            }
        }
    }

    async fn forget_some(&self, authorization: &Authorization, before: UnixTime) -> Result<u64, ChangeError> {
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

    /// Enrols a machine. A machine that is enrolled already under the same name, by the same key, gets the identity that
    /// it has. What is refused to the holder of a join token is recorded; [`EnrolError::of_a_stranger`] tells the rest.
    ///
    /// `ctx` makes the context of the request in the tenant that the token names.
    ///
    /// # Errors
    /// Each names the rule that refused and what would satisfy it.
    pub async fn enrol(
        &self,
        request: &EnrolRequest,
        ctx: impl FnOnce(TenantId) -> Ctx,
    ) -> Result<Enrolled, EnrolError> {
        let tenant = tenant_of(&request.join_token)
            .filter(|tenant| self.store.snapshot().tenant(*tenant).is_some())
            .ok_or(EnrolError::Token(OneTimeRefused::Unknown))?;
        // First: whoever has no token is told so before anything is computed for him.
        let token_hash = hash::hex(&hash::sha256(request.join_token.as_bytes()));
        let enrolment = self.access.enrolment(&ctx(tenant), &token_hash, CONNECT).await;
        let enrolment = enrolment.map_err(|error| {
            if let StoreError::Refused(why) = error { EnrolError::Token(why) } else { EnrolError::Unread(error) }
        })?;
        let outcome = self.admit(&enrolment, &token_hash, request).await;
        if let Err(refused) = &outcome {
            let event = match refused {
                // The write path has recorded it.
                EnrolError::GroupGone => return outcome,
                EnrolError::Store(_) | EnrolError::Unread(_) | EnrolError::Authorization(_) => Outcome::Failed,
                EnrolError::Malformed(_)
                | EnrolError::Token(_)
                | EnrolError::OtherName(_)
                | EnrolError::Proof(_)
                | EnrolError::Exists(_) => Outcome::Refused,
            };
            // The name is whatever was sent: the audit takes no more of it than a name can have.
            let name: String = request.machine_name.chars().take(MachineName::MAX_LENGTH).collect();
            let because = Causes(refused).to_string();
            self.store.note(&enrolment.authorization, &AuditEvent::new(CONNECT, event, name, because));
        }
        outcome
    }

    /// From what is cheap to what is not: forms, the token's own rules, the signature, the transaction.
    async fn admit(
        &self,
        enrolment: &Enrolment,
        token_hash: &str,
        request: &EnrolRequest,
    ) -> Result<Enrolled, EnrolError> {
        let Enrolment { authorization, token, used } = enrolment;
        let ctx = authorization.ctx();
        let name: MachineName =
            request.machine_name.parse().map_err(|error| EnrolError::Malformed(format!("'machineName': {error}")))?;
        if let Some(bound) = &token.machine_name
            && *bound != request.machine_name
        {
            return Err(EnrolError::OtherName(bound.clone()));
        }
        let id = &machine_id(token, name.as_str())?;
        authorization.check(CONNECT, ctx.tenant, &[id.canonical()])?;
        let certificate = b64::decode_lax(&request.certificate)
            .ok_or_else(|| EnrolError::Malformed("'certificate' is not base64".into()))
            .and_then(|der| {
                Certificate::from_der(&der).map_err(|e| EnrolError::Malformed(format!("'certificate': {e}")))
            })?;
        let public = certificate.public_key().map_err(|e| EnrolError::Malformed(format!("'certificate': {e}")))?;
        let key = &key_credential(&certificate, &public);
        if *used {
            let enrolled = self.answered_before(ctx, id, key).await?;
            self.check_proof(ctx, request, &certificate, &public, token_hash)?;
            return Ok(enrolled);
        }
        self.check_proof(ctx, request, &certificate, &public, token_hash)?;
        let new = &ServicePrincipal {
            tenant: ctx.tenant,
            id: PrincipalId(random::uuid_v4()),
            client_id: ClientId(random::uuid_v4()),
            display_name: request.machine_name.clone(),
            kind: PrincipalKind::ManagedIdentity { resource_id: id.clone() },
            enabled: true,
            epoch: 0,
            keys: vec![key.clone()],
            token_lifetime: None,
            federated: Vec::new(),
        };
        let machine_id = random::uuid_v4();
        let written = self.store.write(authorization, |tx| {
            Box::pin(async move {
                // First, so that of any number of requests with one token, one goes on.
                tx.redeem::<JoinToken>(token_hash).await?;
                if let Some(machine) = tx.record::<Machine>(id).await? {
                    let principal = tx.record::<ServicePrincipal>(&machine.principal_id).await?;
                    let mut principal = principal
                        .filter(|principal| principal.keys.iter().any(|kept| is_same_key(kept, key)))
                        .ok_or_else(|| EnrolError::Exists(request.machine_name.clone()))?;
                    if !principal.keys.iter().any(|kept| kept.x5t_s256 == key.x5t_s256) {
                        // The machine has made a new certificate of its key, and its assertions name that one.
                        principal.keys.retain(|kept| !is_same_key(kept, key));
                        principal.keys.push(key.clone());
                        tx.put(&principal).await?;
                    }
                    let target = machine.id.as_str().to_owned();
                    let same = (machine, principal);
                    let detail = serde_json::json!({ "repeated": true, "x5t#S256": b64::url(&key.x5t_s256) });
                    return Ok(Write::commit(CONNECT, target, same).detail(detail));
                }
                let snapshot = tx.snapshot();
                let group = snapshot.resource_group(ctx.tenant, &token.resource_group);
                let machine = Machine {
                    tenant: ctx.tenant,
                    id: id.clone(),
                    machine_id,
                    principal_id: new.id,
                    location: group.map_or_else(String::new, |group| group.location.clone()),
                    facts: request.machine.clone(),
                    created: ctx.now,
                };
                tx.insert(new).await?;
                tx.insert(&machine).await?;
                Ok(Write::commit(CONNECT, machine.id.as_str().to_owned(), (machine, new.clone())))
            })
        });
        match written.await {
            Ok((machine, principal)) => Ok(self.enrolled(&machine, &principal)),
            // By another request since the token was read.
            Err(EnrolError::Token(OneTimeRefused::Used)) => self.answered_before(ctx, id, key).await,
            Err(refused) => Err(refused),
        }
    }

    /// What the machine of this name was answered, when it has this key and this certificate: it asks again because it
    /// never saw the answer. Nobody else's used token says anything.
    async fn answered_before(&self, ctx: &Ctx, id: &ResourceId, key: &KeyCredential) -> Result<Enrolled, EnrolError> {
        let used = EnrolError::Token(OneTimeRefused::Used);
        let Some(machine) = self.store.record::<Machine>(ctx, id).await? else { return Err(used) };
        let principal = self.store.record::<ServicePrincipal>(ctx, &machine.principal_id).await?;
        let has_both = |kept: &KeyCredential| is_same_key(kept, key) && kept.x5t_s256 == key.x5t_s256;
        match principal {
            Some(principal) if principal.keys.iter().any(has_both) => Ok(self.enrolled(&machine, &principal)),
            Some(_) | None => Err(used),
        }
    }

    fn check_proof(
        &self,
        ctx: &Ctx,
        request: &EnrolRequest,
        certificate: &Certificate,
        public: &RsaPublic,
        token_hash: &str,
    ) -> Result<(), EnrolError> {
        let refused = |rule| move |error| EnrolError::Proof(ProofFault { rule, cause: Some(error) });
        let claims: EnrolClaims = Unverified::parse(&request.proof, 16 * 1024)
            .and_then(|jws| jws.verify(public, &[Algorithm::Rs256]))
            .map_err(refused("is not signed by the key it brings"))?
            .claims()
            .map_err(refused("has other claims than aud, join, name, iat, exp"))?;
        let ours = |authority: &String| claims.aud.strip_suffix(ENROL_PATH) == Some(authority);
        let (from, to) = (UnixTime(claims.iat), UnixTime(claims.exp));
        let rule = if !ours(&self.authority) && !self.other_authorities.iter().any(ours) {
            "was made for another server"
        } else if claims.join != token_hash {
            "was made for another join token"
        } else if claims.name != request.machine_name {
            "was made for another machine name"
        } else if to <= ctx.now - SKEW || from > ctx.now + SKEW {
            "is not fresh"
        } else if to.since(from) > PROOF_LIFETIME {
            "lives too long"
        } else if certificate.not_after() <= ctx.now.0 || certificate.not_before() > ctx.now.0 + SKEW {
            "comes with a certificate that is not valid now"
        } else {
            return Ok(());
        };
        Err(EnrolError::Proof(ProofFault { rule, cause: None }))
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

fn key_credential(certificate: &Certificate, public: &RsaPublic) -> KeyCredential {
    KeyCredential {
        key_id: random::uuid_v4(),
        display_name: "node key".into(),
        start: UnixTime(certificate.not_before()),
        end: UnixTime(certificate.not_after()),
        x5t: certificate.thumbprint_sha1(),
        x5t_s256: certificate.thumbprint_sha256(),
        n: hash::hex(public.n()),
        e: hash::hex(public.e()),
    }
}

/// Whether two credentials are of one key, in whatever certificates.
fn is_same_key(one: &KeyCredential, other: &KeyCredential) -> bool {
    one.n == other.n && one.e == other.e
}
