//! How long a token lives, and when its holder should ask again.
//!
//! Pure: randomness is an argument. Tests: below.

use super::hot::Principal;

/// The shortest life a principal may be given, seconds.
pub const SHORTEST: i64 = 5 * 60;
/// The longest life a principal may be given, seconds; a signing key stays published for longer than this after its
/// last signature.
pub const LONGEST: i64 = 24 * 60 * 60;
/// A managed identity's default, seconds: long enough to ride out an outage after refreshing at half life, short
/// enough to matter when revoked.
pub const MANAGED_IDENTITY: i64 = 4 * 60 * 60;
/// An application's default, and a user's, is drawn from here, seconds, so that clients started together do not return together.
pub const APPLICATION: std::ops::RangeInclusive<i64> = 60 * 60..=90 * 60;
/// From this life on, the answer says when to ask again, seconds.
const LONG: i64 = 2 * 60 * 60;

/// The life of a token for this principal, seconds. `random` is uniform.
pub fn access_token(principal: &Principal, random: u32) -> i64 {
    match (principal.token_lifetime, &principal.resource_id) {
        // The bounds hold whatever the record says: they are what the rotation of keys relies on.
        (Some(lifetime), _) => lifetime.seconds().clamp(SHORTEST, LONGEST),
        (None, Some(_)) => MANAGED_IDENTITY,
        (None, None) => of_user(random),
    }
}

/// The life of a user's token, seconds. `random` is uniform.
pub fn of_user(random: u32) -> i64 {
    let width = APPLICATION.end() - APPLICATION.start() + 1;
    APPLICATION.start() + i64::from(random) % width
}

/// When to ask again, seconds from now: at half of a long life. None for a short one.
pub fn refresh_in(lifetime: i64) -> Option<i64> {
    (lifetime >= LONG).then_some(lifetime / 2)
}

#[cfg(test)]
mod tests {
    use denizen_wire::{ClientId, PrincipalId, ResourceId};
    use uuid::Uuid;

    use super::*;
    use crate::domain::hot::{Lifetime, NestedId};

    fn principal(resource_id: Option<ResourceId>, token_lifetime: Option<i64>) -> Principal {
        Principal {
            id: PrincipalId(Uuid::nil()),
            client_id: ClientId(Uuid::nil()),
            resource_id: resource_id.map(|id| NestedId::from(&id)),
            enabled: true,
            epoch: 0,
            token_lifetime: token_lifetime.map(Lifetime::of),
            keys: [].into_iter().collect(),
        }
    }

    #[test]
    fn an_application_gets_sixty_to_ninety_minutes() {
        let app = principal(None, None);
        assert_eq!(access_token(&app, 0), 3600);
        assert_eq!(access_token(&app, 1800), 5400);
        assert_eq!(access_token(&app, 1801), 3600);
        assert!(APPLICATION.contains(&access_token(&app, u32::MAX)));
    }

    #[test]
    fn a_managed_identity_gets_four_hours() {
        let machine = principal(Some(ResourceId::root()), None);
        assert_eq!(access_token(&machine, 12345), 4 * 3600);
    }

    #[test]
    fn a_chosen_life_stays_within_its_bounds() {
        for (chosen, given) in
            [(i64::MIN, SHORTEST), (299, 300), (300, 300), (7200, 7200), (86_401, 86_400), (i64::MAX, LONGEST)]
        {
            assert_eq!(access_token(&principal(None, Some(chosen)), 7), given, "{chosen}");
        }
    }

    #[test]
    fn only_a_long_life_is_refreshed_early() {
        assert_eq!(refresh_in(7199), None);
        assert_eq!(refresh_in(7200), Some(3600));
        assert_eq!(refresh_in(LONGEST), Some(43_200));
    }
}
