use super::*;

/// Every route, with what would get an answer from it: `(IMDS listener?, target, headers)`.
type Asked = (bool, &'static str, &'static [(&'static str, &'static str)]);
const ROUTES: &[Asked] = &[
    (false, ARC, &[METADATA]),
    (false, APP_SERVICE, &[("X-IDENTITY-HEADER", SECRET)]),
    (false, "/metadata/instance?api-version=2020-06-01", &[METADATA]),
    (true, IMDS, &[METADATA]),
    (true, "/metadata/instance?api-version=2020-06-01", &[METADATA]),
    (true, "/metadata/versions", &[METADATA]),
];

async fn ask(sandbox: &Sandbox, imds: bool, target: &str, headers: &[(&str, &str)]) -> Reply {
    if imds { sandbox.get_imds(target, headers).await } else { sandbox.get(target, headers).await }
}

#[tokio::test]
async fn d05_d24_every_route_denies_by_default() {
    let sandbox = Sandbox::new().await;
    for (imds, target, headers) in ROUTES {
        let full = ask(&sandbox, *imds, target, headers).await;
        assert!([200, 401].contains(&full.status()), "{target}: {full:?}");
        let bare = ask(&sandbox, *imds, target, &[]).await;
        assert!([400, 401].contains(&bare.status()), "{target}: {bare:?}");
        assert!(!bare.body.contains("access_token") && !bare.body.contains("compute"), "{}", bare.body);
    }
    assert_eq!(sandbox.agent.metrics().tokens.total(), 2, "App Service and IMDS, with what they ask for");
}

#[tokio::test]
async fn d16_forwarded_requests_are_refused_on_every_route() {
    let sandbox = Sandbox::new().await;
    for (imds, target, headers) in ROUTES {
        for forwarded in [
            "X-Forwarded-For",
            "x-forwarded-host",
            "X-FORWARDED-PROTO",
            "Forwarded",
            "Via",
            "X-Real-IP",
            "X-Client-IP",
            "True-Client-IP",
            "X-Original-Forwarded-For",
        ] {
            let with: Vec<_> = headers.iter().copied().chain([(forwarded, "")]).collect();
            let reply = ask(&sandbox, *imds, target, &with).await;
            assert_eq!(reply.status(), 400, "{target} {forwarded}");
            assert!(reply.body.contains("forwarded"), "{}", reply.body);
        }
    }
    assert_eq!(sandbox.upstream.asked() + sandbox.key_files().len(), 0);
}

#[tokio::test]
async fn d16_a_foreign_host_is_refused_on_every_route() {
    let sandbox = Sandbox::new().await;
    for (imds, target, headers) in ROUTES {
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example:40342",
            "10.0.0.1",
            "0.0.0.0",
            "user@localhost",
            "",
            "::1",
            "localhost, evil.example",
        ] {
            let with: Vec<_> = headers.iter().copied().chain([("Host", host)]).collect();
            let reply = ask(&sandbox, *imds, target, &with).await;
            assert_eq!(reply.status(), 400, "{target} {host}");
            assert!(reply.body.contains("Host"), "{host}: {}", reply.body);
        }
        for host in ["localhost", "LOCALHOST:40342", "127.0.0.1:40342", "[::1]:40342", "169.254.169.254"] {
            let with: Vec<_> = headers.iter().copied().chain([("Host", host)]).collect();
            assert_ne!(ask(&sandbox, *imds, target, &with).await.status(), 400, "{target} {host}");
        }
        let twice: Vec<_> = headers.iter().copied().chain([("Host", "localhost"), ("Host", "localhost")]).collect();
        assert_eq!(ask(&sandbox, *imds, target, &twice).await.status(), 400);
    }
    // A request line in proxy form names a host too.
    let mut wire = Wire::to(sandbox.local()).await;
    let reply = wire.get(&format!("http://169.254.169.254{ARC}"), &[METADATA, ("Host", "169.254.169.254")]).await;
    assert_eq!(reply.status(), 401);
    let reply = wire.get(&format!("http://evil.example{ARC}"), &[METADATA]).await;
    assert_eq!(reply.status(), 400);
}

#[tokio::test]
async fn d16_browsers_are_refused_on_every_route() {
    let sandbox = Sandbox::new().await;
    for (imds, target, headers) in ROUTES {
        for browser in [
            ("Origin", "https://evil.example"),
            ("Origin", "null"),
            ("Sec-Fetch-Site", "cross-site"),
            ("Sec-Fetch-Site", "same-origin"),
        ] {
            let with: Vec<_> = headers.iter().copied().chain([browser]).collect();
            let reply = ask(&sandbox, *imds, target, &with).await;
            assert_eq!(reply.status(), 400, "{target} {browser:?}");
            assert!(reply.body.contains("browser"), "{}", reply.body);
        }
    }
}

#[tokio::test]
async fn other_methods_are_405_with_json_on_every_path() {
    let sandbox = Sandbox::new().await;
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"] {
        for target in [ARC, APP_SERVICE, "/metadata/instance", "/nowhere"] {
            let mut wire = Wire::to(sandbox.local()).await;
            let reply = wire
                .send(&format!(
                    "{method} {target} HTTP/1.1\r\nHost: localhost\r\nMetadata: true\r\nContent-Length: 0\r\n\r\n"
                ))
                .await;
            assert_eq!((reply.status(), reply.header("Allow")), (405, Some("GET")), "{method} {target}");
            reply.json();
        }
    }
}

#[tokio::test]
async fn d18_unknown_paths_are_404_before_anything_else() {
    let sandbox = Sandbox::new().await;
    for target in [
        "/",
        "/metadata/identity\\oauth2\\token/?api-version=2018-02-01&resource=r",
        "/metadata/identity/oauth2/token/..",
        "/metadata/identity/oauth2/%74oken",
        "/metadata/identity/getplatformmetadata?cred-api-version=2.0",
    ] {
        for imds in [false, true] {
            // Even with everything else wrong: the path is looked at first.
            let reply = ask(&sandbox, imds, target, &[("X-Forwarded-For", "1.2.3.4"), ("Host", "evil.example")]).await;
            assert!([400, 404].contains(&reply.status()), "{target}");
            if !target.contains('\\') {
                assert_eq!((reply.status(), reply.text("error")), (404, "not_found".into()), "{target}");
            }
        }
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let sandbox = Sandbox::new().await;
    let many: String = (0..100).map(|i| format!("X-{i}: 1\r\n")).collect();
    let large = format!("X-Large: {}\r\n", "a".repeat(20_000));
    for headers in [many, large] {
        let mut wire = Wire::to(sandbox.local()).await;
        let reply =
            wire.send(&format!("GET {ARC} HTTP/1.1\r\nHost: localhost\r\nMetadata: true\r\n{headers}\r\n")).await;
        assert_eq!(reply.status(), 431);
    }
}
