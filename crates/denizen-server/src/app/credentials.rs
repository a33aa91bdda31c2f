//! Whether a client is who it says: by a secret, or by an assertion signed with a key it holds.
//!
//! A client that returns costs next to nothing: what has been verified is cached under a digest of what was presented.
//! Each cache hit is checked against the directory and the time as they are now, so removing a credential or disabling
//! a principal takes effect at once.
//!
//! | what | costs at first | costs then |
//! |---|---|---|
//! | a secret that this server made | one HMAC, compared with what is kept | the same: nothing is cached |
//! | a secret that an earlier release made, or somebody chose | argon2id, tens of milliseconds, off the runtime, few at a time ([`Hashing`]) | one HMAC with a key of this process |
//! | an assertion | one RSA verification | its SHA-256 |
//!
//! **A wrong secret costs no argon2id**, however many are tried: 32 bits of a digest are kept beside each hash
//! ([`Kept::check_of`]), and only what matches them is hashed. Secrets are made here, of 256 random bits: neither those
//! bits nor the time of the answer bring anybody nearer to one. That a client exists is no secret: the answer names the
//! case, as Entra's does, and costs nothing either.
//!
//! What is costly is done only while there is room under the limits of who asks ([`Asker::may_cost`]); what is cheap is
//! looked at first, so that nobody is kept from a right credential by others' wrong ones. A secret in argon2id's form stays
//! in it: there is no database on the way to a token. Making a new one (`denizen init --new-secret`) keeps it as an HMAC.
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
    Algorithm, JwsError, KeyError, RsaPublic, SecretString, b64,
    chain::{self, ChainError},
    constant_time_eq,
    hash::{hmac_sha256, sha256},
    jws::LaxAssertion,
    password, random,
};
use denizen_wire::{ClientId, TenantId, UnixTime, shown};
use moka::sync::Cache;
use tokio::task::JoinError;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{
    access::Known,
    hashing::Hashing,
    key_encryption_keys::KeyEncryptionKeys,
    limits::{Asker, Limited},
    signing::SigningError,
    strangers,
};
use crate::{
    domain::{
        Actor, Ctx,
        assertion::{self, Expected, Reason, Validity},
        claims::ClientAuthMethod,
        directory::{Application, Kept, PasswordCredential, Tenant},
        federation::{Mismatch, TrustedSubject},
        hot::{Key, KeyCheck, Principal},
    },
    issuers::IssuerError,
};

#[cfg(test)]
mod tests;

/// How many secrets and assertions are cached.
const CACHE_ENTRIES: u64 = 65_536;
/// For how long at most.
const CACHE_LIFETIME: Duration = Duration::from_secs(3600);

/// Verifies clients' credentials.
pub struct Credentials {
    keys: KeyEncryptionKeys,
    hashing: Hashing,
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
    pub principal: &'a Principal,
    /// Its registration; a managed identity has none.
    pub application: Option<&'a Application>,
}

/// A client that has proved itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthenticatedClient {
    client: ClientId,
    proof: ClientAuthMethod,
    credential: Uuid,
    token: Option<Arc<ForeignToken>>,
}

/// A token of another issuer that has proved a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignToken {
    /// The name of the federated credential.
    pub name: String,
    /// As the token writes it.
    pub issuer: String,
    /// As the token writes it.
    pub subject: String,
}

impl AuthenticatedClient {
    /// By a token of another issuer that fits a federated credential.
    pub(in crate::app) fn federated(client: ClientId, credential: Uuid, token: ForeignToken) -> Self {
        Self { client, proof: ClientAuthMethod::Federated, credential, token: Some(Arc::new(token)) }
    }

    /// By which token of another issuer, if it was one.
    pub fn token(&self) -> Option<&ForeignToken> {
        self.token.as_deref()
    }

    /// How.
    pub fn proof(&self) -> ClientAuthMethod {
        self.proof
    }

    /// With which credential.
    pub fn credential(&self) -> Uuid {
        self.credential
    }

    /// The same as a proof of who it is, in the context of its request.
    pub fn known(&self, ctx: &Ctx) -> Known {
        Known::proved(ctx.by(Actor::Client(self.client)))
    }
}

/// Why a credential proves nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CredentialError {
    /// The secret is none of the client's.
    #[error(
        "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID."
    )]
    WrongSecret,
    /// It was once.
    #[error("The provided client secret keys are expired: this one ended at {}. Make a new secret and give it to the program.", .0.rfc3339())]
    SecretExpired(UnixTime),
    /// Too many refusals came from where this comes from, and it would cost something to verify.
    #[error(transparent)]
    Limited(Limited),
    /// The key of the tenant's secrets cannot be opened: our fault.
    #[error(
        "The service could not verify the client secret: the tenant's key does not open. An operator finds why in the log."
    )]
    Unopened(#[source] KeyError),
    /// Too many secrets are being verified.
    #[error("The service is verifying as many client secrets as it can; ask again in a second.")]
    Busy,
    /// The assertion is not a signed token of an accepted form.
    #[error("Invalid JWT token: {0}. Send a compact JWT signed with RS256 or PS256.")]
    Malformed(JwsError),
    /// The signature is none of the client's.
    #[error("{}", .0.text())]
    Key(KeyReason),
    /// The claims, which prove nothing: one cannot be read, or the assertion is out of its time.
    #[error("{}", claims_text(.0))]
    Claims(Reason),
    /// The assertion is the client's own and in its time, and is about or for somebody else.
    #[error("{}", claims_text(.reason))]
    Misdirected {
        /// Who has signed it.
        by: AuthenticatedClient,
        /// What is wrong with it.
        reason: Reason,
    },
    /// The token is another issuer's, and fits none of the client's federated credentials.
    #[error(transparent)]
    NotFederated(Mismatch),
    /// The keys of the token's issuer are not known.
    #[error("Request to External OIDC endpoint failed: {0}.")]
    Issuer(IssuerError),
    /// The token is this server's own, and a person's.
    #[error(
        "Only app-only tokens can be used as federated identity credentials for the issuer '{0}'. Present a token that an application or a managed identity got for itself."
    )]
    NotAppOnly(String),
    /// The token is this server's own, and its principal is not good any more.
    #[error("Invalid JWT token: the principal that the token was issued to {0}.")]
    IssuedTo(&'static str),
    /// The certificate that was sent along has a subject that is not trusted.
    #[error(
        "Invalid certificate - subject name in certificate is not authorized. The subject in the token's certificate is: '{0}'. Register that subject with the authority that issues it, or register the certificate itself."
    )]
    Subject(String),
    /// Our own keys cannot be read: our fault.
    #[error(
        "A transient error has occurred: the keys of the token's issuer cannot be read. Ask again in a few seconds."
    )]
    OwnKeys(#[source] Arc<SigningError>),
    /// A computation did not end: our fault.
    #[error("The service could not verify the client secret; ask again in a second.")]
    Unfinished(#[source] Unfinished),
}

#[cfg(test)]
impl PartialEq for CredentialError {
    fn eq(&self, other: &Self) -> bool {
        // Their parts are compared by what they say of themselves.
        format!("{self:?}") == format!("{other:?}")
    }
}

/// Why a computation did not end.
#[derive(Clone, Debug, thiserror::Error)]
#[error(transparent)]
pub struct Unfinished(Arc<JoinError>);

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
    /// The issuer publishes no key of that name.
    NotPublished(String),
    /// The certificates that were sent along prove nothing.
    Chain(ChainError),
}

impl CredentialError {
    /// The number that Entra gives this reason, by which people search.
    pub fn code(&self) -> i32 {
        match self {
            Self::WrongSecret => 7_000_215,
            Self::SecretExpired(_) => 7_000_222,
            Self::Busy | Self::Unfinished(_) | Self::Unopened(_) => 90_033,
            Self::Limited(_) => 90_055,
            Self::Malformed(_) => 50_027,
            Self::Key(_) => 700_027,
            Self::Claims(reason) | Self::Misdirected { reason, .. } => reason.code(),
            Self::NotFederated(reason) => reason.code(),
            Self::Issuer(_) => 90_061,
            Self::NotAppOnly(_) => 700_229,
            Self::IssuedTo(_) => 50_027,
            Self::Subject(_) => 700_030,
            Self::OwnKeys(_) => 90_033,
        }
    }

    /// What a stranger is refused for; none when the client has proved itself all the same, or something of ours failed.
    pub fn of_a_stranger(&self) -> Option<strangers::Reason> {
        use strangers::Reason;
        match self {
            Self::WrongSecret => Some(Reason::Secret),
            Self::SecretExpired(_) => Some(Reason::SecretEnded),
            Self::Busy => Some(Reason::Busy),
            Self::Limited(_) => Some(Reason::Limited),
            Self::Malformed(_) | Self::Key(_) => Some(Reason::Assertion),
            Self::Claims(_) => Some(Reason::AssertionTime),
            Self::NotFederated(_) | Self::NotAppOnly(_) | Self::IssuedTo(_) => Some(Reason::Federation),
            Self::Subject(_) => Some(Reason::Assertion),
            Self::Issuer(_) => Some(Reason::Issuer),
            Self::Misdirected { .. } | Self::Unfinished(_) | Self::Unopened(_) | Self::OwnKeys(_) => None,
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
            Self::NotPublished(kid) => format!(
                "Client assertion contains an invalid signature. [Reason - The key was not found., kid: '{kid}'] The \
                 issuer publishes no such key for this algorithm; after a change of keys this service asks it again \
                 within five minutes."
            ),
            Self::Chain(reason) => format!(
                "Client assertion contains an invalid signature. [Reason - The certificate chain in x5c proves \
                 nothing: {reason}.] Send the certificate that signs first, then those that lead to the authority."
            ),
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
        Reason::TooLong { until, now } => format!(
            "Client assertion is not within its valid time range: it ends at {}, more than 24 hours from the service's \
             time, {}. Make an assertion for each request, that ends after 5 to 10 minutes.",
            until.rfc3339(),
            now.rfc3339()
        ),
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

impl Credentials {
    /// Creates the checks with empty caches. `keys` open what secrets are kept under.
    pub fn new(keys: KeyEncryptionKeys, hashing: Hashing) -> Self {
        Self {
            keys,
            hashing,
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

    /// Verifies a client secret.
    pub async fn verify_secret(
        &self,
        client: Client<'_>,
        secret: &SecretString,
        now: UnixTime,
        asker: Asker<'_>,
    ) -> Result<AuthenticatedClient, CredentialError> {
        // A managed identity has none.
        let passwords = client.application.map_or(&[][..], |application| &application.passwords);
        let password = match self.by_mac(client, passwords, secret)? {
            Some(password) => password,
            None => self.by_hash(client, passwords, secret, asker).await?,
        };
        if password.end <= now {
            return Err(CredentialError::SecretExpired(password.end));
        }
        if now + assertion::SKEW < password.start {
            return Err(CredentialError::WrongSecret);
        }
        let (client, proof) = (client.principal.client_id, ClientAuthMethod::Secret);
        Ok(AuthenticatedClient { client, proof, credential: password.key_id, token: None })
    }

    /// The credential that this secret's HMAC is kept of, in or out of its time.
    fn by_mac<'a>(
        &self,
        client: Client<'_>,
        passwords: &'a [PasswordCredential],
        secret: &SecretString,
    ) -> Result<Option<&'a PasswordCredential>, CredentialError> {
        if !passwords.iter().any(|password| matches!(password.kept, Kept::Mac(_))) {
            return Ok(None);
        }
        let mac = self.keys.client_secret_mac(client.tenant, client.principal.client_id, secret);
        let mac = mac.map_err(CredentialError::Unopened)?;
        let is_its = |password: &&PasswordCredential| match &password.kept {
            Kept::Mac(kept) => constant_time_eq(kept, &mac),
            Kept::Argon2id { .. } => false,
        };
        Ok(passwords.iter().find(is_its))
    }

    /// The credential that this secret was found to be of, while the client has it.
    fn remembered<'a>(&self, key: &[u8; 32], passwords: &'a [PasswordCredential]) -> Option<&'a PasswordCredential> {
        let known = self.secrets.get(key)?;
        let is_its = |password: &&PasswordCredential| match &password.kept {
            Kept::Argon2id { hash, .. } => password.key_id == known.credential && **hash == *known.hash,
            Kept::Mac(_) => false,
        };
        let found = passwords.iter().find(is_its);
        if found.is_none() {
            self.secrets.invalidate(key);
        }
        found
    }

    /// The credential whose hash is this secret's, in or out of its time. It is remembered.
    async fn by_hash<'a>(
        &self,
        client: Client<'_>,
        passwords: &'a [PasswordCredential],
        secret: &SecretString,
        asker: Asker<'_>,
    ) -> Result<&'a PasswordCredential, CredentialError> {
        let mut key = None;
        for password in passwords {
            let Kept::Argon2id { hash, check } = &password.kept else { continue };
            let key = *key.get_or_insert_with(|| self.cache_key(client, secret));
            if let Some(known) = self.remembered(&key, passwords) {
                return Ok(known);
            }
            if Kept::check_of(password.key_id, secret.expose()) != *check {
                continue;
            }
            asker.may_cost().map_err(CredentialError::Limited)?;
            let turn = self.hashing.turn().await.map_err(|_| CredentialError::Busy)?;
            // Of many that present the same secret at once, the first is hashed.
            if let Some(known) = self.remembered(&key, passwords) {
                return Ok(known);
            }
            self.verified.fetch_add(1, Ordering::Relaxed);
            let (secret, hash): (_, Arc<str>) = (secret.clone(), hash.as_str().into());
            let known = VerifiedSecret { credential: password.key_id, hash: Arc::clone(&hash) };
            let secrets = self.secrets.clone();
            let hashing = turn.run(move || {
                // What was computed for a client that hung up is remembered.
                let right = password::verify(&secret, &hash);
                if right {
                    secrets.insert(key, known);
                }
                right
            });
            if hashing.await.map_err(|error| CredentialError::Unfinished(Unfinished(Arc::new(error))))? {
                return Ok(password);
            }
        }
        Err(CredentialError::WrongSecret)
    }

    /// Verifies a client assertion: first what is cheap, then the signature, then the claims that it covers.
    pub fn verify_assertion(
        &self,
        client: Client<'_>,
        text: &str,
        authorities: &[String],
        now: UnixTime,
        asker: Asker<'_>,
    ) -> Result<AuthenticatedClient, CredentialError> {
        let digest = sha256(text.as_bytes());
        let client_id = client.principal.client_id;
        if let Some(known) = self.assertions.get(&digest) {
            // Whoever presents it elsewhere takes the long way, and is refused there with the reason.
            if known.tenant == client.tenant.id && known.client == client_id {
                let credential =
                    keys_of(client).find(|key| key.key_id == known.credential && *key.x5t_s256 == known.x5t_s256);
                if let Some(key) = credential {
                    known.validity.covers(now).map_err(CredentialError::Claims)?;
                    in_time(&key, now)?;
                    return Ok(by_certificate(client_id, &key));
                }
                self.assertions.invalidate(&digest);
            }
        }
        let parsed = LaxAssertion::parse(text).map_err(CredentialError::Malformed)?;
        if let Some(issuer) = parsed.unverified_issuer().filter(|issuer| !assertion::is_client(issuer, client_id)) {
            return Err(CredentialError::Claims(Reason::Issuer(shown::identifier(issuer).into_owned())));
        }
        // Clients sign with RSA; other issuers may sign otherwise.
        if parsed.alg == Algorithm::Es256 {
            return Err(CredentialError::Malformed(JwsError::AlgorithmRefused));
        }
        let key = match named(&parsed, client) {
            Err(unknown) => {
                return self.verify_vouched(client, &parsed, authorities, now, asker).unwrap_or(Err(unknown));
            }
            Ok(key) => key,
        };
        in_time(&key, now)?;
        asker.may_cost().map_err(CredentialError::Limited)?;
        self.verified.fetch_add(1, Ordering::Relaxed);
        let verified = key
            .public()
            .ok_or(CredentialError::Key(KeyReason::Signature))
            .and_then(|public| parsed.verify(&public).map_err(|_| CredentialError::Key(KeyReason::Signature)))?;
        let validity = assertion::validity(&verified.claims, now).map_err(CredentialError::Claims)?;
        let by = by_certificate(client_id, &key);
        let expected = Expected { client: client_id, tenant: client.tenant, authorities };
        if let Err(reason) = assertion::check(&verified.claims, &expected) {
            return Err(CredentialError::Misdirected { by, reason });
        }
        let known = VerifiedAssertion {
            tenant: client.tenant.id,
            client: client_id,
            credential: key.key_id,
            x5t_s256: *key.x5t_s256,
            validity,
        };
        self.assertions.insert(digest, known);
        Ok(by)
    }

    /// Verifies an assertion by a certificate that is not registered: by its subject and who issued it. None when the client
    /// trusts no subject, or sent no certificate. A chain is not remembered: authorities and dates are looked at each time.
    fn verify_vouched(
        &self,
        client: Client<'_>,
        parsed: &LaxAssertion,
        authorities: &[String],
        now: UnixTime,
        asker: Asker<'_>,
    ) -> Option<Result<AuthenticatedClient, CredentialError>> {
        let subjects = client.application.map_or(&[][..], |application| &application.trusted_subjects);
        if subjects.is_empty() || parsed.x5c.is_empty() {
            return None;
        }
        let proved = || {
            asker.may_cost().map_err(CredentialError::Limited)?;
            let (public, trusted) = vouched(parsed, subjects, now)?;
            self.verified.fetch_add(1, Ordering::Relaxed);
            let verified = parsed.verify(&public).map_err(|_| CredentialError::Key(KeyReason::Signature))?;
            assertion::validity(&verified.claims, now).map_err(CredentialError::Claims)?;
            let (client_id, proof) = (client.principal.client_id, ClientAuthMethod::Certificate);
            let by = AuthenticatedClient { client: client_id, proof, credential: trusted.id, token: None };
            let expected = Expected { client: client_id, tenant: client.tenant, authorities };
            match assertion::check(&verified.claims, &expected) {
                Ok(()) => Ok(by),
                Err(reason) => Err(CredentialError::Misdirected { by, reason }),
            }
        };
        Some(proved())
    }

    fn cache_key(&self, client: Client<'_>, secret: &SecretString) -> [u8; 32] {
        let mut message = Zeroizing::new(Vec::with_capacity(32 + secret.len()));
        message.extend_from_slice(client.tenant.id.0.as_bytes());
        message.extend_from_slice(client.principal.client_id.0.as_bytes());
        message.extend_from_slice(secret.expose().as_bytes());
        hmac_sha256(self.secret_key.as_slice(), &message)
    }
}

fn by_certificate(client: ClientId, key: &KeyCheck<'_>) -> AuthenticatedClient {
    AuthenticatedClient { client, proof: ClientAuthMethod::Certificate, credential: key.key_id, token: None }
}

/// The certificate that was sent along, where an authority of the client's vouches for it and its subject is trusted, and
/// the trusted subject.
fn vouched<'a>(
    parsed: &LaxAssertion,
    subjects: &'a [TrustedSubject],
    now: UnixTime,
) -> Result<(RsaPublic, &'a TrustedSubject), CredentialError> {
    let of_chain = |reason| CredentialError::Key(KeyReason::Chain(reason));
    let leaf = parsed.x5c.first().map_or(&[][..], Vec::as_slice);
    let subject = chain::subject(leaf).map_err(|_| of_chain(ChainError::Unreadable))?;
    // Out of its time, it proves nothing: that is seen before a chain of a stranger's is looked at.
    assertion::validity(parsed.unverified_claims(), now).map_err(CredentialError::Claims)?;
    let mut failed = None;
    for trusted in subjects.iter().filter(|it| it.subject == subject) {
        let authorities: Vec<Vec<u8>> = trusted.authorities.iter().filter_map(|it| b64::decode_standard(it)).collect();
        match chain::verify_client(&parsed.x5c, &authorities, now.0) {
            Ok(certificate) => {
                let is_named = parsed.x5t.is_none_or(|it| it == certificate.thumbprint_sha1())
                    && parsed.x5t_s256.is_none_or(|it| it == certificate.thumbprint_sha256());
                if !is_named {
                    return Err(CredentialError::Key(KeyReason::Signature));
                }
                let public = certificate.public_key().map_err(|_| of_chain(ChainError::Invalid))?;
                return Ok((public, trusted));
            }
            Err(reason) => failed = Some(of_chain(reason)),
        }
    }
    Err(failed.unwrap_or_else(|| CredentialError::Subject(shown::identifier(&subject).into_owned())))
}

fn in_time(key: &KeyCheck<'_>, now: UnixTime) -> Result<(), CredentialError> {
    if now + assertion::SKEW < key.start || key.end <= now {
        return Err(CredentialError::Key(KeyReason::OutsideValidity(key.start, key.end)));
    }
    Ok(())
}

fn keys_of<'a>(client: Client<'a>) -> impl Iterator<Item = KeyCheck<'a>> {
    let of_application = client.application.into_iter().flat_map(|application| &application.keys);
    client.principal.keys.as_slice().iter().map(Key::check).chain(of_application.map(KeyCheck::from))
}

/// The client's key that the header names. When it names it twice, both must agree.
fn named<'a>(parsed: &LaxAssertion, client: Client<'a>) -> Result<KeyCheck<'a>, CredentialError> {
    let thumbprint = match (&parsed.x5t, &parsed.x5t_s256) {
        (None, None) => return Err(CredentialError::Key(KeyReason::NoThumbprint)),
        (Some(sha1), _) => denizen_keys::hash::hex_upper(sha1),
        (None, Some(sha256)) => denizen_keys::hash::hex_upper(sha256),
    };
    keys_of(client)
        .find(|key| {
            parsed.x5t.is_none_or(|x5t| x5t == *key.x5t) && parsed.x5t_s256.is_none_or(|x5t| x5t == *key.x5t_s256)
        })
        .ok_or(CredentialError::Key(KeyReason::Unknown(thumbprint)))
}
