//! Where new private keys are made, and how one that was kept is opened again.
//!
//! What is kept of a key is sealed by the caller and opaque to it: the key itself, when it is in software; where it is,
//! when a device has it. [`Custody::open`] tells one from the other, so keys of both kinds stand beside each other: a change
//! of custody concerns the keys that are made from then on.
//!
//! Touches the device, where there is one. Tests: below, and `tests/pkcs11.rs`.

use crate::{
    KeyError, KeyKind, PublicKey, SecretBytes, Signer, hash,
    place::{Place, Reference},
};

/// Where keys are made and opened. Clones share the device.
#[derive(Clone, Default)]
pub struct Custody {
    /// New keys are made in the device.
    #[cfg(feature = "pkcs11")]
    makes_in_device: bool,
    #[cfg(feature = "pkcs11")]
    device: Option<crate::pkcs11::Token>,
}

/// What DER begins with, and no reference.
const DER: u8 = 0x30;

impl Custody {
    /// Keys are made in software, and kept as sealed bytes.
    #[must_use]
    pub fn sealed() -> Self {
        Self::default()
    }

    /// Keys that are in this token can be opened as well.
    #[cfg(feature = "pkcs11")]
    #[must_use]
    pub fn with_token(self, token: crate::pkcs11::Token) -> Self {
        Self { device: Some(token), ..self }
    }

    /// New keys are made in the token, and do not leave it.
    #[cfg(feature = "pkcs11")]
    #[must_use]
    pub fn in_token(token: crate::pkcs11::Token) -> Self {
        Self { makes_in_device: true, device: Some(token) }
    }

    /// Makes a key. Takes up to seconds, and may wait for a device: not for an asynchronous worker.
    ///
    /// # Errors
    /// [`KeyError::Generation`], [`KeyError::Device`].
    pub fn make(&self, kind: KeyKind) -> Result<Signer, KeyError> {
        #[cfg(feature = "pkcs11")]
        if let (true, Some(token)) = (self.makes_in_device, &self.device) {
            return token.generate(kind).map(Signer::in_device);
        }
        Signer::generate(kind)
    }

    /// Opens a key of which `kept` was kept ([`Signer::kept`]), and whose public half is `public`. Asks no device: one
    /// that is away now may be back when the key has to sign.
    ///
    /// # Errors
    /// [`KeyError::PrivateKey`] when it is another key, or in a device that is not configured.
    pub fn open(&self, kept: &SecretBytes, public: &PublicKey) -> Result<Signer, KeyError> {
        if kept.expose().first() == Some(&DER) {
            let signer = Signer::from_pkcs8(kept)?;
            if signer.public() != public {
                return Err(KeyError::PrivateKey("it is not the one that its certificate names"));
            }
            return Ok(signer);
        }
        let Reference { pkcs11: place } = serde_json::from_slice(kept.expose())
            .map_err(|_| KeyError::PrivateKey("it is kept in no form that this release knows"))?;
        let id = hash::unhex(&place.id).ok_or(KeyError::PrivateKey("the id of its key is not hexadecimal"))?;
        self.in_device(place, &id, public)
    }

    #[cfg(feature = "pkcs11")]
    fn in_device(&self, place: Place, id: &[u8], public: &PublicKey) -> Result<Signer, KeyError> {
        let Some(token) = &self.device else {
            let reason = "a signing key is in this token, and the configuration names no PKCS#11 module: set \
                          signing.pkcs11_module, signing.pkcs11_token and signing.pkcs11_pin_file";
            return Err(KeyError::Device { token: place.token, reason: reason.to_owned(), may_recover: false });
        };
        if token.label() != place.token {
            let reason = format!("a signing key is in this token, and signing.pkcs11_token names '{}'", token.label());
            return Err(KeyError::Device { token: place.token, reason, may_recover: false });
        }
        Ok(Signer::in_device(token.key(id, public.clone())))
    }

    #[cfg(not(feature = "pkcs11"))]
    #[expect(clippy::unused_self, reason = "as the other")]
    fn in_device(&self, place: Place, _: &[u8], _: &PublicKey) -> Result<Signer, KeyError> {
        let reason = "a key is in this token, and this program was built without PKCS#11".to_owned();
        Err(KeyError::Device { token: place.token, reason, may_recover: false })
    }

    /// Whether keys can be made. May wait for a device.
    ///
    /// # Errors
    /// [`KeyError::Device`] says why not.
    pub fn check(&self) -> Result<(), KeyError> {
        #[cfg(feature = "pkcs11")]
        if let (true, Some(token)) = (self.makes_in_device, &self.device) {
            return token.check();
        }
        Ok(())
    }
}

impl std::fmt::Debug for Custody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Custody(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_key_opens_as_itself_and_as_no_other() {
        let custody = Custody::sealed();
        for kind in [KeyKind::Rsa2048, KeyKind::EcP256] {
            let (ours, other) = (custody.make(kind).unwrap(), custody.make(kind).unwrap());
            let again = custody.open(&ours.kept().unwrap(), ours.public()).unwrap();
            assert_eq!(again.public(), ours.public());
            assert!(!again.may_wait() && again.check().is_ok() && again.destroy().is_ok());
            let refused = custody.open(&ours.kept().unwrap(), other.public()).unwrap_err();
            assert_eq!(refused, KeyError::PrivateKey("it is not the one that its certificate names"));
        }
    }

    #[test]
    fn a_key_of_a_token_that_is_not_configured_says_which() {
        let public = Signer::generate_ec().unwrap().public().clone();
        let kept = |text: &str| SecretBytes::from(text.as_bytes());
        let refused = |text: &str| Custody::sealed().open(&kept(text), &public).unwrap_err();
        let there = refused(r#"{"pkcs11":{"token":"hsm-1","id":"00ff"}}"#).to_string();
        assert!(there.contains("'hsm-1'"), "{there}");
        for text in ["", "{}", r#"{"pkcs11":{"token":"t"}}"#, r#"{"pkcs11":{"token":"t","id":"xy"}}"#, "0"] {
            assert!(matches!(refused(text), KeyError::PrivateKey(_)), "{text}");
        }
    }
}
