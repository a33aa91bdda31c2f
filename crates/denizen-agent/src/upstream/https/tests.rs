use std::sync::Mutex;

use denizen_keys::ca::SanEntry;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::upstream::fake::{Certified, FakeServer};

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

/// An HTTP proxy that connects to `target` whatever it is asked for, if its CONNECT requests are authorized by
/// `authorization`. Keeps the heads it was sent.
async fn proxy(target: std::net::SocketAddr, authorization: &'static str) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = heads.clone();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let log = log.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                let allowed = head.to_ascii_lowercase().contains(&authorization.to_ascii_lowercase());
                log.lock().unwrap().push(head);
                if !allowed {
                    client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await.unwrap();
                    return;
                }
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                let mut server = TcpStream::connect(target).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    (address, heads)
}

#[tokio::test]
async fn servers_elsewhere_are_reached_through_the_proxy_and_local_ones_are_not() {
    let named = |name: &str| Certified { name: SanEntry::Dns(name.into()), ..Certified::default() };
    let elsewhere = FakeServer::certified(named("login.denizen.test"), |_, _| (200, "through".into())).await;
    let (address, heads) = proxy(elsewhere.address, "proxy-authorization: Basic dXNlcjpwYXNz").await;
    let with = |url: &str, server: &FakeServer| Outbound {
        proxy: Some(Proxy::new(url, "direct.example").unwrap()),
        ..server.outbound()
    };
    let outbound = with(&format!("http://user:pass@{address}"), &elsewhere);
    let client = HttpsClient::new("https://login.denizen.test:8443", &outbound).unwrap();
    for _ in 0..2 {
        let (status, body) = client.post("/t/token", "text/plain", Bytes::from("x")).await.unwrap();
        assert_eq!((status.as_u16(), &body[..]), (200, &b"through"[..]));
    }
    let asked = heads.lock().unwrap().clone();
    assert_eq!(asked.len(), 1, "the tunnel is kept: {asked:?}");
    assert!(asked[0].starts_with("CONNECT login.denizen.test:8443 HTTP/1.1\r\n"), "{asked:?}");

    let local = FakeServer::new(|_, _| (200, "direct".into())).await;
    let client = HttpsClient::new(&local.url(), &with(&format!("http://user:pass@{address}"), &local)).unwrap();
    assert_eq!(&client.post("/", "text/plain", Bytes::new()).await.unwrap().1[..], b"direct");
    assert_eq!(heads.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_proxy_that_refuses_is_named_and_its_password_is_not() {
    let server = FakeServer::new(|_, _| (200, "never".into())).await;
    let (address, _) = proxy(server.address, "proxy-authorization: never").await;
    let outbound = Outbound {
        proxy: Some(Proxy::new(&format!("http://user:MARKER@{address}"), "").unwrap()),
        ..server.outbound()
    };
    let client = HttpsClient::new("https://login.denizen.test", &outbound).unwrap();
    let error = client.post("/", "text/plain", Bytes::new()).await.unwrap_err();
    let text = format!("{error} {error:?} {outbound:?}");
    assert!(
        error.to_string().contains(&format!("https://login.denizen.test through the proxy {address}: ")),
        "{error}"
    );
    // base64 of user:MARKER
    assert!(!text.contains("MARKER") && !text.contains("dXNlcjpNQVJLRVI"), "{text}");
    assert!(server.asked().is_empty());
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

#[test]
fn processes_give_up_connecting_at_different_times() {
    assert_eq!(connect_timeout(0), Duration::from_secs(5));
    assert_eq!(connect_timeout(u16::MAX), Duration::from_secs(8));
    let middle = connect_timeout(u16::MAX / 2);
    assert!(Duration::from_millis(6490) < middle && middle < Duration::from_millis(6510), "{middle:?}");
}
