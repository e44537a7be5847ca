//! The page at `/` and the browser client it uses, carried in the binary (see `build.rs`).

use skywave_edge::http::{PageAssets, PageFile};

const FILES: &[PageFile] = include!(concat!(env!("OUT_DIR"), "/page.rs"));

pub(crate) fn assets() -> PageAssets {
    PageAssets(FILES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(path: &str) -> Option<&'static PageFile> {
        FILES.iter().find(|file| file.path == path)
    }

    #[test]
    fn the_page_and_everything_it_loads_is_there() {
        let page = find("/").expect("there is a page");
        assert!(page.content_type.starts_with("text/html"));
        let html = std::str::from_utf8(page.bytes).unwrap();
        let references = html.split(['"', '\'']).filter(|text| text.starts_with("/assets/"));
        let mut count = 0;
        for path in references {
            assert!(find(path).is_some(), "{path} is missing");
            count += 1;
        }
        assert!(count > 3, "the page refers to its files");
        assert!(find("/assets/skywave/index.js").is_some(), "the browser client is missing");
        assert!(!FILES.iter().any(|file| file.path.ends_with(".d.ts")));
    }
}
