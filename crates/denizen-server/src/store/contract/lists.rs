//! Lists: what is asked for and nothing else, in order, a page after the other, at the cost of the page.

use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};

use super::{DataPlace, fixtures::*, writes::founded};
use crate::{
    domain::{
        deleted::DeletedObject,
        directory::{Application, PrincipalKind, ServicePrincipal},
        grants::{AppRoleAssignment, PermissionGrant},
        people::{Group, Membership, User},
        query::{Filter, Literal, Options, Order, Search, Test},
    },
    store::{List, ListError, Listed, Page, Store, list::fields::Place},
};

/// Names of people and things as they are, each a little like another.
const NAMES: [&str; 9] =
    ["Build", "build server", "BUILD 2", "Ädi", "ädi", "it's", "100% _sure_\\", "Zoë", "Azure build"];

async fn filled(place: &impl DataPlace) -> Store {
    let store = founded(place).await;
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    for (n, name) in (1..).zip(NAMES) {
        let uris: &[&str] = if n == 1 { &["api://one", "https://One.example"] } else { &[] };
        let app = Application { display_name: name.to_owned(), ..application(1, n, uris) };
        let kind = match n % 3 {
            0 => PrincipalKind::ManagedIdentity { resource_id: machine_id(1, &format!("m{n}")) },
            _ => PrincipalKind::Application,
        };
        let is_application = kind == PrincipalKind::Application;
        let it = ServicePrincipal { display_name: name.to_owned(), enabled: n % 4 != 0, kind, ..principal(1, n) };
        let mail = (n % 2 == 0).then(|| format!("User{n}@Mail.example"));
        let person = User { display_name: name.to_owned(), mail, enabled: n % 4 != 0, ..user(1, n) };
        let description = (n % 2 == 0).then(|| format!("Those of {name}"));
        let group = Group { display_name: name.to_owned(), description, ..user_group(1, n) };
        if is_application {
            tx.insert(&app).await.unwrap();
        }
        tx.insert(&it).await.unwrap();
        tx.insert(&person).await.unwrap();
        tx.insert(&group).await.unwrap();
        tx.insert(&app_role(1, n, principal_id(n % 3))).await.unwrap();
        tx.insert(&permission_grant(1, n, n % 3)).await.unwrap();
        tx.insert(&DeletedObject { display_name: name.to_owned(), ..deleted_object(1, n) }).await.unwrap();
    }
    tx.commit(event("fill")).await.unwrap();
    // Another tenant has the same of everything.
    let mut tx = store.begin(&ctx(2)).await.unwrap();
    tx.insert(&tenant(2)).await.unwrap();
    tx.insert(&user(2, 1)).await.unwrap();
    tx.insert(&principal(2, 1)).await.unwrap();
    tx.insert(&application(2, 1, &["api://one"])).await.unwrap();
    tx.commit(event("fill")).await.unwrap();
    store
}

/// All pages of a list, each of at most two.
async fn all<R: Listed + std::fmt::Debug>(store: &Store, list: &List<'_>) -> Result<Vec<R>, ListError> {
    let (mut found, mut after) = (Vec::new(), None::<String>);
    for _ in 0..50 {
        let page: Page<R> = store.list(&ctx(1), &List { after: after.as_deref(), limit: 2, ..list.clone() }).await?;
        assert!(page.items.len() == 2 || page.next.is_none(), "a page is full while there is another");
        found.extend(page.items);
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(found),
        }
    }
    panic!("it has no end: {found:?}");
}

async fn names_of<R: Listed + std::fmt::Debug>(store: &Store, query: &str, name: impl Fn(&R) -> String) -> Vec<String> {
    let pairs = query.split('&').filter(|it| !it.is_empty()).filter_map(|it| it.split_once('='));
    let options = Options::parse(pairs).unwrap();
    let list = List {
        filters: options.filter.iter().collect(),
        search: &options.search,
        order: options.order.as_ref(),
        ..List::default()
    };
    let found = all::<R>(store, &list).await.unwrap_or_else(|error| panic!("{query}: {error}"));
    let count = store.count::<R>(&ctx(1), &list).await.unwrap();
    assert_eq!(count, found.len() as u64, "{query}");
    found.iter().map(name).collect()
}

pub(super) async fn what_clients_ask_for_is_found<P: DataPlace>(place: P) {
    let store = filled(&place).await;
    let users = async |query: &str| names_of::<User>(&store, query, |it| it.display_name.clone()).await;
    // By the bytes of the names, whatever the case of ASCII letters.
    let ordered = ["100% _sure_\\", "Azure build", "Build", "BUILD 2", "build server", "it's", "Zoë", "Ädi", "ädi"];
    assert_eq!(users("").await, ordered);
    let mut backwards = ordered;
    backwards.reverse();
    assert_eq!(users("$orderby=displayName desc").await, backwards);
    for (query, names) in [
        ("$filter=displayName eq 'BUILD'", &["Build"][..]),
        ("$filter=startswith(displayName,'bUiLd')", &["Build", "BUILD 2", "build server"]),
        ("$filter=startswith(displayName,'100%')", &["100% _sure_\\"]),
        ("$filter=endswith(displayName,'_SURE_\\')", &["100% _sure_\\"]),
        ("$filter=endswith(displayName,'build')", &["Azure build", "Build"]),
        ("$filter=startswith(displayName,'')", &ordered),
        ("$filter=displayName eq 'it''s'", &["it's"]),
        ("$filter=displayName eq 'Ädi'", &["Ädi"]),
        ("$filter=userPrincipalName eq 'USER2@t1.example'", &["build server"]),
        ("$filter=mail eq 'user2@mail.EXAMPLE'", &["build server"]),
        ("$filter=mail eq null and startswith(displayName,'b')", &["Build", "BUILD 2"]),
        ("$filter=mail ne null and startswith(displayName,'b')", &["build server"]),
        ("$filter=mail ne 'user2@mail.example' and startswith(displayName,'b')", &["Build", "BUILD 2"]),
        ("$filter=not(mail eq 'user2@mail.example') and startswith(displayName,'b')", &["Build", "BUILD 2"]),
        ("$filter=accountEnabled eq false", &["Zoë", "Ädi"]),
        ("$filter=displayName in ('build','zoë')", &["Build", "Zoë"]),
        ("$filter=userType eq 'Member' and displayName eq 'build'", &["Build"]),
        ("$filter=userType eq 'Guest'", &[]),
        ("$search=\"displayName:build\"", &["Azure build", "Build", "BUILD 2", "build server"]),
        ("$search=\"displayName:uild\"", &[]),
        ("$search=\"displayName:_sure\"", &["100% _sure_\\"]),
    ] {
        assert_eq!(users(query).await, names, "{query}");
    }
    let by_name = users("$orderby=userPrincipalName").await;
    assert_eq!(by_name, NAMES);
    let principals =
        async |query: &str| names_of::<ServicePrincipal>(&store, query, |it| it.display_name.clone()).await;
    let machine = machine_id(1, "M3").to_string().to_uppercase();
    for (query, names) in [
        ("$filter=servicePrincipalType eq 'ManagedIdentity'".to_owned(), &["Azure build", "BUILD 2", "it's"][..]),
        ("$filter=servicePrincipalType eq 'Application' and displayName eq 'build'".to_owned(), &["Build"]),
        ("$filter=servicePrincipalType eq 'Legacy'".to_owned(), &[]),
        (format!("$filter=alternativeNames/any(x:x eq '{machine}')"), &["BUILD 2"]),
        (format!("$filter=appId eq '{}'", client(2)), &["build server"]),
        (format!("$filter=servicePrincipalNames/any(c:c eq '{}')", client(2)), &["build server"]),
        ("$filter=servicePrincipalNames/any(c:c eq 'api://one')".to_owned(), &["Build"]),
        ("$filter=servicePrincipalNames/any(c:c eq 'API://one')".to_owned(), &[]),
        (format!("$filter=id eq '{}'", principal_id(7).to_string().to_uppercase()), &["100% _sure_\\"]),
    ] {
        assert_eq!(principals(&query).await, names, "{query}");
    }
    let applications = async |query: &str| names_of::<Application>(&store, query, |it| it.display_name.clone()).await;
    assert_eq!(applications("$filter=identifierUris/any(s:s eq 'https://One.example')").await, ["Build"]);
    let by_object = format!("$filter=id eq {}", application(1, 4, &[]).object_id);
    assert_eq!(applications(&by_object).await, ["Ädi"]);
    let assignments = async |query: String| names_of::<AppRoleAssignment>(&store, &query, |it| it.id.to_string()).await;
    assert_eq!(assignments(format!("$filter=principalId eq '{}'", principal_id(1))).await.len(), 3);
    let grants = async |query: String| names_of::<PermissionGrant>(&store, &query, |it| it.id.to_string()).await;
    assert_eq!(
        grants(format!("$filter=clientId eq '{}' and consentType eq 'AllPrincipals'", principal_id(2))).await.len(),
        3
    );
    assert_eq!(grants("$filter=consentType eq 'Principal'".to_owned()).await.len(), 0);
    let gone = async |query: &str| names_of::<DeletedObject>(&store, query, |it| it.display_name.clone()).await;
    assert_eq!(gone("$filter=kind eq 'user'").await, ordered);
    assert_eq!(gone("$filter=kind eq 'group'").await.len(), 0);
}

/// What is said in SQL and what is said of a row that was read are the same, of every filter.
pub(super) async fn both_readings_of_a_filter_agree<P: DataPlace>(place: P) {
    let store = filled(&place).await;
    let mut runner = TestRunner::deterministic();
    for _ in 0..60 {
        agree::<User>(&store, &mut runner, |it| it.id.to_string()).await;
        agree::<ServicePrincipal>(&store, &mut runner, |it| it.id.to_string()).await;
        agree::<Group>(&store, &mut runner, |it| it.id.to_string()).await;
        agree::<Application>(&store, &mut runner, |it| it.object_id.to_string()).await;
    }
}

/// What a filter finds, and what its opposite finds, are together all there is: neither gives a row that the other reading
/// refuses, for that would be an error.
async fn agree<R: Listed + std::fmt::Debug>(store: &Store, runner: &mut TestRunner, id: impl Fn(&R) -> String) {
    let filter = filters::<R>().new_tree(runner).unwrap().current();
    let (of, opposite) = (filter.clone(), Filter::Not(Box::new(filter)));
    let mut found = Vec::new();
    for filter in [&of, &opposite] {
        let list = List { filters: vec![filter], ..List::default() };
        let some = all::<R>(store, &list).await.unwrap_or_else(|error| panic!("{filter:?}: {error}"));
        found.extend(some.iter().map(&id));
    }
    found.sort();
    let mut every: Vec<_> = all::<R>(store, &List::default()).await.unwrap().iter().map(&id).collect();
    every.sort();
    assert_eq!(found, every, "{of:?}");
}

fn filters<R: Listed>() -> impl Strategy<Value = Filter> {
    let text =
        prop::sample::select(vec!["build", "BUILD 2", "Ä", "", "zoë", "it's", "%", "user2@t1.example", "Application"]);
    let text = text.prop_map(str::to_owned);
    let leaf = (prop::sample::select(R::FIELDS), text, any::<bool>(), 0..5u8).prop_map(|(field, text, is, form)| {
        let name = field.name.to_owned();
        let is_flag = matches!(field.place, Place::Flag(_));
        let value = if is_flag { Literal::Bool(is) } else { Literal::Text(text.clone()) };
        let is_text = matches!(field.place, Place::Text(_) | Place::Unique(_));
        let test = match form {
            0 if is_text => Test::StartsWith(text),
            1 if is_text => Test::EndsWith(text),
            2 if !field.place.is_collection() => Test::Differs(value),
            3 => Test::In(vec![value.clone(), value]),
            4 if is_text => Test::Equals(Literal::Null),
            _ => Test::Equals(value),
        };
        match field.place.is_collection() {
            true => Filter::Any(name, test),
            false => Filter::Is(name, test),
        }
    });
    leaf.prop_recursive(3, 8, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| Filter::And(Box::new(a), Box::new(b))),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| Filter::Or(Box::new(a), Box::new(b))),
            inner.prop_map(|a| Filter::Not(Box::new(a))),
        ]
    })
}

pub(super) async fn many_of_one_name_are_each_listed_once<P: DataPlace>(place: P) {
    let store = founded(&place).await;
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    for n in 1..=9 {
        tx.insert(&Group { display_name: "same".to_owned(), ..user_group(1, n) }).await.unwrap();
    }
    tx.commit(event("fill")).await.unwrap();
    for descending in [false, true] {
        let order = Order { property: "displayName".to_owned(), descending };
        let list = List { order: Some(&order), ..List::default() };
        let found: Vec<_> = all::<Group>(&store, &list).await.unwrap().into_iter().map(|it| it.id).collect();
        let mut expected: Vec<_> = (1..=9).map(|n| user_group(1, n).id).collect();
        if descending {
            expected.reverse();
        }
        assert_eq!(found, expected);
    }
}

pub(super) async fn a_place_is_good_for_its_own_list_only<P: DataPlace>(place: P) {
    let store = filled(&place).await;
    let filter = Filter::parse("startswith(displayName,'build')").unwrap();
    let list = List { filters: vec![&filter], limit: 1, ..List::default() };
    let next = store.list::<User>(&ctx(1), &list).await.unwrap().next.unwrap();
    let at = |place: &'static str| List { after: Some(place), ..list.clone() };
    let next: &'static str = next.leak();
    assert_eq!(store.list::<User>(&ctx(1), &at(next)).await.unwrap().items[0].display_name, "BUILD 2");
    // A page of another size is the same list.
    let wider = List { limit: 5, ..at(next) };
    assert_eq!(store.list::<User>(&ctx(1), &wider).await.unwrap().items.len(), 2);
    let refused = |done: Result<(), ListError>| match done {
        Err(ListError::Query(bad)) => assert_eq!(bad.option, "$skiptoken"),
        other => panic!("{other:?}"),
    };
    refused(store.list::<Group>(&ctx(1), &at(next)).await.map(drop));
    refused(store.list::<User>(&ctx(2), &at(next)).await.map(drop));
    let (order, search) = (
        Order { property: "displayName".into(), descending: true },
        [Search { property: "displayName".into(), text: "b".into() }],
    );
    refused(store.list::<User>(&ctx(1), &List { order: Some(&order), ..at(next) }).await.map(drop));
    refused(store.list::<User>(&ctx(1), &List { search: &search, ..at(next) }).await.map(drop));
    refused(store.list::<User>(&ctx(1), &List { filters: vec![], ..at(next) }).await.map(drop));
    for (at_byte, _) in next.bytes().enumerate() {
        let mut edited = next.as_bytes().to_vec();
        edited[at_byte] = if edited[at_byte] == b'A' { b'B' } else { b'A' };
        let edited: &'static str = String::from_utf8(edited).unwrap().leak();
        refused(store.list::<User>(&ctx(1), &at(edited)).await.map(drop));
    }
    for no_place in ["", "AAAA", "%%%"] {
        refused(store.list::<User>(&ctx(1), &at(no_place)).await.map(drop));
    }
}

pub(super) async fn what_has_no_field_is_refused_by_name<P: DataPlace>(place: P) {
    let store = founded(&place).await;
    for (filter, says) in [
        ("jobTitle eq 'x'", "'jobTitle': it is no property that is answered here; displayName"),
        ("accountEnabled eq 'true'", "true or false, without quotes"),
        ("displayName eq true", "a text in single quotes"),
        ("displayName/any(x:x eq 'a')", "it is no collection"),
        ("startswith(id,'a')", "use eq"),
        ("startswith(accountEnabled,'a')", "use eq"),
    ] {
        let filter = Filter::parse(filter).unwrap();
        let refused = store.list::<User>(&ctx(1), &List { filters: vec![&filter], limit: 1, ..List::default() }).await;
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains(says), "{filter:?}: {refused}");
    }
    let collection = Filter::parse("servicePrincipalNames eq 'a'").unwrap();
    let list = List { filters: vec![&collection], limit: 1, ..List::default() };
    assert!(store.list::<ServicePrincipal>(&ctx(1), &list).await.unwrap_err().to_string().contains("any(x:x"));
    let differs = Filter::parse("servicePrincipalNames/any(x:x ne 'a')").unwrap();
    let list = List { filters: vec![&differs], limit: 1, ..List::default() };
    assert!(store.list::<ServicePrincipal>(&ctx(1), &list).await.unwrap_err().to_string().contains("ne inside any()"));
    let order = Order { property: "mail".into(), descending: false };
    let list = List { order: Some(&order), limit: 1, ..List::default() };
    let refused = store.list::<User>(&ctx(1), &list).await.unwrap_err().to_string();
    assert!(refused.contains("'mail' is not ordered by here; displayName, userPrincipalName is"), "{refused}");
}

pub(super) async fn the_members_of_a_group_lie_together<P: DataPlace>(place: P) {
    let store = founded(&place).await;
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    for group in 1..=3 {
        for member in 1..=4 {
            tx.insert(&membership(1, group, user(1, member).id)).await.unwrap();
        }
    }
    tx.commit(event("fill")).await.unwrap();
    let group = user_group(1, 2).id;
    let (from, to) = (format!("{group}/"), format!("{group}0"));
    let found: Vec<Membership> = store.between(&ctx(1), (&from, &to), 3).await.unwrap();
    assert_eq!(found.iter().map(|it| it.member).collect::<Vec<_>>(), [1, 2, 3].map(|n| user(1, n).id));
    assert!(found.iter().all(|it| it.group == group));
    let from = format!("{group}/{}", found[2].member);
    let rest: Vec<Membership> = store.between(&ctx(1), (&from, &to), 3).await.unwrap();
    assert_eq!(rest.iter().map(|it| it.member).collect::<Vec<_>>(), [user(1, 4).id]);
}

/// Statements of lists, each with the index that it is to use.
pub(super) fn statements(dialect: crate::store::db::Dialect) -> Vec<(String, &'static str)> {
    fn of<R: Listed>(dialect: crate::store::db::Dialect, query: &str, after: Option<(&str, &str)>) -> String {
        let pairs = query.split('&').filter(|it| !it.is_empty()).filter_map(|it| it.split_once('='));
        let options = Options::parse(pairs).unwrap();
        let filters = options.filter.iter().collect();
        let list = List { filters, order: options.order.as_ref(), limit: 100, ..List::default() };
        crate::store::list::text_of_statement::<R>(dialect, &list, after)
    }
    let after = Some(("m", "n"));
    vec![
        (of::<User>(dialect, "", None), "users_by_name"),
        (of::<User>(dialect, "", after), "users_by_name"),
        (of::<User>(dialect, "$orderby=displayName desc", after), "users_by_name"),
        (of::<User>(dialect, "$filter=startswith(displayName,'a')", after), "users_by_name"),
        (of::<User>(dialect, "$filter=displayName eq 'a'", None), "users_by_name"),
        (of::<User>(dialect, "$filter=mail eq 'a'", None), "users_by_mail"),
        (of::<Group>(dialect, "", after), "groups_by_name"),
        (of::<Application>(dialect, "", after), "applications_by_name"),
        (of::<Application>(dialect, "$filter=id eq 'x'", None), "applications_by_object"),
        (of::<ServicePrincipal>(dialect, "", after), "service_principals_by_name"),
        (
            of::<ServicePrincipal>(dialect, "$filter=servicePrincipalType eq 'ManagedIdentity'", after),
            "service_principals_managed",
        ),
        (
            of::<ServicePrincipal>(dialect, "$filter=alternativeNames/any(x:x eq 'a')", None),
            "service_principals_by_resource",
        ),
        (of::<DeletedObject>(dialect, "$filter=kind eq 'user'", after), "deleted_objects_by_name"),
        (of::<AppRoleAssignment>(dialect, "$filter=principalId eq 'a'", None), "app_role_assignments_by_principal"),
        (of::<AppRoleAssignment>(dialect, "$filter=resourceId eq 'a'", None), "app_role_assignments_by_resource"),
        (of::<PermissionGrant>(dialect, "$filter=clientId eq 'a'", None), "permission_grants_by_client"),
    ]
}
