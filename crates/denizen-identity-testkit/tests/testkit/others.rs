//! Azure ML, Cloud Shell, Service Fabric and Azure Pipelines.

use denizen_identity::{Environment, http::Client};
use denizen_identity_testkit::{
    AzureMlEndpoint, CloudShellEndpoint, Options, PipelinesEndpoint, ServiceFabricEndpoint,
};
use http::Method;

use crate::asking::{Asking, claims};

#[tokio::test]
async fn azure_ml_speaks_the_old_dialect_with_seconds() {
    let ml = AzureMlEndpoint::start(Options::default()).await.unwrap();
    let asking = Asking::new();
    let environment: Environment = ml.environment();
    let url = format!("{}?api-version=2017-09-01&resource=r", environment.get("MSI_ENDPOINT").unwrap());
    let secret = [("secret", ml.secret())];
    let default = environment.get("DEFAULT_IDENTITY_CLIENT_ID").unwrap();
    for url in [url.clone(), format!("{url}&clientid={default}")] {
        let answer = asking.get(&url, &secret).await;
        assert_eq!(answer.claims()["appid"].as_str(), Some(default));
        assert!(answer.json()["expires_on"].as_str().unwrap().parse::<i64>().is_ok());
    }
    let user = &Options::default().identities.user[0];
    let answer = asking.get(&format!("{url}&clientid={}", user.client_id), &secret).await;
    assert_eq!(answer.claims()["appid"].as_str(), Some(user.client_id.as_str()));
    assert_eq!(asking.get(&format!("{url}&clientid=x"), &secret).await.status, 400);
    assert_eq!(asking.get(&url, &[("secret", "guessed")]).await.status, 401);
    assert_eq!(asking.get(&url.replace("2017-09-01", "2019-08-01"), &secret).await.status, 400);
}

#[tokio::test]
async fn cloud_shell_takes_a_form_and_no_choice() {
    let shell = CloudShellEndpoint::start(Options::default()).await.unwrap();
    let asking = Asking::new();
    let environment: Environment = shell.environment();
    let url = environment.get("MSI_ENDPOINT").unwrap();
    assert!(environment.get("MSI_SECRET").is_none());
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    let post = |body: &'static str, metadata: &'static str| {
        let asking = &asking;
        async move { asking.send(Method::POST, url, &[form, ("Metadata", metadata)], Some(body)).await }
    };
    let answer = post("resource=https%3A%2F%2Fvault.azure.net", "true").await;
    assert_eq!(answer.claims()["aud"], "https://vault.azure.net");
    assert_eq!(shell.server().requests()[0].form(), [("resource".into(), "https://vault.azure.net".into())]);
    let chosen = post("resource=r&client_id=x", "true").await;
    assert_eq!((chosen.status, chosen.json()["error"]["code"].as_str()), (400, Some("bad_request")));
    assert_eq!(post("resource=r", "false").await.status, 400);
    assert_eq!(post("", "true").await.status, 400);
}

#[tokio::test]
async fn service_fabric_is_known_by_its_thumbprint() {
    let fabric = ServiceFabricEndpoint::start(Options::default()).await.unwrap();
    let environment: Environment = fabric.environment();
    let url = format!("{}?api-version=2019-07-01-preview&resource=r", environment.get("IDENTITY_ENDPOINT").unwrap());
    assert!(url.starts_with("https://"));
    let thumbprint = environment.get("IDENTITY_SERVER_THUMBPRINT").unwrap();
    assert!(thumbprint.len() == 40 && thumbprint.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b)));

    let stranger = Asking::through(Client::new(&Environment::from([("SSL_CERT_FILE", "/dev/null")])).unwrap());
    assert!(stranger.fails(&url).await, "no authority vouches for it");
    let asking = Asking::through(Client::with_roots(fabric.roots()).unwrap());
    let answer = asking.get(&format!("{url}&token_sha256_to_refresh=00ff"), &[("Secret", fabric.secret())]).await;
    assert_eq!(answer.claims()["aud"], "r");
    assert_eq!(fabric.server().requests()[0].parameter("token_sha256_to_refresh"), Some("00ff"));
    let none = asking.get(&url, &[]).await;
    assert_eq!((none.status, none.json()["error"]["code"].as_str()), (400, Some("SecretHeaderNotFound")));
    let guessed = asking.get(&url, &[("Secret", "guessed")]).await;
    assert_eq!((guessed.status, guessed.json()["error"]["code"].as_str()), (404, Some("ManagedIdentityNotFound")));
}

#[tokio::test]
async fn a_pipeline_gives_its_token_to_its_own_job_alone() {
    let job = PipelinesEndpoint::start(Options::default()).await.unwrap();
    let asking = Asking::new();
    let environment: Environment = job.environment();
    let url = environment.get("SYSTEM_OIDCREQUESTURI").unwrap();
    let bearer = format!("Bearer {}", job.access_token());
    let (own, suppress) = (("Authorization", bearer.as_str()), ("X-TFS-FedAuthRedirect", "Suppress"));
    let asked = format!("{url}?api-version=7.1&serviceConnectionId={}", job.connection_id());

    let answer = asking.send(Method::POST, &asked, &[own, suppress], Some("")).await;
    assert_eq!(answer.status, 200);
    let token = answer.json()["oidcToken"].as_str().unwrap().to_owned();
    let claims = claims(&token);
    assert_eq!((&claims["iss"], &claims["sub"]), (&job.issuer().iss().into(), &job.subject().into()));
    assert_eq!(claims["aud"], "api://AzureADTokenExchange");
    assert!(job.issuer().iss().starts_with("https://vstoken.dev.azure.com/"));

    let foreign = ("Authorization", "Bearer guessed");
    for (method, url, headers, status) in [
        (Method::POST, &asked, vec![foreign, suppress], 401),
        // Who does not say that it is a program is shown where to sign in.
        (Method::POST, &asked, vec![foreign], 302),
        (Method::GET, &asked, vec![own, suppress], 405),
        (Method::POST, &asked.replace("7.1", "6.0"), vec![own, suppress], 400),
        (Method::POST, &asked.replace(job.connection_id(), "x"), vec![own, suppress], 404),
        (Method::POST, &asked.replace("/jobs/", "/jobs/0"), vec![own, suppress], 404),
    ] {
        let answer = asking.send(method.clone(), url, &headers, Some("")).await;
        assert_eq!(answer.status, status, "{method} {url} {headers:?}");
    }
}
