//! Why no token is issued. The texts begin as Entra's do, since people search for them, and end with the fix.

use denizen_wire::{ClientId, UnixTime};

use crate::{
    app::{credentials::CredentialError, limits::Limited, sign_in::SignInError, signing::SigningError},
    store::{OneTimeRefused, StoreError},
};

/// Why no token is issued.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// No such client.
    #[error(
        "Application with identifier '{client}' was not found in the directory '{tenant}'. Check the client id and the tenant in the request's path, or register the application in that tenant."
    )]
    UnknownClient {
        /// As it was asked for.
        client: ClientId,
        /// The tenant's name.
        tenant: String,
    },
    /// The client id is no id. It is not repeated, here or in the audit: it may be the secret, in the wrong field.
    #[error(
        "Application with the identifier in the request was not found in the directory '{tenant}': the identifier is not a GUID. Send the application (client) id as it was registered, with no space or line feed around it, and not the client secret in its place."
    )]
    MalformedClient {
        /// The tenant's name.
        tenant: String,
    },
    /// The principal is disabled.
    #[error("Application '{0}' is disabled. An administrator of the tenant can enable its service principal.")]
    Disabled(ClientId),
    /// The client has a credential to prove itself with, and did not.
    #[error(
        "The request body must contain the following parameter: 'client_assertion' or 'client_secret'. Application '{0}' is not registered as a public client."
    )]
    NotPublic(ClientId),
    /// The credential.
    #[error(transparent)]
    Credential(CredentialError),
    /// Too much came from where this comes from, or from this client.
    #[error(transparent)]
    Limited(#[from] Limited),
    /// What stands for the user.
    #[error(transparent)]
    Grant(#[from] GrantFault),
    /// Nobody may send a user's password.
    #[error(
        "The app requested the grant type 'password', which is off here. Sign in with a browser or with a device code; who runs the server can allow it with sign_in.password_grant."
    )]
    NoPasswordGrant,
    /// The password.
    #[error(transparent)]
    SignIn(SignInError),
    /// No such resource.
    #[error(
        "The resource principal named {resource} was not found in the tenant named {tenant}. Ask for a resource of Azure's by its URI, for an application of this tenant by its identifier URI or client id, or for one that the server's configuration lists."
    )]
    UnknownResource {
        /// As it was asked for.
        resource: String,
        /// The tenant's name.
        tenant: String,
    },
    /// A scope where a resource belongs, as programs send that pass a scope to a managed identity endpoint.
    #[error(
        "The resource principal named {resource} was not found in the tenant named {tenant}: it is a scope, not a resource. Ask for what stands before '/.default'."
    )]
    ScopeAsResource {
        /// As it was asked for.
        resource: String,
        /// The tenant's name.
        tenant: String,
    },
    /// The resource gives tokens to those only who have a role of it.
    #[error(
        "Application '{client}' is not assigned to a role for the application '{resource}'. Assign one of its app roles to the client's service principal, or do not require an assignment."
    )]
    NotAssigned {
        /// The client.
        client: ClientId,
        /// The resource's name.
        resource: String,
    },
    /// A resource has revoked what was valid before a time that has not come.
    #[error("The claims parameter asks for a token that is not valid before {}, which is in the future. Check this machine's clock.", .0.rfc3339())]
    NotBefore(UnixTime),
    /// What has to be kept could not be.
    #[error(
        "A transient error has occurred: what the token stands for cannot be looked up or kept. Ask again in a few seconds."
    )]
    Unkept(#[source] StoreError),
    /// Nothing is issued that cannot be recorded.
    #[error("A transient error has occurred: the token cannot be recorded. Ask again in a few seconds.")]
    Unrecorded(#[source] StoreError),
    /// No key to sign with.
    #[error("A transient error has occurred: the tenant has no key to sign with. Ask again in a few seconds.")]
    Signing(#[source] SigningError),
    /// Our own types did not serialize.
    #[error("A transient error has occurred: the token could not be written. Ask again in a few seconds.")]
    Unwritten(#[source] serde_json::Error),
}

/// What is wrong with what stands for a user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantFault {
    /// No such code.
    #[error(
        "The provided value for the 'code' parameter is not valid. It is not one that was given out here; begin anew."
    )]
    UnknownCode,
    /// A code that was used.
    #[error(
        "OAuth2 Authorization code was already redeemed. The refresh token that was given for it is revoked; begin anew."
    )]
    CodeUsed,
    /// A code that has ended.
    #[error("The provided authorization code is expired. Redeem it within ten minutes; begin anew.")]
    CodeEnded,
    /// A code for another client.
    #[error("The provided value for the 'code' parameter is not valid: it was given to another client. Begin anew.")]
    CodeOfAnother,
    /// A code for another tenant than the path's.
    #[error("Provided grant is invalid: it was given in another tenant. Redeem it at that tenant's token endpoint.")]
    OtherTenant,
    /// Another redirect URI.
    #[error(
        "The reply address does not match the reply address provided when requesting Authorization code. Send the same redirect_uri both times."
    )]
    RedirectUri,
    /// No verifier, or another challenge's.
    #[error("The Code_Verifier does not match the code_challenge supplied in the authorization request.")]
    Verifier,
    /// Nobody has decided yet.
    #[error("OAuth 2.0 device flow error. Authorization is pending. Continue polling.")]
    Pending,
    /// The device asks too often.
    #[error(
        "OAuth 2.0 device flow error. The device polls more often than every {0} seconds. Wait longer between two requests."
    )]
    TooFast(i64),
    /// Somebody has declined.
    #[error("User declined to consent to access the app.")]
    Declined,
    /// A device code that is none.
    #[error(
        "The provided value for the input parameter 'device_code' is not valid. Device codes supplied in this request are not known here."
    )]
    UnknownDevice,
    /// A device code that has ended.
    #[error(
        "OAuth 2.0 device flow error: the provided value for the input parameter 'device_code' is not valid, it has expired. Begin anew."
    )]
    DeviceEnded,
    /// A refresh token that is none of ours.
    #[error("The provided refresh token is malformed or invalid. Sign in again.")]
    UnknownRefresh,
    /// One that was given to another client.
    #[error("The refresh token was issued to another client. Sign in again.")]
    RefreshOfAnother,
    /// One that was not used for long.
    #[error("The refresh token has expired due to inactivity. It was not used for 90 days. Sign in again.")]
    RefreshEnded,
    /// One that was revoked, or was spent before.
    #[error(
        "The provided grant has expired due to it being revoked, a fresh auth token is needed: {0}. Sign in again."
    )]
    Revoked(&'static str),
    /// The user is gone.
    #[error("The user account does not exist in the tenant. Sign in with another.")]
    UserGone,
    /// The user is disabled.
    #[error("The user account is disabled. An administrator of the tenant can enable it.")]
    UserDisabled,
    /// Nobody has consented.
    #[error(
        "The user or administrator has not consented to use the application with ID '{client}' for '{resource}'. Send an interactive authorization request for this user and resource, or have an administrator grant the permissions."
    )]
    Consent {
        /// The client.
        client: ClientId,
        /// The resource, as it was asked for.
        resource: String,
    },
    /// The resource gives tokens to those only who have a role of it.
    #[error(
        "The signed in user is not assigned to a role for the application '{0}'. An administrator of the tenant can assign one."
    )]
    NotAssigned(String),
    /// The token of an on-behalf-of request is none that is believed.
    #[error("Assertion failed validation: {0}")]
    Assertion(String),
    /// There is no user behind it.
    #[error(
        "Application is not allowed to make application on-behalf-of calls: the assertion is an app-only token. Use client_credentials for what the application does by itself."
    )]
    AppOnly,
}

impl From<CredentialError> for TokenError {
    fn from(error: CredentialError) -> Self {
        if let CredentialError::Limited(limited) = error {
            return Self::Limited(limited);
        }
        Self::Credential(error)
    }
}

impl TokenError {
    /// `suberror`, by which clients choose what to ask of the user.
    pub fn suberror(&self) -> Option<&'static str> {
        if let Self::Grant(fault) = self { fault.suberror() } else { None }
    }

    /// The number that Entra gives this reason, by which people search.
    pub fn code(&self) -> i32 {
        match self {
            Self::UnknownClient { .. } | Self::MalformedClient { .. } => 700_016,
            Self::Disabled(_) => 7_000_112,
            Self::NotPublic(_) => 7_000_218,
            Self::Credential(error) => error.code(),
            Self::Grant(fault) => fault.code(),
            Self::NoPasswordGrant => 70_003,
            Self::SignIn(error) => error.code(),
            Self::UnknownResource { .. } | Self::ScopeAsResource { .. } => 500_011,
            Self::NotAssigned { .. } => 501_051,
            Self::NotBefore(_) => 50_200,
            Self::Limited(_) => 90_055,
            Self::Unkept(_) | Self::Unrecorded(_) | Self::Signing(_) | Self::Unwritten(_) => 90_033,
        }
    }

    /// Why what has to be kept could not be: what is consumed once was `refused`, the user was revoked meanwhile, or something
    /// of ours failed.
    pub(super) fn of_write(error: StoreError, refused: impl FnOnce(OneTimeRefused) -> GrantFault) -> Self {
        if let StoreError::Refused(why) = error {
            return refused(why).into();
        }
        if matches!(error, StoreError::NotAuthorized) {
            return GrantFault::Revoked("the user's sessions were revoked").into();
        }
        Self::Unkept(error)
    }

    /// Whether something of ours failed, rather than the request.
    pub(super) fn is_ours(&self) -> bool {
        let is_ours = matches!(self, Self::Unkept(_) | Self::Unrecorded(_) | Self::Signing(_) | Self::Unwritten(_));
        is_ours || matches!(self, Self::SignIn(error) if error.is_transient())
    }
}

impl GrantFault {
    /// The number that Entra gives this reason.
    pub fn code(&self) -> i32 {
        match self {
            Self::UnknownCode | Self::CodeOfAnother | Self::UnknownRefresh => 70_000,
            Self::OtherTenant => 700_005,
            Self::CodeUsed => 54_005,
            Self::CodeEnded => 70_008,
            Self::RedirectUri => 500_112,
            Self::Verifier => 501_481,
            Self::Pending | Self::TooFast(_) => 70_016,
            Self::Declined => 65_004,
            Self::UnknownDevice => 70_018,
            Self::DeviceEnded => 70_019,
            Self::RefreshOfAnother => 700_003,
            Self::RefreshEnded => 700_082,
            Self::Revoked(_) => 50_173,
            Self::UserGone => 50_034,
            Self::UserDisabled => 50_057,
            Self::Consent { .. } => 65_001,
            Self::NotAssigned(_) => 50_105,
            Self::Assertion(_) => 50_013,
            Self::AppOnly => 7_000_114,
        }
    }

    /// The OAuth error (RFC 6749, section 5.2; RFC 8628, section 3.5).
    pub fn error(&self) -> &'static str {
        match self {
            Self::Pending => "authorization_pending",
            Self::TooFast(_) => "slow_down",
            Self::Declined => "authorization_declined",
            Self::DeviceEnded => "expired_token",
            Self::UnknownDevice => "bad_verification_code",
            Self::UnknownCode
            | Self::CodeUsed
            | Self::CodeEnded
            | Self::CodeOfAnother
            | Self::OtherTenant
            | Self::RedirectUri
            | Self::Verifier
            | Self::UnknownRefresh
            | Self::RefreshOfAnother
            | Self::RefreshEnded
            | Self::Revoked(_)
            | Self::UserGone
            | Self::UserDisabled
            | Self::Consent { .. }
            | Self::NotAssigned(_)
            | Self::Assertion(_)
            | Self::AppOnly => "invalid_grant",
        }
    }

    /// `suberror`, by which clients choose what to ask of the user.
    pub fn suberror(&self) -> Option<&'static str> {
        match self {
            Self::Consent { .. } => Some("consent_required"),
            Self::RefreshEnded | Self::Revoked(_) | Self::UnknownRefresh | Self::RefreshOfAnother => Some("bad_token"),
            Self::UnknownCode
            | Self::CodeUsed
            | Self::CodeEnded
            | Self::CodeOfAnother
            | Self::OtherTenant
            | Self::RedirectUri
            | Self::Verifier
            | Self::Pending
            | Self::TooFast(_)
            | Self::Declined
            | Self::UnknownDevice
            | Self::DeviceEnded
            | Self::UserGone
            | Self::UserDisabled
            | Self::NotAssigned(_)
            | Self::Assertion(_)
            | Self::AppOnly => None,
        }
    }
}
