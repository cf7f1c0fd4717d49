//! Prose from MediaWiki markup.
//!
//! An extractor of our own that reads a page once, front to back, and never recurses:
//!
//! 1. `preprocess` resolves what nests: comments, HTML and extension tags, templates, parameters and double-bracket
//!    links, with one stack of open brackets over one output buffer (the approach of MediaWiki's own preprocessor).
//!    Templates that stand for words keep their words (`templates`), all others go.
//! 2. `blocks` walks the lines: tables, headings, unwanted sections, lists, paragraphs.
//! 3. `inline` cleans each line: quotes, external links, entities, and the holes that dropped markup leaves.
//!
//! What is kept: the prose of all sections but reference-like ones, as one string a paragraph; list items and indented
//! lines that read as a sentence (at least four words and a closing mark). What goes: headings, tables, infoboxes,
//! references, files with their captions, categories, language links, formulas, source code blocks, galleries, bare
//! addresses. Broken markup loses its brackets and keeps its words. Time is linear in the length of the page.

mod blocks;
mod inline;
mod links;
mod math;
mod page;
mod preprocess;
mod scripts;
mod sections;
mod tables;
mod tags;
mod templates;
mod variants;

use std::collections::HashMap;

pub use page::{is_disambiguation, is_redirect};

/// Names that begin links to files on some wiki; what is known without the dump's own list.
const FILE_NAMES: &str = "file image media datei bild fichier archivo imagen ficheiro imagem immagine bestand afbeelding \
    plik grafika fil файл изображение ファイル 画像 文件 档案 檔案 图像 圖像 파일 그림 ملف קובץ";
/// The same for categories.
const CATEGORY_NAMES: &str = "category kategorie catégorie categoría categoria categorie kategoria kategori категория \
    カテゴリ 分类 分類 분류 تصنيف קטגוריה";

/// What a link's prefix means on a wiki.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Namespace {
    File,
    Category,
    Other,
}

/// The wiki a page comes from: the names of its namespaces.
#[derive(Clone, Debug)]
pub struct Site {
    names: HashMap<String, Namespace>,
    english: bool,
}

impl Default for Site {
    fn default() -> Self {
        Self::new([])
    }
}

impl Site {
    /// A site with these namespaces: local name and MediaWiki's number (6 files, 14 categories).
    ///
    /// The English names and the usual ones of large wikis are always known.
    pub fn new<'n>(namespaces: impl IntoIterator<Item = (&'n str, i64)>) -> Self {
        let mut names = HashMap::new();
        let mut english = true;
        for (name, number) in namespaces.into_iter().filter(|(name, _)| !name.is_empty()) {
            // The talk pages of every other wiki have a name of its language.
            english &= number != 1 || name == "Talk";
            let namespace = match number {
                -2 | 6 => Namespace::File,
                14 => Namespace::Category,
                _ => Namespace::Other,
            };
            names.insert(name.to_lowercase(), namespace);
        }
        for (list, namespace) in [(FILE_NAMES, Namespace::File), (CATEGORY_NAMES, Namespace::Category)] {
            names.extend(list.split_whitespace().map(|name| (name.to_owned(), namespace)));
        }
        Self { names, english }
    }

    /// Whether the wiki is in English: templates add English words to a text only there.
    fn is_english(&self) -> bool {
        self.english
    }

    /// The namespace a link prefix names, if any.
    fn namespace(&self, prefix: &str) -> Option<Namespace> {
        self.names.get(&prefix.trim().replace('_', " ").to_lowercase()).copied()
    }
}

/// The prose of the page `title`, one string a paragraph: trimmed, single spaces, no line breaks, no markup.
///
/// Never fails: any text is wikitext.
pub fn extract(site: &Site, title: &str, wikitext: &str) -> Vec<String> {
    // What no wiki allows as a title (MediaWiki: 255 bytes) is none: a page may repeat it any number of times.
    let is_title = title.len() <= 255 && !title.contains(char::is_control);
    blocks::paragraphs(&preprocess::preprocess(site, if is_title { title } else { "" }, wikitext))
}

/// Marks that the first pass leaves for the later ones; the first pass drops these characters from the page.
mod marker {
    /// A `[[` that nothing closed.
    pub(super) const LINK: char = '\u{1}';
    /// A `|` inside such a link.
    pub(super) const LINK_PIPE: char = '\u{2}';
    /// A `{{` that nothing closed.
    pub(super) const BRACES: char = '\u{3}';
    /// A `|` inside such braces.
    pub(super) const BRACES_PIPE: char = '\u{4}';
    /// A value that is not known; the round brackets around it go.
    pub(super) const HOLE: char = '\u{5}';
    /// Either end of a formula.
    pub(super) const FORMULA: char = '\u{6}';
    /// A `-{` that nothing closed.
    pub(super) const VARIANT: char = '\u{7}';
    /// ASCII that must not be read as markup (`<nowiki>`, `{{!}}`) is moved up to this private-use block.
    const LITERAL: u32 = 0xe000;

    /// Protects the ASCII punctuation of `text` from being read as markup; entities stay readable.
    pub(super) fn protect(text: &str, out: &mut String) {
        let mut before = ' ';
        for c in text.chars() {
            let entity = matches!((before, c), (_, '&' | ';') | ('&', '#'));
            out.push(match c.is_ascii_punctuation() && !entity {
                true => char::from_u32(LITERAL + u32::from(c)).unwrap_or(c),
                false => c,
            });
            before = c;
        }
    }

    /// Takes the protection away.
    pub(super) fn unprotect(c: char) -> char {
        match u32::from(c).checked_sub(LITERAL) {
            Some(ascii @ 0x21..=0x7e) => char::from_u32(ascii).unwrap_or(c),
            _ => c,
        }
    }
}

#[cfg(test)]
mod tests;
