#![doc = include_str!("../SPEC.md")]

pub mod checksum;
pub mod config;
pub mod dataset;
pub mod durable;
mod error;
pub mod finetune;
pub mod manifest;
pub mod masking;
pub mod mmap;
pub mod rng;
pub mod row;
pub mod schema;
pub mod shard;
pub mod statistics;
pub mod stream;
pub mod vocabulary;

pub use dataset::{Dataset, DatasetSpec, DatasetWriter};
pub use error::{AtPath, Error, ErrorKind, Result};
pub use manifest::{Kind, Manifest};
pub use row::{CorpusRow, GlueRow, Label, PretrainRow, Row, SquadRow, StaticMask, Tokens};
pub use vocabulary::{SpecialIds, Vocabulary};
