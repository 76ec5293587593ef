//! The command line at the limits: the smallest clips, files without pictures, frames that cannot be read, places that
//! take nothing.

use std::{
    fs,
    path::{Path, PathBuf},
};

use sparrow::{project::FrameIndex, store::Store};

use crate::cli::{place, refused, sparrow};

const BOX: &str = "--box=20,15,60,50";

/// Frames of the first object of a result.
fn frames(json: &Path) -> Vec<u64> {
    let json: serde_json::Value = serde_json::from_str(&fs::read_to_string(json).unwrap()).unwrap();
    let frames = json["objects"][0]["frames"].as_array().unwrap();
    frames
        .iter()
        .map(|f| f["index"].as_u64().unwrap())
        .collect()
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// A folder `name` of one-coloured pictures.
fn pictures(dir: &Path, name: &str, side: u32, count: u32) {
    let folder = dir.join(name);
    fs::create_dir(&folder).unwrap();
    for i in 0..count {
        let picture = image::RgbImage::from_pixel(side, side, image::Rgb([200, 40, 30]));
        picture.save(folder.join(format!("{i:05}.png"))).unwrap();
    }
}

/// Tracked by box and by phrase, written as a project, exported in every format.
fn goes_through(dir: &Path, video: &str, corner: &str) {
    let area = format!("--box=0,0,{corner}");
    let project = format!("{video}.sparrow");
    let args = ["ground", video, &area, "--project", &project, "--json"];
    let run = sparrow(dir, &[&args[..], &["by-box.json", "--force"]].concat());
    assert_eq!(run.code, 0, "{video}: {}", run.stderr);
    assert_eq!(frames(&dir.join("by-box.json"))[0], 0);
    let phrase = ["ground", video, "--phrase", "the red circle", "--json", "-"];
    let run = sparrow(dir, &phrase);
    assert_eq!(run.code, 0, "{video}: {}", run.stderr);
    for format in ["coco", "davis", "mattes", "mevis", "youtube-vis"] {
        let out = format!("{video}-{format}");
        let args = ["export", &project, "--format", format, "--out", &out];
        let run = sparrow(dir, &args);
        // A mask may come out empty: then there is nothing to export, in one sentence.
        let empty = run.stderr.contains("there is nothing to export");
        assert!(run.code == 0 || empty, "{video}: {}", run.stderr);
        if run.code == 0 {
            assert!(run.stdout.contains("read back"), "{}", run.stdout);
        }
    }
}

#[test]
fn a_clip_of_one_pixel_or_one_frame_is_grounded_tracked_and_exported() {
    let dir = tempfile::tempdir().unwrap();
    pictures(dir.path(), "pixel", 1, 3);
    pictures(dir.path(), "one-pixel-one-frame", 1, 1);
    pictures(dir.path(), "one-frame", 48, 1);
    goes_through(dir.path(), "pixel", "1,1");
    goes_through(dir.path(), "one-pixel-one-frame", "1,1");
    goes_through(dir.path(), "one-frame", "24,24");
}

#[cfg(feature = "ffmpeg")]
mod files {
    use sparrow::{
        project::Size,
        video::{EncodeOptions, RgbFrame, VideoWriter},
    };

    use super::*;

    /// A grey video; none where FFmpeg has no encoder.
    fn video(path: &Path, side: u32, frames: u32) -> bool {
        let size = Size::new(side, side);
        let mut writer = match VideoWriter::create(path, size, EncodeOptions::default()) {
            Ok(writer) => writer,
            Err(e) if e.to_string().contains("no H.264 encoder") => return false,
            Err(e) => panic!("{e}"),
        };
        let grey = RgbFrame {
            size,
            data: vec![120; (side * side * 3) as usize],
        };
        for _ in 0..frames {
            writer.write(&grey).unwrap();
        }
        writer.finish().unwrap();
        true
    }

    #[test]
    fn the_smallest_video_files_go_the_whole_way() {
        let dir = tempfile::tempdir().unwrap();
        for (name, side, count) in [("tiny.mp4", 1, 3), ("frame.mp4", 64, 1)] {
            if video(&dir.path().join(name), side, count) {
                goes_through(dir.path(), name, "1,1");
            }
        }
    }

    /// The file opens without a word: damage is found as its frames are decoded.
    #[test]
    fn damage_that_is_found_while_frames_are_decoded_is_told_where_masks_are_made_and_where_they_are_exported()
     {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = fs::read("assets/sample.mp4").unwrap();
        bytes[30_000..50_000].fill(0x5a);
        fs::write(dir.path().join("bad.mp4"), bytes).unwrap();
        let told = |text: &str| text.contains("amaged frames");
        let args = ["ground", "bad.mp4", "--box=20,15,60,50", "--range=0..60"];
        let more = ["--json", "out.json", "--project", "bad.sparrow"];
        let run = sparrow(dir.path(), &[&args[..], &more].concat());
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert!(told(&run.stderr), "{}", run.stderr);
        let json = fs::read_to_string(dir.path().join("out.json")).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert!(told(&json["warnings"].to_string()), "{}", json["warnings"]);
        let args = ["export", "bad.sparrow", "--format", "coco", "--out", "out"];
        let run = sparrow(dir.path(), &args);
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert!(told(&run.stderr), "{}", run.stderr);
        assert!(run.stderr.contains("COCO cannot hold"), "{}", run.stderr);
    }

    #[test]
    fn sound_alone_is_refused_in_one_sentence() {
        let dir = tempfile::tempdir().unwrap();
        // A second of silence: 8000 samples of 8 bits.
        let mut wave = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
        wave.extend([8000_u32.to_le_bytes(), 8000_u32.to_le_bytes()].concat());
        wave.extend(b"\x01\0\x08\0data");
        wave.extend(8000_u32.to_le_bytes());
        wave.resize(44 + 8000, 0x80);
        let length = wave.len() as u32 - 8;
        wave[4..8].copy_from_slice(&length.to_le_bytes());
        fs::write(dir.path().join("sound.wav"), wave).unwrap();
        let args = ["ground", "sound.wav", "--phrase", "the red circle"];
        let more = ["--out", "out", "--json", "out.json"];
        refused(
            dir.path(),
            &[&args[..], &more].concat(),
            1,
            &["sound.wav", "it holds sound but no video"],
        );
        assert_eq!(names(dir.path()), ["sound.wav"]);
    }

    #[test]
    fn a_codec_that_nobody_knows_is_refused_in_one_sentence() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("strange.mp4");
        if !video(&path, 64, 3) {
            return;
        }
        let mut bytes = fs::read(&path).unwrap();
        let at = bytes.windows(4).rposition(|w| w == b"avc1").unwrap();
        bytes[at..at + 4].copy_from_slice(b"zzzz");
        fs::write(&path, bytes).unwrap();
        refused(
            dir.path(),
            &["ground", "strange.mp4", BOX, "--project", "p.sparrow"],
            1,
            &["strange.mp4", "codec"],
        );
        assert_eq!(names(dir.path()), ["strange.mp4"]);
    }
}

#[test]
fn a_frame_that_cannot_be_read_takes_none_of_the_frames_before_it() {
    let dir = place();
    let bad = dir.path().join("clip/00004.png");
    let bytes = fs::read(&bad).unwrap();
    fs::write(&bad, &bytes[..bytes.len() / 2]).unwrap();
    let args = ["ground", "clip", BOX, "--json", "out.json", "--out", "out"];
    refused(
        dir.path(),
        &[&args[..], &["--project", "p.sparrow"]].concat(),
        1,
        &[
            "tracking stopped: ",
            "00004.png",
            "the finished frames are in the results",
        ],
    );
    assert_eq!(frames(&dir.path().join("out.json")), [0, 1, 2, 3]);
    assert_eq!(names(&dir.path().join("out/masks/1")).len(), 4);
    let doc = Store::open(&dir.path().join("p.sparrow"))
        .unwrap()
        .load()
        .unwrap();
    assert!(
        doc.objects[0]
            .frames
            .keys()
            .eq(&[0, 1, 2, 3].map(FrameIndex))
    );
}

#[test]
fn a_file_where_a_folder_should_be_is_named() {
    let dir = place();
    fs::write(dir.path().join("file"), "mine").unwrap();
    let ground = |more: &[&'static str]| [&["ground", "clip", BOX][..], more].concat();
    for output in [
        ["--json", "file/out.json"],
        ["--project", "file/p.sparrow"],
        ["--out", "file/out"],
    ] {
        refused(dir.path(), &ground(&output), 1, &["file"]);
    }
    refused(
        dir.path(),
        &ground(&["--out", "file", "--force"]),
        1,
        &["file is a file"],
    );
    let run = sparrow(dir.path(), &ground(&["--project", "p.sparrow"]));
    assert_eq!(run.code, 0, "{}", run.stderr);
    for out in ["file", "file/out"] {
        let args = ["export", "p.sparrow", "--format", "davis", "--out", out];
        refused(dir.path(), &args, 1, &["file"]);
    }
    assert_eq!(fs::read_to_string(dir.path().join("file")).unwrap(), "mine");
    assert_eq!(names(dir.path()), ["clip", "file", "p.sparrow"]);
}

#[test]
fn an_import_is_told_the_format_by_the_layout() {
    let dir = place();
    let ground = ["ground", "clip", BOX, "--project", "p.sparrow"];
    let run = sparrow(dir.path(), &ground);
    assert_eq!(run.code, 0, "{}", run.stderr);
    for format in ["coco", "davis", "mattes", "mevis", "youtube-vis"] {
        let args = ["export", "p.sparrow", "--format", format, "--out", format];
        let run = sparrow(dir.path(), &args);
        assert_eq!(run.code, 0, "{format}: {}", run.stderr);
        let project = format!("{format}.sparrow");
        let run = sparrow(dir.path(), &["import", format, "--project", &project]);
        assert_eq!(run.code, 0, "{format}: {}", run.stderr);
        let said = format!("read as {format}");
        assert!(run.stderr.contains(&said), "{}", run.stderr);
        let doc = Store::open(&dir.path().join(&project)).unwrap().load();
        assert_eq!(doc.unwrap().objects.len(), 1, "{format}");
    }
    // What is said is done, whatever the layout.
    let args = [
        "import",
        "davis",
        "--format",
        "coco",
        "--project",
        "q.sparrow",
    ];
    refused(dir.path(), &args, 1, &["no coco dataset"]);
    let args = ["import", "clip", "--project", "q.sparrow"];
    refused(dir.path(), &args, 1, &["clip", "--format", "youtube-vis"]);
    assert!(!dir.path().join("q.sparrow").exists());
}

/// `--force` removed the masks and images of the other one.
#[test]
fn an_export_of_another_video_is_not_replaced_by_force() {
    let dir = place();
    fs::create_dir(dir.path().join("short")).unwrap();
    for i in 0..5 {
        let picture = format!("{i:05}.png");
        let to = dir.path().join("short").join(&picture);
        fs::copy(dir.path().join("clip").join(&picture), to).unwrap();
    }
    for (video, project) in [("clip", "p.sparrow"), ("short", "q.sparrow")] {
        let run = sparrow(dir.path(), &["ground", video, BOX, "--project", project]);
        assert_eq!(run.code, 0, "{}", run.stderr);
    }
    let export = |project| {
        [
            "export", project, "--format", "davis", "--out", "set", "--force",
        ]
    };
    let run = sparrow(dir.path(), &export("p.sparrow"));
    assert_eq!(run.code, 0, "{}", run.stderr);
    let words = ["another video", "clip, 6 frames", "set"];
    refused(dir.path(), &export("q.sparrow"), 1, &words);
    let image = dir.path().join("set/JPEGImages/480p/clip/00005.jpg");
    assert!(image.exists());
    assert_eq!(sparrow(dir.path(), &export("p.sparrow")).code, 0);
}

/// Where the system can be told to take no more.
#[cfg(target_os = "linux")]
mod full {
    use std::{
        io::{BufRead as _, BufReader, Read as _},
        process::{Command, Stdio},
    };

    use super::*;

    fn program() -> &'static str {
        env!("CARGO_BIN_EXE_sparrow")
    }

    /// Runs `sparrow` where no file can grow beyond `blocks` times 512 bytes (1024 in some shells), as on a full disk.
    fn short_of_room(dir: &Path, blocks: u32, args: &[&str]) -> (i32, String) {
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
        let out = Command::new("sh")
            .args(["-c", &script, program()])
            .args(args)
            .current_dir(dir)
            .env("SPARROW_DATA", dir.join("data"))
            .output()
            .unwrap();
        let said = String::from_utf8(out.stderr).unwrap();
        assert!(!said.contains("panicked"), "{said}");
        (out.status.code().unwrap_or(-1), said)
    }

    #[test]
    fn a_full_standard_output_is_a_failure_and_not_a_crash() {
        let dir = place();
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let out = Command::new(program())
            .args(["ground", "clip", BOX, "--range", "0..1", "--json", "-"])
            .args(["--project", "p.sparrow"])
            .current_dir(dir.path())
            .env("SPARROW_DATA", dir.path().join("data"))
            .stdout(full)
            .output()
            .unwrap();
        let said = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(1), "{said}");
        assert!(said.contains("cannot write to standard output"), "{said}");
        assert!(!said.contains("panicked"), "{said}");
        assert!(dir.path().join("p.sparrow").exists());
    }

    #[test]
    fn a_device_is_never_replaced() {
        let dir = place();
        for output in ["--json", "--project"] {
            let args = ["ground", "clip", BOX, "--force", output, "/dev/null"];
            refused(dir.path(), &args, 1, &["/dev/null is no file"]);
        }
        assert!(!Path::new("/dev/null").is_file());
    }

    #[test]
    fn a_full_disk_leaves_nothing_half_written() {
        let dir = place();
        let run = sparrow(
            dir.path(),
            &["ground", "clip", BOX, "--project", "p.sparrow"],
        );
        assert_eq!(run.code, 0, "{}", run.stderr);
        let before = names(dir.path());
        let ground = ["ground", "clip", BOX];
        for args in [
            [&ground[..], &["--json", "out.json"]].concat(),
            [&ground[..], &["--out", "out"]].concat(),
            [&ground[..], &["--project", "q.sparrow"]].concat(),
            ["export", "p.sparrow", "--format", "coco", "--out", "set"].to_vec(),
        ] {
            let (code, said) = short_of_room(dir.path(), 1, &args);
            assert_eq!(code, 1, "{args:?}: {said}");
            assert_eq!(said.matches("error:").count(), 1, "{args:?}: {said}");
            assert_eq!(names(dir.path()), before, "{args:?}");
        }
    }

    #[test]
    fn an_output_without_room_does_not_cost_the_others() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("clip")).unwrap();
        // Noise around a red square: an overlay is large, the result is not.
        let mut state = 1_u32;
        let picture = image::RgbImage::from_fn(512, 384, |x, y| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if (100..300).contains(&x) && (100..300).contains(&y) {
                image::Rgb([220, 30, 30])
            } else {
                let [a, b, c, _] = state.to_be_bytes();
                image::Rgb([a, b, c])
            }
        });
        picture.save(dir.path().join("clip/00000.png")).unwrap();
        let args = ["ground", "clip", "--box=100,100,300,300"];
        let more = ["--json", "out.json", "--out", "out"];
        let (code, said) = short_of_room(dir.path(), 64, &[&args[..], &more].concat());
        assert_eq!(code, 1, "{said}");
        assert_eq!(said.matches("error:").count(), 1, "{said}");
        assert!(said.contains("00000.jpg"), "{said}");
        assert_eq!(frames(&dir.path().join("out.json")), [0]);
        assert!(!dir.path().join("out").exists());
    }

    /// Starts the program in a folder and interrupts it once it says a line that begins so: how it ended, and what it said
    /// after that.
    fn interrupted(
        dir: &Path,
        args: impl IntoIterator<Item = String>,
        when: &str,
    ) -> (Option<i32>, String) {
        let mut child = Command::new(program())
            .args(args)
            .current_dir(dir)
            .env("SPARROW_DATA", dir.join("data"))
            .env_remove("RUST_LOG")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.starts_with(when) {
            line.clear();
            let read = said.read_line(&mut line).unwrap();
            assert!(read > 0, "it never said {when:?}");
        }
        let number = child.id().to_string();
        let asked = Command::new("kill").args(["-INT", &number]).status();
        assert!(asked.unwrap().success());
        let mut rest = String::new();
        said.read_to_string(&mut rest).unwrap();
        (child.wait().unwrap().code(), rest)
    }

    /// Interrupted while it reads the second of far more phrases than can be read before that; the first has a word that
    /// is talked about once it is answered.
    #[test]
    fn phrases_that_were_answered_are_written_after_ctrl_c() {
        let dir = place();
        let others = (1..400).map(|n| "very ".repeat(n) + "red circle");
        let others = others.flat_map(|phrase| ["--phrase".to_owned(), phrase]);
        let first = [
            "ground",
            "clip",
            "--json",
            "out.json",
            "--phrase",
            "the red dog",
        ];
        let args = first.map(str::to_owned).into_iter().chain(others);
        let (code, rest) = interrupted(dir.path(), args, "\"the red dog\": ");
        assert_eq!(code, Some(130), "{rest}");
        assert!(rest.contains("error: stopped; "), "{rest}");
        let text = fs::read_to_string(dir.path().join("out.json")).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let answered = json["emissions"].as_array().unwrap();
        assert!((1..400).contains(&answered.len()), "{}", answered.len());
        assert_eq!(answered[0]["phrase"], "the red dog");
        assert_eq!(json["partial"], true);
    }

    /// Interrupted while it tracks a clip that takes far longer than the first line about it.
    #[test]
    fn what_is_finished_is_written_after_ctrl_c_pictures_too() {
        let dir = place();
        let long: PathBuf = dir.path().join("long");
        fs::create_dir(&long).unwrap();
        let picture = dir.path().join("clip/00000.png");
        for i in 0..2000 {
            fs::hard_link(&picture, long.join(format!("{i:05}.png"))).unwrap();
        }
        let args = ["ground", "long", BOX, "--out", "out", "--json", "out.json"];
        let (code, rest) = interrupted(dir.path(), args.map(str::to_owned), "tracking: ");
        assert_eq!(code, Some(130), "{rest}");
        assert!(rest.contains("error: stopped; "), "{rest}");
        let kept = frames(&dir.path().join("out.json")).len();
        assert!((2..2000).contains(&kept), "{kept}");
        assert_eq!(names(&dir.path().join("out/overlays")).len(), kept);
        let text = fs::read_to_string(dir.path().join("out.json")).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["partial"], true);
    }

    /// The clips that were measured by then were lost. One clip many times, of which far fewer are measured before the first line.
    #[test]
    fn clips_that_were_measured_are_reported_after_ctrl_c() {
        let dir = tempfile::tempdir().unwrap();
        let synth = "synth --out one --clips 1 --frames 4 --width 96 --height 96 --phrases 0";
        let run = sparrow(dir.path(), &synth.split(' ').collect::<Vec<_>>());
        assert_eq!(run.code, 0, "{}", run.stderr);
        let one = dir.path().join("one").join(format!("{:010}", 0));
        for n in 0..1000 {
            let copy = dir.path().join(format!("set/clip{n:04}"));
            for part in ["frames", "masks"] {
                fs::create_dir_all(copy.join(part)).unwrap();
                for name in names(&one.join(part)) {
                    fs::hard_link(one.join(part).join(&name), copy.join(part).join(&name)).unwrap();
                }
            }
            fs::hard_link(one.join("clip.json"), copy.join("clip.json")).unwrap();
        }
        let args = "eval vos --data set --format synth --json out.json";
        let args = args.split(' ').map(str::to_owned);
        let (code, rest) = interrupted(dir.path(), args, "clip");
        assert_eq!(code, Some(130), "{rest}");
        assert!(
            rest.contains("error: stopped; the result is that of "),
            "{rest}"
        );
        let text = fs::read_to_string(dir.path().join("out.json")).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["partial"], true);
        let done = json["sequences_done"].as_u64().unwrap();
        assert!((1..1000).contains(&done), "{done}");
        assert_eq!(json["sequences_asked"], 1000);
    }

    /// It was killed without a checkpoint.
    #[test]
    fn training_saves_what_it_reached_after_ctrl_c() {
        let dir = tempfile::tempdir().unwrap();
        let args = "train towers --out run --steps 1000000";
        let args = args.split(' ').map(str::to_owned);
        let (code, rest) = interrupted(dir.path(), args, "training; ");
        assert_eq!(code, Some(130), "{rest}");
        assert!(rest.contains("--resume goes on from there"), "{rest}");
        let left = names(&dir.path().join("run"));
        assert!(
            left.contains(&"towers.checkpoint.safetensors".to_owned()),
            "{left:?}"
        );
    }
}
