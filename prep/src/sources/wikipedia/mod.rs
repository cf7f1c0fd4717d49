//! MediaWiki XML exports: a stream of pages.
//!
//! Source of the format: <https://www.mediawiki.org/xml/export-0.11.xsd>.

use std::collections::HashMap;
use std::sync::Arc;

use quick_xml::Reader;
use quick_xml::events::{BytesRef, BytesStart, Event};

use super::compression::{Stream, TooLarge};
use super::{Form, MAX_DOCUMENT_BYTES, RawDocument, Skipped};
use crate::{Error, Result, wikitext};

/// Exports are six elements deep; without a limit each level would take memory.
const MAX_DEPTH: usize = 64;

/// Pages of the main namespace that are documents, in the order of the dump.
///
/// Left out, and counted: other namespaces, redirects, disambiguation pages, pages whose content model is not wikitext,
/// empty pages. Of a page with several revisions the last one counts.
pub(super) struct Pages {
    reader: Reader<Stream>,
    buffer: Vec<u8>,
    skipped: Arc<Skipped>,
    site: Arc<wikitext::Site>,
    /// Namespace names and their keys from the dump's head, for old exports whose pages have no `<ns>`.
    namespaces: HashMap<String, i64>,
    /// Names of the open elements, outermost first.
    open: Vec<Element>,
    page: Page,
    seen_root: bool,
}

/// The elements that matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Element {
    Root,
    Namespace,
    Page,
    Title,
    Ns,
    Model,
    Text,
    Other,
}

/// What is known of the page being read.
#[derive(Default)]
struct Page {
    title: String,
    namespace: String,
    model: String,
    text: String,
    redirect: bool,
}

impl Pages {
    pub(super) fn new(stream: Stream, skipped: Arc<Skipped>) -> Self {
        let mut reader = Reader::from_reader(stream);
        reader.config_mut().expand_empty_elements = true;
        Self {
            reader,
            buffer: Vec::new(),
            skipped,
            site: Arc::new(wikitext::Site::default()),
            namespaces: HashMap::new(),
            open: Vec::new(),
            page: Page::default(),
            seen_root: false,
        }
    }

    fn next_page(&mut self) -> Result<Option<RawDocument>> {
        // Taken out so that events can borrow it while `self` changes.
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = loop {
            buffer.clear();
            self.reader.get_mut().allow(MAX_DOCUMENT_BYTES);
            let event = match self.reader.read_event_into(&mut buffer) {
                Ok(event) => event,
                Err(error) => break Err(self.explain(error)),
            };
            match self.step(event) {
                Ok(Step::More) => {}
                Ok(Step::Page(page)) => break Ok(Some(page)),
                Ok(Step::End) => break Ok(None),
                Err(error) => break Err(error),
            }
        };
        self.buffer = buffer;
        // What damage made of compressed data may pass for bad XML.
        result.map_err(|error| self.reader.get_mut().blame(error))
    }

    fn step(&mut self, event: Event<'_>) -> Result<Step> {
        match event {
            Event::Start(start) => self.start(&start)?,
            Event::End(_) => return self.end(),
            Event::Text(text) => self.text(&text)?,
            Event::CData(data) => self.text(&data)?,
            Event::GeneralRef(entity) => self.entity(&entity)?,
            Event::Eof => return self.eof(),
            _ => {}
        }
        Ok(Step::More)
    }

    fn start(&mut self, start: &BytesStart<'_>) -> Result<()> {
        let element = match (self.open.last(), start.local_name().as_ref()) {
            (None, "mediawiki") => Element::Root,
            (None, other) => {
                let found = other.to_owned();
                return Err(self.invalid(format!("expected a MediaWiki export (<mediawiki>), found <{found}>")));
            }
            (Some(Element::Root), "page") => Element::Page,
            (Some(Element::Page), "title") => Element::Title,
            (Some(Element::Page), "ns") => Element::Ns,
            (_, "namespace") => Element::Namespace,
            (_, "model") => Element::Model,
            (_, "text") => Element::Text,
            _ => Element::Other,
        };
        match element {
            Element::Root => self.seen_root = true,
            Element::Page => self.page = Page::default(),
            Element::Namespace => self.page.namespace = attribute(start, "key").unwrap_or_default(),
            Element::Text => self.page.text.clear(),
            Element::Model => self.page.model.clear(),
            Element::Other if start.local_name().as_ref() == "redirect" => self.page.redirect = true,
            _ => {}
        }
        if self.open.len() == MAX_DEPTH {
            return Err(self.invalid(format!("expected elements at most {MAX_DEPTH} deep, found deeper ones")));
        }
        self.open.push(element);
        Ok(())
    }

    fn end(&mut self) -> Result<Step> {
        match self.open.pop() {
            Some(Element::Namespace) => {
                let name = std::mem::take(&mut self.page.title);
                if let Ok(key) = self.page.namespace.parse() {
                    self.namespaces.insert(name, key);
                }
            }
            Some(Element::Page) => {
                let page = std::mem::take(&mut self.page);
                return Ok(self.judge(page).map_or(Step::More, Step::Page));
            }
            Some(Element::Other) if self.open == [Element::Root] && !self.namespaces.is_empty() => {
                self.site = Arc::new(wikitext::Site::new(self.namespaces.iter().map(|(n, k)| (n.as_str(), *k))));
            }
            _ => {}
        }
        Ok(Step::More)
    }

    /// The field that character data inside the innermost element belongs to.
    fn field(&mut self) -> Option<&mut String> {
        match self.open.last()? {
            Element::Title | Element::Namespace => Some(&mut self.page.title),
            Element::Ns => Some(&mut self.page.namespace),
            Element::Model => Some(&mut self.page.model),
            Element::Text => Some(&mut self.page.text),
            Element::Root | Element::Page | Element::Other => None,
        }
    }

    fn text(&mut self, text: &str) -> Result<()> {
        if self.open.is_empty() && !text.chars().all(|c| c.is_ascii_whitespace() || c == '\u{feff}') {
            return Err(self.invalid("expected a MediaWiki export (<mediawiki>), found text".into()));
        }
        self.push(text)
    }

    fn push(&mut self, text: &str) -> Result<()> {
        let Some(field) = self.field() else { return Ok(()) };
        // Line ends are \n by the XML specification, whatever the file has.
        match text.contains('\r') {
            true => field.push_str(&text.replace("\r\n", "\n").replace('\r', "\n")),
            false => field.push_str(text),
        }
        if field.len() > MAX_DOCUMENT_BYTES {
            return Err(self.too_large());
        }
        Ok(())
    }

    fn entity(&mut self, entity: &BytesRef<'_>) -> Result<()> {
        let resolved = match entity.resolve_char_ref() {
            Ok(Some(character)) => Some(character),
            Ok(None) => match entity.as_ref() {
                "lt" => Some('<'),
                "gt" => Some('>'),
                "amp" => Some('&'),
                "quot" => Some('"'),
                "apos" => Some('\''),
                _ => None,
            },
            Err(_) => None,
        };
        match resolved {
            Some(character) => self.push(character.encode_utf8(&mut [0; 4])),
            None => Err(self.invalid(format!("expected an entity that XML defines, found &{};", entity.as_ref()))),
        }
    }

    fn eof(&self) -> Result<Step> {
        match (self.seen_root, self.open.is_empty()) {
            (true, true) => Ok(Step::End),
            (true, false) => Err(self.invalid("expected </mediawiki>, found the end: the file was cut short".into())),
            (false, _) => Err(self.invalid("expected a MediaWiki export (<mediawiki>), found an empty file".into())),
        }
    }

    /// A document, or a count of what was left out.
    fn judge(&self, page: Page) -> Option<RawDocument> {
        let reason = if !self.is_main(&page) {
            &self.skipped.other_namespace
        } else if page.redirect || wikitext::is_redirect(&page.text) {
            &self.skipped.redirect
        } else if !matches!(page.model.trim(), "" | "wikitext") {
            &self.skipped.other_model
        } else if page.text.trim().is_empty() {
            &self.skipped.empty
        } else if wikitext::is_disambiguation(&page.title, &page.text) {
            &self.skipped.disambiguation
        } else {
            let form = Form::Wikitext(Arc::clone(&self.site));
            return Some(RawDocument { title: Some(page.title), body: page.text, form });
        };
        Skipped::add_one(reason);
        None
    }

    fn is_main(&self, page: &Page) -> bool {
        match page.namespace.trim() {
            "" => page.title.split_once(':').is_none_or(|(prefix, _)| !self.namespaces.contains_key(prefix)),
            namespace => namespace == "0",
        }
    }

    fn invalid(&self, message: String) -> Error {
        // It may quote the file: names that damage has run together with text of any length.
        let message: String = message.chars().take(300).map(|c| if c.is_control() { ' ' } else { c }).collect();
        let position = self.reader.buffer_position();
        let page = if self.page.title.is_empty() { String::new() } else { format!(", page {:?}", self.page.title) };
        let advice = "restore the file or download it again";
        Error::invalid(self.reader.get_ref().path(), format!("{message} (XML byte {position}{page}); {advice}"))
    }

    fn too_large(&self) -> Error {
        let mega = MAX_DOCUMENT_BYTES >> 20;
        self.invalid(format!("expected pages of at most {mega} MiB, found a larger one"))
    }

    fn explain(&self, error: quick_xml::Error) -> Error {
        match error {
            quick_xml::Error::Io(error) if TooLarge::is(&error) => self.too_large(),
            quick_xml::Error::Io(error) => {
                let error = Arc::try_unwrap(error).unwrap_or_else(|e| std::io::Error::new(e.kind(), e.to_string()));
                self.reader.get_ref().explain(error)
            }
            error => {
                let position = self.reader.error_position();
                self.invalid(format!("expected well-formed XML, found at byte {position}: {error}"))
            }
        }
    }
}

impl Iterator for Pages {
    type Item = Result<RawDocument>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_page().transpose()
    }
}

/// What an event led to.
enum Step {
    More,
    Page(RawDocument),
    End,
}

/// An attribute's plain value.
fn attribute(start: &BytesStart<'_>, name: &str) -> Option<String> {
    let value = start.try_get_attribute(name).ok()??.value;
    Some(value.into_owned())
}

#[cfg(test)]
mod tests;
