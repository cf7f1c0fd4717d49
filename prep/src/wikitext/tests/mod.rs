use std::fmt::Write as _;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

mod formulas;
mod languages;
mod layout;
mod words;

/// Paragraphs joined by line breaks.
fn prose(wikitext: &str) -> String {
    extract(&Site::default(), "Alpha (letter)", wikitext).join("\n")
}

fn check(cases: &[(&str, &str)]) {
    for (wikitext, expected) in cases {
        assert_eq!(prose(wikitext), *expected, "{wikitext}");
    }
}

#[test]
fn links_show_what_a_reader_sees() {
    check(&[
        ("The [[cat]] sat.", "The cat sat."),
        ("The [[Felis catus|cat]] sat.", "The cat sat."),
        ("Two [[cat]]s sat.", "Two cats sat."),
        ("In [[Boston, Massachusetts|]].", "In Boston."),
        ("The [[Mercury (planet)|]].", "The Mercury."),
        ("See [[Help:Links|]].", "See Links."),
        ("See [[Cat#Behaviour]].", "See Cat."),
        ("See [[#Behaviour]].", "See Behaviour."),
        ("See [[:Category:Cats]].", "See Cats."),
        ("A [[wikt:mouser|mouser]] and a [[wikt:ratter]].", "A mouser and a ratter."),
        ("A [[a|b|c]].", "A c."),
        ("[[fr:Chat]] Text [[zh-min-nan:Niau]] here.", "Text here."),
        ("Text.[[Category:Cats|Cats]]\n[[Category:Pets]]", "Text."),
        ("[[2001: A Space Odyssey]] is a film.", "2001: A Space Odyssey is a film."),
        ("[[a [b] c]] d.", "a [b] c d."),
        ("[[http://example.org the site]] is up.", "the site is up."),
    ]);
}

#[test]
fn files_go_with_their_captions() {
    check(&[
        ("[[File:Cat.jpg|thumb|A [[cat]] on a {{convert|5|m}} [[mat|rug]]]]Cats sit.", "Cats sit."),
        ("[[Image:Cat.jpg]] Cats [[image:x.png|20px]] sit.", "Cats sit."),
        ("[[Datei:Katze.jpg|mini|Eine [[Katze]]]]Sie sitzt.", "Sie sitzt."),
        ("[[:File:Cat.jpg|The picture]] is old.", "The picture is old."),
    ]);
}

#[test]
fn a_site_knows_its_own_namespaces() {
    let site = Site::new([("Mynd", 6), ("Flokkur", 14), ("", 0), ("Notandi", 2)]);
    let text = "[[Mynd:X.jpg|thumb|caption]]Köttur[[Flokkur:Kettir]] er [[Notandi:A|hér]].";
    assert_eq!(extract(&site, "", text), ["Köttur er hér."]);
}

#[test]
fn external_links_keep_their_text_and_addresses_go() {
    check(&[
        ("A [http://example.org/a?b=c link] here.", "A link here."),
        ("A claim.[http://example.org/]", "A claim."),
        ("A [//example.org link], [mailto:a@b.c mail].", "A link, mail."),
        ("See http://example.org/x_(y). Then (https://example.org/z) go.", "See. Then go."),
        ("An [interval] and [sic].", "An [interval] and [sic]."),
        ("A [http://example.org broken link.", "A broken link."),
        ("A [http://example.org '''bold''' [[link|text]]] here.", "A bold text here."),
    ]);
}

#[test]
fn templates_go_unless_they_stand_for_words() {
    check(&[
        (
            "{{Infobox cat\n| name = Tom\n| image = [[File:x.jpg]]\n| size = {{convert|3|kg}}\n}}\nTom is a cat.",
            "Tom is a cat.",
        ),
        ("Water{{citation needed|date=May 2010}} is wet.", "Water is wet."),
        ("It is {{convert|5|km|mi|abbr=on}} long.", "It is 5 km long."),
        ("It is {{convert|3|to|5|sqmi|km2}} big.", "It is 3 to 5 sq mi big."),
        ("It is {{convert|5|ft|11|in|m}} tall.", "It is 5 ft 11 in tall."),
        ("It is {{convert|50|-|60|F|C}}, or {{cvt|2|by|4|m}}.", "It is 50–60 °F, or 2 by 4 m."),
        ("A {{lang|fr|mot juste}} or {{lang-de|Wort}}.", "A mot juste or German: Wort."),
        ("The {{nowrap|{{lang|la|''anno''}} Domini}}.", "The anno Domini."),
        ("Five{{nbsp}}km {{ndash}} no more{{snd}}really.", "Five km – no more – really."),
        ("{{As of|2010}}, and {{as of|2011|6|lc=y}}.", "As of 2010, and as of June 2011."),
        ("Born {{circa|1066}} or {{c.|1070|1080}}.", "Born c. 1066 or c. 1070–1080."),
        ("About {{frac|1|2}} and {{frac|3|1|4}}.", "About 1/2 and 3 1/4."),
        ("It cost {{US$|5 million|link=yes}} or {{£|3}}.", "It cost US$5 million or £3."),
        ("{{HMS|Victory}} met {{USS|Constitution}}.", "HMS Victory met USS Constitution."),
        ("{{nihongo|tea ceremony|茶道|sadō}} is old.", "tea ceremony (茶道, sadō) is old."),
        ("Kept {{nowrap|1=a = b}} whole.", "Kept a = b whole."),
        ("Text {{unknown|{{deep|{{deeper}}}}|[[a|b]]}}stays.", "Text stays."),
        ("{{{parameter|default}}} text.", "default text."),
        ("He said:\n{{quote|text=It is so.|author=X}}\nThen left.", "He said:\nIt is so.\nThen left."),
        ("Then {{Blockquote|It was.}} end.", "Then\nIt was.\nend."),
        ("{{a}}{{b}} text.", "text."),
    ]);
}

#[test]
fn holes_that_dropped_markup_leaves_are_closed() {
    check(&[
        ("Rome ({{IPAc-en|x}}; {{lang-it|Roma}}) is old.", "Rome (Italian: Roma) is old."),
        ("Rome ({{IPA|x}}; ) is old.", "Rome is old."),
        ("Rome ({{IPA-it|x}}) is old.", "Rome is old."),
        ("Rome (UK: {{IPA|x}} or {{IPA|y}}), is old.", "Rome, is old."),
        ("Rome (founded 753 BC; {{IPA|x}}) is old {{cn}}.", "Rome (founded 753 BC) is old."),
        ("Rome, {{x}}, Italy {{x}}, is old.", "Rome, Italy, is old."),
        ("A .22 rifle and a .NET library .", "A .22 rifle and a .NET library."),
    ]);
}

#[test]
fn references_and_other_tags_go_with_their_content() {
    check(&[
        ("A.<ref>{{cite web|url=http://x}}</ref> B.<ref name=\"n\" /> C.<ref name=n>x</ref> D.", "A. B. C. D."),
        ("A.<ref>one <ref>two</ref> B.", "A. B."),
        ("A.<ref group=\"a\">x [[y]] {{z</ref> B.", "A. B."),
        ("So <math>x^2 < {{y}}</math> holds <chem>H2O</chem>.", "So x² < y holds H2O."),
        ("A.<gallery>\nFile:x.jpg|caption\n</gallery>B.", "A.B."),
        ("A.\n<syntaxhighlight lang=\"c\">int [[x]];</syntaxhighlight>\n<pre>y</pre>", "A."),
        ("A <!-- hidden [[x --> B.\n<!-- line -->\nC.", "A B. C."),
        ("A.\n\n<references>\n<ref name=a>x</ref>\n</references>", "A."),
        ("An <code>if</code> and H<sub>2</sub>O <span style=\"x\">now</span>.", "An if and H2O now."),
        ("One.<br/>Two.<p>Three.</p><blockquote>Four.</blockquote>", "One. Two.\nThree.\nFour."),
        ("<ul><li>This is a whole sentence.</li><li>No</li></ul>", "This is a whole sentence."),
        ("If a < b and c > d, <foo> stays.", "If a < b and c > d, <foo> stays."),
        ("<TABLE><TR><TD>cell [[x]]</TD></TR></TABLE>Text.", "Text."),
        ("<nowiki>[[not a link]] ''x'' {{y}} | &amp;</nowiki> here.", "[[not a link]] ''x'' {{y}} | & here."),
    ]);
}

#[test]
fn an_unclosed_reference_does_not_swallow_prose() {
    check(&[
        ("A.<ref>source\n\nB is long.<ref>x</ref> C.", "A.source\nB is long. C."),
        ("A.<ref>source\n\n== Head ==\nB.", "A.source\nB."),
        ("A.<ref name=x> B.", "A. B."),
    ]);
}

#[test]
fn tables_go_nested_or_not() {
    check(&[
        ("A.\n{| class=\"x\"\n|-\n! head\n| cell [[x]]\n|}\nB.", "A.\nB."),
        ("A.\n{|\n| x\n{|\n| y\n|}\n| z\n|}\nB.", "A.\nB."),
        (":{| class=x\n| y\n|}\nB.", "B."),
        ("{{{!}} class=x\n{{!}} y\n{{!}}}\nB.", "B."),
        ("A.\n{|\n| x\n! y\nB is prose.\n\nC.", "A.\nB is prose.\nC."),
        ("A.\n|}\nB.", "A.\nB."),
    ]);
}

#[test]
fn headings_and_reference_sections_go() {
    check(&[
        ("A.\n== Life ==\nB.\n=== ''Early'' years ===\nC.", "A.\nB.\nC."),
        ("A.\n== References ==\nx.\n=== Notes ===\ny.\n== Death ==\nB.", "A.\nB."),
        ("A.\n==See also==\n* This would be a sentence.\n", "A."),
        ("A.\n== External links: ==\n x", "A."),
        ("a == b and c.", "a == b and c."),
    ]);
}

#[test]
fn list_items_stay_if_they_are_sentences() {
    check(&[
        (
            "* [[Cats]]\n* A cat is a pet.\n# Dogs (1999)\n:; They are also \"kept as pets.\"",
            "A cat is a pet.\nThey are also \"kept as pets.\"",
        ),
        ("Text\n: It is indented and whole.\nmore text.", "Text\nIt is indented and whole.\nmore text."),
    ]);
}

#[test]
fn lines_of_a_paragraph_are_joined() {
    check(&[("A b\nc d.\n\n  E.\r\nF.\n----\nG.", "A b c d.\nE. F.\nG."), ("- 5 degrees.", "- 5 degrees.")]);
}

#[test]
fn bold_and_italic_marks_go_and_apostrophes_stay() {
    check(&[
        ("'''Bold''' ''italic'' '''''both'''''.", "Bold italic both."),
        ("L'''amour'' is ''here'' and the dogs' '''bone'''.", "L'amour is here and the dogs' bone."),
        ("The ''Times''' reporter.", "The Times' reporter."),
        ("''''Quoted'''' bold.", "'Quoted' bold."),
        ("It's 5' tall.", "It's 5' tall."),
    ]);
}

#[test]
fn entities_and_magic_words_are_resolved() {
    check(&[
        (
            "a&nbsp;b &ndash; c&#160;d &#x41; &eacute; &amp; &lt;b&gt; &amp;nbsp;x &unknown; AT&T",
            "a b – c d A é & <b> x &unknown; AT&T",
        ),
        ("__NOTOC__Text__NOEDITSECTION__ snake__case.", "Text snake__case."),
        ("Windows&#150;style&#133;", "Windows–style…"),
    ]);
}

#[test]
fn broken_markup_loses_its_brackets_and_keeps_its_words() {
    check(&[
        ("A [[Paris|capital of France.\n\nB.", "A capital of France.\nB."),
        ("A [[link that never ends.\n\nB [[ok]].", "A link that never ends.\nB ok."),
        ("{{Infobox x\n| a = b\nText is here.\n\nMore text.", "Text is here.\nMore text."),
        ("A {{convert|5|km long road.", "A km long road."),
        ("A ]] b }} c.", "A b c."),
        ("{{a} is open {{b}}here.", "a} is open here."),
        ("[[[[a]] b", "a b"),
        ("[[[http://example.org a]]]", "[a]"),
        ("[[File:x.jpg|thumb|caption\n\nText.", "Text."),
        ("{{x|[[a|b}} Text.", "Text."),
        ("Text <!-- rest", "Text"),
    ]);
}

#[test]
fn redirects_and_disambiguation_pages_are_recognised() {
    assert!(is_redirect("#REDIRECT [[Cat]]"));
    assert!(is_redirect("\n# weiterleitung [[Katze]]"));
    assert!(!is_redirect("# First item of [[list]]"));
    assert!(is_disambiguation("Mercury", "'''Mercury''' may be:\n* x\n{{Disambig}}"));
    assert!(is_disambiguation("Mercury", "x {{hospital disambiguation|y}}"));
    assert!(is_disambiguation("Mercury (disambiguation)", ""));
    assert!(!is_disambiguation("Mercury", "{{about|the planet}} a {{Disambiguation needed|date=x}}"));
}

#[test]
fn the_site_default_is_stable_text() {
    let mut text = String::new();
    for i in 0..3 {
        write!(text, "P{i} is '''here'''.\n\n").unwrap();
    }
    assert_eq!(extract(&Site::default(), "", &text), ["P0 is here.", "P1 is here.", "P2 is here."]);
}

/// A megabyte of anything takes time in proportion; quadratic work would take minutes.
#[test]
fn repeated_brackets_take_linear_time() {
    let units = [
        "-{",
        "-{|",
        "}-",
        "{{ipa|x}}",
        "({{age|1}}",
        "{{age|1}})",
        "<sup>",
        "<math>x</math>",
        ":<math>x</math>\n",
        "a\n\n<math>x</math>\n",
        "{{#if:|",
        "{{lc:",
        "{|\n|x\n",
        "{|\n|",
        ":a b c\n",
        "{{lang-de|",
        "{{convert|5|km|",
        "{{",
        "[[",
        "}}",
        "]]",
        "{",
        "[",
        "}",
        "]",
        "{{{",
        "[[a|",
        "{{a|",
        "{{nowrap|",
        "<ref>",
        "<ref>\n\n",
        "<math>",
        "<!--",
        "{|\n",
        "|}\n",
        "|",
        "'''",
        "''",
        "''a'''",
        "[http://a ",
        "[//",
        "&",
        "&amp;",
        "__",
        "__A",
        "(",
        "( ",
        ")",
        ", )",
        "(,",
        "(or ",
        "<",
        "</ref",
        "<br ",
        "==",
        "\n=",
        "=\n",
        "\n\n[[",
        "\n*",
        "http://",
        "h",
        "~",
        ",",
        ", ",
        "{{a|\n",
        "[[\n",
        "[[a]]",
        "{{a}}",
        "{{!}}",
        "a '''b'' ",
        "<nowiki>",
        "\u{1}",
        "{{lang|x|",
    ];
    for unit in units {
        let text = unit.repeat((1 << 20) / unit.len());
        let both = format!("{text}x{}", "}}]]".repeat(1 << 17));
        let start = Instant::now();
        prose(&text);
        prose(&both);
        assert!(start.elapsed() < Duration::from_secs(8), "{unit:?} took {:?}", start.elapsed());
    }
    let nested = format!("{}x y{}", "{{nowrap|".repeat(1 << 16), "}}".repeat(1 << 16));
    prose(&nested);
}

proptest! {
    #[test]
    fn no_text_of_markup_tokens_makes_it_panic_or_leaves_marks(tokens in prop::collection::vec(prop::sample::select(vec![
        "{{", "}}", "{{{", "}}}", "[[", "]]", "[", "]", "|", "{|", "|}", "|-", "!", "\n", "\n\n", " ", "a", "Word", "é", "中", "'", "''", "'''", "'''''",
        "<ref>", "</ref>", "<ref name=x/>", "<nowiki>", "</nowiki>", "<!--", "-->", "<br>", "<math>", "</math>", "<table>", "</table>", "<", ">",
        "==", "=", "*", "#", ":", ";", "File:", "Category:", "http://x.y", "&nbsp;", "&#65;", "&", "__NOTOC__", "(", ")", ",", ".", "lang", "convert", "5", "km",
        "quote", "nowrap", "\u{1}", "\u{4}", "\u{e05b}", "----", "~~~~",
    ]), 0..60)) {
        let text = tokens.concat();
        for paragraph in extract(&Site::default(), "", &text) {
            prop_assert!(!paragraph.is_empty());
            prop_assert_eq!(paragraph.trim(), paragraph.as_str());
            prop_assert!(!paragraph.chars().any(|c| c.is_control()), "{:?} -> {:?}", text, paragraph);
            prop_assert!(!paragraph.contains("  "), "{:?} -> {:?}", text, paragraph);
            // A lone bracket of the text may end up beside another one, and formulas have such: `k[[x]]` is a ring of power series.
            let lone = ["<nowiki>", "<math>", "\u{e05b}", "[", "]", "{{{", "}}}", "{|", "|}"].iter().any(|token| tokens.contains(token));
            if !lone {
                for residue in ["{{", "[[", "]]", "}}"] {
                    prop_assert!(!paragraph.contains(residue), "{:?} -> {:?}", text, paragraph);
                }
            }
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        extract(&Site::default(), "", &text);
    }

    #[test]
    fn plain_words_are_kept_as_they_are(words in prop::collection::vec("[a-zA-Zéü]{1,9}", 1..40)) {
        let text = words.join(" ");
        prop_assert_eq!(prose(&text), text);
    }
}
