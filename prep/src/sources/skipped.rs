//! What in a source is no document, counted.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Broken rows that are described; the rest are counted.
const MAX_DESCRIBED: usize = 5;

/// Why rows that cannot be read are no documents, in [`Skipped::counts`].
pub(crate) const BROKEN: &str = "broken";

/// Pages and rows of a source that are not documents, by reason; readable while the reader runs.
#[derive(Debug, Default)]
pub struct Skipped {
    /// Pages outside the main namespace.
    pub other_namespace: AtomicU64,
    /// Redirects.
    pub redirect: AtomicU64,
    /// Disambiguation pages (and set indexes of names): lists of links, not prose.
    pub disambiguation: AtomicU64,
    /// Pages whose content model is not wikitext.
    pub other_model: AtomicU64,
    /// Pages without text.
    pub empty: AtomicU64,
    /// Rows whose text is null.
    pub null: AtomicU64,
    /// Rows that cannot be read.
    pub broken: AtomicU64,
    descriptions: Mutex<Vec<String>>,
}

impl Skipped {
    /// Reason and count, every reason, in a fixed order.
    pub fn counts(&self) -> [(&'static str, u64); 7] {
        let get = |n: &AtomicU64| n.load(Ordering::Relaxed);
        [
            ("other namespace", get(&self.other_namespace)),
            ("redirect", get(&self.redirect)),
            ("disambiguation", get(&self.disambiguation)),
            ("other content model", get(&self.other_model)),
            ("empty", get(&self.empty)),
            ("null", get(&self.null)),
            (BROKEN, get(&self.broken)),
        ]
    }

    /// Line number and what is wrong there, of the first few broken rows.
    pub fn broken_rows(&self) -> Vec<String> {
        self.descriptions.lock().expect("no thread panics with the descriptions").clone()
    }

    pub(super) fn add_one(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn note_broken(&self, description: String) {
        Self::add_one(&self.broken);
        let mut descriptions = self.descriptions.lock().expect("no thread panics with the descriptions");
        if descriptions.len() < MAX_DESCRIBED {
            descriptions.push(description);
        }
    }
}
