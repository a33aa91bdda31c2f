//! Who may do what: without a token, without a role, with each role; and what the audit says of it.

use super::*;

#[tokio::test]
async fn strangers_and_the_powerless_are_refused_and_told_what_is_missing() {
    let tenant = Tenant::new().await;
    let none = tenant.raw(Method::GET, "/v1.0/users", &[], String::new()).await;
    assert_eq!((none.status, none.code()), (401, "InvalidAuthenticationToken"));
    assert!(none.headers["www-authenticate"].to_str().unwrap().starts_with("Bearer "), "{:?}", none.headers);
    assert_eq!(tenant.send_as("nonsense", Method::GET, "/v1.0/users", Value::Null).await.status, 401);
    // A token for another resource.
    let (client, secret) = (tenant.plan.client().to_string(), tenant.plan.secret().expose());
    let for_vault = tenant.token_of(&client, secret, "https://vault.azure.net").await;
    let refused = tenant.send_as(&for_vault, Method::GET, "/v1.0/users", Value::Null).await;
    assert!(refused.status == 401 && refused.message().contains("Invalid audience"), "{}", refused.body);
    let (_, _, _, token) = tenant.client("powerless").await;
    let denied = tenant.send_as(&token, Method::GET, "/v1.0/users", Value::Null).await;
    assert_eq!((denied.status, denied.code()), (403, "Authorization_RequestDenied"));
    assert!(denied.message().contains("'microsoft.directory/users/standard/read'"), "{}", denied.message());
    assert!(denied.message().contains("'Directory Readers'"), "{}", denied.message());
    // What is there and what is not are refused alike.
    let user = tenant.user("ada").await;
    for id in [user, Uuid::from_u128(5).to_string()] {
        let hidden = tenant.send_as(&token, Method::GET, &format!("/v1.0/users/{id}"), Value::Null).await;
        assert_eq!((hidden.status, hidden.message()), (403, denied.message()));
    }
    let me = tenant.get("/v1.0/me").await;
    assert!(me.status == 400 && me.message().contains("delegated authentication flow"), "{}", me.body);
}

#[tokio::test]
async fn roles_for_resources_give_nothing_in_the_directory() {
    let tenant = Tenant::new().await;
    let (object, _, principal, token) = tenant.client("owner").await;
    let (user, group) = (tenant.user("ada").await, tenant.group("team").await);
    tenant.assign(&principal, "Owner").await;
    assert_eq!(
        tenant.server.store.snapshot().assignments_of(tenant.id(), principal.parse().unwrap()).len(),
        1,
        "it is assigned"
    );
    for (list, id) in
        [("users", &user), ("groups", &group), ("applications", &object), ("servicePrincipals", &principal)]
    {
        let (list, one) = (format!("/v1.0/{list}"), format!("/v1.0/{list}/{id}"));
        for (method, path, body) in [
            (Method::GET, &list, Value::Null),
            (Method::POST, &list, json!({ "displayName": "x" })),
            (Method::GET, &one, Value::Null),
            (Method::PATCH, &one, json!({ "displayName": "x" })),
            (Method::DELETE, &one, Value::Null),
        ] {
            let denied = tenant.send_as(&token, method.clone(), path, body).await;
            assert_eq!((denied.status, denied.code()), (403, "Authorization_RequestDenied"), "{method} {path}");
        }
        assert_eq!(tenant.get(&one).await.status, 200, "{one} is still there");
    }
    // A role of the directory, assigned in the same way, is one.
    tenant.assign(&principal, "Directory Readers").await;
    assert_eq!(tenant.send_as(&token, Method::GET, "/v1.0/users", Value::Null).await.status, 200);
}

#[tokio::test]
async fn each_role_reaches_what_it_is_for() {
    let tenant = Tenant::new().await;
    let new = |name: &str| {
        [
            ("/v1.0/applications", json!({ "displayName": name })),
            (
                "/v1.0/groups",
                json!({ "displayName": name, "mailNickname": name, "mailEnabled": false, "securityEnabled": true }),
            ),
            (
                "/v1.0/users",
                json!({
                    "accountEnabled": true, "displayName": name, "mailNickname": name,
                    "userPrincipalName": format!("{name}@contoso.example"), "passwordProfile": { "password": "correct horse" },
                }),
            ),
        ]
    };
    for (role, may) in [
        ("Directory Readers", [403, 403, 403]),
        ("Groups Administrator", [403, 201, 403]),
        ("User Administrator", [403, 201, 201]),
        ("Application Administrator", [201, 403, 403]),
        ("Global Administrator", [201, 201, 201]),
    ] {
        let name = role.to_lowercase().replace(' ', "-");
        let (_, _, principal, token) = tenant.client(&name).await;
        tenant.assign(&principal, role).await;
        for (path, _) in new(&name) {
            assert_eq!(tenant.send_as(&token, Method::GET, path, Value::Null).await.status, 200, "{role} reads {path}");
        }
        let mut did = Vec::new();
        for (path, body) in new(&name) {
            did.push(tenant.send_as(&token, Method::POST, path, body).await.status);
        }
        assert_eq!(did, may, "{role}");
    }
}

/// Nobody gets at a role of the directory by way of who has it.
#[tokio::test]
async fn who_has_a_role_is_changed_by_who_may_give_it_only() {
    let tenant = Tenant::new().await;
    let (_, _, users_admin, of_users) = tenant.client("users-admin").await;
    tenant.assign(&users_admin, "User Administrator").await;
    let (_, _, apps_admin, of_apps) = tenant.client("apps-admin").await;
    tenant.assign(&apps_admin, "Application Administrator").await;
    // A group that has one, and a group within it.
    let (admins, inner) = (tenant.group("admins").await, tenant.group("inner").await);
    let reference = |id: &str| json!({ "@odata.id": format!("{AUTHORITY}/v1.0/directoryObjects/{id}") });
    let chief = tenant.user("chief").await;
    for member in [&inner, &chief] {
        assert_eq!(tenant.post(&format!("/v1.0/groups/{admins}/members/$ref"), reference(member)).await.status, 204);
    }
    tenant.assign(&admins, "Global Administrator").await;
    let is_denied = |answer: Answer| {
        assert_eq!((answer.status, answer.code()), (403, "Authorization_RequestDenied"), "{}", answer.body);
        assert!(answer.message().contains("roleAssignments/allProperties/allTasks"), "{}", answer.message());
    };
    for group in [&admins, &inner] {
        let path = format!("/v1.0/groups/{group}/members/$ref");
        is_denied(tenant.send_as(&of_users, Method::POST, &path, reference(&users_admin)).await);
    }
    let path = format!("/v1.0/users/{chief}");
    let password = json!({ "passwordProfile": { "password": "another horse" } });
    is_denied(tenant.send_as(&of_users, Method::PATCH, &path, password).await);
    is_denied(tenant.send_as(&of_users, Method::DELETE, &path, Value::Null).await);
    let administrator = tenant.plan.client();
    let path = format!("/v1.0/applications(appId='{administrator}')/addPassword");
    is_denied(tenant.send_as(&of_apps, Method::POST, &path, json!({})).await);
    // Where its browsers are sent, and whether it needs its secret, is as good as the secret.
    let path = format!("/v1.0/applications(appId='{administrator}')");
    let elsewhere = json!({ "isFallbackPublicClient": true, "web": { "redirectUris": ["https://evil.example/cb"] } });
    is_denied(tenant.send_as(&of_apps, Method::PATCH, &path, elsewhere).await);
    let path = format!("/v1.0/servicePrincipals(appId='{administrator}')/addPassword");
    is_denied(tenant.send_as(&of_apps, Method::POST, &path, json!({})).await);
    is_denied(
        tenant
            .send_as(&of_apps, Method::DELETE, &format!("/v1.0/applications(appId='{administrator}')"), Value::Null)
            .await,
    );
    // What was refused has changed nothing.
    let kept = tenant.get(&format!("/v1.0/applications(appId='{administrator}')")).await.body;
    assert_eq!((&kept["isFallbackPublicClient"], &kept["web"]["redirectUris"]), (&json!(false), &json!([])));
    assert_eq!(kept["passwordCredentials"].as_array().unwrap().len(), 1);
    assert_eq!(tenant.get(&format!("/v1.0/users/{chief}")).await.status, 200);
    assert_eq!(tenant.get(&format!("/v1.0/groups/{inner}/members")).await.each("id").len(), 0);
    // Everybody else is theirs to change, and the administrator may change these.
    let ordinary = tenant.user("ordinary").await;
    assert_eq!(
        tenant.send_as(&of_users, Method::DELETE, &format!("/v1.0/users/{ordinary}"), Value::Null).await.status,
        204
    );
    assert_eq!(tenant.delete(&format!("/v1.0/users/{chief}")).await.status, 204);
}

/// What a client was granted for a user, it does by the roles of that user.
#[tokio::test]
async fn nobody_consents_in_the_name_of_who_has_more_roles() {
    let tenant = Tenant::new().await;
    let (_, _, apps_admin, of_apps) = tenant.client("apps-admin").await;
    tenant.assign(&apps_admin, "Application Administrator").await;
    let (_, _, client, _) = tenant.client("tool").await;
    let (_, _, resource, _) = tenant.client("orders").await;
    let (chief, ordinary) = (tenant.user("chief").await, tenant.user("ordinary").await);
    tenant.assign(&chief, "Global Administrator").await;
    let of = |user: &str, scope: &str| {
        json!({
            "clientId": client, "consentType": "Principal", "principalId": user, "resourceId": resource, "scope": scope,
        })
    };
    let path = "/v1.0/oauth2PermissionGrants";
    let is_denied = |answer: &Answer| {
        assert_eq!((answer.status, answer.code()), (403, "Authorization_RequestDenied"), "{}", answer.body);
    };
    is_denied(&tenant.send_as(&of_apps, Method::POST, path, of(&chief, "a")).await);
    assert_eq!(tenant.get(path).await.each("id").len(), 0);
    // What an administrator of its rank has granted, nobody below widens.
    let made = tenant.made(path, of(&chief, "a")).await;
    let one = format!("{path}/{}", made["id"].as_str().unwrap());
    is_denied(&tenant.send_as(&of_apps, Method::PATCH, &one, json!({ "scope": "a b" })).await);
    assert_eq!(tenant.get(&one).await.body["scope"], "a");
    assert_eq!(tenant.patch(&one, json!({ "scope": "a c" })).await.status, 204);
    // For everybody else it is theirs to do.
    let made = tenant.send_as(&of_apps, Method::POST, path, of(&ordinary, "a")).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let one = format!("{path}/{}", made.id());
    assert_eq!(tenant.send_as(&of_apps, Method::PATCH, &one, json!({ "scope": "a b" })).await.status, 204);
    assert_eq!(tenant.get(&one).await.body["scope"], "a b");
}

#[tokio::test]
async fn d34_one_tenants_administrator_sees_nothing_of_another() {
    let tenant = Tenant::new().await;
    let other = TenantId(Uuid::from_u128(0xb0b));
    let set_up = || tenant.server.authorize(other, SystemReason::SetUp);
    tenant.server.directory.create_tenant(&set_up(), "other.example", "Other").await.unwrap();
    let (app, principal) = tenant.server.directory.create_application(&set_up(), "theirs").await.unwrap();
    for (path, of_delete) in [
        (format!("/v1.0/applications/{}", app.object_id), (404, "Request_ResourceNotFound")),
        (format!("/v1.0/applications(appId='{}')", app.client_id), (404, "Request_ResourceNotFound")),
        (format!("/v1.0/servicePrincipals/{}", principal.id), (404, "Request_ResourceNotFound")),
        (format!("/v1.0/directoryObjects/{}", principal.id), (405, "Request_BadRequest")),
    ] {
        let hidden = tenant.get(&path).await;
        assert_eq!((hidden.status, hidden.code()), (404, "Request_ResourceNotFound"), "{path}");
        let kept = tenant.delete(&path).await;
        assert_eq!((kept.status, kept.code()), of_delete, "{path}");
    }
    let snapshot = tenant.server.store.snapshot();
    assert!(snapshot.application(other, app.client_id).is_some() && snapshot.principal(other, principal.id).is_some());
    let filter = format!("/v1.0/applications?$filter=appId eq '{}'", app.client_id);
    assert_eq!(tenant.get(&filter).await.each("id").len(), 0);
    let ids = json!({ "ids": [principal.id, app.object_id] });
    assert_eq!(tenant.post("/v1.0/directoryObjects/getByIds", ids).await.each("id").len(), 0);
    let group = tenant.group("ours").await;
    let reference = json!({ "@odata.id": format!("{AUTHORITY}/v1.0/directoryObjects/{}", principal.id) });
    assert_eq!(tenant.post(&format!("/v1.0/groups/{group}/members/$ref"), reference).await.status, 404);
}

#[tokio::test]
async fn what_is_read_changed_and_refused_is_in_the_audit() {
    let tenant = Tenant::new().await;
    let (_, _, _, token) = tenant.client("powerless").await;
    tenant.get("/v1.0/users").await;
    tenant.send_as(&token, Method::DELETE, "/v1.0/groups/x", Value::Null).await;
    let audited = tenant.audited().await;
    for (action, outcome) in [
        ("users/standard/read", "Allowed"),
        ("applications/create", "Allowed"),
        ("applications/credentials/update", "Allowed"),
        ("groups/delete", "Refused"),
    ] {
        let expected = (format!("microsoft.directory/{action}"), outcome.to_owned());
        assert!(audited.contains(&expected), "{expected:?} in {audited:?}");
    }
}

#[tokio::test]
async fn a_user_sees_itself_and_what_its_roles_give() {
    let tenant = Tenant::new().await;
    let id = tenant.user("ada").await;
    let reads = tenant.token_of_user(&id, "User.Read").await;
    let acts = tenant.token_of_user(&id, "user_impersonation").await;
    for token in [&reads, &acts] {
        let me = tenant.send_as(token, Method::GET, "/beta/me?$select=id,displayName", Value::Null).await;
        assert_eq!((me.status, me.id()), (200, id.clone()), "{}", me.body);
        assert!(
            me.body.get("mail").is_none()
                && me.body["@odata.context"] == format!("{AUTHORITY}/beta/$metadata#users/$entity")
        );
        let denied = tenant.send_as(token, Method::GET, "/v1.0/users", Value::Null).await;
        assert_eq!((denied.status, denied.code()), (403, "Authorization_RequestDenied"));
    }
    // Who has signed in somewhere has not let that client see the directory.
    let signed_in = tenant.token_of_user(&id, "openid profile").await;
    for (method, path) in [(Method::GET, "/v1.0/me"), (Method::POST, "/v1.0/me/getMemberObjects")] {
        let denied = tenant.send_as(&signed_in, method, path, json!({})).await;
        assert!(denied.status == 403 && denied.message().contains("User.Read"), "{path}: {}", denied.body);
    }
    tenant.assign(&id, "Directory Readers").await;
    assert_eq!(tenant.send_as(&acts, Method::GET, "/v1.0/users", Value::Null).await.status, 200);
    // A client that was not granted to act for the user does nothing by the user's roles.
    let denied = tenant.send_as(&reads, Method::GET, "/v1.0/users", Value::Null).await;
    assert!(denied.status == 403 && denied.message().contains("user_impersonation"), "{}", denied.body);
    // Revoked: no token of before is believed.
    tenant.post(&format!("/v1.0/users/{id}/revokeSignInSessions"), Value::Null).await;
    assert_eq!(tenant.send_as(&acts, Method::GET, "/v1.0/me", Value::Null).await.status, 401);
    let audited = tenant.audited().await;
    for outcome in ["Allowed", "Refused"] {
        let recorded = ("microsoft.directory/users/me/read".to_owned(), outcome.to_owned());
        assert!(audited.contains(&recorded), "{outcome}: {audited:?}");
    }
}

#[tokio::test]
async fn nobody_takes_the_name_of_another_resource() {
    let tenant = Tenant::new().await;
    let (object, client, _, _) = tenant.client("taker").await;
    let path = format!("/v1.0/applications/{object}");
    let anothers = format!("api://{}", Uuid::from_u128(0xbad));
    for uri in [
        "https://graph.microsoft.com",
        "https://VAULT.azure.net/",
        "https://ossrdbms-aad.database.windows.net",
        // Of this deployment: its directory, and its vaults with their port and without.
        AUTHORITY,
        "HTTPS://localhost:8443/",
        "https://vault.denizen.test:8444",
        "https://vault.denizen.test",
        "https://Vault.Denizen.test:443/",
        &anothers,
    ] {
        let refused = tenant.patch(&path, json!({ "identifierUris": [uri] })).await;
        assert!(refused.status == 400 && refused.message().contains("another resource"), "{uri}: {}", refused.body);
    }
    let own = tenant.patch(&path, json!({ "identifierUris": [format!("api://{client}"), "api://taker"] })).await;
    assert_eq!(own.status, 204, "{}", own.body);
    // Not at its making either; and a token for such a name is one for the resource of ours, which no application is.
    let new = json!({ "displayName": "b", "identifierUris": ["https://vault.denizen.test"] });
    assert_eq!(tenant.post("/v1.0/applications", new).await.status, 400);
    let (client, secret) = (tenant.plan.client().to_string(), tenant.plan.secret().expose());
    for resource in ["https://vault.denizen.test", "https://vault.denizen.test:8444", AUTHORITY] {
        tenant.token_of(&client, secret, resource).await;
    }
}

#[tokio::test]
async fn a_role_of_the_directory_does_not_come_back_with_who_was_deleted() {
    let tenant = Tenant::new().await;
    let (_, _, principal, _) = tenant.client("chief").await;
    tenant.assign(&principal, "Global Administrator").await;
    let of = |id: &str| id.parse().unwrap();
    let given = |id: &str| {
        let snapshot = tenant.server.store.snapshot();
        snapshot.assignments_of(tenant.id(), of(id)).len()
    };
    assert_eq!(given(&principal), 1);
    assert_eq!(tenant.delete(&format!("/v1.0/servicePrincipals/{principal}")).await.status, 204);
    assert_eq!(tenant.post(&format!("/v1.0/directory/deletedItems/{principal}/restore"), json!({})).await.status, 200);
    assert_eq!(given(&principal), 0);
}

#[tokio::test]
async fn a_role_of_a_group_does_not_come_back_with_who_was_in_it() {
    let tenant = Tenant::new().await;
    let [admins, inner, team] = [tenant.group("admins").await, tenant.group("inner").await, tenant.group("team").await];
    let (direct, nested) = (tenant.user("direct").await, tenant.user("nested").await);
    for (group, member) in
        [(&admins, &inner), (&admins, &direct), (&inner, &nested), (&team, &direct), (&team, &inner), (&team, &nested)]
    {
        let reference = json!({ "@odata.id": format!("{AUTHORITY}/v1.0/directoryObjects/{member}") });
        assert_eq!(tenant.post(&format!("/v1.0/groups/{group}/members/$ref"), reference).await.status, 204);
    }
    tenant.assign(&admins, "Global Administrator").await;
    let groups_of = async |kind: &str, id: &str| {
        let mut ids = tenant.get(&format!("/v1.0/{kind}/{id}/transitiveMemberOf")).await.each("id");
        ids.sort();
        ids
    };
    for (kind, id) in [("users", &direct), ("users", &nested), ("groups", &inner)] {
        assert!(groups_of(kind, id).await.contains(&admins));
        assert_eq!(tenant.delete(&format!("/v1.0/{kind}/{id}")).await.status, 204);
        let restored = tenant.post(&format!("/v1.0/directory/deletedItems/{id}/restore"), json!({})).await;
        assert_eq!(restored.status, 200, "{}", restored.body);
        assert_eq!(groups_of(kind, id).await, [team.as_str()], "{kind}: it is where it was but for what ranks");
    }
    assert_eq!(tenant.get(&format!("/v1.0/groups/{admins}/members")).await.each("id").len(), 0);
}
