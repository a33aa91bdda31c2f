//! One deployment trusts another: two servers in processes of their own, each with its CA, and the commands between.

use denizen_wire::oauth::JWT_BEARER;
use serde_json::Value;

use crate::{
    dev::Launch,
    jwt,
    operator::{CONFIG, Operator, Running},
    sandbox::{Sandbox, User, ended},
    wire::Answer,
};

const EXCHANGE: &str = "api://AzureADTokenExchange";
const VAULT: &str = "https://vault.azure.net";
const SECRET: &str = "/secrets/hello?api-version=7.6";

/// Asks for a token with a token of another issuer.
async fn exchange(server: &Running<'_>, admin: &Value, assertion: &str) -> Answer {
    let scope = format!("{VAULT}/.default");
    let fields = [
        ("grant_type", "client_credentials"),
        ("client_id", admin["client_id"].as_str().unwrap()),
        ("client_assertion_type", JWT_BEARER),
        ("client_assertion", assertion),
        ("scope", &scope),
    ];
    let url = format!("{}/{}/oauth2/v2.0/token", server.authority, admin["tenant_id"].as_str().unwrap());
    server.wire.form(&url, &fields).await
}

fn code(answer: &Answer) -> i64 {
    answer.json()["error_codes"][0].as_i64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_another_deployment_opens_a_vault_of_this_one() {
    let sandbox = Sandbox::new().await;
    let other = Operator::new(&sandbox);
    other.init().await.ok();
    let issuing = other.start().await;
    let of_other = other.admin();

    let ours = Operator::new(&sandbox);
    let ca = other.path("ca.pem");
    let federation = |hosts: &str| {
        let networks = "127.0.0.0/8, ::1/128";
        format!("{CONFIG}\n[federation]\nissuers = {hosts:?}\nnetworks = {networks:?}\nca_file = {ca:?}\n")
    };
    ours.configure(&federation("none"));
    ours.init().await.ok();
    let admin = ours.admin();
    let (app, object_id) = (admin["client_id"].as_str().unwrap(), admin["object_id"].as_str().unwrap());
    let issuer = format!("{}/{}/", issuing.authority, of_other["tenant_id"].as_str().unwrap());
    let subject = of_other["object_id"].as_str().unwrap();
    let add = ["app", "federated-credential", "add", "--app", app, "--issuer", &issuer, "--subject", subject, "--name"];
    let add = async |name: &str| ours.run(&[&add[..], &[name]].concat()).await;

    // Nobody is asked before somebody has said so, here without a server that runs.
    let refused = add("other").await;
    assert!(refused.code == Some(65) && refused.err.contains("federation.issuers"), "{refused:?}");
    ours.configure(&federation("localhost"));
    let server = ours.start().await;
    let token = issuing.admin_token(&of_other, EXCHANGE).await.expect(200).text("/access_token");
    let stranger = exchange(&server, &admin, &token).await.expect(401);
    assert_eq!(code(&stranger), 700_211, "{stranger:?}");

    let added = add("other").await.ok();
    assert!(added.contains(&issuer) && added.contains("other"), "{added}");
    let again = add("again").await;
    assert!(again.code == Some(65) && again.err.contains("listed once"), "{again:?}");
    let exchanged = exchange(&server, &admin, &token).await.expect(200).text("/access_token");
    let claims = jwt::claims(&exchanged);
    assert_eq!((&claims["oid"], &claims["appidacr"]), (&admin["object_id"], &"2".into()));
    let scope = format!("/subscriptions/{}", admin["subscription_id"].as_str().unwrap());
    let role = ["--assignee", object_id, "--role", "Key Vault Secrets Officer", "--scope", &scope];
    ours.run(&[&["role", "assignment", "create"][..], &role].concat()).await.ok();
    server.vault("PUT", SECRET, &exchanged, Some(r#"{"value":"by another's token"}"#)).await.expect(200);

    // Another resource's token of the same principal is not meant for this.
    let elsewhere = issuing.admin_token(&of_other, VAULT).await.expect(200).text("/access_token");
    assert_eq!(code(&exchange(&server, &admin, &elsewhere).await.expect(401)), 700_212);
    // The key that signs next is published before it does, so its tokens are good at once.
    other.run(&["signing-key", "rotate"]).await.ok();
    let rotated = issuing.admin_token(&of_other, EXCHANGE).await.expect(200).text("/access_token");
    assert_ne!(jwt::header(&rotated)["kid"], jwt::header(&token)["kid"]);
    exchange(&server, &admin, &rotated).await.expect(200);
    // The issuer goes away; its keys are known.
    issuing.stop().await;
    exchange(&server, &admin, &rotated).await.expect(200);

    let list = ["app", "federated-credential", "list", "--app", app];
    let listed: Value = serde_json::from_str(&ours.run(&list).await.ok()).unwrap();
    assert_eq!((&listed[0]["subject"], &listed[0]["audiences"][0]), (&subject.into(), &EXCHANGE.into()));
    ours.run(&["app", "federated-credential", "remove", "--app", app, "--name", "other"]).await.ok();
    assert_eq!(code(&exchange(&server, &admin, &rotated).await.expect(401)), 700_211);
    let gone = ours.run(&["app", "federated-credential", "remove", "--app", app, "--name", "other"]).await;
    assert_eq!(gone.code, Some(65), "{gone:?}");

    // Added again, with an issuer that is away and unknown by now: the answer says so, and that it may be over soon.
    server.stop().await;
    let server = ours.start().await;
    add("other").await.ok();
    let away = exchange(&server, &admin, &rotated).await.expect(503);
    assert_eq!(code(&away), 90_061, "{away:?}");
    let exported = ours.run(&["audit", "export"]).await.ok();
    let issued =
        exported.lines().find(|line| line.contains("\"federated\"")).expect("the audit says whose token it was");
    assert!(issued.contains(subject) && issued.contains(&issuer), "{issued}");
    assert!(exported.contains("system:denizen app federated-credential add"), "{exported}");
    assert!(!exported.contains(&token) && !server.stop().await.contains(&rotated));
}

/// A development server takes tokens of an issuer on loopback, here of itself and of another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_development_server_trusts_an_issuer_on_loopback() {
    let sandbox = Sandbox::new().await;
    let other = Operator::new(&sandbox);
    other.init().await.ok();
    let issuing = other.start().await;
    let of_other = other.admin();
    let (ca, data) = (other.path("ca.pem"), sandbox.home(User::Ours).join("dev-data"));
    let dev = Launch::new(&sandbox, User::Ours).data(&data).flag("--issuer-ca", ca.to_str().unwrap()).start().await;
    let (authority, tenant) = (dev.fact("/authority"), dev.fact("/tenant_id"));
    let app = dev.fact("/admin/client_id");
    let theirs = format!("{}/{}/", issuing.authority, of_other["tenant_id"].as_str().unwrap());
    let own = format!("{authority}/{tenant}/");
    let themselves = jwt::claims(&dev.admin_token(EXCHANGE).await)["oid"].as_str().unwrap().to_owned();
    let token = issuing.admin_token(&of_other, EXCHANGE).await.expect(200).text("/access_token");
    for (issuer, subject, assertion) in [
        (theirs.as_str(), of_other["object_id"].as_str().unwrap(), token),
        (own.as_str(), themselves.as_str(), dev.admin_token(EXCHANGE).await),
    ] {
        let mut command = sandbox.denizen(User::Ours);
        command.args(["app", "federated-credential", "add", "--app", app, "--issuer", issuer, "--subject", subject]);
        ended({
            command.arg("--data").arg(&data);
            command
        })
        .await
        .ok();
        let scope = format!("{VAULT}/.default");
        let fields = [
            ("grant_type", "client_credentials"),
            ("client_id", app),
            ("client_assertion_type", JWT_BEARER),
            ("client_assertion", assertion.as_str()),
            ("scope", &scope),
        ];
        let answer = dev.wire.form(&format!("{authority}/{tenant}/oauth2/v2.0/token"), &fields).await.expect(200);
        let claims = jwt::claims(&answer.text("/access_token"));
        assert_eq!((claims["appid"].as_str(), claims["appidacr"].as_str()), (Some(app), Some("2")), "{issuer}");
    }
    dev.stop().await;
    let mut command = sandbox.denizen(User::Ours);
    command.args(["app", "federated-credential", "list", "--app", "00000000-0000-0000-0000-000000000000", "--data"]);
    command.arg(&data);
    let refused = ended(command).await;
    assert!(refused.code == Some(69) && refused.err.contains("denizen dev"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_commands_of_an_application_refuse_they_name() {
    let sandbox = Sandbox::new().await;
    let operator = Operator::with(&sandbox, &format!("{CONFIG}\n[federation]\nissuers = \"*.example.com\"\n"));
    operator.init().await.ok();
    let admin = operator.admin();
    let app = admin["client_id"].as_str().unwrap();
    let run = async |words: &[&str]| operator.run(&[&["app"][..], words, &["--app", app]].concat()).await;
    let issuer = "https://id.example.com";
    for (words, code, says) in [
        (&["federated-credential", "add", "--issuer", issuer][..], 64, "--subject"),
        (
            &["federated-credential", "add", "--issuer", issuer, "--subject", "s", "--expression", "x"],
            64,
            "cannot be used",
        ),
        (&["federated-credential", "add", "--issuer", "http://id.example.com", "--subject", "s"], 65, "https"),
        (
            &["federated-credential", "add", "--issuer", "https://id.example.org", "--subject", "s"],
            65,
            "federation.issuers",
        ),
        (&["federated-credential", "add", "--issuer", issuer, "--subject", "s", "--name", "x"], 65, "3 to 120"),
        (
            &["federated-credential", "add", "--issuer", issuer, "--expression", "claims['sub'] like 'x'"],
            65,
            "character 14",
        ),
        (
            &[
                "trusted-subject",
                "add",
                "--subject",
                "CN=x, O=y",
                "--authority",
                operator.path("ca.pem").to_str().unwrap(),
            ],
            65,
            "RFC 4514",
        ),
        (
            &["trusted-subject", "add", "--subject", "CN=x", "--authority", operator.path("tls.key").to_str().unwrap()],
            65,
            "1 to 10",
        ),
        (&["trusted-subject", "remove", "--id", "x"], 65, "list"),
    ] {
        let refused = run(words).await;
        assert!(refused.code == Some(code) && refused.err.contains(says), "{words:?}: {refused:?}");
    }
    let matching = "claims['sub'] matches 'repo:contoso/*'";
    let added = run(&["federated-credential", "add", "--issuer", issuer, "--expression", matching]).await.ok();
    assert!(added.contains("federated-"), "{added}");
    let listed: Value = serde_json::from_str(&run(&["federated-credential", "list"]).await.ok()).unwrap();
    assert_eq!(listed[0]["claimsMatchingExpression"]["value"], matching);
    let ca = operator.path("ca.pem");
    let words = ["trusted-subject", "add", "--certificate", ca.to_str().unwrap(), "--authority", ca.to_str().unwrap()];
    run(&words).await.ok();
    let listed: Value = serde_json::from_str(&run(&["trusted-subject", "list"]).await.ok()).unwrap();
    assert!(listed[0]["subject"].as_str().unwrap().starts_with("CN=Test CA"), "{listed}");
    run(&["trusted-subject", "remove", "--id", listed[0]["id"].as_str().unwrap()]).await.ok();
    assert_eq!(run(&["trusted-subject", "list"]).await.ok(), "[]");
    // A configuration that cannot be meant is refused at the start, with the key.
    operator.configure(&format!("{CONFIG}\n[federation]\nissuers = \"https://x\"\nnetworks = \"10.0.0.1/8\"\n"));
    let checked = operator.check().await;
    for key in ["federation.issuers", "federation.networks"] {
        assert!(checked.code == Some(78) && checked.err.contains(key), "{checked:?}");
    }
}
