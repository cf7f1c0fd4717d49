//! Which settings of a run may change when it is resumed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::Recipe;
use crate::error::{Error, Result};

/// Settings that may change when a run is resumed, because they decide little or nothing of what it computes.
const FREE_ON_RESUME: [&str; 16] = [
    "run.device",
    "run.threads",
    "run.precision",
    "run.deterministic",
    "run.log_every",
    "run.checkpoint_every",
    "run.keep_checkpoints",
    "run.keep_checkpoint_every",
    "run.max_loss_spike",
    "run.max_nonfinite_steps",
    "run.tensorboard",
    "run.mfu",
    "data.micro_batch_tokens",
    "data.evaluation_batch_tokens",
    "data.held_out_every",
    "data.held_out_instances",
];

/// Of the free settings, those after which the run goes on correctly but no longer bit for bit.
const NOT_BIT_FOR_BIT: [&str; 6] = [
    "run.device",
    "run.threads",
    "run.precision",
    "run.deterministic",
    "run.max_loss_spike",
    "data.micro_batch_tokens",
];

/// Checks that a run begun with `stored` may go on with `now`, and returns a notice per change that gives up
/// bit-for-bit continuation. `path` is the checkpoint, for the error.
///
/// # Errors
/// A setting that decides the result differs.
pub fn check_resume<R: Recipe>(path: &Path, stored: &R, now: &R) -> Result<Vec<String>> {
    let flat = |recipe: &R| settings(recipe).collect::<BTreeMap<_, _>>();
    let (stored, now) = (flat(stored), flat(now));
    let absent = "nothing".to_owned();
    let keys: BTreeSet<&String> = stored.keys().chain(now.keys()).collect();
    let mut notices = Vec::new();
    for key in keys.into_iter().cloned() {
        let value = |of: &BTreeMap<String, String>| of.get(&key).unwrap_or(&absent).clone();
        let (expected, found) = (value(&stored), value(&now));
        if expected == found {
            continue;
        }
        if !FREE_ON_RESUME.contains(&key.as_str()) {
            return Err(Error::ResumeMismatch { path: path.to_owned(), key, expected, found });
        }
        if NOT_BIT_FOR_BIT.contains(&key.as_str()) {
            notices.push(format!("{key} was {expected}, is {found}: the run goes on, but not bit for bit"));
        }
    }
    Ok(notices)
}

/// `section.key` and value of every setting.
pub fn settings<R: Recipe>(recipe: &R) -> impl Iterator<Item = (String, String)> {
    let section = |name: &String, settings: &serde_json::Value| {
        let settings = settings.as_object().into_iter().flatten();
        settings.map(|(key, value)| (format!("{name}.{key}"), value.to_string())).collect::<Vec<_>>()
    };
    let recipe = serde_json::to_value(recipe).expect("a recipe is plain data");
    let sections = recipe.as_object().cloned().unwrap_or_default();
    sections.into_iter().flat_map(move |(name, settings)| section(&name, &settings))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::FinetuneRecipe;

    #[test]
    fn resuming_may_log_differently_but_not_learn_differently() {
        let stored = FinetuneRecipe::default();
        let mut now = stored.clone();
        now.run.log_every = 1;
        assert!(check_resume(Path::new("c"), &stored, &now).unwrap().is_empty());
        now.run.threads = Some(1);
        let notices = check_resume(Path::new("c"), &stored, &now).unwrap();
        assert_eq!(notices, ["run.threads was null, is 1: the run goes on, but not bit for bit"]);
        now.optimizer.learning_rate = Some(1e-5);
        assert_eq!(
            check_resume(Path::new("c"), &stored, &now).unwrap_err().to_string(),
            "c: expected optimizer.learning_rate = null, as this run was started, found 0.00001; \
             resume with the same settings or start anew"
        );
    }
}
