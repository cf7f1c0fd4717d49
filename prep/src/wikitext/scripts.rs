//! Raised and lowered characters.

/// Digits and signs that Unicode has raised, in the order of [`PLAIN`].
const RAISED: &str = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁻ⁿⁱ";
/// The same lowered; there is no lowered n or i that fonts and vocabularies know.
const LOWERED: &str = "₀₁₂₃₄₅₆₇₈₉₊₋₋₋";
const PLAIN: &str = "0123456789+-−–ni";
/// Raised text longer than this is no exponent, in bytes.
const MAX_RAISED_BYTES: usize = 24;

/// `6` becomes `⁶`; what Unicode does not have raised stays as it is.
pub(super) fn superscript(text: &str) -> String {
    exchanged(text, RAISED).unwrap_or_else(|| text.to_owned())
}

/// The raised text, if Unicode has all of it.
pub(super) fn raised(text: &str) -> Option<String> {
    exchanged(text, RAISED)
}

/// The lowered text, if Unicode has all of it.
pub(super) fn lowered(text: &str) -> Option<String> {
    exchanged(text, LOWERED)
}

fn exchanged(text: &str, forms: &str) -> Option<String> {
    text.trim()
        .chars()
        .map(|c| PLAIN.chars().position(|plain| plain == c).and_then(|at| forms.chars().nth(at)))
        .collect()
}

/// The exponent that `rest`, what follows `<sup>`, begins with, and its length with the closing tag.
///
/// `10<sup>6</sup>` must not become 106; `19<sup>th</sup>` may stay 19th.
pub(super) fn exponent(rest: &str) -> Option<(String, usize)> {
    let end = rest.bytes().take(MAX_RAISED_BYTES).position(|b| b == b'<')?;
    let tag = rest.get(end..end + 6)?;
    let text = rest[..end].replace("&minus;", "−").replace("&nbsp;", "");
    let numeric = text.chars().any(|c| c.is_ascii_digit() || matches!(c, '+' | '-' | '−' | '–' | 'n'));
    (tag.eq_ignore_ascii_case("</sup>") && numeric).then(|| Some((raised(&text)?, end + 6)))?
}
