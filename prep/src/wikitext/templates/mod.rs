//! Templates that stand for words.
//!
//! Most templates are furniture and go. Those that [`names`] lists are part of sentences: without them a sentence would
//! have a hole. Parser functions are evaluated where that needs nothing but their arguments ([`functions`]).

mod countries;
mod dates;
mod functions;
mod languages;
mod names;
mod units;
mod words;

use super::{Site, marker};
use names::Shape;

/// Longer names are text between stray braces.
const MAX_NAME_BYTES: usize = 60;
/// How far back an open bracket is looked for, in bytes.
const MAX_LOOK_BACK: usize = 200;

/// Template names are compared in lower case, with spaces for underscores, without a namespace.
pub(super) fn normalize(name: &str) -> String {
    let name = name.trim().trim_matches('_').to_lowercase().replace('_', " ");
    match ["template:", "subst:", "safesubst:"].iter().find_map(|prefix| name.strip_prefix(prefix)) {
        Some(rest) => rest.trim().to_owned(),
        None => name,
    }
}

/// What a reader sees of `{{parts[0]|parts[1]|..}}`; nothing if the template is not part of the text.
///
/// `title`: of the page; `before`: the page up to the template.
pub(super) fn render(site: &Site, title: &str, parts: &[&str], before: &str) -> String {
    let name = parts[0].trim();
    if let Some((function, argument)) = name.split_once(':')
        && let Some(text) = functions::call(function, argument, &parts[1..])
    {
        return text;
    }
    if name.len() > MAX_NAME_BYTES {
        return String::new();
    }
    if let Some(text) = functions::page_name(name, title) {
        return text.to_owned();
    }
    let normal = normalize(name);
    let call = Call::new(&normal, &parts[1..], site.is_english());
    match names::shape(&normal) {
        Some(shape) => call.text(shape),
        None => unlisted(&call, name, before),
    }
}

/// Templates known by a part of their names.
fn unlisted(call: &Call<'_>, name: &str, before: &str) -> String {
    if call.name == "!" {
        // Inside an open table this is a cell border.
        return "|".into();
    }
    if let Some(code) = call.name.strip_prefix("lang-") {
        return languages::labelled_as(call, code);
    }
    if call.name.starts_with("link-") {
        return call.at(0).to_owned();
    }
    if call.name.starts_with("ipa") {
        return words::sound(call, in_brackets(before));
    }
    // `{{enS|text}}` of the German Wikipedia.
    if let Some(code) = call.name.strip_suffix('s')
        && name.ends_with('S')
        && languages::name(code).is_some()
    {
        return call.at(0).to_owned();
    }
    // `{{USA}}`: a flag and the name beside it.
    if call.english
        && call.positional.is_empty()
        && let Some(country) = countries::name(name)
    {
        return country.to_owned();
    }
    if words::is_numbered(name) { name.to_owned() } else { String::new() }
}

/// Whether a round bracket is open at the end of a text, on its last line.
fn in_brackets(before: &str) -> bool {
    let near = &before.as_bytes()[before.len().saturating_sub(MAX_LOOK_BACK)..];
    let last = near.iter().rposition(|b| matches!(b, b'(' | b')' | b'\n'));
    last.is_some_and(|at| near[at] == b'(')
}

/// A template with its arguments sorted out.
pub(super) struct Call<'t> {
    name: &'t str,
    positional: Vec<&'t str>,
    named: Vec<(&'t str, &'t str)>,
    /// Whether the words a template adds are English.
    english: bool,
}

impl<'t> Call<'t> {
    fn new(name: &'t str, arguments: &[&'t str], english: bool) -> Self {
        let mut call = Call { name, positional: Vec::new(), named: Vec::new(), english };
        for argument in arguments {
            match argument.split_once('=').map(|(key, value)| (key.trim(), value.trim())) {
                Some((key, value)) if is_key(key) => match key.parse::<usize>() {
                    Ok(number @ 1..=20) => call.set(number - 1, value),
                    _ => call.named.push((key, value)),
                },
                _ => call.positional.push(argument),
            }
        }
        call
    }

    /// `1=text` is the first argument, wherever it stands.
    fn set(&mut self, number: usize, value: &'t str) {
        while self.positional.len() <= number {
            self.positional.push("");
        }
        self.positional[number] = value;
    }

    /// The positional argument `number`, from 0, trimmed; empty if missing.
    fn at(&self, number: usize) -> &'t str {
        self.positional.get(number).map_or("", |text| text.trim())
    }

    /// The positional arguments that are not empty, trimmed.
    fn filled(&self) -> impl DoubleEndedIterator<Item = &'t str> {
        self.positional.iter().map(|text| text.trim()).filter(|text| !text.is_empty())
    }

    /// A named argument that is not empty.
    fn get(&self, key: &str) -> Option<&'t str> {
        self.named.iter().find(|(known, value)| *known == key && !value.is_empty()).map(|(_, value)| *value)
    }

    fn text(&self, shape: Shape) -> String {
        match shape {
            Shape::First => self.get("text").unwrap_or(self.at(0)).to_owned(),
            Shape::Second => self.get("text").unwrap_or(self.at(1)).to_owned(),
            Shape::Last => self.filled().next_back().unwrap_or_default().to_owned(),
            Shape::Joined(joint) => self.filled().collect::<Vec<_>>().join(joint),
            Shape::Quote => {
                let named = ["text", "quote", "content", "texte"].iter().find_map(|key| self.get(key));
                format!("\n\n{}\n\n", named.unwrap_or(self.at(0)))
            }
            Shape::Items => self.filled().map(|item| format!("\n* {item}")).chain(["\n".into()]).collect(),
            Shape::Sign(sign) => {
                // A sign that has an argument is another template: `{{ce|H2O}}` is a formula.
                if let Some(text) = self.filled().next() {
                    return if self.name == "ce" { text.to_owned() } else { String::new() };
                }
                let mut out = String::new();
                marker::protect(sign, &mut out);
                out
            }
            Shape::Before(prefix) => format!("{prefix}{}", self.at(0)),
            Shape::After(suffix) if !self.at(0).is_empty() => format!("{}{suffix}", self.at(0)),
            Shape::After(_) => String::new(),
            Shape::Unknown => marker::HOLE.into(),
            Shape::With(text) => text(self),
        }
    }
}

/// An argument name; anything longer is text with an equals sign in it.
fn is_key(key: &str) -> bool {
    key.len() <= 24 && !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
}
