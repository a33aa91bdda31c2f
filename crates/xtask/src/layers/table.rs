//! The layers of every crate.
//!
//! A crate may depend on the crates that its row names. Inside a crate the modules stand in layers, lowest first: a
//! module may use itself and whatever stands in an *earlier* layer, never its neighbours in its own. `inside` repeats
//! that for the modules below one module. An exception is a debt: it is refused as soon as nobody needs it.

/// What a crate may depend on among the workspace's own, outside of tests.
pub(super) enum May {
    Use(&'static [&'static str]),
    UseAnything,
}

pub(super) struct Crate {
    pub(super) name: &'static str,
    /// Its directory.
    pub(super) at: &'static str,
    pub(super) may: May,
    pub(super) layers: &'static [Layers],
    /// Words that belong to one top-level module alone: the module, the word, why.
    pub(super) words: &'static [(&'static str, &'static str, &'static str)],
    /// Traits that one module alone may implement: the module, the trait, why.
    pub(super) sole: &'static [(&'static str, &'static str, &'static str)],
}

pub(super) struct Layers {
    /// The module whose children these are; empty for the crate's own modules.
    pub(super) inside: &'static str,
    /// Lowest first.
    pub(super) floors: &'static [&'static [&'static str]],
    pub(super) narrow: &'static [Narrow],
    pub(super) exceptions: &'static [Exception],
}

/// A module that may use another for some of its items only.
pub(super) struct Narrow {
    pub(super) from: &'static str,
    pub(super) to: &'static str,
    pub(super) only: &'static [&'static str],
    pub(super) why: &'static str,
}

/// A use that stands against the layers. Both are paths from the crate's root, and cover what is below them.
pub(super) struct Exception {
    pub(super) from: &'static str,
    pub(super) to: &'static str,
}

const fn layers(floors: &'static [&'static [&'static str]]) -> Layers {
    Layers { inside: "", floors, narrow: &[], exceptions: &[] }
}

const fn except(from: &'static str, to: &'static str) -> Exception {
    Exception { from, to }
}

const fn row(name: &'static str, at: &'static str, may: May, layers: &'static [Layers]) -> Crate {
    Crate { name, at, may, layers, words: &[], sole: &[] }
}

pub(super) const CRATES: &[Crate] = &[
    row("denizen-wire", "crates/denizen-wire", May::Use(&[]), WIRE),
    row("denizen-keys", "crates/denizen-keys", May::Use(&["denizen-wire"]), KEYS),
    Crate {
        words: &[
            ("http", "StatusCode", "status codes are decided in http/ only"),
            ("store::db", "sqlx", "a driver is spoken to in store/db/ only"),
            ("store::db", "rusqlite", "a driver is spoken to in store/db/ only"),
        ],
        sole: &[
            ("app::access::authorization", "WriteProof", "whoever implements it may write whatever it likes"),
            ("app::access::authorization", "RecordProof", "whoever implements it may fill the disk with records"),
        ],
        ..row(
            "denizen-server",
            "crates/denizen-server",
            May::Use(&["denizen-wire", "denizen-keys", "denizen-refresh", "denizen-serve"]),
            SERVER,
        )
    },
    row(
        "denizen-serve",
        "crates/denizen-serve",
        May::Use(&[]),
        &[layers(&[&["budget", "descriptors", "localhost", "sampler"], &["body", "stream"]])],
    ),
    row("denizen-refresh", "crates/denizen-refresh", May::Use(&["denizen-wire"]), &[layers(&[&["entry"]])]),
    // A managed machine carries no database driver and no vault.
    row(
        "denizen-agent",
        "crates/denizen-agent",
        May::Use(&["denizen-wire", "denizen-keys", "denizen-refresh", "denizen-serve"]),
        AGENT,
    ),
    // It is published: whoever uses it gets nothing of the server's and no keys of ours.
    row("denizen-identity", "crates/denizen-identity", May::Use(&["denizen-wire", "denizen-refresh"]), IDENTITY),
    row(
        "denizen-identity-testkit",
        "crates/denizen-identity-testkit",
        May::Use(&["denizen-wire", "denizen-serve"]),
        TESTKIT,
    ),
    row("denizen-validate", "crates/denizen-validate", May::Use(&["denizen-wire", "denizen-refresh"]), VALIDATE),
    row(
        "denizen",
        "crates/denizen",
        May::Use(&[
            "denizen-wire",
            "denizen-keys",
            "denizen-serve",
            "denizen-server",
            "denizen-agent",
            "denizen-identity",
        ]),
        DENIZEN,
    ),
    row("xtask", "crates/xtask", May::Use(&[]), &[layers(&[&["conformance", "layers"]])]),
    row("denizen-skip", "tests/skip", May::Use(&[]), &[]),
    row("denizen-test-postgres", "tests/postgres", May::Use(&[]), &[]),
    row("denizen-test-softhsm", "tests/softhsm", May::Use(&["denizen-skip"]), &[]),
    row("denizen-it", "tests/it", May::UseAnything, &[]),
    row("denizen-bench", "benches", May::UseAnything, &[]),
    row("denizen-bench-identity", "benches/identity", May::UseAnything, &[]),
];

const WIRE: &[Layers] = &[layers(&[
    &["causes", "host", "ids", "shown", "unix_time"],
    &["clock", "oauth", "proxy", "resource_id", "vault"],
    &["claims", "identity", "node"],
])];

const KEYS: &[Layers] = &[Layers {
    exceptions: &[
        // A public name, kept where it was.
        except("envelope", "root_key::RootKey"),
    ],
    ..layers(&[
        &["algorithm", "b64", "error", "hash", "secret"],
        &["ec_public", "place", "random", "rsa_public"],
        &["public_key"],
        &["pkcs11"],
        &["envelope", "password", "signer", "totp"],
        &["custody", "frames", "jwk", "jws", "root_key", "x509"],
        &["ca", "chain", "mac"],
    ])
}];

const SERVER: &[Layers] = &[
    Layers {
        narrow: &[Narrow {
            from: "http",
            to: "store",
            only: &["Snapshot"],
            why: "a protocol reads one immutable snapshot; what it changes, a use case changes",
        }],
        exceptions: &[
            // A refusal of the write path becomes a 403 there.
            except("http::vault::fault", "store::StoreError"),
            except("http::admin", "store::StoreError"),
            // It shows the store's own counters.
            except("http::metrics", "store::Store"),
            except("http::metrics", "store::AuditHealth"),
            // A refusal of the write path becomes a 403 there.
            except("http::graph::fault", "store::StoreError"),
        ],
        ..layers(&[&["domain"], &["issuers", "store"], &["app"], &["http"], &["run"]])
    },
    Layers {
        inside: "issuers",
        // What it is refused by is named in its folder's file.
        exceptions: &[
            except("issuers::documents", "issuers::IssuerError"),
            except("issuers::policy", "issuers::IssuerError"),
            except("issuers::policy", "issuers::Outbound"),
            except("issuers::fetch", "issuers::IssuerError"),
        ],
        ..layers(&[&["documents", "policy"], &["fetch"]])
    },
    Layers {
        inside: "domain",
        // An authorization reads roles and assignments, and a role's patterns use its matcher.
        exceptions: &[except("domain::authorize", "domain::roles"), except("domain::authorize", "domain::hot")],
        ..layers(&[
            &["federation"],
            &[
                "attempts",
                "authorize",
                "built_in_clients",
                "clock_watch",
                "ctx",
                "deleted",
                "directory",
                "grants",
                "people",
                "query",
                "resources",
                "secrets",
                "sign_in",
            ],
            &["redirects", "roles"],
            &["hot"],
            &["assertion", "lifetimes"],
            &["claims", "rotation"],
            &["scopes"],
        ])
    },
    // Authorization knows no use case; a use case that needs another stands after it.
    Layers {
        inside: "app",
        ..layers(&[
            &["hashing", "key_encryption_keys", "limits", "strangers"],
            &["passwords"],
            &["access"],
            &["clock", "machines", "rbac", "readiness", "replica", "signing", "users", "vaults"],
            &["directory"],
            &["credentials", "sign_in"],
            &["federation"],
            &["secrets", "set_up", "tokens", "trusts"],
            &["administration"],
        ])
    },
    // The protocols know nothing of one another.
    Layers {
        inside: "http",
        // A protocol's routes are typed by its `Api`, and an `Api` names its routes.
        exceptions: &[except("http::route", "http::dispatch::Api")],
        ..layers(&[
            &["body", "reply", "requests", "tls", "trace"],
            &["call"],
            &["route"],
            &["dispatch"],
            &["listen"],
            // The pages stand under the token service's paths.
            &["sign_in"],
            &["admin", "graph", "health", "metrics", "node", "sts", "vault"],
        ])
    },
];

const AGENT: &[Layers] = &[layers(&[
    &["files"],
    &["exit", "facts", "identity", "metrics", "net", "directory"],
    &["caller", "identity_file", "custody"],
    &["keydir", "refusals"],
    &["challenge"],
    &["evidence", "upstream"],
    &["policy", "cache", "enrol", "config"],
    &["broker"],
    &["endpoints"],
    &["server"],
    &["agent"],
])];

const IDENTITY: &[Layers] = &[Layers {
    exceptions: &[
        except("cache", "credential::BoxFuture"),
        except("credential", "azure"),
        except("source", "endpoint"),
    ],
    ..layers(&[
        &["certificate", "challenge", "environment", "error", "file", "pin"],
        &["proxy"],
        &["http", "token"],
        &["cache", "retry"],
        &["source", "context"],
        &["entra", "endpoint"],
        &["credential"],
        &["azure", "config", "connection_string"],
    ])
}];

const TESTKIT: &[Layers] = &[Layers {
    // An issuer writes its answers as the endpoint that it is an option of was told to.
    exceptions: &[except("issuer", "server")],
    ..layers(&[
        &["tls"],
        &["issuer"],
        &["server"],
        &["query"],
        &["authority", "azure_ml", "imds"],
        &["app_service", "arc", "cloud_shell", "pipelines", "service_fabric"],
    ])
}];

const VALIDATE: &[Layers] = &[Layers {
    // `TokenValidator::builder` is where its users find the builder.
    exceptions: &[except("validator", "builder")],
    ..layers(&[
        &["authority", "error", "fetch"],
        &["claims", "keys"],
        &["jwt", "revocation"],
        &["validator"],
        &["builder"],
        &["layer"],
    ])
}];

const DENIZEN: &[Layers] = &[
    layers(&[
        &["exit"],
        &["config", "token"],
        &["data"],
        &["traces", "vault_client"],
        &["logging"],
        &["server"],
        &["admin_client"],
        &["app", "dev", "init", "join_token", "role", "user", "secret"],
        &["audit", "backup", "issuer", "signing_key"],
        &["restore"],
    ]),
    Layers {
        inside: "config",
        // A reader collects the faults that its folder's file names.
        exceptions: &[except("config::read", "config::Fault")],
        ..layers(&[&["address", "keys"], &["read"]])
    },
    Layers {
        inside: "server",
        ..layers(&[&["admin_socket", "manager", "sockets", "stop", "tls_files"], &["launch"], &["ports"]])
    },
    Layers {
        inside: "dev",
        ..layers(&[
            &["environment", "namespace", "ports", "tenant"],
            &["certificates", "machine"],
            &["manifest"],
            &["command", "self_test"],
            &["report"],
        ])
    },
];
