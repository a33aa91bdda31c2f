use std::{collections::HashSet, time::Duration};

use denizen_keys::{RsaBits, Signer};

use super::*;

const NOW: UnixTime = UnixTime(1_800_000_000);

fn client(number: u8) -> ClientId {
    format!("0000000{number}-2222-3333-4444-555555555555").parse().unwrap()
}

#[tokio::test]
async fn a_device_is_asked_once_for_each_client() {
    let key = Signer::generate_rsa(RsaBits::B2048).unwrap();
    let clock = Clock::manual(NOW);
    let takes = Duration::from_millis(50);
    let key = NodeKey::Device { key, takes };
    let cache = Arc::new(AssertionCache::new(key, &[1; 32], "https://a/token", clock.clone()));
    let mut callers = tokio::task::JoinSet::new();
    for i in 0..40 {
        let cache = cache.clone();
        callers.spawn(async move { cache.get(client(i % 4)).await.unwrap().expose().to_owned() });
    }
    // Each signature has its own jti: as many assertions as there were signatures.
    let assertions: HashSet<_> = callers.join_all().await.into_iter().collect();
    assert_eq!(assertions.len(), 4);
    clock.advance(LIFETIME - MARGIN - 1);
    let again = cache.get(client(0)).await.unwrap();
    assert!(assertions.contains(again.expose()));
    cache.forget(client(0));
    let fresh = cache.get(client(0)).await.unwrap();
    assert!(!assertions.contains(fresh.expose()));
    let other = cache.get(client(1)).await.unwrap();
    assert!(assertions.contains(other.expose()), "the other client's is kept");
}
