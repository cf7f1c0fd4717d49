//! Parser functions, as far as their arguments decide them.
//!
//! Source: <https://www.mediawiki.org/wiki/Help:Extension:ParserFunctions> and Help:Magic_words.

use crate::wikitext::{marker, math};

/// Longest expression that is evaluated, in bytes; it also bounds the depth of brackets.
const MAX_EXPRESSION_BYTES: usize = 200;

/// The text of `{{function:argument|rest..}}`; `None` if this is no function but a template with a colon in its name.
pub(super) fn call(function: &str, argument: &str, rest: &[&str]) -> Option<String> {
    let argument = argument.trim();
    let at = |number: usize| rest.get(number).map_or("", |text| text.trim());
    let choose = |yes: bool, first: usize| at(if yes { first } else { first + 1 }).to_owned();
    Some(match function.trim().to_lowercase().as_str() {
        "#if" => choose(!argument.is_empty(), 0),
        "#ifeq" => choose(argument == at(0) || same_number(argument, at(0)), 1),
        "#ifexpr" => choose(evaluate(argument).is_some_and(|value| value != 0.0), 0),
        // No page is known to exist, no title to be wrong.
        "#ifexist" => at(1).to_owned(),
        "#iferror" => if rest.len() > 1 { at(1) } else { argument }.to_owned(),
        "#switch" => switch(argument, rest),
        "#expr" => evaluate(argument).map_or_else(|| marker::HOLE.into(), |value| value.to_string()),
        "#tag" if argument.eq_ignore_ascii_case("math") => math::inline(at(0)),
        "lc" => argument.to_lowercase(),
        "uc" => argument.to_uppercase(),
        "ucfirst" => first_letter(argument, |c| c.to_uppercase().collect()),
        "lcfirst" => first_letter(argument, |c| c.to_lowercase().collect()),
        "formatnum" => grouped(argument, at(0)),
        "plural" => at(if argument == "1" || rest.len() < 2 { 0 } else { 1 }).to_owned(),
        "padleft" | "padright" => argument.to_owned(),
        "#time" | "#timel" | "numberofarticles" | "currentyear" => marker::HOLE.into(),
        "subst" | "safesubst" | "template" => return None,
        // Settings of the page, modules, properties of the data base.
        name if name.starts_with('#') || argument.is_empty() => String::new(),
        "defaultsort" | "displaytitle" | "int" | "fullurl" | "localurl" | "urlencode" | "anchorencode" | "ns" => {
            String::new()
        }
        _ => return None,
    })
}

/// What the magic word `name` says about a page of this title; `None` if it is another word. Articles have no subpages.
pub(super) fn page_name<'t>(name: &str, title: &'t str) -> Option<&'t str> {
    match name {
        "PAGENAME" | "FULLPAGENAME" | "BASEPAGENAME" | "ROOTPAGENAME" | "SUBPAGENAME" | "ARTICLEPAGENAME" => {
            Some(title)
        }
        // A template: without what tells the page from others of its name.
        "PAGENAMEBASE" | "Pagenamebase" => Some(title.split_once(" (").map_or(title, |(base, _)| base)),
        "SITENAME" => Some("Wikipedia"),
        _ => None,
    }
}

fn same_number(a: &str, b: &str) -> bool {
    matches!((a.parse::<f64>(), b.parse::<f64>()), (Ok(a), Ok(b)) if a == b)
}

/// `{{#switch: value | case = text | a | b = text | #default = text }}`; cases without a text fall through.
fn switch(value: &str, cases: &[&str]) -> String {
    let mut matched = false;
    let mut default = "";
    for (i, case) in cases.iter().enumerate() {
        let Some((key, text)) = case.split_once('=') else {
            if i + 1 == cases.len() {
                default = case.trim();
            }
            matched |= case.trim() == value;
            continue;
        };
        match key.trim() {
            key if matched || key == value => return text.trim().to_owned(),
            "#default" => default = text.trim(),
            _ => {}
        }
    }
    default.to_owned()
}

fn first_letter(text: &str, change: fn(char) -> String) -> String {
    let mut rest = text.chars();
    rest.next().map(change).into_iter().chain([rest.as_str().to_owned()]).collect()
}

/// Thousands separated by commas, as the English wiki does; `R` takes them out again.
pub(super) fn grouped(number: &str, mode: &str) -> String {
    if mode.eq_ignore_ascii_case("r") {
        return number.replace(',', "");
    }
    let sign = number.len() - number.trim_start_matches(['-', '+', '−']).len();
    let whole = number[sign..].bytes().take_while(u8::is_ascii_digit).count();
    let plain = whole + sign == number.len() || number[sign + whole..].starts_with('.');
    if whole < 4 || !plain || mode.eq_ignore_ascii_case("nosep") {
        return number.to_owned();
    }
    let mut out = number[..sign].to_owned();
    for (i, digit) in number[sign..sign + whole].chars().enumerate() {
        if i > 0 && (whole - i) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out + &number[sign + whole..]
}

/// The value of an arithmetic expression of numbers, `+ - * / ^ mod round`, comparisons and brackets.
fn evaluate(text: &str) -> Option<f64> {
    if text.len() > MAX_EXPRESSION_BYTES {
        return None;
    }
    let mut parser = Expression { rest: text };
    let value = parser.binary(0)?;
    (parser.rest.trim().is_empty() && value.is_finite()).then_some(value)
}

struct Expression<'t> {
    rest: &'t str,
}

/// Binary operators by how strongly they bind.
const OPERATORS: [(&str, u8); 14] = [
    ("<=", 1),
    (">=", 1),
    ("!=", 1),
    ("<>", 1),
    ("=", 1),
    ("<", 1),
    (">", 1),
    ("round", 2),
    ("+", 3),
    ("-", 3),
    ("mod", 4),
    ("*", 4),
    ("/", 4),
    ("^", 5),
];

impl Expression<'_> {
    fn eat(&mut self, token: &str) -> bool {
        let rest = self.rest.trim_start();
        let found = rest.strip_prefix(token);
        self.rest = found.unwrap_or(rest);
        found.is_some()
    }

    fn binary(&mut self, weakest: u8) -> Option<f64> {
        let mut left = self.operand()?;
        'next: loop {
            for (operator, strength) in OPERATORS {
                if strength >= weakest && self.eat(operator) {
                    let right = self.binary(strength + 1)?;
                    left = apply(operator, left, right);
                    continue 'next;
                }
            }
            return Some(left);
        }
    }

    fn operand(&mut self) -> Option<f64> {
        if self.eat("-") {
            return self.operand().map(|value| -value);
        }
        if self.eat("(") {
            let value = self.binary(0)?;
            return self.eat(")").then_some(value);
        }
        let length = self.rest.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        let value = self.rest[..length].parse().ok()?;
        self.rest = &self.rest[length..];
        Some(value)
    }
}

fn apply(operator: &str, left: f64, right: f64) -> f64 {
    let truth = |value: bool| f64::from(u8::from(value));
    match operator {
        "+" => left + right,
        "-" => left - right,
        "*" => left * right,
        "/" => left / right,
        "^" => left.powf(right),
        "mod" => left.trunc() % right.trunc(),
        "round" => {
            let scale = 10f64.powf(right.trunc());
            (left * scale).round() / scale
        }
        "=" => truth(left == right),
        "<>" | "!=" => truth(left != right),
        "<" => truth(left < right),
        ">" => truth(left > right),
        "<=" => truth(left <= right),
        _ => truth(left >= right),
    }
}
