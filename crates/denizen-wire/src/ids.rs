//! Identifiers as newtypes, so that a client id can never be passed where an object id is meant.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! guid {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = NotAGuid;

            /// Accepts the hyphenated form only, in either case: the other spellings of a UUID never occur on
            /// these wires, and two spellings of one id are how comparisons go wrong.
            fn from_str(s: &str) -> Result<Self, NotAGuid> {
                if s.len() != 36 {
                    return Err(NotAGuid);
                }
                Uuid::try_parse(s).map(Self).map_err(|_| NotAGuid)
            }
        }
    };
}

guid!(/// A tenant: the boundary no record, key or decision crosses.
    TenantId);
guid!(/// The object id of a principal in the directory (`oid`, `principalId`).
    PrincipalId);
guid!(/// The application id a client authenticates with (`appid`, `client_id`, `clientId`).
    ClientId);
guid!(/// A subscription.
    SubscriptionId);

/// The text is not a hyphenated GUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a GUID of the form xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx")]
pub struct NotAGuid;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_hyphenated_spelling_is_an_id() {
        let text = "6F9619FF-8B86-D011-B42D-00CF4FC964FF";
        assert_eq!(text.parse::<TenantId>().unwrap().to_string(), text.to_lowercase());
        for other in ["6f9619ff8b86d011b42d00cf4fc964ff", "{6f9619ff-8b86-d011-b42d-00cf4fc964ff}", "", "common"] {
            assert_eq!(other.parse::<TenantId>(), Err(NotAGuid), "{other}");
        }
    }
}
