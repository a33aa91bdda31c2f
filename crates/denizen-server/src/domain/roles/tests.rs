use super::*;

#[test]
fn the_compiled_in_roles_are_well_formed_and_complete() {
    let roles = BuiltInRoles::load();
    assert_eq!(roles.iter().count(), 31);
    // Ids that tools hard-code.
    for (id, name) in [
        ("8e3af657-a8ff-443c-a75c-2fe8c4bcb635", "Owner"),
        ("b24988ac-6180-42a0-ab88-20f7382dd24c", "Contributor"),
        ("acdd72a7-3385-48ef-bd42-f606fba81ae7", "Reader"),
        ("4633458b-17de-408a-b874-0445c86b69e6", "Key Vault Secrets User"),
        ("b86a8fe4-44ce-4948-aee5-eccb2c155cd7", "Key Vault Secrets Officer"),
        ("00482a5a-887f-4fb3-b363-3b7fe8e74483", "Key Vault Administrator"),
        ("62e90394-69f5-4237-9190-012177145e10", "Global Administrator"),
        ("9b895d92-2cd3-44c7-9d02-a6ac2d5ea5c3", "Application Administrator"),
        ("fe930be7-5e62-47db-91af-98c3a49a38b1", "User Administrator"),
        ("fdd7a751-b60b-444a-984c-02652fe8fa1c", "Groups Administrator"),
        ("88d8e3e3-8f55-4a1e-953a-9b9898b8876b", "Directory Readers"),
    ] {
        assert_eq!(roles.role(id.parse().unwrap()).unwrap().name, name);
        assert_eq!(roles.named(&name.to_uppercase()).unwrap().id, id.parse().unwrap());
    }
    assert!(roles.iter().all(|role| role.tenant.is_none() && role.assignable_scopes == [ResourceId::root()]));
}

#[test]
fn names_are_unique_too() {
    let roles = BuiltInRoles::load();
    let mut names: Vec<_> = roles.iter().map(|role| role.name.to_lowercase()).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), roles.iter().count());
}

#[test]
fn a_refusal_proposes_the_narrowest_role() {
    let roles = BuiltInRoles::load();
    for (action, name) in [
        (Action::data("Microsoft.KeyVault/vaults/secrets/getSecret/action"), Some("Key Vault Secrets User")),
        (Action::data("Microsoft.KeyVault/vaults/secrets/setSecret/action"), Some("Key Vault Secrets Officer")),
        (Action::data("Microsoft.KeyVault/vaults/keys/sign/action"), Some("Key Vault Crypto User")),
        (Action::control("Microsoft.HybridCompute/machines/write"), Some("Azure Connected Machine Onboarding")),
        (Action::control("Microsoft.KeyVault/vaults/write"), Some("Key Vault Contributor")),
        (Action::data("Contoso.Unknown/things/read"), None),
    ] {
        assert_eq!(roles.proposal(&action).map(|role| role.name.as_str()), name, "{action}");
    }
}

#[test]
fn a_data_file_with_a_fault_is_refused_with_the_reason() {
    let role = |id: &str, pattern: &str| {
        format!(
            r#"{{"id":"{id}","name":"R","description":"","actions":["{pattern}"],"notActions":[],"dataActions":[],"notDataActions":[]}}"#
        )
    };
    let a = "00000000-0000-0000-0000-000000000001";
    assert!(BuiltInRoles::parse(&format!("[{}]", role(a, "*/read"))).is_ok());
    assert_eq!(
        BuiltInRoles::parse(&format!("[{},{}]", role(a, "*"), role(a, "*"))).unwrap_err(),
        BadRole::Twice(a.parse().unwrap())
    );
    for bad in ["", "read", "a//b", "/a", "a/", "a b/c", "a/?", "a/b\u{e9}"] {
        let error = BuiltInRoles::parse(&format!("[{}]", role(a, bad))).unwrap_err();
        assert!(matches!(error, BadRole::Pattern { member: "actions", .. }), "{bad}: {error}");
    }
    let misspelt = role(a, "*").replace("notActions", "notaction");
    assert!(matches!(BuiltInRoles::parse(&format!("[{misspelt}]")).unwrap_err(), BadRole::Unreadable(_)));
}

#[test]
fn roles_for_resources_and_roles_of_the_directory_never_reach_each_other() {
    let roles = BuiltInRoles::load();
    let directory = Action::control("Microsoft.Directory/applications/create");
    let resources = Action::control("Microsoft.Resources/subscriptions/resourceGroups/write");
    for role in roles.iter() {
        let is_of_directory = role.is_of_directory();
        let may_register = ["Global Administrator", "Application Administrator"].contains(&role.name.as_str());
        assert_eq!(role.allows(&directory), may_register, "{}", role.name);
        assert!(!(is_of_directory && role.allows(&resources)), "{}", role.name);
    }
    assert!(roles.named("Owner").unwrap().allows(&resources), "'*' is everything else");
}
