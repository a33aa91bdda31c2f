//! The IMDS endpoint: a token without a key file, so only for whom the kernel vouches. D-17, D-19.

use serde_json::Value;

use crate::{
    dev::{Dev, Launch},
    sandbox::{Sandbox, User, ended},
    wire::encoded,
};

const METADATA: (&str, &str) = ("Metadata", "true");
const TOKEN: &str = "/metadata/identity/oauth2/token";

fn usual() -> String {
    format!("{TOKEN}?api-version=2018-02-01&resource={}", encoded("https://vault.azure.net"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d17_who_asks_is_told_by_the_kernel_and_by_nothing_they_say() {
    let sandbox = Sandbox::new().await;
    let dev = Dev::start(&sandbox).await;
    let asked = format!("{}{}", dev.fact("/agent/imds_host"), usual());
    // The agent's own user: who runs this test.
    let answer = dev.wire.get(&asked, &[METADATA]).await.expect(200);
    assert_eq!(answer.text("/client_id"), dev.fact("/machine/client_id"));
    assert!(answer.json()["expires_on"].is_string());
    dev.wire.get(&asked.replace("2018-02-01", "2019-08-01"), &[METADATA]).await.expect(200);

    if !sandbox.has_mounts() {
        return;
    }
    let curl = async |user: User, more: &[&str]| {
        let mut command = sandbox.command(user, "curl");
        command.args(["-s", "-w", "\n%{http_code}", "-H", "Metadata: true"]).args(more).arg(&asked);
        let out = ended(command).await.ok();
        let (body, status) = out.rsplit_once('\n').unwrap();
        (serde_json::from_str::<Value>(body).unwrap(), status.to_owned())
    };
    let (body, status) = curl(User::Ours, &[]).await;
    assert_eq!(status, "200", "{body}");
    // The address it comes from is nobody's name.
    let (body, status) = curl(User::Ours, &["--interface", "127.0.0.77"]).await;
    assert_eq!(status, "200", "{body}");
    for more in [
        &[][..],
        &["--interface", "127.0.0.77"],
        &["-H", "X-Identity-Header: root", "-H", "X-Uid: 0", "-H", "Authorization: Basic root"],
    ] {
        let (body, status) = curl(User::Nobody, more).await;
        assert_eq!(status, "403", "{more:?}: {body}");
        assert_eq!(body.get("access_token"), None);
        let why = body["error_description"].as_str().unwrap();
        assert!(why.contains("group") && why.contains("root"), "it does not say which rule: {why}");
        // Clients read these words as 'there is no endpoint here', and 'not assigned'.
        assert!(!why.contains("unreachable") && !why.contains("Identity not found"), "{why}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d17_a_removal_from_the_group_takes_effect_at_the_next_request() {
    // The user database is a copy, which only this sandbox sees.
    let script = "cp -a /etc /opt/etc && mount --bind /opt/etc /etc && echo denizen-it:x:64999:daemon >> /etc/group";
    let Some(sandbox) = Sandbox::prepared(script).await else { return };
    let dev = Launch::new(&sandbox, User::Ours).flag("--group", "denizen-it").start().await;
    let asked = format!("{}{}", dev.fact("/agent/imds_host"), usual());
    let status = async || {
        let mut command = sandbox.command(User::Daemon, "curl");
        command.args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", "Metadata: true", &asked]);
        ended(command).await.ok()
    };
    let group = sandbox.inside(std::path::Path::new("/etc/group"));
    let with = std::fs::read_to_string(&group).unwrap();
    let without = with.replace("denizen-it:x:64999:daemon", "denizen-it:x:64999:");
    // As usermod does: a new file takes the name.
    let change = |text: &str| {
        std::fs::write(group.with_extension("new"), text).unwrap();
        std::fs::rename(group.with_extension("new"), &group).unwrap();
    };
    for _ in 0..3 {
        assert_eq!(status().await, "200");
        change(&without);
        assert_eq!(status().await, "403");
        change(&with);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d16_the_gate_is_the_same_as_everywhere() {
    let sandbox = Sandbox::new().await;
    let dev = Dev::start(&sandbox).await;
    let host = dev.fact("/agent/imds_host");
    let asked = format!("{host}{}", usual());
    let client = dev.fact("/machine/client_id");
    for (what, url, headers) in [
        ("no Metadata", asked.clone(), vec![]),
        ("X-Forwarded-For", asked.clone(), vec![METADATA, ("X-Forwarded-For", "127.0.0.1")]),
        ("a foreign Host", asked.clone(), vec![METADATA, ("Host", "metadata.evil.example")]),
        ("a page", asked.clone(), vec![METADATA, ("Origin", "null")]),
        ("a repeated selector", format!("{asked}&client_id={client}&client_id={client}"), vec![METADATA]),
        ("two selectors", format!("{asked}&client_id={client}&object_id={client}"), vec![METADATA]),
        ("an unknown identity", format!("{asked}&client_id={}", uuid::Uuid::from_u128(3)), vec![METADATA]),
        ("no resource", format!("{host}{TOKEN}?api-version=2018-02-01"), vec![METADATA]),
        ("no version", asked.replace("api-version=2018-02-01&", ""), vec![METADATA]),
        ("a version before identities", asked.replace("2018-02-01", "2017-04-02"), vec![METADATA]),
    ] {
        let answer = dev.wire.get(&url, &headers).await;
        assert_eq!(answer.status, 400, "{what}: {answer:?}");
        assert_eq!(answer.json().get("access_token"), None, "{what}");
        assert!(answer.json()["error"].is_string(), "{what}: {answer:?}");
    }
    // Of a second generation of the service there must be no trace: one client would go on to ask it.
    let second = format!("{host}/metadata/identity/getplatformmetadata?cred-api-version=2.0");
    dev.wire.get(&second, &[]).await.expect(404);
    // The App Service path is on the other listener only.
    dev.wire.get(&format!("{host}/msi/token"), &[METADATA]).await.expect(404);
    // And the Arc listener gives nothing for being asked in IMDS's words.
    let local = dev.fact("/agent/app_service/identity_endpoint").trim_end_matches("/msi/token");
    let answer = dev.wire.get(&format!("{local}{}", usual()), &[METADATA]).await;
    assert_eq!(answer.status, 400, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_instance_document_says_which_machine_this_is() {
    let sandbox = Sandbox::new().await;
    let dev = Dev::start(&sandbox).await;
    let local = dev.fact("/agent/app_service/identity_endpoint").trim_end_matches("/msi/token").to_owned();
    for host in [local.as_str(), dev.fact("/agent/imds_host")] {
        let url = format!("{host}/metadata/instance?api-version=2020-06-01");
        let answer = dev.wire.get(&url, &[METADATA]).await.expect(200);
        assert_eq!(answer.text("/compute/resourceId"), dev.fact("/machine/resource_id"));
        assert_eq!(answer.text("/compute/subscriptionId"), dev.fact("/subscription_id"));
        assert_eq!(answer.text("/compute/resourceGroupName"), dev.fact("/resource_group"));
        // Scripts cut it apart with sed.
        assert!(answer.body.contains(r#""resourceId":""#), "{}", answer.body);
        let leaf = url.replace("instance?", "instance/compute/resourceId?format=text&");
        assert_eq!(dev.wire.get(&leaf, &[METADATA]).await.expect(200).body, dev.fact("/machine/resource_id"));
        dev.wire.get(&url, &[]).await.expect(400);
        dev.wire.get(&url.replace("?api-version=2020-06-01", ""), &[METADATA]).await.expect(400);
        dev.wire.get(&url.replace("instance?", "instance/compute/nosuch?"), &[METADATA]).await.expect(404);
    }
}
