//! How fast preparation is, beside its peers and the limits of the machine: `just bench-prep [--text FILE..]`.
//!
//! Every measurement runs in a process of its own, so that its CPU time and its peak memory are its own and no cache is
//! warm. Rates are per second of CPU time of one thread unless a line says otherwise: they hold per core.

mod measure;
mod peers;
mod report;
mod synthetic;
mod work;

use std::path::PathBuf;

use clap::Parser;

use measure::Bench;

/// Measures preparation: prints a table, and writes the same as JSON.
#[derive(Debug, Parser)]
struct Args {
    /// English text, blank lines between documents, tens of megabytes; without, the books of samples/.
    #[arg(long, num_args = 1.., value_name = "FILE")]
    text: Vec<PathBuf>,
    /// MediaWiki dump (.xml.bz2); without, that of samples/. Small ones are repeated up to 64 MB of XML.
    #[arg(long, value_name = "FILE")]
    dump: Option<PathBuf>,
    /// WordPiece vocabulary; without, one of 30,522 tokens is learnt from the text.
    #[arg(long, value_name = "FILE")]
    vocab: Option<PathBuf>,
    /// Also 1 GB of synthetic text at 1 and 2 threads, for the peak of memory.
    #[arg(long)]
    large: bool,
    /// Also the peak of memory by number of threads, on 200 MB of synthetic text and the dump.
    #[arg(long)]
    memory: bool,
    /// Python with `nanotoken` and `tokenizers` installed, to measure them on the same text.
    #[arg(long, value_name = "PROGRAM")]
    python: Option<PathBuf>,
    /// Runs of each measurement; the fastest counts.
    #[arg(long, default_value_t = 3, value_name = "N")]
    runs: u32,
    /// Where to write the JSON.
    #[arg(long, default_value = "bench-prep.json", value_name = "FILE")]
    json: PathBuf,
    /// One measurement, in this process.
    #[arg(long, hide = true)]
    measure: Option<String>,
    /// Folder of the prepared inputs.
    #[arg(long, hide = true)]
    inputs: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if let (Some(name), Some(inputs)) = (&args.measure, &args.inputs) {
        return work::run(name, inputs);
    }
    let folder = tempfile::tempdir()?;
    let bench = Bench { inputs: folder.path().to_owned(), runs: args.runs };
    let inputs = work::Inputs::prepare(&args.text, args.dump.as_deref(), args.vocab.as_deref(), &bench.inputs)?;
    let mut results = bench.all(args.large)?;
    if args.memory {
        work::write_synthetic(&bench.inputs, work::MEMORY_TEXT)?;
        results.extend(bench.memory()?);
    }
    if let Some(python) = &args.python {
        results.extend(peers::python(python, &bench.inputs)?);
    }
    let report = report::Report::new(&inputs, results);
    report.print(&mut std::io::stdout().lock())?;
    std::fs::write(&args.json, serde_json::to_vec_pretty(&report)?)?;
    Ok(())
}
