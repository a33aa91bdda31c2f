//! The directory: tenants, applications, service principals, credentials and the keys that sign tokens.
//!
//! These are the records the store keeps and the snapshot serves, so they are plain serializable values. Secrets
//! are here only as what is kept of them: a password's MAC or hash, a key's public half, a sealed private key. Of a service
//! principal the snapshot serves [`super::hot::Principal`].

use std::fmt::Display;

use denizen_keys::{Algorithm, KeyKind};
use denizen_wire::{ClientId, PrincipalId, ResourceId, TenantId, UnixTime};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::federation::{FederatedCredential, TrustedSubject};

/// A tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    /// Its id; every record below carries it.
    pub id: TenantId,
    /// The domain name it also goes by in URLs, lower case.
    pub domain: String,
    /// For people.
    pub display_name: String,
    /// The tenant's key-encryption key under the root key, standard base64. It wraps the tenant's signing keys and
    /// the keys of its vaults.
    pub sealed_kek: String,
    /// When it was made.
    pub created: UnixTime,
}

/// An application: what a program is registered as. Its identity in the tenant is its service principal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Application {
    /// Its tenant.
    pub tenant: TenantId,
    /// `appId`.
    pub client_id: ClientId,
    /// Its own object id, which is not its principal's.
    pub object_id: Uuid,
    /// For people.
    pub display_name: String,
    /// The resources it is: `api://…` or an https URL, compared exactly. Tokens may be asked for these.
    pub identifier_uris: Vec<String>,
    /// The version of the tokens it accepts as a resource.
    pub token_version: TokenVersion,
    /// What the tokens that it accepts as a resource are signed by.
    #[serde(default, skip_serializing_if = "SigningAlgorithm::is_usual")]
    pub signing_algorithm: SigningAlgorithm,
    /// Its secrets.
    pub passwords: Vec<PasswordCredential>,
    /// Its certificates.
    pub keys: Vec<KeyCredential>,
    /// The roles that it has as a resource.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub app_roles: Vec<AppRole>,
    /// The permissions that it has as a resource, for clients that act for users.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<PermissionScope>,
    /// Which groups its tokens name.
    #[serde(default, skip_serializing_if = "GroupClaims::are_none")]
    pub group_claims: GroupClaims,
    /// Whether only who has one of its roles gets a token for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub assignment_required: bool,
    /// Whether it may act for users without a credential of its own: a program on a user's machine has none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub public_client: bool,
    /// Where browsers may be sent back to.
    #[serde(default, skip_serializing_if = "RedirectUris::is_empty")]
    pub redirect_uris: RedirectUris,
    /// Whom of other issuers it takes as itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub federated: Vec<FederatedCredential>,
    /// Which certificates of which authorities prove it without being registered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trusted_subjects: Vec<TrustedSubject>,
}

/// Where browsers may be sent back to, by what runs there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedirectUris {
    /// A server, which has a credential.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub web: Vec<String>,
    /// A page, whose script redeems the code.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spa: Vec<String>,
    /// A program on the user's machine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub public_client: Vec<String>,
}

impl RedirectUris {
    fn is_empty(&self) -> bool {
        self.web.is_empty() && self.spa.is_empty() && self.public_client.is_empty()
    }
}

impl Application {
    /// One that has nothing yet.
    pub fn new(tenant: TenantId, client_id: ClientId, object_id: Uuid, display_name: &str) -> Self {
        Self {
            tenant,
            client_id,
            object_id,
            display_name: display_name.to_owned(),
            identifier_uris: Vec::new(),
            token_version: TokenVersion::V1,
            signing_algorithm: SigningAlgorithm::Rs256,
            passwords: Vec::new(),
            keys: Vec::new(),
            app_roles: Vec::new(),
            scopes: Vec::new(),
            group_claims: GroupClaims::None,
            assignment_required: false,
            public_client: false,
            redirect_uris: RedirectUris::default(),
            federated: Vec::new(),
            trusted_subjects: Vec::new(),
        }
    }
}

/// A role of an application, which its tokens name in `roles`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppRole {
    /// Its id.
    pub id: Uuid,
    /// As tokens have it.
    pub value: String,
    /// For people.
    pub display_name: String,
    /// For people.
    pub description: String,
    /// Who may have it.
    pub members: Vec<AppRoleMembers>,
    /// One that is not is in no token.
    pub enabled: bool,
}

/// Who may have an app role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AppRoleMembers {
    /// Users and groups.
    User,
    /// Service principals.
    Application,
}

/// A permission of an application that clients may use in users' names; tokens have it in `scp`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PermissionScope {
    /// Its id.
    pub id: Uuid,
    /// As tokens have it.
    pub value: String,
    /// For whoever is asked to consent.
    pub display_name: String,
    /// For the same.
    pub description: String,
    /// Whether a user may consent to it, or an administrator only.
    pub users_consent: bool,
    /// One that is not is in no token.
    pub enabled: bool,
}

/// Which groups a resource's tokens name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupClaims {
    /// None.
    #[default]
    None,
    /// All that the principal is in, however deep.
    All,
}

impl GroupClaims {
    fn are_none(&self) -> bool {
        *self == Self::None
    }
}

/// The version of access token a resource reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TokenVersion {
    /// What every Azure resource reads.
    #[default]
    V1,
    /// What an application may ask for.
    V2,
}

/// What tokens are signed by. A tenant has keys of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SigningAlgorithm {
    /// What every client and every resource reads; all that Entra signs by.
    #[default]
    #[serde(rename = "RS256")]
    Rs256,
    /// What an application may ask for.
    #[serde(rename = "ES256")]
    Es256,
}

impl SigningAlgorithm {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Rs256, Self::Es256];

    /// Whether it is what holds where nothing else was said: records of earlier releases do not say.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
    fn is_usual(&self) -> bool {
        *self == Self::default()
    }

    /// The same as a token's `alg`.
    pub fn in_tokens(self) -> Algorithm {
        match self {
            Self::Rs256 => Algorithm::Rs256,
            Self::Es256 => Algorithm::Es256,
        }
    }

    /// The keys that sign by it.
    pub fn keys(self) -> KeyKind {
        match self {
            Self::Rs256 => KeyKind::Rsa2048,
            Self::Es256 => KeyKind::EcP256,
        }
    }
}

/// A service principal: the identity that roles are given to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServicePrincipal {
    /// Its tenant.
    pub tenant: TenantId,
    /// The object id, `oid`, `principalId`.
    pub id: PrincipalId,
    /// The client it authenticates as.
    pub client_id: ClientId,
    /// For people.
    pub display_name: String,
    /// What it stands for.
    pub kind: PrincipalKind,
    /// A disabled principal gets no token, and its tokens are refused by our own resources.
    pub enabled: bool,
    /// Raised to revoke: tokens issued under an earlier epoch are refused by our own resources.
    pub epoch: u64,
    /// Certificates of its own. A managed identity has no application, so its node key stands here.
    pub keys: Vec<KeyCredential>,
    /// How long its tokens live, seconds; the default of its kind when absent.
    pub token_lifetime: Option<i64>,
    /// Whom of other issuers it takes as itself: of a user-assigned managed identity. An application has its own list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub federated: Vec<FederatedCredential>,
}

/// What a service principal stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PrincipalKind {
    /// An application in this tenant.
    Application,
    /// A managed identity.
    ManagedIdentity {
        /// The machine, or the user-assigned identity, whose identity it is.
        resource_id: ResourceId,
    },
}

/// Whether this resource id is of a managed identity that people make, and of no machine.
pub fn is_user_assigned(identity: &impl Display) -> bool {
    let canonical = identity.to_string().to_ascii_lowercase();
    canonical.contains("/providers/microsoft.managedidentity/userassignedidentities/")
}

/// A client secret, as it is kept.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "KeptPassword", into = "KeptPassword")]
pub struct PasswordCredential {
    /// Names it for people and for removal.
    pub key_id: Uuid,
    /// For people.
    pub display_name: String,
    /// The first three characters, so that people can tell one from another.
    pub hint: String,
    /// Valid from.
    pub start: UnixTime,
    /// Valid until.
    pub end: UnixTime,
    /// What tells it from others.
    pub kept: Kept,
}

/// What is kept of a secret. Has no `Debug`: it stays out of logs.
#[derive(Clone, PartialEq, Eq)]
pub enum Kept {
    /// HMAC-SHA256 of the client's id and the secret, under a key of the tenant's that is sealed: of a secret that this
    /// server has made of 256 random bits, which nobody guesses however fast the computation.
    Mac([u8; 32]),
    /// argon2id: of a secret that somebody chose, or that an earlier release made.
    Argon2id {
        /// In PHC form.
        hash: String,
        /// What [`Kept::check_of`] gives for it: says of all but one in four thousand million wrong secrets that they are
        /// wrong, without the costly hash. Only of secrets of 256 random bits.
        check: u32,
    },
}

impl Kept {
    /// The first 32 bits of a digest of a secret and the id of its credential. The secrets that earlier releases made have
    /// 256 random bits, so whoever reads these 32 is no nearer to one.
    pub fn check_of(key_id: Uuid, secret: &str) -> u32 {
        let [a, b, c, d, ..] = denizen_keys::hash::sha256_of(&[key_id.as_bytes(), secret.as_bytes()]);
        u32::from_be_bytes([a, b, c, d])
    }
}

/// A [`PasswordCredential`] as its record has it: with `mac`, or with `hash` and `check` as the first release wrote it.
#[derive(Serialize, Deserialize)]
struct KeptPassword {
    key_id: Uuid,
    display_name: String,
    hint: String,
    start: UnixTime,
    end: UnixTime,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    check: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hash: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mac: Option<String>,
}

impl From<PasswordCredential> for KeptPassword {
    fn from(password: PasswordCredential) -> Self {
        let PasswordCredential { key_id, display_name, hint, start, end, kept } = password;
        let (check, hash, mac) = match kept {
            Kept::Mac(mac) => (None, None, Some(denizen_keys::hash::hex(&mac))),
            Kept::Argon2id { hash, check } => (Some(check), Some(hash), None),
        };
        Self { key_id, display_name, hint, start, end, check, hash, mac }
    }
}

impl TryFrom<KeptPassword> for PasswordCredential {
    type Error = &'static str;

    fn try_from(password: KeptPassword) -> Result<Self, &'static str> {
        let KeptPassword { key_id, display_name, hint, start, end, check, hash, mac } = password;
        let kept = match (mac, hash, check) {
            (Some(mac), None, None) => Kept::Mac(
                denizen_keys::hash::unhex(&mac)
                    .and_then(|bytes| bytes.try_into().ok())
                    .ok_or("a client secret's mac is not 32 bytes of hexadecimal")?,
            ),
            (None, Some(hash), Some(check)) => Kept::Argon2id { hash, check },
            _ => return Err("a client secret is kept as a mac, or as a hash and its check, and as nothing else"),
        };
        Ok(Self { key_id, display_name, hint, start, end, kept })
    }
}

// Not derived: what is kept of the secret stays out of logs.
impl std::fmt::Debug for PasswordCredential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PasswordCredential")
            .field("key_id", &self.key_id)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

/// A certificate credential: the public half of a key the client holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyCredential {
    /// Names it for people and for removal.
    pub key_id: Uuid,
    /// For people.
    pub display_name: String,
    /// Valid from.
    pub start: UnixTime,
    /// Valid until.
    pub end: UnixTime,
    /// SHA-1 of the certificate: `x5t`.
    pub x5t: [u8; 20],
    /// SHA-256 of the certificate: `x5t#S256`.
    #[serde(with = "hex32")]
    pub x5t_s256: [u8; 32],
    /// The RSA modulus, big-endian, as hexadecimal: what verification needs of the certificate, and no more of it.
    pub n: String,
    /// The RSA exponent, likewise.
    pub e: String,
}

mod hex32 {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&denizen_keys::hash::hex(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
        let text = String::deserialize(deserializer)?;
        denizen_keys::hash::unhex(&text)
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| D::Error::custom("not 32 bytes of hexadecimal"))
    }
}

/// A key that signs tokens, sealed. Of each algorithm two are published at any time: the one that signs, and the next or
/// the last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningKey {
    /// Its tenant: no key signs for two.
    pub tenant: TenantId,
    /// base64url SHA-1 thumbprint of its certificate, as Entra names its keys.
    pub kid: String,
    /// What it signs by.
    #[serde(default, skip_serializing_if = "SigningAlgorithm::is_usual")]
    pub alg: SigningAlgorithm,
    /// The self-signed certificate, standard base64 of its DER: published as `x5c`.
    pub certificate: String,
    /// What `denizen_keys::Custody` keeps of the private key, the key itself or where a device has it, under the tenant's
    /// key-encryption key, standard base64. Never in the clear.
    pub sealed: String,
    /// When it was made; it is published from then on.
    pub created: UnixTime,
    /// When it starts to sign.
    pub signs_from: UnixTime,
    /// When it stops to sign; none while no successor is planned.
    pub signs_until: Option<UnixTime>,
    /// When it leaves the published set: after every token it signed has ended.
    pub published_until: Option<UnixTime>,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn record(members: &Value) -> Value {
        let mut record = json!({
            "key_id": Uuid::from_u128(1), "display_name": "p", "hint": "abc", "start": 1, "end": 2,
        });
        record.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        record
    }

    #[test]
    fn a_secret_is_read_as_this_release_and_as_the_first_wrote_it() {
        let read = |members: &Value| serde_json::from_value::<PasswordCredential>(record(members));
        let mac = "ab".repeat(32);
        let (new, old) = (json!({ "mac": mac }), json!({ "check": 7, "hash": "$argon2id$" }));
        assert!(matches!(read(&new).unwrap().kept, Kept::Mac(kept) if kept == [0xab; 32]));
        assert!(matches!(read(&old).unwrap().kept, Kept::Argon2id { hash, check: 7 } if hash == "$argon2id$"));
        for members in [new, old] {
            assert_eq!(serde_json::to_value(read(&members).unwrap()).unwrap(), record(&members));
        }
        for bad in [
            json!({}),
            json!({ "hash": "h" }),
            json!({ "check": 7 }),
            json!({ "mac": mac, "hash": "h", "check": 7 }),
            json!({ "mac": mac, "check": 7 }),
            json!({ "mac": "ab" }),
            json!({ "mac": "zz".repeat(32) }),
            json!({ "mac": "" }),
        ] {
            assert!(read(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn d09_nothing_of_a_secret_is_printed() {
        let printed =
            |members: &Value| format!("{:?}", serde_json::from_value::<PasswordCredential>(record(members)).unwrap());
        let (mac, hash) = (json!({ "mac": "ab".repeat(32) }), json!({ "check": 4242, "hash": "MARKER" }));
        for printed in [printed(&mac), printed(&hash)] {
            assert!(!printed.contains("171") && !printed.contains("abab") && !printed.contains("MARKER"), "{printed}");
            assert!(!printed.contains("4242"), "{printed}");
        }
    }
}
