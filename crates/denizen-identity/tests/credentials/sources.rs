//! Every managed-identity source: what is sent, what is understood, for each way of naming an identity.

use denizen_identity::{Source, UserAssigned, credential::ManagedIdentityCredential, error::FailureKind};
use denizen_identity_testkit::{
    AppServiceEndpoint, AzureMlEndpoint, CloudShellEndpoint, ExpiresOn, Fault, Identities, ImdsEndpoint, Reply, Server,
    ServiceFabricEndpoint,
};

use super::{Arcs, NOW, Time, VAULT, claims, get};
use denizen_identity::{Credential, CredentialContext, Environment, TokenRequest};

fn managed(context: CredentialContext, identity: Option<UserAssigned>) -> std::sync::Arc<ManagedIdentityCredential> {
    let builder = ManagedIdentityCredential::builder().context(context);
    match identity {
        Some(identity) => builder.user_assigned(identity).build().unwrap(),
        None => builder.build().unwrap(),
    }
}

fn user() -> denizen_identity_testkit::Identity {
    Identities::default().user.remove(0)
}

/// The three ways to name the user-assigned identity.
fn names() -> [UserAssigned; 3] {
    let user = user();
    [
        UserAssigned::ClientId(user.client_id),
        UserAssigned::ObjectId(user.object_id),
        UserAssigned::ResourceId(user.resource_id),
    ]
}

fn last_query(server: &Server) -> Vec<String> {
    server.requests().last().unwrap().query.iter().map(|(name, _)| name.clone()).collect()
}

#[tokio::test]
async fn arc_is_asked_twice_and_the_second_time_with_the_key() {
    let arc = Arcs::start().await;
    let token = get(&*arc.credential(None)).await.unwrap();
    assert_eq!(claims(&token)["aud"], "https://vault.azure.net");
    let requests = arc.endpoint.server().requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0].raw_query, "api-version=2020-06-01&resource=https%3A%2F%2Fvault.azure.net");
    assert_eq!(requests[0].header("metadata"), Some("true"));
    assert!(requests[0].header("authorization").is_none());
    assert!(requests[1].header("authorization").unwrap().starts_with("Basic "));
}

#[tokio::test]
async fn arc_gives_each_user_assigned_identity_by_each_of_its_names() {
    let arc = Arcs::start().await;
    for name in names() {
        let token = get(&*arc.credential(Some(name.clone()))).await.unwrap();
        assert_eq!(claims(&token)["oid"], user().object_id, "{name:?}");
    }
    assert_eq!(last_query(arc.endpoint.server()), ["api-version", "resource", "msi_res_id"]);
}

#[tokio::test]
async fn an_agent_that_ignores_the_selector_is_not_believed() {
    let arc = Arcs::start().await;
    arc.endpoint.set_quirks(|quirks| quirks.ignores_selector = true);
    for name in names() {
        let error = get(&*arc.credential(Some(name))).await.unwrap_err();
        assert_eq!(error.failed().unwrap().kind, FailureKind::WrongIdentity);
    }
    arc.endpoint.set_quirks(|quirks| quirks.echoes_another = true);
    assert!(!get(&*arc.credential(Some(names()[0].clone()))).await.unwrap_err().is_unavailable());
}

#[tokio::test]
async fn imds_is_asked_once_and_needs_no_key() {
    let time = Time::new();
    let imds = ImdsEndpoint::start(time.options()).await.unwrap();
    for (name, parameter) in names().into_iter().zip(["client_id", "object_id", "msi_res_id"]) {
        let credential = managed(time.context(imds.environment()), Some(name));
        assert_eq!(claims(&get(&*credential).await.unwrap())["oid"], user().object_id);
        assert_eq!(last_query(imds.server()), ["api-version", "resource", parameter]);
    }
    let requests = imds.server().requests();
    assert_eq!((requests.len(), requests[0].parameter("api-version")), (3, Some("2018-02-01")));
}

#[tokio::test]
async fn app_service_is_asked_with_its_header_in_both_versions() {
    let time = Time::new();
    let app = AppServiceEndpoint::start(time.options()).await.unwrap();
    for (name, parameter) in names().into_iter().zip(["client_id", "object_id", "mi_res_id"]) {
        let credential = managed(time.context(app.environment()), Some(name));
        assert_eq!(claims(&get(&*credential).await.unwrap())["oid"], user().object_id);
        assert_eq!(last_query(app.server()), ["api-version", "resource", parameter]);
    }
    app.server().forget();
    for expires_on in [ExpiresOn::LinuxDate, ExpiresOn::WindowsDate, ExpiresOn::Iso8601] {
        app.server().set_behavior(|behavior| behavior.expires_on = expires_on);
        let mut pairs = app.variables_2017();
        pairs.push(("WEBSITE_SITE_NAME", "site".into()));
        let environment: Environment = pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let credential = managed(time.context(environment), None);
        let scopes = [VAULT];
        let token = credential.token(TokenRequest::new(&scopes)).await.map_err(|e| e.to_string());
        assert_eq!(token.map(|token| token.expires_on), Ok(NOW + 86_400), "{expires_on:?}");
        assert_eq!(credential.source().unwrap().name(), "App Service 2017-09-01");
    }
    assert_eq!(app.server().requests()[0].parameter("api-version"), Some("2017-09-01"));
}

#[tokio::test]
async fn azure_ml_names_its_own_identity_and_takes_client_ids_only() {
    let time = Time::new();
    let ml = AzureMlEndpoint::start(time.options()).await.unwrap();
    let [client, object, _] = names();
    for identity in [None, Some(client)] {
        get(&*managed(time.context(ml.environment()), identity)).await.unwrap();
        assert_eq!(last_query(ml.server()), ["api-version", "resource", "clientid"]);
    }
    let error = get(&*managed(time.context(ml.environment()), Some(object))).await.unwrap_err();
    assert_eq!(error.failed().unwrap().kind, FailureKind::Configuration);
    assert_eq!(ml.server().requests().len(), 2, "what cannot be asked is not sent");
}

#[tokio::test]
async fn cloud_shell_is_posted_a_form() {
    let time = Time::new();
    let shell = CloudShellEndpoint::start(time.options()).await.unwrap();
    get(&*managed(time.context(shell.environment()), None)).await.unwrap();
    let request = shell.server().requests().remove(0);
    assert_eq!((request.method.as_str(), request.body.as_str()), ("POST", "resource=https%3A%2F%2Fvault.azure.net"));
    let [client, ..] = names();
    assert!(!get(&*managed(time.context(shell.environment()), Some(client))).await.unwrap_err().is_unavailable());
}

#[tokio::test]
async fn service_fabric_is_known_by_its_thumbprint_and_by_nothing_else() {
    let time = Time::new();
    let fabric = ServiceFabricEndpoint::start(time.options()).await.unwrap();
    get(&*managed(time.context(fabric.environment()), None)).await.unwrap();
    assert_eq!(fabric.server().requests()[0].header("secret"), Some(fabric.secret()));
    fabric.server().forget();

    let Source::ServiceFabric { endpoint, header, .. } = Source::detect(&fabric.environment()).unwrap() else {
        panic!("not Service Fabric")
    };
    let with = |endpoint: String, thumbprint: &str| {
        let source = Source::ServiceFabric { endpoint, header: header.clone(), thumbprint: thumbprint.to_owned() };
        let context = time.context(Environment::default());
        ManagedIdentityCredential::builder().source(source).context(context).build().unwrap()
    };
    let error = get(&*with(endpoint.clone(), &"00".repeat(20))).await.unwrap_err();
    assert_eq!(error.failed().map(|f| f.kind.clone()), Some(FailureKind::Untrusted), "{error}");
    let error = get(&*with(endpoint.clone(), "not a thumbprint")).await.unwrap_err();
    assert_eq!(error.failed().unwrap().kind, FailureKind::Configuration);
    let error = get(&*with(endpoint.replace("https", "http"), fabric.thumbprint())).await.unwrap_err();
    assert!(error.to_string().contains("must be https"), "{error}");
    assert!(fabric.server().requests().is_empty(), "the secret went to a server that is not known");
}

#[tokio::test]
async fn unavailable_and_failed_are_told_apart() {
    let time = Time::new();
    let imds = ImdsEndpoint::start(time.options()).await.unwrap();
    let ask = |identity| managed(time.context(imds.environment()), identity);
    let [client, ..] = names();
    let reply = |status, text: &str| Fault::Answer(Reply::text(status, text));
    let json = |status, text: &str| {
        Fault::Answer(Reply::json(status, &serde_json::json!({"error": text, "error_description": text})))
    };
    for (fault, user_assigned, unavailable) in [
        (json(400, "Identity not found"), false, true),
        (json(400, "Identity not found"), true, false),
        // An identity is there, and another one must not take its place because this request found it in trouble.
        (json(400, "invalid_resource"), false, false),
        (json(400, "Too many challenges are open: wait a minute"), false, false),
        (json(400, "api-version is invalid"), false, false),
        (json(403, "A socket operation was attempted to an unreachable network"), false, true),
        (reply(403, "<html>no</html>"), false, true),
        (json(403, "access_denied"), false, false),
        (reply(200, "<html>sign in to the Wi-Fi</html>"), false, true),
        (json(401, "unknown_source"), false, false),
        (json(500, "unknown"), false, false),
        (json(429, "busy"), false, false),
        // Long texts are read whole.
        (json(400, &"x".repeat(5000)), false, false),
        (reply(503, ""), false, false),
        (reply(500, "<html>down</html>"), false, false),
        (reply(429, "slow down"), false, false),
        (reply(502, "<html>bad gateway</html>"), false, true),
        (Fault::Reset, false, true),
    ] {
        imds.server().heal();
        imds.server().fail(99, fault.clone());
        let error = get(&*ask(user_assigned.then(|| client.clone()))).await.unwrap_err();
        assert_eq!(error.is_unavailable(), unavailable, "{error}");
        assert!(error.remedy().is_some(), "{error}");
    }
}

#[tokio::test]
async fn passing_troubles_are_waited_out_and_lasting_ones_are_not() {
    for (status, waits) in [(404, true), (410, true), (429, true), (503, true), (400, false), (403, false)] {
        let time = Time::new();
        let imds = ImdsEndpoint::start(time.options()).await.unwrap();
        imds.server().fail(2, Fault::status(status));
        let result = get(&*managed(time.context(imds.environment()), None)).await;
        let asked = imds.server().requests().len();
        assert_eq!((result.is_ok(), asked), (waits, if waits { 3 } else { 1 }), "{status}");
    }
    let time = Time::new();
    let app = AppServiceEndpoint::start(time.options()).await.unwrap();
    app.server().fail(1, Fault::status(404));
    assert!(get(&*managed(time.context(app.environment()), None)).await.is_err());
    assert_eq!((app.server().requests().len(), time.waited()), (1, 0));
}

#[tokio::test]
async fn a_new_challenge_is_answered_after_each_trouble() {
    let arc = Arcs::start().await;
    let with_key = |request: &denizen_identity_testkit::Recorded| request.header("authorization").is_some();
    arc.endpoint.server().fail_when(2, with_key, Fault::status(503));
    get(&*arc.credential(None)).await.unwrap();
    let keys: std::collections::HashSet<String> = arc
        .endpoint
        .server()
        .requests()
        .iter()
        .filter_map(|request| request.header("authorization").map(str::to_owned))
        .collect();
    assert_eq!(keys.len(), 3, "a key is used once");
}
