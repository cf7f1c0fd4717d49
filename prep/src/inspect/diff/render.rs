//! A comparison for the terminal.

use std::io::{self, Write};

use serde_json::Value;

use super::{Comparison, Difference, RowDifference};
use crate::inspect::numbers::{counted, thousands};
use crate::inspect::reading::Reading;
use crate::inspect::show::{paint, write_reading};

/// Lines of one part; `--json` has them all.
const MAX_LINES: usize = 16;
const KEY_WIDTH: usize = 28;

impl Comparison {
    /// Writes what differs, part by part, and the verdict.
    pub fn render(&self, colour: bool, out: &mut dyn Write) -> io::Result<()> {
        let (minus, plus) = (paint(colour, "31", "- A"), paint(colour, "32", "+ B"));
        writeln!(out, "{minus} {}\n{plus} {}", self.a, self.b)?;
        let mut rest = &self.differences[..];
        while let Some(first) = rest.first() {
            let (part, others) = rest.split_at(rest.iter().take_while(|d| d.part == first.part).count());
            render_part(first.part, part, colour, out)?;
            rest = others;
        }
        self.render_rows(colour, out)?;
        if let Some(held_out) = &self.held_out {
            writeln!(out)?;
            held_out.render(colour, out)?;
        }
        let verdict = if self.equal { "equal" } else { "different" };
        let of = self.held_out.as_ref().map_or("", |_| ", held-out part included");
        writeln!(out, "\n{}{of}", paint(colour, "1", verdict))
    }

    fn render_rows(&self, colour: bool, out: &mut dyn Write) -> io::Result<()> {
        let (a, b) = self.rows.num_rows;
        let numbers = if a == b { counted(a, "row") } else { format!("{} and {}", thousands(a), counted(b, "row")) };
        let Some(difference) = &self.rows.first_difference else {
            let verdict = if self.rows.compared { "all the same" } else { "not compared, the kinds differ" };
            return writeln!(out, "\n{}\n  {numbers}, {verdict}", paint(colour, "1", "rows"));
        };
        let RowDifference { row, token, readings, .. } = difference;
        let token = token.map_or_else(String::new, |token| format!(", at token {token}"));
        let place = format!("the first difference is in row {row}{token}");
        writeln!(out, "\n{}\n  {numbers}, {place}", paint(colour, "1", "rows"))?;
        render_side("- A", "31", &readings.0, colour, out)?;
        render_side("+ B", "32", &readings.1, colour, out)
    }
}

fn render_part(name: &str, differences: &[Difference], colour: bool, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "\n{}", paint(colour, "1", name))?;
    for Difference { key, a, b, .. } in differences.iter().take(MAX_LINES) {
        let (a, b) = (paint(colour, "31", &value(a)), paint(colour, "32", &value(b)));
        writeln!(out, "  {key:KEY_WIDTH$} {a} -> {b}")?;
    }
    match differences.len().saturating_sub(MAX_LINES) {
        0 => Ok(()),
        more => writeln!(out, "  and {more} more"),
    }
}

fn render_side(name: &str, code: &str, reading: &Option<Reading>, colour: bool, out: &mut dyn Write) -> io::Result<()> {
    write!(out, "{} ", paint(colour, code, name))?;
    match reading {
        Some(reading) => write_reading(reading, colour, out),
        None => writeln!(out, "has no such row"),
    }
}

/// A value on one line, without the quotes of JSON.
fn value(value: &Option<Value>) -> String {
    match value {
        None => "absent".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.as_u64().map_or_else(|| number.to_string(), thousands),
        Some(other) => other.to_string(),
    }
}
