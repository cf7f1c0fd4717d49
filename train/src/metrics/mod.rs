//! Scores as the official evaluators compute them, and the answers they are computed from.

pub mod answers;
pub mod glue;
pub mod squad;
