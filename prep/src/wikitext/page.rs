//! What kind of page this is, seen from its source.

use super::templates;

/// Names of the templates that mark a disambiguation page; names that end in "disambiguation" do too.
const DISAMBIGUATION: &str = "disambig disamb dab dis disam hndis hndisambig geodis geo-dis mathdab mathdisambig numberdis \
    roaddis schooldis hospitaldis taxonomydis shipdis callsigndis letter-number_combination_disambiguation \
    disambiguation_page disambig-cleanup disambiguation_cleanup bio-dab begriffsklärung homonymie desambiguación \
    desambiguacion disambigua dp doorverwijspagina неоднозначность ujednoznacznienie disambigpage aimai 消歧义 消歧義";

/// Words that begin a redirect, in the languages of the large wikis.
const REDIRECT: &str = "redirect weiterleitung redirection redirección rinvia redirecionamento doorverwijzing \
    перенаправление patrz tam przekieruj 転送 リダイレクト 重定向 넘겨주기 تحويل הפניה";

/// Whether the page only points to another (for dumps that do not say so themselves).
pub fn is_redirect(text: &str) -> bool {
    let Some(rest) = text.trim_start().strip_prefix('#') else { return false };
    let word = rest.trim_start().split([':', '[', ' ', '\n', '\t']).next().unwrap_or_default().to_lowercase();
    rest.contains("[[") && REDIRECT.split_whitespace().any(|known| known == word)
}

/// Whether the page lists meanings of its title: by the title, or by a template that says so.
pub fn is_disambiguation(title: &str, text: &str) -> bool {
    if title.ends_with("(disambiguation)") {
        return true;
    }
    memchr::memmem::find_iter(text.as_bytes(), b"{{").any(|at| {
        let rest = &text[at + 2..];
        // Names are short; the nearest end decides.
        let mut end = rest.len().min(64);
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        let name = rest[..end].split(['|', '}', '{', '<', '\n']).next().unwrap_or_default();
        let name = templates::normalize(name).replace(' ', "_");
        name.ends_with("disambiguation") || DISAMBIGUATION.split_whitespace().any(|known| known == name)
    })
}
