//! Passwords and tokens of the servers behind a node: written in the configuration (better: in a variable), or in a file.

use std::path::PathBuf;

use skywave_runtime::config::Secret;

/// A secret setting and the setting that names a file with it.
pub(super) struct SecretSetting<'s> {
    /// Key of the secret itself; that of its file is the same with `_file`.
    pub(super) key: &'static str,
    pub(super) text: &'s Option<Secret>,
    pub(super) file: &'s Option<PathBuf>,
}

impl SecretSetting<'_> {
    /// The secret, if there is one. One line end at the end of a file does not count. The error is the key and what is
    /// wrong with it.
    pub(super) fn read(&self) -> Result<Option<String>, (String, String)> {
        let file_key = || format!("{}_file", self.key);
        match (self.text, self.file) {
            (Some(_), Some(_)) => {
                Err((file_key(), format!("cannot be set beside {}: use one of them", self.key)))
            }
            (Some(text), None) => Ok(Some(text.expose().to_owned())),
            (None, None) => Ok(None),
            (None, Some(file)) => match std::fs::read_to_string(file) {
                Ok(text) => {
                    let text = text.strip_suffix('\n').unwrap_or(&text);
                    Ok(Some(text.strip_suffix('\r').unwrap_or(text).to_owned()))
                }
                Err(error) => Err((file_key(), format!("cannot read {}: {error}", file.display()))),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_comes_from_one_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        std::fs::write(&path, "hidden\r\n").unwrap();
        let (text, file) = (Some(Secret::new("plain")), Some(path));
        let read = |text, file| SecretSetting { key: "postgres.password", text, file }.read();
        assert_eq!(read(&text, &None), Ok(Some("plain".into())));
        assert_eq!(read(&None, &file), Ok(Some("hidden".into())));
        assert_eq!(read(&None, &None), Ok(None));
        assert_eq!(read(&text, &file).unwrap_err().0, "postgres.password_file");
        assert_eq!(read(&None, &Some("/no/such".into())).unwrap_err().0, "postgres.password_file");
    }
}
