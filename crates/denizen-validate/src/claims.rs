//! The claims of a validated token. Only validation creates them.

use std::sync::Arc;

use denizen_wire::{TenantId, UnixTime};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::ValidationError;

/// The claims of a token whose signature was checked. Cheap to clone.
#[derive(Clone)]
pub struct Claims(Arc<Inner>);

struct Inner {
    known: Known,
    tenant: TenantId,
    client: String,
    scopes: Vec<String>,
    all: Map<String, Value>,
}

/// Parsed as a struct and not from a map, so that a repeated one of these claims is an error.
#[derive(Deserialize)]
struct Known {
    iss: String,
    aud: String,
    tid: String,
    /// App-only tokens of Entra and all tokens of Denizen have it; without it there is no principal to authorize.
    oid: String,
    sub: String,
    ver: String,
    exp: i64,
    nbf: Option<i64>,
    iat: Option<i64>,
    appid: Option<String>,
    azp: Option<String>,
    idtyp: Option<String>,
    scp: Option<String>,
    #[serde(default)]
    roles: Vec<String>,
    uti: Option<String>,
    xms_mirid: Option<String>,
    xms_epoch: Option<u64>,
}

impl Claims {
    pub(crate) fn read(payload: &[u8]) -> Result<Self, ValidationError> {
        let unreadable = |_| ValidationError::Malformed("a claim is missing, twice there, or of another type");
        let known: Known = serde_json::from_slice(payload).map_err(unreadable)?;
        let all = serde_json::from_slice(payload).map_err(unreadable)?;
        let tenant = known.tid.parse().map_err(|_| ValidationError::Malformed("its tenant is not a GUID"))?;
        let client = match known.ver.as_str() {
            "1.0" => &known.appid,
            "2.0" => &known.azp,
            _ => return Err(ValidationError::Malformed("it is of an unknown version")),
        };
        // An ID token names no client.
        let client =
            client.clone().ok_or(ValidationError::Malformed("it names no client: it is not an access token"))?;
        let scopes = known.scp.iter().flat_map(|scopes| scopes.split(' ')).filter(|scope| !scope.is_empty());
        let scopes: Vec<_> = scopes.map(str::to_owned).collect();
        match known.idtyp.as_deref() {
            Some("app") if !scopes.is_empty() || known.sub != known.oid => {
                return Err(ValidationError::Malformed("it is an app-only token with the claims of a user's"));
            }
            None | Some("app" | "user") => {}
            // For example a device's.
            Some(_) => return Err(ValidationError::Malformed("it is neither an application's nor a user's")),
        }
        Ok(Self(Arc::new(Inner { known, tenant, client, scopes, all })))
    }

    /// `iss`.
    pub fn issuer(&self) -> &str {
        &self.0.known.iss
    }

    /// `aud`.
    pub fn audience(&self) -> &str {
        &self.0.known.aud
    }

    /// `tid`.
    pub fn tenant(&self) -> &str {
        &self.0.known.tid
    }

    pub(crate) fn tenant_id(&self) -> TenantId {
        self.0.tenant
    }

    /// `oid`: the principal in its tenant, to which permissions are granted.
    pub fn principal(&self) -> &str {
        &self.0.known.oid
    }

    /// `sub`.
    pub fn subject(&self) -> &str {
        &self.0.known.sub
    }

    /// The application that requested the token: `appid`, or `azp` in v2 tokens.
    pub fn client(&self) -> &str {
        &self.0.client
    }

    /// Whether the application acts for itself, and not for a user.
    pub fn is_app_only(&self) -> bool {
        // Entra omits `idtyp` from some tokens. An app-only token has no scopes, and its subject is its object id.
        let Known { idtyp, oid, sub, .. } = &self.0.known;
        match idtyp.as_deref() {
            Some(kind) => kind == "app",
            None => self.0.scopes.is_empty() && oid == sub,
        }
    }

    /// `roles`.
    pub fn roles(&self) -> &[String] {
        &self.0.known.roles
    }

    /// `scp`, split: what the user allows the application to do.
    pub fn scopes(&self) -> &[String] {
        &self.0.scopes
    }

    /// `xms_mirid`: the resource id of a managed identity.
    pub fn managed_identity(&self) -> Option<&str> {
        self.0.known.xms_mirid.as_deref()
    }

    /// `xms_epoch`: the revocation epoch of a Denizen token.
    pub fn epoch(&self) -> Option<u64> {
        self.0.known.xms_epoch
    }

    /// `uti`: the id of the token, for logs.
    pub fn token_id(&self) -> Option<&str> {
        self.0.known.uti.as_deref()
    }

    /// `1.0` or `2.0`.
    pub fn version(&self) -> &str {
        &self.0.known.ver
    }

    /// `exp`.
    pub fn expires(&self) -> UnixTime {
        UnixTime(self.0.known.exp)
    }

    /// `nbf`.
    pub fn not_before(&self) -> Option<UnixTime> {
        self.0.known.nbf.map(UnixTime)
    }

    /// `iat`.
    pub fn issued(&self) -> Option<UnixTime> {
        self.0.known.iat.map(UnixTime)
    }

    /// Any claim by name. Of a claim that has no method here and is there twice, the last.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.all.get(name)
    }
}

// Not derived: a user's claims hold names and addresses, which do not belong in a log.
impl std::fmt::Debug for Claims {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claims")
            .field("tenant", &self.tenant())
            .field("principal", &self.principal())
            .field("client", &self.client())
            .finish_non_exhaustive()
    }
}
