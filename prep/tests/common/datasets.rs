//! Small datasets of each kind with known rows.

use std::path::Path;

use cloze_formats::config::{InstanceConfig, MaskingMode};
use cloze_formats::manifest::VocabularyInfo;
use cloze_formats::row::StaticMask;
use cloze_formats::schema::Layout;
use cloze_formats::{CorpusRow, DatasetSpec, DatasetWriter, GlueRow, Kind, Label, PretrainRow, Row};
use cloze_prep::progress::Progress;
use cloze_prep::squad::{SquadConfig, squad};
use cloze_prep::wordpiece::{Encoder, WordPiece};
use serde_json::{Value, json};

use super::vocabulary;

/// Token ids of `text`.
pub fn ids(text: &str) -> Vec<u32> {
    let mut ids = Vec::new();
    Encoder::new(WordPiece::new(&vocabulary(), false).into()).encode(text, &mut ids);
    ids
}

/// `[CLS] a [SEP] b [SEP]` and the length of segment A.
pub fn pair(a: &str, b: &str) -> (Vec<u32>, u16) {
    let special = vocabulary().special();
    let mut tokens = vec![special.cls];
    tokens.extend(ids(a));
    tokens.push(special.sep);
    let segment_a_length = tokens.len() as u16;
    tokens.extend(ids(b));
    tokens.push(special.sep);
    (tokens, segment_a_length)
}

/// A dataset whose shards hold the given rows; `optional` as in `Layout::new`.
pub fn dataset(dir: &Path, kind: Kind, optional: bool, configuration: Value, shards: &[Vec<Row<'_>>]) {
    let vocabulary = vocabulary();
    let spec = DatasetSpec {
        writer: "test".to_owned(),
        kind,
        layout: Layout::new(kind, vocabulary.len(), optional),
        vocabulary: VocabularyInfo::new(&vocabulary, false),
        configuration,
        inputs: Value::Null,
    };
    let writer = DatasetWriter::create(dir, spec, &vocabulary).unwrap();
    for (index, rows) in (0..).zip(shards) {
        let mut shard = writer.shard(index).unwrap();
        rows.iter().for_each(|row| shard.push(*row).unwrap());
        writer.finish_shard(index, shard, Value::Null).unwrap();
    }
    writer.publish(Vec::new()).unwrap();
}

/// Ten instances in each of two shards: row `i` says "the whale", and "rope" `i` times; position 1 is masked.
pub fn instances(dir: &Path, seed: u64) {
    let config = InstanceConfig { seed, max_seq_length: 64, ..InstanceConfig::for_phase(1, MaskingMode::Static) };
    let inputs = [vocabulary().special().mask];
    let texts: Vec<(Vec<u32>, u16)> = (0..20).map(|i| pair("the whale", &format!("old{}", " sea".repeat(i)))).collect();
    let row = |(i, (tokens, segment_a_length)): (usize, &'_ (Vec<u32>, u16))| PretrainRow {
        input_ids: tokens.as_slice().to_vec().leak()[..].into(),
        segment_a_length: *segment_a_length,
        next_sentence_label: i % 2 == 0,
        masked: Some(StaticMask { positions: &[1], inputs: inputs.to_vec().leak()[..].into() }),
    };
    let rows: Vec<Row<'_>> = texts.iter().enumerate().map(row).map(Row::from).collect();
    dataset(dir, Kind::Pretrain, true, json!(config), &[rows[..10].to_vec(), rows[10..].to_vec()]);
}

/// A corpus of the given documents, a sentence each string; their ids are `first_id`, `first_id + 2`, ...
pub fn corpus(dir: &Path, first_id: u64, documents: &[&[&str]]) {
    let tokens: Vec<(Vec<u32>, Vec<u16>)> = documents
        .iter()
        .map(|sentences| {
            let sentences: Vec<Vec<u32>> = sentences.iter().map(|s| ids(s)).collect();
            (sentences.concat(), sentences.iter().map(|s| s.len() as u16).collect())
        })
        .collect();
    let row = |(i, (tokens, lengths)): (u64, &'_ (Vec<u32>, Vec<u16>))| {
        let (token_ids, sentence_lengths) = (tokens.clone().leak()[..].into(), &*lengths.clone().leak());
        Row::from(CorpusRow { document_id: first_id + 2 * i, token_ids, sentence_lengths })
    };
    dataset(dir, Kind::Corpus, false, json!({"cased": false}), &[(0..).zip(&tokens).map(row).collect()]);
}

/// Sentences with labels 0, 1, 0, ... called bad and good.
pub fn glue(dir: &Path, sentences: &[&str]) {
    let special = vocabulary().special();
    let row = |(row_id, sentence): (u64, &&str)| {
        let tokens = [vec![special.cls], ids(sentence), vec![special.sep]].concat();
        let segment_a_length = tokens.len() as u16;
        let input_ids = tokens.leak()[..].into();
        Row::from(GlueRow { input_ids, segment_a_length, label: Some(Label::Class((row_id % 2) as i32)), row_id })
    };
    let configuration = json!({"task": "sst-2", "labels": ["0", "1"], "label_names": ["bad", "good"]});
    dataset(dir, Kind::Glue, true, configuration, &[(0..).zip(sentences).map(row).collect()]);
}

/// Two questions about a context that takes several windows.
pub fn questions(dir: &Path) {
    questions_named(dir, &["first", "second"]);
}

/// Questions with these ids about a context that takes several windows.
pub fn questions_named(dir: &Path, ids: &[&str]) {
    let context = "the old whale sailed the sea , and the ship of rope sailed of the whale . ".repeat(6);
    let answer = json!([{"text": "ship of rope", "answer_start": context.find("ship").unwrap()}]);
    let question = |id: &&str| json!({"id": id, "question": "what sailed ?", "answers": answer});
    let file = json!({"version": "1.1", "data": [{"title": "", "paragraphs": [
        {"context": context, "qas": ids.iter().map(question).collect::<Vec<_>>()}]}]});
    let input = dir.with_extension("json");
    std::fs::write(&input, file.to_string()).unwrap();
    let config = SquadConfig { max_seq_length: 64, doc_stride: 30, max_query_length: 16, cased: false };
    squad(&config, &input, &vocabulary(), dir, &Progress::silent()).unwrap();
}
