//! What the bundled weights are relied on for, asked as a person would: few questions with answers that leave no doubt. How
//! good they are on many is `sparrow eval`'s to say.

use serde_json::Value;

use crate::cli::{place, sparrow};

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/sample.mp4");

fn json(args: &[&str]) -> Value {
    let dir = place();
    let run = sparrow(dir.path(), args);
    assert_eq!(run.code, 0, "{args:?}: {}", run.stderr);
    serde_json::from_str(&run.stdout).unwrap()
}

/// Centres and areas of the boxes that are kept for a phrase on the sample's first frame.
fn kept(phrase: &str) -> Vec<(f64, f64, f64)> {
    let answer = json(&[
        "ground", SAMPLE, "--phrase", phrase, "--range", "0..0", "--json", "-",
    ]);
    let proposals = answer["emissions"][0]["proposals"].as_array().unwrap();
    let of = |p: &Value| {
        let side = |i: usize| p["box"][i].as_f64().unwrap();
        let [x1, y1, x2, y2] = [0, 1, 2, 3].map(side);
        ((x1 + x2) / 2.0, (y1 + y2) / 2.0, (x2 - x1) * (y2 - y1))
    };
    let kept = proposals.iter().filter(|p| p["selected"] == true);
    kept.map(of).collect()
}

#[test]
fn superlatives_mean_what_lies_or_is_so_among_all() {
    let all = kept("all objects");
    assert!(all.len() >= 4, "{all:?}");
    let near = |a: f64, b: f64| (a - b).abs() < 6.0;
    for (phrase, axis, sign) in [
        ("the leftmost object", 0, -1.0),
        ("the rightmost object", 0, 1.0),
        ("the topmost object", 1, -1.0),
    ] {
        let of = |b: &(f64, f64, f64)| sign * if axis == 0 { b.0 } else { b.1 };
        let farthest = all.iter().map(of).fold(f64::NEG_INFINITY, f64::max);
        let found = kept(phrase);
        assert!(
            matches!(found[..], [one] if near(of(&one), farthest)),
            "{phrase}: {found:?} among {all:?}"
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
    let run = sparrow(
        dir.path(),
        &[
            "eval", "vos", "--prompt", "click", "--data", "clips", "--format", "synth", "--json",
            "-",
        ],
    );
    assert_eq!(run.code, 0, "{}", run.stderr);
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    let j = report["j_prompted"].as_f64().unwrap();
    assert!(j > 0.75, "masks of clicks overlap true ones by {j}");
}
