//! What the log says of a choice between credentials.

use std::{
    io,
    sync::{Arc, Mutex},
};

use denizen_identity::{
    AzurePipelinesCredential, ClientAssertionCredential, ClientCertificateCredential, ClientSecretCredential,
    Credential, CredentialContext, CredentialError, DefaultAzureCredential, Environment, ManagedIdentityCredential,
    UsernamePasswordCredential, connection_string::AzureServiceTokenProvider,
};
use denizen_identity_testkit::{
    AppServiceEndpoint, Application, Authority, ClientCertificate, Fault, ImdsEndpoint, issuer::TENANT,
};
use tracing_subscriber::fmt::MakeWriter;

use super::{Arcs, Time, get};

/// Keeps what is logged on this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn start(&self) -> tracing::subscriber::DefaultGuard {
        let subscriber = tracing_subscriber::fmt()
            .with_writer(self.clone())
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .without_time()
            .finish();
        tracing::subscriber::set_default(subscriber)
    }

    /// The lines of this library.
    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().filter(|line| line.contains("denizen_identity")).map(|line| line.trim().to_owned()).collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;
    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn the_log_tells_which_credential_was_chosen_and_why_others_were_skipped() {
    let arcs = Arcs::start().await;
    let log = Log::default();
    let guard = log.start();
    let chain = DefaultAzureCredential::builder().context(arcs.context()).build().unwrap();
    let token = get(&*chain).await.unwrap();
    get(&*chain).await.unwrap();
    drop(guard);
    let lines = log.lines();
    let position = |parts: &[&str]| {
        let found: Vec<_> = (0..lines.len()).filter(|at| parts.iter().all(|part| lines[*at].contains(part))).collect();
        assert_eq!(found.len(), 1, "{parts:?} once in {lines:#?}");
        found[0]
    };
    let order = [
        position(&[
            "DEBUG",
            "identity source chosen",
            "source=\"Azure Arc\"",
            "reason=\"IDENTITY_ENDPOINT and IMDS_ENDPOINT are set\"",
        ]),
        position(&["DEBUG", "chain built", "chain=\"DefaultAzureCredential\"", "\"ManagedIdentityCredential\""]),
        position(&["DEBUG", "credential skipped", "credential=\"EnvironmentCredential\"", "reason=\"AZURE_TENANT_ID"]),
        position(&["DEBUG", "credential skipped", "credential=\"WorkloadIdentityCredential\""]),
        position(&["INFO", "credential chosen", "credential=\"ManagedIdentityCredential\""]),
    ];
    assert!(order.is_sorted(), "{lines:#?}");
    assert!(!lines.concat().contains(&token));
}

#[tokio::test]
async fn the_log_tells_what_stopped_a_chain_and_holds_no_secret() {
    let log = Log::default();
    let guard = log.start();
    let environment = Environment::from([
        ("AZURE_TENANT_ID", "not a tenant"),
        ("AZURE_CLIENT_ID", "c"),
        ("AZURE_CLIENT_SECRET", "MARKER"),
        ("IDENTITY_ENDPOINT", "http://127.0.0.1:1/MSI/token"),
        ("IDENTITY_HEADER", "MARKER"),
    ]);
    let chain = DefaultAzureCredential::builder().context(CredentialContext::of(environment)).build().unwrap();
    get(&*chain).await.unwrap_err();
    drop(guard);
    let lines = log.lines();
    let stopped = lines.iter().filter(|line| line.contains("credential failed, the chain stops")).collect::<Vec<_>>();
    let [stopped] = stopped.as_slice() else { panic!("one failure in {lines:#?}") };
    assert!(stopped.contains("WARN") && stopped.contains("credential=\"EnvironmentCredential\""), "{stopped}");
    assert!(stopped.contains("the tenant id has a character at position 4 that no tenant id has"), "{stopped}");
    assert!(!lines.concat().contains("MARKER"), "{lines:#?}");
}

/// Every credential that holds a secret, succeeding and failing, with everything logged that anybody logs.
#[tokio::test]
async fn no_secret_and_no_token_stands_in_the_log() {
    const CLIENT: &str = "50000000-0000-4000-8000-000000000001";
    let (time, arcs) = (Time::new(), Arcs::start().await);
    let authority = Authority::start(time.options()).await.unwrap();
    let certificate = ClientCertificate::generate().unwrap();
    authority.register(
        Application::new(CLIENT)
            .with_secret("MARKER-secret")
            .with_certificate(&certificate)
            .with_user("MARKER-user", "MARKER-password"),
    );
    let app_service = AppServiceEndpoint::start(time.options()).await.unwrap();
    let imds = ImdsEndpoint::start(time.options()).await.unwrap();
    let context = || time.context(authority.environment(&[]));
    let log = Log::default();
    let guard = log.start();

    let mut results: Vec<Result<String, CredentialError>> = Vec::new();
    for secret in ["MARKER-secret", "MARKER-wrong"] {
        let credential = ClientSecretCredential::builder(TENANT, CLIENT, secret).context(context()).build().unwrap();
        results.push(get(&*credential).await);
        let credential = UsernamePasswordCredential::builder(TENANT, CLIENT, "MARKER-user", secret);
        results.push(get(&*credential.context(context()).build().unwrap()).await);
        let assertion = move || async move { Ok(secret.to_owned()) };
        let credential = ClientAssertionCredential::builder(TENANT, CLIENT, assertion).context(context()).build();
        results.push(get(&*credential.unwrap()).await);
        let credential = AzurePipelinesCredential::builder(TENANT, CLIENT, "connection", secret);
        let environment = authority.environment(&[("SYSTEM_OIDCREQUESTURI", "https://127.0.0.1:1/oidc")]);
        results.push(get(&*credential.context(time.context(environment)).build().unwrap()).await);
        let text = format!("RunAs=App;AppId={CLIENT};TenantId={TENANT};AppKey={secret}");
        let provider = AzureServiceTokenProvider::new(Some(&text), &context()).unwrap();
        let token = provider.get_access_token("https://vault.azure.net").await;
        results.push(token.map(|token| token.secret().to_owned()));
    }
    let password = UsernamePasswordCredential::builder(TENANT, CLIENT, "MARKER-user", "MARKER-password");
    results.push(get(&*password.context(context()).build().unwrap()).await);
    let pem = [certificate.pem(), certificate.key_pem()].concat();
    let credential = ClientCertificateCredential::builder(TENANT, CLIENT, pem.as_bytes()).context(context()).build();
    results.push(get(&*credential.unwrap()).await);
    let not_one =
        ClientCertificateCredential::builder(TENANT, CLIENT, b"MARKER-certificate").password("MARKER-password");
    results.push(not_one.context(context()).build().map(|_| String::new()));
    for environment in [app_service.environment(), imds.environment(), arcs.endpoint.environment()] {
        let managed = ManagedIdentityCredential::builder()
            .context(time.context(environment).with_key_directory(arcs.endpoint.key_directory()));
        let managed: std::sync::Arc<dyn Credential> = managed.build().unwrap();
        results.push(get(&*managed).await);
    }
    for server in [app_service.server(), imds.server(), arcs.endpoint.server()] {
        server.fail(99, Fault::status(500));
    }
    let header = Environment::from([
        ("IDENTITY_ENDPOINT", app_service.server().url().as_str()),
        ("IDENTITY_HEADER", "MARKER-header"),
    ]);
    let managed = ManagedIdentityCredential::builder().context(time.context(header)).build().unwrap();
    results.push(get(&*managed).await);
    drop(guard);

    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.lines().len() > 5, "{logged}");
    assert!(!logged.contains("MARKER"), "{logged}");
    let lines: Vec<&str> = pem.lines().filter(|line| line.len() > 20).collect();
    assert!(!lines.iter().any(|line| logged.contains(line)), "{logged}");
    let (tokens, errors): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert!(tokens.len() >= 7 && errors.len() >= 6, "{} tokens, {} errors", tokens.len(), errors.len());
    for token in tokens.into_iter().flatten() {
        let signature = token.rsplit('.').next().unwrap().to_owned();
        assert!(!signature.is_empty() && !logged.contains(&signature), "{logged}");
    }
    for error in errors.into_iter().filter_map(Result::err) {
        assert!(!format!("{error} {error:?}").contains("MARKER"), "{error:?}");
    }
}
