//! The rules of a credential, whom a token fits, and the grammar of expressions.

use proptest::prelude::*;
use serde_json::json;

use super::*;

const GITHUB: &str = "https://token.actions.githubusercontent.com";

fn credential(name: &str, issuer: &str, subject: &str) -> FederatedCredential {
    FederatedCredential {
        id: Uuid::from_u128(1),
        name: name.into(),
        issuer: issuer.into(),
        whom: Whom::Subject(subject.into()),
        audiences: vec![DEFAULT_AUDIENCE.into()],
        description: String::new(),
    }
}

fn claims(value: &Value) -> &Map<String, Value> {
    value.as_object().unwrap()
}

#[test]
fn each_rule_of_a_new_credential_is_held_exactly() {
    let good = || credential("main-branch", GITHUB, "repo:contoso/app:ref:refs/heads/main");
    assert_eq!(good().check(), Ok(()));
    for (name, is_good) in [
        ("abc", true),
        ("0_-", true),
        (&"a".repeat(120), true),
        ("ab", false),
        (&"a".repeat(121), false),
        ("-ab", false),
        ("_ab", false),
        ("a b", false),
        ("a.b", false),
        ("äbc", false),
        ("", false),
    ] {
        let result = FederatedCredential { name: name.into(), ..good() }.check();
        assert_eq!(result, if is_good { Ok(()) } else { Err(Rule::Name) }, "{name}");
    }
    for issuer in [
        "http://issuer.test",
        "https://",
        "https:///path",
        "https://user@issuer.test",
        "https://issuer.test?x=1",
        "https://issuer.test/#x",
        "https://issuer.test:0",
        "https://issuer.test:99999",
        "https://issuer.test:",
        "https://issuer.test\\@evil.test",
        "https://2130706433",
        "https://0x7f000001",
        "https://127.1",
        "https://issuer..test",
        "HTTPS://issuer.test",
        "issuer.test",
    ] {
        let result = FederatedCredential { issuer: issuer.into(), ..good() }.check();
        assert!(matches!(result, Err(Rule::Issuer(_))), "{issuer}: {result:?}");
    }
    let long = |n: usize| "é".repeat(n);
    for (subject, is_good) in [
        (long(600), true),
        (long(601), false),
        (" a".into(), false),
        ("a ".into(), false),
        ("a\nb".into(), false),
        (String::new(), false),
    ] {
        let result = FederatedCredential { whom: Whom::Subject(subject.clone()), ..good() }.check();
        assert_eq!(result, if is_good { Ok(()) } else { Err(Rule::Text("subject")) }, "{subject}");
    }
    let issuer = format!(" {GITHUB}");
    assert_eq!(FederatedCredential { issuer, ..good() }.check(), Err(Rule::Text("issuer")));
    for audiences in [vec![], vec!["a".to_owned(), "b".to_owned()]] {
        assert_eq!(FederatedCredential { audiences, ..good() }.check(), Err(Rule::Audiences));
    }
    let description = "x".repeat(601);
    assert_eq!(FederatedCredential { description, ..good() }.check(), Err(Rule::Text("description")));
}

#[test]
fn a_list_has_twenty_with_a_name_and_a_pair_each() {
    let mut list = Vec::new();
    for n in 0..MOST {
        add(&mut list, credential(&format!("name{n}"), GITHUB, &format!("s{n}"))).unwrap();
    }
    assert_eq!(add(&mut list, credential("another", GITHUB, "another")), Err(Rule::Full));
    list.pop();
    assert_eq!(add(&mut list, credential("NAME3", GITHUB, "x")), Err(Rule::NameTaken("NAME3".into())));
    assert_eq!(add(&mut list, credential("another", GITHUB, "s4")), Err(Rule::PairTaken("name4".into())));
    // Case makes another subject, and so does another issuer.
    add(&mut list, credential("another", GITHUB, "S4")).unwrap();
    list.pop();
    add(&mut list, credential("another", "https://issuer.test", "s4")).unwrap();
}

#[test]
fn a_token_fits_exactly_or_not_at_all() {
    let list = [
        credential("one", GITHUB, "repo:contoso/app:environment:Production"),
        FederatedCredential {
            audiences: vec!["other".into()],
            ..credential("two", "https://k8s.test", "system:serviceaccount:a:b")
        },
    ];
    let found = |iss: &str, sub: &str, aud: Value| {
        let value = json!({"iss": iss, "sub": sub, "aud": aud});
        find(&list, claims(&value)).map(|it| it.name.clone())
    };
    let sub = "repo:contoso/app:environment:Production";
    assert_eq!(found(GITHUB, sub, json!(DEFAULT_AUDIENCE)), Ok("one".into()));
    assert_eq!(found(GITHUB, sub, json!(["x", DEFAULT_AUDIENCE])), Ok("one".into()));
    assert_eq!(found("https://k8s.test", "system:serviceaccount:a:b", json!(["other"])), Ok("two".into()));
    for issuer in [
        "https://token.actions.githubusercontent.com/",
        "https://TOKEN.actions.githubusercontent.com",
        "https://k8s.test/",
    ] {
        let error = found(issuer, sub, json!(DEFAULT_AUDIENCE)).unwrap_err();
        assert_eq!((error.code(), error), (700_211, Mismatch::Issuer(issuer.into())));
    }
    let cased = "repo:contoso/app:environment:production";
    let error = found(GITHUB, cased, json!(DEFAULT_AUDIENCE)).unwrap_err();
    assert_eq!((error.code(), error), (7_002_138, Mismatch::SubjectCase(cased.into())));
    // What another issuer's credential names is no subject here.
    let error = found(GITHUB, "system:serviceaccount:a:b", json!(DEFAULT_AUDIENCE)).unwrap_err();
    assert_eq!(error.code(), 700_213);
    for aud in
        [json!("other"), json!("API://AzureADTokenExchange"), json!(["x", "y"]), json!([]), json!(5), Value::Null]
    {
        assert_eq!(found(GITHUB, sub, aud).unwrap_err().code(), 700_212);
    }
    for lacking in [json!({"sub": "x"}), json!({"iss": GITHUB}), json!({"iss": 1, "sub": 2})] {
        assert_eq!(find(&list, claims(&lacking)).unwrap_err().code(), 50_027);
    }
    let error = found("https://evil.test/\r\n'", sub, json!("x")).unwrap_err();
    assert!(!error.to_string().contains("evil"), "{error}");
}

#[test]
fn an_expression_stands_for_whom_its_conditions_fit() {
    let expression = |text: &str| text.parse::<Expression>().unwrap();
    let list = [FederatedCredential {
        whom: Whom::Expression(expression(
            "claims['sub'] matches 'repo:contoso/*:ref:refs/heads/release-?' and claims['repository_owner'] eq 'contoso'",
        )),
        ..credential("any", GITHUB, "")
    }];
    let found = |sub: &str, owner: Value| {
        let value = json!({"iss": GITHUB, "sub": sub, "aud": DEFAULT_AUDIENCE, "repository_owner": owner});
        find(&list, claims(&value)).map(|_| ()).map_err(|error| error.code())
    };
    assert_eq!(found("repo:contoso/app:ref:refs/heads/release-1", json!("contoso")), Ok(()));
    assert_eq!(found("repo:contoso/a:ref:x/b:ref:refs/heads/release-2", json!("contoso")), Ok(()));
    for (sub, owner) in [
        ("repo:contoso/app:ref:refs/heads/release-12", json!("contoso")),
        ("repo:contoso/app:ref:refs/heads/release-", json!("contoso")),
        ("repo:Contoso/app:ref:refs/heads/release-1", json!("contoso")),
        ("repo:contoso/app:ref:refs/heads/release-1", json!("Contoso")),
        ("repo:contoso/app:ref:refs/heads/release-1", json!(["contoso"])),
        ("repo:contoso/app:ref:refs/heads/release-1", Value::Null),
    ] {
        assert_eq!(found(sub, owner.clone()), Err(7_002_131), "{sub} {owner}");
    }
    let any = expression("claims['a'] matches 'x*'");
    for (length, fits) in [(4096, true), (4097, false)] {
        assert_eq!(any.fits(claims(&json!({"a": "x".repeat(length)}))), fits);
    }
    // In `eq` a star is a star.
    let starred = expression("claims['a'] eq 'x*'");
    assert!(starred.fits(claims(&json!({"a": "x*"}))) && !starred.fits(claims(&json!({"a": "xy"}))));
}

#[test]
fn a_faulty_expression_names_the_place() {
    for (text, at) in [
        ("", 1),
        ("claims['sub']", 14),
        ("claims['sub'] ne 'x'", 14),
        ("claims['sub'] eq 'x", 19),
        ("claims['sub'] eq ''", 20),
        ("claims['sub'] matches '*?*'", 28),
        ("claims['sub'] eq 'x' or claims['sub'] eq 'y'", 21),
        ("claims['sub'] eq 'x' and ", 26),
        ("claims['sub'] eq 'x'  and claims['sub'] eq 'y'", 21),
        ("claims['s b'] eq 'x'", 13),
        ("claims[''] eq 'x'", 10),
        (" claims['sub'] eq 'x'", 1),
        ("not claims['sub'] eq 'x'", 1),
        ("claims['sub'] eq 'it''s'", 22),
    ] {
        let error = text.parse::<Expression>().unwrap_err();
        assert_eq!(error.at, at, "{text}: {error}");
    }
    let many = |n: usize| vec!["claims['s'] eq 'x'"; n].join(" and ");
    assert!(many(16).parse::<Expression>().is_ok());
    assert_eq!(many(17).parse::<Expression>().unwrap_err().rule, "it has more than 16 conditions");
    let long = format!("claims['s'] eq '{}'", "x".repeat(600));
    assert_eq!(long.parse::<Expression>().unwrap_err().at, 601);
}

/// The plain meaning of a pattern, slow and obviously right.
fn plainly(pattern: &[char], text: &[char]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some(('*', rest)), _) => {
            plainly(rest, text) || text.split_first().is_some_and(|(_, less)| plainly(pattern, less))
        }
        (Some(('?', rest)), Some((_, less))) => plainly(rest, less),
        (Some((wanted, rest)), Some((found, less))) => wanted == found && plainly(rest, less),
        _ => false,
    }
}

proptest! {
    #[test]
    fn a_pattern_means_what_it_plainly_means(pattern in "x[ab?*é]{0,7}", text in "x[abé]{0,8}") {
        let expression: Expression = format!("claims['c'] matches '{pattern}'").parse().unwrap();
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        prop_assert_eq!(expression.fits(claims(&json!({"c": text}))), plainly(&chars(&pattern), &chars(&text)));
    }

    /// What is kept is the text, and the text says it all.
    #[test]
    fn an_expression_survives_being_kept(
        conditions in proptest::collection::vec(("[a-z_.:/-]{1,20}", any::<bool>(), "[ -&(-~é]{0,19}x"), 1..8),
    ) {
        let written = |(claim, eq, value): &(String, bool, String)| {
            format!("claims['{claim}'] {} '{value}'", if *eq { "eq" } else { "matches" })
        };
        let text = conditions.iter().map(written).collect::<Vec<_>>().join(" and ");
        let expression: Expression = text.parse().unwrap();
        let json = serde_json::to_string(&expression).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Expression>(&json).unwrap(), &expression);
        // The claims that are named fit `eq`; where one is named twice with two values, nothing does.
        let all: Map<String, Value> =
            conditions.iter().map(|(claim, _, value)| (claim.clone(), value.clone().into())).collect();
        let agree = conditions.iter().all(|(claim, eq, value)| !eq || all[claim] == value.as_str());
        prop_assert!(!expression.fits(&all) || agree);
        prop_assert!(!expression.fits(&Map::new()));
    }

    /// Whatever somebody writes: an answer, whose place is in the text or just behind it.
    #[test]
    fn no_text_is_too_absurd(text in "(claims\\['|'\\]| eq | matches |'| and |[a-z*é\\x00 ]){0,20}") {
        if let Err(error) = text.parse::<Expression>() {
            prop_assert!((1..=text.chars().count() + 1).contains(&error.at));
        }
    }
}
