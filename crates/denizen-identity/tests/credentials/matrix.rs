//! What one odd server does to this client, case by case: the matrix the other SDKs are measured with.

use denizen_identity_testkit::{Behavior, ChallengeBody, ExpiresOn, KeyFile, Realm};

use super::{Arcs, get};

/// Whether a token is got from an agent that behaves so.
async fn works(bend: impl FnOnce(&mut denizen_identity_testkit::ArcQuirks)) -> bool {
    let arc = Arcs::start().await;
    arc.endpoint.set_quirks(bend);
    get(&*arc.credential(None)).await.is_ok()
}

async fn works_in(behavior: impl FnOnce(&mut Behavior)) -> bool {
    let arc = Arcs::start().await;
    arc.endpoint.server().set_behavior(behavior);
    get(&*arc.credential(None)).await.is_ok()
}

#[tokio::test]
async fn what_does_no_harm_is_put_up_with() {
    assert!(works(|q| q.body = ChallengeBody::Empty).await, "401 empty body");
    assert!(works(|q| q.body = ChallengeBody::Text).await, "401 text body");
    assert!(works(|q| q.body = ChallengeBody::JsonUntyped).await, "401 JSON without a type");
    assert!(works(|q| q.retry_after = Some(1)).await, "401 with Retry-After");
    assert!(works(|q| q.direct = true).await, "200 without a challenge");
    assert!(works(|q| q.realm = Realm::Quoted).await, "quoted realm");
    assert!(works(|q| q.realm = Realm::LowerCase).await, "lower-case basic");
    assert!(works(|q| q.key = KeyFile::Newline).await, "newline in the key file");
    assert!(works(|q| q.key = KeyFile::Size(4096)).await, "4096 bytes");
    assert!(works_in(|m| m.numbers = true).await, "times as numbers");
    assert!(works_in(|m| m.expires_on = ExpiresOn::Iso8601).await, "a date");
    assert!(works_in(|m| m.omit = vec!["expires_on"]).await, "expires_in alone");
    assert!(works_in(|m| m.omit = vec!["expires_in", "resource", "token_type"]).await, "expires_on alone");
    assert!(works_in(|m| m.chunked = true).await, "chunked");
    assert!(works_in(|m| m.close = true).await, "Connection: close");
}

#[tokio::test]
async fn what_may_do_harm_is_not() {
    assert!(!works(|q| q.realm = Realm::Bare).await, "no scheme");
    assert!(!works(|q| q.realm = Realm::ExtraParameter).await, "a second parameter");
    assert!(!works(|q| q.realm = Realm::Absent).await, "no header");
    assert!(!works(|q| q.key = KeyFile::Size(4097)).await, "4097 bytes");
    assert!(!works(|q| q.rejects_key = true).await, "a second 401");
    assert!(!works_in(|m| m.omit = vec!["expires_on", "expires_in"]).await, "no time at all");
    assert!(!works_in(|m| m.omit = vec!["access_token"]).await, "no token");
}

#[tokio::test]
async fn a_second_401_is_final() {
    let arc = Arcs::start().await;
    arc.endpoint.set_quirks(|quirks| quirks.rejects_key = true);
    let error = get(&*arc.credential(None)).await.unwrap_err();
    assert!(!error.is_unavailable(), "{error}");
    assert_eq!(arc.endpoint.server().requests().len(), 2);
}
