//! Templates that wrap words.

use super::Call;
use crate::wikitext::{links, math, scripts};

/// Words in quotation marks; of `{{citation}}` only the French one, which has its words first.
pub(super) fn inline_quote(call: &Call<'_>) -> String {
    match call.at(0) {
        "" => String::new(),
        text if call.english => format!("\"{text}\""),
        text => format!("“{text}”"),
    }
}

/// A link to an article that another Wikipedia has: the text, else the local title.
///
/// Orders in use: title, language, foreign title, text (English); language, title, foreign title, text (English before
/// 2016); title, text, language, foreign title (Russian).
pub(super) fn interlanguage<'t>(call: &Call<'t>) -> String {
    let named = ["lt", "texte", "fr", "текст", "text"].iter().find_map(|key| call.get(key));
    let text: &'t str = match call.at(0) {
        _ if named.is_some() => named.unwrap_or_default(),
        first if links::is_language(first) => {
            if call.at(3).is_empty() {
                call.at(1)
            } else {
                call.at(3)
            }
        }
        first if links::is_language(call.at(1)) || call.at(1).is_empty() => first,
        _ => call.at(1),
    };
    text.to_owned()
}

pub(super) fn gloss(call: &Call<'_>) -> String {
    format!("'{}'", call.at(0))
}

pub(super) fn literally(call: &Call<'_>) -> String {
    format!("lit. '{}'", call.at(0))
}

/// `{{sic|hte}}` shows the word, `{{sic}}` the mark.
pub(super) fn sic(call: &Call<'_>) -> String {
    match (call.at(0), call.at(1)) {
        ("", _) => "[sic]".into(),
        (first, second) => format!("{first}{second}"),
    }
}

/// `{{nihongo|English|kanji|romaji}}` reads "English (kanji, romaji)".
pub(super) fn nihongo(call: &Call<'_>) -> String {
    let others: Vec<&str> = [call.at(1), call.at(2)].into_iter().filter(|text| !text.is_empty()).collect();
    match (call.at(0), others.is_empty()) {
        (first, true) => first.to_owned(),
        ("", false) => others.join(", "),
        (first, false) => format!("{first} ({})", others.join(", ")),
    }
}

/// `{{読み仮名|漢字|かな}}`: a word and how it is read.
pub(super) fn reading(call: &Call<'_>) -> String {
    match call.at(1) {
        "" => call.at(0).to_owned(),
        kana => format!("{}（{kana}）", call.at(0)),
    }
}

pub(super) fn music(call: &Call<'_>) -> String {
    match call.at(0) {
        "flat" | "b" => "♭",
        "sharp" | "#" => "♯",
        "natural" => "♮",
        other => other,
    }
    .to_owned()
}

pub(super) fn ship_class(call: &Call<'_>) -> String {
    format!("{}-class {}", call.at(0), call.at(1)).trim_end().to_owned()
}

/// `{{HMS|Ajax|22|6}}`: prefix, name, number, and a format: 6 shows the name alone, 2 prefix and name.
pub(super) fn named_ship(call: &Call<'_>) -> String {
    vessel(&call.name.to_uppercase(), call.at(0), call.at(1), call.at(2))
}

/// `{{ship|German battleship|Bismarck||2}}`: the same with the prefix as an argument.
pub(super) fn ship(call: &Call<'_>) -> String {
    vessel(call.at(0), call.at(1), call.at(2), call.at(3))
}

fn vessel(prefix: &str, name: &str, number: &str, format: &str) -> String {
    match (format, number) {
        _ if name.is_empty() => String::new(),
        ("6", _) => name.to_owned(),
        ("3", number) if !number.is_empty() => format!("{name} ({number})"),
        ("", number) if !number.is_empty() => format!("{prefix} {name} ({number})"),
        _ => format!("{prefix} {name}").trim_start().to_owned(),
    }
}

/// `{{slink|Article|Section}}` reads "Article § Section".
pub(super) fn section_link(call: &Call<'_>) -> String {
    call.filled().collect::<Vec<_>>().join(" § ")
}

/// `{{jct|state=CA|I|5|US|101}}` reads "I-5 / US 101".
pub(super) fn road(call: &Call<'_>) -> String {
    let pairs: Vec<&str> = call.filled().collect();
    let road = |pair: &[&str]| match pair {
        ["I", number] => format!("I-{number}"),
        pair => pair.join(" "),
    };
    pairs.chunks(2).map(road).collect::<Vec<_>>().join(" / ")
}

/// `{{nuclide|uranium|235}}` reads "uranium-235".
pub(super) fn nuclide(call: &Call<'_>) -> String {
    call.filled().take(2).collect::<Vec<_>>().join("-")
}

/// `{{bibleverse|Mark|3:25|NIV}}` reads "Mark 3:25".
pub(super) fn verse(call: &Call<'_>) -> String {
    format!("{} {}", call.at(0), call.at(1)).trim_end().to_owned()
}

pub(super) fn quran(call: &Call<'_>) -> String {
    match call.at(1) {
        "" => format!("Quran {}", call.at(0)),
        verse => format!("Quran {}:{verse}", call.at(0)),
    }
}

/// A formula in LaTeX as an argument.
pub(super) fn tex(call: &Call<'_>) -> String {
    math::inline(call.at(0))
}

pub(super) fn superscript(call: &Call<'_>) -> String {
    scripts::superscript(call.at(0))
}

/// `{{coord|13|19|N|169|9|W}}` reads "13°19′N 169°9′W"; what only stands at the head of the page goes.
pub(super) fn coordinates(call: &Call<'_>) -> String {
    if call.get("display").is_some_and(|display| display.contains('t')) {
        return String::new();
    }
    let mut out = String::new();
    let mut signs = ["°", "′", "″"].iter();
    let mut numbers = 0;
    for part in call.filled() {
        match part {
            "N" | "S" | "E" | "W" | "O" => {
                out.push_str(part);
                out.push(' ');
                signs = ["°", "′", "″"].iter();
            }
            part if part.parse::<f64>().is_ok() => {
                let Some(sign) = signs.next() else { break };
                out.push_str(part);
                out.push_str(sign);
                numbers += 1;
            }
            _ => break,
        }
    }
    // Signed degrees have no letters: latitude and longitude.
    match (numbers, out.ends_with(' ')) {
        (2, false) => format!("{}°, {}°", call.at(0), call.at(1)),
        (_, true) => out.trim_end().to_owned(),
        _ => String::new(),
    }
}

/// Centuries of French, Spanish and Russian articles; other uses of the names wrap a text.
pub(super) fn century(call: &Call<'_>) -> String {
    let first = call.at(0);
    let roman = !first.is_empty() && first.bytes().all(|b| b"IVXLC".contains(&b.to_ascii_uppercase()));
    match (call.name, call.at(1), call.at(2)) {
        _ if !roman => first.to_owned(),
        ("siglo", _, form) => match form {
            "s" | "S" => format!("{}iglo {first}", if form == "s" { 's' } else { 'S' }),
            _ => first.to_owned(),
        },
        ("век", ..) => first.to_owned(),
        ("-s", second, _) => format!("{first}{second}"),
        (_, "", _) => format!("{first}{} siècle", if first == "I" { "er" } else { "e" }),
        (_, second, _) => format!("{first}{second} siècle"),
    }
}

/// The sounds of a word after it, in brackets, go; a sound that a sentence speaks of stays.
pub(super) fn sound(call: &Call<'_>, in_brackets: bool) -> String {
    let speaks_of = matches!(call.name, "ipa" | "ipa link" | "ipalink" | "ipa notice link");
    let bare = call.filled().count() == 1 || call.name != "ipa";
    let marks = match call.name {
        "ipablink" => ("[", "]"),
        "ipaslink" => ("/", "/"),
        _ if speaks_of && bare => ("", ""),
        _ => return String::new(),
    };
    if in_brackets || call.at(0).is_empty() {
        return String::new();
    }
    format!("{}{}{}", marks.0, call.at(0), marks.1)
}

/// Names that are their own text: `{{XIXe siècle}}`, `{{2e}}`, `{{1re}}`.
pub(super) fn is_numbered(name: &str) -> bool {
    let number = name.strip_suffix(" siècle").unwrap_or(name);
    let digits = number.trim_end_matches(['e', 'r', 'è', 'm']);
    let suffix = &number[digits.len()..];
    matches!(suffix, "e" | "er" | "re" | "ème")
        && digits.bytes().all(|b| b.is_ascii_digit() || b"IVX".contains(&b))
        && !digits.is_empty()
}
