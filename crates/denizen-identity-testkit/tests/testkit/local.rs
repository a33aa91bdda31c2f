//! IMDS and App Service, and what every endpoint shares: failures, behaviors, the record of requests.

use std::time::{Duration, Instant};

use denizen_identity_testkit::{AppServiceEndpoint, Behavior, ExpiresOn, Fault, ImdsEndpoint, Options};
use denizen_wire::UnixTime;

use crate::asking::Asking;

const METADATA: (&str, &str) = ("Metadata", "true");

#[tokio::test]
async fn imds_gives_a_token_to_who_says_metadata() {
    let imds = ImdsEndpoint::start(Options::default()).await.unwrap();
    let asking = Asking::new();
    let url = imds.token_url();
    let probe = asking.get(&url, &[]).await;
    assert_eq!((probe.status, probe.json()["error"].as_str()), (400, Some("invalid_request")));
    assert!(!probe.text.contains("Identity not found"), ".NET takes that for a no");
    for version in ["2018-02-01", "2019-08-01"] {
        let url = format!("{url}?api-version={version}&resource=https://vault.azure.net");
        assert_eq!(asking.get(&url, &[METADATA]).await.claims()["aud"], "https://vault.azure.net");
    }
    let user = Options::default().identities.user[0].clone();
    for spelling in ["msi_res_id", "mi_res_id", "resource_id"] {
        let query = format!("api-version=2018-02-01&resource=r&{spelling}={}", user.resource_id);
        assert_eq!(
            asking.get(&format!("{url}/?{query}"), &[METADATA]).await.claims()["oid"].as_str(),
            Some(user.object_id.as_str())
        );
    }
    let unknown = asking.get(&format!("{url}?api-version=2018-02-01&resource=r&client_id=x"), &[METADATA]).await;
    assert_eq!((unknown.status, unknown.json()["error_description"].as_str()), (400, Some("Identity not found")));
    assert_eq!(imds.variables(), [("AZURE_POD_IDENTITY_AUTHORITY_HOST", imds.server().url())]);
    assert_eq!(imds.server().requests()[1].parameter("resource"), Some("https://vault.azure.net"));
}

#[tokio::test]
async fn app_service_wants_its_secret_in_the_header_of_the_version() {
    let app = AppServiceEndpoint::start(Options::default()).await.unwrap();
    let asking = Asking::new();
    let new = format!("{}?api-version=2019-08-01&resource=r", app.token_url());
    let old = format!("{}?api-version=2017-09-01&resource=r", app.token_url());
    let header = [("X-IDENTITY-HEADER", app.secret())];
    let secret = [("secret", app.secret())];

    let answer = asking.get(&new, &header).await;
    assert!(answer.json()["expires_on"].as_str().unwrap().parse::<i64>().is_ok());
    assert!(answer.json().get("expires_in").is_none(), "App Service does not send it");
    for (url, headers) in [(&new, &secret), (&old, &header), (&new, &[("X-IDENTITY-HEADER", "guessed")])] {
        let refused = asking.get(url, headers).await;
        assert_eq!((refused.status, refused.json()["statusCode"].as_u64()), (401, Some(401)), "{url}");
        assert!(refused.json()["correlationId"].is_string());
    }
    let answer = asking.get(&old, &secret).await;
    let date = answer.json()["expires_on"].as_str().unwrap().to_owned();
    assert!(date.ends_with(" +00:00") && date.contains('/'), "{date}");
    let version = asking.get(&format!("{}?api-version=2016-01-01&resource=r", app.token_url()), &header).await;
    assert_eq!(version.json()["error"]["code"], "UnsupportedApiVersion");

    let user = Options::default().identities.user[0].clone();
    for spelling in ["mi_res_id", "resource_id"] {
        let answer = asking.get(&format!("{new}&{spelling}={}", user.resource_id), &header).await;
        assert_eq!(answer.claims()["appid"].as_str(), Some(user.client_id.as_str()));
    }
    let old_user = asking.get(&format!("{old}&clientid={}", user.client_id), &secret).await;
    assert_eq!(old_user.claims()["appid"].as_str(), Some(user.client_id.as_str()));
}

#[tokio::test]
async fn failures_come_in_the_order_they_were_asked_for() {
    let imds = ImdsEndpoint::start(Options::default()).await.unwrap();
    let asking = Asking::new();
    let url = format!("{}?api-version=2018-02-01&resource=r", imds.token_url());
    imds.server().fail(2, Fault::status(410));
    imds.server().fail(1, Fault::retry_after(429, 7));
    let mut statuses = Vec::new();
    for _ in 0..4 {
        let answer = asking.get(&url, &[METADATA]).await;
        statuses.push((answer.status, answer.header("retry-after").map(str::to_owned)));
    }
    assert_eq!(statuses, [(410, None), (410, None), (429, Some("7".into())), (200, None)]);

    imds.server().fail_when(u32::MAX, |request| request.parameter("resource") == Some("s"), Fault::status(500));
    assert_eq!(asking.get(&url, &[METADATA]).await.status, 200);
    assert_eq!(asking.get(&url.replace("=r", "=s"), &[METADATA]).await.status, 500);
    imds.server().heal();
    assert_eq!(asking.get(&url.replace("=r", "=s"), &[METADATA]).await.status, 200);

    imds.server().fail(u32::MAX, Fault::Reset);
    assert!(asking.fails(&url).await);
    imds.server().heal();
    imds.server().fail(1, Fault::Silence);
    let answer = tokio::time::timeout(Duration::from_millis(50), asking.get(&url, &[METADATA])).await;
    assert!(answer.is_err());
    drop(imds);
    assert!(asking.fails(&url).await, "the port is closed");
}

#[tokio::test]
async fn behaviors_change_the_writing_and_not_the_token() {
    let now = UnixTime(1_579_152_252 - 86_400);
    let options = Options::default().with_clock(denizen_identity_testkit::Clock::manual(now));
    let imds = ImdsEndpoint::start(options).await.unwrap();
    let asking = Asking::new();
    let url = format!("{}?api-version=2018-02-01&resource=r", imds.token_url());
    for (form, text) in [
        (ExpiresOn::Seconds, "1579152252"),
        (ExpiresOn::Iso8601, "2020-01-16T05:24:12Z"),
        (ExpiresOn::LinuxDate, "01/16/2020 05:24:12 +00:00"),
        (ExpiresOn::WindowsDate, "1/16/2020 5:24:12 AM +00:00"),
    ] {
        imds.server().set_behavior(|behavior| behavior.expires_on = form);
        assert_eq!(asking.get(&url, &[METADATA]).await.json()["expires_on"], text);
    }
    imds.server().set_behavior(|behavior| {
        *behavior = Behavior::default();
        (behavior.numbers, behavior.chunked, behavior.close, behavior.lifetime) = (true, true, true, 100);
        behavior.omit.push("token_type");
        behavior.delay = Duration::from_millis(30);
    });
    let begun = Instant::now();
    let answer = asking.get(&url, &[METADATA]).await;
    assert!(begun.elapsed() >= Duration::from_millis(30));
    assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(
        (answer.json()["expires_in"].as_i64(), answer.json()["expires_on"].as_i64()),
        (Some(100), Some(now.0 + 100))
    );
    assert!(answer.json().get("token_type").is_none());
    asking.get(&url, &[METADATA]).await;
    let connections: Vec<_> = imds.server().requests().iter().map(|request| request.connection).collect();
    assert_eq!(connections.iter().rev().take(2).collect::<Vec<_>>(), [&1, &0], "closed: the next one is new");
}
