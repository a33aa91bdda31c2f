//! What people sign in by, and what clients get for it: sessions, authorization codes, device codes, refresh tokens.
//!
//! Each is kept by the SHA-256 of a secret that is kept nowhere (`store/one_time.rs`), with what was true when it was made.
//! What can change since (the user, the client, what was consented to) is looked up when it is used.

use denizen_keys::{SecretString, hash};
use denizen_wire::{ClientId, PrincipalId, TenantId, UnixTime};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A session ends this long after it began, seconds.
pub const SESSION_LIFETIME: i64 = 24 * 3600;
/// Between the first step of a sign-in and its last, seconds.
pub const STEPS_LIFETIME: i64 = 600;
/// An authorization code is worth something for this long, seconds (RFC 6749, section 4.1.2: at most ten minutes).
pub const CODE_LIFETIME: i64 = 600;
/// A device code, seconds, as Entra's.
pub const DEVICE_CODE_LIFETIME: i64 = 900;
/// A device asks again after this long, seconds.
pub const DEVICE_INTERVAL: i64 = 5;
/// A refresh token ends this long after its last use, seconds: ninety days, as Entra's.
pub const REFRESH_LIFETIME: i64 = 90 * 24 * 3600;
/// A refresh token that was spent is answered once more for this long, seconds: its first answer may have been lost, and two
/// programs of one user may share it. Later it is taken for stolen.
pub const REFRESH_GRACE: i64 = 30;

/// What is kept of a secret: its SHA-256 in lower-case hexadecimal.
pub fn hash_of(secret: &SecretString) -> String {
    hash::hex(&hash::sha256(secret.expose().as_bytes()))
}

/// What is kept of a code that a person types: as [`hash_of`], without regard to case, spaces and dashes.
pub fn hash_of_user_code(typed: &str) -> String {
    let plain: String = typed.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_uppercase()).collect();
    hash_of(&SecretString::from(plain))
}

/// Who has signed in, when and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignIn {
    /// The user's tenant.
    pub tenant: TenantId,
    /// The user.
    pub user: PrincipalId,
    /// The user's epoch then: what was revoked since is refused.
    pub epoch: u64,
    /// When.
    pub at: UnixTime,
    /// How, as `amr` has it: `pwd`, `mfa`, `fed`.
    pub methods: Vec<String>,
    /// The session that it began, as `sid` has it.
    pub session: Uuid,
}

/// A browser in which a user has signed in. It is looked up at each use, and redeemed by signing out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Its id.
    pub id: Uuid,
    /// The user's tenant.
    pub tenant: TenantId,
    /// SHA-256 of the cookie, lower-case hexadecimal.
    pub hash: String,
    /// When it ends.
    pub expires: UnixTime,
    /// Who has signed in.
    pub sign_in: SignIn,
}

/// A browser in which a user has typed its password, and has more to do before it has signed in. Redeemed by the last step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignInStep {
    /// Its id.
    pub id: Uuid,
    /// The user's tenant.
    pub tenant: TenantId,
    /// SHA-256 of the cookie, lower-case hexadecimal.
    pub hash: String,
    /// When it ends.
    pub expires: UnixTime,
    /// What is to be done next.
    pub next: NextStep,
    /// What was done.
    pub sign_in: SignIn,
}

/// What a user has to do after typing its password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NextStep {
    /// Type a code of its second factor.
    Code,
    /// Choose a new password: somebody else knows this one.
    NewPassword,
}

/// What a browser brings its client, and the client exchanges for tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorizationCode {
    /// Its id.
    pub id: Uuid,
    /// The user's tenant.
    pub tenant: TenantId,
    /// SHA-256 of the code, lower-case hexadecimal.
    pub hash: String,
    /// When it ends.
    pub expires: UnixTime,
    /// The client that asked.
    pub client: ClientId,
    /// Where the browser was sent. The client must name the same.
    pub redirect_uri: String,
    /// What was asked for, by spaces.
    pub scope: String,
    /// Goes into the id token as it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    /// BASE64URL(SHA256(code_verifier)) (RFC 7636); none where the client has a credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<String>,
    /// Who has signed in.
    pub sign_in: SignIn,
}

/// What a device polls with. What was decided about it is a [`DeviceDecision`] of the same secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceCode {
    /// Its id.
    pub id: Uuid,
    /// The tenant that was asked; of those that a shared name stands for, the one that was made first.
    pub tenant: TenantId,
    /// SHA-256 of the device code, lower-case hexadecimal.
    pub hash: String,
    /// When it ends.
    pub expires: UnixTime,
    /// The client that asked.
    pub client: ClientId,
}

/// What a person types to say which device it is. Redeemed by the decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserCode {
    /// Its id.
    pub id: Uuid,
    /// As the device code's.
    pub tenant: TenantId,
    /// SHA-256 of the user code, upper case without its dash, in lower-case hexadecimal.
    pub hash: String,
    /// When it ends.
    pub expires: UnixTime,
    /// The device code's hash.
    pub device: String,
    /// The client that asked.
    pub client: ClientId,
    /// What was asked for, by spaces.
    pub scope: String,
    /// Whether users of every tenant may decide.
    pub is_shared: bool,
    /// The address that the device asked from, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<std::net::IpAddr>,
}

/// What a person has decided about a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceDecision {
    /// Its id.
    pub id: Uuid,
    /// As the device code's.
    pub tenant: TenantId,
    /// SHA-256 of the device code, lower-case hexadecimal.
    pub hash: String,
    /// When it ends.
    pub expires: UnixTime,
    /// What was asked for, by spaces.
    pub scope: String,
    /// Who has signed in; none when it was declined.
    pub sign_in: Option<SignIn>,
}

/// A refresh token and all that come of it: one row, which is renewed each time one is spent. The token names the row and the
/// generation; one of an earlier generation was stolen, or its thief was first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshToken {
    /// Its id.
    pub id: Uuid,
    /// The user's tenant.
    pub tenant: TenantId,
    /// SHA-256 of what all its generations share, lower-case hexadecimal.
    pub hash: String,
    /// When it ends.
    pub expires: UnixTime,
    /// The generation that is good.
    pub generation: u32,
    /// When the generation before it was spent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spent: Option<UnixTime>,
    /// The client that it was given to.
    pub client: ClientId,
    /// What was consented to when it was made, by spaces.
    pub scope: String,
    /// Who has signed in.
    pub sign_in: SignIn,
}
