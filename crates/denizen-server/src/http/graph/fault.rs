//! Error bodies, as Microsoft Graph writes them.
//!
//! Tests: `tests/`.

use std::error::Error;

use denizen_wire::{Causes, UnixTime};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

use crate::{
    app::{access::AuthError, directory::DirectoryError, replica::Behind},
    domain::{authorize::Because, query::BadQuery},
    http::{Call, Reply, call::BodyError, reply},
    store::StoreError,
};

/// A refusal or a failure, not yet written.
pub struct Fault {
    status: StatusCode,
    code: &'static str,
    message: String,
    header: Option<Box<(header::HeaderName, HeaderValue)>>,
    /// What failed of ours, for the log.
    cause: Option<Box<str>>,
}

impl Fault {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), header: None, cause: None }
    }

    fn with(mut self, name: header::HeaderName, value: &str) -> Self {
        self.header = HeaderValue::from_str(value).ok().map(|value| Box::new((name, value)));
        self
    }

    fn because(mut self, cause: &dyn Error) -> Self {
        self.cause = Some(Causes(cause).to_string().into());
        self
    }

    /// The request breaks a rule.
    pub(super) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "Request_BadRequest", message)
    }

    /// The query is not answered.
    pub(super) fn query(bad: &BadQuery) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "Request_UnsupportedQuery", bad.to_string())
    }

    /// The query is answered to who says that an answer may be a moment old.
    pub(super) fn not_eventual() -> Self {
        let message = "Request with $search, $count, ne, not, endswith, or $filter and $orderby together is answered only with the header 'ConsistencyLevel: eventual' and with $count=true.";
        Self::new(StatusCode::BAD_REQUEST, "Request_UnsupportedQuery", message)
    }

    pub(super) fn missing(what: &str) -> Self {
        Self::of(&DirectoryError::Missing(what.to_owned()))
    }

    pub(super) fn behind(why: Behind) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", why.to_string()).with(header::RETRY_AFTER, "1")
    }

    pub(super) fn no_route() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "BadRequest",
            "Resource not found for the segment: there is nothing at this path here.",
        )
    }

    pub(super) fn method(allow: &str) -> Self {
        let message = format!("Specified HTTP method is not allowed for the request target: use {allow}.");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "Request_BadRequest", message)
    }

    /// The token is missing or not believed.
    pub(super) fn unauthenticated(error: &AuthError, authority: &str, now: UnixTime) -> Self {
        let newer = error.challenge(now);
        let challenge = format!(
            r#"Bearer realm="", authorization_uri="{authority}/common/oauth2/authorize", client_id="00000003-0000-0000-c000-000000000000"{newer}"#
        );
        let is_missing = *error == AuthError::Missing;
        let message = if is_missing { "Access token is empty.".to_owned() } else { error.to_string() };
        Self::new(StatusCode::UNAUTHORIZED, "InvalidAuthenticationToken", message)
            .with(header::WWW_AUTHENTICATE, &challenge)
    }

    /// No role allows it.
    pub(super) fn denied(action: &str, because: &Because<'_>) -> Self {
        let hint = match because {
            Because::NotGranted { proposal: Some(role), .. } => {
                format!(" The role '{}' ({}), assigned at '/', would allow it.", role.name, role.id)
            }
            Because::Scopes(scope) => format!(" The client was not granted the scope '{scope}' for its user."),
            Because::NotGranted { proposal: None, .. } | Because::Granted { .. } => String::new(),
        };
        let message = format!("Insufficient privileges to complete the operation. Action: '{action}'.{hint}");
        Self::new(StatusCode::FORBIDDEN, "Authorization_RequestDenied", message)
    }

    /// The body could not be read.
    pub(super) fn body(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge(_) => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", format!("{error}."))
            }
            BodyError::Encoded => {
                Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", format!("{error}."))
            }
            BodyError::Late | BodyError::OverBudget | BodyError::Broken | BodyError::Gone => {
                Self::bad(format!("{error}: send it again."))
            }
        }
    }

    /// What a use case says.
    pub(super) fn of(error: &DirectoryError) -> Self {
        const UNWRITTEN: &str = "The request failed here. The operator finds the reason in the server's log, under this answer's request-id.";
        match error {
            DirectoryError::Invalid(text) => Self::bad(text.clone()),
            DirectoryError::Missing(_) => {
                Self::new(StatusCode::NOT_FOUND, "Request_ResourceNotFound", error.to_string())
            }
            DirectoryError::Exists(_) => {
                Self::new(StatusCode::CONFLICT, "Request_MultipleObjectsWithSameKeyValue", error.to_string())
            }
            DirectoryError::Query(bad) => Self::query(bad),
            DirectoryError::Outranked(_) => {
                Self::new(StatusCode::FORBIDDEN, "Authorization_RequestDenied", error.to_string())
            }
            DirectoryError::Busy => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", error.to_string())
                    .with(header::RETRY_AFTER, "1")
            }
            DirectoryError::Unrecorded(_) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "ServiceUnavailable",
                "The read cannot be recorded in the audit log just now, so it was refused: try again shortly.",
            )
            .with(header::RETRY_AFTER, "1")
            .because(error),
            DirectoryError::Store(StoreError::NotAuthorized) => Self::new(
                StatusCode::FORBIDDEN,
                "Authorization_RequestDenied",
                "The right to this was taken away while the request waited to be written; nothing was changed.",
            ),
            DirectoryError::Store(
                StoreError::Tampered { .. }
                | StoreError::Head(_)
                | StoreError::Schema { .. }
                | StoreError::SchemaChanged
                | StoreError::Corrupt(_),
            )
            | DirectoryError::Ours(_) => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError", UNWRITTEN).because(error)
            }
            DirectoryError::Store(_) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "ServiceUnavailable",
                "The directory's store does not answer just now; nothing was changed that was not acknowledged. Try again shortly.",
            )
            .with(header::RETRY_AFTER, "1")
            .because(error),
        }
    }

    /// Writes it, and logs what failed of ours.
    pub(super) fn write(self, call: &Call) -> Reply {
        let Self { status, code, message, header, cause } = self;
        if let Some(cause) = cause {
            tracing::error!(request_id = %call.request_id, %status, %cause, "a directory operation failed");
        }
        let request_id = call.request_id.to_string();
        let client = call.correlation_id.map_or_else(|| request_id.clone(), |id| id.to_string());
        let date = call.now.rfc3339();
        let inner = json!({
            "date": date.strip_suffix('Z').unwrap_or(&date), "request-id": request_id, "client-request-id": client,
        });
        let body = json!({ "error": { "code": code, "message": message, "innerError": inner } });
        let mut reply = reply::json(status, &body);
        if let Some(header) = header {
            let (name, value) = *header;
            reply.headers_mut().insert(name, value);
        }
        reply
    }
}

impl From<DirectoryError> for Fault {
    fn from(error: DirectoryError) -> Self {
        Self::of(&error)
    }
}

impl From<BadQuery> for Fault {
    fn from(bad: BadQuery) -> Self {
        Self::query(&bad)
    }
}
