//! What a request leaves behind whose sender proved nothing, and what it costs; and what is recorded of the others.

use std::sync::Arc;

use super::*;
use crate::{
    app::{
        signing::fixture::{APP, FABRIKAM, SECRET, SIGNER, STRANGER, application, ctx, password_credential, principal},
        strangers::Reason,
    },
    domain::directory::{Application, PasswordCredential, ServicePrincipal},
    store::Outcome,
};

const VAULT: &str = "https://vault.azure.net/.default";

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims(APP, NOW);
    claims[name] = value;
    claims
}

#[tokio::test]
async fn strangers_leave_a_number_and_nothing_durable() {
    let service = Service::start().await;
    let ended = Application {
        passwords: vec![PasswordCredential { end: NOW, ..password_credential() }],
        ..application(FABRIKAM, APP)
    };
    service.deployment.put(FABRIKAM, &ended).await;
    service.deployment.put(FABRIKAM, &principal(FABRIKAM, APP)).await;
    let (app, unknown) = (APP.to_string(), Uuid::from_u128(0xdead).to_string());
    let v2 = |tenant: &dyn std::fmt::Display| format!("/{tenant}/oauth2/v2.0/token");
    let ours = v2(&CONTOSO);
    let forged = assertion(&STRANGER, &claims(APP, NOW));
    // Each is signed by the client's own key, and an old one may have been found anywhere.
    let (old, endless) =
        (assertion(&SIGNER, &with("exp", json!(1))), assertion(&SIGNER, &with("exp", json!(NOW + 90_000))));
    let old_for_another = {
        let mut claims = with("exp", json!(1));
        claims["aud"] = json!("https://elsewhere.test");
        assertion(&SIGNER, &claims)
    };
    let by = |text| encode(&assertion_form(&app, text));
    let secret = |client: &str, secret: &str| encode(&secret_form(client, secret, VAULT));
    let cases = [
        (Reason::TokenRequest, ours.clone(), String::new()),
        (Reason::TokenRequest, format!("/{CONTOSO}/oauth2/token"), String::new()),
        (Reason::TokenRequest, ours.clone(), "grant_type=password".to_owned()),
        (Reason::TokenRequest, ours.clone(), secret(&app, "")),
        (Reason::TokenRequest, v2(&"common"), secret(&app, SECRET)),
        (Reason::Tenant, v2(&"nobody.test"), secret(&app, SECRET)),
        (Reason::Tenant, v2(&Uuid::from_u128(0xdead)), String::new()),
        (Reason::Tenant, v2(&"no_tenant"), String::new()),
        (Reason::Client, ours.clone(), secret(&unknown, SECRET)),
        (Reason::Client, ours.clone(), secret("my-app", SECRET)),
        (Reason::Client, ours.clone(), encode(&assertion_form(&unknown, &forged))),
        (Reason::Secret, ours.clone(), secret(&app, "wrong")),
        (Reason::Secret, ours.clone(), secret(&app, "abc-wrong")),
        (Reason::SecretEnded, v2(&FABRIKAM), secret(&app, SECRET)),
        (Reason::Assertion, ours.clone(), by("nonsense")),
        (Reason::Assertion, ours.clone(), by(&forged)),
        (Reason::AssertionTime, ours.clone(), by(&old)),
        (Reason::AssertionTime, ours.clone(), by(&old_for_another)),
        (Reason::AssertionTime, ours, by(&endless)),
    ];
    let store = &service.deployment.store;
    // What the set-up has written is moved first.
    store.audit_tail(&ctx(CONTOSO, NOW), 1).await.unwrap();
    let (before, files) = (store.counters(), service.deployment.bytes_on_disk());
    let strangers = service.deployment.tokens.strangers();
    for (reason, uri, body) in &cases {
        let counted = strangers.count(*reason);
        for _ in 0..3 {
            let answer = service.send(Method::POST, uri, &[], body).await;
            assert!(answer.status.is_client_error(), "{reason:?}: {}", answer.body);
        }
        assert_eq!(strangers.count(*reason), counted + 3, "{reason:?} {uri} {body}");
    }
    let sent: u64 = strangers.counts().map(|(_, count)| count).sum();
    assert_eq!(sent, 3 * cases.len() as u64, "each is counted once");
    let after = store.counters();
    assert_eq!((after.audit_events, after.reads, after.writes), (before.audit_events, before.reads, before.writes));
    assert_eq!(service.deployment.bytes_on_disk(), files);
}

#[tokio::test]
async fn what_is_refused_to_a_client_that_proved_itself_is_recorded() {
    let service = Service::start().await;
    let (app, store) = (APP.to_string(), &service.deployment.store);
    let elsewhere = assertion(&SIGNER, &with("aud", json!("https://login.microsoftonline.com/")));
    let about_another = assertion(&SIGNER, &with("sub", json!(Uuid::nil())));
    let disabled = ServicePrincipal { enabled: false, ..principal(CONTOSO, APP) };
    let mut expected = Vec::new();
    for (code, form) in [
        (500_011, secret_form(&app, SECRET, "https://nowhere.test/.default").to_vec()),
        (700_023, assertion_form(&app, &elsewhere).to_vec()),
        (700_021, assertion_form(&app, &about_another).to_vec()),
        (7_000_112, secret_form(&app, SECRET, VAULT).to_vec()),
    ] {
        if code == 7_000_112 {
            service.deployment.put(CONTOSO, &disabled).await;
        }
        assert_eq!(service.token(&form).await.code(), code);
        expected.push((Outcome::Refused, format!("client:{APP}"), format!("AADSTS{code}")));
    }
    let records = store.audit_tail(&ctx(CONTOSO, NOW), 1000).await.unwrap();
    let found = records.into_iter().filter(|record| record.actor != "system:test");
    assert_eq!(found.map(|r| (r.outcome, r.actor, r.because)).collect::<Vec<_>>(), expected);
    assert_eq!(service.deployment.tokens.strangers().counts().map(|(_, count)| count).sum::<u64>(), 0);
}

/// Two thousand who know no secret, and one who does: nobody is told to come back later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_strangers_keep_nobody_waiting() {
    const STRANGERS: usize = 2000;
    let service = Arc::new(Service::start().await);
    let begin = Arc::new(tokio::sync::Barrier::new(STRANGERS + 1));
    let mut asking = tokio::task::JoinSet::new();
    for n in 0..STRANGERS {
        let (service, begin) = (Arc::clone(&service), Arc::clone(&begin));
        asking.spawn(async move {
            let client = if n % 2 == 0 { APP.0 } else { Uuid::from_u128(n as u128) };
            begin.wait().await;
            service.token(&secret_form(&client.to_string(), &format!("abc{n}"), VAULT)).await.status.as_u16()
        });
    }
    begin.wait().await;
    let answer = service.token(&secret_form(&APP.to_string(), SECRET, VAULT)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let mut statuses = asking.join_all().await;
    statuses.sort_unstable();
    statuses.dedup();
    assert_eq!(statuses, [400, 401], "unknown clients and wrong secrets");
    assert_eq!(service.deployment.tokens.credentials().computations(), 1, "the right secret's");
}

/// The request names one host in its target and another in its header: a proxy and we would read it differently.
#[tokio::test]
async fn d18_a_target_of_another_host_is_refused() {
    let service = Service::start().await;
    let body = encode(&secret_form(&APP.to_string(), SECRET, VAULT));
    for (target, host) in [("https://other.test", "localhost:8443"), ("https://localhost:8443", "other.test")] {
        let uri = format!("{target}/{CONTOSO}/oauth2/v2.0/token");
        let answer = service.send(Method::POST, &uri, &[("host", host)], &body).await;
        assert_eq!((answer.status, answer.code()), (StatusCode::BAD_REQUEST, 9_002_313), "{}", answer.body);
    }
    let uri = format!("https://localhost:8443/{CONTOSO}/oauth2/v2.0/token");
    let answer = service.send(Method::POST, &uri, &[("host", "LocalHost:8443")], &body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
}
