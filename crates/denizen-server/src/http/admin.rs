//! `/admin/v1`: what the commands of `denizen` ask a running server, over a Unix socket in its data directory.
//!
//! The socket is its owner's alone, and the kernel says whose the other end is: ours or root's, or it is refused. No
//! other listener mounts this API. What is published of an issuer is asked of the service that publishes it, so a copy is
//! what is served, byte by byte. Tests: `http/tests.rs`, and `tests/it` with the commands.

use std::{convert::Infallible, future::Future, net::SocketAddr, sync::Arc};

use denizen_wire::{Causes, TenantId, UnixTime};
use http::{HeaderMap, Method, StatusCode, Uri, header};
use http_body_util::BodyExt as _;
use hyper::body::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

use super::{
    Api, Body, Call, Reply, Service,
    call::{Ambiguous, BodyError},
    reply,
    route::{Case, Handler, Params, Request, Route},
};
use crate::{
    app::{
        ChangeError,
        administration::{Administration, AdministrationError, Owner},
        replica::Behind,
    },
    domain::authorize::Action,
    store::StoreError,
};

/// Where join tokens are made.
pub const JOIN_TOKENS: &str = "/admin/v1/join-tokens";
/// Where roles are given.
pub const ROLE_ASSIGNMENTS: &str = "/admin/v1/role-assignments";
/// Where every signing key is replaced at once.
pub const REPLACE_SIGNING_KEYS: &str = "/admin/v1/signing-keys/replace";
/// Where it is said what the tokens for an application are signed by.
pub const SIGNING_ALGORITHM: &str = "/admin/v1/applications/signing-algorithm";
/// Where signing keys are rotated.
pub const ROTATE_SIGNING_KEYS: &str = "/admin/v1/signing-keys/rotate";

/// Where a backup is recorded that is about to be made.
pub const BACKUPS: &str = "/admin/v1/backups";

/// Where the administrator gets a new secret.
pub const ADMINISTRATOR_SECRET: &str = "/admin/v1/administrator/secret";

/// Where a federated credential is added.
pub const FEDERATED_CREDENTIALS: &str = "/admin/v1/federated-credentials";
/// Where a client's are listed.
pub const LIST_FEDERATED_CREDENTIALS: &str = "/admin/v1/federated-credentials/list";
/// Where one is removed.
pub const REMOVE_FEDERATED_CREDENTIAL: &str = "/admin/v1/federated-credentials/remove";

/// Where a certificate's subject is trusted.
pub const TRUSTED_SUBJECTS: &str = "/admin/v1/trusted-subjects";
/// Where an application's are listed.
pub const LIST_TRUSTED_SUBJECTS: &str = "/admin/v1/trusted-subjects/list";
/// Where one is removed.
pub const REMOVE_TRUSTED_SUBJECT: &str = "/admin/v1/trusted-subjects/remove";

/// Where it is asked what is published of an issuer.
pub const ISSUER_DOCUMENTS: &str = "/admin/v1/issuer/documents";

/// What is published of a tenant as an issuer, after its id: the documents of its v1.0 and its v2.0 tokens. The keys come
/// first, so that whoever writes them in this order never shows a document that names keys which are not there.
const DOCUMENTS: [&str; 4] = [
    "discovery/v2.0/keys",
    "discovery/keys",
    "v2.0/.well-known/openid-configuration",
    ".well-known/openid-configuration",
];

/// Where users are made, listed and changed.
pub const USERS: &str = "/admin/v1/users";

/// No request is larger, bytes.
const MAX_BODY: usize = 64 * 1024;
/// What stands behind each request.
const CREDENTIAL: &str = "the Unix socket's other end, which the kernel says is ours or root's";

/// The administration API.
pub struct Admin {
    administration: Administration,
    /// The service that publishes what everybody may read, and the base of the issuers there.
    public: (Arc<Service>, String),
}

/// Whose documents are wanted.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WantedDocuments {
    /// Of this tenant; of all when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
}

/// What is published of issuers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IssuerDocuments {
    /// The base of every issuer.
    pub authority: String,
    /// In the order in which they are to be written.
    pub documents: Vec<IssuerDocument>,
}

/// A document.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IssuerDocument {
    /// Where it is served, below the authority, without a slash before it.
    pub path: String,
    /// JSON, as it is served.
    pub body: String,
}

/// Why a request is refused.
pub enum AdminFault {
    /// There is nothing at this path.
    NotFound,
    /// The path takes other methods.
    Method(String),
    /// This replica must not answer just now.
    Behind(Behind),
    /// The request is not one.
    Malformed(String),
    /// It is nobody who may.
    Stranger,
    /// The use case refused.
    Refused(AdministrationError),
}

impl Admin {
    /// Creates the API of the use cases; `public` is the service that publishes the documents of the issuers below
    /// `authority`.
    pub fn new(administration: Administration, public: Arc<Service>, authority: &str) -> Self {
        Self { administration, public: (public, authority.to_owned()) }
    }

    /// What is published of the tenants' issuers.
    async fn documents(
        &self,
        owner: Owner,
        wanted: WantedDocuments,
        (peer, now, request_id): (SocketAddr, UnixTime, Uuid),
    ) -> Result<IssuerDocuments, AdministrationError> {
        let (public, authority) = &self.public;
        let mut documents = Vec::new();
        for tenant in self.administration.tenants(owner, wanted.tenant)? {
            for document in DOCUMENTS {
                let path = format!("{tenant}/{document}");
                let uri: Uri = format!("/{path}").parse().map_err(|_| AdministrationError::Unpublished)?;
                let (body, headers) = (Body::Bytes(Bytes::new()), HeaderMap::new());
                let asked = Call::new(Method::GET, &uri, headers, body, peer, now, request_id);
                let answer = public.handle(asked).await;
                if answer.status() != StatusCode::OK {
                    return Err(AdministrationError::Unpublished);
                }
                let bytes =
                    answer.into_body().collect().await.map_err(|_| AdministrationError::Unpublished)?.to_bytes();
                let body = String::from_utf8(bytes.to_vec()).map_err(|_| AdministrationError::Unpublished)?;
                documents.push(IssuerDocument { path, body });
            }
        }
        Ok(IssuerDocuments { authority: authority.clone(), documents })
    }
}

/// Reads the request, asks the use case, and writes the answer.
async fn answer<T, U, F>(call: &mut Call, ask: impl FnOnce(Owner, T) -> F) -> Result<Reply, AdminFault>
where
    T: DeserializeOwned,
    U: Serialize,
    F: Future<Output = Result<U, AdministrationError>>,
{
    let owner = call.local_user.and_then(Owner::at_other_end).ok_or(AdminFault::Stranger)?;
    let body = call.body(MAX_BODY).await.map_err(|error: BodyError| AdminFault::Malformed(error.to_string()))?;
    let asked = serde_json::from_slice(&body).map_err(|error| {
        AdminFault::Malformed(format!("not a request: {}", denizen_keys::secret::json_fault(&error)))
    })?;
    let answered = ask(owner, asked).await.map_err(AdminFault::Refused)?;
    let mut reply = reply::json(StatusCode::OK, &answered);
    reply.headers_mut().insert(header::CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    Ok(reply)
}

impl Api for Admin {
    const NAME: &'static str = "admin";
    const CASE: Case = Case::Exact;
    type Session = ();
    type Authorized = Infallible;
    type Fault = AdminFault;

    fn routes() -> &'static [Route<Self>] {
        const ROUTES: &[Route<Admin>] = &[
            Route {
                method: Method::POST,
                pattern: JOIN_TOKENS,
                handler: Handler::OwnCredential {
                    credential: CREDENTIAL,
                    run: |admin, Request { call, .. }| {
                        Box::pin(answer(call, async |owner, new| {
                            admin.administration.create_join_token(owner, &new).await
                        }))
                    },
                },
            },
            Route {
                method: Method::POST,
                pattern: ROLE_ASSIGNMENTS,
                handler: Handler::OwnCredential {
                    credential: CREDENTIAL,
                    run: |admin, Request { call, .. }| {
                        Box::pin(answer(call, async |owner, new| admin.administration.assign_role(owner, &new).await))
                    },
                },
            },
            Route {
                method: Method::POST,
                pattern: FEDERATED_CREDENTIALS,
                handler: Handler::OwnCredential {
                    credential: CREDENTIAL,
                    run: |admin, Request { call, .. }| {
                        Box::pin(answer(call, async |owner, new| admin.administration.add_federated(owner, new).await))
                    },
                },
            },
            Route {
                method: Method::POST,
                pattern: LIST_FEDERATED_CREDENTIALS,
                handler: Handler::OwnCredential {
                    credential: CREDENTIAL,
                    run: |admin, Request { call, .. }| {
                        Box::pin(answer(call, async |owner, of| admin.administration.federated(owner, &of)))
                    },
                },
            },
            Route {
                method: Method::POST,
                pattern: REMOVE_FEDERATED_CREDENTIAL,
                handler: Handler::OwnCredential {
                    credential: CREDENTIAL,
                    run: |admin, Request { call, .. }| {
                        Box::pin(answer(call, async |owner, of| {
                            admin.administration.remove_federated(owner, &of).await
                        }))
                    },
                },
            },
            Route {
                method: Method::POST,
                pattern: TRUSTED_SUBJECTS,
                handler: Handler::OwnCredential {
                    credential: CREDENTIAL,
                    run: |admin, Request { call, .. }| {
                        Box::pin(answer(call, async |owner, new| admin.administration.trust_subject(owner, &new).await))
                    },
                },
            },
            Route {
                method: Method::POST,
                pattern: LIST_TRUSTED_SUBJECTS,
                handler: Handler::OwnCredential {
                    credential: CREDENTIAL,
                    run: |admin, Request { call, .. }| {
                        Box::pin(answer(call, async |owner, of| admin.administration.subjects(owner, &of)))
                    },
                },
            },
            Route {
                method: Method::POST,
                pattern: REMOVE_TRUSTED_SUBJECT,
                handler: Handler::OwnCredential {
                    credential: CREDENTIAL,
                    run: |admin, Request { call, .. }| {
                        Box::pin(answer(call, async |owner, of| {
                            admin.administration.distrust_subject(owner, &of).await
                        }))
                    },
                },
            },
            Route {
                method: Method::POST,
                pattern: USERS,
                handler: Handler::OwnCredential {
                    credential: CREDENTIAL,
                    run: |admin, Request { call, .. }| {
                        Box::pin(answer(call, async |owner, asked| admin.administration.users(owner, &asked).await))
                    },
                },
            },
            Route {
                method: Method::POST,
                pattern: BACKUPS,
                handler: Handler::OwnCredential {
                    credential: CREDENTIAL,
                    run: |admin, Request { call, .. }| {
                        Box::pin(answer(call, async |owner, begins| admin.administration.begin_backup(owner, &begins)))
                    },
                },
            },
            Route {
                method: Method::POST,
                pattern: ADMINISTRATOR_SECRET,
                handler: Handler::OwnCredential {
                    credential: CREDENTIAL,
                    run: |admin, Request { call, .. }| {
                        Box::pin(answer(call, async |owner, _: serde_json::Map<String, serde_json::Value>| {
                            admin.administration.new_administrator_secret(owner).await
                        }))
                    },
                },
            },
            Route {
                method: Method::POST,
                pattern: ISSUER_DOCUMENTS,
                handler: Handler::OwnCredential {
                    credential: CREDENTIAL,
                    run: |admin, Request { call, .. }| {
                        let asked = (call.peer, call.now, call.request_id);
                        Box::pin(answer(call, async move |owner, wanted| admin.documents(owner, wanted, asked).await))
                    },
                },
            },
            Route {
                method: Method::POST,
                pattern: REPLACE_SIGNING_KEYS,
                handler: Handler::OwnCredential {
                    credential: CREDENTIAL,
                    run: |admin, Request { call, .. }| {
                        Box::pin(answer(call, async |owner, which| {
                            admin.administration.replace_signing_keys(owner, &which).await
                        }))
                    },
                },
            },
            Route {
                method: Method::POST,
                pattern: SIGNING_ALGORITHM,
                handler: Handler::OwnCredential {
                    credential: CREDENTIAL,
                    run: |admin, Request { call, .. }| {
                        Box::pin(answer(call, async |owner, chosen| {
                            admin.administration.set_signing_algorithm(owner, &chosen).await
                        }))
                    },
                },
            },
            Route {
                method: Method::POST,
                pattern: ROTATE_SIGNING_KEYS,
                handler: Handler::OwnCredential {
                    credential: CREDENTIAL,
                    run: |admin, Request { call, .. }| {
                        Box::pin(answer(call, async |owner, _: serde_json::Map<String, serde_json::Value>| {
                            admin.administration.rotate_signing_keys(owner).await
                        }))
                    },
                },
            },
        ];
        ROUTES
    }

    fn ambiguous(&self, _: &mut Call, why: Ambiguous) -> AdminFault {
        AdminFault::Malformed(why.to_string())
    }

    fn behind(&self, _: &Call, why: Behind) -> AdminFault {
        AdminFault::Behind(why)
    }

    fn enter(&self, call: &mut Call) -> Result<(), AdminFault> {
        call.local_user.and_then(Owner::at_other_end).map(drop).ok_or(AdminFault::Stranger)
    }

    fn authorize(&self, (): (), _: &Call, _: &Action, _: &Params) -> Result<Infallible, AdminFault> {
        Err(AdminFault::NotFound)
    }

    fn not_found(&self, _: &Call) -> AdminFault {
        AdminFault::NotFound
    }

    fn method_not_allowed(&self, _: &Call, allow: &str) -> AdminFault {
        AdminFault::Method(allow.to_owned())
    }

    fn write_fault(&self, call: &Call, fault: AdminFault) -> Reply {
        let text = |error: &dyn std::error::Error| Causes(error).to_string();
        let (status, code, message) = match fault {
            AdminFault::NotFound => (StatusCode::NOT_FOUND, "NotFound", "there is nothing at this path".to_owned()),
            AdminFault::Method(methods) => {
                (StatusCode::METHOD_NOT_ALLOWED, "BadRequest", format!("this path takes {methods} only"))
            }
            AdminFault::Behind(why) => (StatusCode::SERVICE_UNAVAILABLE, "Unavailable", why.to_string()),
            AdminFault::Malformed(why) => (StatusCode::BAD_REQUEST, "BadRequest", why),
            AdminFault::Stranger => {
                let rule = "only the user that runs this server, and root, may administer it";
                (StatusCode::FORBIDDEN, "Forbidden", rule.to_owned())
            }
            AdminFault::Refused(AdministrationError::Change(refused)) => match &refused {
                ChangeError::Invalid(_) => (StatusCode::BAD_REQUEST, "BadRequest", refused.to_string()),
                ChangeError::Missing(_) => (StatusCode::NOT_FOUND, "NotFound", refused.to_string()),
                ChangeError::Store(StoreError::Exists { .. }) => {
                    (StatusCode::CONFLICT, "Conflict", refused.to_string())
                }
                ChangeError::Store(_) | ChangeError::Busy => {
                    (StatusCode::SERVICE_UNAVAILABLE, "Unavailable", text(&refused))
                }
                ChangeError::Authorization(_) | ChangeError::Unfinished(_) | ChangeError::Key(_) => {
                    (StatusCode::INTERNAL_SERVER_ERROR, "InternalError", text(&refused))
                }
            },
            AdminFault::Refused(refused @ AdministrationError::Unpublished) => {
                (StatusCode::SERVICE_UNAVAILABLE, "Unavailable", refused.to_string())
            }
            AdminFault::Refused(AdministrationError::Signing(refused)) => {
                (StatusCode::SERVICE_UNAVAILABLE, "Unavailable", text(&refused))
            }
        };
        if status.is_server_error() {
            tracing::error!(request_id = %call.request_id, message, "an administrator's command failed");
        }
        reply::json(status, &serde_json::json!({"error": {"code": code, "message": message}}))
    }
}
