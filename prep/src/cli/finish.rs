//! `finish`

use std::path::PathBuf;

use clap::Args;
use cloze_formats::Kind;
use cloze_formats::dataset::UnfinishedDataset;

use super::{Context, build, tokenize};
use crate::Error;
use crate::inspect::Facts;

/// `finish`
#[derive(Debug, Args)]
pub struct FinishArgs {
    /// Directory that the ranks of `tokenize` or `build` were given as --out.
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}

impl FinishArgs {
    pub(super) fn run(&self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let unfinished = UnfinishedDataset::open(&self.dir)?;
        match unfinished.spec().kind {
            Kind::Corpus => {
                let summary = crate::tokenize::finish(unfinished)?;
                if !context.emit_json(&summary)? {
                    tokenize::describe(&summary, &self.dir, context)?;
                }
            }
            Kind::Pretrain => {
                let manifests = crate::build::finish(unfinished)?;
                match context.json {
                    true => _ = context.emit_json(&Facts::read(&self.dir)?)?,
                    false => build::describe(&manifests, &self.dir, context)?,
                }
            }
            kind => {
                let problem = format!(
                    "an interrupted run was making a {kind} dataset here; repeat that run to resume it, or delete the directory"
                );
                return Err(Error::invalid(&self.dir, problem).into());
            }
        }
        Ok(())
    }
}
