//! Cloud Shell: the signed-in user's token, by a form that is posted.

use http::{Method, Response};
use hyper::body::Bytes;

use crate::{
    endpoint::{Query, TokenError},
    http::Client,
};

pub(crate) async fn ask(http: &Client, endpoint: &str, query: &Query<'_>) -> Result<Response<Bytes>, TokenError> {
    if query.identity.is_some() {
        return Err(TokenError::Unsupported("Cloud Shell serves its signed-in user and no user-assigned identity"));
    }
    let form = form_urlencoded::Serializer::new(String::new()).append_pair("resource", query.resource).finish();
    let headers = [("Metadata", "true"), ("Content-Type", "application/x-www-form-urlencoded")];
    Ok(http.send(Method::POST, endpoint, &headers, Some(form.into_bytes())).await?)
}
