//! One shard: an Arrow IPC file, written once and memory-mapped ever after.

mod buffer;
mod column;
mod reader;
mod writer;

pub use buffer::RowBuffer;
pub use column::Columns;
pub use reader::Shard;
pub use writer::{BATCH_ROWS, ShardWriter};
