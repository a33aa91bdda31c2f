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
    keep(&state, &FIRST.replacen('{', r#"{"version": 1, "heartbeat": {"seconds": 60},"#, 1));
    let mut identity = state.enrolled().unwrap();
    identity.server = "https://localhost:9443".into();
    state.keep_identity(&identity).unwrap();
    let kept: serde_json::Value = serde_json::from_slice(&state.read(IDENTITY).unwrap().unwrap()).unwrap();
    assert_eq!((&kept["heartbeat"]["seconds"], &kept["server"]), (&60.into(), &"https://localhost:9443".into()));
}

#[test]
fn a_file_of_a_later_version_is_refused_by_its_number() {
    let (temp, state) = state();
    keep(&state, &FIRST.replacen('{', r#"{"version": 2,"#, 1));
    for error in [state.enrolled().unwrap_err(), StateDirectory::peek(&temp.path().join("state")).unwrap_err()] {
        assert!(error.to_string().contains("version 2, of a later agent"), "{error}");
    }
}
