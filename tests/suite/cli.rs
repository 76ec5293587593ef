//! The command line as a person or a script meets it: the binary itself, on image folders.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use sparrow::{
    project::{FrameIndex, Size},
    video::{FrameSource as _, SyntheticSource, to_rgb},
};
use tempfile::TempDir;

pub(super) struct Run {
    pub(super) code: i32,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// Runs `sparrow` in `dir`, without any display.
pub(super) fn sparrow(dir: &Path, args: &[&str]) -> Run {
    sparrow_with(dir, args, &[])
}

/// The same with variables set. What a person's own account remembers is never seen.
pub(super) fn sparrow_with(dir: &Path, args: &[&str], variables: &[(&str, &str)]) -> Run {
    let output = Command::new(env!("CARGO_BIN_EXE_sparrow"))
        .args(args)
        .current_dir(dir)
        .env("SPARROW_DATA", dir.join("data"))
        .env("HF_HOME", dir.join("hub"))
        .env_remove("HF_ENDPOINT")
        .env_remove("HF_TOKEN")
        .env_remove("HF_HUB_OFFLINE")
        .envs(variables.iter().copied())
        .env_remove("DISPLAY")
        .env_remove("WAYLAND_DISPLAY")
        .env_remove("WAYLAND_SOCKET")
        .env_remove("RUST_LOG")
        .output()
        .unwrap();
    let run = Run {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    };
    assert!(!run.stderr.contains("panicked"), "{args:?}: {}", run.stderr);
    run
}

/// It failed with this code, said so once, and said all of `words`.
pub(super) fn refused(dir: &Path, args: &[&str], code: i32, words: &[&str]) -> Run {
    let run = sparrow(dir, args);
    assert_eq!(run.code, code, "{args:?}: {}", run.stderr);
    assert_eq!(
        run.stderr.matches("error:").count(),
        1,
        "{args:?}: {}",
        run.stderr
    );
    for word in words {
        assert!(
            run.stderr.contains(word),
            "{args:?} should say {word:?}: {}",
            run.stderr
        );
    }
    run
}

/// A folder with a clip of six small pictures in `clip`.
pub(super) fn place() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut source = SyntheticSource::new(Size::new(96, 64), 6, 10.0);
    fs::create_dir(dir.path().join("clip")).unwrap();
    for i in 0..6 {
        let rgb = to_rgb(&source.frame(FrameIndex(i)).unwrap());
        let path = dir.path().join(format!("clip/{i:05}.png"));
        image::save_buffer(path, &rgb.data, 96, 64, image::ColorType::Rgb8).unwrap();
    }
    dir
}

/// `sparrow ground clip …`
fn ground(more: &[&'static str]) -> Vec<&'static str> {
    [&["ground", "clip"], more].concat()
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let mut all: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    all.sort();
    all
}

const BOX: &str = "--box=20,15,60,50";

#[test]
fn help_and_version_go_to_stdout() {
    let dir = tempfile::tempdir().unwrap();
    for args in [
        &["--help"][..],
        &["--version"],
        &["ground", "--help"],
        &["help"],
    ] {
        let run = sparrow(dir.path(), args);
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{args:?}");
        assert!(run.stdout.contains("sparrow"));
    }
    for command in [
        "ground", "models", "doctor", "bench", "synth", "parity", "train",
    ] {
        assert!(sparrow(dir.path(), &["--help"]).stdout.contains(command));
    }
}

#[test]
fn without_a_display_the_headless_command_is_shown() {
    let dir = place();
    refused(dir.path(), &[], 1, &["sparrow ground", "--phrase"]);
    refused(dir.path(), &["clip"], 1, &["sparrow ground clip"]);
    refused(
        dir.path(),
        &["nowhere.mp4"],
        1,
        &["nowhere.mp4 does not exist"],
    );
}

#[test]
fn ground_writes_the_agreed_json() {
    let dir = place();
    let run = sparrow(
        dir.path(),
        &["ground", "clip", BOX, "--at", "2", "--json", "-"],
    );
    assert_eq!(run.code, 0, "{}", run.stderr);
    let json: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(json["schema"], 1);
    assert_eq!(json["model"], "nano");
    let video = &json["video"];
    assert_eq!(
        (&video["width"], &video["height"], &video["frames"]),
        (&96.into(), &64.into(), &6.into())
    );
    assert_eq!(video["path"], "clip");
    assert_eq!(video["hash"].as_str().unwrap().len(), 64);
    assert!(video["fps"].as_f64().unwrap() > 0.0);
    assert!(json["emissions"].as_array().unwrap().is_empty());
    let object = &json["objects"][0];
    assert_eq!(object["id"], 1);
    let frames = object["frames"].as_array().unwrap();
    let indices: Vec<_> = frames
        .iter()
        .map(|f| f["index"].as_u64().unwrap())
        .collect();
    assert_eq!(indices, [0, 1, 2, 3, 4, 5]);
    for frame in frames {
        assert_eq!(frame["rle"]["size"], serde_json::json!([64, 96]));
        let size = Size::new(96, 64);
        let rle =
            sparrow::project::Rle::from_coco_string(size, frame["rle"]["counts"].as_str().unwrap())
                .unwrap();
        let corners: Vec<f64> = frame["box"]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v.as_f64().unwrap())
            .collect();
        let tight = rle
            .bounding_box()
            .map_or([0.0; 4], |b| b.to_array().map(f64::from));
        assert_eq!(corners, tight);
        assert!((0.0..=1.0).contains(&frame["score"].as_f64().unwrap()));
        assert!((0.0..=1.0).contains(&frame["iou"].as_f64().unwrap()));
        assert!(frame["pts_secs"].is_number());
    }
    for part in ["load_secs", "ground_secs", "propagate_secs"] {
        assert!(json["timing"][part].as_f64().unwrap() >= 0.0);
    }
}

#[test]
fn ground_with_a_phrase_lists_proposals_and_never_fails_on_words() {
    let dir = place();
    let long = "very ".repeat(2000) + "red circle";
    let args = [
        "ground",
        "clip",
        "--phrase",
        "the red dog 🐕",
        "--phrase",
        "[SEG] circle",
        "--phrase",
        &long,
        "--range",
        "1..2",
        "--json",
        "out.json",
    ];
    let run = sparrow(dir.path(), &args);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("\"dog\"") && run.stderr.contains("special tokens"));
    let json: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(dir.path().join("out.json")).unwrap()).unwrap();
    let emissions = json["emissions"].as_array().unwrap();
    assert_eq!(emissions.len(), 3);
    assert_eq!(emissions[0]["phrase"], "the red dog 🐕");
    for proposal in emissions[0]["proposals"].as_array().unwrap() {
        for field in ["objectness", "filtration", "confidence"] {
            assert!((0.0..=1.0).contains(&proposal[field].as_f64().unwrap()));
        }
        assert!(
            proposal["selected"].is_boolean() && proposal["box"].as_array().unwrap().len() == 4
        );
    }
}

#[test]
fn a_phrase_that_cannot_be_read_does_not_stop_the_others() {
    let dir = place();
    let args = [
        "ground",
        "clip",
        "--phrase",
        "🐕",
        "--phrase",
        "red circle",
        "--json",
        "out.json",
    ];
    refused(
        dir.path(),
        &args,
        1,
        &["holds no word", "1 of 2 phrases failed"],
    );
    let json: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(dir.path().join("out.json")).unwrap()).unwrap();
    assert_eq!(json["emissions"].as_array().unwrap().len(), 1);
}

#[test]
fn ground_writes_pictures_and_a_project() {
    let dir = place();
    let args = [
        "ground",
        "clip",
        BOX,
        "--range",
        "0..3",
        "--out",
        "new/out",
        "--project",
        "p.sparrow",
    ];
    let run = sparrow(dir.path(), &args);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(entries(&dir.path().join("new/out/masks/1")).len(), 4);
    assert_eq!(entries(&dir.path().join("new/out/overlays")).len(), 4);
    let mask = image::open(dir.path().join("new/out/masks/1/00002.png"))
        .unwrap()
        .to_luma8();
    assert_eq!(mask.dimensions(), (96, 64));
    assert!(mask.pixels().all(|p| p.0 == [0] || p.0 == [255]));
    let doc = sparrow::store::Store::open(&dir.path().join("p.sparrow"))
        .unwrap()
        .load()
        .unwrap();
    assert_eq!((doc.objects.len(), doc.objects[0].frames.len()), (1, 4));
    assert!(doc.objects[0].frames[&FrameIndex(0)].anchor);
    // Nothing temporary is left behind.
    let names: Vec<_> = entries(dir.path())
        .iter()
        .map(|p| p.file_name().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["clip", "new", "p.sparrow"]);
}

#[test]
fn a_project_leaves_as_a_dataset_and_comes_back() {
    let dir = place();
    let run = sparrow(dir.path(), &ground(&[BOX, "--project", "p.sparrow"]));
    assert_eq!(run.code, 0, "{}", run.stderr);
    for format in ["coco", "davis"] {
        let out = format!("{format}-out");
        let args = ["export", "p.sparrow", "--format", format, "--out", &out];
        let run = sparrow(dir.path(), &args);
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert!(run.stdout.contains("read back"));
        refused(dir.path(), &args, 1, &["exists already"]);
        assert_eq!(
            sparrow(dir.path(), &[&args[..], &["--force"]].concat()).code,
            0
        );
        let back = format!("{format}.sparrow");
        let args = ["import", &out, "--format", format, "--project", &back];
        let run = sparrow(dir.path(), &args);
        assert_eq!(run.code, 0, "{}", run.stderr);
        refused(dir.path(), &args, 1, &["exists already"]);
        let doc = sparrow::store::Store::open(&dir.path().join(&back))
            .unwrap()
            .load()
            .unwrap();
        assert_eq!((doc.video.size, doc.video.frames), (Size::new(96, 64), 6));
        // What came back is a project that works, and wherever it lies.
        fs::create_dir_all(dir.path().join("deep/er")).unwrap();
        let moved = format!("deep/er/{back}");
        fs::rename(dir.path().join(&back), dir.path().join(&moved)).unwrap();
        let again = format!("{format}-again");
        let args = ["export", &moved, "--format", format, "--out", &again];
        let run = sparrow(dir.path(), &args);
        assert_eq!(run.code, 0, "{}", run.stderr);
        // Not in the place of its own images.
        let args = [
            "export", &moved, "--format", format, "--out", &out, "--force",
        ];
        for more in [&[][..], &["--without-images"]] {
            let args = [&args[..], more].concat();
            refused(dir.path(), &args, 1, &["holds the video"]);
        }
        assert!(dir.path().join(&out).exists());
    }
    fs::create_dir(dir.path().join("empty")).unwrap();
    let args = ["export", "../p.sparrow", "--format", "coco", "--out", "."];
    refused(&dir.path().join("empty"), &args, 1, &["current"]);
    refused(
        dir.path(),
        &["export", "p.sparrow", "--format", "tiff", "--out", "x"],
        2,
        &["tiff", "coco"],
    );
    refused(
        dir.path(),
        &["export", "none.sparrow", "--format", "coco", "--out", "x"],
        1,
        &["does not exist"],
    );
    refused(
        dir.path(),
        &["export", "clip/00000.png", "--format", "coco", "--out", "x"],
        1,
        &["00000.png"],
    );
    refused(
        dir.path(),
        &[
            "import",
            "clip",
            "--format",
            "davis",
            "--project",
            "q.sparrow",
        ],
        1,
        &["clip"],
    );
    // Other pictures in as many frames of the same size are another video.
    let frame = dir.path().join("clip/00000.png");
    let before = fs::read(&frame).unwrap();
    let mut image = image::open(&frame).unwrap().to_rgb8();
    image.pixels_mut().for_each(|p| *p = image::Rgb([7, 7, 7]));
    image.save(&frame).unwrap();
    refused(
        dir.path(),
        &["export", "p.sparrow", "--format", "davis", "--out", "other"],
        1,
        &["content differs", "--without-images"],
    );
    fs::write(&frame, before).unwrap();
    // Without the video, the masks leave alone only if that is asked for.
    fs::rename(dir.path().join("clip"), dir.path().join("elsewhere")).unwrap();
    let mut args = vec!["export", "p.sparrow", "--format", "davis", "--out", "alone"];
    let run = sparrow(dir.path(), &args);
    assert!(
        run.code == 1 && run.stderr.contains("--without-images"),
        "{}",
        run.stderr
    );
    assert!(!dir.path().join("alone").exists());
    args.push("--without-images");
    assert_eq!(sparrow(dir.path(), &args).code, 0);
}

#[test]
fn force_replaces_no_input_and_nothing_that_is_not_ours() {
    let dir = place();
    let at = |p: &str| dir.path().join(p);
    let ground = ["ground", "clip", BOX, "--range", "0..1"];
    let with = |more: &[&'static str]| [&ground, more].concat();
    refused(
        dir.path(),
        &with(&["--json", "x", "--project", "x", "--force"]),
        1,
        &["x is named for two outputs"],
    );
    refused(
        dir.path(),
        &with(&["--out", "clip", "--force"]),
        1,
        &["clip is what is read"],
    );
    fs::create_dir_all(at("gt/masks")).unwrap();
    fs::write(at("gt/masks/mine.png"), "mine").unwrap();
    refused(
        dir.path(),
        &with(&["--out", "gt", "--force"]),
        1,
        &["mine.png"],
    );
    assert_eq!(
        sparrow(dir.path(), &with(&["--project", "p.sparrow"])).code,
        0
    );
    let export = [
        "export",
        "p.sparrow",
        "--format",
        "coco",
        "--out",
        "set",
        "--force",
    ];
    assert_eq!(sparrow(dir.path(), &export).code, 0);
    assert_eq!(sparrow(dir.path(), &export).code, 0, "our own is replaced");
    fs::write(at("set/annotations/mine.json"), "mine").unwrap();
    refused(dir.path(), &export, 1, &["mine.json"]);
    assert!(at("set/annotations/mine.json").exists());
    assert!(at("set/annotations/instances_train.json").exists());
    refused(
        dir.path(),
        &[
            "import",
            "set",
            "--format",
            "coco",
            "--project",
            "set/annotations/instances_train.json",
            "--force",
        ],
        1,
        &["part of the dataset"],
    );
}

#[test]
fn what_exists_is_not_replaced_without_force() {
    let dir = place();
    fs::write(dir.path().join("out.json"), "mine").unwrap();
    fs::write(dir.path().join("p.sparrow"), "mine").unwrap();
    fs::create_dir(dir.path().join("full")).unwrap();
    fs::write(dir.path().join("full/notes.txt"), "mine").unwrap();
    let ground = |more: &[&'static str]| ground(&[&[BOX], more].concat());
    refused(
        dir.path(),
        &ground(&["--json", "out.json"]),
        1,
        &["out.json exists already", "--force"],
    );
    refused(
        dir.path(),
        &ground(&["--project", "p.sparrow"]),
        1,
        &["p.sparrow exists already"],
    );
    refused(
        dir.path(),
        &ground(&["--out", "full"]),
        1,
        &["full is not empty"],
    );
    assert_eq!(
        fs::read_to_string(dir.path().join("out.json")).unwrap(),
        "mine"
    );
    let forced = sparrow(
        dir.path(),
        &ground(&["--json", "out.json", "--out", "full", "--force"]),
    );
    assert_eq!(forced.code, 0, "{}", forced.stderr);
    assert!(
        fs::read_to_string(dir.path().join("out.json"))
            .unwrap()
            .contains("\"schema\": 1")
    );
    assert_eq!(
        fs::read_to_string(dir.path().join("full/notes.txt")).unwrap(),
        "mine"
    );
}

#[test]
fn bad_videos_are_named() {
    let dir = place();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("empty.mp4"), "").unwrap();
    fs::write(at("text.mp4"), "this is no video at all").unwrap();
    fs::write(
        at("cut.mp4"),
        b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom\0\0\0\x08mdat",
    )
    .unwrap();
    fs::create_dir(at("nothing")).unwrap();
    fs::create_dir(at("texts")).unwrap();
    fs::write(at("texts/a.txt"), "x").unwrap();
    for name in [
        "missing.mp4",
        "empty.mp4",
        "text.mp4",
        "cut.mp4",
        "nothing",
        "texts",
    ] {
        refused(
            dir.path(),
            &["ground", name, "--phrase", "red circle"],
            1,
            &[name],
        );
    }
}

#[test]
fn bad_arguments_are_usage_errors() {
    let dir = place();
    refused(dir.path(), &ground(&[]), 2, &["--phrase", "--box"]);
    refused(
        dir.path(),
        &ground(&["--phrase", ""]),
        2,
        &["phrase is empty"],
    );
    refused(
        dir.path(),
        &ground(&["--phrase", "   "]),
        2,
        &["phrase is empty"],
    );
    refused(
        dir.path(),
        &ground(&["--phrase", "x", "--range", "5..2"]),
        2,
        &["runs backwards", "2..5"],
    );
    refused(
        dir.path(),
        &ground(&["--phrase", "x", "--range", "some"]),
        2,
        &["like 10..50"],
    );
    refused(
        dir.path(),
        &ground(&["--box", "1,2,3"]),
        2,
        &["four numbers"],
    );
    refused(dir.path(), &ground(&["--box", "9,9,1,1"]), 2, &["empty"]);
    refused(
        dir.path(),
        &ground(&["--phrase", "x", "--tsf"]),
        2,
        &["--box"],
    );
    refused(
        dir.path(),
        &ground(&["--phrase", "x", "--mode", "fast"]),
        2,
        &["track", "framewise"],
    );
    for alone in [["--mode", "framewise"], ["--compat", "released"]] {
        let args = ground(&[&[BOX][..], &alone].concat());
        refused(dir.path(), &args, 2, &["--phrase", "--mode track"]);
    }
    refused(dir.path(), &["fly"], 1, &["fly does not exist"]);
    refused(dir.path(), &["ground"], 2, &["VIDEO"]);
}

#[test]
fn places_outside_the_video_are_named_with_its_limits() {
    let dir = place();
    refused(
        dir.path(),
        &ground(&["--phrase", "x", "--at", "6"]),
        1,
        &["--at 6", "6 frames"],
    );
    refused(
        dir.path(),
        &ground(&["--phrase", "x", "--range", "7..9"]),
        1,
        &["past the end", "6 frames"],
    );
    refused(
        dir.path(),
        &ground(&["--box", "96,0,200,50"]),
        1,
        &["outside the frame", "96×64"],
    );
    let run = sparrow(
        dir.path(),
        &ground(&["--box=-10,10,60,50", "--range", "0..99"]),
    );
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("ends at frame 5") && run.stderr.contains("past the frame"));
}

#[test]
fn bad_models_and_devices_are_named() {
    let dir = place();
    fs::write(dir.path().join("w.safetensors"), "short").unwrap();
    let ground = |more: &[&'static str]| ground(&[&["--phrase", "x"], more].concat());
    refused(
        dir.path(),
        &ground(&["--model", "huge"]),
        2,
        &["\"huge\"", "nano"],
    );
    refused(
        dir.path(),
        &ground(&["--model", "w.safetensors"]),
        1,
        &["w.safetensors", "cut short"],
    );
    refused(
        dir.path(),
        &ground(&["--device", "tpu"]),
        2,
        &["\"tpu\"", "cpu"],
    );
    refused(
        dir.path(),
        &["models", "verify", "w.safetensors"],
        1,
        &["w.safetensors"],
    );
    refused(
        dir.path(),
        &["models", "inspect", "w.safetensors"],
        1,
        &["w.safetensors"],
    );
    refused(
        dir.path(),
        &["models", "inspect", "none.safetensors"],
        1,
        &["does not exist"],
    );
}

#[cfg(target_os = "linux")]
#[test]
fn places_that_cannot_be_written_are_named_before_the_work() {
    let dir = place();
    let ground = |more: &[&'static str]| ground(&[&[BOX], more].concat());
    refused(
        dir.path(),
        &ground(&["--json", "no/such/folder.json"]),
        1,
        &["cannot write into", "no/such"],
    );
    refused(
        dir.path(),
        &ground(&["--json", "/proc/x.json"]),
        1,
        &["cannot write into", "/proc"],
    );
    refused(dir.path(), &ground(&["--out", "/proc/x"]), 1, &["/proc"]);
    refused(
        dir.path(),
        &ground(&["--project", "/proc/x.sparrow"]),
        1,
        &["/proc"],
    );
    refused(
        dir.path(),
        &ground(&["--json", "clip"]),
        1,
        &["clip is what is read"],
    );
}

#[test]
fn models_and_doctor_say_what_there_is() {
    let dir = tempfile::tempdir().unwrap();
    let list = sparrow(dir.path(), &["models", "list"]);
    assert!(list.code == 0 && list.stdout.contains("nano"));
    let verify = sparrow(dir.path(), &["models", "verify", "nano"]);
    assert!(
        verify.code == 0 && verify.stdout.contains("whole"),
        "{}",
        verify.stderr
    );
    let doctor = sparrow(dir.path(), &["doctor"]);
    assert_eq!(doctor.code, 0, "{}", doctor.stderr);
    for part in [
        "threads",
        "ffmpeg",
        "display",
        "model nano",
        "--precision f32 on the CPU",
    ] {
        assert!(doctor.stdout.contains(part), "{}", doctor.stdout);
    }
}

#[test]
fn bench_times_every_stage() {
    let dir = place();
    let run = sparrow(
        dir.path(),
        &["bench", "--video", "clip", "--frames", "2", "--json", "-"],
    );
    assert_eq!(run.code, 0, "{}", run.stderr);
    let json: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    let stages: Vec<_> = json["stages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["stage"].as_str().unwrap())
        .collect();
    for stage in [
        "image encoder",
        "CLIP",
        "InternVideo2",
        "one token",
        "memory attention",
        "visual prefix",
        "proposer",
        "mask decoder",
    ] {
        assert!(stages.contains(&stage), "{stages:?}");
    }
    assert!(json["tracking_fps"].as_f64().unwrap() > 0.0);
    assert!(json["ceiling"]["gflops"].as_f64().unwrap() > 0.0);
    let tower = &json["stages"][stages.iter().position(|s| *s == "CLIP").unwrap()];
    assert!(tower["gflop"].as_f64().unwrap() > 0.0 && tower["bytes"].as_u64().unwrap() > 0);
}

#[test]
fn names_that_nothing_has_are_bad_usage() {
    let dir = place();
    let eval = ["eval", "vos", "--data", ".", "--format", "vot"];
    refused(dir.path(), &eval, 2, &["vot"]);
    let eval = [
        "eval", "vos", "--data", ".", "--format", "davis", "--limit", "0",
    ];
    refused(dir.path(), &eval, 2, &["--limit"]);
}

/// Hours of work are neither begun anew nor replaced by a slip.
#[test]
fn what_training_left_is_not_replaced_without_force() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir(at("run")).unwrap();
    let checkpoint = at("run/filtration.checkpoint.safetensors");
    fs::write(&checkpoint, b"hours of work").unwrap();
    let stage = ["train", "filtration", "--out", "run", "--steps", "1"];
    refused(dir.path(), &stage, 1, &["--resume", "--force"]);
    assert_eq!(fs::read(&checkpoint).unwrap(), b"hours of work");

    let nano = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/nano.safetensors");
    fs::copy(nano, at("nano.safetensors")).unwrap();
    fs::write(at("mine.safetensors"), b"mine").unwrap();
    let export = |out| {
        let init = "nano.safetensors";
        ["train", "export", "--init", init, "--out", out, "--force"]
    };
    let (taken, read) = (export("mine.safetensors"), export("nano.safetensors"));
    refused(dir.path(), &taken[..6], 1, &["exists already", "--force"]);
    assert_eq!(fs::read(at("mine.safetensors")).unwrap(), b"mine");
    let with = |more: &[&'static str]| [&taken[..2], &["--out", "x"], more].concat();
    refused(dir.path(), &with(&[]), 2, &["with --init"]);
    refused(
        dir.path(),
        &with(&["--init", "none"]),
        1,
        &["none does not exist"],
    );
    refused(
        dir.path(),
        &with(&["--init", "run"]),
        1,
        &["run is a folder"],
    );
    let cut = with(&["--init", "mine.safetensors"]);
    refused(dir.path(), &cut, 1, &["cut short or is not"]);
    let trains = with(&["--init", "nano.safetensors", "--steps", "1"]);
    refused(dir.path(), &trains, 2, &["only writes what they left"]);
    let mean = ["train", "regions", "--mean", "--out", "run", "--steps", "1"];
    refused(dir.path(), &mean, 2, &["--mean and --keep"]);
    refused(dir.path(), &read, 1, &["is what is read"]);
    let run = sparrow(dir.path(), &taken);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(
        run.stdout.contains("written to mine.safetensors"),
        "{}",
        run.stdout
    );
    assert!(fs::metadata(at("mine.safetensors")).unwrap().len() > 1_000_000);
    // The folder is made.
    let run = sparrow(dir.path(), &export("new/mine.safetensors"));
    assert_eq!(run.code, 0, "{}", run.stderr);
    let names = entries(dir.path());
    let half = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with('.');
    assert!(!names.iter().any(half), "{names:?}");
}
