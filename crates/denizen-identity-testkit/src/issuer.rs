//! Who signs the kit's tokens, and for whom. Keys are RSA-2048, made when first needed; the tokens have the claims
//! Entra's app-only tokens have, so a program that looks into its token sees what it would see in Azure.

use std::{
    io,
    sync::{Arc, Mutex},
};

use aws_lc_rs::{
    digest::SHA1_FOR_LEGACY_USE_ONLY,
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{KeyPair as _, RSA_PKCS1_SHA256},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as URL};
use denizen_wire::UnixTime;
use serde_json::{Value, json};

use crate::{
    random_hex,
    server::{Behavior, ExpiresOn, lock},
};

/// The tenant of an [`Issuer`] that was not given one.
pub const TENANT: &str = "10000000-0000-4000-8000-000000000001";

/// An identity of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `appid`.
    pub client_id: String,
    /// `oid`.
    pub object_id: String,
    /// The ARM id: of the machine, or of the user-assigned identity.
    pub resource_id: String,
}

/// The identities an endpoint has.
#[derive(Clone, Debug)]
pub struct Identities {
    /// The one a request without a selector gets.
    pub system: Option<Identity>,
    /// Those that must be named.
    pub user: Vec<Identity>,
}

impl Default for Identities {
    fn default() -> Self {
        const GROUP: &str = "/subscriptions/20000000-0000-4000-8000-000000000001/resourcegroups/kit/providers";
        let identity = |n: u8, path: &str| Identity {
            client_id: format!("30000000-0000-4000-8000-00000000000{n}"),
            object_id: format!("40000000-0000-4000-8000-00000000000{n}"),
            resource_id: format!("{GROUP}/{path}"),
        };
        Self {
            system: Some(identity(1, "Microsoft.HybridCompute/machines/kit")),
            user: vec![identity(2, "Microsoft.ManagedIdentity/userAssignedIdentities/kit")],
        }
    }
}

impl Identities {
    /// The identity a selector names. GUIDs and resource ids are compared without regard to case.
    pub(crate) fn find(&self, selector: &str, value: &str) -> Option<&Identity> {
        self.system.iter().chain(&self.user).find(|identity| {
            let id = match selector {
                "client_id" | "clientid" => &identity.client_id,
                "object_id" | "principalId" => &identity.object_id,
                _ => &identity.resource_id,
            };
            id.eq_ignore_ascii_case(value)
        })
    }
}

/// Signs tokens for one tenant. Clones share their keys.
#[derive(Clone)]
pub struct Issuer {
    tenant: String,
    /// Of v1 tokens.
    iss: String,
    /// Of v2 tokens.
    iss_v2: String,
    keys: Arc<Mutex<Vec<Key>>>,
}

struct Key {
    kid: String,
    pair: Arc<KeyPair>,
}

impl Default for Issuer {
    fn default() -> Self {
        Self::entra(TENANT)
    }
}

impl Issuer {
    /// Writes `iss` as Entra does: `https://sts.windows.net/{tenant}/` in v1 tokens, and
    /// `https://login.microsoftonline.com/{tenant}/v2.0` in v2 tokens.
    pub fn entra(tenant: &str) -> Self {
        Self {
            tenant: tenant.to_owned(),
            iss: format!("https://sts.windows.net/{tenant}/"),
            iss_v2: format!("https://login.microsoftonline.com/{tenant}/v2.0"),
            keys: Arc::default(),
        }
    }

    /// An issuer that is no Entra tenant: one that a token service federates with. Its tokens of either version name it
    /// exactly so.
    pub fn named(iss: &str) -> Self {
        Self { iss: iss.to_owned(), iss_v2: iss.to_owned(), ..Self::default() }
    }

    /// The same tenant and keys under another authority's name: `{authority}/{tenant}/` and `{authority}/{tenant}/v2.0`.
    #[must_use]
    pub fn at(&self, authority: &str) -> Self {
        Self {
            iss: format!("{authority}/{}/", self.tenant),
            iss_v2: format!("{authority}/{}/v2.0", self.tenant),
            ..self.clone()
        }
    }

    /// The tenant.
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// The `iss` of its v1 tokens.
    pub fn iss(&self) -> &str {
        &self.iss
    }

    /// The `iss` of its v2 tokens.
    pub fn iss_v2(&self) -> &str {
        &self.iss_v2
    }

    /// Makes a new key and signs with it from now on; the old ones stay published.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn rotate(&self) -> io::Result<()> {
        let key = Key::generate()?;
        lock(&self.keys).push(key);
        Ok(())
    }

    /// Publishes no key but the newest.
    pub fn retire(&self) {
        let mut keys = lock(&self.keys);
        let old = keys.len().saturating_sub(1);
        keys.drain(..old);
    }

    /// The claims of an app-only v1 token for `identity`.
    pub fn claims(&self, identity: &Identity, resource: &str, now: UnixTime, lifetime: i64) -> Value {
        json!({
            "aud": resource,
            "iss": self.iss,
            "iat": now.0,
            "nbf": now.0 - 300,
            "exp": now.0 + lifetime,
            "appid": identity.client_id,
            "appidacr": "2",
            "idp": self.iss,
            "idtyp": "app",
            "oid": identity.object_id,
            "sub": identity.object_id,
            "tid": self.tenant,
            "uti": random_hex::<16>().unwrap_or_default(),
            "ver": "1.0",
            "xms_mirid": identity.resource_id,
        })
    }

    /// The claims of an app-only v2 token, whose audience is the resource's client id.
    pub fn claims_v2(&self, identity: &Identity, audience: &str, now: UnixTime, lifetime: i64) -> Value {
        json!({
            "aud": audience,
            "iss": self.iss_v2,
            "iat": now.0,
            "nbf": now.0 - 300,
            "exp": now.0 + lifetime,
            "azp": identity.client_id,
            "azpacr": "2",
            "oid": identity.object_id,
            "sub": identity.object_id,
            "tid": self.tenant,
            "uti": random_hex::<16>().unwrap_or_default(),
            "ver": "2.0",
        })
    }

    /// Signs these claims (RS256), with `kid` and `x5t` in the header as v1 tokens have them.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn sign(&self, claims: &Value) -> io::Result<String> {
        let (kid, _) = self.current()?;
        self.sign_under(&json!({"typ": "JWT", "alg": "RS256", "kid": kid, "x5t": kid}), claims)
    }

    /// Signs these claims under a header of the caller's making, whatever it says: for refusals.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn sign_under(&self, header: &Value, claims: &Value) -> io::Result<String> {
        self.sign_text(&header.to_string(), &claims.to_string())
    }

    /// Signs header and claims that need not even be JSON.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn sign_text(&self, header: &str, claims: &str) -> io::Result<String> {
        let (_, pair) = self.current()?;
        let text = format!("{}.{}", URL.encode(header), URL.encode(claims));
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature)
            .map_err(|_| io::Error::other("the key does not sign"))?;
        Ok(format!("{text}.{}", URL.encode(signature)))
    }

    /// The key document.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn jwks(&self) -> io::Result<Value> {
        self.current()?;
        let keys = lock(&self.keys);
        let keys = keys.iter().map(|key| {
            // `RSAPublicKey` (RFC 8017) of 2048 bits: after two headers and the modulus's sign byte, 256 bytes of
            // modulus; the exponent that keys are made with is 65537.
            let modulus = key.pair.public_key().as_ref().get(9..265).unwrap_or_default();
            json!({
                "kty": "RSA", "use": "sig", "kid": key.kid, "x5t": key.kid,
                "n": URL.encode(modulus), "e": "AQAB",
            })
        });
        Ok(json!({"keys": keys.collect::<Vec<_>>()}))
    }

    /// The id of the key that signs now.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn kid(&self) -> io::Result<String> {
        Ok(self.current()?.0)
    }

    /// Each published key as `RSAPublicKey` (RFC 8017).
    pub(crate) fn public_keys(&self) -> Vec<Vec<u8>> {
        lock(&self.keys).iter().map(|key| key.pair.public_key().as_ref().to_vec()).collect()
    }

    fn current(&self) -> io::Result<(String, Arc<KeyPair>)> {
        let mut keys = lock(&self.keys);
        if keys.is_empty() {
            keys.push(Key::generate()?);
        }
        let key = keys.last().ok_or_else(|| io::Error::other("no key"))?;
        Ok((key.kid.clone(), Arc::clone(&key.pair)))
    }

    /// The answer of a managed-identity endpoint: every member some client insists on, in `behavior`.
    pub(crate) fn answer(
        &self,
        identity: &Identity,
        resource: &str,
        now: UnixTime,
        behavior: &Behavior,
    ) -> io::Result<Value> {
        let token = self.sign(&self.claims(identity, resource, now, behavior.lifetime))?;
        let number = |n: i64| if behavior.numbers { json!(n) } else { json!(n.to_string()) };
        let expires = now + behavior.lifetime;
        // The members are written in alphabetical order, which keeps `expires_on` after `expires_in`: .NET's client
        // lets the last of them win.
        let mut body = json!({
            "access_token": token,
            "client_id": identity.client_id,
            "object_id": identity.object_id,
            "msi_res_id": identity.resource_id,
            "expires_in": number(behavior.lifetime),
            "expires_on": date(expires, behavior.expires_on).map_or_else(|| number(expires.0), Value::from),
            "ext_expires_in": number(behavior.lifetime),
            "not_before": number(now.0 - 300),
            "resource": resource,
            "token_type": "Bearer",
        });
        if let Some(body) = body.as_object_mut() {
            body.retain(|name, _| !behavior.omit.contains(&name.as_str()));
            body.extend(behavior.replace.clone());
        }
        Ok(body)
    }
}

fn date(at: UnixTime, form: ExpiresOn) -> Option<String> {
    use time::macros::format_description;
    let utc = time::OffsetDateTime::from_unix_timestamp(at.0).ok()?;
    match form {
        ExpiresOn::Seconds => None,
        ExpiresOn::Iso8601 => Some(at.rfc3339()),
        ExpiresOn::LinuxDate => {
            utc.format(format_description!("[month]/[day]/[year] [hour]:[minute]:[second] +00:00")).ok()
        }
        ExpiresOn::WindowsDate => utc
            .format(format_description!(
                "[month padding:none]/[day padding:none]/[year] \
                 [hour padding:none repr:12]:[minute]:[second] [period] +00:00"
            ))
            .ok(),
    }
}

impl Key {
    fn generate() -> io::Result<Self> {
        let pair = KeyPair::generate(KeySize::Rsa2048).map_err(|_| io::Error::other("no key can be made"))?;
        // Entra's is the thumbprint of a certificate; what matters is that it follows from the key.
        let digest = aws_lc_rs::digest::digest(&SHA1_FOR_LEGACY_USE_ONLY, pair.public_key().as_ref());
        Ok(Self { kid: URL.encode(digest), pair: Arc::new(pair) })
    }
}
