//! `sparrow import`: a dataset's sequence becomes a project.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::formats;

use super::{
    output::{keep_apart, note, require_input, say},
    project_file::NewProject,
};

/// Make a project of a dataset.
#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// The dataset's folder or file.
    dataset: PathBuf,
    /// Name of the format.
    #[arg(long, value_name = "NAME")]
    format: String,
    /// Project file to write.
    #[arg(long, value_name = "FILE")]
    project: PathBuf,
    /// Which sequence, if there are several.
    #[arg(long, value_name = "NAME")]
    sequence: Option<String>,
    /// Replace a project that exists.
    #[arg(long)]
    force: bool,
}

pub(super) fn run(args: &ImportArgs) -> Result<()> {
    let format = formats::by_name(&args.format)?;
    require_input(&args.dataset, "a dataset")?;
    let inside = args.project.starts_with(&args.dataset) && args.project.exists();
    ensure!(
        !inside,
        "{} is part of the dataset: choose another name for the project",
        args.project.display()
    );
    keep_apart(&[&args.dataset], &[&args.project])?;
    let target = NewProject::claim(&args.project, args.force)?;
    // The project is opened from elsewhere, too: a path of its video must not depend on where this was typed.
    let dataset = std::path::absolute(&args.dataset)
        .with_context(|| format!("cannot find {}", args.dataset.display()))?;
    let imported = formats::import(format, &dataset, args.sequence.as_deref())?;
    for warning in &imported.warnings {
        note(warning);
    }
    let doc = &imported.document;
    target.finish(doc)?;
    let masks: usize = doc.objects.iter().map(|o| o.frames.len()).sum();
    say(format!(
        "{} objects with {masks} masks imported to {}",
        doc.objects.len(),
        args.project.display()
    ))
}
