use super::*;

fn head(seq: u64) -> LogHead {
    LogHead {
        revision: Revision(3),
        state: vec![1; 32],
        seq,
        hash: "ab".repeat(32),
        spool: 70,
        total: 900,
        at: UnixTime(5),
    }
}

#[test]
fn a_line_says_what_was_written_and_any_change_is_noticed() {
    let keys = StoreKeys::of_test();
    let made = Head::new(&Chain::named("c0", &keys), &head(7), 80, &keys.anchor);
    let line = made.line().unwrap();
    assert!(!line.contains('\n'));
    assert_eq!(Head::parse(&format!("{line}\n"), &keys).unwrap(), made);
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    for (name, member) in value.as_object().unwrap() {
        let mut changed = value.clone();
        changed[name] = member.as_i64().map_or_else(|| "0".into(), |number| (number + 1).into());
        let expected = if name == "deployment" { BadHead::Foreign } else { BadHead::Tag };
        assert_eq!(Head::parse(&changed.to_string(), &keys), Err(expected), "{name}");
    }
    for cut in 0..line.len() {
        assert!(matches!(Head::parse(&line[..cut], &keys), Err(BadHead::Form(_))), "{cut}");
    }
}

#[test]
fn another_deployments_is_told_from_a_damaged_one() {
    let keys = StoreKeys::of_test();
    let theirs =
        Head::new(&Chain::named("c0", &keys), &head(7), 80, &denizen_keys::mac::MacKey::new(&[9; 32])).line().unwrap();
    assert_eq!(Head::parse(&theirs, &keys), Err(BadHead::Foreign));
}
