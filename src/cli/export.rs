//! `sparrow export`: a project becomes a dataset, which is read back and compared before it counts as written.

use std::path::PathBuf;

use anyhow::{Result, anyhow, bail, ensure};
use clap::{
    Args,
    builder::{PossibleValue, PossibleValuesParser},
};

use crate::{
    formats::{self, ExportOptions, FormatError, FrameReader, Rgb},
    infer::Clip,
    project::{VideoInfo, counted},
    store::{Store, VideoPlace, compare_video, find_video},
    video::{self, content_hash},
};

use super::{
    output::{require_input, say},
    progress::Reporter,
};

/// Write a project's masks as a dataset.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// Project file.
    project: PathBuf,
    /// The format.
    #[arg(long, value_name = "NAME", value_parser = names())]
    format: String,
    /// Folder to write.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Only masks that a person made or accepted.
    #[arg(long)]
    verified_only: bool,
    /// Leave the frames' images out.
    #[arg(long)]
    without_images: bool,
    /// Name of the sequence [default: the video's file name].
    #[arg(long, value_name = "NAME")]
    sequence: Option<String>,
    /// Replace an earlier export.
    #[arg(long)]
    force: bool,
}

/// The names of the formats, for the help and for whoever misspells one.
pub(super) fn names() -> PossibleValuesParser {
    let listed = |f: &&dyn formats::Format| PossibleValue::new(f.name()).help(f.title());
    formats::FORMATS.iter().map(listed).into()
}

pub(super) fn run(args: &ExportArgs) -> Result<()> {
    let format = formats::by_name(&args.format)?;
    require_input(&args.project, "a project file")?;
    let doc = Store::open(&args.project)?.load()?;
    let place = find_video(&args.project, &doc.video);
    let reporter = Reporter::new();
    let mut clip = if args.without_images {
        None
    } else {
        Some(open_clip(&place, &doc.video, &reporter)?)
    };
    let with_images = clip.is_some();
    let mut read = |frame| -> Result<Rgb, String> {
        let clip = clip.as_mut().ok_or("there is no video")?;
        let rgb = clip.rgb(frame).map_err(|e| e.to_string())?;
        Ok(Rgb {
            size: rgb.size,
            data: rgb.data,
        })
    };
    let images: Option<&mut FrameReader<'_>> = if with_images { Some(&mut read) } else { None };
    let options = ExportOptions {
        verified_only: args.verified_only,
        sequence: args.sequence.clone(),
        existing: if args.force {
            formats::Existing::Replace
        } else {
            formats::Existing::Refuse
        },
        video: match place {
            VideoPlace::AsRecorded(path) | VideoPlace::BesideProject(path) => Some(path),
            VideoPlace::Missing(_) => None,
        },
        ..ExportOptions::default()
    };
    ensure!(
        !format.plan(&doc, &options)?.0.is_empty(),
        "the project has no mask{}: there is nothing to export",
        if args.verified_only {
            " that a person made or accepted"
        } else {
            ""
        }
    );
    let report = {
        let mut progress = reporter.progress();
        let mut watch = |done, total| progress.step(done, total, "exporting").is_ok();
        formats::export(&doc, format, &args.out, &options, images, &mut watch)
    };
    let report = report.map_err(|error| match error {
        FormatError::Exists(path) => anyhow!(
            "{} exists already: choose another folder, or add --force to replace an earlier export in it",
            path.display()
        ),
        other => other.into(),
    })?;
    let name = short(format.title());
    for loss in &report.losses {
        reporter.note(format!("{name} cannot hold: {loss}"));
    }
    // Its images are those of other frames then.
    for found in clip.iter_mut().flat_map(Clip::news) {
        reporter.note(found);
    }
    drop(reporter);
    say(format!(
        "{} of {} written to {} and read back",
        counted(report.masks, "mask"),
        report.sequence,
        report.path.display()
    ))
}

/// A format's name without what it is.
fn short(title: &str) -> &str {
    title.split(':').next().unwrap_or(title)
}

/// The project's video, for its images.
fn open_clip(place: &VideoPlace, recorded: &VideoInfo, reporter: &Reporter) -> Result<Clip> {
    let path = match place {
        VideoPlace::AsRecorded(path) | VideoPlace::BesideProject(path) => path,
        VideoPlace::Missing(path) if path.as_os_str().is_empty() => bail!(
            "the project does not say where its video is: put it beside the project under the same name, or leave the images out with --without-images"
        ),
        VideoPlace::Missing(path) => {
            bail!(
                "the video is not at {}: put it beside the project, or leave the images out with --without-images",
                path.display()
            );
        }
    };
    let source = video::open(path)?;
    let mut found = source.info().clone();
    if !recorded.hash.is_empty() {
        found.hash = content_hash(path, &mut reporter.progress())?;
    }
    if let Some(change) = compare_video(recorded, &found).first() {
        bail!(
            "{} is not the video that the masks were made on: {change}; use --without-images",
            path.display()
        );
    }
    Ok(Clip::new(source))
}
