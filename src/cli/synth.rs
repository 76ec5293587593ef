//! `sparrow synth`: writes synthetic clips with masks and phrases. Leaves making them to [`crate::train::synth`].

use std::path::PathBuf;

use anyhow::{Result, ensure};
use indicatif::ProgressBar;

use crate::train::{
    pictures::{PALETTE, Picture, sheet},
    synth::{Clip, SynthOptions, Variant, Vocabulary, generate, sample, write_clip},
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
    /// Write into a folder that is not empty.
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
    let occupied = std::fs::read_dir(&args.out).is_ok_and(|mut d| d.next().is_some());
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
    let bar = ProgressBar::new(args.clips);
    let mut rows = Vec::new();
    for n in 0..args.clips {
        let seed = args.seed.wrapping_add(n);
        let mut clip = if args.sample {
            sample(seed, &options)
        } else {
            generate(seed, &options)
        };
        if let Some(variant) = args.variant {
            variant.apply(&mut clip, seed);
        }
        write_clip(&args.out.join(format!("{seed:010}")), seed, &clip)?;
        if args.sheet.is_some() && rows.len() < 12 {
            rows.extend(overview(&clip));
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    if let Some(path) = &args.sheet {
        sheet(&rows).save(path)?;
    }
    Ok(())
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
