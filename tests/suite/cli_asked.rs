//! The command line's results say what was asked, of what, and why each choice was made; what it would pass over in silence it
//! refuses.

use std::{collections::HashMap, fs, path::Path};

use serde_json::{Value, json};
use sparrow::{project::FrameIndex, store::Store};

use crate::cli::{place, refused, sparrow};

const BOX: &str = "--box=20,15,60,50";

fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

fn result(dir: &Path, args: &[&str]) -> Value {
    let run = sparrow(dir, args);
    assert_eq!(run.code, 0, "{args:?}: {}", run.stderr);
    serde_json::from_str(&run.stdout).unwrap()
}

/// A small set of one clip in `set`.
fn set(dir: &Path, more: &str) {
    let line = format!("synth --out set --clips 1 --frames 4 --width 96 --height 96{more}");
    let run = sparrow(dir, &words(&line));
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(run.stdout, "1 clip written to set\n");
}

#[test]
fn ground_says_what_was_asked_and_why_each_proposal_is_not_kept() {
    let dir = place();
    let args = ["ground", "clip", "--phrase", "the red square", BOX, "--tsf"];
    let more = ["--at", "1", "--range", "1..2", "--json", "-"];
    let found = result(dir.path(), &[&args[..], &more].concat());
    assert_eq!(found["partial"], false);
    assert!(found["warnings"].is_array());
    let asked = &found["asked"];
    assert_eq!(asked["program"], env!("CARGO_PKG_VERSION"));
    assert_eq!(
        (&asked["model"], &asked["mode"]),
        (&json!("nano"), &json!("track"))
    );
    assert_eq!(asked["weights"]["hash"].as_str().unwrap().len(), 64);
    assert_eq!(asked["phrases"], json!(["the red square"]));
    assert_eq!((&asked["at"], &asked["range"]), (&json!(1), &json!([1, 2])));
    assert_eq!(asked["box"], json!([20.0, 15.0, 60.0, 50.0]));
    assert_eq!(
        (&asked["tsf"], &asked["compat"]),
        (&json!(true), &Value::Null)
    );
    assert!(asked["device"].is_string() && asked["precision"].is_string());
    let emission = &found["emissions"][0];
    assert_eq!(emission["thresholds"], asked["thresholds"]);
    assert!(emission["thresholds"]["keep"].is_number());
    for token in emission["tokens"].as_array().unwrap() {
        assert!(token["token"].is_string());
        assert!((0.0..=1.0).contains(&token["probability"].as_f64().unwrap()));
    }
    let proposals = emission["proposals"].as_array().unwrap();
    let drawn = proposals.iter().filter(|p| p["drawn"] == true).count();
    assert_eq!(drawn, 1);
    for proposal in proposals {
        let kept = proposal["selected"].as_bool().unwrap();
        assert_eq!(proposal["why_not"].is_null(), kept, "{proposal}");
        assert!(proposal["incredible"].is_boolean());
    }
}

#[test]
fn eval_results_of_different_questions_can_be_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    set(dir.path(), "");
    let vos = "eval vos --data set --format synth --json -";
    let boxes = result(dir.path(), &words(vos));
    let clicks = result(
        dir.path(),
        &words(&format!("{vos} --prompt click --limit 1")),
    );
    assert_eq!(boxes["task"], "vos");
    assert_eq!(boxes["asked"]["prompt"], "box");
    assert_eq!(clicks["asked"]["prompt"], "click");
    assert_eq!(
        (&boxes["asked"]["limit"], &clicks["asked"]["limit"]),
        (&Value::Null, &json!(1))
    );
    let asked = &boxes["asked"];
    for (name, value) in [
        ("program", json!(env!("CARGO_PKG_VERSION"))),
        ("model", json!("nano")),
        ("data", json!("set")),
        ("format", json!("synth")),
        ("split", Value::Null),
        ("mode", json!("track")),
        ("corrections", json!(0)),
        ("at", Value::Null),
        ("ablate", Value::Null),
    ] {
        assert_eq!(asked[name], value, "{name}");
    }
    assert_eq!(asked["weights"]["hash"].as_str().unwrap().len(), 64);
    assert!(asked["precision"].is_string() && asked["device"].is_string());
    assert!(
        boxes["frames_scored"]
            .as_str()
            .unwrap()
            .contains("first and last")
    );
    assert_eq!(
        (&boxes["partial"], &boxes["sequences_done"]),
        (&json!(false), &json!(1))
    );
    let phrases = result(
        dir.path(),
        &words("eval rvos --data set --format synth --json -"),
    );
    assert_eq!(phrases["asked"]["prompt"], Value::Null);
    assert_eq!(phrases["asked"]["ablate"], false);
    assert_eq!(phrases["frames_scored"], "every annotated frame");
}

#[test]
fn a_clip_that_cannot_be_read_does_not_end_an_evaluation() {
    let dir = tempfile::tempdir().unwrap();
    set(dir.path(), " --phrases 0");
    fs::create_dir(dir.path().join("set/broken")).unwrap();
    fs::write(dir.path().join("set/broken/clip.json"), "{").unwrap();
    let args = words("eval vos --data set --format synth --json out.json");
    refused(
        dir.path(),
        &args,
        1,
        &["1 sequence failed", "broken", "clip.json"],
    );
    let text = fs::read_to_string(dir.path().join("out.json")).unwrap();
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["failed"][0]["name"], "broken");
    assert_eq!(report["sequences_done"], 2);
}

#[test]
fn options_that_would_be_passed_over_are_refused() {
    let dir = place();
    for (line, said) in [
        (
            "eval vos --data . --format synth --ablate",
            "--ablate is for rvos",
        ),
        (
            "eval rvos --data . --format synth --prompt click",
            "--prompt is for vos",
        ),
        (
            "eval rvos --data . --format synth --corrections 1",
            "--corrections is for vos",
        ),
        (
            "eval vos --data . --format synth --at marked",
            "add --corrections 1",
        ),
        (
            "eval rvos --data . --format synth --at worst",
            "--at is for vos",
        ),
        (
            "eval proposals --data . --format synth --mode track",
            "--mode is for rvos and vos",
        ),
        (
            "eval vos --data . --format synth --split val",
            "--split is for",
        ),
        ("ground clip --box=1,1,9,9 --tsf", "--tsf is for phrases"),
        (
            "ground clip --box=1,1,9,9 --phrase x --tsf --no-tsf",
            "--no-tsf",
        ),
        ("synth --out new --sample --clips 5", "--clips"),
        ("synth --out new --sheet new.jpg", "PNG"),
    ] {
        refused(dir.path(), &words(line), 2, &[said]);
    }
    assert!(!dir.path().join("new").exists());
}

/// Some were taken, and others answered with a tip that led nowhere.
#[test]
fn numbers_out_of_bounds_are_refused_in_one_sentence() {
    let dir = place();
    for (line, said) in [
        ("synth --out new --wild 2", "from 0 to 1"),
        ("synth --out new --wild nan", "from 0 to 1"),
        ("synth --out new --wild -1", "from 0 to 1"),
        ("synth --out new --seed -1", "seeds are whole numbers"),
        (
            "synth --out new --seed 18446744073709551615 --clips 2",
            "past the last seed",
        ),
        ("train towers --out new --minutes nan", "minutes above 0"),
        ("train towers --out new --minutes -1", "minutes above 0"),
        (
            "eval vos --data . --format synth --corrections 2",
            "give 0 or 1",
        ),
        (
            "eval vos --data . --format synth --corrections -1",
            "give 0 or 1",
        ),
        ("ground clip --phrase x --at -1", "counted from 0"),
    ] {
        let run = refused(dir.path(), &words(line), 2, &[said]);
        assert!(!run.stderr.contains("use '--"), "{line}: {}", run.stderr);
    }
    assert!(!dir.path().join("new").exists());
}

#[test]
fn help_lists_formats_and_is_found_behind_a_task() {
    let dir = tempfile::tempdir().unwrap();
    for command in ["export", "import"] {
        let run = sparrow(dir.path(), &["help", command]);
        for format in ["coco", "davis", "mevis", "youtube-vis"] {
            assert!(run.stdout.contains(format), "{command}: {}", run.stdout);
        }
    }
    let (by_help, by_flag) = (
        sparrow(dir.path(), &["help", "eval", "rvos"]),
        sparrow(dir.path(), &["eval", "--help"]),
    );
    assert_eq!((by_help.code, by_help.stderr.as_str()), (0, ""));
    assert_eq!(by_help.stdout, by_flag.stdout);
    assert!(by_help.stdout.contains("every annotated frame"));
}

#[test]
fn only_the_range_is_written_and_a_project_keeps_what_it_was_carried_from() {
    let dir = place();
    let args = words("ground clip --box=20,15,60,50 --at 5 --range 1..2 --json out.json");
    let more = words("--project p.sparrow --out out");
    let run = sparrow(dir.path(), &[args, more].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.contains("of 2 frames"), "{}", run.stdout);
    let text = fs::read_to_string(dir.path().join("out.json")).unwrap();
    let found: Value = serde_json::from_str(&text).unwrap();
    let frames = found["objects"][0]["frames"].as_array().unwrap();
    let indices: Vec<&Value> = frames.iter().map(|f| &f["index"]).collect();
    assert_eq!(indices, [&json!(1), &json!(2)]);
    assert!(!dir.path().join("out/overlays/00005.jpg").exists());
    let doc = Store::open(&dir.path().join("p.sparrow"))
        .unwrap()
        .load()
        .unwrap();
    let kept: Vec<FrameIndex> = doc.objects[0].frames.keys().copied().collect();
    assert_eq!(kept, [1, 2, 5].map(FrameIndex));
}

#[test]
fn a_range_past_the_end_and_rules_of_other_weights_are_warned_of_in_the_result() {
    let dir = place();
    let args = [
        "ground",
        "clip",
        "--phrase",
        "the red square",
        "--json",
        "-",
    ];
    let more = ["--compat", "released", "--range", "4..99"];
    let found = result(dir.path(), &[&args[..], &more].concat());
    let said = found["warnings"].to_string();
    assert!(said.contains("ends at frame 5"), "{said}");
    assert!(
        said.contains("released weights") && said.contains("nano"),
        "{said}"
    );
    let asked = &found["asked"];
    assert_eq!(
        (&asked["compat"], &asked["mode"]),
        (&json!("released"), &json!("framewise"))
    );
    assert_eq!(
        (&asked["thresholds"]["at_most"], &asked["range"]),
        (&json!(16), &json!([4, 5]))
    );
}

/// A checkpoint without any tensor at a step.
fn checkpoint(dir: &Path, stage: &str, step: u64) {
    let state = json!({
        "state": { "stage": stage, "step": step, "secs": 1.0, "seed": 1 },
        "adam_step": step,
    });
    let header = HashMap::from([("sparrow_train_state".to_owned(), state.to_string())]);
    let none: Vec<(String, safetensors::tensor::TensorView<'_>)> = Vec::new();
    let bytes = safetensors::serialize(none, Some(header)).unwrap();
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join(format!("{stage}.checkpoint.safetensors")), bytes).unwrap();
}

#[test]
fn training_that_is_done_is_not_done_again() {
    let dir = tempfile::tempdir().unwrap();
    checkpoint(&dir.path().join("run"), "towers", 13);
    let run = sparrow(
        dir.path(),
        &words("train towers --out run --resume --steps 4"),
    );
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(
        run.stderr.contains("already at step 13: nothing to do"),
        "{}",
        run.stderr
    );
    let run = sparrow(
        dir.path(),
        &words("train towers --out run --resume --steps 13"),
    );
    assert!(
        run.code == 0 && run.stderr.contains("nothing to do"),
        "{}",
        run.stderr
    );
}

#[test]
fn filtration_without_what_it_goes_on_from_says_what_to_name() {
    let dir = tempfile::tempdir().unwrap();
    checkpoint(&dir.path().join("run"), "filtration", 2);
    let resumed = words("train filtration --out run --resume --steps 4");
    refused(dir.path(), &resumed, 2, &["give the same --init again"]);
    let begun = words("train filtration --out new --steps 4");
    refused(dir.path(), &begun, 2, &["name them with --init"]);
}

#[test]
fn held_out_sets_take_no_clips_of_training() {
    let dir = tempfile::tempdir().unwrap();
    set(dir.path(), " --seed 1500000000 --phrases 0");
    let more = words("synth --out set --clips 1 --force");
    refused(dir.path(), &more, 1, &["held out", "another folder"]);
    assert_eq!(fs::read_dir(dir.path().join("set")).unwrap().count(), 1);
}

#[test]
fn every_sequence_becomes_a_project_where_that_is_asked_for() {
    let dir = place();
    let run = sparrow(
        dir.path(),
        &["ground", "clip", BOX, "--project", "p.sparrow"],
    );
    assert_eq!(run.code, 0, "{}", run.stderr);
    let export = words("export p.sparrow --format davis --out set --without-images");
    let run = sparrow(dir.path(), &export);
    assert_eq!(run.code, 0, "{}", run.stderr);
    refused(dir.path(), &export, 1, &["exists already", "--force"]);
    let masks = dir.path().join("set/Annotations/480p");
    fs::create_dir(masks.join("other")).unwrap();
    for entry in fs::read_dir(masks.join("clip")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), masks.join("other").join(entry.file_name())).unwrap();
    }
    let import = "import set --format davis --project projects";
    refused(
        dir.path(),
        &words(import),
        1,
        &["clip, other", "--sequence", "--all"],
    );
    let run = sparrow(dir.path(), &words(&format!("{import} --all")));
    assert_eq!(run.code, 0, "{}", run.stderr);
    for name in ["clip", "other"] {
        let project = dir.path().join(format!("projects/{name}.sparrow"));
        let doc = Store::open(&project).unwrap().load().unwrap();
        assert_eq!(doc.video.frames, 6, "{name}");
    }
}

#[test]
fn models_are_told_in_true_sentences() {
    let dir = place();
    let convert = words("models convert nano --out x.safetensors");
    refused(
        dir.path(),
        &convert,
        1,
        &["nano is in the program", "nothing to convert"],
    );
    fs::write(dir.path().join("film.mp4"), "no weights at all").unwrap();
    let ground = words("ground clip --phrase x --model film.mp4");
    refused(
        dir.path(),
        &ground,
        1,
        &["film.mp4", "neither a .safetensors nor a PyTorch file"],
    );
    let list = sparrow(dir.path(), &["models", "list"]);
    assert!(list.stdout.contains("5.6 B"), "{}", list.stdout);
}

#[test]
fn a_drawn_clip_has_no_time_of_decoding() {
    let dir = tempfile::tempdir().unwrap();
    let found = result(dir.path(), &words("bench --frames 2 --json -"));
    let stages = found["stages"].as_array().unwrap();
    assert!(stages.iter().any(|s| s["stage"] == "image encoder"));
    assert!(!stages.iter().any(|s| s["stage"] == "decode a frame"));
}
