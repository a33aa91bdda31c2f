//! Which endpoint serves this process: the decision every Azure SDK makes from the environment, in the order of
//! azure-identity for Python.
//!
//! | environment | source |
//! |---|---|
//! | `IDENTITY_ENDPOINT`, `IDENTITY_HEADER`, `IDENTITY_SERVER_THUMBPRINT` | Service Fabric |
//! | `IDENTITY_ENDPOINT`, `IDENTITY_HEADER` | App Service 2019-08-01 |
//! | `IDENTITY_ENDPOINT`, `IMDS_ENDPOINT` | Arc |
//! | `MSI_ENDPOINT`, `MSI_SECRET`, `WEBSITE_SITE_NAME` | App Service 2017-09-01 |
//! | `MSI_ENDPOINT`, `MSI_SECRET` | Azure ML |
//! | `MSI_ENDPOINT` | Cloud Shell |
//! | `AZURE_FEDERATED_TOKEN_FILE`, `AZURE_TENANT_ID` (client id from `AZURE_CLIENT_ID` or the builder) | token exchange (workload identity) |
//! | none of them, Microsoft's agent's marker file there | Arc, at its usual address |
//! | none | IMDS, at `AZURE_POD_IDENTITY_AUTHORITY_HOST` or 169.254.169.254 |
//!
//! One file per source says how it is asked; `answer.rs` reads what all of them answer.

pub(crate) mod answer;
pub(crate) mod app_service;
pub(crate) mod arc;
pub(crate) mod azure_ml;
pub(crate) mod cloud_shell;
pub(crate) mod imds;
pub(crate) mod service_fabric;

use std::path::{Path, PathBuf};

use denizen_wire::identity::{AZCMAGENT_MARKER, TOKEN_PATH};

use crate::environment::Environment;

/// An identity endpoint, and what it wants.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// Challenge by key file.
    Arc {
        /// The token URL.
        endpoint: String,
    },
    /// A secret header.
    AppService {
        /// The token URL.
        endpoint: String,
        /// The header's value.
        header: String,
    },
    /// The older App Service dialect: header `secret`, expiry as a date.
    AppService2017 {
        /// The token URL.
        endpoint: String,
        /// The header's value.
        secret: String,
    },
    /// A compute of Azure Machine Learning: as App Service 2017-09-01.
    AzureMl {
        /// The token URL.
        endpoint: String,
        /// The header's value.
        secret: String,
        /// The client id of the compute's own identity, which must be named there.
        default_client_id: Option<String>,
    },
    /// The signed-in user of a Cloud Shell.
    CloudShell {
        /// The token URL.
        endpoint: String,
    },
    /// TLS with a pinned certificate, and a secret header.
    ServiceFabric {
        /// The token URL, https.
        endpoint: String,
        /// The header's value.
        header: String,
        /// SHA-1 of the server's certificate, hexadecimal.
        thumbprint: String,
    },
    /// A token of another issuer, in a file, exchanged at the token service.
    TokenExchange {
        /// The tenant.
        tenant_id: String,
        /// The identity, unless the caller names another.
        client_id: Option<String>,
        /// The file.
        token_file: PathBuf,
    },
    /// The caller's address is enough.
    Imds {
        /// The token URL.
        endpoint: String,
        /// Whether the environment named the host: then it is there, and need not be probed.
        named: bool,
    },
}

/// The environment names an endpoint that nothing here can speak to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoSource(String);

impl NoSource {
    /// What would fix it.
    pub fn remedy(&self) -> &'static str {
        "source the env file that this machine's agent wrote"
    }
}

impl Source {
    /// Decides from `environment`, and from whether Microsoft's agent is installed.
    pub fn detect(environment: &Environment) -> Result<Self, NoSource> {
        Self::decide(environment, Path::new(AZCMAGENT_MARKER).exists())
    }

    pub(crate) fn decide(environment: &Environment, azcmagent: bool) -> Result<Self, NoSource> {
        Self::decide_with_reason(environment, azcmagent).map(|(source, _)| source)
    }

    /// The source, and what in the environment decided for it.
    pub(crate) fn decide_with_reason(
        environment: &Environment,
        azcmagent: bool,
    ) -> Result<(Self, &'static str), NoSource> {
        let get = |name| environment.get(name).map(str::to_owned);
        if let Some(endpoint) = get("IDENTITY_ENDPOINT") {
            return match (get("IDENTITY_HEADER"), get("IDENTITY_SERVER_THUMBPRINT"), get("IMDS_ENDPOINT")) {
                (Some(header), Some(thumbprint), _) => Ok((
                    Self::ServiceFabric { endpoint, header, thumbprint },
                    "IDENTITY_ENDPOINT, IDENTITY_HEADER and IDENTITY_SERVER_THUMBPRINT are set",
                )),
                (Some(header), None, _) => {
                    Ok((Self::AppService { endpoint, header }, "IDENTITY_ENDPOINT and IDENTITY_HEADER are set"))
                }
                (None, _, Some(_)) => Ok((Self::Arc { endpoint }, "IDENTITY_ENDPOINT and IMDS_ENDPOINT are set")),
                (None, _, None) => Err(NoSource(
                    "IDENTITY_ENDPOINT is set without IDENTITY_HEADER (App Service) or IMDS_ENDPOINT (Arc)".into(),
                )),
            };
        }
        if let Some(endpoint) = get("MSI_ENDPOINT") {
            return Ok(match get("MSI_SECRET") {
                Some(secret) if get("WEBSITE_SITE_NAME").is_some() => (
                    Self::AppService2017 { endpoint, secret },
                    "MSI_ENDPOINT, MSI_SECRET and WEBSITE_SITE_NAME are set",
                ),
                Some(secret) => (
                    Self::AzureMl { endpoint, secret, default_client_id: get("DEFAULT_IDENTITY_CLIENT_ID") },
                    "MSI_ENDPOINT and MSI_SECRET are set",
                ),
                None => (Self::CloudShell { endpoint }, "MSI_ENDPOINT is set"),
            });
        }
        if let (Some(file), Some(tenant_id)) = (get("AZURE_FEDERATED_TOKEN_FILE"), get("AZURE_TENANT_ID")) {
            return Ok((
                Self::TokenExchange { tenant_id, client_id: get("AZURE_CLIENT_ID"), token_file: file.into() },
                "AZURE_FEDERATED_TOKEN_FILE and AZURE_TENANT_ID are set",
            ));
        }
        if azcmagent {
            return Ok((
                Self::Arc { endpoint: format!("http://localhost:40342{TOKEN_PATH}") },
                "Microsoft's agent is installed",
            ));
        }
        let host = get("AZURE_POD_IDENTITY_AUTHORITY_HOST");
        let named = host.is_some();
        let reason = match named {
            true => "AZURE_POD_IDENTITY_AUTHORITY_HOST is set",
            false => "no variable names an endpoint",
        };
        let host = host.unwrap_or_else(|| "http://169.254.169.254".into());
        Ok((Self::Imds { endpoint: format!("{}{TOKEN_PATH}", host.trim_end_matches('/')), named }, reason))
    }

    /// For people: `Azure Arc`, `App Service`, `IMDS`, …
    pub fn name(&self) -> &'static str {
        match self {
            Self::Arc { .. } => "Azure Arc",
            Self::AppService { .. } => "App Service",
            Self::AppService2017 { .. } => "App Service 2017-09-01",
            Self::AzureMl { .. } => "Azure ML",
            Self::CloudShell { .. } => "Cloud Shell",
            Self::ServiceFabric { .. } => "Service Fabric",
            Self::TokenExchange { .. } => "token exchange",
            Self::Imds { .. } => "IMDS",
        }
    }

    /// The token URL; of a token exchange, the file.
    pub fn endpoint(&self) -> &str {
        match self {
            Self::Arc { endpoint }
            | Self::AppService { endpoint, .. }
            | Self::AppService2017 { endpoint, .. }
            | Self::AzureMl { endpoint, .. }
            | Self::CloudShell { endpoint }
            | Self::ServiceFabric { endpoint, .. }
            | Self::Imds { endpoint, .. } => endpoint,
            Self::TokenExchange { token_file, .. } => token_file.to_str().unwrap_or("a token file"),
        }
    }
}

impl Source {
    /// Names whose tokens this source gives, for a cache: all that chooses an identity. A secret is in it by its SHA-256.
    pub(crate) fn cache_key(&self) -> String {
        let (first, second) = match self {
            Self::Arc { .. } | Self::CloudShell { .. } | Self::Imds { .. } => (String::new(), ""),
            Self::AppService { header, .. } | Self::AppService2017 { secret: header, .. } => (fingerprint(header), ""),
            Self::AzureMl { secret, default_client_id, .. } => {
                (fingerprint(secret), default_client_id.as_deref().unwrap_or_default())
            }
            Self::ServiceFabric { header, thumbprint, .. } => (fingerprint(header), thumbprint.as_str()),
            Self::TokenExchange { tenant_id, client_id, .. } => {
                (tenant_id.clone(), client_id.as_deref().unwrap_or_default())
            }
        };
        format!("{} {} {first} {second}", self.name(), self.endpoint())
    }
}

/// SHA-256 of a secret, hexadecimal: tells two apart without showing either.
pub(crate) fn fingerprint(secret: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, secret.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

// Not derived: headers and secrets are secrets.
impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {}", self.name(), self.endpoint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "http://localhost:40342/metadata/identity/oauth2/token";

    fn name<const N: usize>(pairs: [(&str, &str); N]) -> &'static str {
        Source::decide(&Environment::from(pairs), false).unwrap().name()
    }

    #[test]
    fn the_table_holds() {
        assert_eq!(name([("IDENTITY_ENDPOINT", URL), ("IMDS_ENDPOINT", "http://localhost:40342")]), "Azure Arc");
        assert_eq!(name([("IDENTITY_ENDPOINT", URL), ("IDENTITY_HEADER", "h"), ("IMDS_ENDPOINT", "x")]), "App Service");
        let fabric = [("IDENTITY_ENDPOINT", URL), ("IDENTITY_HEADER", "h"), ("IDENTITY_SERVER_THUMBPRINT", "00")];
        assert_eq!(name(fabric), "Service Fabric");
        assert_eq!(name([("MSI_ENDPOINT", URL), ("MSI_SECRET", "s")]), "Azure ML");
        let web = [("MSI_ENDPOINT", URL), ("MSI_SECRET", "s"), ("WEBSITE_SITE_NAME", "w")];
        assert_eq!(name(web), "App Service 2017-09-01");
        assert_eq!(name([("MSI_ENDPOINT", URL)]), "Cloud Shell");
        assert_eq!(name([("AZURE_FEDERATED_TOKEN_FILE", "/f"), ("AZURE_TENANT_ID", "t")]), "token exchange");
        assert_eq!(name([("AZURE_FEDERATED_TOKEN_FILE", "/f")]), "IMDS");
        assert!(Source::decide(&Environment::from([("IDENTITY_ENDPOINT", URL)]), false).is_err());
    }

    #[test]
    fn arc_wins_over_the_older_variables_and_a_marker_over_nothing() {
        let both = [("IDENTITY_ENDPOINT", URL), ("IMDS_ENDPOINT", "x"), ("MSI_ENDPOINT", "http://other")];
        assert_eq!(name(both), "Azure Arc");
        let empty = Environment::from([("IDENTITY_ENDPOINT", ""), ("IDENTITY_HEADER", "")]);
        assert_eq!(
            Source::decide(&empty, false).unwrap().endpoint(),
            "http://169.254.169.254/metadata/identity/oauth2/token"
        );
        assert_eq!(Source::decide(&empty, true).unwrap().endpoint(), URL);
    }

    #[test]
    fn a_named_imds_host_is_known_to_be_there() {
        let pod = Environment::from([("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://127.0.0.1:9/")]);
        let endpoint = "http://127.0.0.1:9/metadata/identity/oauth2/token".to_owned();
        assert_eq!(Source::decide(&pod, false).unwrap(), Source::Imds { endpoint, named: true });
    }

    #[test]
    fn d15_all_that_chooses_an_identity_is_in_the_caches_key() {
        let e = || "http://e".to_owned();
        let exchange = |tenant: &str, client: Option<&str>| Source::TokenExchange {
            tenant_id: tenant.into(),
            client_id: client.map(str::to_owned),
            token_file: "/f".into(),
        };
        let ml = |secret: &str, id: Option<&str>| Source::AzureMl {
            endpoint: e(),
            secret: secret.into(),
            default_client_id: id.map(str::to_owned),
        };
        let sources = [
            Source::Arc { endpoint: e() },
            Source::Imds { endpoint: e(), named: true },
            Source::AppService { endpoint: e(), header: "a".into() },
            Source::AppService { endpoint: e(), header: "b".into() },
            Source::AppService2017 { endpoint: e(), secret: "a".into() },
            ml("a", None),
            ml("a", Some("x")),
            ml("b", Some("x")),
            Source::ServiceFabric { endpoint: e(), header: "a".into(), thumbprint: "00".into() },
            exchange("t", Some("x")),
            exchange("t", Some("y")),
            exchange("u", Some("x")),
            exchange("t", None),
        ];
        let keys: std::collections::HashSet<_> = sources.iter().map(Source::cache_key).collect();
        assert_eq!(keys.len(), sources.len(), "{keys:#?}");
    }

    #[test]
    fn the_header_is_not_printed() {
        let sources = [
            Source::AppService { endpoint: "http://e".into(), header: "s3cret".into() },
            Source::AzureMl { endpoint: "http://e".into(), secret: "s3cret".into(), default_client_id: None },
            Source::ServiceFabric { endpoint: "e".into(), header: "s3cret".into(), thumbprint: "00".into() },
        ];
        for source in sources {
            assert!(!format!("{source:?}").contains("s3cret"));
        }
    }
}
