//! Which versions of the API are answered. There is no default: a request without one is refused, as Azure does.
//!
//! All known versions get the same answers, because what differs for secrets is members that were added, and clients
//! skip what they do not know. A date later than any known is taken for the latest: clients move faster than servers.
//!
//! Tests: below.

use super::fault::Fault;
use crate::http::Query;

/// The newest version this was written against.
const NEWEST: &str = "2026-07-01";
/// Versions named by date, before the newest.
const DATES: &[&str] = &[
    "2015-06-01",
    "2016-10-01",
    "2025-06-01",
    "2025-07-01",
    "2026-01-01",
    "2026-03-01",
    "2026-04-01",
    "2026-05-01",
    NEWEST,
];
/// 7.0 to this.
const LAST_SEVEN: u32 = 6;

/// The version a request asks for, as it is written.
///
/// # Errors
/// When it is missing, repeated or unknown.
pub(super) fn of(query: &Query) -> Result<String, Fault> {
    let version =
        query.one("api-version").map_err(|error| Fault::bad(&format!("The request is ambiguous: {error}.")))?;
    let Some(version) = version.filter(|version| !version.is_empty()) else {
        return Err(Fault::bad("api-version must be specified: add the query parameter api-version=7.6, for one."));
    };
    if !is_known(version) {
        return Err(Fault::bad(
            "The specified api-version is not supported: use 7.0 to 7.6, or a date such as 2025-07-01.",
        ));
    }
    if date(version).is_some_and(|date| date > NEWEST) {
        tracing::debug!(version, "a newer api-version is answered as the latest known");
    }
    Ok(version.to_owned())
}

fn is_known(version: &str) -> bool {
    if let Some(minor) = version.strip_prefix("7.") {
        let (minor, preview) = minor.split_once('-').map_or((minor, None), |(minor, rest)| (minor, Some(rest)));
        let digits = minor.len() == 1 && minor.bytes().all(|b| b.is_ascii_digit());
        return digits && minor.parse().is_ok_and(|n: u32| n <= LAST_SEVEN) && preview.is_none_or(is_preview);
    }
    date(version).is_some_and(|date| date > NEWEST || DATES.contains(&date))
}

/// The date of a version named by one, whose parts are in range.
fn date(version: &str) -> Option<&str> {
    let (date, rest) = version.split_at_checked(10)?;
    let mut parts = date.split('-');
    let mut number = |length: usize, range: std::ops::RangeInclusive<u32>| {
        let part = parts.next().filter(|part| part.len() == length && part.bytes().all(|b| b.is_ascii_digit()))?;
        range.contains(&part.parse().ok()?).then_some(())
    };
    number(4, 2000..=2999)?;
    number(2, 1..=12)?;
    number(2, 1..=31)?;
    (rest.is_empty() || rest.strip_prefix('-').is_some_and(is_preview)).then_some(date)
}

/// `preview`, `preview.1`.
fn is_preview(text: &str) -> bool {
    match text.strip_prefix("preview") {
        Some("") => true,
        Some(rest) => {
            rest.strip_prefix('.').is_some_and(|n| matches!(n.len(), 1..=2) && n.bytes().all(|b| b.is_ascii_digit()))
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_send_is_known_and_what_comes_next_is_taken() {
        for good in [
            "7.0",
            "7.6",
            "7.6-preview.2",
            "7.3-preview",
            "2016-10-01",
            "2025-07-01",
            "2025-06-01-preview",
            "2026-04-01",
            "2026-07-01-preview",
            "2027-01-15",
            "2031-12-31-preview",
        ] {
            assert!(is_known(good), "{good}");
        }
        for bad in [
            "",
            "7",
            "7.",
            "7.7",
            "7.10",
            "7.-1",
            "7.6-beta",
            "6.0",
            "1999-01-01",
            "2024-01-01",
            "2027-13-01",
            "2027-00-10",
            "2027-1-1",
            "2027-01-011",
            "2027-01-01-",
            "2027-01-01-preview.",
            "20270101",
            "latest",
            "７.6",
        ] {
            assert!(!is_known(bad), "{bad}");
        }
    }

    #[test]
    fn it_must_be_there_once() {
        assert_eq!(of(&Query::parse("api%2Dversion=7.4")).ok().as_deref(), Some("7.4"));
        for bad in ["", "api-version=", "api-version=7.4&api-version=7.4", "Api-Version=7.4", "api-version=0"] {
            assert!(of(&Query::parse(bad)).is_err(), "{bad}");
        }
    }
}
