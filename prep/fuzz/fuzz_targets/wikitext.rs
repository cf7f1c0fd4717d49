//! The wikitext extractor on any text: no panic, no endless loop, and paragraphs are what they promise to be.
#![no_main]

use cloze_prep::wikitext::{Site, extract};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for paragraph in extract(&Site::default(), "Title (of a page)", text) {
        assert!(!paragraph.is_empty() && paragraph.trim() == paragraph, "{paragraph:?} is trimmed and not empty");
        assert!(!paragraph.contains('\n'), "{paragraph:?} is one line");
    }
});
