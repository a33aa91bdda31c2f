//! What is kept of a key that a device has: where it is.
//!
//! Touches nothing. Tests: `custody.rs`, `tests/pkcs11.rs`.

use serde::{Deserialize, Serialize};

#[cfg(feature = "pkcs11")]
use crate::SecretBytes;

/// Where a key is that is not in these bytes.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reference {
    pub(crate) pkcs11: Place,
}

/// Where a key is in a device.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Place {
    /// The token's label.
    pub(crate) token: String,
    /// The key's `CKA_ID`, hexadecimal.
    pub(crate) id: String,
}

#[cfg(feature = "pkcs11")]
impl Reference {
    pub(crate) fn of(place: Place) -> Self {
        Self { pkcs11: place }
    }

    pub(crate) fn to_bytes(&self) -> SecretBytes {
        // Two texts always serialize.
        SecretBytes::from(serde_json::to_vec(self).unwrap_or_default())
    }
}
