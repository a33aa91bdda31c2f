//! The configuration of `denizen server` and of the commands beside it: one commented TOML file, `DENIZEN_…` variables
//! and flags over it.
//!
//! Everything that is wrong is found at once, and each fault names the place, the rule and the fix. Only what the text
//! itself says is checked here; whether files, ports and database can be used is checked by `server`.
//!
//! | file | holds |
//! |---|---|
//! | [`keys`] | every key, with its meaning, unit and default |
//! | [`read`] | reading values out of the three sources |
//! | [`address`] | where a service listens |
//!
//! Touches the file it is given. Tests: `tests.rs`.

pub(crate) mod address;
mod keys;
mod read;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use denizen_agent::files;
use denizen_keys::SecretString;
use denizen_server::{
    app::limits::Rates,
    domain::secrets::is_vault_name,
    issuers::{Hosts, Networks},
    store::{Engine, Postgres, Retention},
};
use denizen_wire::host::is_local;
use http::Uri;

use self::{
    address::Address,
    read::{Found, Reader},
};
use crate::exit::{self, Failure};

/// No configuration is larger, bytes.
const MAX_FILE: u64 = 1024 * 1024;
/// The domain of the vaults where none is named: RFC 6761 reserves `.test`.
pub(crate) const TRIAL_VAULT_SUFFIX: &str = "vault.denizen.test";
/// The vault that `denizen init` makes, and a loopback host name means, where none is named.
pub(crate) const TRIAL_VAULT: &str = "main";
/// Fewer connections than this are no server.
pub(crate) const LEAST_CONNECTIONS: usize = 128;
const DAY: u64 = 24 * 3600;
/// A token's label is no longer, bytes (PKCS#11: `CK_TOKEN_INFO`).
const MAX_LABEL: usize = 32;

/// Where the configuration is, and what is set over it.
#[derive(Args, Clone, Debug)]
pub(crate) struct Sources {
    /// The configuration: one TOML file. `denizen server --print-config` prints one
    #[arg(long, value_name = "FILE", env = "DENIZEN_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Sets a key over the file and the environment. May be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    pub(crate) set: Vec<(String, String)>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE, as --set drain_seconds=10")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    at: String,
    rule: String,
}

/// Everything that is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults(pub(crate) Vec<Fault>);

/// The configuration, as far as it can be checked by itself.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) listen: Listen,
    pub(crate) vault_listen: Listen,
    pub(crate) metrics_listen: Listen,
    /// None: `https://localhost:PORT`, once the port is known.
    pub(crate) public_url: Option<Origin>,
    pub(crate) vaults: VaultNames,
    pub(crate) data_dir: PathBuf,
    pub(crate) drain: Duration,
    pub(crate) store: StoreConfig,
    /// None: `denizen server` cannot run, other commands can.
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) root_key: PathBuf,
    pub(crate) signing: Signing,
    pub(crate) retention: Retention,
    pub(crate) log: Log,
    /// Where traces are sent.
    pub(crate) otlp: Option<String>,
    /// Which other issuers may be asked.
    pub(crate) federation: FederationConfig,
    /// None: as many as the process's descriptors leave room for.
    pub(crate) connections: Option<usize>,
    /// The limits of the token endpoint.
    pub(crate) rates: Rates,
    /// Whether clients may send users' passwords.
    pub(crate) password_grant: bool,
    /// What is not wrong, and not wise.
    pub(crate) warnings: Vec<Fault>,
}

/// Where a service listens, and where that was said.
#[derive(Clone, Debug)]
pub(crate) struct Listen {
    pub(crate) address: Address,
    /// `denizen.toml: listen`: what a fault names.
    pub(crate) at: String,
}

/// `https://HOST[:PORT]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// Lower case; an IPv6 address in its brackets.
    pub(crate) host: String,
    /// As it was written.
    pub(crate) port: Option<u16>,
}

/// What vaults are called.
#[derive(Clone, Debug, Default)]
pub(crate) struct VaultNames {
    /// None: `https://localhost:PORT`, once the port is known.
    pub(crate) url: Option<Origin>,
    pub(crate) suffix: Option<String>,
    pub(crate) local: Option<String>,
}

/// The database.
#[derive(Debug)]
pub(crate) struct StoreConfig {
    pub(crate) url: StoreUrl,
    /// Where `url` was said.
    pub(crate) at: String,
    /// The most connections of PostgreSQL.
    pub(crate) max_connections: u32,
    /// How long a statement of PostgreSQL may take.
    pub(crate) statement_timeout: Duration,
    /// The CA certificates trusted for PostgreSQL.
    pub(crate) ca_file: Option<PathBuf>,
    /// How far behind the others a server may be and still authorize.
    pub(crate) max_staleness: Duration,
}

/// Which database. Has no derived `Debug`: the URL may hold a password.
pub(crate) enum StoreUrl {
    /// A file of this machine.
    Sqlite(PathBuf),
    /// A server.
    Postgres(SecretString),
}

/// The certificate chain and its key.
#[derive(Clone, Debug)]
pub(crate) struct TlsFiles {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    /// Where `cert` was said.
    pub(crate) cert_at: String,
    /// Where `key` was said.
    pub(crate) key_at: String,
}

/// Which other issuers may be asked for their keys.
#[derive(Clone, Debug, Default)]
pub(crate) struct FederationConfig {
    pub(crate) hosts: Hosts,
    pub(crate) networks: Networks,
    /// CA certificates beside the system's, and where that was said.
    pub(crate) ca_file: Option<(PathBuf, String)>,
}

/// Where the keys that sign tokens are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signing {
    /// New ones are made in the device.
    pub(crate) in_device: bool,
    /// The device, where there is one.
    pub(crate) device: Option<Device>,
}

/// A token that a PKCS#11 module reaches, and where each part was said.
#[derive(Clone, Debug)]
pub(crate) struct Device {
    pub(crate) module: PathBuf,
    pub(crate) module_at: String,
    pub(crate) token: String,
    pub(crate) token_at: String,
    pub(crate) pin_file: PathBuf,
    pub(crate) pin_at: String,
}

/// How the log is written.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    pub(crate) json: bool,
    /// A filter of `tracing_subscriber`.
    pub(crate) level: String,
}

impl StoreConfig {
    /// A file of this machine, and the defaults of everything else.
    pub(crate) fn embedded(path: PathBuf) -> Self {
        Self {
            at: format!("the database in {}", path.parent().unwrap_or(&path).display()),
            url: StoreUrl::Sqlite(path),
            max_connections: 16,
            statement_timeout: Duration::from_secs(10),
            ca_file: None,
            max_staleness: Duration::from_secs(900),
        }
    }
}

/// The database that the configuration names.
///
/// # Errors
/// The database's URL is none.
pub(crate) fn engine(config: &Config) -> Result<Engine, Fault> {
    let store = &config.store;
    match &store.url {
        StoreUrl::Sqlite(path) => Ok(Engine::Sqlite { path: path.clone() }),
        StoreUrl::Postgres(url) => {
            let mut postgres = Postgres::new(url.expose(), config.data_dir.join("replica"));
            postgres.ca_file.clone_from(&store.ca_file);
            postgres.max_connections = store.max_connections;
            postgres.statement_timeout = store.statement_timeout;
            postgres.max_staleness = store.max_staleness;
            postgres.check().map_err(|why| Fault::new(&store.at, why))?;
            Ok(Engine::Postgres(postgres))
        }
    }
}

/// The whole commented file, with every default.
pub(crate) fn print() -> String {
    keys::print()
}

impl Sources {
    /// The configuration's file.
    ///
    /// # Errors
    /// It was not named.
    pub(crate) fn file(&self) -> Result<&Path, Failure> {
        self.config.as_deref().ok_or_else(|| {
            let text = "name the configuration with --config FILE, or in DENIZEN_CONFIG; `denizen server --print-config` \
                        prints one to start with";
            Failure::new(exit::USAGE, text)
        })
    }

    /// Reads the file, and the environment and the flags over it.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub(crate) fn load(&self) -> Result<Config, Failure> {
        let (config, faults) = self.load_all()?;
        if faults.0.is_empty() { Ok(config) } else { Err(faults.into()) }
    }

    /// The same of another database, which an option of a command names: faults name the option.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub(crate) fn load_with_database(&self, option: &str, url: &str) -> Result<Config, Failure> {
        let (key, flag) = ("store.url", "--set store.url");
        let mut sources = self.clone();
        sources.set.push((key.to_owned(), url.to_owned()));
        let (mut config, mut faults) = sources.load_all()?;
        faults.0.iter_mut().filter(|fault| fault.at == flag).for_each(|fault| fault.at = option.to_owned());
        config.store.at = option.to_owned();
        if faults.0.is_empty() { Ok(config) } else { Err(faults.into()) }
    }

    /// The same as [`Self::load`], for who goes on to look for more faults.
    ///
    /// # Errors
    /// There is no file to read.
    pub(crate) fn load_all(&self) -> Result<(Config, Faults), Failure> {
        let file = self.file()?;
        let text = files::read_text(file, MAX_FILE)
            .map_err(Failure::while_(exit::CONFIG, &format!("{} cannot be read", file.display())))?;
        let others_read = std::fs::metadata(file).is_ok_and(|about| about.mode() & 0o004 != 0);
        #[expect(clippy::disallowed_methods, reason = "the one place where the configuration's variables are read")]
        let variables =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Ok(read(file, &text, others_read, variables, self.set.iter().cloned()))
    }
}

/// Reads a configuration out of its sources. What is wrong has a stand-in, so that the rest can be checked too.
fn read(
    file: &Path,
    text: &str,
    others_read: bool,
    variables: impl IntoIterator<Item = (String, String)>,
    flags: impl IntoIterator<Item = (String, String)>,
) -> (Config, Faults) {
    let mut reader = Reader::new(file, text, variables, flags);
    let config = config(&mut reader, others_read);
    (Config { warnings: reader.warnings, ..config }, Faults(reader.faults))
}

fn config(reader: &mut Reader<'_>, others_read: bool) -> Config {
    let data_dir = reader.path("data_dir").map_or_else(PathBuf::new, |found| found.value);
    let metrics_listen = listen(reader, "metrics_listen");
    if !metrics_listen.address.is_loopback() {
        let rule = "metrics are served without TLS and without a credential, so on loopback only: write 127.0.0.1:PORT";
        reader.fault(&metrics_listen.at, rule);
    }
    let store = store(reader, &data_dir, others_read);
    let (age, bytes) =
        (reader.number("audit.retention_days", 0..=36_500), reader.number("audit.retention_bytes", 0..=u64::MAX));
    Config {
        listen: listen(reader, "listen"),
        vault_listen: listen(reader, "vault_listen"),
        metrics_listen,
        public_url: reader.parsed::<Origin>("public_url").map(|found| found.value),
        vaults: vaults(reader),
        root_key: reader.path("root_key.file").map_or_else(|| data_dir.join("root.key"), |found| found.value),
        data_dir,
        drain: Duration::from_secs(reader.number("drain_seconds", 0..=3600)),
        store,
        tls: tls(reader),
        signing: signing(reader),
        retention: Retention {
            age: (age > 0).then(|| Duration::from_secs(age * DAY)),
            bytes: (bytes > 0).then_some(bytes),
        },
        log: log(reader),
        otlp: otlp(reader),
        federation: federation(reader),
        connections: connections(reader),
        rates: rates(reader),
        password_grant: password_grant(reader),
        warnings: Vec::new(),
    }
}

fn listen(reader: &mut Reader<'_>, name: &'static str) -> Listen {
    match reader.parsed::<Address>(name) {
        Some(Found { value, at, .. }) => Listen { address: value, at },
        None => Listen { address: Address::One(([127, 0, 0, 1], 0).into()), at: name.to_owned() },
    }
}

fn vaults(reader: &mut Reader<'_>) -> VaultNames {
    let url = reader.parsed::<Origin>("vault_url");
    let suffix = reader.parsed::<Suffix>("vault_suffix");
    if let (Some(url), Some(suffix)) = (&url, &suffix)
        && !is_local(&url.value.host)
        && url.value.host != suffix.value.0
    {
        let rule = format!("vault_url has the host {}: give both the same, or leave vault_suffix out", url.value.host);
        reader.fault(&suffix.at, rule);
    }
    if let (Some(url), None) = (&url, &suffix)
        && !is_local(&url.value.host)
        && let Err(rule) = url.value.host.parse::<Suffix>()
    {
        reader.fault(&url.at, rule);
    }
    let local = reader.text("vault_local").map(|found| {
        if !is_vault_name(&found.value) {
            reader.fault(
                &found.at,
                "this cannot name a vault: take 3 to 24 letters, digits and '-', a letter first, no '-' last or doubled",
            );
        }
        found.value.to_ascii_lowercase()
    });
    VaultNames { url: url.map(|found| found.value), suffix: suffix.map(|found| found.value.0), local }
}

fn store(reader: &mut Reader<'_>, data_dir: &Path, others_read: bool) -> StoreConfig {
    let (url, at) = match reader.text("store.url") {
        None => (StoreUrl::Sqlite(data_dir.join("denizen.db")), "store.url".to_owned()),
        Some(Found { value, at, in_file, .. }) => {
            let url = if let Some(path) = value.strip_prefix("sqlite:") {
                if path.is_empty() || path.starts_with("//") || path.contains('?') {
                    reader.fault(&at, "write sqlite:PATH, the path of a file, without '//' and without options");
                }
                StoreUrl::Sqlite(reader.absolute(path))
            } else {
                postgres(reader, &value, &at, in_file && others_read);
                StoreUrl::Postgres(value.into())
            };
            (url, at)
        }
    };
    StoreConfig {
        url,
        at,
        max_connections: u32::try_from(reader.number("store.max_connections", 5..=1000)).unwrap_or(u32::MAX),
        statement_timeout: Duration::from_secs(reader.number("store.statement_timeout", 1..=600)),
        ca_file: reader.path("store.ca_file").map(|found| found.value),
        max_staleness: Duration::from_secs(reader.number("store.max_staleness", 1..=86_400)),
    }
}

/// Checks the form of a PostgreSQL URL. No fault repeats any of it.
fn postgres(reader: &mut Reader<'_>, url: &str, at: &str, open_to_others: bool) {
    let rest = url.strip_prefix("postgres://").or_else(|| url.strip_prefix("postgresql://"));
    let Some(rest) = rest else {
        return reader.fault(at, "write sqlite:PATH or postgres://USER@HOST:PORT/DATABASE");
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let is_host =
        host.starts_with('/') || url.parse::<Uri>().is_ok_and(|uri| uri.host().is_some_and(|host| !host.is_empty()));
    if !is_host || path.split('?').next().is_none_or(str::is_empty) {
        reader.fault(at, "write postgres://USER@HOST:PORT/DATABASE; escape other characters in a password with %");
    }
    if open_to_others && user.contains(':') {
        let rule = "it has a password, and everybody on this machine can read the file: chmod o-r the file, or set \
                    DENIZEN_STORE_URL";
        reader.warn(at, rule);
    }
}

fn tls(reader: &mut Reader<'_>) -> Option<TlsFiles> {
    match (reader.path("tls.cert"), reader.path("tls.key")) {
        (Some(cert), Some(key)) => {
            Some(TlsFiles { cert: cert.value, key: key.value, cert_at: cert.at, key_at: key.at })
        }
        (None, None) => None,
        (Some(cert), None) => {
            reader.fault(cert.at, "a certificate needs its private key: set tls.key as well");
            None
        }
        (None, Some(key)) => {
            reader.fault(key.at, "a private key needs its certificate: set tls.cert as well");
            None
        }
    }
}

fn federation(reader: &mut Reader<'_>) -> FederationConfig {
    let hosts = reader.text("federation.issuers").and_then(|found| match found.value.parse::<Hosts>() {
        Ok(hosts) => Some(hosts),
        Err(rule) => {
            reader.fault(found.at, rule.to_string());
            None
        }
    });
    let networks = reader.text("federation.networks").and_then(|found| match found.value.parse::<Networks>() {
        Ok(networks) => Some(networks),
        Err(rule) => {
            reader.fault(found.at, rule.to_string());
            None
        }
    });
    let ca_file = reader.path("federation.ca_file").map(|found| (found.value, found.at));
    FederationConfig { hosts: hosts.unwrap_or_default(), networks: networks.unwrap_or_default(), ca_file }
}

fn signing(reader: &mut Reader<'_>) -> Signing {
    let (in_device, at) = match reader.text("signing.custody") {
        Some(found) if found.value == "pkcs11" => (true, found.at),
        Some(found) => {
            if found.value != "sealed" {
                reader.fault(&found.at, "write \"sealed\" or \"pkcs11\"");
            }
            (false, found.at)
        }
        None => (false, "signing.custody".to_owned()),
    };
    let module = reader.path("signing.pkcs11_module");
    let token = reader.text("signing.pkcs11_token");
    let pin = reader.path("signing.pkcs11_pin_file");
    match (module, token, pin) {
        (Some(module), Some(token), Some(pin)) => {
            if token.value.is_empty() || token.value.len() > MAX_LABEL {
                reader.fault(&token.at, format!("the label of a token has 1 to {MAX_LABEL} bytes"));
            }
            let device = Device {
                module: module.value,
                module_at: module.at,
                token: token.value,
                token_at: token.at,
                pin_file: pin.value,
                pin_at: pin.at,
            };
            Signing { in_device, device: Some(device) }
        }
        (None, None, None) => {
            if in_device {
                let rule = "keys in a device need it named: set signing.pkcs11_module, signing.pkcs11_token and \
                            signing.pkcs11_pin_file";
                reader.fault(at, rule);
            }
            Signing::default()
        }
        (module, token, pin) => {
            let set = [module.map(|found| found.at), token.map(|found| found.at), pin.map(|found| found.at)];
            let at = set.into_iter().flatten().next().unwrap_or(at);
            reader.fault(
                at,
                "set all of signing.pkcs11_module, signing.pkcs11_token and signing.pkcs11_pin_file, or none",
            );
            Signing::default()
        }
    }
}

fn log(reader: &mut Reader<'_>) -> Log {
    let json = match reader.text("log.format") {
        Some(found) if found.value == "json" => true,
        Some(found) if found.value != "text" => {
            reader.fault(found.at, "write \"text\" or \"json\"");
            false
        }
        Some(_) | None => false,
    };
    let level = reader.text("log.level").map_or_else(String::new, |found| {
        if tracing_subscriber::EnvFilter::try_new(&found.value).is_err() || !is_level(&found.value) {
            reader
                .fault(found.at, "write error, warn, info, debug, trace or off, or a list of TARGET=LEVEL with commas");
        }
        found.value
    });
    Log { json, level }
}

fn otlp(reader: &mut Reader<'_>) -> Option<String> {
    let Found { value, at, .. } = reader.text("trace.otlp_endpoint")?;
    let uri = value.parse::<Uri>().ok();
    let is_good = uri.is_some_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
            && uri.path_and_query().is_none_or(|path| path.as_str() == "/")
    });
    if !is_good {
        reader.fault(at, "write http://HOST:PORT or https://HOST:PORT, without a path and without a user");
        return None;
    }
    Some(value.trim_end_matches('/').to_owned())
}

/// Whether each part says a level: a filter takes any single word for a target.
fn is_level(filter: &str) -> bool {
    const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
    filter.split(',').all(|part| {
        let level = part.rsplit('=').next().unwrap_or_default().trim();
        LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level))
    })
}

fn connections(reader: &mut Reader<'_>) -> Option<usize> {
    let connections = usize::try_from(reader.number("limits.connections", 0..=1_000_000)).unwrap_or(usize::MAX);
    if connections > 0 && connections < LEAST_CONNECTIONS {
        reader.fault("limits.connections", format!("write 0, or {LEAST_CONNECTIONS} or more"));
    }
    (connections > 0).then_some(connections)
}

fn password_grant(reader: &mut Reader<'_>) -> bool {
    let Some(found) = reader.text("sign_in.password_grant") else { return false };
    match found.value.as_str() {
        "off" => false,
        "on" => {
            reader.warn(
                &found.at,
                "clients may send users' passwords: a program learns them, and no second factor is asked",
            );
            true
        }
        _ => {
            reader.fault(found.at, "write \"off\" or \"on\"");
            false
        }
    }
}

fn rates(reader: &mut Reader<'_>) -> Rates {
    let mut rate = |name| u32::try_from(reader.number(name, 0..=1_000_000)).unwrap_or(u32::MAX);
    Rates {
        refused_per_address: rate("limits.refused_per_address"),
        refused_per_client: rate("limits.refused_per_client"),
        tokens_per_client: rate("limits.tokens_per_client"),
    }
}

impl Fault {
    pub(crate) fn new(at: impl Into<String>, rule: impl Into<String>) -> Self {
        Self { at: at.into(), rule: rule.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.rule)
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [one] => one.fmt(f),
            all => {
                write!(f, "{} things are wrong:", all.len())?;
                all.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
            }
        }
    }
}

impl From<Faults> for Failure {
    fn from(faults: Faults) -> Self {
        Self::new(exit::CONFIG, faults.to_string())
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Faults(vec![fault]).into()
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => f.debug_tuple("Sqlite").field(path).finish(),
            Self::Postgres(_) => f.write_str("Postgres(..)"),
        }
    }
}

impl std::str::FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const RULE: &str = "write https://HOST or https://HOST:PORT, without a path and without a user";
        let uri: Uri = text.parse().map_err(|_| RULE.to_owned())?;
        let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
        let bare = uri.path_and_query().is_none_or(|path| path.as_str() == "/") && !text.contains(['#', '?']);
        if uri.scheme_str() != Some("https") || !bare || authority.contains('@') || authority.ends_with(':') {
            return Err(RULE.to_owned());
        }
        let host = uri.host().filter(|host| !host.is_empty() && *host != "*").ok_or(RULE)?;
        let port = match uri.port() {
            None => None,
            Some(port) => Some(port.as_str().parse::<u16>().ok().filter(|port| *port > 0).ok_or(RULE)?),
        };
        Ok(Self { host: host.to_ascii_lowercase(), port })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            None | Some(443) => write!(f, "https://{}", self.host),
            Some(port) => write!(f, "https://{}:{port}", self.host),
        }
    }
}

/// A domain name of vaults, lower case.
struct Suffix(String);

impl std::str::FromStr for Suffix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_label = |label: &str| {
            let bytes = label.as_bytes();
            !bytes.is_empty()
                && bytes.len() <= 63
                && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
                && bytes.first() != Some(&b'-')
                && bytes.last() != Some(&b'-')
        };
        // An address has no names below it.
        let named = text.rsplit('.').next().is_some_and(|last| last.bytes().any(|b| b.is_ascii_alphabetic()));
        if text.len() > 220 || !text.split('.').all(is_label) || !named {
            return Err("vaults have names below it, so it must be a domain name, as vault.example.com".to_owned());
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}
