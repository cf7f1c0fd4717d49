//! Recipes that come with the program, by name.

use std::path::Path;

use super::{PretrainRecipe, Recipe, parse};
use crate::error::{Error, Result};

/// A recipe for pre-training that comes with the program.
#[derive(Clone, Copy, Debug)]
pub struct NamedRecipe {
    /// What `--recipe` takes.
    pub name: &'static str,
    /// The TOML file.
    pub text: &'static str,
}

macro_rules! named {
    ($($name:literal),* $(,)?) => {
        [$(NamedRecipe { name: $name, text: include_str!(concat!("../../recipes/", $name, ".toml")) }),*]
    };
}

/// All of them, the largest model first.
pub const NAMED: [NamedRecipe; 13] = named![
    "bert-large-phase1",
    "bert-large-phase2",
    "bert-large-small-batch",
    "bert-base-phase1",
    "bert-base-phase2",
    "bert-base-24h-one-gpu",
    "medium-phase1",
    "medium-phase2",
    "small-phase1",
    "small-phase2",
    "mini-phase1",
    "mini-phase2",
    "reference",
];

impl NamedRecipe {
    /// The one of that name.
    ///
    /// # Errors
    /// There is none; the message lists those that there are.
    pub fn find(name: &str) -> Result<Self> {
        NAMED.into_iter().find(|recipe| recipe.name == name).ok_or_else(|| {
            let names: Vec<&str> = NAMED.iter().map(|recipe| recipe.name).collect();
            Error::Invalid(format!("recipe {name}: expected a TOML file or one of {}, found neither", names.join(", ")))
        })
    }

    /// What it is, in a line: the first comment of the file.
    pub fn description(&self) -> &'static str {
        self.text.lines().next().unwrap_or("").trim_start_matches("# ")
    }
}

/// Reads the recipe in a file, or the one of that name.
///
/// # Errors
/// There is neither, or the file is not a recipe.
pub fn read_or_named(file_or_name: &Path) -> Result<PretrainRecipe> {
    let name = file_or_name.to_str().filter(|name| !name.contains(['/', '.']) && !file_or_name.exists());
    match name {
        Some(name) => parse(file_or_name, NamedRecipe::find(name)?.text),
        None => PretrainRecipe::read(file_or_name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    fn read(name: &str) -> PretrainRecipe {
        let mut recipe = read_or_named(Path::new(name)).unwrap();
        recipe.validate().unwrap();
        recipe.settle(Device::Cpu);
        recipe
    }

    #[test]
    fn every_recipe_is_valid_and_says_in_a_line_what_it_is() {
        for recipe in NAMED {
            read(recipe.name);
            assert!(recipe.text.starts_with("# "), "{}", recipe.name);
            assert!((20..120).contains(&recipe.description().len()), "{}", recipe.name);
        }
    }

    #[test]
    fn the_reference_recipe_names_every_setting_with_its_default() {
        let text = NamedRecipe::find("reference").unwrap().text;
        let default = {
            let mut recipe =
                PretrainRecipe { model: Some(super::super::ModelSection::default()), ..Default::default() };
            recipe.settle(Device::Cpu);
            serde_json::to_value(recipe).unwrap()
        };
        for (section, settings) in default.as_object().unwrap() {
            let start = text.find(&format!("\n[{section}]")).unwrap_or_else(|| panic!("[{section}]"));
            let lines = text[start + 1..].lines().skip(1).take_while(|line| !line.starts_with('['));
            let lines: Vec<&str> = lines.map(|line| line.trim_start_matches("# ")).collect();
            for key in settings.as_object().unwrap().keys() {
                let is_set = lines.iter().any(|line| line.starts_with(&format!("{key} = ")));
                assert!(is_set, "the reference recipe lacks {section}.{key}");
            }
        }
        let settled = serde_json::to_value(read("reference")).unwrap();
        for (section, settings) in default.as_object().unwrap() {
            assert_eq!(&settled[section], settings, "{section}");
        }
    }

    #[test]
    fn bert_large_is_nvidia_s() {
        let (one, two) = (read("bert-large-phase1"), read("bert-large-phase2"));
        assert_eq!((one.data.global_batch_size, one.optimizer.learning_rate()), (65_536, 6e-3));
        assert_eq!((one.schedule.steps, one.schedule.warmup_fraction), (7038, 0.2843));
        assert_eq!((two.data.global_batch_size, two.optimizer.learning_rate()), (32_768, 4e-3));
        assert_eq!((two.schedule.steps, two.schedule.warmup_fraction), (1563, 0.128));
        assert_eq!((one.data.max_predictions_per_seq, two.data.max_predictions_per_seq), (Some(20), Some(80)));
        for recipe in [one, two] {
            let config = recipe.optimizer.config();
            assert_eq!((config.beta1, config.beta2, config.epsilon), (0.9, 0.999, 1e-6));
            assert_eq!((config.weight_decay, config.max_gradient_norm), (0.01, 1.0));
            let model = recipe.model.unwrap();
            assert_eq!((model.num_hidden_layers, model.hidden_size, model.num_attention_heads), (24, 1024, 16));
        }
    }

    #[test]
    fn the_phases_of_a_model_have_one_shape() {
        for model in ["bert-large", "bert-base", "medium", "small", "mini"] {
            assert_eq!(read(&format!("{model}-phase1")).model, read(&format!("{model}-phase2")).model);
        }
    }

    #[test]
    fn a_name_that_is_neither_lists_those_that_there_are() {
        let message = read_or_named(Path::new("bert-huge")).unwrap_err().to_string();
        assert!(
            message.starts_with("recipe bert-huge: expected a TOML file or one of bert-large-phase1, "),
            "{message}"
        );
    }
}
