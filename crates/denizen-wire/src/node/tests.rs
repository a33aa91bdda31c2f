use serde_json::Value;

use super::*;

/// The recorded exchanges, by name.
fn exchanges() -> [(&'static str, Value); 2] {
    [("older", include_str!("exchanges/older.json")), ("newer", include_str!("exchanges/newer.json"))]
        .map(|(name, text)| (name, serde_json::from_str(text).unwrap()))
}

#[test]
fn requests_of_an_older_and_a_newer_agent_are_understood() {
    for (name, exchange) in exchanges() {
        let request: EnrolRequest = serde_json::from_value(exchange["request"].clone()).unwrap();
        assert_eq!((request.join_token.as_str(), request.machine_name.as_str()), ("a-join-token", "web-1"), "{name}");
        assert_eq!(request.proof, "e30.e30.c2ln");
        assert_eq!(request.machine.os_type, "linux");
        let claims: EnrolClaims = serde_json::from_value(exchange["claims"].clone()).unwrap();
        assert_eq!((claims.name.as_str(), claims.exp - claims.iat), ("web-1", PROOF_LIFETIME), "{name}");
    }
    let mut without_facts = exchanges()[0].1["request"].clone();
    without_facts.as_object_mut().unwrap().remove("machine");
    let request: EnrolRequest = serde_json::from_value(without_facts).unwrap();
    assert_eq!(request.machine, MachineFacts::default());
}

#[test]
fn answers_of_an_older_and_a_newer_server_are_understood() {
    for (name, exchange) in exchanges() {
        let enrolled: Enrolled = serde_json::from_value(exchange["answer"].clone()).unwrap();
        assert_eq!(enrolled.client_id.to_string(), "11111111-2222-3333-4444-555555555555", "{name}");
        assert!(enrolled.token_endpoint.ends_with("/oauth2/v2.0/token"));
        let refused: Refused = serde_json::from_value(exchange["refusal"].clone()).unwrap();
        assert_eq!(Value::from(refused.error.code), exchange["refusal"]["error"]["code"], "{name}");
    }
}

#[test]
fn what_this_version_writes_has_every_member_of_the_older_one() {
    let (_, older) = &exchanges()[0];
    let written = |member: &str| -> Value {
        let value = older[member].clone();
        match member {
            "request" => serde_json::to_value(serde_json::from_value::<EnrolRequest>(value).unwrap()),
            "claims" => serde_json::to_value(serde_json::from_value::<EnrolClaims>(value).unwrap()),
            "answer" => serde_json::to_value(serde_json::from_value::<Enrolled>(value).unwrap()),
            _ => serde_json::to_value(serde_json::from_value::<Refused>(value).unwrap()),
        }
        .unwrap()
    };
    for member in ["request", "claims", "answer", "refusal"] {
        let written = written(member);
        for (name, value) in older[member].as_object().unwrap() {
            match value.as_object() {
                Some(inner) => inner.iter().for_each(|(n, v)| assert_eq!(written[name][n], *v, "{member}.{name}.{n}")),
                None => assert_eq!(written[name], *value, "{member}.{name}"),
            }
        }
    }
}

#[test]
fn a_machines_name_follows_one_rule() {
    for name in ["a", "web-1", "WEB_1.example", "...a", &"a".repeat(54)] {
        assert_eq!(name.parse::<MachineName>().unwrap().as_str(), name);
    }
    for name in ["", ".", "..", "...", "a b", "a/b", "../x", "ä", "a\n", &"a".repeat(55)] {
        assert_eq!(name.parse::<MachineName>(), Err(InvalidMachineName), "{name:?}");
        assert!(serde_json::from_value::<MachineName>(Value::from(name)).is_err(), "{name:?}");
    }
    let name: MachineName = serde_json::from_str("\"web-1\"").unwrap();
    assert_eq!(serde_json::to_string(&name).unwrap(), "\"web-1\"");
}

#[test]
fn a_host_name_becomes_a_machines_name_where_it_can() {
    for (host, name) in [
        ("web-1.example", Some("web-1.example")),
        ("my host (test)", Some("myhosttest")),
        ("bücher", Some("bcher")),
        ("", None),
        ("...", None),
        ("日本", None),
    ] {
        assert_eq!(MachineName::sanitized(host).as_ref().map(MachineName::as_str), name, "{host}");
    }
    assert_eq!(MachineName::sanitized(&"a".repeat(99)).unwrap().as_str().len(), MachineName::MAX_LENGTH);
}
