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
            assert_eq!(ips, HashSet::from(LOCALHOST));
            assert_eq!(bound[0].port(), bound[1].port());
        }
        assert_ne!(addresses(&listeners.local)[0].port(), addresses(&listeners.imds)[0].port());
    }
    let one = Listeners::bind("127.0.0.9:0".parse().unwrap(), &[]).await.unwrap();
    assert_eq!(one.local.len(), 1, "127.0.0.9 is nobody's 'localhost'");
}

#[tokio::test]
async fn a_counterpart_that_was_named_too_is_bound_once() {
    // Somebody else may take a port that was free a moment ago.
    for attempt in 1.. {
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let both = LOCALHOST.map(|ip| SocketAddr::new(ip, port));
        match Listeners::bind("127.0.0.1:0".parse().unwrap(), &both).await {
            Ok(listeners) => return assert_eq!(addresses(&listeners.imds), both),
            Err(error) => assert!(attempt < 32 && error.source.kind() == io::ErrorKind::AddrInUse, "{error}"),
        }
    }
}

#[tokio::test]
async fn a_listener_that_is_taken_is_bound_to_the_loopback_interface() {
    for bind in ["127.0.0.1:0", "[::1]:0", "127.9.9.9:0"] {
        let listener = TcpListener::bind(bind).await.unwrap();
        assert_eq!(getsockopt(&listener, BindToDevice).unwrap(), "");
        check(&listener).unwrap();
        assert_eq!(getsockopt(&listener, BindToDevice).unwrap(), "lo", "{bind}");
        check(&listener).expect("as often as one likes");
        let client = tokio::net::TcpStream::connect(listener.local_addr().unwrap());
        let (client, accepted) = tokio::join!(client, listener.accept());
        assert_eq!(client.unwrap().local_addr().unwrap(), accepted.unwrap().1, "{bind}");
    }
}

#[test]
fn where_it_cannot_be_bound_to_the_interface_another_rule_must_close_it_or_it_is_refused() {
    let refused = || Err(io::Error::from_raw_os_error(1));
    let temp = tempfile::tempdir().unwrap();
    let setting = |interface: &str, value: &str| {
        std::fs::create_dir_all(temp.path().join(interface)).unwrap();
        std::fs::write(temp.path().join(interface).join("route_localnet"), value).unwrap();
    };
    let told = |address: &str, settings: &Path| {
        closed(refused(), address.parse().unwrap(), "lo".into(), settings).map_err(|error| error.to_string())
    };
    setting("all", "0\n");
    setting("eth0", "0\n");
    assert_eq!(told("127.0.0.1:1", temp.path()), Ok(()));
    assert_eq!(told("[::1]:1", Path::new("/nonexistent")), Ok(()));
    let text = told("169.254.169.254:80", temp.path()).unwrap_err();
    assert!(
        text.contains("169.254.169.254:80") && text.contains("CAP_NET_RAW") && !text.contains("localnet"),
        "{text}"
    );
    assert!(told("127.0.0.1:1", Path::new("/nonexistent")).is_err(), "what cannot be read proves nothing");
    setting("eth0", "1\n");
    let text = told("127.0.0.1:1", temp.path()).unwrap_err();
    assert!(text.contains("route_localnet=0"), "{text}");
    assert!(closed(Ok(()), "127.0.0.1:1".parse().unwrap(), "lo".into(), temp.path()).is_ok());
}
