//! Paragraphs of plain text, un-wrapped.

use std::ops::Range;

/// Lines longer than this (in characters) were not wrapped by hand or by a mailer: each is a paragraph.
const MAX_WRAP_WIDTH: usize = 100;
/// Text narrower than this is a list or a poem rather than wrapped prose.
const MIN_WRAP_WIDTH: usize = 40;
/// Lines that one wrap width is taken from: volumes bound into one file were often wrapped differently.
const LINES_PER_WIDTH: usize = 400;
/// Of that many lines one may overshoot the width.
const LINES_PER_OVERSHOOT: usize = 100;

/// Cuts a document into paragraphs, un-wrapping lines.
///
/// Blank lines always separate. A document is *wrapped* if its widest line has 40 to 100 characters and at least half
/// of its line breaks stand where the next word did not fit and no sentence ended; its wrap width is the 99th percentile
/// of the line lengths, for each 400 lines on their own (the widest line, below 100 lines). In a wrapped document a line
/// break is a wrap, and becomes a space, if the next line's first word would not have fit on the line
/// (`length + 1 + word > width`, in characters), if the next line begins with a lower-case letter, or if the line is at
/// least three quarters full and ends in a letter, a digit or a comma. Every other line break ends a paragraph, and so
/// do those around a heading (a short line of capitals) and those between two quotations. In a document that is not
/// wrapped every line is a paragraph.
pub(super) fn paragraphs(body: &str) -> Vec<String> {
    let lines: Vec<Line<'_>> = body.lines().map(Line::new).collect();
    let widths = wrap_widths(&lines);
    let mut paragraphs = Vec::new();
    for range in blocks(&lines) {
        let mut open: Option<String> = None;
        for (i, line) in lines[range.clone()].iter().enumerate() {
            let at = range.start + i;
            let joins =
                i > 0 && widths.as_ref().is_some_and(|w| lines[at - 1].wraps_into(line, w[at / LINES_PER_WIDTH]));
            match &mut open {
                Some(paragraph) if joins => {
                    paragraph.push(' ');
                    paragraph.push_str(line.text);
                }
                _ => paragraphs.extend(open.replace(line.text.to_owned())),
            }
        }
        paragraphs.extend(open);
    }
    paragraphs
}

/// Runs of lines that are not blank.
fn blocks(lines: &[Line<'_>]) -> Vec<Range<usize>> {
    let mut blocks: Vec<Range<usize>> = Vec::new();
    for (i, _) in lines.iter().enumerate().filter(|(_, line)| line.length > 0) {
        match blocks.last_mut() {
            Some(block) if block.end == i => block.end = i + 1,
            _ => blocks.push(i..i + 1),
        }
    }
    blocks
}

/// A trimmed line and its length in characters.
struct Line<'t> {
    text: &'t str,
    length: usize,
    first_word: usize,
}

impl<'t> Line<'t> {
    fn new(line: &'t str) -> Self {
        let text = line.trim();
        let first_word = text.split_whitespace().next().map_or(0, |word| word.chars().count());
        Self { text, length: text.chars().count(), first_word }
    }

    fn fits(&self, next: &Line<'_>, width: usize) -> bool {
        self.length + 1 + next.first_word <= width
    }

    fn wraps_into(&self, next: &Line<'_>, width: usize) -> bool {
        let heading =
            self.is_heading(width) || next.is_heading(width) && (self.ends_sentence() || self.has_small_letters());
        if heading || self.ends_quotation() && next.text.starts_with(['"', '“']) {
            return false;
        }
        !self.fits(next, width)
            || next.text.starts_with(char::is_lowercase)
            || (4 * self.length >= 3 * width && self.text.ends_with(|c: char| c.is_alphanumeric() || c == ','))
    }

    fn ends_sentence(&self) -> bool {
        self.text.trim_end_matches(['"', '”', '’', '\'', ')', '_']).ends_with(['.', '!', '?'])
    }

    /// `said so."`: of two quotations in a row the second is another speaker's.
    fn ends_quotation(&self) -> bool {
        self.text.ends_with(['"', '”']) && self.ends_sentence()
    }

    fn has_small_letters(&self) -> bool {
        self.text.chars().any(char::is_lowercase)
    }

    /// `CHAPTER XVI`: at most half a line, of capitals.
    fn is_heading(&self, width: usize) -> bool {
        2 * self.length <= width
            && !self.has_small_letters()
            && self.text.chars().filter(|c| c.is_uppercase()).count() > 1
    }
}

/// The widths that each [`LINES_PER_WIDTH`] lines of a document were wrapped at, if it was wrapped.
fn wrap_widths(lines: &[Line<'_>]) -> Option<Vec<usize>> {
    let widest = lines.iter().map(|line| line.length).max()?;
    if !(MIN_WRAP_WIDTH..=MAX_WRAP_WIDTH).contains(&widest) {
        return None;
    }
    let all = width(lines);
    let breaks = lines.windows(2).filter(|pair| pair[0].length > 0 && pair[1].length > 0);
    let (mut total, mut full) = (0, 0);
    for pair in breaks {
        total += 1;
        full += usize::from(!pair[0].fits(&pair[1], all) && !pair[0].text.ends_with(['.', '!', '?']));
    }
    // A few lines at the end, or a stretch of verse, say nothing about the width.
    let local = |lines: &[Line<'_>]| Some(width(lines)).filter(|w| lines.len() == LINES_PER_WIDTH && 4 * w >= 3 * all);
    (total > 0 && 2 * full >= total)
        .then(|| lines.chunks(LINES_PER_WIDTH).map(|lines| local(lines).unwrap_or(all)).collect())
}

/// The width of lines, but for the few that overshoot.
fn width(lines: &[Line<'_>]) -> usize {
    let mut lengths: Vec<usize> = lines.iter().map(|line| line.length).filter(|length| *length > 0).collect();
    lengths.sort_unstable();
    lengths.len().checked_sub(1 + lengths.len() / LINES_PER_OVERSHOOT).map_or(0, |at| lengths[at])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WRAPPED: &str = "\
CHAPTER I
By the Author
The quick brown fox jumps over the lazy dog, and then it
goes home to sleep until the next morning, when it will
jump again over the very same dog.
Nobody knows why the dog does not mind, although some
extraordinarily long books have been written about it by
learned men of all ages and countries.";

    #[test]
    fn hard_wrapped_lines_are_joined_and_paragraphs_kept() {
        let found = paragraphs(WRAPPED);
        assert_eq!(found.len(), 4, "{found:#?}");
        assert_eq!(found[..2], ["CHAPTER I", "By the Author"]);
        assert!(found[2].starts_with("The quick") && found[2].ends_with("same dog."));
        assert!(found[3].starts_with("Nobody") && found[3].ends_with("countries."));
    }

    #[test]
    fn lines_that_are_not_wrapped_stay_apart() {
        let long = "A paragraph that is longer than any hand-wrapped line would be, so it is clear that lines are paragraphs here.";
        assert_eq!(paragraphs(&format!("Title\n{long}\nshort")), ["Title", long, "short"]);
        let poem = "Tyger Tyger, burning bright,\nIn the forests of the night;\nWhat immortal hand or eye,";
        assert_eq!(paragraphs(poem).len(), 3);
        assert_eq!(paragraphs("A title of some length\nText"), ["A title of some length", "Text"]);
        let sentences =
            "The first sentence has some words in it.\nThis is short.\nAnother one is rather longer than these.\nEnd.";
        assert_eq!(paragraphs(sentences).len(), 4);
    }

    #[test]
    fn headings_and_new_speakers_begin_paragraphs_after_full_lines() {
        let text = "\
The evening went by as all of the evenings before it had gone
by, and nobody in the house remembered afterwards what had been
said or by whom, save for one.
CHAPTER XVI
The morning was fair, and nobody remembered what had been said
of the weather on the day before, or by whom, nor did anybody
ask. \"It was so fair.\"
\"Then let us go out and see whether it still is so now,\" he
said, and took his hat and his stick from the chair beside the
door.
\"And if it is not, there is the library, where nobody ever goes
before noon, and a fire.\"";
        let found = paragraphs(text);
        assert_eq!(found.len(), 5, "{found:#?}");
        assert_eq!(found[1], "CHAPTER XVI");
        assert!(found[2].ends_with("\"It was so fair.\"") && found[3].starts_with("\"Then let us"));
        assert!(found[4].ends_with("and a fire.\""));
    }

    #[test]
    fn volumes_of_different_widths_are_unwrapped_each_at_its_own() {
        let full = |width: usize| "word ".repeat(30)[..width - 1].trim().to_owned() + "s";
        // At 71 the next word does not fit after this sentence, at 72 it would: only the width tells that it goes on.
        let narrow = [full(71), full(71), format!("{}.", full(65)), format!("Words {}", &full(65))];
        let lines = [vec![full(72); 2 * LINES_PER_WIDTH], vec![narrow; LINES_PER_WIDTH / 2].concat()].concat();
        assert!(lines.iter().all(|line| (66..=72).contains(&line.len())));
        let found = paragraphs(&lines.join("\n"));
        assert_eq!(found.len(), 1);
    }

    proptest! {
        #[test]
        fn unwrapping_keeps_every_word(lines in prop::collection::vec("[A-Za-z. ]{0,80}", 0..20)) {
            let text = lines.join("\n");
            let joined = paragraphs(&text).join(" ");
            prop_assert!(text.split_whitespace().eq(joined.split_whitespace()));
        }
    }
}
