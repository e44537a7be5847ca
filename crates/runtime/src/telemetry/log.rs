//! Structured logs on standard error, as text for people or as JSON for machines.
//!
//! Which lines: `RUST_LOG` if it is set, else the setting `log.level` (both take tracing's filter syntax, e.g.
//! `info,skywave_edge=debug`). Field values cannot begin a new line or reach a terminal's controls in either format.

use std::io::{self, IsTerminal, Write};

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use super::escape::{Escaped, is_harmful};

/// Before the operator's filter, which may say otherwise. The NATS library has a line for every dropped message and every
/// attempt to connect; the adapter says what of it matters.
const QUIET: &str = "async_nats=off";

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// Text for people, coloured on a terminal.
    #[default]
    Pretty,
    /// One JSON object a line.
    Json,
}

/// The table `[log]` of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSettings {
    /// A tracing filter; `RUST_LOG` goes before it.
    pub level: String,
    pub format: LogFormat,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Pretty }
    }
}

/// Why logs could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("{origin} is no log filter: {problem} (an example: info,skywave_edge=debug)")]
    Filter { origin: &'static str, problem: String },
    #[error("another logger is already in place")]
    Occupied(#[from] TryInitError),
}

impl LogSettings {
    /// The filter in force. Errors when `RUST_LOG` or the setting cannot be read.
    pub fn filter(&self) -> Result<EnvFilter, LogError> {
        match std::env::var("RUST_LOG") {
            Ok(text) if !text.is_empty() => parse("RUST_LOG", &text),
            _ => parse("log.level", &self.level),
        }
    }

    /// Puts the logger of the process in place; works once.
    pub fn init(&self) -> Result<(), LogError> {
        let filter = self.filter()?;
        let colour = io::stderr().is_terminal();
        match self.format {
            LogFormat::Pretty => text(filter, colour, io::stderr).try_init()?,
            LogFormat::Json => json(filter, io::stderr).try_init()?,
        }
        Ok(())
    }
}

fn parse(origin: &'static str, text: &str) -> Result<EnvFilter, LogError> {
    EnvFilter::try_new(format!("{QUIET},{text}"))
        .map_err(|error| LogError::Filter { origin, problem: error.to_string() })
}

fn text<W>(filter: EnvFilter, colour: bool, out: W) -> impl SubscriberInitExt
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let fields = debug_fn(|writer: &mut Writer<'_>, field, value| {
        use std::fmt::Write as _;
        let name = field.name().strip_prefix("r#").unwrap_or(field.name());
        match name {
            "message" => write!(Escaped(writer), "{value:?}"),
            _ => {
                write!(writer, "{name}=")?;
                write!(Escaped(writer), "{value:?}")
            }
        }
    });
    let fields = tracing_subscriber::field::MakeExt::delimited(fields, " ");
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colour)
        .fmt_fields(fields)
        .with_writer(out)
        .finish()
}

fn json<W>(filter: EnvFilter, out: W) -> impl SubscriberInitExt
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let out = JsonOut(out);
    tracing_subscriber::fmt().json().flatten_event(true).with_env_filter(filter).with_writer(out).finish()
}

/// JSON already escapes what is below U+0020; this escapes the rest of what is harmful, which can only stand in strings.
struct JsonOut<M>(M);

impl<'w, M: MakeWriter<'w>> MakeWriter<'w> for JsonOut<M> {
    type Writer = JsonLine<M::Writer>;

    fn make_writer(&'w self) -> Self::Writer {
        JsonLine(self.0.make_writer())
    }
}

struct JsonLine<W>(W);

impl<W: Write> Write for JsonLine<W> {
    /// Gets one whole line, always UTF-8.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let mut out = String::with_capacity(text.len());
        for c in text.chars() {
            if c != '\n' && is_harmful(c) {
                // Everything harmful lies in the basic plane: one escape is enough.
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            } else {
                out.push(c);
            }
        }
        self.0.write_all(out.as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const HOSTILE: &str = "x\n2026-01-01 ERROR forged\u{1b}[2J\u{202e}\u{9b}";

    fn logged(dispatch: impl Into<tracing::Dispatch>, kept: &Kept) -> String {
        tracing::dispatcher::with_default(&dispatch.into(), || {
            let span = tracing::info_span!("connection", client = %HOSTILE);
            let _inside = span.enter();
            tracing::info!(display = %HOSTILE, debug = ?HOSTILE, plain = HOSTILE, "hello {HOSTILE}");
        });
        String::from_utf8(kept.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_client_cannot_forge_a_line_of_text() {
        let kept = Kept::default();
        let writer = kept.clone();
        let line = logged(text(EnvFilter::new("info"), false, move || writer.clone()), &kept);
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        assert!(!line.trim_end().chars().any(is_harmful), "{line}");
        assert!(line.contains("display=x\\n2026") && line.contains("hello x\\n"), "{line}");
    }

    #[test]
    fn nor_one_of_json() {
        let kept = Kept::default();
        let writer = kept.clone();
        let line = logged(json(EnvFilter::new("info"), move || writer.clone()), &kept);
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        assert!(!line.trim_end().chars().any(is_harmful), "{line}");
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["display"], HOSTILE);
        assert_eq!(value["level"], "INFO");
    }

    #[test]
    fn a_talkative_library_is_heard_only_when_it_is_asked_for() {
        for (filter, heard) in [("info", false), ("info,async_nats=info", true), ("debug", false)] {
            let kept = Kept::default();
            let writer = kept.clone();
            let logger = text(parse("log.level", filter).unwrap(), false, move || writer.clone());
            tracing::dispatcher::with_default(&logger.into(), || {
                tracing::info!(target: "async_nats::connector", "theirs");
                tracing::info!("ours");
            });
            let lines = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
            assert_eq!(
                (lines.contains("theirs"), lines.contains("ours")),
                (heard, true),
                "{filter}: {lines}"
            );
        }
    }

    #[test]
    fn a_bad_filter_is_an_error() {
        let settings = LogSettings { level: "skywave=loud".into(), ..LogSettings::default() };
        let message = parse("log.level", &settings.level).unwrap_err().to_string();
        assert!(message.starts_with("log.level is no log filter"), "{message}");
    }
}
