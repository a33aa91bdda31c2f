use std::collections::HashSet;

use super::*;

fn addresses(listeners: &[TcpListener]) -> Vec<SocketAddr> {
    listeners.iter().map(|listener| listener.local_addr().unwrap()).collect()
}

#[tokio::test]
async fn only_loopback_listeners_are_taken() {
    for (bind, taken) in
        [("127.0.0.1:0", true), ("[::1]:0", true), ("127.9.9.9:0", true), ("0.0.0.0:0", false), ("[::]:0", false)]
    {
        let listener = TcpListener::bind(bind).await.unwrap();
        assert_eq!(check(&listener).is_ok(), taken, "{bind}");
    }
}

#[tokio::test]
async fn localhost_is_both_families_with_one_port() {
    for asked in ["127.0.0.1:0", "[::1]:0"] {
        let asked: SocketAddr = asked.parse().unwrap();
        let listeners = Listeners::bind(asked, &[asked]).await.unwrap();
        for bound in [addresses(&listeners.local), addresses(&listeners.imds)] {
            assert_eq!(bound[0].ip(), asked.ip(), "what was asked for comes first");
            let ips: HashSet<_> = bound.iter().map(SocketAddr::ip).collect();
            assert_eq!(ips, HashSet::from([LOCALHOST_V4, LOCALHOST_V6]));
            assert_eq!(bound[0].port(), bound[1].port());
        }
        assert_ne!(addresses(&listeners.local)[0].port(), addresses(&listeners.imds)[0].port());
    }
    let one = Listeners::bind("127.0.0.9:0".parse().unwrap(), &[]).await.unwrap();
    assert_eq!(one.local.len(), 1, "127.0.0.9 is nobody's 'localhost'");
}

#[tokio::test]
async fn a_counterpart_that_was_named_too_is_bound_once() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let both: Vec<_> = ["127.0.0.1", "::1"].map(|ip| SocketAddr::new(ip.parse().unwrap(), port)).into();
    let listeners = Listeners::bind("127.0.0.1:0".parse().unwrap(), &both).await.unwrap();
    assert_eq!(addresses(&listeners.imds), both);
}

#[tokio::test]
async fn a_port_that_somebody_has_on_the_other_family_is_refused() {
    let squatter = TcpListener::bind("[::1]:0").await.unwrap();
    let taken = squatter.local_addr().unwrap();
    let error = Listeners::bind(SocketAddr::new(LOCALHOST_V4, taken.port()), &[]).await.unwrap_err();
    assert_eq!((error.address, error.source.kind()), (taken, io::ErrorKind::AddrInUse));
    assert!(error.to_string().contains(&taken.to_string()), "{error}");
}

#[test]
fn a_missing_family_is_told_from_other_errors() {
    for (errno, missing) in
        [(Errno::ADDRNOTAVAIL, true), (Errno::AFNOSUPPORT, true), (Errno::ADDRINUSE, false), (Errno::ACCESS, false)]
    {
        assert_eq!(is_missing_family(&io::Error::from_raw_os_error(errno.raw_os_error())), missing, "{errno}");
    }
}
