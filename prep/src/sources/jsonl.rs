//! JSON Lines: one object a line, one of its fields is the text.

use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::compression::Stream;
use super::lines::{BYTE_ORDER_MARK, Lines, Place};
use super::{Form, RawDocument, ReadOptions, Skipped};
use crate::Result;

/// Raw documents of a JSON Lines file, in order. Blank lines are passed over, rows whose text is null counted.
///
/// A row that is broken is counted and its line number kept, or is an error with [`ReadOptions::strict`]: it is not JSON,
/// not an object, not UTF-8, or its field is missing or no text.
pub(super) struct JsonRows {
    lines: Lines,
    field: String,
    strict: bool,
    skipped: Arc<Skipped>,
    row: Vec<u8>,
}

impl JsonRows {
    pub(super) fn new(stream: Stream, options: &ReadOptions, skipped: Arc<Skipped>) -> Self {
        let lines = Lines::new(stream, "row", "JSON Lines has one object a line; is it another format?");
        Self { lines, field: options.field.clone(), strict: options.strict, skipped, row: Vec::new() }
    }

    fn next_document(&mut self) -> Result<Option<RawDocument>> {
        loop {
            self.row.clear();
            let place = self.lines.place();
            if !self.lines.read(&mut self.row)? {
                return Ok(None);
            }
            let row = self.row.strip_prefix(BYTE_ORDER_MARK.to_string().as_bytes()).unwrap_or(&self.row);
            let row = row.trim_ascii();
            if row.is_empty() {
                continue;
            }
            if row[0] == b'[' && place.offset == 0 {
                let problem = "expected JSON Lines (one object a line), found an array; convert it with `jq -c '.[]'`";
                return Err(self.lines.invalid(problem));
            }
            match parse(row, &self.field) {
                Ok(Some(body)) => return Ok(Some(RawDocument { title: None, body, form: Form::Prose })),
                Ok(None) => Skipped::add_one(&self.skipped.null),
                Err(problem) => self.note_broken(place, &problem)?,
            }
        }
    }

    fn note_broken(&mut self, place: Place, problem: &str) -> Result<()> {
        let problem = format!("line {}: {problem}", place.line + 1);
        if self.strict {
            return Err(self
                .lines
                .invalid(format!("{problem}; mend the row, or leave --strict away to skip such rows")));
        }
        self.skipped.note_broken(problem);
        Ok(())
    }
}

impl Iterator for JsonRows {
    type Item = Result<RawDocument>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_document().transpose()
    }
}

/// The text of a row, or that it is null, or what is wrong with the row.
fn parse(row: &[u8], field: &str) -> std::result::Result<Option<String>, String> {
    let mut deserializer = serde_json::Deserializer::from_slice(row);
    let parsed = Row { field }.deserialize(&mut deserializer).and_then(|found| deserializer.end().map(|()| found));
    match parsed {
        Ok(Found::Text(text)) => Ok(Some(text)),
        Ok(Found::Null) => Ok(None),
        Ok(Found::Other(what)) => Err(format!("expected text in field {field:?}, found {what}")),
        Ok(Found::Missing(fields)) => {
            Err(format!("expected a field {field:?} (see --field), found {}", crate::sources::list(&fields)))
        }
        // Each row is parsed alone: its only line is number 1.
        Err(error) => {
            let text = error.to_string();
            let problem = text.rsplit_once(" at line ").map_or(text.as_str(), |(problem, _)| problem);
            Err(format!("expected a JSON object, found at column {}: {problem}", error.column()))
        }
    }
}

/// What stands in the field.
enum Found {
    Text(String),
    Null,
    Other(&'static str),
    /// No such field, but these.
    Missing(Vec<String>),
}

/// Takes one field out of an object, and passes over all others without keeping them.
struct Row<'a> {
    field: &'a str,
}

impl<'de> DeserializeSeed<'de> for Row<'_> {
    type Value = Found;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<Found, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Row<'_> {
    type Value = Found;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Found, A::Error> {
        let (mut found, mut others) = (None, Vec::new());
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            if key == self.field {
                found = Some(map.next_value_seed(Text)?);
            } else {
                if others.len() < 8 {
                    others.push(key.into_owned());
                }
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found.unwrap_or(Found::Missing(others)))
    }
}

/// A text, or what it is instead.
struct Text;

impl<'de> DeserializeSeed<'de> for Text {
    type Value = Found;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<Found, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Text {
    type Value = Found;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text")
    }

    fn visit_str<E>(self, text: &str) -> std::result::Result<Found, E> {
        Ok(Found::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> std::result::Result<Found, E> {
        Ok(Found::Text(text))
    }

    fn visit_unit<E>(self) -> std::result::Result<Found, E> {
        Ok(Found::Null)
    }

    fn visit_bool<E>(self, _: bool) -> std::result::Result<Found, E> {
        Ok(Found::Other("true or false"))
    }

    fn visit_i64<E>(self, _: i64) -> std::result::Result<Found, E> {
        Ok(Found::Other("a number"))
    }

    fn visit_u64<E>(self, _: u64) -> std::result::Result<Found, E> {
        Ok(Found::Other("a number"))
    }

    fn visit_f64<E>(self, _: f64) -> std::result::Result<Found, E> {
        Ok(Found::Other("a number"))
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Found, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Found::Other("an array"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Found, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Found::Other("an object"))
    }
}
