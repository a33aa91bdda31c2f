//! The names resources go by, and what a client's `scope` or `resource` asks for.
//!
//! Azure's own resources are known by name so that a program written for Azure asks for them unchanged; whether
//! anything behind such a name believes this authority is up to what stands there.
//!
//! Pure. Tests: below.

use std::sync::Arc;

use denizen_keys::hash::sha256_of;
use denizen_wire::PrincipalId;
use uuid::Uuid;

/// A resource of Azure's own: its client id where it is widely asked for by it, and the names it goes by.
#[derive(Debug)]
struct FirstParty {
    client_id: Option<&'static str>,
    names: &'static [&'static str],
    /// Whether something here believes tokens for it: vault, resource manager, graph.
    ours: bool,
}

const fn known(client_id: &'static str, names: &'static [&'static str]) -> FirstParty {
    FirstParty { client_id: Some(client_id), names, ours: false }
}

const fn named(names: &'static [&'static str]) -> FirstParty {
    FirstParty { client_id: None, names, ours: false }
}

const fn ours(client_id: &'static str, names: &'static [&'static str]) -> FirstParty {
    FirstParty { client_id: Some(client_id), names, ours: true }
}

const STORAGE: &str = "https://storage.azure.com";
const SERVICE_BUS: &str = "https://servicebus.azure.net";

/// Names without a slash at the end; one is accepted after any of them.
const FIRST_PARTY: &[FirstParty] = &[
    ours("cfa8b339-82a2-471a-a3c9-0fc0be7a4093", &["https://vault.azure.net"]),
    ours(
        "797f4846-ba00-4fd7-ba43-dac1f8f63013",
        &["https://management.azure.com", "https://management.core.windows.net"],
    ),
    ours("00000003-0000-0000-c000-000000000000", &["https://graph.microsoft.com"]),
    ours("00000002-0000-0000-c000-000000000000", &["https://graph.windows.net"]),
    known("e406a681-f3d4-42a8-90b6-c2b029497af1", &[STORAGE]),
    known("022907d3-0f1b-48f7-badc-1ba6abab6d66", &["https://database.windows.net"]),
    known("123cd850-d9df-40bd-94d5-c9f07b7fa203", &["https://ossrdbms-aad.database.windows.net"]),
    known("80a10ef9-8168-493d-abf9-3297c4ef6e3c", &[SERVICE_BUS]),
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

/// Hosts under these are resources too, one for each account, and the service that each is an account of.
const FIRST_PARTY_HOSTS: &[(&str, &str)] = &[
    (".blob.core.windows.net", STORAGE),
    (".dfs.core.windows.net", STORAGE),
    (".file.core.windows.net", STORAGE),
    (".queue.core.windows.net", STORAGE),
    (".table.core.windows.net", STORAGE),
    (".servicebus.windows.net", SERVICE_BUS),
];

/// Whether a resource is one of Azure's own, by name or by client id, in any case, with or without a slash at the
/// end.
pub fn is_first_party(resource: &str) -> bool {
    first_party(resource).is_some()
}

fn first_party(resource: &str) -> Option<&'static FirstParty> {
    let name = plain(resource);
    service_named(resource, service_of_account(name).unwrap_or(name))
}

/// The service of this client id or of this plain name.
fn service_named(client_id: &str, name: &str) -> Option<&'static FirstParty> {
    FIRST_PARTY.iter().find(|known| {
        known.client_id.is_some_and(|id| id.eq_ignore_ascii_case(client_id))
            || known.names.iter().any(|known| known.eq_ignore_ascii_case(name))
    })
}

/// The one spelling of a resource that decides: what the token service gives a token for and what a resource of ours
/// accepts are compared by it. A service of Azure's is spelt by its first name, whichever of its names or its client id
/// was given; anything else in lower case, without a slash at the end or the default port.
///
/// A token's `aud` stays as it was asked for, because other resources compare it as text.
pub fn canonical(resource: &str) -> String {
    let name = plain(resource);
    match service_named(resource, name).and_then(|service| service.names.first()) {
        Some(first) => (*first).to_owned(),
        None => name.to_ascii_lowercase(),
    }
}

/// A resource without a slash at the end, and without the port that `https` means anyway.
fn plain(resource: &str) -> &str {
    let name = without_slash(resource);
    match name.strip_suffix(":443") {
        Some(host) if host.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://")) => host,
        Some(_) | None => name,
    }
}

/// The service of `https://{account}.blob.core.windows.net` and its like.
fn service_of_account(name: &str) -> Option<&'static str> {
    let (scheme, host) = name.split_at_checked(8)?;
    if !scheme.eq_ignore_ascii_case("https://") {
        return None;
    }
    FIRST_PARTY_HOSTS.iter().find_map(|(suffix, service)| {
        let (account, rest) = host.len().checked_sub(suffix.len()).and_then(|at| host.split_at_checked(at))?;
        let is_account = rest.eq_ignore_ascii_case(suffix)
            && (1..=63).contains(&account.len())
            && account.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        is_account.then_some(*service)
    })
}

/// The resources whose tokens name `https://sts.windows.net/{tenant}/` as their issuer, as Entra's own do. None,
/// unless a developer asks for it.
///
/// Emulators of Azure's services know Entra's issuers by heart and check no signature: Azurite is one. What checks a
/// signature gets nothing by it, since the key is ours and not Entra's.
///
/// A resource of our own is never one of them: its tokens are judged here, by an issuer that is ours.
#[derive(Clone, Debug, Default)]
pub struct EntraIssued(Vec<&'static FirstParty>);

/// Why tokens for a resource cannot name Entra as their issuer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntraIssuedFault {
    /// It is served here.
    #[error(
        "tokens for {0} are judged by this server itself, which believes its own issuer only: no other can be named in \
         them"
    )]
    Ours(String),
    /// It is none of Azure's.
    #[error(
        "{0} is no resource of Azure's that is known here, and an application of a tenant reads this server's issuer; \
         for Azurite name https://storage.azure.com"
    )]
    Unknown(String),
}

impl EntraIssued {
    /// For these resources, each by any of its names: a service, and with it the URLs of all its accounts.
    pub fn for_resources<R: AsRef<str>>(resources: impl IntoIterator<Item = R>) -> Result<Self, EntraIssuedFault> {
        let services = resources.into_iter().map(|resource| {
            let resource = resource.as_ref();
            match first_party(resource) {
                None => Err(EntraIssuedFault::Unknown(resource.to_owned())),
                Some(service) if service.ours => Err(EntraIssuedFault::Ours(resource.to_owned())),
                Some(service) => Ok(service),
            }
        });
        services.collect::<Result<_, _>>().map(Self)
    }

    /// Whether a resource is one of them.
    pub fn covers(&self, resource: &str) -> bool {
        first_party(resource).is_some_and(|service| self.0.iter().any(|covered| std::ptr::eq(*covered, service)))
    }
}

/// The resources of this deployment that no application stands for: its vaults and its directory. No application of a
/// tenant may call itself by one of their names, and where one does, that name is still not its own.
#[derive(Clone, Debug, Default)]
pub struct OwnResources(Arc<[String]>);

impl OwnResources {
    /// The resources of these names.
    pub fn named<R: AsRef<str>>(names: impl IntoIterator<Item = R>) -> Self {
        Self(names.into_iter().map(|name| canonical(name.as_ref())).collect())
    }

    /// Whether a resource is one of them, in any spelling.
    pub fn covers(&self, resource: &str) -> bool {
        let name = canonical(resource);
        self.0.contains(&name)
    }
}

/// What stands for a resource of Azure's, which has no service principal here, where a client was granted to use it for
/// users: an id that is made of its canonical name.
pub fn consent_id(resource: &str) -> PrincipalId {
    let [id @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] =
        sha256_of(&[b"consent to a resource of Azure's", canonical(resource).as_bytes()]);
    PrincipalId(Uuid::from_bytes(id))
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
            .ok_or_else(|| ScopeFault::NotDefault(denizen_wire::shown::identifier(part).into_owned()))?;
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

    /// Every way of asking for a service that is accepted means that service, and nothing else does.
    #[test]
    fn every_accepted_spelling_of_a_service_has_its_canonical_form() {
        for known in FIRST_PARTY {
            let Some(first) = known.names.first() else { continue };
            let mut spellings: Vec<String> = known.client_id.into_iter().map(str::to_owned).collect();
            for name in known.names {
                spellings.extend([(*name).to_owned(), format!("{name}/")]);
                if name.starts_with("https://") {
                    spellings.extend([format!("{name}:443"), format!("{name}:443/")]);
                }
            }
            for spelling in spellings {
                for written in [spelling.clone(), spelling.to_ascii_uppercase(), spelling.to_ascii_lowercase()] {
                    assert!(is_first_party(&written), "{written}");
                    assert_eq!(canonical(&written), *first, "{written}");
                }
            }
        }
        for (one, other) in [
            ("https://Vault.Denizen.Test:8444/", "https://vault.denizen.test:8444"),
            ("https://vault.denizen.test:443", "https://vault.denizen.test"),
        ] {
            assert_eq!(canonical(one), canonical(other));
        }
        for (one, other) in [
            ("https://vault.azure.net//", "https://vault.azure.net"),
            ("https://vault.azure.net:8443", "https://vault.azure.net"),
            ("http://vault.azure.net:443", "https://vault.azure.net"),
            ("https://a.blob.core.windows.net", "https://storage.azure.com"),
        ] {
            assert_ne!(canonical(one), canonical(other), "{one}");
        }
    }

    #[test]
    fn entra_is_named_for_what_was_asked_and_for_nothing_else() {
        let storage = EntraIssued::for_resources(["https://Storage.Azure.com/"]).unwrap();
        for covered in [
            "https://storage.azure.com",
            "https://storage.azure.com/",
            "E406A681-F3D4-42A8-90B6-C2B029497AF1",
            "https://devstoreaccount1.blob.core.windows.net/",
            "https://acct1.queue.core.windows.net",
        ] {
            assert!(storage.covers(covered), "{covered}");
            assert!(!EntraIssued::default().covers(covered), "{covered}");
            assert!(EntraIssued::for_resources([covered]).unwrap().covers("https://storage.azure.com"), "{covered}");
        }
        for other in [
            "https://vault.azure.net",
            "https://management.azure.com/",
            "https://servicebus.azure.net",
            "https://ns.servicebus.windows.net",
            "https://storage.azure.com.evil.test",
            "https://storage.azure.com//",
            "api://orders",
            "",
        ] {
            assert!(!storage.covers(other), "{other}");
        }
    }

    #[test]
    fn d25_entra_is_never_named_for_what_is_served_here() {
        for ours in [
            "https://vault.azure.net",
            "https://VAULT.azure.net/",
            "cfa8b339-82a2-471a-a3c9-0fc0be7a4093",
            "https://management.azure.com",
            "https://management.core.windows.net/",
            "797F4846-BA00-4FD7-BA43-DAC1F8F63013",
            "https://graph.microsoft.com",
            "https://graph.windows.net",
        ] {
            let refused = EntraIssued::for_resources(["https://storage.azure.com", ours]);
            assert_eq!(refused.unwrap_err(), EntraIssuedFault::Ours(ours.into()));
        }
        for unknown in ["https://vault.denizen.test:8444", "api://orders", "storage", ""] {
            let refused = EntraIssued::for_resources([unknown]);
            assert_eq!(refused.unwrap_err(), EntraIssuedFault::Unknown(unknown.into()));
        }
    }

    #[test]
    fn every_account_is_one_of_a_known_service() {
        for (suffix, service) in FIRST_PARTY_HOSTS {
            assert!(first_party(&format!("https://a{suffix}")).is_some_and(|known| known.names.contains(service)));
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
