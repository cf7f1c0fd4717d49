//! `cloze-train report`.

use std::path::PathBuf;

use clap::Args;

use crate::error::Result;
use crate::report;
use crate::summary::Summary;

#[derive(Args, Debug)]
pub(super) struct ReportArgs {
    /// Run directories; of several, the curves are overlaid.
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,
    /// Where the page goes; RUN/report.html by default, report.html here for several runs.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print the summary as JSON.
    #[arg(long)]
    pub(super) json: bool,
}

impl ReportArgs {
    pub(super) fn run(&self) -> Result<Summary> {
        report::run(&self.runs, self.out.as_deref())
    }
}
