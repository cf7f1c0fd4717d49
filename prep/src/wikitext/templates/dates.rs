//! Dates and ages.

use super::Call;
use crate::wikitext::marker;

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

/// `{{As of|2010|6}}` reads "As of June 2010".
pub(super) fn as_of(call: &Call<'_>) -> String {
    let word = |word: &str| match call.get("since") {
        Some(_) => if word == "As of" { "Since" } else { "since" }.to_owned(),
        None => word.to_owned(),
    };
    match (call.get("alt"), call.get("lc")) {
        (Some(text), _) => text.to_owned(),
        (None, Some(_)) => format!("{} {}", word("as of"), date(call)),
        (None, None) => format!("{} {}", word("As of"), date(call)),
    }
}

pub(super) fn circa(call: &Call<'_>) -> String {
    span(call, "c.")
}

pub(super) fn floruit(call: &Call<'_>) -> String {
    span(call, "fl.")
}

pub(super) fn reign(call: &Call<'_>) -> String {
    span(call, "r.")
}

fn span(call: &Call<'_>, word: &str) -> String {
    match (call.at(0), call.at(1)) {
        ("", _) => word.to_owned(),
        (first, "") => format!("{word} {first}"),
        (first, second) => format!("{word} {first}–{second}"),
    }
}

/// Year, month and day as numbers, written out: "2 June 1950", or "June 2, 1950" where the template says so.
pub(super) fn date(call: &Call<'_>) -> String {
    let month = match call.at(1).parse::<usize>() {
        // Other wikis have their own names of the months, which the template takes from the wiki.
        Ok(1..=12) if !call.english => return call.filled().take(3).collect::<Vec<_>>().join("-"),
        Ok(number @ 1..=12) => MONTHS[number - 1],
        _ => call.at(1),
    };
    match (month, call.at(2)) {
        ("", _) => call.at(0).to_owned(),
        (month, "") => format!("{month} {}", call.at(0)),
        (month, day) if is_american(call) => format!("{month} {day}, {}", call.at(0)),
        (month, day) => format!("{day} {month} {}", call.at(0)),
    }
}

/// The templates of births and deaths put the month first unless asked otherwise, `{{as of}}` the day.
fn is_american(call: &Call<'_>) -> bool {
    match call.name {
        "as of" | "asof" => call.get("df").is_some_and(|format| format.eq_ignore_ascii_case("us")),
        _ => !call.get("df").is_some_and(|format| matches!(format, "y" | "yes" | "1")),
    }
}

/// `{{dash date|2001-02-03}}` and the like keep what they are given.
pub(super) fn dash(call: &Call<'_>) -> String {
    call.at(0).to_owned()
}

/// Full years between two dates; the age of today is unknown.
pub(super) fn age(call: &Call<'_>) -> String {
    let numbers: Vec<i32> = call.filled().map_while(|text| text.parse().ok()).collect();
    match numbers[..] {
        [y1, m1, d1, y2, m2, d2] => (y2 - y1 - i32::from((m2, d2) < (m1, d1))).to_string(),
        _ => marker::HOLE.into(),
    }
}

/// `{{bd|1900年|1月2日|1990年|3月4日}}` of the Chinese Wikipedia: birth and death in brackets.
pub(super) fn lifespan(call: &Call<'_>) -> String {
    let born = format!("{}{}", call.at(0), call.at(1));
    let died = format!("{}{}", call.at(2), call.at(3));
    match (born.is_empty(), died.is_empty()) {
        (true, true) => String::new(),
        (false, true) => format!("（{born}）"),
        _ => format!("（{born}－{died}）"),
    }
}
