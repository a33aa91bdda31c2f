//! What is asked of the token endpoint, and what is answered.

use denizen_keys::SecretString;
use denizen_wire::{PrincipalId, TenantId, UnixTime};

use super::GrantFault;
use crate::domain::{directory::TokenVersion, scopes::Scopes};

/// A token request whose form is right. Has no `Debug`: it holds credentials.
pub struct TokenRequest {
    /// `client_id`, of the form or of the `Authorization` header.
    pub client_id: String,
    /// What the client proves itself with; none of a client that has nothing to prove itself with.
    pub credential: Option<Credential>,
    /// By which grant, with what belongs to it.
    pub grant: Grant,
    /// What the tokens shall be like.
    pub wishes: Wishes,
}

/// The OAuth grants that are served. A new one is an arm here and a file beside this one; all end in the same issuing.
pub enum Grant {
    /// `client_credentials` (RFC 6749, section 4.4): the client asks for itself.
    ClientCredentials {
        /// The resource, as it was asked for.
        resource: String,
    },
    /// `authorization_code` (RFC 6749, section 4.1; RFC 7636): a browser has brought a code.
    AuthorizationCode {
        /// The code.
        code: SecretString,
        /// Where the browser was sent.
        redirect_uri: String,
        /// What the challenge was made of.
        verifier: Option<SecretString>,
        /// What is asked for, where it is less than what the code is for.
        scopes: Option<Scopes>,
    },
    /// `device_code` (RFC 8628): a person decides elsewhere.
    DeviceCode {
        /// The code.
        device_code: SecretString,
    },
    /// `refresh_token` (RFC 6749, section 6).
    RefreshToken {
        /// The token.
        token: SecretString,
        /// What is asked for, where it is other than the first time.
        scopes: Option<Scopes>,
    },
    /// `password` (RFC 6749, section 4.3): the client has asked the user for it. Off, unless an operator insists.
    Password {
        /// The user's name.
        name: String,
        /// The user's password.
        password: SecretString,
        /// What is asked for.
        scopes: Scopes,
    },
    /// `jwt-bearer` with `requested_token_use=on_behalf_of`: a resource asks for another one, for the user who called it.
    OnBehalfOf {
        /// The token that it was called with.
        assertion: SecretString,
        /// What is asked for.
        scopes: Scopes,
    },
}

impl Grant {
    /// What is wrong with one that was given in no tenant; none of a grant that is given in none.
    pub fn unknown(&self) -> Option<GrantFault> {
        match self {
            Self::ClientCredentials { .. } | Self::OnBehalfOf { .. } | Self::Password { .. } => None,
            Self::AuthorizationCode { .. } => Some(GrantFault::UnknownCode),
            Self::DeviceCode { .. } => Some(GrantFault::UnknownDevice),
            Self::RefreshToken { .. } => Some(GrantFault::UnknownRefresh),
        }
    }
}

/// What a client proves itself with.
pub enum Credential {
    /// A client secret.
    Secret(SecretString),
    /// A signed assertion.
    Assertion(String),
}

/// What the tokens of an answer shall be like, whatever the grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wishes {
    /// The version of the endpoint, which is that of id tokens.
    pub endpoint: TokenVersion,
    /// The token must not be valid before this: a resource has revoked older ones.
    pub not_before: Option<UnixTime>,
    /// Whether the client handles claims challenges.
    pub handles_challenges: bool,
}

/// A token, and what the answer says about it. Has no `Debug`: it holds a token.
pub struct Issued {
    /// The JWT.
    pub token: String,
    /// Its life from now on, seconds.
    pub expires_in: i64,
    /// When it ends.
    pub expires_on: UnixTime,
    /// When it begins.
    pub not_before: UnixTime,
    /// When to ask again, seconds from now, when its life is long.
    pub refresh_in: Option<i64>,
    /// The resource, as it was asked for.
    pub resource: String,
    /// What comes with a user's.
    pub user: Option<IssuedForUser>,
}

/// What comes with the token of a user. Has no `Debug`: it holds tokens.
pub struct IssuedForUser {
    /// What was granted, by spaces.
    pub scope: String,
    /// The refresh token, where one was asked for.
    pub refresh_token: Option<String>,
    /// The id token, where one was asked for.
    pub id_token: Option<String>,
    /// The user, for `client_info`.
    pub id: PrincipalId,
    /// Its tenant, for the same.
    pub tenant: TenantId,
}
