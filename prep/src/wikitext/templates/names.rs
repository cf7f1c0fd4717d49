//! Which templates stand for words, by name.
//!
//! Names are in lower case, as [`super::normalize`] makes them; several languages share the table, because a name means
//! the same wherever it is used, with the exceptions that the functions behind it settle by looking at the arguments.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::{Call, countries, dates, languages, units, words};

/// How a template's text comes from its arguments.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    /// The first argument, or the one named `text`.
    First,
    /// The second argument, or the one named `text`.
    Second,
    /// The last argument.
    Last,
    /// All arguments with this between them.
    Joined(&'static str),
    /// A paragraph of quoted text.
    Quote,
    /// One list item an argument.
    Items,
    /// A fixed text.
    Sign(&'static str),
    /// A text before the first argument.
    Before(&'static str),
    /// A text after the first argument.
    After(&'static str),
    /// A value that nobody knows without the wiki, or that changes: the brackets around it go with it.
    Unknown,
    /// Anything else.
    With(fn(&Call<'_>) -> String),
}

/// The shape of a template that stands for words.
pub(super) fn shape(name: &str) -> Option<Shape> {
    static SHAPES: LazyLock<HashMap<String, Shape>> = LazyLock::new(|| {
        let lists = TEXTS.iter().flat_map(|(shape, names)| names.split_whitespace().map(|name| (name, *shape)));
        let money = CURRENCIES.iter().map(|(name, sign)| (*name, Before(sign)));
        let ships = SHIPS.split_whitespace().map(|name| (name, With(words::named_ship)));
        let signs = SIGNS.iter().map(|(name, sign)| (*name, Sign(sign)));
        // Of a name that is there twice the last counts.
        lists.chain(signs).chain(money).chain(ships).map(|(name, shape)| (name.replace('_', " "), shape)).collect()
    });
    SHAPES.get(name).copied()
}

use Shape::{After, Before, First, Items, Joined, Last, Quote, Second, Sign, Unknown, With};

/// Names by shape, with `_` for the spaces in them.
#[rustfmt::skip]
const TEXTS: &[(Shape, &str)] = &[
    (First, "nowrap nobr nobreak nwr nobold noitalic noitalics normal small smaller big large larger em strong bold italic
        italics sc smallcaps smallcaps_all small_caps uc lc mono monospaced kbd key code mxt xt samp var varserif tt abbr tooltip
        abbrv abbrlink sc2 as_written typo proper_name visible_anchor vanchor va text wikicite sub mvar math bigmath pie iast
        iast3 unicode polytonic script hebrew script/hebrew script/arabic flagathlete flagiocathlete flagmedalist flagiocmedalist angbr chem2
        literal translation tlit nts number bdi rtl ltr center centre left right highlight overline underline oldstyle
        wiktionary_inline wikt avoid_wrap no_break nowraplinks serif sans-serif blue red green gray grey nq tq pinyin
        grapheme button mpl midsize spellnum birth-date death-date birth_year_and_age death_year_and_age subatomic_particle
        clarify_span citation_needed_span cn_span cn-span nft national_football_team strikethrough strike
        pc petites_capitales référence_nécessaire refnec refsou souhaité versalita versalitas maiuscoletto esd
        citazione_necessaria senza_fonte fakt comment 仮リンク ruby by 要出典範囲 補助漢字フォント jis2004フォント 旧字体 僻字 le ilh2 zy
        internal_link_helper/en illm link-interwiki interlanguage_link_multi medium nobr_romains ind indice
        пс нобр num1 год стиль"),
    (Second, "langue foreign rtl_lang lang wikt-lang script-lang"),
    (Last, "transl transliteration color font_color fontcolor colored_text rtl-lang font colour resize resize_text
        script-nobold no_italics ruby-ja_inline background_color bg langr tsl couleur farbe cor"),
    (Joined(""), "chem linktext gaps mp minor_planet subsup fchim formule_chimique formule not_a_typo notatypo"),
    (Joined(" "), "ship_class fmtn data date date- fecha"),
    (Joined("+"), "keypress key_press touche"),
    (Joined(", "), "hlist flatlist horizontal_list comma_separated_entries csv cslist"),
    (Items, "plainlist unbulleted_list ubl ubli bulleted_list blist ordered_list numbered_list olist"),
    (Quote, "quote blockquote cquote rquote bquote quotation quotation1 gquote centered_pull_quote epigraph long_quote
        block_quote quoteblock verse_quote block_indent blockindent pull_quote poem poemquote poem_quote defn gbq
        citation_bloc bloc_citation zitat cita citazione citação citaat citat cytat цитата 引用 quote_frame"),
    (Before("§ "), "§"), (Before("√"), "radic sqrt"), (Before("No. "), "no."), (Before("no "), "n° numéro"),
    (Before("U.S. Patent "), "us_patent"), (Before("século "), "séc"), (Before("M. "), "m."), (Before("Mme "), "mme"),
    (Before("Dr "), "dr"), (Before("Mgr "), "mgr"), (Before("AD "), "ad a.d."),
    (After("°"), "deg degree"), (After(" m"), "höhe"),
    (Unknown, "inflation inflation/year inflation-year currentyear currentmonth currentmonthname currentday time_ago year
        years_ago months_ago days_ago numberofarticles localyear current_year uc_years age_nts world_population
        us_population decade_ago"),
    (With(words::inline_quote), "\" «  guillemets citation quoted"),
    (With(words::interlanguage), "ill interlanguage_link lien нп нп1 нп2 нп3 нп4 нп5 не_переведено не_переведено_2
        не_переведено_3 не_переведено_5 iw"),
    (With(words::gloss), "gloss"), (With(words::literally), "lit lit. literally"), (With(words::sic), "sic sic?"),
    (With(words::nihongo), "nihongo nihongo2 nihongo3 nihongo_krt korean_inline japonais"),
    (With(words::reading), "読み仮名 読み仮名_ruby不使用 読み仮名ruby不使用"), (With(words::music), "music"),
    (With(words::ship_class), "sclass sclass2 sclass-"), (With(words::ship), "ship"), (With(words::section_link), "slink section_link"),
    (With(words::road), "jct"), (With(words::nuclide), "nuclide nuclide2 simplenuclide simplenuclide2"),
    (With(words::verse), "bibleref bibleverse bibleref2 bibelstelle"), (With(words::quran), "cite_quran qref quran-usc"), (With(words::tex), "tmath"), (With(words::coordinates), "coord"),
    (With(words::superscript), "sup exp"), (With(words::century), "s s- -s siècle siglo век"),
    (With(languages::labelled), "langx"), (With(languages::chinese), "zh lang-zh zh-cn zh-tw zhi"),
    (With(languages::korean), "korean ko-hhrm lang-ko-hhrm"), (With(languages::tagged), "lang-rus lang-sr-cyrl"),
    (With(units::convert), "convert cvt conv convinput"), (With(units::value), "val"), (With(units::power), "e"),
    (With(units::fraction), "frac fraction sfrac bruch"), (With(units::ordinal), "ordinal nth ord"),
    (With(units::percentage), "percentage percent pct"), (With(units::height), "height"), (With(units::gauge), "railgauge track_gauge trackgauge"),
    (With(units::density), "pop_density"), (With(units::plain), "unité unite unidad nombre nb num m"),
    (With(units::rupees), "inrconvert"),
    (With(dates::as_of), "as_of asof"), (With(dates::circa), "circa c. ca. ca"), (With(dates::floruit), "floruit fl. fl"),
    (With(dates::reign), "reign r."), (With(dates::age), "age age_in_years"), (With(dates::lifespan), "bd"),
    (With(dates::date), "start_date end_date birth_date death_date birth_date_and_age death_date_and_age dts film_date
        dtlink date_de_naissance date_de_décès"), (With(dates::dash), "dash_date"),
    (With(countries::flag), "flag flagcountry flagu flagg flaglist flagteam noflag flagioc flagcgf flagpoc fb fbw nfa cr cr-rt ru
        ru-rt bk ih vb hb"),
    (Sign("[sic]"), "sic! sic2"),
];

/// Templates that stand for a sign.
#[rustfmt::skip]
const SIGNS: &[(&str, &str)] = &[
    ("nbsp", " "), ("space", " "), ("spaces", " "), ("nbs", " "), ("thin space", " "), ("thinsp", " "), ("hair space", " "),
    ("hairsp", " "), ("ensp", " "), ("emsp", " "), ("zwsp", ""), ("zwj", ""), ("zwnj", ""), ("shy", ""), ("wbr", ""),
    ("ndash", "–"), ("en dash", "–"), ("endash", "–"), ("nsndns", "–"), ("mdash", "—"), ("em dash", "—"), ("emdash", "—"),
    ("mdashb", "—"), ("snd", " – "), ("spnd", " – "), ("sndash", " – "), ("spndash", " – "), ("spaced ndash", " – "),
    ("spaced en dash", " – "), ("nbsnd", " – "), ("nbspndash", " – "), ("dash", " – "), ("smd", " — "), ("spaced mdash", " — "),
    ("·", " · "), ("dot", " · "), ("•", " • "), ("bullet", " • "), ("'", "'"), ("'s", "'s"), ("`", "ʻ"), ("\"'", "\"'"),
    ("'\"", "'\""), ("-\"", "\""), ("single+double", "'\""), ("double+single", "\"'"), ("' \"", "'\""), ("\" '", "\"'"),
    ("=", "="), ("pi", "π"), ("okina", "ʻ"), ("hamza", "ʼ"), ("ayin", "ʽ"), ("asterisk", "*"), ("sharp", "♯"), ("flat", "♭"),
    ("natural", "♮"), ("dagger", "†"), ("double-dagger", "‡"), ("number sign", "#"), ("numero", "№"), ("bce", " BCE"),
    ("ce", " CE"), ("tm", "™"), ("times", "×"), ("minus", "−"), ("eqm", " ⇌ "), ("(", "{"), (")", "}"), ("((", "{{"), ("))", "}}"),
    ("--", "—"), ("–", " – "), ("—", " — "), ("1er", "1er"), ("1re", "1re"), ("av jc", "av. J.-C."), ("av. j.-c.", "av. J.-C."),
    ("ap jc", "apr. J.-C."), ("a. c.", "a. C."), ("d. c.", "d. C."), ("pc.", "p. C."), ("n/a", ""),
];
/// Templates that put a currency before an amount.
#[rustfmt::skip]
const CURRENCIES: &[(&str, &str)] = &[
    ("us$", "US$"), ("usd", "US$"), ("us dollar", "US$"), ("a$", "A$"), ("aud", "A$"), ("au$", "A$"), ("c$", "C$"), ("cad", "C$"),
    ("ca$", "C$"), ("nz$", "NZ$"), ("hk$", "HK$"), ("£", "£"), ("gbp", "£"), ("pound sterling", "£"), ("pounds", "£"), ("€", "€"),
    ("eur", "€"), ("euro", "€"), ("inr", "₹"), ("indian rupee", "₹"), ("indian rupees", "₹"), ("rupee symbol", "₹"), ("jpy", "¥"),
    ("yen", "¥"), ("jp¥", "¥"), ("¥", "¥"), ("cny", "CN¥"), ("krw", "₩"), ("won", "₩"), ("chf", "CHF "), ("sek", "SEK "),
    ("philippine peso", "₱"), ("php", "₱"), ("₱", "₱"), ("₹", "₹"), ("irish pound", "IR£"), ("brl", "R$"), ("r$", "R$"), ("zar", "R"),
];
/// Templates that name a ship with this prefix.
const SHIPS: &str = "uss hms ss rms mv hmas hmcs hmnzs ins jds usns usat usrc gts ms mts sms css uscgc";
