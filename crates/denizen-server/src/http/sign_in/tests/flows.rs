//! What works.

use denizen_keys::totp;

use super::*;
use crate::domain::{
    grants::PermissionGrant,
    sign_in::{DeviceDecision, UserCode},
};

#[tokio::test]
async fn a_person_signs_in_and_the_client_gets_a_code() {
    let mut site = Site::new().await;
    let page = site.get(&program(&[("login_hint", ADA)])).await;
    assert_eq!((page.status, page.title()), (StatusCode::OK, "Sign in"));
    assert!(page.body.contains("Microsoft Azure CLI") && page.body.contains("value=\"ada@contoso.test\""));
    let (to, sent) = site.sign_in(&page).await.sent();
    assert_eq!(to, "http://localhost:8400");
    assert_eq!((sent["state"].as_str(), &sent["iss"]), ("a state", &issuer(CONTOSO)));
    assert_eq!(sent.len(), 3, "{sent:?}");
    let code = site.code(&sent["code"]).await;
    assert_eq!((code.tenant, code.client.to_string().as_str()), (CONTOSO, AZURE_CLI));
    assert_eq!(code.redirect_uri, "http://localhost:8400");
    assert_eq!((code.nonce.as_deref(), code.challenge), (Some("a nonce"), Some(challenge())));
    assert_eq!(code.scope, "https://management.azure.com/.default openid offline_access");
    assert_eq!((code.sign_in.user, code.sign_in.methods), (site.ada, vec!["pwd".to_owned()]));
    // The next one asks for no password: the session is good. It asks whether it is wanted, since it may be anybody.
    let pick = site.get(&program(&[])).await;
    assert_eq!(pick.title(), "Choose an account");
    assert!(pick.body.contains("Continue only if you have just started it yourself."), "{}", pick.body);
    let (_, sent) = site.submit(&pick, &[("decision", "continue")]).await.sent();
    assert_eq!(site.code(&sent["code"]).await.sign_in.session, code.sign_in.session);
    assert_eq!(site.get(&program(&[("prompt", "consent")])).await.title(), "Choose an account");
    let silent = site.get(&program(&[("prompt", "none")])).await;
    assert_eq!((silent.sent().1["error"].as_str(), silent.sent_code()), ("interaction_required", 16_000));
    // And not for the users of another tenant.
    let other = asked_of(&FABRIKAM.to_string(), AZURE_CLI, "http://localhost:8400", &[("prompt", "none")]);
    assert_eq!(site.get(&other).await.sent_code(), 50_058);
}

#[tokio::test]
async fn the_answer_goes_in_the_mode_that_was_asked_for() {
    let mut site = Site::new().await;
    let page = site.get(&program(&[])).await;
    site.sign_in(&page).await.sent();
    let fragment = site.proceed(&program(&[("response_mode", "fragment")])).await;
    assert!(fragment.headers["location"].to_str().unwrap().starts_with("http://localhost:8400#code="));
    let posted = site.proceed(&program(&[("response_mode", "form_post")])).await;
    assert_eq!(posted.status, StatusCode::OK);
    let (action, hidden) = posted.form();
    assert_eq!(action, "http://localhost:8400");
    let names: Vec<&str> = hidden.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["code", "iss", "state"]);
    assert!(
        posted.headers["content-security-policy"]
            .to_str()
            .unwrap()
            .contains("form-action 'self' http://localhost:8400;")
    );
    let v1 = format!(
        "/{CONTOSO}/oauth2/authorize?{}",
        encode(&[
            ("client_id", AZURE_CLI),
            ("redirect_uri", "http://localhost:1/"),
            ("response_type", "code"),
            ("resource", "https://management.azure.com/"),
            ("code_challenge", &challenge()),
            ("code_challenge_method", "S256"),
        ])
    );
    let (_, sent) = site.proceed(&v1).await.sent();
    assert_eq!(sent["iss"], format!("{AUTHORITY}/{CONTOSO}/"));
    assert_eq!(site.code(&sent["code"]).await.scope, "https://management.azure.com//.default openid offline_access");
}

#[tokio::test]
async fn the_shared_tenant_is_the_users_own() {
    let mut site = Site::new().await;
    for (segment, name, tenant) in [("common", ADA, CONTOSO), ("organizations", "bob@fabrikam.test", FABRIKAM)] {
        site.cookies.clear();
        let page = site.get(&asked_of(segment, AZURE_CLI, "http://localhost:8400", &[])).await;
        let (_, sent) = site.submit(&page, &[("name", name), ("password", PASSWORD)]).await.sent();
        assert_eq!(sent["iss"], issuer(tenant));
        assert_eq!(site.code(&sent["code"]).await.tenant, tenant);
    }
    // A client of one tenant is for its users.
    site.cookies.clear();
    let page = site.get(&asked_of("common", &PROGRAM.to_string(), "http://localhost:1", &[])).await;
    let refused = site.submit(&page, &[("name", "bob@fabrikam.test"), ("password", PASSWORD)]).await;
    assert_eq!(refused.error().0, 50_126);
    let refused = site.submit(&page, &[("name", "x@nowhere.test"), ("password", PASSWORD)]).await;
    assert_eq!(refused.error().0, 50_126);
}

#[tokio::test]
async fn prompts_and_ages_are_heeded() {
    let mut site = Site::new().await;
    let page = site.get(&program(&[("prompt", "login")])).await;
    site.sign_in(&page).await.sent();
    assert_eq!(site.get(&program(&[("prompt", "login")])).await.title(), "Sign in");
    let pick = site.get(&program(&[("prompt", "select_account")])).await;
    assert_eq!(pick.title(), "Choose an account");
    assert!(pick.body.contains(ADA));
    assert!(site.submit(&pick, &[("decision", "continue")]).await.sent().1.contains_key("code"));
    assert_eq!(site.submit(&pick, &[("decision", "other")]).await.title(), "Sign in");
    site.now = NOW + 3601;
    assert!(site.proceed(&program(&[])).await.sent().1.contains_key("code"));
    assert_eq!(site.get(&program(&[("max_age", "3600")])).await.title(), "Sign in");
    assert_eq!(site.get(&program(&[("max_age", "3600"), ("prompt", "none")])).await.sent_code(), 50_058);
}

#[tokio::test]
async fn a_client_that_is_not_trusted_asks_once_for_what_it_wants() {
    let mut site = Site::new().await;
    let shop = |scope| asked(&SERVER.to_string(), CALLBACK, &[("scope", scope)]);
    let read = shop("openid api://shop-orders/Read");
    let page = site.get(&read).await;
    let ask = site.sign_in(&page).await;
    assert_eq!(ask.title(), "Permissions requested");
    // What a client is called is text.
    assert!(ask.body.contains("Shop &lt;b&gt;") && !ask.body.contains("Shop <b>"), "{}", ask.body);
    assert!(ask.body.contains("To Read (Read)") && !ask.body.contains("Write"), "{}", ask.body);
    assert_eq!(site.get(&format!("{read}&prompt=none")).await.sent_code(), 65_001);
    assert_eq!(site.submit(&ask, &[("decision", "decline")]).await.sent_code(), 65_004);
    let (_, sent) = site.submit(&ask, &[("decision", "accept")]).await.sent();
    assert_eq!(site.code(&sent["code"]).await.scope, "api://shop-orders/Read openid");
    // Asked once, and again for more.
    assert!(site.get(&read).await.sent().1.contains_key("code"));
    let more = site.get(&shop("api://shop-orders/Read api://shop-orders/Write")).await;
    assert!(more.body.contains("To Write (Write)") && !more.body.contains("To Read"), "{}", more.body);
    assert!(site.submit(&more, &[("decision", "accept")]).await.sent().1.contains_key("code"));
    let snapshot = site.deployment.store.snapshot();
    let grants = snapshot.grants_of(CONTOSO, principal(CONTOSO, SERVER).id);
    assert_eq!(grants.len(), 1);
    assert_eq!(
        (grants[0].user, grants[0].scopes.clone()),
        (Some(site.ada), vec!["Read".to_owned(), "Write".to_owned()])
    );
    assert_eq!(site.get(&format!("{read}&prompt=consent")).await.title(), "Permissions requested");
    // A resource is the same with a slash at its end, as the token service has it.
    assert!(site.get(&shop("api://shop-orders//Read")).await.sent().1.contains_key("code"));
    assert_eq!(site.get(&shop("api://nobodys/Read")).await.sent_code(), 500_011);
    // What users may not give, and what is not there.
    assert_eq!(site.get(&shop("api://shop-orders/Manage")).await.sent_code(), 90_094);
    assert_eq!(site.get(&shop("api://shop-orders/Other")).await.sent_code(), 650_053);
    let by_administrator = PermissionGrant {
        tenant: CONTOSO,
        id: Uuid::from_u128(77),
        client: principal(CONTOSO, SERVER).id,
        user: None,
        resource: principal(CONTOSO, ORDERS).id,
        scopes: vec!["Manage".to_owned()],
        created: NOW,
    };
    site.deployment.put(CONTOSO, &by_administrator).await;
    assert!(site.get(&shop("api://shop-orders/Manage")).await.sent().1.contains_key("code"));
}

#[tokio::test]
async fn consent_to_use_a_resource_of_azures_is_asked_once_as_well() {
    let mut site = Site::new().await;
    let uri = asked(&SERVER.to_string(), CALLBACK, &[]);
    let page = site.get(&uri).await;
    let ask = site.sign_in(&page).await;
    assert!(ask.body.contains("https://management.azure.com"), "{}", ask.body);
    assert!(site.submit(&ask, &[("decision", "accept")]).await.sent().1.contains_key("code"));
    assert!(site.get(&uri).await.sent().1.contains_key("code"));
    let vault = asked(&SERVER.to_string(), CALLBACK, &[("scope", "https://vault.azure.net/.default")]);
    assert_eq!(site.get(&vault).await.title(), "Permissions requested");
}

#[tokio::test]
async fn a_second_factor_and_a_new_password_come_after_the_password() {
    let mut site = Site::new().await;
    let auth = site.deployment.auth(CONTOSO, NOW);
    let made = site.deployment.users.set_up_totp(&auth, site.ada).await.unwrap_or_else(|error| panic!("{error}"));
    let key = typed_into_an_app(&made.key);
    let given = SecretString::from("given by somebody");
    site.deployment.users.set_password(&auth, site.ada, &given, true).await.unwrap();
    let page = site.get(&program(&[])).await;
    let page = site.submit(&page, &[("name", ADA), ("password", "given by somebody")]).await;
    assert_eq!((page.title(), site.session()), ("Enter your code", None));
    let wrong = site.submit(&page, &[("code", "12345x")]).await;
    assert_eq!((wrong.title(), wrong.error().0), ("Enter your code", 500_121));
    let code = totp::code(&key, u64::try_from(NOW.0 / totp::STEP).unwrap());
    let page = site.submit(&wrong, &[("code", &code)]).await;
    assert_eq!((page.title(), site.session()), ("Choose a new password", None));
    let differ = site.submit(&page, &[("new", "my own choice"), ("again", "my own chioce")]).await;
    assert_eq!((differ.title(), differ.error().0), ("Choose a new password", 50_142));
    let short = site.submit(&differ, &[("new", "short"), ("again", "short")]).await;
    assert!(short.error().1.contains("8 to 256"));
    let (_, sent) = site.submit(&short, &[("new", "my own choice"), ("again", "my own choice")]).await.sent();
    assert_eq!(site.code(&sent["code"]).await.sign_in.methods, ["pwd", "mfa"]);
    assert!(site.session().is_some());
}

/// The key that somebody has typed into an authenticator app (RFC 4648, section 6).
fn typed_into_an_app(base32: &str) -> denizen_keys::SecretBytes {
    let (mut bytes, mut held, mut bits) = (Vec::new(), 0u32, 0);
    for letter in base32.chars() {
        let digit = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".find(letter).unwrap();
        (held, bits) = ((held << 5 | u32::try_from(digit).unwrap()) & 0xffff, bits + 5);
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(held >> bits & 0xff).unwrap());
        }
    }
    denizen_keys::SecretBytes::from(bytes)
}

async fn user_code(site: &Site, code: &str, is_shared: bool) -> String {
    let typed = UserCode {
        id: Uuid::from_u128(u128::from(code.len() as u64) + 500 + u128::from(is_shared)),
        tenant: CONTOSO,
        hash: hash::hex(&hash::sha256(code.as_bytes())),
        expires: NOW + 900,
        device: hash::hex(&hash::sha256(format!("device of {code}").as_bytes())),
        client: AZURE_CLI.parse().unwrap(),
        scope: "openid offline_access https://management.azure.com/.default".to_owned(),
        is_shared,
        address: Some([203, 0, 113, 9].into()),
    };
    let ctx = crate::app::signing::fixture::ctx(CONTOSO, NOW);
    let issued = &typed;
    let written = site.deployment.store.write(&ctx, |tx| {
        Box::pin(async move {
            tx.issue(issued).await?;
            Ok::<_, crate::store::StoreError>(crate::store::Write::commit("test", "test", ()))
        })
    });
    written.await.unwrap();
    typed.device
}

async fn decision(site: &Site, device: &str) -> Option<DeviceDecision> {
    site.deployment.store.one_time::<DeviceDecision>(device).await.unwrap().map(|kept| kept.it)
}

#[tokio::test]
async fn a_person_decides_about_a_device() {
    let mut site = Site::new().await;
    let device = user_code(&site, "BCDFGHJKL", false).await;
    let page = site.get("/device").await;
    assert_eq!(page.title(), "Enter the code");
    let page = site.submit(&page, &[("user_code", "bcdf-ghjkl")]).await;
    assert_eq!(page.title(), "Sign in");
    let confirm = site.sign_in(&page).await;
    assert_eq!(confirm.title(), "Sign in to a device?");
    for shown in ["Microsoft Azure CLI", "203.0.113.9", ADA] {
        assert!(confirm.body.contains(shown), "{shown}: {}", confirm.body);
    }
    assert_eq!(decision(&site, &device).await, None, "signing in decides nothing");
    let done = site.submit(&confirm, &[("decision", "approve")]).await;
    assert_eq!(done.title(), "Device signed in");
    let decided = decision(&site, &device).await.unwrap();
    assert_eq!(decided.sign_in.map(|sign_in| sign_in.user), Some(site.ada));
    // Decided once.
    let again = site.submit(&confirm, &[("decision", "decline")]).await;
    assert_eq!(again.error().0, 70_018);

    let device = user_code(&site, "MNPQRSTVWX", true).await;
    let page = site.get("/device?otc=MNPQRSTVWX").await;
    assert!(page.body.contains("value=\"MNPQRSTVWX\""));
    let confirm = site.submit(&page, &[("user_code", "MNPQRSTVWX")]).await;
    assert_eq!(confirm.title(), "Sign in to a device?", "who is signed in is asked at once");
    assert_eq!(site.submit(&confirm, &[("decision", "decline")]).await.title(), "Device declined");
    assert_eq!(decision(&site, &device).await.unwrap().sign_in, None);
}

#[tokio::test]
async fn a_device_of_one_tenant_is_for_its_users_and_a_shared_one_for_all() {
    let mut site = Site::new().await;
    user_code(&site, "BCDFGHJKL", false).await;
    let shared = user_code(&site, "MNPQRSTVWX", true).await;
    let page = site.get("/device").await;
    let own = site.submit(&page, &[("user_code", "BCDFGHJKL")]).await;
    let bob = [("name", "bob@fabrikam.test"), ("password", PASSWORD)];
    assert_eq!(site.submit(&own, &bob).await.error().0, 50_126);
    let all = site.submit(&page, &[("user_code", "MNPQRSTVWX")]).await;
    let confirm = site.submit(&all, &bob).await;
    assert_eq!(site.submit(&confirm, &[("decision", "approve")]).await.title(), "Device signed in");
    assert_eq!(decision(&site, &shared).await.unwrap().sign_in.map(|sign_in| sign_in.tenant), Some(FABRIKAM));
    // Signed in elsewhere, it is asked who it is.
    let page = site.get("/device").await;
    assert_eq!(site.submit(&page, &[("user_code", "BCDFGHJKL")]).await.title(), "Sign in");
}

#[tokio::test]
async fn signing_out_is_asked_for_and_ends_the_session() {
    let mut site = Site::new().await;
    let back = "https://spa.contoso.test/";
    let uri =
        format!("/{CONTOSO}/oauth2/v2.0/logout?{}", encode(&[("post_logout_redirect_uri", back), ("state", "s")]));
    assert_eq!(site.get(&uri).await.sent(), (back.to_owned(), BTreeMap::from([("state".to_owned(), "s".to_owned())])));
    let page = site.get(&program(&[])).await;
    site.sign_in(&page).await.sent();
    let kept = site.cookies.clone();
    let ask = site.get(&uri).await;
    assert_eq!(ask.title(), "Sign out?");
    assert!(site.proceed(&program(&[])).await.sent().1.contains_key("code"), "any page can send a browser there");
    assert_eq!(site.submit(&ask, &[]).await.sent().0, back);
    assert_eq!(site.session(), None);
    // The cookie is worth nothing, whoever has kept it.
    site.cookies = kept;
    assert_eq!(site.get(&program(&[])).await.title(), "Sign in");
    site.cookies.clear();
    for elsewhere in
        ["https://evil.test/", "https://spa.contoso.test/x", "http://localhost:1", "//evil.test", "javascript:alert(1)"]
    {
        let uri = format!("/common/oauth2/v2.0/logout?{}", encode(&[("post_logout_redirect_uri", elsewhere)]));
        assert_eq!(site.get(&uri).await.title(), "Signed out", "{elsewhere}");
    }
}
