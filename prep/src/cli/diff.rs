//! `diff`

use std::path::PathBuf;

use clap::Args;

use super::{Context, Outcome};
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
        if !context.emit_json(&comparison)? {
            comparison.render(context.colour, context.out)?;
        }
        Ok(if comparison.equal { Outcome::Done } else { Outcome::Different })
    }
}
