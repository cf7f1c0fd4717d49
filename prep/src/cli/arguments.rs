//! Arguments that several commands share.

use std::path::{Path, PathBuf};

use clap::Args;
use cloze_formats::Vocabulary;

use super::Context;
use crate::Result;
use crate::sources::{SourceFile, SourceKind, expand};

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
