//! Between the official crates' traits and ours.
//!
//! The official `TokenRequestOptions` has no field for claims or a tenant, but a context that carries any value: put
//! [`Claims`] or [`Tenant`] there, and it is heeded.

use std::{fmt, sync::Arc};

use azure_core::{
    credentials::{AccessToken, TokenCredential, TokenRequestOptions},
    error::ErrorKind,
    http::{ClientMethodOptions, Context},
    time::OffsetDateTime,
};
use denizen_wire::UnixTime;

use crate::{
    credential::{BoxFuture, Credential},
    error::{CredentialError, Failed, FailureKind},
    token::{Token, TokenRequest},
};

/// A claims challenge, to be put into a request's context: no token from the cache answers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims(pub String);

/// A tenant, to be put into a request's context: the token is for this one rather than the credential's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant(pub String);

/// What `TokenCredential::get_token` does for every credential here.
pub(crate) async fn get_token(
    credential: &dyn Credential,
    scopes: &[&str],
    options: Option<&TokenRequestOptions<'_>>,
) -> azure_core::Result<AccessToken> {
    let context = options.map(|options| &options.method_options.context);
    let mut request = TokenRequest::new(scopes);
    if let Some(Claims(claims)) = context.and_then(|context| context.value()) {
        request = request.with_claims(claims);
    }
    if let Some(Tenant(tenant)) = context.and_then(|context| context.value()) {
        request = request.for_tenant(tenant);
    }
    let token = match credential.cached(&request) {
        Some(token) => token,
        None => credential.token(request).await?,
    };
    let expires_on = OffsetDateTime::from_unix_timestamp(token.expires_on.0)
        .map_err(|e| azure_core::Error::with_error(ErrorKind::DataConversion, e, "the token's end is no date"))?;
    Ok(AccessToken::new(token.secret().to_owned(), expires_on))
}

/// The way back: a token of an official credential. Its error is ours if ours is inside, else a failure.
pub(crate) async fn token_of(
    credential: &dyn TokenCredential,
    request: &TokenRequest<'_>,
) -> Result<Token, CredentialError> {
    let mut context = Context::new();
    if let Some(claims) = request.claims() {
        context.insert(Claims(claims.to_owned()));
    }
    if let Some(tenant) = request.tenant_id() {
        context.insert(Tenant(tenant.to_owned()));
    }
    let options = TokenRequestOptions { method_options: ClientMethodOptions { context } };
    let token = credential.get_token(request.scopes(), Some(options)).await.map_err(|e| {
        let ours = e.downcast_ref::<CredentialError>().cloned();
        ours.unwrap_or_else(|| Failed::new("TokenCredential", FailureKind::Foreign, e.to_string()).into())
    })?;
    Ok(Token::new(token.token.secret().to_owned(), UnixTime(token.expires_on.unix_timestamp())))
}

impl From<CredentialError> for azure_core::Error {
    fn from(error: CredentialError) -> Self {
        // Without a message of its own: azure_core prints either the message or the error, not both.
        Self::new(ErrorKind::Credential, error)
    }
}

/// An official credential as a link of our chains.
pub(crate) struct Foreign {
    name: &'static str,
    inner: Arc<dyn TokenCredential>,
}

impl Foreign {
    pub(crate) fn new(name: &'static str, inner: Arc<dyn TokenCredential>) -> Self {
        Self { name, inner }
    }
}

impl Credential for Foreign {
    fn name(&self) -> &str {
        self.name
    }

    fn token<'a>(&'a self, request: TokenRequest<'a>) -> BoxFuture<'a, Result<Token, CredentialError>> {
        Box::pin(async move { token_of(&*self.inner, &request).await.map_err(|e| e.named(self.name)) })
    }
}

impl fmt::Debug for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::error::Unavailable;

    #[derive(Debug, Default)]
    struct Recorder(Mutex<Vec<(Option<String>, Option<String>)>>);

    impl Credential for Recorder {
        fn name(&self) -> &str {
            "Recorder"
        }
        fn token<'a>(&'a self, request: TokenRequest<'a>) -> BoxFuture<'a, Result<Token, CredentialError>> {
            let seen = (request.claims().map(str::to_owned), request.tenant_id().map(str::to_owned));
            self.0.lock().unwrap().push(seen);
            Box::pin(std::future::ready(match request.scopes() {
                ["none"] => Err(Unavailable::new("Recorder", "not here").into()),
                _ => Ok(Token::new("t".into(), UnixTime(1_795_239_900))),
            }))
        }
    }

    struct Official(Recorder);

    impl fmt::Debug for Official {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Official")
        }
    }

    #[async_trait::async_trait]
    impl TokenCredential for Official {
        async fn get_token(
            &self,
            scopes: &[&str],
            options: Option<TokenRequestOptions<'_>>,
        ) -> azure_core::Result<AccessToken> {
            get_token(&self.0, scopes, options.as_ref()).await
        }
    }

    #[tokio::test]
    async fn claims_and_tenant_cross_both_ways_in_the_context() {
        let official = Official(Recorder::default());
        let scopes = ["s"];
        let request = TokenRequest::new(&scopes).with_claims("{}").for_tenant("t-2");
        let token = token_of(&official, &request).await.unwrap();
        assert_eq!((token.secret(), token.expires_on.0), ("t", 1_795_239_900));
        assert_eq!(*official.0.0.lock().unwrap(), [(Some("{}".into()), Some("t-2".into()))]);
    }

    #[tokio::test]
    async fn unavailable_survives_the_official_trait() {
        let official = Official(Recorder::default());
        let error = official.get_token(&["none"], None).await.unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::Credential);
        assert_eq!(error.to_string(), "Recorder is unavailable: not here");
        let link = Foreign::new("Mine", Arc::new(official));
        let error = link.token(TokenRequest::new(&["none"])).await.err().unwrap();
        assert!(error.is_unavailable() && error.credential() == "Mine", "{error}");
    }
}
