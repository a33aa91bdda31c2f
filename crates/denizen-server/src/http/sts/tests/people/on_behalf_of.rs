//! A resource that asks on behalf of who called it.

use super::*;

#[tokio::test]
async fn a_resource_asks_on_behalf_of_who_called_it() {
    let service = service().await;
    let grant = PermissionGrant {
        tenant: CONTOSO,
        id: Uuid::from_u128(1),
        client: principal(CONTOSO, APP).id,
        user: Some(ALICE),
        resource: principal(CONTOSO, API).id,
        scopes: vec!["Orders.Read".to_owned()],
        created: NOW,
    };
    service.deployment.put(CONTOSO, &grant).await;
    let api = API.to_string();
    let on_behalf = async |assertion: &str, client: &str, scope: &str| {
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
            ("requested_token_use", "on_behalf_of"),
            ("client_id", client),
            ("client_secret", SECRET),
            ("assertion", assertion),
            ("scope", scope),
        ];
        service.token(&form).await
    };
    let called_with = {
        let scope = "api://orders/Orders.Read".to_owned();
        let code = AuthorizationCode { scope, ..code("for-orders", &APP.to_string()) };
        service.issue_code(&code).await;
        let client = APP.to_string();
        let mut form = code_form("for-orders", &client).to_vec();
        form.push(("client_secret", SECRET));
        service.token(&form).await.access_token()
    };
    let scope = "https://vault.azure.net/.default offline_access openid profile";
    refused(&on_behalf(&called_with, &api, scope).await, "invalid_grant", 65_001);
    service.deployment.put(CONTOSO, &at_azure(0x72, API, "https://vault.azure.net")).await;
    let answer = on_behalf(&called_with, &api, scope).await;
    let tokens: TokenV2 = answer.json();
    let token = service.verified(CONTOSO, &tokens.access_token).await;
    assert_eq!((token.oid, token.aud.as_str(), token.appid), (ALICE, "https://vault.azure.net", Some(API)));
    assert_eq!((token.scp.as_deref(), token.sid), (Some("user_impersonation"), Some(sign_in().session)));
    assert!(tokens.user.refresh_token.is_none());

    // Not by a client that it was not sent to, not for itself, and not with what is no token of ours.
    refused(&on_behalf(&called_with, &APP.to_string(), scope).await, "invalid_grant", 50_013);
    let of_app = service.token(&secret_form(&APP.to_string(), SECRET, "api://orders/.default")).await.access_token();
    refused(&on_behalf(&of_app, &api, scope).await, "invalid_grant", 7_000_114);
    let (head, _) = called_with.rsplit_once('.').unwrap();
    refused(&on_behalf(&format!("{head}.AAAA"), &api, scope).await, "invalid_grant", 50_013);
    service.deployment.put(CONTOSO, &User { epoch: 5, ..alice() }).await;
    refused(&on_behalf(&called_with, &api, scope).await, "invalid_grant", 50_013);
}

/// A token for the resource by any of its spellings, which names as many groups as a token can, is taken on behalf of.
#[tokio::test]
async fn every_token_of_a_resource_can_be_exchanged_on_behalf_of_its_user() {
    let service = service().await;
    let plain = Application { token_version: TokenVersion::V1, ..orders() };
    service.deployment.put(CONTOSO, &at_azure(0x72, API, "https://vault.azure.net")).await;
    for n in 0..200 {
        let id = PrincipalId(Uuid::from_u128(0x9000 + n));
        let group = Group {
            tenant: CONTOSO,
            id,
            display_name: format!("group {n}"),
            description: None,
            mail_nickname: format!("group{n}"),
            owners: Vec::new(),
            created: NOW,
        };
        service.deployment.put(CONTOSO, &group).await;
        service.deployment.put(CONTOSO, &Membership { tenant: CONTOSO, group: id, member: ALICE, since: NOW }).await;
    }
    let (itself, mut subjects) = (API.to_string(), Vec::new());
    for (version, asked) in [
        (TokenVersion::V1, "api://orders/Orders.Read openid"),
        (TokenVersion::V1, "api://orders//Orders.Read"),
        (TokenVersion::V1, &format!("{}/Orders.Read", itself.to_uppercase())),
        (TokenVersion::V2, "api://orders/Orders.Read"),
    ] {
        service.deployment.put(CONTOSO, &Application { token_version: version, ..plain.clone() }).await;
        let secret = random::token(16);
        let code = AuthorizationCode { scope: asked.to_owned(), ..code(secret.expose(), &itself) };
        service.issue_code(&code).await;
        let mut form = code_form(secret.expose(), &itself).to_vec();
        form.push(("client_secret", SECRET));
        let tokens: TokenV2 = service.token(&form).await.json();
        let assertion = tokens.access_token;
        assert!(assertion.len() > 9_000, "{}", assertion.len());
        subjects.push(service.verified(CONTOSO, &assertion).await.sub);
        if let Some(token) = &tokens.user.id_token {
            let id = service.id_token(token).await;
            assert_eq!(id.groups.len(), 200);
            subjects.push(id.sub);
        }
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
            ("requested_token_use", "on_behalf_of"),
            ("client_id", &itself),
            ("client_secret", SECRET),
            ("assertion", &assertion),
            ("scope", "https://vault.azure.net/.default"),
        ];
        let token = service.verified(CONTOSO, &service.token(&form).await.access_token()).await;
        assert_eq!((token.oid, token.amr), (ALICE, sign_in().methods), "{asked}: how it signed in is not lost");
    }
    assert_eq!(subjects.len(), 5);
    subjects.dedup();
    assert_eq!(subjects.len(), 1, "one name for the application, whatever it is called: {subjects:?}");

    // One group more, and an id token says where to ask, as an access token does.
    let one = PrincipalId(Uuid::from_u128(0x8fff));
    let group = Group {
        tenant: CONTOSO,
        id: one,
        display_name: "one more".to_owned(),
        description: None,
        mail_nickname: "one".to_owned(),
        owners: Vec::new(),
        created: NOW,
    };
    service.deployment.put(CONTOSO, &group).await;
    service.deployment.put(CONTOSO, &Membership { tenant: CONTOSO, group: one, member: ALICE, since: NOW }).await;
    let scope = "api://orders/Orders.Read openid".to_owned();
    service.issue_code(&AuthorizationCode { scope, ..code("one-more", &itself) }).await;
    let mut form = code_form("one-more", &itself).to_vec();
    form.push(("client_secret", SECRET));
    let tokens: TokenV2 = service.token(&form).await.json();
    let id = service.id_token(&tokens.user.id_token.unwrap()).await;
    assert!(id.groups.is_empty() && id.claim_names.is_some_and(|names| names.groups == "src1"));
    assert!(id.claim_sources.unwrap().src1.endpoint.ends_with("/getMemberObjects"));
}
