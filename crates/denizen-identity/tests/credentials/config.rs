//! Credentials out of configuration: both forms, each way of writing them down, and connection strings.

use std::sync::Arc;

use denizen_identity::{
    Credential, CredentialContext, CredentialError, Environment,
    config::{Configuration, ConfiguredCredential},
    connection_string::AzureServiceTokenProvider,
};
use denizen_identity_testkit::{
    Application, Authority, ClientCertificate, Fault, Identities, Identity, PipelinesEndpoint,
};

use super::{Arcs, Time, claims, get};

const TENANT: &str = denizen_identity_testkit::issuer::TENANT;
const CLIENT: &str = "50000000-0000-4000-8000-000000000001";

fn user() -> Identity {
    Identities::default().user.remove(0)
}

fn json(value: &serde_json::Value) -> Configuration {
    Configuration::from_json(&value.to_string()).unwrap()
}

fn of(value: &serde_json::Value, s: &CredentialContext) -> Result<Option<Arc<ConfiguredCredential>>, CredentialError> {
    json(value).credential("Vault", s)
}

fn nowhere() -> CredentialContext {
    CredentialContext::of(Environment::default())
}

/// The variables of two endpoints.
fn named(one: Vec<(&'static str, String)>, other: Vec<(&'static str, String)>) -> Environment {
    one.into_iter().chain(other).map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The object id in the token that this section gets on an Arc machine.
async fn oid(arc: &Arcs, section: serde_json::Value) -> String {
    let context = arc.context();
    let credential = of(&serde_json::json!({ "Vault": section }), &context).unwrap().unwrap();
    claims(&get(&*credential).await.unwrap())["oid"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_flat_form_names_a_managed_identity_in_each_way() {
    let arc = Arcs::start().await;
    let (system, user) = (Identities::default().system.unwrap().object_id, user());
    let mi = |more: serde_json::Value| {
        let mut section = serde_json::json!({"vaultUri": "https://v", "CREDENTIAL": "ManagedIdentity"});
        section.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        section
    };
    assert_eq!(oid(&arc, mi(serde_json::json!({}))).await, system);
    for section in [
        mi(serde_json::json!({"clientId": user.client_id})),
        mi(serde_json::json!({"managedIdentityClientId": user.client_id})),
        mi(serde_json::json!({"managedIdentityObjectId": user.object_id})),
        mi(serde_json::json!({"clientId": "another", "managedIdentityResourceId": user.resource_id})),
        serde_json::json!({"managedIdentityClientId": user.client_id}),
        serde_json::json!({"managedIdentityResourceId": user.resource_id}),
        serde_json::json!({"clientId": user.client_id}),
    ] {
        assert_eq!(oid(&arc, section.clone()).await, user.object_id, "{section}");
    }
}

#[tokio::test]
async fn the_section_form_does_too() {
    let arc = Arcs::start().await;
    let user = user();
    let with = |kind: &str, id: &str| {
        serde_json::json!({"Credential": {"CredentialSource": "ManagedIdentityCredential",
            "ManagedIdentityIdKind": kind, "ManagedIdentityId": id, "Retry": {"MaxRetries": 3}}})
    };
    for section in
        [with("ClientId", &user.client_id), with("objectid", &user.object_id), with("ResourceId", &user.resource_id)]
    {
        assert_eq!(oid(&arc, section.clone()).await, user.object_id, "{section}");
    }
    let system = serde_json::json!({"Credential": {"CredentialSource": "ManagedIdentity"}});
    assert_eq!(oid(&arc, system).await, Identities::default().system.unwrap().object_id);
}

#[tokio::test]
async fn a_secret_in_the_configuration_wins_over_the_environment() {
    let time = Time::new();
    let authority = Authority::start(time.options()).await.unwrap();
    authority.register(Application::new(CLIENT).with_secret("s3cret"));
    let variables = [("AZURE_CLIENT_ID", "another"), ("AZURE_CLIENT_SECRET", "wr0ng")];
    let context = time.context(authority.environment(&variables));
    let section = serde_json::json!({"CredentialSource": "Environment", "TenantId": TENANT, "ClientId": CLIENT,
        "ClientSecret": "s3cret"});
    for value in [
        serde_json::json!({"Vault": {"tenantId": TENANT, "clientId": CLIENT, "clientSecret": "s3cret"}}),
        serde_json::json!({"Vault": {"Credential": section}}),
        serde_json::json!({"Vault": section}),
        serde_json::json!({"Vault": {"Credential": "$Shared:App"}, "Shared": {"App": section}}),
        serde_json::json!({"Vault": {"Credential": "$A"}, "A": "$Shared:App", "Shared": {"App": section}}),
    ] {
        let credential = of(&value, &context.clone().with_cache(Arc::default())).unwrap().unwrap();
        assert_eq!(claims(&get(&*credential).await.unwrap())["appid"], CLIENT, "{value}");
        assert!(!format!("{credential:?}").contains("s3cret"));
    }
}

#[tokio::test]
async fn a_certificate_in_the_configuration_is_not_outvoted_by_a_secret_in_the_environment() {
    let certificate = ClientCertificate::generate().unwrap();
    let time = Time::new();
    let authority = Authority::start(time.options()).await.unwrap();
    authority.register(Application::new(CLIENT).with_certificate(&certificate));
    let file = authority.directory().join("client.pem");
    std::fs::write(&file, format!("{}{}", certificate.pem(), certificate.key_pem())).unwrap();
    let context = time.context(authority.environment(&[("AZURE_CLIENT_SECRET", "wr0ng")]));
    let value = serde_json::json!({"Vault": {"Credential": {"CredentialSource": "Environment", "TenantId": TENANT,
        "ClientId": CLIENT, "ClientCertificatePath": file, "SendCertificateChain": true}}});
    get(&*of(&value, &context).unwrap().unwrap()).await.unwrap();
}

/// Both forms, from the agent's challenge to the application's token.
#[tokio::test]
async fn a_managed_identity_can_be_an_applications_assertion() {
    let arc = Arcs::start().await;
    let authority = Authority::start(arc.time.options()).await.unwrap();
    let system = Identities::default().system.unwrap();
    authority.register(Application::new(CLIENT).with_federated(arc.issuer(), &user().object_id));
    let environment: Environment = named(arc.endpoint.variables(), authority.variables());
    let context = || {
        let context = arc.time.context(environment.clone());
        context.with_key_directory(arc.endpoint.key_directory())
    };
    let flat = serde_json::json!({"credential": "managedidentityasfederatedidentity", "tenantId": TENANT,
        "clientId": CLIENT, "managedIdentityClientId": user().client_id});
    let section = serde_json::json!({"Credential": {"CredentialSource": "ManagedIdentityAsFederatedIdentity",
        "TenantId": TENANT, "ClientId": CLIENT, "ManagedIdentityIdKind": "ObjectId",
        "ManagedIdentityId": user().object_id}});
    for value in [&flat, &section] {
        let credential = of(&serde_json::json!({ "Vault": value }), &context()).unwrap().unwrap();
        assert_eq!(credential.name(), "ClientAssertionCredential");
        let token = claims(&get(&*credential).await.unwrap());
        assert_eq!((&token["appid"], &token["aud"]), (&CLIENT.into(), &"https://vault.azure.net".into()), "{value}");
        let asked = arc.endpoint.server().requests();
        assert_eq!(asked.last().unwrap().parameter("resource"), Some("api://AzureADTokenExchange"), "{value}");
    }
    // The machine's own identity is not the one that the application trusts.
    authority.register(Application::new(CLIENT).with_federated(arc.issuer(), &system.object_id));
    let credential = of(&serde_json::json!({ "Vault": flat }), &context()).unwrap().unwrap();
    let error = get(&*credential).await.unwrap_err();
    assert!(!error.is_unavailable() && error.to_string().contains("AADSTS700213"), "{error}");

    // In another cloud it is asked for by another name.
    let mut gov = flat.clone();
    gov["azureCloud"] = "usgov".into();
    let credential = of(&serde_json::json!({ "Vault": gov }), &arc.context()).unwrap().unwrap();
    // That cloud's token service is not asked: an agent that is down is noticed before.
    arc.endpoint.server().fail(1, Fault::status(400));
    assert!(!get(&*credential).await.unwrap_err().is_unavailable());
    let asked = arc.endpoint.server().requests();
    assert_eq!(asked.last().unwrap().parameter("resource"), Some("api://AzureADTokenExchangeUSGov"));
    let missing = of(&serde_json::json!({"Vault": {"credential": "managedidentityasfederatedidentity"}}), &nowhere());
    assert!(missing.unwrap_err().to_string().contains("managedIdentityClientId"));
}

#[tokio::test]
async fn a_pipeline_can_be_configured_in_both_forms() {
    let time = Time::new();
    let job = PipelinesEndpoint::start(time.options()).await.unwrap();
    let authority = Authority::start(time.options()).await.unwrap();
    authority.register(Application::new(CLIENT).with_federated(job.issuer(), job.subject()));
    let environment: Environment = named(job.variables(), authority.variables());
    let (connection, access) = (job.connection_id(), job.access_token());
    let flat = serde_json::json!({"credential": "azurepipelines", "tenantId": TENANT, "clientId": CLIENT,
        "serviceConnectionId": connection, "systemAccessToken": access});
    let section = serde_json::json!({"Credential": {"CredentialSource": "AzurePipelinesCredential", "TenantId": TENANT,
        "ClientId": CLIENT, "ServiceConnectionId": connection, "SystemAccessToken": access}});
    for value in [flat, section] {
        let context = time.context(environment.clone());
        let credential = of(&serde_json::json!({ "Vault": value }), &context).unwrap().unwrap();
        assert_eq!(claims(&get(&*credential).await.unwrap())["appid"], CLIENT, "{value}");
        assert!(!format!("{credential:?}").contains(access));
    }
}

#[tokio::test]
async fn a_chain_in_the_configuration_passes_over_what_is_not_here() {
    let arc = Arcs::start().await;
    let value = serde_json::json!({"Vault": {"Credential": {"CredentialSource": "ChainedToken", "Sources": [
        {"CredentialSource": "VisualStudio"},
        {"CredentialSource": "WorkloadIdentity"},
        {"CredentialSource": "ManagedIdentity"},
    ]}}});
    let credential = of(&value, &arc.context()).unwrap().unwrap();
    get(&*credential).await.unwrap();
    let wrong = serde_json::json!({"Vault": {"Credential": {"CredentialSource": "ChainedToken", "Sources": [
        {"CredentialSource": "ManagedIdentity", "ManagedIdentityId": "x"}]}}});
    assert!(!of(&wrong, &nowhere()).unwrap_err().is_unavailable(), "a wrong link is not passed over");
}

#[test]
fn what_says_nothing_is_nothing_and_what_is_wrong_is_refused_with_a_remedy() {
    for value in [
        serde_json::json!({}),
        serde_json::json!({"Vault": {}}),
        serde_json::json!({"Vault": {"vaultUri": "https://v", "connectionString": "x"}}),
    ] {
        assert!(of(&value, &nowhere()).unwrap().is_none(), "{value}");
    }
    for (section, part) in [
        (serde_json::json!({"credential": "broker"}), "the value of credential"),
        (serde_json::json!({"managedIdentityObjectId": "o"}), "without credential=managedidentity"),
        (
            serde_json::json!({"credential": "managedidentity", "managedIdentityObjectId": "o",
                "managedIdentityClientId": "c"}),
            "at once",
        ),
        (serde_json::json!({"tenantId": "t", "clientId": "c", "clientCertificate": "00"}), "certificate store"),
        (serde_json::json!({"credential": "azurepipelines", "tenantId": "t"}), "clientId, serviceConnectionId"),
        (serde_json::json!({"azureCloud": "moon", "tenantId": "t"}), "the value of azureCloud"),
        (serde_json::json!({"Credential": {"CredentialSource": "Nope"}}), "the value of CredentialSource"),
        (serde_json::json!({"Credential": {"CredentialSource": "ApiKey", "Key": "s3cret"}}), "ApiKey"),
        (
            serde_json::json!({"Credential": {"CredentialSource": "Environment", "ClentId": "x", "Foo": "y"}}),
            "clentid, foo",
        ),
        (serde_json::json!({"Credential": "$Vault:Credential"}), "circle"),
        (serde_json::json!({"Credential": "$No:Where"}), "no section"),
        (serde_json::json!({"Credential": [{}]}), "is a list"),
        (
            serde_json::json!({"Credential": {"CredentialSource": "ManagedIdentity", "ManagedIdentityIdKind": "ClientId"}}),
            "ManagedIdentityId not given",
        ),
        (
            serde_json::json!({"Credential": {"CredentialSource": "WorkloadIdentity", "IsAzureProxyEnabled": true}}),
            "IsAzureProxyEnabled",
        ),
    ] {
        let error = of(&serde_json::json!({ "Vault": section }), &nowhere()).unwrap_err().to_string();
        assert!(error.contains(part) && !error.contains("s3cret"), "{section}: {error}");
    }
}

#[tokio::test]
async fn json_toml_and_the_environment_say_the_same() {
    let arc = Arcs::start().await;
    let user = user();
    let mut all = vec![json(&serde_json::json!({"Vault": {"Credential": {"CredentialSource": "ChainedToken",
        "Sources": [{"CredentialSource": "ManagedIdentity", "ManagedIdentityIdKind": "ClientId",
        "ManagedIdentityId": user.client_id}]}}}))];
    let variables = Environment::from([
        ("APP__Vault__Credential__CredentialSource", "ChainedToken"),
        ("APP__Vault__Credential__Sources__0__CredentialSource", "ManagedIdentity"),
        ("APP__Vault__Credential__Sources__0__ManagedIdentityIdKind", "ClientId"),
        ("APP__VAULT__CREDENTIAL__SOURCES__0__MANAGEDIDENTITYID", user.client_id.as_str()),
        ("OTHER__Vault__Credential__CredentialSource", "Nope"),
    ]);
    all.push(Configuration::from_environment(&variables, "APP"));
    #[cfg(feature = "toml")]
    all.push(
        Configuration::from_toml(&format!(
            "[Vault.Credential]\nCredentialSource = \"ChainedToken\"\n[[Vault.Credential.Sources]]\n\
             CredentialSource = \"ManagedIdentity\"\nManagedIdentityIdKind = \"ClientId\"\nManagedIdentityId = \"{}\"\n",
            user.client_id
        ))
        .unwrap(),
    );
    for configuration in all {
        let credential = configuration.credential("vault", &arc.context()).unwrap().unwrap();
        assert_eq!(claims(&get(&*credential).await.unwrap())["oid"], user.object_id);
    }
    // As Azure Functions writes it.
    let functions =
        Environment::from([("Storage__credential", "managedidentity"), ("Storage__clientId", user.client_id.as_str())]);
    let credential = Configuration::from_environment(&functions, "Storage").credential("", &arc.context());
    assert_eq!(claims(&get(&*credential.unwrap().unwrap()).await.unwrap())["oid"], user.object_id);
}

#[test]
fn a_text_that_is_no_configuration_is_refused_without_repeating_it() {
    let error = Configuration::from_json("{\"ClientSecret\": \"s3cret\",,}").err().unwrap().to_string();
    assert!(error.contains("line 1") && !error.contains("s3cret"), "{error}");
    let twice = Configuration::from_json("{\"a\": 1, \"A\": 2}").err().unwrap().to_string();
    assert!(twice.contains("twice"), "{twice}");
    #[cfg(feature = "toml")]
    assert!(!Configuration::from_toml("ClientSecret = s3cret").err().unwrap().to_string().contains("s3cret"));
}

#[test]
fn a_value_in_the_wrong_place_is_not_repeated() {
    let nobody = CredentialContext::of(Environment::from([("HOME", "/nonexistent")]));
    for section in [
        r#"{"CredentialSource": "s3cret"}"#,
        r#"{"CredentialSource": "ManagedIdentity", "ManagedIdentityIdKind": "s3cret"}"#,
        r#"{"CredentialSource": "Environment", "AzureCloud": "s3cret"}"#,
        r#"{"credential": "s3cret"}"#,
        r#"{"Credential": "$s3cret"}"#,
        r#"{"Credential": "$a", "a": "$s3cret"}"#,
        r#"{"tenantId": "t", "clientId": "c", "clientCertificate": "s3cret"}"#,
    ] {
        let error = Configuration::from_json(section).unwrap_or_else(|e| panic!("{e}")).credential("", &nobody);
        let error = error.err().unwrap();
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
    }
}

#[test]
fn what_a_file_of_roots_holds_is_not_shown() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("roots.pem");
    let numbers = format!("{:?}", "s3cret".as_bytes());
    for text in [
        "-----BEGIN PRIVATE KEY-----\\ns3cret\\n-----END PRIVATE KEY-----\\n",
        "-----BEGIN s3cret\n",
        "-----BEGIN CERTIFICATE-----\ns3cret!\n-----END CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\ns3cret\n",
    ] {
        std::fs::write(&path, text).unwrap();
        let environment = Environment::from([("SSL_CERT_FILE", path.to_str().unwrap())]);
        let error = denizen_identity::http::Client::new(&environment).err().unwrap();
        let printed = format!("{error} {error:?}");
        assert!(!printed.contains("s3cret") && !printed.contains(numbers.trim_matches(['[', ']'])), "{printed}");
        assert!(printed.contains("SSL_CERT_FILE"), "{printed}");
    }
}

/// A pipe in a file's place is an error that names it, and no wait for somebody who writes to it.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_pipe_in_a_files_place_is_named_and_not_waited_for() {
    let temp = tempfile::tempdir().unwrap();
    let pipe = temp.path().join("pipe");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let path = pipe.to_str().unwrap().to_owned();
    let (done, waiting) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let path = path.as_str();
        let roots = Environment::from([("SSL_CERT_FILE", path)]);
        done.send(denizen_identity::http::Client::new(&roots).err().unwrap().to_string()).unwrap();
        let certificate = denizen_identity::ClientCertificateCredential::from_file("t", "c", path);
        done.send(certificate.err().unwrap().to_string()).unwrap();
        let federated = Environment::from([
            ("AZURE_TENANT_ID", "t"),
            ("AZURE_CLIENT_ID", "50000000-0000-4000-8000-000000000001"),
            ("AZURE_FEDERATED_TOKEN_FILE", path),
        ]);
        let context = CredentialContext::of(federated);
        let credential = denizen_identity::WorkloadIdentityCredential::builder().context(context).build().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        done.send(runtime.block_on(super::get(&*credential)).unwrap_err().to_string()).unwrap();
    });
    for what in ["roots", "certificate", "token"] {
        let told = waiting.recv_timeout(std::time::Duration::from_secs(10)).expect(what);
        assert!(told.contains(pipe.to_str().unwrap()) && told.contains("not a regular file"), "{what}: {told}");
    }
}

#[tokio::test]
async fn a_connection_string_gives_tokens_by_resource() {
    let arc = Arcs::start().await;
    let user = user();
    let provider = AzureServiceTokenProvider::new(Some("RunAs=App"), &arc.context()).unwrap();
    let token =
        provider.get_access_token("https://management.azure.com/").await.map_err(|e| e.to_string()).ok().unwrap();
    assert_eq!(claims(token.secret())["aud"], "https://management.azure.com/");
    let text = format!("RunAs=App;AppId={}", user.client_id);
    let provider = AzureServiceTokenProvider::new(Some(&text), &arc.context()).unwrap();
    let token = provider.get_access_token("https://vault.azure.net").await.map_err(|e| e.to_string()).ok().unwrap();
    assert_eq!(claims(token.secret())["oid"], user.object_id);
}
