//! `import`

use std::path::PathBuf;

use clap::Args;

use super::Context;
use super::arguments::VocabularyArgs;
use crate::exchange::{Format, import};
use crate::inspect::Facts;
use crate::inspect::render::{bytes, thousands};

/// `import`
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// What the other tool wrote.
    #[arg(long, value_enum)]
    pub format: Format,
    /// Its files, directories of them, or globs; each file becomes a shard.
    #[arg(long, num_args = 1.., required = true, value_name = "FILE|DIR")]
    pub input: Vec<PathBuf>,
    /// The vocabulary that the token ids are of.
    #[command(flatten)]
    pub vocabulary: VocabularyArgs,
    /// Directory of the dataset to make.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

impl ImportArgs {
    pub(super) fn run(&self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let vocabulary = self.vocabulary.read(context)?;
        let manifest =
            import(self.format, &self.input, &vocabulary, self.vocabulary.cased, &self.out, context.progress)?;
        if context.json {
            context.emit_json(&Facts::read(&self.out)?)?;
            return Ok(());
        }
        let (rows, tokens) = (thousands(manifest.num_rows()), thousands(manifest.num_tokens()));
        let (shards, size) = (manifest.shards.len(), bytes(manifest.num_bytes()));
        let plural = if shards == 1 { "" } else { "s" };
        let (kind, dir) = (manifest.kind, self.out.display());
        writeln!(context.out, "{dir}: {kind}, {rows} rows, {tokens} tokens in {shards} shard{plural}, {size}")?;
        Ok(())
    }
}
