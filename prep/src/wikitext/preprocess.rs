//! The first pass: everything that nests.

use std::collections::VecDeque;
use std::ops::Range;

use super::{Site, links, marker, math, scripts, tags, templates, variants};

/// Brackets that may be open at once. Beyond it the outermost is taken for unclosed; this also bounds the work on
/// nesting without end.
const MAX_DEPTH: usize = 100;

/// Resolves comments, tags, templates and links; what nothing closes stays behind as a [`marker`].
pub(super) fn preprocess(site: &Site, title: &str, source: &str) -> String {
    let mut scanner = Scanner {
        site,
        title,
        source,
        out: String::with_capacity(source.len()),
        open: VecDeque::new(),
        pipes: Vec::new(),
        closers: tags::Closers::default(),
    };
    scanner.run();
    scanner.out
}

struct Scanner<'s> {
    site: &'s Site,
    title: &'s str,
    source: &'s str,
    out: String,
    open: VecDeque<Open>,
    /// Offsets in `out` just after each pipe of the open brackets, innermost last.
    pipes: Vec<usize>,
    closers: tags::Closers,
}

/// An open bracket.
struct Open {
    kind: Bracket,
    /// Offset in `out` of its marker (one byte).
    start: usize,
    /// Where its pipes begin in `pipes`.
    first_pipe: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Bracket {
    Link,
    /// A run of this many braces.
    Braces(usize),
    /// `-{`, the variants of a word in scripts or regions.
    Variant,
}

/// What a byte is to this pass; everything else is copied.
fn is_special(byte: u8) -> bool {
    matches!(byte, b'{' | b'}' | b'[' | b']' | b'|' | b'<') || byte < 0x20 && byte != b'\t'
}

impl Scanner<'_> {
    fn run(&mut self) {
        let bytes = self.source.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            let next = bytes[at..].iter().position(|b| is_special(*b)).map_or(bytes.len(), |n| at + n);
            self.out.push_str(&self.source[at..next]);
            if next == bytes.len() {
                break;
            }
            at = next + self.special(next);
        }
    }

    /// Handles the special byte at `at`; returns how many bytes that took.
    fn special(&mut self, at: usize) -> usize {
        let bytes = self.source.as_bytes();
        match bytes[at] {
            b'<' => self.angle(at),
            b'{' if at > 0 && bytes[at - 1] == b'-' && run(bytes, at) == 1 => self.open_variant(),
            b'{' => self.open_braces(run(bytes, at)),
            b'}' if bytes[at..].starts_with(b"}-") && self.top() == Some(Bracket::Variant) => self.close_variant(),
            // Closing takes two or three at a time: counting a long run anew each time would be quadratic.
            b'}' => self.close_braces(at, run(&bytes[..bytes.len().min(at + 64)], at)),
            // Of three brackets the first is one of the text.
            b'[' if run(&bytes[..bytes.len().min(at + 4)], at) & 1 == 0 => {
                self.push_open(Bracket::Link, marker::LINK);
                2
            }
            b']' if bytes[at..].starts_with(b"]]") => self.close_link(),
            b'|' => self.pipe(),
            b'\n' => self.line_break(at),
            byte @ (b'[' | b']') => {
                self.out.push(char::from(byte));
                1
            }
            // Control characters, among them our own markers.
            _ => 1,
        }
    }

    fn top(&self) -> Option<Bracket> {
        self.open.back().map(|open| open.kind)
    }

    fn in_template(&self) -> bool {
        self.open.iter().any(|open| matches!(open.kind, Bracket::Braces(_)))
    }

    fn push_open(&mut self, kind: Bracket, marker: char) {
        if self.open.len() == MAX_DEPTH {
            self.open.pop_front();
        }
        self.open.push_back(Open { kind, start: self.out.len(), first_pipe: self.pipes.len() });
        self.out.push(marker);
    }

    fn open_braces(&mut self, count: usize) -> usize {
        match count {
            1 => self.out.push('{'),
            _ => self.push_open(Bracket::Braces(count), marker::BRACES),
        }
        count
    }

    /// The hyphen is in the output already.
    fn open_variant(&mut self) -> usize {
        if self.out.ends_with('-') {
            self.out.pop();
            self.push_open(Bracket::Variant, marker::VARIANT);
        } else {
            self.out.push('{');
        }
        1
    }

    fn close_variant(&mut self) -> usize {
        if let Some(open) = self.open.pop_back() {
            let text = variants::shown(&self.parts(&open));
            self.pipes.truncate(open.first_pipe);
            self.out.truncate(open.start);
            self.out.push_str(&text);
        }
        2
    }

    fn pipe(&mut self) -> usize {
        match self.top() {
            None => self.out.push('|'),
            Some(kind) => {
                self.out.push(if kind == Bracket::Link { marker::LINK_PIPE } else { marker::BRACES_PIPE });
                self.pipes.push(self.out.len());
            }
        }
        1
    }

    /// A blank line or a heading ends every link that is still open.
    fn line_break(&mut self, at: usize) -> usize {
        let rest = self.source.as_bytes()[at + 1..].iter().find(|b| !matches!(b, b' ' | b'\t' | b'\r'));
        if matches!(rest, Some(b'\n' | b'=')) {
            self.give_up_links();
        }
        self.out.push('\n');
        1
    }

    fn give_up_links(&mut self) {
        while matches!(self.top(), Some(Bracket::Link | Bracket::Variant)) {
            self.pop();
        }
    }

    fn pop(&mut self) -> Option<Open> {
        let open = self.open.pop_back()?;
        self.pipes.truncate(open.first_pipe);
        Some(open)
    }

    /// The texts between the pipes of the innermost bracket.
    fn parts(&self, open: &Open) -> Vec<&str> {
        let pipes = &self.pipes[open.first_pipe..];
        let starts = std::iter::once(open.start + 1).chain(pipes.iter().copied());
        let ends = pipes.iter().map(|pipe| pipe - 1).chain(std::iter::once(self.out.len()));
        starts.zip(ends).map(|(start, end)| &self.out[start..end]).collect()
    }

    fn close_link(&mut self) -> usize {
        while self.top() == Some(Bracket::Variant) {
            self.pop();
        }
        if self.top() == Some(Bracket::Link)
            && let Some(open) = self.open.pop_back()
        {
            let text = links::resolve(self.site, &self.parts(&open));
            self.pipes.truncate(open.first_pipe);
            self.out.truncate(open.start);
            self.out.push_str(&text);
        }
        2
    }

    /// Closes a template or parameter, as MediaWiki does from the inside out; stray braces go.
    fn close_braces(&mut self, at: usize, count: usize) -> usize {
        if count == 1 {
            self.out.push('}');
            return 1;
        }
        if !self.in_template() {
            // `|}}`: the end of a table, and a stray brace.
            if at > 0 && self.source.as_bytes()[at - 1] == b'|' {
                self.out.push('}');
            }
            return count;
        }
        self.give_up_links();
        let Some(Open { kind: Bracket::Braces(opened), start, first_pipe }) = self.open.pop_back() else {
            return count;
        };
        let matched = opened.min(count).min(3);
        let open = Open { kind: Bracket::Braces(opened), start, first_pipe };
        let parts = self.parts(&open);
        let text = match matched {
            3 => parts.get(1).map(|default| default.to_string()).unwrap_or_default(),
            _ => templates::render(self.site, self.title, &parts, &self.out[..start]),
        };
        self.pipes.truncate(first_pipe);
        self.out.truncate(start);
        match opened - matched {
            0 => {}
            1 => self.out.push('{'),
            left => {
                self.open.push_back(Open { kind: Bracket::Braces(left), start, first_pipe });
                self.out.push(marker::BRACES);
            }
        }
        self.out.push_str(&text);
        matched
    }

    /// A comment, a tag, or just a less-than sign.
    fn angle(&mut self, at: usize) -> usize {
        let rest = &self.source[at..];
        if rest.starts_with("<!--") {
            return self.comment(rest);
        }
        let Some(tag) = tags::Tag::read(rest) else {
            self.out.push('<');
            return 1;
        };
        let after = at + tag.bytes;
        if tag.kind.is_opaque() && !tag.closing && !tag.self_closing {
            // Without an end only the tag goes.
            let Some(content) = self.closers.find(self.source, after, &tag) else { return tag.bytes };
            self.opaque(&tag, after..content.end);
            return content.after - at;
        }
        if tag.kind == tags::Kind::Superscript
            && !tag.closing
            && let Some((text, bytes)) = scripts::exponent(&self.source[after..])
        {
            self.out.push_str(&text);
            return after + bytes - at;
        }
        self.out.push_str(tag.replacement());
        tag.bytes
    }

    /// What a reader sees of a tag whose content is no wikitext.
    fn opaque(&mut self, tag: &tags::Tag, content: Range<usize>) {
        let content = &self.source[content];
        match tag.kind {
            tags::Kind::Nowiki => marker::protect(content, &mut self.out),
            tags::Kind::Code(_) if tag.inline => marker::protect(content, &mut self.out),
            tags::Kind::Math(_) if tag.chemical => self.out.push_str(&math::chemical(content)),
            tags::Kind::Math(_) => self.out.push_str(&math::inline(content)),
            _ => {}
        }
    }

    /// A comment on a line of its own takes the line with it. Without an end it hides the rest of the page.
    fn comment(&mut self, rest: &str) -> usize {
        let Some(end) = memchr::memmem::find(rest.as_bytes(), b"-->").map(|end| end + 3) else { return rest.len() };
        let before = self.out.trim_end_matches([' ', '\t']);
        if before.is_empty() || before.ends_with('\n') {
            let blank = rest[end..].bytes().take_while(|b| matches!(b, b' ' | b'\t')).count();
            if rest.as_bytes().get(end + blank) == Some(&b'\n') {
                return end + blank + 1;
            }
        }
        end
    }
}

/// How many times the byte at `at` is repeated.
fn run(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().take_while(|b| **b == bytes[at]).count()
}
