//! `export`

use std::path::PathBuf;

use clap::Args;
use cloze_formats::Dataset;

use super::Context;
use crate::build::HELD_OUT;
use crate::exchange::{ExportOptions, Format, export};
use crate::inspect::render::{bytes, thousands};

/// `export`
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Dataset directory.
    pub dataset: PathBuf,
    /// What the other tool reads.
    #[arg(long, value_enum)]
    pub format: Format,
    /// Directory to make, with a file per shard; or, by a name that ends as the format's files do, one file of all rows.
    #[arg(long, value_name = "DIR|FILE")]
    pub out: PathBuf,
    /// Files to write, of equally many rows [default: one per shard]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub num_files: Option<u32>,
    /// lddl-parquet: a file per N lengths as well, so that batches are of similar length.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub bin_size: Option<u16>,
    /// nvidia-hdf5 and tfrecord need masks: those of a dataset that has none are drawn as a trainer with this seed does.
    #[arg(long, default_value_t = 0, value_name = "SEED")]
    pub seed: u64,
    /// The same: as drawn in this epoch.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub epoch: u64,
}

impl ExportArgs {
    pub(super) fn run(&self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let dataset = Dataset::open(&self.dataset)?;
        let &Self { format, num_files, bin_size, seed, epoch, .. } = self;
        let options = ExportOptions { format, num_files, bin_size, seed, epoch };
        let summary = export(&dataset, &options, &self.out, context.progress)?;
        summary.warnings.iter().for_each(|warning| context.warn(warning));
        if context.emit_json(&summary)? {
            return Ok(());
        }
        let (rows, size) = (thousands(summary.rows), bytes(summary.bytes));
        let files = if summary.files == 1 { "1 file".to_owned() } else { format!("{} files", summary.files) };
        writeln!(context.out, "{}: {rows} rows in {files}, {size}", self.out.display())?;
        if summary.masks_drawn {
            writeln!(context.out, "  the dataset has no masks: drawn with seed {seed} for epoch {epoch}")?;
        }
        let held_out = self.dataset.join(HELD_OUT);
        if held_out.exists() {
            writeln!(context.out, "  without the held-out part: export {} by itself", held_out.display())?;
        }
        Ok(())
    }
}
