//! What the subcommands do: call the library, write the result.

use std::io::{IsTerminal, Write};
use std::path::Path;

use anyhow::Context;
use cloze_formats::{Dataset, Kind, Vocabulary};
use serde::Serialize;

use super::{
    BuildArgs, Cli, Command, DatasetArgs, GlueArgs, ShowArgs, SquadArgs, TokenizeArgs, VocabArgs, VocabularyArgs,
};
use crate::build::build;
use crate::glue::{GlueConfig, glue};
use crate::inspect::render::{bytes, percent, render, thousands};
use crate::inspect::{Facts, ShowOptions, show, verify};
use crate::progress::Progress;
use crate::squad::{SquadConfig, squad};
use crate::tokenize::{TokenizeConfig, tokenize};
use crate::vocab::{VocabConfig, vocab};

/// How a command ended, when it ended well enough to say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All is well.
    Done,
    /// `verify` found damage.
    Damaged,
}

struct Runner<'a> {
    json: bool,
    quiet: bool,
    progress: Progress,
    out: &'a mut dyn Write,
}

/// Runs the command; results go to `out`, progress and warnings to standard error.
///
/// # Errors
/// Bad input; the message says what was expected, what was found and what to do.
pub fn run(cli: &Cli, out: &mut dyn Write) -> anyhow::Result<Outcome> {
    rayon::ThreadPoolBuilder::new().num_threads(cli.threads.into()).build_global().context("cannot start threads")?;
    let mut context = Runner { json: cli.json, quiet: cli.quiet, progress: Progress::new(cli.quiet), out };
    match &cli.command {
        Command::Tokenize(args) => context.tokenize(args)?,
        Command::Build(args) => context.build(args)?,
        Command::Squad(args) => context.squad(args)?,
        Command::Glue(args) => context.glue(args)?,
        Command::Vocab(args) => context.vocab(args)?,
        Command::Inspect(args) => context.inspect(args)?,
        Command::Show(args) => context.show(args)?,
        Command::Verify(args) => return context.verify(args),
    }
    Ok(Outcome::Done)
}

impl Runner<'_> {
    fn tokenize(&mut self, args: &TokenizeArgs) -> anyhow::Result<()> {
        let vocabulary = self.vocabulary(&args.vocabulary)?;
        let sources = args.sources.expand()?;
        let config = TokenizeConfig { cased: args.vocabulary.cased, tokens_per_shard: args.tokens_per_shard };
        let summary = tokenize(&config, &sources, &vocabulary, &args.out, args.restart, &self.progress)?;
        if self.emit_json(&summary)? {
            return Ok(());
        }
        let s = &summary;
        writeln!(self.out, "{}: corpus of {} documents", args.out.display(), thousands(s.documents))?;
        writeln!(self.out, "  sentences  {}", thousands(s.sentences))?;
        writeln!(self.out, "  tokens     {}, [UNK] {}", thousands(s.tokens), percent(s.unknown_rate()))?;
        let (size, rate) = (bytes(s.text_bytes), s.megabytes_per_second());
        writeln!(self.out, "  text       {size} in {:.1} s, {rate:.1} MB/s", s.seconds)?;
        for (reason, count) in s.skipped.iter().filter(|(_, count)| **count > 0) {
            writeln!(self.out, "  skipped    {} pages: {reason}", thousands(*count))?;
        }
        if s.documents_without_text > 0 {
            writeln!(self.out, "  skipped    {} documents: no text", thousands(s.documents_without_text))?;
        }
        for source in &s.sources_without_documents {
            self.warn(&format!("{source}: no document in it"));
        }
        Ok(())
    }

    fn build(&mut self, args: &BuildArgs) -> anyhow::Result<()> {
        let started = std::time::Instant::now();
        let corpus = Dataset::open_kind(&args.corpus, Kind::Corpus)?;
        let manifests = build(&corpus, &args.config(), &args.out, self.progress)?;
        if self.json {
            self.emit_json(&Facts::read(&args.out)?)?;
            return Ok(());
        }
        for (manifest, part) in manifests.iter().zip(["", "/held-out"]) {
            let (instances, tokens) = (thousands(manifest.num_rows()), thousands(manifest.num_tokens()));
            let (shards, size) = (manifest.shards.len(), bytes(manifest.num_bytes()));
            let plural = if shards == 1 { "" } else { "s" };
            let dir = format!("{}{part}", args.out.display());
            writeln!(self.out, "{dir}: {instances} instances, {tokens} tokens in {shards} shard{plural}, {size}")?;
        }
        writeln!(self.out, "  in {:.1} s", started.elapsed().as_secs_f64())?;
        Ok(())
    }

    fn squad(&mut self, args: &SquadArgs) -> anyhow::Result<()> {
        let vocabulary = self.vocabulary(&args.vocabulary)?;
        let config = SquadConfig {
            max_seq_length: args.max_seq_length,
            doc_stride: args.doc_stride,
            max_query_length: args.max_query_length,
            cased: args.vocabulary.cased,
        };
        let s = squad(&config, &args.input, &vocabulary, &args.out, &self.progress)?;
        if self.emit_json(&s)? {
            return Ok(());
        }
        let (questions, windows) = (thousands(s.questions), thousands(s.windows));
        writeln!(self.out, "{}: {questions} questions in {windows} windows", args.out.display())?;
        writeln!(self.out, "  {} windows hold the answer", thousands(s.answered_windows))?;
        if s.truncated_questions > 0 {
            let most = args.max_query_length;
            writeln!(self.out, "  {} questions were cut to {most} tokens", thousands(s.truncated_questions))?;
        }
        if s.unanswered_questions > 0 {
            writeln!(self.out, "  {} questions have no window with the answer", thousands(s.unanswered_questions))?;
        }
        Ok(())
    }

    fn glue(&mut self, args: &GlueArgs) -> anyhow::Result<()> {
        let vocabulary = self.vocabulary(&args.vocabulary)?;
        let config =
            GlueConfig { task: args.task.clone(), max_seq_length: args.max_seq_length, cased: args.vocabulary.cased };
        let splits = glue(&config, &args.dir, &vocabulary, &args.out)?;
        if self.emit_json(&splits)? {
            return Ok(());
        }
        for s in &splits {
            let (examples, tokens) = (thousands(s.examples), thousands(s.tokens));
            writeln!(self.out, "{}: {examples} examples, {tokens} tokens", s.dataset.display())?;
            if s.truncated > 0 {
                writeln!(self.out, "  {} were cut to {} tokens", thousands(s.truncated), args.max_seq_length)?;
            }
        }
        Ok(())
    }

    fn vocab(&mut self, args: &VocabArgs) -> anyhow::Result<()> {
        let config = VocabConfig {
            vocab_size: args.vocab_size,
            cased: args.cased,
            min_frequency: args.min_frequency,
            ..VocabConfig::default()
        };
        let s = vocab(&config, &args.sources.expand()?, &args.out, &self.progress)?;
        if self.emit_json(&s)? {
            return Ok(());
        }
        let (tokens, words) = (thousands(s.num_tokens as u64), thousands(s.num_words as u64));
        writeln!(self.out, "{}: {tokens} tokens from {words} different words", args.out.display())?;
        if s.num_tokens < args.vocab_size {
            let (wanted, least) = (thousands(args.vocab_size as u64), args.min_frequency);
            self.warn(&format!("the text has pieces for {tokens} of {wanted} tokens that occur {least} times or more"));
        }
        Ok(())
    }

    fn inspect(&mut self, args: &DatasetArgs) -> anyhow::Result<()> {
        let facts = Facts::read(&args.dataset)?;
        if !self.emit_json(&facts)? {
            render(&facts, self.out)?;
        }
        Ok(())
    }

    fn show(&mut self, args: &ShowArgs) -> anyhow::Result<()> {
        let options = ShowOptions {
            rows: args.rows.clone(),
            count: args.count,
            random: args.random,
            masks: (args.seed, args.epoch),
            colour: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
            json: self.json,
        };
        Ok(show(&args.dataset, &options, self.out)?)
    }

    fn verify(&mut self, args: &DatasetArgs) -> anyhow::Result<Outcome> {
        let report = verify(&args.dataset, self.progress)?;
        if !self.emit_json(&report)? {
            for damage in &report.damage {
                writeln!(self.out, "damaged: {damage}")?;
            }
            let (rows, shards, size) = (thousands(report.rows), report.num_shards, bytes(report.bytes));
            let plural = if shards == 1 { "" } else { "s" };
            let verdict = match report.damage.len() {
                0 => format!("whole: {rows} rows in {shards} shard{plural}, {size}"),
                1 => "1 problem".to_owned(),
                n => format!("{n} problems"),
            };
            writeln!(self.out, "{}: {verdict}", report.dataset)?;
        }
        Ok(if report.damage.is_empty() { Outcome::Done } else { Outcome::Damaged })
    }

    fn vocabulary(&self, args: &VocabularyArgs) -> anyhow::Result<Vocabulary> {
        let vocabulary = Vocabulary::read(&args.vocab)?;
        let is_special = |token: &&String| token.starts_with('[') && token.ends_with(']');
        // ASCII only: lower-casing leaves a few symbols such as double-struck letters as they are.
        let mut words = vocabulary.tokens().iter().filter(|token| !is_special(token));
        let upper = words.any(|token| token.bytes().any(|b| b.is_ascii_uppercase()));
        if upper && !args.cased {
            let path: &Path = &args.vocab;
            self.warn(&format!("{}: has upper-case tokens, and text is lower-cased; say --cased?", path.display()));
        }
        Ok(vocabulary)
    }

    /// Writes `value` as JSON if asked to, and says whether it did.
    fn emit_json(&mut self, value: &impl Serialize) -> anyhow::Result<bool> {
        if self.json {
            serde_json::to_writer_pretty(&mut *self.out, value)?;
            writeln!(self.out)?;
        }
        Ok(self.json)
    }

    fn warn(&self, message: &str) {
        if !self.quiet {
            eprintln!("warning: {message}");
        }
    }
}
