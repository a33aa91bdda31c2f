//! What a person reads when there is no token: every failure that a chain can meet, word for word. Nothing is said
//! twice, nothing that would fix it is left out.
//!
//! A changed text is a changed snapshot, `snapshots/errors__*.snap`: read it as the one who gets it at night.

use std::sync::Arc;

use denizen_identity::{
    AzurePipelinesCredential, ChainedTokenCredential, ClientSecretCredential, CredentialContext, CredentialError,
    DefaultAzureCredential, Environment, Link, ManagedIdentityCredential, Source, UserAssigned,
    WorkloadIdentityCredential, connection_string::AzureServiceTokenProvider,
};
use denizen_identity_testkit::{
    AppServiceEndpoint, Application, Authority, Fault, ImdsEndpoint, KeyFile, Options, PipelinesEndpoint, Realm, Reply,
    ServiceFabricEndpoint,
};

use super::{Arcs, Time, get};

const TENANT: &str = denizen_identity_testkit::issuer::TENANT;
const CLIENT: &str = "50000000-0000-4000-8000-000000000001";

/// The errors of a page, each under its heading, with what differs from run to run taken out.
#[derive(Default)]
struct Page(String);

impl Page {
    fn add(&mut self, heading: &str, error: &CredentialError, variable: &[(&str, &str)]) {
        let mut text = error.to_string();
        for (found, name) in variable {
            text = text.replace(found, name);
        }
        if let Some((before, rest)) = text.split_once(" Trace ID: ") {
            let end = rest.find("Z (").map_or(rest.len(), |at| at + 1);
            text = format!("{before} {{ids}}{}", &rest[end..]);
        }
        if let Some((before, rest)) = text.split_once("{directory}/") {
            let end = rest.find([' ', ',', ';']).unwrap_or(rest.len());
            text = format!("{before}{{key file}}{}", &rest[end..]);
        }
        self.0.push_str(&format!("## {heading}\n{text}\n\n"));
        // Half a sentence said twice is how these texts go wrong.
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            for window in words.windows(4) {
                let phrase = window.join(" ");
                assert_eq!(line.matches(&phrase).count(), 1, "'{phrase}' is there twice in: {line}");
            }
        }
    }
}

/// A port of 127.0.0.1 where nobody listens: it was free a moment ago.
async fn nobody() -> String {
    ImdsEndpoint::start(Options::default()).await.unwrap().server().url()
}

fn chain(environment: Environment) -> Arc<DefaultAzureCredential> {
    DefaultAzureCredential::builder().context(CredentialContext::of(environment)).build().unwrap()
}

#[tokio::test]
async fn a_chain_with_nothing_there() {
    let mut page = Page::default();
    let url = nobody().await;
    let gone = Environment::from([("AZURE_POD_IDENTITY_AUTHORITY_HOST", url.as_str())]);
    let names = [(url.as_str(), "{endpoint}")];
    let without_tools = DefaultAzureCredential::builder()
        .exclude(Link::AzureCli)
        .exclude(Link::AzureDeveloperCli)
        .context(CredentialContext::of(gone.clone()))
        .build()
        .unwrap();
    page.add("no endpoint at the address named", &get(&*without_tools).await.unwrap_err(), &names);

    let unnamed = ManagedIdentityCredential::builder()
        .source(Source::Imds { endpoint: format!("{url}/metadata/identity/oauth2/token"), named: false })
        .context(CredentialContext::of(Environment::default()))
        .build()
        .unwrap();
    let own = ChainedTokenCredential::builder().link(unnamed).build().unwrap();
    page.add("no endpoint where one is looked for", &get(&*own).await.unwrap_err(), &names);

    let variables = [("AZURE_TOKEN_CREDENTIALS", "prod"), ("IDENTITY_ENDPOINT", "http://localhost:40342/x")];
    page.add("half an environment", &get(&*chain(Environment::from(variables))).await.unwrap_err(), &[]);
    let variables = [
        ("AZURE_TOKEN_CREDENTIALS", "prod"),
        ("AZURE_TENANT_ID", TENANT),
        ("AZURE_CLIENT_ID", CLIENT),
        ("AZURE_POD_IDENTITY_AUTHORITY_HOST", &url),
    ];
    page.add("an application without a proof", &get(&*chain(Environment::from(variables))).await.unwrap_err(), &names);
    insta::assert_snapshot!("a_chain_with_nothing_there", page.0);
}

#[tokio::test]
async fn an_endpoint_that_does_not_serve() {
    let mut page = Page::default();
    for (heading, bend) in [
        ("the key cannot be read", KeyFile::Missing),
        ("the key is a link", KeyFile::LinkInside),
        ("the key is too large", KeyFile::Size(4097)),
    ] {
        let arc = Arcs::start().await;
        arc.endpoint.set_quirks(|quirks| quirks.key = bend);
        let error = get(&*arc.credential(None)).await.unwrap_err();
        let directory = arc.endpoint.key_directory().display().to_string();
        page.add(heading, &error, &[(&directory, "{directory}")]);
    }
    let arc = Arcs::start().await;
    let directory = arc.endpoint.key_directory().display().to_string();
    let names = [(directory.as_str(), "{directory}")];
    for (heading, realm) in
        [("a key elsewhere", Realm::Text("Basic realm=/etc/shadow.key".into())), ("no challenge", Realm::Absent)]
    {
        arc.endpoint.set_quirks(|quirks| quirks.realm = realm);
        page.add(heading, &get(&*arc.credential(None)).await.unwrap_err(), &names);
    }
    let arc = Arcs::start().await;
    arc.endpoint.set_quirks(|quirks| quirks.rejects_key = true);
    page.add("the key is refused", &get(&*arc.credential(None)).await.unwrap_err(), &[]);
    let arc = Arcs::start().await;
    let stranger = arc.credential(Some(UserAssigned::ClientId("00000000-dead-4bad-8bad-000000000000".into())));
    page.add("an identity the machine has not", &get(&*stranger).await.unwrap_err(), &[]);
    arc.endpoint.set_quirks(|quirks| quirks.ignores_selector = true);
    let user = denizen_identity_testkit::Identities::default().user.remove(0).client_id;
    let error = get(&*arc.credential(Some(UserAssigned::ClientId(user)))).await.unwrap_err();
    page.add("an agent that ignores the choice", &error, &[]);

    let imds = ImdsEndpoint::start(Options::default()).await.unwrap();
    let of =
        |environment| ManagedIdentityCredential::builder().context(CredentialContext::of(environment)).build().unwrap();
    for (heading, fault) in [
        (
            "no identity assigned",
            Reply::json(
                400,
                &serde_json::json!({"error": "invalid_request", "error_description": "Identity not found"}),
            ),
        ),
        ("a proxy in its place", Reply::text(403, "A socket operation was attempted to an Unreachable network")),
        ("a page in its place", Reply::text(200, "<html>Welcome to the hotel</html>")),
        ("a page that refuses", Reply::text(407, "<html>Sign in</html>")),
        ("an answer without a token", Reply::json(200, &serde_json::json!({"expires_in": 5}))),
    ] {
        imds.server().fail(1, Fault::Answer(fault));
        page.add(heading, &get(&*of(imds.environment())).await.unwrap_err(), &[]);
    }
    let app = AppServiceEndpoint::start(Options::default()).await.unwrap();
    let variables = [("IDENTITY_ENDPOINT", app.token_url()), ("IDENTITY_HEADER", "guessed".to_owned())];
    let wrong = variables.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let error = get(&*of(wrong)).await.unwrap_err();
    page.add("a wrong header", &error, &[]);

    let fabric = ServiceFabricEndpoint::start(Options::default()).await.unwrap();
    let environment = |thumbprint: &str| -> Environment {
        let mut variables = fabric.variables();
        variables.retain(|(name, _)| *name != "IDENTITY_SERVER_THUMBPRINT");
        variables.push(("IDENTITY_SERVER_THUMBPRINT", thumbprint.to_owned()));
        variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    };
    let url = fabric.server().url();
    for (heading, thumbprint) in
        [("another server's certificate", "00".repeat(20)), ("a thumbprint that is none", "soon".to_owned())]
    {
        page.add(heading, &get(&*of(environment(&thumbprint))).await.unwrap_err(), &[(&url, "{endpoint}")]);
    }
    insta::assert_snapshot!("an_endpoint_that_does_not_serve", page.0);
}

#[tokio::test]
async fn a_token_service_that_refuses() {
    let mut page = Page::default();
    let time = Time::new();
    let authority = Authority::start(time.options()).await.unwrap();
    authority.register(Application::new(CLIENT).with_secret("s3cret"));
    let url = authority.server().url();
    let names = [(url.as_str(), "{authority}")];
    let with = |more: &[(&'static str, &str)]| time.context(authority.environment(more));
    let secret = |client: &str, secret: &str, context| {
        ClientSecretCredential::builder(TENANT, client, secret).context(context).build().unwrap()
    };
    page.add("a wrong secret", &get(&*secret(CLIENT, "x", with(&[]))).await.unwrap_err(), &names);
    page.add("no such application", &get(&*secret("nobody", "x", with(&[]))).await.unwrap_err(), &names);
    let gone = nobody().await.replace("http://", "https://");
    let away = secret(CLIENT, "x", with(&[("AZURE_AUTHORITY_HOST", &gone)]));
    page.add("nobody there", &get(&*away).await.unwrap_err(), &[(&gone, "{authority}")]);
    let untrusted = secret(CLIENT, "x", with(&[("SSL_CERT_FILE", "/dev/null")]));
    page.add("a certificate of nobody's", &get(&*untrusted).await.unwrap_err(), &names);
    let no_roots =
        ClientSecretCredential::builder(TENANT, CLIENT, "x").context(with(&[("SSL_CERT_FILE", "/none.pem")])).build();
    page.add("roots that cannot be read", &no_roots.unwrap_err(), &names);
    authority.server().fail(9, Fault::Answer(Reply::text(502, "<html>")));
    page.add("a gateway in trouble", &get(&*secret(CLIENT, "s3cret", with(&[]))).await.unwrap_err(), &names);
    authority.server().fail(0, Fault::Reset);
    let plain =
        ClientSecretCredential::builder(TENANT, CLIENT, "x").context(with(&[])).authority_host("http://plain").build();
    page.add("an authority without TLS", &plain.unwrap_err(), &names);

    let file = authority.directory().join("token").display().to_string();
    let variables = [("AZURE_TENANT_ID", TENANT), ("AZURE_CLIENT_ID", CLIENT), ("AZURE_FEDERATED_TOKEN_FILE", &*file)];
    let pod = WorkloadIdentityCredential::builder().context(with(&variables)).build().unwrap();
    page.add("no token file", &get(&*pod).await.unwrap_err(), &[(&file, "{file}")]);

    let job = PipelinesEndpoint::start(time.options()).await.unwrap();
    let uri = job.variables().remove(0).1;
    let pipeline = |uri: &str, token: &str| {
        AzurePipelinesCredential::builder(TENANT, CLIENT, job.connection_id(), token)
            .context(with(&[("SYSTEM_OIDCREQUESTURI", uri)]))
            .build()
            .unwrap()
    };
    page.add("another job's token", &get(&*pipeline(&uri, "x")).await.unwrap_err(), &[]);
    let away = nobody().await;
    let error = get(&*pipeline(&away, "x")).await.unwrap_err();
    page.add("a pipeline that is gone", &error, &[(&away, "{pipeline}")]);

    let arc = Arcs::start().await;
    let vault = format!("RunAs=App;AppId={CLIENT};TenantId=t;KeyVaultCertificateSecretIdentifier={gone}/secrets/c");
    let provider = AzureServiceTokenProvider::new(Some(&vault), &arc.context()).unwrap();
    let error = provider.get_access_token("r").await.err().unwrap();
    page.add("no vault with the certificate", &error, &[(&gone, "{vault}")]);
    insta::assert_snapshot!("a_token_service_that_refuses", page.0);
}
