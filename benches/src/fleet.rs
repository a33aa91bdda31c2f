//! Directories with many machines: what enrolment makes of each, and one role assignment. Directories with many users, and
//! the machines' principals alone.

use anyhow::Result;
use denizen_keys::{b64, hash, random};
use denizen_server::{
    app::access::SystemReason,
    domain::{
        directory::{KeyCredential, PrincipalKind, ServicePrincipal},
        people::{User, UserPassword},
        resources::Machine,
        roles::{RoleAssignment, RoleId},
    },
    run::Server,
    store::{StoreError, Write},
};
use denizen_wire::{ClientId, PrincipalId, ResourceId, TenantId, UnixTime, node::MachineFacts};

/// Machines enrolled in one transaction when a directory is made: with more, the change log's statements take longer to
/// prepare than commits take.
const AT_ONCE: u32 = 40;

/// Where machines come in, and what they may read.
pub(crate) struct Place {
    /// The tenant.
    pub(crate) tenant: TenantId,
    /// Their resource group.
    pub(crate) group: ResourceId,
    /// The vault of which each may read the secret of its name; without one, none is given a role.
    pub(crate) vault: Option<(ResourceId, RoleId)>,
}

/// What is made of each number.
#[derive(Clone, Copy, Debug)]
pub(crate) enum What {
    /// A machine, as enrolment makes it.
    Machines,
    /// A user, and the principal of a machine.
    Principals,
}

/// Adds what these numbers make.
pub(crate) async fn fill(server: &Server, place: &Place, what: What, numbers: std::ops::Range<u32>) -> Result<()> {
    let mut first = numbers.start;
    while first < numbers.end {
        let last = numbers.end.min(first + AT_ONCE);
        let authorization = server.authorize(place.tenant, SystemReason::SetUp);
        let now = authorization.now();
        server
            .store
            .write(&authorization, |tx| {
                Box::pin(async move {
                    for number in first..last {
                        let (principal, machine) = machine(place, number, now)?;
                        tx.insert(&principal).await?;
                        match what {
                            What::Principals => tx.insert(&user(place.tenant, number, now)).await?,
                            What::Machines => tx.insert(&machine).await?,
                        }
                        if let Some(assignment) = assignment(place, number, principal.id, now)? {
                            tx.insert(&assignment).await?;
                        }
                    }
                    Ok::<_, StoreError>(Write::commit("bench/fill", "/", ()))
                })
            })
            .await?;
        first = last;
    }
    Ok(())
}

/// A user with a password, which nobody knows: its hash is of nothing.
fn user(tenant: TenantId, number: u32, now: UnixTime) -> User {
    let nickname = format!("user-{number:07}");
    let (salt, hash) = (b64::standard(&random::bytes::<16>()), b64::standard(&random::bytes::<32>()));
    let hash = format!("$argon2id$v=19$m=19456,t=2,p=1${}${}", salt.trim_end_matches('='), hash.trim_end_matches('='));
    User {
        tenant,
        id: PrincipalId(random::uuid_v4()),
        name: format!("{nickname}@bench.example"),
        display_name: nickname.clone(),
        given_name: Some("User".to_owned()),
        surname: Some(number.to_string()),
        mail: Some(format!("{nickname}@bench.example")),
        mail_nickname: nickname,
        enabled: true,
        epoch: 0,
        password: Some(UserPassword { hash, set: now, must_change: false }),
        totp: None,
        externals: Vec::new(),
        created: now,
    }
}

/// What enrolment makes of a machine.
pub(crate) fn machine(place: &Place, number: u32, now: UnixTime) -> Result<(ServicePrincipal, Machine), StoreError> {
    let name = name(number);
    let id = place
        .group
        .provider("Microsoft.HybridCompute/machines", &name)
        .map_err(|error| StoreError::Corrupt(error.to_string()))?;
    let principal = ServicePrincipal {
        tenant: place.tenant,
        id: PrincipalId(random::uuid_v4()),
        client_id: ClientId(random::uuid_v4()),
        display_name: name.clone(),
        kind: PrincipalKind::ManagedIdentity { resource_id: id.clone() },
        enabled: true,
        epoch: 0,
        keys: vec![KeyCredential {
            key_id: random::uuid_v4(),
            display_name: "node key".to_owned(),
            start: now,
            end: now + 365 * 24 * 3600,
            x5t: random::bytes(),
            x5t_s256: random::bytes(),
            n: hash::hex(&random::bytes::<256>()),
            e: "010001".to_owned(),
        }],
        token_lifetime: None,
        federated: Vec::new(),
    };
    let machine = Machine {
        tenant: place.tenant,
        id,
        machine_id: random::uuid_v4(),
        principal_id: principal.id,
        location: "local".to_owned(),
        facts: MachineFacts {
            os_type: "linux".to_owned(),
            os_name: "Debian GNU/Linux 12 (bookworm)".to_owned(),
            os_version: "6.1.0-18-amd64".to_owned(),
            fqdn: format!("{name}.example.org"),
            agent_version: "0.1.0".to_owned(),
        },
        created: now,
    };
    Ok((principal, machine))
}

/// Its role at the secret of its name: no two scopes are the same, which takes the most memory.
fn assignment(
    place: &Place,
    number: u32,
    principal: PrincipalId,
    now: UnixTime,
) -> Result<Option<RoleAssignment>, StoreError> {
    let Some((vault, role)) = &place.vault else { return Ok(None) };
    let scope = vault.child("secrets", &name(number)).map_err(|error| StoreError::Corrupt(error.to_string()))?;
    Ok(Some(RoleAssignment {
        tenant: place.tenant,
        id: random::uuid_v4(),
        scope,
        principal,
        role: *role,
        created: now,
        created_by: "bench".to_owned(),
    }))
}

fn name(number: u32) -> String {
    format!("server-{number:07}")
}
