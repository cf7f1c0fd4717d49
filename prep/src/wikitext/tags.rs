//! HTML and extension tags.

/// Longest tag in bytes; attributes are seldom longer than a line.
const MAX_TAG_BYTES: usize = 2_000;

/// Extension tags whose content is no prose, and `<includeonly>`, which a page does not show.
const DROPPED: &[&str] = &[
    "ref",
    "references",
    "gallery",
    "timeline",
    "score",
    "pre",
    "graph",
    "imagemap",
    "inputbox",
    "hiero",
    "mapframe",
    "maplink",
    "templatedata",
    "templatestyles",
    "includeonly",
    "style",
    "script",
    "indicator",
    "phonos",
    "categorytree",
    "charinsert",
    "rss",
    "section",
    "chart",
    "data",
    "listing",
];
/// Tags that end a paragraph.
const BLOCK: &[&str] = &[
    "p",
    "div",
    "blockquote",
    "center",
    "poem",
    "ul",
    "ol",
    "dl",
    "dt",
    "dd",
    "hr",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "noinclude",
    "onlyinclude",
];
/// Tags that leave their content where it is.
const INLINE: &[&str] = &[
    "span",
    "i",
    "b",
    "em",
    "strong",
    "small",
    "big",
    "sub",
    "u",
    "s",
    "strike",
    "del",
    "ins",
    "font",
    "tt",
    "code",
    "kbd",
    "samp",
    "var",
    "cite",
    "q",
    "abbr",
    "dfn",
    "bdi",
    "bdo",
    "mark",
    "ruby",
    "rb",
    "rp",
    "rt",
    "a",
    "time",
    "wbr",
    "nobr",
    "acronym",
    "link",
    "meta",
    "translate",
    "tvar",
    "languages",
    "img",
    "label",
    "safesubst",
];

/// What becomes of a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Goes with its content; the name, to find the end.
    Dropped(&'static str),
    /// Its content is no markup.
    Nowiki,
    /// A formula; the name.
    Math(&'static str),
    /// Source code; the name. It goes, unless it stands in a line.
    Code(&'static str),
    Superscript,
    Block,
    Inline,
    /// A line break within a paragraph.
    Break,
    ListItem,
    Table,
    Cell,
    /// Rows, heads and captions of a table, which goes as a whole.
    TablePart,
}

impl Kind {
    fn of(name: &str) -> Option<Self> {
        if let Some(known) = DROPPED.iter().find(|known| **known == name) {
            return Some(Self::Dropped(known));
        }
        Some(match name {
            "nowiki" => Self::Nowiki,
            "math" => Self::Math("math"),
            "chem" => Self::Math("chem"),
            "ce" => Self::Math("ce"),
            "syntaxhighlight" => Self::Code("syntaxhighlight"),
            "source" => Self::Code("source"),
            "sup" => Self::Superscript,
            "br" => Self::Break,
            "li" => Self::ListItem,
            "table" => Self::Table,
            "td" => Self::Cell,
            "tr" | "th" | "caption" | "thead" | "tbody" | "tfoot" | "col" | "colgroup" => Self::TablePart,
            name if BLOCK.contains(&name) => Self::Block,
            name if INLINE.contains(&name) => Self::Inline,
            _ => return None,
        })
    }

    /// Whether the content is taken as a whole, without looking for markup in it.
    pub(super) fn is_opaque(self) -> bool {
        matches!(self, Self::Dropped(_) | Self::Nowiki | Self::Math(_) | Self::Code(_))
    }

    fn name(self) -> &'static str {
        match self {
            Self::Dropped(name) | Self::Math(name) | Self::Code(name) => name,
            _ => "nowiki",
        }
    }
}

/// A tag that MediaWiki knows.
pub(super) struct Tag {
    pub(super) kind: Kind,
    pub(super) closing: bool,
    pub(super) self_closing: bool,
    /// Source code that stands in a line.
    pub(super) inline: bool,
    /// A formula of chemistry.
    pub(super) chemical: bool,
    /// Length with both angles.
    pub(super) bytes: usize,
}

impl Tag {
    /// Reads the tag that `text` begins with.
    pub(super) fn read(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let closing = bytes.get(1) == Some(&b'/');
        let start = 1 + usize::from(closing);
        let length = bytes[start..].iter().take(24).take_while(|b| b.is_ascii_alphanumeric()).count();
        let kind = Kind::of(&text[start..start + length].to_ascii_lowercase())?;
        let window = &bytes[start + length..bytes.len().min(MAX_TAG_BYTES)];
        let end = window.iter().position(|b| matches!(b, b'>' | b'<'))?;
        let boundary = window[0].is_ascii_whitespace() || matches!(window[0], b'>' | b'/' | b'"');
        if window[end] != b'>' || !boundary {
            return None;
        }
        let self_closing = end > 0 && window[end - 1] == b'/';
        let attributes = &window[..end];
        let has = |word: &[u8]| memchr::memmem::find(attributes, word).is_some();
        let inline = matches!(kind, Kind::Code(_)) && (has(b" inline") || has(b"enclose"));
        let chemical = matches!(kind, Kind::Math("chem" | "ce")) || kind == Kind::Math("math") && has(b"chem");
        Some(Self { kind, closing, self_closing, inline, chemical, bytes: start + length + end + 1 })
    }

    /// What stands in the place of a tag that is not opaque.
    pub(super) fn replacement(&self) -> &'static str {
        match (self.kind, self.closing) {
            (Kind::Block, _) => "\n\n",
            (Kind::Break, _) => " ",
            (Kind::ListItem, false) => "\n* ",
            (Kind::Table, false) => "\n{|\n",
            (Kind::Table, true) => "\n|}\n",
            (Kind::Cell, false) => "\n|",
            (Kind::ListItem | Kind::TablePart | Kind::Cell, _) => "\n",
            (_, _) => "",
        }
    }
}

/// The content of an opaque tag.
pub(super) struct Content {
    /// Where the closing tag begins.
    pub(super) end: usize,
    /// Where it ends.
    pub(super) after: usize,
}

/// Finds closing tags, and remembers in vain searches so that many unclosed tags do not cost many searches.
#[derive(Default)]
pub(super) struct Closers {
    /// Tag name and the offset up to which no closing tag follows.
    missing: Vec<(&'static str, usize)>,
}

impl Closers {
    /// The content of `tag`, which begins at `from`; `None` if nothing closes it.
    ///
    /// A reference does not reach over a heading, nor over a blank line into the next reference: then it was left open,
    /// and the text after it is prose.
    pub(super) fn find(&mut self, source: &str, from: usize, tag: &Tag) -> Option<Content> {
        let name = tag.kind.name();
        if self.missing.iter().any(|(missing, until)| *missing == name && from < *until) {
            return None;
        }
        let bytes = source.as_bytes();
        let mut at = from;
        let mut blank_line = false;
        while let Some(next) = memchr::memchr2(b'<', b'\n', &bytes[at..]).map(|n| at + n) {
            let rest = &bytes[next..];
            if rest[0] == b'\n' {
                blank_line |= rest.starts_with(b"\n\n");
                if name == "ref" && rest.starts_with(b"\n==") {
                    return self.give_up(name, next);
                }
            } else if let Some(bytes) = closing_tag(rest, name) {
                return Some(Content { end: next, after: next + bytes });
            } else if name == "ref" && blank_line && rest.len() > 4 && rest[1..4].eq_ignore_ascii_case(b"ref") {
                return None;
            }
            at = next + 1;
        }
        self.give_up(name, bytes.len())
    }

    fn give_up(&mut self, name: &'static str, until: usize) -> Option<Content> {
        self.missing.retain(|(missing, _)| *missing != name);
        self.missing.push((name, until));
        None
    }
}

/// Length of the closing tag `name` at the start of `bytes`.
fn closing_tag(bytes: &[u8], name: &str) -> Option<usize> {
    let rest = bytes.strip_prefix(b"</")?;
    if rest.len() <= name.len() || !rest[..name.len()].eq_ignore_ascii_case(name.as_bytes()) {
        return None;
    }
    let spaces = rest[name.len()..].iter().take_while(|b| b.is_ascii_whitespace()).count();
    (rest.get(name.len() + spaces) == Some(&b'>')).then_some(2 + name.len() + spaces + 1)
}
