//! Figures of a dataset as tables; numbers stand to the right.

use serde_json::Value;

use super::escape;
use crate::inspect::facts::Facts;
use crate::inspect::leaves::leaves;
use crate::inspect::numbers::{bytes, percent, thousands};
use crate::inspect::survey::{Survey, TokenCount};
use cloze_formats::dataset::short;

/// Sources beyond this many are added up in a last line.
const MAX_SOURCES: usize = 40;
const TOKEN_COLUMNS: usize = 4;

/// Sources with their share of the documents.
pub(super) fn sources(f: &Facts) -> String {
    let all = f.sources.iter().map(|source| source.documents).sum::<u64>().max(1) as f64;
    let share = |documents: u64| {
        let share = documents as f64 / all;
        let meter = format!("<span class=\"share\" style=\"width:{:.1}%\"></span>", share * 100.0);
        format!(
            "<td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"meter\">{meter}</td>",
            thousands(documents),
            percent(share)
        )
    };
    let mut rows = String::new();
    for source in f.sources.iter().take(MAX_SOURCES) {
        let size = Facts::source_bytes(source).map_or_else(String::new, bytes);
        rows += &format!(
            "<tr><td class=\"name\">{}</td><td>{}</td>{}<td class=\"n\">{size}</td><td class=\"n\"><code>{}</code></td></tr>\n",
            escape(&source.name),
            escape(&source.format),
            share(source.documents),
            escape(short(&source.sha256))
        );
    }
    let rest = &f.sources[f.sources.len().min(MAX_SOURCES)..];
    if !rest.is_empty() {
        let documents = rest.iter().map(|source| source.documents).sum();
        let size = bytes(rest.iter().filter_map(Facts::source_bytes).sum());
        let name = format!("{} more", thousands(rest.len() as u64));
        rows += &format!("<tr><td>{name}</td><td></td>{}<td class=\"n\">{size}</td><td></td></tr>\n", share(documents));
    }
    let counted = match f.sources.first().map_or("", |source| source.format.as_str()) {
        "squad" => "questions",
        "glue" => "examples",
        _ => "documents",
    };
    format!(
        "<div class=\"scroll\"><table><tr><th>name</th><th>format</th><th class=\"n\">{counted}</th><th class=\"n\">share</th>\
         <th></th><th class=\"n\">size</th><th class=\"n\">sha256</th></tr>\n{rows}</table></div>\n"
    )
}

/// The most frequent tokens, in columns read downwards.
pub(super) fn tokens(survey: &Survey) -> String {
    let per_column = survey.frequent.len().div_ceil(TOKEN_COLUMNS).max(1);
    let row = |token: &TokenCount| {
        format!(
            "<tr><td><code>{}</code></td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>\n",
            escape(&token.token),
            thousands(token.count),
            percent(token.count as f64 / survey.tokens.max(1) as f64)
        )
    };
    let column = |tokens: &[TokenCount]| format!("<table>{}</table>\n", tokens.iter().map(row).collect::<String>());
    format!("<div class=\"tokens\">{}</div>\n", survey.frequent.chunks(per_column).map(column).collect::<String>())
}

/// The values of a JSON object.
pub(super) fn values(value: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let row = |(knob, value): (&String, &Value)| {
        let class = if value.is_number() { " class=\"n\"" } else { " class=\"n name\"" };
        format!("<tr><td>{}</td><td{class}>{}</td></tr>\n", escape(knob), escape(&text(value)))
    };
    format!("<table>{}</table>\n", leaves(value).iter().map(row).collect::<String>())
}

/// Names and values.
pub(super) fn pairs(rows: &[(&str, String)]) -> String {
    let row = |(name, value): &(&str, String)| {
        let value = if *name == "sha256" || *name == "columns" {
            format!("<code>{}</code>", escape(value))
        } else {
            escape(value)
        };
        format!("<tr><td>{}</td><td>{value}</td></tr>\n", escape(name))
    };
    format!("<table class=\"pairs\">{}</table>\n", rows.iter().map(row).collect::<String>())
}
