//! Keys, defaults, sources and faults.

use std::collections::BTreeSet;

use super::{
    keys::{KEYS, Unset, variable},
    *,
};

const FILE: &str = "/etc/denizen/denizen.toml";

fn all(text: &str, variables: &[(&str, &str)], flags: &[(&str, &str)]) -> (Config, Vec<String>) {
    let own =
        |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<Vec<_>>();
    let (config, faults) = read(Path::new(FILE), text, true, own(variables), own(flags));
    (config, faults.0.iter().map(ToString::to_string).collect())
}

fn faults(text: &str) -> Vec<String> {
    all(text, &[], &[]).1
}

fn good(text: &str) -> Config {
    let (config, faults) = all(text, &[], &[]);
    assert!(faults.is_empty(), "{faults:?}");
    config
}

fn literal_of(value: &toml::Value) -> String {
    let number = value.as_integer().map(|number| number.to_string());
    value.as_str().map(|text| format!("\"{text}\"")).or(number).unwrap()
}

/// The printed file with the examples in force.
fn with_examples() -> String {
    let uncommented = |line: &str| match line.strip_prefix('#') {
        Some(rest) if !rest.is_empty() && !rest.starts_with(' ') => rest.to_owned(),
        Some(_) | None => line.to_owned(),
    };
    print().lines().map(uncommented).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_key_that_is_read_is_listed_and_every_listed_key_is_read() {
    let mut reader = Reader::new(Path::new(FILE), "", [], []);
    config(&mut reader, false);
    let listed: BTreeSet<&str> = KEYS.iter().map(|key| key.name).collect();
    assert_eq!(listed.len(), KEYS.len(), "one is listed twice");
    assert_eq!(reader.asked, listed);
}

#[test]
fn what_is_printed_has_every_key_and_is_itself_a_configuration() {
    let printed: toml::Table = toml::from_str(&with_examples()).unwrap();
    for key in KEYS {
        let value =
            key.name.split('.').try_fold(&toml::Value::Table(printed.clone()), |at, part| at.get(part)).cloned();
        let (Unset::Is(literal) | Unset::Such(literal)) = key.default;
        assert_eq!(value.map(|value| literal_of(&value)), Some(literal.to_owned()), "{}", key.name);
        assert!(!key.about.is_empty(), "{}", key.name);
    }
    // As it is printed it says what holds without it.
    assert_eq!(format!("{:?}", good(&print())).replace(&format!("{FILE}: "), ""), format!("{:?}", good("")));
    // The examples are good ones.
    good(&with_examples());
    assert!(print().lines().all(|line| line.len() <= 120));
}

/// Whoever looks for a port that is in use finds it in the documents and in what is printed.
#[test]
fn the_ports_that_are_listened_on_unasked_are_documented() {
    let document = include_str!("../../../../docs/operate.md");
    for name in ["listen", "vault_listen", "metrics_listen"] {
        let key = KEYS.iter().find(|key| key.name == name).unwrap();
        let Unset::Is(default) = key.default else { panic!("{name} has no default") };
        let row = format!("| `{name}` | `{}` |", default.trim_matches('"'));
        assert!(document.contains(&row), "docs/operate.md has no row {row}");
    }
    assert!(print().contains("It is port 9464 unless it is set"));
}

#[test]
fn the_command_line_wins_over_the_environment_and_that_over_the_file() {
    let text = "listen = \"127.0.0.1:1\"\ndrain_seconds = 1\n[store]\nurl = \"sqlite:a.db\"";
    let variables = [("DENIZEN_LISTEN", "127.0.0.1:2"), ("DENIZEN_DRAIN_SECONDS", "2"), ("DENIZEN_LOG_LEVEL", "")];
    let (config, faults) = all(text, &variables, &[("listen", "localhost:3")]);
    assert!(faults.is_empty(), "{faults:?}");
    assert_eq!(
        (config.listen.address.to_string().as_str(), config.listen.at.as_str()),
        ("localhost:3", "--set listen")
    );
    assert_eq!(config.drain, Duration::from_secs(2));
    assert_eq!(config.log.level, "info", "an empty variable is none");
    // Beside the file, wherever the path was written.
    assert!(matches!(&config.store.url, StoreUrl::Sqlite(path) if path == Path::new("/etc/denizen/a.db")));
    for key in KEYS {
        assert!(variable(key.name).starts_with("DENIZEN_"));
    }
    let (config, _) =
        all("", &[("DENIZEN_STORE_URL", "sqlite:/x/b.db"), ("DENIZEN_TLS_CERT", "c"), ("DENIZEN_TLS_KEY", "k")], &[]);
    assert!(matches!(&config.store.url, StoreUrl::Sqlite(path) if path == Path::new("/x/b.db")));
    assert_eq!(config.tls.unwrap().cert, Path::new("/etc/denizen/c"));
}

#[test]
fn defaults_follow_the_data_directory() {
    let config = good("data_dir = \"/srv/d\"");
    assert!(matches!(&config.store.url, StoreUrl::Sqlite(path) if path == Path::new("/srv/d/denizen.db")));
    assert_eq!(config.root_key, Path::new("/srv/d/root.key"));
    assert_eq!(config.retention, Retention::default());
    assert!(config.tls.is_none() && config.connections.is_none() && config.public_url.is_none());
    let forever = good("[audit]\nretention_days = 0\nretention_bytes = 0");
    assert_eq!(forever.retention, Retention { age: None, bytes: None });
    assert!(matches!(engine(&config), Ok(Engine::Sqlite { path }) if path == Path::new("/srv/d/denizen.db")));
}

#[test]
fn every_fault_is_reported_at_once_with_file_key_rule_and_fix() {
    let text = "
listen = \"nowhere\"
metrics_listen = \"0.0.0.0:9\"
public_url = \"http://id.example.com\"
drain_seconds = \"ten\"
lisen = 1
store = 5
[tls]
cert = \"a.crt\"
[log]
format = \"xml\"
level = \"chatty\"
[limits]
conections = 5
connections = 5
[nothing]
x = 1
";
    let (_, found) = all(text, &[("DENIZEN_VALT_LISTEN", "x"), ("DENIZEN_AUDIT_DAYS", "4")], &[("url", "x")]);
    let expected: [(&str, &str); 14] = [
        ("denizen.toml: lisen", "did you mean listen?"),
        ("denizen.toml: limits.conections", "did you mean limits.connections?"),
        ("denizen.toml: nothing", "no such key"),
        ("denizen.toml: store", "write [store]"),
        ("--set url", "did you mean store.url?"),
        ("DENIZEN_VALT_LISTEN", "did you mean DENIZEN_VAULT_LISTEN?"),
        ("DENIZEN_AUDIT_DAYS", "no such key in [audit]"),
        ("denizen.toml: listen", "ADDR:PORT"),
        ("denizen.toml: metrics_listen", "loopback only"),
        ("denizen.toml: public_url", "https://HOST"),
        ("denizen.toml: drain_seconds", "without quotes, not a text"),
        ("denizen.toml: tls.cert", "set tls.key as well"),
        ("denizen.toml: log.format", "\"text\" or \"json\""),
        ("denizen.toml: log.level", "error, warn, info"),
    ];
    for (at, rule) in expected {
        assert!(found.iter().any(|fault| fault.contains(at) && fault.contains(rule)), "{at}, {rule}: {found:#?}");
    }
    assert!(
        found.iter().any(|fault| fault.contains("limits.connections") && fault.contains("128 or more")),
        "{found:#?}"
    );
    assert_eq!(found.len(), expected.len() + 1, "{found:#?}");
    let told = Faults(vec![Fault::new("a", "b"), Fault::new("c", "d")]).to_string();
    assert_eq!(told, "2 things are wrong:\n  a: b\n  c: d");
}

#[test]
fn variables_of_others_are_left_alone() {
    let others = [
        ("DENIZEN_SERVICE_HOST", "10.0.0.1"),
        ("DENIZEN_PORT_443_TCP_ADDR", "10.0.0.1"),
        ("DENIZEN_SERVICE_PORT", "443"),
        ("DENIZEN_LOG", "warn"),
        ("DENIZEN_STATE_DIR", "/x"),
        ("DENIZEN_SKIPS", "/x"),
        ("LISTEN", "1"),
    ];
    assert_eq!(all("", &others, &[]).1, [""; 0]);
}

#[test]
fn a_broken_file_is_named_by_line_and_column_and_not_quoted() {
    let text = "listen = \"127.0.0.1:1\"\n[store]\nurl = \"postgres://u:hunter2@h/d\n";
    let found = faults(text);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("/etc/denizen/denizen.toml:3:") && found[0].contains("not TOML"), "{found:?}");
    assert!(!found[0].contains("hunter2"));
    let twice = faults("listen = \"a\"\nlisten = \"b\"");
    assert!(twice[0].starts_with("/etc/denizen/denizen.toml:2:"), "{twice:?}");
}

#[test]
fn wrong_types_and_values_are_named_by_the_rule() {
    for (line, rule) in [
        ("listen = 8443", "a text in quotes, not a number"),
        ("listen = [\"a\"]", "a text in quotes, not a list"),
        ("\"store.url\" = \"sqlite:/x\"", "there is no such key"),
        ("listen = \"\"", "it is empty"),
        ("data_dir = \"/a\\nb\"", "control character"),
        ("drain_seconds = 3601", "from 0 to 3600"),
        ("drain_seconds = -1", "from 0 to 3600"),
        ("drain_seconds = 1.5", "from 0 to 3600"),
        ("drain_seconds = true", "not true or false"),
        ("[store]\nmax_connections = 1", "from 5 to 1000"),
        ("vault_url = \"https://10.0.0.1:8444\"", "domain name"),
        ("vault_suffix = \"vault_1.example\"", "domain name"),
        ("vault_url = \"https://a.example\"\nvault_suffix = \"b.example\"", "give both the same"),
        ("vault_local = \"a b\"", "cannot name a vault"),
        ("public_url = \"https://a.example/path\"", "without a path"),
        ("public_url = \"https://u@a.example\"", "without a user"),
        ("public_url = \"https://a.example:0\"", "HOST:PORT"),
        ("public_url = \"https://a.example?x\"", "without a path"),
        ("[trace]\notlp_endpoint = \"127.0.0.1:4318\"", "http://HOST:PORT"),
        ("[trace]\notlp_endpoint = \"http://h:1/v1/traces\"", "without a path"),
        ("[store]\nurl = \"mysql://h/d\"", "sqlite:PATH or postgres://"),
        ("[store]\nurl = \"sqlite:\"", "sqlite:PATH"),
        ("[store]\nurl = \"sqlite://x.db\"", "without '//'"),
        ("[store]\nurl = \"postgres://h\"", "postgres://USER@HOST"),
        ("[store]\nurl = \"postgres://h/\"", "postgres://USER@HOST"),
    ] {
        let found = faults(line);
        assert!(found.len() == 1 && found[0].contains(rule), "{line}: {found:?}");
    }
}

#[test]
fn a_password_in_a_file_that_all_may_read_is_warned_of_and_never_shown() {
    let text = "[store]\nurl = \"postgres://u:hunter2@h/d\"";
    let (config, found) = read(Path::new(FILE), text, true, [], []);
    let said = &config.warnings;
    assert!(found.0.is_empty() && said.len() == 1, "{found} {said:?}");
    assert!(said[0].to_string().contains("chmod o-r") && !said[0].to_string().contains("hunter2"), "{said:?}");
    let (config, faults) = read(Path::new(FILE), text, false, [], []);
    assert!(faults.0.is_empty() && !format!("{config:?}").contains("hunter2"));
    assert!(matches!(&config.store.url, StoreUrl::Postgres(url) if url.expose().ends_with("@h/d")));
    assert!(config.warnings.is_empty() && matches!(engine(&config), Ok(Engine::Postgres(_))));
    let (_, found) = all("", &[("DENIZEN_STORE_URL", "postgres://u:hunter2@h/d")], &[]);
    assert!(found.is_empty(), "{found:?}");
    for broken in ["postgres://u:hunter2@", "hunter2", "postgres://u:hunter2@h"] {
        let (_, found) = all("", &[("DENIZEN_STORE_URL", broken)], &[]);
        assert!(found.len() == 1 && !found[0].contains("hunter2"), "{broken}: {found:?}");
    }
}

#[test]
fn vaults_are_named_by_url_suffix_or_both() {
    let config = good("vault_url = \"https://Vault.Example.test:8444\"");
    assert_eq!(config.vaults.url.unwrap().to_string(), "https://vault.example.test:8444");
    let config = good("vault_url = \"https://localhost:8444\"\nvault_suffix = \"v.example\"\nvault_local = \"Main\"");
    assert_eq!((config.vaults.suffix.as_deref(), config.vaults.local.as_deref()), (Some("v.example"), Some("main")));
    assert_eq!(good("public_url = \"https://ID.example:443\"").public_url.unwrap().to_string(), "https://id.example");
}

#[test]
fn keys_in_a_device_need_all_of_it_named() {
    let set = |text: &str| faults(&format!("[signing]\n{text}"));
    let (module, token, pin) = ("pkcs11_module = \"m.so\"\n", "pkcs11_token = \"t\"\n", "pkcs11_pin_file = \"pin\"\n");
    assert!(set("custody = \"sealed\"\n").is_empty());
    assert!(set("custody = \"tpm\"\n")[0].contains("\"sealed\" or \"pkcs11\""));
    assert!(set("custody = \"pkcs11\"\n")[0].contains("set signing.pkcs11_module"));
    for some in [module, token, pin, &[module, pin].concat()] {
        assert!(set(some)[0].contains("or none"), "{some}");
    }
    let long = format!("pkcs11_token = \"{}\"\n", "t".repeat(33));
    assert!(set(&[module, &long, pin].concat())[0].contains("1 to 32 bytes"));
    for (custody, in_device) in [("sealed", false), ("pkcs11", true)] {
        let config = good(&format!("[signing]\ncustody = \"{custody}\"\n{module}{token}{pin}"));
        assert_eq!(config.signing.in_device, in_device);
        let device = config.signing.device.unwrap();
        assert_eq!((device.module.as_path(), device.token.as_str()), (Path::new("/etc/denizen/m.so"), "t"));
    }
}
