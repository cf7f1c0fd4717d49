//! `{{convert}}`: an amount in its original unit.

use super::templates::Call;

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
    let arguments = call.positional();
    let mut out = String::new();
    let mut at = 0;
    while let Some(amount) = arguments.get(at).map(|text| text.trim()).filter(|text| is_amount(text)) {
        if !out.is_empty() && !out.ends_with([' ', '–']) {
            out.push(' ');
        }
        out.push_str(amount);
        let Some(next) = arguments.get(at + 1).map(|text| text.trim()) else { break };
        at += 2;
        if let Some(joint) = find(RANGES, next) {
            out.push_str(joint);
            continue;
        }
        if !next.is_empty() {
            out.push(' ');
            out.push_str(find(UNITS, &next.to_lowercase()).unwrap_or(next));
        }
    }
    out.trim_end().to_owned()
}

fn find(entries: &[(&str, &'static str)], name: &str) -> Option<&'static str> {
    entries.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// Numbers with signs, commas, fractions (`1/2`, `1+1/2`) and exponents.
fn is_amount(text: &str) -> bool {
    text.chars().any(|c| c.is_ascii_digit()) && text.chars().all(|c| c.is_ascii_digit() || "+-−–.,/e×^~ ".contains(c))
}
