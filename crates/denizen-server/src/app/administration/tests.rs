//! What an owner's commands do, with a real store.

use denizen_keys::envelope::RootKey;
use denizen_wire::{Clock, SubscriptionId};

use super::*;
use crate::{
    app::{set_up::NewSetUp, vaults::NewVault},
    domain::directory::Tenant,
    run::{Server, root_key_in},
    store::{StoreError, Write},
};

async fn server(folder: &tempfile::TempDir) -> Server {
    let root = folder.path().canonicalize().unwrap();
    let key = RootKey::load_or_create(&root_key_in(&root)).unwrap();
    Server::open_at_rest(&root, key, "https://localhost:8443", Clock::system()).await.unwrap()
}

#[tokio::test]
async fn commands_need_a_tenant_a_group_and_a_scope_that_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(&folder).await;
    let owner = Owner::at_other_end(rustix::process::geteuid().as_raw()).unwrap();
    let token =
        |group: &str| NewJoinToken { tenant: None, resource_group: group.to_owned(), machine_name: None, lifetime: 60 };
    let said = |error: AdministrationError| error.to_string();
    let refused = server.administration.create_join_token(owner, &token("servers")).await.err().map(said);
    assert!(refused.unwrap().contains("denizen init"));

    let new = NewSetUp {
        domain: "contoso.example",
        display_name: "Contoso",
        resource_group: "servers",
        vault: NewVault { name: "main", location: "local", retention_days: 90 },
        administrator: "Administrator",
        more_roles: &[],
    };
    let plan = server.set_up.plan(&new, Clock::system().now()).await.unwrap();
    let set_up = server.authorize(plan.tenant(), SystemReason::SetUp);
    server.set_up.carry_out(&set_up, &plan).await.unwrap();
    for group in ["Servers", plan.resource_group().as_str()] {
        let made = server.administration.create_join_token(owner, &token(group)).await.ok().unwrap();
        assert_eq!(&made.resource_group, plan.resource_group());
        assert!(made.join_token.starts_with("dzj."));
    }
    for (group, lifetime, says) in [("other", 60, "other"), ("/x", 60, "pairs"), ("servers", 0, "1 to 86400 seconds")] {
        let new = NewJoinToken { lifetime, ..token(group) };
        let refused = server.administration.create_join_token(owner, &new).await.err().map(said).unwrap();
        assert!(refused.contains(says), "{group}: {refused}");
    }
    let other = NewJoinToken { tenant: Some(TenantId(Uuid::nil())), ..token("servers") };
    assert!(server.administration.create_join_token(owner, &other).await.is_err());

    let give = |role: &str, scope: &str| NewRoleAssignment {
        tenant: None,
        assignee: plan.principal(),
        role: role.to_owned(),
        scope: scope.to_owned(),
    };
    let vault = plan.vault().as_str();
    server.administration.assign_role(owner, &give("key vault secrets user", vault)).await.unwrap();
    let elsewhere = ResourceId::subscription(SubscriptionId(Uuid::nil())).to_string();
    for (role, scope, says) in [
        ("King", "/", "King"),
        ("Owner", "subscriptions", "must start with '/'"),
        ("Owner", elsewhere.as_str(), "does not exist"),
        ("Global Administrator", vault, "a role of the directory"),
    ] {
        let refused = server.administration.assign_role(owner, &give(role, scope)).await.err().map(said).unwrap();
        assert!(refused.contains(says), "{role} {scope}: {refused}");
    }
    // The audit names the command.
    let records = server.store.audit_tail(set_up.ctx(), 20).await.unwrap();
    for command in ["system:denizen join-token create", "system:denizen role assignment create"] {
        assert!(records.iter().any(|record| record.actor == command), "{command}: {records:?}");
    }
    server.store.clone().close().await;
}

#[tokio::test]
async fn users_are_made_and_changed_by_command() {
    use people::{UserCommand, UserTask};

    let folder = tempfile::tempdir().unwrap();
    let server = server(&folder).await;
    let owner = Owner::at_other_end(rustix::process::geteuid().as_raw()).unwrap();
    let new = NewSetUp {
        domain: "contoso.example",
        display_name: "Contoso",
        resource_group: "servers",
        vault: NewVault { name: "main", location: "local", retention_days: 90 },
        administrator: "Administrator",
        more_roles: &[],
    };
    let plan = server.set_up.plan(&new, Clock::system().now()).await.unwrap();
    let set_up = server.authorize(plan.tenant(), SystemReason::SetUp);
    server.set_up.carry_out(&set_up, &plan).await.unwrap();
    let run = async |user: &str, task: UserTask| {
        let asked = UserCommand { tenant: None, user: user.to_owned(), task };
        server.administration.users(owner, &asked).await.map_err(|error| error.to_string())
    };
    let create = |password: Option<&str>| UserTask::Create {
        display_name: "Ada".to_owned(),
        password: password.map(str::to_owned),
    };
    let made = run("Ada@contoso.example", create(None)).await.unwrap_or_else(|error| panic!("{error}"));
    let (id, password) = (made.users[0].id, denizen_keys::SecretString::from(made.password.unwrap()));
    let ctx = set_up.ctx();
    let step = server.sign_in.password(ctx, plan.tenant(), "ada@contoso.example", &password).await.unwrap();
    assert_eq!(step.done().unwrap_err().code(), 50_055, "a password that was made here is changed first");
    let own = || "a password of her own".to_owned();
    let set = run(&id.to_string(), UserTask::SetPassword { password: Some(own()) }).await;
    assert_eq!(set.unwrap_or_else(|error| panic!("{error}")).password, None);
    assert!(server.sign_in.password(ctx, plan.tenant(), "ada@contoso.example", &own().into()).await.is_ok());
    for (task, enabled) in [(UserTask::Disable, false), (UserTask::RevokeSessions, false), (UserTask::Enable, true)] {
        let epoch = || server.store.snapshot().user(plan.tenant(), id).unwrap().epoch;
        let (before, ends_sessions) = (epoch(), !matches!(task, UserTask::Enable));
        let done = run("ada@contoso.example", task).await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((done.users[0].enabled, epoch()), (enabled, before + u64::from(ends_sessions)));
    }
    let totp = run("ada@contoso.example", UserTask::SetUpTotp).await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(totp.totp.unwrap().key.len(), 32);
    assert!(run("ada@contoso.example", UserTask::RemoveTotp).await.is_ok());
    run("bob@contoso.example", create(Some("another password"))).await.unwrap_or_else(|error| panic!("{error}"));
    for (begin, names) in [("", &["ada@contoso.example", "bob@contoso.example"][..]), ("B", &["bob@contoso.example"])] {
        let listed = run(begin, UserTask::List).await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(listed.users.iter().map(|user| user.name.as_str()).collect::<Vec<_>>(), names);
    }
    for (user, task, says) in [
        ("eve@other.example", create(None), "@contoso.example"),
        ("eve@contoso.example", create(Some("short")), "8 to 256"),
        ("ADA@contoso.example", create(None), "exists"),
        ("eve@contoso.example", UserTask::Disable, "does not exist"),
    ] {
        let refused = run(user, task).await.err().unwrap();
        assert!(refused.contains(says), "{user}: {refused}");
    }
    server.store.clone().close().await;
}

/// An emergency is one of all tenants: what fails in one leaves no leaked key of another in use.
#[tokio::test]
async fn a_tenant_whose_keys_cannot_be_changed_keeps_no_other_from_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(&folder).await;
    let owner = Owner::at_other_end(rustix::process::geteuid().as_raw()).unwrap();
    for domain in ["contoso.example", "fabrikam.example", "adatum.example"] {
        let id = TenantId(denizen_keys::random::uuid_v4());
        let tenant = &server.directory.new_tenant(id, domain, domain, Clock::system().now());
        let authorization = server.authorize(id, SystemReason::SetUp);
        let written = server.store.write(&authorization, |tx| {
            Box::pin(async move {
                tx.insert(tenant).await?;
                Ok::<_, StoreError>(Write::commit("test", "test", ()))
            })
        });
        written.await.unwrap();
        server.signing.ensure_keys(&server.authorize(id, SystemReason::SetUp)).await.unwrap();
    }
    let tenants: Vec<TenantId> = server.store.snapshot().tenants().map(|tenant| tenant.id).collect();
    // The one that is met first.
    let broken = tenants[0];
    let authorization = server.authorize(broken, SystemReason::SetUp);
    let record = Tenant::clone(server.store.snapshot().tenant(broken).unwrap());
    let unopenable = &Tenant { sealed_kek: "AAAA".to_owned(), ..record };
    let written = server.store.write(&authorization, |tx| {
        Box::pin(async move {
            tx.put(unopenable).await?;
            Ok::<_, StoreError>(Write::commit("test", "test", ()))
        })
    });
    written.await.unwrap();
    let kids = |tenant| KeyRing::kids(&server.store.snapshot(), tenant);
    for is_emergency in [false, true] {
        let before: Vec<_> = tenants.iter().map(|tenant| kids(*tenant)).collect();
        let done = match is_emergency {
            false => server.administration.rotate_signing_keys(owner).await,
            true => server.administration.replace_signing_keys(owner, &KeysReplaced::default()).await,
        };
        let done = done.unwrap_or_else(|error| panic!("{error}"));
        assert!(done.failed.len() == 1 && done.failed[0].contains(&broken.to_string()), "{:?}", done.failed);
        assert_eq!(kids(broken), before[0]);
        for (tenant, before) in tenants.iter().zip(&before).skip(1) {
            assert_ne!(kids(*tenant), *before, "{is_emergency}");
        }
    }
    server.store.clone().close().await;
}

#[test]
fn the_owner_is_us_or_root_and_nobody_else() {
    let us = rustix::process::geteuid().as_raw();
    assert!(Owner::at_other_end(us).is_some() && Owner::at_other_end(0).is_some());
    assert!(
        [us.wrapping_add(1), 65_534].iter().filter(|uid| **uid != 0).all(|uid| Owner::at_other_end(*uid).is_none())
    );
}
