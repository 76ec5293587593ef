//! Our datasets in the hands of the tools that others use: pycocotools and TrackEval, where Python has them. Set
//! `SPARROW_TEST_PYTHON` to an interpreter that can import them; without one the tests say loudly that they are skipped.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use sparrow::{
    formats::{Coco, Davis, ExportOptions, Format, Mevis, YoutubeVis, export, import},
    project::{
        Bitmap, BoxPx, BrushMode, Document, DriftSignal, FrameIndex, FrameMask, PointPx,
        Provenance, Rle, Size, Thresholds, VideoInfo,
    },
};

const SIZE: Size = Size {
    width: 53,
    height: 37,
};

/// Runs a Python program, or says that there is no Python with these modules.
#[expect(clippy::print_stderr, reason = "a skipped comparison must be seen")]
fn python(modules: &str, program: &str, arguments: &[&Path]) -> Option<String> {
    let interpreter = std::env::var("SPARROW_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let probe = Command::new(&interpreter)
        .args(["-c", &format!("import {modules}")])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !probe.is_ok_and(|s| s.success()) {
        eprintln!("SKIPPED: {interpreter} has no {modules}; the comparison with them was not made");
        return None;
    }
    let out = Command::new(&interpreter)
        .arg("-c")
        .arg(program)
        .args(arguments)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{errors}");
    Some(String::from_utf8(out.stdout).unwrap())
}

fn random_mask(rng: &mut SmallRng) -> Rle {
    let mut map = Bitmap::new(SIZE);
    let mut point = || PointPx {
        x: rng.random_range(0.0..53.0),
        y: rng.random_range(0.0..37.0),
    };
    let strokes: Vec<[PointPx; 2]> = (0..3).map(|_| [point(), point()]).collect();
    for (i, stroke) in strokes.iter().enumerate() {
        let mode = if i == 2 {
            BrushMode::Erase
        } else {
            BrushMode::Add
        };
        map.stroke(stroke, 2.0 + i as f32, mode);
    }
    Rle::from_bitmap(&map)
}

/// Four objects on five frames; the later ones are missing here and there.
fn document() -> Document {
    let mut rng = SmallRng::seed_from_u64(11);
    let video = VideoInfo {
        path: "clip.mp4".to_owned(),
        size: SIZE,
        frames: 5,
        fps: 25.0,
        hash: String::new(),
    };
    let mut doc = Document::new(video, "nano", Thresholds::default());
    for k in 0..4 {
        let mut object = doc.new_object(format!("thing {k}"));
        for frame in (0..5).filter(|f| k < 2 || (f + k) % 3 != 1) {
            let mask = FrameMask {
                rle: random_mask(&mut rng),
                score: rng.random(),
                iou: 0.5,
                provenance: Provenance::Human,
                anchor: true,
                drift: DriftSignal::default(),
            };
            object.frames.insert(FrameIndex(frame), mask);
        }
        doc.next_id = object.id.0 + 1;
        doc.objects.push(object);
    }
    doc
}

fn write(doc: &Document, format: &dyn Format, out: &Path) {
    let options = ExportOptions {
        split: "val".to_owned(),
        ..ExportOptions::default()
    };
    export(doc, format, out, &options, None, &mut |_, _| true).unwrap();
}

fn bits(rle: &Rle) -> String {
    let data = rle.to_bitmap().data;
    data.iter().map(|v| char::from(b'0' + v)).collect()
}

#[test]
fn pycocotools_reads_what_we_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let doc = document();
    write(&doc, &Coco, &out);
    let program = r#"
import sys, io, contextlib
from pycocotools.coco import COCO
from pycocotools import mask as M
with contextlib.redirect_stdout(io.StringIO()):
    coco = COCO(sys.argv[1])
for a in coco.loadAnns(coco.getAnnIds()):
    image = coco.loadImgs(a["image_id"])[0]
    m = coco.annToMask(a)
    assert M.encode(__import__("numpy").asfortranarray(m))["counts"].decode() == a["segmentation"]["counts"]
    assert float(M.area(a["segmentation"])) == a["area"] and list(M.toBbox(a["segmentation"])) == a["bbox"]
    print(a["track_id"], image["frame_index"], "".join(map(str, m.ravel())))
"#;
    let json = out.join("annotations/instances_val.json");
    let Some(text) = python("pycocotools", program, &[&json]) else {
        return;
    };
    let mut expected = Vec::new();
    for object in &doc.objects {
        for (frame, mask) in object.frames.iter().filter(|(_, m)| !m.rle.is_empty()) {
            expected.push(format!("{} {} {}", object.id.0, frame.0, bits(&mask.rle)));
        }
    }
    let mut got: Vec<&str> = text.lines().collect();
    got.sort_unstable();
    expected.sort_unstable();
    assert_eq!(got, expected);
}

#[test]
fn polygons_are_filled_as_pycocotools_fills_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("polygons.json");
    let mut rng = SmallRng::seed_from_u64(5);
    let mut annotations = Vec::new();
    for id in 1..=60 {
        let corners = rng.random_range(3..9);
        let whole = id % 2 == 0;
        let points: Vec<f64> = (0..2 * corners)
            .map(|_| {
                let v: f64 = rng.random_range(-6.0..60.0);
                if whole { v.round() } else { v }
            })
            .collect();
        annotations.push(serde_json::json!({
            "id": id, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": 1, "bbox": [0, 0, 1, 1],
            "segmentation": [points],
        }));
    }
    let file = serde_json::json!({
        "images": [{"id": 1, "file_name": "a.jpg", "width": SIZE.width, "height": SIZE.height}],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "thing"}],
    });
    fs::write(&path, file.to_string()).unwrap();
    let ours = import(&Coco, &path, None).unwrap().document;
    assert_eq!(ours.objects.len(), 60);
    let program = r#"
import sys, io, contextlib
from pycocotools.coco import COCO
with contextlib.redirect_stdout(io.StringIO()):
    coco = COCO(sys.argv[1])
for i in range(1, 61):
    print("".join(map(str, coco.annToMask(coco.loadAnns([i])[0]).ravel())))
"#;
    let Some(text) = python("pycocotools", program, &[&path]) else {
        return;
    };
    for (object, line) in ours.objects.iter().zip(text.lines()) {
        let mask = &object.frames[&FrameIndex(0)].rle;
        assert_eq!(bits(mask), line, "polygon {}", object.id.0);
    }
}

/// Scores result PNGs in `trackers` against the truth in a folder of sequences, as `TrackEval`'s DAVIS does.
const DAVIS_SCORE: &str = r#"
import sys, io, contextlib
import numpy
for name, kind in (("float", float), ("int", int), ("bool", bool)):
    if not hasattr(numpy, name):
        setattr(numpy, name, kind)
import trackeval
out = io.StringIO()
with contextlib.redirect_stdout(out):
    data = trackeval.datasets.DAVIS({"GT_FOLDER": sys.argv[1], "TRACKERS_FOLDER": sys.argv[2], "PRINT_CONFIG": False})
    config = trackeval.Evaluator.get_default_eval_config()
    config.update({"PRINT_CONFIG": False, "USE_PARALLEL": False, "PLOT_CURVES": False, "OUTPUT_SUMMARY": False,
                   "OUTPUT_DETAILED": False, "RETURN_ON_ERROR": True, "LOG_ON_ERROR": None})
    result, _ = trackeval.Evaluator(config).evaluate([data], [trackeval.metrics.JAndF()])
score = result["DAVIS"]["ours"]["COMBINED_SEQ"]["general"]["JAndF"]
print(round(float(score["J&F"]), 6), int(score.get("num_gt_tracks", 4)))
"#;
const DAVIS_MODULES: &str = "trackeval, pycocotools, PIL, scipy, skimage, cv2";

#[test]
fn trackeval_reads_what_we_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let mut doc = document();
    // Nothing hidden, nothing late: then a copy of the truth must score 1.
    for (k, object) in doc.objects.iter_mut().enumerate() {
        let x = 13.0 * k as f32;
        let b = BoxPx::from_array([x, 3.0, x + 9.0, 30.0]);
        for frame in 0..5 {
            let mask = Rle::from_bitmap(&Bitmap::from_box(SIZE, b));
            let there = object.frames.values().next().unwrap().clone();
            let mask = FrameMask { rle: mask, ..there };
            object.frames.insert(FrameIndex(frame), mask);
        }
    }
    write(&doc, &Davis, &out);
    let truth = out.join("Annotations/480p");
    let data = dir.path().join("trackers/ours/data/clip");
    fs::create_dir_all(&data).unwrap();
    for entry in fs::read_dir(truth.join("clip")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, data.join(path.file_name().unwrap())).unwrap();
    }
    let trackers = dir.path().join("trackers");
    let Some(text) = python(DAVIS_MODULES, DAVIS_SCORE, &[&truth, &trackers]) else {
        return;
    };
    assert_eq!(text.trim(), "1.0 4");
}

/// A result that goes on where the truth was not looked at is no worse for it.
#[test]
fn trackeval_leaves_frames_out_that_nobody_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let mut doc = document();
    for (k, object) in doc.objects.iter_mut().enumerate() {
        let x = 13.0 * k as f32;
        let b = BoxPx::from_array([x, 3.0, x + 9.0, 30.0]);
        let there = object.frames.values().next().unwrap().clone();
        object.frames = (0..5)
            .map(|frame| {
                let rle = Rle::from_bitmap(&Bitmap::from_box(SIZE, b));
                let mask = FrameMask {
                    rle,
                    ..there.clone()
                };
                (FrameIndex(frame), mask)
            })
            .collect();
    }
    let results = dir.path().join("results");
    write(&doc, &Davis, &results);
    for object in &mut doc.objects {
        object.frames.retain(|f, _| (1..4).contains(&f.0));
    }
    let out = dir.path().join("out");
    write(&doc, &Davis, &out);
    let data = dir.path().join("trackers/ours/data/clip");
    fs::create_dir_all(&data).unwrap();
    for entry in fs::read_dir(results.join("Annotations/480p/clip")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, data.join(path.file_name().unwrap())).unwrap();
    }
    let (truth, trackers) = (out.join("Annotations/480p"), dir.path().join("trackers"));
    let Some(text) = python(DAVIS_MODULES, DAVIS_SCORE, &[&truth, &trackers]) else {
        return;
    };
    assert_eq!(text.trim(), "1.0 4");
}

#[test]
fn trackeval_scores_a_copy_of_our_youtube_vis_with_one() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    write(&document(), &YoutubeVis, &out);
    let program = r#"
import sys, io, os, json, contextlib
import numpy
for name, kind in (("float", float), ("int", int), ("bool", bool)):
    if not hasattr(numpy, name):
        setattr(numpy, name, kind)
import trackeval
from pycocotools import mask as M
truth = json.load(open(sys.argv[1]))
base = sys.argv[2]
os.makedirs(base + "/gt/youtube_vis_val")
os.makedirs(base + "/tr/youtube_vis_val/ours/data")
json.dump(truth, open(base + "/gt/youtube_vis_val/val.json", "w"))
def encoded(s):
    if s is None:
        return None
    rle = M.frPyObjects(s, *s["size"])
    rle["counts"] = rle["counts"].decode()
    return rle
found = [{"video_id": a["video_id"], "category_id": a["category_id"], "score": 1.0,
          "segmentations": [encoded(s) for s in a["segmentations"]]} for a in truth["annotations"]]
json.dump(found, open(base + "/tr/youtube_vis_val/ours/data/results.json", "w"))
with contextlib.redirect_stdout(io.StringIO()):
    data = trackeval.datasets.YouTubeVIS({"GT_FOLDER": base + "/gt/", "TRACKERS_FOLDER": base + "/tr/",
                                          "SPLIT_TO_EVAL": "val", "PRINT_CONFIG": False})
    config = trackeval.Evaluator.get_default_eval_config()
    config.update({"PRINT_CONFIG": False, "USE_PARALLEL": False, "PLOT_CURVES": False, "OUTPUT_SUMMARY": False,
                   "OUTPUT_DETAILED": False, "OUTPUT_EMPTY_CLASSES": False, "RETURN_ON_ERROR": False,
                   "LOG_ON_ERROR": None})
    metric = trackeval.metrics.TrackMAP({"PRINT_CONFIG": False, "USE_TIME_RANGES": False,
                                         "AREA_RANGES": [[0, 128**2], [128**2, 256**2], [256**2, 1e10]]})
    result, _ = trackeval.Evaluator(config).evaluate([data], [metric])
classes = result["YouTubeVIS"]["ours"]["COMBINED_SEQ"]
for name in sorted(c["name"] for c in truth["categories"]):
    print(name, round(float(numpy.mean(classes[name]["TrackMAP"]["AP_all"])), 6))
"#;
    let json = out.join("val/instances.json");
    let modules = "trackeval, pycocotools, scipy";
    let Some(text) = python(modules, program, &[&json, dir.path()]) else {
        return;
    };
    let expected: Vec<String> = (0..4).map(|k| format!("thing {k} 1.0")).collect();
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn mevis_masks_are_what_pycocotools_decodes() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let doc = document();
    write(&doc, &Mevis, &out);
    let program = r#"
import sys, json
from pycocotools import mask as M
meta = json.load(open(sys.argv[1] + "/meta_expressions.json"))["videos"]
masks = json.load(open(sys.argv[1] + "/mask_dict.json"))
for video in meta.values():
    for expression in video["expressions"].values():
        for anno in expression["anno_id"]:
            track = masks[str(anno)]
            assert len(track) == len(video["frames"]) and any(track)
            for frame, rle in enumerate(track):
                if rle is not None:
                    print(expression["exp"], frame, "".join(map(str, M.decode(rle).ravel())))
"#;
    let split = out.join("val");
    let Some(text) = python("pycocotools", program, &[&split]) else {
        return;
    };
    let mut expected = Vec::new();
    for object in &doc.objects {
        for (frame, mask) in object.frames.iter().filter(|(_, m)| !m.rle.is_empty()) {
            expected.push(format!("{} {} {}", object.phrase, frame.0, bits(&mask.rle)));
        }
    }
    let mut got: Vec<&str> = text.lines().collect();
    got.sort_unstable();
    expected.sort_unstable();
    assert_eq!(got, expected);
}
