//! Our WordPiece held against Hugging Face `tokenizers`, over all of Unicode and on random strings.

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokenizers::models::wordpiece::WordPiece as OracleModel;
use tokenizers::normalizers::bert::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::{
    NormalizedString, Normalizer as _, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer as _, Tokenizer,
};

use super::encoder::push_utf8;
use super::normalize::for_each_word;
use super::*;

fn normalizer(cased: bool) -> BertNormalizer {
    BertNormalizer::new(true, true, Some(!cased), !cased)
}

/// The words that `tokenizers` cuts `text` into.
fn oracle_words(text: &str, cased: bool) -> Vec<String> {
    let mut normalized = NormalizedString::from(text);
    normalizer(cased).normalize(&mut normalized).unwrap();
    let mut words = PreTokenizedString::from(normalized);
    BertPreTokenizer.pre_tokenize(&mut words).unwrap();
    let splits = words.get_splits(OffsetReferential::Normalized, OffsetType::Byte);
    splits.into_iter().map(|(word, ..)| word.to_owned()).collect()
}

fn our_words(text: &str, cased: bool) -> Vec<String> {
    let mut words = Vec::new();
    for_each_word(Normalizer::default().normalize(text, cased), |word| {
        let mut utf8 = Vec::new();
        push_utf8(word, &mut utf8);
        words.push(String::from_utf8(utf8).unwrap());
    });
    words
}

/// Both tokenizers over one vocabulary.
struct Pair {
    ours: Encoder,
    oracle: Tokenizer,
}

impl Pair {
    fn new(tokens: &[String], cased: bool) -> Self {
        let unknown = tokens.iter().position(|token| token == "[UNK]").unwrap() as u32;
        let ours = Encoder::new(Arc::new(WordPiece::from_tokens(tokens, unknown, cased)));
        let model = OracleModel::builder().vocab(OracleModel::read_bytes(tokens.join("\n").as_bytes()).unwrap());
        let mut oracle = Tokenizer::new(model.build().unwrap());
        oracle.with_normalizer(Some(normalizer(cased))).with_pre_tokenizer(Some(BertPreTokenizer));
        Self { ours, oracle }
    }

    fn check(&mut self, text: &str) {
        let expected = self.oracle.encode_char_offsets(text, false).unwrap();
        // Twice: the second time from the cache.
        for _ in 0..2 {
            let mut ids = Vec::new();
            self.ours.encode(text, &mut ids);
            assert_eq!(ids, expected.get_ids(), "ids of {text:?}");
        }
        let tokens = self.ours.encode_with_offsets(text);
        let ids: Vec<u32> = tokens.iter().map(|token| token.id).collect();
        assert_eq!(ids, expected.get_ids(), "ids with offsets of {text:?}");
        let num_chars = text.chars().count() as u32;
        assert!(tokens.iter().all(|token| token.start_char < token.end_char && token.end_char <= num_chars));
        assert!(tokens.windows(2).all(|pair| pair[0].start_char <= pair[1].start_char));
        // Where nothing vanishes and nothing grows, offsets have only one meaning.
        if text.chars().all(|char| (' '..='~').contains(&char) || ('à'..='ö').contains(&char)) {
            let offsets: Vec<_> = tokens.iter().map(|t| (t.start_char as usize, t.end_char as usize)).collect();
            assert_eq!(offsets, expected.get_offsets(), "offsets of {text:?}");
        }
    }
}

/// A vocabulary of every interesting kind of piece: single characters, their continuations, and some longer ones.
fn mixed_vocabulary() -> Vec<String> {
    let mut tokens: Vec<String> = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "##"].map(str::to_owned).to_vec();
    let ranges = [
        '!'..='~',
        '\u{a1}'..='\u{24f}',
        'α'..='ω',
        'а'..='я',
        'ぁ'..='ん',
        '가'..='각',
        '一'..='丰',
        '\u{300}'..='\u{310}',
    ];
    for char in ranges.into_iter().flatten() {
        tokens.push(char.to_string());
        // Some characters exist only as the first of a word: words that cannot be cut must occur.
        if u32::from(char) % 7 != 0 {
            tokens.push(format!("##{char}"));
        }
    }
    let longer =
        "the of and in to he she it er ing tion un able ab abc abcd bc bcd cd don cafe naive über é 日本 👍 the-";
    for piece in longer.split(' ') {
        tokens.push(piece.to_owned());
        tokens.push(format!("##{piece}"));
    }
    let mut seen = HashSet::new();
    tokens.retain(|token| seen.insert(token.clone()));
    tokens
}

#[test]
fn every_unicode_scalar_value_is_normalised_and_cut_as_tokenizers_does() {
    let scalars: Vec<char> = ('\0'..=char::MAX).collect();
    let mut num_strings = 0;
    for cased in [false, true] {
        for block in scalars.chunks(64) {
            // Alone, between letters, and around marks that canonical ordering moves (U+0301: 230, U+0323: 220).
            let text: String = block.iter().map(|c| format!("{c} x{c}Y Z{c}\u{301}\u{323}{c}E ")).collect();
            assert_eq!(our_words(&text, cased), oracle_words(&text, cased), "U+{:04X}..", u32::from(block[0]));
            num_strings += block.len();
        }
    }
    assert_eq!(num_strings, 2 * (0x11_0000 - 0x800));
}

#[test]
fn special_token_strings_in_text_are_only_text() {
    let tokens = mixed_vocabulary();
    for cased in [false, true] {
        let mut pair = Pair::new(&tokens, cased);
        for text in ["[MASK]", "a [CLS] b", "x[SEP]y [PAD][UNK]", "##a # ##"] {
            pair.check(text);
            let mut ids = Vec::new();
            pair.ours.encode(text, &mut ids);
            assert!(ids.iter().all(|&id| ![0, 2, 3, 4].contains(&id)), "{text:?} gave {ids:?}");
        }
    }
}

#[test]
fn odd_strings_are_cut_as_tokenizers_does() {
    let long = |n: usize| "é".repeat(n);
    let mut texts: Vec<String> = [
        "",
        " ",
        "\0",
        "\u{fffd}",
        "a\u{b}b\u{c}c",
        "a\u{0}b",
        "\u{85}a\u{85}b",
        "\u{a0}a\u{a0}b\u{3000}c\u{2028}d",
        "naïve CAFÉ",
        "cafe\u{301} x\u{301}",
        "\u{301}a",
        "İstanbul ǅ ß ẞ ﬁ Σας",
        "日本語のtext中文",
        "\u{f900}\u{2f800}",
        "don't stop-gap; e.g. «quoted» — “so”…",
        "a\u{200b}b\u{200d}c\u{feff}d\u{ad}e",
        "👍🏽👨‍👩‍👧 x",
        "각\u{11a8}",
        "exactly16bytes!! exactly15bytes! seventeen--bytes x",
        "\r\n\t a\rb",
        "\u{302e}a\u{301}\u{302e}\u{323}",
        "\u{7f}a\u{7f}",
        "a\u{e000}b",
        "a\u{1d165}\u{1d16d}\u{301}b",
        "\u{1f}abc\u{1f}def ghi",
    ]
    .map(str::to_owned)
    .to_vec();
    texts.extend([99, 100, 101, 200, 201].map(|n| "a".repeat(n) + " b"));
    texts.extend([99, 100, 101].map(|n| long(n) + "! c"));
    let tokens = mixed_vocabulary();
    for cased in [false, true] {
        let mut pair = Pair::new(&tokens, cased);
        texts.iter().for_each(|text| pair.check(text));
    }
}

/// Long chunks are normalised in blocks, whose borders must not be seen: words, marks and characters lie across them.
#[test]
fn text_without_white_space_is_cut_as_tokenizers_does_however_long() {
    let marks = ["\u{323}\u{301}", "\u{302e}\u{1d165}\u{301}", "\u{94d}", "\u{1d16d}\u{302e}\u{323}"];
    let mut texts: Vec<String> = ["a", "é", "日本", "각", "𝔸b", "İ!", "\u{301}", "\u{302e}", "\u{1d16d}\u{302e}"]
        .map(|part| part.repeat(50_000 / part.len()))
        .to_vec();
    for (i, mark) in marks.iter().enumerate() {
        texts.push(format!("{}a{}b!x{mark}", "né,".repeat(6_000 + i), mark.repeat(9_000)));
        texts.push(format!("«{}", mark.repeat(9_000)));
        texts.push(format!("e{}.", mark.repeat(50)).repeat(200));
    }
    // Words of about the longest length around every place where a block may end.
    texts.extend((0..12).map(|i| (i..500).map(|n| "ö".repeat(1 + n % 103) + "-").collect::<String>()));
    texts.extend((0..7).map(|i| "x".repeat(i) + &"日ｱ한é\u{301}don't".repeat(2_000)));
    let tokens = mixed_vocabulary();
    for cased in [false, true] {
        let mut pair = Pair::new(&tokens, cased);
        for text in &texts {
            assert!(text.len() > 16 << 10, "{}", text.len());
            pair.check(text);
        }
    }
}

/// Text with the ordinary and the awkward mixed, so that words, chunks and marks meet in every way.
fn awkward_text() -> impl Strategy<Value = String> {
    let ordinary = "[a-zA-Z0-9 ,.'!-]{0,24}";
    let latin = "[à-öa-f ]{0,12}";
    let marks = "[a-e\u{300}-\u{345}\u{302e}\u{1dfa}\u{20dd} ]{0,12}";
    let blanks = "[ \t\r\n\u{0}-\u{20}\u{7f}-\u{a0}\u{2000}-\u{200f}\u{2028}-\u{202f}\u{3000}\u{feff}a]{0,12}";
    let asian = "[一-丰ぁ-ん가-각 a]{0,12}";
    let part = prop_oneof![ordinary, latin, marks, blanks, asian, "\\PC{0,8}", any::<String>()];
    proptest::collection::vec(part, 0..6).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_text_is_cut_as_tokenizers_does(texts in proptest::collection::vec(awkward_text(), 8), cased: bool) {
        let mut pair = Pair::new(&mixed_vocabulary(), cased);
        texts.iter().for_each(|text| pair.check(text));
    }
}

/// A vocabulary as large as that of multilingual models: a piece for the characters of every block of Unicode, continuations, and
/// longer pieces of two to five neighbours of one block. Ids go beyond 65,535, and words of every script have such ones.
fn multilingual_vocabulary() -> Vec<String> {
    let mut tokens: Vec<String> = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].map(str::to_owned).to_vec();
    let scalars: Vec<char> = ('!'..='\u{ffff}').chain('\u{10000}'..='\u{1ffff}').collect();
    let mut pieces = Vec::new();
    for (number, chars) in scalars.windows(5).enumerate() {
        // Beyond the basic plane one in four; a tenth of the characters can only begin a word, a tenth only go on.
        if chars[0] > '\u{ffff}' && number % 4 > 0 {
            continue;
        }
        let longer: String = chars[..2 + number % 4].iter().collect();
        let [char, longer] = [chars[0].to_string(), longer];
        match number % 10 {
            3 => pieces.extend([char, format!("##{longer}")]),
            7 => pieces.extend([format!("##{char}"), longer]),
            _ if number % 3 == 0 => pieces.extend([char.clone(), format!("##{char}"), longer]),
            _ => pieces.extend([char.clone(), format!("##{char}")]),
        }
    }
    // Mixed, so that small and large ids meet in each word.
    let step = 48_271;
    let len = pieces.len();
    assert_ne!(len % step, 0);
    tokens.extend((0..len).map(|number| std::mem::take(&mut pieces[number * step % len])));
    let mut seen = HashSet::new();
    // No vocabulary has blanks in its tokens; readers of vocab.txt differ in what they make of them.
    tokens.retain(|token| !token.contains(char::is_whitespace) && seen.insert(token.clone()));
    tokens
}

/// Words of neighbouring characters of any block, with marks, blanks and letters of other scripts between them.
fn text_of_any_script() -> impl Strategy<Value = String> {
    let word = (0u32..0x800, proptest::collection::vec(0u32..64, 1..12)).prop_map(|(block, offsets)| {
        offsets.into_iter().filter_map(|offset| char::from_u32(block * 64 + offset)).collect::<String>()
    });
    let neighbours = (0u32..0x20000, 1u32..7)
        .prop_map(|(first, len)| (first..first + len).filter_map(char::from_u32).collect::<String>());
    let between = "[a-zA-ZÀ-ÿ\u{300}-\u{314}\u{591}-\u{5bd}\u{93c}\u{94d}\u{200c}\u{200d} .,]{0,4}";
    let part = prop_oneof![3 => word, 3 => neighbours, 2 => between, 1 => any::<String>()];
    proptest::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

#[test]
fn a_vocabulary_of_more_than_65536_tokens_is_cut_as_tokenizers_does() {
    let tokens = multilingual_vocabulary();
    assert!(tokens.len() > 100_000, "{}", tokens.len());
    // Beyond the supplementary planes in use a block of each 64 will do.
    let blocks: Vec<u32> = (0..0x2_0000).step_by(64).chain((0x2_0000..0x11_0000).step_by(4096)).collect();
    for cased in [true, false] {
        let pair = RefCell::new(Pair::new(&tokens, cased));
        let mut num_large = 0;
        for &block in &blocks {
            let chars = (block..block + 64).filter_map(char::from_u32);
            let text: String = chars.map(|char| format!("{char}e{char} {char}\u{301}")).collect();
            pair.borrow_mut().check(&text);
            let mut ids = Vec::new();
            pair.borrow_mut().ours.encode(&text, &mut ids);
            num_large += usize::from(ids.iter().any(|&id| id > u32::from(u16::MAX)));
        }
        // Of the 1,024 blocks of the first planes the most, few of the others.
        assert!(num_large > 700, "{num_large}");
        TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(500) })
            .run(&text_of_any_script(), |text| {
                pair.borrow_mut().check(&text);
                Ok(())
            })
            .unwrap();
    }
}

/// Any vocabulary on any files: `CLOZE_VOCABULARY=vocab.txt CLOZE_TEXTS="FILE FILE..." cargo test --release --package cloze-prep
/// --lib files -- --ignored`.
#[test]
#[ignore = "needs a vocabulary and files"]
fn files_are_cut_as_tokenizers_does() {
    let [vocabulary, files] = ["CLOZE_VOCABULARY", "CLOZE_TEXTS"].map(|name| std::env::var(name).expect(name));
    let tokens: Vec<String> = std::fs::read_to_string(vocabulary).unwrap().lines().map(str::to_owned).collect();
    let mut num_ids = 0;
    for cased in [true, false] {
        let mut pair = Pair::new(&tokens, cased);
        for file in files.split_whitespace() {
            let bytes = std::fs::read(file).unwrap();
            for line in String::from_utf8_lossy(&bytes).lines() {
                let (mut ids, expected) = (Vec::new(), pair.oracle.encode_char_offsets(line, false).unwrap());
                pair.ours.encode(line, &mut ids);
                assert_eq!(ids, expected.get_ids(), "{file}: {line:?}");
                num_ids += ids.len();
            }
        }
    }
    assert!(num_ids > 0);
    eprintln!("{num_ids} ids of {} tokens are the same", tokens.len());
}
