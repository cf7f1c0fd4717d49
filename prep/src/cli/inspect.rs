//! `inspect`

use std::path::{Path, PathBuf};

use clap::Args;
use cloze_formats::{AtPath, Dataset, durable};

use super::Context;
use crate::inspect::html::{page, readings};
use crate::inspect::reading::Reading;
use crate::inspect::render::render;
use crate::inspect::survey::survey;
use crate::inspect::{Facts, Survey};

/// `inspect`
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Dataset directory.
    pub dataset: PathBuf,
    /// Also write a report with plots into this file; it needs nothing beside it.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Count tokens and positions over all rows, not over some record batches only.
    #[arg(long)]
    pub all_rows: bool,
}

impl InspectArgs {
    pub(super) fn run(&self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let mut facts = Facts::read(&self.dataset)?;
        let mut rows = Vec::new();
        match self.read_rows(context) {
            Ok((survey, readings)) => (facts.survey, rows) = (Some(survey), readings),
            // What the manifest says is worth seeing all the more where something is damaged.
            Err(e) => context.warn(&format!("{e}; shown is what the manifest says")),
        }
        if let Some(path) = &self.html {
            write(path, &page(&facts, &rows))?;
        }
        if !context.emit_json(&facts)? {
            render(&facts, context.out)?;
        }
        Ok(())
    }

    fn read_rows(&self, context: &Context<'_>) -> crate::Result<(Survey, Vec<Reading>)> {
        let dataset = Dataset::open(&self.dataset)?;
        let readings = if self.html.is_some() { readings(&dataset)? } else { Vec::new() };
        Ok((survey(&dataset, self.all_rows, context.progress)?, readings))
    }
}

/// Publishes the report; an older one is replaced, any other file is the user's.
fn write(path: &Path, page: &str) -> crate::Result<()> {
    const BEGINNING: &[u8] = b"<!doctype html>";
    match std::fs::read(path) {
        Ok(found) if !found.starts_with(BEGINNING) => {
            let problem = "expected a new file, or a report to replace, found another file; give --html another name";
            return Err(crate::Error::invalid(path, problem));
        }
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error).at(path),
        Ok(_) | Err(_) => {}
    }
    durable::write(path, page.as_bytes())
}
