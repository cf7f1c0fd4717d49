//! Double-bracket links.

use super::{Namespace, Site};

/// Language codes longer than three letters that Wikipedia uses as link prefixes.
const LONG_LANGUAGE_CODES: &[&str] = &[
    "simple",
    "be-tarask",
    "be-x-old",
    "zh-min-nan",
    "zh-classical",
    "zh-yue",
    "zh-cn",
    "zh-tw",
    "roa-rup",
    "roa-tara",
    "bat-smg",
    "cbk-zam",
    "fiu-vro",
    "map-bms",
    "nds-nl",
    "eml",
    "tokipona",
    "minnan",
];

/// What a reader sees of `[[parts[0]|parts[1]|..]]`; nothing for files, categories and links to other languages.
pub(super) fn resolve(site: &Site, parts: &[&str]) -> String {
    let target = parts[0].trim();
    if target.contains('\n') {
        // Not a link at all: brackets in running text.
        return parts.join(" ");
    }
    let visible = target.strip_prefix(':').map(str::trim_start);
    let (prefix, page) = target.split_once(':').unwrap_or(("", target));
    if visible.is_none() && !prefix.is_empty() {
        match site.namespace(prefix) {
            Some(Namespace::File | Namespace::Category) => return String::new(),
            Some(Namespace::Other) => {}
            None if is_address(target) => return text_after_address(parts),
            None if is_language(prefix) && !page.starts_with(' ') => return String::new(),
            None => {}
        }
    }
    let target = visible.unwrap_or(target);
    match parts {
        [_] => bare(site, target).to_owned(),
        [_, .., text] if !text.trim().is_empty() => (*text).to_owned(),
        _ => pipe_trick(target).to_owned(),
    }
}

/// `Page#Section` shows the page, `#Section` the section, a prefix that is not part of the title goes.
fn bare<'t>(site: &Site, target: &'t str) -> &'t str {
    let page = match target.split_once('#') {
        Some(("", section)) => section,
        Some((page, _)) => page,
        None => target,
    };
    match page.split_once(':') {
        Some((prefix, rest)) if is_interwiki(prefix) || site.namespace(prefix) == Some(Namespace::Category) => rest,
        _ => page,
    }
}

/// `[[Boston, Massachusetts|]]` shows Boston, `[[Mercury (planet)|]]` Mercury, `[[Help:Links|]]` Links.
fn pipe_trick(target: &str) -> &str {
    let page = target.split_once(':').map_or(target, |(_, page)| page);
    let page = page.split_once(" (").map_or(page, |(page, _)| page);
    page.split_once(", ").map_or(page, |(page, _)| page).trim()
}

pub(super) fn is_language(prefix: &str) -> bool {
    let short = (2..=3).contains(&prefix.len()) && prefix.bytes().all(|b| b.is_ascii_lowercase());
    short || LONG_LANGUAGE_CODES.contains(&prefix)
}

fn is_interwiki(prefix: &str) -> bool {
    matches!(
        prefix.to_ascii_lowercase().as_str(),
        "w" | "wikt"
            | "wiktionary"
            | "s"
            | "wikisource"
            | "b"
            | "wikibooks"
            | "q"
            | "wikiquote"
            | "n"
            | "wikinews"
            | "v"
            | "c"
            | "commons"
            | "d"
            | "wikidata"
            | "m"
            | "meta"
            | "mw"
            | "species"
            | "voy"
            | "wikipedia"
            | "wp"
    ) || is_language(prefix)
}

fn is_address(target: &str) -> bool {
    ["http:", "https:", "ftp:", "mailto:"].iter().any(|scheme| target.starts_with(scheme))
}

/// `[[http://example.org the text]]`, which was meant to have single brackets.
fn text_after_address(parts: &[&str]) -> String {
    match parts {
        [only] => only.split_once(' ').map(|(_, text)| text.to_owned()).unwrap_or_default(),
        [_, .., text] => (*text).to_owned(),
        [] => String::new(),
    }
}
