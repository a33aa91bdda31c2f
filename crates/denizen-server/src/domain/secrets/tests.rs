use proptest::prelude::*;

use super::*;

fn set(value: &str) -> SetSecret {
    SetSecret { value: Some(value.to_owned()), ..SetSecret::default() }
}

fn error(request: SetSecret) -> BadSecret {
    match NewSecret::parse(request) {
        Ok(_) => panic!("it was accepted"),
        Err(error) => error,
    }
}

fn stored() -> SecretVersion {
    SecretVersion {
        tenant: TenantId(uuid::Uuid::nil()),
        vault: ResourceId::root(),
        name: "n".into(),
        version: "0".repeat(32),
        content_type: Some("text/plain".into()),
        tags: [("a".to_owned(), "1".to_owned())].into(),
        enabled: true,
        nbf: Some(UnixTime(1)),
        exp: Some(UnixTime(2)),
        created: UnixTime(10),
        updated: UnixTime(10),
        wrapped_key: vec![1],
        sealed_value: vec![2],
    }
}

#[test]
fn names() {
    for good in ["a", "A-1", "-", "0", &"x".repeat(127)] {
        let name: SecretName = good.parse().unwrap();
        assert_eq!((name.as_str(), name.canonical()), (good, good.to_lowercase().as_str()));
    }
    for bad in ["", "a_b", "a.b", "a b", "a/b", "é", "a\0", "a%20", &"x".repeat(128)] {
        assert_eq!(bad.parse::<SecretName>().unwrap_err(), BadSecret::Name, "{bad}");
    }
}

#[test]
fn versions() {
    assert!(is_version("0123456789abcdef0123456789abcdef"));
    for bad in
        ["", "0123456789ABCDEF0123456789abcdef", "0123456789abcdef0123456789abcde", "g123456789abcdef0123456789abcdef"]
    {
        assert!(!is_version(bad), "{bad}");
    }
}

#[test]
fn limits_are_met_exactly() {
    assert_eq!(NewSecret::parse(set(&"v".repeat(25_600))).unwrap().value.len(), 25_600);
    assert_eq!(error(set(&"v".repeat(25_601))), BadSecret::ValueTooLong(25_601));
    // Bytes count, not characters.
    assert_eq!(error(set(&"é".repeat(12_801))), BadSecret::ValueTooLong(25_602));
    assert_eq!(error(SetSecret::default()), BadSecret::NoValue);
    assert!(NewSecret::parse(set("")).unwrap().value.is_empty());

    let with_type = |n: usize| SetSecret { content_type: Some("é".repeat(n)), ..set("v") };
    assert!(NewSecret::parse(with_type(255)).is_ok());
    assert_eq!(error(with_type(256)), BadSecret::ContentType);

    let with_tags =
        |n: usize| SetSecret { tags: Some((0..n).map(|i| (i.to_string(), String::new())).collect()), ..set("v") };
    assert!(NewSecret::parse(with_tags(15)).is_ok());
    assert_eq!(error(with_tags(16)), BadSecret::TooManyTags(16));

    let with_tag = |name: usize, value: usize| SetSecret {
        tags: Some([("n".repeat(name), "v".repeat(value))].into()),
        ..set("v")
    };
    assert!(NewSecret::parse(with_tag(512, 512)).is_ok());
    assert_eq!(error(with_tag(513, 1)), BadSecret::TagTooLong);
    assert_eq!(error(with_tag(1, 513)), BadSecret::TagTooLong);
}

#[test]
fn a_new_version_is_enabled_unless_it_says_otherwise() {
    assert!(NewSecret::parse(set("v")).unwrap().enabled);
    let attributes = Some(AttributesIn { enabled: Some(false), nbf: Some(UnixTime(5)), exp: None });
    let new = NewSecret::parse(SetSecret { attributes, ..set("v") }).unwrap();
    assert_eq!((new.enabled, new.nbf, new.exp), (false, Some(UnixTime(5)), None));
}

#[test]
fn an_update_keeps_what_it_does_not_name() {
    let now = UnixTime(20);
    let before = stored();
    assert_eq!(before.updated(UpdateSecret::default(), now).unwrap(), SecretVersion { updated: now, ..stored() });

    let cleared = UpdateSecret { tags: Some(Tags::new()), ..UpdateSecret::default() };
    assert_eq!(before.updated(cleared, now).unwrap(), SecretVersion { tags: Tags::new(), updated: now, ..stored() });

    let disabled = UpdateSecret {
        content_type: Some("x".into()),
        attributes: Some(AttributesIn { enabled: Some(false), exp: Some(UnixTime(9)), nbf: None }),
        tags: None,
    };
    assert_eq!(
        before.updated(disabled, now).unwrap(),
        SecretVersion {
            content_type: Some("x".into()),
            enabled: false,
            exp: Some(UnixTime(9)),
            updated: now,
            ..stored()
        }
    );
    let bad = UpdateSecret { content_type: Some("x".repeat(256)), ..UpdateSecret::default() };
    assert_eq!(before.updated(bad, now).unwrap_err(), BadSecret::ContentType);
}

#[test]
fn the_recovery_level_says_whether_the_time_was_chosen() {
    assert_eq!(recovery_level(90), "Recoverable+Purgeable");
    assert_eq!(recovery_level(89), "CustomizedRecoverable+Purgeable");
    assert_eq!(recovery_level(7), "CustomizedRecoverable+Purgeable");
}

#[test]
fn vault_names() {
    for good in ["dev", "V-1", "abcdefghijklmnopqrstuvwx"] {
        assert!(is_vault_name(good), "{good}");
    }
    for bad in ["", "ab", "1ab", "-ab", "ab-", "a--b", "a.b", "a_b", "abcdefghijklmnopqrstuvwxy"] {
        assert!(!is_vault_name(bad), "{bad}");
    }
}

proptest! {
    #[test]
    fn a_name_that_parses_is_a_scope_segment(text in ".{0,140}") {
        if text.parse::<SecretName>().is_ok() {
            let vault: ResourceId = "/subscriptions/s".parse().unwrap();
            prop_assert!(vault.child("secrets", &text).is_ok());
        }
    }
}
