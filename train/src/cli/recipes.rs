//! `cloze-train recipes`.

use clap::Args;

use crate::error::Result;
use crate::recipe::{NAMED, NamedRecipe};
use crate::summary::Summary;

#[derive(Args, Debug)]
pub(super) struct RecipesArgs {
    /// The recipe to print; without one, all are listed.
    name: Option<String>,
    /// Print as JSON.
    #[arg(long)]
    pub(super) json: bool,
}

impl RecipesArgs {
    pub(super) fn run(&self) -> Result<Summary> {
        if let Some(name) = &self.name {
            return Ok(Summary::of_text(name, NamedRecipe::find(name)?.text));
        }
        let mut summary = Summary::default();
        for recipe in NAMED {
            summary.add(recipe.name, recipe.description(), recipe.description());
        }
        Ok(summary)
    }
}
