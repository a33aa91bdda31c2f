//! Applications, service principals, users, groups, grants, what was deleted, and batches.

use denizen_wire::claims::AccessToken;

use super::*;
use crate::{
    app::{ChangeError, directory::DirectoryError},
    domain::{
        deleted::{DeletedKind, DeletedObject},
        people::{Group, Membership},
    },
    http::graph::fault::Fault,
};

/// The calls of `az ad sp create-for-rbac`, one after the other, and what tools look at in each answer.
#[tokio::test]
async fn the_calls_of_create_for_rbac_are_answered() {
    let tenant = Tenant::new().await;
    let none = tenant.get("/v1.0/servicePrincipals?$filter=displayName eq 'my-tool'").await;
    assert_eq!((none.status, none.each("id").len()), (200, 0), "{}", none.body);
    assert_eq!(none.body["@odata.context"], format!("{AUTHORITY}/v1.0/$metadata#servicePrincipals"));
    let none = tenant.get("/v1.0/applications?$filter=startswith(displayName,'my-tool')").await;
    assert_eq!(none.each("id").len(), 0);
    let app = tenant.made("/v1.0/applications", json!({ "displayName": "my-tool", "keyCredentials": [] })).await;
    assert_eq!((&app["passwordCredentials"], &app["keyCredentials"]), (&json!([]), &json!([])));
    let object = app["id"].as_str().unwrap();
    let asked = json!({ "passwordCredential": { "displayName": "rbac", "startDateTime": "2020-01-01T00:00:00Z", "endDateTime": "2099-01-01T00:00:00Z" } });
    let secret = tenant.post(&format!("/v1.0/applications/{object}/addPassword"), asked).await;
    let text = secret.body["secretText"].as_str().unwrap();
    assert_eq!((secret.status, secret.body["displayName"].as_str()), (200, Some("rbac")));
    assert_eq!(secret.body["hint"].as_str(), text.get(..3));
    assert_eq!(secret.body["endDateTime"], "2099-01-01T00:00:00Z");
    let client = app["appId"].as_str().unwrap();
    let principal = tenant.made("/v1.0/servicePrincipals", json!({ "appId": client, "accountEnabled": true })).await;
    assert_eq!(principal["servicePrincipalType"], "Application");
    assert_eq!(principal["servicePrincipalNames"], json!([client]));
    assert_eq!(principal["appOwnerOrganizationId"], json!(tenant.id()));
    // It gets a token by that secret, and no right by it.
    let token = tenant.token_of(client, text, "https://graph.microsoft.com").await;
    assert_eq!(tenant.send_as(&token, Method::GET, "/v1.0/applications", Value::Null).await.status, 403);
    // Whoever got a token by a secret that is removed keeps nothing of it; one that is added takes nothing away.
    let more = tenant.post(&format!("/v1.0/applications/{object}/addPassword"), json!({})).await;
    assert_eq!(tenant.send_as(&token, Method::GET, "/v1.0/applications", Value::Null).await.status, 403);
    let id = json!({ "keyId": more.body["keyId"] });
    assert_eq!(tenant.post(&format!("/v1.0/applications/{object}/removePassword"), id).await.status, 204);
    assert_eq!(tenant.send_as(&token, Method::GET, "/v1.0/applications", Value::Null).await.status, 401);
    let token = tenant.token_of(client, text, "https://graph.microsoft.com").await;
    assert_eq!(tenant.send_as(&token, Method::GET, "/v1.0/applications", Value::Null).await.status, 403);
    // Found again in each way that tools look for it.
    for path in [
        format!("/v1.0/applications?$filter=appId eq '{client}'"),
        "/v1.0/applications?$filter=startswith(displayName,'MY-')".to_owned(),
        format!("/v1.0/servicePrincipals?$filter=appId eq '{client}'"),
        format!("/v1.0/servicePrincipals?$filter=servicePrincipalNames/any(c:c eq '{client}')"),
        "/v1.0/servicePrincipals?$filter=displayName eq 'my-tool'".to_owned(),
    ] {
        assert_eq!(tenant.get(&path).await.each("appId"), [client], "{path}");
    }
    for path in [
        format!("/v1.0/applications/{object}"),
        format!("/v1.0/applications(appId='{client}')"),
        format!("/beta/applications/{object}"),
        format!("/v1.0/Applications/{object}/"),
        format!("/v1.0/servicePrincipals(appId='{client}')"),
        format!("/v1.0/servicePrincipals/{}", principal["id"].as_str().unwrap()),
    ] {
        assert_eq!(tenant.get(&path).await.body["appId"], client, "{path}");
    }
    // The same secret is shown nowhere again.
    let shown = tenant.get(&format!("/v1.0/applications/{object}")).await.body;
    assert!(!shown.to_string().contains(text) && shown["passwordCredentials"][0]["secretText"].is_null(), "{shown}");
    let key_id = shown["passwordCredentials"][0]["keyId"].clone();
    let path = format!("/v1.0/applications/{object}/removePassword");
    assert_eq!(tenant.post(&path, json!({ "keyId": key_id })).await.status, 204);
    let again = tenant.post(&path, json!({ "keyId": key_id })).await;
    assert_eq!((again.status, again.code()), (400, "Request_BadRequest"));
    assert_eq!(tenant.get(&format!("/v1.0/applications/{object}")).await.body["passwordCredentials"], json!([]));
    // A second service principal of one application.
    let twice = tenant.post("/v1.0/servicePrincipals", json!({ "appId": client })).await;
    assert_eq!((twice.status, twice.code()), (409, "Request_MultipleObjectsWithSameKeyValue"));
    let of_none = tenant.post("/v1.0/servicePrincipals", json!({ "appId": Uuid::from_u128(9) })).await;
    assert!(of_none.status == 400 && of_none.message().contains("valid application object"), "{}", of_none.body);
}

#[tokio::test]
async fn a_service_principal_that_was_disabled_keeps_no_token() {
    let tenant = Tenant::new().await;
    let (_, _, principal, token) = tenant.client("tool").await;
    let path = format!("/v1.0/servicePrincipals/{principal}");
    let status = async || tenant.send_as(&token, Method::GET, "/v1.0/users", Value::Null).await.status;
    assert_eq!(status().await, 403, "it is believed, and may nothing");
    // What changes nothing writes nothing.
    let before = tenant.server.store.revision();
    for nothing in [json!({}), json!({ "accountEnabled": true, "appRoleAssignmentRequired": false, "tags": [] })] {
        assert_eq!(tenant.patch(&path, nothing).await.status, 204);
    }
    assert_eq!((tenant.server.store.revision(), status().await), (before, 403));
    assert_eq!(tenant.patch(&path, json!({ "accountEnabled": false })).await.status, 204);
    assert_eq!(status().await, 401);
    assert_eq!(tenant.patch(&path, json!({ "accountEnabled": true })).await.status, 204);
    assert_eq!(status().await, 401, "a token from before it was disabled does not come back");
}

#[tokio::test]
async fn an_application_is_changed_as_tools_change_it() {
    let tenant = Tenant::new().await;
    let app =
        tenant.made("/v1.0/applications", json!({ "displayName": "orders", "identifierUris": ["api://orders"] })).await;
    let path = format!("/v1.0/applications/{}", app["id"].as_str().unwrap());
    let role = Uuid::from_u128(7);
    let change = json!({
        "displayName": "Orders", "groupMembershipClaims": "SecurityGroup", "isFallbackPublicClient": true,
        "appRoles": [{ "allowedMemberTypes": ["Application"], "description": "d", "displayName": "Read", "id": role, "isEnabled": true, "value": "Orders.Read" }],
        "api": { "requestedAccessTokenVersion": 2, "oauth2PermissionScopes": [{ "id": Uuid::from_u128(8), "value": "Orders.Read", "type": "User", "adminConsentDisplayName": "Read", "adminConsentDescription": "d", "isEnabled": true }] },
        "web": { "redirectUris": ["https://orders.example/cb"], "implicitGrantSettings": { "enableIdTokenIssuance": false } },
        "tags": [], "requiredResourceAccess": [],
    });
    let changed = tenant.patch(&path, change).await;
    assert_eq!(changed.status, 204, "{}", changed.body);
    let shown = tenant.get(&path).await.body;
    assert_eq!((shown["displayName"].as_str(), &shown["appRoles"][0]["id"]), (Some("Orders"), &json!(role)));
    assert_eq!(shown["api"]["requestedAccessTokenVersion"], 2);
    assert_eq!(shown["web"]["redirectUris"], json!(["https://orders.example/cb"]));
    let found = tenant.get("/v1.0/applications?$filter=identifierUris/any(s:s eq 'api://orders')").await;
    assert_eq!(found.each("displayName"), ["Orders"]);
    // What is null is what it was at first.
    let null = json!({ "api": { "requestedAccessTokenVersion": null }, "isFallbackPublicClient": null });
    assert_eq!(tenant.patch(&path, null).await.status, 204);
    let shown = tenant.get(&path).await.body;
    assert_eq!(
        (&shown["api"]["requestedAccessTokenVersion"], &shown["isFallbackPublicClient"]),
        (&Value::Null, &json!(false))
    );
    for (change, says) in [
        (json!({ "displayName": "a\u{7}" }), "'displayName'"),
        (json!({ "displayName": "" }), "'displayName'"),
        (json!({ "displayName": 5 }), "'displayName': it must be a text"),
        (json!({ "identifierUris": ["no uri"] }), "absolute URI"),
        (json!({ "signInAudience": "AzureADMultipleOrgs" }), "'signInAudience'"),
        (json!({ "requiredResourceAccess": [{ "resourceAppId": "x" }] }), "'requiredResourceAccess' is not kept"),
        (json!({ "appRoles": [{ "value": "x" }] }), "'appRoles/id'"),
        (json!({ "keyCredentials": [{ "key": "AAAA" }] }), "X.509"),
    ] {
        let refused = tenant.patch(&path, change.clone()).await;
        assert_eq!((refused.status, refused.code()), (400, "Request_BadRequest"), "{change}: {}", refused.body);
        assert!(refused.message().contains(says), "{change}: {}", refused.message());
    }
    let other =
        tenant.post("/v1.0/applications", json!({ "displayName": "b", "identifierUris": ["api://orders"] })).await;
    assert_eq!((other.status, other.code()), (409, "Request_MultipleObjectsWithSameKeyValue"), "{}", other.body);
}

#[tokio::test]
async fn a_certificate_is_registered_kept_and_taken_away() {
    let tenant = Tenant::new().await;
    let signer = denizen_keys::Signer::generate_rsa(denizen_keys::RsaBits::B2048).unwrap();
    let certificate = denizen_keys::x509::self_signed(&signer, "tool", 1_700_000_000, 4_000_000_000).unwrap();
    let key = json!({
        "type": "AsymmetricX509Cert", "usage": "Verify", "key": denizen_keys::b64::standard(certificate.der()),
        "startDateTime": "2024-01-01T00:00:00Z", "endDateTime": "2090-01-01T00:00:00Z",
    });
    let app = tenant.made("/v1.0/applications", json!({ "displayName": "c", "keyCredentials": [key] })).await;
    let thumbprint = denizen_keys::hash::hex(&certificate.thumbprint_sha1()).to_uppercase();
    assert_eq!(app["keyCredentials"][0]["customKeyIdentifier"], json!(thumbprint));
    let path = format!("/v1.0/applications/{}", app["id"].as_str().unwrap());
    // As it was shown, it stays.
    let kept = tenant.patch(&path, json!({ "keyCredentials": app["keyCredentials"] })).await;
    assert_eq!(kept.status, 204, "{}", kept.body);
    assert_eq!(tenant.get(&path).await.body["keyCredentials"], app["keyCredentials"]);
    // All or nothing: with anything else, neither is changed.
    let both = tenant.patch(&path, json!({ "keyCredentials": [], "displayName": "d" })).await;
    assert!(both.status == 400 && both.message().contains("a request of their own"), "{}", both.body);
    let shown = tenant.get(&path).await.body;
    assert_eq!((&shown["keyCredentials"], &shown["displayName"]), (&app["keyCredentials"], &json!("c")));
    assert_eq!(tenant.patch(&path, json!({ "keyCredentials": [] })).await.status, 204);
    assert_eq!(tenant.get(&path).await.body["keyCredentials"], json!([]));
    // It holds for less than its certificate where that is asked for, also later; and never for longer.
    let mut short = key.clone();
    short["startDateTime"] = json!("2025-01-01T00:00:00Z");
    short["endDateTime"] = json!("2030-01-01T00:00:00Z");
    let times = async || {
        let shown = tenant.get(&path).await.body;
        ["startDateTime", "endDateTime"].map(|name| shown["keyCredentials"][0][name].as_str().unwrap().to_owned())
    };
    assert_eq!(tenant.patch(&path, json!({ "keyCredentials": [short] })).await.status, 204);
    assert_eq!(times().await, ["2025-01-01T00:00:00Z", "2030-01-01T00:00:00Z"]);
    let mut kept = tenant.get(&path).await.body["keyCredentials"].clone();
    kept[0]["endDateTime"] = json!("2029-01-01T00:00:00Z");
    assert_eq!(tenant.patch(&path, json!({ "keyCredentials": kept })).await.status, 204);
    kept[0]["endDateTime"] = json!("2099-01-01T00:00:00Z");
    assert_eq!(tenant.patch(&path, json!({ "keyCredentials": kept })).await.status, 204);
    assert_eq!(times().await, ["2025-01-01T00:00:00Z", "2029-01-01T00:00:00Z"]);
    short["endDateTime"] = json!("2024-06-01T00:00:00Z");
    let never = tenant.patch(&path, json!({ "keyCredentials": [short] })).await;
    assert!(never.status == 400 && never.message().contains("later than its startDateTime"), "{}", never.body);
    let refused = tenant.post(&format!("{path}/addKey"), json!({})).await;
    assert!(refused.status == 400 && refused.message().contains("addKey"), "{}", refused.body);
}

#[tokio::test]
async fn users_are_made_changed_and_revoked() {
    let tenant = Tenant::new().await;
    let id = tenant.user("ada").await;
    for path in [format!("/v1.0/users/{id}"), "/v1.0/users/ADA@contoso.example".to_owned()] {
        assert_eq!(tenant.get(&path).await.body["userPrincipalName"], "ada@contoso.example", "{path}");
    }
    let found = tenant.get("/v1.0/users?$filter=userPrincipalName eq 'Ada@contoso.example'").await;
    assert_eq!(found.each("id"), [id.as_str()]);
    let path = format!("/v1.0/users/{id}");
    let change = json!({ "givenName": "Ada", "mail": "ada@mail.example", "accountEnabled": false });
    assert_eq!(tenant.patch(&path, change).await.status, 204);
    let shown = tenant.get(&path).await.body;
    assert_eq!((shown["givenName"].as_str(), shown["accountEnabled"].as_bool()), (Some("Ada"), Some(false)));
    let epoch = |tenant: &Tenant| tenant.server.store.snapshot().user(tenant.id(), id.parse().unwrap()).unwrap().epoch;
    assert_eq!(epoch(&tenant), 1, "disabling revokes");
    assert_eq!(tenant.patch(&path, json!({ "mail": null })).await.status, 204);
    assert_eq!((&tenant.get(&path).await.body["mail"], epoch(&tenant)), (&Value::Null, 1));
    let password = json!({ "passwordProfile": { "password": "another horse" } });
    assert_eq!(tenant.patch(&path, password).await.status, 204);
    assert_eq!(epoch(&tenant), 2);
    // Whether it must be changed is said with a password, by either of two words.
    let must_change = async || {
        let ctx = tenant.server.authorize(tenant.id(), SystemReason::SetUp).ctx().clone();
        let user = tenant.server.store.record::<User>(&ctx, &id.parse().unwrap()).await.unwrap().unwrap();
        user.password.unwrap().must_change
    };
    let [next, with_factor] = ["forceChangePasswordNextSignIn", "forceChangePasswordNextSignInWithMfa"];
    for (profile, must) in [
        (json!({ "password": "another horse" }), true),
        (json!({ "password": "another horse", next: false }), false),
        (json!({ "password": "another horse", next: false, with_factor: true }), true),
    ] {
        assert_eq!(tenant.patch(&path, json!({ "passwordProfile": profile })).await.status, 204);
        assert_eq!(must_change().await, must, "{profile}");
    }
    let no_password = json!({ "passwordProfile": { next: false } });
    let refused = tenant.patch(&path, no_password).await;
    assert!(refused.status == 400 && refused.message().contains("'passwordProfile/password'"), "{}", refused.body);
    assert_eq!(epoch(&tenant), 5);
    assert_eq!(tenant.post(&format!("{path}/revokeSignInSessions"), Value::Null).await.body["value"], true);
    assert_eq!(epoch(&tenant), 6);
    let new = |name: &str, password: &str| {
        json!({
            "accountEnabled": true, "displayName": "x", "mailNickname": "x", "userPrincipalName": name,
            "passwordProfile": { "password": password },
        })
    };
    for (body, says) in [
        (new("x@elsewhere.example", "correct horse"), "NAME@contoso.example"),
        (new("@contoso.example", "correct horse"), "'userPrincipalName'"),
        (new("x@contoso.example", "short"), "password complexity"),
        (json!({ "displayName": "x" }), "'userPrincipalName'"),
        (json!({ "displayName": "x", "passwordProfile": {} }), "'passwordProfile/password'"),
        (json!({ "userPrincipalName": "x@contoso.example", "jobTitle": "boss" }), "'jobTitle' is not kept"),
    ] {
        let refused = tenant.post("/v1.0/users", body.clone()).await;
        assert_eq!((refused.status, refused.code()), (400, "Request_BadRequest"), "{body}");
        assert!(refused.message().contains(says), "{body}: {}", refused.message());
        assert!(!refused.body.to_string().contains("horse"), "{}", refused.body);
    }
    let twice = tenant.post("/v1.0/users", new("ADA@Contoso.example", "correct horse")).await;
    assert_eq!((twice.status, twice.code()), (409, "Request_MultipleObjectsWithSameKeyValue"), "{}", twice.body);
}

#[tokio::test]
async fn groups_hold_each_other_and_never_themselves() {
    let tenant = Tenant::new().await;
    let (user, other) = (tenant.user("ada").await, tenant.user("bob").await);
    let [all, team, part] = [tenant.group("all").await, tenant.group("team").await, tenant.group("part").await];
    let add = async |group: &str, member: &str| {
        let body = json!({ "@odata.id": format!("https://graph.microsoft.com/v1.0/directoryObjects/{member}") });
        tenant.post(&format!("/v1.0/groups/{group}/members/$ref"), body).await
    };
    for (group, member) in [(&all, &team), (&team, &part), (&part, &user), (&all, &other)] {
        assert_eq!(add(group, member).await.status, 204);
    }
    let twice = add(&part, &user).await;
    assert!(twice.status == 400 && twice.message().contains("already exist"), "{}", twice.body);
    for (group, member) in [(&part, &all), (&team, &all), (&all, &all)] {
        let refused = add(group, member).await;
        assert!(refused.status == 400 && refused.message().contains("member of itself"), "{}", refused.body);
    }
    assert_eq!(add(&all, &Uuid::from_u128(5).to_string()).await.status, 404);
    let sorted = |mut ids: Vec<String>| {
        ids.sort();
        ids
    };
    let members = async |path: String| sorted(tenant.get(&path).await.each("id"));
    let expected = |ids: &[&String]| sorted(ids.iter().map(|id| (*id).clone()).collect());
    assert_eq!(members(format!("/v1.0/groups/{all}/members")).await, expected(&[&team, &other]));
    assert_eq!(
        members(format!("/v1.0/groups/{all}/transitiveMembers")).await,
        expected(&[&team, &other, &part, &user])
    );
    assert_eq!(members(format!("/v1.0/users/{user}/memberOf")).await, expected(&[&part]));
    let (_, client, principal, _) = tenant.client("tool").await;
    assert_eq!(add(&team, &principal).await.status, 204);
    let path = format!("/v1.0/servicePrincipals(appId='{client}')/memberOf");
    assert_eq!(members(path).await, expected(&[&team]));
    assert_eq!(tenant.delete(&format!("/v1.0/groups/{team}/members/{principal}/$ref")).await.status, 204);
    let path = "/v1.0/users/ada@contoso.example/transitiveMemberOf".to_owned();
    assert_eq!(members(path).await, expected(&[&part, &team, &all]));
    let groups =
        tenant.post(&format!("/v1.0/users/{user}/getMemberGroups"), json!({ "securityEnabledOnly": true })).await;
    assert_eq!(groups.body["value"].as_array().unwrap().len(), 3);
    let asked = json!({ "groupIds": [team, Uuid::from_u128(5)] });
    let checked = tenant.post(&format!("/v1.0/directoryObjects/{user}/checkMemberGroups"), asked).await;
    assert_eq!(checked.body["value"], json!([team]));
    // Pages of members.
    let first = tenant.get(&format!("/v1.0/groups/{all}/members?$top=1&$select=id")).await;
    let next = first.body["@odata.nextLink"].as_str().unwrap().strip_prefix(AUTHORITY).unwrap();
    assert!(first.body["value"][0].get("displayName").is_none() && first.body["value"][0]["@odata.type"].is_string());
    let second = tenant.get(next).await;
    assert_eq!(sorted([first.each("id"), second.each("id")].concat()), expected(&[&team, &other]));
    assert!(second.body.get("@odata.nextLink").is_none());
    assert_eq!(tenant.delete(&format!("/v1.0/groups/{part}/members/{user}/$ref")).await.status, 204);
    assert_eq!(tenant.delete(&format!("/v1.0/groups/{part}/members/{user}/$ref")).await.status, 404);
    assert_eq!(members(format!("/v1.0/groups/{all}/transitiveMembers")).await, expected(&[&team, &other, &part]));
    // Owners.
    let owner = json!({ "@odata.id": format!("{AUTHORITY}/v1.0/users/{user}") });
    let owners = format!("/v1.0/groups/{all}/owners");
    assert_eq!(tenant.post(&format!("{owners}/$ref"), owner).await.status, 204);
    assert_eq!(members(owners.clone()).await, expected(&[&user]));
    assert_eq!(tenant.delete(&format!("{owners}/{user}/$ref")).await.status, 204);
    assert_eq!(members(owners).await, Vec::<String>::new());
}

/// A token that has no room for its groups says where they are; who goes there gets them.
#[tokio::test]
async fn the_link_of_a_token_with_too_many_groups_leads_to_them() {
    const MANY: u128 = 201;
    let tenant = Tenant::new().await;
    let (object, client, principal, _) = tenant.client("many").await;
    let path = format!("/v1.0/applications/{object}");
    assert_eq!(tenant.patch(&path, json!({ "groupMembershipClaims": "All" })).await.status, 204);
    let (id, member) = (tenant.id(), principal.parse().unwrap());
    let authorization = &tenant.server.authorize(id, SystemReason::SetUp);
    let since = authorization.now();
    let written = tenant.server.store.write(authorization, |tx| {
        Box::pin(async move {
            for n in 1..=MANY {
                let group = PrincipalId(Uuid::from_u128(n));
                let name = format!("g{n}");
                tx.insert(&Group {
                    tenant: id,
                    id: group,
                    display_name: name.clone(),
                    description: None,
                    mail_nickname: name,
                    owners: Vec::new(),
                    created: since,
                })
                .await?;
                tx.insert(&Membership { tenant: id, group, member, since }).await?;
            }
            Ok::<_, StoreError>(Write::commit("test", "test", ()))
        })
    });
    written.await.unwrap();
    let secret = tenant.post(&format!("{path}/addPassword"), json!({})).await.body["secretText"].clone();
    let token = tenant.token_of(&client, secret.as_str().unwrap(), &client).await;
    let claims = denizen_keys::b64::decode_url(token.split('.').nth(1).unwrap()).unwrap();
    let claims: AccessToken = serde_json::from_slice(&claims).unwrap();
    let link = claims.claim_sources.unwrap().src1.endpoint;
    let path = link.strip_prefix(AUTHORITY).unwrap();
    let only = json!({ "securityEnabledOnly": true });
    let mut found: Vec<Uuid> =
        serde_json::from_value(tenant.post(path, only.clone()).await.body["value"].take()).unwrap();
    found.sort();
    assert_eq!(found, (1..=MANY).map(Uuid::from_u128).collect::<Vec<_>>());
    // With roles of the directory where groups are not asked for alone.
    tenant.assign(&principal, "Directory Readers").await;
    tenant.assign(&principal, "Reader").await;
    for path in [path, &format!("/v1.0/servicePrincipals/{principal}/getMemberObjects")] {
        let count = async |body: Value| tenant.post(path, body).await.body["value"].as_array().unwrap().len();
        assert_eq!((count(only.clone()).await, count(json!({ "securityEnabledOnly": false })).await), (201, 202));
    }
    assert_eq!(tenant.post(path, json!({ "securityEnabledOnly": 5 })).await.status, 400);
    let nobody = format!("/v1.0/directoryObjects/{}/getMemberObjects", Uuid::from_u128(0xbad));
    assert_eq!(tenant.post(&nobody, only.clone()).await.status, 404);
    // Who asks without a role of the directory gets its own, as a user.
    let user = tenant.user("ada").await;
    let reference = json!({ "@odata.id": format!("{AUTHORITY}/v1.0/directoryObjects/{user}") });
    let group = Uuid::from_u128(1);
    assert_eq!(tenant.post(&format!("/v1.0/groups/{group}/members/$ref"), reference).await.status, 204);
    let token = tenant.token_of_user(&user, "User.Read").await;
    let mine = tenant.send_as(&token, Method::POST, "/v1.0/me/getMemberObjects", only.clone()).await;
    assert_eq!(mine.body["value"], json!([group]), "{}", mine.body);
    let path = format!("/v1.0/users/{user}/getMemberObjects");
    assert_eq!(tenant.send_as(&token, Method::POST, &path, only.clone()).await.status, 403);
    assert_eq!(tenant.post(&path, only.clone()).await.body["value"], json!([group]));
    assert_eq!(tenant.post("/v1.0/me/getMemberObjects", only).await.status, 400);
}

#[tokio::test]
async fn what_was_deleted_is_listed_restored_and_removed_for_good() {
    let tenant = Tenant::new().await;
    let (object, client, principal, token) = tenant.client("tool").await;
    let (user, group) = (tenant.user("ada").await, tenant.group("team").await);
    for path in [format!("applications/{object}"), format!("users/{user}"), format!("groups/{group}")] {
        assert_eq!(tenant.delete(&format!("/v1.0/{path}")).await.status, 204, "{path}");
        let gone = tenant.get(&format!("/v1.0/{path}")).await;
        assert_eq!((gone.status, gone.code()), (404, "Request_ResourceNotFound"), "{path}");
    }
    // Its principal went with it, and its token is worth nothing.
    assert_eq!(tenant.get(&format!("/v1.0/servicePrincipals/{principal}")).await.status, 404);
    assert_eq!(tenant.send_as(&token, Method::GET, "/v1.0/users", Value::Null).await.status, 401);
    for (kind, id) in [("user", &user), ("group", &group), ("application", &object), ("servicePrincipal", &principal)] {
        let listed = tenant.get(&format!("/v1.0/directory/deletedItems/microsoft.graph.{kind}")).await;
        assert_eq!(listed.each("id"), [id.as_str()], "{kind}");
        let one = tenant.get(&format!("/v1.0/directory/deletedItems/{id}")).await.body;
        assert!(
            one["deletedDateTime"].is_string() && one["@odata.type"] == format!("#microsoft.graph.{kind}"),
            "{one}"
        );
        assert!(!one.to_string().contains("argon2"), "{one}");
    }
    let early = tenant.post(&format!("/v1.0/directory/deletedItems/{principal}/restore"), Value::Null).await;
    assert!(early.status == 400 && early.message().contains("restore that first"), "{}", early.body);
    for id in [&object, &principal, &user] {
        let restored = tenant.post(&format!("/v1.0/directory/deletedItems/{id}/restore"), Value::Null).await;
        assert_eq!((restored.status, restored.id()), (200, id.clone()));
        assert_eq!(tenant.get(&format!("/v1.0/directory/deletedItems/{id}")).await.status, 404);
    }
    let found = tenant.get(&format!("/v1.0/servicePrincipals(appId='{client}')")).await;
    assert_eq!(found.id(), principal);
    // A token from before stays worth nothing.
    assert_eq!(tenant.send_as(&token, Method::GET, "/v1.0/users", Value::Null).await.status, 401);
    assert_eq!(tenant.delete(&format!("/v1.0/directory/deletedItems/{group}")).await.status, 204);
    let gone = tenant.post(&format!("/v1.0/directory/deletedItems/{group}/restore"), Value::Null).await;
    assert_eq!((gone.status, gone.code()), (404, "Request_ResourceNotFound"));
    // A name that was taken meanwhile.
    assert_eq!(tenant.delete(&format!("/v1.0/users/{user}")).await.status, 204);
    tenant.user("ada").await;
    let taken = tenant.post(&format!("/v1.0/directory/deletedItems/{user}/restore"), Value::Null).await;
    assert_eq!((taken.status, taken.code()), (409, "Request_MultipleObjectsWithSameKeyValue"));
    assert_eq!(tenant.get(&format!("/v1.0/directory/deletedItems/{user}")).await.status, 200, "it still lies there");
}

#[tokio::test]
async fn what_cannot_be_restored_any_more_is_not_shown() {
    const DAY: i64 = 24 * 3600;
    let tenant = Tenant::new().await;
    let authorization = tenant.server.authorize(tenant.id(), SystemReason::SetUp);
    for (n, age) in [(1, 29), (2, 31)] {
        let group = Group {
            tenant: tenant.id(),
            id: PrincipalId(Uuid::from_u128(n)),
            display_name: "g".to_owned(),
            description: None,
            mail_nickname: "g".to_owned(),
            owners: Vec::new(),
            created: authorization.now(),
        };
        let deleted = DeletedObject {
            tenant: tenant.id(),
            id: group.id.0,
            kind: DeletedKind::Group,
            display_name: "g".to_owned(),
            deleted: authorization.now() - age * DAY,
            record: serde_json::to_value(&group).unwrap(),
        };
        tenant.insert(&authorization, &deleted).await;
    }
    let [young, old] = [Uuid::from_u128(1), Uuid::from_u128(2)].map(|id| id.to_string());
    let listed = tenant.get("/v1.0/directory/deletedItems/microsoft.graph.group").await;
    assert_eq!(listed.each("id"), [young.as_str()]);
    assert_eq!(tenant.get(&format!("/v1.0/directory/deletedItems/{old}")).await.status, 404);
    let restored = tenant.post(&format!("/v1.0/directory/deletedItems/{old}/restore"), json!({})).await;
    assert_eq!(restored.status, 404, "{}", restored.body);
}

#[tokio::test]
async fn app_roles_and_scopes_are_given_and_taken() {
    let tenant = Tenant::new().await;
    let (resource_app, _, resource, _) = tenant.client("orders").await;
    let (_, client_id, client, _) = tenant.client("tool").await;
    let user = tenant.user("ada").await;
    let role = Uuid::from_u128(7);
    let roles = json!({ "appRoles": [{ "allowedMemberTypes": ["Application"], "displayName": "r", "description": "d", "id": role, "value": "R" }] });
    assert_eq!(tenant.patch(&format!("/v1.0/applications/{resource_app}"), roles).await.status, 204);
    let body =
        |principal: &str, role: Uuid| json!({ "principalId": principal, "resourceId": resource, "appRoleId": role });
    let path = format!("/v1.0/servicePrincipals/{resource}/appRoleAssignedTo");
    let given = tenant.made(&path, body(&client, role)).await;
    assert_eq!(
        (given["principalDisplayName"].as_str(), given["principalType"].as_str()),
        (Some("tool"), Some("ServicePrincipal"))
    );
    assert_eq!(given["resourceDisplayName"], "orders");
    for (body, says) in [
        (body(&client, role), "already exists"),
        (body(&client, Uuid::from_u128(6)), "was not found on application"),
        (body(&user, role), "was not found on application"),
    ] {
        let refused = tenant.post(&path, body).await;
        assert!(refused.status == 400 && refused.message().contains(says), "{}", refused.body);
    }
    // Access without a role, by the user's path.
    tenant.made(&format!("/v1.0/users/{user}/appRoleAssignments"), body(&user, Uuid::nil())).await;
    assert_eq!(tenant.get(&path).await.each("id").len(), 2);
    let by_name = tenant.get("/v1.0/users/ada@contoso.example/appRoleAssignments").await;
    assert_eq!(by_name.each("principalId"), [user.as_str()]);
    let of_client = format!("/v1.0/servicePrincipals(appId='{client_id}')/appRoleAssignments");
    assert_eq!(tenant.get(&of_client).await.each("appRoleId"), [role.to_string()]);
    let id = given["id"].as_str().unwrap();
    let elsewhere = tenant.delete(&format!("/v1.0/users/{user}/appRoleAssignments/{id}")).await;
    assert_eq!(elsewhere.status, 404, "it is not this user's");
    assert_eq!(tenant.delete(&format!("{path}/{id}")).await.status, 204);
    assert_eq!(tenant.get(&of_client).await.each("id").len(), 0);

    let grant = json!({ "clientId": client, "consentType": "AllPrincipals", "resourceId": resource, "scope": "Orders.Read  Orders.Read openid" });
    let made = tenant.made("/v1.0/oauth2PermissionGrants", grant.clone()).await;
    assert_eq!(made["scope"], "Orders.Read openid");
    assert_eq!(tenant.post("/v1.0/oauth2PermissionGrants", grant).await.status, 409);
    let path = format!("/v1.0/oauth2PermissionGrants/{}", made["id"].as_str().unwrap());
    assert_eq!(tenant.patch(&path, json!({ "scope": "openid" })).await.status, 204);
    assert_eq!(tenant.get(&path).await.body["scope"], "openid");
    for none in [json!({}), json!({ "scope": null })] {
        let refused = tenant.patch(&path, none.clone()).await;
        assert!(refused.status == 400 && refused.message().contains("'scope'"), "{none}: {}", refused.body);
        let mut new =
            json!({ "clientId": client, "consentType": "Principal", "principalId": user, "resourceId": resource });
        new.as_object_mut().unwrap().extend(none.as_object().unwrap().clone());
        assert_eq!(tenant.post("/v1.0/oauth2PermissionGrants", new).await.status, 400, "{none}");
    }
    for list in [
        format!("/v1.0/oauth2PermissionGrants?$filter=clientId eq '{client}' and consentType eq 'AllPrincipals'"),
        format!("/v1.0/servicePrincipals/{client}/oauth2PermissionGrants"),
    ] {
        assert_eq!(tenant.get(&list).await.each("scope"), ["openid"], "{list}");
    }
    assert_eq!(tenant.delete(&path).await.status, 204);
    assert_eq!(tenant.get(&path).await.status, 404);
}

#[tokio::test]
async fn objects_are_found_by_their_ids_alone() {
    let tenant = Tenant::new().await;
    let (object, _, principal, _) = tenant.client("tool").await;
    let (user, group) = (tenant.user("ada").await, tenant.group("team").await);
    let ids = json!([group, user, principal, object, user, Uuid::from_u128(5), "no id"]);
    let all = tenant.post("/v1.0/directoryObjects/getByIds", json!({ "ids": ids })).await;
    let types = ["group", "user", "servicePrincipal", "application"].map(|kind| format!("#microsoft.graph.{kind}"));
    assert_eq!(all.each("@odata.type"), types, "{}", all.body);
    let types = json!({ "ids": ids, "types": ["user", "group", "directoryObjectPartnerReference"] });
    assert_eq!(tenant.post("/v1.0/directoryObjects/getByIds", types).await.each("id"), [group, user.clone()]);
    let too_many = json!({ "ids": vec![user.clone(); 1001] });
    assert_eq!(tenant.post("/v1.0/directoryObjects/getByIds", too_many).await.status, 400);
    let one = tenant.get(&format!("/v1.0/directoryObjects/{user}")).await.body;
    assert_eq!(one["@odata.type"], "#microsoft.graph.user");
}

#[tokio::test]
async fn a_batch_answers_each_of_its_requests() {
    let tenant = Tenant::new().await;
    let batch = json!({ "requests": [
        { "id": "1", "method": "POST", "url": "/groups", "headers": { "Content-Type": "application/json" },
          "body": { "displayName": "team", "mailNickname": "team", "mailEnabled": false, "securityEnabled": true } },
        { "id": "2", "method": "GET", "url": "/groups?$filter=displayName eq 'team'", "dependsOn": ["1"] },
        { "id": "3", "method": "GET", "url": "/groups/nothing" },
        { "id": "4", "method": "GET", "url": "/groups", "dependsOn": ["3"] },
        { "id": "5", "method": "POST", "url": "/$batch", "body": { "requests": [] } },
        { "id": "6", "method": "GET", "url": "/me" },
        { "id": "7", "method": "GET", "url": "/../../admin" },
    ]});
    let answer = tenant.post("/v1.0/$batch", batch).await;
    let responses = answer.body["responses"].as_array().unwrap();
    let statuses: Vec<_> = responses.iter().map(|it| it["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [201, 200, 404, 424, 400, 400, 400], "{}", answer.body);
    assert_eq!(responses[1]["body"]["value"][0]["displayName"], "team");
    assert_eq!(responses[2]["body"]["error"]["code"], "Request_ResourceNotFound");
    // Who asks is who sends the batch.
    let (_, _, _, token) = tenant.client("powerless").await;
    let bearer = format!("Bearer {}", tenant.token);
    let requests = json!({ "requests": [{ "id": "1", "method": "GET", "url": "/users", "headers": { "Authorization": bearer } }] });
    let refused = tenant.send_as(&token, Method::POST, "/v1.0/$batch", requests).await;
    assert_eq!(refused.body["responses"][0]["status"], 403, "{}", refused.body);
    for (batch, says) in [
        (json!({ "requests": [] }), "1 to 20"),
        (json!({ "requests": vec![json!({ "id": "1", "method": "GET", "url": "/me" }); 21] }), "1 to 20"),
        (json!({ "requests": vec![json!({ "id": "1", "method": "GET", "url": "/me" }); 2] }), "twice"),
        (json!({ "requests": [{ "id": "1", "method": "GET", "url": "/me", "dependsOn": ["2"] }] }), "before"),
        (json!({}), "'requests'"),
    ] {
        let refused = tenant.post("/v1.0/$batch", batch).await;
        assert!(refused.status == 400 && refused.message().contains(says), "{}", refused.body);
    }
}

#[tokio::test]
async fn a_batch_stops_where_its_replies_are_large() {
    let tenant = Tenant::new().await;
    let role = |n: u128| {
        json!({
            "allowedMemberTypes": ["User"], "id": Uuid::from_u128(n), "value": format!("r{n}"), "displayName": "r",
            "description": "d".repeat(1000),
        })
    };
    let roles: Vec<_> = (1..=190).map(role).collect();
    let new = json!({ "displayName": "large", "appRoles": roles });
    let path = format!("/applications/{}", tenant.made("/v1.0/applications", new).await["id"].as_str().unwrap());
    let get = |id: u32, url: &str| json!({ "id": id.to_string(), "method": "GET", "url": url });
    let requests: Vec<_> = (0..20).map(|id| get(id, &path)).collect();
    let answer = tenant.post("/v1.0/$batch", json!({ "requests": requests })).await.body;
    let statuses: Vec<_> = answer["responses"].as_array().unwrap().iter().map(|it| it["status"].clone()).collect();
    let run = statuses.iter().position(|status| *status != 200).unwrap();
    assert!((15..20).contains(&run) && statuses[run..].iter().all(|status| *status == 429), "{statuses:?}");
    let last = &answer["responses"][19];
    assert_eq!(
        (&last["headers"]["retry-after"], &last["body"]["error"]["code"]),
        (&json!("1"), &json!("TooManyRequests"))
    );
}

#[tokio::test]
async fn federated_credentials_are_kept_as_tools_send_them() {
    let tenant = Tenant::new().await;
    let (object, _, principal, _) = tenant.client("pipeline").await;
    let epoch = || tenant.server.store.snapshot().principal(tenant.id(), principal.parse().unwrap()).unwrap().epoch;
    let at = format!("/v1.0/applications/{object}/federatedIdentityCredentials");
    // This tenant is an issuer that can be asked without dialling anybody.
    let issuer = format!("{AUTHORITY}/{}/v2.0", tenant.id());
    let new = json!({
        "name": "of-main", "issuer": issuer, "subject": "repo:contoso/app:ref:refs/heads/main", "audiences": ["api://AzureADTokenExchange"],
    });
    let made = tenant.made(&at, new.clone()).await;
    assert_eq!((made["name"].as_str(), made["subject"].as_str()), (Some("of-main"), new["subject"].as_str()));
    assert_eq!(tenant.post(&at, new.clone()).await.status, 400, "the name is taken");
    assert_eq!(tenant.get(&at).await.each("name"), ["of-main"]);
    for which in ["of-main", made["id"].as_str().unwrap()] {
        assert_eq!(tenant.get(&format!("{at}/{which}")).await.body["issuer"], issuer.as_str(), "{which}");
    }
    assert_eq!(tenant.get(&format!("{at}/nobody")).await.status, 404);
    // It keeps its id. What tokens it was good for is over where it is for others; for people's words nothing is revoked.
    let second = json!({ "name": "second", "issuer": issuer, "subject": "second" });
    tenant.made(&at, second).await;
    let one = format!("{at}/{}", made["id"].as_str().unwrap());
    assert_eq!(tenant.patch(&one, json!({ "description": "words", "name": "of-main" })).await.status, 204);
    assert_eq!(epoch(), 0);
    let changed = tenant.patch(&one, json!({ "subject": "another", "description": "x" })).await;
    assert_eq!(changed.status, 204, "{}", changed.body);
    assert_eq!(epoch(), 1);
    let shown = tenant.get(&format!("{at}/of-main")).await.body;
    assert_eq!((&shown["subject"], &shown["id"]), (&json!("another"), &made["id"]));
    assert_eq!(tenant.get(&at).await.each("name"), ["of-main", "second"]);
    for (change, says) in [
        (json!({ "name": "other" }), "'name'"),
        (json!({ "subject": "second" }), "listed once"),
        (json!({ "issuer": "http://issuer.example" }), "issuer"),
    ] {
        let refused = tenant.patch(&one, change.clone()).await;
        assert!(refused.status == 400 && refused.message().contains(says), "{change}: {}", refused.body);
    }
    assert_eq!(tenant.patch(&format!("{at}/nobody"), json!({ "subject": "s" })).await.status, 404);
    assert_eq!(tenant.delete(&format!("{at}/nobody")).await.status, 404);
    assert_eq!(tenant.delete(&format!("{at}/second")).await.status, 204);
    assert_eq!(epoch(), 2);
    let expression = json!({ "value": "claims['sub'] eq 's'", "languageVersion": 1 });
    for (wrong, says) in [
        (json!({ "name": "x", "issuer": issuer, "subject": "s" }), "the name must be 3 to 120"),
        (json!({ "name": "no-issuer", "subject": "s" }), "send 'issuer'"),
        (json!({ "name": "plain", "issuer": "http://issuer.example", "subject": "s" }), "https"),
        (json!({ "name": "nobody", "issuer": issuer }), "send 'subject'"),
        (
            json!({ "name": "two", "issuer": issuer, "subject": "s", "claimsMatchingExpression": expression }),
            "exclude each other",
        ),
    ] {
        let refused = tenant.post(&at, wrong.clone()).await;
        assert_eq!((refused.status, refused.code()), (400, "Request_BadRequest"), "{wrong}");
        assert!(refused.message().contains(says), "{wrong}: {}", refused.message());
    }
    // An administrator's application is changed by who may make administrators.
    let (_, _, keeper, of_apps) = tenant.client("keeper").await;
    tenant.assign(&keeper, "Application Administrator").await;
    let of_chief = format!("/v1.0/applications(appId='{}')/federatedIdentityCredentials", tenant.plan.client());
    tenant.made(&of_chief, new.clone()).await;
    for (method, path, body) in [
        (Method::POST, of_chief.clone(), json!({ "name": "mine", "issuer": issuer, "subject": "mine" })),
        (Method::PATCH, format!("{of_chief}/of-main"), json!({ "subject": "mine" })),
        (Method::DELETE, format!("{of_chief}/of-main"), Value::Null),
    ] {
        let refused = tenant.send_as(&of_apps, method.clone(), &path, body).await;
        assert_eq!(
            (refused.status, refused.code()),
            (403, "Authorization_RequestDenied"),
            "{method}: {}",
            refused.body
        );
    }
    assert_eq!(tenant.get(&of_chief).await.each("subject"), [new["subject"].as_str().unwrap()]);
    assert_eq!(tenant.send_as(&of_apps, Method::DELETE, &format!("{at}/of-main"), Value::Null).await.status, 204);
    assert_eq!(tenant.get(&at).await.each("name").len(), 0);
}

#[test]
fn who_comes_while_too_many_passwords_are_hashed_is_told_when_to_come_back() {
    let (peer, now, id) = (([127, 0, 0, 1], 5).into(), Clock::system().now(), Uuid::from_u128(1));
    let uri = "/v1.0/users".parse().unwrap();
    let call = Call::new(Method::POST, &uri, HeaderMap::new(), Body::Bytes(Bytes::new()), peer, now, id);
    let reply = Fault::from(DirectoryError::from(ChangeError::Busy)).write(&call);
    assert_eq!((reply.status().as_u16(), &reply.headers()["retry-after"]), (503, &HeaderValue::from_static("1")));
}
