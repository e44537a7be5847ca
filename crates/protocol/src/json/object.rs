//! What serde's derive does not give: objects that are not also arrays, text that is borrowed when it can be, and the
//! request id of a message that is otherwise unreadable.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::decode::DecodeError;

/// A struct read from a JSON object only; a derived `Deserialize` alone would take an array as well.
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

/// Text that borrows from the message unless it holds escapes.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl std::ops::Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Text<'_> {
    pub(super) fn into_string(self) -> String {
        self.0.into_owned()
    }
}

/// An object whose fields do not matter (`"ping":{}`).
#[derive(Deserialize)]
pub(super) struct Nothing {}

/// Reads a raw value so that `null` is a value, not an absent field.
pub(super) fn present<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// The text of a message, checked to be UTF-8.
pub(super) fn text(message: &[u8]) -> Result<&str, DecodeError> {
    std::str::from_utf8(message).map_err(|_| DecodeError::Utf8("the message"))
}

/// Whether the message is a bare `{}`.
pub(super) fn is_empty_object(text: &str) -> bool {
    let inner = text.trim_ascii().strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    inner.is_some_and(|inner| inner.trim_ascii().is_empty())
}

/// A parse error in our words, cut short: it may quote the sender's own text at any length.
pub(super) fn malformed(error: &serde_json::Error) -> DecodeError {
    const MESSAGE_BYTES: usize = 200;
    let mut message = error.to_string();
    message.truncate(message.floor_char_boundary(MESSAGE_BYTES));
    DecodeError::Malformed(message)
}

/// The `id` of a message that could not be read, as far as it can be made out; 0 if it cannot.
pub(super) fn salvage_id(text: &str) -> u32 {
    struct IdVisitor<'a>(&'a mut u32);

    impl<'de> Visitor<'de> for IdVisitor<'_> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
            while let Some(key) = map.next_key::<Text<'_>>()? {
                if &*key == "id" {
                    *self.0 = map.next_value()?;
                    // Found: nothing after it matters.
                    return Err(A::Error::custom("done"));
                }
                map.next_value::<IgnoredAny>()?;
            }
            Ok(())
        }
    }

    let mut id = 0;
    // An error is expected here: the text is broken, or the id has been found. Either way `id` says all.
    let _ = serde_json::Deserializer::from_str(text).deserialize_map(IdVisitor(&mut id));
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_salvaged_from_broken_messages() {
        for (text, id) in [
            (r#"{"id":7,"publish":{"channel":5}}"#, 7),
            (r#"{"publish":{},"id":8,"#, 8),
            (r#"{"id":7,"publish":{"#, 7),
            (r#"{"publish":{,"id":9}"#, 0),
            (r#"{"id":-1}"#, 0),
            (r#"{"id":"7"}"#, 0),
            ("[1]", 0),
            ("", 0),
        ] {
            assert_eq!(salvage_id(text), id, "{text}");
        }
    }
}
