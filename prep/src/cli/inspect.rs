//! `inspect`

use std::path::PathBuf;

use clap::Args;

use super::Context;
use crate::inspect::Facts;
use crate::inspect::render::render;

/// `inspect`
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Dataset directory.
    pub dataset: PathBuf,
}

impl InspectArgs {
    pub(super) fn run(&self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let facts = Facts::read(&self.dataset)?;
        if !context.emit_json(&facts)? {
            render(&facts, context.out)?;
        }
        Ok(())
    }
}
