//! The second pass: lines to paragraphs.

use super::{inline, marker};

/// Sections that hold no prose, by heading, in the languages of the large wikis.
const DROPPED_SECTIONS: &[&str] = &[
    "references",
    "reference",
    "external links",
    "external link",
    "see also",
    "further reading",
    "bibliography",
    "notes",
    "note",
    "footnotes",
    "sources",
    "citations",
    "notes and references",
    "references and notes",
    "references and sources",
    "notes and citations",
    "footnotes and references",
    "works cited",
    "literature cited",
    "cited sources",
    "cited works",
    "selected bibliography",
    "additional reading",
    "related pages",
    "other websites",
    "gallery",
    "image gallery",
    "navigation",
    "explanatory notes",
    "general references",
    "primary sources",
    "secondary sources",
    "bibliography and further reading",
    "sources and further reading",
    "notes and sources",
    "references and further reading",
    "citations and references",
    "further reading and external links",
    "external references",
    "web links",
    "links",
    "einzelnachweise",
    "weblinks",
    "siehe auch",
    "literatur",
    "quellen",
    "anmerkungen",
    "belege",
    "références",
    "liens externes",
    "voir aussi",
    "bibliographie",
    "notes et références",
    "annexes",
    "articles connexes",
    "referencias",
    "enlaces externos",
    "véase también",
    "bibliografía",
    "notas",
    "fuentes",
    "referências",
    "ligações externas",
    "ver também",
    "bibliografia",
    "collegamenti esterni",
    "altri progetti",
    "voci correlate",
    "note e riferimenti",
    "externe links",
    "zie ook",
    "bronnen",
    "referenties",
    "przypisy",
    "linki zewnętrzne",
    "zobacz też",
    "примечания",
    "ссылки",
    "см. также",
    "литература",
    "脚注",
    "外部リンク",
    "関連項目",
    "参考文献",
    "外部链接",
    "参考资料",
    "参见",
];
/// A list item or indented line with fewer words than this is no sentence.
const MIN_ITEM_WORDS: usize = 4;

/// Paragraphs of a page whose nesting is resolved.
pub(super) fn paragraphs(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.split('\n').map(str::trim).collect();
    let tables = Tables::find(&lines);
    let mut blocks = Blocks::default();
    for (line, cover) in lines.iter().zip(&tables.cover) {
        blocks.line(line, *cover);
    }
    blocks.end_paragraph();
    blocks.done
}

/// How tables cover a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cover {
    None,
    /// Inside a table: dropped.
    Table,
    /// After the beginning of a table that never ends: only its markup is dropped.
    Unclosed,
    /// The end of a table; what follows the mark is text.
    End,
}

/// Which lines belong to tables.
struct Tables {
    cover: Vec<Cover>,
}

impl Tables {
    /// Matches `{|` and `|}` like brackets, in one pass.
    fn find(lines: &[&str]) -> Self {
        let mut cover = vec![Cover::None; lines.len()];
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
                cover[i] = Cover::End;
            }
        }
        let unclosed_from = open.first().copied().unwrap_or(lines.len());
        let mut depth = 0;
        for (i, cover) in cover.iter_mut().enumerate() {
            depth += depth_change[i];
            match depth {
                0 if *cover == Cover::None && i >= unclosed_from => *cover = Cover::Unclosed,
                0 => {}
                _ => *cover = Cover::Table,
            }
        }
        Self { cover }
    }
}

/// The paragraphs so far and the one being written.
#[derive(Default)]
struct Blocks {
    done: Vec<String>,
    open: String,
    /// Level of the heading whose section is being dropped.
    dropping: Option<usize>,
}

impl Blocks {
    fn line(&mut self, line: &str, cover: Cover) {
        let line = match cover {
            Cover::Table => return self.end_paragraph(),
            Cover::End => line[2..].trim_start(),
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
            None | Some('|' | marker::BRACES_PIPE) => self.end_paragraph(),
            Some('{') if line.starts_with("{|") => self.end_paragraph(),
            Some('*' | '#' | ':' | ';') => self.item(line.trim_start_matches(['*', '#', ':', ';', ' '])),
            Some(_) => inline::append(&mut self.open, line),
        }
    }

    /// Headings go; the sections of some go with them, up to the next heading of the same or a higher level.
    fn heading(&mut self, level: usize, title: &str) {
        self.end_paragraph();
        if self.dropping.is_some_and(|dropping| level > dropping) {
            return;
        }
        let mut plain = String::new();
        inline::append(&mut plain, title);
        let plain = plain.trim().trim_end_matches(':').to_lowercase();
        self.dropping = DROPPED_SECTIONS.contains(&plain.as_str()).then_some(level);
    }

    /// A list item or indented line stays, as a paragraph, if it reads as a sentence.
    fn item(&mut self, text: &str) {
        self.end_paragraph();
        inline::append(&mut self.open, text);
        if is_sentence(self.open.trim()) {
            self.end_paragraph();
        }
        self.open.clear();
    }

    fn end_paragraph(&mut self) {
        let text = self.open.trim();
        if text.chars().any(char::is_alphabetic) {
            self.done.push(text.to_owned());
        }
        self.open.clear();
    }
}

/// `== Title ==`: its level and title.
fn heading(line: &str) -> Option<(usize, &str)> {
    let before = line.bytes().take_while(|b| *b == b'=').count();
    let after = line.bytes().rev().take_while(|b| *b == b'=').count();
    let level = before.min(after);
    (level > 0 && level * 2 < line.len()).then(|| (level, line[level..line.len() - level].trim()))
}

/// At least four words (or as many characters of a script without spaces) and a closing mark at the end.
fn is_sentence(text: &str) -> bool {
    let end = text.trim_end_matches(['"', '\'', ')', ']', '”', '’', '»', '」', '』', '）']);
    if end.ends_with(['。', '！', '？']) {
        return text.chars().count() > 2 * MIN_ITEM_WORDS;
    }
    end.ends_with(['.', '!', '?', '…']) && text.split(' ').nth(MIN_ITEM_WORDS - 1).is_some()
}
