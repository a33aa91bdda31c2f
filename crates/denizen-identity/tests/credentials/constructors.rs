//! The constructors in the form of `azure_identity`: what is needed, then options.

use azure_core::credentials::{Secret, SecretBytes, TokenCredential};
use denizen_identity::{
    AzurePipelinesCredential, ClientAssertionCredential, ClientCertificateCredential, ClientSecretCredential,
    CredentialContext, CredentialError, Environment, ManagedIdentityCredential, UserAssigned,
    WorkloadIdentityCredential,
    credential::{
        AzurePipelinesCredentialOptions, ClientAssertionCredentialOptions, ClientCertificateCredentialOptions,
        ClientSecretCredentialOptions, ManagedIdentityCredentialOptions, TenantOptions,
        WorkloadIdentityCredentialOptions,
    },
    error::FailureKind,
};
use denizen_identity_testkit::{Application, Authority, ClientCertificate, Issuer, issuer::TENANT};

use super::{Arcs, Time, VAULT, claims, federated};

const CLIENT: &str = "50000000-0000-4000-8000-000000000001";

#[tokio::test]
async fn the_options_of_an_application_are_followed() {
    let time = Time::new();
    let authority = Authority::start(time.options()).await.unwrap();
    let issuer = Issuer::default();
    authority.register(Application::new(CLIENT).with_secret("s3cret").with_federated(&issuer, "subject"));
    let mut options = ClientSecretCredentialOptions::default();
    options.context = Some(time.context(authority.environment(&[])));
    let secret = || Secret::new("s3cret");
    let credential = ClientSecretCredential::new(TENANT, CLIENT, secret(), Some(options.clone())).unwrap();
    let token = credential.get_token(&[VAULT], None).await.unwrap();
    assert_eq!(claims(token.token.secret())["appid"], CLIENT);

    let mut tenant = TenantOptions::default();
    tenant.authority_host = Some("http://plain.example".to_owned());
    options.tenant = tenant.clone();
    let error = ClientSecretCredential::new(TENANT, CLIENT, secret(), Some(options)).unwrap_err();
    assert!(error.to_string().contains("the authority is not an https URL"), "{error}");
    let mut options = ClientAssertionCredentialOptions::default();
    options.tenant = tenant.clone();
    let assertion = || async { Ok(String::new()) };
    let error = ClientAssertionCredential::new(TENANT, CLIENT, assertion, Some(options)).unwrap_err();
    assert!(error.to_string().contains("the authority is not an https URL"), "{error}");

    let job = Environment::from([("SYSTEM_OIDCREQUESTURI", "https://127.0.0.1:1/oidc")]);
    let mut options = AzurePipelinesCredentialOptions::default();
    (options.tenant, options.context) = (tenant.clone(), Some(CredentialContext::of(job)));
    let error = AzurePipelinesCredential::new(TENANT, CLIENT, "connection", "token", Some(options)).unwrap_err();
    assert!(error.to_string().contains("the authority is not an https URL"), "{error}");

    let certificate = ClientCertificate::generate().unwrap();
    let pem = || SecretBytes::new([certificate.pem(), certificate.key_pem()].concat().into_bytes());
    let mut options = ClientCertificateCredentialOptions::default();
    options.context = Some(time.context(authority.environment(&[])));
    ClientCertificateCredential::new(TENANT, CLIENT, pem(), Some(options.clone())).unwrap();
    options.tenant = tenant.clone();
    let error = ClientCertificateCredential::new(TENANT, CLIENT, pem(), Some(options)).unwrap_err();
    assert!(error.to_string().contains("the authority is not an https URL"), "{error}");

    let file = authority.directory().join("federated-token");
    std::fs::write(&file, issuer.sign(&federated(&issuer, "subject", time.0.now())).unwrap()).unwrap();
    let mut options = WorkloadIdentityCredentialOptions::default();
    options.context = Some(time.context(authority.environment(&[])));
    (options.tenant_id, options.client_id) = (Some(TENANT.to_owned()), Some(CLIENT.to_owned()));
    options.token_file_path = Some(file);
    let credential = WorkloadIdentityCredential::new(Some(options.clone())).unwrap();
    let token = credential.get_token(&[VAULT], None).await.unwrap();
    assert_eq!(claims(token.token.secret())["appid"], CLIENT);
    options.tenant = tenant;
    let error = WorkloadIdentityCredential::new(Some(options)).unwrap_err();
    assert!(error.to_string().contains("the authority is not an https URL"), "{error}");
}

#[tokio::test]
async fn a_managed_identity_is_the_one_that_the_options_name() {
    let arcs = Arcs::start().await;
    let mut options = ManagedIdentityCredentialOptions::default();
    options.context = Some(arcs.context());
    let own = ManagedIdentityCredential::new(Some(options.clone())).unwrap();
    own.get_token(&[VAULT], None).await.unwrap();
    options.user_assigned_id = Some(UserAssigned::ClientId("00000000-0000-4000-8000-0000000000ff".to_owned()));
    let unknown = ManagedIdentityCredential::new(Some(options)).unwrap();
    let error = unknown.get_token(&[VAULT], None).await.unwrap_err();
    let error = error.downcast_ref::<CredentialError>().and_then(CredentialError::failed).unwrap();
    assert!(matches!(error.kind, FailureKind::Refused { status: 400, .. }), "{error:?}");
}
