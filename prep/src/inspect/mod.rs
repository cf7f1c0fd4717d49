//! Looking into datasets: what they hold, what their rows say, whether they are whole.

pub mod facts;
pub mod render;
pub mod show;
pub mod verify;

pub use facts::Facts;
pub use show::{ShowOptions, show};
pub use verify::{Report, verify};
