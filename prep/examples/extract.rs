//! Prints the documents of sources as text, to be read by eye or by another program.
//!
//! `cargo run --release -p cloze-prep --example extract -- wikipedia|text|books|sentences FILE.. [--json]`
//!
//! With `--json` one object a document: its `title` and `paragraphs`.

use std::io::Write;

use cloze_prep::sources::{SourceKind, documents, expand};

fn main() -> anyhow::Result<()> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let json = arguments.iter().position(|a| a == "--json").map(|i| arguments.remove(i)).is_some();
    anyhow::ensure!(arguments.len() > 1, "expected wikipedia, text, books or sentences, and files");
    let kind = match arguments.remove(0).as_str() {
        "wikipedia" => SourceKind::Wikipedia,
        "books" => SourceKind::Books,
        "sentences" => SourceKind::Sentences,
        _ => SourceKind::Text,
    };
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for source in expand(kind, &arguments)? {
        let reader = documents(&source)?;
        let skipped = reader.skipped();
        for raw in reader {
            let document = raw?.into_document();
            let title = document.title.as_deref().unwrap_or_default();
            if json {
                let object = serde_json::json!({ "title": title, "paragraphs": document.paragraphs });
                writeln!(out, "{object}")?;
                continue;
            }
            writeln!(out, "### {title}")?;
            for paragraph in &document.paragraphs {
                writeln!(out, "{paragraph}\n")?;
            }
        }
        for (reason, pages) in skipped.counts().into_iter().filter(|(_, pages)| *pages > 0) {
            eprintln!("{}: {pages} pages left out: {reason}", source.path.display());
        }
    }
    out.flush()?;
    Ok(())
}
