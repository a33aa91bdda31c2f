//! The constructors in the form of `azure_identity`: what is needed, then options.

use azure_core::credentials::{Secret, TokenCredential};
use denizen_identity::{
    ClientAssertionCredential, ClientSecretCredential, ManagedIdentityCredential, UserAssigned,
    credential::{
        ClientAssertionCredentialOptions, ClientSecretCredentialOptions, ManagedIdentityCredentialOptions,
        TenantOptions,
    },
};
use denizen_identity_testkit::{Application, Authority, Issuer, issuer::TENANT};

use super::{Arcs, Time, VAULT, claims};

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
    assert!(error.to_string().contains("'http://plain.example' is not an https URL"), "{error}");
    let mut options = ClientAssertionCredentialOptions::default();
    options.tenant = tenant;
    let assertion = || async { Ok(String::new()) };
    let error = ClientAssertionCredential::new(TENANT, CLIENT, assertion, Some(options)).unwrap_err();
    assert!(error.to_string().contains("'http://plain.example' is not an https URL"), "{error}");
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
    assert!(unknown.get_token(&[VAULT], None).await.is_err(), "an identity that is not there gets no token");
}
