//! Every key of the configuration: what it means, its unit and its default. What `--print-config` prints.
//!
//! Tests: `tests.rs` in this folder hold that the reader asks for each key here, and for no other.

use std::fmt::Write as _;

/// What holds when a key is not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unset {
    /// This value, in TOML.
    Is(&'static str),
    /// It depends, as the text says, or there is none; an example in TOML.
    Such(&'static str),
}

/// One key.
pub(super) struct Key {
    /// `store.url`: its section and its name.
    pub(super) name: &'static str,
    pub(super) default: Unset,
    /// For people: meaning and unit, a line each.
    pub(super) about: &'static [&'static str],
}

const fn key(name: &'static str, default: Unset, about: &'static [&'static str]) -> Key {
    Key { name, default, about }
}

use Unset::{Is, Such};

/// The sections stand together, and those without one first, as TOML wants it.
pub(super) const KEYS: &[Key] = &[
    key(
        "listen",
        Is("\"0.0.0.0:8443\""),
        &[
            "Token service and enrolment: ADDR:PORT, or localhost:PORT for 127.0.0.1 and [::1]. Port 0 takes a free one.",
        ],
    ),
    key("vault_listen", Is("\"0.0.0.0:8444\""), &["The vaults: ADDR:PORT."]),
    key(
        "metrics_listen",
        Is("\"127.0.0.1:9464\""),
        &[
            "Metrics and health over plain HTTP: ADDR:PORT, on loopback only. It is port 9464 unless it is set, also where",
            "nobody asks for metrics: a second server on this machine needs another one. Port 0 takes a free one.",
        ],
    ),
    key(
        "public_url",
        Such("\"https://id.example.com:8443\""),
        &[
            "What clients call the token service: https://HOST[:PORT], without a path. It is the base of every issuer, so it",
            "must not change while tokens are out. Default: https://localhost:PORT with the port of `listen`, for trials.",
        ],
    ),
    key(
        "vault_url",
        Such("\"https://vault.example.com:8444\""),
        &[
            "Where the vaults are: a vault NAME has the URL https://NAME.vault.example.com:8444. Gives the port, and the",
            "suffix unless `vault_suffix` does. A loopback host is for trials: it means the one vault `vault_local`.",
            "Default: https://localhost:PORT with the port of `vault_listen`.",
        ],
    ),
    key(
        "vault_suffix",
        Such("\"vault.example.com\""),
        &[
            "The domain of the vaults' names. Default: the host of `vault_url`; vault.denizen.test where that is loopback.",
        ],
    ),
    key(
        "vault_local",
        Such("\"main\""),
        &["The vault that a loopback host name means. Default: main where `vault_url` is a loopback URL, else none."],
    ),
    key(
        "data_dir",
        Is("\"/var/lib/denizen\""),
        &[
            "The directory of everything that this server keeps on this machine. It is made with mode 0700 and must be ours.",
            "Every relative path in this file is relative to the file's own directory.",
        ],
    ),
    key(
        "drain_seconds",
        Is("5"),
        &[
            "After SIGTERM /readyz says that this server is draining, and it goes on serving for so long, seconds: the time in",
            "which balancers notice. 0 to 3600.",
        ],
    ),
    key(
        "store.url",
        Such("\"sqlite:/var/lib/denizen/denizen.db\""),
        &[
            "The database: sqlite:PATH for one machine, postgres://USER@HOST:PORT/DATABASE for several.",
            "Default: sqlite:denizen.db in `data_dir`. A URL with a password wants a file that others cannot read.",
        ],
    ),
    key("store.max_connections", Is("16"), &["PostgreSQL: the most connections that this server opens. 5 to 1000."]),
    key("store.statement_timeout", Is("10"), &["PostgreSQL: a statement may take so long, seconds. 1 to 600."]),
    key(
        "store.ca_file",
        Such("\"/etc/denizen/postgres-ca.pem\""),
        &["PostgreSQL: the only CA certificates trusted for the database, PEM. Default: the system's."],
    ),
    key(
        "store.max_staleness",
        Is("900"),
        &[
            "PostgreSQL: a server that has not heard of the others' changes for so long authorizes nobody, seconds. It is",
            "also how long the database may be away before that. 1 to 86400.",
        ],
    ),
    key(
        "tls.cert",
        Such("\"/etc/denizen/tls.crt\""),
        &[
            "The certificate chain of `listen` and `vault_listen`, PEM, the server's own first. `denizen server` needs it. It",
            "and the key are read again when they change and at SIGHUP; a pair that cannot be served is refused and logged,",
            "and the one before it is kept.",
        ],
    ),
    key("tls.key", Such("\"/etc/denizen/tls.key\""), &["Its private key, PEM."]),
    key(
        "root_key.file",
        Such("\"/var/lib/denizen/root.key\""),
        &[
            "What everything at rest is sealed under: 32 random bytes, mode 0600. `denizen init` makes it. Keep a copy",
            "elsewhere: without it the database opens nothing. Default: root.key in `data_dir`.",
        ],
    ),
    key(
        "federation.issuers",
        Is("\"none\""),
        &[
            "Whose tokens may be federated credentials: the hosts of other issuers that this server may ask for their keys, over",
            "https and without a proxy, once a credential names one. none, any, or hosts with commas between, as",
            "token.actions.githubusercontent.com, *.oic.example.com. This server's own tenants need not be named.",
        ],
    ),
    key(
        "federation.networks",
        Is("\"none\""),
        &[
            "Networks in which those hosts may be though their addresses are not public: none, or a list with commas, as",
            "10.20.0.0/16, fd12::/32.",
        ],
    ),
    key(
        "federation.ca_file",
        Such("\"/etc/denizen/issuers-ca.pem\""),
        &["CA certificates that are trusted for those hosts beside the system's, PEM. Default: the system's alone."],
    ),
    key(
        "signing.custody",
        Is("\"sealed\""),
        &[
            "Where the keys that sign tokens are made and kept: sealed in the database, or pkcs11 for a device that a PKCS#11",
            "module reaches, an HSM for one; they do not leave it. It concerns the keys that are made from then on: those that",
            "there are stay where they are and in use, until `denizen signing-key rotate` or the schedule replaces them.",
        ],
    ),
    key(
        "signing.pkcs11_module",
        Such("\"/usr/lib/softhsm/libsofthsm2.so\""),
        &[
            "The PKCS#11 module, a shared library. Needed while any signing key is in its token, also with custody = \"sealed\".",
        ],
    ),
    key(
        "signing.pkcs11_token",
        Such("\"denizen\""),
        &[
            "The label of the token. Several servers over one database need the same keys: one device, or copies of it that have",
            "every key at once.",
        ],
    ),
    key(
        "signing.pkcs11_pin_file",
        Such("\"/etc/denizen/pkcs11.pin\""),
        &["The file of the token's user PIN, and nothing else. Others must not be able to read it."],
    ),
    key("audit.retention_days", Is("400"), &["Audit records are kept for so many days; 0 is for ever."]),
    key(
        "audit.retention_bytes",
        Is("4294967296"),
        &["The oldest audit records go when all together take more than this, bytes; 0 is no limit."],
    ),
    key(
        "log.format",
        Is("\"text\""),
        &["How log lines are written to standard error: text, or json for one object a line."],
    ),
    key(
        "log.level",
        Is("\"info\""),
        &[
            "What is logged: error, warn, info, debug or trace, or a list of TARGET=LEVEL. `info,access=debug` adds a line for",
            "each request.",
        ],
    ),
    key(
        "trace.otlp_endpoint",
        Such("\"http://127.0.0.1:4318\""),
        &[
            "Where a trace of each request is sent: an OpenTelemetry collector that takes OTLP over HTTP. Needs a build with",
            "the feature otlp. Default: nowhere.",
        ],
    ),
    key(
        "sign_in.password_grant",
        Is("\"off\""),
        &[
            "Whether clients may send users' passwords themselves (grant_type=password, AZURE_USERNAME and AZURE_PASSWORD): off",
            "or on. Whoever signs in so gives the password to a program, and has no second factor. A start says when it is on.",
        ],
    ),
    key(
        "limits.connections",
        Is("0"),
        &[
            "The connections that all listeners may have together; 0 is as many as this process's descriptors leave room for.",
            "128 or more.",
        ],
    ),
    key(
        "limits.refused_per_address",
        Is("20"),
        &[
            "Token requests that are refused before a client has proved anything, in a second from one address (of IPv6 one",
            "/64); ten times as many may come at once. What is over it is answered 429 after a second, and no signature is",
            "verified for it; a right client secret always gets its token. 0 is no limit.",
        ],
    ),
    key(
        "limits.refused_per_client",
        Is("2"),
        &[
            "The same of those that name one client, from one address. What is over this counts no more for the address.",
        ],
    ),
    key(
        "limits.tokens_per_client",
        Is("0"),
        &[
            "Token requests of one client that has proved itself, in a second; ten times as many may come at once. 0 is no",
            "limit: client libraries keep a token until it ends. What is over it is answered 429 and recorded.",
        ],
    ),
];

/// What `name` is called in the environment: `DENIZEN_STORE_URL`.
pub(super) fn variable(name: &str) -> String {
    format!("DENIZEN_{}", name.replace('.', "_").to_ascii_uppercase())
}

/// The section of a key, and its name in it.
pub(super) fn parts(name: &str) -> (Option<&str>, &str) {
    name.split_once('.').map_or((None, name), |(section, key)| (Some(section), key))
}

/// The whole commented file.
pub(super) fn print() -> String {
    let mut text = String::from(
        "# The configuration of `denizen server`. Every key is here with its default; a key whose default depends on others, or\n\
         # that has none, stands behind a '#' with an example.\n\
         #\n\
         # Each can be set in the environment as well, `store.url` as DENIZEN_STORE_URL, and on the command line with\n\
         # --set store.url=VALUE. The command line wins over the environment, and that over this file.\n",
    );
    let mut within = None;
    for Key { name, default, about, .. } in KEYS {
        let (section, key) = parts(name);
        if section != within {
            within = section;
            let _ = write!(text, "\n[{}]\n", section.unwrap_or_default());
        }
        text.push('\n');
        for line in *about {
            let _ = writeln!(text, "# {line}");
        }
        let _ = match default {
            Is(value) => writeln!(text, "{key} = {value}"),
            Such(value) => writeln!(text, "#{key} = {value}"),
        };
    }
    text
}
