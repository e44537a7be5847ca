//! Makes text harmless for a terminal and a log: what would begin a new line, move the cursor, or turn the reading
//! direction is written as an escape.

use std::fmt::{self, Write};

/// Whether a character may not stand in a log as it is: controls (C0, DEL, C1), line and paragraph separators, and the
/// marks that change the direction of text.
pub fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{feff}')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Passes text on with harmful characters as `\u{…}`, and newline, return and tab as `\n`, `\r`, `\t`.
pub struct Escaped<W>(pub W);

impl<W: Write> Write for Escaped<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| is_harmful(*c)) {
            self.0.write_str(&rest[..at])?;
            match c {
                '\n' => self.0.write_str("\\n")?,
                '\r' => self.0.write_str("\\r")?,
                '\t' => self.0.write_str("\\t")?,
                _ => write!(self.0, "\\u{{{:x}}}", u32::from(c))?,
            }
            rest = &rest[at + c.len_utf8()..];
        }
        self.0.write_str(rest)
    }
}

/// The text with every harmful character escaped.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // Writing to a String cannot fail.
    let _ = Escaped(&mut out).write_str(text);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_harmful_is_left() {
        let hostile = "a\r\n2026 ERROR forged\u{1b}[2J\u{202e}gpj\u{9b}31m\u{2028}é✓";
        let text = escape(hostile);
        assert!(!text.chars().any(is_harmful), "{text}");
        assert_eq!(text, "a\\r\\n2026 ERROR forged\\u{1b}[2J\\u{202e}gpj\\u{9b}31m\\u{2028}é✓");
    }
}
