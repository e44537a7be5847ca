//! Lists the files of the page at `/` and of the browser client it uses, so that the binary carries them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let mut files = Vec::new();
    collect(&here.join("page"), "/assets/page", &mut files);
    collect(&here.join("../clients/js/dist"), "/assets/skywave", &mut files);
    let mut table = String::from("&[\n");
    for (path, file) in files {
        let Some(kind) = content_type(&file) else { continue };
        let path = if path == "/assets/page/index.html" { "/".to_owned() } else { path };
        let _ = writeln!(
            table,
            "    skywave_edge::http::PageFile {{ path: {path:?}, content_type: {kind:?}, bytes: include_bytes!({file:?}) }},"
        );
    }
    table.push_str("]\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    fs::write(out.join("page.rs"), table).expect("the build folder is writable");
}

/// All files below a folder, sorted, each with the path it is served at.
fn collect(folder: &Path, served: &str, files: &mut Vec<(String, PathBuf)>) {
    println!("cargo::rerun-if-changed={}", folder.display());
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let served = format!("{served}/{name}");
        if path.is_dir() {
            collect(&path, &served, files);
        } else {
            files.push((served, path));
        }
    }
}

/// `None`: not for browsers (type declarations, notes).
fn content_type(file: &Path) -> Option<&'static str> {
    match file.extension()?.to_str()? {
        "html" => Some("text/html; charset=utf-8"),
        "js" => Some("text/javascript; charset=utf-8"),
        "css" => Some("text/css; charset=utf-8"),
        "svg" => Some("image/svg+xml"),
        "png" => Some("image/png"),
        "ico" => Some("image/x-icon"),
        _ => None,
    }
}
