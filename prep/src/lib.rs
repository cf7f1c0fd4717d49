//! Text to shards: sources, sentences, WordPiece, instances, fine-tuning examples, inspection.

pub mod build;
pub mod cli;
mod compat;
pub mod error;
pub mod exchange;
pub mod glue;
pub mod inspect;
mod materialise;
pub mod pairs;
pub mod plan;
pub mod progress;
pub mod sentences;
pub mod sources;
pub mod squad;
mod starts;
pub mod tokenize;
pub mod vocab;
pub mod wikitext;
pub mod wordpiece;
pub mod world;

pub use error::{Error, ErrorKind, Result};
