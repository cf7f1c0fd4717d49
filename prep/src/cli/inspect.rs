//! `inspect`, `show` and `verify`

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::Args;

use super::{Context, Outcome};
use crate::inspect::render::{bytes, render, thousands};
use crate::inspect::{Facts, ShowOptions, show, verify};

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
            for damage in &report.damage {
                writeln!(context.out, "damaged: {damage}")?;
            }
            let (rows, shards, size) = (thousands(report.rows), report.num_shards, bytes(report.bytes));
            let plural = if shards == 1 { "" } else { "s" };
            let verdict = match report.damage.len() {
                0 => format!("whole: {rows} rows in {shards} shard{plural}, {size}"),
                1 => "1 problem".to_owned(),
                n => format!("{n} problems"),
            };
            writeln!(context.out, "{}: {verdict}", report.dataset)?;
        }
        Ok(if report.damage.is_empty() { Outcome::Done } else { Outcome::Damaged })
    }
}

/// `show`
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Dataset directory.
    pub dataset: PathBuf,
    /// How many rows.
    #[arg(long, short = 'n', default_value_t = 5, value_name = "N")]
    pub count: u64,
    /// These rows, by number.
    #[arg(long, num_args = 1.., value_delimiter = ',', value_name = "ROW")]
    pub rows: Vec<u64>,
    /// Rows drawn at random instead of the first ones; the value is the seed.
    #[arg(long, num_args = 0..=1, default_missing_value = "0", value_name = "SEED")]
    pub random: Option<u64>,
    /// Dynamic masks as a trainer with this seed draws them.
    #[arg(long, default_value_t = 0, value_name = "SEED")]
    pub seed: u64,
    /// Dynamic masks as drawn in this epoch.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub epoch: u64,
}

impl ShowArgs {
    pub(super) fn run(&self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let options = ShowOptions {
            rows: self.rows.clone(),
            count: self.count,
            random: self.random,
            masks: (self.seed, self.epoch),
            colour: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
            json: context.json,
        };
        Ok(show(&self.dataset, &options, context.out)?)
    }
}
