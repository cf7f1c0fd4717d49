//! What kind of page this is, seen from its source.

use std::collections::HashSet;
use std::sync::LazyLock;

use super::templates;

/// Names of the templates that mark a disambiguation page; names that end in "disambiguation" do too.
#[rustfmt::skip]
const DISAMBIGUATION: &str = "disambig disamb dab dis disam hndis hndisambig geodis geo-dis mathdab mathdisambig numberdis \
    roaddis schooldis hospitaldis taxonomydis shipdis callsigndis letter-number_combination_disambiguation \
    disambiguation_page disambig-cleanup disambiguation_cleanup bio-dab surname given_name sia set_index set_index_article \
    shipindex ship_index roadindex mountainindex lakeindex begriffsklärung bksicht homonymie homonyme \
    patronyme paronymie toponymie desambiguación desambiguacion desambiguação desambig desambigua disambigua dp dpintro \
    doorverwijspagina neenamen неоднозначность неоднозначность/тип disambig/ru однофамильцы ujednoznacznienie disambigpage aimai \
    人名の曖昧さ回避 地名の曖昧さ回避 曖昧さ回避 消歧义 消歧義 消歧義頁 消歧义页 多義 disambig-zh 同名 동음이의 동명이인 동음이의어 \
    grensida förgrening gren peker tvydig flertydig flertydige_titler täsmennyssivu rozcestník rozlišovacia_stránka egyért egyértelműsítő_lap \
    dezambiguizare anlam_ayrımı عطف توضيح ابهام‌زدایی פירושונים багатозначність пояснение razločitev višeznačna_odrednica \
    вишезначна_одредница apartigilo argipen desambiguació αποσαφήνιση định_hướng trang_định_hướng बहुविकल्पी แก้กำกวม";
/// How the titles of such pages may end.
#[rustfmt::skip]
const TITLES: [&str; 12] = [
    "(disambiguation)", "(Begriffsklärung)", "(homonymie)", "(desambiguación)", "(desambiguação)", "(disambigua)", "(doorverwijspagina)",
    "(значения)", "(ujednoznacznienie)", "(曖昧さ回避)", "(消歧义)", "(消歧義)",
];

/// Words that begin a redirect, in the languages of the large wikis.
const REDIRECT: &str = "redirect weiterleitung redirection redirección redireccion rinvia redirecionamento doorverwijzing \
    перенаправление перенапр patrz tam przekieruj 転送 リダイレクト 重定向 넘겨주기 تحويل تغییر_مسیر הפניה przekieruj omdirigering \
    omdiriger uudelleenohjaus ohjaus přesměruj átirányítás redirecteaza yönlendirme ανακατευθυνση đổi alih пренасочване \
    перенаправлення преусмери preusmjeri alidirektu";

/// Whether the page only points to another (for dumps that do not say so themselves).
pub fn is_redirect(text: &str) -> bool {
    let Some(rest) = text.trim_start().strip_prefix('#') else { return false };
    let word = rest.trim_start().split([':', '[', ' ', '\n', '\t']).next().unwrap_or_default().to_lowercase();
    rest.contains("[[") && REDIRECT.split_whitespace().any(|known| known == word)
}

fn known(template: &str) -> bool {
    static NAMES: LazyLock<HashSet<&'static str>> = LazyLock::new(|| DISAMBIGUATION.split_whitespace().collect());
    NAMES.contains(template)
}

/// Whether the page lists meanings of its title: by the title, or by a template that says so.
pub fn is_disambiguation(title: &str, text: &str) -> bool {
    if TITLES.iter().any(|end| title.ends_with(end)) {
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
        name.ends_with("disambiguation") || known(&name)
    })
}
