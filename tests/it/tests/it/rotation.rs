//! `denizen signing-key rotate`, with the server running and at rest.

use crate::{
    dev::Dev,
    jwt,
    restart::kids,
    sandbox::{Sandbox, User, ended},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_rotated_by_command_signs_and_the_old_ones_tokens_are_still_good() {
    let sandbox = Sandbox::new().await;
    let dev = Dev::start(&sandbox).await;
    let data = dev.fact("/ca_file").strip_suffix("/ca.pem").unwrap().to_owned();
    let rotate = || {
        let mut command = sandbox.denizen(User::Ours);
        command.args(["signing-key", "rotate", "--data", &data]);
        command
    };
    let read = async |token: &str| dev.vault("GET", "/secrets/hello/?api-version=7.6", Some(token), None).await.status;

    let (before, old) = (kids(&dev).await, dev.admin_token("https://vault.azure.net").await);
    assert_eq!(before.len(), 4, "of each algorithm one that signs, and the next");
    let said = ended(rotate()).await.ok();
    let after = kids(&dev).await;
    assert_eq!(after.len(), 6, "{said}");
    assert!(before.iter().all(|kid| after.contains(kid) && said.contains(kid.as_str())), "{said}");
    let new = dev.admin_token("https://vault.azure.net").await;
    assert_ne!(jwt::header(&old)["kid"], jwt::header(&new)["kid"]);
    assert!(before.iter().any(|kid| jwt::header(&new)["kid"] == kid.as_str()), "what signs now was published before");
    assert_eq!((read(&old).await, read(&new).await), (200, 200));

    dev.stop().await;
    ended(rotate()).await.ok();
    let again = Dev::start(&sandbox).await;
    assert_eq!(kids(&again).await.len(), 8);
    let newest = again.admin_token("https://vault.azure.net").await;
    assert_ne!(jwt::header(&newest)["kid"], jwt::header(&new)["kid"]);
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_is_not_there_is_named_and_not_made() {
    let sandbox = Sandbox::new().await;
    let absent = sandbox.path("absent");
    let mut command = sandbox.denizen(User::Ours);
    command.args(["signing-key", "rotate", "--data"]).arg(&absent);
    let ended = ended(command).await;
    assert_eq!(ended.code, Some(65), "{ended:?}");
    assert!(ended.err.contains(absent.to_str().unwrap()), "{ended:?}");
    assert!(!absent.exists());
}
