//! What a program's environment needs, written for a shell (`env`) and for readers of plain `KEY=value` (`env.list`).

use denizen_identity::Environment;

/// Variables that belong to another managed-identity source: one left from an earlier shell would win over ours.
pub(crate) const UNSET: [&str; 5] =
    ["IDENTITY_HEADER", "IMDS_ENDPOINT", "IDENTITY_SERVER_THUMBPRINT", "MSI_ENDPOINT", "MSI_SECRET"];

/// The variables that name a proxy, and those that say for whom it is not.
const PROXIES: [&str; 6] = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
const NO_PROXY: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// Whom a proxy must never be asked for. The vaults' domain begins with a dot: without it Node's Azure clients take it
/// for one host, and with it curl, Go and Python read it as well. `::1` has no brackets: httpx does not start with
/// them, and curl, Go and requests compare without them. urllib compares with them, but no URL of ours is written so.
pub(crate) fn no_proxy(vault_suffix: &str) -> [String; 5] {
    ["localhost".into(), "127.0.0.1".into(), "::1".into(), "169.254.169.254".into(), format!(".{vault_suffix}")]
}

/// `NO_PROXY` and `no_proxy` where `environment` names a proxy: what both say now, and `ours`. Clients differ in which
/// of the two they read first, so both are set to the same.
pub(crate) fn proxy_exceptions(environment: &Environment, ours: &[String]) -> Vec<(&'static str, String)> {
    if !PROXIES.iter().any(|name| environment.get(name).is_some()) {
        return Vec::new();
    }
    let theirs = NO_PROXY.iter().filter_map(|name| environment.get(name)).flat_map(|list| list.split(','));
    let mut entries: Vec<&str> = Vec::new();
    for entry in theirs.chain(ours.iter().map(String::as_str)).map(str::trim) {
        if !entry.is_empty() && !entries.contains(&entry) {
            entries.push(entry);
        }
    }
    // curl and Go know `*` only when it stands alone, and it covers the rest.
    let list = if entries.contains(&"*") { "*".to_owned() } else { entries.join(",") };
    NO_PROXY.map(|name| (name, list.clone())).into()
}

/// The file for shells. A proxy is looked for when it is sourced: the shell may have another one than this process.
pub(crate) fn shell_file(variables: &[(&'static str, String)], ours: &[String]) -> String {
    let mut text = String::from("# Denizen, for development. Source this file: . env\n");
    text.push_str(&format!("unset {}\n", UNSET.join(" ")));
    for (name, value) in variables {
        text.push_str(&format!("export {name}='{}'\n", value.replace('\'', r"'\''")));
    }
    let proxies: String = PROXIES.iter().map(|name| format!("${{{name}-}}")).collect();
    let mut add = String::new();
    for entry in ours {
        // A case for each: zsh splits no words.
        add.push_str(&format!(
            "  case \",$NO_PROXY,\" in *',{entry},'* | ,\\*,) ;; *) NO_PROXY=\"${{NO_PROXY:+$NO_PROXY,}}{entry}\" ;; esac\n"
        ));
    }
    text.push_str(&format!(
        "# A proxy cannot reach this machine's loopback.\n\
         if [ -n \"{proxies}\" ]; then\n  \
           if [ \"${{NO_PROXY-}}\" = \"${{no_proxy-}}\" ]; then NO_PROXY=\"${{NO_PROXY-}}\"; \
         else NO_PROXY=\"${{NO_PROXY-}}${{NO_PROXY:+${{no_proxy:+,}}}}${{no_proxy-}}\"; fi\n\
         {add}  \
           export NO_PROXY no_proxy=\"$NO_PROXY\"\n\
         fi\n"
    ));
    text
}

/// The plain file, for systemd's `EnvironmentFile=`, `docker --env-file` and `node --env-file`: no quotes and no
/// escapes, which each of them reads otherwise. None when a value cannot be written so that all of them read it.
pub(crate) fn list_file(variables: &[(&'static str, String)]) -> Option<String> {
    if !variables.iter().all(|(_, value)| is_plain(value)) {
        return None;
    }
    let lines = variables.iter().map(|(name, value)| format!("{name}={value}\n"));
    Some(std::iter::once("# Denizen, for development.\n".to_owned()).chain(lines).collect())
}

/// systemd reads quotes and backslashes, Node quotes and comments; blanks at the ends are kept by Docker alone.
fn is_plain(value: &str) -> bool {
    value.trim() == value && !value.chars().any(|c| c.is_control() || "'\"`\\#".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours() -> [String; 5] {
        no_proxy("vault.denizen.test")
    }

    #[test]
    fn without_a_proxy_there_are_no_exceptions() {
        assert!(proxy_exceptions(&Environment::from([("NO_PROXY", "intranet")]), &ours()).is_empty());
    }

    #[test]
    fn existing_exceptions_are_kept_and_extended() {
        for proxy in PROXIES {
            let environment = Environment::from([
                (proxy, "http://127.0.0.1:9"),
                ("NO_PROXY", "intranet, localhost"),
                ("no_proxy", "10.0.0.0/8,intranet"),
            ]);
            let all = "intranet,localhost,10.0.0.0/8,127.0.0.1,::1,169.254.169.254,.vault.denizen.test";
            let expected = [("NO_PROXY", all.to_owned()), ("no_proxy", all.to_owned())];
            assert_eq!(proxy_exceptions(&environment, &ours()), expected, "{proxy}");
        }
        let everything = Environment::from([("https_proxy", "http://127.0.0.1:9"), ("no_proxy", "*")]);
        assert_eq!(proxy_exceptions(&everything, &ours())[0].1, "*", "`*` with anything beside it is not understood");
    }

    #[test]
    fn what_the_readers_would_read_differently_is_not_written() {
        assert_eq!(
            list_file(&[("A", "/a b/c".into()), ("B", "x=y".into())]).unwrap(),
            "# Denizen, for development.\nA=/a b/c\nB=x=y\n"
        );
        for value in ["/a#b", "/a\\b", "/it's", "/a\"b", "/a`b", " /a", "/a ", "/a\nb"] {
            assert_eq!(list_file(&[("A", value.into())]), None, "{value:?}");
        }
    }
}
