//! What a run leaves behind to be watched by: rows of metrics.jsonl, and the same numbers for TensorBoard.

use std::path::Path;
use std::time::SystemTime;

use cloze_formats::dataset::Dataset;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::data;
use crate::error::{Error, Result};
use crate::log::{MetricsLog, Resumed};
use crate::machine::Machine;
use crate::model::Bert;
use crate::tensorboard::EventWriter;
use crate::world::World;

/// Columns of a step's row that tell of speed.
const SPEED: [&str; 5] = ["sequences_per_s", "tokens_per_s", "padded_tokens_per_s", "mfu", "data_wait_share"];
/// Columns that are no curves.
const NOT_CURVES: [&str; 4] = ["step", "time", "seconds", "data_wait_s"];

/// A run that begins, or goes on.
pub struct Attempt<'a> {
    /// `pretrain`, `squad` or `glue`.
    pub task: &'a str,
    /// The checkpoint that the run goes on from.
    pub resumed: Option<Resumed>,
    /// Updates to make in all.
    pub total_steps: u64,
    /// The resolved recipe.
    pub recipe: &'a Value,
    /// The model.
    pub bert: &'a Bert,
    /// What is learnt from.
    pub dataset: &'a Dataset,
    /// The processes that train together.
    pub world: &'a World,
    /// Speed of matrix products of all processes together, in operations per second, where it was measured.
    pub matmul_flops_per_s: Option<f64>,
    /// Whether to write for TensorBoard too.
    pub tensorboard: bool,
}

/// The row that an attempt begins with.
#[derive(Serialize)]
struct RunRow<'a> {
    kind: &'static str,
    step: u64,
    time: f64,
    task: &'a str,
    total_steps: u64,
    num_parameters: i64,
    world: &'a World,
    #[serde(skip_serializing_if = "Option::is_none")]
    matmul_flops_per_s: Option<f64>,
    versions: Value,
    machine: Machine,
    data: Value,
    model: Value,
    recipe: &'a Value,
}

/// The open logs of a run.
#[derive(Debug)]
pub struct Recorder {
    metrics: MetricsLog,
    tensorboard: Option<EventWriter>,
}

impl Recorder {
    /// Opens the logs in the directory `run` and writes what the attempt is.
    ///
    /// # Errors
    /// The directory is not writable, or full.
    pub fn open(run: &Path, attempt: &Attempt<'_>) -> Result<Self> {
        let time = now();
        let resumed_after = attempt.resumed.map(|resumed| resumed.after);
        let mut metrics = MetricsLog::open(run, attempt.resumed)?;
        metrics.append(&run_row(attempt, time)?)?;
        let tensorboard = match attempt.tensorboard {
            true => Some(EventWriter::open(run, resumed_after, time)?),
            false => None,
        };
        let mut recorder = Self { metrics, tensorboard };
        if let Some(tensorboard) = &mut recorder.tensorboard {
            let recipe = serde_json::to_string_pretty(attempt.recipe).map_err(|e| Error::Invalid(e.to_string()))?;
            let recipe: String = recipe.lines().map(|line| format!("    {line}\n")).collect();
            tensorboard.text(time, resumed_after.unwrap_or(0), "recipe", &recipe)?;
        }
        Ok(recorder)
    }

    /// A row about training.
    ///
    /// # Errors
    /// The disk is full.
    pub fn step(&mut self, row: &impl Serialize) -> Result<()> {
        self.metrics.append(row)?;
        let columns = serde_json::to_value(row).map_err(|e| Error::Invalid(e.to_string()))?;
        self.curves("train", columns.as_object().unwrap_or(&Map::new()))
    }

    /// Scores on held-out data; `kind` is `held_out` or `evaluation`.
    ///
    /// # Errors
    /// The disk is full.
    pub fn measurement(&mut self, kind: &str, step: u64, mut fields: Map<String, Value>) -> Result<()> {
        fields.insert("kind".to_owned(), json!(kind));
        fields.insert("step".to_owned(), json!(step));
        fields.insert("time".to_owned(), json!(now()));
        self.metrics.append(&fields)?;
        self.curves(kind, &fields)
    }

    /// Something that happened: `event` is `skipped`, `signal` or the like, `message` is for people.
    ///
    /// # Errors
    /// The disk is full.
    pub fn event(&mut self, event: &str, step: u64, message: &str) -> Result<()> {
        self.metrics.append(&json!({"kind": "event", "step": step, "time": now(), "event": event, "message": message}))
    }

    fn curves(&mut self, group: &str, columns: &Map<String, Value>) -> Result<()> {
        let Some(tensorboard) = &mut self.tensorboard else { return Ok(()) };
        let tag = |key: &str| if SPEED.contains(&key) { format!("speed/{key}") } else { format!("{group}/{key}") };
        let curves = columns.iter().filter(|(key, _)| !NOT_CURVES.contains(&key.as_str()));
        let scalars: Vec<_> = curves.filter_map(|(key, value)| Some((tag(key), value.as_f64()?))).collect();
        let step = columns.get("step").and_then(Value::as_u64).unwrap_or(0);
        let time = columns.get("time").and_then(Value::as_f64).unwrap_or_else(now);
        tensorboard.scalars(time, step, &scalars)
    }
}

fn run_row<'a>(attempt: &Attempt<'a>, time: f64) -> Result<RunRow<'a>> {
    let Attempt { task, bert, dataset, recipe, .. } = *attempt;
    let json = |value: serde_json::Result<Value>| value.map_err(|e| Error::Invalid(e.to_string()));
    let statistics = &dataset.manifest().statistics;
    let (mean_len, _) = data::mean_lengths(dataset);
    Ok(RunRow {
        kind: "run",
        step: attempt.resumed.map_or(0, |resumed| resumed.after),
        time,
        task,
        total_steps: attempt.total_steps,
        num_parameters: bert.parameters().num_parameters(),
        world: attempt.world,
        matmul_flops_per_s: attempt.matmul_flops_per_s,
        versions: json!({
            "cloze": env!("CARGO_PKG_VERSION"),
            "libtorch": cloze_torch_ext::load::libtorch_version(),
        }),
        machine: Machine::of(bert.device()),
        data: json!({
            "dir": dataset.dir().display().to_string(),
            "manifest": dataset.manifest().checksum.to_string(),
            "num_instances": dataset.len(),
            "num_tokens": statistics.tokens,
            "mean_len": mean_len,
            "length_histogram": statistics.length_histogram,
        }),
        model: json(serde_json::to_value(bert.config()))?,
        recipe,
    })
}

/// Seconds since 1970, to the millisecond.
pub fn now() -> f64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since.as_millis() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensorboard::TENSORBOARD;

    #[test]
    fn rows_become_curves_by_group_without_what_is_no_curve() {
        let dir = tempfile::tempdir().unwrap();
        let metrics = MetricsLog::open(dir.path(), None).unwrap();
        let tensorboard = Some(EventWriter::open(dir.path(), None, 1.0).unwrap());
        let mut recorder = Recorder { metrics, tensorboard };
        recorder.step(&json!({"kind": "step", "step": 3, "loss": 2.5, "mfu": 0.5, "seconds": 9.0})).unwrap();
        let fields = json!({"loss": 3.5}).as_object().unwrap().clone();
        recorder.measurement("held_out", 3, fields).unwrap();
        recorder.event("skipped", 4, "not finite").unwrap();
        let kinds: Vec<Value> =
            crate::log::rows(dir.path(), |_| true).unwrap().into_iter().map(|row| row["kind"].clone()).collect();
        assert_eq!(kinds, ["step", "held_out", "event"]);
        let file = std::fs::read_dir(dir.path().join(TENSORBOARD)).unwrap().next().unwrap().unwrap().path();
        let bytes = String::from_utf8_lossy(&std::fs::read(file).unwrap()).into_owned();
        for tag in ["train/loss", "speed/mfu", "held_out/loss"] {
            assert!(bytes.contains(tag), "{tag}");
        }
        assert!(!bytes.contains("seconds") && !bytes.contains("/step"));
    }
}
