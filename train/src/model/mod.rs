//! BERT: post-LN encoder, three heads, parameters in one flat buffer under Hugging Face's names.
//!
//! It computes on packed micro-batches: every token is a row, and there is no padding anywhere.
//!
//! Shapes: B sequences, T tokens, H hidden, M masked positions, V vocabulary, C labels.

// Tensors carry their shape as an upper-case suffix.
#![allow(non_snake_case)]

pub mod config;
mod embeddings;
mod encoder;
mod heads;
mod layers;
mod packed;
mod workers;

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
use packed::{Packed, Read};

pub use heads::Head;
pub use workers::Workers;

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
    dropout_seed: u64,
    workers: Option<Workers>,
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
        Ok(Self {
            config,
            head,
            parameters,
            embeddings,
            encoder,
            head_layers,
            precision: Precision::Fp32,
            dropout_seed: 0,
            workers: None,
        })
    }

    /// The same model, with the same parameters in memory, and a gradient of its own unless it is to `share` this one's.
    fn replica(&self, share: bool) -> Result<Self> {
        Ok(Self {
            config: self.config.clone(),
            parameters: self.parameters.replica(share)?,
            embeddings: self.embeddings.clone(),
            encoder: self.encoder.clone(),
            head_layers: self.head_layers.clone(),
            workers: None,
            ..*self
        })
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

    /// How its matrix products are computed.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The seed of dropout in the steps from here on.
    pub fn set_dropout_seed(&mut self, seed: u64) {
        self.dropout_seed = seed;
    }

    /// The seed of dropout in this step.
    pub fn dropout_seed(&self) -> u64 {
        self.dropout_seed
    }

    /// Has steps compute `count` micro-batches at a time from here on, in threads that share torch's; on the CPU in fp32 alone.
    ///
    /// # Errors
    /// Memory or threads run out, or the model computes elsewhere.
    pub fn set_workers(&mut self, count: u32) -> Result<()> {
        if count > 1 && (self.device() != Device::Cpu || self.precision != Precision::Fp32) {
            return Err(Error::Invalid("micro-batches are computed side by side on the CPU in fp32 alone".to_owned()));
        }
        self.workers = (count > 1).then(|| Workers::new(self, count)).transpose()?;
        Ok(())
    }

    /// Who computes micro-batches side by side, if that is not one after the other.
    pub fn workers(&self) -> Option<&Workers> {
        self.workers.as_ref()
    }

    /// What forward passes compute in from here on, fp32 at first. Parameters and gradients stay fp32.
    ///
    /// Workers go; set them after it.
    pub fn set_precision(&mut self, precision: Precision) {
        self.workers = None;
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
        let (pass, read, hidden_RH) = self.encode_read(sequences, masked_positions, train)?;
        Ok(PreTrainingLogits {
            masked_lm: masked_lm.forward(pass, &hidden_RH.f_index_select(0, &read.masked_M)?)?,
            next_sentence: next_sentence.forward(pass, &pool(pass, pooler, &hidden_RH, &read.first_B)?)?,
        })
    }

    /// Sum of the masked-LM cross entropies at `masked_positions` against `masked_ids`, both `[M]`, how many are predicted right, and
    /// the next-sentence logits `[B, 2]`. As from [`Self::pretraining_logits`], but where it can without a second `[M, V]`.
    ///
    /// # Errors
    /// When the model has another head, or a sequence or id does not fit it.
    pub fn pretraining_loss(
        &self,
        sequences: &Sequences,
        masked_positions: &[i64],
        masked_ids: &[i64],
        train: bool,
    ) -> Result<(Tensor, Tensor, Tensor)> {
        let HeadLayers::PreTraining { pooler, masked_lm, next_sentence } = &self.head_layers else {
            return Err(self.wrong_head("pre-training"));
        };
        let _autocast = self.precision.autocast(self.device())?;
        let labels_M =
            index_tensor(masked_ids, [masked_positions.len() as i64, self.config.vocab_size], "masked token id")?;
        let (pass, read, hidden_RH) = self.encode_read(sequences, masked_positions, train)?;
        let masked_MH = hidden_RH.f_index_select(0, &read.masked_M)?;
        let (loss, correct) = masked_lm.loss(pass, &masked_MH, &labels_M.f_to_device(self.device())?)?;
        let next_sentence = next_sentence.forward(pass, &pool(pass, pooler, &hidden_RH, &read.first_B)?)?;
        Ok((loss, correct, next_sentence))
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
        let (pass, read, hidden_BH) = self.encode_read(sequences, &[], train)?;
        let pooled_BH = pass.dropout(pool(pass, pooler, &hidden_BH, &read.first_B)?, *dropout)?;
        classifier.forward(pass, &pooled_BH)
    }

    /// Logits `[T, 2]` of answer start and end.
    ///
    /// # Errors
    /// When the model has another head, or a sequence does not fit it.
    pub fn question_answering_logits(&self, sequences: &Sequences, train: bool) -> Result<Tensor> {
        let HeadLayers::QuestionAnswering { outputs } = &self.head_layers else {
            return Err(self.wrong_head("question answering"));
        };
        let _autocast = self.precision.autocast(self.device())?;
        self.check_sequences(sequences)?;
        let (pass, hidden_TH) = self.encode(sequences, None, train)?;
        outputs.forward(pass, &hidden_TH)
    }

    /// Last hidden states `[R, H]` of the first token of each sequence and of the `masked` ones, and where each of them is.
    fn encode_read(&self, sequences: &Sequences, masked: &[i64], train: bool) -> Result<(Pass<'_>, Read, Tensor)> {
        self.check_sequences(sequences)?;
        let read = Read::new(sequences, masked, self.device())?;
        let (pass, hidden_RH) = self.encode(sequences, Some(&read), train)?;
        Ok((pass, read, hidden_RH))
    }

    /// Last hidden states, `[R, H]` of the tokens that are read, or `[T, H]` of all.
    fn encode(&self, sequences: &Sequences, read: Option<&Read>, train: bool) -> Result<(Pass<'_>, Tensor)> {
        let packed = Packed::new(sequences, self.device())?;
        let pass = Pass { parameters: &self.parameters, train };
        let embedded_TH = self.embeddings.forward(pass, &packed)?;
        Ok((pass, self.encoder.forward(pass, embedded_TH, &packed, read)?))
    }

    /// On a GPU an id or bound out of range would end the process, so it is refused here.
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
        let bounds = &sequences.cu_seqlens;
        let num_tokens = sequences.num_tokens();
        let is_whole = bounds.len() == sequences.num_sequences() + 1
            && bounds[0] == 0
            && bounds.is_sorted_by(|a, b| a < b)
            && bounds[bounds.len() - 1] as usize == num_tokens;
        if !is_whole || sequences.position_ids.len() != num_tokens || sequences.segment_ids.len() != num_tokens {
            return Err(Error::Invalid(format!(
                "micro-batch: expected ascending bounds of {} sequences over {num_tokens} tokens, found {bounds:?}",
                sequences.num_sequences()
            )));
        }
        let positions = self.config.max_position_embeddings;
        let limits = [
            ("position", &sequences.position_ids, "max_position_embeddings", positions),
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

/// `classes` as a tensor on the CPU, one below `num_classes` for each of `rows`.
pub(crate) fn index_tensor(classes: &[i64], [rows, num_classes]: [i64; 2], what: &str) -> Result<Tensor> {
    if classes.len() as i64 != rows {
        return Err(Error::Invalid(format!("{what}: expected {rows} in the micro-batch, found {}", classes.len())));
    }
    // On a GPU a class out of range would end the process.
    if let Some(class) = classes.iter().find(|&&class| !(0..num_classes).contains(&class)) {
        return Err(Error::Invalid(format!("{what}: expected at least 0 and less than {num_classes}, found {class}")));
    }
    Ok(Tensor::f_from_slice(classes)?)
}

/// Sum of the cross entropies of `logits` `[R, C]` against `labels` `[R]`, and how many rows have their maximum at the label.
pub(crate) fn cross_entropy_sum(logits: &Tensor, labels: &Tensor) -> Result<(Tensor, Tensor)> {
    let loss =
        logits.f_to_kind(Kind::Float)?.f_cross_entropy_loss::<Tensor>(labels, None, tch::Reduction::Sum, -100, 0.0)?;
    let correct = logits.f_argmax(-1, false)?.f_eq_tensor(labels)?.f_sum(Kind::Int64)?;
    Ok((loss, correct))
}
