//! What the local endpoints answer: a token whose times are numbers, strings of digits or dates.

use denizen_wire::UnixTime;
use serde::Deserialize;
use time::{OffsetDateTime, PrimitiveDateTime, format_description::well_known::Rfc3339, macros::format_description};

use crate::{endpoint::UserAssigned, token::Token};

/// A smaller `expires_on` than this (2001) is taken for seconds from now, as MSAL for .NET takes it.
const ABSOLUTE: i64 = 978_307_200;

#[derive(Deserialize)]
pub(crate) struct Answer {
    access_token: String,
    expires_on: Option<Time>,
    expires_in: Option<Time>,
    refresh_in: Option<Time>,
    client_id: Option<String>,
    object_id: Option<String>,
    msi_res_id: Option<String>,
    mi_res_id: Option<String>,
}

/// Endpoints write times as strings, numbers or dates.
#[derive(Deserialize)]
#[serde(untagged)]
enum Time {
    Integer(i64),
    Float(f64),
    Text(String),
}

impl Answer {
    /// Reads a body, at `now`. The error says what is missing.
    pub(crate) fn read(body: &[u8]) -> Result<Self, String> {
        // serde's own text would repeat what it found there, which may be the token.
        let answer: Self = serde_json::from_slice(body).map_err(|e| {
            if e.is_data() { "it is JSON without a token".to_owned() } else { "it is not JSON".to_owned() }
        })?;
        match answer.access_token.is_empty() {
            true => Err("'access_token' is empty".into()),
            false => Ok(answer),
        }
    }

    pub(crate) fn token(self, now: UnixTime) -> Result<Token, String> {
        let on = self.expires_on.as_ref().and_then(|time| time.moment(now));
        let within = || self.expires_in.as_ref().and_then(Time::seconds).map(|seconds| now + seconds);
        let expires_on = on.or_else(within).ok_or("neither 'expires_on' nor 'expires_in' is a time")?;
        let refresh_on = self.refresh_in.as_ref().and_then(Time::seconds).map(|seconds| now + seconds);
        Ok(Token::new(self.access_token, expires_on).refreshed_on(refresh_on))
    }

    /// Whether the endpoint says the token is for the identity asked for.
    pub(crate) fn confirms(&self, asked: &UserAssigned) -> bool {
        let same = |echo: &Option<String>, id: &str| echo.as_ref().map(|echo| echo.eq_ignore_ascii_case(id));
        match asked {
            UserAssigned::ClientId(id) => same(&self.client_id, id).unwrap_or(false),
            UserAssigned::ObjectId(id) => same(&self.object_id, id).unwrap_or(false),
            // Two spellings: each that is there must agree, and one must be there.
            UserAssigned::ResourceId(id) => {
                let echoes = [same(&self.msi_res_id, id), same(&self.mi_res_id, id)];
                echoes.contains(&Some(true)) && !echoes.contains(&Some(false))
            }
        }
    }
}

impl Time {
    fn seconds(&self) -> Option<i64> {
        match self {
            Self::Integer(n) => Some(*n),
            #[expect(clippy::cast_possible_truncation, reason = "whole seconds are wanted, and the range is checked")]
            Self::Float(n) => (n.abs() < 1e15).then_some(*n as i64),
            Self::Text(text) => text.trim().parse().ok(),
        }
    }

    fn moment(&self, now: UnixTime) -> Option<UnixTime> {
        match (self.seconds(), self) {
            (Some(seconds), _) if seconds >= ABSOLUTE => Some(UnixTime(seconds)),
            (Some(seconds), _) => Some(now + seconds),
            (None, Self::Text(text)) => date(text.trim()),
            (None, _) => None,
        }
    }
}

/// The dates App Service has written over the years, on Windows and on Linux.
fn date(text: &str) -> Option<UnixTime> {
    let with_offset = [
        format_description!(
            "[month padding:none]/[day padding:none]/[year] [hour repr:12 padding:none]:[minute]:[second] \
             [period] [offset_hour sign:mandatory]:[offset_minute]"
        ),
        format_description!(
            "[month padding:none]/[day padding:none]/[year] [hour padding:none]:[minute]:[second] \
             [offset_hour sign:mandatory]:[offset_minute]"
        ),
    ];
    let utc = [
        format_description!("[month padding:none]/[day padding:none]/[year] [hour padding:none]:[minute]:[second]"),
        format_description!("[year]-[month]-[day] [hour]:[minute]:[second]"),
    ];
    OffsetDateTime::parse(text, &Rfc3339)
        .ok()
        .or_else(|| with_offset.iter().find_map(|format| OffsetDateTime::parse(text, format).ok()))
        .or_else(|| utc.iter().find_map(|f| PrimitiveDateTime::parse(text, f).ok()).map(PrimitiveDateTime::assume_utc))
        .map(|moment| UnixTime(moment.unix_timestamp()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime(1_795_239_900);

    fn expiry(fields: &str) -> Result<i64, String> {
        let body = format!("{{\"access_token\":\"t\",{fields}}}");
        Answer::read(body.as_bytes())?.token(NOW).map(|token| token.expires_on.0)
    }

    #[test]
    fn every_spelling_of_a_time_is_understood() {
        for (fields, expected) in [
            ("\"expires_on\":\"1795243500\"", 1_795_243_500),
            ("\"expires_on\":1795243500", 1_795_243_500),
            ("\"expires_on\":1795243500.0", 1_795_243_500),
            ("\"expires_in\":\"3600\"", NOW.0 + 3600),
            ("\"expires_in\":3600", NOW.0 + 3600),
            ("\"expires_on\":\"3600\"", NOW.0 + 3600),
            ("\"expires_in\":\"10\",\"expires_on\":\"1795243500\"", 1_795_243_500),
            ("\"expires_on\":\"1/16/2020 5:24:12 AM +00:00\"", 1_579_152_252),
            ("\"expires_on\":\"1/16/2020 5:24:12 PM +00:00\"", 1_579_195_452),
            ("\"expires_on\":\"06/20/2019 02:57:58 +00:00\"", 1_560_999_478),
            ("\"expires_on\":\"06/20/2019 02:57:58\"", 1_560_999_478),
            ("\"expires_on\":\"2019-06-20 02:57:58\"", 1_560_999_478),
            ("\"expires_on\":\"2019-06-20T04:57:58+02:00\"", 1_560_999_478),
        ] {
            assert_eq!(expiry(fields), Ok(expected), "{fields}");
        }
        for fields in ["\"expires_on\":\"soon\"", "\"x\":1", "\"expires_on\":null"] {
            assert!(expiry(fields).is_err(), "{fields}");
        }
    }

    #[test]
    fn what_is_no_token_is_said_without_repeating_it() {
        for (body, why) in [
            ("<html>s3cret", "it is not JSON"),
            ("{\"token\":\"s3cret\"}", "it is JSON without a token"),
            ("{\"access_token\":\"\"}", "'access_token' is empty"),
        ] {
            assert_eq!(Answer::read(body.as_bytes()).err().as_deref(), Some(why));
        }
    }

    #[test]
    fn an_echo_confirms_only_the_same_identity() {
        let answer = |fields: &str| {
            Answer::read(format!("{{\"access_token\":\"t\",\"expires_in\":1{fields}}}").as_bytes()).unwrap()
        };
        let client = UserAssigned::ClientId("AB-1".into());
        assert!(answer(",\"client_id\":\"ab-1\"").confirms(&client));
        assert!(!answer(",\"client_id\":\"ab-2\"").confirms(&client));
        assert!(!answer(",\"object_id\":\"ab-1\"").confirms(&client));
        assert!(!answer("").confirms(&client));
        let resource = UserAssigned::ResourceId("/r".into());
        assert!(answer(",\"mi_res_id\":\"/R\"").confirms(&resource));
        assert!(answer(",\"msi_res_id\":\"/r\",\"mi_res_id\":\"/r\"").confirms(&resource));
        assert!(!answer(",\"msi_res_id\":\"/r\",\"mi_res_id\":\"/x\"").confirms(&resource));
    }
}
