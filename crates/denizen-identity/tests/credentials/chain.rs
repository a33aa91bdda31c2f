//! The default chain, from end to end.

use std::{sync::Arc, time::Duration};

use denizen_identity::{
    Clock, Credential, CredentialContext, CredentialError, DefaultAzureCredential, Environment, Link,
    ManagedIdentityCredential, Source, TokenRequest,
};
use denizen_identity_testkit::{Fault, Identities, ImdsEndpoint, Options, Reply};

use super::{Arcs, Time, VAULT, claims, get};

fn without_tools(context: CredentialContext) -> Arc<DefaultAzureCredential> {
    DefaultAzureCredential::builder()
        .exclude(Link::AzureCli)
        .exclude(Link::AzureDeveloperCli)
        .context(context)
        .build()
        .unwrap()
}

fn and(environment: Vec<(&'static str, String)>, more: &[(&str, &str)]) -> Environment {
    let more = more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    environment.into_iter().map(|(name, value)| (name.to_owned(), value)).chain(more).collect()
}

#[tokio::test]
async fn on_an_arc_machine_the_managed_identity_is_found_and_kept() {
    let arc = Arcs::start().await;
    let chain = without_tools(arc.context());
    let token = get(&*chain).await.unwrap();
    assert_eq!(claims(&token)["aud"], "https://vault.azure.net");
    assert_eq!(chain.last_successful(), Some("ManagedIdentityCredential"));
    assert!(chain.cached(&TokenRequest::new(&[VAULT])).is_some(), "the second token costs nothing");
}

#[tokio::test]
async fn azure_client_id_names_a_user_assigned_identity() {
    let arc = Arcs::start().await;
    let user = Identities::default().user.remove(0);
    let environment = and(arc.endpoint.variables(), &[("AZURE_CLIENT_ID", &user.client_id)]);
    let context = arc.time.context(environment).with_key_directory(arc.endpoint.key_directory());
    let token = get(&*without_tools(context.clone())).await.unwrap();
    assert_eq!(claims(&token)["oid"], user.object_id);
    // An old agent, and a chain that must stop rather than go on as somebody else.
    arc.endpoint.set_quirks(|quirks| quirks.ignores_selector = true);
    let fresh = context.with_cache(Arc::default());
    let chain = DefaultAzureCredential::builder().context(fresh).build().unwrap();
    let Err(CredentialError::Chain(error)) = get(&*chain).await else { panic!("another identity's token was taken") };
    assert_eq!(error.not_tried, ["AzureCliCredential", "AzureDeveloperCliCredential"]);
}

/// What is configured and broken is a failure: the machine's identity must not take its place.
#[tokio::test]
async fn an_environment_that_is_complete_and_broken_stops_the_chain() {
    const TENANT: &str = "00000000-0000-0000-0000-00000000007e";
    let arc = Arcs::start().await;
    let secret = ("AZURE_CLIENT_SECRET", "s3cret");
    for (broken, expected) in [
        (vec![("AZURE_TENANT_ID", TENANT), ("AZURE_CLIENT_CERTIFICATE_PATH", "/none.pem")], "/none.pem"),
        (vec![("AZURE_TENANT_ID", "not a tenant!"), secret], "tenant"),
        (vec![("AZURE_TENANT_ID", TENANT), secret, ("AZURE_AUTHORITY_HOST", "http://login.example")], "https"),
    ] {
        let mut more = broken.clone();
        more.push(("AZURE_CLIENT_ID", "00000000-0000-0000-0000-0000000000a1"));
        let environment = and(arc.endpoint.variables(), &more);
        let context = arc.time.context(environment).with_key_directory(arc.endpoint.key_directory());
        let error = get(&*without_tools(context)).await.unwrap_err();
        assert!(!error.is_unavailable(), "{broken:?}: {error}");
        let text = error.to_string();
        assert!(text.contains("EnvironmentCredential failed") && text.contains(expected), "{broken:?}: {text}");
        assert!(!text.contains("s3cret"), "{text}");
        let CredentialError::Chain(chain) = error else { panic!("{text}") };
        assert_eq!(chain.not_tried, ["WorkloadIdentityCredential", "ManagedIdentityCredential"], "{text}");
    }
    assert_eq!(arc.endpoint.server().requests().len(), 0, "the machine's identity was not asked for");
}

#[tokio::test]
async fn a_link_that_is_not_configured_is_passed_over() {
    let arc = Arcs::start().await;
    let more = [
        ("AZURE_TENANT_ID", "t"),
        ("AZURE_CLIENT_ID", ""),
        ("AZURE_AUTHORITY_HOST", "http://not-https"),
        ("AZURE_FEDERATED_TOKEN_FILE", "/none"),
    ];
    let environment = and(arc.endpoint.variables(), &more);
    let context = arc.time.context(environment).with_key_directory(arc.endpoint.key_directory());
    assert!(get(&*without_tools(context)).await.is_ok());
}

#[tokio::test]
async fn every_link_is_listed_with_what_would_mend_it() {
    // Nobody listens on this port: it was free a moment ago.
    let gone = {
        let endpoint = ImdsEndpoint::start(Options::default()).await.unwrap();
        endpoint.server().url()
    };
    let environment = Environment::from([("AZURE_POD_IDENTITY_AUTHORITY_HOST", gone.as_str())]);
    let chain = without_tools(CredentialContext::of(environment));
    let error = get(&*chain).await.unwrap_err();
    assert!(error.is_unavailable());
    let text = error.to_string();
    for part in [
        "1. EnvironmentCredential skipped: AZURE_TENANT_ID, AZURE_CLIENT_ID not set",
        "2. WorkloadIdentityCredential skipped",
        "3. ManagedIdentityCredential skipped",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert_eq!(text.matches("to use it:").count(), 3, "{text}");
}

/// A source that the environment did not name is probed, once, and only in a chain.
#[tokio::test]
async fn imds_is_probed_in_a_chain_and_not_outside() {
    let time = Time::new();
    let imds = ImdsEndpoint::start(time.options()).await.unwrap();
    let managed = || {
        let source = Source::Imds { endpoint: imds.token_url(), named: false };
        let context = time.context(Environment::default());
        ManagedIdentityCredential::builder().source(source).context(context).build().unwrap()
    };
    let scopes = [VAULT];
    managed().token(TokenRequest::new(&scopes)).await.ok().unwrap();
    assert_eq!(imds.server().requests().len(), 1, "no probe outside a chain");
    imds.server().forget();
    let credential = managed();
    credential.token(TokenRequest::new(&scopes).in_chain()).await.ok().unwrap();
    credential.token(TokenRequest::new(&["https://other/.default"]).in_chain()).await.ok().unwrap();
    let probes = imds.server().requests().iter().filter(|r| r.header("metadata").is_none()).count();
    assert_eq!((probes, imds.server().requests().len()), (1, 3));

    imds.server().fail(1, Fault::Answer(Reply::text(403, "the network is Unreachable")));
    let error = managed().token(TokenRequest::new(&scopes).in_chain()).await.err().unwrap();
    assert!(error.is_unavailable(), "{error}");
}

#[tokio::test]
async fn a_probe_that_gets_no_answer_ends_in_its_time() {
    let imds = ImdsEndpoint::start(Options::default()).await.unwrap();
    imds.server().fail(9, Fault::Silence);
    let credential = ManagedIdentityCredential::builder()
        .source(Source::Imds { endpoint: imds.token_url(), named: false })
        .probe_timeout(Duration::from_millis(50))
        .context(CredentialContext::of(Environment::default()).with_clock(Clock::system()))
        .build()
        .unwrap();
    let started = std::time::Instant::now();
    let error = credential.token(TokenRequest::new(&[VAULT]).in_chain()).await.err().unwrap();
    assert!(error.is_unavailable() && started.elapsed() < Duration::from_secs(5), "{error}");
    assert_eq!(imds.server().requests().len(), 1, "a probe is not repeated");
}

#[cfg(feature = "azure_core")]
#[tokio::test]
async fn the_official_trait_gives_the_same_token() {
    use azure_core::credentials::TokenCredential;
    let arc = Arcs::start().await;
    let official: Arc<dyn TokenCredential> = without_tools(arc.context());
    let token = official.get_token(&[VAULT], None).await.unwrap();
    assert_eq!(token.expires_on.unix_timestamp(), (super::NOW + 86_400).0);
    assert_eq!(claims(token.token.secret())["aud"], "https://vault.azure.net");
    let claimed = azure_core::credentials::TokenRequestOptions {
        method_options: azure_core::http::ClientMethodOptions {
            context: azure_core::http::Context::new().with_value(denizen_identity::azure::Claims("{}".into())),
        },
    };
    official.get_token(&[VAULT], Some(claimed)).await.unwrap();
    assert_eq!(arc.endpoint.server().requests().len(), 4, "claims go past the cache");
}
