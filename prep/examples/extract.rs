//! Prints the documents of sources as text, to be read by eye, or counts what markup is left in them.
//!
//! `cargo run --release -p cloze-prep --example extract -- wikipedia|text|books|sentences FILE.. [--residues]`

use std::io::Write;
use std::time::Instant;

use cloze_prep::sources::{SourceKind, documents, expand};

/// Markup that should not be left in prose.
const RESIDUES: [&str; 17] =
    ["{{", "}}", "[[", "]]", "{|", "|}", "|", "<ref", "</", "==", "'''", "''", "&nbsp;", "&lt;", "http", "__", "()"];

fn main() -> anyhow::Result<()> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let count = arguments.iter().position(|a| a == "--residues").map(|i| arguments.remove(i)).is_some();
    let kind = match arguments.remove(0).as_str() {
        "wikipedia" => SourceKind::Wikipedia,
        "books" => SourceKind::Books,
        "sentences" => SourceKind::Sentences,
        _ => SourceKind::Text,
    };
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let (mut bytes, mut characters, mut paragraphs, mut pages) = (0, 0, 0, 0);
    let mut found = [0usize; RESIDUES.len()];
    let mut spent = std::time::Duration::ZERO;
    for source in expand(kind, &arguments)? {
        let reader = documents(&source)?;
        let skipped = reader.skipped();
        for raw in reader {
            let raw = raw?;
            bytes += raw.body_bytes();
            let start = Instant::now();
            let document = raw.into_document();
            spent += start.elapsed();
            pages += 1;
            if !count {
                writeln!(out, "### {}", document.title.as_deref().unwrap_or_default())?;
            }
            for paragraph in &document.paragraphs {
                characters += paragraph.chars().count();
                paragraphs += 1;
                for (residue, found) in RESIDUES.iter().zip(&mut found) {
                    *found += paragraph.matches(residue).count();
                }
                if !count {
                    writeln!(out, "{paragraph}\n")?;
                }
            }
        }
        for (reason, pages) in skipped.counts() {
            eprintln!("{}: {pages} pages left out: {reason}", source.path.display());
        }
    }
    out.flush()?;
    eprintln!("{pages} documents, {paragraphs} paragraphs, {characters} characters from {bytes} bytes");
    eprintln!("{:.0} MB/s of source on one core", bytes as f64 / spent.as_secs_f64() / 1e6);
    for (residue, found) in RESIDUES.iter().zip(found) {
        eprintln!(
            "{residue:<8} {found:>6} {:>9.1} per million characters",
            found as f64 * 1e6 / characters.max(1) as f64
        );
    }
    Ok(())
}
