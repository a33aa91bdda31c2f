//! The names resources go by, and what a client's `scope` or `resource` asks for.
//!
//! Azure's own resources are known by name so that a program written for Azure asks for them unchanged; whether
//! anything behind such a name believes this authority is up to what stands there.
//!
//! Pure. Tests: below.

/// A resource of Azure's own: its client id where it is widely asked for by it, and the names it goes by.
struct FirstParty {
    client_id: Option<&'static str>,
    names: &'static [&'static str],
}

const fn known(client_id: &'static str, names: &'static [&'static str]) -> FirstParty {
    FirstParty { client_id: Some(client_id), names }
}

const fn named(names: &'static [&'static str]) -> FirstParty {
    FirstParty { client_id: None, names }
}

/// Names without a slash at the end; one is accepted after any of them.
const FIRST_PARTY: &[FirstParty] = &[
    known("cfa8b339-82a2-471a-a3c9-0fc0be7a4093", &["https://vault.azure.net"]),
    known(
        "797f4846-ba00-4fd7-ba43-dac1f8f63013",
        &["https://management.azure.com", "https://management.core.windows.net"],
    ),
    known("00000003-0000-0000-c000-000000000000", &["https://graph.microsoft.com"]),
    known("00000002-0000-0000-c000-000000000000", &["https://graph.windows.net"]),
    known("e406a681-f3d4-42a8-90b6-c2b029497af1", &["https://storage.azure.com"]),
    known("022907d3-0f1b-48f7-badc-1ba6abab6d66", &["https://database.windows.net"]),
    known("123cd850-d9df-40bd-94d5-c9f07b7fa203", &["https://ossrdbms-aad.database.windows.net"]),
    known("80a10ef9-8168-493d-abf9-3297c4ef6e3c", &["https://servicebus.azure.net"]),
    known("80369ed6-5f11-4dd9-bef3-692475845e77", &["https://eventhubs.azure.net"]),
    known("a232010e-820c-4083-83bb-3ace5fc29d0b", &["https://cosmos.azure.com"]),
    known("7d312290-28c8-473c-a0ed-8e53749b6d6d", &["https://cognitiveservices.azure.com"]),
    known("880da380-985e-4198-81b9-e05b1cc53158", &["https://search.azure.com"]),
    known("35ffadb3-7fc1-497e-b61b-381d28e744cc", &["https://azconfig.io"]),
    known("ca7f3f0b-7d91-482c-8e09-c5d840d0eac5", &["https://api.loganalytics.io"]),
    known("6dae42f8-4368-4678-94ff-3960e28e3630", &[]),
    known("2ff814a6-3304-4ab8-85cb-cd0e6f879c1d", &[]),
    known("499b84ac-1321-427f-aa17-267ca6975798", &["https://app.vssps.visualstudio.com"]),
    known("fb60f99c-7a34-4190-8149-302f77469936", &["api://AzureADTokenExchange"]),
    named(&["https://managedhsm.azure.net"]),
    named(&["https://eventgrid.azure.net"]),
    named(&["https://ai.azure.com"]),
    named(&["https://redis.azure.com"]),
    named(&["https://monitor.azure.com"]),
    named(&["https://batch.core.windows.net"]),
    named(&["https://datalake.azure.net"]),
    named(&["https://containerregistry.azure.net"]),
    named(&["https://digitaltwins.azure.net"]),
];

/// Hosts under these are resources too, one for each account.
const FIRST_PARTY_HOSTS: &[&str] = &[
    ".blob.core.windows.net",
    ".dfs.core.windows.net",
    ".file.core.windows.net",
    ".queue.core.windows.net",
    ".table.core.windows.net",
    ".servicebus.windows.net",
];

/// Whether a resource is one of Azure's own, by name or by client id, in any case, with or without a slash at the
/// end.
pub fn is_first_party(resource: &str) -> bool {
    let name = without_slash(resource);
    FIRST_PARTY.iter().any(|known| {
        known.client_id.is_some_and(|id| id.eq_ignore_ascii_case(resource))
            || known.names.iter().any(|known| known.eq_ignore_ascii_case(name))
    }) || is_account(name)
}

/// `https://{account}.blob.core.windows.net` and its like.
fn is_account(name: &str) -> bool {
    let Some(host) = name.strip_prefix("https://") else { return false };
    FIRST_PARTY_HOSTS.iter().any(|suffix| {
        let Some((account, rest)) = host.len().checked_sub(suffix.len()).and_then(|at| host.split_at_checked(at))
        else {
            return false;
        };
        rest.eq_ignore_ascii_case(suffix)
            && (1..=63).contains(&account.len())
            && account.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    })
}

/// Whether two spellings name one resource: a slash at the end does not count, nor does case.
pub fn same(a: &str, b: &str) -> bool {
    without_slash(a).eq_ignore_ascii_case(without_slash(b))
}

fn without_slash(resource: &str) -> &str {
    resource.strip_suffix('/').unwrap_or(resource)
}

/// Why a scope names no resource.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeFault {
    /// It names none.
    #[error("it names no resource")]
    Empty,
    /// A client without a user has whole resources, not single permissions.
    #[error("'{0}' does not end in '/.default'")]
    NotDefault(String),
    /// A token is for one resource.
    #[error("it names more than one resource")]
    Several,
}

/// The resource that a `scope` asks for.
///
/// Exactly one `/.default` is taken off, so the `https://management.core.windows.net//.default` of the Azure CLI is
/// the resource with its slash. The OIDC scopes that some libraries add to every request ask for nothing here.
pub fn resource_of_scope(scope: &str) -> Result<&str, ScopeFault> {
    let mut found = None;
    for part in scope.split_ascii_whitespace() {
        if ["openid", "profile", "offline_access", "email"].iter().any(|oidc| part.eq_ignore_ascii_case(oidc)) {
            continue;
        }
        let resource = part
            .strip_suffix("/.default")
            .filter(|resource| !resource.is_empty())
            .ok_or_else(|| ScopeFault::NotDefault(crate::domain::assertion::excerpt(part)))?;
        match found {
            Some(other) if other != resource => return Err(ScopeFault::Several),
            Some(_) | None => found = Some(resource),
        }
    }
    found.ok_or(ScopeFault::Empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_default_is_taken_off_and_no_more() {
        for (scope, resource) in [
            ("https://vault.azure.net/.default", "https://vault.azure.net"),
            ("https://management.core.windows.net//.default", "https://management.core.windows.net/"),
            ("https://x/.default/.default", "https://x/.default"),
            ("https://storage.azure.com/.default openid offline_access profile", "https://storage.azure.com"),
            ("  openid https://a/.default https://a/.default ", "https://a"),
            ("c11e0000-0000-4000-8000-00000000000a/.default", "c11e0000-0000-4000-8000-00000000000a"),
        ] {
            assert_eq!(resource_of_scope(scope), Ok(resource), "{scope}");
        }
    }

    #[test]
    fn a_scope_that_names_no_one_resource_is_refused() {
        assert_eq!(resource_of_scope("openid"), Err(ScopeFault::Empty));
        assert_eq!(resource_of_scope(" "), Err(ScopeFault::Empty));
        for bad in ["https://graph.microsoft.com/User.Read", "/.default", ".default", "https://a/.DEFAULT", "https://a"]
        {
            assert_eq!(resource_of_scope(bad), Err(ScopeFault::NotDefault(bad.into())), "{bad}");
        }
        assert_eq!(resource_of_scope("https://a/.default https://b/.default"), Err(ScopeFault::Several));
        assert_eq!(resource_of_scope("https://a/.default https://a//.default"), Err(ScopeFault::Several));
    }

    #[test]
    fn azures_resources_are_known_and_their_lookalikes_are_not() {
        for known in [
            "https://vault.azure.net",
            "https://vault.azure.net/",
            "https://Management.Azure.com/",
            "https://management.core.windows.net/",
            "797F4846-BA00-4FD7-BA43-DAC1F8F63013",
            "api://AzureADTokenExchange",
            "https://acct1.blob.core.windows.net",
            "https://ns-1.servicebus.windows.net/",
        ] {
            assert!(is_first_party(known), "{known}");
        }
        for unknown in [
            "https://vault.azure.net//",
            "https://vault.azure.net.evil.test",
            "http://vault.azure.net",
            "https://.blob.core.windows.net",
            "https://a.b.blob.core.windows.net",
            "https://evil.test/.blob.core.windows.net",
            "https://evilblob.core.windows.net",
            "797f4846-ba00-4fd7-ba43-dac1f8f63013/",
            "",
            "/",
        ] {
            assert!(!is_first_party(unknown), "{unknown}");
        }
    }

    #[test]
    fn every_first_party_id_is_a_guid_and_none_stands_twice() {
        let mut seen = std::collections::HashSet::new();
        for known in FIRST_PARTY {
            if let Some(id) = known.client_id {
                assert!(id.parse::<denizen_wire::ClientId>().is_ok() && seen.insert(id), "{id}");
            }
            assert!(known.client_id.is_some() || !known.names.is_empty());
            assert!(known.names.iter().all(|name| !name.ends_with('/') && seen.insert(name)), "{:?}", known.names);
        }
    }
}
