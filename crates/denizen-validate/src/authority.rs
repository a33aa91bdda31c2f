//! A trusted authority and one tenant of it.
//!
//! The issuer names are derived from the two, so a token's `iss` is compared with names known beforehand. The
//! authority's metadata must agree with them.

use denizen_wire::{TenantId, host};
use http::Uri;

/// Entra's authorities, and the service that their v1 tokens name instead of them.
const MICROSOFT: [(&str, &str); 4] = [
    ("https://login.microsoftonline.com", "https://sts.windows.net"),
    ("https://login.microsoftonline.us", "https://sts.windows.net"),
    ("https://login.partner.microsoftonline.cn", "https://sts.chinacloudapi.cn"),
    ("https://login.chinacloudapi.cn", "https://sts.chinacloudapi.cn"),
];

/// An authority and one tenant of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TrustedAuthority {
    url: String,
    tenant: TenantId,
    iss: String,
    iss_v2: String,
    local: bool,
}

impl TrustedAuthority {
    /// # Errors
    /// What is wrong, and what corrects it.
    pub(crate) fn new(authority: &str, tenant: &str) -> Result<Self, String> {
        let authority = authority.trim_end_matches('/');
        let uri: Uri = authority.parse().map_err(|_| format!("the authority {authority:?} is no URL"))?;
        let host_name = uri.host().unwrap_or_default();
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(format!("the authority {authority:?} is no https URL")),
        };
        let has_path = !matches!(uri.path(), "" | "/");
        if host_name.is_empty()
            || has_path
            || uri.query().is_some()
            || uri.authority().is_some_and(|a| a.as_str().contains('@'))
        {
            return Err(format!("the authority {authority:?} is not scheme, host and port alone"));
        }
        let id: TenantId = tenant
            .parse()
            .map_err(|_| format!("the tenant {tenant:?} is no GUID: names of tenants can be given to others"))?;
        let named_by = MICROSOFT.iter().find(|(known, _)| known.eq_ignore_ascii_case(authority));
        let v1 = named_by.map_or(authority, |(_, service)| service);
        Ok(Self {
            iss: format!("{v1}/{id}/"),
            iss_v2: format!("{authority}/{id}/v2.0"),
            url: authority.to_owned(),
            tenant: id,
            local: host::is_local(host_name) || !tls,
        })
    }

    pub(crate) fn with_issuers(self, iss: &str, iss_v2: &str) -> Self {
        Self { iss: iss.to_owned(), iss_v2: iss_v2.to_owned(), ..self }
    }

    /// The authority's URL, without a slash at its end.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The tenant.
    pub(crate) fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// The `iss` of its v1 tokens.
    pub(crate) fn iss(&self) -> &str {
        &self.iss
    }

    /// The `iss` of its v2 tokens.
    pub(crate) fn iss_v2(&self) -> &str {
        &self.iss_v2
    }

    /// Whether it is on this machine or without TLS.
    pub(crate) fn is_local(&self) -> bool {
        self.local
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: &str = "11111111-2222-4333-8444-555555555555";

    #[test]
    fn entra_names_another_service_in_v1_tokens() {
        let entra = TrustedAuthority::new("https://login.microsoftonline.com/", &TENANT.to_uppercase()).unwrap();
        assert_eq!(entra.iss(), format!("https://sts.windows.net/{TENANT}/"));
        assert_eq!(entra.iss_v2(), format!("https://login.microsoftonline.com/{TENANT}/v2.0"));
        let own = TrustedAuthority::new("https://denizen.example:8443", TENANT).unwrap();
        assert_eq!(own.iss(), format!("https://denizen.example:8443/{TENANT}/"));
        assert!(!own.is_local());
    }

    #[test]
    fn what_is_no_authority() {
        for authority in ["", "denizen.example", "ftp://denizen.example", "https://", "https://a@b", "https://a?b"] {
            assert!(TrustedAuthority::new(authority, TENANT).is_err(), "{authority}");
        }
        for tenant in ["", "common", "contoso.test", "organizations"] {
            assert!(TrustedAuthority::new("https://denizen.example", tenant).is_err(), "{tenant}");
        }
        for local in ["https://localhost:1", "https://127.0.0.1", "https://[::1]:1", "http://denizen.example"] {
            assert!(TrustedAuthority::new(local, TENANT).unwrap().is_local(), "{local}");
        }
    }
}
