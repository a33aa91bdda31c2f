//! D-5, D-24: every row of every route table, without a credential, with a bad one, and with a powerless one.
//!
//! The tables are the server's own, so a new row is tried the day it is written.

use denizen_server::{
    domain::authorize::Action,
    http::{Requirement, RouteInfo},
};

use crate::{
    dev::{Dev, Launch},
    offline::Offline,
    sandbox::{Sandbox, User},
    wire::{Answer, encoded},
};

/// A path that reaches a row.
fn path(row: &RouteInfo, tenant: &str) -> String {
    let segment = |segment: &str| match segment {
        "{tenant}" => tenant.to_owned(),
        "{version}" => String::new(),
        parameter if parameter.starts_with('{') => "hello".to_owned(),
        literal => literal.to_owned(),
    };
    row.pattern.split('/').map(segment).collect::<Vec<_>>().join("/")
}

fn body(row: &RouteInfo) -> Option<&'static str> {
    ["PUT", "POST", "PATCH"].contains(&row.method.as_str()).then_some(r#"{"value":"planted"}"#)
}

fn vault_refused(row: &RouteInfo, what: &str, answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{} {} {what}: {answer:?}", row.method, row.pattern);
    let challenged = answer.header("www-authenticate").is_some();
    assert_eq!(challenged, status == 401, "{} {} {what}: {answer:?}", row.method, row.pattern);
    let code = if status == 401 { "Unauthorized" } else { "Forbidden" };
    assert_eq!(answer.text("/error/code"), code, "{} {} {what}", row.method, row.pattern);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d05_d24_every_row_of_the_vault_refuses() {
    let sandbox = Sandbox::new().await;
    let first = Dev::start(&sandbox).await;
    let (data, authority) = (first.data.clone(), first.fact("/authority").to_owned());
    first.stop().await;
    let operator = Offline::open(&data, &authority).await;
    let set_up = operator.authorization();
    let powerless = operator.server.directory.create_application(&set_up, "Powerless").await.unwrap().0.client_id;
    let password = operator.server.directory.reset_password(&set_up, powerless, "test").await.unwrap();
    let rows = operator.server.services().unwrap().routes();
    operator.close().await;
    let dev = Launch::new(&sandbox, User::Ours).start().await;

    let fields = [
        ("grant_type", "client_credentials"),
        ("client_id", &powerless.to_string()),
        ("client_secret", password.expose()),
        ("scope", "https://vault.azure.net/.default"),
    ];
    let powerless = dev.wire.form(&dev.token_url("/v2.0"), &fields).await.expect(200).text("/access_token");
    let elsewhere = dev.admin_token("https://management.azure.com").await;

    let rows: Vec<_> = rows.into_iter().filter(|row| row.service == "vault").collect();
    assert!(rows.iter().any(|row| row.pattern == "/secrets/{name}"));
    for row in &rows {
        let Requirement::Action(Action::Data(action)) = &row.requires else {
            panic!(
                "{} {} requires {:?}; a vault gives nothing for less than a data action",
                row.method, row.pattern, row.requires
            );
        };
        let path = format!("{}?api-version=7.6", path(row, dev.fact("/tenant_id")));
        let ask = async |token: Option<&str>| dev.vault(row.method.as_str(), &path, token, body(row)).await;
        vault_refused(row, "without a token", &ask(None).await, 401);
        vault_refused(row, "with a bad token", &ask(Some("eyJhbGciOiJub25lIn0.e30.")).await, 401);
        vault_refused(row, "with a token for another resource", &ask(Some(&elsewhere)).await, 401);
        let forbidden = ask(Some(&powerless)).await;
        vault_refused(row, "with a powerless token", &forbidden, 403);
        let why = forbidden.text("/error/message");
        assert!(why.contains(action.as_ref()), "{} {}: {why}", row.method, row.pattern);
    }
    // All that asking changed nothing.
    let admin = dev.admin_token("https://vault.azure.net").await;
    let hello = dev.vault("GET", "/secrets/hello/?api-version=7.6", Some(&admin), None).await.expect(200);
    assert_eq!(hello.text("/value"), dev.fact("/secret/value"));
    let all = dev.vault("GET", "/secrets?api-version=7.6", Some(&admin), None).await.expect(200).json();
    assert_eq!(all["value"].as_array().unwrap().len(), 1, "{all}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d05_d24_every_row_of_the_main_listener_is_open_for_a_reason_or_refuses() {
    let sandbox = Sandbox::new().await;
    let first = Dev::start(&sandbox).await;
    let (data, authority) = (first.data.clone(), first.fact("/authority").to_owned());
    first.stop().await;
    let operator = Offline::open(&data, &authority).await;
    let rows = operator.server.services().unwrap().routes();
    operator.close().await;
    let rows: Vec<_> = rows.into_iter().filter(|row| row.service == "control").collect();
    let dev = Launch::new(&sandbox, User::Ours).start().await;
    let (authority, tenant) = (dev.fact("/authority"), dev.fact("/tenant_id"));
    let mut open = 0;
    for row in &rows {
        let url = format!("{authority}{}", path(row, tenant));
        let at = format!("{} {}", row.method, row.pattern);
        match &row.requires {
            Requirement::Public(reason) => {
                // Open rows are public documents: read only, and without anything of a client's in them.
                open += 1;
                assert_eq!(row.method, "GET", "{at}");
                assert!(
                    ["discovery: ", "health: ", "page: "].iter().any(|kind| reason.starts_with(kind)),
                    "{at}: {reason}"
                );
                let answer = dev.wire.get(&url, &[]).await;
                for secret in ["/admin/client_id", "/machine/client_id", "/machine/principal_id"] {
                    assert!(!answer.body.contains(dev.fact(secret)), "{at} shows {secret}");
                }
            }
            Requirement::OwnCredential(_) => {
                for (content_type, body) in [
                    ("application/x-www-form-urlencoded", String::new()),
                    ("application/x-www-form-urlencoded", "grant_type=client_credentials".to_owned()),
                    (
                        "application/x-www-form-urlencoded",
                        format!(
                            "grant_type=client_credentials&client_id={}&scope={}",
                            dev.fact("/admin/client_id"),
                            encoded("https://vault.azure.net/.default")
                        ),
                    ),
                    ("application/json", "{}".to_owned()),
                    ("application/json", "[".repeat(4096)),
                    ("application/octet-stream", "\u{0}".repeat(70_000)),
                ] {
                    let headers = [("Content-Type", content_type)];
                    let answer = dev.wire.send(row.method.as_str(), &url, &headers, Some(&body)).await.unwrap();
                    assert!([400, 401, 403, 413, 415].contains(&answer.status), "{at}: {answer:?}");
                    if answer.body.starts_with("<!DOCTYPE html>") {
                        assert!(answer.body.contains("Error AADSTS"), "{at}: {answer:?}");
                        continue;
                    }
                    let said = answer.json();
                    assert!(said["error"].is_string() || said["error"]["code"].is_string(), "{at}: {said}");
                    assert_eq!(said.get("access_token"), None, "{at}");
                }
            }
            Requirement::Action(_) => {
                let answer = dev.wire.send(row.method.as_str(), &url, &[], body(row)).await.unwrap();
                assert_eq!(answer.status, 401, "{at}: {answer:?}");
            }
        }
    }
    assert!(open > 0 && open < rows.len());
    assert!(rows.iter().any(|row| row.pattern.ends_with("/oauth2/v2.0/token")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d18_a_path_that_is_not_exactly_a_known_one_leads_nowhere() {
    let sandbox = Sandbox::new().await;
    let dev = Dev::start(&sandbox).await;
    let token = dev.admin_token("https://vault.azure.net").await;
    for path in [
        "/",
        "/secret/hello",
        "/secrets/hello/versions/more",
        "/secrets/../secrets/hello/",
        "/secrets/%2e%2e/secrets/hello/",
        "/secrets%2fhello/",
        "/secrets/hello%2f",
        "/secrets/hello%00/",
        "/secrets%5chello/",
        "/secrets/hello%252f/",
        "//secrets/hello/",
        "/./secrets/hello/",
        "/healthz",
        "/metadata/identity/oauth2/token",
        "/node/v1/enrol",
        "/keys/hello/",
    ] {
        let answer = dev.vault("GET", &format!("{path}?api-version=7.6"), Some(&token), None).await;
        assert!([400, 404, 405].contains(&answer.status), "{path}: {answer:?}");
        assert!(answer.json()["error"]["code"].is_string(), "{path}: {answer:?}");
        assert!(!answer.body.contains(dev.fact("/secret/value")), "{path}");
    }
    let tenant = dev.fact("/tenant_id");
    for path in [
        "/".to_owned(),
        "/admin".to_owned(),
        "/metrics".to_owned(),
        "/healthz/".to_owned(),
        "/subscriptions".to_owned(),
        "/node/v1/enrol/".to_owned(),
        "/node/v1/machines".to_owned(),
        "/secrets/hello/".to_owned(),
        "/msi/token".to_owned(),
        format!("/{tenant}/oauth2/v2.0/authorize"),
        format!("/{tenant}/oauth2%2fv2.0/token"),
        format!("/{tenant}/../{tenant}/v2.0/.well-known/openid-configuration"),
        format!("/{tenant}%00/v2.0/.well-known/openid-configuration"),
        format!("/{tenant}/v2.0/%2e%2e/.well-known/openid-configuration"),
    ] {
        for method in ["GET", "POST", "PUT", "DELETE", "OPTIONS"] {
            let url = format!("{}{path}", dev.fact("/authority"));
            let answer = dev.wire.send(method, &url, &[], None).await.unwrap();
            assert!([400, 404, 405].contains(&answer.status), "{method} {path}: {answer:?}");
        }
    }
    // A known path with a method it does not have.
    for method in ["GET", "PUT", "DELETE", "PATCH"] {
        let answer = dev.wire.send(method, &dev.token_url("/v2.0"), &[], None).await.unwrap();
        assert!([400, 404, 405].contains(&answer.status), "{method}: {answer:?}");
    }
}
