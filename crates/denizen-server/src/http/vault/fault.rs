//! Error bodies, in the words that tools match on. Every one is JSON: some clients die of anything else.
//!
//! Each text starts with what Azure says and ends with the fix. Line breaks are CR LF, as they are there.
//!
//! Tests: the golden files of `tests/errors.rs`.

use std::error::Error;

use denizen_wire::{
    Causes, ResourceId, UnixTime,
    vault::{self, ErrorDetail, InnerError},
};
use http::{HeaderValue, StatusCode, header};

use super::host::Address;
use crate::{
    app::{
        access::{AuthError, Caller},
        replica::Behind,
        secrets::SecretError,
    },
    domain::{authorize::Because, resources::Vault, secrets::SecretName},
    http::{Call, Reply, call::BodyError, reply},
    store::StoreError,
};

/// A refusal or a failure, not yet written.
pub struct Fault {
    status: StatusCode,
    code: &'static str,
    inner: Option<&'static str>,
    message: String,
    /// A header that belongs to it.
    header: Option<Box<(header::HeaderName, HeaderValue)>>,
    /// What failed of ours, for the log.
    cause: Option<Box<str>>,
}

impl Fault {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, inner: None, message: message.into(), header: None, cause: None }
    }

    fn inner(mut self, code: &'static str) -> Self {
        self.inner = Some(code);
        self
    }

    fn with(mut self, name: header::HeaderName, value: &str) -> Self {
        self.header = HeaderValue::from_str(value).ok().map(|value| Box::new((name, value)));
        self
    }

    /// Something of ours failed; the log says what, under the request's id.
    fn because(mut self, cause: &dyn Error) -> Self {
        self.cause = Some(Causes(cause).to_string().into());
        self
    }

    /// The request breaks a rule.
    pub(super) fn bad(message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadParameter", message)
    }

    /// The host is not ours. No challenge: we speak for no host but our own.
    pub(super) fn host(message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadParameter", message)
    }

    /// The host would be ours, and there is no such vault.
    pub(super) fn no_vault(name: &str) -> Self {
        let message = format!("There is no vault named '{name}' here: check the vault's URL.");
        Self::new(StatusCode::NOT_FOUND, "VaultNotFound", message)
    }

    /// This replica must not answer just now.
    pub(super) fn behind(why: Behind) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", why.to_string()).with(header::RETRY_AFTER, "1")
    }

    /// The path is none of ours.
    pub(super) fn no_route() -> Self {
        let message = "There is nothing at this path. Secrets are at /secrets and /deletedsecrets; keys and certificates are not served.";
        Self::new(StatusCode::NOT_FOUND, "NotFound", message)
    }

    /// The path takes other methods.
    pub(super) fn method(allow: &str) -> Self {
        let message = format!("The HTTP method is not allowed on this path: use {allow}.");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message)
    }

    /// The token is missing or not believed. The challenge says where to get one, and for what: `authorization`
    /// first and a space after the comma, because there are clients that cannot read it otherwise.
    pub(super) fn unauthenticated(
        error: &AuthError,
        authority: &str,
        vault: &Vault,
        address: &Address,
        now: UnixTime,
    ) -> Self {
        let number = match error {
            AuthError::Missing => "AKV10000",
            AuthError::Form(_)
            | AuthError::Kind(_)
            | AuthError::Signature
            | AuthError::Expired(_)
            | AuthError::NotYet(_)
            | AuthError::Principal(_)
            | AuthError::Newer(_) => "AKV10001",
            AuthError::Audience { .. } => "AKV10022",
            AuthError::Issuer { .. } => "AKV10032",
            AuthError::Key => "AKV10046",
        };
        let newer = error.challenge(now);
        let (tenant, resource) = (vault.tenant, address.resource());
        let challenge = format!(r#"Bearer authorization="{authority}/{tenant}", resource="{resource}"{newer}"#);
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", format!("{number}: {error}"))
            .with(header::WWW_AUTHENTICATE, &challenge)
    }

    /// No role assignment allows it.
    pub(super) fn by_rbac(
        caller: &Caller,
        action: &str,
        scope: &ResourceId,
        vault: &Vault,
        because: &Because<'_>,
    ) -> Self {
        let hint = match because {
            Because::NotGranted { proposal: Some(role), .. } => format!(
                "To allow it, assign the role '{}' ({}) to the principal {} at {} or above.",
                role.name, role.id, caller.principal, vault.id
            ),
            Because::Scopes(_) => "Ask for a token for https://vault.azure.net/.default.".to_owned(),
            Because::NotGranted { proposal: None, .. } | Because::Granted { .. } => {
                "No built-in role allows it; a custom role would have to.".to_owned()
            }
        };
        let message = [
            "Caller is not authorized to perform action on resource.".to_owned(),
            "If role assignments, deny assignments or role definitions were changed recently, ask again: changes take effect at once.".to_owned(),
            format!("Caller: appid={};oid={};iss={}", caller.client, caller.principal, caller.issuer),
            format!("Action: '{action}'"),
            format!("Resource: '{scope}'"),
            "Assignment: (not found)".to_owned(),
            "DenyAssignmentId: null".to_owned(),
            format!("DecisionReason: {because}"),
            format!("Vault: {};location={}", vault.name, vault.location),
            hint,
        ]
        .join("\r\n");
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message).inner("ForbiddenByRbac")
    }

    /// The body could not be read.
    pub(super) fn body(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge(_) => {
                let message = format!("{error}: a secret's value has at most 25600 bytes; keep large data elsewhere.");
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "BadParameter", message)
            }
            BodyError::Encoded => Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "BadParameter", format!("{error}.")),
            BodyError::Late | BodyError::OverBudget | BodyError::Broken | BodyError::Gone => {
                Self::bad(&format!("{error}: send it again."))
            }
        }
    }

    /// The answer could not be written.
    pub(super) fn unwritten(cause: &dyn Error) -> Self {
        let message = "The answer could not be written. The operator finds the reason in the server's log, under this answer's x-ms-request-id.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError", message).because(cause)
    }

    /// What a use case says of a deleted secret.
    pub(super) fn of_deleted(error: &SecretError, name: &SecretName) -> Self {
        if let SecretError::NotFound = error {
            let name = name.as_str();
            let message = format!(
                "Deleted Secret not found: {name}. It was never deleted, or it has been recovered or purged already: look under /secrets/{name}."
            );
            return Self::new(StatusCode::NOT_FOUND, "SecretNotFound", message);
        }
        Self::of(error, Some(name), None)
    }

    /// What a use case says.
    pub(super) fn of(error: &SecretError, name: Option<&SecretName>, version: Option<&str>) -> Self {
        let name = name.map_or("", SecretName::as_str);
        match error {
            SecretError::Bad(rule) => Self::bad(&rule.to_string()),
            SecretError::NotFound => {
                let which = match version {
                    Some(version) => format!("{name}/{version}"),
                    None => name.to_owned(),
                };
                let message = format!(
                    "A secret with (name/id) {which} was not found in this key vault. If you recently deleted this secret you may be able to recover it: look under /deletedsecrets/{name}."
                );
                Self::new(StatusCode::NOT_FOUND, "SecretNotFound", message)
            }
            SecretError::Disabled => {
                let message = "Operation get is not allowed on a disabled secret. Enable this version (PATCH with attributes.enabled=true) or read another.";
                Self::new(StatusCode::FORBIDDEN, "Forbidden", message).inner("SecretDisabled")
            }
            SecretError::Deleted => {
                // Some clients drop the inner code and match on these words.
                let message = format!(
                    "Secret {name} is currently in a deleted but recoverable state, and its name cannot be reused; in this state, the secret can only be recovered or purged (ObjectIsDeletedButRecoverable)."
                );
                Self::new(StatusCode::CONFLICT, "Conflict", message).inner("ObjectIsDeletedButRecoverable")
            }
            SecretError::Unrecorded(_) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "ServiceUnavailable",
                "The read cannot be recorded in the audit log just now, so it was refused: try again shortly.",
            )
            .with(header::RETRY_AFTER, "1")
            .because(error),
            // A route runs another operation than the one it authorizes.
            SecretError::Authorization(wrong) => Self::unwritten(wrong),
            SecretError::Store(StoreError::NotAuthorized) => {
                let message =
                    "The right to this was taken away while the request waited to be written; nothing was changed.";
                Self::new(StatusCode::FORBIDDEN, "Forbidden", message).inner("ForbiddenByRbac")
            }
            SecretError::Store(
                StoreError::Tampered { .. }
                | StoreError::Head(_)
                | StoreError::Schema { .. }
                | StoreError::SchemaChanged
                | StoreError::Corrupt(_),
            ) => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "InternalServerError",
                "What is stored of this secret or vault is not what was written. The operator finds the reason in the server's log, under this answer's x-ms-request-id.",
            )
            .because(error),
            SecretError::Store(_) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "ServiceUnavailable",
                "The vault's store does not answer just now; nothing was changed that was not acknowledged. Try again shortly.",
            )
            .with(header::RETRY_AFTER, "1")
            .because(error),
            SecretError::Key(_) => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "InternalServerError",
                "What is stored of this secret does not open. The operator finds the reason in the server's log, under this answer's x-ms-request-id.",
            )
            .because(error),
        }
    }

    /// Writes it, and logs what failed of ours.
    pub(super) fn write(self, call: &Call) -> Reply {
        let Self { status, code, inner, message, header, cause } = self;
        if let Some(cause) = cause {
            tracing::error!(request_id = %call.request_id, %status, %cause, "a vault operation failed");
        }
        let innererror = inner.map(|code| InnerError { code: code.to_owned() });
        let body = vault::Error { error: ErrorDetail { code: code.to_owned(), message, innererror } };
        let mut reply = reply::json(status, &body);
        if let Some(header) = header {
            let (name, value) = *header;
            reply.headers_mut().insert(name, value);
        }
        reply
    }
}
