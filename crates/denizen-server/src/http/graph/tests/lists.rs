//! Options of lists as clients send them, pages, and what is refused.

use super::*;

#[tokio::test]
async fn pages_follow_each_other_by_their_links() {
    let tenant = Tenant::new().await;
    for n in 0..7 {
        tenant.group(&format!("g{n}")).await;
    }
    let mut path = "/v1.0/groups?$top=3&$select=id,displayName&$filter=startswith(displayName,'g')".to_owned();
    let (mut names, mut pages) = (Vec::new(), 0);
    loop {
        let page = tenant.get(&path).await;
        assert!(page.each("displayName").len() <= 3);
        assert!(page.body["value"][0].get("description").is_none(), "only what is selected: {}", page.body);
        names.extend(page.each("displayName"));
        pages += 1;
        match page.body["@odata.nextLink"].as_str() {
            Some(next) => path = next.strip_prefix(AUTHORITY).unwrap().to_owned(),
            None => break,
        }
    }
    assert_eq!((names, pages), ((0..7).map(|n| format!("g{n}")).collect(), 3));
    // A link is good for its own list.
    let first = tenant.get("/v1.0/groups?$top=1").await;
    let next = first.body["@odata.nextLink"].as_str().unwrap().strip_prefix(AUTHORITY).unwrap();
    for other in [next.replace("/groups", "/users"), format!("{next}x"), format!("{next}&$filter=displayName eq 'g1'")]
    {
        let refused = tenant.get(&other).await;
        assert_eq!((refused.status, refused.code()), (400, "Request_UnsupportedQuery"), "{other}");
        assert!(refused.message().contains("$skiptoken"), "{}", refused.message());
    }
}

#[tokio::test]
async fn advanced_queries_want_their_header_and_their_count() {
    let tenant = Tenant::new().await;
    for name in ["build-1", "build-2", "test-1"] {
        tenant.user(name).await;
    }
    for (query, names) in [
        ("$search=\"displayName:build\"", &["build-1", "build-2"][..]),
        ("$filter=displayName ne 'build-1'", &["build-2", "test-1"]),
        ("$filter=not(startswith(displayName,'build'))", &["test-1"]),
        ("$filter=endswith(userPrincipalName,'-1@contoso.example')", &["build-1", "test-1"]),
        ("$filter=startswith(displayName,'build')&$orderby=displayName desc", &["build-2", "build-1"]),
    ] {
        let path = format!("/v1.0/users?{query}");
        for refused in
            [tenant.get(&path).await, tenant.eventually(&path).await, tenant.get(&format!("{path}&$count=true")).await]
        {
            assert_eq!((refused.status, refused.code()), (400, "Request_UnsupportedQuery"), "{query}");
            assert!(refused.message().contains("ConsistencyLevel: eventual"), "{}", refused.message());
        }
        let found = tenant.eventually(&format!("{path}&$count=true")).await;
        assert_eq!(found.each("displayName"), names, "{query}");
        assert_eq!(found.body["@odata.count"], names.len(), "{query}");
    }
    let counted = tenant.eventually("/v1.0/users?$count=true&$top=1").await;
    assert_eq!((&counted.body["@odata.count"], counted.each("id").len()), (&json!(3), 1));
}

#[tokio::test]
async fn what_is_not_answered_is_refused_by_name_and_place() {
    let tenant = Tenant::new().await;
    for (query, code, says) in [
        ("$filter=displayName eq", "Request_UnsupportedQuery", "at position 14"),
        ("$filter=contains(displayName,'x')", "Request_UnsupportedQuery", "'contains' is not answered"),
        ("$filter=jobTitle eq 'x'", "Request_UnsupportedQuery", "'jobTitle'"),
        ("$filter=passwordHash eq 'x'", "Request_UnsupportedQuery", "'passwordHash'"),
        ("$orderby=mail", "Request_UnsupportedQuery", "'mail' is not ordered by here"),
        ("$top=1000", "Request_UnsupportedQuery", "1 to 999"),
        ("$top=0", "Request_UnsupportedQuery", "1 to 999"),
        ("$skip=1", "Request_UnsupportedQuery", "@odata.nextLink"),
        ("$expand=manager", "Request_BadRequest", "'manager'"),
    ] {
        let refused = tenant.get(&format!("/v1.0/users?{query}")).await;
        assert_eq!((refused.status, refused.code()), (400, code), "{query}: {}", refused.body);
        assert!(refused.message().contains(says), "{query}: {}", refused.message());
    }
    let deep = format!("/v1.0/users?$filter={}displayName eq 'x'{}", "(".repeat(2000), ")".repeat(2000));
    assert_eq!(tenant.get(&deep).await.status, 400);
    let inner = tenant.get("/v1.0/users?$top=x").await.body["error"]["innerError"].clone();
    assert_eq!(inner["request-id"], Uuid::from_u128(0x7e57).to_string());
    assert!(inner["client-request-id"].is_string() && inner["date"].as_str().unwrap().len() == 19, "{inner}");
}

#[tokio::test]
async fn managed_identities_are_listed_and_nobody_edits_them() {
    let tenant = Tenant::new().await;
    let machine = "/subscriptions/6f9619ff-8b86-d011-b42d-00cf4fc964ff/resourceGroups/servers/providers/Microsoft.HybridCompute/machines/web-1";
    let id = tenant.managed_identity(machine).await;
    let found = tenant.get("/v1.0/servicePrincipals?$filter=servicePrincipalType eq 'ManagedIdentity'").await;
    assert_eq!(found.each("id"), [id.as_str()]);
    let it = &found.body["value"][0];
    assert_eq!(it["alternativeNames"], json!(["isExplicit=False", machine]));
    assert_eq!((&it["appOwnerOrganizationId"], &it["passwordCredentials"]), (&Value::Null, &json!([])));
    let by_name = format!("/v1.0/servicePrincipals?$filter=alternativeNames/any(x:x eq '{machine}')");
    assert_eq!(tenant.get(&by_name).await.each("id"), [id.as_str()]);
    let path = format!("/v1.0/servicePrincipals/{id}");
    for refused in [
        tenant.patch(&path, json!({ "accountEnabled": false })).await,
        tenant.delete(&path).await,
        tenant.post(&format!("{path}/addPassword"), json!({})).await,
    ] {
        assert!(refused.status == 400 && refused.message().contains("managed identity"), "{}", refused.body);
    }
    assert_eq!(tenant.get(&path).await.body["accountEnabled"], true);
}
