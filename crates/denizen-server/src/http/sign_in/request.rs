//! What a client has sent a browser with (RFC 6749, section 4.1.1; OpenID Connect Core 1.0, section 3.1.2.1), read in two halves:
//! who asks and where the answer goes, and then the rest. What is wrong with the first is shown to the person, since nobody
//! knows yet where else to say it; what is wrong with the rest goes to the client.

use denizen_keys::b64;
use denizen_wire::{ClientId, TenantId, shown};

use super::{Endpoint, Tenants, page::Said};
use crate::{
    domain::{
        built_in_clients::{REDIRECT_URIS, built_in_client},
        claims::audience::ScopeFault,
        directory::Application,
        redirects::{self, Platform},
        scopes::Scopes,
    },
    http::Query,
    store::Snapshot,
};

/// The parameters that are read. Each may be there once; others are let pass.
const KNOWN: &[&str] = &[
    "client_id",
    "redirect_uri",
    "response_type",
    "response_mode",
    "scope",
    "resource",
    "state",
    "nonce",
    "code_challenge",
    "code_challenge_method",
    "prompt",
    "max_age",
    "login_hint",
    "request",
    "request_uri",
];
/// The longest `state` and `nonce`, bytes.
const LONGEST: usize = 4096;

/// A client, as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Client {
    pub(super) id: ClientId,
    pub(super) name: String,
    /// Its tenant; none for one that every tenant has.
    pub(super) tenant: Option<TenantId>,
}

impl Client {
    /// The client of this id, and its registration where it has one.
    pub(super) fn find(snapshot: &Snapshot, tenants: Tenants, id: ClientId) -> Option<(Self, Option<&Application>)> {
        let application = match tenants {
            Tenants::One(tenant) => snapshot.application(tenant, id),
            Tenants::All => snapshot.registered_anywhere(id),
        };
        if let Some(application) = application {
            let name = application.display_name.clone();
            return Some((Self { id, name, tenant: Some(application.tenant) }, Some(application)));
        }
        let name = built_in_client(id)?.name.to_owned();
        Some((Self { id, name, tenant: None }, None))
    }
}

/// Who asks, and where the answer goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) client: Client,
    pub(super) redirect_uri: String,
    pub(super) mode: Mode,
    pub(super) state: Option<String>,
    pub(super) platform: Platform,
}

/// How the answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Query,
    Fragment,
    FormPost,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) scopes: Scopes,
    pub(super) nonce: Option<String>,
    /// The code challenge.
    pub(super) challenge: Option<String>,
    pub(super) prompt: Prompt,
    /// The sign-in may be this old, seconds.
    pub(super) max_age: Option<i64>,
    pub(super) login_hint: Option<String>,
}

/// What the client wants the person to be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Prompt {
    /// What is needed.
    #[default]
    AsNeeded,
    /// Nothing.
    None,
    /// To sign in.
    Login,
    /// Who it is.
    SelectAccount,
    /// To consent.
    Consent,
}

/// What the client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) error: &'static str,
    pub(super) said: Said,
}

impl Refused {
    pub(super) fn new(error: &'static str, code: i32, text: impl Into<String>) -> Self {
        Self { error, said: Said { code, text: text.into() } }
    }
}

impl Target {
    pub(super) fn read(snapshot: &Snapshot, tenants: Tenants, query: &Query) -> Result<Self, Said> {
        let said = |code, text: String| Said { code, text };
        let once = |name: &'static str| {
            let twice =
                |_| said(90_023, format!("The request has the parameter '{name}' more than once. Send it once."));
            Ok(query.one(name).map_err(twice)?.filter(|value| !value.is_empty()))
        };
        let missing = |name| said(900_144, format!("The request must contain the following parameter: '{name}'."));
        let id = once("client_id")?.ok_or_else(|| missing("client_id"))?;
        let unknown = || {
            let text = format!(
                "Application with identifier '{}' was not found in this directory. Register it here, or correct the client \
                 id or the tenant of the program.",
                shown::identifier(id)
            );
            said(700_016, text)
        };
        let id: ClientId = id.parse().map_err(|_| unknown())?;
        let (client, application) = Client::find(snapshot, tenants, id).ok_or_else(unknown)?;
        let asked = once("redirect_uri")?.ok_or_else(|| missing("redirect_uri"))?;
        let platform = match application {
            Some(application) => {
                let is_enabled = snapshot.principal_of_client(application.tenant, id).is_some_and(|it| it.enabled);
                if !is_enabled {
                    let text = format!("Application '{id}' is disabled. Ask an administrator of the directory.");
                    return Err(said(7_000_112, text));
                }
                let platform = redirects::registered(&application.redirect_uris, asked);
                // A program on a user's machine has no secret, so it has to be one that may act without.
                platform.filter(|it| *it != Platform::PublicClient || application.public_client)
            }
            None => redirects::is_loopback_of(REDIRECT_URIS, asked).then_some(Platform::PublicClient),
        };
        let platform = platform.ok_or_else(|| {
            let text = "The redirect URI specified in the request does not match the redirect URIs configured for the \
                        application. Register the one that the program sends, letter for letter.";
            said(50_011, text.to_owned())
        })?;
        let mode = match once("response_mode")? {
            None | Some("query") => Mode::Query,
            Some("fragment") => Mode::Fragment,
            Some("form_post") => Mode::FormPost,
            Some(_) => {
                let text = "The response_mode is none of query, fragment and form_post. Correct it in the program.";
                return Err(said(90_023, text.to_owned()));
            }
        };
        let state = once("state")?.map(str::to_owned);
        if state.as_ref().is_some_and(|state| state.len() > LONGEST) {
            return Err(said(90_023, "The state is longer than 4096 bytes. Send less.".to_owned()));
        }
        Ok(Self { client, redirect_uri: asked.to_owned(), mode, state, platform })
    }
}

impl Asked {
    pub(super) fn read(target: &Target, endpoint: Endpoint, query: &Query) -> Result<Self, Refused> {
        let bad = |code, text: &str| Refused::new("invalid_request", code, text);
        if let Some(name) = KNOWN.iter().find(|name| query.one(name).is_err()) {
            return Err(bad(90_023, &format!("The request has the parameter '{name}' more than once. Send it once.")));
        }
        let one = |name: &str| query.one(name).ok().flatten().filter(|value| !value.is_empty());
        for (name, error) in [("request", "request_not_supported"), ("request_uri", "request_uri_not_supported")] {
            if one(name).is_some() {
                let text = format!("The parameter '{name}' is not read here. Send its content as parameters.");
                return Err(Refused::new(error, 90_023, text));
            }
        }
        match one("response_type") {
            Some("code") => {}
            None => return Err(bad(900_144, "The request must contain the following parameter: 'response_type'.")),
            Some(_) => {
                let text = "The response_type is not 'code'. Tokens are given at the token endpoint alone, for a code.";
                return Err(Refused::new("unsupported_response_type", 700_051, text));
            }
        }
        let challenge = challenge(target, one("code_challenge"), one("code_challenge_method"))?;
        let nonce = one("nonce").map(str::to_owned);
        if nonce.as_ref().is_some_and(|nonce| nonce.len() > LONGEST) {
            return Err(bad(90_023, "The nonce is longer than 4096 bytes. Send less."));
        }
        let prompt = match one("prompt") {
            None => Prompt::AsNeeded,
            Some("none") => Prompt::None,
            Some("login") => Prompt::Login,
            Some("select_account") => Prompt::SelectAccount,
            Some("consent") => Prompt::Consent,
            Some(_) => return Err(bad(90_023, "The prompt is none of none, login, select_account and consent.")),
        };
        let max_age = match one("max_age").map(str::parse::<u32>) {
            None => None,
            Some(Ok(seconds)) => Some(i64::from(seconds)),
            Some(Err(_)) => return Err(bad(90_023, "The max_age is not a number of seconds.")),
        };
        let login_hint = one("login_hint").filter(|hint| hint.len() <= 256).map(str::to_owned);
        let scopes = scopes(endpoint, one("resource"), one("scope"))?;
        Ok(Self { scopes, nonce, challenge, prompt, max_age, login_hint })
    }
}

/// The code challenge (RFC 7636). Who has no credential must send one: else whoever catches the code has all it takes.
fn challenge(target: &Target, challenge: Option<&str>, method: Option<&str>) -> Result<Option<String>, Refused> {
    let bad = |code, text: &str| Err(Refused::new("invalid_request", code, text));
    let Some(challenge) = challenge else {
        return match (target.platform, method) {
            (Platform::Web, None) => Ok(None),
            (Platform::Web, Some(_)) => bad(900_144, "The request has a code_challenge_method and no code_challenge."),
            (Platform::Spa | Platform::PublicClient, _) => bad(
                9_002_325,
                "Proof Key for Code Exchange is required: this client has no credential. Send a code_challenge with \
                 code_challenge_method=S256.",
            ),
        };
    };
    if method != Some("S256") {
        return bad(
            501_491,
            "The code_challenge_method must be S256: with 'plain', whoever sees the request can use the code.",
        );
    }
    match b64::decode_url(challenge) {
        Some(digest) if digest.len() == 32 && challenge.len() == 43 => Ok(Some(challenge.to_owned())),
        Some(_) | None => {
            bad(501_491, "The code_challenge is not a SHA-256 in base64url without padding: 43 characters.")
        }
    }
}

fn scopes(endpoint: Endpoint, resource: Option<&str>, scope: Option<&str>) -> Result<Scopes, Refused> {
    let read = match (endpoint, resource, scope) {
        (Endpoint::V2, Some(_), _) => {
            let text = "The 'resource' request parameter isn't supported. Send scope='{resource}/.default', or use the v1 \
                        endpoint /oauth2/authorize.";
            return Err(Refused::new("invalid_request", 901_002, text));
        }
        (Endpoint::V1, Some(resource), _) => return Ok(Scopes::all_of(resource)),
        (_, None, Some(scope)) => Scopes::parse(scope),
        (Endpoint::V1, None, None) => Scopes::parse("openid"),
        (Endpoint::V2, None, None) => {
            let text = "The request must contain the following parameter: 'scope'.";
            return Err(Refused::new("invalid_request", 900_144, text));
        }
    };
    read.map_err(|fault| match fault {
        ScopeFault::Empty | ScopeFault::NotDefault(_) => {
            Refused::new("invalid_scope", 70_011, "The provided value for the input parameter 'scope' is not valid.")
        }
        ScopeFault::Several => Refused::new(
            "invalid_scope",
            70_011,
            "The provided value for the input parameter 'scope' is not valid: it names more than one resource. A code is for \
             one: ask for each on its own.",
        ),
    })
}

/// The address that a page's forms are posted to: what was asked for, and nothing else of the query.
pub(super) fn action(path: &str, query: &Query) -> String {
    let mut written = form_urlencoded::Serializer::new(String::new());
    written.extend_pairs(query.pairs().filter(|(name, value)| KNOWN.contains(name) && !value.is_empty()));
    format!("{path}?{}", written.finish())
}
