//! What the bundled weights are relied on for, asked as a person would: few questions with answers that leave no doubt. How
//! good they are on many is `sparrow eval`'s to say.

use std::path::Path;

use candle_core::Device;
use serde_json::Value;
use sparrow::{
    infer::{Clip, Engine, LoadedModel, model::ModelSource},
    project::{FrameIndex, PointPx},
    task::{Progress, Prompt},
    video,
};

use crate::cli::{place, sparrow};

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/sample.mp4");

fn json(dir: &Path, args: &[&str]) -> Value {
    let run = sparrow(dir, args);
    assert_eq!(run.code, 0, "{args:?}: {}", run.stderr);
    serde_json::from_str(&run.stdout).unwrap()
}

/// Centres of the boxes that are kept for a phrase on the sample's first frame.
fn kept(phrase: &str) -> Vec<(f64, f64)> {
    let args = [
        "ground", SAMPLE, "--phrase", phrase, "--range", "0..0", "--json", "-",
    ];
    let answer = json(place().path(), &args);
    let proposals = answer["emissions"][0]["proposals"].as_array().unwrap();
    let of = |p: &Value| {
        let side = |i: usize| p["box"][i].as_f64().unwrap();
        let [x1, y1, x2, y2] = [0, 1, 2, 3].map(side);
        (f64::midpoint(x1, x2), f64::midpoint(y1, y2))
    };
    let kept = proposals.iter().filter(|p| p["selected"] == true);
    kept.map(of).collect()
}

#[test]
fn superlatives_mean_what_lies_or_is_so_among_all() {
    // Where the sample's heart, ring and square are on its first frame.
    for (phrase, (x, y)) in [
        ("the leftmost object", (89.0, 75.0)),
        ("the topmost object", (89.0, 75.0)),
        ("the rightmost object", (537.0, 124.0)),
        ("the biggest thing", (270.0, 234.0)),
    ] {
        let found = kept(phrase);
        assert!(
            matches!(found[..], [(fx, fy)] if (fx - x).hypot(fy - y) < 20.0),
            "{phrase}: {found:?}"
        );
    }
}

/// In the square that this wide clip is made, its circle stands like an oval: it was not found.
#[test]
fn shapes_are_those_of_the_picture_however_wide_it_is() {
    for (phrase, (x, y)) in [
        ("the red circle", (191.0, 165.0)),
        ("the circle", (191.0, 165.0)),
        ("the green star", (420.0, 274.0)),
        ("the pink heart", (89.0, 75.0)),
        ("the yellow ring", (537.0, 124.0)),
        ("the square", (264.0, 232.0)),
    ] {
        let found = kept(phrase);
        assert!(
            matches!(found[..], [(fx, fy)] if (fx - x).hypot(fy - y) < 40.0),
            "{phrase}: {found:?}"
        );
    }
}

#[test]
fn a_click_alone_is_enough_to_cut_things_out() {
    let dir = place();
    let synth = sparrow(
        dir.path(),
        &[
            "synth",
            "--out",
            "clips",
            "--clips",
            "3",
            "--seed",
            "1500000000",
        ],
    );
    assert_eq!(synth.code, 0, "{}", synth.stderr);
    let args = [
        "eval", "vos", "--prompt", "click", "--data", "clips", "--format", "synth", "--json", "-",
    ];
    let report = json(dir.path(), &args);
    let j = report["j_prompted"].as_f64().unwrap();
    assert!(j > 0.75, "masks of clicks overlap true ones by {j}");
}

#[test]
fn what_the_first_click_found_stays_when_more_follow() {
    let source = ModelSource::find("nano").unwrap();
    let engine = Engine::new(LoadedModel::load(&source, &Device::Cpu).unwrap());
    let mut clip = Clip::new(video::open(Path::new(SAMPLE)).unwrap());
    let mut mask = |points: &[(f32, f32)]| {
        let points = points.iter().map(|&(x, y)| (PointPx { x, y }, true));
        let prompt = Prompt {
            points: points.collect(),
            ..Prompt::default()
        };
        let progress = &mut Progress::silent();
        let found = engine.segment(&mut clip, FrameIndex(0), &prompt, progress);
        found.unwrap().rle.to_bitmap()
    };
    // The heart, and the circle beside it.
    let (heart, circle) = ((88.0, 72.0), (191.0, 167.0));
    let (one, both) = (mask(&[heart]), mask(&[heart, circle]));
    let at = |(x, y): (f32, f32)| y as usize * one.size.width as usize + x as usize;
    assert!(one.area() > 1000 && one.data[at(heart)] == 1 && one.data[at(circle)] == 0);
    assert!(one.data.iter().zip(&both.data).all(|(a, b)| a <= b));
    assert!(both.data[at(circle)] == 1 && both.area() > one.area() + 20);
}
