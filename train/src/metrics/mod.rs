//! Scores as the official evaluators compute them.

pub mod glue;
pub mod squad;
