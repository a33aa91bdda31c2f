//! What a client may send, and how it may end: the same on every listener.

use crate::{
    dev::Dev,
    sandbox::Sandbox,
    tls::{LISTENERS, Listener},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d09_a_head_of_100_kilobytes_is_refused_on_every_listener_and_one_of_12_is_not() {
    let sandbox = Sandbox::new().await;
    let dev = Dev::start(&sandbox).await;
    tokio::task::block_in_place(|| {
        for listener in LISTENERS {
            let mut connection = listener.connect(&dev).unwrap();
            let filling = "y".repeat(12_000);
            let head = format!("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX: {filling}\r\n\r\n");
            connection.write(head.as_bytes()).unwrap();
            let answer = connection.read_to_end();
            assert!(answer.starts_with("HTTP/1.1 "), "{listener:?}: {answer}");
            assert!(!answer.starts_with("HTTP/1.1 431 "), "{listener:?}: {answer}");
            for length in [40_000, 100_000, 1_000_000] {
                let mut connection = listener.connect(&dev).unwrap();
                // The listener may close before all of it is sent.
                let _ = connection.write(format!("GET / HTTP/1.1\r\nX: {}", "y".repeat(length)).as_bytes());
                let _ = connection.write(b"\r\n\r\n");
                let answer = connection.read_to_end();
                assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{listener:?} {length}: {answer}");
            }
        }
    });
    dev.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_closes_its_side_after_the_request_gets_its_answer() {
    let sandbox = Sandbox::new().await;
    let dev = Dev::start(&sandbox).await;
    tokio::task::block_in_place(|| {
        for (listener, path, expected) in [
            (Listener::Control, "/healthz", "200"),
            (Listener::Vault, "/secrets/hello/?api-version=7.6", "401"),
            (Listener::Metrics, "/metrics", "200"),
            (Listener::Agent, "/metadata/instance?api-version=2020-06-01", "200"),
            (Listener::Imds, "/metadata/versions", "200"),
        ] {
            let mut connection = listener.connect(&dev).unwrap();
            let head = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nMetadata: true\r\n\r\n", listener.address(&dev));
            connection.write(head.as_bytes()).unwrap();
            connection.finish().unwrap();
            let answer = connection.read_to_end();
            assert!(answer.starts_with(&format!("HTTP/1.1 {expected} ")), "{listener:?}: {answer}");
        }
    });
    dev.stop().await;
}
