//! Templates and parser functions that stand for words.

use super::check;

#[test]
fn measures_and_numbers_read_as_in_the_article() {
    check(&[
        ("A rope of {{convert|12|m|ft|0|abbr=on}} holds.", "A rope of 12 m holds."),
        ("It lies {{convert|10|km|0}} east.", "It lies 10 km east."),
        ("Land of {{convert|2.5|e6km2|sqmi}}.", "Land of 2.5 million km²."),
        ("A trip of {{convert|1300|mi|km}}.", "A trip of 1,300 mi."),
        ("Oil ({{convert|5|ft3|disp=output only}} bn) is dear.", "Oil is dear."),
        ("About {{val|6.2|e=18|u=C}} or {{val|1.25|0.05|ul=m}}.", "About 6.2×10¹⁸ C or 1.25±0.05 m."),
        ("A mass of 5.9{{e|24}} kg.", "A mass of 5.9×10²⁴ kg."),
        ("The {{ordinal|3}}, {{nth|11}} and {{ordinal|22}} time.", "The 3rd, 11th and 22nd time."),
        ("Some {{percentage|1|4}} of all.", "Some 25% of all."),
        ("He is {{height|ft=5|in=11}} tall.", "He is 5 ft 11 in tall."),
        ("The {{RailGauge|1435mm}} line.", "The 1435 mm line."),
        ("With {{pop density|3000|1500|km2|sqmi|prec=1}} it is empty.", "With 2.0/km² it is empty."),
        ("It cost {{INRConvert|500|c}}.", "It cost ₹500 crore."),
        ("On a {{frac|1|2}} inch.", "On a 1/2 inch."),
    ]);
}

#[test]
fn raised_numbers_do_not_run_into_others() {
    check(&[
        ("About 10<sup>6</sup> or 10<sup>&minus;19</sup>.", "About 10⁶ or 10⁻¹⁹."),
        ("The 19<sup>th</sup> day of 5 km<SUP>2</SUP>.", "The 19th day of 5 km²."),
        ("An ion Na<sup>+</sup> in H<sub>2</sub>O.", "An ion Na⁺ in H2O."),
        ("Three{{sup|2}} parts.", "Three² parts."),
    ]);
}

#[test]
fn dates_and_ages_are_written_out() {
    check(&[
        ("Born {{birth date|1950|6|2|df=y}} there.", "Born 2 June 1950 there."),
        ("Born {{birth date and age|1950|6|2}} there.", "Born June 2, 1950 there."),
        ("Died aged {{age|1950|6|2|2000|1|1}} at home.", "Died aged 49 at home."),
        ("Landed in 1969 ({{age|1969|7|20}} years ago) at sea.", "Landed in 1969 at sea."),
        ("It cost $5 (${{Inflation|US|5|1929}} in {{CURRENTYEAR}} dollars) then.", "It cost $5 then."),
        (
            "{{As of|2015|since=y}}, it grew. It fell {{as of|2016|4|lc=on}}.",
            "Since 2015, it grew. It fell as of April 2016.",
        ),
        ("Rulers (r. {{circa|900|950}}) {{floruit|930}}.", "Rulers (r. c. 900–950) fl. 930."),
    ]);
}

#[test]
fn foreign_words_bear_the_name_of_their_language() {
    check(&[
        ("Munich ({{langx|de|München}}) is old.", "Munich (German: München) is old."),
        ("Moscow ({{lang-ru|Москва|Moskva}}) is old.", "Moscow (Russian: Москва, romanized: Moskva) is old."),
        ("Some ({{lang-xyz|wort}}) word.", "Some (wort) word."),
        ("A word ({{zh|s=汉|t=漢|p=Hàn}}).", "A word (simplified Chinese: 汉; traditional Chinese: 漢; pinyin: Hàn)."),
        ("Tea ({{nihongo|ceremony|茶道|sadō}}).", "Tea (ceremony (茶道, sadō))."),
        ("A term {{transl|ar|ALA|qalam}} and {{lang|la|[[res publica]]}}.", "A term qalam and res publica."),
    ]);
}

#[test]
fn sounds_stay_where_a_sentence_speaks_of_them() {
    check(&[
        ("It has the fricative {{IPA|[ɬ]}}, a rare sound.", "It has the fricative [ɬ], a rare sound."),
        ("The vowels {{IPAslink|a}} and {{IPA link|o}} merge.", "The vowels /a/ and o merge."),
        ("Bath ({{IPA|[bɑːθ]}}; {{IPAc-en|b|æ|θ}}) is a town.", "Bath is a town."),
        ("Bath {{IPA-de|bat|lang}} is a town.", "Bath is a town."),
    ]);
}

#[test]
fn names_and_places_keep_their_words() {
    check(&[
        ("Both {{HMS|Ajax|22|6}} and {{HMS|Exeter|68}} fired.", "Both Ajax and HMS Exeter (68) fired."),
        ("The {{ship|German cruiser|Emden||2}} sank.", "The German cruiser Emden sank."),
        ("Take {{jct|state=CA|I|5|US|101}} north.", "Take I-5 / US 101 north."),
        ("It fell at {{coord|13|19|N|169|9|W|type:event}}.", "It fell at 13°19′N 169°9′W."),
        ("It lies at {{coord|12.5|-7.25}}.{{coord|1|2|display=title}}", "It lies at 12.5°, -7.25°."),
        ("Read {{bibleverse|Mark|3:25|NIV}} and {{cite quran|29|46}}.", "Read Mark 3:25 and Quran 29:46."),
        ("See {{slink|Tea|History}} and {{ill|Teehaus|de}}.", "See Tea § History and Teehaus."),
        ("The school ({{ill|de|Schule|Schule zu X|Old School}}).", "The school (Old School)."),
        ("Decay of {{SimpleNuclide|uranium|235}}.", "Decay of uranium-235."),
        ("He wrote {{sic|hte}} and \"fundamentals {{sic}} of it\".", "He wrote hte and \"fundamentals [sic] of it\"."),
        ("Notes A{{music|flat}} and press {{keypress|Ctrl|C}}.", "Notes A♭ and press Ctrl+C."),
        ("Tags {{hlist|one|two|three}} follow.", "Tags one, two, three follow."),
        (
            "Our ''own soil''{{-\"}} he said of ''Eagle''{{'s}} pads{{mdashb}}two.",
            "Our own soil\" he said of Eagle's pads—two.",
        ),
    ]);
}

#[test]
fn notes_and_navigation_leave_no_trace() {
    check(&[
        (
            "{{main|Tea}}\n{{see also|Cup}}\nTea is old.{{sfn|Lu|1990|p=3}}{{efn|A note.}} It grows.{{rp|12}}",
            "Tea is old. It grows.",
        ),
        ("Tea{{#tag:ref|source}} is{{clarify|date=May 2011}} old {{by whom|date=May 2011}}.", "Tea is old."),
        ("{{DISPLAYTITLE:''Tea''}}{{DEFAULTSORT:Tea}}{{#invoke:x|y}}Tea is old.", "Tea is old."),
        ("{{clear}}\n{{Authority control}}\nTea is old.\n{{Navbox|list1=[[a]]}}", "Tea is old."),
    ]);
}

#[test]
fn parser_functions_are_evaluated_from_their_arguments() {
    check(&[
        ("It is {{#if: x | yes | no}} and {{#if: | yes | no}}.", "It is yes and no."),
        ("It is {{#ifeq: 1 | 1.0 | same | other}}.", "It is same."),
        ("It is {{#switch: b | a = one | b | c = two | #default = none}}.", "It is two."),
        ("It is {{#switch: z | a = one | none}}.", "It is none."),
        ("It is {{#expr: 1 + 2 * (7 - 4) ^ 2}} big.", "It is 19 big."),
        ("It is {{#expr: 7 / 3 round 2}} or {{#ifexpr: 2 > 1 | more | less}}.", "It is 2.33 or more."),
        ("It is ({{#expr: bad (}}) bad.", "It is bad."),
        ("{{ucfirst:tea}} is {{lc:HOT}} and {{uc:good}}.", "Tea is hot and GOOD."),
        ("It has {{formatnum:1234567.891}} or {{formatnum:1,234|R}} leaves.", "It has 1,234,567.891 or 1234 leaves."),
        ("It has {{plural:2|leaf|leaves}}.", "It has leaves."),
    ]);
}

#[test]
fn quotes_and_lists_of_templates_are_paragraphs() {
    check(&[
        (
            "He wrote:\n{{quote box|quote=Not here.}}{{cquote|It is so.}}\nThen left.",
            "He wrote:\nIt is so.\nThen left.",
        ),
        ("{{poemquote|One line\nand another.}}", "One line and another."),
        ("{{bulleted list|This item is a sentence.|Not this}}", "This item is a sentence."),
        ("{{glossary}}{{term|tea}}{{defn|A drink made of leaves.}}", "A drink made of leaves."),
        ("{{quote|'''Bold''' words {{=}} deeds.|Author}}", "Bold words = deeds."),
    ]);
}

#[test]
fn flags_stand_for_the_names_of_countries() {
    check(&[
        ("It was won by {{USA}} and {{flag|FRA}} twice.", "It was won by United States and France twice."),
        ("In {{flagcountry|United Kingdom|name=Britain}} it rains.", "In Britain it rains."),
        ("A match of {{fb|BRA}} and {{fb|the moon}} ended.", "A match of Brazil and ended."),
        ("Then {{flagathlete|[[Usain Bolt]]|JAM}} ran.", "Then Usain Bolt ran."),
        (
            "The {{flagicon|ITA}} Italian and {{flagdeco|Spain}} Spanish teams met.",
            "The Italian and Spanish teams met.",
        ),
        ("Codes such as {{XYZ}} and {{usa}} are others.", "Codes such as and are others."),
    ]);
}

#[test]
fn a_page_knows_its_own_name() {
    check(&[
        ("The {{PAGENAME}} is first.", "The Alpha (letter) is first."),
        ("The {{PAGENAMEBASE}} of {{SITENAME}} is first.", "The Alpha of Wikipedia is first."),
        ("{{#ifeq:{{PAGENAME}}|Alpha (letter)|Yes|No}} it is.", "Yes it is."),
    ]);
}
