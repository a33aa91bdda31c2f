use std::collections::HashMap;

use denizen_wire::TenantId;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::domain::hot::NestedId;

const VAULT: &str =
    "/subscriptions/6f9619ff-8b86-d011-b42d-00cf4fc964ff/resourceGroups/rg/providers/Microsoft.KeyVault/vaults/V1";
const GET: Action = Action::data("Microsoft.KeyVault/vaults/secrets/getSecret/action");
const WHO: PrincipalId = PrincipalId(Uuid::from_u128(1));

/// A directory in a map.
struct Directory {
    built_in: BuiltInRoles,
    custom: HashMap<RoleId, RoleDefinition>,
    assignments: HashMap<PrincipalId, Vec<Arc<Assignment>>>,
    groups: Vec<PrincipalId>,
    is_asked_for_no_groups: bool,
}

impl<'a> RoleSource<'a> for &'a Directory {
    fn assignments_of(&self, principal: PrincipalId) -> &'a [Arc<Assignment>] {
        self.assignments.get(&principal).map_or(&[], Vec::as_slice)
    }

    fn groups_of(&self, principal: PrincipalId) -> Vec<PrincipalId> {
        assert!(!self.is_asked_for_no_groups, "its own assignments are enough");
        if principal == WHO { self.groups.clone() } else { Vec::new() }
    }

    fn role(&self, id: RoleId) -> Option<&'a RoleDefinition> {
        self.built_in.role(id).or_else(|| self.custom.get(&id))
    }

    fn built_in(&self) -> &'a BuiltInRoles {
        &self.built_in
    }
}

impl Directory {
    fn new() -> Self {
        Self {
            built_in: BuiltInRoles::load(),
            custom: HashMap::new(),
            assignments: HashMap::new(),
            groups: Vec::new(),
            is_asked_for_no_groups: false,
        }
    }

    fn assign(mut self, principal: PrincipalId, role: &str, scope: &str) -> Self {
        let role = self
            .built_in
            .named(role)
            .map(|role| role.id)
            .or_else(|| self.custom.values().find(|r| r.name == role).map(|r| r.id))
            .unwrap_or(RoleId(Uuid::from_u128(0xdead)));
        let scope: ResourceId = scope.parse().unwrap();
        let at = self.assignments.entry(principal).or_default();
        at.push(Arc::new(Assignment { id: Uuid::from_u128(7), scope: NestedId::from(&scope), role }));
        self
    }

    fn with_role(mut self, name: &str, lists: [&[&str]; 4]) -> Self {
        let id = RoleId(Uuid::from_u128(1000 + self.custom.len() as u128));
        let [actions, not_actions, data_actions, not_data_actions] =
            lists.map(|list| list.iter().map(|p| (*p).to_owned()).collect());
        let role = RoleDefinition {
            tenant: Some(TenantId(Uuid::nil())),
            id,
            name: name.to_owned(),
            description: String::new(),
            actions,
            not_actions,
            data_actions,
            not_data_actions,
            assignable_scopes: vec![],
        };
        self.custom.insert(id, role);
        self
    }

    fn may(&self, action: &Action, scope: &str) -> bool {
        let scope = scope.parse().unwrap();
        let decision = authorize(&self, WHO, action, &scope, &Attributes::default());
        assert_eq!(decision.allowed, matches!(decision.because, Because::Granted { .. }));
        decision.allowed
    }
}

#[test]
fn nothing_is_allowed_without_an_assignment() {
    let directory = Directory::new();
    for role in directory.built_in.iter() {
        for pattern in role.actions.iter().chain(&role.data_actions) {
            let name = pattern.replace('*', "x");
            assert!(!directory.may(&Action::Control(name.clone().into()), VAULT));
            assert!(!directory.may(&Action::Data(name.into()), VAULT));
        }
    }
}

#[test]
fn an_assignment_holds_for_its_principal_only() {
    let directory = Directory::new().assign(PrincipalId(Uuid::from_u128(2)), "Key Vault Administrator", "/");
    assert!(!directory.may(&GET, VAULT));
}

#[test]
fn an_assignment_holds_at_its_scope_and_below_by_whole_segments() {
    let secret = format!("{VAULT}/secrets/db");
    for (scope, held) in [
        ("/", true),
        ("/subscriptions/6f9619ff-8b86-d011-b42d-00cf4fc964ff", true),
        ("/SUBSCRIPTIONS/6F9619FF-8B86-D011-B42D-00CF4FC964FF/RESOURCEGROUPS/RG", true),
        (VAULT, true),
        (secret.as_str(), true),
        (&format!("{VAULT}/secrets/db-2"), false),
        (&format!("{VAULT}/secrets/d"), false),
        (&format!("{VAULT}2"), false),
        (&format!("{VAULT}/keys/db"), false),
        ("/subscriptions/6f9619ff-8b86-d011-b42d-00cf4fc964ff/resourceGroups/r", false),
        ("/subscriptions/6f9619ff-8b86-d011-b42d-00cf4fc964ff/resourceGroups/rg-2", false),
    ] {
        let directory = Directory::new().assign(WHO, "Key Vault Secrets User", scope);
        assert_eq!(directory.may(&GET, &secret), held, "{scope}");
    }
    // Below does not give above.
    let directory = Directory::new().assign(WHO, "Key Vault Secrets User", &secret);
    assert!(!directory.may(&GET, VAULT));
}

#[test]
fn the_control_plane_gives_no_data() {
    let directory = Directory::new().assign(WHO, "Owner", "/");
    assert!(directory.may(&Action::control("Microsoft.KeyVault/vaults/delete"), VAULT));
    assert!(!directory.may(&GET, VAULT));
    let data = Directory::new().with_role("all data", [&[], &[], &["*"], &[]]).assign(WHO, "all data", "/");
    assert!(data.may(&GET, VAULT));
    assert!(!data.may(&Action::control("Microsoft.KeyVault/vaults/delete"), VAULT));
}

#[test]
fn not_actions_take_from_their_own_assignment_and_deny_nothing() {
    let write = Action::control("Microsoft.Authorization/roleAssignments/write");
    let directory = Directory::new().assign(WHO, "Contributor", "/");
    assert!(!directory.may(&write, VAULT));
    let directory = directory.assign(WHO, "User Access Administrator", VAULT);
    assert!(directory.may(&write, VAULT));
    assert!(!directory.may(&write, "/subscriptions/6f9619ff-8b86-d011-b42d-00cf4fc964ff"));

    let data = Directory::new()
        .with_role("all but purge", [&[], &[], &["Microsoft.KeyVault/*"], &["*/PURGE/action"]])
        .assign(WHO, "all but purge", "/");
    assert!(data.may(&GET, VAULT));
    assert!(!data.may(&Action::data("Microsoft.KeyVault/vaults/secrets/purge/action"), VAULT));
}

#[test]
fn d32_an_assignment_of_an_unknown_role_allows_nothing_and_says_so() {
    let directory = Directory::new().assign(WHO, "no such role", "/");
    let scope: ResourceId = VAULT.parse().unwrap();
    let decision = authorize(&&directory, WHO, &GET, &scope, &Attributes::default());
    assert!(!decision.allowed);
    let text = decision.because.to_string();
    assert!(text.contains("unknown role 00000000-0000-0000-0000-00000000dead at /"), "{text}");
}

#[test]
fn the_reason_names_the_grant_or_what_would_be_one() {
    let scope: ResourceId = format!("{VAULT}/secrets/db").parse().unwrap();
    let directory = Directory::new().assign(WHO, "Reader", "/").assign(WHO, "Key Vault Secrets User", VAULT);
    let because = |action| authorize(&&directory, WHO, &action, &scope, &Attributes::default()).because.to_string();
    assert_eq!(because(GET), "role 'Key Vault Secrets User' by assignment 00000000-0000-0000-0000-000000000007");
    assert_eq!(
        because(Action::data("Microsoft.KeyVault/vaults/secrets/setSecret/action")),
        format!(
            "none of the roles assigned allows it: 'Reader' at /, 'Key Vault Secrets User' at {VAULT}; \
             the role 'Key Vault Secrets Officer' would allow it"
        )
    );
    let nobody = PrincipalId(Uuid::from_u128(3));
    assert_eq!(
        authorize(&&directory, nobody, &Action::data("Contoso.X/y/z"), &scope, &Attributes::default())
            .because
            .to_string(),
        "no role is assigned to the principal at this scope or above it; no built-in role would allow it"
    );
}

#[test]
fn patterns() {
    for (pattern, action, covers) in [
        ("*", "", true),
        ("*", "a/b", true),
        ("*/read", "Microsoft.KeyVault/vaults/secrets/READ", true),
        ("*/read", "Microsoft.KeyVault/vaults/readMetadata", false),
        ("*/read", "/read", true),
        ("*/read", "read", false),
        ("Microsoft.KeyVault/vaults/*/read", "microsoft.keyvault/vaults/a/b/read", true),
        ("Microsoft.KeyVault/vaults/*/read", "Microsoft.KeyVault/vaults/read", false),
        ("Microsoft.KeyVault/vaults/*", "Microsoft.KeyVault/vaults/", true),
        ("Microsoft.KeyVault/vaults/*", "Microsoft.KeyVault/vaults", false),
        ("a/b", "a/b", true),
        ("a/b", "a/bc", false),
        ("a/b", "xa/b", false),
        ("a*a", "a", false),
        ("a*a", "aa", true),
        ("ab*ba", "aba", false),
        ("*a*a*", "a", false),
        ("*ab*b", "ab", false),
        ("a**b", "ab", true),
        ("", "", true),
        ("", "a", false),
    ] {
        assert_eq!(matches(pattern, action), covers, "{pattern} on {action}");
    }
}

/// What `*` means, written down in the slowest and plainest way.
fn plainly(pattern: &[u8], action: &[u8]) -> bool {
    match (pattern.split_first(), action.split_first()) {
        (None, None) => true,
        (None, Some(_)) => false,
        (Some((b'*', after)), None) => plainly(after, action),
        (Some((b'*', after)), Some((_, rest))) => plainly(after, action) || plainly(pattern, rest),
        (Some(_), None) => false,
        (Some((p, after)), Some((a, rest))) => p.eq_ignore_ascii_case(a) && plainly(after, rest),
    }
}

proptest! {
    #[test]
    fn matching_agrees_with_the_plain_definition(pattern in "[abAB/*]{0,10}", action in "[abAB/]{0,14}") {
        prop_assert_eq!(matches(&pattern, &action), plainly(pattern.as_bytes(), action.as_bytes()));
    }

    #[test]
    fn case_changes_nothing(pattern in "[a-z*/]{0,12}", action in "[a-z/]{0,16}") {
        prop_assert_eq!(matches(&pattern, &action), matches(&pattern.to_uppercase(), &action));
        prop_assert_eq!(matches(&pattern, &action), matches(&pattern, &action.to_uppercase()));
    }

    #[test]
    fn any_bytes_are_survived(pattern in ".{0,40}", action in ".{0,40}") {
        let _ = matches(&pattern, &action);
        prop_assert!(matches("*", &action));
        // Non-ASCII case is left alone, so a text covers itself.
        prop_assert!(matches(&action.replace('*', ""), &action.replace('*', "")));
    }

    /// Containment says what the list of scopes above says, however the ids are cut.
    #[test]
    fn an_assignment_holds_exactly_at_the_scopes_above(
        text in "(/(a|providers|b)/(a|b|ab|providers)){1,5}",
        other in "(/(a|providers|b)/(a|b|ab|providers)){1,4}",
        cut in 0usize..12,
    ) {
        let scope: ResourceId = text.parse().unwrap();
        let ends: Vec<usize> = text.match_indices('/').map(|(at, _)| at).chain([text.len()]).collect();
        for above in [&text[..ends[cut % ends.len()]], other.as_str(), "/", text.as_str()] {
            let Ok(above) = above.to_uppercase().parse::<ResourceId>() else { continue };
            prop_assert_eq!(
                NestedId::from(&above).holds_at(&scope),
                scope.scopes().any(|s| s == above.canonical()),
                "{} over {}", above, scope
            );
        }
    }

    /// More assignments never take anything away.
    #[test]
    fn assignments_add_up(first in 0usize..26, second in 0usize..26, action in 0usize..1000) {
        let roles = BuiltInRoles::load();
        let all: Vec<_> = roles.iter().collect();
        let actions = actions();
        let action = &actions[action % actions.len()];
        let one = Directory::new().assign(WHO, &all[first].name, "/");
        let both = Directory::new().assign(WHO, &all[first].name, "/").assign(WHO, &all[second].name, VAULT);
        prop_assert_eq!(
            both.may(action, VAULT),
            one.may(action, VAULT) || all[second].allows(action)
        );
    }
}

#[test]
fn a_hostile_pattern_costs_no_more_than_its_length() {
    // Exponential or quadratic-per-star matching would not come back from this in the life of the test.
    let pattern = "*a".repeat(20_000) + "b";
    let action = "a".repeat(40_000);
    assert!(!matches(&pattern, &action));
}

/// What the matrix asks: one action a line in `actions.txt`, data actions marked.
fn actions() -> Vec<Action> {
    include_str!("actions.txt")
        .lines()
        .map(|line| match line.strip_prefix("data ") {
            Some(name) => Action::Data(name.to_owned().into()),
            None => Action::Control(line.to_owned().into()),
        })
        .collect()
}

/// Who may do what, as a file in the tree: a change of it in review is the change of rights.
#[test]
fn the_matrix_of_roles_and_actions() {
    let directory = Directory::new();
    let mut text = String::new();
    for action in actions() {
        let plane = if matches!(action, Action::Data(_)) { "data " } else { "" };
        text.push_str(&format!("{plane}{action}\n"));
        for role in directory.built_in.iter() {
            let one = Directory::new().assign(WHO, &role.name, "/");
            if one.may(&action, VAULT) {
                text.push_str(&format!("    {}\n", role.name));
            }
        }
    }
    insta::assert_snapshot!("role_matrix", text);
}

#[test]
fn what_a_group_is_assigned_its_members_have() {
    let group = PrincipalId(Uuid::from_u128(2));
    let mut directory = Directory::new().assign(group, "Key Vault Secrets User", VAULT);
    let vault: ResourceId = VAULT.parse().unwrap();
    let allowed = |directory: &Directory, who| authorize(&directory, who, &GET, &vault, &Attributes::default()).allowed;
    assert!(!allowed(&directory, WHO));
    directory.groups = vec![PrincipalId(Uuid::from_u128(3)), group];
    assert!(allowed(&directory, WHO));
    assert!(!allowed(&directory, PrincipalId(Uuid::from_u128(4))), "who is in no group has nothing of it");
}

#[test]
fn nobody_asks_for_the_groups_of_who_may_by_itself() {
    let vault: ResourceId = VAULT.parse().unwrap();
    let mut directory = Directory::new().assign(WHO, "Key Vault Secrets User", VAULT);
    directory.is_asked_for_no_groups = true;
    assert!(authorize(&&directory, WHO, &GET, &vault, &Attributes::default()).allowed);
}
