use super::*;

#[tokio::test]
async fn the_owner_of_the_agent_gets_a_token_without_a_key() {
    let sandbox = Sandbox::new().await;
    let reply = sandbox.get_imds(IMDS, &[METADATA]).await;
    assert_eq!((reply.status(), reply.text("access_token")), (200, "token-1".into()));
    assert_eq!(sandbox.key_files().len(), 0);
}

#[tokio::test]
async fn both_addresses_of_localhost_answer_on_every_listener() {
    let sandbox = Sandbox::new().await;
    for addresses in [sandbox.agent.local_addrs(), sandbox.agent.imds_addrs()] {
        assert_eq!(addresses.iter().filter(|address| address.is_ipv6()).count(), 1, "{addresses:?}");
        assert_eq!(addresses[0].port(), addresses[1].port());
    }
    for address in sandbox.agent.imds_addrs() {
        // The caller is known by the kernel on either family: nobody else gets a token here.
        let reply = Wire::to(*address).await.get(IMDS, &[METADATA]).await;
        assert_eq!((reply.status(), reply.text("access_token")), (200, "token-1".into()), "{address}");
    }
    for address in sandbox.agent.local_addrs() {
        assert_eq!(Wire::to(*address).await.get(ARC, &[METADATA]).await.status(), 401, "{address}");
        let secret = ("X-IDENTITY-HEADER", SECRET);
        assert_eq!(Wire::to(*address).await.get(APP_SERVICE, &[secret]).await.status(), 200, "{address}");
    }
}

#[tokio::test]
async fn the_arc_port_never_gives_a_token_to_an_imds_request() {
    let sandbox = Sandbox::new().await;
    let reply = sandbox.get(IMDS, &[METADATA]).await;
    let versions = "The api-version not specified. Supported are 2021-02-01 2020-06-01 2019-11-01 2019-08-15";
    assert_eq!(reply.error(), (400, "invalid_request".into(), versions.into()), "it is no version of Arc's");
    let reply = sandbox.get(&IMDS.replace("2018-02-01", "2020-06-01"), &[METADATA]).await;
    let challenge = "Missing Basic Authorization header";
    assert_eq!(reply.error(), (401, "unauthorized_client".into(), challenge.into()), "a version both have");
}

/// A request by another user, on a connection of its own.
async fn as_user(sandbox: &Sandbox, uid: u32, groups: &str) -> Reply {
    as_user_at(sandbox.imds(), uid, groups).await
}

async fn as_user_at(address: SocketAddr, uid: u32, groups: &str) -> Reply {
    let script = format!(
        "exec 3<>/dev/tcp/{}/{}; printf 'GET {IMDS} HTTP/1.1\\r\\nHost: localhost\\r\\nMetadata: true\\r\\nConnection: close\\r\\n\\r\\n' >&3; cat <&3",
        address.ip(),
        address.port()
    );
    let output = tokio::process::Command::new("setpriv")
        .args([&format!("--reuid={uid}"), &format!("--regid={uid}"), groups, "bash", "-c", &script])
        .output()
        .await
        .unwrap();
    let (head, body) = std::str::from_utf8(&output.stdout).unwrap().split_once("\r\n\r\n").unwrap();
    Reply { head: format!("{head}\r\n"), body: body.to_owned() }
}

#[tokio::test]
async fn d17_another_user_is_refused_by_what_the_kernel_says() {
    if !denizen_skip::is_root() {
        return; // becoming another user needs root
    }
    let sandbox = Sandbox::with(Script::tokens(3600), Some("adm")).await;
    // Running with a group is not being a member of it: the user database decides, not the process.
    for groups in ["--clear-groups", "--groups=adm"] {
        let reply = as_user(&sandbox, 1, groups).await;
        assert_eq!((reply.status(), reply.text("error")), (403, "access_denied".into()), "{groups}");
        let text = reply.text("error_description");
        assert!(text.contains("uid 1 ") && text.contains("'adm'"), "{text}");
        // Words that clients take for something else.
        assert!(!text.contains("unreachable") && !text.contains("Identity not found"), "{text}");
    }
    assert_eq!(sandbox.upstream.asked(), 0);

    let sandbox = Sandbox::with(Script::tokens(3600), None).await;
    let text = as_user(&sandbox, 1, "--clear-groups").await.text("error_description");
    assert!(text.contains("--group"), "{text}");
}

#[tokio::test]
async fn a_member_of_the_group_gets_a_token() {
    if !denizen_skip::is_root() {
        return; // becoming another user needs root
    }
    // Debian's user 1 has the group of its name.
    let sandbox = Sandbox::with(Script::tokens(3600), Some("daemon")).await;
    for address in sandbox.agent.imds_addrs() {
        let reply = as_user_at(*address, 1, "--clear-groups").await;
        assert_eq!((reply.status(), reply.text("access_token")), (200, "token-1".into()), "{address}");
        let because = "uid 2 is neither root nor a member of the group 'daemon': `usermod -aG daemon USER`, then log in \
                       again";
        let reply = as_user_at(*address, 2, "--clear-groups").await;
        assert_eq!(reply.error(), (403, "access_denied".into(), because.into()), "{address}");
    }
}

#[tokio::test]
async fn d17_the_uid_of_unmapped_users_is_nobodys() {
    if !denizen_skip::is_root() {
        return; // becoming another user needs root
    }
    let sandbox = Sandbox::with(Script::tokens(3600), Some("nogroup")).await;
    let reply = as_user(&sandbox, 65534, "--clear-groups").await;
    assert_eq!((reply.status(), reply.text("error"), sandbox.upstream.asked()), (403, "access_denied".into(), 0));
    assert!(reply.text("error_description").contains("as a user of its own"));
}

#[tokio::test]
async fn the_clients_api_versions_are_taken() {
    let sandbox = Sandbox::new().await;
    for version in ["2018-02-01", "2019-08-01", "2021-02-01", "2025-04-07"] {
        let reply = sandbox.get_imds(&IMDS.replace("2018-02-01", version), &[METADATA]).await;
        assert_eq!((reply.status(), reply.text("access_token")), (200, "token-1".into()), "{version}");
    }
    for version in ["2017-12-01", "2018-02-02", "2099-01-01", "", "x"] {
        let reply = sandbox.get_imds(&IMDS.replace("2018-02-01", version), &[METADATA]).await;
        let (status, error, description) = reply.error();
        assert_eq!((status, error.as_str()), (400, "invalid_request"), "{version}");
        let supported = description.strip_prefix("The api-version is missing or unknown. Supported are ").unwrap();
        assert!(supported.starts_with("2018-02-01 2018-04-02 ") && supported.ends_with(" 2025-04-07"), "{supported}");
    }
}

#[tokio::test]
async fn probes_are_answered_400_and_invite_the_real_request() {
    let sandbox = Sandbox::new().await;
    for target in [TOKEN, IMDS, &format!("{IMDS}&msi-res-id={MACHINE}")] {
        let reply = sandbox.get_imds(target, &[]).await;
        // Neither 'Identity not found' nor 'unreachable': clients would not go on.
        let expected = "Required metadata header not specified";
        assert_eq!(reply.error(), (400, "invalid_request".into(), expected.into()), "{target}");
    }
}

#[tokio::test]
async fn the_second_version_of_imds_is_not_there() {
    let sandbox = Sandbox::new().await;
    let reply = sandbox.get_imds("/metadata/identity/getplatformmetadata?cred-api-version=2.0", &[]).await;
    let nothing = "There is nothing at this path";
    assert_eq!(reply.error(), (404, "not_found".into(), nothing.into()), "a 400 would be taken for its presence");
}

#[tokio::test]
async fn every_spelling_of_the_resource_id_selects() {
    let sandbox = Sandbox::new().await;
    for key in ["msi_res_id", "mi_res_id", "msi-res-id", "resource_id"] {
        let reply = sandbox.get_imds(&format!("{IMDS}&{key}={MACHINE}"), &[METADATA]).await;
        assert_eq!((reply.status(), reply.text("msi_res_id")), (200, MACHINE.into()), "{key}");
        let reply = sandbox.get_imds(&format!("{IMDS}&{key}=/subscriptions/s/x/y"), &[METADATA]).await;
        assert_eq!(reply.error(), (400, "invalid_request".into(), "Identity not found".into()), "{key}");
    }
}

#[tokio::test]
async fn the_token_path_is_taken_as_clients_put_it_together() {
    let sandbox = Sandbox::new().await;
    let (path, query) = IMDS.split_once('?').unwrap();
    for as_sent in [format!("/{path}"), format!("{path}/"), format!("/{path}/")] {
        let reply = sandbox.get_imds(&format!("{as_sent}?{query}"), &[METADATA]).await;
        assert_eq!((reply.status(), reply.text("access_token")), (200, "token-1".into()), "{as_sent}");
        // What guards the path guards it by every name.
        let reply = sandbox.get_imds(&format!("{as_sent}?{query}"), &[]).await;
        let expected = "Required metadata header not specified";
        assert_eq!(reply.error(), (400, "invalid_request".into(), expected.into()), "{as_sent}");
    }
    for other in [format!("//{path}"), format!("{path}//"), path.replace("/oauth2", "//oauth2")] {
        let reply = sandbox.get_imds(&format!("{other}?{query}"), &[METADATA]).await;
        let nothing = "There is nothing at this path";
        assert_eq!(reply.error(), (404, "not_found".into(), nothing.into()), "{other}");
    }
}

#[tokio::test]
async fn the_versions_are_listed() {
    let sandbox = Sandbox::new().await;
    let reply = sandbox.get_imds("/metadata/versions", &[METADATA]).await;
    assert_eq!(reply.json()["apiVersions"].as_array().unwrap().len(), 35);
}
