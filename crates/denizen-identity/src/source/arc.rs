//! Azure Arc: ask, be challenged to read a key file, ask again with its content.

use std::{net::IpAddr, path::Path};

use http::{Method, Response, StatusCode, Uri, header};
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
    local(endpoint)?;
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

/// An error for an endpoint that is not plain HTTP on loopback. No Azure SDK looks, and none has to follow a file's path
/// that another machine named.
fn local(endpoint: &str) -> Result<(), TokenError> {
    let uri: Option<Uri> = endpoint.parse().ok();
    let host = uri.as_ref().and_then(Uri::host).unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let loopback = match address {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    };
    let scheme = uri.as_ref().and_then(Uri::scheme_str).unwrap_or_default();
    if loopback && scheme == "http" {
        return Ok(());
    }
    // The rest of it may hold a password.
    Err(TokenError::NotLocal(if host.is_empty() { "what it names".to_owned() } else { format!("{scheme}://{host}") }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d12_only_plain_http_on_loopback_is_the_agent() {
        for endpoint in [
            "http://localhost:40342/metadata/identity/oauth2/token",
            "http://LOCALHOST/x",
            "http://127.0.0.1:1/x",
            "http://127.9.9.9/x",
            "http://[::1]:40342/x",
            "http://[::ffff:127.0.0.1]/x",
        ] {
            assert!(local(endpoint).is_ok(), "{endpoint}");
        }
        for endpoint in [
            "http://10.0.0.1:40342/metadata/identity/oauth2/token",
            "http://169.254.169.254/metadata/identity/oauth2/token",
            "https://localhost:40342/x",
            "http://localhost.example/x",
            "http://x.localhost/x",
            "http://localhost:40342@evil.example/x",
            "http://user:MARKER@evil.example/x",
            "http://127.0.0.1.example/x",
            "http://0.0.0.0/x",
            "http://[fe80::1]/x",
            "localhost:40342",
            "/x",
            "",
        ] {
            let refused = local(endpoint).unwrap_err().to_string();
            assert!(refused.contains("http://localhost") && !refused.contains("MARKER"), "{endpoint}: {refused}");
        }
    }
}
