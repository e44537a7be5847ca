//! A deserializer over the merged tree: it knows source and path of every value, and reads text as the type demands.
//!
//! Supports what configuration types are made of: structs, maps, lists, options, strings, numbers, booleans, newtypes
//! and enums of plain names. A struct refuses keys it does not have, whether or not it says so itself.

use std::collections::btree_map;
use std::fmt::Display;

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, Visitor};

use super::error::ConfigError;
use super::tree::{Node, Value};
use super::{file, secret, suggest};

/// Reads a whole tree as `T`.
pub(super) fn typed<T: DeserializeOwned>(tree: &Node) -> Result<T, ConfigError> {
    let root = Reader { node: tree, path: String::new(), secret: false };
    T::deserialize(root).map_err(|error| error.0)
}

/// An error on its way out; the innermost reader that sees it without a path adds source and path.
#[derive(Debug)]
struct ReadError(ConfigError);

impl Display for ReadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for ReadError {}

impl de::Error for ReadError {
    fn custom<M: Display>(message: M) -> Self {
        Self(ConfigError::unplaced(message.to_string()))
    }

    fn missing_field(field: &'static str) -> Self {
        Self(ConfigError::unplaced(format!("the key {field} is missing")))
    }
}

struct Reader<'t> {
    node: &'t Node,
    path: String,
    /// The value belongs to a secret: messages do not quote it.
    secret: bool,
}

impl<'t> Reader<'t> {
    fn error(&self, problem: impl Into<String>) -> ReadError {
        ReadError(ConfigError::at(self.node.source.clone(), &self.path, problem))
    }

    fn expected(&self, what: &str) -> ReadError {
        let found = if self.secret { "something else".into() } else { self.node.value.describe() };
        self.error(format!("expected {what}, found {found}"))
    }

    /// Runs a visitor and places an error of its own making at this value.
    fn visit<T>(self, run: impl FnOnce(&Node) -> Result<T, ReadError>) -> Result<T, ReadError> {
        run(self.node).map_err(|error| match error.0.source {
            Some(_) => error,
            None => {
                let found = match (&self.node.value, self.secret) {
                    (Value::Table(_) | Value::Array(_), _) | (_, true) => String::new(),
                    (value, false) => format!(" (found {})", value.describe()),
                };
                self.error(format!("{}{found}", error.0.problem))
            }
        })
    }

    fn below(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn integer(&self, least: i128, most: i128) -> Result<i128, ReadError> {
        let number = match &self.node.value {
            Value::Integer(number) => Some(*number),
            Value::Text(text) => text.trim().replace('_', "").parse().ok(),
            _ => None,
        };
        number
            .filter(|number| (least..=most).contains(number))
            .ok_or_else(|| self.expected(&format!("a whole number from {least} to {most}")))
    }

    /// Text that holds a TOML list or table, e.g. `["a", "b"]`, as nodes.
    fn parse_text(&self, text: &str) -> Result<Node, ReadError> {
        let parsed =
            file::parse(&format!("value = {text}"), "").map_err(|error| self.error(error.problem))?;
        let mut node = parsed.at("value").cloned().ok_or_else(|| self.expected("one value"))?;
        resource(&mut node, self.node);
        Ok(node)
    }

    fn list<'de, V: Visitor<'de>>(&self, items: &[Node], visitor: V) -> Result<V::Value, ReadError> {
        let readers = items.iter().enumerate().map(|(index, node)| Reader {
            node,
            path: format!("{}[{index}]", self.path),
            secret: self.secret,
        });
        visitor.visit_seq(de::value::SeqDeserializer::new(readers))
    }
}

/// Gives a parsed value the source of the text it was parsed from.
fn resource(node: &mut Node, from: &Node) {
    node.source = from.source.clone();
    match &mut node.value {
        Value::Array(items) => items.iter_mut().for_each(|item| resource(item, from)),
        Value::Table(table) => table.values_mut().for_each(|item| resource(item, from)),
        _ => {}
    }
}

impl<'de> IntoDeserializer<'de, ReadError> for Reader<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! integers {
    ($($method:ident $visit:ident $type:ty),*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
            let number = self.integer(<$type>::MIN as i128, <$type>::MAX as i128)?;
            // In range: checked by `integer`.
            self.visit(|_| visitor.$visit(number as $type))
        }
    )*};
}

impl<'de> de::Deserializer<'de> for Reader<'_> {
    type Error = ReadError;

    integers!(
        deserialize_u8 visit_u8 u8, deserialize_u16 visit_u16 u16, deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64, deserialize_i8 visit_i8 i8, deserialize_i16 visit_i16 i16,
        deserialize_i32 visit_i32 i32, deserialize_i64 visit_i64 i64
    );

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let truth = match &self.node.value {
            Value::Boolean(truth) => Some(*truth),
            Value::Text(text) => match text.trim().to_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => Some(true),
                "false" | "0" | "no" | "off" => Some(false),
                _ => None,
            },
            _ => None,
        };
        let truth = truth.ok_or_else(|| self.expected("true or false"))?;
        self.visit(|_| visitor.visit_bool(truth))
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let number = match &self.node.value {
            Value::Float(number) => Some(*number),
            Value::Integer(number) => Some(*number as f64),
            Value::Text(text) => text.trim().parse().ok(),
            _ => None,
        };
        let number = number.filter(|n| n.is_finite()).ok_or_else(|| self.expected("a number"))?;
        self.visit(|_| visitor.visit_f64(number))
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.node.value {
            Value::String(_) | Value::Text(_) => self.visit(|node| match &node.value {
                Value::String(text) | Value::Text(text) => visitor.visit_str(text),
                _ => Err(de::Error::custom("expected a string")),
            }),
            _ => Err(self.expected("a string")),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.node.value {
            // An empty variable unsets what a file has set.
            Value::Text(text) if text.is_empty() => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.secret |= name == secret::NAME;
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.node.value {
            Value::Array(items) => self.list(items, visitor),
            Value::Text(text) if text.trim_start().starts_with('[') => {
                let parsed = self.parse_text(text)?;
                match &parsed.value {
                    Value::Array(items) => self.list(items, visitor),
                    _ => Err(self.expected("a list")),
                }
            }
            // From a variable: a,b,c
            Value::Text(text) => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                let items: Vec<Node> = items
                    .map(|item| Node { value: Value::Text(item.into()), source: self.node.source.clone() })
                    .collect();
                self.list(&items, visitor)
            }
            _ => Err(self.expected("a list")),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.node.value {
            Value::Table(table) => visitor.visit_map(Entries::new(&self, table)),
            Value::Text(text) if text.trim_start().starts_with('{') => {
                let parsed = self.parse_text(text)?;
                Reader { node: &parsed, path: self.path.clone(), secret: self.secret }
                    .deserialize_map(visitor)
            }
            _ => Err(self.expected("a table")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match &self.node.value {
            Value::Table(table) => {
                if let Some((key, node)) = table.iter().find(|(key, _)| !fields.contains(&key.as_str())) {
                    let path = self.below(key);
                    return Err(ReadError(ConfigError::at(node.source.clone(), &path, unknown(key, fields))));
                }
                let source = self.node.source.clone();
                visitor.visit_map(Entries::new(&self, table)).map_err(|error| match error.0.source {
                    Some(_) => error,
                    None => ReadError(ConfigError::at(source, &self.path, error.0.problem)),
                })
            }
            Value::Text(text) if text.trim_start().starts_with('{') => {
                let parsed = self.parse_text(text)?;
                Reader { node: &parsed, path: self.path.clone(), secret: self.secret }
                    .deserialize_struct(name, fields, visitor)
            }
            _ => Err(self.expected("a table")),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let one_of = || format!("one of {}", variants.join(", "));
        match &self.node.value {
            Value::String(text) | Value::Text(text) => {
                if !variants.contains(&text.as_str()) {
                    let near = suggest::nearest(text, variants.iter().copied());
                    let hint = near.map(|near| format!("; did you mean {near:?}?")).unwrap_or_default();
                    return Err(self.error(format!("expected {}, found {text:?}{hint}", one_of())));
                }
                let name: StrDeserializer<'_, ReadError> = text.as_str().into_deserializer();
                visitor.visit_enum(name)
            }
            _ => Err(self.expected(&one_of())),
        }
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.node.value {
            Value::Text(_) | Value::String(_) => self.deserialize_str(visitor),
            Value::Integer(_) => self.deserialize_i64(visitor),
            Value::Float(_) => self.deserialize_f64(visitor),
            Value::Boolean(_) => self.deserialize_bool(visitor),
            Value::Array(_) => self.deserialize_seq(visitor),
            Value::Table(_) => self.deserialize_map(visitor),
            Value::Datetime(_) => Err(self.expected("no date or time")),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct identifier
    }
}

fn unknown(key: &str, fields: &[&str]) -> String {
    match suggest::nearest(key, fields.iter().copied()) {
        Some(near) => format!("unknown key; did you mean {near}?"),
        None => format!("unknown key; known here: {}", fields.join(", ")),
    }
}

/// The entries of a table, in key order.
struct Entries<'t> {
    above: &'t Reader<'t>,
    rest: btree_map::Iter<'t, String, Node>,
    value: Option<(&'t String, &'t Node)>,
}

impl<'t> Entries<'t> {
    fn new(above: &'t Reader<'t>, table: &'t std::collections::BTreeMap<String, Node>) -> Self {
        Self { above, rest: table.iter(), value: None }
    }
}

impl<'de> de::MapAccess<'de> for Entries<'_> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ReadError> {
        self.value = self.rest.next();
        let Some((key, node)) = self.value else { return Ok(None) };
        let name: StrDeserializer<'_, ReadError> = key.as_str().into_deserializer();
        seed.deserialize(name).map(Some).map_err(|error| {
            ReadError(ConfigError::at(node.source.clone(), &self.above.below(key), error.0.problem))
        })
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, ReadError> {
        let Some((key, node)) = self.value.take() else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        let path = self.above.below(key);
        let secret = self.above.secret || secret::is_secret(key);
        seed.deserialize(Reader { node, path: path.clone(), secret }).map_err(|error| match error.0.source {
            Some(_) => error,
            None => ReadError(ConfigError::at(node.source.clone(), &path, error.0.problem)),
        })
    }
}
