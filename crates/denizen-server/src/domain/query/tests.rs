use proptest::prelude::*;

use super::*;

fn is(property: &str, test: Test) -> Filter {
    Filter::Is(property.to_owned(), test)
}

fn text(value: &str) -> Literal {
    Literal::Text(value.to_owned())
}

fn options(query: &str) -> Result<Options, BadQuery> {
    let pairs: Vec<_> = query.split('&').filter(|it| !it.is_empty()).map(|it| it.split_once('=').unwrap()).collect();
    Options::parse(pairs)
}

#[test]
fn what_clients_send_is_read() {
    let both = |one, other| Filter::And(Box::new(one), Box::new(other));
    let either = |one, other| Filter::Or(Box::new(one), Box::new(other));
    let guid = "6f9619ff-8b86-d011-b42d-00cf4fc964ff";
    for (sent, filter) in [
        ("startswith(displayName,'N')", is("displayName", Test::StartsWith("N".into()))),
        ("startsWith(displayName, 'N') eq true", is("displayName", Test::StartsWith("N".into()))),
        ("displayName eq 'it''s'", is("displayName", Test::Equals(text("it's")))),
        ("displayName EQ ''", is("displayName", Test::Equals(text("")))),
        (
            "appId eq 'x' and accountEnabled eq true",
            both(is("appId", Test::Equals(text("x"))), is("accountEnabled", Test::Equals(Literal::Bool(true)))),
        ),
        (
            "a eq 'x' or b eq 'y' and c eq 'z'",
            either(
                is("a", Test::Equals(text("x"))),
                both(is("b", Test::Equals(text("y"))), is("c", Test::Equals(text("z")))),
            ),
        ),
        (
            "(a eq 'x' or b eq 'y') and c eq 'z'",
            both(
                either(is("a", Test::Equals(text("x"))), is("b", Test::Equals(text("y")))),
                is("c", Test::Equals(text("z"))),
            ),
        ),
        ("not(a eq null)", Filter::Not(Box::new(is("a", Test::Equals(Literal::Null))))),
        ("not startswith(a,'b')", Filter::Not(Box::new(is("a", Test::StartsWith("b".into()))))),
        ("endswith(mail,'@x.test')", is("mail", Test::EndsWith("@x.test".into()))),
        ("id in ('a','b')", is("id", Test::In(vec![text("a"), text("b")]))),
        ("identifierUris/any(s:s eq 'api://x')", Filter::Any("identifierUris".into(), Test::Equals(text("api://x")))),
        ("servicePrincipalNames/any(c:c eq 'x')", Filter::Any("servicePrincipalNames".into(), Test::Equals(text("x")))),
        ("tags/any(t: startswith(t, 'x'))", Filter::Any("tags".into(), Test::StartsWith("x".into()))),
        (&format!("id eq {guid}"), is("id", Test::Equals(Literal::Guid(guid.into())))),
        (
            "createdDateTime ne 2026-01-31T12:00:00Z",
            is("createdDateTime", Test::Differs(Literal::DateTime("2026-01-31T12:00:00Z".into()))),
        ),
        ("a/b eq -5", is("a/b", Test::Equals(Literal::Number(-5)))),
    ] {
        assert_eq!(Filter::parse(sent), Ok(filter), "{sent}");
    }
}

#[test]
fn what_is_not_answered_is_refused_with_its_place_and_the_rule() {
    for (sent, at, rule) in [
        ("", 0, "a comparison is missing"),
        ("displayName", 11, "expected eq, ne or in"),
        ("displayName eq", 14, "expected a value"),
        ("displayName eq 'a", 15, "not closed"),
        ("displayName eq 'a' 'b'", 19, "expected 'and', 'or'"),
        ("displayName eq \"a\"", 15, "neither a name nor a value"),
        ("contains(displayName,'a')", 0, "'contains' is not answered"),
        ("createdDateTime ge 2026-01-31T12:00:00Z", 16, "'ge' is not answered"),
        ("createdDateTime eq 2026-01-31T12:00", 19, "a time is written as"),
        ("memberOf/$count eq 0", 0, "'/$count' is not answered"),
        ("a/all(x:x eq 'b')", 0, "'all' is not answered"),
        ("tags/any(t:u eq 'x')", 11, "of its variable"),
        ("tags/any(t:t eq 'x' or t eq 'y')", 20, "one comparison"),
        ("tags/any()", 9, "expected a variable"),
        ("(a eq 'x'", 9, "expected ')'"),
        ("a eq 'x')", 8, "expected 'and', 'or'"),
        ("a in ()", 6, "expected a value"),
        ("a in ('x'", 9, "expected ',' or ')'"),
        ("startswith(a)", 12, "expected ','"),
        ("startswith(a,b)", 13, "a text in quotes"),
        ("startswith(a,'b') eq 'c'", 21, "true or false"),
        ("'a' eq a", 0, "expected the name"),
        ("ä eq 'x'", 0, "neither a name nor a value"),
        ("a eq 12x", 5, "no whole number"),
        ("a eq 99999999999999999999", 5, "no whole number"),
        ("a eq 'b\u{1}'", 7, "no control characters"),
        ("a eq 'ü' x", 9, "expected 'and', 'or'"),
    ] {
        let refused = Filter::parse(sent).unwrap_err();
        assert!(refused.rule.contains(rule) && refused.at == Some(at), "{sent}: {refused}");
        assert!(refused.to_string().starts_with(&format!("Invalid $filter at position {at}: ")), "{refused}");
    }
}

#[test]
fn what_is_too_long_or_too_deep_is_refused_and_what_is_just_not_is_read() {
    let nested = |n: usize| format!("{}a eq 'x'{}", "(".repeat(n), ")".repeat(n));
    assert!(Filter::parse(&nested(MAX_DEPTH)).is_ok());
    assert!(Filter::parse(&nested(MAX_DEPTH + 1)).unwrap_err().rule.contains("nested"));
    assert!(Filter::parse(&format!("{}a eq 'x'", "not ".repeat(MAX_DEPTH + 1))).unwrap_err().rule.contains("nested"));
    let terms = |n: usize| vec!["a eq 'x'"; n].join(" or ");
    assert!(Filter::parse(&terms(MAX_TERMS)).is_ok());
    assert!(Filter::parse(&terms(MAX_TERMS + 1)).unwrap_err().rule.contains("comparisons"));
    let values = |n: usize| format!("a in ({})", vec!["'x'"; n].join(","));
    assert!(Filter::parse(&values(MAX_TERMS)).is_ok());
    assert!(Filter::parse(&values(MAX_TERMS + 1)).unwrap_err().rule.contains("comparisons"));
    assert!(Filter::parse(&format!("a eq '{}'", "x".repeat(MAX_LENGTH))).unwrap_err().rule.contains("longer"));
    assert!(Filter::parse(&"(".repeat(MAX_LENGTH)).is_err());
}

#[test]
fn options_are_read_and_the_advanced_ones_are_told() {
    let all =
        options("$filter=a eq 'x'&$select=id, displayName,id&$top=999&$count=TRUE&x=y&$skiptoken=abc&$format=json")
            .unwrap();
    assert_eq!(all.select, ["id", "displayName"]);
    assert_eq!((all.top, all.count, all.skip_token.as_deref()), (Some(999), true, Some("abc")));
    assert!(!all.is_advanced());
    assert_eq!(options("").unwrap().page(), DEFAULT_TOP);
    let order = options("orderby=displayName desc").unwrap();
    assert_eq!(order.order, Some(Order { property: "displayName".into(), descending: true }));
    assert!(!order.is_advanced());
    for advanced in [
        "$filter=a ne 'x'",
        "$filter=b eq 'x' and not(a eq 'x')",
        "$filter=endswith(a,'x')",
        "$search=\"displayName:x\"",
        "$filter=a eq 'x'&$orderby=displayName",
    ] {
        assert!(options(advanced).unwrap().is_advanced(), "{advanced}");
    }
    let search = options("$search=\"displayName:a b\" AND  \"description:c\"").unwrap().search;
    let clause = |property: &str, text: &str| Search { property: property.into(), text: text.into() };
    assert_eq!(search, [clause("displayName", "a b"), clause("description", "c")]);
}

#[test]
fn options_that_are_not_right_are_refused() {
    for (sent, says) in [
        ("$top=0", "Invalid $top: it must be a whole number from 1 to 999."),
        ("$top=1000", "from 1 to 999"),
        ("$top=x", "from 1 to 999"),
        ("$top=1&$top=2", "more than once"),
        ("$top=1&top=2", "more than once"),
        ("$count=yes", "true or false"),
        ("$skip=5", "follow @odata.nextLink"),
        ("$compute=1", "'$compute' is not answered here"),
        ("$format=xml", "application/json"),
        ("$orderby=a,b", "one property"),
        ("$orderby=a up", "asc, desc"),
        ("$orderby=", "the name of a property"),
        ("$orderby=a desc x", "nothing may follow"),
        ("$select=a,,b", "a name is missing"),
        ("$select=a b", "no name of a property"),
        ("$expand=*", "'*' is not answered"),
        ("$expand=members($select=id)", "parentheses"),
        ("$search=displayName:x", "double quotes"),
        ("$search=\"displayName:x", "not closed"),
        ("$search=\"x\"", "\"property:words\""),
        ("$search=\"displayName:\"", "\"property:words\""),
        ("$search=\"a:x\" OR \"b:y\"", "at position 6"),
    ] {
        let refused = options(sent).unwrap_err().to_string();
        assert!(refused.contains(says), "{sent}: {refused}");
    }
}

/// The filter as text, as a client might write it.
fn written(filter: &Filter) -> String {
    let value = |literal: &Literal| match literal {
        Literal::Text(text) => format!("'{}'", text.replace('\'', "''")),
        Literal::Guid(text) | Literal::DateTime(text) => text.clone(),
        Literal::Bool(is) => is.to_string(),
        Literal::Null => "null".to_owned(),
        Literal::Number(number) => number.to_string(),
    };
    let test = |of: &str, test: &Test| match test {
        Test::Equals(it) => format!("{of} eq {}", value(it)),
        Test::Differs(it) => format!("{of} ne {}", value(it)),
        Test::In(values) => format!("{of} in ({})", values.iter().map(value).collect::<Vec<_>>().join(", ")),
        Test::StartsWith(text) => format!("startswith({of},{})", value(&Literal::Text(text.clone()))),
        Test::EndsWith(text) => format!("endswith({of},{})", value(&Literal::Text(text.clone()))),
    };
    match filter {
        Filter::And(one, other) => format!("({}) and ({})", written(one), written(other)),
        Filter::Or(one, other) => format!("({}) or ({})", written(one), written(other)),
        Filter::Not(inner) => format!("not ({})", written(inner)),
        Filter::Is(property, it) => test(property, it),
        Filter::Any(collection, it) => format!("{collection}/any(x:{})", test("x", it)),
    }
}

fn any_filter() -> impl Strategy<Value = Filter> {
    let text = "[ -~äß✓]{0,12}";
    let literal = prop_oneof![
        text.prop_map(Literal::Text),
        any::<bool>().prop_map(Literal::Bool),
        any::<i64>().prop_map(Literal::Number),
        any::<u128>().prop_map(|it| Literal::Guid(uuid::Uuid::from_u128(it).to_string())),
        Just(Literal::Null),
    ];
    let test = prop_oneof![
        literal.clone().prop_map(Test::Equals),
        literal.clone().prop_map(Test::Differs),
        prop::collection::vec(literal, 1..4).prop_map(Test::In),
        text.prop_map(Test::StartsWith),
        text.prop_map(Test::EndsWith),
    ];
    let leaf = ("[b-d][a-zA-Z0-9]{3,8}", test, any::<bool>())
        .prop_map(|(name, test, any)| if any { Filter::Any(name + "z", test) } else { Filter::Is(name + "z", test) });
    leaf.prop_recursive(6, 24, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| Filter::And(Box::new(a), Box::new(b))),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| Filter::Or(Box::new(a), Box::new(b))),
            inner.prop_map(|a| Filter::Not(Box::new(a))),
        ]
    })
}

proptest! {
    #[test]
    fn whatever_is_written_is_read_as_it_was_meant(filter in any_filter()) {
        prop_assert_eq!(Filter::parse(&written(&filter)), Ok(filter));
    }

    /// Nothing of these panics, and what is refused is refused inside the text.
    #[test]
    fn no_text_breaks_the_reader(
        text in prop_oneof![
            "\\PC{0,200}",
            "[()'a ,:/.$0-9TZ-]{0,200}",
            prop::collection::vec(
                prop::sample::select(vec!["(", ")", "not", "and", "or", "any", "/any(", "x:x", "eq", "'a'", "in", ",", "startswith", "null"]),
                0..60
            ).prop_map(|words| words.join(" ")),
        ],
    ) {
        if let Err(refused) = Filter::parse(&text) {
            prop_assert!(refused.at.is_none_or(|at| at <= text.chars().count()), "{}", refused);
        }
        let _ = search(&text);
        let _ = order(&text);
        let _ = names("$select", &text);
    }
}
