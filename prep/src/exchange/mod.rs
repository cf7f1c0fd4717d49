//! Datasets for other tools and from them: NVIDIA's HDF5, LDDL's Parquet, Google's TFRecord, plain Parquet, Hugging Face
//! `datasets`.
//!
//! The first three keep pre-training instances as the model sees them (masks applied) together with the labels; a Cloze
//! dataset keeps the clean text together with what the model sees. `instance` translates between the two. Parquet and
//! Arrow streams take the columns of any kind of dataset as they are.

mod arrow_stream;
mod columnar;
mod example;
mod export;
mod hdf5;
mod import;
mod inputs;
mod instance;
mod lddl;
mod output;
mod parquet;
mod questions;
#[cfg(test)]
mod tests;
mod tfrecord;

use clap::ValueEnum;
use serde::Serialize;

pub use export::{ExportOptions, ExportSummary, export};
pub use import::import;

/// What another tool reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// NVIDIA's create_pretraining_data.py: six padded arrays a file, pretrain datasets only.
    NvidiaHdf5,
    /// LDDL: pairs as strings of tokens, balanced files, optionally by length; pretrain datasets only.
    LddlParquet,
    /// Google's create_pretraining_data.py: one tf.train.Example an instance; pretrain datasets only.
    Tfrecord,
    /// Parquet (zstd) with the dataset's own columns.
    Parquet,
    /// A directory for Hugging Face `datasets.load_from_disk`.
    ArrowStream,
}

impl Format {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::NvidiaHdf5 => "nvidia-hdf5",
            Self::LddlParquet => "lddl-parquet",
            Self::Tfrecord => "tfrecord",
            Self::Parquet => "parquet",
            Self::ArrowStream => "arrow-stream",
        }
    }

    /// Endings of its files' names, without dot; the first one is that of what `export` writes.
    pub fn extensions(self) -> &'static [&'static str] {
        match self {
            Self::NvidiaHdf5 => &["hdf5", "h5"],
            Self::LddlParquet | Self::Parquet => &["parquet"],
            Self::Tfrecord => &["tfrecord", "tfrecords"],
            Self::ArrowStream => &["arrow"],
        }
    }

    /// Whether it holds pre-training instances only.
    pub fn is_pretrain_only(self) -> bool {
        matches!(self, Self::NvidiaHdf5 | Self::LddlParquet | Self::Tfrecord)
    }
}
