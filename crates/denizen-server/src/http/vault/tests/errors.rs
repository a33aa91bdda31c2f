//! Bad input, and the words it is answered with.

use std::fmt::Write;

use serde_json::json;

use super::*;

#[tokio::test]
async fn bad_names_versions_and_parameters() {
    let v = Vaulted::new().await;
    let long = format!("/secrets/{}", "a".repeat(128));
    for path in [
        "/secrets/a_b",
        "/secrets/a.b",
        "/secrets/a%20b",
        "/secrets/%C3%A9",
        &long,
        "/secrets/s/not-a-version",
        "/secrets/s/ABCDEF0123456789ABCDEF0123456789",
        "/secrets?maxresults=0",
        "/secrets?maxresults=26",
        "/secrets?maxresults=-1",
        "/secrets?maxresults=x",
        "/secrets?maxresults=1&maxresults=2",
        "/secrets?$skiptoken=x",
        "/secrets?$skiptoken=Li4v",
        "/secrets?$skiptoken=YQ&$skiptoken=YQ",
        "/deletedsecrets/a_b",
    ] {
        assert_eq!(v.get(path).send().await.fault(), fault(400, "BadParameter", ""), "{path}");
    }
    for method in [Method::PUT, Method::PATCH, Method::DELETE] {
        let answer = v.ask(method.clone(), "/secrets/a_b").raw(r#"{"value":"v"}"#).send().await;
        assert_eq!(answer.fault(), fault(400, "BadParameter", ""), "{method}");
    }
    assert_eq!(v.get("/secrets").send().await.ok()["value"], json!([]));
}

#[tokio::test]
async fn d34_bad_bodies_are_refused_and_never_quoted() {
    let v = Vaulted::new().await;
    let deep = format!(r#"{{"value":"hunter2","x":{}{}}}"#, "[".repeat(32), "]".repeat(32));
    let value = |n: usize| json!({"value": "h".repeat(n)}).to_string();
    for (body, status) in [
        (String::new(), 400),
        ("hunter2".into(), 400),
        (r#""hunter2""#.into(), 400),
        (r#"["hunter2"]"#.into(), 400),
        (r#"{"value":"hunter2""#.into(), 400),
        (r#"{"value":"hunter2"} x"#.into(), 400),
        (r#"{"value":"hunter2","value":"hunter2"}"#.into(), 400),
        (r#"{"value":{"hunter2":1}}"#.into(), 400),
        (r#"{"value":7}"#.into(), 400),
        (r#"{"value":null}"#.into(), 400),
        (r#"{"tags":{}}"#.into(), 400),
        (r#"{"value":"hunter2","tags":["hunter2"]}"#.into(), 400),
        (r#"{"value":"hunter2","tags":{"a":1}}"#.into(), 400),
        (r#"{"value":"hunter2","attributes":{"enabled":"hunter2"}}"#.into(), 400),
        (r#"{"value":"hunter2","attributes":{"exp":"hunter2"}}"#.into(), 400),
        ("{\"value\":\"hunter2\u{0}\"}".into(), 400),
        (r#"{"value":"\ud800"}"#.into(), 400),
        (deep, 400),
        (json!({"value": "hunter2", "contentType": "c".repeat(256)}).to_string(), 400),
        (json!({"value": "hunter2", "tags": {"a".repeat(513): ""}}).to_string(), 400),
        (value(25_601), 400),
        (value(64 * 1024), 400),
        (value(512 * 1024), 413),
    ] {
        let answer = v.ask(Method::PUT, "/secrets/s").raw(body.clone()).send().await;
        assert_eq!(answer.fault(), fault(status, "BadParameter", ""), "{body:.60}");
        assert!(!answer.text.contains("hunter2"), "{}", answer.text);
    }
    let not_utf8 = v.ask(Method::PUT, "/secrets/s").raw(&b"{\"value\":\"\xff\"}"[..]).send().await;
    assert_eq!(not_utf8.fault(), fault(400, "BadParameter", ""));
    assert_eq!(v.get("/secrets/s").send().await.status, 404);
    // Up to the edge it is good.
    v.ask(Method::PUT, "/secrets/s").raw(value(25_600)).send().await.ok();
    let nested = format!(r#"{{"value":"[[[[\"{{{{","x":{}{}}}"#, "[".repeat(31), "]".repeat(31));
    v.ask(Method::PUT, "/secrets/s").raw(nested).send().await.ok();
}

/// A value is measured as it is, and not as JSON happens to escape it.
#[tokio::test]
async fn a_value_of_the_greatest_size_is_stored_however_it_is_escaped() {
    let v = Vaulted::new().await;
    let escaped =
        |c: char| -> String { c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect() };
    for c in ['\u{1}', 'a', 'é', '€', '😀'] {
        let most = 25_600 / c.len_utf8();
        let body = |n: usize| format!(r#"{{"value":"{}"}}"#, escaped(c).repeat(n));
        let set = v.ask(Method::PUT, "/secrets/s").raw(body(most)).send().await.ok();
        assert_eq!(set["value"], json!(c.to_string().repeat(most)));
        assert_eq!(v.get("/secrets/s").send().await.ok()["value"], set["value"]);
        let over = v.ask(Method::PUT, "/secrets/s").raw(body(most + 1)).send().await;
        assert_eq!(over.fault(), fault(400, "BadParameter", ""), "{c:?}");
        assert!(over.message().contains("at most 25600"), "{}", over.message());
    }
    // Everything else at its greatest size, too.
    let (tag, text) = (escaped('😀'), escaped('\u{1}'));
    let tags: Vec<_> = (0..15).map(|n| format!(r#""{n:02}{}":"{}""#, tag.repeat(510), tag.repeat(512))).collect();
    let body = format!(
        r#"{{"value":"{}","contentType":"{}","tags":{{{}}}}}"#,
        text.repeat(25_600),
        tag.repeat(255),
        tags.join(",")
    );
    let all = v.ask(Method::PUT, "/secrets/all").raw(body).send().await.ok();
    assert_eq!(all["tags"].as_object().unwrap().len(), 15);
}

#[tokio::test]
async fn times_that_a_client_cannot_represent_are_refused() {
    let v = Vaulted::new().await;
    v.put("s", json!({"value": "v"})).await.ok();
    for name in ["exp", "nbf"] {
        for bad in
            ["1795239900000", "253402300800", "9223372036854775807", "9223372036854775808", "1e300", "-1", "-1e300"]
        {
            for (method, member) in [(Method::PUT, r#""value":"v","#), (Method::PATCH, "")] {
                let body = format!(r#"{{{member}"attributes":{{"{name}":{bad}}}}}"#);
                let refused = v.ask(method, "/secrets/s").raw(body).send().await;
                assert_eq!(refused.fault(), fault(400, "BadParameter", ""), "{name} {bad}");
                let message = refused.message();
                assert!(message.contains(name) && message.contains("0 (1970-01-01) to 253402300799"), "{message}");
            }
        }
        for good in [0, 253_402_300_799_i64] {
            let set = v.put("s", json!({"value": "v", "attributes": {name: good}})).await.ok();
            assert_eq!(set["attributes"][name], json!(good));
        }
        let half = v.put("s", json!({"value": "v", "attributes": {name: 1.5}})).await;
        assert_eq!(half.fault(), fault(400, "BadParameter", ""));
    }
    let none = v.put("s", json!({"value": "v", "attributes": {"exp": null}})).await.ok();
    assert_eq!(none["attributes"].get("exp"), None);
}

#[tokio::test]
async fn a_byte_order_mark_is_read_over_and_a_compressed_body_is_called_so() {
    let v = Vaulted::new().await;
    let put = || v.ask(Method::PUT, "/secrets/s");
    assert_eq!(put().raw("\u{feff}{\"value\":\"v\"}").send().await.ok()["value"], "v");
    let gzip = put().header("content-encoding", "gzip").raw(vec![0x1f, 0x8b, 8, 0]).send().await;
    assert_eq!(gzip.fault(), fault(415, "BadParameter", ""));
    assert!(gzip.message().contains("Content-Encoding"), "{}", gzip.message());
    assert_eq!(v.get("/secrets/s").send().await.ok()["value"], "v");
}

#[tokio::test]
async fn what_needs_a_deleted_secret_says_that_there_is_none() {
    let v = Vaulted::new().await;
    v.put("s", json!({"value": "v"})).await.ok();
    v.ask(Method::DELETE, "/secrets/s").send().await.ok();
    v.ask(Method::POST, "/deletedsecrets/s/recover").send().await.ok();
    for (method, path) in [
        (Method::POST, "/deletedsecrets/s/recover"),
        (Method::GET, "/deletedsecrets/s"),
        (Method::DELETE, "/deletedsecrets/s"),
        (Method::POST, "/deletedsecrets/never/recover"),
    ] {
        let none = v.ask(method, path).send().await;
        assert_eq!(none.fault(), fault(404, "SecretNotFound", ""), "{path}");
        assert!(none.message().starts_with("Deleted Secret not found: "), "{}", none.message());
    }
    assert_eq!(v.get("/secrets/s").send().await.ok()["value"], "v");
}

#[tokio::test]
async fn bad_updates_change_nothing() {
    let v = Vaulted::new().await;
    let set = v.put("s", json!({"value": "v", "tags": {"k": "1"}})).await.ok();
    for body in ["", "[]", "null", r#"{"tags":[]}"#, r#"{"attributes":{"enabled":1}}"#] {
        let answer = v.ask(Method::PATCH, "/secrets/s").raw(body).send().await;
        assert_eq!(answer.fault(), fault(400, "BadParameter", ""), "{body}");
    }
    assert_eq!(v.get("/secrets/s").send().await.ok(), set);
}

/// The bodies themselves, for review.
#[tokio::test]
async fn error_bodies() {
    let v = Vaulted::new().await;
    // Fixed, because it stands in a body.
    let nobody = Who {
        principal: denizen_wire::PrincipalId(Uuid::from_u128(0xaaaa)),
        client: denizen_wire::ClientId(Uuid::from_u128(0xbbbb)),
    };
    crate::app::access::tests::fixture::put(&v.fixture.store, &v.fixture.ctx(), &v.fixture.record_of(nobody)).await;
    v.put("off", json!({"value": "v", "attributes": {"enabled": false}})).await.ok();
    v.put("gone", json!({"value": "v"})).await.ok();
    v.ask(Method::DELETE, "/secrets/gone").send().await.ok();
    let mut claims = v.fixture.claims(v.officer);
    claims["aud"] = json!("https://management.azure.com/");
    let wrong = format!("Bearer {}", crate::app::access::tests::fixture::sign(&claims));

    let put = |body: &str| v.ask(Method::PUT, "/secrets/s").raw(body.to_owned());
    let mut text = String::new();
    for (title, ask) in [
        ("no token", v.bare(Method::GET, "/secrets/s")),
        ("another audience", v.get("/secrets/s").header("authorization", &wrong)),
        ("not a token", v.get("/secrets/s").header("authorization", "Bearer x")),
        ("no version", v.bare(Method::GET, "/secrets/s").by(v.officer)),
        ("no right", v.get("/secrets/s").by(nobody)),
        ("no right, bad name", v.ask(Method::PUT, "/secrets/a_b").by(nobody)),
        ("not there", v.get("/secrets/s")),
        ("version not there", v.get(&format!("/secrets/off/{}", "0".repeat(32)))),
        ("disabled", v.get("/secrets/off")),
        ("deleted", v.ask(Method::PUT, "/secrets/gone").raw(r#"{"value":"v"}"#)),
        ("no route", v.get("/keys/k")),
        ("no such method", v.ask(Method::POST, "/secrets/s/backup")),
        ("no JSON", put("{")),
        ("no value", put("{}")),
        ("value too long", put(&json!({"value": "v".repeat(26_000)}).to_string())),
        ("body too long", put(&"v".repeat(500_000))),
        ("bad name", v.get("/secrets/a_b")),
        ("bad version", v.get("/secrets/s/x")),
        ("unknown host", v.get("/secrets/s").header("host", "evil.example")),
        ("unknown vault", v.get("/secrets/s").header("host", "none.vault.denizen.test:8444")),
    ] {
        let answer = ask.send().await;
        let json = serde_json::to_string_pretty(&answer.json()).unwrap();
        writeln!(text, "## {title}: {}\n{json}", answer.status.as_u16()).unwrap();
        for name in ["www-authenticate", "allow", "retry-after"] {
            if let Some(value) = answer.headers.get(name) {
                writeln!(text, "{name}: {}", value.to_str().unwrap()).unwrap();
            }
        }
    }
    insta::assert_snapshot!(text);
}

/// Rows that were lost, or rolled back, are a failure that says so: an answer of 404 would have a client make a new one.
#[tokio::test]
async fn a_row_that_is_not_as_it_was_written_is_a_failure_and_no_404() {
    let v = Vaulted::new().await;
    let database = v.fixture.files().into_iter().find(|path| path.ends_with("denizen.db")).unwrap();
    let conn = rusqlite::Connection::open(database).unwrap();
    conn.pragma_update(None, "foreign_keys", "OFF").unwrap();
    let broken = fault(500, "InternalServerError", "");
    for (sql, path) in [
        ("UPDATE secret_versions SET enabled = 0 WHERE name = 'a'", "/secrets/a"),
        ("DELETE FROM secret_versions WHERE name = 'b'", "/secrets/b"),
        ("DELETE FROM secrets WHERE name = 'c'", "/secrets/c"),
        ("UPDATE secrets SET deleted = 1, purge_at = 2 WHERE name = 'd'", "/secrets/d"),
    ] {
        let name = path.strip_prefix("/secrets/").unwrap();
        let version = v.put(name, json!({"value": "v"})).await.ok()["id"].as_str().unwrap().to_owned();
        conn.execute_batch(sql).unwrap();
        for path in [path, &format!("{path}/{}", version.rsplit('/').next().unwrap())] {
            let answer = v.get(path).send().await;
            assert_eq!(answer.fault(), broken, "{path} after: {sql}");
            assert!(answer.message().contains("not what was written"), "{}", answer.message());
        }
        assert_eq!(v.put(name, json!({"value": "w"})).await.fault(), broken, "{sql}");
        assert_eq!(v.ask(Method::DELETE, path).send().await.fault(), broken, "{sql}");
    }
    assert_eq!(v.get("/secrets").send().await.fault(), broken);
    assert_eq!(v.get("/secrets/c/versions").send().await.fault(), broken);
    assert_eq!(v.get("/deletedsecrets/d").send().await.fault(), broken);
    assert_eq!(v.get("/secrets/never").send().await.status, 404);
    conn.close().unwrap();
}
