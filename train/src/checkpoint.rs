//! Checkpoints: directories that continue a run bit for bit and are themselves Hugging Face models.
//!
//! `RUN/checkpoints/step-00000100/` holds `model.safetensors`, `config.json`, `vocab.txt` and `tokenizer_config.json` (what
//! `transformers` opens), `optimizer.safetensors` (moments and the state of torch's generator) and `state.json`, written
//! last, with the SHA-256 of every other file. A checkpoint is written under a hidden name, synced and renamed, so that
//! one that is there is whole; should a disk damage it, the one before is used.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use cloze_formats::checksum::sha256_file;
use cloze_formats::durable;
use cloze_formats::manifest::VocabularyInfo;
use cloze_formats::stream::Cursor;
use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use crate::error::{Error, Result};
use crate::interop::{huggingface, safetensors};
use crate::model::Bert;
use crate::optim::{Optimizer, OptimizerState};

/// Name of the directory of checkpoints in a run directory.
pub const CHECKPOINTS: &str = "checkpoints";
const STATE: &str = "state.json";
const MODEL: &str = "model.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
const VOCABULARY: &str = "vocab.txt";
const FORMAT: &str = "cloze-checkpoint";
const VERSION: u32 = 1;
const RNG_TENSOR: &str = "rng_state";

/// Where a run stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Optimizer updates made.
    pub step: u64,
    /// Next instance of the stream. Skipped steps move it too.
    pub cursor: Cursor,
    /// Steps skipped because a loss or gradient was not finite.
    pub num_skipped: u64,
    /// Of these, the ones since the last update.
    pub num_skipped_in_a_row: u64,
    /// Step of the last held-out measurement or evaluation.
    pub measured_step: Option<u64>,
    /// Epoch of the last evaluation.
    pub measured_epoch: u64,
    /// Seconds trained, over all attempts.
    pub seconds: f64,
}

/// Size and hash of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSum {
    /// Length.
    pub bytes: u64,
    /// SHA-256, hexadecimal.
    pub sha256: String,
}

/// What the optimizer was, beside its tensors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OptimizerInfo {
    /// `lamb` or `adamw`.
    pub kind: String,
    /// Updates that its bias correction has seen.
    pub step: u64,
    /// Fingerprint of the table of parameters.
    pub layout: String,
}

/// The dataset a run learns from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataIdentity {
    /// Checksum of its manifest.
    pub manifest: String,
    /// Instances.
    pub num_instances: u64,
    /// Its vocabulary.
    pub vocabulary: VocabularyInfo,
}

/// `state.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Always `cloze-checkpoint`.
    pub format: String,
    /// Version of this layout.
    pub version: u32,
    /// Program and version that wrote it.
    pub writer: String,
    /// `pretrain`, `squad` or `glue`.
    pub task: String,
    /// The whole recipe, resolved.
    pub recipe: serde_json::Value,
    /// Where the run stands.
    pub position: Position,
    /// What it learns from.
    pub data: DataIdentity,
    /// The optimizer.
    pub optimizer: OptimizerInfo,
    /// All other files.
    pub files: BTreeMap<String, FileSum>,
}

/// What goes into a checkpoint.
pub struct Snapshot<'a> {
    /// `pretrain`, `squad` or `glue`.
    pub task: &'a str,
    /// The resolved recipe.
    pub recipe: &'a serde_json::Value,
    /// Where the run stands.
    pub position: &'a Position,
    /// What it learns from.
    pub data: &'a DataIdentity,
    /// The weights.
    pub bert: &'a Bert,
    /// The moments.
    pub optimizer: &'a dyn Optimizer,
    /// Bytes of vocab.txt.
    pub vocabulary: &'a [u8],
}

/// Publishes a checkpoint in the run directory `run` and removes all but the newest `keep`. Returns its directory.
///
/// # Errors
/// The disk is full or not writable; nothing is published then and older checkpoints stay.
pub fn save(run: &Path, snapshot: &Snapshot<'_>, keep: usize) -> Result<PathBuf> {
    let checkpoints = run.join(CHECKPOINTS);
    fs::create_dir_all(&checkpoints).map_err(Error::io(&checkpoints))?;
    let dir = checkpoints.join(format!("step-{:08}", snapshot.position.step));
    let unfinished = durable::temporary(&dir);
    remove(&unfinished)?;
    let published = write(&unfinished, snapshot).and_then(|()| {
        remove(&dir)?;
        fs::rename(&unfinished, &dir).map_err(Error::io(&dir))?;
        Ok(durable::sync_parent(&dir)?)
    });
    if let Err(error) = published {
        let _ = remove(&unfinished);
        return Err(error);
    }
    for (_, old) in list(run)?.into_iter().rev().skip(keep.max(1)) {
        remove(&old)?;
    }
    Ok(dir)
}

fn write(dir: &Path, snapshot: &Snapshot<'_>) -> Result<()> {
    fs::create_dir(dir).map_err(Error::io(dir))?;
    huggingface::write_model(snapshot.bert, dir)?;
    durable::write(dir.join(VOCABULARY), snapshot.vocabulary)?;
    let tokenizer = tokenizer_config(&snapshot.data.vocabulary, snapshot.bert.config().max_position_embeddings);
    durable::write(dir.join("tokenizer_config.json"), tokenizer.as_bytes())?;
    let OptimizerState { kind, step, layout, mut tensors } = snapshot.optimizer.state();
    tensors.push((RNG_TENSOR.to_owned(), cloze_torch_ext::rng_state(snapshot.bert.device())?));
    safetensors::write_tensors(&dir.join(OPTIMIZER), &tensors, &BTreeMap::new())?;
    let state = State {
        format: FORMAT.to_owned(),
        version: VERSION,
        writer: format!("cloze-train {}", env!("CARGO_PKG_VERSION")),
        task: snapshot.task.to_owned(),
        recipe: snapshot.recipe.clone(),
        position: snapshot.position.clone(),
        data: snapshot.data.clone(),
        optimizer: OptimizerInfo { kind, step, layout },
        files: sums(dir)?,
    };
    let text = serde_json::to_string_pretty(&state).map_err(|e| Error::file(dir.join(STATE), e.to_string()))? + "\n";
    Ok(durable::write(dir.join(STATE), text.as_bytes())?)
}

fn sums(dir: &Path) -> Result<BTreeMap<String, FileSum>> {
    let mut sums = BTreeMap::new();
    for entry in fs::read_dir(dir).map_err(Error::io(dir))? {
        let entry = entry.map_err(Error::io(dir))?;
        let (sha256, bytes) = sha256_file(entry.path())?;
        sums.insert(entry.file_name().to_string_lossy().into_owned(), FileSum { bytes, sha256 });
    }
    Ok(sums)
}

/// What `transformers` needs to make a BertTokenizer from vocab.txt.
fn tokenizer_config(vocabulary: &VocabularyInfo, max_len: i64) -> String {
    let value = serde_json::json!({
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": !vocabulary.cased,
        "model_max_length": max_len,
        "pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]",
    });
    format!("{value:#}\n")
}

fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io(dir)(error)),
        _ => Ok(()),
    }
}

/// Step and directory of every checkpoint in the run directory `run`, oldest first.
pub fn list(run: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let checkpoints = run.join(CHECKPOINTS);
    let mut found = Vec::new();
    let entries = match fs::read_dir(&checkpoints) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(Error::io(&checkpoints)(error)),
    };
    for entry in entries {
        let entry = entry.map_err(Error::io(&checkpoints))?;
        if let Some(step) = entry.file_name().to_str().and_then(|n| n.strip_prefix("step-")?.parse().ok()) {
            found.push((step, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// The newest whole checkpoint of the run directory `run`; each damaged one before it is told to `report`.
///
/// # Errors
/// There is no whole checkpoint.
pub fn newest(run: &Path, mut report: impl FnMut(&Error)) -> Result<(PathBuf, State)> {
    for (_, dir) in list(run)?.into_iter().rev() {
        match verify(&dir) {
            Ok(state) => return Ok((dir, state)),
            Err(error) => report(&error),
        }
    }
    Err(Error::NothingToResume { path: run.to_owned() })
}

/// Reads state.json and checks every file it names.
///
/// # Errors
/// A file is missing, has another length or hash, or state.json is of another version.
pub fn verify(dir: &Path) -> Result<State> {
    let path = dir.join(STATE);
    let text = fs::read_to_string(&path).map_err(Error::io(&path))?;
    let value: serde_json::Value =
        serde_json::from_str(&text).map_err(|e| Error::file(&path, format!("expected a checkpoint's state: {e}")))?;
    if value["format"] != FORMAT || value["version"] != VERSION {
        let message = format!(
            "expected \"{FORMAT}\" of version {VERSION}, found {} of version {}; use the Cloze that wrote it",
            value["format"], value["version"]
        );
        return Err(Error::file(&path, message));
    }
    let state: State = serde_json::from_value(value)
        .map_err(|e| Error::file(&path, format!("expected a checkpoint's state, found: {e}; use an earlier one")))?;
    for (name, expected) in &state.files {
        let (sha256, bytes) = sha256_file(dir.join(name))?;
        if (bytes, &sha256) != (expected.bytes, &expected.sha256) {
            let message = format!(
                "expected {} bytes with sha256 {}, found {bytes} with {}; the checkpoint is damaged: restore the file \
                 or use an earlier checkpoint",
                expected.bytes,
                short(&expected.sha256),
                short(&sha256)
            );
            return Err(Error::file(dir.join(name), message));
        }
    }
    Ok(state)
}

/// Enough of a hash to tell two apart.
pub fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}

/// The directory with config.json and weights that a user's path means: itself, or the newest checkpoint of a run.
/// A checkpoint of ours is verified; its state comes along.
///
/// # Errors
/// Neither a model nor a run, or a damaged checkpoint.
pub fn locate(path: &Path, report: impl FnMut(&Error)) -> Result<(PathBuf, Option<State>)> {
    if path.join(CHECKPOINTS).is_dir() {
        let (dir, state) = newest(path, report)?;
        return Ok((dir, Some(state)));
    }
    if path.join(STATE).is_file() {
        return Ok((path.to_owned(), Some(verify(path)?)));
    }
    if path.join("config.json").is_file() {
        return Ok((path.to_owned(), None));
    }
    let found = if path.is_dir() { "found neither" } else { "found no such directory" };
    let message = format!("expected a model (config.json and {MODEL}) or a run directory, {found}; check the path");
    Err(Error::file(path, message))
}

/// Loads the moments of the checkpoint `dir` into `optimizer`, and returns the state of torch's generator.
///
/// # Errors
/// The tensors do not fit the model.
pub fn load_optimizer(dir: &Path, info: &OptimizerInfo, optimizer: &mut dyn Optimizer) -> Result<Option<Tensor>> {
    let (mut tensors, _) = safetensors::read_tensors(&dir.join(OPTIMIZER))?;
    let rng = tensors.iter().position(|(name, _)| name == RNG_TENSOR).map(|index| tensors.remove(index).1);
    let OptimizerInfo { kind, step, layout } = info.clone();
    optimizer
        .load_state(&OptimizerState { kind, step, layout, tensors })
        .map_err(|e| Error::file(dir.join(OPTIMIZER), e.to_string()))?;
    Ok(rng)
}

/// Puts torch's generator where it was; a state taken on another kind of device is left alone, returning false.
pub fn restore_rng(device: Device, state: &Tensor) -> bool {
    cloze_torch_ext::set_rng_state(device, state).is_ok()
}
