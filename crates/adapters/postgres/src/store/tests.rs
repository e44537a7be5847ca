//! The plans of what is read most.

use prometheus_client::registry::Registry;
use skywave_ports::{Commit, DedupKeep, StoredPublication};
use skywave_protocol::{ChannelName, Payload, Publication};
use skywave_servers::{Postgres, PostgresOptions};

use super::*;

fn row(name: &str, offset: u64) -> StoredPublication {
    let data = Payload::Json(bytes::Bytes::from_static(b"1"));
    let publication = Arc::new(Publication { offset, id: None, from: None, time_ms: offset, data });
    StoredPublication { channel: ChannelName::parse(name).unwrap(), publication }
}

fn batch(expected: u64, publications: Vec<StoredPublication>) -> Commit {
    let (next, dedup_keep) = (expected + 1, DedupKeep { not_before_ms: 0, entries: usize::MAX });
    Commit { expected, next, publications, dedup: Vec::new(), dedup_keep }
}

/// A page must be a range scan of the key, also when the planner knows neither the values nor the tables.
#[tokio::test]
async fn history_pages_are_range_scans() {
    let options = PostgresOptions { unsynced: true, ..PostgresOptions::default() };
    let server = Postgres::start_with(options).unwrap();
    let config = PostgresConfig { url: server.url(), ..PostgresConfig::default() };
    let epoch = Epoch::parse("e").unwrap();
    let store = PostgresStore::connect(config, "main", epoch, &mut Registry::default()).await.unwrap();
    store.commit(0, batch(0, (1..=20_000).map(|offset| row("c:hot", offset)).collect())).await.unwrap();
    store.commit(0, batch(1, (0..5_000).map(|n| row(&format!("c:{n}"), 1)).collect())).await.unwrap();
    for analyze in ["", "ANALYZE;"] {
        for text in [history::ASCENDING, history::DESCENDING] {
            let explain = format!(
                "SET search_path = skywave; {analyze} SET plan_cache_mode = force_generic_plan; \
                 PREPARE page (text, text, bigint, bigint, bigint) AS {text}; \
                 EXPLAIN EXECUTE page ('c', 'c:hot', 5, 9, 100)"
            );
            let plan = server.sql("postgres", &explain).unwrap();
            assert!(plan.contains("publications_pkey"), "{plan}");
            assert!(!plan.contains("Seq Scan on publications"), "{plan}");
            assert!(!plan.contains("Seq Scan on channels"), "{plan}");
        }
    }
}
