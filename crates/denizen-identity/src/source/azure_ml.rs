//! A compute of Azure Machine Learning: header `secret`, and an identity by client id alone.

use http::{Method, Response};
use hyper::body::Bytes;

use crate::{
    endpoint::{Query, TokenError, UserAssigned},
    http::Client,
};

const VERSION: &str = "2017-09-01";

pub(crate) async fn ask(
    http: &Client,
    endpoint: &str,
    secret: &str,
    default_client_id: Option<&str>,
    query: &Query<'_>,
) -> Result<Response<Bytes>, TokenError> {
    let client_id = match query.identity {
        None => default_client_id,
        Some(UserAssigned::ClientId(id)) => Some(id.as_str()),
        Some(UserAssigned::ObjectId(_) | UserAssigned::ResourceId(_)) => {
            return Err(TokenError::Unsupported("this endpoint takes a user-assigned identity by its client id only"));
        }
    };
    let mut url = Query { identity: None, ..*query }.url(endpoint, VERSION, "");
    if let Some(id) = client_id {
        url.push_str(&format!("&clientid={}", Query::encode(id)));
    }
    Ok(http.send(Method::GET, &url, &[("secret", secret), ("Metadata", "true")], None).await?)
}
