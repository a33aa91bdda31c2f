//! Microsoft Graph over the wire, as tools use it: what `az ad sp create-for-rbac` asks, and a program that reads by what came of
//! it.

use serde_json::{Value, json};

use crate::{
    dev::Dev,
    sandbox::Sandbox,
    wire::{Answer, encoded},
};

/// A request with a token and a body in JSON.
async fn ask(dev: &Dev<'_>, token: &str, method: &str, path: &str, body: Option<Value>) -> Answer {
    let url = format!("{}{path}", dev.fact("/authority"));
    let bearer = format!("Bearer {token}");
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
    let body = body.map(|body| body.to_string());
    dev.wire.send(method, &url, &headers, body.as_deref()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_principal_is_made_and_given_a_role_of_the_directory() {
    let sandbox = Sandbox::new().await;
    let dev = Dev::start(&sandbox).await;
    let admin = dev.admin_token(dev.fact("/authority")).await;
    let find = |noun: &str, filter: &str| format!("/v1.0/{noun}?$filter={}", encoded(filter));
    let none = ask(&dev, &admin, "GET", &find("servicePrincipals", "displayName eq 'reader'"), None).await.expect(200);
    assert_eq!(none.json()["value"], json!([]));
    let app = json!({ "displayName": "reader", "keyCredentials": [] });
    let app = ask(&dev, &admin, "POST", "/v1.0/applications", Some(app)).await.expect(201).json();
    let client = app["appId"].as_str().unwrap();
    let path = format!("/v1.0/applications/{}/addPassword", app["id"].as_str().unwrap());
    let named = json!({ "passwordCredential": { "displayName": "rbac" } });
    let secret = ask(&dev, &admin, "POST", &path, Some(named)).await.expect(200).text("/secretText");
    let principal = json!({ "appId": client, "accountEnabled": true });
    let principal = ask(&dev, &admin, "POST", "/v1.0/servicePrincipals", Some(principal)).await.expect(201).json();
    let token = async |resource: &str| {
        let fields = [
            ("grant_type", "client_credentials"),
            ("client_id", client),
            ("client_secret", &secret),
            ("scope", &format!("{resource}/.default")),
        ];
        dev.wire.form(&dev.token_url("/v2.0"), &fields).await.expect(200).text("/access_token")
    };
    // Whoever calls the resource by Microsoft's name and whoever calls it by this server's are answered alike.
    for resource in ["https://graph.microsoft.com", dev.fact("/authority")] {
        let denied = ask(&dev, &token(resource).await, "GET", "/v1.0/users", None).await.expect(403);
        assert_eq!(denied.text("/error/code"), "Authorization_RequestDenied");
        assert!(denied.text("/error/message").contains("Directory Readers"), "{denied:?}");
    }
    let for_vault = token("https://vault.azure.net").await;
    ask(&dev, &for_vault, "GET", "/v1.0/users", None).await.expect(401);

    // The machine that dev enrolled has a managed identity, and no application.
    let machines = find("servicePrincipals", "servicePrincipalType eq 'ManagedIdentity'");
    let found = ask(&dev, &admin, "GET", &machines, None).await.expect(200).json();
    assert_eq!(found["value"][0]["appId"].as_str().unwrap(), dev.fact("/machine/client_id"));
    assert_eq!(found["value"][0]["id"].as_str().unwrap(), dev.fact("/machine/principal_id"));
    let path = format!("/v1.0/servicePrincipals/{}", dev.fact("/machine/principal_id"));
    let refused = ask(&dev, &admin, "DELETE", &path, None).await.expect(400);
    assert!(refused.text("/error/message").contains("managed identity"), "{refused:?}");

    // What was deleted gets no token any more, and gets one again once it is restored.
    let path = format!("/v1.0/applications/{}", app["id"].as_str().unwrap());
    ask(&dev, &admin, "DELETE", &path, None).await.expect(204);
    let fields = [
        ("grant_type", "client_credentials"),
        ("client_id", client),
        ("client_secret", &secret),
        ("scope", "https://graph.microsoft.com/.default"),
    ];
    let refused = dev.wire.form(&dev.token_url("/v2.0"), &fields).await.expect(400);
    assert_eq!(refused.json()["error_codes"], json!([700_016]), "{refused:?}");
    let gone = ask(&dev, &admin, "GET", "/v1.0/directory/deletedItems/microsoft.graph.application", None).await;
    assert_eq!(gone.expect(200).json()["value"][0]["appId"].as_str(), Some(client));
    for id in [&app["id"], &principal["id"]] {
        let path = format!("/v1.0/directory/deletedItems/{}/restore", id.as_str().unwrap());
        ask(&dev, &admin, "POST", &path, Some(json!({}))).await.expect(200);
    }
    dev.wire.form(&dev.token_url("/v2.0"), &fields).await.expect(200);
}
