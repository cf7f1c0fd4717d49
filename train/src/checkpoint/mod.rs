//! Checkpoints: directories that continue a run bit for bit and are themselves Hugging Face models.
//!
//! `RUN/checkpoints/step-00000100/` holds `model.safetensors`, `config.json`, `vocab.txt` and `tokenizer_config.json` (what
//! `transformers` opens), `optimizer.safetensors` (moments) and `state.json`, written
//! last, with the SHA-256 of every other file and a checksum of itself. A checkpoint is written under a hidden name, synced
//! and renamed, so that one that is there is whole; should a disk damage it, the one before is used.

mod state;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use cloze_formats::checksum::sha256_file;
use cloze_formats::durable;

use crate::error::{Error, Result};
use crate::interop::vocabulary::{TOKENIZER_CONFIG, VOCABULARY, tokenizer_config};
use crate::interop::{huggingface, safetensors};
use crate::model::Bert;
use crate::optim::{Optimizer, OptimizerState};
use crate::progress::say;
pub use state::{DataIdentity, FileSum, OptimizerInfo, Position, State};

use state::STATE;

/// Name of the directory of checkpoints in a run directory.
pub const CHECKPOINTS: &str = "checkpoints";
const MODEL: &str = "model.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";

/// What goes into a checkpoint.
pub struct Snapshot<'a> {
    /// `pretrain`, `squad` or `glue`.
    pub task: &'a str,
    /// The resolved recipe.
    pub recipe: &'a serde_json::Value,
    /// Where the run stands.
    pub position: &'a Position,
    /// Sums over the steps since the last row of the log.
    pub window: &'a serde_json::Value,
    /// What it learns from.
    pub data: &'a DataIdentity,
    /// The weights.
    pub bert: &'a Bert,
    /// The moments.
    pub optimizer: &'a dyn Optimizer,
    /// Bytes of vocab.txt.
    pub vocabulary: &'a [u8],
}

/// Which checkpoints of a run stay.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// This many of the newest ones.
    pub newest: usize,
    /// Besides, those of steps that are a multiple of this.
    pub every: Option<u64>,
}

/// Publishes a checkpoint in the run directory `run`. Returns its directory.
///
/// Of it and the ones before it, those stay that `keep` says. Ones of later steps go: the run was resumed before them, so they
/// are damaged, and would count as the newest.
///
/// # Errors
/// The disk is full or not writable; nothing is published then and older checkpoints stay.
pub fn save(run: &Path, snapshot: &Snapshot<'_>, keep: Keep) -> Result<PathBuf> {
    let checkpoints = run.join(CHECKPOINTS);
    fs::create_dir_all(&checkpoints).map_err(Error::io(&checkpoints))?;
    let step = snapshot.position.step;
    let dir = checkpoints.join(name(step));
    let unfinished = durable::temporary(&dir);
    remove(&unfinished)?;
    let published = write(&unfinished, snapshot).and_then(|()| {
        let replaced = aside(&dir);
        if dir.exists() {
            remove(&replaced)?;
            fs::rename(&dir, &replaced).map_err(Error::io(&dir))?;
        }
        fs::rename(&unfinished, &dir).map_err(Error::io(&dir))?;
        durable::sync_parent(&dir)?;
        clear(&replaced);
        Ok(())
    });
    if let Err(error) = published {
        let _ = tidy(run);
        return Err(error);
    }
    let (later, mut others): (Vec<_>, Vec<_>) =
        list(run)?.into_iter().filter(|(_, other)| *other != dir).partition(|(other, _)| *other > step);
    others.truncate((others.len() + 1).saturating_sub(keep.newest));
    others.retain(|(other, _)| !keep.every.is_some_and(|every| other.is_multiple_of(every)));
    later.into_iter().chain(others).for_each(|(_, old)| clear(&old));
    Ok(dir)
}

/// Removes what is no longer needed. Where that fails, as it does on NFS while another program reads there, nothing is lost:
/// the run goes on.
fn clear(old: &Path) {
    if let Err(error) = remove(old) {
        say(&format!("{error}; it is left behind"));
    }
}

/// Notes in the checkpoint `dir` that the run stands at `position`, where model and optimizer are as they were.
///
/// # Errors
/// state.json is damaged or not writable; it is then as before.
pub fn note_position(dir: &Path, position: &Position, window: &serde_json::Value) -> Result<()> {
    State { position: position.clone(), window: window.clone(), ..State::read(dir)? }.write(dir)
}

/// Name of the checkpoint of `step`.
fn name(step: u64) -> String {
    format!("step-{step:08}")
}

/// The step in a checkpoint's name.
fn step_of(name: &str) -> Option<u64> {
    name.strip_prefix("step-")?.parse().ok().filter(|step| self::name(*step) == name)
}

/// Where a checkpoint waits while another takes its place: a hidden sibling.
fn aside(dir: &Path) -> PathBuf {
    dir.with_file_name(format!(".{}.old", dir.file_name().unwrap_or_default().to_string_lossy()))
}

/// Clears up in the run directory `run` after a process that was killed while it saved: a checkpoint that was about to be
/// replaced is put back, unfinished ones are removed. Whoever calls this has the run for themselves.
///
/// # Errors
/// The directory is not writable.
pub fn tidy(run: &Path) -> Result<()> {
    for (name, path) in entries(&run.join(CHECKPOINTS))? {
        let Some((target, kind)) = name.strip_prefix('.').and_then(|name| name.rsplit_once('.')) else { continue };
        let target = path.with_file_name(target);
        match kind {
            "old" if step_of_dir(&target).is_some() && !target.exists() => {
                fs::rename(&path, &target).map_err(Error::io(&path))?;
            }
            "old" | "tmp" if step_of_dir(&target).is_some() => remove(&path)?,
            _ => {}
        }
    }
    Ok(())
}

fn step_of_dir(dir: &Path) -> Option<u64> {
    step_of(dir.file_name()?.to_str()?)
}

fn write(dir: &Path, snapshot: &Snapshot<'_>) -> Result<()> {
    fs::create_dir(dir).map_err(Error::io(dir))?;
    huggingface::write_model(snapshot.bert, dir)?;
    durable::write(dir.join(VOCABULARY), snapshot.vocabulary)?;
    let tokenizer = tokenizer_config(snapshot.data.vocabulary.cased, snapshot.bert.config());
    durable::write(dir.join(TOKENIZER_CONFIG), tokenizer.as_bytes())?;
    let OptimizerState { kind, step, layout, tensors } = snapshot.optimizer.state();
    safetensors::write_tensors(&dir.join(OPTIMIZER), &tensors, &BTreeMap::new())?;
    State::new(snapshot, OptimizerInfo { kind, step, layout }, sums(dir)?).write(dir)
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

fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io(dir)(error)),
        _ => Ok(()),
    }
}

/// Step and directory of every checkpoint in the run directory `run`, oldest first.
pub fn list(run: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let entries = entries(&run.join(CHECKPOINTS))?.into_iter();
    let mut found: Vec<_> = entries.filter_map(|(name, path)| Some((step_of(&name)?, path))).collect();
    found.sort();
    Ok(found)
}

/// Name and path of what is in `dir`; nothing if it is not there.
fn entries(dir: &Path) -> Result<Vec<(String, PathBuf)>> {
    match fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries
            .and_then(|entries| {
                entries.map(|e| e.map(|e| (e.file_name().to_string_lossy().into_owned(), e.path()))).collect()
            })
            .map_err(Error::io(dir)),
    }
}

/// The newest whole checkpoint of the run directory `run`; each damaged one met on the way is told to `report`, with the
/// one that is tried next.
///
/// # Errors
/// There is no whole checkpoint, or a newer one cannot be read or is of another version.
pub fn newest(run: &Path, mut report: impl FnMut(&Error, Option<&Path>)) -> Result<(PathBuf, State)> {
    let mut left = list(run)?;
    if left.is_empty() {
        return Err(Error::NothingToResume { path: run.to_owned() });
    }
    while let Some((_, dir)) = left.pop() {
        match verify(&dir) {
            Ok(state) => return Ok((dir, state)),
            Err(error) if error.is_damage() => report(&error, left.last().map(|(_, dir)| dir.as_path())),
            // It may be whole, and a run that went on from an earlier one would remove it.
            Err(error) => return Err(error),
        }
    }
    Err(Error::OnlyDamaged { path: run.to_owned() })
}

/// Directory and state of the checkpoint of `step` in the run directory `run`, which another process has verified.
///
/// # Errors
/// It cannot be read, for instance because the processes do not share a file system.
pub fn at_step(run: &Path, step: u64) -> Result<(PathBuf, State)> {
    let dir = run.join(CHECKPOINTS).join(name(step));
    let state = State::read(&dir)?;
    Ok((dir, state))
}

/// Reads state.json and checks it and every file it names.
///
/// # Errors
/// A file is missing, has another length or hash, or state.json is of another version or step.
pub fn verify(dir: &Path) -> Result<State> {
    let state = State::read(dir)?;
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
            return Err(Error::damaged(dir.join(name), message));
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
pub fn locate(path: &Path, report: impl FnMut(&Error, Option<&Path>)) -> Result<(PathBuf, Option<State>)> {
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
    let message = format!(
        "expected a model (config.json and {MODEL}) or a run directory, {found}; check the path, or bring another \
         program's checkpoint into this form with cloze-train import"
    );
    Err(Error::file(path, message))
}

/// Loads the moments of the checkpoint `dir` into `optimizer`.
///
/// # Errors
/// The tensors do not fit the model.
pub fn load_optimizer(dir: &Path, info: &OptimizerInfo, optimizer: &mut dyn Optimizer) -> Result<()> {
    let (tensors, _) = safetensors::read_tensors(&dir.join(OPTIMIZER))?;
    let OptimizerInfo { kind, step, layout } = info.clone();
    optimizer
        .load_state(&OptimizerState { kind, step, layout, tensors })
        .map_err(|e| Error::file(dir.join(OPTIMIZER), e.to_string()))
}
