//! App Service, Functions and Container Apps: a secret header. The dialect of 2019 and the older one of 2017.

use denizen_wire::identity::APP_SERVICE_VERSION;
use http::{Method, Response};
use hyper::body::Bytes;

use crate::{
    endpoint::{Query, TokenError},
    http::Client,
};

pub(crate) async fn ask(
    http: &Client,
    endpoint: &str,
    header: &str,
    query: &Query<'_>,
) -> Result<Response<Bytes>, TokenError> {
    let url = query.url(endpoint, APP_SERVICE_VERSION, "mi_res_id");
    Ok(http.send(Method::GET, &url, &[("X-IDENTITY-HEADER", header), ("Metadata", "true")], None).await?)
}

/// The dialect of 2017 is the one Azure ML kept.
pub(crate) async fn ask_2017(
    http: &Client,
    endpoint: &str,
    secret: &str,
    query: &Query<'_>,
) -> Result<Response<Bytes>, TokenError> {
    super::azure_ml::ask(http, endpoint, secret, None, query).await
}
