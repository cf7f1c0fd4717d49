//! Plain text: documents between blank lines.

use super::compression::Stream;
use super::lines::{BYTE_ORDER_MARK, Lines};
use super::{Form, RawDocument, SourceKind};
use crate::Result;

/// Raw documents of a text file, in order.
pub(super) struct TextDocuments {
    lines: Lines,
    kind: SourceKind,
}

impl TextDocuments {
    pub(super) fn new(stream: Stream, kind: SourceKind) -> Self {
        let advice = match kind {
            SourceKind::Books => "each file is read as one document; split it, or use --text",
            _ => "documents are separated by blank lines; separate or split them",
        };
        Self { lines: Lines::new(stream, "document", advice), kind }
    }

    /// Collects lines up to a blank one (or, for books, all lines); `None` at the end of the file.
    fn next_document(&mut self) -> Result<Option<RawDocument>> {
        let form = if self.kind == SourceKind::Sentences { Form::Sentences } else { Form::Prose };
        let mut body = Vec::new();
        let mut start = self.lines.place();
        loop {
            let line_start = body.len();
            if !self.lines.read(&mut body)? {
                break;
            }
            if is_blank(&body[line_start..]) && self.kind != SourceKind::Books {
                body.truncate(line_start);
                if !body.is_empty() {
                    break;
                }
                start = self.lines.place();
            }
        }
        if is_blank(&body) {
            return Ok(None);
        }
        let mut body = self.lines.utf8(body, start)?;
        if body.starts_with(BYTE_ORDER_MARK) {
            body.drain(..BYTE_ORDER_MARK.len_utf8());
        }
        Ok(Some(RawDocument { title: None, body, form }))
    }
}

impl Iterator for TextDocuments {
    type Item = Result<RawDocument>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_document().transpose()
    }
}

/// Whether there is nothing but white space (Unicode's) and byte order marks in these bytes.
fn is_blank(bytes: &[u8]) -> bool {
    if bytes.iter().any(|b| b.is_ascii() && !b.is_ascii_whitespace() && *b != 0x0b) {
        return false;
    }
    bytes.iter().all(u8::is_ascii)
        || std::str::from_utf8(bytes).is_ok_and(|text| text.chars().all(|c| c.is_whitespace() || c == BYTE_ORDER_MARK))
}

/// Lines that are not blank, trimmed.
pub(super) fn lines(body: &str) -> Vec<String> {
    body.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Document, SourceFile, documents};
    use super::*;

    fn read(kind: SourceKind, bytes: &[u8]) -> std::result::Result<Vec<Document>, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file.txt");
        std::fs::write(&path, bytes).unwrap();
        let reader = documents(&SourceFile { kind, path }).map_err(|e| e.to_string())?;
        reader.map(|raw| raw.map(|raw| raw.into_document()).map_err(|e| e.to_string())).collect()
    }

    fn texts(kind: SourceKind, text: &str) -> Vec<Vec<String>> {
        read(kind, text.as_bytes()).unwrap().into_iter().map(|document| document.paragraphs).collect()
    }

    #[test]
    fn blank_lines_separate_documents() {
        let text = "\u{feff}\n\nTitle\r\nText one.\r\n \t\r\n\u{a0}\n\nSecond.\n\n\n";
        assert_eq!(texts(SourceKind::Text, text), [vec!["Title", "Text one."], vec!["Second."]]);
        assert_eq!(texts(SourceKind::Text, ""), Vec::<Vec<String>>::new());
        assert_eq!(texts(SourceKind::Text, " \n\n \n"), Vec::<Vec<String>>::new());
        assert_eq!(texts(SourceKind::Text, "no end"), [["no end"]]);
    }

    #[test]
    fn a_book_is_one_document() {
        assert_eq!(texts(SourceKind::Books, "\nTitle\n\nOne.\n\n\nTwo.\n"), [["Title", "One.", "Two."]]);
        assert_eq!(texts(SourceKind::Books, " \n\n"), Vec::<Vec<String>>::new());
    }

    #[test]
    fn sentences_are_lines() {
        let found = read(SourceKind::Sentences, b"One a. Two.\n Three\n\n\nFour\n").unwrap();
        assert!(found.iter().all(|document| document.presplit && document.title.is_none()));
        let lines: Vec<_> = found.into_iter().map(|document| document.paragraphs).collect();
        assert_eq!(lines, [vec!["One a. Two.", "Three"], vec!["Four"]]);
    }

    #[test]
    fn wrong_bytes_are_named_with_their_place() {
        let message = read(SourceKind::Text, b"ok\n\nfine\nbad \xff here\n").unwrap_err();
        let expected =
            "file.txt: expected UTF-8, found byte 0xff at offset 13 (line 4); convert the file with `iconv -t UTF-8`";
        assert!(message.ends_with(expected), "{message}");
        let message = read(SourceKind::Text, b"\xef\xbb\xbfcut \xc3").unwrap_err();
        assert!(message.contains("found byte 0xc3 at offset 7 (line 1)"), "{message}");
        let message = read(SourceKind::Text, b"\xff\xfea\0").unwrap_err();
        assert!(message.contains("found UTF-16"), "{message}");
    }

    #[test]
    fn a_line_without_end_is_refused_when_it_is_too_long() {
        // A gigabyte of one line, made by repeating a small compressed member.
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, &vec![b'a'; 1 << 24]).unwrap();
        let bytes = encoder.finish().unwrap().repeat(64);
        for kind in [SourceKind::Text, SourceKind::Books, SourceKind::Sentences, SourceKind::Jsonl] {
            let message = read(kind, &bytes).unwrap_err();
            assert!(message.contains("s of at most 256 MiB, found a larger one before line 1; "), "{message}");
        }
    }

    #[test]
    fn a_file_that_is_not_what_its_name_says_is_named_as_such() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file.txt.gz");
        // Its first byte was 0x1f.
        std::fs::write(&path, [0x1e, 0x8b, 8, 0, 0xff, 0xfe, 1, 0x80]).unwrap();
        let mut reader = documents(&SourceFile { kind: SourceKind::Text, path }).unwrap();
        let message = reader.next().unwrap().unwrap_err().to_string();
        assert!(message.contains("file.txt.gz: expected gzip data, by the name of the file, found something else"));
    }

    #[test]
    fn documents_before_the_wrong_bytes_are_still_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file.txt");
        std::fs::write(&path, b"good\n\nbad \xff\n\ngood\n").unwrap();
        let mut reader = documents(&SourceFile { kind: SourceKind::Text, path }).unwrap();
        assert!(reader.next().unwrap().is_ok());
        assert!(reader.next().unwrap().is_err());
        assert!(reader.next().is_none());
    }

    proptest! {
        /// Documents do not depend on where compressed members end, hence not on where blocks of bytes begin.
        #[test]
        fn any_chunking_gives_the_same_documents(lines in prop::collection::vec("[a-zé ]{0,12}", 0..40), cuts in prop::collection::vec(0usize..400, 0..5)) {
            use std::io::Write;
            let text = lines.join("\n");
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut < text.len()).chain([0, text.len()]).collect();
            cuts.sort_unstable();
            let mut compressed = Vec::new();
            for pair in cuts.windows(2) {
                let mut encoder = flate2::write::GzEncoder::new(&mut compressed, flate2::Compression::fast());
                encoder.write_all(&text.as_bytes()[pair[0]..pair[1]]).unwrap();
                encoder.finish().unwrap();
            }
            let expected: Vec<Vec<String>> = text
                .split('\n')
                .collect::<Vec<_>>()
                .split(|line| line.trim().is_empty())
                .filter(|lines| !lines.is_empty())
                .map(|lines| lines.iter().map(|line| line.trim().to_owned()).collect())
                .collect();
            prop_assert_eq!(texts(SourceKind::Text, &text), expected.clone());
            let found: Vec<Vec<String>> =
                read(SourceKind::Text, &compressed).unwrap().into_iter().map(|document| document.paragraphs).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
