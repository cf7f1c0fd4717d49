//! The second pass: lines to paragraphs.

use super::tables::{self, Cover};
use super::{inline, marker, math, sections};

/// A list item or indented line with fewer words than this is no sentence.
const MIN_ITEM_WORDS: usize = 4;

/// Paragraphs of a page whose nesting is resolved.
pub(super) fn paragraphs(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.split('\n').map(str::trim).collect();
    let covers = tables::covers(&lines);
    let mut blocks = Blocks::default();
    for (line, cover) in lines.iter().zip(covers) {
        blocks.line(line, cover);
    }
    blocks.end_paragraph();
    blocks.done
}

/// The paragraphs so far and the one being written.
#[derive(Default)]
struct Blocks {
    done: Vec<String>,
    open: String,
    /// The open paragraph is of indented lines, and stays only if it is a sentence.
    indented: bool,
    /// A formula on a line of its own came last: the sentence may go on after it.
    after_formula: bool,
    /// Nothing but blank lines and formulas came since the last paragraph.
    reopenable: bool,
    cell: tables::Cell,
    /// Level of the heading whose section is being dropped.
    dropping: Option<usize>,
}

impl Blocks {
    fn line(&mut self, line: &str, cover: Cover) {
        let line = match cover {
            Cover::Table => return self.table(line),
            Cover::End => {
                self.cell.end(&mut self.done);
                line[2..].trim_start()
            }
            Cover::Unclosed if line.starts_with('!') => return self.end_paragraph(),
            Cover::None | Cover::Unclosed => line,
        };
        if let Some((level, title)) = heading(line) {
            return self.heading(level, title);
        }
        if self.dropping.is_some() {
            return;
        }
        let line = if line.starts_with("----") { line.trim_start_matches('-').trim_start() } else { line };
        match line.chars().next() {
            None => self.blank(),
            Some('|' | marker::BRACES_PIPE) => self.end_paragraph(),
            Some('{') if line.starts_with("{|") => self.end_paragraph(),
            Some('*' | '#' | ':' | ';' | marker::FORMULA) => self.item(line),
            Some(_) => self.plain(line),
        }
    }

    fn table(&mut self, line: &str) {
        if self.dropping.is_none() {
            self.end_paragraph();
            self.reopenable = false;
            self.cell.line(line, &mut self.done);
        }
    }

    fn plain(&mut self, line: &str) {
        if self.after_formula {
            // The sentence goes on ("where x is ..."), or another one begins, which is a paragraph of its own.
            match line.starts_with(char::is_lowercase) {
                true => self.reopen(),
                false => self.end_paragraph(),
            }
            self.after_formula = false;
        } else if self.indented {
            self.end_paragraph();
        }
        inline::append(&mut self.open, line);
        self.reopenable = false;
    }

    /// A blank line ends a paragraph, but not a sentence with a formula in it.
    fn blank(&mut self) {
        let after_formula = self.after_formula;
        self.reopenable |= !self.open.is_empty() && !self.indented;
        self.end_paragraph();
        self.after_formula = after_formula;
    }

    /// Headings go; the sections of some go with them, up to the next heading of the same or a higher level.
    fn heading(&mut self, level: usize, title: &str) {
        self.end_paragraph();
        self.reopenable = false;
        if self.dropping.is_some_and(|dropping| level > dropping) {
            return;
        }
        let mut plain = String::new();
        inline::append(&mut plain, title);
        self.dropping = sections::is_dropped(&plain).then_some(level);
    }

    /// A list item or a run of indented lines stays, as a paragraph, if it reads as a sentence.
    fn item(&mut self, line: &str) {
        let text = line.trim_start_matches(['*', '#', ':', ';', ' ']);
        if is_formula(text) {
            return self.formula(text);
        }
        let only_indented = line[..line.len() - text.len()].bytes().all(|b| matches!(b, b':' | b' '));
        if text.starts_with(marker::FORMULA) && text.len() == line.len() {
            return self.plain(line);
        }
        if !(only_indented && self.indented) {
            self.end_paragraph();
        }
        inline::append(&mut self.open, text);
        self.indented = true;
        self.reopenable = false;
        if !only_indented {
            self.end_paragraph();
        }
    }

    /// A formula on a line of its own belongs to the sentence before it, if that has not ended.
    fn formula(&mut self, text: &str) {
        self.reopen();
        if !self.open.trim_end().ends_with(|c: char| c.is_alphanumeric() || matches!(c, ',' | ':')) {
            return self.end_paragraph();
        }
        let before = self.open.len();
        inline::append(&mut self.open, text);
        // One word for a row of formulas.
        let added = self.open[before..].trim().trim_end_matches(['.', ',']);
        if added == math::PLACEHOLDER && self.open[..before].trim_end().ends_with(math::PLACEHOLDER) {
            self.open.truncate(before);
        }
        self.after_formula = true;
    }

    /// Goes on with the last paragraph, if a formula or a blank line after a formula ended it too soon.
    fn reopen(&mut self) {
        if self.open.is_empty()
            && self.reopenable
            && self.done.last().is_some_and(|last| !last.ends_with(['.', '!', '?', '。']))
            && let Some(last) = self.done.pop()
        {
            self.open = last;
        }
    }

    fn end_paragraph(&mut self) {
        let text = self.open.trim();
        let stays =
            if self.indented { is_sentence(text, MIN_ITEM_WORDS) } else { text.chars().any(char::is_alphabetic) };
        if stays {
            self.done.push(text.to_owned());
        }
        self.open.clear();
        self.indented = false;
        self.after_formula = false;
    }
}

/// `== Title ==`: its level and title.
fn heading(line: &str) -> Option<(usize, &str)> {
    if !line.starts_with('=') {
        return None;
    }
    let before = line.bytes().take_while(|b| *b == b'=').count();
    let after = line.bytes().rev().take_while(|b| *b == b'=').count();
    let level = before.min(after);
    (level > 0 && level * 2 < line.len()).then(|| (level, line[level..line.len() - level].trim()))
}

/// Whether a line is nothing but formulas and what joins them.
fn is_formula(line: &str) -> bool {
    if !line.starts_with(marker::FORMULA) {
        return false;
    }
    let outside = line.split(marker::FORMULA).step_by(2);
    outside.flat_map(str::chars).filter(|c| c.is_alphabetic()).count() <= "and".len()
}

/// At least so many words (or twice as many characters of a script without spaces) and a closing mark at the end.
pub(super) fn is_sentence(text: &str, min_words: usize) -> bool {
    let end = text.trim_end_matches(['"', '\'', ')', ']', '”', '’', '»', '」', '』', '）']);
    if end.ends_with(['。', '！', '？', '｡', '．']) {
        return text.chars().count() > 2 * min_words;
    }
    if !end.ends_with(['.', '!', '?', '…', '।', '؟', '۔', '։', '።', '។']) {
        return false;
    }
    // Small letters make words; what else there is may be an equation.
    let is_word = |word: &str| word.chars().filter(|c| c.is_alphabetic() && !c.is_uppercase()).nth(1).is_some();
    let (all, real) = text.split(' ').fold((0, 0), |(all, real), word| (all + 1, real + usize::from(is_word(word))));
    all >= min_words && 3 * real >= all
}
