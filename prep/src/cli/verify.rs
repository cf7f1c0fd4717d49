//! `verify`

use std::path::PathBuf;

use clap::Args;

use super::{Context, Outcome};
use crate::inspect::verify;

/// `verify`
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Dataset directory.
    pub dataset: PathBuf,
}

impl VerifyArgs {
    pub(super) fn run(&self, context: &mut Context<'_>) -> anyhow::Result<Outcome> {
        let report = verify(&self.dataset, context.progress)?;
        if !context.emit_json(&report)? {
            report.render(context.out)?;
        }
        Ok(if report.is_whole() { Outcome::Done } else { Outcome::Different })
    }
}
