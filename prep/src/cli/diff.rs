//! `diff`

use std::path::PathBuf;

use clap::Args;

use super::{Context, Outcome, still_told};
use crate::inspect::diff;

/// `diff`
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// Dataset directory.
    pub a: PathBuf,
    /// Dataset directory to compare it with.
    pub b: PathBuf,
}

impl DiffArgs {
    pub(super) fn run(&self, context: &mut Context<'_>) -> anyhow::Result<Outcome> {
        let comparison = diff(&self.a, &self.b, context.progress)?;
        let outcome = if comparison.equal { Outcome::Done } else { Outcome::Different };
        let written = match context.emit_json(&comparison) {
            Ok(false) => comparison.render(context.colour, context.out).map_err(Into::into),
            written => written.map(drop),
        };
        still_told(outcome, written)
    }
}
