//! Devices: what they show, what they are told, and how many there may be.

use super::*;

#[tokio::test]
async fn a_device_waits_until_a_person_has_decided() {
    let mut service = service().await;
    let begin = async |service: &Service, path: &str| {
        let form = [
            ("client_id", AZURE_CLI),
            ("scope", "https://management.core.windows.net//.default offline_access openid"),
        ];
        service.post(path, &form).await
    };
    let begun: DeviceAuthorization = begin(&service, &format!("/{CONTOSO}/oauth2/v2.0/devicecode")).await.json();
    assert_eq!((begun.expires_in, begun.interval, begun.user_code.len()), (900, 5, 9));
    assert!(begun.message.contains(&begun.user_code) && begun.message.contains(&begun.verification_uri));
    let poll = async |service: &Service, code: &str, grant: &str, name: &str| {
        service.token(&[("grant_type", grant), ("client_id", AZURE_CLI), (name, code)]).await
    };
    let urn = "urn:ietf:params:oauth:grant-type:device_code";
    refused(&poll(&service, &begun.device_code, urn, "device_code").await, "authorization_pending", 70_016);
    refused(&poll(&service, &begun.device_code, "device_code", "device_code").await, "slow_down", 70_016);
    service.now = NOW + 5;
    refused(&poll(&service, &begun.device_code, "device_code", "code").await, "authorization_pending", 70_016);
    refused(&poll(&service, "guessed", urn, "device_code").await, "bad_verification_code", 70_018);

    let decide = async |service: &Service, user_code: &str, sign_in: Option<SignIn>| {
        // As it is typed: in lower case, with a dash.
        let typed = format!("{}-{}", &user_code[..4], &user_code[4..]).to_lowercase();
        let kept = service.deployment.store.one_time::<UserCode>(&hash_of_user_code(&typed)).await.unwrap().unwrap();
        let asked = kept.it;
        assert!(asked.client.to_string() == AZURE_CLI && asked.address.is_some());
        let decision = DeviceDecision {
            id: random::uuid_v4(),
            tenant: CONTOSO,
            hash: asked.device,
            expires: asked.expires,
            scope: asked.scope,
            sign_in,
        };
        service.deployment.issue(&decision).await;
    };
    decide(&service, &begun.user_code, Some(sign_in())).await;
    refused(&poll(&service, &begun.device_code, urn, "device_code").await, "slow_down", 70_016);
    service.now = NOW + 9;
    let answer = poll(&service, &begun.device_code, urn, "device_code").await;
    let tokens: TokenV2 = answer.json();
    let token = service.verified(CONTOSO, &tokens.access_token).await;
    assert_eq!((token.oid, token.aud.as_str()), (ALICE, ARM));
    assert!(tokens.user.id_token.is_some() && tokens.user.refresh_token.is_some());
    // Once.
    refused(&poll(&service, &begun.device_code, urn, "device_code").await, "expired_token", 70_019);

    let begun: DeviceAuthorization = begin(&service, "/organizations/oauth2/v2.0/devicecode").await.json();
    decide(&service, &begun.user_code, None).await;
    refused(&poll(&service, &begun.device_code, urn, "device_code").await, "authorization_declined", 65_004);
    let begun: DeviceAuthorization = begin(&service, &format!("/{CONTOSO}/oauth2/devicecode")).await.json();
    service.now = service.now + 900;
    refused(&poll(&service, &begun.device_code, urn, "device_code").await, "expired_token", 70_019);
}

/// Each is kept and recorded, and says what the tenant knows.
#[tokio::test]
async fn device_codes_are_few_from_one_address_and_few_in_all() {
    let service = service().await;
    let begin = async |n: u8, client: &str, scope: &str| {
        let form = encode(&[("client_id", client), ("scope", scope)]);
        let (path, kind) = (format!("/{CONTOSO}/oauth2/v2.0/devicecode"), "application/x-www-form-urlencoded");
        service.send_from([192, 0, 2, n].into(), Method::POST, &path, &[("content-type", kind)], &form).await
    };
    let app = APP.to_string();
    // Not for a client that has a secret to lose, nor for what is not there. They count as well.
    refused(&begin(1, &app, "openid").await, "invalid_client", 7_000_218);
    refused(&begin(1, AZURE_CLI, "api://nothing/x").await, "invalid_resource", 500_011);
    assert_eq!(service.deployment.tokens.strangers().count(Reason::Client), 2);
    for _ in 0..8 {
        assert_eq!(begin(1, AZURE_CLI, "openid").await.status, StatusCode::OK);
    }
    let last = begin(1, AZURE_CLI, "openid").await;
    refused(&last, "temporarily_unavailable", 90_055);
    assert_eq!((last.status, last.header("retry-after")), (StatusCode::TOO_MANY_REQUESTS, Some("5")));
    assert_eq!(service.deployment.tokens.strangers().count(Reason::Limited), 1);
    // Who is elsewhere gets one, until all together are too many.
    let mut given = 8;
    for n in 2..10 {
        for _ in 0..9 {
            given += i32::from(begin(n, AZURE_CLI, "openid").await.status == StatusCode::OK);
        }
    }
    assert_eq!(given, 60);
}

/// A device that has named no tenant is for the users of all.
#[tokio::test]
async fn a_shared_devices_code_is_good_for_users_of_every_tenant() {
    let service = service().await;
    service.deployment.keys.rotate(&service.deployment.auth(FABRIKAM, NOW)).await.unwrap();
    let bob = User { tenant: FABRIKAM, name: "bob@fabrikam.test".to_owned(), ..alice() };
    service.deployment.put(FABRIKAM, &bob).await;
    let program = ClientId(Uuid::from_u128(0xfab));
    let application = Application { public_client: true, ..application(FABRIKAM, program) };
    service.deployment.put(FABRIKAM, &application).await;
    service.deployment.put(FABRIKAM, &principal(FABRIKAM, program)).await;
    let granted = PermissionGrant {
        tenant: FABRIKAM,
        client: principal(FABRIKAM, program).id,
        ..at_azure(0x71, program, "https://vault.azure.net")
    };
    service.deployment.put(FABRIKAM, &granted).await;
    let shared = "/organizations/oauth2/v2.0";
    for (client, scope) in [
        (AZURE_CLI.to_owned(), "https://vault.azure.net/.default offline_access openid"),
        (AZURE_CLI.to_owned(), "https://vault.azure.net/.default"),
        (program.to_string(), "https://vault.azure.net/.default offline_access"),
    ] {
        let form = [("client_id", client.as_str()), ("scope", scope)];
        let begun: DeviceAuthorization = service.post(&format!("{shared}/devicecode"), &form).await.json();
        let hash = hash_of_user_code(&begun.user_code);
        let asked = service.deployment.store.one_time::<UserCode>(&hash).await.unwrap().unwrap().it;
        let sign_in = SignIn { tenant: FABRIKAM, ..sign_in() };
        service.deployment.sign_in.decide(&ctx(asked.tenant, NOW), &sign_in, &asked, true).await.unwrap();
        let form = [("grant_type", "device_code"), ("client_id", &client), ("device_code", &begun.device_code)];
        let answer = service.post(&format!("{shared}/token"), &form).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        let tokens: TokenV2 = answer.json();
        assert_eq!(service.verified(FABRIKAM, &tokens.access_token).await.tid, FABRIKAM);
        refused(&service.post(&format!("{shared}/token"), &form).await, "expired_token", 70_019);
        assert_eq!(tokens.user.refresh_token.is_some(), scope.contains("offline_access"));
        if let Some(refresh) = tokens.user.refresh_token {
            let form = [("grant_type", "refresh_token"), ("client_id", &client), ("refresh_token", &refresh)];
            assert_eq!(service.post(&format!("{shared}/token"), &form).await.status, StatusCode::OK);
        }
    }
}
