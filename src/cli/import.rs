//! `sparrow import`: a dataset's sequence becomes a project.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use clap::Args;

use crate::{
    formats::{self, Format, FormatError, Imported},
    project::counted,
};

use super::{
    export::names,
    output::{keep_apart, note, require_input, say},
    progress::cancel_on_ctrl_c,
    project_file::NewProject,
};

/// Make a project of a dataset.
#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// The dataset's folder or file.
    dataset: PathBuf,
    /// Name of the format [default: told by the dataset's layout].
    #[arg(long, value_name = "NAME", value_parser = names())]
    format: Option<String>,
    /// Project file to write; with --all, the folder for them.
    #[arg(long, value_name = "FILE")]
    project: PathBuf,
    /// Which sequence, if there are several.
    #[arg(long, value_name = "NAME")]
    sequence: Option<String>,
    /// Every sequence, each to a project of its own.
    #[arg(long, conflicts_with = "sequence")]
    all: bool,
    /// Replace a project that exists.
    #[arg(long)]
    force: bool,
}

pub(super) fn run(args: &ImportArgs) -> Result<()> {
    let named = args.format.as_deref().map(formats::by_name).transpose()?;
    require_input(&args.dataset, "a dataset")?;
    let format = match named {
        Some(format) => format,
        None => detected(&args.dataset)?,
    };
    keep_apart(&[&args.dataset], &[&args.project])?;
    // The project is opened from elsewhere, too: a path of its video must not depend on where this was typed.
    let dataset = std::path::absolute(&args.dataset)
        .with_context(|| format!("cannot find {}", args.dataset.display()))?;
    if args.all {
        return each(args, format, &dataset);
    }
    let sequence = args.sequence.as_deref();
    let read = || {
        formats::import(format, &dataset, sequence).map_err(|error| match error {
            FormatError::WhichSequence { names, .. } if sequence.is_none() => anyhow!(
                "{} holds several sequences ({names}): name one with --sequence, or make a project of each with --all",
                args.dataset.display()
            ),
            other => other.into(),
        })
    };
    one(args, &args.project, read)
}

/// Makes a project of what `read` brings, which is asked for once the project's place is known to be free.
fn one(args: &ImportArgs, project: &Path, read: impl FnOnce() -> Result<Imported>) -> Result<()> {
    ensure!(
        !(project.starts_with(&args.dataset) && project.exists()),
        "{} is part of the dataset: choose another name for the project",
        project.display()
    );
    let target = NewProject::claim(project, args.force)?;
    let imported = read()?;
    for warning in &imported.warnings {
        note(warning);
    }
    let doc = &imported.document;
    target.finish(doc)?;
    // Frames on which an object is known to be absent have an empty one.
    let masks = doc.objects.iter().flat_map(|o| o.frames.values());
    let masks = masks.filter(|m| !m.rle.is_empty()).count();
    say(format!(
        "{} with {} imported to {}",
        counted(doc.objects.len(), "object"),
        counted(masks, "mask"),
        project.display()
    ))
}

/// Makes a project of every sequence; one that fails does not keep the others from being imported.
fn each(args: &ImportArgs, format: &dyn Format, dataset: &Path) -> Result<()> {
    let names = format.sequences(dataset)?;
    ensure!(
        !args.project.is_file(),
        "{} is a file: with --all, give the name of a folder",
        args.project.display()
    );
    fs::create_dir_all(&args.project)
        .with_context(|| format!("cannot make the folder {}", args.project.display()))?;
    let cancel = cancel_on_ctrl_c();
    let mut failed = 0;
    for (done, (name, file)) in names.iter().zip(files_of(&names)).enumerate() {
        ensure!(
            !cancel.is_cancelled(),
            "stopped; {done} of {} were gone through",
            counted(names.len(), "sequence")
        );
        let made = match file {
            // The name is one of the dataset's: to look for it among them would read them all again.
            Some(file) => one(args, &args.project.join(file), || {
                Ok(format.read(dataset, name, &mut |_, _| true)?)
            }),
            None => Err(anyhow!(
                "the project of another sequence has its name: import it alone, with --sequence"
            )),
        };
        if let Err(e) = made {
            note(format!("{name}: {e:#}"));
            failed += 1;
        }
    }
    ensure!(
        failed == 0,
        "{failed} of {} failed; the others are imported",
        counted(names.len(), "sequence")
    );
    Ok(())
}

/// The project's file of each sequence; none where an earlier one has the name, in whose place not even `--force` puts it.
fn files_of(names: &[String]) -> Vec<Option<String>> {
    let mut taken = BTreeSet::new();
    let file = |name: &String| {
        let file = format!("{}.sparrow", name.replace(['/', '\\'], "_"));
        taken.insert(file.clone()).then_some(file)
    };
    names.iter().map(file).collect()
}

/// The format that a dataset's layout tells, as in the window.
fn detected(dataset: &Path) -> Result<&'static dyn Format> {
    // Names of folders above count as well, wherever this was typed.
    let whole = std::path::absolute(dataset).unwrap_or_else(|_| dataset.to_path_buf());
    let found = formats::detect(&whole).map(|(format, _)| format);
    let format = found.with_context(|| {
        let names: Vec<&str> = formats::FORMATS.iter().map(|f| f.name()).collect();
        format!(
            "the layout of {} is none that is known: name one of {} with --format",
            dataset.display(),
            names.join(", ")
        )
    })?;
    note(format!("read as {}", format.name()));
    Ok(format)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With `--force` the second one took the place of the first.
    #[test]
    fn two_sequences_never_become_one_file() {
        let names = ["a/b", "a_b", "c"].map(str::to_owned);
        let files = files_of(&names);
        let named = |file: &str| Some(file.to_owned());
        assert_eq!(files, [named("a_b.sparrow"), None, named("c.sparrow")]);
    }
}
