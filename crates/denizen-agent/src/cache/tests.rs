use super::*;
use crate::upstream::scripted::Script;

const NOW: UnixTime = UnixTime(1_800_000_000);
const LIFE: i64 = 14_400;

fn identity() -> Identity {
    Identity {
        client_id: "11111111-2222-3333-4444-555555555555".parse().unwrap(),
        object_id: "66666666-7777-8888-9999-000000000000".parse().unwrap(),
        resource_id: "/subscriptions/6f9619ff-8b86-d011-b42d-00cf4fc964ff".parse().unwrap(),
    }
}

fn cache(script: &Script) -> (TokenCache, Clock) {
    limited(script, MAX_RESOURCES)
}

fn limited(script: &Script, limit: usize) -> (TokenCache, Clock) {
    let clock = Clock::manual(NOW);
    (TokenCache::with_limit(TokenAuthority::Scripted(script.clone()), clock.clone(), Arc::default(), limit), clock)
}

async fn token(cache: &TokenCache, resource: &str) -> Result<String, UpstreamError> {
    cache.get(&identity(), resource).await.map(|token| token.access_token.expose().to_owned())
}

/// Lets tasks that were started run until they wait for something.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_hundred_callers_are_one_request() {
    let script = Script::tokens(LIFE);
    let (cache, _) = cache(&script);
    let mut callers = tokio::task::JoinSet::new();
    for i in 0..100 {
        let cache = cache.clone();
        callers.spawn(async move { token(&cache, if i % 2 == 0 { "a" } else { "b" }).await.unwrap() });
    }
    let tokens: std::collections::HashSet<_> = callers.join_all().await.into_iter().collect();
    assert_eq!((script.asked(), tokens.len()), (2, 2), "one for each resource");
}

#[tokio::test]
async fn a_caller_who_hangs_up_does_not_take_the_others_token_along() {
    let script = Script::tokens(LIFE);
    script.gate.forget_permits(usize::MAX);
    let (cache, _) = cache(&script);
    let first = tokio::spawn({
        let cache = cache.clone();
        async move { token(&cache, "r").await }
    });
    settle().await;
    let second = tokio::spawn({
        let cache = cache.clone();
        async move { token(&cache, "r").await }
    });
    settle().await;
    first.abort();
    script.gate.add_permits(1);
    assert_eq!(second.await.unwrap().unwrap(), "token-1");
    assert_eq!(script.asked(), 1);
}

#[tokio::test]
async fn from_half_life_on_a_token_is_renewed_in_the_background() {
    let script = Script::tokens(LIFE);
    let (cache, clock) = cache(&script);
    token(&cache, "r").await.unwrap();
    clock.advance(LIFE / 2 * 9 / 10 - 1);
    for _ in 0..3 {
        assert_eq!(token(&cache, "r").await.unwrap(), "token-1");
    }
    settle().await;
    assert_eq!(script.asked(), 1, "jitter takes a tenth off the half, and no more");

    clock.advance(LIFE / 2 / 10 + 1);
    script.gate.forget_permits(usize::MAX);
    for _ in 0..10 {
        assert_eq!(token(&cache, "r").await.unwrap(), "token-1", "the old one, without waiting");
        settle().await;
    }
    assert_eq!(script.asked(), 2, "and one renewal for them all");
    script.gate.add_permits(1);
    settle().await;
    assert_eq!(token(&cache, "r").await.unwrap(), "token-2");
}

#[test]
fn renewals_of_many_tokens_are_spread() {
    let mut times = std::collections::HashSet::new();
    for _ in 0..50 {
        let issued = IssuedToken { access_token: "t".into(), expires_in: LIFE };
        let lifetime = fetched(identity(), "r".into(), issued, NOW).lifetime;
        assert!((LIFE / 2 * 9 / 10..=LIFE / 2).contains(&lifetime.refresh_at().since(NOW)));
        assert_eq!(lifetime.ends().since(NOW), LIFE);
        times.insert(lifetime.refresh_at().0);
    }
    assert!(times.len() > 10, "{}", times.len());
}

#[tokio::test]
async fn an_old_token_is_served_while_renewal_fails_and_it_is_valid() {
    let mut first = true;
    let script = Script::new(move |_, _| {
        if std::mem::take(&mut first) {
            return Ok(IssuedToken { access_token: "old".into(), expires_in: LIFE });
        }
        Err(UpstreamError::Unavailable("down".into()))
    });
    let (cache, clock) = cache(&script);
    token(&cache, "r").await.unwrap();
    clock.advance(LIFE / 2);
    for asked in [2, 2, 3] {
        assert_eq!(token(&cache, "r").await.unwrap(), "old");
        settle().await;
        assert_eq!(script.asked(), asked, "asked again every half minute, not with every request");
        clock.advance(RETRY_AFTER / 2);
    }
    // In its last minutes a fresh one is waited for; when that fails, the old one is better than none.
    clock.advance(LIFE / 2 - 100);
    assert_eq!(token(&cache, "r").await.unwrap(), "old");
    clock.advance(100);
    assert_eq!(
        token(&cache, "r").await.unwrap_err(),
        UpstreamError::Unavailable("down".into()),
        "but never an expired one"
    );
}

#[tokio::test]
async fn near_the_end_a_fresh_token_is_waited_for() {
    let script = Script::tokens(LIFE);
    let (cache, clock) = cache(&script);
    token(&cache, "r").await.unwrap();
    clock.advance(LIFE - WAIT_BEFORE_END + 1);
    assert_eq!(token(&cache, "r").await.unwrap(), "token-2");
}

#[tokio::test]
async fn an_expired_token_is_never_served_nor_one_from_the_future() {
    let script = Script::tokens(LIFE);
    let (cache, clock) = cache(&script);
    token(&cache, "r").await.unwrap();
    clock.advance(LIFE);
    assert_eq!(token(&cache, "r").await.unwrap(), "token-2");
    clock.advance(-1);
    assert_eq!(token(&cache, "r").await.unwrap(), "token-3", "the clock went back: how long token-2 lives is unknown");
}

#[tokio::test]
async fn a_failure_is_not_asked_about_twice_within_a_second() {
    let script = Script::new(|_, _| {
        Err(UpstreamError::Permanent { error: "invalid_resource".into(), description: "no".into() })
    });
    let (cache, clock) = cache(&script);
    for _ in 0..5 {
        token(&cache, "r").await.unwrap_err();
    }
    assert_eq!(script.asked(), 1);
    clock.advance(1);
    token(&cache, "r").await.unwrap_err();
    assert_eq!(script.asked(), 2);
}

#[tokio::test]
async fn what_is_due_and_in_use_is_renewed_without_being_asked_for() {
    let script = Script::tokens(LIFE);
    let (cache, clock) = cache(&script);
    token(&cache, "used").await.unwrap();
    token(&cache, "unused").await.unwrap();
    clock.advance(10);
    token(&cache, "used").await.unwrap();
    cache.refresh_due();
    settle().await;
    assert_eq!(script.asked(), 2, "nothing is due");
    clock.advance(LIFE / 2);
    cache.refresh_due();
    settle().await;
    assert_eq!(script.asked(), 3);
    clock.advance(LIFE / 2);
    cache.refresh_due();
    assert_eq!(cache.len(), 1, "what expired unused is forgotten");
}

#[tokio::test]
async fn d09_no_more_resources_are_held_than_the_limit() {
    let script = Script::tokens(LIFE);
    let (cache, clock) = limited(&script, 4);
    token(&cache, "kept").await.unwrap();
    for i in 0..20 {
        clock.advance(1);
        token(&cache, "kept").await.unwrap();
        token(&cache, &format!("r{i}")).await.unwrap();
        assert!(cache.len() <= 4);
    }
    assert_eq!(script.asked(), 21, "the one in use is not the one to go");
}

#[tokio::test]
async fn an_answer_is_rendered_once_a_second() {
    let script = Script::tokens(LIFE);
    let (cache, _) = cache(&script);
    let token = cache.get(&identity(), "r").await.unwrap();
    let mut rendered = 0;
    for now in [NOW, NOW, NOW + 1, NOW + 1, NOW] {
        let body = token.rendering(now, |_| {
            rendered += 1;
            Bytes::from(now.to_string())
        });
        assert_eq!(body, now.to_string());
    }
    assert_eq!(rendered, 3);
    assert!(!format!("{token:?}").contains("token-1"));
}

#[tokio::test]
async fn each_identity_has_its_own_tokens_and_its_own_limit() {
    let script = Script::new(|identity, resource| {
        Ok(IssuedToken { access_token: format!("{}/{resource}", identity.client_id).into(), expires_in: LIFE })
    });
    let (cache, _) = limited(&script, 2);
    let other = Identity { client_id: "22222222-2222-3333-4444-555555555555".parse().unwrap(), ..identity() };
    cache.get(&other, "r").await.unwrap();
    for resource in ["r", "s", "t"] {
        let token = cache.get(&identity(), resource).await.unwrap();
        assert_eq!(token.access_token.expose(), format!("{}/{resource}", identity().client_id));
    }
    let kept = cache.get(&other, "r").await.unwrap();
    assert_eq!((kept.access_token.expose(), script.asked()), (format!("{}/r", other.client_id).as_str(), 4));
}
