//! Keys in a device that a PKCS#11 module reaches: an HSM, a smart card, SoftHSM.
//!
//! A key is made in the device and does not leave it (`CKA_SENSITIVE`, not `CKA_EXTRACTABLE`). It is found by its `CKA_ID`
//! in the token of a label, not by slot: slots are numbered anew as devices come and go.
//!
//! Sessions are pooled, one for each call under way. When the device says that a session, a handle or the token has gone,
//! all sessions are dropped, the token is looked for again, logged into, and the call is tried once more; and when that
//! fails too, the module is ended and started again, since many see a device that came back only then. A PIN that the token
//! refused is not tried again: a few wrong ones lock a token.
//!
//! Every signature is checked with the public half before it is given out: that costs little beside the device, and a
//! device that errs, or another key under the same id, would otherwise be found by whoever reads the tokens.
//!
//! Every call here waits for the device. Touches the device. Tests: below, and `tests/pkcs11.rs`.

use std::{
    path::Path,
    sync::{
        Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::{Error, RvError},
    mechanism::Mechanism,
    object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle},
    session::{Session, UserType},
    slot::Slot,
    types::AuthPin,
};
use std::sync::Arc;
use x509_parser::asn1_rs::{FromDer as _, OctetString};

use crate::{Algorithm, EcPublic, KeyError, KeyKind, PublicKey, RsaPublic, SecretString, hash, place::Place, random};

/// The curve P-256 as `CKA_EC_PARAMS` names it: the DER of its object identifier.
const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// What people see of our keys in the token.
const LABEL: &str = "denizen token signing";
/// No more sessions are kept; who has more calls under way opens more, and closes them.
const POOLED: usize = 16;

/// A token of a device, logged into when it is used. Clones share the sessions.
#[derive(Clone)]
pub struct Token(Arc<Inner>);

struct Inner {
    module: Pkcs11,
    /// Held by every call; by whoever ends the module, alone.
    running: RwLock<()>,
    label: String,
    pin: AuthPin,
    sessions: Mutex<Vec<Session>>,
    /// Raised when all sessions were dropped: handles of before are not used again.
    generation: AtomicU64,
    /// How often the module was ended and started.
    restarts: AtomicU64,
    pin_refused: AtomicBool,
}

/// A key in a token.
pub(crate) struct DeviceKey {
    token: Token,
    id: Vec<u8>,
    public: PublicKey,
    handle: Mutex<Option<(u64, ObjectHandle)>>,
}

/// Why a call failed.
enum Fault {
    /// The device said so.
    Device(Error),
    /// The token, the PIN or the key is not what it should be.
    Rule { text: String, may_recover: bool },
    /// No device has the token.
    Absent,
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Device(error)
    }
}

impl Fault {
    fn rule(text: impl Into<String>, may_recover: bool) -> Self {
        Self::Rule { text: text.into(), may_recover }
    }

    /// Whether it may work after everything about the token was looked up again.
    fn is_stale(&self) -> bool {
        match self {
            Self::Device(Error::Pkcs11(code, _)) => matches!(
                code,
                RvError::SessionClosed
                    | RvError::SessionHandleInvalid
                    | RvError::DeviceRemoved
                    | RvError::DeviceError
                    | RvError::TokenNotPresent
                    | RvError::TokenNotRecognized
                    | RvError::SlotIdInvalid
                    | RvError::UserNotLoggedIn
                    | RvError::KeyHandleInvalid
                    | RvError::ObjectHandleInvalid
                    | RvError::OperationActive
                    | RvError::CryptokiNotInitialized
                    | RvError::GeneralError
                    | RvError::FunctionFailed
            ),
            Self::Absent => true,
            Self::Device(_) | Self::Rule { .. } => false,
        }
    }
}

impl Token {
    /// Loads a module, and remembers which of its tokens is meant. The token need not be there yet: [`Self::check`].
    ///
    /// # Errors
    /// [`KeyError::Device`] when the module cannot be loaded or started.
    pub fn of_module(module: &Path, label: &str, pin: &SecretString) -> Result<Self, KeyError> {
        let refused = |what: &str, error: &Error| KeyError::Device {
            token: label.to_owned(),
            reason: format!("the module {} cannot be {what}: {error}", module.display()),
            may_recover: false,
        };
        let library = Pkcs11::new(module).map_err(|error| refused("loaded", &error))?;
        match library.initialize(locking()) {
            // Others of this process use it too; it was told to lock then as well.
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(refused("started", &error)),
        }
        Ok(Self(Arc::new(Inner {
            module: library,
            running: RwLock::default(),
            label: label.to_owned(),
            pin: AuthPin::from(pin.expose().to_owned()),
            sessions: Mutex::default(),
            generation: AtomicU64::new(0),
            restarts: AtomicU64::new(0),
            pin_refused: AtomicBool::new(false),
        })))
    }

    /// The token's label.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.0.label
    }

    /// Whether the token is there, and takes the PIN.
    ///
    /// # Errors
    /// [`KeyError::Device`] says why not.
    pub fn check(&self) -> Result<(), KeyError> {
        self.with_session(|session, _| Ok(session.get_session_info().map(drop)?))
    }

    /// Makes a key in the token. Takes up to many seconds in a small device.
    pub(crate) fn generate(&self, kind: KeyKind) -> Result<DeviceKey, KeyError> {
        let id: [u8; 16] = random::bytes();
        let public = self.with_session(|session, _| generate(session, kind, &id))?;
        Ok(self.key(&id, public))
    }

    /// The key of this id, whose public half is known. Asks nothing of the device.
    pub(crate) fn key(&self, id: &[u8], public: PublicKey) -> DeviceKey {
        DeviceKey { token: self.clone(), id: id.to_vec(), public, handle: Mutex::default() }
    }

    /// Runs a call in a session, and again where what was known of the token has gone.
    fn with_session<T>(&self, call: impl Fn(&Session, u64) -> Result<T, Fault>) -> Result<T, KeyError> {
        let mut seen = self.0.restarts.load(Ordering::Relaxed);
        let mut done = self.once(false, &call);
        for restarts in [false, true] {
            let Err(fault) = &done else { break };
            if !fault.is_stale() {
                break;
            }
            if restarts {
                self.restart(seen);
            }
            seen = self.0.restarts.load(Ordering::Relaxed);
            done = self.once(true, &call);
        }
        done.map_err(|fault| self.error(fault))
    }

    /// Runs a call once, in a session of the pool or, where none of them is good any more, in a new one.
    fn once<T>(&self, anew: bool, call: impl Fn(&Session, u64) -> Result<T, Fault>) -> Result<T, Fault> {
        let _running = self.0.running.read().unwrap_or_else(PoisonError::into_inner);
        if anew {
            self.0.generation.fetch_add(1, Ordering::Relaxed);
            drop(self.take_pool());
        }
        let pooled = self.pool().pop();
        let session = match pooled {
            Some(session) => session,
            None => self.open()?,
        };
        self.run(session, call)
    }

    /// Ends the module and starts it again, unless that was done since `seen` was read: those who wait for the same do it once.
    fn restart(&self, seen: u64) {
        let _alone = self.0.running.write().unwrap_or_else(PoisonError::into_inner);
        if self.0.restarts.load(Ordering::Relaxed) != seen {
            return;
        }
        self.0.restarts.fetch_add(1, Ordering::Relaxed);
        self.0.generation.fetch_add(1, Ordering::Relaxed);
        drop(self.take_pool());
        // What is wrong now is said by the call that follows.
        let _ = self.0.module.clone().finalize();
        let _ = self.0.module.initialize(locking());
    }

    fn take_pool(&self) -> Vec<Session> {
        // Closed by the caller, outside of the pool's lock: a device that is away may take its time.
        std::mem::take(&mut *self.pool())
    }

    fn run<T>(&self, session: Session, call: impl Fn(&Session, u64) -> Result<T, Fault>) -> Result<T, Fault> {
        let generation = self.0.generation.load(Ordering::Relaxed);
        let done = call(&session, generation)?;
        let mut pool = self.pool();
        if pool.len() < POOLED && generation == self.0.generation.load(Ordering::Relaxed) {
            pool.push(session);
        }
        Ok(done)
    }

    fn pool(&self) -> std::sync::MutexGuard<'_, Vec<Session>> {
        self.0.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session that is logged in.
    fn open(&self) -> Result<Session, Fault> {
        const REFUSED: &str = "it refused the PIN, which is not tried again, since a few wrong ones lock a token: correct \
                               the file that signing.pkcs11_pin_file names and start again";
        if self.0.pin_refused.load(Ordering::Relaxed) {
            return Err(Fault::rule(REFUSED, false));
        }
        let session = self.0.module.open_rw_session(self.slot()?)?;
        match session.login(UserType::User, Some(&self.0.pin)) {
            // A login is the process's, for all its sessions.
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(session),
            Err(Error::Pkcs11(
                RvError::PinIncorrect
                | RvError::PinInvalid
                | RvError::PinLenRange
                | RvError::PinLocked
                | RvError::PinExpired,
                _,
            )) => {
                self.0.pin_refused.store(true, Ordering::Relaxed);
                Err(Fault::rule(REFUSED, false))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The slot in which the token of our label is now.
    fn slot(&self) -> Result<Slot, Fault> {
        let mut found = Vec::new();
        for slot in self.0.module.get_slots_with_token()? {
            // One that cannot be asked is not ours to judge: another may be.
            let Ok(about) = self.0.module.get_token_info(slot) else { continue };
            if about.token_initialized() && about.label() == self.0.label {
                found.push(slot);
            }
        }
        match found.as_slice() {
            [only] => Ok(*only),
            [] => Err(Fault::Absent),
            [_, _, ..] => Err(Fault::rule("several tokens have this label: give them different ones", false)),
        }
    }

    fn error(&self, fault: Fault) -> KeyError {
        let token = self.0.label.clone();
        match fault {
            Fault::Device(error) => KeyError::Device { token, reason: error.to_string(), may_recover: true },
            Fault::Rule { text, may_recover } => KeyError::Device { token, reason: text, may_recover },
            Fault::Absent => {
                KeyError::Device { token, reason: "no device has a token of this label".to_owned(), may_recover: true }
            }
        }
    }
}

// Not the PIN.
impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Token({:?})", self.0.label)
    }
}

impl DeviceKey {
    pub(crate) fn public(&self) -> &PublicKey {
        &self.public
    }

    pub(crate) fn place(&self) -> Place {
        Place { token: self.token.0.label.clone(), id: hash::hex(&self.id) }
    }

    pub(crate) fn sign(&self, alg: Algorithm, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        if alg != self.public.token_algorithm() {
            return Err(KeyError::Signing);
        }
        self.token.with_session(|session, generation| {
            if let Some(known) = self.known(generation) {
                match self.sign_by(known, session, alg, message) {
                    // What was looked up may not be the key any more: it is looked up once more.
                    Err(fault) if !fault.is_stale() => self.remember(None),
                    done => return done,
                }
            }
            let found = self.look(session)?;
            self.remember(Some((generation, found)));
            self.sign_by(found, session, alg, message)
        })
    }

    /// Signs by what has this handle, and verifies that it is this key.
    fn sign_by(&self, key: ObjectHandle, session: &Session, alg: Algorithm, message: &[u8]) -> Result<Vec<u8>, Fault> {
        let signature = match alg {
            Algorithm::Rs256 => session.sign(&Mechanism::Sha256RsaPkcs, key, message)?,
            // Of a digest that is made here: not every device makes one for elliptic curves.
            Algorithm::Es256 => session.sign(&Mechanism::Ecdsa, key, &hash::sha256(message))?,
            Algorithm::Ps256 => return Err(Fault::rule("PS256 is not asked of devices", false)),
        };
        match self.public.verify(alg, message, &signature) {
            Ok(()) => Ok(signature),
            Err(_) => {
                let id = hash::hex(&self.id);
                Err(Fault::rule(format!("the key {id} signs as another than it was made as"), false))
            }
        }
    }

    pub(crate) fn check(&self) -> Result<(), KeyError> {
        // Not what is remembered of it: whether it is there now.
        self.token.with_session(|session, _| self.look(session).map(drop))
    }

    /// Destroys both halves. One that is not there is destroyed.
    pub(crate) fn destroy(&self) -> Result<(), KeyError> {
        let destroy = |session: &Session, _| {
            let found = session.find_objects(&[Attribute::Token(true), Attribute::Id(self.id.clone())])?;
            for object in &found {
                session.destroy_object(*object)?;
            }
            Ok(found.len())
        };
        let seen = self.token.0.restarts.load(Ordering::Relaxed);
        if self.token.with_session(destroy)? > 0 {
            return Ok(());
        }
        // A session that is older than its device's absence finds nothing. One of a module that was started since is believed.
        self.token.restart(seen);
        self.token.with_session(destroy).map(drop)
    }

    /// The key's handle, where it was looked up: it is good in every session until the token goes.
    fn known(&self, generation: u64) -> Option<ObjectHandle> {
        let known = *self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        known.filter(|(of, _)| *of == generation).map(|(_, handle)| handle)
    }

    fn remember(&self, found: Option<(u64, ObjectHandle)>) {
        *self.handle.lock().unwrap_or_else(PoisonError::into_inner) = found;
    }

    fn look(&self, session: &Session) -> Result<ObjectHandle, Fault> {
        let wanted =
            [Attribute::Token(true), Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Id(self.id.clone())];
        match session.find_objects(&wanted)?.as_slice() {
            [only] => Ok(*only),
            [] => Err(Fault::rule(format!("it has no private key of the id {}", hash::hex(&self.id)), true)),
            [_, _, ..] => {
                Err(Fault::rule(format!("it has several private keys of the id {}", hash::hex(&self.id)), false))
            }
        }
    }
}

/// The module locks by the system's means: it is called from many threads.
fn locking() -> CInitializeArgs {
    CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)
}

fn generate(session: &Session, kind: KeyKind, id: &[u8]) -> Result<PublicKey, Fault> {
    let both = [Attribute::Token(true), Attribute::Label(LABEL.as_bytes().to_vec()), Attribute::Id(id.to_vec())];
    let public = [Attribute::Private(false), Attribute::Verify(true)];
    let private =
        [Attribute::Private(true), Attribute::Sensitive(true), Attribute::Extractable(false), Attribute::Sign(true)];
    let (mechanism, kind_of_key, size) = match kind {
        KeyKind::Rsa2048 => (
            Mechanism::RsaPkcsKeyPairGen,
            KeyType::RSA,
            vec![Attribute::ModulusBits(2048.into()), Attribute::PublicExponent(vec![1, 0, 1])],
        ),
        KeyKind::EcP256 => (Mechanism::EccKeyPairGen, KeyType::EC, vec![Attribute::EcParams(P256.to_vec())]),
    };
    let of_kind = [Attribute::KeyType(kind_of_key)];
    let public = [&both[..], &of_kind, &public, &size].concat();
    let private = [&both[..], &of_kind, &private].concat();
    let (public, private) = session.generate_key_pair(&mechanism, &public, &private)?;
    let read = read_public(session, kind, public);
    if read.is_err() {
        // Nobody would know of it. What is wrong is said already.
        for half in [public, private] {
            let _ = session.destroy_object(half);
        }
    }
    read
}

fn read_public(session: &Session, kind: KeyKind, object: ObjectHandle) -> Result<PublicKey, Fault> {
    let wanted = match kind {
        KeyKind::Rsa2048 => &[AttributeType::Modulus, AttributeType::PublicExponent][..],
        KeyKind::EcP256 => &[AttributeType::EcPoint],
    };
    let (mut n, mut e, mut point) = (Vec::new(), Vec::new(), Vec::new());
    for attribute in session.get_attributes(object, wanted)? {
        if let Attribute::Modulus(bytes) = attribute {
            n = bytes;
        } else if let Attribute::PublicExponent(bytes) = attribute {
            e = bytes;
        } else if let Attribute::EcPoint(bytes) = attribute {
            point = bytes;
        }
    }
    let key = match kind {
        KeyKind::Rsa2048 => RsaPublic::from_components(&n, &e).map(PublicKey::Rsa),
        // PKCS#11 has the point in an octet string; a few devices leave that out.
        KeyKind::EcP256 => match OctetString::from_der(&point) {
            Ok(([], inner)) => EcPublic::from_point(inner.as_ref()).map(PublicKey::Ec),
            Ok(_) | Err(_) => EcPublic::from_point(&point).map(PublicKey::Ec),
        },
    };
    key.map_err(|error| Fault::rule(format!("it made a key that is none: {error}"), false))
}

#[cfg(test)]
mod tests {
    use denizen_test_softhsm::{Child, LABEL, PIN, in_child};

    use super::*;

    fn token(hsm: &Child) -> Token {
        Token::of_module(hsm.module(), LABEL, &SecretString::from(PIN)).unwrap()
    }

    #[test]
    fn a_module_is_started_again_though_others_have_opened_their_sessions_again() {
        let test = "pkcs11::tests::a_module_is_started_again_though_others_have_opened_their_sessions_again";
        let Some(hsm) = in_child(test) else { return };
        let token = token(&hsm);
        let before = token.open().ok().unwrap();
        let seen = token.0.restarts.load(Ordering::Relaxed);
        // Another call meanwhile: its sessions had gone, and nothing was started again.
        assert!(token.once(true, |session, _| Ok(session.get_session_info().map(drop)?)).is_ok());
        token.restart(seen);
        assert!(before.get_session_info().is_err(), "it was not started again");
        // Who saw the same before that finds it done.
        let after = token.open().ok().unwrap();
        token.restart(seen);
        assert!(after.get_session_info().is_ok());
    }

    #[test]
    fn a_handle_that_is_another_objects_is_looked_up_again() {
        let Some(hsm) = in_child("pkcs11::tests::a_handle_that_is_another_objects_is_looked_up_again") else { return };
        let token = token(&hsm);
        let ours = token.generate(KeyKind::EcP256).unwrap();
        for other in [KeyKind::EcP256, KeyKind::Rsa2048] {
            let other = token.generate(other).unwrap();
            let wrong = token.with_session(|session, generation| Ok((generation, other.look(session)?))).unwrap();
            ours.remember(Some(wrong));
            ours.sign(Algorithm::Es256, b"m").unwrap();
            assert_ne!(ours.known(wrong.0), Some(wrong.1));
        }
    }
}
