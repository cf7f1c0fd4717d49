//! `state.json`: where a run stands, and what the other files of its checkpoint are.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use cloze_formats::checksum::{Crc32c, self_checksum};
use cloze_formats::durable;
use cloze_formats::manifest::VocabularyInfo;
use cloze_formats::stream::Cursor;
use serde::{Deserialize, Serialize};

use super::{Snapshot, step_of_dir};
use crate::error::{Error, Result};
use crate::optim::LossScale;
use crate::trainer::RecentLoss;

pub(super) const STATE: &str = "state.json";
const FORMAT: &str = "cloze-checkpoint";
const VERSION: u32 = 1;

/// Where a run stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Optimizer updates made.
    pub step: u64,
    /// Next instance of the stream. Skipped steps move it too.
    pub cursor: Cursor,
    /// Steps skipped because a loss or gradient was not finite, or the loss a spike.
    pub num_skipped: u64,
    /// Of these, the ones since the last update.
    pub num_skipped_in_a_row: u64,
    /// Of these, the ones that no lower loss scale may mend.
    #[serde(default)]
    pub num_failed_in_a_row: u64,
    /// Step of the last held-out measurement or evaluation.
    pub measured_step: Option<u64>,
    /// Epoch of the last evaluation.
    pub measured_epoch: u64,
    /// Seconds trained, over all attempts.
    pub seconds: f64,
    /// Loss scale of fp16.
    #[serde(default)]
    pub loss_scale: Option<LossScale>,
    /// What loss spikes are measured against.
    #[serde(default)]
    pub recent_loss: RecentLoss,
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
    /// crc32c of the file with these eight digits as zeros.
    pub checksum: Crc32c,
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
    /// Sums over the steps since the last row of the log.
    #[serde(default)]
    pub window: serde_json::Value,
    /// What it learns from.
    pub data: DataIdentity,
    /// The optimizer.
    pub optimizer: OptimizerInfo,
    /// All other files.
    pub files: BTreeMap<String, FileSum>,
}

impl State {
    /// The state of `snapshot`, whose `optimizer` and `files` are written.
    pub(super) fn new(snapshot: &Snapshot<'_>, optimizer: OptimizerInfo, files: BTreeMap<String, FileSum>) -> Self {
        Self {
            checksum: Crc32c(0),
            format: FORMAT.to_owned(),
            version: VERSION,
            writer: format!("cloze-train {}", env!("CARGO_PKG_VERSION")),
            task: snapshot.task.to_owned(),
            recipe: snapshot.recipe.clone(),
            position: snapshot.position.clone(),
            window: snapshot.window.clone(),
            data: snapshot.data.clone(),
            optimizer,
            files,
        }
    }

    /// Writes it into the checkpoint `dir`, in place of the one there.
    pub(super) fn write(mut self, dir: &Path) -> Result<()> {
        let path = dir.join(STATE);
        let render = |state: &Self| {
            serde_json::to_string_pretty(state).map(|text| text + "\n").map_err(|e| Error::file(&path, e.to_string()))
        };
        self.checksum = self_checksum(render(&self)?.into_bytes());
        Ok(durable::write(&path, render(&self)?.as_bytes())?)
    }

    /// Reads and checks state.json, whatever the other files are.
    pub(super) fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(STATE);
        let bytes = fs::read(&path).map_err(Error::io(&path))?;
        let value: serde_json::Value = serde_json::from_slice(&bytes)
            .map_err(|e| Error::damaged(&path, format!("expected a checkpoint's state: {e}; use an earlier one")))?;
        if value["format"] != FORMAT || value["version"] != VERSION {
            let message = format!(
                "expected \"{FORMAT}\" of version {VERSION}, found {} of version {}; use the Cloze that wrote it",
                value["format"], value["version"]
            );
            return Err(Error::file(&path, message));
        }
        let state: Self = serde_json::from_value(value).map_err(|e| {
            Error::damaged(&path, format!("expected a checkpoint's state, found: {e}; use an earlier one"))
        })?;
        let found = self_checksum(bytes);
        if found != state.checksum {
            let message = format!(
                "expected checksum {}, found {found}; the checkpoint is damaged: restore the file or use an earlier checkpoint",
                state.checksum
            );
            return Err(Error::damaged(&path, message));
        }
        // A checkpoint that a user has copied may have any name.
        if let Some(expected) = step_of_dir(dir).filter(|expected| *expected != state.position.step) {
            let message = format!(
                "expected step {expected}, as the directory's name says, found {}; give it its own name back",
                state.position.step
            );
            return Err(Error::damaged(&path, message));
        }
        Ok(state)
    }
}
