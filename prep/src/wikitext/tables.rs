//! Tables: which lines are theirs, and what of them is prose.

use super::{blocks, inline, marker};

/// A cell with fewer bytes is not looked at.
const MIN_CELL_BYTES: usize = 60;
/// A cell with fewer words is no prose.
const MIN_CELL_WORDS: usize = 12;

/// How tables cover a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cover {
    None,
    /// Inside a table.
    Table,
    /// After the beginning of a table that never ends: only its markup is dropped.
    Unclosed,
    /// The end of a table; what follows the mark is text.
    End,
}

/// How each line is covered: matches `{|` and `|}` like brackets, in one pass.
pub(super) fn covers(lines: &[&str]) -> Vec<Cover> {
    let mut covers = vec![Cover::None; lines.len()];
    let mut open = Vec::new();
    let mut depth_change = vec![0i32; lines.len() + 1];
    for (i, line) in lines.iter().enumerate() {
        if line.trim_start_matches([':', '*', '#', ';', ' ']).starts_with("{|") {
            open.push(i);
        } else if line.starts_with("|}")
            && let Some(start) = open.pop()
        {
            depth_change[start] += 1;
            depth_change[i] -= 1;
            covers[i] = Cover::End;
        }
    }
    let unclosed_from = open.first().copied().unwrap_or(lines.len());
    let mut depth = 0;
    for (i, cover) in covers.iter_mut().enumerate() {
        depth += depth_change[i];
        match depth {
            0 if *cover == Cover::None && i >= unclosed_from => *cover = Cover::Unclosed,
            0 => {}
            _ => *cover = Cover::Table,
        }
    }
    covers
}

/// The cell being read. Tables go, but a cell that is prose stays: tables also lay out text.
#[derive(Default)]
pub(super) struct Cell {
    text: String,
}

impl Cell {
    /// Takes a line of a table; hands over the prose that ended with it.
    pub(super) fn line(&mut self, line: &str, done: &mut Vec<String>) {
        match line.as_bytes().first() {
            Some(b'|') if !line[1..].starts_with(['-', '+', '}']) => {
                let mut cells = line[1..].split("||").map(without_attributes);
                self.end(done);
                let Some(mut last) = cells.next() else { return };
                for next in cells {
                    prose(last, done);
                    last = next;
                }
                self.text.push_str(last);
            }
            None | Some(b'|' | b'!') => self.end(done),
            Some(b'{') if line.starts_with("{|") => self.end(done),
            Some(b'*' | b'#' | b':' | b';') => {
                self.end(done);
                self.text.push_str(line.trim_start_matches(['*', '#', ':', ';', ' ']));
            }
            Some(_) => {
                self.text.push(' ');
                self.text.push_str(line);
            }
        }
    }

    /// Ends the cell.
    pub(super) fn end(&mut self, done: &mut Vec<String>) {
        prose(&self.text, done);
        self.text.clear();
    }
}

/// `style="x" | text` without what stands before the pipe.
fn without_attributes(cell: &str) -> &str {
    match cell.split_once('|') {
        Some((attributes, text)) if attributes.len() < 200 && !attributes.contains(marker::FORMULA) => text,
        _ => cell,
    }
}

fn prose(cell: &str, done: &mut Vec<String>) {
    if cell.len() < MIN_CELL_BYTES {
        return;
    }
    let mut plain = String::new();
    inline::append(&mut plain, cell.trim());
    let plain = plain.trim();
    if blocks::is_sentence(plain, MIN_CELL_WORDS) {
        done.push(plain.to_owned());
    }
}
