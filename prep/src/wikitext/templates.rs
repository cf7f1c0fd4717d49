//! Templates that stand for words.
//!
//! Most templates are furniture and go. Those listed here are part of sentences in English articles (and, by their
//! names, in many other wikis): without them a sentence would have a hole.

use super::{marker, units};

/// Templates whose first argument is what the reader sees.
const FIRST: &[&str] = &[
    "nowrap",
    "nobr",
    "nobreak",
    "nwr",
    "nobold",
    "noitalic",
    "normal",
    "small",
    "smaller",
    "big",
    "large",
    "larger",
    "em",
    "strong",
    "bold",
    "italic",
    "italics",
    "sc",
    "smallcaps",
    "smallcaps all",
    "small caps",
    "uc",
    "lc",
    "mono",
    "monospaced",
    "kbd",
    "key",
    "keypress",
    "code",
    "mxt",
    "xt",
    "samp",
    "var",
    "varserif",
    "tt",
    "abbr",
    "tooltip",
    "abbrv",
    "linktext",
    "as written",
    "not a typo",
    "typo",
    "notatypo",
    "proper name",
    "visible anchor",
    "vanchor",
    "va",
    "text",
    "ill",
    "interlanguage link",
    "link-interwiki",
    "illm",
    "interlanguage link multi",
    "wikicite",
    "sub",
    "sup",
    "mvar",
    "math",
    "pie",
    "iast",
    "iast3",
    "unicode",
    "polytonic",
    "script",
    "hebrew",
    "script/hebrew",
    "script/arabic",
    "flag",
    "flagcountry",
    "flagu",
    "flagg",
    "angbr",
    "chem2",
    "literal",
    "translation",
    "tlit",
    "nts",
    "num",
    "bdi",
    "rtl",
    "ltr",
    "center",
    "centre",
    "left",
    "right",
    "resize",
    "highlight",
    "overline",
    "underline",
    "oldstyle",
    "sic",
    "sic?",
    "wiktionary inline",
    "wikt",
    "transliteration",
    "langr",
    "dts",
    "date",
    "dash date",
    "avoid wrap",
    "no break",
    "nowraplinks",
    "serif",
    "sans-serif",
    "blue",
    "red",
    "green",
    "gray",
    "grey",
    "nq",
    "tq",
    "pinyin",
    "ce",
];
/// Templates that are a paragraph of quoted text, in `text`, `quote` or the first argument.
const QUOTES: &[&str] = &[
    "quote",
    "blockquote",
    "cquote",
    "rquote",
    "bquote",
    "quotation",
    "quotation1",
    "gquote",
    "centered pull quote",
    "epigraph",
    "long quote",
    "block quote",
    "quoteblock",
    "verse quote",
    "block indent",
    "blockindent",
    "pull quote",
    "poem",
    "poemquote",
    "poem quote",
];
/// Templates whose last argument is what the reader sees.
const LAST: &[&str] = &[
    "transl",
    "color",
    "font color",
    "fontcolor",
    "colored text",
    "rtl-lang",
    "wikt-lang",
    "font",
    "colour",
    "resize text",
    "script-nobold",
    "no italics",
    "ruby-ja inline",
];
/// Templates that stand for a sign.
#[rustfmt::skip]
const SIGNS: &[(&str, &str)] = &[
    ("nbsp", " "), ("space", " "), ("spaces", " "), ("nbs", " "), ("thin space", " "), ("thinsp", " "), ("hair space", " "),
    ("hairsp", " "), ("ensp", " "), ("emsp", " "), ("zwsp", ""), ("zwj", ""), ("zwnj", ""), ("shy", ""), ("wbr", ""),
    ("ndash", "–"), ("en dash", "–"), ("endash", "–"), ("nsndns", "–"), ("mdash", "—"), ("em dash", "—"), ("emdash", "—"),
    ("snd", " – "), ("spnd", " – "), ("sndash", " – "), ("spndash", " – "), ("spaced ndash", " – "), ("spaced en dash", " – "),
    ("nbsnd", " – "), ("nbspndash", " – "), ("dash", " – "), ("smd", " — "), ("spaced mdash", " — "), ("·", " · "),
    ("dot", " · "), ("•", " • "), ("bullet", " • "), ("'", "'"), ("'s", "'s"), ("`", "ʻ"), ("\"'", "\"'"), ("'\"", "'\""),
    ("single+double", "'\""), ("double+single", "\"'"), ("' \"", "'\""), ("\" '", "\"'"), ("=", "="), ("pi", "π"),
    ("okina", "ʻ"), ("hamza", "ʼ"), ("ayin", "ʽ"), ("asterisk", "*"), ("euro", "€"), ("sharp", "♯"), ("flat", "♭"),
    ("natural", "♮"), ("dagger", "†"), ("double-dagger", "‡"), ("number sign", "#"), ("numero", "№"), ("bce", " BCE"),
    ("ce", " CE"), ("tm", "™"), ("times", "×"), ("minus", "−"),
];
/// Templates that put a currency before an amount.
#[rustfmt::skip]
const CURRENCIES: &[(&str, &str)] = &[
    ("us$", "US$"), ("usd", "US$"), ("us dollar", "US$"), ("a$", "A$"), ("aud", "A$"), ("au$", "A$"), ("c$", "C$"), ("cad", "C$"),
    ("ca$", "C$"), ("nz$", "NZ$"), ("hk$", "HK$"), ("£", "£"), ("gbp", "£"), ("pound sterling", "£"), ("pounds", "£"), ("€", "€"),
    ("eur", "€"), ("euro", "€"), ("inr", "₹"), ("indian rupee", "₹"), ("indian rupees", "₹"), ("jpy", "¥"), ("yen", "¥"),
    ("¥", "¥"), ("cny", "CN¥"), ("krw", "₩"), ("won", "₩"), ("chf", "CHF "), ("sek", "SEK "), ("philippine peso", "₱"),
];
/// Templates that name a ship: a prefix and the first argument.
const SHIPS: &[&str] = &[
    "uss", "hms", "ss", "rms", "mv", "hmas", "hmcs", "hmnzs", "ins", "jds", "usns", "usat", "usrc", "gts", "ms", "mts",
    "sms", "css", "uscgc",
];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Template names are compared in lower case, with spaces for underscores, without a namespace.
pub(super) fn normalize(name: &str) -> String {
    let name = name.trim().trim_matches('_').to_lowercase().replace('_', " ");
    match name.strip_prefix("template:") {
        Some(rest) => rest.trim().to_owned(),
        None => name,
    }
}

/// What a reader sees of `{{parts[0]|parts[1]|..}}`; nothing if the template is not part of the text.
pub(super) fn render(parts: &[&str]) -> String {
    let name = parts[0].trim();
    if name.len() > 60 {
        return String::new();
    }
    let name = normalize(name);
    let call = Call::new(&name, &parts[1..]);
    sign(&call).or_else(|| words(&call)).or_else(|| amount(&call)).or_else(|| dated(&call)).unwrap_or_default()
}

/// A template with its arguments sorted out.
pub(super) struct Call<'t> {
    name: &'t str,
    positional: Vec<&'t str>,
    named: Vec<(&'t str, &'t str)>,
}

impl<'t> Call<'t> {
    fn new(name: &'t str, arguments: &[&'t str]) -> Self {
        let mut call = Call { name, positional: Vec::new(), named: Vec::new() };
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
    pub(super) fn at(&self, number: usize) -> &'t str {
        self.positional.get(number).map_or("", |text| text.trim())
    }

    /// The positional arguments.
    pub(super) fn positional(&self) -> &[&'t str] {
        &self.positional
    }

    fn get(&self, key: &str) -> Option<&'t str> {
        self.named.iter().find(|(known, value)| *known == key && !value.is_empty()).map(|(_, value)| *value)
    }
}

/// An argument name; anything longer is text with an equals sign in it.
fn is_key(key: &str) -> bool {
    key.len() <= 24 && !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
}

fn table(entries: &[(&str, &'static str)], name: &str) -> Option<&'static str> {
    entries.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
}

/// Signs, and the escapes of wikitext's own characters.
fn sign(call: &Call<'_>) -> Option<String> {
    if call.name == "!" {
        // Inside an open table this is a cell border, and the table goes with it.
        return Some("|".into());
    }
    if call.positional.iter().any(|text| !text.trim().is_empty()) && matches!(call.name, "euro" | "ce") {
        return None;
    }
    let text = table(SIGNS, call.name)?;
    let mut out = String::new();
    marker::protect(text, &mut out);
    Some(out)
}

/// Templates that wrap a text.
fn words(call: &Call<'_>) -> Option<String> {
    let name = call.name;
    if QUOTES.contains(&name) {
        let text = call.get("text").or(call.get("quote")).unwrap_or(call.at(0));
        return Some(format!("\n\n{text}\n\n"));
    }
    let text = match name {
        "lang" | "langx" | "rtl lang" | "wikt-lang" | "foreign" => call.get("text").unwrap_or(call.at(1)),
        "abbrlink" | "sc2" => call.at(0),
        "ill" | "interlanguage link" => call.get("lt").unwrap_or(call.at(0)),
        "gloss" => return Some(format!("'{}'", call.at(0))),
        "lit" | "lit." | "literally" => return Some(format!("lit. '{}'", call.at(0))),
        "nihongo" | "nihongo2" | "nihongo3" | "korean inline" => return Some(nihongo(call)),
        "chem" | "linktext" | "gaps" => return Some(call.positional.iter().map(|text| text.trim()).collect()),
        "music" => table(SIGNS, call.at(0)).unwrap_or(call.at(0)),
        "sclass" | "sclass2" | "sclass-" => return Some(format!("{}-class {}", call.at(0), call.at(1))),
        "ship" => return Some(format!("{} {}", call.at(0), call.at(1))),
        "lang-rus" | "lang-sr-cyrl" => call.at(0),
        name if SHIPS.contains(&name) && !call.at(0).is_empty() => {
            return Some(format!("{} {}", name.to_uppercase(), call.at(0)));
        }
        name if name.starts_with("lang-") => call.get("text").unwrap_or(call.at(0)),
        name if name.starts_with("formatnum:") => &name["formatnum:".len()..],
        name if LAST.contains(&name) => call.positional.last().map_or("", |text| text.trim()),
        name if FIRST.contains(&name) => call.get("text").unwrap_or(call.at(0)),
        _ => return None,
    };
    Some(text.to_owned())
}

/// `{{nihongo|English|kanji|romaji}}` reads "English (kanji, romaji)".
fn nihongo(call: &Call<'_>) -> String {
    let others: Vec<&str> = [call.at(1), call.at(2)].into_iter().filter(|text| !text.is_empty()).collect();
    match (call.at(0), others.is_empty()) {
        (first, true) => first.to_owned(),
        ("", false) => others.join(", "),
        (first, false) => format!("{first} ({})", others.join(", ")),
    }
}

/// Measures, fractions, money.
fn amount(call: &Call<'_>) -> Option<String> {
    if let Some(sign) = table(CURRENCIES, call.name) {
        return Some(format!("{sign}{}", call.at(0)));
    }
    match call.name {
        "convert" | "cvt" | "conv" => Some(units::convert(call)),
        "val" => {
            let exponent = call.get("e").map(|e| format!("×10^{e}")).unwrap_or_default();
            let unit = call.get("u").or(call.get("ul")).map(|unit| format!(" {unit}")).unwrap_or_default();
            Some(format!("{}{exponent}{unit}", call.at(0)))
        }
        "frac" | "fraction" | "sfrac" => Some(match call.positional.len() {
            0 => String::new(),
            1 => format!("1/{}", call.at(0)),
            2 => format!("{}/{}", call.at(0), call.at(1)),
            _ => format!("{} {}/{}", call.at(0), call.at(1), call.at(2)),
        }),
        _ => None,
    }
}

/// Dates and what goes with them.
fn dated(call: &Call<'_>) -> Option<String> {
    let first = call.at(0);
    let span = |word: &str| match call.at(1) {
        "" => format!("{word} {first}"),
        second => format!("{word} {first}–{second}"),
    };
    Some(match call.name {
        "as of" | "asof" => match (call.get("alt"), call.get("lc")) {
            (Some(text), _) => text.to_owned(),
            (None, Some(_)) => format!("as of {}", date(call)),
            (None, None) => format!("As of {}", date(call)),
        },
        "circa" | "c." | "ca." | "ca" => span("c."),
        "floruit" | "fl." | "fl" => span("fl."),
        "reign" | "r." => span("r."),
        "start date" | "end date" | "birth date" | "death date" | "birth date and age" | "death date and age" => {
            date(call)
        }
        "ad" | "a.d." => format!("AD {first}"),
        _ => return None,
    })
}

/// Year, month and day as numbers, written out.
fn date(call: &Call<'_>) -> String {
    let month = match call.at(1).parse::<usize>() {
        Ok(number @ 1..=12) => MONTHS[number - 1],
        _ => call.at(1),
    };
    match (month, call.at(2)) {
        ("", _) => call.at(0).to_owned(),
        (month, "") => format!("{month} {}", call.at(0)),
        (month, day) => format!("{day} {month} {}", call.at(0)),
    }
}
