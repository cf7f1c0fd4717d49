//! What every run does before its first step: settle recipe, device, threads, and where the weights come from.

use std::path::{Path, PathBuf};

use cloze_formats::dataset::Dataset;
use cloze_torch_ext::{set_deterministic, set_num_threads};
use tch::Device;

use crate::checkpoint::{self, State};
use crate::data;
use crate::device::DeviceChoice;
use crate::error::{Error, Result};
use crate::interop::huggingface::{self, Missing};
use crate::model::config::BertConfig;
use crate::model::{Bert, Workers};
use crate::optim::Optimizer;
use crate::precision::Precision;
use crate::progress::say;
use crate::recipe::{Recipe, RunSection, check_resume, settings};
use crate::run::RunDir;
use crate::trainer::Saved;
use crate::world::{Group, World};

/// Makes the recipe of a run from the one stored in its checkpoint (when it is resumed), a file and flags.
pub type Resolve<'a, R> = &'a dyn Fn(Option<R>) -> Result<R>;

/// A run that is continued.
pub struct Resumed {
    /// Its directory, held by the first process.
    pub run: Option<RunDir>,
    /// Its newest whole checkpoint.
    pub dir: PathBuf,
    /// That checkpoint's state.
    pub state: State,
}

/// Finds where the run in `out` goes on, if it is to be resumed.
///
/// # Errors
/// Weights are to come from elsewhere as well.
/// There is no whole checkpoint, it is another task's, or another process is at work there.
pub fn resume(resume: bool, init: Option<&Path>, out: &Path, task: &str, group: &Group) -> Result<Option<Resumed>> {
    if !resume {
        return Ok(None);
    }
    let found = if group.is_first() { newest(init, out, task).map(Some) } else { Ok(None) };
    if let Some(resumed) = group.agree(found)? {
        group.maximum(resumed.state.position.step as f64)?;
        return group.agree(Ok(Some(resumed)));
    }
    // The first process has verified it.
    let step = group.maximum(0.0)? as u64;
    let found = checkpoint::at_step(out, step).map_err(|error| {
        let rank = group.world().rank;
        Error::Invalid(format!(
            "{error}; expected rank {rank} to see the checkpoint of step {step} that rank 0 resumes from: put the run on a file \
             system that all processes share"
        ))
    });
    group.agree(found).map(|(dir, state)| Some(Resumed { run: None, dir, state }))
}

fn newest(init: Option<&Path>, out: &Path, task: &str) -> Result<Resumed> {
    if init.is_some() {
        let message = "expected --init or --resume, found both; a resumed run has its own weights: leave --init out";
        return Err(Error::Invalid(message.to_owned()));
    }
    let run = RunDir::resume(out)?;
    let (dir, state) = checkpoint::newest(out, damaged)?;
    if state.task != task {
        let message = format!("expected a run of {task}, found one of {}; give its own command", state.task);
        return Err(Error::file(dir, message));
    }
    say(&format!("{}: resuming after step {}", dir.display(), state.position.step));
    Ok(Resumed { run: Some(run), dir, state })
}

/// The directory to train in, held by the first process, and the checkpoint that the run in it has behind it.
///
/// # Errors
/// A new run's directory is taken.
pub fn enter(resumed: Option<Resumed>, out: &Path, group: &Group) -> Result<(Option<RunDir>, Option<Saved>)> {
    match resumed {
        None => {
            let created = if group.is_first() { RunDir::create(out).map(Some) } else { Ok(None) };
            Ok((group.agree(created)?, None))
        }
        Some(Resumed { run, dir, state: State { recipe, position, window, .. } }) => {
            Ok((run, Some(Saved { dir, recipe, position, window })))
        }
    }
}

/// Tells people that a checkpoint is passed over.
pub fn damaged(error: &Error, next: Option<&Path>) {
    say(&format!("{error}"));
    if let Some(next) = next {
        say(&format!("trying the checkpoint before it, {}", next.display()));
    }
}

/// The recipe, validated and settled; torch uses its device, precision and threads from here on.
///
/// # Errors
/// A setting is out of range, the device is not there, or a resumed run is given another recipe.
pub fn settle<R: Recipe>(resolve: Resolve<'_, R>, resumed: Option<&Resumed>, world: &World) -> Result<(R, Device)> {
    let stored: Option<R> = match resumed {
        None => None,
        Some(Resumed { dir, state, .. }) => Some(
            serde_json::from_value(state.recipe.clone())
                .map_err(|e| Error::file(dir, format!("expected a recipe in state.json: {e}")))?,
        ),
    };
    let mut recipe = resolve(stored.clone().map(|stored| for_any_process(stored, world)))?;
    recipe.validate()?;
    let device = start_torch(recipe.run_mut(), world)?;
    recipe.settle(device);
    if let (Some(resumed), Some(mut stored)) = (resumed, stored) {
        // What an earlier version left open is settled as it settled it.
        stored.settle(device);
        for notice in check_resume(&resumed.dir, &stored, &recipe)? {
            say(&notice);
        }
    }
    Ok((recipe, device))
}

/// A checkpoint's recipe without what its first process had settled for itself, where there are several now.
fn for_any_process<R: Recipe>(mut recipe: R, world: &World) -> R {
    if !world.is_alone() {
        let run = recipe.run_mut();
        run.threads = None;
        if run.device.starts_with("cuda") {
            run.device = "cuda".to_owned();
        }
    }
    recipe
}

/// Checks that all processes are to do the same: recipe, data, and what is `measured` on.
///
/// # Errors
/// They differ.
pub fn same<'a, R: Recipe>(
    group: &Group,
    recipe: &R,
    dataset: &Dataset,
    measured: impl IntoIterator<Item = &'a Dataset>,
) -> Result<()> {
    let mut recipe = recipe.clone();
    let run = recipe.run_mut();
    (run.device, run.threads) = (String::new(), None);
    group.same("recipe", &settings(&recipe).map(|(key, value)| format!("{key} = {value}\n")).collect::<String>())?;
    let manifest = |dataset: &Dataset| data::identity(dataset).manifest;
    group.same("dataset (checksum of its manifest)", &manifest(dataset))?;
    let measured: Vec<String> = measured.into_iter().map(manifest).collect();
    let measured = if measured.is_empty() { "none".to_owned() } else { measured.join("\n") };
    group.same("held-out or dev datasets (checksums of their manifests)", &measured)
}

/// Settles device, precision and threads in place: processes of one machine share its GPUs or its cores.
pub fn start_torch(run: &mut RunSection, world: &World) -> Result<Device> {
    let choice: DeviceChoice = run.device.parse()?;
    let device = choice.resolve(world.local_rank as usize)?;
    if let Some(notice) = choice.notice(world.local_world_size).filter(|_| world.local_rank == 0) {
        say(&notice);
    }
    run.device = match device {
        Device::Cuda(index) => format!("cuda:{index}"),
        _ => "cpu".to_owned(),
    };
    run.precision = run.precision.settle(device)?;
    if run.deterministic && device != Device::Cpu {
        set_deterministic(true)?;
    }
    let threads = *run.threads.get_or_insert_with(|| world.threads());
    set_num_threads(i32::try_from(threads).unwrap_or(i32::MAX))?;
    Ok(device)
}

/// How many micro-batches this process computes side by side: on the CPU in fp32, and where processes do not do that already.
pub fn num_workers(run: &RunSection, world: &World) -> u32 {
    let alone = run.device == "cpu" && run.precision == Precision::Fp32 && world.is_alone();
    run.threads.filter(|_| alone).map_or(1, Workers::number)
}

/// Where the weights of a new run come from.
pub struct Origin {
    /// The directory with config.json and weights.
    pub dir: PathBuf,
    /// The state, where it is a checkpoint of ours.
    pub state: Option<State>,
    /// Its config.json.
    pub config: BertConfig,
}

impl Origin {
    /// The model in `path`, a model directory or a run.
    ///
    /// # Errors
    /// There is none, or it is damaged.
    pub fn open(path: &Path) -> Result<Self> {
        let (dir, state) = checkpoint::locate(path, damaged)?;
        let config = huggingface::read_config(&dir)?;
        Ok(Self { dir, state, config })
    }

    /// Loads its weights into `bert`, saying what was loaded and what is new.
    ///
    /// # Errors
    /// A weight is missing that no new head explains, or has another shape.
    pub fn load(&self, bert: &mut Bert, missing: Missing) -> Result<()> {
        let report = huggingface::load_weights(bert, &self.dir, missing)?;
        say(&format!("{}: {}", self.dir.display(), report.to_string().trim_end()));
        Ok(())
    }
}

/// Puts the optimizer back to where the checkpoint has it.
///
/// # Errors
/// The tensors are damaged or do not fit the model.
pub fn restore(resumed: &Resumed, optimizer: &mut dyn Optimizer) -> Result<()> {
    checkpoint::load_optimizer(&resumed.dir, &resumed.state.optimizer, optimizer)
}
