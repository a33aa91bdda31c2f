//! Every route of every listener, and what an API cannot do.
//!
//! The list of routes is the dispatcher's own: what is not in it cannot be reached, and a new row is tried the day it
//! is written.

use std::{convert::Infallible, sync::Arc};

use denizen_keys::envelope::RootKey;
use denizen_wire::{Clock, SubscriptionId, TenantId, UnixTime};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame};
use uuid::Uuid;

use super::{
    Api, BadRoute, Body, Call, PublicNames, Reply, Requirement, RouteInfo, Service,
    call::Ambiguous,
    reply,
    route::{Case, Handler, Params, Request, Route},
};
use crate::{
    app::{access::SystemReason, vaults::NewVault},
    domain::{authorize::Action, claims::audience::EntraIssued},
    run::{Server, ServerConfig, Services},
    store::Engine,
};

const HOST: &str = "localhost:8444";

async fn server(folder: &tempfile::TempDir) -> Server {
    let root = folder.path().canonicalize().unwrap();
    let config = ServerConfig {
        engine: Engine::Sqlite { path: root.join("denizen.db") },
        names: PublicNames {
            authority: "https://localhost:8443".into(),
            other_authorities: Vec::new(),
            vault_suffix: "vault.denizen.test".into(),
            vault_port: 8444,
            vault_local: Some("dev".into()),
        },
        custody: denizen_keys::Custody::sealed(),
        root_key: RootKey::load_or_create(&root.join("root.key")).unwrap(),
        clock: Clock::system(),
        entra_issued: EntraIssued::default(),
        outbound: crate::issuers::Outbound::default(),
        connections: 100,
        retention: crate::store::Retention::default(),
        password_grant: false,
        rates: crate::app::limits::Rates::default(),
    };
    Server::open(config).await.unwrap()
}

const TENANT: TenantId = TenantId(Uuid::from_u128(0x7e));

/// One with a tenant, and a vault `dev` in it.
async fn with_vault(folder: &tempfile::TempDir) -> Server {
    let server = server(folder).await;
    let subscription = SubscriptionId(Uuid::from_u128(0x5b));
    let set_up = || server.authorize(TENANT, SystemReason::SetUp);
    server.directory.create_tenant(&set_up(), "t.example", "T").await.unwrap();
    let group = server.directory.create_resource_group(&set_up(), subscription, "dev", "local").await.unwrap();
    let vault = NewVault { name: "dev", location: "local", retention_days: 90 };
    server.vaults.create(&set_up(), &group.id, &vault).await.unwrap();
    server
}

fn call(method: Method, path: &str, token: Option<&'static str>) -> Call {
    let mut headers = HeaderMap::new();
    headers.insert(header::HOST, HeaderValue::from_static(HOST));
    if let Some(token) = token {
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static(token));
    }
    let body = Body::Bytes(Bytes::from_static(b"{}"));
    let peer = ([127, 0, 0, 1], 5).into();
    Call::new(method, &path.parse().unwrap(), headers, body, peer, UnixTime(1_795_239_900), Uuid::from_u128(1))
}

fn path(route: &RouteInfo) -> String {
    let segment = |segment: &str| match segment.starts_with('{') {
        true if segment.starts_with("{tenant") => Uuid::from_u128(0x7e).to_string(),
        true => "0".repeat(32),
        false => segment.to_owned(),
    };
    route.pattern.split('/').map(segment).collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn d05_d24_d26_every_route_refuses_a_caller_with_nothing_or_says_why_it_is_open() {
    let folder = tempfile::tempdir().unwrap();
    // There is a vault: were nothing asked of the caller, it would be read and written.
    let server = with_vault(&folder).await;
    let services: Services = server.services().unwrap();
    let (mut open, mut guarded) = (0, 0);
    for route in services.routes() {
        let service = match route.service {
            "control" => &services.control,
            "vault" => &services.vault,
            "metrics" => &services.metrics,
            "admin" => &services.admin,
            other => panic!("no service {other}"),
        };
        let at = format!("{} {} of {}", route.method, route.pattern, route.api);
        for token in [None, Some("Bearer nonsense"), Some("Basic eA==")] {
            let status = service.handle(call(route.method.clone(), &path(&route), token)).await.status();
            match &route.requires {
                Requirement::Public(because) => {
                    assert!(because.contains(": "), "{at}: '{because}' names no kind and no reason");
                    assert_eq!(route.method, Method::GET, "{at}: what is open is read only");
                    assert!(!status.is_server_error(), "{at}: {status}");
                }
                Requirement::Action(_) => assert_eq!(status, 401, "{at}"),
                // Who is at the other end of a connection is known before anything is read.
                Requirement::OwnCredential(_) if route.service == "admin" => assert_eq!(status, 403, "{at}"),
                // There, the credential is a token.
                Requirement::OwnCredential(_) if route.api == "graph" => assert_eq!(status, 401, "{at}"),
                // A request without the credential that belongs to it has not the form of one.
                Requirement::OwnCredential(_) => assert_eq!(status, 400, "{at}"),
            }
        }
        match route.requires {
            Requirement::Public(_) => open += 1,
            Requirement::OwnCredential(_) | Requirement::Action(_) => guarded += 1,
        }
    }
    assert!(open >= 7 && guarded >= 15, "{open} open, {guarded} guarded");
    server.store.clone().close().await;
}

/// A stranger at each API, and what the operator sees of them: how many, and why.
#[tokio::test]
async fn strangers_are_in_the_metrics_by_reason() {
    let folder = tempfile::tempdir().unwrap();
    let server = with_vault(&folder).await;
    let services = server.services().unwrap();
    let scraped = async || {
        let reply = services.metrics.handle(call(Method::GET, "/metrics", None)).await;
        String::from_utf8(reply.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
    };
    let line = |api: &str, reason: &str, count: u64| {
        format!("denizen_stranger_refusals_total{{api=\"{api}\",reason=\"{reason}\"}} {count}\n")
    };
    let enrolment = |token: &str| {
        let body = serde_json::json!({"joinToken": token, "machineName": "m", "certificate": "", "proof": ""});
        let body = Body::Bytes(body.to_string().into());
        let (headers, peer) = (HeaderMap::new(), ([127, 0, 0, 1], 5).into());
        let uri = denizen_wire::node::ENROL_PATH.parse().unwrap();
        Call::new(Method::POST, &uri, headers, body, peer, UnixTime(1_795_239_900), Uuid::from_u128(1))
    };
    let expected = [
        ("token service", "malformed request", 1),
        ("token service", "unknown tenant", 2),
        ("vault", "no token", 3),
        ("vault", "bad token", 1),
        ("node", "malformed request", 1),
        ("node", "unknown join token", 2),
    ];
    let before = scraped().await;
    assert!(expected.iter().all(|(api, reason, _)| before.contains(&line(api, reason, 0))), "{before}");
    let post = |path: &str| call(Method::POST, path, None);
    services.control.handle(post("/t.example/oauth2/v2.0/token")).await;
    services.control.handle(post("/nobody.example/oauth2/v2.0/token")).await;
    services.control.handle(post("/no_tenant/oauth2/token")).await;
    for _ in 0..3 {
        services.vault.handle(call(Method::GET, "/secrets", None)).await;
    }
    services.vault.handle(call(Method::GET, "/secrets", Some("Bearer nonsense"))).await;
    services.control.handle(post(denizen_wire::node::ENROL_PATH)).await;
    services.control.handle(enrolment("nonsense")).await;
    services.control.handle(enrolment(&format!("dzj.{}.guess", TENANT.0.simple()))).await;
    let after = scraped().await;
    for (api, reason, count) in expected {
        assert!(after.contains(&line(api, reason, count)), "{api}, {reason}: {after}");
    }
    server.store.clone().close().await;
}

#[tokio::test]
async fn the_action_of_every_route_is_in_the_matrix_of_roles() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(&folder).await;
    let known: Vec<&str> = include_str!("../domain/authorize/actions.txt").lines().collect();
    let mut seen = 0;
    for route in server.services().unwrap().routes() {
        let line = match &route.requires {
            Requirement::Action(Action::Data(name)) => format!("data {name}"),
            Requirement::Action(Action::Control(name)) => name.to_string(),
            Requirement::Public(_) | Requirement::OwnCredential(_) => continue,
        };
        assert!(known.contains(&line.as_str()), "{} {}: add '{line}' to actions.txt", route.method, route.pattern);
        seen += 1;
    }
    assert!(seen >= 10, "only {seen}");
    server.store.clone().close().await;
}

#[tokio::test]
async fn every_listener_serves_what_is_in_the_list_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(&folder).await;
    let services = server.services().unwrap();
    for (service, known) in [(&services.control, "/healthz"), (&services.metrics, "/metrics")] {
        assert_eq!(service.handle(call(Method::GET, known, None)).await.status(), StatusCode::OK);
        assert!(service.routes().iter().any(|route| route.pattern == known));
        for unknown in ["/", "/admin", "/healthz/", "/metrics/x", "/node/v1/machines", "/HEALTHZ"] {
            let status = service.handle(call(Method::GET, unknown, None)).await.status();
            assert_eq!(status, StatusCode::NOT_FOUND, "{unknown}");
        }
    }
    let apis: std::collections::BTreeSet<_> = services.routes().iter().map(|route| route.api).collect();
    assert_eq!(
        apis.into_iter().collect::<Vec<_>>(),
        ["admin", "graph", "health", "metrics", "node", "token service", "vault"]
    );
    server.store.clone().close().await;
}

#[tokio::test]
async fn head_answers_as_get_on_what_is_open_and_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(&folder).await;
    let services = server.services().unwrap();
    let uri = "/common/discovery/keys";
    let get = services.control.handle(call(Method::GET, uri, None)).await;
    let head = services.control.handle(call(Method::HEAD, uri, None)).await;
    assert_eq!((get.status(), get.headers()), (head.status(), head.headers()));
    let status = services.control.handle(call(Method::HEAD, "/common/oauth2/token", None)).await.status();
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    server.store.clone().close().await;
}

#[tokio::test]
async fn d18_a_request_with_two_readings_is_refused_in_the_words_of_its_protocol() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(&folder).await;
    let services = server.services().unwrap();
    let (sts, vault) = (&services.control, &services.vault);
    let two_hosts = |method, path: &str| {
        let mut headers = HeaderMap::new();
        headers.append(header::HOST, HeaderValue::from_static(HOST));
        headers.append(header::HOST, HeaderValue::from_static("evil.test"));
        let (body, peer) = (Body::Bytes(Bytes::new()), ([127, 0, 0, 1], 5).into());
        Call::new(method, &path.parse().unwrap(), headers, body, peer, UnixTime(1_795_239_900), Uuid::from_u128(1))
    };
    let answer = async |service: &Service, call: Call| {
        let reply = service.handle(call).await;
        let (head, body) = reply.into_parts();
        assert_eq!(head.status, StatusCode::BAD_REQUEST);
        assert!(!head.headers.contains_key(header::WWW_AUTHENTICATE));
        let body: serde_json::Value = serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap();
        (head.headers, body)
    };

    let line_feed = call(Method::POST, "/contoso.test%0A/oauth2/v2.0/token", None);
    for call in [line_feed, two_hosts(Method::POST, "/contoso.test/oauth2/v2.0/token")] {
        let (headers, body) = answer(sts, call).await;
        assert_eq!(body["error"], "invalid_request", "{body}");
        assert_eq!(body["error_codes"][0], 9_002_313, "{body}");
        assert!(headers.contains_key("x-ms-request-id") && headers.contains_key(header::CACHE_CONTROL), "{headers:?}");
    }
    for call in [call(Method::GET, "/secrets/a%2fb", Some("Bearer x")), two_hosts(Method::GET, "/secrets/a")] {
        let (_, body) = answer(vault, call).await;
        assert_eq!(body["error"]["code"], "BadParameter", "{body}");
    }
    // Nothing of it is matched, so it lands at the service's first API.
    let (_, body) = answer(sts, two_hosts(Method::POST, "/node/v1/machines")).await;
    assert!(body["error_description"].as_str().unwrap().contains("more than one Host header"), "{body}");
    server.store.clone().close().await;
}

/// An API that authorizes whoever sends a token, and streams.
struct Streaming;

impl Api for Streaming {
    const NAME: &'static str = "streaming";
    const CASE: Case = Case::Exact;
    type Session = bool;
    type Authorized = u8;
    type Fault = StatusCode;

    fn routes() -> &'static [Route<Self>] {
        const ROUTES: &[Route<Streaming>] = &[
            Route {
                method: Method::GET,
                pattern: "/events",
                handler: Handler::Authorized {
                    action: Action::control("x/events/read"),
                    run: |_, seven, Request { .. }| {
                        let frames = (0..*seven).map(|n| Ok(Frame::data(Bytes::from(format!("data: {n}\n\n")))));
                        let body = StreamBody::new(futures_util::stream::iter(frames.collect::<Vec<_>>()));
                        let events = HeaderValue::from_static("text/event-stream");
                        Box::pin(async move { Ok(reply::stream(StatusCode::OK, events, body)) })
                    },
                },
            },
            Route {
                method: Method::GET,
                pattern: "/broken",
                handler: Handler::Public {
                    because: "test: a fault",
                    run: |_, _| Box::pin(async { Err(StatusCode::IM_A_TEAPOT) }),
                },
            },
        ];
        ROUTES
    }

    fn ambiguous(&self, _: &mut Call, _: Ambiguous) -> StatusCode {
        StatusCode::BAD_REQUEST
    }

    fn enter(&self, call: &mut Call) -> Result<bool, StatusCode> {
        call.response_headers.insert("x-always", HeaderValue::from_static("here"));
        Ok(call.headers.contains_key(header::AUTHORIZATION))
    }

    fn authorize(&self, session: bool, _: &Call, action: &Action, _: &Params) -> Result<u8, StatusCode> {
        assert_eq!(action.name(), "x/events/read");
        if session { Ok(7) } else { Err(StatusCode::UNAUTHORIZED) }
    }

    fn behind(&self, _: &Call, _: crate::app::replica::Behind) -> Self::Fault {
        unreachable!("nobody shares its store")
    }

    fn not_found(&self, _: &Call) -> StatusCode {
        StatusCode::NOT_FOUND
    }

    fn method_not_allowed(&self, _: &Call, _: &str) -> StatusCode {
        StatusCode::METHOD_NOT_ALLOWED
    }

    fn write_fault(&self, _: &Call, fault: StatusCode) -> Reply {
        reply::empty(fault)
    }
}

#[tokio::test]
async fn a_row_runs_only_with_what_it_requires_and_every_answer_has_the_headers() {
    let service = Service::new("test", Streaming).unwrap();
    let refused = service.handle(call(Method::GET, "/events", None)).await;
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    for (path, status) in [("/broken", 418), ("/nothing", 404)] {
        let answer = service.handle(call(Method::GET, path, None)).await;
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["x-always"]),
            (status, &HeaderValue::from_static("here"))
        );
    }
    let other_method = service.handle(call(Method::DELETE, "/events", None)).await;
    assert_eq!(
        (other_method.status().as_u16(), &other_method.headers()[header::ALLOW]),
        (405, &HeaderValue::from_static("GET"))
    );
    assert_eq!(other_method.headers()["x-always"], "here");
    let events = service.handle(call(Method::GET, "/events", Some("Bearer x"))).await;
    assert_eq!(events.headers()[header::CONTENT_TYPE], "text/event-stream");
    let text = events.into_body().collect().await.unwrap().to_bytes();
    assert!(text.starts_with(b"data: 0\n\ndata: 1\n\n") && text.ends_with(b"data: 6\n\n"));
}

/// An API that cannot authorize anything, with a row that requires an action.
struct Powerless;

impl Api for Powerless {
    const NAME: &'static str = "powerless";
    const CASE: Case = Case::Exact;
    type Session = ();
    type Authorized = Infallible;
    type Fault = StatusCode;

    fn routes() -> &'static [Route<Self>] {
        const ROUTES: &[Route<Powerless>] = &[Route {
            method: Method::GET,
            pattern: "/machines",
            handler: Handler::Authorized {
                action: Action::control("x/machines/read"),
                // There is no value of this type, so nothing this handler does can happen.
                run: |_, nobody, _| match *nobody {},
            },
        }];
        ROUTES
    }

    fn ambiguous(&self, _: &mut Call, _: Ambiguous) -> StatusCode {
        StatusCode::BAD_REQUEST
    }

    fn enter(&self, _: &mut Call) -> Result<(), StatusCode> {
        Ok(())
    }

    fn authorize(&self, (): (), _: &Call, _: &Action, _: &Params) -> Result<Infallible, StatusCode> {
        Err(StatusCode::FORBIDDEN)
    }

    fn behind(&self, _: &Call, _: crate::app::replica::Behind) -> Self::Fault {
        unreachable!("nobody shares its store")
    }

    fn not_found(&self, _: &Call) -> StatusCode {
        StatusCode::NOT_FOUND
    }

    fn method_not_allowed(&self, _: &Call, _: &str) -> StatusCode {
        StatusCode::METHOD_NOT_ALLOWED
    }

    fn write_fault(&self, _: &Call, fault: StatusCode) -> Reply {
        reply::empty(fault)
    }
}

#[tokio::test]
async fn d26_an_api_without_authorization_cannot_run_a_row_that_requires_an_action() {
    let service = Arc::new(Service::new("test", Powerless).unwrap());
    let answer = service.handle(call(Method::GET, "/machines", Some("Bearer x"))).await;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
}

#[test]
fn two_apis_for_the_same_paths_are_refused() {
    let twice: Result<Service, BadRoute> =
        Service::new("test", Powerless).unwrap().mount(&["a"], Streaming).unwrap().mount(&["b", "a"], Streaming);
    assert!(twice.is_err());
}

/// Who may administer is known by the socket alone: whoever the kernel says it is.
#[tokio::test]
async fn administration_is_for_the_owner_of_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let server = with_vault(&folder).await;
    let services = server.services().unwrap();
    let asked = async |user: Option<u32>, body: &str| {
        let (body, peer) = (Body::Bytes(body.to_owned().into()), ([127, 0, 0, 1], 5).into());
        let uri = super::admin::JOIN_TOKENS.parse().unwrap();
        let mut call =
            Call::new(Method::POST, &uri, HeaderMap::new(), body, peer, UnixTime(1_795_239_900), Uuid::from_u128(1));
        call.local_user = user;
        let reply = services.admin.handle(call).await;
        let status = reply.status().as_u16();
        let body = reply.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice::<serde_json::Value>(&body).unwrap())
    };
    let us = rustix::process::geteuid().as_raw();
    let good = r#"{"resourceGroup":"dev","lifetime":60}"#;
    for stranger in [None, Some(us.wrapping_add(1))] {
        let (status, body) = asked(stranger, good).await;
        assert_eq!((status, body["error"]["code"].as_str()), (403, Some("Forbidden")), "{body}");
    }
    let (status, body) = asked(Some(us), good).await;
    assert!(status == 200 && body["joinToken"].as_str().unwrap().starts_with("dzj."), "{body}");
    for (bad, expected, says) in [
        ("{", 400, "not a request"),
        (r#"{"resourceGroup":"dev","lifetime":60,"hunter2":1}"#, 400, "not a request"),
        (r#"{"resourceGroup":"dev","lifetime":0}"#, 400, "seconds"),
        (r#"{"resourceGroup":"other","lifetime":60}"#, 404, "other"),
        (r#"{"resourceGroup":"dev","machineName":"a/b","lifetime":60}"#, 400, "not a request"),
    ] {
        let (status, body) = asked(Some(us), bad).await;
        let message = body["error"]["message"].as_str().unwrap();
        assert!(status == expected && message.contains(says) && !message.contains("hunter2"), "{bad}: {status} {body}");
    }
    server.store.clone().close().await;
}

#[tokio::test]
async fn readiness_is_said_with_reasons_and_shown_in_the_metrics() {
    let folder = tempfile::tempdir().unwrap();
    let server = with_vault(&folder).await;
    let services = server.services().unwrap();
    let asked = async |service: &Service| {
        let reply = service.handle(call(Method::GET, "/readyz", None)).await;
        let status = reply.status().as_u16();
        let body = reply.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice::<serde_json::Value>(&body).unwrap())
    };
    let (status, body) = asked(&services.control).await;
    assert_eq!((status, &body["status"]), (200, &"ready".into()), "{body}");
    let checks: Vec<_> = body["checks"].as_array().unwrap().iter().map(|it| it["check"].as_str().unwrap()).collect();
    assert_eq!(
        checks,
        ["not draining", "store", "replica", "writes", "audit spool", "audit anchor", "clock", "signing keys"]
    );

    server.readiness.drain();
    let (status, body) = asked(&services.metrics).await;
    assert_eq!((status, &body["status"]), (503, &"draining".into()), "{body}");
    let reply = services.metrics.handle(call(Method::GET, "/metrics", None)).await;
    let text = String::from_utf8(reply.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap();
    assert!(text.contains("denizen_ready{check=\"store\"} 1\n"), "{text}");
    assert!(text.contains(&format!("denizen_build_info{{version=\"{}\"}} 1\n", env!("CARGO_PKG_VERSION"))), "{text}");
    // A closed store answers nothing.
    server.store.clone().close().await;
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let (_, body) = asked(&services.control).await;
    let store = body["checks"].as_array().unwrap().iter().find(|it| it["check"] == "store").unwrap();
    assert_eq!((&store["ok"], store["reason"].as_str().unwrap().contains("database")), (&false.into(), true), "{body}");
}

/// The labels are rows of the tables: whatever a client writes is counted as `none`.
#[tokio::test]
async fn requests_are_counted_by_route_and_class_and_no_label_is_a_clients() {
    let folder = tempfile::tempdir().unwrap();
    let server = with_vault(&folder).await;
    let services = server.services().unwrap();
    let brew = Method::from_bytes(b"BREW").unwrap();
    services.vault.handle(call(Method::GET, "/secrets/hunter2", None)).await;
    for (method, path) in [(Method::GET, "/healthz"), (Method::GET, "/healthz"), (brew, "/healthz")] {
        services.control.handle(call(method, path, None)).await;
    }
    services.control.handle(call(Method::GET, "/hunter2/hunter2", None)).await;
    let reply = services.metrics.handle(call(Method::GET, "/metrics", None)).await;
    let text = String::from_utf8(reply.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap();
    let line = |of: &str| text.lines().find(|line| line.starts_with(of)).map(|line| line.rsplit(' ').next().unwrap());
    let of = |api: &str, method: &str, route: &str, class: &str| {
        let service = if api == "vault" { "vault" } else { "control" };
        format!(
            "denizen_requests_total{{service=\"{service}\",api=\"{api}\",method=\"{method}\",route=\"{route}\",class=\"{class}\"}}"
        )
    };
    assert_eq!(line(&of("health", "GET", "/healthz", "2xx")), Some("2"), "{text}");
    assert_eq!(line(&of("health", "none", "none", "4xx")), Some("1"), "{text}");
    assert_eq!(line(&of("vault", "none", "none", "4xx")), Some("1"), "{text}");
    let labels = "service=\"control\",api=\"health\",method=\"GET\",route=\"/healthz\"";
    assert_eq!(line(&format!("denizen_request_seconds_count{{{labels}}}")), Some("2"), "{text}");
    assert!(!text.contains("hunter2") && !text.contains("BREW"), "{text}");
    server.store.clone().close().await;
}
