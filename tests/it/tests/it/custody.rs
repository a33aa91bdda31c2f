//! Where signing keys are and what they sign by: a real server whose keys are in a token of SoftHSM's, from one custody to the
//! other and back, the token pulled out; ES256 as OpenSSL reads it; every key replaced at once; what is exported of an issuer.

use std::{os::unix::fs::PermissionsExt as _, path::Path, process::Stdio};

use denizen_keys::{Algorithm, b64, jwk::Jwk, jws::Unverified};
use denizen_test_softhsm::{LABEL, PIN, SoftHsm};
use serde_json::Value;
use tokio::process::Command;

use crate::{
    jwt,
    operator::{CONFIG, Operator, Running},
    sandbox::{Ended, Sandbox, ended},
};

const VAULT: &str = "https://vault.azure.net";

/// An operator whose configuration has the token.
struct Site<'s> {
    operator: Operator<'s>,
    hsm: SoftHsm,
}

impl<'s> Site<'s> {
    fn new(sandbox: &'s Sandbox, custody: &str) -> Option<Self> {
        let hsm = SoftHsm::start()?;
        let site = Self { operator: Operator::new(sandbox), hsm };
        std::fs::write(site.operator.path("pin"), format!("{PIN}\n")).unwrap();
        std::fs::set_permissions(site.operator.path("pin"), std::fs::Permissions::from_mode(0o600)).unwrap();
        site.configure(custody, site.hsm.module(), LABEL, "pin");
        Some(site)
    }

    fn configure(&self, custody: &str, module: &Path, label: &str, pin: &str) {
        self.operator.configure(&format!(
            "public_url = \"https://localhost:1\"\n{CONFIG}\n[signing]\ncustody = \"{custody}\"\npkcs11_module = \"{}\"\npkcs11_token = \"{label}\"\n\
             pkcs11_pin_file = \"{pin}\"\n",
            module.display()
        ));
    }

    fn custody(&self, custody: &str) {
        self.configure(custody, self.hsm.module(), LABEL, "pin");
    }

    fn with_token(&self, mut command: Command) -> Command {
        command.env("SOFTHSM2_CONF", self.hsm.conf());
        command
    }

    async fn init(&self) {
        ended(self.with_token(self.operator.init_command())).await.ok();
    }

    async fn start(&self) -> Running<'s> {
        self.operator.start_as(self.with_token(self.operator.denizen(&["server"]))).await
    }

    async fn check(&self) -> Ended {
        ended(self.with_token(self.operator.denizen(&["server", "--check"]))).await
    }
}

/// The published keys.
async fn keys(server: &Running<'_>, admin: &Value) -> Vec<Value> {
    let url = format!("{}/{}/discovery/v2.0/keys", server.authority, admin["tenant_id"].as_str().unwrap());
    server.wire.get(&url, &[]).await.expect(200).json()["keys"].as_array().unwrap().clone()
}

async fn token(server: &Running<'_>, admin: &Value, resource: &str) -> String {
    server.admin_token(admin, resource).await.expect(200).text("/access_token")
}

/// Whether one of the published keys has signed it, by its own algorithm; the key's name.
async fn signed_by(server: &Running<'_>, admin: &Value, token: &str) -> Option<String> {
    let parsed = Unverified::parse(token, 8192).unwrap();
    let found = keys(server, admin).await.into_iter().find(|key| key["kid"].as_str() == parsed.kid())?;
    let public = serde_json::from_value::<Jwk>(found).unwrap().to_public().unwrap();
    parsed.verify(&public, &[public.token_algorithm()]).ok()?;
    parsed.kid().map(str::to_owned)
}

/// What the vault answers to it; the administrator has no role there, so a good token is a 403.
async fn vault_status(server: &Running<'_>, token: &str) -> u16 {
    server.vault("GET", "/secrets/x?api-version=7.4", token, None).await.status
}

async fn readiness(server: &Running<'_>) -> (u16, Value) {
    let answer = server.wire.get(&format!("{}/readyz", server.metrics_url), &[]).await;
    let check = answer.json()["checks"].as_array().unwrap().iter().find(|it| it["check"] == "signing keys").cloned();
    (answer.status, check.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_in_a_token_sign_outlive_a_restart_and_come_back_with_the_token() {
    let sandbox = Sandbox::new().await;
    let Some(site) = Site::new(&sandbox, "pkcs11") else { return };
    site.init().await;
    assert_eq!(site.hsm.objects(), 8, "both halves of four keys");
    let (admin, server) = (site.operator.admin(), site.start().await);
    let before = token(&server, &admin, VAULT).await;
    let kid = signed_by(&server, &admin, &before).await.expect("a published key signed");
    assert_eq!(keys(&server, &admin).await.len(), 4);
    assert_eq!(vault_status(&server, &before).await, 403, "believed, and allowed nothing");
    assert_eq!(readiness(&server).await.1["ok"], true);
    server.stop().await;

    let server = site.start().await;
    let again = token(&server, &admin, VAULT).await;
    assert_eq!(signed_by(&server, &admin, &again).await, Some(kid.clone()));

    // Pulled out: no token is signed, and that is said as what passes; what is out is still believed.
    site.hsm.remove();
    let refused = server.admin_token(&admin, VAULT).await.expect(503);
    assert_eq!(refused.text("/error"), "temporarily_unavailable");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(refused.text("/error_description").starts_with("AADSTS90033"), "{refused:?}");
    assert!(!refused.body.contains(LABEL) && !refused.body.contains("PKCS"), "nothing of this machine: {refused:?}");
    assert_eq!(vault_status(&server, &again).await, 403);
    let check = async |ok: bool| {
        // It is looked at once a second at most.
        loop {
            let (status, check) = readiness(&server).await;
            if check["ok"] == ok {
                return (status, check);
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    let (status, said) = check(false).await;
    assert!(said["reason"].as_str().unwrap().contains("device of the signing keys"), "{said}");
    assert_eq!(status, 200, "the vaults are served");
    assert_eq!(keys(&server, &admin).await.len(), 4, "what was signed can be verified");

    site.hsm.insert();
    let after = token(&server, &admin, VAULT).await;
    assert_eq!(signed_by(&server, &admin, &after).await, Some(kid));
    check(true).await;
    let log = server.stop().await;
    assert!(log.contains(LABEL), "the log says which token: {log}");
    assert!(!log.contains(PIN), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custody_changes_with_the_next_key_and_old_keys_stay_in_use() {
    let sandbox = Sandbox::new().await;
    let Some(site) = Site::new(&sandbox, "sealed") else { return };
    site.init().await;
    let admin = site.operator.admin();
    assert_eq!(site.hsm.objects(), 0);

    let mut tokens: Vec<String> = Vec::new();
    // One that is in software, the next made in the token, and so on. `rotate` takes the key that was made ahead.
    for (custody, objects) in [("sealed", 0), ("pkcs11", 4), ("pkcs11", 8), ("sealed", 8), ("sealed", 8)] {
        site.custody(custody);
        let server = site.start().await;
        for old in &tokens {
            assert!(signed_by(&server, &admin, old).await.is_some(), "in {custody}");
            assert_eq!(vault_status(&server, old).await, 403, "in {custody}");
        }
        if !tokens.is_empty() {
            site.operator.run(&["signing-key", "rotate"]).await.ok();
        }
        assert_eq!(site.hsm.objects(), objects, "in {custody}");
        let new = token(&server, &admin, VAULT).await;
        assert!(signed_by(&server, &admin, &new).await.is_some());
        assert!(tokens.iter().all(|old| jwt::header(old)["kid"] != jwt::header(&new)["kid"]));
        tokens.push(new);
        server.stop().await;
    }

    // Every key goes: those in the token are destroyed there, which is said while it is away and done when it is back.
    let server = site.start().await;
    site.hsm.remove();
    let said = site.operator.run(&["signing-key", "roll", "--emergency"]).await.ok();
    assert_eq!(said.matches("not destroyed yet").count(), 4, "{said}");
    site.hsm.insert();
    assert_eq!(site.hsm.objects(), 8);
    let said = site.operator.run(&["signing-key", "roll", "--emergency"]).await.ok();
    assert!(!said.contains("not destroyed yet"), "{said}");
    assert_eq!(site.hsm.objects(), 0);
    for old in &tokens {
        assert_eq!(vault_status(&server, old).await, 401);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_the_token_is_named_at_start() {
    let sandbox = Sandbox::new().await;
    let Some(site) = Site::new(&sandbox, "pkcs11") else { return };
    site.init().await;
    site.check().await.ok();
    std::fs::write(site.operator.path("wrong"), "not-the-pin").unwrap();
    std::fs::write(site.operator.path("open"), PIN).unwrap();
    std::fs::write(site.operator.path("empty"), "\n").unwrap();
    for (name, mode) in [("wrong", 0o600), ("open", 0o644), ("empty", 0o600)] {
        std::fs::set_permissions(site.operator.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let module = site.hsm.module();
    for (module, label, pin, says) in [
        (module, LABEL, "wrong", "refused the PIN"),
        (module, LABEL, "open", "its mode is 0644"),
        (module, LABEL, "empty", "is empty"),
        (module, LABEL, "nowhere", "cannot be read"),
        (module, "another", "pin", "signing keys"),
        (Path::new("/nowhere/module.so"), LABEL, "pin", "cannot be loaded"),
    ] {
        site.configure("pkcs11", module, label, pin);
        let refused = site.check().await;
        assert_ne!(refused.code, Some(0), "{says}: {refused:?}");
        assert!(refused.err.contains(says) && refused.err.contains("signing"), "{says}: {refused:?}");
        assert!(!refused.err.contains(PIN) && !refused.err.contains("not-the-pin"), "{refused:?}");
    }
    // Half of it.
    site.operator.configure(&format!("{CONFIG}\n[signing]\ncustody = \"pkcs11\"\n"));
    let refused = site.check().await;
    assert!(refused.err.contains("signing.custody") && refused.err.contains("signing.pkcs11_module"), "{refused:?}");
}

/// Runs OpenSSL over these bytes.
async fn openssl(words: &[&str], input: &[u8]) -> std::process::Output {
    use tokio::io::AsyncWriteExt as _;
    let mut command = Command::new("openssl");
    command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).await.unwrap();
    child.wait_with_output().await.unwrap()
}

/// The two numbers of a token's signature, as OpenSSL wants them.
fn der(fixed: &[u8]) -> Vec<u8> {
    let number = |bytes: &[u8]| {
        let bare: Vec<u8> = bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
        let sign = if bare.first().is_none_or(|first| first & 0x80 != 0) { vec![0] } else { vec![] };
        let whole = [sign, bare].concat();
        [vec![2, u8::try_from(whole.len()).unwrap()], whole].concat()
    };
    let both = [number(&fixed[..32]), number(&fixed[32..])].concat();
    [vec![0x30, u8::try_from(both.len()).unwrap()], both].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_that_wants_es256_gets_it_and_openssl_verifies_it() {
    let sandbox = Sandbox::new().await;
    let operator = Operator::new(&sandbox);
    operator.init().await.ok();
    let (admin, server) = (operator.admin(), operator.start().await);
    let client = admin["client_id"].as_str().unwrap().to_owned();
    assert_eq!(jwt::header(&token(&server, &admin, &client).await)["alg"], "RS256", "unless it was chosen");
    let choose = ["signing-key", "algorithm", "--application", &client, "--algorithm", "ES256"];
    assert!(operator.run(&choose).await.ok().contains("ES256"));
    let written = token(&server, &admin, &client).await;
    assert_eq!(jwt::header(&written)["alg"], "ES256");
    assert!(signed_by(&server, &admin, &written).await.is_some());
    // It concerns that application alone.
    assert_eq!(jwt::header(&token(&server, &admin, VAULT).await)["alg"], "RS256");

    // OpenSSL reads the published certificate, and the signature over the bytes of the token.
    let kid = jwt::header(&written)["kid"].clone();
    let key = keys(&server, &admin).await.into_iter().find(|key| key["kid"] == kid).unwrap();
    let certificate = b64::decode_standard(key["x5c"][0].as_str().unwrap()).unwrap();
    let public = openssl(&["x509", "-inform", "DER", "-noout", "-pubkey"], &certificate).await;
    assert!(public.status.success(), "{public:?}");
    let (pem, signature) = (operator.path("public.pem"), operator.path("signature"));
    std::fs::write(&pem, &public.stdout).unwrap();
    let (input, fixed) = written.rsplit_once('.').unwrap();
    let fixed = b64::decode_url(fixed).unwrap();
    assert_eq!(fixed.len(), 64);
    std::fs::write(&signature, der(&fixed)).unwrap();
    let words = ["dgst", "-sha256", "-verify", pem.to_str().unwrap(), "-signature", signature.to_str().unwrap()];
    assert!(openssl(&words, input.as_bytes()).await.status.success(), "OpenSSL verifies it");
    assert!(!openssl(&words, format!("{input}x").as_bytes()).await.status.success(), "and nothing else");
    // The certificate is signed by its own key.
    let self_signed = openssl(&["x509", "-inform", "DER"], &certificate).await.stdout;
    std::fs::write(operator.path("signing.pem"), &self_signed).unwrap();
    let path = operator.path("signing.pem");
    let verified = openssl(&["verify", "-CAfile", path.to_str().unwrap(), path.to_str().unwrap()], b"").await;
    assert!(verified.status.success(), "{verified:?}");

    // By the other family's algorithm a key verifies nothing.
    let public = serde_json::from_value::<Jwk>(key).unwrap().to_public().unwrap();
    let parsed = Unverified::parse(&written, 8192).unwrap();
    assert!(parsed.verify(&public, &[Algorithm::Rs256]).is_err());

    // There is no such application.
    let none = uuid::Uuid::from_u128(7).to_string();
    let refused = operator.run(&["signing-key", "algorithm", "--application", &none, "--algorithm", "ES256"]).await;
    assert_eq!(refused.code, Some(65), "{refused:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emergency_roll_makes_every_token_that_is_out_worthless_at_once() {
    let sandbox = Sandbox::new().await;
    let operator = Operator::new(&sandbox);
    operator.init().await.ok();
    let (admin, server) = (operator.admin(), operator.start().await);
    let old = token(&server, &admin, VAULT).await;
    assert_eq!(vault_status(&server, &old).await, 403, "believed, and remembered");
    let before = keys(&server, &admin).await;

    let unsaid = operator.run(&["signing-key", "roll"]).await;
    assert_eq!(unsaid.code, Some(64), "{unsaid:?}");
    assert!(unsaid.err.contains("--emergency"), "{unsaid:?}");
    let help = operator.run(&["signing-key", "roll", "--help"]).await.ok();
    assert!(help.contains("every token that is out is refused") && help.contains("cannot be undone"), "{help}");
    assert_eq!(keys(&server, &admin).await, before);

    let said = operator.run(&["signing-key", "roll", "--emergency"]).await.ok();
    assert_eq!(vault_status(&server, &old).await, 401, "at once");
    let after = keys(&server, &admin).await;
    assert_eq!(after.len(), 4);
    for key in &before {
        assert!(!after.iter().any(|new| new["kid"] == key["kid"]), "an old key is published");
        assert!(said.contains(&format!("{}  gone", key["kid"].as_str().unwrap())), "{said}");
    }
    let new = token(&server, &admin, VAULT).await;
    assert!(signed_by(&server, &admin, &new).await.is_some());
    assert_eq!(vault_status(&server, &new).await, 403);
    server.stop().await;

    // It is in the audit, by the command's name; at rest the command works as well.
    let audit = operator.run(&["audit", "export"]).await;
    assert!(audit.out.contains("system:denizen signing-key roll --emergency"), "{audit:?}");
    let at_rest = operator.run(&["signing-key", "roll", "--emergency"]).await.ok();
    for key in &after {
        assert!(at_rest.contains(&format!("{}  gone", key["kid"].as_str().unwrap())), "{at_rest}");
    }
    let server = operator.start().await;
    let published = keys(&server, &admin).await;
    assert!(published.len() == 4 && after.iter().all(|old| !published.contains(old)), "{published:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_exported_of_an_issuer_is_what_the_server_serves() {
    let sandbox = Sandbox::new().await;
    let operator = Operator::new(&sandbox);
    // A trial's own name is nobody else's.
    operator.init().await.ok();
    let export = async |more: &[&str]| {
        let mut command = operator.denizen(&["issuer", "export"]);
        command.arg("--out").arg(operator.path("out")).args(more);
        ended(command).await
    };
    let refused = export(&[]).await;
    assert!(refused.code == Some(78) && refused.err.contains("set public_url"), "{refused:?}");
    operator.configure(&format!("public_url = \"https://id.example.com\"\n{CONFIG}"));
    for (issuer, says) in [
        ("http://id.example.com", "write https://HOST"),
        ("https://id.example.com/?x=1", "write https://HOST"),
        ("https://id.example.com/tenant", "write https://HOST"),
        ("https://user@id.example.com", "write https://HOST"),
        ("id.example.com", "write https://HOST"),
        ("https://other.example.com", "set public_url to https://other.example.com"),
    ] {
        let refused = export(&["--issuer", issuer]).await;
        assert_eq!(refused.code, Some(64), "{issuer}: {refused:?}");
        assert!(refused.err.contains(says), "{issuer}: {refused:?}");
    }
    assert!(!operator.path("out").exists(), "nothing is written of what is refused");

    let (admin, server) = (operator.admin(), operator.start().await);
    let tenant = admin["tenant_id"].as_str().unwrap();
    let said = export(&["--issuer", "https://id.example.com"]).await.ok();
    for path in [
        "discovery/v2.0/keys",
        "discovery/keys",
        "v2.0/.well-known/openid-configuration",
        ".well-known/openid-configuration",
    ] {
        assert!(said.lines().any(|line| line == format!("https://id.example.com/{tenant}/{path}")), "{said}");
        let file = std::fs::read_to_string(operator.path("out").join(tenant).join(path)).unwrap();
        let served = server.wire.get(&format!("{}/{tenant}/{path}", server.authority), &[]).await.expect(200);
        assert_eq!(file, served.body, "{path}");
    }

    // Who has the files and nothing else verifies a token: issuer, discovery, keys.
    let written = token(&server, &admin, VAULT).await;
    let issuer = jwt::claims(&written)["iss"].as_str().unwrap().to_owned();
    let read = |url: &str| -> Value {
        let path = url.strip_prefix("https://id.example.com/").unwrap();
        serde_json::from_slice(&std::fs::read(operator.path("out").join(path)).unwrap()).unwrap()
    };
    let document = read(&format!("{issuer}.well-known/openid-configuration"));
    assert_eq!(document["issuer"], issuer);
    let published = read(document["jwks_uri"].as_str().unwrap());
    let parsed = Unverified::parse(&written, 8192).unwrap();
    let key = published["keys"].as_array().unwrap().iter().find(|key| key["kid"].as_str() == parsed.kid()).unwrap();
    let public = serde_json::from_value::<Jwk>(key.clone()).unwrap().to_public().unwrap();
    parsed.verify(&public, &[Algorithm::Rs256]).unwrap();

    // Again, over what is there; and nothing is left beside it.
    server.stop().await;
    export(&[]).await.ok();
    let names = std::fs::read_dir(operator.path("out").join(tenant).join("discovery")).unwrap();
    let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["keys", "v2.0"]);
    // A server with a trial's name and another tenant's id.
    let none = uuid::Uuid::from_u128(9).to_string();
    let refused = export(&["--tenant", &none]).await;
    assert!(refused.code == Some(65) && refused.err.contains("no tenant"), "{refused:?}");
}
