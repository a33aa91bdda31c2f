//! Azure Arc: ask, be challenged to read a key file, ask again with its content.

use std::path::Path;

use http::{Method, Response, StatusCode, header};
use hyper::body::Bytes;

use crate::{
    challenge::{self, ChallengeError},
    endpoint::{Query, TokenError},
    http::Client,
};

/// The api-version every MSAL sends; the agent knows newer ones.
const VERSION: &str = "2020-06-01";

pub(crate) async fn ask(
    http: &Client,
    endpoint: &str,
    query: &Query<'_>,
    key_directory: &Path,
) -> Result<Response<Bytes>, TokenError> {
    // The agent knows only this spelling of a resource id, unlike App Service.
    let url = query.url(endpoint, VERSION, "msi_res_id");
    let challenge = http.send(Method::GET, &url, &[("Metadata", "true")], None).await?;
    if challenge.status() != StatusCode::UNAUTHORIZED {
        // Some agents answer at once; what they answer is checked as any other answer.
        return Ok(challenge);
    }
    let realm = challenge.headers().get(header::WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
    let key = challenge::answer(realm.ok_or(ChallengeError::Form)?, key_directory)?;
    let authorization = zeroize::Zeroizing::new(format!("Basic {}", key.as_str()));
    Ok(http.send(Method::GET, &url, &[("Metadata", "true"), ("Authorization", &authorization)], None).await?)
}
