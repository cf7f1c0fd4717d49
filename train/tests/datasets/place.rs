//! A place to pre-train in.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{command, pretrain, text};

/// A recipe of a model that takes milliseconds a step.
pub const TINY: &str = r#"
[run]
threads = 1
device = "cpu"
log_every = 5
checkpoint_every = 10
[model]
hidden_size = 32
num_hidden_layers = 2
num_attention_heads = 2
max_position_embeddings = 32
[data]
global_batch_size = 16
micro_batch_tokens = 128
held_out_every = 20
[optimizer]
learning_rate = 0.01
[schedule]
steps = 40
warmup_fraction = 0.1
"#;

/// A directory with a dataset and a recipe, in which runs go side by side.
pub struct Place {
    pub dir: tempfile::TempDir,
    pub data: PathBuf,
    pub recipe: PathBuf,
}

impl Place {
    pub fn new(recipe: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("phase1");
        pretrain(&data, 200, "");
        let path = dir.path().join("recipe.toml");
        fs::write(&path, recipe).unwrap();
        Self { dir, data, recipe: path }
    }

    /// Run directory of that name.
    pub fn out(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The command line of a new run.
    pub fn arguments<'a>(&'a self, out: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
        let mut arguments =
            vec!["pretrain", "--recipe", text(&self.recipe), "--data", text(&self.data), "--out", text(out)];
        arguments.extend(more);
        arguments
    }

    /// A new run as one process of a launcher's.
    pub fn rank(&self, out: &Path, rank: u32, world_size: u32, port: u16, more: &[&str]) -> Command {
        in_world(command(&self.arguments(out, more)), rank, world_size, port)
    }
}

/// `command` as a launcher starts one process of several.
pub fn in_world(mut command: Command, rank: u32, world_size: u32, port: u16) -> Command {
    command
        .env("RANK", rank.to_string())
        .env("WORLD_SIZE", world_size.to_string())
        .env("MASTER_ADDR", "127.0.0.1")
        .env("MASTER_PORT", port.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}
