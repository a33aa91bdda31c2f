//! The files `denizen dev` writes, and the environment they give.

use std::{
    os::unix::fs::{FileTypeExt as _, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{
    dev::{Dev, Launch},
    sandbox::{Sandbox, User},
};

/// Every file and directory below `dir`, the directory itself included.
pub(crate) fn below(dir: &Path) -> Vec<PathBuf> {
    let mut all = vec![dir.to_owned()];
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.symlink_metadata().unwrap().is_dir() { all.extend(below(&path)) } else { all.push(path) }
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d02_everything_it_keeps_is_closed_to_others() {
    let sandbox = Sandbox::new().await;
    // An earlier `mkdir` left it open to everybody.
    let data = sandbox.home(User::Ours).join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o777)).unwrap();
    let dev = Dev::start(&sandbox).await;
    let mut seen = Vec::new();
    for path in below(&dev.data) {
        let meta = path.symlink_metadata().unwrap();
        let name = path.strip_prefix(&dev.data).unwrap().to_str().unwrap().to_owned();
        let open_to_all = ["ca.pem", "ca-bundle.pem"].contains(&name.as_str());
        let expected = if meta.is_dir() {
            0o700
        } else if open_to_all {
            0o644
        } else {
            0o600
        };
        let is_socket = name == "admin.sock" && meta.file_type().is_socket();
        assert!(meta.is_dir() || meta.is_file() || is_socket, "{name} is neither a file nor a directory");
        assert_eq!(meta.mode() & 0o7777, expected, "{name}");
        assert_eq!(meta.uid(), rustix::process::geteuid().as_raw(), "{name}");
        seen.push(name);
    }
    for file in ["ca.pem", "ca-bundle.pem", "env", "env.list", "dev.json", "root.key", "denizen.db", "agent"] {
        assert!(seen.iter().any(|name| name == file), "{file} is not among {seen:?}");
    }
    assert!(!seen.iter().any(|name| name.starts_with('.')), "temporary files stay behind: {seen:?}");
}

/// As `/home` often is: a user may pass through a directory above its own, and not list it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_above_its_own_may_be_closed_to_readers() {
    let sandbox = Sandbox::new().await;
    let closed = sandbox.path("closed");
    let data = closed.join("data");
    std::fs::create_dir_all(&data).unwrap();
    let owner = sandbox.home(User::Daemon).metadata().unwrap();
    std::os::unix::fs::chown(&data, Some(owner.uid()), Some(owner.gid())).unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o311)).unwrap();
    let list = crate::sandbox::ended({
        let mut list = sandbox.command(User::Daemon, "ls");
        list.arg(&closed);
        list
    });
    assert_ne!(list.await.code, Some(0), "the user can list the directory, so the test shows nothing");
    let dev = Launch::new(&sandbox, User::Daemon).data(&data).start().await;
    assert!(dev.data.join("root.key").exists());
    // So that the sandbox can be removed by any user.
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o700)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dev_json_says_all_that_a_program_needs() {
    let sandbox = Sandbox::new().await;
    let dev = Dev::start(&sandbox).await;
    for guid in ["/tenant_id", "/subscription_id", "/admin/client_id", "/machine/client_id", "/machine/principal_id"] {
        uuid::Uuid::try_parse(dev.fact(guid)).unwrap_or_else(|e| panic!("{guid}: {e}"));
    }
    assert_ne!(dev.fact("/machine/client_id"), dev.fact("/machine/principal_id"));
    for url in ["/authority", "/arm_url", "/graph_url", "/vault_url"] {
        assert!(dev.fact(url).starts_with("https://localhost:"), "{url}: {}", dev.fact(url));
        assert!(!dev.fact(url).ends_with('/'), "{url}");
    }
    assert_eq!(dev.fact("/resource_group"), "dev");
    assert_eq!(dev.fact("/vault_name"), "dev");
    assert_eq!(dev.fact("/ca_file"), dev.data.join("ca.pem").to_str().unwrap());
    assert!(dev.fact("/admin/client_secret").len() >= 32);
    assert!(dev.fact("/agent/app_service/identity_header").len() >= 32);
    assert!(dev.fact("/agent/app_service/identity_endpoint").ends_with("/msi/token"));
    assert!(dev.fact("/agent/imds_host").starts_with("http://127.0.0.1:"));
    let machine = format!(
        "/subscriptions/{}/resourceGroups/dev/providers/Microsoft.HybridCompute/machines/",
        dev.fact("/subscription_id")
    );
    assert!(dev.fact("/machine/resource_id").starts_with(&machine), "{}", dev.fact("/machine/resource_id"));
    if sandbox.has_mounts() {
        let imds = dev.fact("/agent/arc/imds_endpoint");
        assert!(imds.starts_with("http://localhost:"));
        let identity = dev.fact("/agent/arc/identity_endpoint");
        assert_eq!(identity, format!("{imds}/metadata/identity/oauth2/token"));
    } else {
        assert_eq!(dev.facts.pointer("/agent/arc"), Some(&Value::Null));
    }
    // The secret it names is there, with the value it names.
    let token = dev.admin_token("https://vault.azure.net").await;
    let path = format!("/secrets/{}/?api-version=7.6", dev.fact("/secret/name"));
    let secret = dev.vault("GET", &path, Some(&token), None).await.expect(200);
    assert_eq!(secret.text("/value"), dev.fact("/secret/value"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_says_what_it_did_and_shows_no_secret() {
    let sandbox = Sandbox::new().await;
    let dev = Launch::new(&sandbox, User::Ours).log("trace").start().await;
    let said = dev.stdout();
    assert!(said.contains("FOR DEVELOPMENT ONLY"), "{said}");
    assert!(said.contains(&format!(". {}", dev.data.join("env").display())), "{said}");
    assert!(said.contains(dev.fact("/machine/client_id")), "{said}");
    let dialect = if sandbox.has_mounts() { "Arc: " } else { "App Service, because" };
    assert!(said.contains(dialect), "{said}");
    assert_eq!(said.lines().filter(|line| line.ends_with(" ok")).count(), 3, "{said}");
    let logged = dev.stderr();
    assert!(logged.lines().count() > 10, "this test is about a log that says much: {logged}");
    for line in logged.lines() {
        assert!(line.starts_with("[development] "), "{line}");
    }
    for secret in ["/admin/client_secret", "/agent/app_service/identity_header", "/secret/value"] {
        for (stream, text) in [("stdout", &said), ("stderr", &logged)] {
            assert!(!text.contains(dev.fact(secret)), "{secret} is on {stream}");
        }
    }
    assert!(!logged.contains("eyJ"), "a token or an assertion is in the log");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sourcing_env_gives_one_dialect_and_takes_the_others_away() {
    let before = [
        ("IDENTITY_HEADER", "left over"),
        ("IMDS_ENDPOINT", "left over"),
        ("IDENTITY_SERVER_THUMBPRINT", "left over"),
        ("MSI_ENDPOINT", "left over"),
        ("MSI_SECRET", "left over"),
        ("KEPT", "it's mine"),
    ];
    for user in [User::Ours, User::Nobody] {
        let sandbox = Sandbox::new().await;
        let dev = Launch::new(&sandbox, user).start().await;
        let env = dev.environment(&before).await;
        let get = |name: &str| env.get(name).map(String::as_str);
        let bundle = dev.data.join("ca-bundle.pem");
        assert_eq!(get("SSL_CERT_FILE"), bundle.to_str());
        assert_eq!(get("REQUESTS_CA_BUNDLE"), bundle.to_str());
        assert_eq!(get("NODE_EXTRA_CA_CERTS"), dev.data.join("ca.pem").to_str());
        assert_eq!(get("AZURE_AUTHORITY_HOST"), Some(dev.fact("/authority")));
        assert_eq!(get("DENIZEN_VAULT_URL"), Some(dev.fact("/vault_url")));
        assert_eq!(get("KEPT"), Some("it's mine"));
        for gone in ["IDENTITY_SERVER_THUMBPRINT", "MSI_ENDPOINT", "MSI_SECRET"] {
            assert_eq!(get(gone), None, "{gone}");
        }
        if user == User::Ours && sandbox.has_mounts() {
            assert_eq!(get("IDENTITY_ENDPOINT"), Some(dev.fact("/agent/arc/identity_endpoint")));
            assert_eq!(get("IMDS_ENDPOINT"), Some(dev.fact("/agent/arc/imds_endpoint")));
            // Its mere presence means App Service to every SDK.
            assert_eq!(get("IDENTITY_HEADER"), None);
        } else {
            assert_eq!(dev.facts.pointer("/agent/arc"), Some(&Value::Null));
            assert_eq!(get("IDENTITY_ENDPOINT"), Some(dev.fact("/agent/app_service/identity_endpoint")));
            assert_eq!(get("IDENTITY_HEADER"), Some(dev.fact("/agent/app_service/identity_header")));
            assert_eq!(get("IMDS_ENDPOINT"), None);
        }
        // The bundle replaces a client's roots, so it holds the system's as well as ours.
        let (ca, all) = (dev.fact("/ca_file"), std::fs::read_to_string(&bundle).unwrap());
        let ca = std::fs::read_to_string(ca).unwrap();
        assert_eq!(ca.matches("BEGIN CERTIFICATE").count(), 1);
        assert!(all.contains(ca.trim()));
        if Path::new("/etc/ssl/certs/ca-certificates.crt").exists() {
            assert!(all.matches("BEGIN CERTIFICATE").count() > 1);
        }
        dev.stop().await;
    }
}
