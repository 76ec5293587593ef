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
