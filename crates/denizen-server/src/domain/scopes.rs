//! What a `scope` asks for in the name of a user: one resource, permissions of it, and what OpenID Connect has scopes for.
//!
//! Pure. Tests: below.

use denizen_wire::shown;

use super::claims::audience::ScopeFault;

/// The resource whose permissions are asked for by their bare name, `User.Read` for one.
pub const GRAPH: &str = "https://graph.microsoft.com";
/// The scopes of OpenID Connect's that are read.
const OPEN_ID: [&str; 4] = ["openid", "profile", "email", "offline_access"];
/// Everything that was consented to.
pub const DEFAULT: &str = ".default";
/// The longest scope that is read, bytes.
const MAX_SCOPE: usize = 4096;
/// The most permissions that are asked for at a time, and the longest name of one.
const MOST_PERMISSIONS: usize = 50;
const LONGEST_PERMISSION: usize = 120;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scopes {
    /// The resource, as it was asked for.
    pub resource: String,
    /// Its permissions, each once; `.default` among them, or alone.
    pub permissions: Vec<String>,
    /// Whether Graph's permissions were asked for by their bare names: they are answered so.
    pub is_bare: bool,
    /// Whether an id token is.
    pub openid: bool,
    /// Whether the user's names are. They are in every token.
    pub profile: bool,
    /// Whether the user's mail address is.
    pub email: bool,
    /// Whether a refresh token is.
    pub offline: bool,
}

impl Scopes {
    /// Reads them.
    ///
    /// A permission with a slash in it is one of the resource before its last slash, so that the
    /// `https://management.core.windows.net//.default` of the Azure CLI is of the resource with its slash. One without is
    /// Graph's. Where nothing but OpenID Connect's scopes is asked for, the token is for Graph, as Entra's is.
    ///
    /// # Errors
    /// [`ScopeFault::Empty`]; [`ScopeFault::Several`] when two resources are named.
    pub fn parse(text: &str) -> Result<Self, ScopeFault> {
        if text.len() > MAX_SCOPE {
            return Err(ScopeFault::NotDefault(shown::identifier(text).into_owned()));
        }
        let mut resource: Option<&str> = None;
        let mut read = Self {
            resource: String::new(),
            permissions: Vec::new(),
            is_bare: false,
            openid: false,
            profile: false,
            email: false,
            offline: false,
        };
        let mut is_empty = true;
        for part in text.split_ascii_whitespace() {
            is_empty = false;
            let is = |name: &str| part.eq_ignore_ascii_case(name);
            match () {
                () if is("openid") => read.openid = true,
                () if is("profile") => read.profile = true,
                () if is("email") => read.email = true,
                () if is("offline_access") => read.offline = true,
                () => {
                    let named = part.rsplit_once('/');
                    read.is_bare |= named.is_none();
                    let (of, permission) = named.unwrap_or((GRAPH, part));
                    let is_name =
                        permission.len() <= LONGEST_PERMISSION && permission.bytes().all(|b| b.is_ascii_graphic());
                    if of.is_empty() || permission.is_empty() || !is_name || read.permissions.len() == MOST_PERMISSIONS
                    {
                        return Err(ScopeFault::NotDefault(shown::identifier(part).into_owned()));
                    }
                    match resource {
                        Some(other) if other != of => return Err(ScopeFault::Several),
                        Some(_) | None => resource = Some(of),
                    }
                    if !read.permissions.iter().any(|other| other == permission) {
                        read.permissions.push(permission.to_owned());
                    }
                }
            }
        }
        if is_empty {
            return Err(ScopeFault::Empty);
        }
        resource.unwrap_or(GRAPH).clone_into(&mut read.resource);
        Ok(read)
    }

    /// Everything of one resource, as the v1 endpoint asks: with an id token and a refresh token.
    pub fn all_of(resource: &str) -> Self {
        let (resource, permissions) = (resource.to_owned(), vec![DEFAULT.to_owned()]);
        Self { resource, permissions, is_bare: false, openid: true, profile: false, email: false, offline: true }
    }

    /// Whether all that was consented to is asked for.
    pub fn is_default(&self) -> bool {
        self.permissions.iter().any(|permission| permission == DEFAULT)
    }

    /// A permission as it is asked for and answered.
    pub fn spelt(&self, permission: &str) -> String {
        // One of Graph's that is called like a scope of OpenID Connect's would be taken for that.
        let is_open_id = OPEN_ID.iter().any(|name| permission.eq_ignore_ascii_case(name));
        let is_bare = self.is_bare && !is_open_id;
        if is_bare { permission.to_owned() } else { format!("{}/{permission}", self.resource) }
    }

    /// The same as a `scope` has it.
    pub fn text(&self) -> String {
        let mut text: Vec<String> = self.permissions.iter().map(|permission| self.spelt(permission)).collect();
        for (is_asked, name) in [
            (self.openid, "openid"),
            (self.profile, "profile"),
            (self.email, "email"),
            (self.offline, "offline_access"),
        ] {
            if is_asked {
                text.push(name.to_owned());
            }
        }
        text.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scopes(resource: &str, permissions: &[&str], [openid, email, offline]: [bool; 3]) -> Scopes {
        let (resource, permissions) = (resource.to_owned(), permissions.iter().map(|it| (*it).to_owned()).collect());
        Scopes { resource, permissions, is_bare: false, openid, profile: false, email, offline }
    }

    #[test]
    fn each_clients_scopes_are_read() {
        for (text, read) in [
            (
                "https://management.core.windows.net//.default offline_access openid profile",
                Scopes {
                    profile: true,
                    ..scopes("https://management.core.windows.net/", &[".default"], [true, false, true])
                },
            ),
            ("User.Read openid", Scopes { is_bare: true, ..scopes(GRAPH, &["User.Read"], [true, false, false]) }),
            ("https://graph.microsoft.com/User.Read", scopes(GRAPH, &["User.Read"], [false; 3])),
            (
                "User.Read https://graph.microsoft.com/openid",
                Scopes { is_bare: true, ..scopes(GRAPH, &["User.Read", "openid"], [false; 3]) },
            ),
            ("profile", Scopes { profile: true, ..scopes(GRAPH, &[], [false; 3]) }),
            ("openid email", scopes(GRAPH, &[], [true, true, false])),
            (
                "api://orders/Orders.Read api://orders/Orders.Write",
                scopes("api://orders", &["Orders.Read", "Orders.Write"], [false; 3]),
            ),
            ("api://a/b/C.D  api://a/b/C.D", scopes("api://a/b", &["C.D"], [false; 3])),
            (
                "00000000-0000-0000-0000-000000000009/.default",
                scopes("00000000-0000-0000-0000-000000000009", &[".default"], [false; 3]),
            ),
        ] {
            assert_eq!(Scopes::parse(text), Ok(read.clone()), "{text}");
            assert_eq!(Scopes::parse(&read.text()), Ok(read), "{text}");
        }
    }

    #[test]
    fn what_names_no_resource_or_two_is_refused() {
        assert_eq!(Scopes::parse("  "), Err(ScopeFault::Empty));
        assert_eq!(Scopes::parse("api://a/.default api://b/.default"), Err(ScopeFault::Several));
        assert_eq!(Scopes::parse("api://a/.default User.Read"), Err(ScopeFault::Several));
        let many: String = (0..51).map(|n| format!("a{n} ")).collect();
        for text in ["/x", "x/", "/", &"a".repeat(5000), &"a".repeat(121), "api://a/\u{fc}", &many] {
            assert!(matches!(Scopes::parse(text), Err(ScopeFault::NotDefault(_))), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            text in "([a-z:/. ]|https://graph.microsoft.com/|openid|offline_access|profile|email){0,40}",
        ) {
            if let Ok(read) = Scopes::parse(&text) {
                prop_assert_eq!(Scopes::parse(&read.text()), Ok(read));
            }
        }
    }
}
