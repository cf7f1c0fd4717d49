//! Looking into datasets: what they hold, what their rows say, whether they are whole, how two of them differ.

pub mod diff;
pub mod examples;
pub mod facts;
pub mod find;
pub mod html;
mod leaves;
pub mod numbers;
pub mod reading;
pub mod render;
pub mod show;
pub mod survey;
pub mod verify;

pub use diff::{Comparison, diff};
pub use facts::Facts;
pub use show::{Selection, ShowOptions, show};
pub use survey::Survey;
pub use verify::{Report, verify};
