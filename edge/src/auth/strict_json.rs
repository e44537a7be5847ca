//! A JSON object in which every key stands once.
//!
//! Two parsers that disagree about which of two equal keys counts can be played against each other; so a token with a
//! repeated key, also one spelled with escapes, is refused as a whole.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// Keys with the text of their values.
pub(super) struct Object<'a>(BTreeMap<String, &'a RawValue>);

impl<'a> Object<'a> {
    /// `None` if the text is not one JSON object in UTF-8, or repeats a key.
    pub(super) fn parse(text: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }

    /// Takes a value out as `T`: `None` when absent, `Err` when it is something else (`null` included).
    pub(super) fn take<T: Deserialize<'a>>(&mut self, key: &str) -> Option<Result<T, serde_json::Error>> {
        self.0.remove(key).map(|raw| serde_json::from_str(raw.get()))
    }

    pub(super) fn contains(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    pub(super) fn into_entries(self) -> impl Iterator<Item = (String, &'a RawValue)> {
        self.0.into_iter()
    }
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some((key, value)) = map.next_entry::<String, &'de RawValue>()? {
                    if entries.insert(key, value).is_some() {
                        return Err(de::Error::custom("repeated key"));
                    }
                }
                Ok(Object(entries))
            }
        }

        deserializer.deserialize_map(Entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_keys_are_refused_however_they_are_spelled() {
        assert!(Object::parse(br#"{"exp":1,"nbf":2}"#).is_some());
        assert!(Object::parse(br#"{"exp":1,"exp":2}"#).is_none());
        assert!(Object::parse(br#"{"exp":1,"\u0065xp":2}"#).is_none());
        assert!(Object::parse(br#"[1]"#).is_none());
        assert!(Object::parse(br#"{"a":1} {"b":2}"#).is_none());
        assert!(Object::parse(b"{\"a\":\"\xff\"}").is_none());
    }
}
