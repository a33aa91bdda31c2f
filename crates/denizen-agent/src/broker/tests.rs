use super::*;
use crate::{
    caller::{KnownFrom, UnknownReason, owner::Owners},
    identity::Identity,
    upstream::{TokenAuthority, scripted::Script},
};
use denizen_wire::UnixTime;

const CLIENT_ID: &str = "11111111-2222-3333-4444-555555555555";
const OBJECT_ID: &str = "66666666-7777-8888-9999-000000000000";
const MACHINE: &str = "/subscriptions/6f9619ff-8b86-d011-b42d-00cf4fc964ff/resourceGroups/Dev";

fn broker(script: &Script) -> Broker {
    let identity = Identity {
        client_id: CLIENT_ID.parse().unwrap(),
        object_id: OBJECT_ID.parse().unwrap(),
        resource_id: MACHINE.parse().unwrap(),
    };
    let clock = Clock::manual(UnixTime(1_800_000_000));
    let metrics = Arc::<Metrics>::default();
    let cache = TokenCache::new(TokenAuthority::Scripted(script.clone()), clock.clone(), metrics.clone());
    let refusals = Arc::new(Refusals::new(Arc::new(Owners::system())));
    let policy = Policy::Group { own_uid: 990, group: None };
    Broker::new(Identities::new(identity), policy, cache, &clock, refusals, metrics)
}

fn request(caller: Caller, selector: Selector) -> TokenRequest {
    TokenRequest { caller, evidence: Evidence::Peer, selector, resource: "r".into(), dialect: Dialect::Imds }
}

const ROOT: Caller = Caller::Known { uid: 0, cgroup: None, known_from: KnownFrom::SockDiag };

#[tokio::test]
async fn d15_there_is_no_falling_back_to_the_systems_identity() {
    let script = Script::tokens(3600);
    let broker = broker(&script);
    for selector in [
        Selector::SystemAssigned,
        Selector::ClientId(CLIENT_ID.into()),
        Selector::ObjectId(OBJECT_ID.into()),
        Selector::ResourceId(MACHINE.to_uppercase()),
    ] {
        broker.token(request(ROOT, selector)).await.unwrap();
    }
    for selector in [
        Selector::ClientId(OBJECT_ID.into()),
        Selector::ClientId(CLIENT_ID.replace('-', "")),
        Selector::ClientId(String::new()),
        Selector::ObjectId(CLIENT_ID.into()),
        Selector::ResourceId(format!("{MACHINE}/providers/x")),
        Selector::ResourceId("/".into()),
    ] {
        let refused = broker.token(request(ROOT, selector.clone())).await.unwrap_err();
        assert_eq!(refused, BrokerError::NotAssigned, "{selector:?}");
    }
}

#[tokio::test]
async fn the_policy_is_asked_before_anything_is_looked_up_or_fetched() {
    let script = Script::tokens(3600);
    let broker = broker(&script);
    let other_user = Caller::Known { uid: 1000, cgroup: None, known_from: KnownFrom::SockDiag };
    for caller in [other_user, Caller::Unknown(UnknownReason::NoSuchSocket)] {
        // Whether an identity exists is not told to who may not have it.
        for selector in [Selector::SystemAssigned, Selector::ClientId("nobody".into())] {
            let refused = broker.token(request(caller, selector)).await.unwrap_err();
            assert!(matches!(refused, BrokerError::Refused(_)), "{refused}");
        }
    }
    assert_eq!(script.asked(), 0);
    assert_eq!((broker.metrics.tokens.total(), broker.metrics.refusals.total()), (0, 4));
}
