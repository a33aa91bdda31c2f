//! Whose refusals are recorded, and what strangers leave behind.

use serde_json::json;

use super::*;
use crate::{
    app::{
        access::tests::fixture::{key, put, set_up, sign, sign_as},
        strangers::Reason,
    },
    domain::directory::ServicePrincipal,
    store::Outcome,
};

const AUTHENTICATE: &str = "Denizen.Vault/vaults/authenticate";

impl Vaulted {
    async fn refused(&self, token: &str) -> Answer {
        let answer = self.get("/secrets/s").header("authorization", &format!("Bearer {token}")).send().await;
        assert_eq!(answer.fault(), fault(401, "Unauthorized", ""));
        answer
    }

    /// Who was refused at the gate, oldest first.
    async fn refusals(&self) -> Vec<(Outcome, String, String, String)> {
        let tail = self.fixture.store.audit_tail(&self.fixture.ctx(), 1000).await.unwrap();
        let at_the_gate = tail.into_iter().filter(|record| record.action == AUTHENTICATE);
        at_the_gate.map(|r| (r.outcome, r.actor, r.target, r.because)).collect()
    }
}

#[tokio::test]
async fn the_refusal_of_a_known_principal_is_recorded() {
    let v = Vaulted::new().await;
    let who = v.officer;
    let other = Uuid::from_u128(0x0b);
    let neighbour = denizen_wire::TenantId(other);
    set_up(&v.fixture.store, &v.fixture.key_encryption_keys, neighbour, 2, &[key(1)]).await;
    let good = v.fixture.record_of(who);
    let of = |name: &str, value: Value| {
        let mut claims = v.fixture.claims(who);
        claims[name] = value;
        claims
    };
    let mut foreign = of("tid", json!(other));
    foreign["iss"] = json!(format!("{AUTHORITY}/{neighbour}/"));
    let foreign = sign_as(1, &json!({"typ": "JWT", "alg": "RS256", "kid": key(1).1.kid()}), &foreign);
    let (here, there) = (format!("principal:{}", who.principal), format!("principal:{neighbour}/{}", who.principal));
    let ghost = {
        let mut claims = of("oid", json!(other));
        claims["sub"] = json!(other);
        sign(&claims)
    };
    let cases = [
        (good.clone(), sign(&of("aud", json!("https://management.azure.com"))), here.clone(), "Invalid audience"),
        (good.clone(), sign(&of("iss", json!("https://sts.windows.net/x/"))), here.clone(), "Invalid issuer"),
        (good.clone(), foreign, there, "Invalid issuer"),
        (good.clone(), ghost, format!("principal:{other}"), "does not exist any more"),
        (ServicePrincipal { enabled: false, ..good.clone() }, v.fixture.token(who), here.clone(), "is disabled"),
        (ServicePrincipal { epoch: 1, ..good }, v.fixture.token(who), here, "had its tokens revoked"),
    ];
    let mut expected = 0;
    for (record, token, actor, because) in cases {
        put(&v.fixture.store, &v.fixture.ctx(), &record).await;
        // The second time the token is remembered.
        for _ in 0..2 {
            let answer = v.refused(&token).await;
            assert!(answer.message().contains(because), "{}", answer.text);
            expected += 1;
            let refusals = v.refusals().await;
            assert_eq!(refusals.len(), expected, "{because}");
            let (outcome, by, target, why) = refusals.last().unwrap();
            assert_eq!((*outcome, by, target.as_str()), (Outcome::Refused, &actor, v.fixture.vault.id.as_str()));
            assert!(why.contains(because), "{why}");
        }
    }
    assert_eq!(v.fixture.access.strangers().counts().map(|(_, count)| count).sum::<u64>(), 0);
    // It stands in the vault's tenant, and not in that of the foreign principal.
    let at_home = crate::app::access::tests::fixture::ctx(neighbour);
    let at_home = v.fixture.store.audit_tail(&at_home, 1000).await.unwrap();
    assert!(at_home.iter().all(|record| record.action != AUTHENTICATE), "{at_home:?}");
}

#[tokio::test]
async fn strangers_leave_a_number_and_nothing_durable() {
    let v = Vaulted::new().await;
    let (claims, kid) = (v.fixture.claims(v.officer), key(0).1.kid());
    let of = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        sign(&claims)
    };
    let good = v.fixture.token(v.officer);
    let ended_elsewhere = {
        let mut claims = claims.clone();
        (claims["aud"], claims["exp"]) = (json!("https://management.azure.com"), json!(1));
        sign(&claims)
    };
    let unknown_key = json!({"typ": "JWT", "alg": "RS256", "kid": key(1).1.kid()});
    let cases = [
        (Reason::NoToken, "Basic eA==".to_owned()),
        (Reason::NoToken, String::new()),
        (Reason::Token, "Bearer nonsense".to_owned()),
        (Reason::Token, format!("Bearer {}", &good[..good.len() - 6])),
        (Reason::Token, format!("Bearer {}", "a".repeat(10_000))),
        (Reason::Token, format!("Bearer {}", sign_as(1, &json!({"typ": "JWT", "alg": "RS256", "kid": kid}), &claims))),
        (Reason::Token, format!("Bearer {}", sign_as(1, &unknown_key, &claims))),
        (Reason::Token, format!("Bearer {}", of("exp", json!("soon")))),
        // Ours, and anybody may have found an old one.
        (Reason::TokenTime, format!("Bearer {}", of("exp", json!(NOW.0)))),
        (Reason::TokenTime, format!("Bearer {}", of("exp", json!(i64::MIN)))),
        (Reason::TokenTime, format!("Bearer {}", of("nbf", json!(i64::MAX)))),
        (Reason::TokenTime, format!("Bearer {ended_elsewhere}")),
    ];
    v.refusals().await;
    let sizes = || {
        let mut sizes: Vec<_> =
            v.fixture.files().into_iter().map(|file| (file.metadata().unwrap().len(), file)).collect();
        sizes.sort();
        sizes
    };
    let (before, files) = (v.fixture.store.counters(), sizes());
    let strangers = v.fixture.access.strangers();
    for (reason, authorization) in &cases {
        let counted = strangers.count(*reason);
        for _ in 0..3 {
            let ask = v.bare(Method::GET, "/secrets/s?api-version=7.6").header("authorization", authorization);
            assert_eq!(ask.send().await.fault(), fault(401, "Unauthorized", ""));
        }
        assert_eq!(strangers.count(*reason), counted + 3, "{reason:?} {authorization:.40}");
    }
    let after = v.fixture.store.counters();
    assert_eq!((after.audit_events, after.reads, after.writes), (before.audit_events, before.reads, before.writes));
    assert_eq!(sizes(), files);
    assert!(v.refusals().await.is_empty());
    // A token that was good and has ended is a stranger's from then on, though it is remembered.
    v.put("s", json!({"value": "v"})).await.ok();
    let mut late = v.get("/secrets/s");
    late.now = NOW + 3600;
    assert_eq!(late.send().await.status, 401);
    assert!(v.refusals().await.is_empty());
}

/// The request names one host in its target and another in its header: a proxy and we would read it differently.
#[tokio::test]
async fn d18_a_target_of_another_host_is_refused() {
    let v = Vaulted::new().await;
    v.put("s", json!({"value": "v"})).await.ok();
    for (target, host) in [("https://other.test", HOST), (&*format!("https://{HOST}"), "other.test")] {
        let answer = v.get(&format!("{target}/secrets/s")).header("host", host).send().await;
        assert_eq!(answer.fault(), fault(400, "BadParameter", ""), "{target}");
        assert!(!answer.headers.contains_key("www-authenticate"));
    }
    v.get(&format!("https://{HOST}/secrets/s")).send().await.ok();
}

/// Continuous access evaluation: the client passes its cache by, and asks with these claims.
#[tokio::test]
async fn a_client_that_handles_challenges_is_told_which_token_to_get() {
    let v = Vaulted::new().await;
    let mut claims = v.fixture.claims(v.officer);
    let plain = sign(&claims);
    claims["xms_cc"] = json!(["cp1"]);
    let able = sign(&claims);
    let record = ServicePrincipal { epoch: 1, ..v.fixture.record_of(v.officer) };
    put(&v.fixture.store, &v.fixture.ctx(), &record).await;
    let challenge = async |token: &str| v.refused(token).await.header("www-authenticate").to_owned();
    assert!(!challenge(&plain).await.contains("error="));
    let told = challenge(&able).await;
    let first = told.split_once(r#", error="insufficient_claims", claims=""#);
    let (before, wanted) = first.unwrap_or_else(|| panic!("{told}"));
    assert!(before.starts_with("Bearer authorization=\"https://"), "{told}");
    let wanted = denizen_keys::b64::decode_standard(wanted.strip_suffix('"').unwrap()).unwrap();
    let wanted: Value = serde_json::from_slice(&wanted).unwrap();
    assert_eq!(wanted, json!({"access_token": {"nbf": {"essential": true, "value": NOW.0.to_string()}}}));
}
