//! Who serves a page of history.
//!
//! Head and first always come from the primary: that is one small row. The page itself, which is what costs, comes from the
//! replica where the replica has everything that was asked for; otherwise from the primary too. So nobody can tell that
//! a replica lags, or that it was cut off long ago.

use skywave_ports::HistoryRows;
use skywave_protocol::message::HistoryQuery;

use super::PostgresStore;
use super::history::{self, Ends, Page};
use crate::connections::Pool;
use crate::error::Failure;

impl PostgresStore {
    pub(super) async fn read_history(&self, query: &HistoryQuery) -> Result<HistoryRows, Failure> {
        let (page, by) = match &self.replica {
            Some(replica) => self.with_replica(replica, query).await?,
            None => (self.primary_page(query).await?, "primary"),
        };
        self.metrics.served(by);
        let Page { ends: Ends { epoch, head, first }, publications } = page;
        Ok(HistoryRows { epoch, head, first, publications })
    }

    async fn primary_page(&self, query: &HistoryQuery) -> Result<Page, Failure> {
        self.reads
            .with(self.config.read_timeout, async |connection| history::page(connection, query, 0).await)
            .await
    }

    async fn with_replica(
        &self,
        replica: &Pool,
        query: &HistoryQuery,
    ) -> Result<(Page, &'static str), Failure> {
        let limit = self.config.read_timeout;
        let ends =
            self.reads.with(limit, async |connection| history::ends_of(connection, query).await).await?;
        if is_empty(query, &ends) {
            return Ok((Page { ends, publications: Vec::new() }, "primary"));
        }
        // Not what the primary has forgotten: it would fill the page.
        let after = ends.first - 1;
        let page = replica.with(limit, async |connection| history::page(connection, query, after).await);
        let joined = match page.await {
            Ok(page) => join(query, &ends, page),
            Err(failure) => {
                tracing::debug!(error = %failure, "the replica cannot be read");
                Err("failed")
            }
        };
        match joined {
            Ok(page) => Ok((page, "replica")),
            Err(reason) => {
                self.metrics.passed_over(reason);
                Ok((self.primary_page(query).await?, "primary"))
            }
        }
    }
}

/// Newest offset that the query asks for, given the newest there is.
fn newest(query: &HistoryQuery, head: u64) -> u64 {
    if query.before == 0 { head } else { head.min(query.before - 1) }
}

fn is_empty(query: &HistoryQuery, ends: &Ends) -> bool {
    query.after.max(ends.first - 1) >= newest(query, ends.head)
}

/// Makes one answer of what the primary said first and what the replica said then, or says why that cannot be.
///
/// Each can be ahead of the other: the replica was asked later, and lags. What either has seen published is published, and
/// what either has forgotten is gone.
fn join(query: &HistoryQuery, primary: &Ends, page: Page) -> Result<Page, &'static str> {
    if page.ends.epoch != primary.epoch {
        return Err("epoch");
    }
    let ends = Ends {
        epoch: page.ends.epoch,
        head: primary.head.max(page.ends.head),
        first: primary.first.max(page.ends.first),
    };
    let full = !query.reverse && page.publications.len() == query.limit as usize;
    if full || page.ends.head >= newest(query, ends.head) {
        Ok(Page { ends, publications: page.publications })
    } else {
        Err("behind")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use proptest::prelude::*;
    use skywave_protocol::{ChannelName, Epoch, Payload, Publication};

    use super::*;

    /// What a server that keeps `first ..= head` answers.
    fn server(query: &HistoryQuery, after: u64, first: u64, head: u64) -> Page {
        let before = if query.before == 0 { u64::MAX } else { query.before };
        let inside = |offset: &u64| *offset > after.max(query.after) && *offset < before;
        let mut publications: Vec<_> = (first..=head)
            .filter(inside)
            .map(|offset| {
                let data = Payload::Json(Bytes::from_static(b"1"));
                Arc::new(Publication { offset, id: None, from: None, time_ms: 0, data })
            })
            .collect();
        if query.reverse {
            publications.reverse();
        }
        publications.truncate(query.limit as usize);
        Page { ends: Ends { epoch: Epoch::parse("e").unwrap(), head, first }, publications }
    }

    fn query(after: u64, before: u64, limit: u32, reverse: bool) -> HistoryQuery {
        HistoryQuery { channel: ChannelName::parse("c:1").unwrap(), after, before, limit, reverse }
    }

    proptest! {
        /// Whoever is ahead, an answer with the replica's page is that of one server.
        #[test]
        fn a_replica_cannot_be_told_from_a_primary(
            (primary_head, replica_head) in (0u64..25, 0u64..25),
            (primary_gone, replica_gone) in (0u64..12, 0u64..12),
            after in 0u64..15,
            before in 0u64..30,
            limit in 1u32..12,
            reverse: bool,
        ) {
            let query = query(after, before, limit, reverse);
            let primary_first = primary_gone.min(primary_head) + 1;
            let replica_first = replica_gone.min(replica_head) + 1;
            let primary = server(&query, 0, primary_first, primary_head).ends;
            if is_empty(&query, &primary) {
                return Ok(());
            }
            let page = server(&query, primary.first - 1, replica_first, replica_head);
            if let Ok(joined) = join(&query, &primary, page) {
                let whole = server(&query, 0, joined.ends.first, joined.ends.head);
                prop_assert_eq!(&joined, &whole);
                prop_assert!(joined.ends.head >= primary_head && joined.ends.first >= primary_first);
            } else {
                prop_assert!(replica_head < primary_head, "only one that lags is passed over");
            }
        }

        #[test]
        fn what_is_empty_has_no_rows(head in 0u64..9, gone in 0u64..9, after in 0u64..12, before in 0u64..12) {
            let query = query(after, before, 5, false);
            let page = server(&query, 0, gone.min(head) + 1, head);
            prop_assert_eq!(is_empty(&query, &page.ends), page.publications.is_empty());
        }
    }

    #[test]
    fn a_replica_of_something_else_is_passed_over() {
        let query = query(0, 0, 5, false);
        let primary = Ends { epoch: Epoch::parse("new").unwrap(), head: 3, first: 1 };
        assert_eq!(join(&query, &primary, server(&query, 0, 1, 3)), Err("epoch"));
    }
}
