//! The credentials of applications and users, against a token service over TLS.

use std::sync::Arc;

use base64::Engine;
use denizen_identity::{
    AzurePipelinesCredential, ClientAssertionCredential, ClientCertificateCredential, ClientSecretCredential,
    Credential, EnvironmentCredential, ManagedIdentityCredential, UsernamePasswordCredential,
    WorkloadIdentityCredential,
    error::{CredentialError, FailureKind},
};
use denizen_identity::{CredentialContext, Source, TokenRequest};
use denizen_identity_testkit::{Application, Authority, ClientCertificate, Fault, Issuer, PipelinesEndpoint};

use super::{Arcs, Time, VAULT, claims, federated, get};

const TENANT: &str = denizen_identity_testkit::issuer::TENANT;
const CLIENT: &str = "50000000-0000-4000-8000-000000000001";

struct Place {
    authority: Authority,
    time: Time,
}

impl Place {
    async fn start(application: impl FnOnce(Application) -> Application) -> Self {
        let time = Time::new();
        let authority = Authority::start(time.options()).await.unwrap();
        authority.register(application(Application::new(CLIENT)));
        Self { authority, time }
    }

    fn context(&self, more: &[(&'static str, &str)]) -> CredentialContext {
        self.time.context(self.authority.environment(more))
    }

    fn secret(&self, secret: &str) -> Arc<ClientSecretCredential> {
        let builder = ClientSecretCredential::builder(TENANT, CLIENT, secret);
        builder.context(self.context(&[])).build().unwrap()
    }
}

#[tokio::test]
async fn a_secret_gives_a_token_and_a_wrong_one_says_what_to_do() {
    let place = Place::start(|a| a.with_secret("s3cret")).await;
    let token = get(&*place.secret("s3cret")).await.unwrap();
    assert_eq!(claims(&token)["appid"], CLIENT);
    let error = get(&*place.secret("wr0ng")).await.unwrap_err();
    assert!(matches!(error.failed().unwrap().kind, FailureKind::Refused { status: 401, .. }), "{error}");
    assert!(error.remedy().unwrap().contains("secret's value"), "{error}");
    assert!(!error.to_string().contains("wr0ng") && !format!("{:?}", place.secret("wr0ng")).contains("wr0ng"));
}

#[tokio::test]
async fn an_authority_that_is_not_trusted_gets_no_secret() {
    let place = Place::start(|a| a.with_secret("s3cret")).await;
    let other = Authority::start(place.time.options()).await.unwrap();
    let ca = other.ca_file().display().to_string();
    let context = place.context(&[("SSL_CERT_FILE", &ca)]);
    let credential = ClientSecretCredential::builder(TENANT, CLIENT, "s3cret").context(context).build();
    let error = get(&*credential.unwrap()).await.unwrap_err();
    assert_eq!(error.failed().unwrap().kind, FailureKind::NoAnswer, "{error}");
    assert!(place.authority.server().requests().is_empty());
}

#[tokio::test]
async fn claims_and_tenants_reach_the_token_service() {
    let place = Place::start(|a| a.with_secret("s3cret")).await;
    let credential = place.secret("s3cret");
    get(&*credential).await.unwrap();
    get(&*credential).await.unwrap();
    assert_eq!(place.authority.server().requests().len(), 1, "the second is from the cache");
    let scopes = [VAULT];
    credential.token(TokenRequest::new(&scopes).with_claims("{\"x\":1}")).await.ok().unwrap();
    let form = place.authority.server().requests().pop().unwrap().form();
    assert!(form.contains(&("claims".into(), "{\"x\":1}".into())), "claims are answered by no cached token");
    let elsewhere = credential.token(TokenRequest::new(&scopes).for_tenant("contoso.com")).await.err().unwrap();
    assert!(elsewhere.to_string().contains("not allowed"), "{elsewhere}");
}

#[tokio::test]
async fn a_busy_token_service_is_asked_again_when_it_says() {
    let place = Place::start(|a| a.with_secret("s3cret")).await;
    place.authority.server().fail(1, Fault::retry_after(429, 7));
    get(&*place.secret("s3cret")).await.unwrap();
    assert_eq!(place.time.waited(), 7);
}

#[tokio::test]
async fn a_certificate_gives_a_token_out_of_pem_with_its_chain_if_wanted() {
    let certificate = ClientCertificate::generate().unwrap();
    let place = Place::start(|a| a.with_certificate(&certificate)).await;
    // The key first, the certificate after it: any order will do.
    let pem = format!("{}{}", certificate.key_pem(), certificate.pem());
    for send_chain in [false, true] {
        let credential = ClientCertificateCredential::builder(TENANT, CLIENT, pem.clone())
            .send_certificate_chain(send_chain)
            .context(place.context(&[]))
            .build()
            .unwrap();
        get(&*credential).await.unwrap();
        let form = place.authority.server().requests().pop().unwrap().form();
        let assertion = form.iter().find(|(name, _)| name == "client_assertion").unwrap().1.clone();
        let header = assertion.split('.').next().unwrap();
        let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(header).unwrap();
        let header: serde_json::Value = serde_json::from_slice(&header).unwrap();
        assert_eq!((header["alg"].as_str(), header.get("x5c").is_some()), (Some("PS256"), send_chain));
    }
    let other = ClientCertificate::generate().unwrap();
    let pem = format!("{}{}", other.key_pem(), other.pem());
    let builder = ClientCertificateCredential::builder(TENANT, CLIENT, pem).context(place.context(&[]));
    let error = get(&*builder.build().unwrap()).await.unwrap_err();
    assert!(error.remedy().unwrap().contains("not registered"), "{error}");
}

#[tokio::test]
async fn an_assertion_is_asked_for_once_per_token() {
    let issuer = Issuer::entra("70000000-0000-4000-8000-000000000001");
    let place = Place::start(|a| a.with_federated(&issuer, "job-1")).await;
    let now = super::NOW;
    let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let credential = ClientAssertionCredential::builder(TENANT, CLIENT, move || {
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let claims = federated(&issuer, "job-1", now);
        std::future::ready(Ok(issuer.sign(&claims).unwrap()))
    });
    let credential = credential.context(place.context(&[])).build().unwrap();
    get(&*credential).await.unwrap();
    get(&*credential).await.unwrap();
    assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 1);
}

/// One context, one token file, two applications: each gets its own token.
#[tokio::test]
async fn d15_applications_that_share_a_token_file_do_not_share_tokens() {
    const OTHER: &str = "50000000-0000-4000-8000-000000000002";
    let issuer = Issuer::entra("70000000-0000-4000-8000-000000000001");
    let place = Place::start(|a| a.with_federated(&issuer, "pod")).await;
    place.authority.register(Application::new(OTHER).with_federated(&issuer, "pod"));
    let file = place.authority.directory().join("token");
    std::fs::write(&file, issuer.sign(&federated(&issuer, "pod", place.time.0.now())).unwrap()).unwrap();
    let context = place.context(&[]);
    for client in [CLIENT, OTHER, CLIENT] {
        let (tenant_id, client_id, token_file) = (TENANT.to_owned(), Some(client.to_owned()), file.clone());
        let source = Source::TokenExchange { tenant_id, client_id, token_file };
        let credential = ManagedIdentityCredential::builder().source(source).context(context.clone()).build().unwrap();
        assert_eq!(claims(&get(&*credential).await.unwrap())["appid"], client);
    }
}

#[tokio::test]
async fn a_token_file_is_exchanged_and_read_anew() {
    let issuer = Issuer::entra("70000000-0000-4000-8000-000000000001");
    let place = Place::start(|a| a.with_federated(&issuer, "pod")).await;
    let file = place.authority.directory().join("token");
    let path = file.display().to_string();
    let variables =
        [("AZURE_TENANT_ID", TENANT), ("AZURE_CLIENT_ID", CLIENT), ("AZURE_FEDERATED_TOKEN_FILE", path.as_str())];
    let credential = WorkloadIdentityCredential::builder().context(place.context(&variables)).build().unwrap();
    let missing = get(&*credential).await.unwrap_err();
    assert!(!missing.is_unavailable() && missing.to_string().contains(&path), "{missing}");
    // With the newline an editor leaves behind.
    let token = issuer.sign(&federated(&issuer, "pod", super::NOW)).unwrap();
    std::fs::write(&file, format!("{token}\n")).unwrap();
    get(&*credential).await.unwrap();

    // The managed identity finds the same way in the same environment.
    let context = place.context(&variables);
    let managed = ManagedIdentityCredential::builder().context(context).build().unwrap();
    assert_eq!(managed.source().unwrap().name(), "token exchange");
    get(&*managed).await.unwrap();
    let unset = WorkloadIdentityCredential::builder().context(place.context(&[])).build().unwrap_err();
    assert!(unset.is_unavailable() && unset.to_string().contains("AZURE_FEDERATED_TOKEN_FILE"), "{unset}");
}

#[tokio::test]
async fn a_user_signs_in_with_a_password() {
    let place = Place::start(|a| a.with_user("ada@contoso.com", "pa55")).await;
    let with = |password: &str| {
        UsernamePasswordCredential::builder(TENANT, CLIENT, "ada@contoso.com", password)
            .context(place.context(&[]))
            .build()
            .unwrap()
    };
    get(&*with("pa55")).await.unwrap();
    assert!(!get(&*with("n0")).await.unwrap_err().is_unavailable());
}

#[tokio::test]
async fn the_environment_names_a_secret_a_certificate_or_a_user() {
    let certificate = ClientCertificate::generate().unwrap();
    let place =
        Place::start(|a| a.with_secret("s3cret").with_certificate(&certificate).with_user("ada@contoso.com", "pa55"))
            .await;
    let file = place.authority.directory().join("client.pem");
    std::fs::write(&file, format!("{}{}", certificate.pem(), certificate.key_pem())).unwrap();
    let path = file.display().to_string();
    let base = [("AZURE_TENANT_ID", TENANT), ("AZURE_CLIENT_ID", CLIENT)];
    let cases: [(&[(&'static str, &str)], &str); 3] = [
        (&[("AZURE_CLIENT_SECRET", "s3cret"), ("AZURE_CLIENT_CERTIFICATE_PATH", "/none")], "client_secret"),
        (&[("AZURE_CLIENT_CERTIFICATE_PATH", &path)], "client_assertion"),
        (&[("AZURE_USERNAME", "ada@contoso.com"), ("AZURE_PASSWORD", "pa55")], "username"),
    ];
    for (more, proof) in cases {
        let variables: Vec<_> = base.iter().chain(more).copied().collect();
        let credential = EnvironmentCredential::builder().context(place.context(&variables)).build().unwrap();
        get(&*credential).await.unwrap();
        let form = place.authority.server().requests().pop().unwrap().form();
        assert!(form.iter().any(|(name, _)| name == proof), "{proof}: {form:?}");
    }
    let with =
        |variables: &[(&'static str, &str)]| EnvironmentCredential::builder().context(place.context(variables)).build();
    let nothing = get(&*with(&[]).unwrap()).await.unwrap_err();
    assert!(nothing.is_unavailable() && nothing.to_string().contains(": AZURE_CLIENT_ID not set"), "{nothing}");
    let half = get(&*with(&base).unwrap()).await.unwrap_err();
    assert!(half.is_unavailable() && half.to_string().contains("AZURE_CLIENT_SECRET"), "{half}");
    let wrong: Vec<_> = base.iter().chain(&[("AZURE_CLIENT_SECRET", "wr0ng")]).copied().collect();
    let wrong = get(&*with(&wrong).unwrap()).await.unwrap_err();
    assert!(matches!(&wrong, CredentialError::Failed(f) if f.credential == "EnvironmentCredential"), "{wrong:?}");
    let no_file: Vec<_> = base.iter().chain(&[("AZURE_CLIENT_CERTIFICATE_PATH", "/none.pem")]).copied().collect();
    assert!(with(&no_file).unwrap_err().to_string().contains("/none.pem"));
}

/// A job, its service connection federated with the application.
#[tokio::test]
async fn a_pipeline_gives_the_assertion() {
    let time = Time::new();
    let job = PipelinesEndpoint::start(time.options()).await.unwrap();
    let place = Place::start(|a| a.with_federated(job.issuer(), job.subject())).await;
    let uri = job.variables().remove(0).1;
    let build = |uri: &str, connection: &str, token: &str| {
        let variables: &[(&'static str, &str)] = if uri.is_empty() { &[] } else { &[("SYSTEM_OIDCREQUESTURI", uri)] };
        AzurePipelinesCredential::builder(TENANT, CLIENT, connection, token).context(place.context(variables)).build()
    };
    let (connection, access) = (job.connection_id(), job.access_token());
    let credential = build(&uri, connection, access).unwrap();
    let token = get(&*credential).await.unwrap();
    assert_eq!((&claims(&token)["appid"], &claims(&token)["tid"]), (&CLIENT.into(), &TENANT.into()));
    assert_eq!(get(&*credential).await.unwrap(), token);
    let requests = job.server().requests();
    assert_eq!(requests.len(), 1, "an assertion is asked for once per token");
    assert_eq!(requests[0].header("content-type"), Some("application/json"));
    assert_eq!(requests[0].raw_query, format!("api-version=7.1&serviceConnectionId={connection}"));
    get(&*build(&format!("{uri}/"), connection, access).unwrap()).await.unwrap();

    assert!(build("", connection, access).unwrap_err().is_unavailable(), "outside a job");
    assert!(!build(&uri, connection, "").unwrap_err().is_unavailable());
    for (what, credential, status) in [
        ("another job's token", build(&uri, connection, "bu1ld"), 401),
        ("another connection", build(&uri, "50000000-0000-4000-8000-00000000000f", access), 404),
    ] {
        let error = get(&*credential.unwrap()).await.unwrap_err();
        assert_eq!(error.failed().unwrap().kind, FailureKind::Refused { status, code: None }, "{what}: {error}");
        assert!(error.remedy().is_some() && !error.to_string().contains("bu1ld"), "{what}: {error}");
        assert!(!error.to_string().contains(access), "{what}: {error}");
    }

    // A job of another organisation: it has its token, and the application does not know it.
    let other = PipelinesEndpoint::start(time.options()).await.unwrap();
    let foreign = build(&other.variables().remove(0).1, other.connection_id(), other.access_token()).unwrap();
    let error = get(&*foreign).await.unwrap_err();
    assert!(error.to_string().contains("AADSTS700211") && error.remedy().unwrap().contains("issuer"), "{error}");
}

/// The identity of a machine proves an application that trusts it.
#[tokio::test]
async fn a_managed_identity_is_an_applications_assertion() {
    let arc = Arcs::start().await;
    let identity = denizen_identity_testkit::Identities::default().system.unwrap();
    let issuer = Issuer::default();
    let place = Place::start(|a| a.with_federated(&issuer, &identity.object_id)).await;
    let managed = arc.credential(None);
    let assertion = move || {
        let managed = Arc::clone(&managed);
        async move {
            let scopes = ["api://AzureADTokenExchange/.default"];
            managed.token(TokenRequest::new(&scopes)).await.map(|token| token.secret().to_owned())
        }
    };
    let credential = ClientAssertionCredential::builder(TENANT, CLIENT, assertion);
    let credential = credential.context(place.context(&[])).build().unwrap();
    // The agent signs with keys of its own, which this application does not trust.
    let error = get(&*credential).await.unwrap_err();
    assert!(error.to_string().contains("AADSTS700027"), "{error}");
    place.authority.register(Application::new(CLIENT).with_federated(arc.issuer(), &identity.object_id));
    let token = get(&*credential).await.unwrap();
    assert_eq!(claims(&token)["appid"], CLIENT);
    let asked = arc.endpoint.server().requests();
    assert_eq!(asked.last().unwrap().parameter("resource"), Some("api://AzureADTokenExchange"));
    // Another identity of the same machine is another subject.
    let user = denizen_identity_testkit::Identities::default().user.remove(0);
    place.authority.register(Application::new(CLIENT).with_federated(arc.issuer(), &user.object_id));
    let scopes = ["https://management.azure.com/.default"];
    let error = credential.token(TokenRequest::new(&scopes)).await.err().unwrap();
    assert!(error.to_string().contains("AADSTS700213"), "{error}");
}
