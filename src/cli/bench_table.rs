//! What `sparrow bench` found, as JSON or as a table. What is measured is [`super::bench`]'s.

use anyhow::Result;
use serde::{Serialize, Serializer};

use crate::{
    infer::{
        bench::{
            Ceiling, Sizes, StageTime,
            end_to_end::{AsAuthors, EndToEnd, PhraseTime},
        },
        engine::Timing,
    },
    nn::precision::Precision,
    project::counted,
};

use super::output::say;

#[derive(Serialize)]
pub(super) struct BenchJson {
    pub(super) schema: u32,
    pub(super) model: String,
    pub(super) device: String,
    pub(super) threads: usize,
    pub(super) ceiling: Ceiling,
    #[serde(flatten)]
    pub(super) timed: Timed,
}

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Timed {
    Model {
        width: u32,
        height: u32,
        #[serde(serialize_with = "name")]
        precision: Precision,
        /// Bytes of the weights as stored.
        placed: u64,
        #[serde(flatten)]
        timing: Timing,
    },
    Networks {
        #[serde(serialize_with = "name")]
        precision: Precision,
        sizes: Box<Sizes>,
        stages: Vec<StageTime>,
    },
    EndToEnd {
        width: u32,
        height: u32,
        #[serde(serialize_with = "name")]
        precision: Precision,
        /// Bytes of the weights as stored.
        placed: u64,
        /// Of random weights.
        sizes: Option<Box<Sizes>>,
        #[serde(flatten)]
        timing: Box<EndToEnd>,
    },
}

fn name<S: Serializer>(precision: &Precision, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(precision.name())
}

impl Timed {
    /// How the weights were stored.
    pub(super) fn precision(&self) -> Precision {
        match self {
            Self::Model { precision, .. }
            | Self::Networks { precision, .. }
            | Self::EndToEnd { precision, .. } => *precision,
        }
    }

    fn stages(&self) -> &[StageTime] {
        match self {
            Self::Model { timing, .. } => &timing.stages,
            Self::Networks { stages, .. } => stages,
            Self::EndToEnd { timing, .. } => &timing.stages,
        }
    }
}

pub(super) fn table(result: &BenchJson) -> Result<()> {
    let size = match &result.timed {
        Timed::Model { width, height, .. } | Timed::EndToEnd { width, height, .. } => {
            format!(", {width}×{height}")
        }
        Timed::Networks { .. } => String::new(),
    };
    let precision = result.timed.precision();
    say(format!(
        "{} on {}, {precision}{size}",
        result.model, result.device
    ))?;
    let stages = result.timed.stages();
    let widest = stages.iter().map(|s| s.stage.chars().count()).max();
    let widest = widest.unwrap_or(0).max(25) + 1;
    let Ceiling {
        gflops,
        gbytes,
        precision,
        ..
    } = result.ceiling;
    say(format!(
        "{:<widest$}{gflops:>9.1} GFLOP/s in a large product in {precision}, {gbytes:.1} GB/s in a large copy",
        "this machine"
    ))?;
    for stage in stages {
        say(row(stage, result.ceiling, widest))?;
    }
    let summary = match &result.timed {
        Timed::Model { timing, .. } => of_model(timing),
        Timed::Networks { .. } => Vec::new(),
        Timed::EndToEnd { timing, .. } => of_end_to_end(timing),
    };
    for (what, value) in summary {
        say(format!("{what:<widest$}{value}"))?;
    }
    Ok(())
}

fn millis(secs: f64) -> String {
    format!("{:>9.2} ms", secs * 1e3)
}

fn rate(fps: f64) -> String {
    format!("{fps:>9.2} frames/s")
}

fn of_model(timing: &Timing) -> Vec<(String, String)> {
    let line = |what: &str, value| (what.to_owned(), value);
    vec![
        line("phrase to mask", millis(timing.phrase_to_mask_secs)),
        line("further phrase to mask", millis(timing.further_phrase_secs)),
        line("tracking one object", rate(timing.tracking_fps)),
        line("tracking four objects", rate(timing.tracking_fps_4)),
    ]
}

fn of_end_to_end(timing: &EndToEnd) -> Vec<(String, String)> {
    let tokens = timing.answer_tokens;
    let frames = counted(timing.frames, "frame");
    let plain = |n: usize| format!("{n:>9}");
    let phrase = |which: &str, time: &PhraseTime| {
        [
            (format!("{which} to mask"), millis(time.to_mask_secs)),
            (
                format!("{which} to masks of {frames}"),
                millis(time.to_all_masks_secs),
            ),
            (format!("{which}, that is"), rate(time.frames_per_sec)),
        ]
    };
    let mut lines = vec![
        (
            "tokens of the prompt".to_owned(),
            plain(timing.prompt_tokens),
        ),
        ("tokens of the answer".to_owned(), plain(tokens)),
        (
            "words and answer, a token".to_owned(),
            millis(timing.secs_per_token),
        ),
    ];
    lines.extend(phrase("first phrase", &timing.first));
    lines.extend(phrase("second phrase", &timing.second));
    if let Some(authors) = &timing.as_authors {
        lines.extend(of_authors(authors, (&frames, tokens)));
    }
    lines
}

fn of_authors(authors: &AsAuthors, (frames, tokens): (&str, usize)) -> Vec<(String, String)> {
    let times = |n: f64| format!("{n:>9.2} times ours");
    vec![
        (
            format!("as the authors, a pass ({} of them)", authors.passes),
            millis(authors.secs_per_pass),
        ),
        (
            format!("as the authors to masks of {frames}"),
            millis(authors.to_all_masks_secs),
        ),
        (
            "as the authors, that is".into(),
            rate(authors.frames_per_sec),
        ),
        (
            format!("as the authors, answer of {}", counted(tokens, "token")),
            times(authors.times_as_long_answer),
        ),
        (
            format!("as the authors, all of {frames}"),
            times(authors.times_as_long),
        ),
        (
            "as the authors, the same tokens".into(),
            format!("{:>9}", if authors.same_answer { "yes" } else { "no" }),
        ),
        (
            "as the authors, pixels apart".into(),
            format!("{:>9} of {}", authors.pixels_apart, authors.pixels),
        ),
    ]
}

/// A stage's time, and what share of the machine's best it reached: of arithmetic or of traffic, whichever binds it.
fn row(stage: &StageTime, best: Ceiling, widest: usize) -> String {
    let time = format!("{:<widest$}{:>9.2} ms", stage.stage, stage.secs * 1e3);
    if stage.bytes == 0 {
        return time;
    }
    let (arithmetic, traffic) = (stage.gflops() / best.gflops, stage.gbytes() / best.gbytes);
    format!(
        "{time}{:>10.3} GFLOP{:>9.1} GFLOP/s ({:>3.0} %){:>9.1} MB{:>7.1} GB/s ({:>3.0} %)",
        stage.gflop,
        stage.gflops(),
        arithmetic * 1e2,
        stage.bytes as f64 * 1e-6,
        stage.gbytes(),
        traffic * 1e2
    )
}
