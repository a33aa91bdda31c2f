//! Which vault a host means, and what its challenge names.

use serde_json::json;

use super::*;

#[tokio::test]
async fn the_challenge_names_the_suffix_as_the_client_reaches_it() {
    let v = Vaulted::new().await;
    for (host, resource) in [
        ("dev.vault.denizen.test:8444", "https://vault.denizen.test:8444"),
        ("DEV.Vault.Denizen.Test:8444", "https://vault.denizen.test:8444"),
        // Something in front serves the default port.
        ("dev.vault.denizen.test", "https://vault.denizen.test"),
        ("dev.vault.denizen.test:443", "https://vault.denizen.test"),
        ("localhost:8444", "https://vault.azure.net"),
        ("localhost:18444", "https://vault.azure.net"),
        ("localhost", "https://vault.azure.net"),
        ("127.0.0.1:8444", "https://vault.azure.net"),
        ("[::1]:8444", "https://vault.azure.net"),
    ] {
        let answer = v.bare(Method::GET, "/secrets").header("host", host).send().await;
        let challenge = format!(r#"Bearer authorization="{AUTHORITY}/{}", resource="{resource}""#, v.bed.tenant);
        assert_eq!(answer.header("www-authenticate"), challenge, "{host}");
        // A loopback name belongs to every program on the machine: it is not pinned to TLS.
        assert_eq!(answer.headers.contains_key("strict-transport-security"), !resource.contains("azure"), "{host}");
    }
}

#[tokio::test]
async fn an_unknown_host_is_refused_without_a_challenge() {
    let v = Vaulted::new().await;
    for host in [
        "",
        "vault.denizen.test:8444",
        ".vault.denizen.test:8444",
        "a.dev.vault.denizen.test:8444",
        "dev.vault.denizen.test:8445",
        "dev.vault.denizen.test:",
        "dev.vault.denizen.test:+8444",
        "dev.vault.denizen.test:8444:1",
        "dev.vault.denizen.test.:8444",
        "devvault.denizen.test:8444",
        "dev.vault.denizen.test.evil.example",
        "evil.example",
        "dev.vault.azure.net",
        "localhost.evil.example",
        "127.0.0.2",
        "[::1",
        "[::2]:8444",
        "user@dev.vault.denizen.test:8444",
    ] {
        let answer = v.get("/secrets").header("host", host).send().await;
        assert_eq!(answer.fault(), fault(400, "BadParameter", ""), "{host}");
        assert!(!answer.headers.contains_key("www-authenticate"), "{host}");
        assert!(answer.message().contains("vault.denizen.test:8444, or localhost"), "{}", answer.text);
    }
    let unknown = v.get("/secrets").header("host", "nobody.vault.denizen.test:8444").send().await;
    assert_eq!(unknown.fault(), fault(404, "VaultNotFound", ""));
    assert!(!unknown.headers.contains_key("www-authenticate"));
    let two = v.get("/secrets").also("host", HOST).send().await;
    assert_eq!(two.fault(), fault(400, "BadParameter", ""));
}

#[tokio::test]
async fn a_loopback_name_means_a_vault_in_development_only() {
    let v = Vaulted::new().await;
    let vault = Vault::new(v.bed.secrets.clone(), v.bed.access.clone(), PublicNames { vault_local: None, ..names() });
    let service = Service::new("vault", vault).unwrap();
    let production = Vaulted { service, ..v };
    for host in ["localhost:8444", "127.0.0.1:8444", "[::1]:8444"] {
        let answer = production.get("/secrets").header("host", host).send().await;
        assert_eq!(answer.fault(), fault(400, "BadParameter", ""), "{host}");
    }
    production.get("/secrets").send().await.ok();
}

#[tokio::test]
async fn ids_echo_the_address_that_was_asked() {
    let v = Vaulted::new().await;
    v.put("s", json!({"value": "v"})).await.ok();
    for (host, base) in [
        ("dev.vault.denizen.test:8444", "https://dev.vault.denizen.test:8444"),
        ("DEV.vault.denizen.test", "https://dev.vault.denizen.test"),
        ("dev.vault.denizen.test:443", "https://dev.vault.denizen.test"),
        ("localhost:8444", "https://localhost:8444"),
        ("[::1]:8444", "https://[::1]:8444"),
    ] {
        let got = v.get("/secrets/s").header("host", host).send().await.ok();
        assert!(got["id"].as_str().unwrap().starts_with(&format!("{base}/secrets/s/")), "{host}: {got}");
    }
}

#[tokio::test]
async fn on_the_default_port_nothing_names_a_port() {
    let v = Vaulted::new().await;
    let vault = Vault::new(v.bed.secrets.clone(), v.bed.access.clone(), PublicNames { vault_port: 443, ..names() });
    let service = Service::new("vault", vault).unwrap();
    let v = Vaulted { service, ..v };
    for host in ["dev.vault.denizen.test", "dev.vault.denizen.test:443"] {
        let answer = v.bare(Method::GET, "/secrets").header("host", host).send().await;
        assert!(answer.header("www-authenticate").ends_with(r#"resource="https://vault.denizen.test""#));
    }
    let other = v.bare(Method::GET, "/secrets").header("host", HOST).send().await;
    assert_eq!(other.status, 400);
}
