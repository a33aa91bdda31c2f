//! What a URL calls `localhost` answers on 127.0.0.1 and on [::1]: some clients try one of them only.

use std::net::{Ipv6Addr, TcpListener};

use denizen_skip::skip;

use crate::{
    dev::{Dev, Launch},
    sandbox::{Sandbox, User, ended},
};

/// The status that curl gets with these words, or 0 when nobody answers.
async fn status(dev: &Dev<'_>, sandbox: &Sandbox, words: &[&str]) -> String {
    let mut command = sandbox.command(User::Ours, "curl");
    command.arg("--cacert").arg(dev.data.join("ca.pem"));
    command.args(["--silent", "--max-time", "20", "--output", "/dev/null", "--write-out", "%{http_code}"]).args(words);
    ended(command).await.out
}

async fn answers_in_both_families(dev: &Dev<'_>, sandbox: &Sandbox) {
    let discovery = format!("/{}/v2.0/.well-known/openid-configuration", dev.fact("/tenant_id"));
    let app_service = dev.fact("/agent/app_service/identity_endpoint");
    for (url, expected) in [
        (format!("{}{discovery}", dev.fact("/authority")), "200"),
        (format!("{}/secrets/hello/?api-version=7.6", dev.fact("/vault_url")), "401"),
        (dev.fact("/metrics_url").to_owned(), "200"),
        // Without the header it is refused, by the agent.
        (app_service.to_owned(), "401"),
    ] {
        assert!(url.contains("://localhost:"), "{url}");
        for (family, address) in [("-4", "127.0.0.1"), ("-6", "[::1]")] {
            assert_eq!(status(dev, sandbox, &[family, &url]).await, expected, "{family} {url}");
            // By the address too, which the certificate carries.
            let by_address = url.replace("localhost", address);
            assert_eq!(status(dev, sandbox, &[&by_address]).await, expected, "{by_address}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_service_answers_in_both_families() {
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        return skip("this machine has no [::1]");
    }
    let sandbox = Sandbox::new().await;
    for address in ["localhost:0", "127.0.0.1:0", "[::1]:0"] {
        let launch = Launch::new(&sandbox, User::Ours);
        let launch = ["--listen", "--vault-listen", "--agent-listen", "--metrics-listen"]
            .into_iter()
            .fold(launch, |launch, flag| launch.flag(flag, address));
        let dev = launch.start().await;
        answers_in_both_families(&dev, &sandbox).await;
        dev.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_somebody_else_has_in_one_family_is_not_shared() {
    let Ok(taken) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) else {
        return skip("this machine has no [::1]");
    };
    let sandbox = Sandbox::new().await;
    let address = format!("127.0.0.1:{}", taken.local_addr().unwrap().port());
    let refused = Launch::new(&sandbox, User::Ours).flag("--vault-listen", &address).refused().await;
    assert_eq!(refused.code, Some(69), "{refused:?}");
    assert!(refused.err.contains("--vault-listen") && refused.err.contains("[::1]"), "{}", refused.err);
}
