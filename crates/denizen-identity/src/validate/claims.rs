//! What a checked token says. There is no way to make one but to check a token.

use std::sync::Arc;

use denizen_wire::{TenantId, UnixTime};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Refusal;

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

/// Read as a type and not out of a map: a claim that is there twice is an error.
#[derive(Deserialize)]
struct Known {
    iss: String,
    aud: String,
    tid: String,
    /// App-only tokens of Entra and all of Denizen's have it; without it there is nobody to let in.
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
    pub(super) fn read(payload: &[u8]) -> Result<Self, Refusal> {
        let unreadable = |_| Refusal::Malformed("a claim is missing, twice there, or of another type");
        let known: Known = serde_json::from_slice(payload).map_err(unreadable)?;
        let all = serde_json::from_slice(payload).map_err(unreadable)?;
        let tenant = known.tid.parse().map_err(|_| Refusal::Malformed("its tenant is no GUID"))?;
        let client = match known.ver.as_str() {
            "1.0" => &known.appid,
            "2.0" => &known.azp,
            _ => return Err(Refusal::Malformed("it is of an unknown version")),
        };
        // An ID token, which is for showing who signed in and lets nobody in, names no client.
        let client = client.clone().ok_or(Refusal::Malformed("it names no client: it is no access token"))?;
        let scopes = known.scp.iter().flat_map(|scopes| scopes.split(' ')).filter(|scope| !scope.is_empty());
        let scopes: Vec<_> = scopes.map(str::to_owned).collect();
        match known.idtyp.as_deref() {
            Some("app") if !scopes.is_empty() || known.sub != known.oid => {
                return Err(Refusal::Malformed("it is an app-only token with the marks of a user's"));
            }
            None | Some("app" | "user") => {}
            // A device's, for one.
            Some(_) => return Err(Refusal::Malformed("it is neither a program's nor a user's")),
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

    pub(super) fn tenant_id(&self) -> TenantId {
        self.0.tenant
    }

    /// `oid`: the principal, in its tenant. What rights are given to.
    pub fn principal(&self) -> &str {
        &self.0.known.oid
    }

    /// `sub`.
    pub fn subject(&self) -> &str {
        &self.0.known.sub
    }

    /// The program that asked for the token: `appid`, or `azp` in v2 tokens.
    pub fn client(&self) -> &str {
        &self.0.client
    }

    /// Whether a program comes for itself, and not in a user's name.
    pub fn is_app_only(&self) -> bool {
        // Entra leaves `idtyp` out of some tokens; then nobody's scopes and one subject tell it.
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

    /// `scp`, taken apart: what the user lets the program do.
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

    /// `uti`: the token's own id, for logs.
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

    /// Any claim by name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.all.get(name)
    }
}

// Not derived: a user's claims hold names and addresses, which a log need not have.
impl std::fmt::Debug for Claims {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claims")
            .field("tenant", &self.tenant())
            .field("principal", &self.principal())
            .field("client", &self.client())
            .finish_non_exhaustive()
    }
}
