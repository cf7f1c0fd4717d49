//! `punkt`

use std::path::PathBuf;

use clap::Args;

use super::Context;
use super::arguments::{ReadArgs, SourceArgs};
use crate::inspect::render::thousands;
use crate::sentences::train;

/// `punkt`
#[derive(Debug, Args)]
pub struct PunktArgs {
    /// Inputs.
    #[command(flatten)]
    pub sources: SourceArgs,
    /// How they are read.
    #[command(flatten)]
    pub reading: ReadArgs,
    /// Parameter file to write, for `tokenize --sentence-model`.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

impl PunktArgs {
    pub(super) fn run(&self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let s = train(&self.sources.expand()?, &self.reading.options(), &self.out, &context.progress)?;
        for row in &s.broken_rows {
            context.warn(row);
        }
        if context.emit_json(&s)? {
            return Ok(());
        }
        let (words, documents) = (thousands(s.num_words), thousands(s.documents));
        writeln!(context.out, "{}: from {words} words of {documents} documents", self.out.display())?;
        for (what, number) in [
            ("abbreviations", s.abbreviations),
            ("collocations", s.collocations),
            ("sentence starters", s.sentence_starters),
            ("words seen in upper or lower case", s.orthography),
        ] {
            writeln!(context.out, "  {:>9}  {what}", thousands(number as u64))?;
        }
        context.say_skipped(s.skipped_rows)?;
        Ok(())
    }
}
