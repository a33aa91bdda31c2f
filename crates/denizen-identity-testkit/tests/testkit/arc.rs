//! Arc: the honest agent, and each of its quirks.

use denizen_identity::challenge::{self, ChallengeError};
use denizen_identity_testkit::{ArcEndpoint, ArcQuirks, ChallengeBody, KeyFile, Options, Realm};

use crate::asking::{Answer, Asking};

const METADATA: (&str, &str) = ("Metadata", "true");
const ASKED: &str = "api-version=2020-06-01&resource=https%3A%2F%2Fvault.azure.net";

async fn started() -> (ArcEndpoint, Asking) {
    (ArcEndpoint::start(Options::default()).await.unwrap(), Asking::new())
}

fn with_quirks(arc: &ArcEndpoint, change: impl FnOnce(&mut ArcQuirks)) {
    arc.set_quirks(|quirks| {
        *quirks = ArcQuirks::default();
        change(quirks);
    });
}

async fn challenge(arc: &ArcEndpoint, asking: &Asking) -> Answer {
    asking.get(&format!("{}?{ASKED}", arc.token_url()), &[METADATA]).await
}

/// The key, as this library's own reader has it.
async fn key(arc: &ArcEndpoint, asking: &Asking) -> Result<String, ChallengeError> {
    let answer = challenge(arc, asking).await;
    challenge::answer(answer.header("www-authenticate").unwrap_or_default(), arc.key_directory())
        .map(|key| key.to_string())
}

async fn with_key(arc: &ArcEndpoint, asking: &Asking, query: &str, key: &str) -> Answer {
    let authorization = format!("Basic {key}");
    asking.get(&format!("{}?{query}", arc.token_url()), &[METADATA, ("Authorization", &authorization)]).await
}

async fn exchange(arc: &ArcEndpoint, asking: &Asking, query: &str) -> Answer {
    let key = key(arc, asking).await.unwrap();
    with_key(arc, asking, query, &key).await
}

#[tokio::test]
async fn the_challenge_has_the_bytes_every_client_parses() {
    let (arc, asking) = started().await;
    let answer = challenge(&arc, &asking).await;
    assert_eq!(answer.status, 401);
    assert_eq!(answer.headers.get_all("www-authenticate").iter().count(), 1);
    let header = answer.header("www-authenticate").unwrap();
    let path = header.strip_prefix("Basic realm=").unwrap();
    assert!(path.starts_with(arc.key_directory().to_str().unwrap()) && path.ends_with(".key"), "{header}");
    assert_eq!(header.matches('=').count(), 1);
    assert!(answer.header("retry-after").is_none());
    assert_eq!(answer.json()["error"], "unauthorized_client");
    assert_eq!(answer.json()["error_codes"][0], 401);

    // On the wire the name is spelled as a documented shell recipe greps for it.
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(arc.server().address()).await.unwrap();
    let request = format!(
        "GET /metadata/identity/oauth2/token?{ASKED} HTTP/1.1\r\nHost: x\r\nMetadata: True\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut raw = String::new();
    stream.read_to_string(&mut raw).await.unwrap();
    assert!(raw.contains("\r\nWww-Authenticate: Basic realm=/"), "{raw}");
}

#[tokio::test]
async fn a_key_buys_one_token() {
    let (arc, asking) = started().await;
    let key = key(&arc, &asking).await.unwrap();
    let answer = with_key(&arc, &asking, ASKED, &key).await;
    assert_eq!(answer.status, 200);
    let (body, claims) = (answer.json(), answer.claims());
    for member in ["expires_in", "expires_on", "ext_expires_in", "not_before"] {
        assert!(body[member].is_string(), "{member}: {body}");
    }
    assert_eq!(body["expires_in"], "86400");
    assert_eq!(body["token_type"], "Bearer");
    assert_eq!(body["resource"], "https://vault.azure.net");
    assert_eq!(claims["aud"], "https://vault.azure.net");
    assert_eq!(claims["appid"], body["client_id"]);
    assert_eq!(claims["exp"].as_i64().unwrap().to_string(), body["expires_on"].as_str().unwrap());
    assert!(answer.text.find("\"expires_in\"") < answer.text.find("\"expires_on\""));

    assert_eq!(with_key(&arc, &asking, ASKED, &key).await.status, 401, "the key is spent");
    assert_eq!(with_key(&arc, &asking, ASKED, "guessed").await.status, 401);
    let requests = arc.server().requests();
    assert_eq!(requests.len(), 4);
    assert_eq!(requests[0].connection, requests[1].connection, "the retry comes on the same connection");
}

#[tokio::test]
async fn what_the_agent_refuses() {
    let (arc, asking) = started().await;
    let url = arc.token_url();
    let bare = asking.get(&url, &[]).await;
    assert_eq!((bare.status, bare.json()["error"].as_str()), (400, Some("invalid_request")));
    assert_eq!(asking.get(&format!("{url}?{ASKED}"), &[]).await.status, 400, "no Metadata header, no challenge");
    let forwarded = [METADATA, ("X-Forwarded-For", "10.0.0.1")];
    assert_eq!(asking.get(&format!("{url}?{ASKED}"), &forwarded).await.status, 400);
    let old = asking.get(&format!("{url}?api-version=2018-02-01&resource=r"), &[METADATA]).await;
    assert_eq!(old.status, 400);
    assert!(old.text.contains("Supported are 2021-02-01 2020-06-01 2019-11-01 2019-08-15"), "{}", old.text);
    let none = asking.get(&format!("{url}?resource=r"), &[METADATA]).await;
    assert!(none.text.contains("The api-version not specified. Supported are "), "{}", none.text);
    let platform = arc.server().url() + "/metadata/identity/getplatformmetadata?cred-api-version=2.0";
    assert_eq!(asking.get(&platform, &[]).await.status, 404, "400 would tell .NET that the second version is here");
    assert_eq!(asking.get(&format!("{url}/?{ASKED}"), &[METADATA]).await.status, 401, "a slash at the end is no error");
}

#[tokio::test]
async fn d15_an_identity_is_echoed_or_refused() {
    let (arc, asking) = started().await;
    let user = Options::default().identities.user[0].clone();
    for (name, value) in
        [("client_id", &user.client_id), ("object_id", &user.object_id), ("msi_res_id", &user.resource_id)]
    {
        let answer = exchange(&arc, &asking, &format!("{ASKED}&{name}={}", value.to_uppercase())).await;
        assert_eq!(answer.json()[name].as_str().unwrap(), value);
        assert_eq!(answer.claims()["oid"].as_str().unwrap(), user.object_id);
    }
    let unknown = exchange(&arc, &asking, &format!("{ASKED}&client_id=70000000-0000-4000-8000-000000000007")).await;
    assert_eq!((unknown.status, unknown.json()["error_description"].as_str()), (400, Some("Identity not found")));
    let twice = format!("{ASKED}&client_id={}&object_id={}", user.client_id, user.object_id);
    assert_eq!(exchange(&arc, &asking, &twice).await.status, 400);

    with_quirks(&arc, |q| q.ignores_selector = true);
    let silent = exchange(&arc, &asking, &format!("{ASKED}&client_id={}", user.client_id)).await;
    assert_eq!(silent.status, 200);
    assert!(silent.json().get("client_id").is_none());
    assert_ne!(silent.claims()["oid"].as_str().unwrap(), user.object_id, "this is the danger");
    with_quirks(&arc, |q| q.echoes_another = true);
    let wrong = exchange(&arc, &asking, &format!("{ASKED}&client_id={}", user.client_id)).await;
    assert_ne!(wrong.json()["client_id"].as_str().unwrap(), user.client_id);
}

#[tokio::test]
async fn bodies_of_the_challenge() {
    let (arc, asking) = started().await;
    for (body, text, content_type) in [
        (ChallengeBody::Empty, Some(""), None),
        (ChallengeBody::Text, Some("Missing Basic Authorization header"), Some("text/plain; charset=utf-8")),
        (ChallengeBody::JsonUntyped, None, None),
    ] {
        with_quirks(&arc, |q| q.body = body);
        let answer = challenge(&arc, &asking).await;
        assert_eq!((answer.status, answer.header("content-type")), (401, content_type), "{body:?}");
        match text {
            Some(text) => assert_eq!(answer.text, text),
            None => assert_eq!(answer.json()["error"], "unauthorized_client"),
        }
        assert!(answer.header("www-authenticate").is_some());
    }
    with_quirks(&arc, |q| q.retry_after = Some(1));
    assert_eq!(challenge(&arc, &asking).await.header("retry-after"), Some("1"));
    with_quirks(&arc, |q| q.direct = true);
    assert_eq!(challenge(&arc, &asking).await.status, 200);
    with_quirks(&arc, |q| q.rejects_key = true);
    assert_eq!(exchange(&arc, &asking, ASKED).await.status, 401);
}

#[tokio::test]
async fn realms() {
    let (arc, asking) = started().await;
    let directory = arc.key_directory().to_str().unwrap().to_owned();
    let shown = |realm| {
        with_quirks(&arc, |q| q.realm = realm);
        async { challenge(&arc, &asking).await.header("www-authenticate").unwrap_or_default().to_owned() }
    };
    assert!(shown(Realm::Quoted).await.starts_with(&format!("Basic realm=\"{directory}/")));
    assert!(shown(Realm::LowerCase).await.starts_with(&format!("basic realm={directory}/")));
    assert!(shown(Realm::Bare).await.starts_with(&format!("{directory}/")));
    assert!(shown(Realm::ExtraParameter).await.ends_with(".key, charset=\"UTF-8\""));
    assert!(shown(Realm::Roundabout).await.starts_with(&format!("Basic realm={directory}/../tokens/")));
    assert!(shown(Realm::Subdirectory).await.starts_with(&format!("Basic realm={directory}/inner/")));
    assert_eq!(shown(Realm::Text("Basic realm=/etc/shadow".into())).await, "Basic realm=/etc/shadow");
    assert_eq!(shown(Realm::Absent).await, "");
    let elsewhere = shown(Realm::Elsewhere).await;
    let elsewhere = elsewhere.strip_prefix("Basic realm=").unwrap();
    assert!(!elsewhere.starts_with(&directory) && std::fs::exists(elsewhere).unwrap(), "it is there, to be stolen");
    let name = std::path::Path::new(elsewhere).file_name().unwrap();
    assert!(arc.key_directory().join(name).exists(), "and one of its name is in the right place");
    with_quirks(&arc, |q| q.realm = Realm::Twice);
    assert_eq!(challenge(&arc, &asking).await.headers.get_all("www-authenticate").iter().count(), 2);
}

#[tokio::test]
async fn d12_key_files_that_must_not_be_read() {
    let (arc, asking) = started().await;
    for (file, refused_as) in [
        (KeyFile::Size(4097), Some("is larger than 4096 bytes")),
        (KeyFile::Empty, Some("holds no key")),
        (KeyFile::LinkInside, Some("is a link")),
        (KeyFile::LinkOutside, Some("is a link")),
        (KeyFile::Fifo, Some("is not a regular file")),
        (KeyFile::Directory, Some("is not a regular file")),
        (KeyFile::Extension("pem"), Some("does not end in .key")),
        (KeyFile::Socket, None),
        (KeyFile::Binary, None),
        (KeyFile::Missing, None),
    ] {
        with_quirks(&arc, |q| q.key = file.clone());
        match (key(&arc, &asking).await, refused_as) {
            (Err(ChallengeError::File { why, .. }), Some(expected)) => assert_eq!(why, expected, "{file:?}"),
            (Err(ChallengeError::Unreadable { .. }), None) => {}
            (other, _) => panic!("{file:?}: {other:?}"),
        }
    }
    for (file, length) in [(KeyFile::Size(4096), 4096), (KeyFile::Newline, 64), (KeyFile::Plain, 64)] {
        with_quirks(&arc, |q| q.key = file);
        let key = key(&arc, &asking).await.unwrap();
        assert_eq!(key.len(), length);
        assert_eq!(with_key(&arc, &asking, ASKED, &key).await.status, 200);
    }
    with_quirks(&arc, |q| q.key = KeyFile::Newline);
    let path = challenge(&arc, &asking).await.header("www-authenticate").unwrap()[12..].to_owned();
    assert!(std::fs::read_to_string(path).unwrap().ends_with('\n'));
}

#[tokio::test]
async fn no_key_stays_behind() {
    let directory = tempfile::tempdir().unwrap();
    let arc = ArcEndpoint::start_in(Options::default(), directory.path()).await.unwrap();
    let asking = Asking::new();
    for (key, realm) in
        [(KeyFile::Plain, Realm::Plain), (KeyFile::Directory, Realm::Plain), (KeyFile::Plain, Realm::Elsewhere)]
    {
        with_quirks(&arc, |q| (q.key, q.realm) = (key, realm));
        assert_eq!(challenge(&arc, &asking).await.status, 401);
    }
    let left = || std::fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(left(), 3);
    drop(asking);
    drop(arc);
    // Connections end with their tasks, which is soon and not at once.
    for _ in 0..200 {
        if left() == 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("{} keys stay", left());
}

#[tokio::test]
async fn d12_a_file_swapped_between_check_and_open_is_not_sent() {
    use std::sync::atomic::{AtomicBool, Ordering};

    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("tokens");
    std::fs::create_dir(&directory).unwrap();
    let secret = place.path().join("secret");
    std::fs::write(&secret, "stolen").unwrap();
    let [named, good, link] = ["a.key", "good", "link"].map(|name| directory.join(name));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // One name, by turns the key and a link to somebody's secret, each put there in one step.
            while !stop.load(Ordering::Relaxed) {
                std::fs::write(&good, "key").unwrap();
                std::fs::rename(&good, &named).unwrap();
                std::os::unix::fs::symlink(&secret, &link).unwrap();
                std::fs::rename(&link, &named).unwrap();
            }
        });
        let header = format!("Basic realm={}", named.display());
        let (mut read, mut refused) = (0, 0);
        for _ in 0..200_000 {
            match challenge::answer(&header, &directory) {
                Ok(key) => {
                    assert_eq!(key.as_str(), "key");
                    read += 1;
                }
                Err(_) => refused += 1,
            }
            if read > 300 && refused > 300 {
                break;
            }
        }
        stop.store(true, Ordering::Relaxed);
        assert!(read > 0 && refused > 0, "both were met: {read} read, {refused} refused");
    });
}

/// Only root can give files away and make devices: elsewhere there is nothing to test.
#[tokio::test]
async fn d12_anothers_files_and_devices_are_not_read() {
    let (arc, asking) = started().await;
    if !rustix::process::geteuid().is_root() {
        return;
    }
    with_quirks(&arc, |q| q.key = KeyFile::OwnedBy(54_321));
    let refused = key(&arc, &asking).await.unwrap_err();
    assert!(matches!(refused, ChallengeError::File { why: "belongs to neither root nor the agent", .. }), "{refused}");
    // The agent's own are read, whoever the agent is.
    std::os::unix::fs::chown(arc.key_directory(), Some(54_321), None).unwrap();
    assert_eq!(key(&arc, &asking).await.unwrap().len(), 64);

    let zero = arc.key_directory().join("zero.key");
    let (kind, mode) = (rustix::fs::FileType::CharacterDevice, rustix::fs::Mode::from_raw_mode(0o444));
    // A container's root may not have this right.
    if rustix::fs::mknodat(rustix::fs::CWD, &zero, kind, mode, rustix::fs::makedev(1, 5)).is_ok() {
        let header = format!("Basic realm={}", zero.display());
        let refused = challenge::answer(&header, arc.key_directory()).unwrap_err();
        assert!(matches!(refused, ChallengeError::File { why: "is not a regular file", .. }), "{refused}");
    }
}
