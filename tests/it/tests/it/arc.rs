//! The Arc endpoint and the App Service one, as programs ask them.

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;

use crate::{
    dev::Dev,
    jwt,
    sandbox::{Sandbox, TIMEOUT, User, ended},
    wire::{Answer, encoded},
};

const KEYS: &str = "/var/opt/azcmagent/tokens";
const METADATA: (&str, &str) = ("Metadata", "true");

/// The token URL of the Arc endpoint, with this query.
fn url(dev: &Dev<'_>, query: &str) -> String {
    format!("{}?{query}", dev.fact("/agent/arc/identity_endpoint"))
}

fn usual() -> String {
    format!("api-version=2020-06-01&resource={}", encoded("https://vault.azure.net"))
}

/// A challenge's key file, as this test sees it.
fn key_file(sandbox: &Sandbox, challenge: &Answer) -> PathBuf {
    let realm = challenge.header("www-authenticate").unwrap().strip_prefix("Basic realm=").unwrap();
    sandbox.inside(Path::new(realm))
}

/// Asks for a challenge and reads its key.
async fn key(dev: &Dev<'_>, sandbox: &Sandbox, query: &str) -> String {
    let challenge = dev.wire.get(&url(dev, query), &[METADATA]).await.expect(401);
    std::fs::read_to_string(key_file(sandbox, &challenge)).unwrap()
}

async fn present(dev: &Dev<'_>, query: &str, key: &str) -> Answer {
    dev.wire.get(&url(dev, query), &[METADATA, ("Authorization", &format!("Basic {key}"))]).await
}

/// The whole exchange; the first answer, when it is no challenge.
async fn exchange(dev: &Dev<'_>, sandbox: &Sandbox, query: &str) -> Answer {
    let challenge = dev.wire.get(&url(dev, query), &[METADATA]).await;
    if challenge.status != 401 {
        return challenge;
    }
    let key = std::fs::read_to_string(key_file(sandbox, &challenge)).unwrap();
    present(dev, query, &key).await
}

fn no_token(what: &str, answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{what}: {answer:?}");
    let body = answer.json();
    assert_eq!(body.get("access_token"), None, "{what}");
    assert!(body["error"].as_str().is_some_and(|error| !error.is_empty()), "{what}: {body}");
    assert!(body["error_description"].as_str().is_some_and(|text| text.len() > 10), "{what}: {body}");
    // Clients would repeat the request for seconds or minutes.
    assert_eq!(answer.header("retry-after"), None, "{what}");
}

/// A sandbox with an Arc endpoint, or none here.
async fn sandbox() -> Option<Sandbox> {
    Sandbox::prepared("").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d14_the_challenge_and_its_file_are_what_every_client_can_read() {
    let Some(sandbox) = sandbox().await else { return };
    let dev = Dev::start(&sandbox).await;
    let challenge = dev.wire.get(&url(&dev, &usual()), &[METADATA]).await.expect(401);
    assert_eq!(challenge.headers.get_all("www-authenticate").iter().count(), 1);
    let header = challenge.header("www-authenticate").unwrap();
    let name = header.strip_prefix(&format!("Basic realm={KEYS}/")).unwrap_or_else(|| panic!("{header}"));
    let id = name.strip_suffix(".key").unwrap_or_else(|| panic!("{header}"));
    uuid::Uuid::try_parse(id).unwrap();
    assert_eq!(header.matches('=').count(), 1);
    assert_eq!(challenge.header("retry-after"), None);
    let body = challenge.json();
    assert_eq!(body["error"], "unauthorized_client");
    assert_eq!(body["error_codes"], serde_json::json!([401]));

    let file = key_file(&sandbox, &challenge);
    let (meta, content) = (file.symlink_metadata().unwrap(), std::fs::read_to_string(&file).unwrap());
    assert!(meta.is_file());
    assert_eq!((meta.mode() & 0o7777, meta.uid()), (0o440, 0));
    assert!((32..=4096).contains(&content.len()) && content.bytes().all(|b| b.is_ascii_graphic()), "{content:?}");

    let answer = present(&dev, &usual(), &content).await.expect(200);
    assert!(!file.exists(), "the key file outlives its use");
    let token = answer.json();
    for text in ["expires_in", "expires_on", "ext_expires_in", "not_before"] {
        let value = token[text].as_str().unwrap_or_else(|| panic!("{text} is no string: {token}"));
        value.parse::<i64>().unwrap();
    }
    // The last one wins in one client, so the absolute time stands after the relative one.
    assert!(answer.body.find("expires_on").unwrap() > answer.body.find("\"expires_in").unwrap());
    assert_eq!(token["token_type"], "Bearer");
    assert_eq!(token["resource"], "https://vault.azure.net");
    for (echo, fact) in [
        ("client_id", "/machine/client_id"),
        ("object_id", "/machine/principal_id"),
        ("msi_res_id", "/machine/resource_id"),
    ] {
        assert_eq!(token[echo], dev.fact(fact), "{echo}");
    }
    assert_eq!(jwt::claims(token["access_token"].as_str().unwrap())["oid"], dev.fact("/machine/principal_id"));

    // Every version a client is known to send.
    for version in ["2019-08-15", "2019-11-01", "2020-06-01", "2021-02-01"] {
        exchange(&dev, &sandbox, &usual().replace("2020-06-01", version)).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_not_the_one_opens_nothing() {
    let (Some(sandbox), Some(there)) = (sandbox().await, sandbox().await) else { return };
    let (dev, other) = tokio::join!(Dev::start(&sandbox), Dev::start(&there));
    let query = usual();
    let good = key(&dev, &sandbox, &query).await;
    let foreign = key(&other, &there, &query).await;
    let flipped = good.strip_prefix('A').map_or_else(|| format!("A{}", &good[1..]), |rest| format!("B{rest}"));
    let wrong: Vec<(&str, String)> = vec![
        ("wrong", "0".repeat(good.len())),
        ("one character off", flipped),
        ("truncated", good[..good.len() - 1].to_owned()),
        ("too long", format!("{good}A")),
        ("another agent's", foreign),
        (
            "its file's name",
            key_file(&sandbox, &dev.wire.get(&url(&dev, &query), &[METADATA]).await).display().to_string(),
        ),
        ("nothing", String::new()),
        ("the App Service header", dev.fact("/agent/app_service/identity_header").to_owned()),
        ("far too long", "A".repeat(5000)),
    ];
    for (what, key) in &wrong {
        let answer = present(&dev, &query, key).await;
        no_token(what, &answer, 401);
        // A client that goes on from here asks anew.
        assert!(answer.header("www-authenticate").unwrap().starts_with("Basic realm="), "{what}");
    }
    for scheme in ["Bearer", "Negotiate", "Basic:"] {
        let authorization = format!("{scheme} {good}");
        let headers = [METADATA, ("Authorization", authorization.as_str())];
        no_token(scheme, &dev.wire.get(&url(&dev, &query), &headers).await, 401);
    }
    // Without the header that a tricked program would not send, the right key is worth nothing either.
    let headers = [("Authorization", format!("Basic {good}"))];
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    no_token("no Metadata", &dev.wire.get(&url(&dev, &query), &headers).await, 400);

    // It buys what it was first presented for.
    present(&dev, &query, &good).await.expect(200);
    let elsewhere = format!("api-version=2020-06-01&resource={}", encoded("https://management.azure.com"));
    no_token("for another resource", &present(&dev, &elsewhere, &good).await, 401);
    // A client may repeat a request whose answer was lost; that ends within seconds.
    let over = async {
        while present(&dev, &query, &good).await.status == 200 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), over).await.expect("a used key stays good");
    no_token("used", &present(&dev, &query, &good).await, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d17_a_key_is_good_for_the_user_it_was_made_for() {
    let Some(sandbox) = sandbox().await else { return };
    let dev = Dev::start(&sandbox).await;
    let query = usual();
    let roots = key(&dev, &sandbox, &query).await;
    let asked = url(&dev, &query);
    let mut thief = sandbox.command(User::Nobody, "curl");
    thief.args(["-s", "-H", "Metadata: true", "-H", &format!("Authorization: Basic {roots}"), &asked]);
    let thief = ended(thief).await.ok();
    let body: Value = serde_json::from_str(&thief).unwrap();
    assert_eq!(body["error"], "unauthorized_client", "{body}");
    assert_eq!(body.get("access_token"), None);
    present(&dev, &query, &roots).await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d16_a_request_that_a_tricked_program_could_send_gets_no_challenge() {
    let Some(sandbox) = sandbox().await else { return };
    let dev = Dev::start(&sandbox).await;
    let asked = url(&dev, &usual());
    for (what, headers) in [
        ("no Metadata", vec![]),
        ("Metadata: false", vec![("Metadata", "false")]),
        ("Metadata twice", vec![METADATA, METADATA]),
        ("X-Forwarded-For", vec![METADATA, ("X-Forwarded-For", "127.0.0.1")]),
        ("X-Forwarded-Host", vec![METADATA, ("X-Forwarded-Host", "localhost")]),
        ("Forwarded", vec![METADATA, ("Forwarded", "for=127.0.0.1")]),
        ("a foreign Host", vec![METADATA, ("Host", "evil.example")]),
        ("a Host that starts like ours", vec![METADATA, ("Host", "localhost.evil.example")]),
        ("a Host with a user", vec![METADATA, ("Host", "localhost@evil.example")]),
        ("a browser", vec![METADATA, ("Sec-Fetch-Site", "cross-site")]),
        ("a page", vec![METADATA, ("Origin", "http://evil.example")]),
    ] {
        let answer = dev.wire.get(&asked, &headers).await;
        no_token(what, &answer, 400);
        assert_eq!(answer.header("www-authenticate"), None, "{what}");
        assert!(!answer.body.contains("Identity not found"), "{what}: one client takes that for an answer");
    }
    for method in ["POST", "PUT", "DELETE", "HEAD", "OPTIONS"] {
        let answer = dev.wire.send(method, &asked, &[METADATA], None).await.unwrap();
        assert_eq!(answer.status, 405, "{method}: {answer:?}");
        assert_eq!(answer.header("www-authenticate"), None, "{method}");
    }
    let at = dev.fact("/agent/arc/imds_endpoint");
    for path in ["/", "/metadata/identity", "/metadata/identity/oauth2/token/x", "/metadata/identity%5coauth2%5ctoken"]
    {
        no_token(path, &dev.wire.get(&format!("{at}{path}?{}", usual()), &[METADATA]).await, 404);
    }
    // msal-node says this with every request, from no browser.
    dev.wire.get(&asked, &[METADATA, ("Sec-Fetch-Mode", "cors")]).await.expect(401);
    dev.wire.get(&asked, &[("metadata", "True")]).await.expect(401);
    dev.wire.get(&url(&dev, &format!("xms_cc=cp1&{}&unknown=1", usual())), &[METADATA]).await.expect(401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d15_the_identity_that_was_asked_for_or_none() {
    let Some(sandbox) = sandbox().await else { return };
    let dev = Dev::start(&sandbox).await;
    let (client, object) = (dev.fact("/machine/client_id"), dev.fact("/machine/principal_id"));
    let resource_id = encoded(dev.fact("/machine/resource_id"));
    let stranger = uuid::Uuid::from_u128(3).to_string();
    for own in [
        format!("client_id={client}"),
        format!("client_id={}", client.to_uppercase()),
        format!("object_id={object}"),
        format!("msi_res_id={resource_id}"),
    ] {
        let answer = exchange(&dev, &sandbox, &format!("{}&{own}", usual())).await.expect(200);
        assert_eq!(answer.text("/client_id"), client, "{own}");
    }
    let foreign_machine = resource_id.replace("machines", "virtualMachines");
    for (what, selector) in [
        ("unknown client id", format!("client_id={stranger}")),
        ("object id as client id", format!("client_id={object}")),
        ("client id as object id", format!("object_id={client}")),
        ("another resource", format!("msi_res_id={foreign_machine}")),
        ("not an id", "client_id=system".to_owned()),
        ("repeated", format!("client_id={client}&client_id={client}")),
        ("repeated, the second another", format!("client_id={client}&client_id={stranger}")),
        ("two selectors", format!("client_id={client}&object_id={object}")),
        ("two spellings", format!("client_id={client}&client%5fid={stranger}")),
        ("an empty one", "client_id=".to_owned()),
    ] {
        no_token(what, &exchange(&dev, &sandbox, &format!("{}&{selector}", usual())).await, 400);
    }
    let vault = encoded("https://vault.azure.net");
    for (what, query) in [
        ("no resource", "api-version=2020-06-01".to_owned()),
        ("an empty resource", "api-version=2020-06-01&resource=".to_owned()),
        ("two resources", format!("api-version=2020-06-01&resource={vault}&resource={vault}")),
        ("a resource with a line break", format!("api-version=2020-06-01&resource={vault}%0d%0aX-Y:z")),
        ("a resource far too long", format!("api-version=2020-06-01&resource={}", "r".repeat(9000))),
        ("a resource nobody has", format!("api-version=2020-06-01&resource={}", encoded("https://nobody.example"))),
        ("two versions", format!("api-version=2020-06-01&api-version=2020-06-01&resource={vault}")),
    ] {
        no_token(what, &exchange(&dev, &sandbox, &query).await, 400);
    }
    for (what, query) in
        [("no version", format!("resource={vault}")), ("an unknown version", format!("api-version=1&resource={vault}"))]
    {
        let answer = exchange(&dev, &sandbox, &query).await;
        no_token(what, &answer, 400);
        // Microsoft's own scripts read the list out of this text.
        let text = "The api-version not specified. Supported are 2021-02-01 2020-06-01 2019-11-01 2019-08-15";
        assert_eq!(answer.text("/error_description"), text, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn app_service_wants_its_header_to_the_last_character() {
    let sandbox = Sandbox::new().await;
    let dev = Dev::start(&sandbox).await;
    let header = dev.fact("/agent/app_service/identity_header").to_owned();
    let vault = encoded("https://vault.azure.net");
    let asked = |query: &str| format!("{}?{query}", dev.fact("/agent/app_service/identity_endpoint"));
    let good = format!("api-version=2019-08-01&resource={vault}");
    // Not every SDK sends `Metadata` here.
    let answer = dev.wire.get(&asked(&good), &[("X-IDENTITY-HEADER", &header)]).await.expect(200);
    assert_eq!(answer.text("/client_id"), dev.fact("/machine/client_id"));
    assert!(answer.json()["expires_on"].is_string());
    for (what, headers) in [
        ("none", vec![]),
        ("empty", vec![("X-IDENTITY-HEADER", "")]),
        ("wrong", vec![("X-IDENTITY-HEADER", "x")]),
        ("truncated", vec![("X-IDENTITY-HEADER", &header[..header.len() - 1])]),
        ("twice", vec![("X-IDENTITY-HEADER", &header), ("X-IDENTITY-HEADER", "x")]),
        ("in another header", vec![("Authorization", &header), ("Secret", &header)]),
        ("forwarded", vec![("X-IDENTITY-HEADER", &header), ("X-Forwarded-For", "10.0.0.1")]),
        ("at a foreign host", vec![("X-IDENTITY-HEADER", &header), ("Host", "evil.example")]),
        ("from a page", vec![("X-IDENTITY-HEADER", &header), ("Origin", "http://evil.example")]),
    ] {
        let answer = dev.wire.get(&asked(&good), &headers).await;
        assert!([400, 401, 403].contains(&answer.status), "{what}: {answer:?}");
        assert_eq!(answer.json()["statusCode"], answer.status, "{what}");
        assert_eq!(answer.header("www-authenticate"), None, "{what}");
        assert!(!answer.body.contains(&header), "{what}");
    }
    let stranger = uuid::Uuid::from_u128(3);
    for query in [
        format!("resource={vault}"),
        format!("api-version=2017-09-01&resource={vault}"),
        "api-version=2019-08-01".to_owned(),
        format!("{good}&client_id={stranger}"),
        format!("{good}&client_id={stranger}&client_id={stranger}"),
    ] {
        let answer = dev.wire.get(&asked(&query), &[("X-IDENTITY-HEADER", &header)]).await;
        assert_eq!(answer.status, 400, "{query}: {answer:?}");
        assert_eq!(answer.json().get("access_token"), None, "{query}");
    }
}

/// Many programs start at once, each with a challenge of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_programs_at_once_all_get_their_token() {
    let Some(sandbox) = sandbox().await else { return };
    let dev = Dev::start(&sandbox).await;
    let query = usual();
    let one = async || {
        let key = key(&dev, &sandbox, &query).await;
        present(&dev, &query, &key).await.expect(200).text("/access_token")
    };
    let all = async {
        let (a, b, c, d, e, f) = tokio::join!(one(), one(), one(), one(), one(), one());
        [a, b, c, d, e, f]
    };
    let tokens = tokio::time::timeout(TIMEOUT, all).await.unwrap();
    assert!(tokens.iter().all(|token| *token == tokens[0]), "one identity and resource have one token");
    assert_eq!(std::fs::read_dir(sandbox.inside(Path::new(KEYS))).unwrap().count(), 0);
}
