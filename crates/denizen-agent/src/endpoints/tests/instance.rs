use super::*;

const V: &str = "api-version=2020-06-01";

#[tokio::test]
async fn the_document_is_compact_json_with_the_machines_own_values() {
    let sandbox = Sandbox::new().await;
    for reply in [
        sandbox.get(&format!("/metadata/instance?{V}"), &[METADATA]).await,
        sandbox.get_imds(&format!("/metadata/instance/?{V}&format=json"), &[METADATA]).await,
    ] {
        assert_eq!(reply.status(), 200);
        // Scripts in the field look for exactly this with sed.
        assert!(reply.body.contains(&format!(r#""resourceId":"{MACHINE}""#)), "{}", reply.body);
        let compute = &reply.json()["compute"];
        for (key, value) in [
            ("name", "web-1"),
            ("location", "westeurope"),
            ("osType", "linux"),
            ("resourceGroupName", "Dev"),
            ("sku", "Debian GNU/Linux 12 (bookworm)"),
            ("subscriptionId", "6f9619ff-8b86-d011-b42d-00cf4fc964ff"),
            ("vmId", "bbbbbbbb-0000-0000-0000-000000000000"),
            ("vmSize", ""),
        ] {
            assert_eq!(compute[key], value, "{key}");
        }
        assert_eq!(reply.json()["network"], serde_json::json!({}));
    }
}

#[tokio::test]
async fn segments_walk_the_document_and_leaves_are_text() {
    let sandbox = Sandbox::new().await;
    let get =
        async |path: &str, query: &str| sandbox.get(&format!("/metadata/instance{path}?{V}{query}"), &[METADATA]).await;
    assert_eq!(get("/compute", "").await.json()["name"], "web-1");
    assert_eq!(get("/compute/plan", "").await.json(), serde_json::json!({"name":"","product":"","publisher":""}));
    assert_eq!(get("/compute/tagsList", "").await.body, "[]");
    let leaf = get("/compute/resourceId", "&format=text").await;
    assert_eq!((leaf.status(), leaf.body.as_str()), (200, MACHINE));
    assert!(leaf.header("Content-Type").unwrap().starts_with("text/plain"));
    assert_eq!(get("", "&format=text").await.body, "compute/\nnetwork/");
    for (path, query, status) in [
        ("/compute/resourceId", "", 400),
        ("/compute/resourceId", "&format=json", 400),
        ("/compute/nothing", "", 404),
        ("/compute/name/deeper", "&format=text", 404),
        ("/compute/tagsList/0", "", 404),
        ("/compute", "&format=xml", 400),
        ("/compute", "&x=1&x=2", 400),
    ] {
        let reply = get(path, query).await;
        assert_eq!(reply.status(), status, "{path} {query}");
        reply.json();
    }
}

#[tokio::test]
async fn a_version_is_required() {
    let sandbox = Sandbox::new().await;
    for query in ["", "?api-version=", "?api-version=2099-01-01", "?api-version=2020-06-01&api-version=2020-06-01"] {
        let reply = sandbox.get(&format!("/metadata/instance{query}"), &[METADATA]).await;
        assert_eq!(reply.status(), 400, "{query}");
    }
    let reply = sandbox.get("/metadata/instance", &[METADATA]).await;
    assert_eq!(
        reply.body,
        r#"{"error":"Bad request. api-version is invalid or was not specified in the request. For more information refer to aka.ms/azureimds","newest-versions":["2025-04-07","2024-07-17","2024-03-15"]}"#
    );
    for version in ["2019-11-01", "2020-06-01", "2021-02-01"] {
        let reply = sandbox.get(&format!("/metadata/instance/compute?api-version={version}"), &[METADATA]).await;
        assert_eq!(reply.status(), 200, "{version}");
    }
}
