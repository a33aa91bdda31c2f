//! An application with a certificate.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use denizen_wire::oauth::JWT_BEARER;
use zeroize::Zeroizing;

use super::{BoxFuture, cached_credential, tenant_setters};
use crate::{
    cache::{Cached, Fetch},
    certificate::SigningCertificate,
    context::CredentialContext,
    entra::{TenantOptions, TokenEndpoint},
    error::{CredentialError, Failed},
    file,
    token::{Ask, Token},
};

const NAME: &str = "ClientCertificateCredential";
/// A certificate file larger than this is not one, bytes.
const MAX_FILE: u64 = 4 * 1024 * 1024;

/// An application that proves itself with a certificate's key: PEM or PKCS#12, RSA.
pub struct ClientCertificateCredential(Cached<WithCertificate>);

cached_credential!(ClientCertificateCredential);

/// Makes a [`ClientCertificateCredential`].
pub struct ClientCertificateCredentialBuilder {
    tenant_id: String,
    client_id: String,
    certificate: Zeroizing<Vec<u8>>,
    path: Option<PathBuf>,
    password: Option<Zeroizing<String>>,
    send_chain: bool,
    options: TenantOptions,
    context: Option<CredentialContext>,
}

/// What a [`ClientCertificateCredential`] may be told besides what it needs.
#[cfg(feature = "azure_core")]
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ClientCertificateCredentialOptions {
    /// The file's password.
    pub password: Option<azure_core::credentials::Secret>,
    /// Whether the chain is sent along (`x5c`).
    pub send_certificate_chain: bool,
    /// The token service and the tenants a request may name.
    pub tenant: TenantOptions,
    /// Where it takes environment, clock, HTTP client and token cache from; the process if none is given.
    pub context: Option<CredentialContext>,
}

impl ClientCertificateCredential {
    /// Client `client_id` of tenant `tenant_id`, by the bytes of a PEM or PKCS#12 file.
    #[cfg(feature = "azure_core")]
    #[expect(clippy::needless_pass_by_value, reason = "the official crates' constructors take the secret itself")]
    pub fn new(
        tenant_id: impl Into<String>,
        client_id: impl Into<String>,
        certificate: azure_core::credentials::SecretBytes,
        options: Option<ClientCertificateCredentialOptions>,
    ) -> azure_core::Result<Arc<Self>> {
        let options = options.unwrap_or_default();
        let mut builder = Self::builder(tenant_id, client_id, certificate.bytes())
            .tenant_options(options.tenant, options.context)
            .send_certificate_chain(options.send_certificate_chain);
        if let Some(password) = &options.password {
            builder = builder.password(password.secret());
        }
        Ok(builder.build()?)
    }

    /// With options; `certificate` is the content of a PEM or PKCS#12 file.
    pub fn builder(
        tenant_id: impl Into<String>,
        client_id: impl Into<String>,
        certificate: impl Into<Vec<u8>>,
    ) -> ClientCertificateCredentialBuilder {
        ClientCertificateCredentialBuilder {
            tenant_id: tenant_id.into(),
            client_id: client_id.into(),
            certificate: Zeroizing::new(certificate.into()),
            path: None,
            password: None,
            send_chain: false,
            options: TenantOptions::default(),
            context: None,
        }
    }

    /// With options, from a file. Fails when it cannot be read.
    pub fn from_file(
        tenant_id: impl Into<String>,
        client_id: impl Into<String>,
        path: impl AsRef<Path>,
    ) -> Result<ClientCertificateCredentialBuilder, CredentialError> {
        let path = path.as_ref();
        let mut bytes = file::read(path, MAX_FILE).map_err(|e| {
            Failed::configuration(NAME, format!("the certificate {}: {e}", path.display()))
                .with_remedy("give the path of a PEM or PKCS#12 file this process may read")
        })?;
        let builder = Self::builder(tenant_id, client_id, std::mem::take(&mut *bytes));
        Ok(ClientCertificateCredentialBuilder { path: Some(path.to_owned()), ..builder })
    }
}

impl ClientCertificateCredentialBuilder {
    tenant_setters!();

    /// The file's password.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(Zeroizing::new(password.into()));
        self
    }

    /// Whether the chain is sent along (`x5c`), for applications that are registered by subject and issuer.
    #[must_use]
    pub fn send_certificate_chain(mut self, send: bool) -> Self {
        self.send_chain = send;
        self
    }

    /// Fails on a file that holds no usable key and certificate, and on ids that are none.
    pub fn build(self) -> Result<Arc<ClientCertificateCredential>, CredentialError> {
        let context = self.context.unwrap_or_default();
        let password = self.password.as_ref().map(|password| password.as_str());
        let certificate = SigningCertificate::read(&self.certificate, password).map_err(|e| {
            let of = self.path.as_ref().map(|path| format!(" {}", path.display())).unwrap_or_default();
            Failed::configuration(NAME, format!("the certificate{of}: {e}")).with_remedy(
                "give a PEM or PKCS#12 file with an RSA key and its certificate, and its password if it has one",
            )
        })?;
        let endpoint = TokenEndpoint::new(NAME, &self.tenant_id, &self.client_id, &self.options, &context)?;
        let identity = format!("{} {}", endpoint.identity(), certificate.thumbprint());
        let clock = endpoint.clock.clone();
        let fetch = WithCertificate { endpoint, certificate, send_chain: self.send_chain };
        Ok(Arc::new(ClientCertificateCredential(Cached::new(fetch, &identity, &context.cache, clock))))
    }
}

struct WithCertificate {
    endpoint: TokenEndpoint,
    certificate: SigningCertificate,
    send_chain: bool,
}

impl Fetch for WithCertificate {
    fn name(&self) -> &'static str {
        NAME
    }

    fn fetch<'a>(&'a self, ask: &'a Ask) -> BoxFuture<'a, Result<Token, CredentialError>> {
        Box::pin(async move {
            let audience = self.endpoint.url(self.endpoint.tenant(ask)?);
            let now = self.endpoint.clock.now();
            let assertion = self
                .certificate
                .assertion(&self.endpoint.client_id, &audience, now, self.send_chain)
                .map_err(|e| Failed::configuration(NAME, e.to_string()))?;
            let grant = [
                ("grant_type", "client_credentials"),
                ("client_assertion_type", JWT_BEARER),
                ("client_assertion", assertion.as_str()),
            ];
            self.endpoint.token(ask, &grant).await
        })
    }
}

impl fmt::Debug for WithCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.endpoint.fmt(f)
    }
}
