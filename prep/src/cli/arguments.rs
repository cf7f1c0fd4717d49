//! Arguments that several commands share.

use std::path::{Path, PathBuf};

use clap::Args;
use cloze_formats::Vocabulary;

use super::Context;
use crate::Result;
use crate::sources::{SourceFile, SourceKind, expand};
use crate::world::World;

/// Text inputs. Plain or compressed (.gz, .zst, .bz2); globs and directories are taken.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub struct SourceArgs {
    /// MediaWiki XML dumps (.xml, .xml.bz2): articles only, without markup.
    #[arg(long, num_args = 1.., value_name = "FILE")]
    pub wikipedia: Vec<PathBuf>,
    /// Books: every file is one document.
    #[arg(long, num_args = 1.., value_name = "FILE|DIR")]
    pub books: Vec<PathBuf>,
    /// Plain text: a blank line separates documents.
    #[arg(long, num_args = 1.., value_name = "FILE")]
    pub text: Vec<PathBuf>,
    /// One sentence a line, a blank line separates documents.
    #[arg(long, num_args = 1.., value_name = "FILE")]
    pub sentences: Vec<PathBuf>,
}

impl SourceArgs {
    /// The files, in the order in which they are read.
    pub fn expand(&self) -> Result<Vec<SourceFile>> {
        let groups = [
            (SourceKind::Wikipedia, &self.wikipedia),
            (SourceKind::Books, &self.books),
            (SourceKind::Text, &self.text),
            (SourceKind::Sentences, &self.sentences),
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
        if upper && !self.cased {
            let path: &Path = &self.vocab;
            context.warn(&format!("{}: has upper-case tokens, and text is lower-cased; say --cased?", path.display()));
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
