//! Which key signs, which are published, and what is to be done about it now.
//!
//! ```text
//!            made              signs_from          signs_until        published_until
//!   first     |─────────────────|=================|─ ─ ─ ─ ─ ─ ─ ─ ─ ─|
//!   second                       |─────────────────|==================|─ ─ ─ ─
//!             published ahead: every resource has     tokens it signed are
//!             read it before it signs                 still verified
//! ```
//!
//! At any time there is, of each algorithm, a key that signs and a key made ahead, so two are published at least: resources that look
//! for new keys once a day never see a signature by a key they have not read, and when a key must go at once, its
//! successor is already known to them.
//!
//! Pure. Tests: below.

use denizen_wire::UnixTime;

use super::{directory::SigningKey, lifetimes};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// The times of the schedule, seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// A key is published at least this long before it signs.
    pub prepublish: i64,
    /// A key signs for this long.
    pub sign: i64,
    /// A key stays published for this long after it has stopped to sign.
    pub keep: i64,
}

impl Default for Policy {
    /// Libraries keep a key document for 24 hours, so a new key is shown for twice that before it signs. An old one
    /// is shown until the longest token it signed has ended, and a day more.
    fn default() -> Self {
        Self { prepublish: 48 * HOUR, sign: 30 * DAY, keep: lifetimes::LONGEST + 24 * HOUR }
    }
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make a key that signs from then on.
    Make {
        /// When it begins to sign.
        signs_from: UnixTime,
    },
    /// Write new times into a key that exists.
    Retime {
        /// Which.
        kid: String,
        /// When it begins to sign.
        signs_from: UnixTime,
        /// When it stops to sign.
        signs_until: Option<UnixTime>,
        /// When it leaves the published set.
        published_until: Option<UnixTime>,
    },
    /// Forget a key that has left the published set, its private half with it.
    Forget {
        /// Which.
        kid: String,
    },
}

/// The key that signs now: of those whose turn it is, the one whose turn began last.
///
/// A clock that was set back may find no key whose turn has begun; then the earliest signs, since it is published
/// and nothing speaks against it but the clock.
pub fn signing<K: AsRef<SigningKey>>(keys: &[K], now: UnixTime) -> Option<&K> {
    let usable = || keys.iter().filter(move |key| key.as_ref().signs_until.is_none_or(|until| now < until));
    let order = |a: &&K, b: &&K| turn(a.as_ref()).cmp(&turn(b.as_ref()));
    usable().filter(|key| key.as_ref().signs_from <= now).max_by(order).or_else(|| usable().min_by(order))
}

/// Keys whose turns begin in one second are told apart by name, so that all replicas choose alike.
fn turn(key: &SigningKey) -> (UnixTime, &str) {
    (key.signs_from, &key.kid)
}

/// Whether a key is published.
pub fn is_published(key: &SigningKey, now: UnixTime) -> bool {
    key.published_until.is_none_or(|until| now < until)
}

/// What the schedule asks for now. Empty when everything is as it should be; doing what it says makes it empty.
pub fn plan<K: AsRef<SigningKey>>(keys: &[K], now: UnixTime, policy: &Policy) -> Vec<Step> {
    let mut steps = forgotten(keys, now);
    let Some(current) = signing(keys, now).map(AsRef::as_ref) else {
        // Nothing signs: the very first start, or a server that slept through a whole life without a successor.
        steps.push(Step::Make { signs_from: now });
        let waits = keys.iter().map(AsRef::as_ref).any(|key| now < key.signs_from && key.signs_until.is_none());
        if !waits {
            steps.push(Step::Make { signs_from: now + policy.sign.max(policy.prepublish) });
        }
        return steps;
    };
    // The predecessors: their turn ends where the current key's began.
    for key in keys.iter().map(AsRef::as_ref) {
        if key.kid != current.kid && key.signs_from <= current.signs_from && key.signs_until.is_none() {
            steps.push(match current.signs_from + policy.keep {
                gone if gone <= now => Step::Forget { kid: key.kid.clone() },
                _ => ended(key, current.signs_from, policy),
            });
        }
    }
    let successor =
        keys.iter().map(AsRef::as_ref).any(|key| key.kid != current.kid && current.signs_from < key.signs_from);
    if !successor {
        let due = current.signs_from + policy.sign;
        steps.push(Step::Make { signs_from: due.max(now + policy.prepublish) });
    }
    steps
}

/// What it takes to stop the current key now: the key made ahead signs at once, and another is made ahead. The one
/// that stops stays published, since the tokens it has signed are still out.
pub fn rotate<K: AsRef<SigningKey>>(keys: &[K], now: UnixTime, policy: &Policy) -> Vec<Step> {
    let mut steps = forgotten(keys, now);
    let next = keys
        .iter()
        .map(AsRef::as_ref)
        .filter(|key| now < key.signs_from && key.signs_until.is_none())
        .min_by_key(|key| (key.signs_from, key.kid.clone()));
    for key in keys.iter().map(AsRef::as_ref) {
        if key.signs_from <= now && key.signs_until.is_none_or(|until| now < until) {
            steps.push(ended(key, now, policy));
        }
    }
    match next {
        Some(next) => steps.push(Step::Retime {
            kid: next.kid.clone(),
            signs_from: now,
            signs_until: None,
            published_until: None,
        }),
        None => steps.push(Step::Make { signs_from: now }),
    }
    steps.push(Step::Make { signs_from: now + policy.sign.max(policy.prepublish) });
    steps
}

/// What it takes when a key may be in other hands: every key goes at once, those made ahead with it, since they were kept
/// where it was; and new ones are made, of which the first signs at once. Nothing that the old ones signed is good any more.
pub fn replace_all<K: AsRef<SigningKey>>(keys: &[K], now: UnixTime, policy: &Policy) -> Vec<Step> {
    let gone = keys.iter().map(|key| Step::Forget { kid: key.as_ref().kid.clone() });
    let made = [now, now + policy.sign.max(policy.prepublish)].map(|signs_from| Step::Make { signs_from });
    gone.chain(made).collect()
}

fn ended(key: &SigningKey, at: UnixTime, policy: &Policy) -> Step {
    Step::Retime {
        kid: key.kid.clone(),
        signs_from: key.signs_from,
        signs_until: Some(at),
        published_until: Some(at + policy.keep),
    }
}

fn forgotten<K: AsRef<SigningKey>>(keys: &[K], now: UnixTime) -> Vec<Step> {
    keys.iter()
        .map(AsRef::as_ref)
        .filter(|key| !is_published(key, now))
        .map(|key| Step::Forget { kid: key.kid.clone() })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use denizen_wire::TenantId;
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::domain::directory::SigningAlgorithm;

    const START: UnixTime = UnixTime(1_795_239_900);

    /// The keys of a tenant, and what the use case does with the steps.
    #[derive(Clone, Default)]
    struct Keys(Vec<Arc<SigningKey>>, usize);

    impl Keys {
        fn apply(&mut self, steps: Vec<Step>, now: UnixTime) {
            for step in steps {
                match step {
                    Step::Make { signs_from } => {
                        self.1 += 1;
                        self.0.push(Arc::new(SigningKey {
                            tenant: TenantId(Uuid::nil()),
                            kid: format!("k{}", self.1),
                            alg: SigningAlgorithm::Rs256,
                            certificate: String::new(),
                            sealed: String::new(),
                            created: now,
                            signs_from,
                            signs_until: None,
                            published_until: None,
                        }));
                    }
                    Step::Retime { kid, signs_from, signs_until, published_until } => {
                        let key = self.0.iter_mut().find(|key| key.kid == kid).unwrap();
                        let key = Arc::make_mut(key);
                        (key.signs_from, key.signs_until, key.published_until) =
                            (signs_from, signs_until, published_until);
                    }
                    Step::Forget { kid } => self.0.retain(|key| key.kid != kid),
                }
            }
        }

        fn signer(&self, now: UnixTime) -> &str {
            &signing(&self.0, now).unwrap().kid
        }

        fn published(&self, now: UnixTime) -> Vec<&str> {
            self.0.iter().filter(|key| is_published(key, now)).map(|key| key.kid.as_str()).collect()
        }

        fn tick(&mut self, now: UnixTime) {
            self.apply(plan(&self.0, now, &Policy::default()), now);
            assert_eq!(plan(&self.0, now, &Policy::default()), [], "the plan does not settle");
        }
    }

    #[test]
    fn two_are_published_from_the_first_second_and_the_turn_passes_on_time() {
        let policy = Policy::default();
        let mut keys = Keys::default();
        keys.tick(START);
        assert_eq!((keys.signer(START), keys.published(START)), ("k1", vec!["k1", "k2"]));

        let turn = START + policy.sign;
        keys.tick(turn - 1);
        assert_eq!(keys.signer(turn - 1), "k1");
        // The turn passes by the clock, even before anything runs.
        assert_eq!(keys.signer(turn), "k2");
        keys.tick(turn);
        assert_eq!(keys.published(turn), ["k1", "k2", "k3"]);
        assert_eq!(keys.0[0].signs_until, Some(turn));

        let gone = turn + policy.keep;
        keys.tick(gone - 1);
        assert_eq!(keys.published(gone - 1), ["k1", "k2", "k3"]);
        assert_eq!(keys.published(gone), ["k2", "k3"]);
        keys.tick(gone);
        assert_eq!(keys.0.len(), 2, "a key that is not published is not kept");
    }

    #[test]
    fn an_old_key_outlives_every_token_it_signed() {
        let policy = Policy::default();
        assert!(policy.keep > lifetimes::LONGEST);
        assert!(policy.prepublish > 24 * HOUR);
    }

    #[test]
    fn a_key_that_must_go_signs_no_more_and_stays_published() {
        let policy = Policy::default();
        let mut keys = Keys::default();
        keys.tick(START);
        let now = START + 5 * DAY;
        keys.apply(rotate(&keys.0, now, &policy), now);
        assert_eq!((keys.signer(now), keys.published(now)), ("k2", vec!["k1", "k2", "k3"]));
        assert_eq!(keys.0[0].published_until, Some(now + policy.keep));
        keys.tick(now);
        // Twice in a row works too: the key made ahead is always there.
        keys.apply(rotate(&keys.0, now + 1, &policy), now + 1);
        assert_eq!(keys.signer(now + 1), "k3");
        keys.tick(now + 1);
        assert_eq!(keys.published(now + 1).len(), 4);
    }

    #[test]
    fn after_an_emergency_no_old_key_is_left_and_the_schedule_goes_on() {
        let policy = Policy::default();
        let mut keys = Keys::default();
        keys.tick(START);
        let now = START + 40 * DAY;
        keys.tick(now);
        assert_eq!(keys.published(now), ["k1", "k2", "k3"].into_iter().filter(|k| *k != "k1").collect::<Vec<_>>());
        keys.apply(replace_all(&keys.0, now, &policy), now);
        assert_eq!((keys.signer(now), keys.published(now)), ("k4", vec!["k4", "k5"]));
        keys.tick(now);
        assert_eq!(keys.published(now), ["k4", "k5"]);
        keys.tick(now + policy.sign);
        assert_eq!(keys.signer(now + policy.sign), "k5");
    }

    #[test]
    fn rotating_before_there_is_any_key_makes_two() {
        let mut keys = Keys::default();
        keys.apply(rotate(&keys.0, START, &Policy::default()), START);
        assert_eq!(keys.published(START).len(), 2);
        assert_eq!(keys.signer(START), "k1");
    }

    #[test]
    fn a_server_that_slept_wakes_with_a_signer_and_a_successor_published_ahead() {
        let policy = Policy::default();
        let mut keys = Keys::default();
        keys.tick(START);
        let now = START + policy.sign * 5;
        keys.tick(now);
        assert_eq!(keys.signer(now), "k2");
        assert!(keys.published(now).contains(&"k3"));
        assert_eq!(keys.0.iter().find(|key| key.kid == "k3").unwrap().signs_from, now + policy.prepublish);
    }

    #[test]
    fn a_clock_set_back_finds_a_signer() {
        let mut keys = Keys::default();
        keys.tick(START);
        assert_eq!(keys.signer(START - DAY), "k1");
        keys.tick(START - DAY);
        assert_eq!(keys.0.len(), 2, "and makes no keys for it");
    }

    proptest! {
        #[test]
        fn whatever_happens_two_are_published_and_what_signs_was_shown(
            events in proptest::collection::vec((1i64..20 * DAY, prop::bool::weighted(0.2)), 1..60),
        ) {
            let policy = Policy::default();
            let (mut keys, mut now) = (Keys::default(), START);
            keys.tick(now);
            for (passed, emergency) in events {
                now = now + passed;
                if emergency {
                    keys.apply(rotate(&keys.0, now, &policy), now);
                }
                keys.tick(now);
                prop_assert!(keys.published(now).len() >= 2);
                let signer = signing(&keys.0, now).unwrap();
                prop_assert!(is_published(signer, now));
                prop_assert!(signer.signs_from <= now);
                for key in &keys.0 {
                    if let (Some(until), Some(published)) = (key.signs_until, key.published_until) {
                        prop_assert_eq!(published.since(until), policy.keep);
                    }
                    // Made ahead, unless an emergency brought its turn forward or it is the first.
                    prop_assert!(key.signs_from <= now || key.signs_from.since(key.created) >= policy.prepublish);
                }
                prop_assert!(keys.0.len() < 40);
            }
        }
    }
}
