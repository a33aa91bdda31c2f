use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use http_body_util::Full;
use hyper::{body::Bytes, service::service_fn};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::{Notify, oneshot},
    task::JoinHandle,
};

use super::*;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// A service that answers `ok`; a request for `/slow` waits until `release` is notified.
struct Running {
    addresses: Vec<SocketAddr>,
    stop: oneshot::Sender<()>,
    release: Arc<Notify>,
    asked: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

fn start(listeners: Vec<TcpListener>, limits: Limits) -> Running {
    start_with(listeners, limits, |_| true)
}

fn start_with(
    listeners: Vec<TcpListener>,
    limits: Limits,
    admit: impl Fn(&Accepted) -> bool + Send + 'static,
) -> Running {
    let addresses = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
    let (stop, stopped) = oneshot::channel();
    let (release, asked) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let (wait, count) = (release.clone(), asked.clone());
    let task = tokio::spawn(serve(listeners, limits, async { drop(stopped.await) }, move |accepted: Accepted| {
        let (wait, count) = (wait.clone(), count.clone());
        admit(&accepted).then_some(async move {
            let service = service_fn(|request: Request<Incoming>| {
                let (wait, count) = (wait.clone(), count.clone());
                async move {
                    count.fetch_add(1, Ordering::SeqCst);
                    if request.uri().path() == "/slow" {
                        wait.notified().await;
                    }
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"ok"))))
                }
            });
            let _ = accepted.http.serve(accepted.stream, service).await;
        })
    }));
    Running { addresses, stop, release, asked, task }
}

async fn ask(stream: &mut TcpStream, request: &[u8]) -> String {
    stream.write_all(request).await.unwrap();
    read(stream).await
}

async fn read(stream: &mut TcpStream) -> String {
    let mut buffer = [0; 1024];
    let length = stream.read(&mut buffer).await.unwrap_or(0);
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn every_listener_answers_and_a_connection_is_used_again() {
    let running = start(vec![listener().await, listener().await, listener().await], Limits::default());
    for address in &running.addresses {
        let mut stream = TcpStream::connect(address).await.unwrap();
        for _ in 0..2 {
            let answer = ask(&mut stream, REQUEST).await;
            assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok"), "{answer}");
        }
    }
    running.stop.send(()).unwrap();
    running.task.await.unwrap();
}

#[tokio::test]
async fn over_the_cap_a_connection_waits_until_another_ends() {
    let running = start(vec![listener().await], Limits { max_connections: 2, ..Limits::DEFAULT });
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(running.addresses[0]).await.unwrap();
        ask(&mut stream, REQUEST).await;
        open.push(stream);
    }
    let mut third = TcpStream::connect(running.addresses[0]).await.unwrap();
    third.write_all(REQUEST).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(100), read(&mut third)).await.is_err(), "answered over the cap");
    assert_eq!(running.asked.load(Ordering::SeqCst), 2);
    open.pop();
    assert!(read(&mut third).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_service_at_its_cap_still_stops() {
    let limits = Limits { max_connections: 1, grace: Duration::from_millis(50), ..Limits::DEFAULT };
    let running = start(vec![listener().await], limits);
    let mut stream = TcpStream::connect(running.addresses[0]).await.unwrap();
    stream.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    until(|| running.asked.load(Ordering::SeqCst) == 1).await;
    running.stop.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(5), running.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn who_is_not_admitted_is_closed_unread() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    let running = start_with(vec![listener().await], Limits::default(), move |accepted| {
        let mut log = log.lock().unwrap();
        log.push((accepted.local, accepted.peer));
        log.len() > 1
    });
    let mut first = TcpStream::connect(running.addresses[0]).await.unwrap();
    let _ = first.write_all(REQUEST).await;
    assert_eq!(read(&mut first).await, "");
    let mut second = TcpStream::connect(running.addresses[0]).await.unwrap();
    assert!(ask(&mut second, REQUEST).await.starts_with("HTTP/1.1 200"));
    assert_eq!(running.asked.load(Ordering::SeqCst), 1);
    let seen = seen.lock().unwrap();
    assert_eq!(seen[1], (running.addresses[0], second.local_addr().unwrap()));
}

#[tokio::test]
async fn a_head_that_does_not_come_ends_the_connection() {
    let running = start(vec![listener().await], Limits { head_timeout: Duration::from_millis(50), ..Limits::DEFAULT });
    let mut silent = TcpStream::connect(running.addresses[0]).await.unwrap();
    let mut slow = TcpStream::connect(running.addresses[0]).await.unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nHost:").await.unwrap();
    let began = Instant::now();
    read(&mut silent).await;
    read(&mut slow).await;
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(running.asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn heads_are_limited_in_size_and_number() {
    let limits = Limits { max_head_bytes: 8192, max_headers: Some(4), ..Limits::DEFAULT };
    let running = start(vec![listener().await], limits);
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(5));
    let large = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(9000));
    for request in [many, large] {
        let mut stream = TcpStream::connect(running.addresses[0]).await.unwrap();
        assert!(ask(&mut stream, request.as_bytes()).await.starts_with("HTTP/1.1 431"));
    }
    assert_eq!(running.asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn without_keep_alive_a_connection_carries_one_request() {
    let running = start(vec![listener().await], Limits { keep_alive: false, ..Limits::DEFAULT });
    let mut stream = TcpStream::connect(running.addresses[0]).await.unwrap();
    let answer = ask(&mut stream, REQUEST).await;
    assert!(answer.contains("connection: close"), "{answer}");
    assert_eq!(read(&mut stream).await, "");
}

#[tokio::test]
async fn a_stop_closes_the_listener_and_idle_connections_and_lets_answers_finish() {
    let running = start(vec![listener().await], Limits::default());
    let address = running.addresses[0];
    let (mut idle, mut unused) =
        (TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap());
    ask(&mut idle, REQUEST).await;
    let mut busy = TcpStream::connect(address).await.unwrap();
    busy.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    until(|| running.asked.load(Ordering::SeqCst) == 2).await;
    running.stop.send(()).unwrap();
    assert_eq!((read(&mut idle).await, read(&mut unused).await), (String::new(), String::new()));
    assert!(TcpStream::connect(address).await.is_err(), "the listener is closed");
    assert!(!running.task.is_finished());
    running.release.notify_one();
    assert!(read(&mut busy).await.starts_with("HTTP/1.1 200"));
    running.task.await.unwrap();
}

#[tokio::test]
async fn an_answer_that_outlasts_the_grace_is_broken_off() {
    let running = start(vec![listener().await], Limits { grace: Duration::from_millis(50), ..Limits::DEFAULT });
    let mut busy = TcpStream::connect(running.addresses[0]).await.unwrap();
    busy.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    until(|| running.asked.load(Ordering::SeqCst) == 1).await;
    running.stop.send(()).unwrap();
    running.task.await.unwrap();
    assert_eq!(read(&mut busy).await, "");
}

#[test]
fn an_aborted_connection_is_no_reason_to_wait() {
    assert!(is_of_one_connection(&io::Error::from(io::ErrorKind::ConnectionAborted)));
    // EMFILE: out of descriptors.
    assert!(!is_of_one_connection(&io::Error::from_raw_os_error(24)));
}
