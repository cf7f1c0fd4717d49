//! Measures, numbers and money.

use super::{Call, functions};
use crate::wikitext::{marker, scripts};

/// Codes of the template that are not what a reader sees.
#[rustfmt::skip]
const UNITS: &[(&str, &str)] = &[
    ("sqmi", "sq mi"), ("sqkm", "km²"), ("sqft", "sq ft"), ("sqm", "m²"), ("sqyd", "sq yd"), ("sqin", "sq in"), ("km2", "km²"),
    ("m2", "m²"), ("cm2", "cm²"), ("mm2", "mm²"), ("m3", "m³"), ("km3", "km³"), ("cm3", "cm³"), ("cuft", "cu ft"),
    ("cumi", "cu mi"), ("cuyd", "cu yd"), ("cuin", "cu in"), ("usgal", "US gal"), ("u.s.gal", "US gal"), ("impgal", "imp gal"),
    ("c", "°C"), ("f", "°F"), ("k", "K"), ("kph", "km/h"), ("kmh", "km/h"), ("kn", "knots"), ("lbs", "lb"), ("lbf", "lbf"), ("acre", "acres"),
    ("mile", "miles"), ("foot", "feet"), ("inch", "inches"), ("ton", "tons"), ("tonne", "tonnes"), ("oldmi", "mi"), ("m/s2", "m/s²"),
    ("cuft/s", "cu ft/s"), ("m3/s", "m³/s"), ("pd/sqmi", "inhabitants per square mile"), ("pd/km2", "inhabitants per square kilometre"),
    ("pd/sqkm", "inhabitants per square kilometre"), ("kg/m3", "kg/m³"), ("shton", "short tons"), ("lt", "long tons"),
];
/// Words and signs between two amounts.
#[rustfmt::skip]
const RANGES: &[(&str, &str)] = &[
    ("to", " to "), ("-", "–"), ("–", "–"), ("to(-)", " to "), ("and", " and "), ("and(-)", " and "), ("or", " or "), ("by", " by "),
    ("x", " × "), ("×", " × "), ("*", " × "), ("xx", " × "), ("+/-", " ± "), ("±", " ± "), ("+", " + "), (",", ", "), ("to about", " to about "),
];

/// `{{convert|5|km|mi}}` reads "5 km", `{{convert|3|to|5|ft|6|in}}`... the amounts and units up to the first target unit.
pub(super) fn convert(call: &Call<'_>) -> String {
    if call.get("disp").is_some_and(|disp| disp.starts_with("out")) {
        // Only the converted amount is shown, which this does not know.
        return marker::HOLE.into();
    }
    let arguments: Vec<&str> = call.positional.iter().map(|text| text.trim()).collect();
    let mut out = String::new();
    let mut rest = &arguments[..];
    let mut measured = false;
    while let [amount, after @ ..] = rest
        && is_amount(amount)
    {
        let next = after.first().copied().unwrap_or_default();
        // After a measure, a number without a unit says how the result is rounded.
        if measured && next.is_empty() {
            break;
        }
        if !out.is_empty() && !out.ends_with([' ', '–']) {
            out.push(' ');
        }
        out.push_str(&if call.english { functions::grouped(amount, "") } else { (*amount).to_owned() });
        match find(RANGES, next) {
            Some(joint) => out.push_str(joint),
            None if next.is_empty() => break,
            None => {
                out.push(' ');
                out.push_str(&unit(next));
                measured = true;
            }
        }
        rest = after.get(1..).unwrap_or_default();
    }
    out.trim_end().to_owned()
}

/// What a reader sees of a unit's code; `e6km2` are millions.
fn unit(code: &str) -> String {
    let (scale, code) = match code.split_at_checked(2) {
        Some(("e3", rest)) => ("thousand ", rest),
        Some(("e6", rest)) => ("million ", rest),
        Some(("e9", rest)) => ("billion ", rest),
        _ if code.starts_with("e12") => ("trillion ", &code[3..]),
        _ => ("", code),
    };
    format!("{scale}{}", find(UNITS, &code.to_lowercase()).unwrap_or(code))
}

/// `{{val|6.241|e=18|u=C}}` reads "6.241×10¹⁸ C"; a second number is the uncertainty.
pub(super) fn value(call: &Call<'_>) -> String {
    let uncertainty = match call.at(1) {
        "" => String::new(),
        digits if digits.starts_with('(') => digits.to_owned(),
        other => format!("±{other}"),
    };
    let exponent = call.get("e").map(|e| format!("×10{}", scripts::superscript(e))).unwrap_or_default();
    let unit = call.get("u").or(call.get("ul")).map(|unit| format!(" {unit}")).unwrap_or_default();
    let before = call.get("p").unwrap_or_default();
    format!("{before}{}{uncertainty}{exponent}{unit}", call.at(0))
}

/// `{{e|24}}` reads "×10²⁴".
pub(super) fn power(call: &Call<'_>) -> String {
    match call.at(0) {
        "" => String::new(),
        exponent => format!("×10{}", scripts::superscript(exponent)),
    }
}

/// `{{frac|1|2}}` reads "1/2", `{{frac|3|1|2}}` "3 1/2".
pub(super) fn fraction(call: &Call<'_>) -> String {
    match call.filled().collect::<Vec<_>>()[..] {
        [] => String::new(),
        [below] => format!("1/{below}"),
        [above, below] => format!("{above}/{below}"),
        [whole, above, below, ..] => format!("{whole} {above}/{below}"),
    }
}

/// `{{ordinal|3}}` reads "3rd".
pub(super) fn ordinal(call: &Call<'_>) -> String {
    let number = call.at(0);
    let suffix = match number.as_bytes() {
        [.., b'1', b'1' | b'2' | b'3'] => "th",
        [.., b'1'] => "st",
        [.., b'2'] => "nd",
        [.., b'3'] => "rd",
        [.., b'0'..=b'9'] => "th",
        _ => "",
    };
    format!("{number}{suffix}")
}

/// `{{percentage|1|4}}` reads "25%".
pub(super) fn percentage(call: &Call<'_>) -> String {
    let (Ok(share), Ok(whole)) = (call.at(0).parse::<f64>(), call.at(1).parse::<f64>()) else {
        return marker::HOLE.into();
    };
    let digits = call.at(2).parse::<usize>().unwrap_or(0).min(6);
    format!("{:.digits$}%", share / whole * 100.0)
}

/// `{{height|ft=5|in=11}}` reads "5 ft 11 in".
pub(super) fn height(call: &Call<'_>) -> String {
    let measure = |unit: &str, keys: [&str; 2]| {
        keys.iter().find_map(|key| call.get(key)).map(|amount| format!("{amount} {unit}"))
    };
    let all = [
        measure("m", ["m", "meters"]),
        measure("cm", ["cm", "cm"]),
        measure("ft", ["ft", "feet"]),
        measure("in", ["in", "inch"]),
    ];
    all.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// `{{RailGauge|1435mm}}` reads "1435 mm", `{{track gauge|4ft8.5in}}` "4 ft 8.5 in".
pub(super) fn gauge(call: &Call<'_>) -> String {
    let mut out = String::new();
    let mut before = ' ';
    for c in call.at(0).chars() {
        let boundary = before.is_ascii_digit() && c.is_alphabetic() || before.is_alphabetic() && c.is_ascii_digit();
        if boundary {
            out.push(' ');
        }
        out.push(c);
        before = c;
    }
    out
}

/// `{{Pop density|3000|1500|km2|sqmi|prec=1}}` reads "2.0/km²".
pub(super) fn density(call: &Call<'_>) -> String {
    let number = |at: usize| call.at(at).replace(',', "").parse::<f64>().ok().filter(|value| *value > 0.0);
    let (Some(people), Some(area)) = (number(0), number(1)) else { return marker::HOLE.into() };
    let density = people / area;
    let digits = call.get("prec").and_then(|digits| digits.parse().ok()).unwrap_or(usize::from(density < 10.0)).min(6);
    let unit = call.at(2);
    format!("{density:.digits$}/{}", find(UNITS, unit).unwrap_or(unit))
}

/// `{{unité|5|km}}` reads "5 km", `{{unité|5|km|2}}` "5 km²", `{{M|5|k|m}}` of the Italian Wikipedia "5 km".
pub(super) fn plain(call: &Call<'_>) -> String {
    let (amount, unit, third) = (call.at(0), call.at(1), call.at(2));
    let unit = match third {
        "" => call.get("ul").unwrap_or(unit).to_owned(),
        third if third.parse::<i8>().is_ok() => format!("{unit}{}", scripts::superscript(third)),
        third => format!("{unit}{third}"),
    };
    if amount.is_empty() { String::new() } else { format!("{amount} {unit}").trim_end().to_owned() }
}

/// `{{INRConvert|500|c}}` reads "₹500 crore".
pub(super) fn rupees(call: &Call<'_>) -> String {
    let scale = match call.at(1) {
        "c" => " crore",
        "l" => " lakh",
        "lc" => " lakh crore",
        "m" => " million",
        "b" => " billion",
        _ => "",
    };
    format!("₹{}{scale}", call.at(0))
}

fn find(entries: &[(&str, &'static str)], name: &str) -> Option<&'static str> {
    entries.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// Numbers with signs, commas, fractions (`1/2`, `1+1/2`) and exponents.
fn is_amount(text: &str) -> bool {
    text.chars().any(|c| c.is_ascii_digit()) && text.chars().all(|c| c.is_ascii_digit() || "+-−–.,/e×^~ ".contains(c))
}
