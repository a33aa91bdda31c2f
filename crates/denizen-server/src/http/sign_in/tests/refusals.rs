//! What is refused: each a way in that somebody has found elsewhere.

use super::*;
use crate::app::strangers::Reason;

#[tokio::test]
async fn nothing_is_sent_to_a_place_that_nobody_registered() {
    let mut site = Site::new().await;
    for redirect in [
        "https://app.contoso.test/signin/",
        "https://app.contoso.test/Signin",
        "https://APP.contoso.test/signin",
        "https://app.contoso.test/signin?x=1",
        "https://app.contoso.test/signin#x",
        "https://app.contoso.test/x/../signin",
        "https://app.contoso.test/x/%2e%2e/signin",
        "https://app.contoso.test:443/signin",
        "https://user@app.contoso.test/signin",
        "https://app.contoso.test@evil.test/signin",
        "https://app.contoso.test\\@evil.test/signin",
        "https://app.contoso.test.evil.test/signin",
        "https://\u{430}pp.contoso.test/signin",
        "https://xn--pp-7lc.contoso.test/signin",
        "//app.contoso.test/signin",
        "/signin",
        "javascript:alert(1)",
        "data:text/html,x",
        "http://localhost:8400",
        "",
    ] {
        // Whatever else is wrong with it.
        for changes in
            [&[][..], &[("prompt", "none")], &[("response_type", "token")], &[("code_challenge_method", "plain")]]
        {
            let answer = site.get(&asked(&SERVER.to_string(), redirect, changes)).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{redirect}");
            assert!(!answer.headers.contains_key("location"), "{redirect}");
            let code = if redirect.is_empty() { 900_144 } else { 50_011 };
            assert_eq!(answer.error().0, code, "{redirect}");
            assert!(!answer.body.contains("evil.test"), "{redirect}");
        }
    }
    // A program's is loopback, and only where it may act without a secret.
    let closed = Application {
        public_client: false,
        ..Application::clone(site.deployment.store.snapshot().application(CONTOSO, PROGRAM).unwrap())
    };
    assert_eq!(site.get(&asked(&PROGRAM.to_string(), "http://localhost:1", &[])).await.title(), "Sign in");
    site.deployment.put(CONTOSO, &closed).await;
    assert_eq!(site.get(&asked(&PROGRAM.to_string(), "http://localhost:1", &[])).await.error().0, 50_011);
    assert!(site.deployment.sign_in.strangers().count(Reason::SignInRequest) > 80);
}

#[tokio::test]
async fn a_client_or_a_tenant_that_is_unknown_is_said_on_a_page() {
    let mut site = Site::new().await;
    let nobody = Uuid::from_u128(0xdead).to_string();
    for (uri, code) in [
        (asked(&nobody, CALLBACK, &[]), 700_016),
        (asked("not-a-guid", CALLBACK, &[]), 700_016),
        (asked("", CALLBACK, &[]), 900_144),
        (asked_of("nowhere.test", AZURE_CLI, "http://localhost", &[]), 90_002),
        (asked_of(&FABRIKAM.to_string(), &SERVER.to_string(), CALLBACK, &[]), 700_016),
        (asked(&SERVER.to_string(), CALLBACK, &[("response_mode", "web_message")]), 90_023),
        (format!("{}&client_id={AZURE_CLI}", program(&[])), 90_023),
        (format!("{}&redirect_uri=https://evil.test", program(&[])), 90_023),
    ] {
        let answer = site.get(&uri).await;
        assert_eq!((answer.status, answer.error().0), (StatusCode::BAD_REQUEST, code), "{uri}");
        assert!(answer.body.contains(&format!("Trace ID {REQUEST}")), "{}", answer.body);
    }
}

#[tokio::test]
async fn what_else_is_wrong_goes_to_the_client_with_its_state_and_who_says_it() {
    let mut site = Site::new().await;
    let long = "x".repeat(5000);
    for (changes, error, code) in [
        (&[("response_type", "token")][..], "unsupported_response_type", 700_051),
        (&[("response_type", "code id_token")], "unsupported_response_type", 700_051),
        (&[("response_type", "")], "invalid_request", 900_144),
        (&[("code_challenge", ""), ("code_challenge_method", "")], "invalid_request", 9_002_325),
        (&[("code_challenge_method", "plain")], "invalid_request", 501_491),
        (&[("code_challenge_method", "")], "invalid_request", 501_491),
        (&[("code_challenge", "short")], "invalid_request", 501_491),
        (&[("code_challenge", VERIFIER), ("code_challenge_method", "s256")], "invalid_request", 501_491),
        (&[("scope", "")], "invalid_request", 900_144),
        (&[("scope", " ")], "invalid_scope", 70_011),
        (&[("scope", "api://a/.default api://b/.default")], "invalid_scope", 70_011),
        (&[("resource", "https://vault.azure.net")], "invalid_request", 901_002),
        (&[("prompt", "create")], "invalid_request", 90_023),
        (&[("prompt", "none")], "login_required", 50_058),
        (&[("max_age", "soon")], "invalid_request", 90_023),
        (&[("nonce", &long)], "invalid_request", 90_023),
        (&[("request", "x")], "request_not_supported", 90_023),
        (&[("request_uri", "https://evil.test")], "request_uri_not_supported", 90_023),
    ] {
        let answer = site.get(&program(changes)).await;
        let (to, sent) = answer.sent();
        assert_eq!(to, "http://localhost:8400", "{changes:?}");
        assert_eq!((sent["error"].as_str(), answer.sent_code()), (error, code), "{changes:?}");
        assert_eq!(sent["state"], "a state");
        // RFC 9207: an error says as well whose it is, so that clients do not mix authorities up.
        assert_eq!(sent["iss"], issuer(CONTOSO));
        assert!(!sent.contains_key("code"));
    }
    let twice = site.get(&format!("{}&scope=openid", program(&[]))).await;
    assert_eq!(twice.sent_code(), 90_023);
    // A page has no secret either; a server has one, and may leave the challenge out.
    let without = [("code_challenge", ""), ("code_challenge_method", "")];
    let spa = asked(&SPA.to_string(), "https://spa.contoso.test/", &without);
    assert_eq!(site.get(&spa).await.sent_code(), 9_002_325);
    assert_eq!(site.get(&asked(&SERVER.to_string(), CALLBACK, &without)).await.title(), "Sign in");
}

#[tokio::test]
async fn a_form_that_is_not_ours_does_nothing() {
    let mut site = Site::new().await;
    let page = site.get(&program(&[])).await;
    let (action, hidden) = page.form();
    let token = hidden.iter().find(|(name, _)| name == "token").unwrap().1.clone();
    let fields = [("step", "password"), ("name", ADA), ("password", PASSWORD)];
    let form = |token: &'static str| [&fields[..], &[("token", token)]].concat();
    for bad in [fields.to_vec(), form(""), form("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")] {
        let refused = site.post(&action, &bad).await;
        assert_eq!((refused.status, refused.error().0), (StatusCode::BAD_REQUEST, 165_000));
    }
    let good = [&fields[..], &[("token", token.as_str())]].concat();
    // Another browser's token; the right one without the cookie.
    let mut other = Site::new().await;
    other.get(&program(&[])).await;
    assert_eq!(other.post(&action, &good).await.error().0, 165_000);
    other.cookies.clear();
    assert_eq!(other.post(&action, &good).await.error().0, 165_000);
    // Sent from elsewhere, as far as the browser says.
    for (name, value) in [
        ("origin", "https://evil.test"),
        ("origin", "null"),
        ("origin", "http://localhost:8443"),
        ("origin", "https://localhost:8443.evil.test"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        site.headers = vec![(name, value.to_owned())];
        assert_eq!(site.post(&action, &good).await.error().0, 165_000, "{name}: {value}");
    }
    assert_eq!(site.session(), None);
    assert_eq!(site.deployment.sign_in.strangers().count(Reason::Forged), 9);
    // From one of our names it is taken.
    site.headers = vec![("origin", "https://127.0.0.1:8443".to_owned()), ("sec-fetch-site", "same-origin".to_owned())];
    assert!(site.post(&action, &good).await.sent().1.contains_key("code"));
    // The same holds on the other pages.
    site.headers = vec![];
    for uri in ["/device".to_owned(), format!("/{CONTOSO}/oauth2/v2.0/logout")] {
        assert_eq!(site.post(&uri, &[("user_code", "x"), ("token", "x")]).await.error().0, 165_000, "{uri}");
    }
    assert!(site.proceed(&program(&[])).await.sent().1.contains_key("code"), "still signed in");
}

#[tokio::test]
async fn a_form_is_small_and_has_each_field_once() {
    let mut site = Site::new().await;
    let uri = program(&[]);
    let long = "x".repeat(64 * 1024);
    assert_eq!(site.post(&uri, &[("name", &long)]).await.error().0, 90_023);
    assert_eq!(site.post(&uri, &[("token", "a"), ("token", "b")]).await.error().0, 90_023);
    let many: Vec<(String, String)> = (0..40).map(|n| (format!("f{n}"), String::new())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    assert_eq!(site.post(&uri, &many).await.error().0, 90_023);
    for kind in ["text/plain", "multipart/form-data", "application/json"] {
        let refused = site.send(Method::POST, &uri, &[("content-type", kind)], "name=x").await;
        assert_eq!(refused.error().0, 90_023, "{kind}");
    }
}

#[tokio::test]
async fn a_session_cannot_be_fixed_and_is_another_after_each_sign_in() {
    let mut site = Site::new().await;
    // What an attacker plants is no session, and does not become one.
    let planted = "A".repeat(43);
    for name in ["__Host-denizen-session", "__Host-denizen-browser", "__Host-denizen-step"] {
        site.cookies.insert(name.to_owned(), planted.clone());
    }
    let page = site.get(&program(&[])).await;
    assert_eq!(page.title(), "Sign in");
    site.sign_in(&page).await.sent();
    let first = site.cookies.clone();
    assert!(first.values().all(|value| *value != planted), "{first:?}");
    let again = site.get(&program(&[("prompt", "login")])).await;
    site.sign_in(&again).await.sent();
    for name in ["__Host-denizen-session", "__Host-denizen-browser"] {
        assert_ne!(first[name], site.cookies[name], "{name}");
    }
    // The session before has ended; and a form of before is out of date.
    assert_eq!(site.sign_in(&again).await.error().0, 165_000);
    site.cookies = first;
    assert_eq!(site.get(&program(&[])).await.title(), "Sign in");
    // A cookie that is there twice is none.
    let page = site.get(&program(&[])).await;
    site.sign_in(&page).await.sent();
    let session = site.session().unwrap().clone();
    site.cookies.insert("x; __Host-denizen-session".to_owned(), session);
    assert_eq!(site.get(&program(&[])).await.title(), "Sign in");
}

#[tokio::test]
async fn a_code_step_is_worth_nothing_in_another_browser_and_no_step_can_be_skipped() {
    let mut site = Site::new().await;
    let auth = site.deployment.auth(CONTOSO, NOW);
    assert!(site.deployment.users.set_up_totp(&auth, site.ada).await.is_ok());
    let page = site.get(&program(&[])).await;
    let code = site.sign_in(&page).await;
    assert_eq!(code.title(), "Enter your code");
    let (action, hidden) = code.form();
    let token = hidden.iter().find(|(name, _)| name == "token").unwrap().1.clone();
    for step in ["consent", "account", "new-password", "other", ""] {
        let skipped = site.post(&action, &[("token", &token), ("step", step), ("decision", "accept")]).await;
        assert_eq!(skipped.error().0, 165_000, "{step}");
        assert_eq!(site.session(), None);
    }
    site.cookies.remove("__Host-denizen-step");
    assert_eq!(site.submit(&code, &[("code", "123456")]).await.error().0, 50_089);
}

#[tokio::test]
async fn who_insists_on_a_new_sign_in_gets_one() {
    for insists in [("prompt", "login"), ("max_age", "0")] {
        let mut site = Site::new().await;
        let page = site.get(&program(&[])).await;
        site.sign_in(&page).await.sent();
        site.now = NOW + 1;
        let shop = |changes: &[(&str, &str)]| asked(&SERVER.to_string(), CALLBACK, changes);
        let page = site.get(&shop(&[insists])).await;
        assert_eq!(page.title(), "Sign in", "{insists:?}");
        let ask = site.sign_in(&page).await;
        assert_eq!(ask.title(), "Permissions requested");
        // What is consented to just after signing in is of that sign-in, however long it was read; ten minutes later it is not.
        site.now = NOW + 602;
        assert_eq!(site.submit(&ask, &[("decision", "accept")]).await.title(), "Sign in");
        site.now = NOW + 601;
        let (_, sent) = site.submit(&ask, &[("decision", "accept")]).await.sent();
        assert_eq!(site.code(&sent["code"]).await.sign_in.at, NOW + 1, "{insists:?}");
    }
}

/// A form answers one question: its token is worth nothing for another, in the same browser and the same session.
#[tokio::test]
async fn a_form_answers_the_question_that_it_was_given_for() {
    let mut site = Site::new().await;
    let page = site.get(&program(&[])).await;
    site.sign_in(&page).await.sent();
    let shop = |scope: &str| asked(&SERVER.to_string(), CALLBACK, &[("scope", scope)]);
    let ask = site.get(&shop("api://shop-orders/Read")).await;
    let more = site.get(&shop("api://shop-orders/Read api://shop-orders/Write")).await;
    let (token_of, more_action) = (|page: &Answer| page.form().1[0].1.clone(), more.form().0);
    let token = token_of(&ask);
    for (name, value) in [("decision", "accept"), ("decision", "decline")] {
        let swapped = site.post(&more_action, &[("token", &token), ("step", "consent"), (name, value)]).await;
        assert_eq!(swapped.error().0, 165_000);
    }
    let pick = site.get(&program(&[])).await;
    let swapped = site.post(&more_action, &[("token", &token_of(&pick)), ("step", "account")]).await;
    assert_eq!(swapped.error().0, 165_000);
    let out = format!("/{CONTOSO}/oauth2/v2.0/logout");
    assert_eq!(site.post(&out, &[("token", &token), ("step", "sign-out")]).await.error().0, 165_000);
    assert!(site.submit(&ask, &[("decision", "accept")]).await.sent().1.contains_key("code"));
}

/// What other programs of the same name keep in the browser is none of ours, and hides nothing of ours.
#[tokio::test]
async fn a_foreign_cookie_hides_none_of_ours() {
    let mut site = Site::new().await;
    let page = site.get(&program(&[])).await;
    site.sign_in(&page).await.sent();
    site.cookies.insert("a".to_owned(), "\u{fc}".to_owned());
    assert_eq!(site.get(&program(&[])).await.title(), "Choose an account");
}

/// One tenant's registration under the id of a tool that every tenant has speaks for that tenant alone.
#[tokio::test]
async fn a_tenant_cannot_stand_in_for_a_tool_of_all() {
    let mut site = Site::new().await;
    let evil = "https://evil.fabrikam.test/";
    let redirect_uris = RedirectUris { web: vec![evil.to_owned()], ..RedirectUris::default() };
    let cli = AZURE_CLI.parse().unwrap();
    let stands_in = Application { display_name: "Stand-in".to_owned(), redirect_uris, ..application(FABRIKAM, cli) };
    site.deployment.put(FABRIKAM, &principal(FABRIKAM, cli)).await;
    site.deployment.put(FABRIKAM, &stands_in).await;
    for shared in ["common", "organizations"] {
        assert_eq!(site.get(&asked_of(shared, AZURE_CLI, evil, &[])).await.error().0, 50_011);
        let page = site.get(&asked_of(shared, AZURE_CLI, "http://localhost:1", &[])).await;
        assert!(page.body.contains("Microsoft Azure CLI"), "{}", page.body);
        assert!(site.sign_in(&page).await.sent().1.contains_key("code"));
        site.cookies.clear();
    }
}

#[tokio::test]
async fn pages_cannot_be_framed_stored_or_scripted() {
    let mut site = Site::new().await;
    let sign_in = site.get(&asked(&SERVER.to_string(), CALLBACK, &[])).await;
    let answers = [
        site.get("/device").await,
        site.get(&asked("x", "y", &[])).await,
        site.get(&program(&[("prompt", "none")])).await,
        site.get(&format!("/{CONTOSO}/oauth2/v2.0/logout")).await,
        site.sign_in(&sign_in).await,
        sign_in,
    ];
    for answer in answers {
        let header = |name: &str| answer.headers.get(name).map_or("", |value| value.to_str().unwrap());
        let policy = header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
        for rule in ["frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"] {
            assert!(policy.contains(rule), "{policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
        assert_eq!(header("x-frame-options"), "DENY");
        assert_eq!(header("cache-control"), "no-store");
        assert_eq!(header("referrer-policy"), "same-origin");
        assert_eq!(header("x-content-type-options"), "nosniff");
        let html = answer.body.to_lowercase();
        for never in ["<script", "javascript:", " onload", " onclick", " style=", "http-equiv"] {
            assert!(!html.contains(never), "{never}");
        }
        if !html.is_empty() {
            assert!(html.contains("<html lang=\"en\">") && html.contains("<main>") && html.contains("<h1>"));
            // The policy allows this very style sheet.
            let style = answer.body.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
            assert!(policy.contains(&b64::standard(&hash::sha256(style.as_bytes()))));
        }
    }
}

#[tokio::test]
async fn what_is_typed_comes_back_as_text() {
    let mut site = Site::new().await;
    let hint = "\"><script>alert(1)</script>";
    let page = site.get(&program(&[("login_hint", hint), ("state", hint)])).await;
    assert!(!page.body.contains("<script>"));
    let again = site.submit(&page, &[("name", hint), ("password", "x")]).await;
    assert!(!again.body.contains("<script>") && again.body.contains("&lt;script&gt;"));
    let device = site.get(&format!("/device?{}", encode(&[("user_code", "\"><script>")]))).await;
    assert!(!device.body.contains("<script>"));
}

#[tokio::test]
async fn wrong_names_and_wrong_passwords_look_the_same_and_are_locked_out() {
    let mut site = Site::new().await;
    let page = site.get(&program(&[])).await;
    let mut said = Vec::new();
    for name in [ADA, "nobody@contoso.test", "x@nowhere.test"] {
        let answer = site.submit(&page, &[("name", name), ("password", "wrong password")]).await;
        said.push((answer.status, answer.error(), answer.body.replace(name, "NAME")));
    }
    said.dedup();
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!(said[0].1.0, 50_126);
    for name in [ADA, "nobody@contoso.test"] {
        for _ in 0..9 {
            site.submit(&page, &[("name", name), ("password", "wrong password")]).await;
        }
        let locked = site.submit(&page, &[("name", name), ("password", PASSWORD)]).await;
        assert_eq!((locked.status, locked.error().0), (StatusCode::TOO_MANY_REQUESTS, 50_053));
        assert!(locked.error().1.contains("T"), "it says until when");
    }
    site.now = NOW + 60;
    assert!(site.sign_in(&page).await.sent().1.contains_key("code"));
}

#[tokio::test]
async fn a_disabled_user_or_client_gets_nothing() {
    let mut site = Site::new().await;
    let page = site.get(&program(&[])).await;
    site.sign_in(&page).await.sent();
    let auth = site.deployment.auth(CONTOSO, NOW);
    site.deployment.users.set_enabled(&auth, site.ada, false).await.unwrap();
    let page = site.get(&program(&[])).await;
    assert_eq!(page.title(), "Sign in", "its session is over");
    assert_eq!(site.sign_in(&page).await.error().0, 50_057);
    let disabled = crate::domain::directory::ServicePrincipal { enabled: false, ..principal(CONTOSO, SERVER) };
    site.deployment.put(CONTOSO, &disabled).await;
    assert_eq!(site.get(&asked(&SERVER.to_string(), CALLBACK, &[])).await.error().0, 7_000_112);
}

#[tokio::test]
async fn guesses_at_user_codes_are_few() {
    let mut site = Site::new().await;
    let page = site.get("/device").await;
    for n in 0..20 {
        let wrong = site.submit(&page, &[("user_code", &format!("CODE{n}"))]).await;
        assert_eq!((wrong.status, wrong.error().0), (StatusCode::BAD_REQUEST, 70_018));
    }
    let closed = site.submit(&page, &[("user_code", "BCDFGHJKL")]).await;
    assert_eq!((closed.status, closed.error().0), (StatusCode::TOO_MANY_REQUESTS, 50_053));
}

/// A consent is to what the page has shown, whatever the application asks for since.
#[tokio::test]
async fn a_consent_is_to_what_was_shown() {
    let mut site = Site::new().await;
    let all = Application::clone(site.deployment.store.snapshot().application(CONTOSO, ORDERS).unwrap());
    let with = |most: usize| Application { scopes: all.scopes[..most].to_vec(), ..all.clone() };
    site.deployment.put(CONTOSO, &with(1)).await;
    let uri = asked(&SERVER.to_string(), CALLBACK, &[("scope", "api://shop-orders/.default")]);
    let page = site.get(&uri).await;
    let ask = site.sign_in(&page).await;
    assert!(ask.body.contains("To Read (Read)") && !ask.body.contains("Write"), "{}", ask.body);
    site.deployment.put(CONTOSO, &with(2)).await;
    let again = site.submit(&ask, &[("decision", "accept")]).await;
    assert!(again.title() == "Permissions requested" && again.body.contains("To Write (Write)"), "{}", again.body);
    let granted = |site: &Site| {
        let snapshot = site.deployment.store.snapshot();
        let grants = snapshot.grants_of(CONTOSO, principal(CONTOSO, SERVER).id);
        grants.iter().flat_map(|grant| grant.scopes.clone()).collect::<Vec<_>>()
    };
    assert_eq!(granted(&site), Vec::<String>::new());
    assert!(site.submit(&again, &[("decision", "accept")]).await.sent().1.contains_key("code"));
    assert_eq!(granted(&site), ["Read", "Write"]);
}

/// The age that a client wants is asked for until the person has answered.
#[tokio::test]
async fn a_sign_in_that_has_become_too_old_is_not_continued() {
    let mut site = Site::new().await;
    let page = site.get(&program(&[])).await;
    site.sign_in(&page).await.sent();
    site.now = NOW + 59;
    let pick = site.get(&program(&[("max_age", "60")])).await;
    assert_eq!(pick.title(), "Choose an account");
    site.now = NOW + 61;
    assert_eq!(site.submit(&pick, &[("decision", "continue")]).await.title(), "Sign in");
}
