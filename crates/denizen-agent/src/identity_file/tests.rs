use super::*;

/// As version 0.1.0 of the agent wrote it: without a version.
const FIRST: &str = include_str!("first.json");

fn state() -> (tempfile::TempDir, StateDirectory) {
    let temp = tempfile::tempdir().unwrap();
    let state = StateDirectory::open(&temp.path().join("state")).unwrap();
    (temp, state)
}

fn keep(state: &StateDirectory, text: &str) {
    state.directory.replace(IDENTITY, text.as_bytes(), 0o600).unwrap();
}

#[test]
fn a_file_without_a_version_is_of_the_first() {
    let (_temp, state) = state();
    keep(&state, FIRST);
    let identity = state.enrolled().unwrap();
    assert_eq!((identity.version, identity.machine_name.as_str()), (1, "web-1"));
    assert_eq!(identity.token_authority(), "https://localhost:8443", "the server's, where none is named");
    state.keep_identity(&identity).unwrap();
    assert_eq!(state.enrolled().unwrap().version, IdentityFile::VERSION);
}

#[test]
fn what_another_version_wrote_is_kept() {
    let (_temp, state) = state();
    let other = FIRST.replacen('{', r#"{"version": 1, "heartbeat": {"seconds": 60},"#, 1);
    keep(&state, &other.replacen("\"enrolled\": {", "\"enrolled\": {\"userAssigned\": [7],", 1));
    let mut identity = state.enrolled().unwrap();
    identity.server = "https://localhost:9443".into();
    state.keep_identity(&identity).unwrap();
    let kept: serde_json::Value = serde_json::from_slice(&state.read(IDENTITY).unwrap().unwrap()).unwrap();
    assert_eq!((&kept["heartbeat"]["seconds"], &kept["server"]), (&60.into(), &"https://localhost:9443".into()));
    assert_eq!(kept["enrolled"]["userAssigned"][0], 7, "what the server answered beside the members of this version");
}

#[test]
fn a_file_of_a_later_version_is_refused_by_its_number() {
    let (temp, state) = state();
    let later = FIRST.replacen('{', r#"{"version": 2,"#, 1).replacen("\"server\":", "\"server\": [], \"x\":", 1);
    keep(&state, &later);
    for error in [state.enrolled().unwrap_err(), StateDirectory::peek(&temp.path().join("state")).unwrap_err()] {
        assert!(error.to_string().contains("version 2, of a later agent"), "{error}");
    }
}

const MARKER: &str = "MARKER-hunter2";

/// An error, all it can print, and all that is below it.
fn printed(error: &dyn std::error::Error) -> String {
    let below = error.source().map(printed).unwrap_or_default();
    format!("{error} {error:?} {below}")
}

#[test]
fn what_a_damaged_identity_file_holds_is_not_shown() {
    let (temp, state) = state();
    for text in [
        MARKER.to_owned(),
        format!("\"{MARKER}\""),
        format!("{{\"version\": \"{MARKER}\"}}"),
        FIRST.replacen('{', &format!("{{\"version\": \"{MARKER}\","), 1),
        FIRST.replacen('{', &format!("{{\"enrolled\": \"{MARKER}\","), 1),
        FIRST.replacen("\"server\":", &format!("\"server\": [\"{MARKER}\"], \"x\":"), 1),
        format!("{{\"{MARKER}\": \"{MARKER}"),
    ] {
        keep(&state, &text);
        for error in [state.enrolled().unwrap_err(), StateDirectory::peek(&temp.path().join("state")).unwrap_err()] {
            assert!(matches!(error, StateError::Damaged { .. }), "{text}: {error}");
            let printed = printed(&error);
            assert!(!printed.contains(MARKER), "{printed}");
        }
    }
}

#[test]
fn what_a_damaged_key_or_certificate_holds_is_not_shown() {
    let (_temp, state) = state();
    let key = Signer::generate_rsa(denizen_keys::RsaBits::B2048).unwrap();
    let key_der = key.to_pkcs8().unwrap();
    // As text and as a list of numbers, which is how some parsers show bytes.
    let numbers = format!("{:?}", MARKER.as_bytes());
    let hidden = |printed: String| {
        assert!(!printed.contains(MARKER) && !printed.contains(numbers.trim_matches(['[', ']'])), "{printed}");
    };
    for head in [&b""[..], b"-----BEGIN PRIVATE KEY-----\\n", &key_der.expose()[..100]] {
        state.directory.replace(KEY, &[head, MARKER.as_bytes()].concat(), 0o600).unwrap();
        hidden(printed(&state.key().unwrap_err()));
    }
    for text in [
        MARKER.to_owned(),
        format!("-----BEGIN CERTIFICATE-----\\n{MARKER}\\n-----END CERTIFICATE-----"),
        format!("-----BEGIN {MARKER}\n"),
        format!("-----BEGIN CERTIFICATE-----\n{MARKER}!\n-----END CERTIFICATE-----\n"),
        format!("-----BEGIN CERTIFICATE-----\n{MARKER}\n"),
    ] {
        state.directory.replace(CERTIFICATE, text.as_bytes(), 0o600).unwrap();
        hidden(printed(&state.certificate(&key).unwrap_err()));
    }
    state.directory.replace(CERTIFICATE, &[MARKER.as_bytes(), &[0xff]].concat(), 0o600).unwrap();
    hidden(printed(&state.certificate(&key).unwrap_err()));
}
