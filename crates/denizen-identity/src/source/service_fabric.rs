//! Service Fabric: a secret header over TLS, to the one server whose certificate has the thumbprint given.

use http::{Method, Response};
use hyper::body::Bytes;

use crate::{
    endpoint::{Query, TokenError},
    http::Client,
};

const VERSION: &str = "2019-07-01-preview";

pub(crate) async fn ask(
    pinned: &Client,
    endpoint: &str,
    header: &str,
    query: &Query<'_>,
) -> Result<Response<Bytes>, TokenError> {
    if query.identity.is_some() {
        return Err(TokenError::Unsupported(
            "Service Fabric assigns the identity in the application's manifest, not by request",
        ));
    }
    // The header would go in the clear to whoever listens there.
    if !endpoint.starts_with("https://") {
        return Err(TokenError::Unsupported("a Service Fabric endpoint must be https"));
    }
    Ok(pinned.send(Method::GET, &query.url(endpoint, VERSION, ""), &[("Secret", header)], None).await?)
}
