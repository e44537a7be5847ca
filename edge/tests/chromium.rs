//! A real browser over WebTransport and SSE, without anything between it and the edge. `cargo test -- --ignored` with
//! Chromium at `/usr/bin/chromium` (or `$CHROMIUM`).

mod support;

use std::process::{Child, Command, Stdio};

use skywave_edge::http::{PageAssets, PageFile};
use support::webtransport::{config, ports};
use support::{Client, TestEdge};

const PAGE: PageAssets = PageAssets(&[
    PageFile {
        path: "/",
        content_type: "text/html; charset=utf-8",
        bytes: b"<!doctype html><script type=module src=/assets/test.js></script>",
    },
    PageFile {
        path: "/assets/test.js",
        content_type: "text/javascript",
        bytes: include_bytes!("chromium.js"),
    },
]);

struct Browser(Child);

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
#[ignore = "needs Chromium"]
async fn a_browser_uses_streams_datagrams_close_codes_and_events() {
    let with_page = |settings: &mut skywave_edge::EdgePorts| {
        ports(settings);
        settings.page = PAGE;
    };
    let edge = TestEdge::with_ports(config, with_page).await;
    let mut results: Client = edge.client().await;
    results.subscribe("lobby").await;
    let profile = tempfile::tempdir().unwrap();
    let binary = std::env::var("CHROMIUM").unwrap_or_else(|_| "/usr/bin/chromium".into());
    let browser = Command::new(binary)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
        ])
        .args(["--disable-component-update", "--disable-sync"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("http://{}/", edge.address()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _browser = Browser(browser);
    let result = results.publication().await["data"].clone();
    assert_eq!(result["error"], serde_json::json!(null), "{result}");
    assert_eq!(result["stream"]["data"], "durable", "{result}");
    assert_eq!(result["datagram"]["data"], "ephemeral", "{result}");
    assert_eq!(result["closed"]["closeCode"], 4503, "{result}");
    assert_eq!(result["closed"]["reason"], "connect comes first", "{result}");
    assert_eq!(result["event"]["data"], "event", "{result}");
}
