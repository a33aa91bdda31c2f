//! A user with many user ids: the uids that `/etc/subuid` gives them are theirs alone when anything is shared out.

use std::path::Path;

use crate::{
    dev::Dev,
    sandbox::{Sandbox, User, ended},
    wire::encoded,
};

const KEYS: &str = "/var/opt/azcmagent/tokens";
/// As many as one owner may have open: `denizen_agent::challenge::MAX_PER_OWNER`.
const MAX_PER_OWNER: usize = 256;
/// The first subordinate uid, and how many of them attack.
const FIRST: u32 = 100_000;
const UIDS: u32 = 65;

/// The attack of issue 8: 65 subordinate uids of one user ask for 4,160 challenges and answer none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d09_subordinate_uids_crowd_nobody_out_of_the_arc_endpoint() {
    // The user database is a copy, which only this sandbox sees. `bin` is a user of every distribution.
    let script = "cp -a /etc /opt/etc && mount --bind /opt/etc /etc && echo bin:100000:65536 > /etc/subuid";
    let Some(sandbox) = Sandbox::prepared(script).await else { return };
    let dev = Dev::start(&sandbox).await;
    let arc = dev.fact("/agent/arc/identity_endpoint");
    let ask = |resource: &str| format!("{arc}?api-version=2020-06-01&resource={}", encoded(resource));
    let as_uid = |uid: u32, arguments: &[&str]| {
        let mut command = sandbox.command(User::Ours, "setpriv");
        command.args([&format!("--reuid={uid}"), &format!("--regid={uid}"), "--clear-groups", "--", "curl", "-s"]);
        command.args(["-o", "/dev/null", "-w", "%{http_code} ", "-H", "Metadata: true"]).args(arguments);
        command
    };
    let files = || std::fs::read_dir(sandbox.inside(Path::new(KEYS))).unwrap().count();
    let challenge = dev.wire.get(&ask("https://vault.azure.net"), &[("Metadata", "true")]).await.expect(401);
    let key = challenge.header("www-authenticate").unwrap().strip_prefix("Basic realm=").unwrap().to_owned();

    let many = format!("{}[1-64]", ask("https://vault.azure.net/"));
    for uid in FIRST..FIRST + UIDS {
        let answers = ended(as_uid(uid, &[&many])).await.ok();
        assert_eq!(answers.matches("401").count(), 64, "uid {uid}: {answers}");
    }
    assert_eq!(files(), MAX_PER_OWNER + 1, "theirs, and the one of before");
    // Another user gets a challenge, and this one's key is still good.
    assert_eq!(ended(as_uid(65_533, &[&ask("r")])).await.ok(), "401 ");
    let secret = std::fs::read_to_string(sandbox.inside(Path::new(&key))).unwrap();
    let authorization = format!("Basic {secret}");
    let headers = [("Metadata", "true"), ("Authorization", authorization.as_str())];
    dev.wire.get(&ask("https://vault.azure.net"), &headers).await.expect(200);
    ended(dev.denizen(&["token", "get"]).await).await.ok();
    dev.stop().await;
}
