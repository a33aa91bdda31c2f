//! What the server promised: dev.json, the vault's address, and the claims a token must carry.

use azure_core::base64;
use serde::Deserialize;
use serde_json::Value;
use std::time::{SystemTime, UNIX_EPOCH};

/// How a case ended.
pub(crate) enum Outcome {
    Ok(String),
    Fail(String),
    /// The SDK itself does not offer it; the text says how that is known.
    NotOffered(String),
}

/// The part of dev.json a client needs.
#[derive(Deserialize)]
struct Dev {
    tenant_id: String,
    machine: Machine,
    secret: Seed,
}

#[derive(Deserialize)]
struct Machine {
    resource_id: String,
    client_id: String,
    principal_id: String,
}

/// The secret `denizen dev` makes at start.
#[derive(Deserialize)]
pub(crate) struct Seed {
    pub(crate) name: String,
    pub(crate) value: String,
}

/// What this run is held against.
pub(crate) struct Contract {
    pub(crate) tenant_id: String,
    pub(crate) resource_id: String,
    pub(crate) client_id: String,
    pub(crate) principal_id: String,
    pub(crate) secret: Seed,
    pub(crate) vault_url: String,
}

impl Contract {
    pub(crate) fn load() -> Result<Self, String> {
        let path = variable("DENIZEN_DEV_JSON")?;
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        let dev: Dev = serde_json::from_str(&text).map_err(|error| format!("{path}: {error}"))?;
        Ok(Self {
            tenant_id: dev.tenant_id,
            resource_id: dev.machine.resource_id,
            client_id: dev.machine.client_id,
            principal_id: dev.machine.principal_id,
            secret: dev.secret,
            vault_url: variable("DENIZEN_VAULT_URL")?,
        })
    }

    /// The client's own check of the challenge stays on, except where the vault's host is `localhost`, which no
    /// challenge can satisfy (the host must be a name *below* the resource's).
    pub(crate) fn verify_challenge(&self) -> bool {
        let rest = self.vault_url.strip_prefix("https://").unwrap_or(&self.vault_url);
        rest.split([':', '/']).next() != Some("localhost")
    }

    /// Checks the claims; `expires` is what the SDK believes, in Unix seconds.
    pub(crate) fn check_token(&self, token: &str, audience: &str, expires: i64) -> Result<String, String> {
        let claims = claims(token)?;
        let expected = [
            ("oid", self.principal_id.as_str()),
            ("appid", self.client_id.as_str()),
            ("tid", self.tenant_id.as_str()),
            ("aud", audience),
        ];
        for (claim, wanted) in expected {
            let found = claims.get(claim).and_then(Value::as_str);
            if found != Some(wanted) {
                return Err(format!("claim {claim} is {found:?}, expected {wanted:?}"));
            }
        }
        let now = now();
        let exp = claims.get("exp").and_then(Value::as_i64).ok_or("claim exp is missing")?;
        if exp <= now + 300 {
            return Err(format!("the token ends in {} s; an SDK treats less than 300 s as over", exp - now));
        }
        if expires <= now + 300 || expires > exp + 1 {
            return Err(format!("the SDK was told {expires}, the token says exp {exp}"));
        }
        Ok(format!("token for {} s", exp - now))
    }
}

/// What a token says, its signature unchecked but there.
pub(crate) fn claims(token: &str) -> Result<Value, String> {
    let parts: Vec<&str> = token.split('.').collect();
    let [_, payload, signature] = parts.as_slice() else {
        return Err(format!("a token of {} parts is no JWT", parts.len()));
    };
    if signature.is_empty() {
        return Err("the token is not signed".into());
    }
    let payload = base64::decode_url_safe(payload).map_err(fault("token payload"))?;
    serde_json::from_slice(&payload).map_err(|error| format!("token payload: {error}"))
}

/// The clock, in Unix seconds.
pub(crate) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs().cast_signed())
}

pub(crate) fn variable(name: &str) -> Result<String, String> {
    std::env::var(name).map_err(|_| format!("{name} is not set"))
}

/// Says what was being done when the SDK reported an error, with every cause.
pub(crate) fn fault(doing: &str) -> impl FnOnce(azure_core::Error) -> String {
    move |error| format!("{doing}: {}", crate::report::chain(&error))
}
