//! The error type of preparation is that of the datasets: a path and what is wrong there.

pub use cloze_formats::{AtPath, Error, ErrorKind, Result};
