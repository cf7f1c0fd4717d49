//! Pre-trains, fine-tunes and evaluates BERT from Cloze datasets, over libtorch.
//!
//! Reads shards and checkpoints only; needs no tokenizer to train. Call `cloze_torch_ext::load::cuda` first in `main`.

pub mod bench;
pub mod checkpoint;
pub mod cli;
pub mod data;
pub mod device;
pub mod dry_run;
pub mod error;
pub mod evaluate;
pub mod finetune;
pub mod interop;
pub mod log;
pub mod machine;
pub mod metrics;
pub mod model;
pub mod optim;
pub mod parameters;
pub mod plan;
pub mod precision;
pub mod pretrain;
pub mod progress;
pub mod recipe;
pub mod recorder;
pub mod report;
pub mod run;
pub mod setup;
pub mod step;
pub mod summary;
pub mod tensorboard;
pub mod trainer;
pub mod world;

pub use error::{Error, Result};
