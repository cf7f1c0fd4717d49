//! `-{...}-`: a word in several scripts or regions.
//!
//! Source: <https://www.mediawiki.org/wiki/Writing_systems/Syntax>.

/// What a reader sees of `-{parts[0]|parts[1]}-`: the text, or the first of its variants.
///
/// Rules that only define a conversion (flags `H`, `T`, `-` and `+`) show nothing.
pub(super) fn shown(parts: &[&str]) -> String {
    let (flags, text) = match parts {
        [text] => ("", *text),
        [flags, text, ..] => (flags.trim(), *text),
        [] => return String::new(),
    };
    if flags.split(';').any(|flag| matches!(flag.trim(), "H" | "T" | "-" | "D")) {
        return String::new();
    }
    text.split(';').find_map(variant).unwrap_or_else(|| text.trim().to_owned())
}

/// The text of `zh-hans:text`, also of the one-way `from=>zh-hans:text`.
fn variant(rule: &str) -> Option<String> {
    let rule = rule.rsplit_once("=>").map_or(rule, |(_, rule)| rule);
    let (code, text) = rule.split_once(':')?;
    let is_code =
        |code: &str| (2..=10).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    is_code(code.trim()).then(|| text.trim().to_owned())
}
