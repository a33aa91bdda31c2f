//! An authority in process, a clock that is moved by hand, and a validator that authorities the one and reads the other.

use denizen_identity_testkit::{Authority, Fault, Identity, Issuer, Options, Reply};
use denizen_validate::{Claims, Clock, TokenValidator, TokenValidatorBuilder, UnixTime, ValidationError, reqwest};
use serde_json::Value;

pub(crate) const AUDIENCE: &str = "api://orders";
pub(crate) const START: i64 = 1_800_000_000;

pub(crate) struct Fixture {
    pub(crate) authority: Authority,
    pub(crate) issuer: Issuer,
    pub(crate) time: Clock,
    pub(crate) validator: TokenValidator,
}

impl Fixture {
    /// An authority that names itself by its address, as Denizen does.
    pub(crate) async fn new() -> Self {
        Self::with(|builder| builder.allow_any_principal()).await
    }

    pub(crate) async fn with(configure: impl FnOnce(TokenValidatorBuilder) -> TokenValidatorBuilder) -> Self {
        let time = Clock::manual(UnixTime(START));
        let authority = Authority::start_named_by_address(Options::default()).await.unwrap();
        let builder = TokenValidator::builder(AUDIENCE)
            .trust(&authority.server().url(), authority.issuer().tenant())
            .accept_development_authorities()
            .clock(time.clone());
        let validator = configure(builder).http_client(client(&[&authority])).build().unwrap();
        Self { issuer: authority.issuer(), authority, time, validator }
    }

    /// The claims of a good token that lives an hour from now.
    pub(crate) fn claims(&self) -> Value {
        self.issuer.claims(&identity(), AUDIENCE, self.time.now(), 3600)
    }

    pub(crate) fn token(&self) -> String {
        self.issuer.sign(&self.claims()).unwrap()
    }

    pub(crate) async fn check(&self, token: &str) -> Result<Claims, ValidationError> {
        self.validator.validate(token).await
    }

    /// A good token but for this change.
    pub(crate) async fn changed(&self, change: impl FnOnce(&mut Value)) -> Result<Claims, ValidationError> {
        let mut claims = self.claims();
        change(&mut claims);
        self.check(&self.issuer.sign(&claims).unwrap()).await
    }

    /// How often the authority was asked for its keys.
    pub(crate) fn fetches(&self) -> usize {
        self.authority.server().requests().iter().filter(|request| request.path.ends_with("/keys")).count()
    }

    /// Every request whose path ends so is answered with this.
    pub(crate) fn publish(&self, path: &'static str, body: &Value) {
        let fault = Fault::Answer(Reply::json(200, body));
        self.authority.server().fail_when(u32::MAX, move |request| request.path.ends_with(path), fault);
    }
}

/// An HTTP client that trusts these authorities only.
pub(crate) fn client(authorities: &[&Authority]) -> reqwest::Client {
    let roots = authorities
        .iter()
        .map(|authority| reqwest::Certificate::from_pem(&std::fs::read(authority.ca_file()).unwrap()).unwrap());
    reqwest::Client::builder().tls_certs_only(roots).no_proxy().build().unwrap()
}

pub(crate) fn identity() -> Identity {
    Options::default().identities.system.unwrap()
}
