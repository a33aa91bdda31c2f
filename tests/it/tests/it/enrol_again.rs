//! A machine that was enrolled and does not know it: its agent was killed after the server had committed, and before it
//! had kept the answer. What is left of that is a node key, a certificate, and no `identity.json`.

use std::path::Path;

use crate::{
    dev::Dev,
    enrol::with_join_tokens,
    sandbox::{Ended, Sandbox, User, ended},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dev_starts_again_and_its_machine_is_the_same() {
    let sandbox = Sandbox::new().await;
    let first = Dev::start(&sandbox).await;
    let machine = first.facts.pointer("/machine").cloned();
    let state = first.data.join("agent");
    first.stop().await;
    std::fs::remove_file(state.join("identity.json")).unwrap();

    let second = Dev::start(&sandbox).await;
    assert_eq!(second.facts.pointer("/machine").cloned(), machine);
    let got = ended(second.denizen(&["secret", "get", "hello"]).await).await.ok();
    assert_eq!(got, second.fact("/secret/value"));
    second.stop().await;

    // Killed before that: the certificate is lost as well, and the agent makes another one of its key.
    let certificate = std::fs::read(state.join("node.crt")).unwrap();
    for lost in ["identity.json", "node.crt"] {
        std::fs::remove_file(state.join(lost)).unwrap();
    }
    let third = Dev::start(&sandbox).await;
    assert_eq!(third.facts.pointer("/machine").cloned(), machine);
    assert_ne!(std::fs::read(state.join("node.crt")).unwrap(), certificate);
    let got = ended(third.denizen(&["secret", "get", "hello"]).await).await.ok();
    assert_eq!(got, third.fact("/secret/value"), "the new certificate gets tokens");
    third.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connect_finishes_with_the_same_join_token_or_a_new_one() {
    let sandbox = Sandbox::new().await;
    let (dev, [first, second, third], _) = with_join_tokens(&sandbox, [(None, 600, 0); 3]).await;
    let connect = async |token: &denizen_keys::SecretString, state: &Path| -> Ended {
        let file = sandbox.path("join-token");
        std::fs::write(&file, token.expose()).unwrap();
        let mut command = sandbox.program(User::Ours, "denizen-agent");
        command.args(["connect", "--name", "web-1", "--server", dev.fact("/authority"), "--ca-file"]);
        command.arg(dev.fact("/ca_file")).arg("--join-token-file").arg(&file).arg("--state-dir").arg(state);
        ended(command).await
    };
    let state = sandbox.path("agent-state");
    let joined = connect(&first, &state).await.ok();
    for (token, lost) in [(&first, &["identity.json"][..]), (&second, &["identity.json", "node.crt"])] {
        for file in lost {
            std::fs::remove_file(state.join(file)).unwrap();
        }
        assert_eq!(connect(token, &state).await.ok(), joined);
    }
    // Somebody else who takes the name has another key.
    let other = connect(&third, &sandbox.path("another-state")).await;
    assert_ne!(other.code, Some(0), "{other:?}");
    assert!(other.err.contains("connected already"), "{}", other.err);
}
