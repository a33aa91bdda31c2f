//! Any changes, in any order within their transactions, make the snapshot that a start loads from what they leave.

use std::collections::BTreeMap;

use denizen_wire::UnixTime;
use proptest::prelude::*;

use super::*;
use crate::{
    domain::directory::{PrincipalKind, ServicePrincipal, TokenVersion},
    domain::roles::RoleAssignment,
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
}

const ALL: [What; 10] = [
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
                tenant,
                client_id: ClientId(uuid(n)),
                object_id: uuid(n),
                display_name: String::new(),
                identifier_uris: (0..2)
                    .filter(|bit| with & (1 << bit) != 0)
                    .map(|bit| format!("api://{bit}"))
                    .collect(),
                token_version: TokenVersion::V1,
                passwords: Vec::new(),
                keys: Vec::new(),
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
            };
            of(record, there, among)
        }
        What::SigningKey => {
            let record = SigningKey {
                tenant,
                kid: format!("kid-{n}"),
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
    }
}

/// Whether every name is one record's, as the tables' constraints have it whenever a transaction ends.
fn names_are_unique(records: &BTreeMap<Named, u8>) -> bool {
    let mut names = BTreeSet::new();
    records.iter().all(|((tenant, what, _), with)| match what {
        What::Tenant | What::Vault => names.insert((255, *what, *with)),
        What::Principal => names.insert((*tenant, *what, *with)),
        What::Application => (0..2).filter(|bit| with & (1 << bit) != 0).all(|bit| names.insert((*tenant, *what, bit))),
        What::SigningKey | What::Subscription | What::Group | What::Machine | What::Assignment | What::Role => true,
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
