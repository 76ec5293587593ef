//! `sparrow synth`: writes synthetic clips with masks and phrases. Leaves making them to [`crate::train::synth`].

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    project::counted,
    task::Progress,
    train::{
        pictures::{PALETTE, Picture, sheet},
        synth::{Clip, HELD_OUT, SynthOptions, Variant, Vocabulary, generate, sample, write_clip},
    },
};

use super::{
    Usage, numbers,
    output::{NewFile, make_parent, say},
    progress::Reporter,
};

/// Arguments of `sparrow synth`.
#[derive(clap::Args)]
pub(super) struct SynthArgs {
    /// Folder to write; one folder per clip appears in it.
    #[arg(long)]
    out: PathBuf,
    /// Number of clips [default: 10].
    #[arg(long, value_name = "N", value_parser = numbers::some, allow_negative_numbers = true)]
    clips: Option<u64>,
    /// Seed of the first clip; the next clips count on. From 1000000000 up: never trained on, for evaluation.
    #[arg(long, default_value_t = 0, value_parser = numbers::seed, allow_negative_numbers = true)]
    seed: u64,
    /// Width of a frame in pixels.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u16).range(32..=4096), allow_negative_numbers = true)]
    width: u16,
    /// Height of a frame in pixels.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u16).range(32..=4096), allow_negative_numbers = true)]
    height: u16,
    /// Frames of a clip.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1000), allow_negative_numbers = true)]
    frames: u16,
    /// Phrases of a clip.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(0..=64), allow_negative_numbers = true)]
    phrases: u16,
    /// Only the shapes, colours and motions that are hard to mistake for each other.
    #[arg(long)]
    core: bool,
    /// Also write an overview picture of the first clips here, a PNG.
    #[arg(long, value_name = "FILE.png")]
    sheet: Option<PathBuf>,
    /// Write one clip by the plan of the bundled sample clip instead: fixed objects and motions.
    #[arg(long, conflicts_with_all = ["clips", "core", "wild"])]
    sample: bool,
    /// Change the finished clips: rotate, scale, compression, night, blur or cartoon.
    #[arg(long, value_name = "NAME", value_parser = variant)]
    variant: Option<Variant>,
    /// Part of the clips that are made to look like footage; they have no phrases.
    #[arg(long, value_name = "0..1", default_value_t = 0.0, value_parser = numbers::share, allow_negative_numbers = true)]
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
    draw(args, &mut reporter.progress())?;
    drop(reporter);
    say(format!(
        "{} written to {}",
        counted(args.count(), "clip"),
        args.out.display()
    ))
}

impl SynthArgs {
    fn count(&self) -> u64 {
        let usual = if self.sample { 1 } else { 10 };
        self.clips.unwrap_or(usual)
    }

    /// The first and the last seed.
    fn seeds(&self) -> Result<(u64, u64)> {
        let Some(last) = self.seed.checked_add(self.count() - 1) else {
            bail!(Usage(format!(
                "{} from seed {} on go past the last seed there is: take a smaller --seed",
                counted(self.count(), "clip"),
                self.seed
            )));
        };
        if self.seed < HELD_OUT && last >= HELD_OUT {
            bail!(Usage(format!(
                "seeds {} to {last} are of training below {HELD_OUT} and held out from there on: write them as two sets",
                self.seed
            )));
        }
        Ok((self.seed, last))
    }

    /// Refuses a folder whose clips are for the other use: training draws what is below [`HELD_OUT`], and is measured on what is
    /// not.
    fn keep_apart_from_the_other_use(&self) -> Result<()> {
        let held_out = self.seed >= HELD_OUT;
        let Some(there) = clips_there(&self.out)
            .into_iter()
            .find(|s| (*s >= HELD_OUT) != held_out)
        else {
            return Ok(());
        };
        let (of, which) = match held_out {
            true => ("a seed that training draws", "held out from training"),
            false => (
                "a seed that is held out from training",
                "one that training draws",
            ),
        };
        bail!(
            "{} holds a clip of {of} ({there}), and seed {} is {which}: choose another folder or another --seed",
            self.out.display(),
            self.seed
        )
    }
}

/// Seeds of the clips in a folder, as far as they say them.
fn clips_there(out: &Path) -> Vec<u64> {
    let seed = |entry: fs::DirEntry| {
        let text = fs::read(entry.path().join("clip.json")).ok()?;
        let clip: serde_json::Value = serde_json::from_slice(&text).ok()?;
        clip["seed"].as_u64()
    };
    let entries = fs::read_dir(out).into_iter().flatten().flatten();
    entries.filter_map(seed).collect()
}

/// Writes the clips, each whole before the next is begun; asked to stop, it ends between two of them.
fn draw(args: &SynthArgs, progress: &mut Progress<'_>) -> Result<()> {
    let (first, last) = args.seeds()?;
    if let Some(path) = &args.sheet
        && !path
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("png"))
    {
        bail!(Usage(format!(
            "the overview picture is a PNG, which {} does not say: name it so",
            path.display()
        )));
    }
    let occupied = fs::read_dir(&args.out).is_ok_and(|mut d| d.next().is_some());
    ensure!(
        args.force || !occupied,
        "{} is not empty; choose another folder or pass --force",
        args.out.display()
    );
    args.keep_apart_from_the_other_use()?;
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
        wild: args.wild,
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
    let count = args.count();
    for (n, seed) in (0..).zip(first..=last) {
        if progress.step(n, count, "drawing clips").is_err() {
            bail!(
                "stopped; {n} of {} {} in {}, each of them whole",
                counted(count, "clip"),
                if n == 1 { "is" } else { "are" },
                args.out.display()
            );
        }
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
    progress.tell(count, count, "drawing clips");
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

    /// A clip of the default seed slipped into a held-out set.
    #[test]
    fn clips_of_training_and_clips_held_out_do_not_mix() {
        let dir = tempfile::tempdir().unwrap();
        let silent = &mut Progress::silent();
        let held_out = args(dir.path(), &["--seed=1500000000"]);
        draw(&held_out, silent).unwrap();
        let mut more = args(dir.path(), &["--force"]);
        more.clips = Some(1);
        let refused = draw(&more, silent).unwrap_err().to_string();
        assert!(
            refused.contains("held out") && refused.contains("another folder"),
            "{refused}"
        );
        assert_eq!(fs::read_dir(dir.path().join("clips")).unwrap().count(), 3);
        draw(&args(dir.path(), &["--seed=1500000003", "--force"]), silent).unwrap();
        assert_eq!(fs::read_dir(dir.path().join("clips")).unwrap().count(), 6);
        // Not within one call either.
        let other = tempfile::tempdir().unwrap();
        let across = args(other.path(), &["--seed=999999999"]);
        assert!(draw(&across, silent).unwrap_err().is::<Usage>());
        assert!(!other.path().join("clips").exists());
    }

    /// The seed after the last one was the first.
    #[test]
    fn seeds_do_not_begin_anew() {
        let dir = tempfile::tempdir().unwrap();
        let last = format!("--seed={}", u64::MAX - 1);
        let refused = draw(&args(dir.path(), &[&last]), &mut Progress::silent()).unwrap_err();
        assert!(refused.is::<Usage>(), "{refused}");
        let mut two = args(dir.path(), &[&last]);
        two.clips = Some(2);
        assert_eq!(two.seeds().unwrap(), (u64::MAX - 1, u64::MAX));
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
