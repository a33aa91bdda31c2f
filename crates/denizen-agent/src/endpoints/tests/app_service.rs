use super::*;

const SHOWN: (&str, &str) = ("X-IDENTITY-HEADER", SECRET);

#[tokio::test]
async fn the_secret_gives_a_token_with_or_without_metadata() {
    let sandbox = Sandbox::new().await;
    for headers in [&[SHOWN][..], &[SHOWN, METADATA], &[("x-identity-header", SECRET), ("metadata", "true")]] {
        let reply = sandbox.get(APP_SERVICE, headers).await;
        assert_eq!((reply.status(), reply.text("access_token")), (200, "token-1".into()));
        assert_eq!(reply.text("client_id"), CLIENT_ID);
    }
    for key in ["client_id", "mi_res_id", "resource_id", "object_id"] {
        let value = match key {
            "client_id" => CLIENT_ID,
            "object_id" => OBJECT_ID,
            _ => MACHINE,
        };
        assert_eq!(sandbox.get(&format!("{APP_SERVICE}&{key}={value}"), &[SHOWN]).await.status(), 200, "{key}");
    }
}

#[tokio::test]
async fn d24_without_the_secret_there_is_nothing() {
    let sandbox = Sandbox::new().await;
    let cases: [&[(&str, &str)]; 6] = [
        &[],
        &[METADATA],
        &[("X-IDENTITY-HEADER", "")],
        &[("X-IDENTITY-HEADER", "an-app-service-secre")],
        &[("X-IDENTITY-HEADER", "AN-APP-SERVICE-SECRET")],
        &[SHOWN, SHOWN],
    ];
    for headers in cases {
        let reply = sandbox.get(APP_SERVICE, headers).await;
        assert_eq!(reply.status(), 401, "{headers:?}");
        assert!(reply.header("Www-Authenticate").is_none(), "there is no challenge to take up");
        let body = reply.json();
        assert_eq!(body["statusCode"], 401);
        assert!(
            body["message"].as_str().unwrap().contains("IDENTITY_HEADER") && body["correlationId"].is_string(),
            "{body}"
        );
        assert!(!reply.body.contains(SECRET));
    }
    assert_eq!(sandbox.upstream.asked(), 0);
    // Nor on the other listener.
    assert_eq!(sandbox.get_imds(APP_SERVICE, &[SHOWN, METADATA]).await.status(), 404);
}

#[tokio::test]
async fn a_client_of_the_2017_dialect_is_told_the_version_and_the_header() {
    let sandbox = Sandbox::new().await;
    for headers in [&[("Secret", SECRET)][..], &[("secret", "wrong"), METADATA], &[]] {
        let reply = sandbox.get("/msi/token?resource=r&api-version=2017-09-01", headers).await;
        let body = reply.json();
        let message = body["message"].as_str().unwrap();
        assert_eq!((reply.status(), &body["statusCode"]), (400, &serde_json::json!(400)), "{headers:?}");
        assert!(message.contains("2019-08-01") && message.contains("X-IDENTITY-HEADER"), "{message}");
    }
    assert_eq!(sandbox.upstream.asked(), 0);
}

#[tokio::test]
async fn d15_errors_are_in_the_dialects_own_shape() {
    let sandbox = Sandbox::new().await;
    for (target, says) in [
        (format!("{APP_SERVICE}&client_id={OBJECT_ID}"), "Identity not found"),
        (format!("{APP_SERVICE}&client_id={CLIENT_ID}&object_id={OBJECT_ID}"), "More than one identity"),
        ("/msi/token?resource=r".into(), "Supported are 2019-08-01"),
        ("/msi/token?resource=r&api-version=2019-07-01".into(), "Supported are 2019-08-01"),
        ("/msi/token?resource=r&api-version=2017-09-01".into(), "send api-version=2019-08-01"),
        ("/msi/token?api-version=2019-08-01".into(), "resource is not specified"),
    ] {
        let reply = sandbox.get(&target, &[SHOWN]).await;
        let body = reply.json();
        assert_eq!((reply.status(), &body["statusCode"]), (400, &serde_json::json!(400)), "{target}");
        assert!(body["message"].as_str().unwrap().contains(says), "{body}");
    }
}
