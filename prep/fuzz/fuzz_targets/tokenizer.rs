//! Our WordPiece against Hugging Face `tokenizers` on any text, uncased and cased.
#![no_main]

use std::cell::RefCell;
use std::sync::Arc;

use cloze_formats::Vocabulary;
use cloze_prep::wordpiece::{Encoder, WordPiece};
use libfuzzer_sys::fuzz_target;
use tokenizers::Tokenizer;
use tokenizers::models::wordpiece::WordPiece as OracleModel;
use tokenizers::normalizers::bert::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;

thread_local! {
    static PAIRS: RefCell<Vec<(Encoder, Tokenizer)>> = RefCell::new([false, true].map(pair).into());
}

fuzz_target!(|text: &str| {
    PAIRS.with_borrow_mut(|pairs| {
        for (ours, oracle) in pairs {
            let expected = oracle.encode_char_offsets(text, false).expect("the oracle encodes any text");
            // Twice: the second time from the cache.
            for _ in 0..2 {
                let mut ids = Vec::new();
                ours.encode(text, &mut ids);
                assert_eq!(ids, expected.get_ids(), "{text:?}");
            }
            let ids: Vec<u32> = ours.encode_with_offsets(text).iter().map(|token| token.id).collect();
            assert_eq!(ids, expected.get_ids(), "with offsets: {text:?}");
        }
    });
});

fn pair(cased: bool) -> (Encoder, Tokenizer) {
    let mut tokens: Vec<String> = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "##"].map(str::to_owned).into();
    let chars = (' '..='~').chain('à'..='ö').chain(['ß', 'ı', 'İ', 'Σ', 'ς', '中', '文', '\u{301}', 'ﬁ', '한', '🙂']);
    for char in chars.filter(|char| *char != ' ') {
        tokens.extend([char.to_string(), format!("##{char}")]);
    }
    tokens.extend("the of and ing an in ##ing ##ed ##s ##an ##in".split(' ').map(str::to_owned));
    tokens.sort();
    tokens.dedup();
    let text = tokens.join("\n");
    let vocabulary = Vocabulary::from_bytes("vocab.txt", text.clone().into_bytes()).expect("a vocabulary");
    let model = OracleModel::builder().vocab(OracleModel::read_bytes(text.as_bytes()).expect("a vocabulary"));
    let mut oracle = Tokenizer::new(model.build().expect("a model"));
    oracle.with_normalizer(Some(BertNormalizer::new(true, true, Some(!cased), !cased)));
    oracle.with_pre_tokenizer(Some(BertPreTokenizer));
    (Encoder::new(Arc::new(WordPiece::new(&vocabulary, cased))), oracle)
}
