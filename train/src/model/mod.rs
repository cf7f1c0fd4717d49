//! BERT: post-LN encoder, three heads, parameters in one flat buffer under Hugging Face's names.
//!
//! Shapes: B batch, S sequence (padded), G = B * S cells of that grid, T tokens without padding, H hidden, M masked positions,
//! V vocabulary, C labels.

// Tensors carry their shape as an upper-case suffix.
#![allow(non_snake_case)]

pub mod config;
mod embeddings;
mod encoder;
mod heads;
mod layers;

use cloze_formats::stream::Sequences;
use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};
use crate::parameters::{Parameters, ParametersBuilder};
use crate::precision::Precision;
use config::BertConfig;
use embeddings::Embeddings;
use encoder::Encoder;
use heads::{HeadLayers, pool};
use layers::{Declare, Pass};

pub use heads::Head;

/// A BERT with one head.
#[derive(Debug)]
pub struct Bert {
    config: BertConfig,
    head: Head,
    parameters: Parameters,
    embeddings: Embeddings,
    encoder: Encoder,
    head_layers: HeadLayers,
    precision: Precision,
}

/// Sequences as the padded grid that the encoder computes on.
#[derive(Debug)]
pub struct Grid {
    batch_len: i64,
    seq_len: i64,
    input_ids_BS: Tensor,
    segment_ids_BS: Tensor,
    /// True where a token may be attended to; `None` when there is no padding.
    mask_B11S: Option<Tensor>,
    /// Cell of each packed token, ascending.
    cells: Vec<i64>,
    device: Device,
}

impl Grid {
    /// Pads `sequences` to the longest of them, on `device`.
    pub fn new(sequences: &Sequences, pad_token_id: i64, device: Device) -> Result<Self> {
        let padded = sequences.padded(pad_token_id);
        let (batch_len, seq_len) = (padded.batch as i64, padded.seq as i64);
        let shape = [batch_len, seq_len];
        let to_device = |t: Tensor| t.f_view(shape)?.f_to_device(device);
        let mask_B11S = if padded.attention_mask.iter().all(|&real| real) {
            None
        } else {
            Some(to_device(Tensor::f_from_slice(&padded.attention_mask)?)?.f_view([batch_len, 1, 1, seq_len])?)
        };
        Ok(Self {
            batch_len,
            seq_len,
            input_ids_BS: to_device(Tensor::f_from_slice(&padded.input_ids)?)?,
            segment_ids_BS: to_device(Tensor::f_from_slice(&padded.segment_ids)?)?,
            mask_B11S,
            cells: padded.positions,
            device,
        })
    }

    /// Cells of the tokens at `positions` in the packed order.
    fn cells_of(&self, positions: &[i64]) -> Result<Tensor> {
        let cells: Option<Vec<i64>> =
            positions.iter().map(|&p| self.cells.get(usize::try_from(p).ok()?).copied()).collect();
        let cells = cells.ok_or_else(|| {
            Error::Invalid(format!(
                "masked positions: expected indices below {}, the tokens of the micro-batch",
                self.cells.len()
            ))
        })?;
        Ok(Tensor::f_from_slice(&cells)?.f_to_device(self.device)?)
    }
}

/// The two heads of pre-training at once.
#[derive(Debug)]
pub struct PreTrainingLogits {
    /// `[M, V]`, one row per position asked for.
    pub masked_lm: Tensor,
    /// `[B, 2]`; class 1 says that segment B is random.
    pub next_sentence: Tensor,
}

impl Bert {
    /// A new model, initialised from `seed`: weights normal, biases 0, LayerNorm 1 and 0. Torch's global random state plays no
    /// part.
    ///
    /// Source of the initialisation: `create_initializer`, google-research/bert; not truncated at two deviations, as in Hugging
    /// Face's.
    ///
    /// # Errors
    /// When the configuration is out of range or memory runs out.
    pub fn new(config: BertConfig, head: Head, device: Device, seed: u64) -> Result<Self> {
        config.validate()?;
        if let Head::SequenceClassification { num_labels } = head
            && num_labels < 1
        {
            return Err(Error::Invalid(format!("num_labels: expected at least 1, found {num_labels}")));
        }
        let mut builder = ParametersBuilder::default();
        let mut declare = Declare { builder: &mut builder, deviation: config.initializer_range };
        let embeddings = Embeddings::declare(&mut declare, &config);
        let encoder = Encoder::declare(&mut declare, &config);
        let head_layers = HeadLayers::declare(&mut declare, &config, head, embeddings.word());
        let parameters = builder.build(device, seed)?;
        Ok(Self { config, head, parameters, embeddings, encoder, head_layers, precision: Precision::Fp32 })
    }

    /// Its configuration.
    pub fn config(&self) -> &BertConfig {
        &self.config
    }

    /// Its head.
    pub fn head(&self) -> Head {
        self.head
    }

    /// Where it computes.
    pub fn device(&self) -> Device {
        self.parameters.flat().device()
    }

    /// Its parameters and gradients.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Its parameters and gradients, for an optimizer.
    pub fn parameters_mut(&mut self) -> &mut Parameters {
        &mut self.parameters
    }

    /// What forward passes compute in from here on, fp32 at first. Parameters and gradients stay fp32.
    pub fn set_precision(&mut self, precision: Precision) {
        self.precision = precision;
    }

    /// Logits of both pre-training heads; masked-LM only at `masked_positions`, `[M]` indices into the packed tokens.
    ///
    /// `train` turns dropout on.
    ///
    /// # Errors
    /// When the model has another head, or a sequence does not fit it.
    pub fn pretraining_logits(
        &self,
        sequences: &Sequences,
        masked_positions: &[i64],
        train: bool,
    ) -> Result<PreTrainingLogits> {
        let HeadLayers::PreTraining { pooler, masked_lm, next_sentence } = &self.head_layers else {
            return Err(self.wrong_head("pre-training"));
        };
        let _autocast = self.precision.autocast(self.device())?;
        let (pass, grid, hidden_GH) = self.encode(sequences, train)?;
        let masked_MH = hidden_GH.f_index_select(0, &grid.cells_of(masked_positions)?)?;
        Ok(PreTrainingLogits {
            masked_lm: masked_lm.forward(pass, &masked_MH)?,
            next_sentence: next_sentence.forward(pass, &pool(pass, pooler, &hidden_GH, &grid)?)?,
        })
    }

    /// Logits `[B, C]` of the labels.
    ///
    /// # Errors
    /// When the model has another head, or a sequence does not fit it.
    pub fn classification_logits(&self, sequences: &Sequences, train: bool) -> Result<Tensor> {
        let HeadLayers::SequenceClassification { pooler, classifier, dropout } = &self.head_layers else {
            return Err(self.wrong_head("sequence classification"));
        };
        let _autocast = self.precision.autocast(self.device())?;
        let (pass, grid, hidden_GH) = self.encode(sequences, train)?;
        let pooled_BH = pass.dropout(pool(pass, pooler, &hidden_GH, &grid)?, *dropout)?;
        classifier.forward(pass, &pooled_BH)
    }

    /// Logits `[B, S, 2]` of answer start and end; minus infinity at padding, so that it takes no part in a softmax over S.
    ///
    /// # Errors
    /// When the model has another head, or a sequence does not fit it.
    pub fn question_answering_logits(&self, sequences: &Sequences, train: bool) -> Result<Tensor> {
        let HeadLayers::QuestionAnswering { outputs } = &self.head_layers else {
            return Err(self.wrong_head("question answering"));
        };
        let _autocast = self.precision.autocast(self.device())?;
        let (pass, grid, hidden_GH) = self.encode(sequences, train)?;
        let logits_BS2 = outputs.forward(pass, &hidden_GH)?.f_view([grid.batch_len, grid.seq_len, 2])?;
        let Some(mask_B11S) = &grid.mask_B11S else { return Ok(logits_BS2) };
        let padding_BS1 = mask_B11S.f_view([grid.batch_len, grid.seq_len, 1])?.f_logical_not()?;
        Ok(logits_BS2.f_masked_fill(&padding_BS1, f64::NEG_INFINITY)?)
    }

    /// Last hidden states `[G, H]`.
    fn encode(&self, sequences: &Sequences, train: bool) -> Result<(Pass<'_>, Grid, Tensor)> {
        self.check_sequences(sequences)?;
        let grid = Grid::new(sequences, self.config.pad_token_id, self.device())?;
        let pass = Pass { parameters: &self.parameters, train };
        let embedded_GH = self.embeddings.forward(pass, &grid)?;
        let hidden_GH = self.encoder.forward(pass, embedded_GH, &grid)?;
        Ok((pass, grid, hidden_GH))
    }

    /// On a GPU an id out of range would end the process, so it is refused here.
    fn check_sequences(&self, sequences: &Sequences) -> Result<()> {
        let longest = sequences.max_len() as i64;
        if sequences.num_sequences() == 0 {
            return Err(Error::Invalid("micro-batch: expected at least one sequence, found none".to_owned()));
        }
        if longest > self.config.max_position_embeddings {
            return Err(Error::Invalid(format!(
                "sequence of {longest} tokens: the model's max_position_embeddings is {}; build the dataset with a smaller \
                 max_seq_length",
                self.config.max_position_embeddings
            )));
        }
        let limits = [
            ("token id", &sequences.input_ids, "vocab_size", self.config.vocab_size),
            ("segment", &sequences.segment_ids, "type_vocab_size", self.config.type_vocab_size),
        ];
        for (what, ids, limit_name, limit) in limits {
            if let Some(id) = ids.iter().find(|&&id| !(0..limit).contains(&id)) {
                return Err(Error::Invalid(format!(
                    "{what} {id}: the model's {limit_name} is {limit}; the dataset was built with another vocabulary"
                )));
            }
        }
        Ok(())
    }

    fn wrong_head(&self, wanted: &str) -> Error {
        Error::Invalid(format!("expected a model with a head for {wanted}, found {:?}", self.head))
    }
}

/// Sum of the cross entropies of `logits` `[R, C]` against `labels` `[R]`, and how many rows have their maximum at the label.
pub(crate) fn cross_entropy_sum(logits: &Tensor, labels: &Tensor) -> Result<(Tensor, Tensor)> {
    let loss =
        logits.f_to_kind(Kind::Float)?.f_cross_entropy_loss::<Tensor>(labels, None, tch::Reduction::Sum, -100, 0.0)?;
    let correct = logits.f_argmax(-1, false)?.f_eq_tensor(labels)?.f_sum(Kind::Int64)?;
    Ok((loss, correct))
}
