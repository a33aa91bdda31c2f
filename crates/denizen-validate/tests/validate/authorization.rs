//! Who is let in with a good token, and what a configuration must say.

use std::sync::Arc;

use denizen_validate::{MinimumEpochs, TokenValidator, ValidationError};
use serde_json::json;

use crate::fixture::{AUDIENCE, Fixture, identity};

#[tokio::test]
async fn a_role_lets_in_and_its_lack_does_not() {
    let fixture = Fixture::with(|builder| builder.allow_role("Orders.Read").allow_role("Orders.All")).await;
    let error = fixture.changed(|_| {}).await.unwrap_err();
    assert_eq!(error, ValidationError::NotAuthorized { principal: identity().object_id });
    assert_eq!(error.status(), 403);
    let refused = |outcome: Result<_, ValidationError>| matches!(outcome, Err(ValidationError::NotAuthorized { .. }));
    assert!(refused(fixture.changed(|claims| claims["roles"] = json!(["orders.read", "Orders.Read2"])).await));
    let claims = fixture.changed(|claims| claims["roles"] = json!(["x", "Orders.All"])).await.unwrap();
    assert_eq!(claims.roles(), ["x", "Orders.All"]);
    let scope = |claims: &mut serde_json::Value| {
        claims["idtyp"] = json!("user");
        claims["scp"] = json!("Orders.Read");
    };
    assert!(refused(fixture.changed(scope).await), "a scope is not a role");
    let users = |claims: &mut serde_json::Value| {
        claims["idtyp"] = json!("user");
        claims["scp"] = json!("profile");
        claims["roles"] = json!(["Orders.Read"]);
    };
    assert!(refused(fixture.changed(users).await), "the user's role is not the application's");
}

#[tokio::test]
async fn a_scope_lets_a_users_program_in() {
    let fixture = Fixture::with(|builder| builder.allow_scope("Orders.Read")).await;
    let user = |scopes: &'static str| {
        fixture.changed(move |claims| {
            claims["idtyp"] = json!("user");
            claims["scp"] = json!(scopes);
        })
    };
    let claims = user("profile Orders.Read").await.unwrap();
    assert_eq!(claims.scopes(), ["profile", "Orders.Read"]);
    assert!(!claims.is_app_only());
    for scopes in ["Orders.ReadWrite", ""] {
        assert!(matches!(user(scopes).await, Err(ValidationError::NotAuthorized { .. })), "{scopes:?}");
    }
}

#[tokio::test]
async fn a_principal_is_let_in_when_it_comes_for_itself() {
    let fixture = Fixture::with(|builder| builder.allow_principal(&identity().object_id.to_uppercase())).await;
    assert!(fixture.changed(|_| {}).await.is_ok());
    let other = |claims: &mut serde_json::Value| {
        claims["oid"] = json!("40000000-0000-4000-8000-000000000009");
        claims["sub"] = json!("40000000-0000-4000-8000-000000000009");
    };
    assert!(matches!(fixture.changed(other).await, Err(ValidationError::NotAuthorized { .. })));
    let delegated = |claims: &mut serde_json::Value| {
        claims["idtyp"] = json!("user");
        claims["scp"] = json!("something");
    };
    let delegated = fixture.changed(delegated).await;
    assert!(
        matches!(delegated, Err(ValidationError::NotAuthorized { .. })),
        "a program in the name of that user is not that user"
    );
}

#[tokio::test]
async fn d25_a_raised_epoch_ends_the_tokens_before_it() {
    let floors = Arc::new(MinimumEpochs::default());
    let source = Arc::clone(&floors);
    let fixture = Fixture::with(|builder| builder.allow_any_principal().revocations(source)).await;
    let of_epoch = |epoch: u64| fixture.changed(move |claims| claims["xms_epoch"] = json!(epoch));
    assert_eq!(of_epoch(3).await.unwrap().epoch(), Some(3));
    floors.raise(fixture.issuer.tenant(), &identity().object_id.to_uppercase(), 4);
    let error = of_epoch(3).await.unwrap_err();
    assert_eq!(error, ValidationError::Revoked { now: fixture.time.now() });
    assert!(error.challenge().unwrap().contains("error=\"insufficient_claims\""));
    assert!(of_epoch(4).await.is_ok());
    let without = fixture.changed(|_| {}).await;
    assert!(matches!(without, Err(ValidationError::Revoked { .. })), "without an epoch it is as old as can be");
    floors.raise(fixture.issuer.tenant(), &identity().object_id, 2);
    assert!(matches!(of_epoch(3).await, Err(ValidationError::Revoked { .. })), "it never goes back");
    floors.raise(fixture.issuer.tenant(), "40000000-0000-4000-8000-000000000009", 99);
    assert!(of_epoch(4).await.is_ok(), "another's epoch is another's");
}

#[test]
fn every_fault_of_a_configuration_is_reported() {
    let error = TokenValidator::builder(" ").trust("denizen.example", "t").clock_skew(-1).build().unwrap_err();
    let text = error.to_string();
    for part in ["an audience is empty", "no https URL", "nobody is authorized", "clock skew is -1"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let tenant = "10000000-0000-4000-8000-000000000001";
    let text = TokenValidator::builder(AUDIENCE).allow_role("r").build().unwrap_err().to_string();
    assert!(text.contains("no authority is trusted"), "{text}");
    let text = TokenValidator::builder(AUDIENCE).allow_role("").trust_entra(tenant).build().unwrap_err().to_string();
    assert!(text.contains("a role, scope or principal is empty"), "{text}");
    let path = TokenValidator::builder(AUDIENCE).allow_role("r").trust("https://login.example/x", tenant);
    assert!(path.build().unwrap_err().to_string().contains("not scheme, host and port alone"));
    let twice = TokenValidator::builder(AUDIENCE).allow_role("r").trust_entra(tenant).trust_entra(tenant);
    assert!(twice.build().unwrap_err().to_string().contains("two trusted authorities name themselves"));
    assert!(TokenValidator::builder(AUDIENCE).allow_role("r").trust_entra(tenant).build().is_ok());
}

#[test]
fn d35_a_development_authority_must_be_asked_for() {
    let tenant = "10000000-0000-4000-8000-000000000001";
    for authority in [
        "https://localhost:8443",
        "https://x.localhost",
        "https://LOCALHOST.:8443",
        "https://127.0.0.1:8443",
        "https://0.0.0.0",
        "https://[::ffff:127.0.0.1]",
        "http://denizen.example",
    ] {
        let builder = || TokenValidator::builder(AUDIENCE).allow_any_principal().trust(authority, tenant);
        let text = builder().build().unwrap_err().to_string();
        assert!(text.contains("development"), "{text}");
        assert!(builder().accept_development_authorities().build().is_ok());
    }
}
