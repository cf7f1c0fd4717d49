//! Arguments that several commands share.

use std::path::{Path, PathBuf};

use clap::Args;
use cloze_formats::Vocabulary;

use super::Context;
use crate::Result;
use crate::sources::{ReadOptions, SourceFile, SourceKind, expand};
use crate::world::World;

const SOURCES: &str = "Sources (files, directories, globs, or - for standard input; .gz, .zst, .bz2, .xz or plain)";

/// Text inputs. Plain or compressed (.gz, .zst, .bz2, .xz); globs, directories and standard input (`-`) are taken.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub struct SourceArgs {
    /// MediaWiki XML dumps: pages of the main namespace, without markup. Of a directory, files with .xml in their name.
    #[arg(long, help_heading = SOURCES, num_args = 1.., value_name = "FILE")]
    pub wikipedia: Vec<PathBuf>,
    /// Books: every file is one document. Of a directory, all files.
    #[arg(long, help_heading = SOURCES, num_args = 1.., value_name = "FILE|DIR")]
    pub books: Vec<PathBuf>,
    /// Plain text: a blank line separates documents. Of a directory, all files.
    #[arg(long, help_heading = SOURCES, num_args = 1.., value_name = "FILE")]
    pub text: Vec<PathBuf>,
    /// One sentence a line, a blank line separates documents. Of a directory, all files.
    #[arg(long, help_heading = SOURCES, num_args = 1.., value_name = "FILE")]
    pub sentences: Vec<PathBuf>,
    /// JSON Lines: every row is a document, its text is in --field. Of a directory, .jsonl, .ndjson and .json files.
    #[arg(long, help_heading = SOURCES, num_args = 1.., value_name = "FILE")]
    pub jsonl: Vec<PathBuf>,
    /// Parquet: every row is a document, its text is in --column. Of a directory, .parquet files.
    #[arg(long, help_heading = SOURCES, num_args = 1.., value_name = "FILE")]
    pub parquet: Vec<PathBuf>,
    /// Arrow IPC files or streams (Hugging Face datasets' cache), read as Parquet is. Of a directory, .arrow files.
    #[arg(long, help_heading = SOURCES, num_args = 1.., value_name = "FILE")]
    pub arrow: Vec<PathBuf>,
}

/// How sources are read.
#[derive(Debug, Args)]
pub struct ReadArgs {
    /// Field of JSON Lines rows that holds the text.
    #[arg(long, help_heading = SOURCES, default_value = "text", value_name = "NAME")]
    pub field: String,
    /// Column of Parquet and Arrow files that holds the text.
    #[arg(long, help_heading = SOURCES, default_value = "text", value_name = "NAME")]
    pub column: String,
    /// Stop at a broken JSON Lines row; otherwise such rows are skipped, counted and reported.
    #[arg(long, help_heading = SOURCES)]
    pub strict: bool,
}

impl ReadArgs {
    /// As the library has it.
    pub fn options(&self) -> ReadOptions {
        ReadOptions { field: self.field.clone(), column: self.column.clone(), strict: self.strict }
    }
}

impl SourceArgs {
    /// The files, in the order in which they are read.
    pub fn expand(&self) -> Result<Vec<SourceFile>> {
        let groups = [
            (SourceKind::Wikipedia, &self.wikipedia),
            (SourceKind::Books, &self.books),
            (SourceKind::Text, &self.text),
            (SourceKind::Sentences, &self.sentences),
            (SourceKind::Jsonl, &self.jsonl),
            (SourceKind::Parquet, &self.parquet),
            (SourceKind::Arrow, &self.arrow),
        ];
        let mut files = Vec::new();
        for (kind, patterns) in groups.into_iter().filter(|(_, patterns)| !patterns.is_empty()) {
            files.extend(expand(kind, patterns)?);
        }
        Ok(files)
    }
}

/// A vocabulary and how text is normalised for it.
#[derive(Debug, Args)]
pub struct VocabularyArgs {
    /// WordPiece vocabulary, one token a line.
    #[arg(long, value_name = "FILE")]
    pub vocab: PathBuf,
    /// Keep case and accents, for a cased vocabulary.
    #[arg(long)]
    pub cased: bool,
}

impl VocabularyArgs {
    /// Reads the vocabulary, and warns where it does not look like `cased`.
    pub(super) fn read(&self, context: &Context<'_>) -> anyhow::Result<Vocabulary> {
        let vocabulary = Vocabulary::read(&self.vocab)?;
        let is_special = |token: &&String| token.starts_with('[') && token.ends_with(']');
        // ASCII only: lower-casing leaves a few symbols such as double-struck letters as they are.
        let mut words = vocabulary.tokens().iter().filter(|token| !is_special(token));
        let upper = words.any(|token| token.bytes().any(|b| b.is_ascii_uppercase()));
        let path = self.vocab.display();
        match (upper, self.cased) {
            (true, false) => {
                context.warn(&format!("{path}: has upper-case tokens, and text is lower-cased; say --cased?"))
            }
            (false, true) => {
                context.warn(&format!("{path}: has no upper-case tokens, and text keeps its case; leave --cased out?"))
            }
            _ => {}
        }
        Ok(vocabulary)
    }
}

/// Several processes that make a dataset together.
///
/// Each one makes a part, at any time and on any machine that sees the same files; `cloze-prep finish` then publishes the
/// dataset, which is the same to the byte as one process would make. Without these flags RANK and WORLD_SIZE are taken
/// from the environment, or SLURM_PROCID and SLURM_NTASKS, SLURM_ARRAY_TASK_ID and SLURM_ARRAY_TASK_COUNT,
/// JOB_COMPLETION_INDEX and JOB_COMPLETIONS.
#[derive(Debug, Args)]
#[command(next_help_heading = "Several processes")]
pub struct WorldArgs {
    /// Number of this process, from 0 [default: from RANK, Slurm or Kubernetes]
    #[arg(long, value_name = "R")]
    pub rank: Option<u32>,
    /// Number of processes; each makes its part, `finish` publishes. 1 for all in this one [default: likewise]
    #[arg(long, value_name = "N")]
    pub world_size: Option<u32>,
}

impl WorldArgs {
    /// Which process this is; says so where there are others.
    pub(super) fn resolve(&self, context: &Context<'_>) -> anyhow::Result<World> {
        let env = |name: &str| std::env::var(name).ok();
        let world = World::resolve(self.rank, self.world_size, env).map_err(anyhow::Error::msg)?;
        if !world.is_alone() && !context.quiet {
            eprintln!("rank {} of {}", world.rank(), world.world_size());
        }
        Ok(world)
    }
}

/// What is left to do when a rank is done.
pub(super) fn say_what_is_next(context: &mut Context<'_>, world: World, out: &Path) -> std::io::Result<()> {
    let (rank, world_size, out) = (world.rank(), world.world_size(), out.display());
    writeln!(context.out, "  rank {rank} of {world_size} is done; after the others: cloze-prep finish {out}")
}
