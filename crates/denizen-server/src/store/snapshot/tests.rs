//! Any changes, in any order within their transactions, make the snapshot that a start loads from what they leave.

use std::collections::BTreeMap;

use denizen_wire::UnixTime;
use proptest::prelude::*;

use super::*;
use crate::{
    domain::{
        directory::{PrincipalKind, ServicePrincipal, SigningAlgorithm},
        grants, people,
        roles::RoleAssignment,
    },
    store::Record,
};

const AT: UnixTime = UnixTime(1_795_239_900);

/// A record as a test thinks of it. A number names it, another is what may change about it.
type Named = (u8, What, u8);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Tenant,
    Application,
    Principal,
    SigningKey,
    Subscription,
    Group,
    Vault,
    Machine,
    Assignment,
    Role,
    User,
    UserGroup,
    Membership,
    AppRole,
    Grant,
}

const ALL: [What; 15] = [
    What::Tenant,
    What::Application,
    What::Principal,
    What::SigningKey,
    What::Subscription,
    What::Group,
    What::Vault,
    What::Machine,
    What::Assignment,
    What::Role,
    What::User,
    What::UserGroup,
    What::Membership,
    What::AppRole,
    What::Grant,
];

fn uuid(n: u8) -> Uuid {
    Uuid::from_u128(u128::from(n) + 1)
}

fn tenant_id(n: u8) -> TenantId {
    TenantId(uuid(n))
}

fn group(n: u8) -> ResourceId {
    ResourceId::subscription(SubscriptionId(uuid(0))).resource_group(&format!("Rg{n}")).unwrap()
}

fn vault(n: u8) -> ResourceId {
    group(n % 2).provider("Microsoft.KeyVault/vaults", &format!("V{n}")).unwrap()
}

fn scope(n: u8) -> ResourceId {
    match n % 4 {
        0 => ResourceId::root(),
        1 => group(n % 3),
        2 => vault(n % 3),
        _ => vault(n % 3).child("secrets", "s").unwrap(),
    }
}

/// What the transaction's own code makes of a record: kind, key and what the snapshot takes.
fn applied((tenant, what, n): Named, now: Option<u8>, among: &Snapshot) -> Applied {
    fn of<R: Record>(record: R, there: bool, among: &Snapshot) -> Applied {
        let (tenant, id) = (record.tenant().unwrap(), R::key_text(&record.key()));
        Applied { kind: R::KIND, tenant, id, after: there.then(|| record.entity(among)) }
    }
    let (there, with) = (now.is_some(), now.unwrap_or_default());
    let tenant = tenant_id(tenant);
    match what {
        What::Tenant => {
            let record = Tenant {
                id: tenant,
                domain: format!("D{with}.example"),
                display_name: String::new(),
                sealed_kek: String::new(),
                created: AT,
            };
            of(record, there, among)
        }
        What::Application => {
            let record = Application {
                identifier_uris: (0..2)
                    .filter(|bit| with & (1 << bit) != 0)
                    .map(|bit| format!("api://{bit}"))
                    .collect(),
                ..Application::new(tenant, ClientId(uuid(n)), uuid(n), "")
            };
            of(record, there, among)
        }
        What::Principal => {
            let record = ServicePrincipal {
                tenant,
                id: PrincipalId(uuid(n)),
                client_id: ClientId(uuid(with)),
                display_name: String::new(),
                kind: PrincipalKind::ManagedIdentity { resource_id: scope(n) },
                enabled: true,
                epoch: with.into(),
                keys: Vec::new(),
                token_lifetime: None,
                federated: Vec::new(),
            };
            of(record, there, among)
        }
        What::SigningKey => {
            let record = SigningKey {
                tenant,
                kid: format!("kid-{n}"),
                alg: SigningAlgorithm::Rs256,
                certificate: String::new(),
                sealed: String::new(),
                created: AT,
                signs_from: AT + i64::from(with),
                signs_until: None,
                published_until: None,
            };
            of(record, there, among)
        }
        What::Subscription => {
            let id = SubscriptionId(uuid(n));
            of(Subscription { tenant, id, display_name: with.to_string(), created: AT }, there, among)
        }
        What::Group => {
            of(ResourceGroup { tenant, id: group(n), location: with.to_string(), created: AT }, there, among)
        }
        What::Vault => {
            let record = Vault {
                tenant,
                id: vault(n),
                name: format!("v{with}"),
                location: String::new(),
                sealed_key: String::new(),
                retention_days: 7,
                created: AT,
            };
            of(record, there, among)
        }
        What::Machine => {
            let record = crate::domain::resources::Machine {
                tenant,
                id: group(0).provider("Microsoft.HybridCompute/machines", &format!("m{n}")).unwrap(),
                machine_id: uuid(n),
                principal_id: PrincipalId(uuid(with)),
                location: String::new(),
                facts: denizen_wire::node::MachineFacts::default(),
                created: AT,
            };
            of(record, there, among)
        }
        What::Assignment => {
            let record = RoleAssignment {
                tenant,
                id: uuid(n),
                scope: scope(with),
                principal: PrincipalId(uuid(with % 2)),
                role: RoleId(uuid(0)),
                created: AT,
                created_by: String::new(),
            };
            of(record, there, among)
        }
        What::Role => {
            let record = RoleDefinition {
                tenant: Some(tenant),
                id: RoleId(uuid(n)),
                name: with.to_string(),
                description: String::new(),
                actions: Vec::new(),
                not_actions: Vec::new(),
                data_actions: Vec::new(),
                not_data_actions: Vec::new(),
                assignable_scopes: Vec::new(),
            };
            of(record, there, among)
        }
        What::User => {
            let record = people::User {
                tenant,
                id: PrincipalId(uuid(n)),
                name: format!("U{with}@a.example"),
                display_name: String::new(),
                given_name: None,
                surname: None,
                mail: None,
                mail_nickname: String::new(),
                enabled: true,
                epoch: with.into(),
                password: None,
                totp: None,
                externals: vec![external(with)],
                created: AT,
            };
            of(record, there, among)
        }
        What::UserGroup => {
            let record = people::Group {
                tenant,
                id: PrincipalId(uuid(n)),
                display_name: with.to_string(),
                description: None,
                mail_nickname: String::new(),
                owners: Vec::new(),
                created: AT,
            };
            of(record, there, among)
        }
        // Its key is all that the snapshot takes of it.
        What::Membership => {
            let (group, member) = (PrincipalId(uuid(n % 2)), PrincipalId(uuid(n / 2 + 1)));
            of(people::Membership { tenant, group, member, since: AT + i64::from(with) }, there, among)
        }
        What::AppRole => {
            let record = grants::AppRoleAssignment {
                tenant,
                id: uuid(n),
                principal: PrincipalId(uuid(with % 2)),
                resource: PrincipalId(uuid(0)),
                role: uuid(with),
                created: AT,
            };
            of(record, there, among)
        }
        What::Grant => {
            let record = PermissionGrant {
                tenant,
                id: uuid(n),
                client: PrincipalId(uuid(with % 2)),
                user: None,
                resource: PrincipalId(uuid(0)),
                scopes: vec![with.to_string()],
                created: AT,
            };
            of(record, there, among)
        }
    }
}

fn external(n: u8) -> ExternalIdentity {
    ExternalIdentity { issuer: "https://idp.example".to_owned(), subject: n.to_string() }
}

/// Whether every name is one record's, as the tables' constraints have it whenever a transaction ends.
fn names_are_unique(records: &BTreeMap<Named, u8>) -> bool {
    let mut names = BTreeSet::new();
    records.iter().all(|((tenant, what, _), with)| match what {
        What::Tenant | What::Vault => names.insert((255, *what, *with)),
        What::Principal | What::User => names.insert((*tenant, *what, *with)),
        What::Application => (0..2).filter(|bit| with & (1 << bit) != 0).all(|bit| names.insert((*tenant, *what, bit))),
        What::SigningKey
        | What::Subscription
        | What::Group
        | What::Machine
        | What::Assignment
        | What::Role
        | What::UserGroup
        | What::Membership
        | What::AppRole
        | What::Grant => true,
    })
}

fn change() -> impl Strategy<Value = (Named, Option<u8>)> {
    ((0u8..2, prop::sample::select(&ALL[..]), 0u8..4), prop::option::weighted(0.75, 0u8..4))
        // A tenant is named by itself.
        .prop_map(|((tenant, what, n), now)| ((tenant, what, if what == What::Tenant { 0 } else { n }), now))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn changes_one_by_one_make_what_is_loaded(
        transactions in prop::collection::vec(prop::collection::vec(change(), 1..7), 0..25),
    ) {
        let mut snapshot = Snapshot::default();
        let mut records = BTreeMap::<Named, u8>::new();
        let (mut revision, mut signing, mut vaults) = (Revision(0), Revision(0), HashMap::new());
        for changes in transactions {
            let mut next = records.clone();
            let mut done = BTreeMap::new();
            for (at, (named, now)) in changes.into_iter().enumerate() {
                match now {
                    Some(with) => _ = next.insert(named, with),
                    None => _ = next.remove(&named),
                }
                done.insert(named, (at, now));
            }
            if !names_are_unique(&next) {
                continue;
            }
            records = next;
            revision = Revision(revision.0 + 1);
            // A follower sees each record once, as it is at the end; in whatever order.
            let mut done: Vec<_> = done.into_iter().collect();
            done.sort_by_key(|(_, (at, _))| *at);
            for (named, _) in &done {
                if named.1 == What::SigningKey {
                    signing = revision;
                }
                if named.1 == What::Vault {
                    vaults.insert(vault(named.2), revision);
                }
            }
            let effects = done.into_iter().map(|(named, (_, now))| Effect::Record(applied(named, now, &snapshot)));
            let effects = effects.collect();
            let before = snapshot.clone();
            let kept = before.clone();
            snapshot = snapshot.with(revision, effects);
            prop_assert!(before == kept);
        }
        let (mut loaded, mut many) = (Snapshot::at(revision, signing, vaults), Many::default());
        for (named, with) in &records {
            let Applied { tenant, after, .. } = applied(*named, Some(*with), &loaded);
            if let Some(few) = many.take(tenant, after.unwrap()) {
                loaded.insert(tenant, few);
            }
        }
        loaded.fill(many);
        prop_assert!(snapshot == loaded, "after {records:?}");
        // And whatever is found by a name is what has it.
        for ((tenant, what, n), with) in &records {
            let tenant = tenant_id(*tenant);
            let found = match what {
                What::Tenant => snapshot.tenant_named(&format!("d{with}.EXAMPLE")).map(|it| it.id) == Some(tenant),
                What::Vault => snapshot.vault(&format!("V{with}")).map(|it| (it.tenant, &it.id)) == Some((tenant, &vault(*n))),
                What::Principal => {
                    let of_client = snapshot.principal_of_client(tenant, ClientId(uuid(*with)));
                    of_client == snapshot.principal(tenant, PrincipalId(uuid(*n))) && of_client.is_some()
                }
                What::Assignment => snapshot.assignment(tenant, uuid(*n)).is_some_and(|(whose, it)| {
                    whose == PrincipalId(uuid(with % 2)) && it.scope.is(&scope(*with))
                }),
                What::SigningKey => snapshot.signers(&format!("kid-{n}")).any(|it| it == tenant),
                What::User => {
                    let named = snapshot.user_named(tenant, &format!("u{with}@A.example"));
                    let elsewhere = snapshot.user_of_external(tenant, &external(*with));
                    let it = snapshot.user(tenant, PrincipalId(uuid(*n)));
                    it.is_some() && named == it && elsewhere == it
                }
                What::UserGroup => snapshot.is_group(tenant, PrincipalId(uuid(*n))),
                What::AppRole => {
                    snapshot.app_roles_of(tenant, PrincipalId(uuid(with % 2))).iter().any(|it| it.id == uuid(*n))
                }
                What::Grant => {
                    snapshot.grants_of(tenant, PrincipalId(uuid(with % 2))).iter().any(|it| it.id == uuid(*n))
                }
                What::Membership => {
                    let (group, member) = (PrincipalId(uuid(n % 2)), PrincipalId(uuid(n / 2 + 1)));
                    let is_there = snapshot.is_group(tenant, group);
                    snapshot.direct_groups_of(tenant, member).any(|it| it == group) == is_there
                }
                What::Application
                | What::Subscription
                | What::Group
                | What::Machine
                | What::Role => true,
            };
            prop_assert!(found, "{tenant} {what:?} {n}");
        }
    }
}

#[test]
fn what_lies_in_a_vault_or_a_group_shares_its_id() {
    let mut snapshot = Snapshot::default();
    for named in [(0, What::Group, 0), (0, What::Vault, 0), (1, What::Group, 1)] {
        let Applied { tenant, after, .. } = applied(named, Some(0), &snapshot);
        snapshot.insert(tenant, after.unwrap());
    }
    let shown = |tenant, id: &ResourceId| format!("{:?}", snapshot.nested(tenant_id(tenant), id));
    let secret = vault(0).child("secrets", "s").unwrap();
    assert_eq!(shown(0, &secret), format!("NestedId({}|/secrets/s)", vault(0)));
    assert_eq!(shown(0, &vault(0)), format!("NestedId({}|)", vault(0)));
    assert_eq!(shown(0, &vault(2)), format!("NestedId({}|/providers/Microsoft.KeyVault/vaults/V2)", group(0)));
    assert_eq!(shown(1, &secret), format!("NestedId(|{secret})"), "another tenant's is not shared");
}

#[test]
fn a_principal_is_in_the_groups_of_its_groups_and_in_none_that_is_gone() {
    let (tenant, id) = (tenant_id(0), |n: u8| PrincipalId(uuid(n)));
    let mut snapshot = Snapshot::default();
    let be_in = |snapshot: &mut Snapshot, group: u8, member: u8| {
        snapshot.insert(tenant, Entity::Membership(MembershipKey { group: id(group), member: id(member) }));
    };
    for group in 1..=4 {
        snapshot.insert(tenant, Entity::Group(id(group)));
    }
    // 9 is in 1; 1 in 2 and 3; 2 and 3 in 4.
    for (group, member) in [(1, 9), (2, 1), (3, 1), (4, 2), (4, 3)] {
        be_in(&mut snapshot, group, member);
    }
    assert_eq!(snapshot.groups_of(tenant, id(9)), [1, 2, 3, 4].map(id));
    assert_eq!(snapshot.groups_of(tenant, id(4)), []);
    assert_eq!(snapshot.groups_of(tenant_id(1), id(9)), [], "another tenant's");
    // A circle that nobody should have written ends all the same.
    be_in(&mut snapshot, 1, 4);
    assert_eq!(snapshot.groups_of(tenant, id(1)), [2, 3, 4].map(id));
    // What goes through a group that is gone, is not.
    snapshot.remove(Kind::Group, tenant, &id(1).to_string());
    assert_eq!(snapshot.groups_of(tenant, id(9)), []);
    snapshot.insert(tenant, Entity::Group(id(1)));
    snapshot.remove(Kind::Group, tenant, &id(2).to_string());
    assert_eq!(snapshot.groups_of(tenant, id(9)), [1, 3, 4].map(id));
}

#[test]
fn each_of_many_groups_is_named_once() {
    const MANY: u8 = 100;
    let (tenant, id) = (tenant_id(0), |n: u8| PrincipalId(uuid(n)));
    let mut snapshot = Snapshot::default();
    for group in 1..=MANY {
        snapshot.insert(tenant, Entity::Group(id(group)));
        // Who is in the first is in each of them by each that stands before it.
        for member in (1..group).chain([200]) {
            snapshot.insert(tenant, Entity::Membership(MembershipKey { group: id(group), member: id(member) }));
        }
    }
    let mut groups = snapshot.groups_of(tenant, id(200));
    groups.sort();
    assert_eq!(groups, (1..=MANY).map(id).collect::<Vec<_>>());
    assert_eq!(snapshot.groups_of(tenant, id(1)).len(), usize::from(MANY) - 1);
}
