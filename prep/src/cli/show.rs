//! `show`

use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::Args;

use super::Context;
use crate::inspect::show::parse_rows;
use crate::inspect::{Selection, ShowOptions, show};

/// `show`
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Dataset directory.
    pub dataset: PathBuf,
    /// How many rows, where their numbers are not given.
    #[arg(long, short = 'n', default_value_t = 5, value_name = "N")]
    pub count: u64,
    /// These rows, by number: `--rows 3,17,100-110`.
    #[arg(long, value_delimiter = ',', value_name = "ROWS", value_parser = parse_rows, group = "selection")]
    pub rows: Vec<RangeInclusive<u64>>,
    /// Rows drawn at random; `--random=SEED` for others.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "0", value_name = "SEED", group = "selection")]
    pub random: Option<u64>,
    /// The document of a corpus that has this number.
    #[arg(long, value_name = "ID", group = "selection")]
    pub document: Option<u64>,
    /// The first rows that have this word, or these words next to each other. Whole words only; case and accents count where
    /// the vocabulary keeps them.
    #[arg(long, value_name = "WORD", group = "selection")]
    pub find: Option<String>,
    /// Dynamic masks as a trainer with this seed draws them.
    #[arg(long, default_value_t = 0, value_name = "SEED")]
    pub seed: u64,
    /// Dynamic masks as drawn in this epoch.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub epoch: u64,
}

impl ShowArgs {
    /// Which rows the flags stand for.
    fn selection(&self) -> Selection {
        match (self.random, self.document, &self.find) {
            (Some(seed), ..) => Selection::Random(seed),
            (_, Some(id), _) => Selection::Document(id),
            (.., Some(words)) => Selection::Find(words.clone()),
            _ if !self.rows.is_empty() => Selection::Rows(self.rows.clone()),
            _ => Selection::First,
        }
    }

    pub(super) fn run(&self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let options = ShowOptions {
            selection: self.selection(),
            count: self.count,
            masks: (self.seed, self.epoch),
            colour: context.colour,
            json: context.json,
        };
        Ok(show(&self.dataset, &options, context.progress, context.out)?)
    }
}
