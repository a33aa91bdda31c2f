//! What a connection remembers of reads, and above all what it does not.

use serde_json::json;

use super::*;
use crate::{
    app::{
        access::tests::bed::{event, key, put, signing_key},
        secrets::actions,
        vaults::NewVault,
    },
    domain::{
        directory::{ServicePrincipal, SigningKey},
        resources::Vault,
        roles::RoleAssignment,
    },
    store::Outcome,
};

/// A vault with a secret that was read twice, the second time without reading the request anew.
async fn warm() -> Vaulted {
    let v = Vaulted::new().await;
    v.put("s", json!({"value": "v\"1\u{1}", "tags": {"a": "b"}})).await.ok();
    assert!(!v.get("/secrets/s").send().await.again);
    assert!(v.get("/secrets/s").send().await.again);
    v
}

#[tokio::test]
async fn it_is_answered_alike_and_recorded_alike() {
    let v = warm().await;
    let ask = || v.get("/secrets/s").header("x-ms-client-request-id", "mine");
    let before = v.bed.store.counters();
    let again = ask().send().await;
    assert_eq!(v.bed.store.counters().audit_events, before.audit_events + 1);
    assert_eq!(v.bed.store.counters().reads, before.reads);
    let anew = ask().at(NOW + 1).send().await;
    assert_eq!((again.again, anew.again), (true, false));
    assert_eq!((again.status, &again.text), (anew.status, &anew.text));
    assert_eq!(again.headers, anew.headers);
    assert_eq!(again.header("x-ms-client-request-id"), "mine");
    assert_eq!(v.get("/secrets/s").at(NOW + 1).send().await.header("x-ms-client-request-id"), "", "another's id");
    let records = v.bed.audited(actions::GET).await;
    assert_eq!(records.len(), 5);
    assert!(records.iter().all(|record| *record == records[0] && record.0 == Outcome::Allowed));
}

#[tokio::test]
async fn every_difference_in_the_request_is_seen() {
    let v = warm().await;
    let token = v.bed.token(v.officer);
    let good = || v.bare(Method::GET, "/secrets/s?api-version=7.6").header("authorization", &format!("Bearer {token}"));
    assert!(good().send().await.again);
    let nobody = v.bed.token(v.bed.principal().await);
    // That made a principal, and so a new revision.
    assert!(!good().send().await.again);
    assert!(good().send().await.again);
    let (cut, bearer) = (&token[..token.len() - 1], |token: &str| format!("Bearer {token}"));
    for (ask, status) in [
        (v.bare(Method::GET, "/secrets/s?api-version=7.6"), 401),
        (good().header("authorization", &bearer(cut)), 401),
        (good().header("authorization", &bearer(&nobody)), 403),
        (good().also("authorization", &bearer(&token)), 401),
        (good().also("host", HOST), 400),
        (good().header("host", "other.vault.denizen.test:8444"), 404),
        (good().header("host", "elsewhere.test"), 400),
    ] {
        let answer = ask.send().await;
        assert_eq!((answer.status.as_u16(), answer.again), (status, false), "{}", answer.text);
        assert!(good().send().await.again, "a refusal is no reason to forget");
    }
    for (ask, status) in [
        (v.ask(Method::DELETE, "/deletedsecrets/s"), 404),
        (v.ask(Method::HEAD, "/secrets/s"), 405),
        (v.get("/secrets/s/"), 200),
        (v.get("/secrets/S"), 200),
        (v.get("/secrets/t"), 404),
        (v.get("/secrets"), 200),
        (v.bare(Method::GET, "/secrets/s").by(v.officer), 400),
        (v.bare(Method::GET, "/secrets/s?api-version=9").by(v.officer), 400),
    ] {
        let answer = ask.send().await;
        assert_eq!((answer.status.as_u16(), answer.again), (status, false), "{}", answer.text);
    }
}

#[tokio::test]
async fn every_change_is_seen_by_the_next_read() {
    let value = |answer: Answer| (answer.again, answer.ok()["value"].as_str().unwrap().to_owned());
    let v = warm().await;
    v.put("s", json!({"value": "2"})).await.ok();
    assert_eq!(value(v.get("/secrets/s").send().await), (false, "2".to_owned()));
    assert_eq!(value(v.get("/secrets/s").send().await), (true, "2".to_owned()));
    v.ask(Method::PATCH, "/secrets/s").json(&json!({"attributes": {"enabled": false}})).send().await.ok();
    assert_eq!(v.get("/secrets/s").send().await.status, 403);
    v.ask(Method::DELETE, "/secrets/s").send().await.ok();
    assert_eq!(v.get("/secrets/s").send().await.status, 404);
}

#[tokio::test]
async fn d24_whoever_loses_the_right_loses_it_at_once() {
    for (loss, status) in [("role", 403), ("enabled", 401), ("epoch", 401), ("signing key", 401), ("vault key", 500)] {
        let v = warm().await;
        let (bed, ctx, record) = (&v.bed, v.bed.ctx(), v.bed.record_of(v.officer));
        match loss {
            "role" => {
                let snapshot = bed.store.snapshot();
                let one = snapshot.assignments_of(bed.tenant, v.officer.principal)[0].id;
                let mut tx = bed.store.begin(&ctx).await.unwrap();
                tx.remove::<RoleAssignment>(&one).await.unwrap().unwrap();
                tx.commit(event()).await.unwrap();
            }
            "enabled" => put(&bed.store, &ctx, &ServicePrincipal { enabled: false, ..record }).await,
            "epoch" => put(&bed.store, &ctx, &ServicePrincipal { epoch: 1, ..record }).await,
            "signing key" => {
                let gone = SigningKey { published_until: Some(NOW), ..signing_key(bed.tenant, &key(0).1) };
                put(&bed.store, &ctx, &gone).await;
            }
            _ => {
                let new = NewVault { name: "other", location: "here", retention_days: 7 };
                let sealed_key = bed.vaults.create(&ctx, &bed.group, &new, "test").await.unwrap().sealed_key;
                put(&bed.store, &ctx, &Vault { sealed_key, ..(*bed.vault).clone() }).await;
            }
        }
        let answer = v.get("/secrets/s").send().await;
        assert_eq!((answer.status.as_u16(), answer.again), (status, false), "{loss}: {}", answer.text);
    }
}

#[tokio::test]
async fn a_token_ends_when_it_ends() {
    let v = warm().await;
    let last = v.get("/secrets/s").at(NOW + 3599).send().await;
    assert_eq!(last.status, 200);
    assert!(v.get("/secrets/s").at(NOW + 3599).send().await.again);
    assert_eq!(v.get("/secrets/s").at(NOW + 3600).send().await.status, 401);
}

#[tokio::test]
async fn what_cannot_be_recorded_is_not_given() {
    let v = warm().await;
    v.bed.store.clone().close().await;
    let answer = v.get("/secrets/s").send().await;
    assert_eq!(answer.fault(), fault(503, "ServiceUnavailable", ""));
}

#[tokio::test]
async fn only_a_few_small_ones_are_remembered() {
    let v = Vaulted::new().await;
    let names: Vec<_> = (0..9).map(|n| format!("s{n}")).collect();
    for name in &names {
        v.put(name, json!({"value": "v"})).await.ok();
    }
    v.put("large", json!({"value": "x".repeat(5000)})).await.ok();
    for name in &names {
        assert!(!v.get(&format!("/secrets/{name}")).send().await.again);
    }
    for name in &names[1..] {
        assert!(v.get(&format!("/secrets/{name}")).send().await.again);
    }
    assert!(!v.get("/secrets/s0").send().await.again);
    let long = format!("/secrets/s1?x={}", "y".repeat(1024));
    for _ in 0..2 {
        assert!(!v.get(&long).send().await.again);
        let answer = v.get("/secrets/large").send().await;
        assert!(!answer.again);
        assert_eq!(answer.ok()["value"].as_str().unwrap().len(), 5000);
    }
}
