//! What the manifest of a fine-tuning dataset says of its task: preparation writes it, the trainer and `inspect` read it.

use serde::{Deserialize, Serialize};

use crate::manifest::{Kind, Manifest};
use crate::row::{Label, Row};

/// How a GLUE task is scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// Share of the classes that are right.
    Accuracy,
    /// F1 of class 1.
    F1,
    /// Matthews' correlation coefficient.
    Mcc,
    /// Pearson's correlation of predicted and gold scores.
    Pearson,
    /// Spearman's rank correlation of predicted and gold scores.
    Spearman,
}

impl Metric {
    /// Name in manifests, logs and eval.json.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::F1 => "f1",
            Self::Mcc => "mcc",
            Self::Pearson => "pearson",
            Self::Spearman => "spearman",
        }
    }
}

/// The part of a glue dataset's configuration that describes its task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GlueTask {
    /// Name of the task; empty where the configuration names none.
    pub task: String,
    /// Which of the task's files this is: `train`, `dev_matched`...
    pub split: String,
    /// Labels as the task's files and submissions have them, by class; empty for scores.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// What they mean, by class.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub label_names: Vec<String>,
    /// How the task is scored. Default: accuracy.
    pub metrics: Vec<Metric>,
    /// Name of the file that GLUE's server takes predictions of this split in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub submission: Option<String>,
}

impl Default for GlueTask {
    fn default() -> Self {
        Self {
            task: String::new(),
            split: String::new(),
            labels: Vec::new(),
            label_names: Vec::new(),
            metrics: vec![Metric::Accuracy],
            submission: None,
        }
    }
}

impl GlueTask {
    /// Of the dataset with this manifest; the default for what it does not say.
    pub fn of(manifest: &Manifest) -> Self {
        match manifest.kind {
            Kind::Glue => serde_json::from_value(manifest.configuration.clone()).unwrap_or_default(),
            _ => Self::default(),
        }
    }

    /// The name of a class, or its number where it has none.
    pub fn name(&self, class: i64) -> String {
        let name = usize::try_from(class).ok().and_then(|class| self.label_names.get(class));
        name.cloned().unwrap_or_else(|| class.to_string())
    }

    /// Checks that the class of a glue row is one of the task's; the error says what was expected and found.
    pub fn check_row(&self, row: &Row<'_>) -> Result<(), String> {
        let Row::Glue(row) = row else { return Ok(()) };
        match row.label {
            Some(Label::Class(class)) if !self.labels.is_empty() && class as usize >= self.labels.len() => {
                Err(format!("expected a class below {}, found {class}", self.labels.len()))
            }
            _ => Ok(()),
        }
    }
}

/// Which SQuAD a squad dataset comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SquadVersion {
    /// v1.1: every question has an answer.
    #[default]
    #[serde(rename = "1.1")]
    V1,
    /// v2.0: some questions have none.
    #[serde(rename = "2.0")]
    V2,
}

impl SquadVersion {
    /// Of the dataset with this manifest; v1.1 where it does not say.
    pub fn of(manifest: &Manifest) -> Self {
        let version = manifest.configuration.get("version").cloned();
        version.and_then(|version| serde_json::from_value(version).ok()).unwrap_or_default()
    }
}
