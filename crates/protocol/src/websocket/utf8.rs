//! UTF-8 checked piece by piece, as fragments arrive: an error shows at the first byte that makes it certain.

/// The state between two pieces: the bytes of a character cut in half.
#[derive(Debug, Clone, Copy, Default)]
pub struct Utf8 {
    pending: [u8; 3],
    length: u8,
}

/// The text is not UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidUtf8;

impl Utf8 {
    /// Takes the next piece.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), InvalidUtf8> {
        let rest = self.complete_pending(piece)?;
        match std::str::from_utf8(rest) {
            Ok(_) => Ok(()),
            Err(error) if error.error_len().is_some() => Err(InvalidUtf8),
            Err(error) => {
                // An unfinished character is at most three bytes long.
                let tail = &rest[error.valid_up_to()..];
                self.pending[..tail.len()].copy_from_slice(tail);
                self.length = tail.len() as u8;
                Ok(())
            }
        }
    }

    /// Whether the text may end here.
    pub fn finish(self) -> Result<(), InvalidUtf8> {
        if self.length == 0 { Ok(()) } else { Err(InvalidUtf8) }
    }

    /// Finishes the character that the last piece left open; returns what follows it. Stops early only at the end of
    /// the piece.
    fn complete_pending<'a>(&mut self, piece: &'a [u8]) -> Result<&'a [u8], InvalidUtf8> {
        let mut rest = piece;
        while self.length > 0 {
            let Some((&byte, after)) = rest.split_first() else { return Ok(rest) };
            let length = usize::from(self.length);
            let mut character = [0; 4];
            character[..length].copy_from_slice(&self.pending[..length]);
            character[length] = byte;
            match std::str::from_utf8(&character[..=length]) {
                Ok(_) => self.length = 0,
                Err(error) if error.error_len().is_some() => return Err(InvalidUtf8),
                Err(_) => {
                    self.pending[length] = byte;
                    self.length += 1;
                }
            }
            rest = after;
        }
        Ok(rest)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> bool {
        let mut state = Utf8::default();
        pieces.into_iter().all(|piece| state.push(piece).is_ok()) && state.finish().is_ok()
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_verdict_of_the_whole(
            mut text in "[a-zé€😀]{0,20}".prop_map(String::into_bytes),
            damage: Option<(usize, u8)>,
            size in 1..6usize,
        ) {
            if let (Some((at, byte)), false) = (damage, text.is_empty()) {
                let at = at % text.len();
                text[at] = byte;
            }
            prop_assert_eq!(check(text.chunks(size)), std::str::from_utf8(&text).is_ok());
        }
    }

    #[test]
    fn fails_at_the_first_certain_byte() {
        let mut state = Utf8::default();
        assert_eq!(state.push(b"\xf4"), Ok(()));
        assert_eq!(state.push(b"\x90"), Err(InvalidUtf8), "beyond U+10FFFF");
        let mut state = Utf8::default();
        assert_eq!(state.push(b"\xed"), Ok(()));
        assert_eq!(state.push(b"\xa0"), Err(InvalidUtf8), "a surrogate");
    }
}
