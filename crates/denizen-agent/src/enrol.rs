//! Enrolment: how a machine joins, once.
//!
//! ```text
//!            no key                   key and certificate kept               answered
//!   Begun ------------> make both ------------------------------> Keyed -----------------> Enrolled
//!     |                                                            ^  |                       ^
//!     |  a key is there: an earlier attempt broke off              |  | not answered: stays   |
//!     +------------------------------------------------------------+  +--> Keyed              |
//!     |  identity.json is there, for the same server and name                                 |
//!     +---------------------------------------------------------------------------------------+
//! ```
//!
//! The key is kept *before* the request is sent: an attempt whose answer was lost is repeated with the same key, by which
//! the server recognizes it. Possession of the key is proved by a signature over this use of the join token.
//!
//! Touches the state directory and one server. Tests: `enrol/tests.rs`.

use std::path::{Path, PathBuf};

use denizen_keys::{
    Algorithm, KeyError, RsaBits, SecretString, Signer, b64, hash, jws, secret::json_fault, x509, x509::Certificate,
};
use denizen_wire::{
    Clock,
    node::{ENROL_PATH, EnrolClaims, EnrolRequest, Enrolled, MachineName, PROOF_LIFETIME, Refused},
};
use hyper::body::Bytes;
use zeroize::{Zeroize as _, Zeroizing};

use crate::{
    facts,
    identity_file::{IdentityFile, StateDirectory, StateError},
    upstream::{
        https::{HttpsClient, HttpsError, Outbound},
        origin::{Origin, OriginError},
    },
};

#[cfg(test)]
mod tests;

/// How long the node key's certificate is valid: two years, seconds. It is only the form in which a directory keeps the key.
const CERTIFICATE_LIFETIME: i64 = 730 * 86_400;
/// It begins this much early, for servers whose clock is behind. Seconds.
const CERTIFICATE_HEAD_START: i64 = 300;

/// What to enrol with.
pub struct ConnectOptions {
    /// The control plane, where to enrol: `https://host[:port]`.
    pub server: String,
    /// The token authority, where that is another server. Whoever answers at `server` cannot send the agent to one that
    /// is not named here.
    pub token_authority: Option<String>,
    /// How both are reached.
    pub outbound: Outbound,
    /// The single-use join token.
    pub join_token: SecretString,
    /// The machine's name.
    pub machine_name: MachineName,
    /// Where to keep key and identity.
    pub state_dir: PathBuf,
    /// The time.
    pub clock: Clock,
}

/// Why a machine did not join.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// The machine is enrolled elsewhere or under another name.
    #[error(
        "this machine is enrolled at {server} as '{name}' already, with the token authority {authority}: use another state \
         directory for a second identity"
    )]
    Already {
        /// The server it is enrolled at.
        server: String,
        /// The name it has there.
        name: String,
        /// Where it asks for tokens.
        authority: String,
    },
    /// The server refused.
    #[error("the server refused: {message} ({code})")]
    Refused {
        /// A stable error code.
        code: String,
        /// The server's sentence.
        message: String,
    },
    /// The answer is not a Denizen server's, or is malformed.
    #[error("the server's answer cannot be used: {0}")]
    Malformed(String),
    /// A URL is of a form or of a server that is not taken.
    #[error(transparent)]
    Origin(#[from] OriginError),
    /// The server could not be reached, or is not the one it should be.
    #[error(transparent)]
    Https(#[from] HttpsError),
    /// The key could not be made or used.
    #[error("the node key: {0}")]
    Key(#[from] KeyError),
    /// The state directory.
    #[error(transparent)]
    State(#[from] StateError),
}

/// The state of an enrolment.
enum Enrolment {
    Begun,
    Keyed { key: Signer, certificate: Certificate },
    Enrolled(Box<IdentityFile>),
}

/// Enrols this machine, or finishes an enrolment that broke off. A machine that is enrolled stays as it is.
pub async fn connect(options: ConnectOptions) -> Result<IdentityFile, EnrolError> {
    let control_plane = HttpsClient::new(&options.server, &options.outbound)?;
    let authority = options.token_authority.as_deref().map(Origin::of).transpose()?;
    let state = StateDirectory::open(&options.state_dir)?;
    let mut enrolment = Enrolment::resume(&state, &options, control_plane.origin(), authority.as_ref())?;
    loop {
        enrolment = match enrolment {
            Enrolment::Begun => make_key(&state, &options).await?,
            Enrolment::Keyed { key, certificate } => {
                let enrolled = ask(&control_plane, &options, &key, &certificate).await?;
                authority.as_ref().unwrap_or(control_plane.origin()).path_of(&enrolled.token_endpoint)?;
                let identity = IdentityFile {
                    version: IdentityFile::VERSION,
                    server: control_plane.origin().to_string(),
                    token_authority: authority.as_ref().map(Origin::to_string),
                    machine_name: options.machine_name.to_string(),
                    enrolled,
                    machine: facts::gather(Path::new("/")),
                    other: serde_json::Map::new(),
                };
                state.keep_identity(&identity)?;
                Enrolment::Enrolled(Box::new(identity))
            }
            Enrolment::Enrolled(identity) => return Ok(*identity),
        };
    }
}

impl Enrolment {
    fn resume(
        state: &StateDirectory,
        options: &ConnectOptions,
        server: &Origin,
        authority: Option<&Origin>,
    ) -> Result<Self, EnrolError> {
        if let Some(identity) = state.identity()? {
            let is_asked_for = identity.server == server.to_string()
                && identity.token_authority() == authority.unwrap_or(server).to_string()
                && identity.machine_name.eq_ignore_ascii_case(options.machine_name.as_str());
            if is_asked_for {
                return Ok(Self::Enrolled(Box::new(identity)));
            }
            let authority = identity.token_authority().to_owned();
            return Err(EnrolError::Already { server: identity.server, name: identity.machine_name, authority });
        }
        let Some(key) = state.key()? else { return Ok(Self::Begun) };
        let now = options.clock.now();
        // The request that was not answered may have been made under another name.
        let kept = state.certificate(&key)?.filter(|certificate| {
            certificate.not_after() > now.0 && certificate.subject_cn() == Some(options.machine_name.as_str())
        });
        let certificate = match kept {
            Some(certificate) => certificate,
            None => make_certificate(state, &key, options)?,
        };
        Ok(Self::Keyed { key, certificate })
    }
}

async fn make_key(state: &StateDirectory, options: &ConnectOptions) -> Result<Enrolment, EnrolError> {
    // A good part of a second of computing: off the runtime's threads.
    let key = tokio::task::spawn_blocking(|| Signer::generate_rsa(RsaBits::B2048))
        .await
        .map_err(|e| EnrolError::Malformed(format!("no key was made: {e}")))??;
    state.keep_key(&key)?;
    let certificate = make_certificate(state, &key, options)?;
    Ok(Enrolment::Keyed { key, certificate })
}

fn make_certificate(state: &StateDirectory, key: &Signer, options: &ConnectOptions) -> Result<Certificate, EnrolError> {
    let now = options.clock.now();
    let (from, to) = (now - CERTIFICATE_HEAD_START, now + CERTIFICATE_LIFETIME);
    let certificate = x509::self_signed(key, options.machine_name.as_str(), from.0, to.0)?;
    state.keep_certificate(&certificate)?;
    Ok(certificate)
}

async fn ask(
    control_plane: &HttpsClient,
    options: &ConnectOptions,
    key: &Signer,
    certificate: &Certificate,
) -> Result<Enrolled, EnrolError> {
    let now = options.clock.now();
    let claims = EnrolClaims {
        aud: format!("{}{ENROL_PATH}", control_plane.origin()),
        join: hash::hex(&hash::sha256(options.join_token.expose().as_bytes())),
        name: options.machine_name.to_string(),
        iat: now.0,
        exp: (now + PROOF_LIFETIME).0,
    };
    let malformed = |e: serde_json::Error| EnrolError::Malformed(json_fault(&e));
    let claims = serde_json::to_string(&claims).map_err(malformed)?;
    let proof = jws::sign_compact(key, Algorithm::Rs256, r#"{"alg":"RS256","typ":"JWT"}"#, &claims)?;
    let mut request = EnrolRequest {
        join_token: options.join_token.expose().to_owned(),
        machine_name: options.machine_name.to_string(),
        certificate: b64::standard(certificate.der()),
        proof,
        machine: facts::gather(Path::new("/")),
    };
    let body = serde_json::to_vec(&request).map(Zeroizing::new);
    request.join_token.zeroize();
    let (status, answer) =
        control_plane.post(ENROL_PATH, "application/json", Bytes::from_owner(body.map_err(malformed)?)).await?;
    if !status.is_success() {
        return Err(match serde_json::from_slice::<Refused>(&answer) {
            Ok(Refused { error }) => EnrolError::Refused { code: error.code, message: error.message },
            Err(_) => {
                EnrolError::Malformed(format!("status {} without a reason: is this a Denizen server?", status.as_u16()))
            }
        });
    }
    serde_json::from_slice(&answer).map_err(malformed)
}
