//! `sparrow synth`: writes synthetic clips with masks and phrases. Leaves making them to [`crate::train::synth`].

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    task::Progress,
    train::{
        pictures::{PALETTE, Picture, sheet},
        synth::{Clip, SynthOptions, Variant, Vocabulary, generate, sample, write_clip},
    },
};

use super::{
    output::{NewFile, make_parent},
    progress::Reporter,
};

/// Arguments of `sparrow synth`.
#[derive(clap::Args)]
pub(super) struct SynthArgs {
    /// Folder to write; one folder per clip appears in it.
    #[arg(long)]
    out: PathBuf,
    /// Number of clips.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    clips: u64,
    /// Seed of the first clip; the next clips count on. From 1000000000 up: never trained on, for evaluation.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Width of a frame in pixels.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u16).range(32..=4096))]
    width: u16,
    /// Height of a frame in pixels.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u16).range(32..=4096))]
    height: u16,
    /// Frames of a clip.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1000))]
    frames: u16,
    /// Phrases of a clip.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(0..=64))]
    phrases: u16,
    /// Only the shapes, colours and motions that are hard to mistake for each other.
    #[arg(long)]
    core: bool,
    /// Also write an overview picture of the first clips here.
    #[arg(long)]
    sheet: Option<PathBuf>,
    /// Write the plan of the bundled sample clip instead: fixed objects and motions.
    #[arg(long)]
    sample: bool,
    /// Change the finished clips: rotate, scale, compression, night, blur or cartoon.
    #[arg(long, value_name = "NAME", value_parser = variant)]
    variant: Option<Variant>,
    /// Part of the clips that are made to look like footage; they have no phrases.
    #[arg(long, value_name = "0..1", default_value_t = 0.0)]
    wild: f32,
    /// Write into a folder that is not empty, replace an overview picture that exists.
    #[arg(long)]
    force: bool,
}

fn variant(name: &str) -> Result<Variant, String> {
    let found = Variant::ALL.into_iter().find(|v| v.name() == name);
    found.ok_or_else(|| {
        let names: Vec<&str> = Variant::ALL.iter().map(|v| v.name()).collect();
        format!(
            "there is no variant {name:?}; there are {}",
            names.join(", ")
        )
    })
}

/// Writes the clips.
pub(super) fn run(args: &SynthArgs) -> Result<()> {
    let reporter = Reporter::new();
    draw(args, &mut reporter.progress())
}

/// Writes the clips, each whole before the next is begun; asked to stop, it ends between two of them.
fn draw(args: &SynthArgs, progress: &mut Progress<'_>) -> Result<()> {
    let occupied = fs::read_dir(&args.out).is_ok_and(|mut d| d.next().is_some());
    ensure!(
        args.force || !occupied,
        "{} is not empty; choose another folder or pass --force",
        args.out.display()
    );
    let options = SynthOptions {
        width: usize::from(args.width),
        height: usize::from(args.height),
        frames: usize::from(args.frames),
        phrases: usize::from(args.phrases),
        vocabulary: if args.core {
            Vocabulary::Core
        } else {
            Vocabulary::Full
        },
        wild: args.wild.clamp(0.0, 1.0),
        ..SynthOptions::default()
    };
    fs::create_dir_all(&args.out)
        .with_context(|| format!("cannot make the folder {}", args.out.display()))?;
    if let Some(path) = &args.sheet {
        make_parent(path)?;
        // The picture is written whole or not at all; this only says early that it could not.
        drop(NewFile::claim(path, args.force)?);
    }
    let mut rows = Vec::new();
    for n in 0..args.clips {
        if progress.step(n, args.clips, "drawing clips").is_err() {
            bail!(
                "stopped; {n} of {} clips are in {}, each of them whole",
                args.clips,
                args.out.display()
            );
        }
        let seed = args.seed.wrapping_add(n);
        let mut clip = if args.sample {
            sample(seed, &options)
        } else {
            generate(seed, &options)
        };
        if let Some(variant) = args.variant {
            variant.apply(&mut clip, seed);
        }
        write(&args.out, seed, &clip)?;
        if args.sheet.is_some() && rows.len() < 12 {
            rows.extend(overview(&clip));
        }
    }
    if let Some(path) = &args.sheet {
        sheet(&rows).save(path)?;
    }
    Ok(())
}

/// Puts a clip into the folder whole or not at all. One that is there already gives way file by file, without the
/// description that makes a clip of them.
fn write(out: &Path, seed: u64, clip: &Clip) -> Result<()> {
    let name = format!("{seed:010}");
    let target = out.join(&name);
    let failed = || format!("cannot write {}", target.display());
    if target.exists() {
        let description = target.join("clip.json");
        if description.exists() {
            fs::remove_file(description).with_context(failed)?;
        }
        write_clip(&target, seed, clip)?;
        return Ok(());
    }
    let temporary = tempfile::Builder::new()
        .prefix(".sparrow-")
        .tempdir_in(out)
        .with_context(failed)?;
    let new = temporary.path().join(&name);
    write_clip(&new, seed, clip)?;
    fs::rename(&new, &target).with_context(failed)
}

/// First, middle and last frame, and the last again with its masks.
fn overview(clip: &Clip) -> [Vec<Picture>; 1] {
    let last = clip.frames.len() - 1;
    let picture = |f: usize| Picture::from_rgb(clip.width, clip.height, &clip.frames[f]);
    let masked = |f: usize| {
        let mut out = picture(f);
        for object in &clip.objects {
            let colour = PALETTE[usize::from(object.id - 1) % PALETTE.len()];
            out.overlay(|x, y| clip.ids[f][y * clip.width + x] == object.id, colour);
            if let Some(Some(b)) = object.boxes.get(f) {
                out.outline(*b, colour);
            }
        }
        out
    };
    [vec![
        picture(0),
        masked(0),
        picture(last / 2),
        picture(last),
        masked(last),
    ]]
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::task::CancelToken;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: SynthArgs,
    }

    fn args(dir: &Path, more: &[&str]) -> SynthArgs {
        let out = dir.join("clips").display().to_string();
        let sizes = [
            "--width=64",
            "--height=64",
            "--frames=2",
            "--phrases=0",
            "--clips=3",
        ];
        let line = ["synth", "--out", &out].into_iter().chain(sizes);
        Line::parse_from(line.chain(more.iter().copied())).args
    }

    #[test]
    fn a_stop_leaves_whole_clips_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let cancel = CancelToken::default();
        let stopper = cancel.clone();
        let mut progress = Progress::new(cancel, |done, total, _| {
            assert_eq!(total, 3);
            if done == 1 {
                stopper.cancel();
            }
        });
        let end = draw(&args(dir.path(), &[]), &mut progress).unwrap_err();
        assert!(end.to_string().contains("2 of 3 clips"), "{end}");
        let clips = fs::read_dir(dir.path().join("clips")).unwrap();
        let mut names: Vec<_> = clips.map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["0000000000", "0000000001"]);
        let whole = crate::formats::synth::clips(&dir.path().join("clips")).unwrap();
        assert_eq!(whole.len(), 2);
    }

    #[test]
    fn an_overview_is_not_replaced_without_force() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sheet.png");
        fs::write(&path, b"mine").unwrap();
        let named = format!("--sheet={}", path.display());
        let silent = &mut Progress::silent();
        let refused = draw(&args(dir.path(), &[&named]), silent).unwrap_err();
        assert!(refused.to_string().contains("--force"), "{refused}");
        assert_eq!(fs::read(&path).unwrap(), b"mine");
        // With it, clips that are there are replaced as well.
        draw(&args(dir.path(), &[]), silent).unwrap();
        let mut forced = args(dir.path(), &[&named, "--force"]);
        forced.frames = 1;
        draw(&forced, silent).unwrap();
        assert_ne!(fs::read(&path).unwrap(), b"mine");
        let clips = crate::formats::synth::clips(&dir.path().join("clips")).unwrap();
        let frames: Vec<usize> = clips.iter().map(|c| c.masks.len()).collect();
        assert_eq!(frames, [1; 3]);
    }
}
