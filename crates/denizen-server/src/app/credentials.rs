//! Whether a client is who it says: by a secret, or by an assertion signed with a key it holds.
//!
//! A client that returns costs next to nothing: what has been verified is cached under a digest of what was presented.
//! Each cache hit is checked against the directory and the time as they are now, so removing a credential or disabling
//! a principal takes effect at once.
//!
//! | cached | under | costs once | costs then |
//! |---|---|---|---|
//! | a secret | HMAC-SHA256 with a key of this process | argon2id, tens of milliseconds, off the runtime, few at a time | one HMAC |
//! | an assertion | its SHA-256 | one RSA verification | one SHA-256 |
//!
//! Tests: `tests.rs` beside this file.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use denizen_keys::{
    JwsError, RsaPublic, SecretString,
    hash::{hmac_sha256, sha256, unhex},
    jws::LaxAssertion,
    password, random,
};
use denizen_wire::{ClientId, TenantId, UnixTime};
use moka::sync::Cache;
use tokio::sync::Semaphore;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::domain::{
    assertion::{self, Expected, Reason, Validity},
    claims::ClientAuthMethod,
    directory::{Application, KeyCredential, ServicePrincipal, Tenant},
};

#[cfg(test)]
mod tests;

/// Hashes computed at a time: each takes 19 MiB and a processor.
const HASHING: usize = 2;
/// A request waits this long for its turn to be hashed.
const HASHING_TIMEOUT: Duration = Duration::from_secs(5);
/// How many secrets and assertions are cached.
const CACHE_ENTRIES: u64 = 65_536;
/// For how long at most.
const CACHE_LIFETIME: Duration = Duration::from_secs(3600);

/// Verifies clients' credentials.
pub struct Credentials {
    hashing: Arc<Semaphore>,
    /// What an unknown client's secret is compared with, so that it takes as long as a known one's.
    decoy: Arc<str>,
    secret_key: Zeroizing<[u8; 32]>,
    secrets: Cache<[u8; 32], VerifiedSecret>,
    assertions: Cache<[u8; 32], VerifiedAssertion>,
    verified: AtomicU64,
}

/// A client as the directory has it.
#[derive(Clone, Copy)]
pub struct Client<'a> {
    /// Its tenant.
    pub tenant: &'a Tenant,
    /// Its identity.
    pub principal: &'a ServicePrincipal,
    /// Its registration; a managed identity has none.
    pub application: Option<&'a Application>,
}

/// A client that has proved itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthenticatedClient {
    /// How.
    pub proof: ClientAuthMethod,
    /// With which credential.
    pub credential: Uuid,
}

/// Why a credential proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// The secret is none of the client's.
    #[error(
        "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID."
    )]
    WrongSecret,
    /// It was once.
    #[error("The provided client secret keys are expired: this one ended at {}. Make a new secret and give it to the program.", .0.rfc3339())]
    SecretExpired(UnixTime),
    /// Too many secrets are being verified.
    #[error("The service is verifying as many client secrets as it can; ask again in a second.")]
    Busy,
    /// The assertion is not a signed token of an accepted form.
    #[error("Invalid JWT token: {0}. Send a compact JWT signed with RS256 or PS256.")]
    Malformed(JwsError),
    /// The signature is none of the client's.
    #[error("{}", .0.text())]
    Key(KeyReason),
    /// The claims.
    #[error("{}", claims_text(.0))]
    Claims(Reason),
}

/// What is wrong with the key an assertion was signed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyReason {
    /// The header names no certificate.
    NoThumbprint,
    /// No certificate of that thumbprint is registered; in hexadecimal.
    Unknown(String),
    /// The certificate is not valid now.
    OutsideValidity(UnixTime, UnixTime),
    /// The signature is not by the certificate it names.
    Signature,
}

impl CredentialError {
    /// The number that Entra gives this reason, by which people search.
    pub fn code(&self) -> i32 {
        match self {
            Self::WrongSecret => 7_000_215,
            Self::SecretExpired(_) => 7_000_222,
            Self::Busy => 90_033,
            Self::Malformed(_) => 50_027,
            Self::Key(_) => 700_027,
            Self::Claims(reason) => reason.code(),
        }
    }
}

impl KeyReason {
    fn text(&self) -> String {
        match self {
            Self::NoThumbprint => {
                "The client assertion names no certificate: put x5t#S256 (or x5t) into its header.".to_owned()
            }
            Self::Unknown(thumbprint) => format!(
                "The certificate with identifier used to sign the client assertion is not registered on application. \
                 [Reason - The key was not found., Thumbprint of key used by client: '{thumbprint}'] Register that \
                 certificate on the client, or sign with the one that is."
            ),
            Self::OutsideValidity(start, end) => format!(
                "Client assertion contains an invalid signature. [Reason - The key used is expired: it is valid from \
                 {} to {}.] Register a new certificate and sign with it.",
                start.rfc3339(),
                end.rfc3339()
            ),
            Self::Signature => "Client assertion contains an invalid signature. [Reason - The key was found, but use \
                 of the key to verify the signature failed.] Sign with the private key of the certificate that the \
                 header names."
                .to_owned(),
        }
    }
}

fn claims_text(reason: &Reason) -> String {
    match reason {
        Reason::Claim(..) => format!("Invalid JWT token: {reason}."),
        Reason::Issuer(issuer) => format!(
            "No matching federated identity record found for presented assertion issuer '{issuer}'. A client that \
             signs with its own certificate is its own issuer: set iss and sub to the client id."
        ),
        Reason::Subject => "Client assertion application identifier doesn't match 'client_id' parameter. Set iss and \
             sub to the client id."
            .to_owned(),
        Reason::Audience => "Client assertion audience claim does not match Realm issuer. Set aud to this tenant's \
             token endpoint, as its OpenID configuration names it."
            .to_owned(),
        Reason::NotYet { from: when, now } | Reason::Ended { until: when, now } => format!(
            "Client assertion is not within its valid time range: {} {}, and the service's time is {}. Make a new \
             assertion, and check the clock of the client.",
            if matches!(reason, Reason::NotYet { .. }) { "it begins at" } else { "it ended at" },
            when.rfc3339(),
            now.rfc3339()
        ),
    }
}

#[derive(Clone)]
struct VerifiedSecret {
    credential: Uuid,
    hash: Arc<str>,
}

#[derive(Clone)]
struct VerifiedAssertion {
    tenant: TenantId,
    client: ClientId,
    credential: Uuid,
    x5t_s256: [u8; 32],
    validity: Validity,
}

impl Default for Credentials {
    fn default() -> Self {
        Self::new()
    }
}

impl Credentials {
    /// Creates the checks with empty caches.
    pub fn new() -> Self {
        Self {
            hashing: Arc::new(Semaphore::new(HASHING)),
            decoy: password::hash(&random::token(32)).into(),
            secret_key: Zeroizing::new(random::bytes()),
            secrets: Cache::builder().max_capacity(CACHE_ENTRIES).time_to_live(CACHE_LIFETIME).build(),
            assertions: Cache::builder().max_capacity(CACHE_ENTRIES).time_to_live(CACHE_LIFETIME).build(),
            verified: AtomicU64::new(0),
        }
    }

    /// How many times the costly computation was made, an RSA verification or an argon2id hash.
    pub fn computations(&self) -> u64 {
        self.verified.load(Ordering::Relaxed)
    }

    /// Verifies a client secret. An unknown client (`None`) is refused after as much work as a known one.
    pub async fn verify_secret(
        &self,
        client: Option<Client<'_>>,
        secret: &SecretString,
        now: UnixTime,
    ) -> Result<AuthenticatedClient, CredentialError> {
        let Some((client, application)) = client.and_then(|client| Some((client, client.application?))) else {
            self.matching(secret, vec![Arc::clone(&self.decoy)]).await?;
            return Err(CredentialError::WrongSecret);
        };
        let key = self.cache_key(client, secret);
        if let Some(known) = self.secrets.get(&key) {
            let credential = application
                .passwords
                .iter()
                .find(|password| password.key_id == known.credential && *password.hash == *known.hash);
            if let Some(password) = credential {
                return valid(password.key_id, password.start, password.end, now);
            }
            self.secrets.invalidate(&key);
        }
        // The hint is the beginning of the secret, shown to people: it says which hashes are worth computing. When
        // it says none, one is computed nevertheless.
        let candidates: Vec<_> =
            application.passwords.iter().filter(|password| secret.expose().starts_with(&password.hint)).collect();
        let mut hashes: Vec<Arc<str>> = candidates.iter().map(|password| password.hash.as_str().into()).collect();
        if hashes.is_empty() {
            hashes.push(Arc::clone(&self.decoy));
        }
        let found = self.matching(secret, hashes).await?;
        let password = found.and_then(|index| candidates.get(index)).ok_or(CredentialError::WrongSecret)?;
        let proved = valid(password.key_id, password.start, password.end, now)?;
        let known = VerifiedSecret { credential: password.key_id, hash: password.hash.as_str().into() };
        self.secrets.insert(key, known);
        Ok(proved)
    }

    /// Verifies a client assertion: first what is cheap, then the signature, then the claims that it covers.
    pub fn verify_assertion(
        &self,
        client: Client<'_>,
        text: &str,
        authorities: &[String],
        now: UnixTime,
    ) -> Result<AuthenticatedClient, CredentialError> {
        let digest = sha256(text.as_bytes());
        let client_id = client.principal.client_id;
        if let Some(known) = self.assertions.get(&digest) {
            // Whoever presents it elsewhere takes the long way, and is refused there with the reason.
            if known.tenant == client.tenant.id && known.client == client_id {
                let credential =
                    keys_of(client).find(|key| key.key_id == known.credential && key.x5t_s256 == known.x5t_s256);
                if let Some(key) = credential {
                    known.validity.covers(now).map_err(CredentialError::Claims)?;
                    in_time(key, now)?;
                    return Ok(AuthenticatedClient { proof: ClientAuthMethod::Certificate, credential: key.key_id });
                }
                self.assertions.invalidate(&digest);
            }
        }
        let parsed = LaxAssertion::parse(text).map_err(CredentialError::Malformed)?;
        if let Some(issuer) = parsed.unverified_issuer().filter(|issuer| !assertion::is_client(issuer, client_id)) {
            return Err(CredentialError::Claims(Reason::Issuer(assertion::excerpt(issuer))));
        }
        let key = named(&parsed, client)?;
        in_time(key, now)?;
        self.verified.fetch_add(1, Ordering::Relaxed);
        let verified = public(key)
            .ok_or(CredentialError::Key(KeyReason::Signature))
            .and_then(|public| parsed.verify(&public).map_err(|_| CredentialError::Key(KeyReason::Signature)))?;
        let expected = Expected { client: client_id, tenant: client.tenant, authorities };
        let validity = assertion::check(&verified.claims, &expected, now).map_err(CredentialError::Claims)?;
        let known = VerifiedAssertion {
            tenant: client.tenant.id,
            client: client_id,
            credential: key.key_id,
            x5t_s256: key.x5t_s256,
            validity,
        };
        self.assertions.insert(digest, known);
        Ok(AuthenticatedClient { proof: ClientAuthMethod::Certificate, credential: key.key_id })
    }

    fn cache_key(&self, client: Client<'_>, secret: &SecretString) -> [u8; 32] {
        let mut message = Zeroizing::new(Vec::with_capacity(32 + secret.len()));
        message.extend_from_slice(client.tenant.id.0.as_bytes());
        message.extend_from_slice(client.principal.client_id.0.as_bytes());
        message.extend_from_slice(secret.expose().as_bytes());
        hmac_sha256(self.secret_key.as_slice(), &message)
    }

    /// The index of the hash that is this secret's.
    async fn matching(&self, secret: &SecretString, hashes: Vec<Arc<str>>) -> Result<Option<usize>, CredentialError> {
        let permit = tokio::time::timeout(HASHING_TIMEOUT, Arc::clone(&self.hashing).acquire_owned())
            .await
            .ok()
            .and_then(Result::ok)
            .ok_or(CredentialError::Busy)?;
        self.verified.fetch_add(hashes.len() as u64, Ordering::Relaxed);
        let secret = secret.clone();
        let hashing = tokio::task::spawn_blocking(move || {
            // Held by the computation, not by the request: a client that hangs up does not free the processor.
            let _held = permit;
            hashes.iter().position(|hash| password::verify(&secret, hash))
        });
        hashing.await.map_err(|_| CredentialError::Busy)
    }
}

fn valid(
    credential: Uuid,
    start: UnixTime,
    end: UnixTime,
    now: UnixTime,
) -> Result<AuthenticatedClient, CredentialError> {
    if end <= now {
        return Err(CredentialError::SecretExpired(end));
    }
    if now + assertion::SKEW < start {
        return Err(CredentialError::WrongSecret);
    }
    Ok(AuthenticatedClient { proof: ClientAuthMethod::Secret, credential })
}

fn in_time(key: &KeyCredential, now: UnixTime) -> Result<(), CredentialError> {
    if now + assertion::SKEW < key.start || key.end <= now {
        return Err(CredentialError::Key(KeyReason::OutsideValidity(key.start, key.end)));
    }
    Ok(())
}

fn keys_of<'a>(client: Client<'a>) -> impl Iterator<Item = &'a KeyCredential> {
    client.principal.keys.iter().chain(client.application.into_iter().flat_map(|application| &application.keys))
}

/// The client's key that the header names. When it names it twice, both must agree.
fn named<'a>(parsed: &LaxAssertion, client: Client<'a>) -> Result<&'a KeyCredential, CredentialError> {
    let shown = match (&parsed.x5t, &parsed.x5t_s256) {
        (None, None) => return Err(CredentialError::Key(KeyReason::NoThumbprint)),
        (Some(sha1), _) => denizen_keys::hash::hex_upper(sha1),
        (None, Some(sha256)) => denizen_keys::hash::hex_upper(sha256),
    };
    keys_of(client)
        .find(|key| {
            parsed.x5t.is_none_or(|x5t| x5t == key.x5t) && parsed.x5t_s256.is_none_or(|x5t| x5t == key.x5t_s256)
        })
        .ok_or(CredentialError::Key(KeyReason::Unknown(shown)))
}

fn public(key: &KeyCredential) -> Option<RsaPublic> {
    RsaPublic::from_components(&unhex(&key.n)?, &unhex(&key.e)?).ok()
}
