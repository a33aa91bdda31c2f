//! The life of a secret, as clients see it.

use serde_json::json;

use super::*;

#[tokio::test]
async fn a_secret_is_set_read_listed_and_read_by_version() {
    let v = Vaulted::new().await;
    let set = v
        .put(
            "Db-1",
            json!({
                "value": "p\"ä\\\n",
                "contentType": "text/plain",
                "tags": {"b": "2", "a": "1"},
                "attributes": {"enabled": true, "nbf": 5, "exp": 6},
                "unknown": {"members": ["are", "skipped"]}
            }),
        )
        .await
        .ok();
    let id = set["id"].as_str().unwrap().to_owned();
    let version = id.strip_prefix(&format!("https://{HOST}/secrets/Db-1/")).unwrap().to_owned();
    assert!(crate::domain::secrets::is_version(&version), "{id}");
    assert_eq!(
        set,
        json!({
            "value": "p\"ä\\\n",
            "id": id,
            "contentType": "text/plain",
            "attributes": {
                "enabled": true, "nbf": 5, "exp": 6, "created": NOW.0, "updated": NOW.0,
                "recoveryLevel": "Recoverable+Purgeable", "recoverableDays": 90
            },
            "tags": {"a": "1", "b": "2"}
        })
    );
    // Latest by no slash, by a trailing slash, by version; in any case of the name.
    for path in
        ["/secrets/Db-1", "/secrets/db-1/", &format!("/secrets/DB-1/{version}"), &format!("/secrets/Db-1/{version}/")]
    {
        assert_eq!(v.get(path).send().await.ok(), set, "{path}");
    }
    let second = v.put("db-1", json!({"value": "2", "attributes": {}})).await.ok();
    assert_eq!(v.get("/secrets/db-1").send().await.ok(), second);
    assert_eq!(second["attributes"]["enabled"], json!(true));
    assert!(second.get("tags").is_none() && second.get("contentType").is_none());
    assert_eq!(v.get(&format!("/secrets/db-1/{version}")).send().await.ok(), set);

    // Lists: without version and value; versions: with version, without value.
    for path in ["/secrets", "/secrets/"] {
        let list = v.get(path).send().await.ok();
        assert_eq!(list["value"].as_array().unwrap().len(), 1);
        assert_eq!(list["value"][0]["id"], json!(format!("https://{HOST}/secrets/Db-1")));
        assert_eq!(list["nextLink"], json!(null));
        assert!(list["value"][0].get("value").is_none());
    }
    let versions = v.get("/secrets/db-1/versions").send().await.ok();
    let ids: Vec<_> = versions["value"].as_array().unwrap().iter().map(|item| item["id"].clone()).collect();
    assert_eq!(ids, [second["id"].clone(), set["id"].clone()]);
    assert!(versions["value"][0].get("value").is_none());
}

#[tokio::test]
async fn an_update_changes_what_it_names() {
    let v = Vaulted::new().await;
    let set = v.put("s", json!({"value": "v", "contentType": "a", "tags": {"k": "1"}})).await.ok();
    let patch = async |path: &str, body: Value| v.ask(Method::PATCH, path).json(&body).send().await.ok();

    let mut expected = set.clone();
    expected.as_object_mut().unwrap().remove("value");
    assert_eq!(patch("/secrets/s/", json!({})).await, expected);
    assert_eq!(patch("/secrets/s", json!({"attributes": {}})).await, expected);

    expected["contentType"] = json!("b");
    assert_eq!(patch("/secrets/s/", json!({"contentType": "b"})).await, expected);
    expected["attributes"]["exp"] = json!(99);
    let version = set["id"].as_str().unwrap().rsplit('/').next().unwrap();
    assert_eq!(patch(&format!("/secrets/s/{version}"), json!({"attributes": {"exp": 99}})).await, expected);
    expected.as_object_mut().unwrap().remove("tags");
    assert_eq!(patch("/secrets/s/", json!({"tags": {}})).await, expected);
    // The value is what it was.
    assert_eq!(v.get("/secrets/s").send().await.ok()["value"], json!("v"));
}

#[tokio::test]
async fn a_disabled_secret_is_forbidden_not_missing() {
    let v = Vaulted::new().await;
    v.put("s", json!({"value": "v", "attributes": {"enabled": false}})).await.ok();
    let answer = v.get("/secrets/s").send().await;
    assert_eq!(answer.fault(), fault(403, "Forbidden", "SecretDisabled"));
    assert!(answer.message().starts_with("Operation get is not allowed on a disabled secret."));
    // It can be seen, changed and enabled.
    assert_eq!(v.get("/secrets").send().await.ok()["value"][0]["attributes"]["enabled"], json!(false));
    v.ask(Method::PATCH, "/secrets/s/").json(&json!({"attributes": {"enabled": true}})).send().await.ok();
    assert_eq!(v.get("/secrets/s").send().await.ok()["value"], json!("v"));
}

#[tokio::test]
async fn deletion_recovery_and_purge() {
    let v = Vaulted::new().await;
    let set = v.put("S", json!({"value": "v", "tags": {"k": "1"}})).await.ok();
    let deleted = v.ask(Method::DELETE, "/secrets/s").send().await.ok();
    let mut expected = set.clone();
    expected.as_object_mut().unwrap().remove("value");
    for (name, value) in [
        ("recoveryId", json!(format!("https://{HOST}/deletedsecrets/S"))),
        ("deletedDate", json!(NOW.0)),
        ("scheduledPurgeDate", json!(NOW.0 + 90 * 24 * 3600)),
    ] {
        expected[name] = value;
    }
    assert_eq!(deleted, expected);
    assert_eq!(v.get("/deletedsecrets/s").send().await.ok(), deleted);
    assert_eq!(v.get("/secrets/s/").send().await.fault(), fault(404, "SecretNotFound", ""));
    assert_eq!(v.get("/secrets").send().await.ok()["value"], json!([]));
    let list = v.get("/deletedsecrets").send().await.ok();
    assert_eq!(list["value"][0]["id"], json!(format!("https://{HOST}/secrets/S")));
    assert_eq!(list["value"][0]["recoveryId"], deleted["recoveryId"]);

    let conflict = v.put("s", json!({"value": "again"})).await;
    assert_eq!(conflict.fault(), fault(409, "Conflict", "ObjectIsDeletedButRecoverable"));
    assert!(conflict.message().contains("deleted but recoverable"));
    for (method, path) in [
        (Method::DELETE, "/secrets/s"),
        (Method::PATCH, "/secrets/s"),
        (Method::GET, "/secrets/s/versions"),
        (Method::GET, "/deletedsecrets/other"),
        (Method::POST, "/deletedsecrets/other/recover"),
        (Method::DELETE, "/deletedsecrets/other"),
    ] {
        let answer = v.ask(method.clone(), path).raw("{}").send().await;
        assert_eq!(answer.fault(), fault(404, "SecretNotFound", ""), "{method} {path}");
    }

    let back = v.ask(Method::POST, "/deletedsecrets/s/recover").send().await.ok();
    assert_eq!(back["id"], set["id"]);
    assert!(back.get("value").is_none());
    assert_eq!(v.get("/secrets/s/").send().await.ok(), set);

    v.ask(Method::DELETE, "/secrets/s").send().await.ok();
    let purged = v.ask(Method::DELETE, "/deletedsecrets/s").send().await;
    assert_eq!((purged.status.as_u16(), purged.text.as_str()), (204, ""));
    assert_eq!(v.get("/deletedsecrets/s").send().await.fault(), fault(404, "SecretNotFound", ""));
    v.put("s", json!({"value": "new"})).await.ok();
}

#[tokio::test]
async fn pages_follow_their_links() {
    let v = Vaulted::new().await;
    for n in 0..30 {
        v.put(&format!("s{n:02}"), json!({"value": "v"})).await.ok();
    }
    let first = v.get("/secrets").send().await.ok();
    assert_eq!(first["value"].as_array().unwrap().len(), 25);

    let (mut seen, mut link) = (Vec::new(), format!("https://{HOST}/secrets?maxresults=7&api-version=2025-07-01"));
    loop {
        let path = link.strip_prefix(&format!("https://{HOST}")).unwrap();
        let page = v.bare(Method::GET, path).by(v.officer).send().await.ok();
        let items = page["value"].as_array().unwrap();
        assert!(items.len() <= 7);
        seen.extend(items.iter().map(|item| item["id"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()));
        match page["nextLink"].as_str() {
            // As one client writes it again: keys escaped, order changed.
            Some(next) => {
                assert!(next.contains("api-version=2025-07-01") && next.contains("$skiptoken="), "{next}");
                link = next.replace("$skiptoken", "%24skiptoken").replace("api-version", "api%2Dversion");
            }
            None => break,
        }
    }
    assert_eq!(seen, (0..30).map(|n| format!("s{n:02}")).collect::<Vec<_>>());

    for n in 0..3 {
        v.put("s00", json!({"value": n.to_string()})).await.ok();
        v.ask(Method::DELETE, &format!("/secrets/s1{n}")).send().await.ok();
    }
    for path in ["/secrets/s00/versions", "/deletedsecrets"] {
        let one = v.get(&format!("{path}?maxresults=2")).send().await.ok();
        let next = one["nextLink"].as_str().unwrap();
        assert!(next.starts_with(&format!("https://{HOST}{path}?")), "{next}");
        let two = v.bare(Method::GET, &next[format!("https://{HOST}").len()..]).by(v.officer).send().await.ok();
        assert_eq!(one["value"].as_array().unwrap().len(), 2);
        assert!(!two["value"].as_array().unwrap().is_empty());
        assert_ne!(one["value"][0], two["value"][0]);
    }
}

#[tokio::test]
async fn the_recovery_level_is_the_vaults() {
    let v = Vaulted::new().await;
    let new = crate::app::vaults::NewVault { name: "short", location: "here", retention_days: 7 };
    let made = v.bed.vaults.create(&v.bed.auth(), &v.bed.group, &new).await.unwrap();
    let who = v.bed.with_role("Key Vault Administrator", &made.id).await;
    let set = v
        .bare(Method::PUT, "/secrets/s?api-version=7.6")
        .by(who)
        .header("host", "short.vault.denizen.test:8444")
        .json(&json!({"value": "v"}))
        .send()
        .await
        .ok();
    assert_eq!(set["attributes"]["recoveryLevel"], json!("CustomizedRecoverable+Purgeable"));
    assert_eq!(set["attributes"]["recoverableDays"], json!(7));
    assert!(set["id"].as_str().unwrap().starts_with("https://short.vault.denizen.test:8444/secrets/s/"));
}

#[tokio::test]
async fn answers_carry_what_azures_do() {
    let v = Vaulted::new().await;
    v.put("s", json!({"value": "v"})).await.ok();
    let answer = v.get("/secrets/s").header("x-ms-client-request-id", "mine").send().await;
    for (name, value) in [
        ("content-type", "application/json; charset=utf-8"),
        ("cache-control", "no-cache"),
        ("pragma", "no-cache"),
        ("expires", "-1"),
        ("x-ms-keyvault-region", "here"),
        ("x-ms-client-request-id", "mine"),
        ("x-ms-request-id", "00000000-0000-0000-0000-000000000001"),
        ("x-ms-keyvault-service-version", env!("CARGO_PKG_VERSION")),
        ("x-ms-keyvault-network-info", "conn_type=Ipv4;addr=127.0.0.1;act_addr_fam=InterNetwork;"),
        ("x-content-type-options", "nosniff"),
        ("strict-transport-security", "max-age=31536000;includeSubDomains"),
    ] {
        assert_eq!(answer.header(name), value, "{name}");
    }
}
