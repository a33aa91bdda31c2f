use std::os::unix::fs::MetadataExt as _;

use denizen_keys::jws::Unverified;

use super::*;
use crate::upstream::fake::FakeServer;

const JOIN_TOKEN: &str = "a-join-token";

fn options(server: &FakeServer, state_dir: &Path) -> ConnectOptions {
    ConnectOptions {
        server: server.url(),
        token_authority: None,
        outbound: server.outbound(),
        join_token: JOIN_TOKEN.into(),
        machine_name: "web-1".parse().unwrap(),
        state_dir: state_dir.to_owned(),
        clock: Clock::system(),
    }
}

/// What a server answers; `port` is where its token endpoint is said to be.
fn enrolled(port: u16) -> String {
    format!(
        r#"{{"tenantId":"aaaaaaaa-0000-0000-0000-000000000000","resourceId":"/subscriptions/6f9619ff-8b86-d011-b42d-00cf4fc964ff/resourceGroups/dev/providers/Microsoft.HybridCompute/machines/web-1","clientId":"11111111-2222-3333-4444-555555555555","principalId":"66666666-7777-8888-9999-000000000000","tokenEndpoint":"https://localhost:{port}/t/oauth2/v2.0/token","machineId":"bbbbbbbb-0000-0000-0000-000000000000","location":"local"}}"#
    )
}

/// A server that answers each request with the next of these; `PORT` in a text is its own.
async fn server(answers: Vec<(u16, String)>) -> FakeServer {
    let port = std::sync::Arc::new(std::sync::OnceLock::new());
    let (mut answers, own) = (answers.into_iter(), port.clone());
    let server = FakeServer::new(move |_, _| {
        let (status, text) = answers.next().unwrap();
        (status, text.replace(":0/", &format!(":{}/", own.get().unwrap())))
    })
    .await;
    port.set(server.address.port()).unwrap();
    server
}

#[tokio::test]
async fn a_machine_joins_once_and_keeps_what_it_was_given() {
    let temp = tempfile::tempdir().unwrap();
    let state_dir = temp.path().join("agent");
    let server = server(vec![(200, enrolled(0))]).await;
    let identity = connect(options(&server, &state_dir)).await.unwrap();
    assert_eq!(identity.server, server.url());
    assert_eq!(identity.enrolled.client_id.to_string(), "11111111-2222-3333-4444-555555555555");

    let (path, body) = server.asked().remove(0);
    assert_eq!(path, "/node/v1/enrol");
    let request: EnrolRequest = serde_json::from_str(&body).unwrap();
    assert_eq!((request.join_token.as_str(), request.machine_name.as_str()), (JOIN_TOKEN, "web-1"));
    let certificate = Certificate::from_der(&b64::decode_standard(&request.certificate).unwrap()).unwrap();
    assert_eq!(certificate.subject_cn(), Some("web-1"));
    let proof = Unverified::parse(&request.proof, 16_384).unwrap();
    let claims: EnrolClaims =
        proof.verify(&certificate.public_key().unwrap(), &[Algorithm::Rs256]).unwrap().claims().unwrap();
    assert_eq!(claims.aud, format!("{}/node/v1/enrol", server.url()));
    assert_eq!(claims.join, hash::hex(&hash::sha256(JOIN_TOKEN.as_bytes())));
    assert_eq!((claims.name.as_str(), claims.exp - claims.iat), ("web-1", PROOF_LIFETIME));

    let mode = |name: &str| std::fs::metadata(state_dir.join(name)).unwrap().mode() & 0o7777;
    assert_eq!(mode(""), 0o700);
    for name in ["node.key", "node.crt", "identity.json", "lock"] {
        assert_eq!(mode(name), 0o600, "{name}");
    }
    for name in ["node.crt", "identity.json"] {
        assert!(!std::fs::read_to_string(state_dir.join(name)).unwrap().contains(JOIN_TOKEN), "{name}");
    }

    // Again: it is done, and the server is not asked.
    let again = connect(options(&server, &state_dir)).await.unwrap();
    assert_eq!(again.enrolled.principal_id, identity.enrolled.principal_id);
    assert_eq!(server.asked().len(), 1);
    // Elsewhere, or as somebody else: not over this one.
    let other = ConnectOptions { machine_name: "web-2".parse().unwrap(), ..options(&server, &state_dir) };
    let error = connect(other).await.unwrap_err();
    assert!(matches!(&error, EnrolError::Already { name, .. } if name == "web-1"), "{error}");
}

#[tokio::test]
async fn an_attempt_whose_answer_was_lost_is_repeated_with_the_same_key() {
    let temp = tempfile::tempdir().unwrap();
    let server = server(vec![(502, "<html>".into()), (200, "{}".into()), (200, enrolled(0))]).await;
    for _ in 0..2 {
        let error = connect(options(&server, temp.path())).await.unwrap_err();
        assert!(matches!(error, EnrolError::Malformed(_)), "{error}");
        assert!(!temp.path().join("identity.json").exists());
    }
    connect(options(&server, temp.path())).await.unwrap();
    let certificates: std::collections::HashSet<_> = server
        .asked()
        .iter()
        .map(|(_, body)| serde_json::from_str::<EnrolRequest>(body).unwrap().certificate)
        .collect();
    assert_eq!((server.asked().len(), certificates.len()), (3, 1));
}

/// Killed after the server had answered: it knows the machine by its key, and the machine knows nothing.
#[tokio::test]
async fn a_start_that_finds_a_key_and_no_identity_asks_again_with_the_same_key() {
    let temp = tempfile::tempdir().unwrap();
    let state_dir = temp.path().join("agent");
    let server = server(vec![(200, enrolled(0)), (200, enrolled(0)), (200, enrolled(0))]).await;
    let first = connect(options(&server, &state_dir)).await.unwrap();
    let request = |n: usize| serde_json::from_str::<EnrolRequest>(&server.asked()[n].1).unwrap();
    for n in 1..3 {
        // The new file was written and did not get its name; so may one of the key's have been before.
        let id = denizen_keys::random::uuid_v4();
        std::fs::rename(state_dir.join("identity.json"), state_dir.join(format!(".identity.json.{id}"))).unwrap();
        std::fs::write(state_dir.join(format!(".node.key.{id}")), "half a k").unwrap();
        let again = connect(options(&server, &state_dir)).await.unwrap();
        assert_eq!(again.enrolled.client_id, first.enrolled.client_id);
        assert_eq!(request(n).certificate, request(0).certificate);
        assert_ne!(request(n).proof, "", "a proof of its own each time");
        let mut left: Vec<_> = std::fs::read_dir(&state_dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["identity.json", "lock", "node.crt", "node.key"]);
    }
}

#[tokio::test]
async fn what_looks_like_a_temporary_file_and_cannot_be_removed_is_in_nobodys_way() {
    let temp = tempfile::tempdir().unwrap();
    let server = server(vec![(200, enrolled(0))]).await;
    let id = denizen_keys::random::uuid_v4();
    std::fs::create_dir(temp.path().join(format!(".identity.json.{id}"))).unwrap();
    for other in [".profile", "notes.txt", ".identity.json.old"] {
        std::fs::write(temp.path().join(other), "").unwrap();
    }
    connect(options(&server, temp.path())).await.unwrap();
    assert!([".profile", "notes.txt", ".identity.json.old"].iter().all(|other| temp.path().join(other).exists()));
}

#[tokio::test]
async fn another_name_gets_a_certificate_of_its_own_for_the_same_key() {
    let temp = tempfile::tempdir().unwrap();
    let server = server(vec![(502, "<html>".into()), (200, enrolled(0))]).await;
    connect(options(&server, temp.path())).await.unwrap_err();
    let renamed = ConnectOptions { machine_name: "web-2".parse().unwrap(), ..options(&server, temp.path()) };
    connect(renamed).await.unwrap();
    let certificate = |n: usize| {
        let request: EnrolRequest = serde_json::from_str(&server.asked()[n].1).unwrap();
        Certificate::from_der(&b64::decode_standard(&request.certificate).unwrap()).unwrap()
    };
    assert_eq!((certificate(0).subject_cn(), certificate(1).subject_cn()), (Some("web-1"), Some("web-2")));
    assert_eq!(certificate(0).public_key().unwrap().n(), certificate(1).public_key().unwrap().n());
}

#[tokio::test]
async fn a_certificate_lost_in_a_crash_is_made_again_for_the_same_key() {
    let temp = tempfile::tempdir().unwrap();
    let refusal = r#"{"error":{"code":"JoinTokenRefused","message":"The join token is used up."}}"#;
    let server = server(vec![(403, refusal.into()), (200, enrolled(0))]).await;
    let error = connect(options(&server, temp.path())).await.unwrap_err();
    assert_eq!(error.to_string(), "the server refused: The join token is used up. (JoinTokenRefused)");
    let key = std::fs::read(temp.path().join("node.key")).unwrap();
    std::fs::remove_file(temp.path().join("node.crt")).unwrap();
    connect(options(&server, temp.path())).await.unwrap();
    assert_eq!(std::fs::read(temp.path().join("node.key")).unwrap(), key);
}

#[tokio::test]
async fn d08_an_answer_that_sends_the_agent_elsewhere_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let server = server(vec![(200, enrolled(0).replace("localhost:0", "evil.example"))]).await;
    let error = connect(options(&server, temp.path())).await.unwrap_err();
    assert!(matches!(error, EnrolError::Origin(OriginError::OtherOrigin { .. })), "{error}");
    assert!(!temp.path().join("identity.json").exists());
}

#[tokio::test]
async fn a_token_authority_elsewhere_is_taken_where_it_was_named() {
    let temp = tempfile::tempdir().unwrap();
    let answer = enrolled(0).replace("localhost:0", "login.example");
    let server = server(vec![(200, answer.clone()), (200, answer)]).await;
    let elsewhere = |authority: &str, state: &str| ConnectOptions {
        token_authority: Some(authority.into()),
        ..options(&server, &temp.path().join(state))
    };
    let identity = connect(elsewhere("https://login.example", "a")).await.unwrap();
    assert_eq!((identity.token_authority(), &identity.server), ("https://login.example", &server.url()));
    // Enrolled already: asked for the same it changes nothing, asked for another it does not pretend.
    assert!(connect(elsewhere("https://login.example", "a")).await.is_ok());
    let without = ConnectOptions { token_authority: None, ..elsewhere("https://login.example", "a") };
    for other in [elsewhere("https://other.example", "a"), without] {
        let error = connect(other).await.unwrap_err();
        assert!(error.to_string().contains("token authority https://login.example:"), "{error}");
    }
    let error = connect(elsewhere("https://login.example:8443", "b")).await.unwrap_err();
    assert!(matches!(error, EnrolError::Origin(OriginError::OtherOrigin { .. })), "{error}");
}

#[tokio::test]
async fn an_answer_of_a_newer_server_is_taken() {
    let temp = tempfile::tempdir().unwrap();
    let newer = enrolled(0).replacen('{', r#"{"heartbeatSeconds":60,"userAssigned":[{"clientId":"x"}],"#, 1);
    let server = server(vec![(200, newer)]).await;
    connect(options(&server, temp.path())).await.unwrap();
}

#[tokio::test]
async fn d22_damaged_state_is_refused_by_name() {
    let temp = tempfile::tempdir().unwrap();
    let server = server(vec![(200, enrolled(0))]).await;
    let state_dir = temp.path().join("agent");
    connect(options(&server, &state_dir)).await.unwrap();
    let other = Signer::generate_rsa(RsaBits::B2048).unwrap();
    let foreign = x509::self_signed(&other, "web-1", 0, 4_000_000_000).unwrap().pem();
    for (name, content) in
        [("identity.json", "{"), ("node.key", "x"), ("node.crt", "x"), ("node.crt", foreign.as_str())]
    {
        let path = state_dir.join(name);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, content).unwrap();
        let config = crate::AgentConfig {
            state_dir: state_dir.clone(),
            arc: None,
            app_service_header: None,
            imds_group: None,
            clock: Clock::system(),
            outbound: server.outbound(),
            marker: temp.path().join("himds"),
            connections: 100,
        };
        let Err(error) = crate::Agent::start(config, crate::Listeners::default()).await else { panic!("{name}") };
        assert!(error.to_string().contains(&format!("{} is damaged", path.display())), "{name}: {error}");
        std::fs::write(&path, whole).unwrap();
    }
}

#[tokio::test]
async fn a_second_agent_on_the_same_state_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let first = StateDirectory::open(temp.path()).unwrap();
    let error = StateDirectory::open(temp.path()).unwrap_err();
    assert!(matches!(error, StateError::InUse(_)), "{error}");
    drop(first);
    let fresh = StateDirectory::open(temp.path()).unwrap();
    assert!(matches!(fresh.enrolled(), Err(StateError::NotEnrolled(_))));
    std::fs::set_permissions(temp.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    drop(fresh);
    let error = StateDirectory::open(temp.path()).unwrap_err().to_string();
    assert!(error.contains("chmod go-w"), "d2: {error}");
}

#[tokio::test]
async fn what_a_broken_answer_holds_is_not_shown() {
    const MARKER: &str = "MARKER-hunter2";
    let temp = tempfile::tempdir().unwrap();
    let answers: Vec<_> = [
        format!("\"{MARKER}\""),
        format!("{{\"tenantId\":\"{MARKER}\"}}"),
        format!("{{\"tenantId\":[\"{MARKER}\"]}}"),
        format!("{{\"{MARKER}"),
    ]
    .into_iter()
    .flat_map(|body| [(200, body.clone()), (403, body)])
    .collect();
    let attempts = answers.len();
    let server = server(answers).await;
    for _ in 0..attempts {
        let error = connect(options(&server, temp.path())).await.unwrap_err();
        assert!(matches!(error, EnrolError::Malformed(_)), "{error}");
        let printed = format!("{error} {error:?}");
        assert!(!printed.contains(MARKER) && !printed.contains(JOIN_TOKEN), "{printed}");
    }
}
