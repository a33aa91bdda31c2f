//! `denizen user`, and a person who signs in on the pages of the server that runs.

use serde_json::Value;

use crate::{
    dev::{Dev, Launch},
    operator::Operator,
    sandbox::{Sandbox, User},
    wire::{Answer, Wire, encoded},
};

const AZURE_CLI: &str = "04b07795-8ddb-461a-bbee-02f9e1bf7b46";
/// BASE64URL(SHA256(verifier)) of RFC 7636, appendix B.
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// What the browser keeps.
fn cookies(answer: &Answer) -> String {
    let all = answer.headers.get_all("set-cookie").iter().map(|cookie| cookie.to_str().unwrap());
    all.map(|cookie| cookie.split(';').next().unwrap()).collect::<Vec<_>>().join("; ")
}

/// The value of a page's hidden field.
fn hidden<'a>(page: &'a Answer, name: &str) -> &'a str {
    let field = format!("name=\"{name}\" value=\"");
    let (_, rest) = page.body.split_once(&field).unwrap_or_else(|| panic!("{page:?}"));
    rest.split_once('"').unwrap().0
}

/// Where the Azure CLI sends a browser.
fn authorize(authority: &str, tenant: &str) -> String {
    format!(
        "{authority}/{tenant}/oauth2/v2.0/authorize?client_id={AZURE_CLI}&redirect_uri={}&response_type=code&scope=openid\
         &state=s&code_challenge={CHALLENGE}&code_challenge_method=S256",
        encoded("http://localhost:8400")
    )
}

/// Signs in as the Azure CLI has a browser do.
async fn sign_in(wire: &Wire, authority: &str, tenant: &str, name: &str, password: &str) -> Answer {
    let url = authorize(authority, tenant);
    let page = wire.get(&url, &[]).await.expect(200);
    let form = format!(
        "token={}&step={}&name={}&password={}",
        hidden(&page, "token"),
        hidden(&page, "step"),
        encoded(name),
        encoded(password)
    );
    let kept = cookies(&page);
    let headers =
        [("Content-Type", "application/x-www-form-urlencoded"), ("Cookie", kept.as_str()), ("Origin", authority)];
    wire.send("POST", &url, &headers, Some(&form)).await.unwrap()
}

fn is_code(answer: &Answer) -> bool {
    answer.status == 303 && answer.header("location").is_some_and(|to| to.starts_with("http://localhost:8400?code="))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_administers_users_with_and_without_a_server() {
    let sandbox = Sandbox::new().await;
    let operator = Operator::new(&sandbox);
    operator.init().await.ok();
    let admin = operator.admin();
    let tenant = admin["tenant_id"].as_str().unwrap();
    // The name's rule says the domain.
    let refused = operator.run(&["user", "create", "ada"]).await;
    assert_eq!(refused.code, Some(65), "{refused:?}");
    let domain = refused.err.split_once("NAME@").unwrap().1.split_once('\'').unwrap().0.to_owned();
    let ada = format!("ada@{domain}");
    let made = operator.run(&["user", "create", &ada, "--display-name", "Ada"]).await.ok();
    let given = made.lines().find_map(|line| line.strip_prefix("password ")).unwrap().to_owned();

    let server = operator.start().await;
    let enter = async |password: &str| sign_in(&server.wire, &server.authority, tenant, &ada, password).await;
    let page = enter(&given).await;
    assert!(page.body.contains("<title>Choose a new password"), "{page:?}");
    let file = operator.path("password");
    std::fs::write(&file, "a password of her own\n").unwrap();
    operator.run(&["user", "set-password", &ada, "--password-file", file.to_str().unwrap()]).await.ok();
    assert!(is_code(&enter("a password of her own").await));
    assert!(enter(&given).await.body.contains("AADSTS50126"));
    operator.run(&["user", "disable", &ada]).await.ok();
    assert!(enter("a password of her own").await.body.contains("AADSTS50057"));
    assert!(operator.run(&["user", "list"]).await.ok().contains(&format!("{ada} disabled")));
    operator.run(&["user", "enable", &ada]).await.ok();
    let totp = operator.run(&["user", "totp", &ada]).await.ok();
    assert!(totp.contains("otpauth://totp/"), "{totp}");
    assert!(enter("a password of her own").await.body.contains("<title>Enter your code"));
    operator.run(&["user", "totp", &ada, "--remove"]).await.ok();
    // What the browser is told that asks without a page: who is signed in would have to say that the program is wanted.
    let session = cookies(&enter("a password of her own").await);
    let silent = async || {
        let url = format!("{}&prompt=none", authorize(&server.authority, tenant));
        let answer = server.wire.get(&url, &[("Cookie", session.as_str())]).await.expect(303);
        let to = answer.header("location").unwrap().to_owned();
        to.split_once("error=").unwrap_or_else(|| panic!("{to}")).1.split('&').next().unwrap().to_owned()
    };
    assert_eq!(silent().await, "interaction_required");
    operator.run(&["user", "revoke-sessions", &ada]).await.ok();
    assert_eq!(silent().await, "login_required", "the session is over");
    assert!(is_code(&enter("a password of her own").await));
    std::fs::write(&file, "short").unwrap();
    for (words, says) in [
        (&["user", "set-password", &ada, "--password-file", file.to_str().unwrap()][..], "8 to 256"),
        (&["user", "create", &ada], "exists"),
        (&["user", "disable", "nobody"], "does not exist"),
    ] {
        let refused = operator.run(words).await;
        assert!(refused.code == Some(65) && refused.err.contains(says), "{words:?}: {refused:?}");
    }
    let exported = operator.run(&["audit", "export"]).await.ok();
    for actor in ["system:denizen user create", "system:denizen user totp", "user:"] {
        assert!(exported.lines().any(|line| line.contains(&format!("\"actor\":\"{actor}"))), "{actor}");
    }
    let log = server.stop().await;
    for secret in [given.as_str(), "a password of her own"] {
        assert!(!exported.contains(secret) && !log.contains(secret));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_development_server_has_a_user_that_keeps_its_password() {
    let sandbox = Sandbox::new().await;
    let data = sandbox.home(User::Ours).join("people");
    let enter = async |dev: &Dev<'_>| {
        let [authority, tenant, name, password] =
            ["/authority", "/tenant_id", "/user/name", "/user/password"].map(|fact| dev.fact(fact));
        sign_in(&dev.wire, authority, tenant, name, password).await
    };
    let dev = Launch::new(&sandbox, User::Ours).data(&data).start().await;
    assert!(is_code(&enter(&dev).await));
    let password = dev.fact("/user/password").to_owned();
    assert!(dev.stdout().contains(&format!("user         dev@dev.denizen.test, password {password}")));
    dev.stop().await;
    let dev = Launch::new(&sandbox, User::Ours).data(&data).start().await;
    assert_eq!(dev.fact("/user/password"), password);
    assert!(is_code(&enter(&dev).await));
    let facts: &Value = &dev.facts;
    assert_eq!(facts["user"]["name"], "dev@dev.denizen.test");
    dev.stop().await;
}
