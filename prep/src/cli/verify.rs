//! `verify`

use std::path::PathBuf;

use clap::Args;

use super::{Context, Outcome, still_told};
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
        let outcome = if report.is_whole() { Outcome::Done } else { Outcome::Different };
        let written = match context.emit_json(&report) {
            Ok(false) => report.render(context.out).map_err(Into::into),
            written => written.map(drop),
        };
        still_told(outcome, written)
    }
}
