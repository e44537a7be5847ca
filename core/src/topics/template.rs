//! Texts made of a record: channel names, message ids and users, as an operator describes them.
//!
//! A template is text with any of `{key}`, `{topic}`, `{partition}`, `{header:NAME}` and `{json:FIELD.FIELD}` in it. What a
//! record does not have, or what is no text and no whole number, makes no text: the record is refused.

use std::fmt::Write;

use serde_json::Value;
use skywave_ports::Event;

/// A checked template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Key,
    Topic,
    Partition,
    Header(String),
    /// The names of fields, from the outside in.
    Json(Vec<String>),
}

impl Template {
    /// The error says what a template looks like.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let Some((name, after)) = after.split_once('}') else {
                return Err(format!("a template in which every {{ has its }}; {text:?} has not"));
            };
            parts.push(Part::Text(before.to_owned()));
            parts.push(Part::parse(name)?);
            rest = after;
        }
        if rest.contains('}')
            || parts.iter().any(|part| matches!(part, Part::Text(text) if text.contains('}')))
        {
            return Err(format!("a template in which every }} has its {{; {text:?} has not"));
        }
        parts.push(Part::Text(rest.to_owned()));
        parts.retain(|part| !matches!(part, Part::Text(text) if text.is_empty()));
        match parts.is_empty() {
            true => Err("not empty".into()),
            false => Ok(Self(parts)),
        }
    }

    /// The same text for every record; `None`: it depends on the record.
    pub(crate) fn fixed(&self) -> Option<&str> {
        match &self.0[..] {
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// What it begins with whatever the record is.
    pub(crate) fn beginning(&self) -> &str {
        match self.0.first() {
            Some(Part::Text(text)) => text,
            _ => "",
        }
    }

    /// Whether it looks into the value.
    pub(crate) fn reads_json(&self) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Json(_)))
    }

    /// The text of one record, whose value is `json` if it was read. The error says what the record lacks.
    pub(crate) fn render(&self, event: &Event, json: &Value) -> Result<String, String> {
        let mut text = String::new();
        for part in &self.0 {
            part.render(event, json, &mut text)?;
        }
        Ok(text)
    }
}

impl Part {
    fn parse(name: &str) -> Result<Self, String> {
        let unknown = || {
            let known = "{key}, {topic}, {partition}, {header:NAME} and {json:FIELD.FIELD}";
            Err(format!("a template with {known} in it; there is no {{{name}}}"))
        };
        match name.split_once(':') {
            None => match name {
                "key" => Ok(Self::Key),
                "topic" => Ok(Self::Topic),
                "partition" => Ok(Self::Partition),
                _ => unknown(),
            },
            Some(("header", header)) if !header.is_empty() => Ok(Self::Header(header.to_owned())),
            Some(("json", path)) if path.split('.').all(|field| !field.is_empty()) => {
                Ok(Self::Json(path.split('.').map(str::to_owned).collect()))
            }
            Some(_) => unknown(),
        }
    }

    fn render(&self, event: &Event, json: &Value, out: &mut String) -> Result<(), String> {
        match self {
            Self::Text(text) => out.push_str(text),
            Self::Key if event.key.is_empty() => return Err("the record has no key".into()),
            Self::Key => out.push_str(text(&event.key, "the key")?),
            Self::Topic => out.push_str(&event.topic),
            // Writing to a text cannot fail.
            Self::Partition => _ = write!(out, "{}", event.partition),
            Self::Header(name) => {
                // The last one counts, as in Kafka's own clients.
                let header = event.headers.iter().rev().find(|(header, _)| header == name);
                let (_, value) = header.ok_or_else(|| format!("the record has no header {name:?}"))?;
                out.push_str(text(value, "the header")?);
            }
            Self::Json(path) => {
                let field = path.iter().try_fold(json, |value, field| value.get(field));
                match field {
                    Some(Value::String(text)) => out.push_str(text),
                    Some(Value::Number(number)) if number.is_i64() || number.is_u64() => {
                        _ = write!(out, "{number}");
                    }
                    Some(_) => {
                        return Err(format!("the field {} is no text and no whole number", path.join(".")));
                    }
                    None => return Err(format!("the value has no field {}", path.join("."))),
                }
            }
        }
        Ok(())
    }
}

fn text<'b>(bytes: &'b [u8], what: &str) -> Result<&'b str, String> {
    std::str::from_utf8(bytes).map_err(|_| format!("{what} is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::*;

    fn event() -> Event {
        Event {
            topic: "orders".into(),
            partition: 3,
            offset: 15,
            time_ms: 0,
            key: Bytes::from_static(b"ada"),
            value: Bytes::new(),
            headers: vec![
                ("course".into(), Bytes::from_static(b"old")),
                ("course".into(), Bytes::from_static(b"7")),
                ("raw".into(), Bytes::from_static(b"\xff")),
            ],
        }
    }

    fn render(template: &str) -> Result<String, String> {
        let json = json!({ "user": { "id": 12 }, "name": "bob", "list": [1], "price": 1.5 });
        Template::parse(template).unwrap().render(&event(), &json)
    }

    #[test]
    fn a_text_is_put_together_from_the_record() {
        assert_eq!(render("user:{key}").unwrap(), "user:ada");
        assert_eq!(render("{topic}:{partition}/{header:course}").unwrap(), "orders:3/7");
        assert_eq!(render("user:{json:user.id}-{json:name}").unwrap(), "user:12-bob");
        assert_eq!(Template::parse("news:all").unwrap().fixed(), Some("news:all"));
        assert_eq!(Template::parse("user:{key}").unwrap().fixed(), None);
        assert_eq!(Template::parse("user:{key}").unwrap().beginning(), "user:");
    }

    #[test]
    fn what_the_record_does_not_have_is_said() {
        let mut keyless = event();
        keyless.key = Bytes::new();
        let key = Template::parse("{key}").unwrap();
        assert!(key.render(&keyless, &Value::Null).unwrap_err().contains("no key"));
        assert!(render("{header:none}").unwrap_err().contains("no header"));
        assert!(render("{header:raw}").unwrap_err().contains("UTF-8"));
        assert!(render("{json:user.name}").unwrap_err().contains("no field user.name"));
        for field in ["user", "list", "price"] {
            assert!(render(&format!("{{json:{field}}}")).unwrap_err().contains("no text"), "{field}");
        }
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for text in [
            "",
            "a{",
            "a}",
            "{key",
            "key}",
            "}a{key}",
            "{}",
            "{value}",
            "{header:}",
            "{json:a..b}",
            "{json:}",
        ] {
            assert!(Template::parse(text).is_err(), "{text:?}");
        }
    }
}
