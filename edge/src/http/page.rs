//! The files of the page at `/`, handed in by the binary.

/// One file.
#[derive(Debug, Clone, Copy)]
pub struct PageFile {
    /// Path it is served at: `/` or `/assets/…`.
    pub path: &'static str,
    pub content_type: &'static str,
    pub bytes: &'static [u8],
}

/// All of them; empty: there is no page.
#[derive(Debug, Clone, Copy, Default)]
pub struct PageAssets(pub &'static [PageFile]);

impl PageAssets {
    /// The file served at exactly this path.
    pub fn find(&self, path: &str) -> Option<&'static PageFile> {
        self.0.iter().find(|file| file.path == path)
    }
}
