//! A token service over TLS, with the paths and the errors of Entra's: discovery, keys, and tokens for an application
//! that proves itself by secret, certificate, federated assertion, or a user's password.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock},
};

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, RsaParameters, UnparsedPublicKey};
use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use denizen_wire::{Clock, UnixTime, oauth};
use rustls::RootCertStore;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    environment_of,
    issuer::{Identity, Issuer},
    query::tidy,
    random_guid,
    server::{Behavior, Options, Recorded, Reply, Server, lock},
    tls::{ClientCertificate, ServerCertificate},
};

/// The audience of a federated assertion, unless it is registered with another.
pub const EXCHANGE_AUDIENCE: &str = "api://AzureADTokenExchange";
/// How far the clocks of client and authority may differ, seconds.
const SKEW: i64 = 300;

/// An application that the authority knows, and how it may prove itself.
#[derive(Clone, Default)]
pub struct Application {
    client_id: String,
    object_id: String,
    secret: Option<String>,
    certificates: Vec<Certificate>,
    federated: Vec<Federated>,
    user: Option<(String, String)>,
}

#[derive(Clone)]
struct Certificate {
    thumbprints: [Vec<u8>; 2],
    public: Vec<u8>,
}

#[derive(Clone)]
struct Federated {
    issuer: Issuer,
    subject: String,
    audience: String,
}

impl Application {
    /// One without any proof yet.
    pub fn new(client_id: &str) -> Self {
        let object_id = "60000000-0000-4000-8000-000000000001".to_owned();
        Self { client_id: client_id.to_owned(), object_id, ..Self::default() }
    }

    /// Proves itself by this secret.
    #[must_use]
    pub fn with_secret(mut self, secret: &str) -> Self {
        self.secret = Some(secret.to_owned());
        self
    }

    /// Proves itself by an assertion signed with this certificate's key.
    #[must_use]
    pub fn with_certificate(mut self, certificate: &ClientCertificate) -> Self {
        self.certificates.push(Certificate { thumbprints: certificate.thumbprints(), public: certificate.public() });
        self
    }

    /// Proves itself by a token of this issuer for this subject and [`EXCHANGE_AUDIENCE`].
    #[must_use]
    pub fn with_federated(mut self, issuer: &Issuer, subject: &str) -> Self {
        let audience = EXCHANGE_AUDIENCE.to_owned();
        self.federated.push(Federated { issuer: issuer.clone(), subject: subject.to_owned(), audience });
        self
    }

    /// Lets this user sign in with a password.
    #[must_use]
    pub fn with_user(mut self, name: &str, password: &str) -> Self {
        self.user = Some((name.to_owned(), password.to_owned()));
        self
    }
}

/// A token service for one tenant.
pub struct Authority {
    server: Server,
    applications: Arc<Mutex<Vec<Application>>>,
    issuer: Arc<OnceLock<Issuer>>,
    roots: RootCertStore,
    directory: TempDir,
}

impl Authority {
    /// Starts one whose tokens name the issuer of `options`: Entra's names, by default.
    ///
    /// # Errors
    /// The port cannot be had, or no certificate made.
    pub async fn start(options: Options) -> io::Result<Self> {
        Self::launch(options, false).await
    }

    /// Starts one whose tokens name it by its own address, as a service outside Azure does:
    /// `https://localhost:PORT/{tenant}/` and `.../v2.0`.
    ///
    /// # Errors
    /// The port cannot be had, or no certificate made.
    pub async fn start_named_by_address(options: Options) -> io::Result<Self> {
        Self::launch(options, true).await
    }

    async fn launch(options: Options, by_address: bool) -> io::Result<Self> {
        let certificate = ServerCertificate::generate()?;
        let directory = tempfile::tempdir()?;
        std::fs::write(directory.path().join("ca.pem"), certificate.authority_pem())?;
        let applications = Arc::new(Mutex::new(Vec::new()));
        // Known once the port is.
        let issuer = Arc::new(OnceLock::new());
        let service =
            Service { applications: Arc::clone(&applications), issuer: Arc::clone(&issuer), clock: options.clock };
        let server = Server::start(options.address, Some(certificate.acceptor()?), move |request, behavior| {
            service.answer(request, behavior)
        })
        .await?;
        server.set_behavior(|behavior| behavior.lifetime = 3599);
        let named = if by_address { options.issuer.at(&server.url()) } else { options.issuer };
        issuer.get_or_init(|| named);
        Ok(Self { server, applications, issuer, roots: certificate.roots(), directory })
    }

    /// Its listener; [`Server::url`] is the authority's URL.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Who signs its tokens.
    pub fn issuer(&self) -> Issuer {
        self.issuer.get().cloned().unwrap_or_default()
    }

    /// Makes an application known, in place of one with the same client id.
    pub fn register(&self, application: Application) {
        let mut applications = lock(&self.applications);
        applications.retain(|known| known.client_id != application.client_id);
        applications.push(application);
    }

    /// The only roots that prove it.
    pub fn roots(&self) -> RootCertStore {
        self.roots.clone()
    }

    /// The same as a PEM file, which is removed with the authority.
    pub fn ca_file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// A directory of its own, for token files and certificates; removed with it.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// `AZURE_AUTHORITY_HOST`, `AZURE_TENANT_ID` and `SSL_CERT_FILE`.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AZURE_AUTHORITY_HOST", self.server.url()),
            ("AZURE_TENANT_ID", self.issuer().tenant().to_owned()),
            ("SSL_CERT_FILE", self.ca_file().display().to_string()),
        ]
    }

    /// The same as a value, with more variables.
    pub fn environment<E: FromIterator<(String, String)>>(&self, more: &[(&'static str, &str)]) -> E {
        let mut variables = self.variables();
        variables.extend(more.iter().map(|&(name, value)| (name, value.to_owned())));
        environment_of(variables)
    }
}

struct Service {
    applications: Arc<Mutex<Vec<Application>>>,
    issuer: Arc<OnceLock<Issuer>>,
    clock: Clock,
}

/// Status, OAuth error, AADSTS number, reason.
struct Refusal(u16, &'static str, i32, String);

fn client(code: i32, reason: impl Into<String>) -> Refusal {
    Refusal(401, "invalid_client", code, reason.into())
}

impl Service {
    fn answer(&self, request: &Recorded, behavior: &Behavior) -> Reply {
        let now = self.clock.now();
        self.route(request, behavior, now).unwrap_or_else(|Refusal(status, error, code, reason)| {
            let id = || random_guid().unwrap_or_default().parse().unwrap_or_default();
            let asked = request.header("client-request-id").and_then(|id| id.parse().ok());
            let body = oauth::Error::new(error, code, &reason, id(), asked.unwrap_or_else(id), now);
            match serde_json::to_value(body) {
                Ok(body) => Reply::json(status, &body),
                Err(error) => Reply::text(500, &error.to_string()),
            }
        })
    }

    fn route(&self, request: &Recorded, behavior: &Behavior, now: UnixTime) -> Result<Reply, Refusal> {
        let issuer = self.issuer.get().cloned().unwrap_or_default();
        let base = format!("https://{}", request.header("host").unwrap_or("localhost"));
        let path = tidy(&request.path);
        if path == "/common/discovery/instance" {
            return Ok(instance(&base, issuer.tenant()));
        }
        let (tenant, rest) = path.trim_start_matches('/').split_once('/').unwrap_or_default();
        if !tenant.eq_ignore_ascii_case(issuer.tenant()) {
            return Err(Refusal(400, "invalid_tenant", 90002, format!("Tenant '{tenant}' not found.")));
        }
        match (request.method.as_str(), rest) {
            ("GET", "v2.0/.well-known/openid-configuration") => {
                Ok(metadata(&base, issuer.tenant(), issuer.iss_v2(), "/v2.0"))
            }
            ("GET", ".well-known/openid-configuration") => Ok(metadata(&base, issuer.tenant(), issuer.iss(), "")),
            ("GET", "discovery/v2.0/keys" | "discovery/keys") => Ok(match issuer.jwks() {
                Ok(keys) => Reply::json(200, &keys),
                Err(error) => Reply::text(500, &error.to_string()),
            }),
            ("POST", "oauth2/v2.0/token") => {
                let form = Form(request.form());
                // A client may ask for a user's scopes besides; they name no resource.
                let scopes = form.required("scope")?.split(' ');
                let scopes: Vec<_> =
                    scopes.filter(|s| !["openid", "profile", "offline_access", ""].contains(s)).collect();
                let resource = match scopes.as_slice() {
                    [scope] => scope.strip_suffix("/.default"),
                    _ => None,
                };
                let resource = resource.ok_or_else(|| {
                    let reason = format!("The provided value for scope {} is not valid.", scopes.join(" "));
                    Refusal(400, "invalid_scope", 1_002_012, reason)
                })?;
                let token = self.token(&issuer, &form, &base, resource, behavior, now)?;
                // Integers: one client refuses strings here.
                let mut body = json!({
                    "token_type": "Bearer", "expires_in": behavior.lifetime, "ext_expires_in": behavior.lifetime,
                    "access_token": token,
                });
                Ok(finished(&mut body, behavior))
            }
            ("POST", "oauth2/token") => {
                let form = Form(request.form());
                let resource = form.required("resource")?;
                let token = self.token(&issuer, &form, &base, resource, behavior, now)?;
                let text = |number: i64| number.to_string();
                let mut body = json!({
                    "token_type": "Bearer", "expires_in": text(behavior.lifetime),
                    "ext_expires_in": text(behavior.lifetime), "expires_on": text(now.0 + behavior.lifetime),
                    "not_before": text(now.0), "resource": resource, "access_token": token,
                });
                Ok(finished(&mut body, behavior))
            }
            _ => Ok(Reply::empty(404)),
        }
    }

    fn token(
        &self,
        issuer: &Issuer,
        form: &Form,
        base: &str,
        resource: &str,
        behavior: &Behavior,
        now: UnixTime,
    ) -> Result<String, Refusal> {
        let id = form.required("client_id")?;
        let application = lock(&self.applications).iter().find(|known| known.client_id == id).cloned();
        let application = application.ok_or_else(|| {
            let reason = format!("Application with identifier '{id}' was not found in the directory.");
            Refusal(400, "unauthorized_client", 700_016, reason)
        })?;
        match form.required("grant_type")? {
            "client_credentials" => application.proven(form, base, issuer.tenant(), now)?,
            "password" => {
                let given = (form.required("username")?.to_owned(), form.required("password")?.to_owned());
                if application.user.as_ref() != Some(&given) {
                    let reason = "Error validating credentials due to invalid username or password.";
                    return Err(Refusal(400, "invalid_grant", 50126, reason.into()));
                }
            }
            other => {
                let reason = format!("The app requested an unsupported grant type '{other}'.");
                return Err(Refusal(400, "unsupported_grant_type", 70003, reason));
            }
        }
        let identity =
            Identity { client_id: application.client_id, object_id: application.object_id, resource_id: String::new() };
        issuer
            .sign(&issuer.claims(&identity, resource, now, behavior.lifetime))
            .map_err(|error| Refusal(500, "server_error", 90033, error.to_string()))
    }
}

fn finished(body: &mut Value, behavior: &Behavior) -> Reply {
    if let Some(body) = body.as_object_mut() {
        body.retain(|name, _| !behavior.omit.contains(&name.as_str()));
        body.extend(behavior.replace.clone());
    }
    Reply::json(200, body).with("Cache-Control", "no-store")
}

impl Application {
    fn proven(&self, form: &Form, base: &str, tenant: &str, now: UnixTime) -> Result<(), Refusal> {
        if let Some(secret) = form.get("client_secret") {
            return if self.secret.as_deref() == Some(secret) {
                Ok(())
            } else {
                Err(client(7_000_215, format!("Invalid client secret provided for app '{}'.", self.client_id)))
            };
        }
        let Some(assertion) = form.get("client_assertion") else {
            let reason =
                "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.";
            return Err(client(7_000_218, reason));
        };
        if form.get("client_assertion_type") != Some(oauth::JWT_BEARER) {
            return Err(client(7_000_218, "'client_assertion_type' is not the JWT bearer type."));
        }
        // Clients that read the assertion from a file send its newline along.
        let jwt = Jwt::read(assertion.trim()).ok_or_else(|| client(50027, "The assertion is not a JWT."))?;
        if !jwt.is_current(now) {
            return Err(client(700_024, "Client assertion is not within its valid time range."));
        }
        if jwt.claim("iss") == Some(self.client_id.as_str()) {
            self.proven_by_certificate(
                &jwt,
                &[format!("{base}/{tenant}/oauth2/v2.0/token"), format!("{base}/{tenant}/oauth2/token")],
            )
        } else {
            self.proven_by_federation(&jwt)
        }
    }

    fn proven_by_certificate(&self, jwt: &Jwt, audiences: &[String]) -> Result<(), Refusal> {
        let wrong = |reason: &str| {
            client(
                700_027,
                format!(
                    "The certificate with identifier used to sign the client assertion is not registered on application: {reason}."
                ),
            )
        };
        let thumbprint = ["x5t", "x5t#S256"].into_iter().find_map(|name| lax(jwt.header.get(name)?.as_str()?));
        let thumbprint = thumbprint.ok_or_else(|| wrong("the header names no thumbprint"))?;
        let certificate = self.certificates.iter().find(|known| known.thumbprints.contains(&thumbprint));
        let certificate = certificate.ok_or_else(|| wrong("no such thumbprint"))?;
        if !jwt.is_signed_by(&certificate.public) {
            return Err(wrong("the signature does not verify"));
        }
        if jwt.claim("sub") != Some(self.client_id.as_str()) {
            return Err(client(
                700_021,
                "Client assertion application identifier doesn't match 'client_id' parameter.",
            ));
        }
        let audience = jwt.claim("aud").unwrap_or_default();
        if !audiences.iter().any(|known| known.eq_ignore_ascii_case(audience)) {
            return Err(client(700_023, format!("Client assertion audience claim '{audience}' does not match.")));
        }
        Ok(())
    }

    fn proven_by_federation(&self, jwt: &Jwt) -> Result<(), Refusal> {
        let [iss, sub, aud] = ["iss", "sub", "aud"].map(|name| jwt.claim(name).unwrap_or_default());
        let none = |what: &str, value: &str| {
            format!("No matching federated identity record found for presented assertion {what} '{value}'.")
        };
        let of_issuer: Vec<_> = self.federated.iter().filter(|known| known.issuer.iss() == iss).collect();
        if of_issuer.is_empty() {
            return Err(client(700_211, none("issuer", iss)));
        }
        let Some(known) = of_issuer.iter().find(|known| known.subject == sub) else {
            return Err(client(700_213, none("subject", sub)));
        };
        if known.audience != aud {
            return Err(client(700_212, none("audience", aud)));
        }
        if !known.issuer.public_keys().iter().any(|public| jwt.is_signed_by(public)) {
            return Err(client(700_027, "The assertion's signature does not verify."));
        }
        Ok(())
    }
}

struct Form(Vec<(String, String)>);

impl Form {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn required(&self, name: &str) -> Result<&str, Refusal> {
        self.get(name).ok_or_else(|| {
            let reason = format!("The request body must contain the following parameter: '{name}'.");
            Refusal(400, "invalid_request", 900_144, reason)
        })
    }
}

/// An assertion, read as laxly as Entra reads it: clients pad, write thumbprints in either alphabet, and times as
/// fractions or texts.
struct Jwt {
    signed: String,
    signature: Vec<u8>,
    header: Value,
    claims: Value,
}

impl Jwt {
    fn read(text: &str) -> Option<Self> {
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let json = |part| serde_json::from_slice(&lax(part)?).ok();
        Some(Self {
            header: json(header)?,
            claims: json(claims)?,
            signature: lax(signature)?,
            signed: signed.to_owned(),
        })
    }

    fn claim(&self, name: &str) -> Option<&str> {
        self.claims.get(name)?.as_str()
    }

    fn is_current(&self, now: UnixTime) -> bool {
        let seconds = |name: &str| {
            let value = self.claims.get(name)?;
            value.as_i64().or_else(|| {
                let fraction = value.as_f64().or_else(|| value.as_str()?.parse().ok())?;
                // As far as a time goes, the whole seconds are all there is.
                format!("{fraction:.0}").parse().ok()
            })
        };
        seconds("exp").is_some_and(|exp| now.0 < exp + SKEW) && seconds("nbf").is_none_or(|nbf| nbf - SKEW <= now.0)
    }

    fn is_signed_by(&self, public: &[u8]) -> bool {
        let algorithm: &RsaParameters = match self.header.get("alg").and_then(Value::as_str) {
            Some("RS256") => &RSA_PKCS1_2048_8192_SHA256,
            Some("PS256") => &RSA_PSS_2048_8192_SHA256,
            _ => return false,
        };
        UnparsedPublicKey::new(algorithm, public).verify(self.signed.as_bytes(), &self.signature).is_ok()
    }
}

fn lax(text: &str) -> Option<Vec<u8>> {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(&alphabet::URL_SAFE, config).decode(text.replace('+', "-").replace('/', "_")).ok()
}

fn metadata(base: &str, tenant: &str, issuer: &str, version: &str) -> Reply {
    let at = |path: &str| format!("{base}/{tenant}/{path}");
    let oauth = format!("oauth2{version}");
    let keys = if version.is_empty() { "discovery/keys" } else { "discovery/v2.0/keys" };
    Reply::json(
        200,
        &json!({
            "issuer": issuer,
            "authorization_endpoint": at(&format!("{oauth}/authorize")),
            "token_endpoint": at(&format!("{oauth}/token")),
            "device_authorization_endpoint": at(&format!("{oauth}/devicecode")),
            "jwks_uri": at(keys),
            "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
            "response_types_supported": ["code"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }),
    )
}

fn instance(base: &str, tenant: &str) -> Reply {
    let host = base.trim_start_matches("https://");
    Reply::json(
        200,
        &json!({
            "tenant_discovery_endpoint": format!("{base}/{tenant}/v2.0/.well-known/openid-configuration"),
            "api-version": "1.1",
            "metadata": [{"preferred_network": host, "preferred_cache": host, "aliases": [host]}],
        }),
    )
}
