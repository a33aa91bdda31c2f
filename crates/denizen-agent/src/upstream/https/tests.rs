use super::*;

#[test]
fn an_origin_is_https_with_a_host_and_nothing_before_it() {
    let origin = Origin::of("https://LocalHost:8443/tenant/oauth2/v2.0/token").unwrap();
    assert_eq!(origin.to_string(), "https://localhost:8443");
    assert_eq!(Origin::of("https://login.example").unwrap().to_string(), "https://login.example");
    assert_eq!(Origin::of("https://[::1]:8443").unwrap().to_string(), "https://[::1]:8443");
    for bad in ["http://localhost", "localhost", "https://", "https://user@host/", "file:///etc/passwd", "/path", ""] {
        assert!(Origin::of(bad).is_err(), "{bad}");
    }
}

#[test]
fn d8_a_url_of_another_origin_has_no_path_here() {
    let origin = Origin::of("https://localhost:8443").unwrap();
    assert_eq!(origin.path_of("https://localhost:8443/t/token").unwrap(), "/t/token");
    for other in [
        "https://localhost/t",
        "https://localhost:8443.evil.test/t",
        "https://127.0.0.1:8443/t",
        "http://localhost:8443/t",
    ] {
        assert!(origin.path_of(other).is_err(), "{other}");
    }
}

#[test]
fn a_ca_file_without_certificates_is_refused_by_name() {
    let temp = tempfile::tempdir().unwrap();
    let empty = temp.path().join("ca.pem");
    std::fs::write(&empty, "no certificate").unwrap();
    for path in [empty, temp.path().join("missing.pem")] {
        let error = HttpsClient::new("https://localhost:1", &Outbound { ca_file: Some(path.clone()), proxy: None })
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains(path.to_str().unwrap()), "{error}");
    }
}

#[test]
fn what_a_ca_file_holds_is_not_shown() {
    const MARKER: &str = "MARKER-hunter2";
    let numbers = format!("{:?}", MARKER.as_bytes());
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("ca.pem");
    // A key file by mistake, in every form that is not read.
    for text in [
        format!("-----BEGIN PRIVATE KEY-----\\n{MARKER}\\n-----END PRIVATE KEY-----\\n"),
        format!("-----BEGIN PRIVATE KEY----- {MARKER} -----END PRIVATE KEY-----\n"),
        format!("-----BEGIN {MARKER}\n"),
        format!("-----BEGIN CERTIFICATE-----\n{MARKER}!\n-----END CERTIFICATE-----\n"),
        format!("-----BEGIN {MARKER}-----\nAAAA\n"),
    ] {
        std::fs::write(&path, &text).unwrap();
        let outbound = Outbound { ca_file: Some(path.clone()), proxy: None };
        let error = HttpsClient::new("https://localhost:1", &outbound).err().unwrap();
        let printed = format!("{error} {error:?}");
        assert!(!printed.contains(MARKER) && !printed.contains(numbers.trim_matches(['[', ']'])), "{printed}");
        assert!(printed.contains("ca.pem"), "{printed}");
    }
}
