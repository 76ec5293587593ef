//! The command line's switches for the model itself: precision, the released rules, boxes of another program, the bench
//! on random weights.

use std::fs;

use crate::cli::{place, refused, sparrow};

const ASK: [&str; 4] = ["ground", "clip", "--phrase", "the red square"];

fn ask<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&ASK, more].concat()
}

#[test]
fn every_precision_answers_and_an_unknown_one_is_refused() {
    let dir = place();
    let confidence = |precision: &str| {
        let args = ask(&["--range", "0..0", "--json", "-", "--precision", precision]);
        let run = sparrow(dir.path(), &args);
        assert_eq!(run.code, 0, "{precision}: {}", run.stderr);
        let json: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
        let proposals = json["emissions"][0]["proposals"].as_array().unwrap();
        assert!(!proposals.is_empty());
        proposals[0]["confidence"].as_f64().unwrap()
    };
    let exact = confidence("f32");
    assert_eq!(confidence("auto"), exact);
    for (precision, tolerance) in [("f16", 0.02), ("bf16", 0.1), ("q8", 0.1)] {
        let got = confidence(precision);
        assert!(
            (got - exact).abs() < tolerance,
            "{precision}: {got} {exact}"
        );
    }
    confidence("q4");
    refused(
        dir.path(),
        &ask(&["--precision", "f64"]),
        2,
        &["f32, f16, bf16, q8 or q4"],
    );
}

#[test]
fn boxes_of_another_program_are_read_as_stated() {
    let dir = place();
    let file = dir.path().join("boxes.txt");
    fs::write(&file, "20,15,60,50\n21,15,61,50\n").unwrap();
    let with = |format: &'static str| ask(&["--tsf-boxes", "boxes.txt", "--tsf-format", format]);
    let run = sparrow(
        dir.path(),
        &[with("xyxy"), vec!["--range", "0..0"]].concat(),
    );
    assert_eq!(run.code, 0, "{}", run.stderr);
    // 20 + 60 and 15 + 50 end inside as well; 61 of width from 40 on does not matter, it is cut.
    let run = sparrow(
        dir.path(),
        &[with("xywh"), vec!["--range", "0..0"]].concat(),
    );
    assert_eq!(run.code, 0, "{}", run.stderr);
    refused(
        dir.path(),
        &ask(&["--tsf-boxes", "boxes.txt"]),
        2,
        &["--tsf-format"],
    );
    refused(
        dir.path(),
        &[with("xyxy"), vec!["--tsf", "--box=1,1,9,9"]].concat(),
        2,
        &["--tsf"],
    );
    fs::write(&file, "20,15,60\n").unwrap();
    refused(
        dir.path(),
        &with("xyxy"),
        1,
        &["boxes.txt", "line 1", "four numbers"],
    );
    fs::remove_file(&file).unwrap();
    refused(
        dir.path(),
        &with("xyxy"),
        1,
        &["cannot read the boxes in boxes.txt"],
    );
}

/// Never "nothing there", at most sixteen boxes, every frame decoded alone.
#[test]
fn the_released_rules_come_with_a_switch() {
    let dir = place();
    let run = sparrow(dir.path(), &ask(&["--compat", "released", "--json", "-"]));
    assert_eq!(run.code, 0, "{}", run.stderr);
    let json: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    let emission = &json["emissions"][0];
    let selected = emission["proposals"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|p| p["selected"] == true)
        .count();
    let said = emission["text"].as_str().unwrap();
    if emission["objects"].as_array().unwrap().is_empty() {
        assert!(!said.contains("[SEG]"), "{said}");
    } else {
        assert!((1..=16).contains(&selected), "{selected}");
    }
    refused(dir.path(), &ask(&["--compat", "mine"]), 2, &["released"]);
}

#[test]
fn random_weights_are_timed_by_stage() {
    let dir = place();
    let args = [
        "bench", "--random", "nano", "--stage", "token", "--stage", "hiera", "--runs", "1",
        "--json", "-",
    ];
    let run = sparrow(dir.path(), &args);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let json: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    let stages = json["stages"].as_array().unwrap();
    assert_eq!(stages.len(), 2);
    assert_eq!(stages[0]["stage"], "token");
    assert!(
        json["sizes"]["config"]["sam2"]["image_size"]
            .as_u64()
            .unwrap()
            > 0
    );
    refused(
        dir.path(),
        &["bench", "--random", "huge"],
        2,
        &["nano, tiny, released-layers"],
    );
    refused(
        dir.path(),
        &["bench", "--random", "nano", "--stage", "x"],
        2,
        &["memory attention"],
    );
    refused(dir.path(), &["bench", "--stage", "clip"], 2, &["--random"]);
}

#[test]
fn random_weights_are_timed_in_the_precision_that_is_asked_for() {
    let dir = place();
    let args = |precision| {
        [
            "bench",
            "--random",
            "nano",
            "--stage",
            "token",
            "--runs",
            "1",
            "--json",
            "-",
            "--precision",
            precision,
        ]
    };
    for (asked, told) in [("auto", "f32"), ("q4", "q4")] {
        let run = sparrow(dir.path(), &args(asked));
        assert_eq!(run.code, 0, "{asked}: {}", run.stderr);
        let json: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!(json["precision"], told);
        assert_eq!(json["ceiling"]["precision"], "f32", "a CPU sums in f32");
    }
    refused(dir.path(), &args("f64"), 2, &["f32, f16, bf16, q8 or q4"]);
}

/// Every stage from pixels to masks, as JSON and as a table, with the counts that make its ratios readable.
#[test]
fn a_phrase_is_timed_from_pixels_to_masks() {
    let dir = place();
    let always = ["bench", "--random", "nano", "--end-to-end", "--as-authors"];
    let args = |more: &[&'static str]| [&always, more].concat();
    let told = args(&["--frames", "2", "--tokens", "4", "--json", "-"]);
    let run = sparrow(dir.path(), &told);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let json: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    let stages = json["stages"].as_array().unwrap();
    for part in ["first phrase", "second phrase", "as the authors"] {
        let named = |s: &&serde_json::Value| s["stage"].as_str().unwrap().starts_with(part);
        assert!(stages.iter().filter(named).count() >= 3, "{part}");
    }
    let (authors, number) = (&json["as_authors"], |v: &serde_json::Value| {
        v.as_u64().unwrap()
    });
    assert_eq!(
        (number(&json["frames"]), number(&json["answer_tokens"])),
        (2, 4)
    );
    assert_eq!(number(&authors["passes"]), 5);
    assert_eq!(authors["same_answer"], true);
    assert_eq!(number(&authors["pixels"]), 2 * 1280 * 720);
    for which in ["first", "second"] {
        assert!(json[which]["frames_per_sec"].as_f64().unwrap() > 0.0);
        assert_eq!(json[which]["objects"], 1);
    }
    assert!(number(&json["prompt_tokens"]) > number(&json["visual_tokens"]));
    assert!(json["sizes"]["config"]["proposer"]["shared_trunk"].is_boolean());

    let run = sparrow(dir.path(), &args(&["--frames", "1", "--tokens", "3"]));
    assert_eq!(run.code, 0, "{}", run.stderr);
    for line in [
        "to masks of 1 frame",
        "answer of 3 tokens",
        "times ours",
        "in a large product in f32",
    ] {
        assert!(run.stdout.contains(line), "{line:?}: {}", run.stdout);
    }
}

#[test]
fn an_end_to_end_timing_that_cannot_be_is_refused() {
    let dir = place();
    let bench = |more: &[&'static str]| [&["bench", "--end-to-end"], more].concat();
    let nano = |more: &[&'static str]| bench(&[&["--random", "nano"], more].concat());
    refused(
        dir.path(),
        &bench(&["--random", "huge"]),
        2,
        &["\"huge\"", "released"],
    );
    refused(dir.path(), &nano(&["--frames", "0"]), 2, &["--frames"]);
    refused(dir.path(), &nano(&["--tokens", "2"]), 2, &["--tokens"]);
    refused(
        dir.path(),
        &nano(&["--tokens", "99999"]),
        1,
        &["3 to", "99999"],
    );
    refused(dir.path(), &nano(&["--stage", "clip"]), 2, &["--stage"]);
    refused(
        dir.path(),
        &nano(&["--phrase", ""]),
        1,
        &["phrase is empty"],
    );
    refused(dir.path(), &nano(&["--device", "tpu"]), 2, &["tpu"]);
    refused(dir.path(), &bench(&["--video", "none"]), 1, &["none"]);
    refused(dir.path(), &["bench", "--as-authors"], 2, &["--end-to-end"]);
}
