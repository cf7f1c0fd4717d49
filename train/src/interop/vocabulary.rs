//! The rows of a model's vocabulary: padded to a multiple of 8 for training, trimmed again for others; and the files about it.

use std::path::Path;

use cloze_formats::Vocabulary;
use tch::Tensor;

use super::architecture::{PREDICTIONS_BIAS, WORD_EMBEDDINGS};
use crate::error::{Error, Result};
use crate::model::config::BertConfig;

/// Name of the file of tokens.
pub const VOCABULARY: &str = "vocab.txt";
/// Name of the file that tells `transformers` how to split text.
pub const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
/// Rows that a vocabulary is ever padded by are fewer than this: NVIDIA's scripts pad to multiples of 8 or 64.
const MAX_PADDING: i64 = 64;
/// Bias of a row without a token: it takes no part in the softmax, which so stays what it was, and f16 can hold it.
const NEVER: f64 = -10_000.0;

/// Whether `rows` of the word table may stand for `vocab_size` tokens of a config.json: as many, or padded.
pub(super) fn is_padding_of(rows: i64, vocab_size: i64) -> bool {
    (vocab_size..vocab_size + MAX_PADDING).contains(&rows)
}

/// Gives the tensor `name` this many rows, if it has one per token. New rows of the word table are 0 and never predicted.
///
/// # Errors
/// Memory runs out.
pub(super) fn resize(name: &str, tensor: Tensor, vocab_size: i64) -> Result<Tensor> {
    resize_with(name, tensor, vocab_size, if name == PREDICTIONS_BIAS { NEVER } else { 0.0 })
}

/// The same for what goes with the weight `name` and is 0 where there is no token, as moments are.
///
/// # Errors
/// Memory runs out.
pub(super) fn resize_with_zeros(name: &str, tensor: Tensor, vocab_size: i64) -> Result<Tensor> {
    resize_with(name, tensor, vocab_size, 0.0)
}

fn resize_with(name: &str, tensor: Tensor, vocab_size: i64, fill: f64) -> Result<Tensor> {
    if ![WORD_EMBEDDINGS, PREDICTIONS_BIAS].contains(&name) {
        return Ok(tensor);
    }
    let mut shape = tensor.size();
    let surplus = vocab_size - shape[0];
    if surplus <= 0 {
        return Ok(tensor.f_narrow(0, 0, vocab_size)?);
    }
    shape[0] = surplus;
    let rows = Tensor::f_full(shape, fill, (tensor.f_kind()?, tensor.device()))?;
    Ok(Tensor::f_cat(&[tensor, rows], 0)?)
}

/// Checks that a model of `vocab_size` rows has one for every token of `vocabulary`, and not many more.
///
/// # Errors
/// It has not.
pub(super) fn check(path: &Path, vocabulary: &Vocabulary, vocab_size: i64) -> Result<()> {
    let num_tokens = vocabulary.len() as i64;
    if is_padding_of(vocab_size, num_tokens) {
        return Ok(());
    }
    let message = format!(
        "expected {vocab_size} tokens (or up to {} fewer, where rows are padded), found {num_tokens}; give the model's own vocabulary",
        MAX_PADDING - 1
    );
    Err(Error::file(path, message))
}

/// Whether the tokens tell upper case from lower.
pub(super) fn is_cased(vocabulary: &Vocabulary) -> bool {
    let is_word = |token: &&String| !(token.starts_with('[') && token.ends_with(']'));
    vocabulary.tokens().iter().filter(is_word).any(|token| token.chars().any(char::is_uppercase))
}

/// What `transformers` needs to make a BertTokenizer from vocab.txt.
pub fn tokenizer_config(cased: bool, config: &BertConfig) -> String {
    let value = serde_json::json!({
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": !cased,
        "model_max_length": config.max_position_embeddings,
        "pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]",
    });
    format!("{value:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Kind;

    fn vocabulary(words: &str) -> Vocabulary {
        let text = format!("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n{words}");
        Vocabulary::from_bytes("v.txt", text.into_bytes()).unwrap()
    }

    #[test]
    fn rows_without_a_token_come_and_go_and_are_never_predicted() {
        let bias = Tensor::from_slice(&[1f32, 2.0, 3.0]);
        let padded = resize(PREDICTIONS_BIAS, bias.shallow_clone(), 8).unwrap();
        let hidden = padded.softmax(-1, Kind::Float).narrow(0, 0, 3);
        assert_eq!(hidden, bias.softmax(-1, Kind::Float));
        assert_eq!(resize(PREDICTIONS_BIAS, padded, 3).unwrap(), bias);
        let table = Tensor::from_slice(&[1f32, 2.0, 3.0, 4.0]).view([2, 2]);
        let padded = resize(WORD_EMBEDDINGS, table, 3).unwrap();
        assert_eq!(padded, Tensor::from_slice(&[1f32, 2.0, 3.0, 4.0, 0.0, 0.0]).view([3, 2]));
        let other = Tensor::from_slice(&[5f32]);
        assert_eq!(resize("bert.pooler.dense.bias", other.shallow_clone(), 8).unwrap(), other);
    }

    #[test]
    fn a_vocabulary_fits_with_its_padding_and_no_other_does() {
        let v = vocabulary("the\nof\n");
        for vocab_size in [7, 8, 64] {
            check(Path::new("v.txt"), &v, vocab_size).unwrap();
        }
        for vocab_size in [6, 71, 30_522] {
            let error = check(Path::new("v.txt"), &v, vocab_size).unwrap_err().to_string();
            assert!(error.starts_with(&format!("v.txt: expected {vocab_size} tokens")), "{error}");
        }
    }

    #[test]
    fn case_is_seen_in_the_words_alone() {
        assert!(!is_cased(&vocabulary("the\n[unused1]\n")));
        assert!(is_cased(&vocabulary("the\nThe\n")));
    }
}
