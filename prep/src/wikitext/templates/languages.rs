//! Foreign words and the names of their languages.

use super::Call;

/// English names of languages by the codes that `{{lang-xx}}` and `{{langx}}` take.
#[rustfmt::skip]
const NAMES: &[(&str, &str)] = &[
    ("aa", "Afar"), ("af", "Afrikaans"), ("am", "Amharic"), ("ang", "Old English"), ("ar", "Arabic"), ("arc", "Aramaic"), ("az", "Azerbaijani"),
    ("be", "Belarusian"), ("ber", "Berber"), ("bg", "Bulgarian"), ("bn", "Bengali"), ("bo", "Tibetan"), ("br", "Breton"), ("brh", "Brahui"),
    ("bs", "Bosnian"), ("ca", "Catalan"), ("co", "Corsican"), ("cs", "Czech"), ("cy", "Welsh"), ("da", "Danish"), ("de", "German"),
    ("el", "Greek"), ("en", "English"), ("eo", "Esperanto"), ("es", "Spanish"), ("et", "Estonian"), ("eu", "Basque"), ("fa", "Persian"),
    ("fi", "Finnish"), ("fil", "Filipino"), ("fr", "French"), ("fro", "Old French"), ("fy", "West Frisian"), ("ga", "Irish"),
    ("gd", "Scottish Gaelic"), ("gl", "Galician"), ("grc", "Ancient Greek"), ("gu", "Gujarati"), ("haw", "Hawaiian"), ("he", "Hebrew"),
    ("hi", "Hindi"), ("hr", "Croatian"), ("hu", "Hungarian"), ("hy", "Armenian"), ("id", "Indonesian"), ("is", "Icelandic"), ("it", "Italian"),
    ("ja", "Japanese"), ("jv", "Javanese"), ("ka", "Georgian"), ("kk", "Kazakh"), ("km", "Khmer"), ("kn", "Kannada"), ("ko", "Korean"),
    ("ku", "Kurdish"), ("ky", "Kyrgyz"), ("la", "Latin"), ("lb", "Luxembourgish"), ("lo", "Lao"), ("lt", "Lithuanian"), ("lv", "Latvian"),
    ("mi", "Māori"), ("mk", "Macedonian"), ("ml", "Malayalam"), ("mn", "Mongolian"), ("mr", "Marathi"), ("mt", "Maltese"), ("my", "Burmese"),
    ("nb", "Norwegian Bokmål"), ("ne", "Nepali"), ("nl", "Dutch"), ("nn", "Norwegian Nynorsk"), ("no", "Norwegian"), ("non", "Old Norse"),
    ("oc", "Occitan"), ("os", "Ossetian"), ("pa", "Punjabi"), ("pl", "Polish"), ("ps", "Pashto"), ("pt", "Portuguese"), ("ro", "Romanian"),
    ("ru", "Russian"), ("sa", "Sanskrit"), ("sco", "Scots"), ("si", "Sinhala"), ("sk", "Slovak"), ("sl", "Slovene"), ("so", "Somali"),
    ("sq", "Albanian"), ("sr", "Serbian"), ("su", "Sundanese"), ("sv", "Swedish"), ("sw", "Swahili"), ("syr", "Syriac"), ("ta", "Tamil"),
    ("te", "Telugu"), ("tg", "Tajik"), ("th", "Thai"), ("tl", "Tagalog"), ("tr", "Turkish"), ("tt", "Tatar"), ("uk", "Ukrainian"), ("ur", "Urdu"),
    ("uz", "Uzbek"), ("vi", "Vietnamese"), ("yi", "Yiddish"), ("zh", "Chinese"), ("zu", "Zulu"),
];

/// The English name of a language.
pub(super) fn name(code: &str) -> Option<&'static str> {
    NAMES.binary_search_by_key(&code, |(known, _)| known).ok().map(|at| NAMES[at].1)
}

/// `{{langx|de|Wort}}` reads "German: Wort".
pub(super) fn labelled(call: &Call<'_>) -> String {
    let arguments: Vec<&str> = call.positional.iter().map(|text| text.trim()).collect();
    let Some((code, rest)) = arguments.split_first() else { return String::new() };
    with_label(call, code, rest)
}

/// `{{lang-de|Wort}}` reads the same.
pub(super) fn labelled_as(call: &Call<'_>, code: &str) -> String {
    let arguments: Vec<&str> = call.positional.iter().map(|text| text.trim()).collect();
    with_label(call, code, &arguments)
}

/// `{{lang-rus|Москва|p=mɐˈskva}}` and its kin have no transliteration second.
pub(super) fn tagged(call: &Call<'_>) -> String {
    call.at(0).to_owned()
}

/// The word with its language, transliteration and meaning; the language only where it is called by its English name.
fn with_label(call: &Call<'_>, code: &str, arguments: &[&str]) -> String {
    let at = |number: usize| arguments.get(number).copied().unwrap_or_default();
    let word = call.get("text").unwrap_or(at(0));
    if word.is_empty() {
        return String::new();
    }
    let mut out = match name(code.split('-').next().unwrap_or_default()) {
        Some(language) if call.english && call.get("label") != Some("none") => format!("{language}: {word}"),
        _ => word.to_owned(),
    };
    if !call.english {
        return out;
    }
    if let Some(latin) = call.get("translit").or(Some(at(1)).filter(|text| !text.is_empty())) {
        out.push_str(&format!(", romanized: {latin}"));
    }
    if let Some(meaning) = call.get("lit").or(call.get("translation")).or(Some(at(2)).filter(|text| !text.is_empty())) {
        out.push_str(&format!(", lit. '{meaning}'"));
    }
    out
}

/// `{{zh|s=汉字|t=漢字|p=Hànzì}}` reads "simplified Chinese: 汉字; traditional Chinese: 漢字; pinyin: Hànzì".
pub(super) fn chinese(call: &Call<'_>) -> String {
    let keys: [(&str, &str); 6] = [
        ("c", "Chinese"),
        ("s", "simplified Chinese"),
        ("t", "traditional Chinese"),
        ("p", "pinyin"),
        ("w", "Wade–Giles"),
        ("l", "lit."),
    ];
    listed(call, &keys)
}

/// `{{korean|hangul=한글|hanja=..|rr=Hangeul}}` likewise.
pub(super) fn korean(call: &Call<'_>) -> String {
    listed(call, &[("hangul", "Korean"), ("hanja", "Hanja"), ("rr", "RR"), ("mr", "MR"), ("lit", "lit.")])
}

fn listed(call: &Call<'_>, keys: &[(&str, &str)]) -> String {
    let found: Vec<String> = keys
        .iter()
        .filter_map(|(key, label)| call.get(key).map(|text| (label, text)))
        .map(|(label, text)| if call.english { format!("{label}: {text}") } else { text.to_owned() })
        .collect();
    if found.is_empty() { call.at(0).to_owned() } else { found.join("; ") }
}
