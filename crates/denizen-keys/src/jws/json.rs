//! JSON as tokens may contain it: an object, of limited depth, each member once.
//!
//! Duplicate member names are refused at every level, because two parsers may pick different ones (RFC 7515, section 4,
//! allows refusing them). Tests: `tests.rs`.

use super::{JwsError, MAX_JSON_DEPTH};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

const TOO_DEEP: &str = "nested too deeply";
const REPEATED: &str = "a member appears twice";

/// Reads one JSON object and nothing after it.
pub(super) fn object(bytes: &[u8], segment: &'static str) -> Result<Map<String, Value>, JwsError> {
    let refuse = |reason| JwsError::Json { segment, reason };
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { depth: MAX_JSON_DEPTH }.deserialize(&mut reader).map_err(|error| {
        // serde_json keeps custom messages as text; these two are ours.
        let text = error.to_string();
        if text.starts_with(TOO_DEEP) {
            refuse(TOO_DEEP)
        } else if text.starts_with(REPEATED) {
            refuse(REPEATED)
        } else {
            refuse("not well-formed")
        }
    })?;
    reader.end().map_err(|_| refuse("text follows the object"))?;
    match value {
        Value::Object(members) => Ok(members),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(refuse("not an object"))
        }
    }
}

/// Builds a [`Value`] while counting depth down and watching for repeated members.
#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        self.depth.checked_sub(1).map(|depth| Self { depth }).ok_or_else(|| E::custom(TOO_DEEP))
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(inner)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut members = Map::new();
        while let Some(name) = access.next_key::<String>()? {
            if members.contains_key(&name) {
                return Err(A::Error::custom(REPEATED));
            }
            members.insert(name, access.next_value_seed(inner)?);
        }
        Ok(Value::Object(members))
    }
}
