//! Pages in the manner of other Wikipedias.

use super::super::*;

fn site(names: &[(&str, i64)]) -> Site {
    Site::new(names.iter().copied())
}

fn check(site: &Site, cases: &[(&str, &str)]) {
    for (wikitext, expected) in cases {
        assert_eq!(extract(site, "", wikitext).join("\n"), *expected, "{wikitext}");
    }
}

#[test]
fn german_pages() {
    let site = site(&[("Diskussion", 1), ("Datei", 6), ("Kategorie", 14), ("Vorlage", 10)]);
    check(
        &site,
        &[
            (
                "[[Datei:Turm.jpg|mini|Der [[Turm]].]]\n'''Turm''' ({{enS|tower}}) ist ein Bau.",
                "Turm (tower) ist ein Bau.",
            ),
            ("Er ist {{Höhe|512|DE-NHN}} hoch, {{\"|sehr hoch}}.", "Er ist 512 m hoch, “sehr hoch”."),
            ("Text.\n== Einzelnachweise ==\n<references />\n== Weblinks ==\n* Ein Link, der ein Satz ist.", "Text."),
            ("Er sagte:\n{{Zitat|Es ist so.}}", "Er sagte:\nEs ist so."),
            ("Der {{lang|fr|tour}} und {{lang-en|tower}}.[[Kategorie:Turm]]", "Der tour und tower."),
            ("Geboren ({{IPA|x}}; * 1. Mai 1900).", "Geboren (* 1. Mai 1900)."),
        ],
    );
}

#[test]
fn french_pages() {
    let site = site(&[("Discussion", 1), ("Fichier", 6), ("Catégorie", 14)]);
    check(
        &site,
        &[
            ("La tour date du {{s|XIX}} ou du {{XVIIe siècle}}.", "La tour date du XIXe siècle ou du XVIIe siècle."),
            ("Elle mesure {{unité|5|km|2}} et {{nombre|300|tours}}.", "Elle mesure 5 km² et 300 tours."),
            ("Le {{date-|1|janvier|1900}}, {{M.|Dupont}} vint.", "Le 1 janvier 1900, M. Dupont vint."),
            ("Il dit {{citation|c'est vrai}}.{{refnec|Peut-être}}.", "Il dit “c'est vrai”.Peut-être."),
            ("Voir {{lien|langue=en|trad=Tower|fr=Tour|texte=la tour}}.", "Voir la tour."),
            (
                "Texte.\n== Notes et références ==\n{{Références}}\n== Voir aussi ==\n=== Articles connexes ===\n* x",
                "Texte.",
            ),
            ("[[Fichier:Tour.jpg|vignette|La tour]]La {{1re}} tour.[[Catégorie:Tour]]", "La 1re tour."),
        ],
    );
}

#[test]
fn spanish_portuguese_and_italian_pages() {
    let site = site(&[("Discusión", 1), ("Archivo", 6), ("Categoría", 14)]);
    check(
        &site,
        &[
            ("Es del {{siglo|XIX||s}} y mide {{unidad|5|km}}.", "Es del siglo XIX y mide 5 km."),
            ("Texto.\n== Véase también ==\n* x\n== Enlaces externos ==\n* y", "Texto."),
            ("[[Archivo:Torre.jpg|miniatura|Una [[torre]]]]La torre.", "La torre."),
            (
                "Do {{séc|XIX}}, com {{fmtn|5|km}}.\n== Ligações externas ==\n* Uma frase que fica fora.",
                "Do século XIX, com 5 km.",
            ),
            ("Misura {{M|5|k|m}}.\n{{citazione|Così è.}}\n== Collegamenti esterni ==\n* x", "Misura 5 km.\nCosì è."),
            ("La torre {{senza fonte|è alta}}.\n== Note ==\n<references/>", "La torre è alta."),
        ],
    );
}

#[test]
fn russian_and_polish_pages() {
    let site = site(&[("Обсуждение", 1), ("Файл", 6), ("Категория", 14)]);
    check(
        &site,
        &[
            ("[[Файл:Башня.jpg|мини|Подпись]]'''Башня''' ({{lang-en|tower}}) стоит.", "Башня (tower) стоит."),
            ("Её {{нп5|Башня Х|построил Х|en|Tower X}} в {{s|1900 году}}.", "Её построил Х в 1900 году."),
            ("Видел {{нп5|Иван}} и {{iw|Пётр|Петра|de}}.", "Видел Иван и Петра."),
            ("Это {{num|1000|м}} и 15{{nbsp}}км.\n== Примечания ==\n{{примечания}}", "Это 1000 м и 15 км."),
            ("Wieża {{fakt|jest wysoka|data=2010-01}}.\n== Przypisy ==\n{{Przypisy}}", "Wieża jest wysoka."),
        ],
    );
}

#[test]
fn japanese_and_chinese_pages() {
    let site = site(&[("ノート", 1), ("ファイル", 6)]);
    check(
        &site,
        &[
            (
                "'''{{読み仮名|東京|とうきょう}}'''は、{{仮リンク|首都|en|Capital}}である。",
                "東京（とうきょう）は、首都である。",
            ),
            ("塔（{{lang-en|tower}}、{{IPA-en|x}}）は高い。", "塔（tower）は高い。"),
            (
                "塔は高い。{{要出典範囲|とても古い。|date=2010年}}\n== 脚注 ==\n{{Reflist}}\n== 外部リンク ==\n* 文です。",
                "塔は高い。とても古い。",
            ),
            ("[[ファイル:X.jpg|thumb|説明]]塔は高い。__目次強制__", "塔は高い。"),
            ("-{zh-hans:计算机;zh-hant:電腦}-是-{A|zh-cn:机器;zh-tw:機器}-。-{H|zh-cn:甲;zh-tw:乙}-", "计算机是机器。"),
            ("塔-{R|[[台灣|臺灣]]}-和-{台}-。", "塔臺灣和台。"),
            (
                "王某{{bd|1900年|1月2日|1990年|3月4日}}，{{link-en|作家|Writer}}。",
                "王某（1900年1月2日－1990年3月4日），作家。",
            ),
            ("他见{{tsl|en|Tower|塔}}与{{le|桥|Bridge}}。\n== 参考资料 ==\n* 书。", "他见塔与桥。"),
            ("* 这是一个完整的句子，所以留下。\n* 短句。", "这是一个完整的句子，所以留下。"),
        ],
    );
}

#[test]
fn scripts_with_their_own_full_stops() {
    let site = site(&[("वार्ता", 1)]);
    check(&site, &[("* यह एक पूरा वाक्य है।\n* नहीं\n== सन्दर्भ ==\n* यह एक पूरा वाक्य है।", "यह एक पूरा वाक्य है।")]);
}

#[test]
fn unclosed_variants_keep_their_words() {
    let site = Site::default();
    check(
        &site,
        &[
            ("A -{ b c.", "A -{ b c."),
            ("A [[x|-{b]] c.", "A -{b c."),
            ("A {{nowrap|-{b}} c.", "A -{b c."),
            ("A - {b} c -{{nowrap|d}}- e.", "A - {b} c -d- e."),
            ("A -{b|{{x}}}- c.", "A c."),
        ],
    );
}

#[test]
fn pages_that_are_no_articles_are_recognised_in_other_languages() {
    for text in [
        "#WEITERLEITUNG [[Turm]]",
        "#REDIRECCIÓN [[Torre]]",
        "#перенаправление [[Башня]]",
        "#転送 [[塔]]",
        "#重定向 [[塔]]",
        "#RINVIA[[Torre]]",
    ] {
        assert!(is_redirect(text), "{text}");
    }
    for text in [
        "x {{Begriffsklärung}}",
        "{{homonymie}}",
        "{{Desambiguación}} x",
        "{{disambigua}}",
        "{{неоднозначность}}",
        "{{aimai}}",
        "{{消歧义}}",
        "{{dp}}",
        "{{ujednoznacznienie}}",
        "{{Desambiguação}}",
        "{{disambiguation|geo}}",
        "{{Surname}}",
        "{{SIA}}",
        "{{Set index article}}",
        "{{given name}}",
        "{{동음이의}}",
        "{{Grensida}}",
        "{{Peker}}",
        "{{Rozcestník}}",
        "{{Anlam ayrımı}}",
        "{{توضيح}}",
        "{{Flertydig}}",
        "{{Egyért}}",
    ] {
        assert!(is_disambiguation("X", text), "{text}");
    }
    assert!(is_disambiguation("Turm (Begriffsklärung)", ""));
    assert!(!is_disambiguation("Turm", "{{Dieser Artikel|x}} {{surname list}}"));
}
