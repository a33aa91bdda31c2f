//! What a managed-identity request asks for, read the way the real endpoints read it: leniently in spelling, strictly
//! in meaning. Tests: `tests/testkit/`.

use crate::{
    issuer::{Identities, Identity},
    server::Recorded,
};

/// The names a user-assigned identity is asked for by. Not every client keeps to one: Python's asynchronous
/// credential writes `resource_id` where others write `msi_res_id`, and Java `mi_res_id`.
const SELECTORS: [&str; 7] =
    ["client_id", "clientid", "object_id", "principalId", "msi_res_id", "mi_res_id", "resource_id"];

/// Why a request gets no token: an OAuth error word and its reason.
pub(crate) struct Wrong {
    pub(crate) error: &'static str,
    pub(crate) reason: String,
}

impl Wrong {
    pub(crate) fn new(error: &'static str, reason: impl Into<String>) -> Self {
        Self { error, reason: reason.into() }
    }
}

/// The path without a slash at its end and without doubled ones: two clients make such paths of a base URL.
pub(crate) fn tidy(path: &str) -> String {
    path.split('/').filter(|segment| !segment.is_empty()).fold(String::new(), |path, segment| path + "/" + segment)
}

/// The resource and the identity asked for, of `pairs` (a query or a form).
pub(crate) fn wanted<'a>(
    identities: &'a Identities,
    pairs: &[(String, String)],
) -> Result<(String, &'a Identity), Wrong> {
    let values = |name: &str| pairs.iter().filter(|(key, _)| key == name).map(|(_, value)| value).collect::<Vec<_>>();
    let resource = match values("resource").as_slice() {
        [resource] if !resource.is_empty() => (*resource).clone(),
        [] | [_] => return Err(Wrong::new("invalid_request", "AADSTS90014: The required field 'resource' is missing")),
        _ => return Err(Wrong::new("invalid_request", "'resource' is given twice")),
    };
    let selected: Vec<_> = pairs.iter().filter(|(key, _)| SELECTORS.contains(&key.as_str())).collect();
    let identity = match selected.as_slice() {
        [] => identities.system.as_ref(),
        [(key, value)] => identities.find(key, value),
        _ => return Err(Wrong::new("invalid_request", "more than one identity is asked for")),
    };
    // Never another identity in its place.
    identity.map(|identity| (resource, identity)).ok_or_else(|| Wrong::new("invalid_request", "Identity not found"))
}

/// Refuses an api-version that is missing or not among `known`.
pub(crate) fn version(request: &Recorded, known: &[&str]) -> Result<(), Wrong> {
    let supported = known.join(" ");
    match request.parameter("api-version") {
        Some(version) if known.contains(&version) => Ok(()),
        Some(version) => Err(Wrong::new(
            "invalid_request",
            format!("The api-version {version} is not supported. Supported are {supported}"),
        )),
        None => Err(Wrong::new("invalid_request", format!("The api-version not specified. Supported are {supported}"))),
    }
}
