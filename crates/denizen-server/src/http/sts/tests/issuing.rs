//! What is issued: both forms of the answer, both versions of the token, and what is kept of it.

use denizen_wire::oauth::{TokenV1, TokenV2};

use super::*;
use crate::{
    app::signing::fixture::{
        API, APP, FABRIKAM, MACHINE, OTHER_APP, SECRET, SIGNER, VAULT, ctx, deployment_with, machine, principal,
    },
    domain::{claims::audience::EntraIssued, directory::ServicePrincipal},
    store::Outcome,
};

#[tokio::test]
async fn the_v2_endpoint_answers_in_integers() {
    let service = Service::start().await;
    let answer = service.token(&secret_form(&APP.to_string(), SECRET, "https://vault.azure.net/.default")).await;
    let body: TokenV2 = answer.json();
    assert_eq!((body.token_type.as_str(), body.expires_in, body.ext_expires_in), ("Bearer", 3600, 3600));
    assert_eq!(body.refresh_in, None);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("pragma"), Some("no-cache"));
    assert_eq!(answer.header("content-type"), Some("application/json; charset=utf-8"));
    assert_eq!(answer.header("x-ms-request-id"), Some(REQUEST.to_string().as_str()));
    assert_eq!(answer.header("client-request-id"), None);

    let token = service.verified(CONTOSO, &body.access_token).await;
    assert_eq!(token.exp.since(token.iat), body.expires_in);
    assert_eq!((token.iat, token.nbf), (NOW, NOW - 300));
    assert_eq!((token.appid, token.appidacr.as_deref()), (Some(APP), Some("1")));
    assert_eq!((token.tid, token.oid, token.sub), (CONTOSO, principal(CONTOSO, APP).id, token.oid.to_string()));
    assert_eq!((token.aud.as_str(), token.ver.as_str(), token.xms_epoch), ("https://vault.azure.net", "1.0", 3));
}

#[tokio::test]
async fn the_v1_endpoint_answers_in_text() {
    let service = Service::start().await;
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", &APP.to_string()),
        ("client_secret", SECRET),
        ("resource", "https://management.core.windows.net/"),
    ];
    let answer = service.post("/contoso.test/oauth2/token", &form).await;
    let body: TokenV1 = answer.json();
    assert_eq!(body.expires_in, "3600");
    assert_eq!(body.expires_on, (NOW + 3600).to_string());
    assert_eq!(body.not_before, (NOW - 300).to_string());
    assert_eq!(body.resource, "https://management.core.windows.net/");
    let token = service.verified(CONTOSO, &body.access_token).await;
    assert_eq!(token.aud, "https://management.core.windows.net/", "the slash is kept");
    assert_eq!(token.iss, format!("{AUTHORITY}/{CONTOSO}/"));
}

#[tokio::test]
async fn the_resource_chooses_the_version_and_is_found_by_any_of_its_names() {
    let service = Service::start().await;
    for (scope, aud, ver) in [
        ("api://orders/.default", API.to_string(), "2.0"),
        (&format!("{API}/.default"), API.to_string(), "2.0"),
        (&format!("{APP}/.default"), APP.to_string(), "1.0"),
        (&format!("{VAULT}/.default"), VAULT.to_owned(), "1.0"),
        (&format!("{VAULT}//.default"), format!("{VAULT}/"), "1.0"),
        ("https://management.core.windows.net//.default", "https://management.core.windows.net/".into(), "1.0"),
        ("https://storage.azure.com/.default openid offline_access profile", "https://storage.azure.com".into(), "1.0"),
        ("797f4846-ba00-4fd7-ba43-dac1f8f63013/.default", "797f4846-ba00-4fd7-ba43-dac1f8f63013".into(), "1.0"),
    ] {
        let answer = service.token(&secret_form(&APP.to_string(), SECRET, scope)).await;
        let token = service.verified(CONTOSO, &answer.access_token()).await;
        assert_eq!((token.aud, token.ver.as_str()), (aud, ver), "{scope}");
        let v2 = ver == "2.0";
        assert_eq!(token.iss, format!("{AUTHORITY}/{CONTOSO}/{}", if v2 { "v2.0" } else { "" }), "{scope}");
        assert_eq!((token.azp, token.appid), (v2.then_some(APP), (!v2).then_some(APP)), "{scope}");
        assert_eq!(token.azpacr.as_deref(), v2.then_some("1"), "{scope}");
    }
}

#[tokio::test]
async fn entra_is_named_for_the_resources_that_were_asked_for_and_for_no_other() {
    let entra_issued = EntraIssued::for_resources(["https://storage.azure.com"]).unwrap();
    let service = Service::of(deployment_with(entra_issued).await);
    let ours = format!("{AUTHORITY}/{CONTOSO}/");
    let entra = format!("https://sts.windows.net/{CONTOSO}/");
    for (scope, issuer) in [
        ("https://storage.azure.com/.default", &entra),
        ("https://storage.azure.com//.default", &entra),
        ("e406a681-f3d4-42a8-90b6-c2b029497af1/.default", &entra),
        ("https://devstoreaccount1.blob.core.windows.net/.default", &entra),
        ("https://vault.azure.net/.default", &ours),
        (&format!("{VAULT}/.default"), &ours),
        ("https://management.azure.com/.default", &ours),
        ("https://graph.microsoft.com/.default", &ours),
        ("https://servicebus.azure.net/.default", &ours),
        (&format!("{APP}/.default"), &ours),
        ("api://orders/.default", &format!("{ours}v2.0")),
    ] {
        let answer = service.token(&secret_form(&APP.to_string(), SECRET, scope)).await;
        let token = service.verified(CONTOSO, &answer.access_token()).await;
        assert_eq!((&token.iss, token.tid), (issuer, CONTOSO), "{scope}");
        assert_eq!(token.idp.as_ref(), token.ver.eq("1.0").then_some(issuer), "{scope}");
    }
    // What is unknown stays so, and who we are is as before: nothing is trusted for this.
    let unknown = service.token(&secret_form(&APP.to_string(), SECRET, "https://nobody.example/.default")).await;
    assert_eq!(unknown.code(), 500_011);
    let document: Value = service.get(&format!("/{CONTOSO}/.well-known/openid-configuration")).await.json();
    assert_eq!(document["issuer"], ours);
    let assertion = assertion(&SIGNER, &with_audience(&claims(MACHINE, NOW), &entra));
    assert_eq!(service.assert(MACHINE, &assertion).await.code(), 700_023);
}

#[tokio::test]
async fn nothing_names_entra_unless_it_was_asked_for() {
    let service = Service::start().await;
    for scope in ["https://storage.azure.com/.default", "https://devstoreaccount1.blob.core.windows.net/.default"] {
        let answer = service.token(&secret_form(&APP.to_string(), SECRET, scope)).await;
        let token = service.verified(CONTOSO, &answer.access_token()).await;
        assert_eq!(token.iss, format!("{AUTHORITY}/{CONTOSO}/"), "{scope}");
    }
}

fn with_audience(claims: &Value, audience: &str) -> Value {
    let mut claims = claims.clone();
    claims["aud"] = audience.into();
    claims
}

#[tokio::test]
async fn a_machine_gets_four_hours_and_is_told_to_return_at_half() {
    let service = Service::start().await;
    let answer = service.assert(MACHINE, &assertion(&SIGNER, &claims(MACHINE, NOW))).await;
    let body: TokenV2 = answer.json();
    assert_eq!((body.expires_in, body.refresh_in), (14_400, Some(7200)));
    let token = service.verified(CONTOSO, &body.access_token).await;
    let mirid = "/subscriptions/00000000-0000-0000-0000-000000000009/resourcegroups/rg/providers/Microsoft.HybridCompute/machines/web01";
    assert_eq!(token.xms_mirid.unwrap().as_str(), mirid);
    assert_eq!(token.exp.since(token.iat), 14_400);
}

#[tokio::test]
async fn the_secret_may_come_in_the_authorization_header() {
    let service = Service::start().await;
    let uri = format!("/{CONTOSO}/oauth2/v2.0/token");
    let form = [("grant_type", "client_credentials"), ("scope", "https://vault.azure.net/.default")];
    let basic = format!("Basic {}", b64::standard(format!("{APP}:{SECRET}").as_bytes()));
    let encoded = SECRET.replace('_', "%5F");
    let escaped = format!("basic {}", b64::standard(format!("{APP}:{encoded}").as_bytes()));
    for value in [basic, escaped] {
        let answer = service.send(Method::POST, &uri, &[("authorization", &value)], &encode(&form)).await;
        assert_eq!(service.verified(CONTOSO, &answer.access_token()).await.appid, Some(APP));
    }
}

#[tokio::test]
async fn no_store_is_read_while_tokens_are_issued() {
    let service = Service::start().await;
    let before = service.deployment.store.counters();
    let verifications = service.deployment.tokens.credentials().computations();
    let client = APP.to_string();
    let text = assertion(&SIGNER, &claims(APP, NOW));
    for _ in 0..100 {
        assert_eq!(service.assert(APP, &text).await.status, StatusCode::OK);
        let form = secret_form(&client, SECRET, "https://vault.azure.net/.default");
        assert_eq!(service.token(&form).await.status, StatusCode::OK);
    }
    assert_eq!(service.deployment.store.counters().reads, before.reads);
    assert_eq!(service.deployment.tokens.credentials().computations(), verifications + 2, "one RSA, one argon2id");

    // All that is ever written is the audit, in groups.
    let issued = service.deployment.store.counters();
    assert_eq!((issued.reads, issued.audit_events), (before.reads, before.audit_events + 200));
    assert_eq!(service.deployment.store.audit_tail(&ctx(CONTOSO, NOW), 200).await.unwrap().len(), 200);
    let commits = service.deployment.store.counters().audit_commits - before.audit_commits;
    assert!(commits < 100, "{commits} commits for 200 events are no groups");
}

#[tokio::test]
async fn d25_every_token_and_every_refusal_of_a_known_client_is_in_the_audit() {
    let service = Service::start().await;
    let issued = service.assert(MACHINE, &assertion(&SIGNER, &claims(MACHINE, NOW))).await;
    let token = service.verified(CONTOSO, &issued.access_token()).await;
    let wrong = service.token(&secret_form(&APP.to_string(), "abc-wrong", "https://vault.azure.net/.default")).await;
    assert_eq!(wrong.code(), 7_000_215);
    let refused = service.token(&secret_form(&APP.to_string(), SECRET, "https://nowhere.test/.default")).await;
    assert_eq!(refused.code(), 500_011);
    let store = &service.deployment.store;
    let tail = store.audit_tail(&ctx(CONTOSO, NOW), 2).await.unwrap();
    let [first, second] = tail.as_slice() else { panic!("{tail:?}") };
    assert_eq!((first.outcome, first.actor.as_str()), (Outcome::Allowed, format!("client:{MACHINE}").as_str()));
    assert_eq!(first.target, "https://vault.azure.net");
    let detail = first.detail.as_ref().unwrap();
    assert_eq!(detail["uti"], token.uti);
    assert_eq!(detail["principal"], machine().id.to_string());
    assert_eq!((second.outcome, second.because.as_str()), (Outcome::Refused, "AADSTS500011"));
    assert_eq!((second.actor.as_str(), second.request_id), (format!("client:{APP}").as_str(), REQUEST));
    let lines = serde_json::to_string(&tail).unwrap();
    assert!(!lines.contains("abc-wrong") && !lines.contains(&issued.access_token()));
}

#[tokio::test]
async fn d25_what_cannot_be_recorded_is_not_issued() {
    let service = Service::start().await;
    service.deployment.store.clone().close().await;
    let answer = service.assert(APP, &assertion(&SIGNER, &claims(APP, NOW))).await;
    assert_eq!((answer.status, answer.code()), (StatusCode::SERVICE_UNAVAILABLE, 90_033), "{}", answer.body);
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert!(!answer.body.contains("access_token"));
}

#[tokio::test]
async fn tokens_of_two_keys_are_good_at_once() {
    let service = Service::start().await;
    let text = assertion(&SIGNER, &claims(APP, NOW));
    let before = service.assert(APP, &text).await.access_token();
    service.deployment.keys.rotate(&service.deployment.auth(CONTOSO, NOW)).await.unwrap();
    let after = service.assert(APP, &text).await.access_token();
    let kid = |token: &str| Unverified::parse(token, 16_384).unwrap().kid().unwrap().to_owned();
    assert_ne!(kid(&before), kid(&after));
    // `verified` asks the key document.
    assert_eq!(service.verified(CONTOSO, &before).await.tid, CONTOSO);
    assert_eq!(service.verified(CONTOSO, &after).await.tid, CONTOSO);
}

#[tokio::test]
async fn revocation_is_immediate_although_the_assertion_is_remembered() {
    let service = Service::start().await;
    let text = assertion(&SIGNER, &claims(MACHINE, NOW));
    assert_eq!(service.assert(MACHINE, &text).await.status, StatusCode::OK);

    service.deployment.put(CONTOSO, &ServicePrincipal { enabled: false, ..machine() }).await;
    assert_eq!(service.assert(MACHINE, &text).await.code(), 7_000_112);

    service.deployment.put(CONTOSO, &ServicePrincipal { keys: vec![], ..machine() }).await;
    assert_eq!(service.assert(MACHINE, &text).await.code(), 700_027);

    service.deployment.put(CONTOSO, &ServicePrincipal { epoch: 9, ..machine() }).await;
    let token = service.assert(MACHINE, &text).await.access_token();
    assert_eq!(service.verified(CONTOSO, &token).await.xms_epoch, 9);
}

#[tokio::test]
async fn d34_a_client_of_another_tenant_is_nobody_here() {
    let service = Service::start().await;
    let text = assertion(&SIGNER, &claims(OTHER_APP, NOW));
    assert_eq!(service.assert(OTHER_APP, &text).await.code(), 700_016);
    let client = OTHER_APP.to_string();
    let secret = secret_form(&client, SECRET, "https://vault.azure.net/.default");
    assert_eq!(service.token(&secret).await.code(), 700_016);
    // At home its own keys sign, and Contoso's resources are not known.
    service.deployment.keys.ensure_keys(&service.deployment.auth(FABRIKAM, NOW)).await.unwrap();
    let home = format!("/{FABRIKAM}/oauth2/v2.0/token");
    let answer = service.post(&home, &secret).await;
    assert_eq!(service.verified(FABRIKAM, &answer.access_token()).await.tid, FABRIKAM);
    let api = secret_form(&client, SECRET, "api://orders/.default");
    assert_eq!(service.post(&home, &api).await.code(), 500_011);
}
