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

/// More than the buffers of both ends of a loopback connection take.
const LARGE: usize = 64 << 20;
const MAX_BODY: usize = 10_000;
const BODY_TIME: Duration = Duration::from_millis(200);

/// A service that answers `ok`; a request for `/slow` waits until `release` is notified, one for `/large` has an answer
/// of [`LARGE`] bytes, one for `/body` is told how much it sent.
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

fn room(connections: usize) -> Arc<Budget> {
    Budget::new(Room { connections, reserved: 0, memory: 1 << 20 })
}

fn start(listeners: Vec<TcpListener>, limits: Limits) -> Running {
    start_with(listeners, limits, room(1024), |_| true)
}

fn start_with(
    listeners: Vec<TcpListener>,
    limits: Limits,
    budget: Arc<Budget>,
    admit: impl Fn(&Arrival<'_>) -> bool + Send + 'static,
) -> Running {
    let addresses = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
    let (stop, stopped) = oneshot::channel();
    let (release, asked) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let (wait, count) = (release.clone(), asked.clone());
    let task =
        tokio::spawn(serve(listeners, limits, budget, async { drop(stopped.await) }, move |arrival: Arrival<'_>| {
            let (wait, count) = (wait.clone(), count.clone());
            let connection = move |accepted: Accepted| async move {
                let share = accepted.share.clone();
                let service = service_fn(|request: Request<Incoming>| {
                    let (wait, count, share) = (wait.clone(), count.clone(), share.clone());
                    async move {
                        count.fetch_add(1, Ordering::SeqCst);
                        let (head, mut body) = request.into_parts();
                        let text = match head.uri.path() {
                            "/slow" => {
                                wait.notified().await;
                                "ok".to_owned()
                            }
                            "/large" => "x".repeat(LARGE),
                            "/body" => match read_body(&mut body, MAX_BODY, BODY_TIME, &share).await {
                                Ok((body, _memory)) => format!("{} bytes", body.len()),
                                Err(error) => format!("{error:?}"),
                            },
                            _ => "ok".to_owned(),
                        };
                        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(text))))
                    }
                });
                let _ = accepted.http.serve(accepted.stream, service).await;
            };
            admit(&arrival).then_some((Holder::at(arrival.peer.ip()), connection))
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
async fn over_the_budget_the_connection_that_did_nothing_for_longest_ends() {
    let running = start_with(vec![listener().await], Limits::DEFAULT, room(2), |_| true);
    let mut held = TcpStream::connect(running.addresses[0]).await.unwrap();
    let mut used = TcpStream::connect(running.addresses[0]).await.unwrap();
    ask(&mut used, REQUEST).await;
    let mut third = TcpStream::connect(running.addresses[0]).await.unwrap();
    assert!(ask(&mut third, REQUEST).await.starts_with("HTTP/1.1 200"));
    assert_eq!(read(&mut held).await, "");
    assert!(ask(&mut used, REQUEST).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_full_service_still_stops() {
    let limits = Limits { grace: Duration::from_millis(50), ..Limits::DEFAULT };
    let running = start_with(vec![listener().await], limits, room(1), |_| true);
    let mut stream = TcpStream::connect(running.addresses[0]).await.unwrap();
    stream.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    until(|| running.asked.load(Ordering::SeqCst) == 1).await;
    running.stop.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(5), running.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_client_that_never_reads_its_answer_is_let_go() {
    let limits = Limits { write_timeout: Duration::from_millis(100), ..Limits::DEFAULT };
    let budget = room(8);
    let running = start_with(vec![listener().await], limits, budget.clone(), |_| true);
    let mut silent = TcpStream::connect(running.addresses[0]).await.unwrap();
    silent.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    until(|| running.asked.load(Ordering::SeqCst) == 1).await;
    // The buffers grow while it waits, and what they take counts as read.
    until(|| budget.connections() == 0).await;
    // One that reads gets all of it, however long that takes in all.
    let mut reading = TcpStream::connect(running.addresses[0]).await.unwrap();
    reading.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut all = Vec::new();
    reading.read_to_end(&mut all).await.unwrap();
    assert!(all.len() > LARGE, "{}", all.len());
}

#[tokio::test]
async fn a_client_that_closed_its_side_gets_its_answer() {
    let running = start(vec![listener().await], Limits::default());
    let mut stream = TcpStream::connect(running.addresses[0]).await.unwrap();
    stream.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    stream.shutdown().await.unwrap();
    until(|| running.asked.load(Ordering::SeqCst) == 1).await;
    running.release.notify_one();
    let answer = read(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok"), "{answer}");
}

/// The answer to a POST of `/body` with this head and body.
async fn post(running: &Running, head: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(running.addresses[0]).await.unwrap();
    stream.write_all(format!("POST /body HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n").as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let answer = read(&mut stream).await;
    answer.split_once("\r\n\r\n").map_or(answer.clone(), |(_, body)| body.to_owned())
}

#[tokio::test]
async fn a_body_is_read_whole_within_its_limits() {
    let running = start(vec![listener().await], Limits::default());
    assert_eq!(post(&running, "Content-Length: 10", &[b'x'; 10]).await, "10 bytes");
    assert_eq!(post(&running, "Content-Length: 10000", &[b'x'; 10_000]).await, "10000 bytes");
    assert_eq!(post(&running, "Content-Length: 10001", b"").await, "TooLarge", "before it has come");
    let chunks = "1\r\nx\r\n".repeat(10_000) + "0\r\n\r\n";
    assert_eq!(post(&running, "Transfer-Encoding: chunked", chunks.as_bytes()).await, "10000 bytes");
    let more = "1\r\nx\r\n".repeat(10_001);
    assert_eq!(post(&running, "Transfer-Encoding: chunked", more.as_bytes()).await, "TooLarge");
    assert_eq!(post(&running, "Content-Length: 10", b"").await, "Late");
    assert_eq!(post(&running, "Transfer-Encoding: chunked", b"1\r\nx").await, "Late");
}

#[tokio::test]
async fn bodies_share_the_memory_there_is() {
    let budget = Budget::new(Room { connections: 8, reserved: 0, memory: 3 * MAX_BODY });
    let running = start_with(vec![listener().await], Limits::DEFAULT, budget.clone(), |_| true);
    let mut held = Vec::new();
    for _ in 0..5 {
        let mut stream = TcpStream::connect(running.addresses[0]).await.unwrap();
        let head = b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 10000\r\n\r\n";
        stream.write_all(head).await.unwrap();
        stream.write_all(&[b'x'; 9000]).await.unwrap();
        held.push(stream);
    }
    // A small one finds room, because the largest gives way.
    assert_eq!(post(&running, "Content-Length: 10", &[b'x'; 10]).await, "10 bytes");
    assert!(budget.evicted() >= 2, "{}", budget.evicted());
}

#[tokio::test]
async fn who_is_not_admitted_is_closed_unread() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    let running = start_with(vec![listener().await], Limits::default(), room(8), move |arrival| {
        let mut log = log.lock().unwrap();
        log.push((arrival.local, arrival.peer));
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
    let large = |length: usize| format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(length));
    for request in [many, large(9000), large(20_000), large(100_000)] {
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
