//! Frames of what subscribers have just missed, kept for a moment for the next one that missed the same.

use std::sync::Arc;

use hashbrown::HashMap;
use skywave_engine::time::Millis;
use skywave_protocol::{ChannelName, Epoch, Publication, Push};

use crate::encoding::{Encoded, EncodedPage};

/// Payload bytes of what is kept. When full, all is forgotten; so it is after [`KEEP_MS`], when a storm is over.
const BYTES: usize = 8 * 1024 * 1024;
const KEEP_MS: Millis = 1_000;

type Page = Arc<[Arc<Publication>]>;

/// Found by address: an entry keeps what it is for alive, so that its address cannot come to mean something else.
#[derive(Debug, Default)]
pub(super) struct Recent {
    publications: HashMap<*const Publication, Arc<Encoded>>,
    pages: HashMap<*const Arc<Publication>, Arc<EncodedPage>>,
    bytes: usize,
    since: Millis,
    /// Messages of fewer bytes are not compressed.
    threshold: usize,
}

impl Recent {
    pub(super) fn new(threshold: usize) -> Self {
        Self { threshold, ..Self::default() }
    }

    pub(super) fn publication(
        &mut self,
        now: Millis,
        channel: &ChannelName,
        epoch: &Option<Epoch>,
        publication: Arc<Publication>,
    ) -> Arc<Encoded> {
        self.make_room(now);
        let entry = self.publications.entry(Arc::as_ptr(&publication));
        entry
            .or_insert_with(|| {
                self.bytes += publication.data.len();
                let push = Push::Publication { channel: channel.clone(), epoch: epoch.clone(), publication };
                Encoded::new(channel.clone(), push, false, self.threshold)
            })
            .clone()
    }

    pub(super) fn page(
        &mut self,
        now: Millis,
        channel: &ChannelName,
        epoch: &Epoch,
        page: Page,
    ) -> Arc<EncodedPage> {
        self.make_room(now);
        let entry = self.pages.entry(page.as_ptr());
        entry
            .or_insert_with(|| {
                self.bytes += page.iter().map(|publication| publication.data.len()).sum::<usize>();
                EncodedPage::new(channel.clone(), epoch.clone(), page, self.threshold)
            })
            .clone()
    }

    /// Forgets what is old.
    pub(super) fn tidy(&mut self, now: Millis) {
        if self.since + KEEP_MS <= now {
            self.forget();
        }
    }

    fn make_room(&mut self, now: Millis) {
        if self.bytes >= BYTES {
            self.forget();
        }
        if self.publications.is_empty() && self.pages.is_empty() {
            self.since = now;
        }
    }

    fn forget(&mut self) {
        *self = Self::new(self.threshold);
    }
}
