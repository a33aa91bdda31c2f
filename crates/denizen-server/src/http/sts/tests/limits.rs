//! Who is told to come back later, and who never is.

use super::*;
use crate::{
    app::{
        limits::{Limit, Limits, Rates},
        signing::fixture::{
            API, APP, MACHINE, SECRET, SIGNER, STRANGER, application, ctx, new_password_credential, principal,
        },
        strangers::Reason,
    },
    domain::directory::Application,
    store::Outcome,
};

const VAULT: &str = "https://vault.azure.net/.default";
const ATTACKER: &str = "198.51.100.7";
const ELSEWHERE: &str = "203.0.113.9";
const RATES: Rates = Rates { refused_per_address: 3, refused_per_client: 1, tokens_per_client: 0 };

/// A service with limits, where [`APP`] has its secret in the form of now.
async fn service(rates: Rates) -> Service {
    let mut deployment = deployment().await;
    let tenant = deployment.store.snapshot().tenant(CONTOSO).unwrap().clone();
    let passwords = vec![new_password_credential(&tenant, APP, SECRET)];
    deployment.put(CONTOSO, &Application { passwords, ..application(CONTOSO, APP) }).await;
    deployment.tokens = deployment.tokens.clone().with_limits(Limits::at_once(rates));
    Service::of(deployment)
}

impl Service {
    async fn token_from(&self, address: &str, form: &[(&str, &str)]) -> Answer {
        let uri = format!("/{CONTOSO}/oauth2/v2.0/token");
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        self.send_from(address.parse().unwrap(), Method::POST, &uri, &headers, &encode(form)).await
    }
}

#[tokio::test]
async fn wrong_secrets_are_refused_by_name_and_then_throttled() {
    let mut service = service(RATES).await;
    let app = APP.to_string();
    let wrong = secret_form(&app, "wrong", VAULT);
    for _ in 0..10 {
        assert_eq!(service.token_from(ATTACKER, &wrong).await.code(), 7_000_215);
    }
    let throttled = service.token_from(ATTACKER, &wrong).await;
    assert_eq!((throttled.status, throttled.code()), (StatusCode::TOO_MANY_REQUESTS, 90_055));
    assert_eq!(throttled.header("retry-after"), Some("1"), "whole seconds: clients read nothing else");
    assert_eq!(throttled.header("cache-control"), Some("no-store"));
    let error: oauth::Error = throttled.json();
    assert_eq!(error.error, "temporarily_unavailable");
    insta::assert_snapshot!(error.error_description.split(" Trace ID").next().unwrap(), @"AADSTS90055: The request is throttled: too many requests that had to be refused came from this address. Correct the credential, as the answers before this one said, and ask again in 1 s.");
    let strangers = service.deployment.tokens.strangers();
    assert_eq!((strangers.count(Reason::Secret), strangers.count(Reason::Limited)), (10, 1));
    // When it said, what is wrong is said again.
    service.now = NOW + 1;
    assert_eq!(service.token_from(ATTACKER, &wrong).await.code(), 7_000_215);
    assert_eq!(service.token_from(ATTACKER, &wrong).await.code(), 90_055);
    assert_eq!(service.deployment.tokens.credentials().computations(), 0);
}

#[tokio::test]
async fn nobody_is_kept_from_a_right_credential_by_others_wrong_ones() {
    let service = service(RATES).await;
    let (app, machine, api) = (APP.to_string(), MACHINE.to_string(), API.to_string());
    let (wrong, right) = (secret_form(&app, "wrong", VAULT), secret_form(&app, SECRET, VAULT));
    let seen = assertion(&SIGNER, &claims(APP, NOW));
    assert_eq!(service.token_from(ATTACKER, &assertion_form(&app, &seen)).await.status, StatusCode::OK);
    // Goes through the clients until the address is over its limit as well.
    for client in [&app, &machine, &api, &app, &Uuid::from_u128(1).to_string(), "nonsense"] {
        for _ in 0..20 {
            service.token_from(ATTACKER, &secret_form(client, "wrong", VAULT)).await;
        }
    }
    let counts = service.deployment.tokens.limits().counts();
    let reached = counts.filter_map(|(limit, count, _)| (count > 0).then_some(limit));
    assert_eq!(reached.collect::<Vec<_>>(), [Limit::Address, Limit::Client]);
    for address in [ELSEWHERE, ATTACKER] {
        assert_eq!(service.token_from(address, &right).await.status, StatusCode::OK, "{address}");
        assert_eq!(service.token_from(address, &assertion_form(&app, &seen)).await.status, StatusCode::OK);
    }
    // From elsewhere a new assertion is verified, from there none is.
    let computations = || service.deployment.tokens.credentials().computations();
    let before = computations();
    let new = |n: i64| assertion(&SIGNER, &claims(APP, NOW - n));
    assert_eq!(service.token_from(ELSEWHERE, &assertion_form(&app, &new(1))).await.status, StatusCode::OK);
    assert_eq!(computations(), before + 1);
    for text in [new(2), assertion(&STRANGER, &claims(APP, NOW))] {
        let throttled = service.token_from(ATTACKER, &assertion_form(&app, &text)).await;
        assert_eq!((throttled.status, throttled.code()), (StatusCode::TOO_MANY_REQUESTS, 90_055));
    }
    assert_eq!(computations(), before + 1);
    assert_eq!(service.token_from(ELSEWHERE, &wrong).await.code(), 7_000_215, "from elsewhere it is somebody else");
}

/// What is no token request, or of no tenant, counts for the address.
#[tokio::test]
async fn whatever_proves_nothing_counts() {
    let service = service(RATES).await;
    let uris = ["/nobody.test/oauth2/v2.0/token", "/common/oauth2/token", &format!("/{CONTOSO}/oauth2/token")];
    let mut statuses = Vec::new();
    for n in 0..33 {
        let uri = uris[n % uris.len()];
        let answer = service.send_from(ATTACKER.parse().unwrap(), Method::POST, uri, &[], "grant_type=x").await;
        statuses.push(answer.status.as_u16());
    }
    assert!(statuses[..30].iter().all(|status| *status == 400), "{statuses:?}");
    assert_eq!(statuses[30..], [429, 429, 429]);
    assert_eq!(service.deployment.tokens.strangers().count(Reason::Limited), 3);
    let app = APP.to_string();
    let right = secret_form(&app, SECRET, VAULT);
    assert_eq!(service.token_from(ATTACKER, &right).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_clients_tokens_are_limited_after_it_has_proved_itself_and_that_is_recorded() {
    let mut service = service(Rates { tokens_per_client: 1, ..Rates::NONE }).await;
    service.deployment.put(CONTOSO, &principal(CONTOSO, APP)).await;
    let app = APP.to_string();
    let right = secret_form(&app, SECRET, VAULT);
    for _ in 0..100 {
        assert_eq!(service.token_from(ATTACKER, &secret_form(&app, "wrong", VAULT)).await.code(), 7_000_215);
    }
    for n in 0..10 {
        // From wherever it asks.
        let address = if n % 2 == 0 { ELSEWHERE } else { ATTACKER };
        assert_eq!(service.token_from(address, &right).await.status, StatusCode::OK);
    }
    let throttled = service.token_from(ELSEWHERE, &right).await;
    assert_eq!((throttled.status, throttled.code()), (StatusCode::TOO_MANY_REQUESTS, 90_055));
    assert_eq!(throttled.header("retry-after"), Some("1"));
    assert!(throttled.body.contains("limits.tokens_per_client"), "{}", throttled.body);
    let records = service.deployment.store.audit_tail(&ctx(CONTOSO, NOW), 1000).await.unwrap();
    let refused = records.iter().filter(|record| record.outcome == Outcome::Refused);
    let refused: Vec<_> = refused.map(|record| (record.actor.clone(), record.because.clone())).collect();
    assert_eq!(refused, [(format!("client:{APP}"), "AADSTS90055".to_owned())]);
    let machine = assertion(&SIGNER, &claims(MACHINE, NOW));
    assert_eq!(service.assert(MACHINE, &machine).await.status, StatusCode::OK, "another client");
    service.now = NOW + 1;
    assert_eq!(service.token_from(ELSEWHERE, &right).await.status, StatusCode::OK);
    assert_eq!(service.deployment.tokens.strangers().count(Reason::Limited), 0);
}

/// What is wrong with a request for a device code counts as it does at the token endpoint.
#[tokio::test]
async fn malformed_requests_for_device_codes_are_limited_as_others_are() {
    let service = service(RATES).await;
    let (kind, mut answers) = (("content-type", "application/x-www-form-urlencoded"), Vec::new());
    for path in [format!("/{CONTOSO}/oauth2/v2.0/devicecode"), "/nowhere.test/oauth2/v2.0/devicecode".to_owned()] {
        for _ in 0..200 {
            let answer = service.send_from(ATTACKER.parse().unwrap(), Method::POST, &path, &[kind], "client_id=").await;
            answers.push((answer.status, answer.code()));
        }
    }
    assert!(![StatusCode::OK, StatusCode::TOO_MANY_REQUESTS].contains(&answers[0].0), "{answers:?}");
    assert_eq!(answers.last().unwrap(), &(StatusCode::TOO_MANY_REQUESTS, 90_055));
    let strangers = service.deployment.tokens.strangers();
    assert!(strangers.count(Reason::TokenRequest) > 0 && strangers.count(Reason::Limited) > 0);
}
