//! Whether a client assertion, whose signature has been verified, proves the client here and now.
//!
//! Client libraries disagree on almost everything about an assertion: dates are integers, fractions or text; the
//! audience is one name or a list, and any of five spellings of this authority. What they agree on is decided
//! strictly: it is issued by the client itself, for itself, for this tenant, and within its time. An assertion may
//! be used again until it ends: two of the client families do so by design, so `jti` is not looked at. That end is
//! bounded ([`LONGEST`]): one that is good for years is a password that was written into a file.
//!
//! Its time comes first: one that is out of it proves nothing, whatever else it says.
//!
//! Pure. Tests: below.

use denizen_wire::{ClientId, UnixTime, shown};
use serde_json::{Map, Value};

use super::directory::Tenant;

/// How far a client's clock may be off, seconds, either way.
pub const SKEW: i64 = 300;
/// How far ahead an assertion may end, seconds. Microsoft Entra ID sets no bound. The SDKs send 5 to 30 minutes, scripts
/// up to a day.
pub const LONGEST: i64 = 24 * 3600;

/// What an assertion has to be for.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The client that the request names.
    pub client: ClientId,
    /// The tenant that the request's path names.
    pub tenant: &'a Tenant,
    /// Every name of our authority, without a trailing slash.
    pub authorities: &'a [String],
}

/// The time an assertion is good for. It is asked again on each use of a remembered assertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// From then on, when it says so.
    pub from: Option<UnixTime>,
    /// Until then.
    pub until: UnixTime,
}

/// Why an assertion proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// A claim is absent or is not what its name promises.
    #[error("claim '{0}' is missing or is not {1}")]
    Claim(&'static str, &'static str),
    /// Somebody else issued it: it would be a federated credential.
    #[error("it is issued by '{0}' and not by the client itself")]
    Issuer(String),
    /// The client issued it for another subject.
    #[error("its subject is not the client")]
    Subject,
    /// It is meant for somebody else.
    #[error("its audience is not this authority's token endpoint")]
    Audience,
    /// It begins later than now.
    #[error("it is not valid before {from:?} and now is {now:?}")]
    NotYet {
        /// When it begins.
        from: UnixTime,
        /// Our clock.
        now: UnixTime,
    },
    /// It ends later than an assertion may.
    #[error("it ends at {until:?}, more than a day from now, {now:?}")]
    TooLong {
        /// When it ends.
        until: UnixTime,
        /// Our clock.
        now: UnixTime,
    },
    /// It has ended.
    #[error("it ended at {until:?} and now is {now:?}")]
    Ended {
        /// When it ended.
        until: UnixTime,
        /// Our clock.
        now: UnixTime,
    },
}

impl Reason {
    /// The number that Entra gives this reason, by which people search.
    pub fn code(&self) -> i32 {
        match self {
            Self::Claim(..) => 50_027,
            Self::Issuer(_) => 700_211,
            Self::Subject => 700_021,
            Self::Audience => 700_023,
            Self::NotYet { .. } | Self::TooLong { .. } | Self::Ended { .. } => 700_024,
        }
    }
}

impl Validity {
    /// Whether `now` is inside, give or take [`SKEW`].
    pub fn covers(self, now: UnixTime) -> Result<(), Reason> {
        if let Some(from) = self.from.filter(|from| now + SKEW < *from) {
            return Err(Reason::NotYet { from, now });
        }
        if now >= self.until + SKEW {
            return Err(Reason::Ended { until: self.until, now });
        }
        Ok(())
    }
}

/// Reads the time of an assertion whose signature the client's own key has made, and checks that it is now.
pub fn validity(claims: &Map<String, Value>, now: UnixTime) -> Result<Validity, Reason> {
    let until = date(claims, "exp")?.ok_or(Reason::Claim("exp", "a date"))?;
    let not_before = date(claims, "nbf")?;
    // An assertion that says when it was made and not when it begins (MSAL for Python) begins when it was made.
    let from = not_before.max(date(claims, "iat")?);
    let validity = Validity { from, until };
    validity.covers(now)?;
    if until > now + LONGEST + SKEW {
        return Err(Reason::TooLong { until, now });
    }
    Ok(validity)
}

/// Checks whom the same assertion is by, about and for.
pub fn check(claims: &Map<String, Value>, expected: &Expected<'_>) -> Result<(), Reason> {
    let issuer = text(claims, "iss")?;
    if !is_client(issuer, expected.client) {
        return Err(Reason::Issuer(shown::identifier(issuer).into_owned()));
    }
    if !is_client(text(claims, "sub")?, expected.client) {
        return Err(Reason::Subject);
    }
    let for_us = match claims.get("aud") {
        Some(Value::String(audience)) => is_for_us(audience, expected),
        Some(Value::Array(audiences)) => {
            audiences.iter().filter_map(Value::as_str).any(|audience| is_for_us(audience, expected))
        }
        _ => return Err(Reason::Claim("aud", "text or a list of texts")),
    };
    if for_us { Ok(()) } else { Err(Reason::Audience) }
}

/// Whether a text that a client wrote is this client's id, in either case.
pub fn is_client(text: &str, client: ClientId) -> bool {
    text.parse() == Ok(client)
}

fn text<'a>(claims: &'a Map<String, Value>, name: &'static str) -> Result<&'a str, Reason> {
    claims.get(name).and_then(Value::as_str).ok_or(Reason::Claim(name, "text"))
}

/// A NumericDate as clients write it: an integer, a fraction (Python), text (.NET).
fn date(claims: &Map<String, Value>, name: &'static str) -> Result<Option<UnixTime>, Reason> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = match value {
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().and_then(whole)),
        Value::String(text) => text.parse::<i64>().ok().or_else(|| text.parse::<f64>().ok().and_then(whole)),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    // No date of this era is outside; what is would only be there to make sums overflow.
    match seconds {
        Some(seconds) if (0..=99_999_999_999).contains(&seconds) => Ok(Some(UnixTime(seconds))),
        _ => Err(Reason::Claim(name, "a date in seconds since 1970")),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "bounded above and below before the cast")]
fn whole(seconds: f64) -> Option<i64> {
    // False for NaN too.
    (0.0..1e11).contains(&seconds).then_some(seconds as i64)
}

/// Token endpoint and issuer, v1 and v2, with the tenant as GUID or name, and the bare authority. Case is ignored:
/// the Azure CLI lower-cases the authority it is configured with, and names are typed by people.
fn is_for_us(audience: &str, expected: &Expected<'_>) -> bool {
    expected.authorities.iter().any(|authority| is_under(audience, authority, expected.tenant))
}

fn is_under(audience: &str, authority: &str, ours: &Tenant) -> bool {
    let Some((head, rest)) = audience.split_at_checked(authority.len()) else { return false };
    if !head.eq_ignore_ascii_case(authority) {
        return false;
    }
    let Some(path) = rest.strip_prefix('/') else { return rest.is_empty() };
    let (tenant, tail) = path.split_once('/').unwrap_or((path, ""));
    match tenant {
        "" => path.is_empty(),
        _ if names(tenant, ours) => {
            ["", "v2.0", "oauth2/v2.0/token", "oauth2/token"].iter().any(|known| tail.eq_ignore_ascii_case(known))
        }
        _ => false,
    }
}

fn names(text: &str, tenant: &Tenant) -> bool {
    text.parse() == Ok(tenant.id) || text.eq_ignore_ascii_case(&tenant.domain)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    const NOW: UnixTime = UnixTime(1_795_239_900);
    const AUTHORITY: &str = "https://localhost:8443";
    const TENANT: &str = "0a1b2c3d-0000-4000-8000-000000000001";
    const CLIENT: &str = "c11e0000-0000-4000-8000-00000000000a";

    fn tenant() -> Tenant {
        Tenant {
            id: TENANT.parse().unwrap(),
            domain: "contoso.test".into(),
            sealed_kek: String::new(),
            display_name: String::new(),
            created: UnixTime(0),
        }
    }

    fn checked(claims: &Value) -> Result<Validity, Reason> {
        let tenant = tenant();
        let authorities = [AUTHORITY.to_owned(), "https://[::1]:8443".to_owned()];
        let expected = Expected { client: CLIENT.parse().unwrap(), tenant: &tenant, authorities: &authorities };
        let claims = claims.as_object().unwrap();
        let validity = validity(claims, NOW)?;
        check(claims, &expected).map(|()| validity)
    }

    fn good() -> Value {
        json!({"iss": CLIENT, "sub": CLIENT, "aud": format!("{AUTHORITY}/{TENANT}/oauth2/v2.0/token"), "exp": NOW.0 + 600})
    }

    fn with(name: &str, value: impl Into<Value>) -> Result<Validity, Reason> {
        let mut claims = good();
        claims[name] = value.into();
        checked(&claims)
    }

    fn without(name: &str) -> Result<Validity, Reason> {
        let mut claims = good();
        claims.as_object_mut().unwrap().remove(name);
        checked(&claims)
    }

    #[test]
    fn dates_are_read_in_every_spelling_clients_use() {
        let until = NOW + 600;
        let whole = Validity { from: None, until };
        assert_eq!(with("exp", until.0), Ok(whole));
        assert_eq!(with("exp", until.0 as f64 + 0.655), Ok(whole));
        assert_eq!(with("exp", until.0.to_string()), Ok(whole));
        assert_eq!(with("exp", format!("{}.25", until.0)), Ok(whole));
        assert_eq!(with("nbf", NOW.0.to_string()), Ok(Validity { from: Some(NOW), until }));
        assert_eq!(with("iat", NOW.0 as f64 + 0.5), Ok(Validity { from: Some(NOW), until }));
        let date = |name| Err(Reason::Claim(name, "a date in seconds since 1970"));
        for bad in [
            json!("soon"),
            json!(true),
            json!(null),
            json!([1]),
            json!(-1),
            json!(1e300),
            json!("NaN"),
            json!(u64::MAX),
        ] {
            assert_eq!(with("exp", bad.clone()), date("exp"), "{bad}");
            assert_eq!(with("nbf", bad.clone()), date("nbf"), "{bad}");
            assert_eq!(with("iat", bad.clone()), date("iat"), "{bad}");
        }
        assert_eq!(without("exp"), Err(Reason::Claim("exp", "a date")));
    }

    #[test]
    fn d31_the_edges_of_the_validity_are_exact() {
        assert!(with("exp", NOW.0 - SKEW + 1).is_ok());
        let ended = NOW - SKEW;
        assert_eq!(with("exp", ended.0), Err(Reason::Ended { until: ended, now: NOW }));
        assert!(with("nbf", NOW.0 + SKEW).is_ok());
        let early = NOW + SKEW + 1;
        assert_eq!(with("nbf", early.0), Err(Reason::NotYet { from: early, now: NOW }));
        assert_eq!(with("iat", early.0), Err(Reason::NotYet { from: early, now: NOW }));
        assert_eq!(with("exp", 1).map_err(|r| r.code()), Err(700_024));
    }

    #[test]
    fn d31_an_assertion_ends_within_a_day() {
        let last = NOW + LONGEST + SKEW;
        assert!(with("exp", last.0).is_ok());
        let until = last + 1;
        assert_eq!(with("exp", until.0), Err(Reason::TooLong { until, now: NOW }));
        assert_eq!(with("exp", 99_999_999_999_i64).map_err(|r| r.code()), Err(700_024));
        // Its time is looked at before anything else that it says.
        let mut elsewhere = good();
        (elsewhere["aud"], elsewhere["exp"]) = (json!("https://elsewhere.test"), json!(1));
        assert!(matches!(checked(&elsewhere), Err(Reason::Ended { .. })));
    }

    proptest::proptest! {
        /// Whatever a client or a forger writes there: an answer, and no sum that overflows.
        #[test]
        fn no_date_is_too_absurd(exp in extreme(), nbf in extreme(), iat in extreme(), now in extreme()) {
            let claims = json!({"exp": exp, "nbf": nbf, "iat": iat});
            let now = UnixTime(now);
            if let Ok(found) = validity(claims.as_object().unwrap(), now) {
                proptest::prop_assert!(exp >= 0 && nbf >= 0 && iat >= 0);
                proptest::prop_assert!(found.until.since(now) <= LONGEST + SKEW && now.since(found.until) < SKEW);
            }
            let whole = Validity { from: Some(UnixTime(nbf)), until: UnixTime(exp) };
            if let Err(reason) = whole.covers(now) {
                proptest::prop_assert!(!reason.to_string().is_empty());
            }
        }
    }

    /// Times near the ends of what a number holds, near now, and any.
    fn extreme() -> impl proptest::strategy::Strategy<Value = i64> {
        use proptest::prelude::*;
        prop_oneof![
            (0..1000_i64).prop_map(|n| i64::MAX - n),
            (0..1000_i64).prop_map(|n| i64::MIN + n),
            (-100_000..100_000_i64).prop_map(|n| NOW.0 + n),
            any::<i64>(),
        ]
    }

    #[test]
    fn the_audience_is_any_name_of_this_authority_and_tenant() {
        for tenant in [TENANT, "contoso.test", "CONTOSO.test", &TENANT.to_uppercase()] {
            for tail in ["/oauth2/v2.0/token", "/oauth2/token", "/v2.0", "/", ""] {
                let audience = format!("{AUTHORITY}/{tenant}{tail}");
                assert!(with("aud", audience.clone()).is_ok(), "{audience}");
            }
        }
        for audience in [AUTHORITY, "https://localhost:8443/", "HTTPS://LocalHost:8443"] {
            assert!(with("aud", audience).is_ok(), "{audience}");
        }
        assert!(with("aud", json!(["https://elsewhere.test", AUTHORITY])).is_ok());
        let other = format!("https://[::1]:8443/{TENANT}/oauth2/v2.0/token");
        assert!(with("aud", other).is_ok(), "a name that the certificate carries too");
    }

    #[test]
    fn d25_an_assertion_for_somebody_else_is_refused() {
        for audience in [
            "https://localhost:84433",
            "https://127.0.0.1:8443",
            "https://[::1]:84433",
            "https://localhost:8443.evil.test/",
            "https://localhost",
            "http://localhost:8443",
            "https://localhost:8443//",
            "https://localhost:8443/common/oauth2/v2.0/token",
            "https://localhost:8443/0a1b2c3d-0000-4000-8000-000000000002/oauth2/v2.0/token",
            "https://localhost:8443/contoso.test/oauth2/v2.0/token/",
            "https://localhost:8443/contoso.test/oauth2/v2.0/authorize",
            "https://login.microsoftonline.com/contoso.test/oauth2/v2.0/token",
            "",
        ] {
            assert_eq!(with("aud", audience), Err(Reason::Audience), "{audience}");
        }
        assert_eq!(with("aud", json!([])), Err(Reason::Audience));
        assert_eq!(with("aud", json!([1, {}])), Err(Reason::Audience));
        assert_eq!(without("aud"), Err(Reason::Claim("aud", "text or a list of texts")));
    }

    #[test]
    fn only_the_client_speaks_for_itself() {
        assert!(with("iss", CLIENT.to_uppercase()).is_ok());
        let other = Uuid::nil().to_string();
        assert_eq!(with("iss", other.clone()), Err(Reason::Issuer(other.clone())));
        assert_eq!(with("sub", other), Err(Reason::Subject));
        assert_eq!(without("iss"), Err(Reason::Claim("iss", "text")));
        assert_eq!(with("sub", 5), Err(Reason::Claim("sub", "text")));
        let long = "é".repeat(4000);
        let Err(Reason::Issuer(shown)) = with("iss", format!("a\r\n{long}")) else { panic!("a stranger was accepted") };
        assert!(shown.contains("4003 characters") && !shown.contains('é'), "{shown}");
    }
}
