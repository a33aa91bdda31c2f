//! What issuing tokens and authorizing need of a service principal and of a role assignment, in as few bytes as it
//! takes: the snapshot holds these of a million machines.
//!
//! The whole records are [`super::directory::ServicePrincipal`] and [`super::roles::RoleAssignment`]: the store keeps
//! them, and whoever needs more than what stands here reads one by its key. Ids and keys are bytes here, a tenant is where
//! it is looked up, and a resource id shares its beginning with the vault or the resource group that it lies in.
//!
//! Touches nothing. Tests: below.

use std::fmt;

use denizen_keys::{RsaPublic, hash::unhex};
use denizen_wire::{ClientId, PrincipalId, ResourceId, UnixTime};
use uuid::Uuid;

use super::{
    directory::{KeyCredential, PrincipalKind, ServicePrincipal},
    federation::FederatedCredential,
    people::ExternalIdentity,
    roles::RoleId,
};

/// A service principal, as tokens are issued to it and decided by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The object id, `oid`, `principalId`.
    pub id: PrincipalId,
    /// The client it authenticates as.
    pub client_id: ClientId,
    /// The machine, or the user-assigned identity, whose identity it is; none for an application's.
    pub resource_id: Option<NestedId>,
    /// A disabled principal gets no token, and its tokens are refused by our own resources.
    pub enabled: bool,
    /// Raised to revoke: tokens issued under an earlier epoch are refused by our own resources.
    pub epoch: u64,
    /// How long its tokens live, seconds; the default of its kind when absent.
    pub token_lifetime: Option<Lifetime>,
    /// Certificates of its own.
    pub keys: Keys,
}

impl Principal {
    /// What is needed of a principal. `share` knows what the beginning of a resource id may be shared with.
    pub fn of(principal: &ServicePrincipal, share: impl FnOnce(&ResourceId) -> NestedId) -> Self {
        Self {
            id: principal.id,
            client_id: principal.client_id,
            resource_id: match &principal.kind {
                PrincipalKind::ManagedIdentity { resource_id } => Some(share(resource_id)),
                PrincipalKind::Application => None,
            },
            enabled: principal.enabled,
            epoch: principal.epoch,
            token_lifetime: principal.token_lifetime.map(Lifetime::of),
            keys: Keys::new(principal.keys.iter().map(Key::of), principal.federated.clone()),
        }
    }

    /// Whom of other issuers it takes as itself.
    pub fn federated(&self) -> &[FederatedCredential] {
        self.keys.federated()
    }

    /// Whether a token that was issued at `epoch` is still good, as far as its principal is concerned.
    ///
    /// # Errors
    /// What the principal is, or what was done to it.
    pub fn accepts(&self, epoch: u64) -> Result<(), &'static str> {
        accepts(self.enabled, self.epoch, epoch)
    }
}

/// A user, as tokens are issued to it and decided by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The object id.
    pub id: PrincipalId,
    /// `userPrincipalName`, lower case.
    pub name: Box<str>,
    /// A disabled user gets no token, and its tokens are refused by our own resources.
    pub enabled: bool,
    /// Raised to revoke.
    pub epoch: u64,
    /// Whom it is at other providers.
    pub externals: Box<[ExternalIdentity]>,
}

impl User {
    /// What is needed of a user.
    pub fn of(user: &super::people::User) -> Self {
        Self {
            id: user.id,
            name: user.name.to_lowercase().into(),
            enabled: user.enabled,
            epoch: user.epoch,
            externals: user.externals.clone().into(),
        }
    }

    /// Whether what was issued at `epoch` is still good, as far as its user is concerned.
    ///
    /// # Errors
    /// What the user is, or what was done to it.
    pub fn accepts(&self, epoch: u64) -> Result<(), &'static str> {
        accepts(self.enabled, self.epoch, epoch)
    }
}

/// An app role that was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppRole {
    /// The assignment.
    pub id: Uuid,
    /// The service principal of the resource.
    pub resource: PrincipalId,
    /// The role.
    pub role: Uuid,
}

fn accepts(enabled: bool, epoch: u64, of_the_token: u64) -> Result<(), &'static str> {
    if !enabled {
        return Err("is disabled");
    }
    if of_the_token < epoch {
        return Err("had its tokens revoked; get a new one");
    }
    Ok(())
}

/// The life of a token as a principal's record has it, seconds. What is outside 0 to 2^32 - 1 is its nearest end: the bounds
/// of a life ([`super::lifetimes`]) are far within.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime(u32);

impl Lifetime {
    /// Of a record.
    pub fn of(seconds: i64) -> Self {
        Self(u32::try_from(seconds.max(0)).unwrap_or(u32::MAX))
    }

    /// Seconds.
    pub fn seconds(self) -> i64 {
        self.0.into()
    }
}

/// The keys of a principal, and whom of other issuers it takes as itself: most have one key and nothing else, which takes
/// no list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keys {
    /// One key.
    One(Key),
    /// Nothing, or anything else.
    More(Option<Box<More>>),
}

/// What few principals have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct More {
    keys: Box<[Key]>,
    federated: Box<[FederatedCredential]>,
}

impl Keys {
    /// Of a record.
    pub fn new(keys: impl IntoIterator<Item = Key>, federated: Vec<FederatedCredential>) -> Self {
        let mut keys: Vec<Key> = keys.into_iter().collect();
        if federated.is_empty() {
            match (keys.pop(), keys.is_empty()) {
                (Some(key), true) => return Self::One(key),
                (None, _) => return Self::More(None),
                (last, _) => keys.extend(last),
            }
        }
        Self::More(Some(Box::new(More { keys: keys.into(), federated: federated.into() })))
    }

    /// All keys.
    pub fn as_slice(&self) -> &[Key] {
        match self {
            Self::One(key) => std::slice::from_ref(key),
            Self::More(more) => more.as_ref().map_or(&[], |more| &more.keys),
        }
    }

    fn federated(&self) -> &[FederatedCredential] {
        match self {
            Self::More(Some(more)) => &more.federated,
            Self::One(_) | Self::More(None) => &[],
        }
    }
}

impl FromIterator<Key> for Keys {
    fn from_iter<I: IntoIterator<Item = Key>>(keys: I) -> Self {
        Self::new(keys, Vec::new())
    }
}

/// A certificate credential, as signatures are verified with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Names it.
    pub key_id: Uuid,
    /// Valid from.
    pub start: UnixTime,
    /// Valid until.
    pub end: UnixTime,
    /// SHA-1 of the certificate: `x5t`.
    pub x5t: [u8; 20],
    /// SHA-256 of the certificate: `x5t#S256`.
    pub x5t_s256: [u8; 32],
    /// The RSA modulus, big-endian; empty when the record's cannot be read.
    n: Box<[u8]>,
    /// The RSA exponent; 0 when the record's cannot be read or is longer than any that is accepted.
    e: u64,
}

impl Key {
    /// What is needed of a credential.
    pub fn of(credential: &KeyCredential) -> Self {
        let KeyCredential { key_id, start, end, x5t, x5t_s256, ref n, ref e, .. } = *credential;
        Self::new(key_id, (start, end), x5t, x5t_s256, n, e)
    }

    /// The same of its parts: when it is valid, its thumbprints, modulus and exponent in hexadecimal.
    pub fn new(
        key_id: Uuid,
        (start, end): (UnixTime, UnixTime),
        x5t: [u8; 20],
        x5t_s256: [u8; 32],
        n: &str,
        e: &str,
    ) -> Self {
        let n = unhex(n).unwrap_or_default().into();
        let e =
            unhex(e).and_then(|e| e.into_iter().try_fold(0u64, |e, byte| Some(e.checked_mul(256)? | u64::from(byte))));
        let e = e.unwrap_or_default();
        Self { key_id, start, end, x5t, x5t_s256, n, e }
    }

    /// The same, to be checked beside those of an application.
    pub fn check(&self) -> KeyCheck<'_> {
        let numbers = Numbers::Bytes { n: &self.n, e: self.e };
        KeyCheck {
            key_id: self.key_id,
            start: self.start,
            end: self.end,
            x5t: &self.x5t,
            x5t_s256: &self.x5t_s256,
            numbers,
        }
    }
}

/// A certificate credential to check an assertion by, of a principal or of an application.
#[derive(Clone, Copy, Debug)]
pub struct KeyCheck<'a> {
    /// Names it.
    pub key_id: Uuid,
    /// Valid from.
    pub start: UnixTime,
    /// Valid until.
    pub end: UnixTime,
    /// SHA-1 of the certificate: `x5t`.
    pub x5t: &'a [u8; 20],
    /// SHA-256 of the certificate: `x5t#S256`.
    pub x5t_s256: &'a [u8; 32],
    numbers: Numbers<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Numbers<'a> {
    Bytes { n: &'a [u8], e: u64 },
    Hex { n: &'a str, e: &'a str },
}

impl KeyCheck<'_> {
    /// The key, ready to verify; none when the record's numbers make none.
    pub fn public(&self) -> Option<RsaPublic> {
        match self.numbers {
            Numbers::Bytes { n, e } => RsaPublic::from_components(n, &e.to_be_bytes()).ok(),
            Numbers::Hex { n, e } => RsaPublic::from_components(&unhex(n)?, &unhex(e)?).ok(),
        }
    }
}

impl<'a> From<&'a KeyCredential> for KeyCheck<'a> {
    fn from(key: &'a KeyCredential) -> Self {
        let numbers = Numbers::Hex { n: &key.n, e: &key.e };
        Self { key_id: key.key_id, start: key.start, end: key.end, x5t: &key.x5t, x5t_s256: &key.x5t_s256, numbers }
    }
}

/// A role that a principal has at a scope, and at everything below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Its id.
    pub id: Uuid,
    /// What it gives.
    pub role: RoleId,
    /// Where it holds.
    pub scope: NestedId,
}

/// A resource id that shares its beginning with another one. It is equal to others as a [`ResourceId`] is: without
/// regard to case, and wherever each is divided.
#[derive(Clone)]
pub struct NestedId {
    /// The beginning; none when nothing is shared.
    base: Option<ResourceId>,
    /// What follows it, as written: empty, or from a slash on.
    rest: Box<str>,
}

impl NestedId {
    /// `id`, which shares with `base` when it starts with it as that was written, and goes on after it with a segment or
    /// ends.
    pub fn within(base: Option<&ResourceId>, id: &ResourceId) -> Self {
        if let Some(base) = base
            && let Some(rest) = id.as_str().strip_prefix(base.as_str())
            && (rest.is_empty() || rest.starts_with('/'))
        {
            return Self { base: Some(base.clone()), rest: rest.into() };
        }
        Self { base: None, rest: id.as_str().into() }
    }

    /// The beginning, as written. What follows is [`Self::rest`].
    fn base(&self) -> &str {
        self.base.as_ref().map_or("", ResourceId::as_str)
    }

    /// Whether it is this scope.
    pub fn is(&self, scope: &ResourceId) -> bool {
        self.below(scope).is_some_and(str::is_empty)
    }

    /// Whether what is assigned here holds at `scope`: it is the same, or one of [`ResourceId::scopes`].
    pub fn holds_at(&self, scope: &ResourceId) -> bool {
        if self.base.is_none() && &*self.rest == "/" {
            return true;
        }
        self.below(scope).is_some_and(|below| below.is_empty() || below.starts_with('/')) && !self.ends_in_a_namespace()
    }

    /// What of `scope`, canonical, follows this id; none when it does not start with it.
    fn below<'s>(&self, scope: &'s ResourceId) -> Option<&'s str> {
        let after = match &self.base {
            Some(base) => scope.canonical().strip_prefix(base.canonical())?,
            None => scope.canonical(),
        };
        let (same, below) = after.split_at_checked(self.rest.len())?;
        same.eq_ignore_ascii_case(&self.rest).then_some(below)
    }

    /// Whether it ends in `providers/{namespace}`, which names nothing that can be assigned on.
    fn ends_in_a_namespace(&self) -> bool {
        let rest = self.rest.strip_prefix('/').map(|rest| rest.rsplit('/'));
        let mut segments = rest.into_iter().flatten().chain(self.base().rsplit('/'));
        segments.nth(1).is_some_and(|segment| segment.eq_ignore_ascii_case("providers"))
    }

    fn bytes(&self) -> impl Iterator<Item = u8> {
        self.base().bytes().chain(self.rest.bytes()).map(|byte| byte.to_ascii_lowercase())
    }
}

/// By itself: it shares nothing.
impl From<&ResourceId> for NestedId {
    fn from(id: &ResourceId) -> Self {
        Self::within(None, id)
    }
}

impl PartialEq for NestedId {
    fn eq(&self, other: &Self) -> bool {
        self.bytes().eq(other.bytes())
    }
}

impl Eq for NestedId {}

impl fmt::Display for NestedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.base())?;
        f.write_str(&self.rest)
    }
}

impl fmt::Debug for NestedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NestedId({}|{})", self.base(), self.rest)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GROUP: &str = "/subscriptions/6f9619ff-8b86-d011-b42d-00cf4fc964ff/resourceGroups/Dev";

    fn id(text: &str) -> ResourceId {
        text.parse().unwrap()
    }

    /// Every way in which an id can be divided.
    fn divided(text: &str) -> Vec<NestedId> {
        let whole = id(text);
        let bases = whole.scopes().skip(1).map(|scope| id(&text[..scope.len()]));
        let nested: Vec<_> = bases.map(|base| NestedId::within(Some(&base), &whole)).collect();
        nested.into_iter().chain([NestedId::from(&whole)]).collect()
    }

    #[test]
    fn an_id_is_the_same_however_it_is_divided() {
        let text = format!("{GROUP}/providers/Microsoft.KeyVault/vaults/V1/secrets/S1");
        let ways = divided(&text);
        assert_eq!(ways.len(), 5);
        for one in &ways {
            assert_eq!(one.to_string(), text);
            assert!(ways.iter().all(|other| other == one));
            assert!(one.is(&id(&text.to_uppercase())) && !one.is(&id(GROUP)) && !one.is(&id(&format!("{text}/a/b"))));
            assert!(divided(&text.to_uppercase()).iter().all(|other| other == one));
            assert!(divided(&format!("{text}2")).iter().all(|other| other != one));
        }
        // It shares with what it is, and never with a name that only starts alike, or in another case.
        let sharing = NestedId::within(Some(&id(GROUP)), &id(&text));
        assert_eq!(&*sharing.rest, &text[GROUP.len()..]);
        for base in [GROUP.trim_end_matches('v'), &GROUP.to_lowercase(), "/"] {
            assert!(NestedId::within(Some(&id(base)), &id(&text)).base.is_none(), "{base}");
        }
    }

    proptest! {
        /// The rule is that of [`ResourceId::scopes`], whatever is shared.
        #[test]
        fn a_scope_holds_at_itself_and_below(
            above in "(/[aAbB]|/providers){0,4}", below in "(/[aAbB]|/providers){0,6}", grown in any::<bool>(),
        ) {
            let below = if grown { format!("{above}{below}") } else { below };
            let (Ok(above), Ok(below)) = (above.parse::<ResourceId>(), below.parse::<ResourceId>()) else {
                return Ok(());
            };
            let holds = below.scopes().any(|scope| scope == above.canonical());
            for nested in divided(above.as_str()) {
                prop_assert_eq!(nested.holds_at(&below), holds, "{:?} at {:?}", nested, below);
                prop_assert_eq!(nested.is(&below), above == below);
            }
        }
    }

    #[test]
    fn a_key_verifies_as_its_record_does_or_not_at_all() {
        let (n, e) = ("c1".repeat(256), "010001");
        let with = |n: &str, e: &str| KeyCredential {
            key_id: Uuid::nil(),
            display_name: String::new(),
            start: UnixTime(1),
            end: UnixTime(2),
            x5t: [3; 20],
            x5t_s256: [4; 32],
            n: n.to_owned(),
            e: e.to_owned(),
        };
        for (n, e, good) in [
            (n.as_str(), e, true),
            (&n, "00000000000000000000010001", true),
            (&n, "0000000000010001", true),
            (&n, "10001", false),
            (&n, "", false),
            (&n, "xx", false),
            (&n, "+f", false),
            (&n, "0001", false),
            (&n, "01000000010000000001", false),
            ("", e, false),
            ("zz", e, false),
            ("c1", e, false),
        ] {
            let record = with(n, e);
            let (cold, hot) = (KeyCheck::from(&record).public(), Key::of(&record).check().public());
            assert_eq!((cold.is_some(), hot.is_some()), (good, good), "{n} {e}");
            if let (Some(cold), Some(hot)) = (cold, hot) {
                assert_eq!((cold.n(), cold.e()), (hot.n(), hot.e()));
            }
        }
    }

    #[test]
    fn keys_are_those_of_the_record_in_its_order() {
        let key = |n: u8| Key::new(Uuid::from_u128(n.into()), (UnixTime(1), UnixTime(2)), [n; 20], [n; 32], "c1", "03");
        for count in 0..4 {
            let keys: Vec<Key> = (0..count).map(key).collect();
            let packed: Keys = keys.iter().cloned().collect();
            assert_eq!(packed.as_slice(), keys);
            assert_eq!(matches!(packed, Keys::One(_)), count == 1);
        }
    }

    #[test]
    fn a_lifetime_keeps_what_the_bounds_look_at() {
        for (seconds, kept) in [(-5, 0), (0, 0), (300, 300), (86_400, 86_400), (i64::MAX, u32::MAX.into())] {
            assert_eq!(Lifetime::of(seconds).seconds(), kept);
        }
    }

    /// A million of each are in memory: what grows here is paid a million times.
    #[test]
    fn they_stay_small() {
        assert!(size_of::<Principal>() <= 208, "{}", size_of::<Principal>());
        assert!(size_of::<Assignment>() <= 64, "{}", size_of::<Assignment>());
    }
}
