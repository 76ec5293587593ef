//! Every format on one small document that holds everything that goes wrong: overlaps, holes, parts, absences, ids with
//! gaps, late objects.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use super::{
    Coco, Davis, Existing, ExportOptions, ExportReport, Format, FormatError, Loss, Mevis, Rgb,
    YoutubeVis, by_name, export, import, labels, synth,
};
use crate::project::{
    Bitmap, BoxPx, Document, DriftSignal, FrameIndex, FrameMask, Object, ObjectId, Provenance, Rle,
    Size, Thresholds, VideoInfo,
};

pub(super) const S: Size = Size {
    width: 7,
    height: 5,
};

pub(super) fn art(rows: [&str; 5]) -> Rle {
    let data = rows
        .iter()
        .flat_map(|r| r.bytes().map(|b| u8::from(b == b'#')))
        .collect();
    Rle::from_bitmap(&Bitmap { size: S, data })
}

pub(super) fn mask(rle: Rle, provenance: Provenance) -> FrameMask {
    FrameMask {
        rle,
        score: 0.75,
        iou: 0.5,
        provenance,
        anchor: provenance == Provenance::Human,
        drift: DriftSignal::default(),
    }
}

pub(super) fn object(id: u32, name: &str, frames: Vec<(u32, FrameMask)>) -> Object {
    Object {
        id: ObjectId(id),
        name: name.to_owned(),
        phrase: format!("the {name}"),
        colour: id - 1,
        visible: true,
        locked: false,
        frames: frames
            .into_iter()
            .map(|(f, m)| (FrameIndex(f), m))
            .collect(),
    }
}

pub(super) fn document() -> Document {
    let ring = art([".......", ".###...", ".#.#...", ".###...", "......."]);
    let parts = art(["#.....#", ".......", "..##...", ".......", "#.....#"]);
    let video = VideoInfo {
        path: "/somewhere/my clip.mp4".to_owned(),
        size: S,
        frames: 3,
        fps: 25.0,
        hash: "00ff".to_owned(),
    };
    let mut doc = Document::new(video, "nano", Thresholds::default());
    doc.objects = vec![
        object(
            2,
            "ring",
            vec![
                (0, mask(ring.clone(), Provenance::Human)),
                (1, mask(ring, Provenance::Propagated)),
                (2, mask(Rle::empty(S), Provenance::Propagated)),
            ],
        ),
        object(7, "parts", vec![(1, mask(parts, Provenance::Model))]),
    ];
    doc.next_id = 8;
    doc
}

pub(super) fn run(
    doc: &Document,
    format: &dyn Format,
    out: &Path,
    options: &ExportOptions,
) -> Result<ExportReport, FormatError> {
    export(doc, format, out, options, None, &mut |_, _| true)
}

/// Exports with a grey image for every frame that is asked for.
pub(super) fn with_images(doc: &Document, format: &dyn Format, out: &Path) {
    let mut read = |frame: FrameIndex| {
        Ok(Rgb {
            size: S,
            data: vec![frame.0 as u8 * 40; 7 * 5 * 3],
        })
    };
    let options = ExportOptions::default();
    export(doc, format, out, &options, Some(&mut read), &mut |_, _| {
        true
    })
    .unwrap();
}

fn files(dir: &Path) -> Vec<String> {
    fn walk(dir: &Path, root: &Path, out: &mut Vec<String>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, root, out);
            } else {
                let inside = path.strip_prefix(root).unwrap();
                out.push(inside.display().to_string());
            }
        }
    }
    let mut out = Vec::new();
    walk(dir, dir, &mut out);
    out.retain(|name| name != super::manifest::MANIFEST);
    out.sort();
    out
}

pub(super) fn place() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    (dir, out)
}

/// What pycocotools 2.0 reads and writes the same way.
const GOLDEN: &str = concat!(
    r#"{"info":{"description":"Exported by Sparrow","version":"1.0"},"licenses":[],"#,
    r#""videos":[{"id":1,"name":"my_clip","width":7,"height":5,"length":3,"fps":25.0,"path":"/somewhere/my clip.mp4","hash":"00ff"}],"#,
    r#""images":[{"id":1,"file_name":"my_clip/00000.jpg","width":7,"height":5,"video_id":1,"frame_index":0},"#,
    r#"{"id":2,"file_name":"my_clip/00001.jpg","width":7,"height":5,"video_id":1,"frame_index":1},"#,
    r#"{"id":3,"file_name":"my_clip/00002.jpg","width":7,"height":5,"video_id":1,"frame_index":2}],"#,
    r#""tracks":[{"id":2,"video_id":1,"category_id":1,"name":"ring","phrase":"the ring"},"#,
    r#"{"id":7,"video_id":1,"category_id":2,"name":"parts","phrase":"the parts"}],"#,
    r#""annotations":[{"id":1,"image_id":1,"category_id":1,"segmentation":{"size":[5,7],"counts":"632NO012>"},"area":8.0,"bbox":[1.0,1.0,3.0,3.0],"iscrowd":0,"track_id":2,"score":0.75,"attributes":{"anchor":true,"iou":0.5,"provenance":"human"}},"#,
    r#"{"id":2,"image_id":2,"category_id":1,"segmentation":{"size":[5,7],"counts":"632NO012>"},"area":8.0,"bbox":[1.0,1.0,3.0,3.0],"iscrowd":0,"track_id":2,"score":0.75,"attributes":{"anchor":false,"iou":0.5,"provenance":"propagated"}},"#,
    r#"{"id":3,"image_id":2,"category_id":2,"segmentation":{"size":[5,7],"counts":"013040M080G0"},"area":6.0,"bbox":[0.0,0.0,7.0,5.0],"iscrowd":0,"track_id":7,"score":0.75,"attributes":{"anchor":false,"iou":0.5,"provenance":"model"}}],"#,
    r#""categories":[{"id":1,"name":"ring","supercategory":""},{"id":2,"name":"parts","supercategory":""}]}"#,
    "\n"
);

#[test]
fn coco_is_written_byte_for_byte_and_comes_back_whole() {
    let (_dir, out) = place();
    let doc = document();
    let report = run(&doc, &Coco, &out, &ExportOptions::default()).unwrap();
    assert_eq!(files(&out), ["annotations/instances_train.json"]);
    let text = fs::read_to_string(out.join("annotations/instances_train.json")).unwrap();
    assert_eq!(text, GOLDEN);
    assert_eq!(report.masks, 3);
    assert_eq!(
        report.losses,
        [Loss::Absences { masks: 1 }, Loss::NotLookedAt { times: 2 }]
    );

    let back = import(&Coco, &out, None).unwrap();
    let mut expected = doc.clone();
    // The absent frame is the one loss that was reported.
    expected.objects[0].frames.remove(&FrameIndex(2));
    // Colours follow the order; the format has no place for them.
    expected.objects[1].colour = 1;
    expected.objects[0].colour = 0;
    expected.model = String::new();
    assert_eq!(back.document, expected);
    assert_eq!(back.warnings, Vec::<String>::new());
}

#[test]
fn mevis_groups_objects_by_phrase_and_comes_back() {
    let (_dir, out) = place();
    let mut doc = document();
    let twin = object(
        8,
        "twin",
        vec![(0, mask(art(["#......"; 5]), Provenance::Human))],
    );
    doc.objects.push(Object {
        phrase: "the parts".to_owned(),
        ..twin.clone()
    });
    doc.objects.push(Object {
        id: ObjectId(9),
        phrase: String::new(),
        ..twin
    });
    let report = run(&doc, &Mevis, &out, &ExportOptions::default()).unwrap();
    assert_eq!(
        files(&out),
        ["train/mask_dict.json", "train/meta_expressions.json"]
    );
    assert_eq!(report.masks, 5);
    assert_eq!(
        report.losses,
        [
            Loss::Absences { masks: 1 },
            Loss::NotLookedAt { times: 6 },
            Loss::WithoutPhrase(vec![ObjectId(9)]),
            Loss::Scores { masks: 5 }
        ]
    );
    let json = |name: &str| -> serde_json::Value {
        let text = fs::read_to_string(out.join("train").join(name)).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    let video = &json("meta_expressions.json")["videos"]["my_clip"];
    assert_eq!(
        video["frames"],
        serde_json::json!(["00000", "00001", "00002"])
    );
    assert_eq!(
        video["expressions"],
        serde_json::json!({
            "0": {"exp": "the ring", "obj_id": [2], "anno_id": [2]},
            "1": {"exp": "the parts", "obj_id": [7, 8], "anno_id": [7, 8]},
        })
    );
    let masks = json("mask_dict.json");
    let ring = serde_json::json!({"size": [5, 7], "counts": "632NO012>"});
    assert_eq!(masks["2"], serde_json::json!([ring, ring, null]));
    let back = import(&Mevis, &out, None).unwrap().document;
    let ids: Vec<u32> = back.objects.iter().map(|o| o.id.0).collect();
    assert_eq!(ids, [2, 7, 8, 9]);
    assert_eq!(back.objects[2].phrase, "the parts");
    assert_eq!((back.video.size, back.video.frames), (S, 3));
}

#[test]
fn youtube_vis_has_a_place_for_every_frame_and_comes_back() {
    let (_dir, out) = place();
    let doc = document();
    let report = run(&doc, &YoutubeVis, &out, &ExportOptions::default()).unwrap();
    assert_eq!(files(&out), ["train/instances.json"]);
    assert_eq!(report.masks, 3);
    assert_eq!(
        report.losses,
        [
            Loss::Absences { masks: 1 },
            Loss::NotLookedAt { times: 2 },
            Loss::Scores { masks: 3 }
        ]
    );
    let text = fs::read_to_string(out.join("train/instances.json")).unwrap();
    let file: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(file["videos"][0]["file_names"][2], "my_clip/00002.jpg");
    let parts = &file["annotations"][1];
    assert_eq!(parts["areas"], serde_json::json!([null, 6.0, null]));
    assert_eq!(parts["bboxes"][1], serde_json::json!([0.0, 0.0, 7.0, 5.0]));
    let back = import(&YoutubeVis, &out, None).unwrap().document;
    assert_eq!(back.objects[0].name, "ring");
    assert_eq!(back.objects[1].phrase, "the parts");
    assert_eq!(back.video.size, S);
}

#[test]
fn damaged_video_datasets_are_refused_by_name() {
    let (dir, out) = place();
    let doc = document();
    for (format, file) in [
        (&Mevis as &dyn Format, "train/mask_dict.json"),
        (&YoutubeVis, "train/instances.json"),
    ] {
        let out = out.join(format.name());
        run(&doc, format, &out, &ExportOptions::default()).unwrap();
        let path = out.join(file);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("[5,7]", "[7,5]")).unwrap();
        let error = import(format, &out, None).err().unwrap().to_string();
        assert!(error.contains("another size"), "{error}");
        fs::write(&path, text.replacen("null,", "", 1)).unwrap();
        let error = import(format, &out, None).err().unwrap().to_string();
        assert!(error.contains("masks for 3 frames"), "{error}");
        fs::write(&path, &text[..text.len() / 2]).unwrap();
        assert!(import(format, &out, None).is_err());
        let nothing = import(format, dir.path(), None).err().unwrap().to_string();
        assert!(nothing.contains(format.name()), "{nothing}");
    }
}

#[test]
fn davis_has_a_png_for_every_frame_and_reports_what_it_lost() {
    let (_dir, out) = place();
    let doc = document();
    let options = ExportOptions {
        sequence: Some("my/clip".to_owned()),
        split: "val".to_owned(),
        ..ExportOptions::default()
    };
    let report = run(&doc, &Davis, &out, &options).unwrap();
    assert_eq!(
        files(&out),
        [
            "Annotations/480p/my_clip/00000.png",
            "Annotations/480p/my_clip/00001.png",
            "Annotations/480p/my_clip/00002.png",
            "ImageSets/2017/val.txt",
        ]
    );
    let list = fs::read_to_string(out.join("ImageSets/2017/val.txt")).unwrap();
    assert_eq!(list, "my_clip\n");
    let labels = |f: u32| {
        labels::read(&out.join(format!("Annotations/480p/my_clip/{f:05}.png")))
            .unwrap()
            .data
    };
    let frame1 = ["2.....2", ".111...", ".122...", ".111...", "2.....2"];
    let frame1: Vec<u8> = frame1
        .iter()
        .flat_map(|r| r.bytes().map(|b| if b == b'.' { 0 } else { b - b'0' }))
        .collect();
    assert_eq!(labels(1), frame1);
    assert!(labels(2).iter().all(|&v| v == 0));
    let losses = [
        Loss::NotLookedAt { times: 2 },
        Loss::Overlap {
            pixels: 1,
            frames: 1,
        },
        Loss::AbsentFromFirstFrame(vec![ObjectId(7)]),
        Loss::Phrases { objects: 2 },
        Loss::Scores { masks: 3 },
    ];
    assert_eq!(report.losses, losses);
    for loss in &losses {
        assert!(loss.to_string().len() > 20);
    }

    let back = import(&Davis, &out, None).unwrap().document;
    assert_eq!(back.objects.len(), 2);
    assert_eq!(back.objects[0].frames.len(), 3);
    assert!(back.objects[0].frames[&FrameIndex(2)].rle.is_empty());
    assert_eq!(back.video.frames, 3);
}

/// A is carried over part of the clip, B is looked at on one frame of it, and the first and last frames by nobody.
#[test]
fn davis_claims_no_background_where_nobody_looked() {
    let mut doc = document();
    doc.video.frames = 6;
    let corner = art(["##.....", ".......", ".......", ".......", "......."]);
    let bar = art([".......", ".......", ".......", ".......", "#######"]);
    let carried = |rle: &Rle| mask(rle.clone(), Provenance::Propagated);
    doc.objects = vec![
        object(
            1,
            "a",
            (1..5)
                .map(|f| match f {
                    4 => (f, carried(&Rle::empty(S))),
                    _ => (f, carried(&corner)),
                })
                .collect(),
        ),
        object(2, "b", vec![(2, carried(&bar))]),
    ];
    let (_dir, out) = place();
    let report = run(&doc, &Davis, &out, &ExportOptions::default()).unwrap();
    assert_eq!(
        report.losses,
        [
            // B on the frames 1, 3 and 4.
            Loss::NotLookedAt { times: 3 },
            Loss::AbsentFromFirstFrame(vec![ObjectId(1), ObjectId(2)]),
            Loss::Phrases { objects: 2 },
            Loss::Scores { masks: 4 },
        ]
    );
    let labels = |f: u32| {
        labels::read(&out.join(format!("Annotations/480p/my_clip/{f:05}.png")))
            .unwrap()
            .data
    };
    for frame in [0, 5] {
        assert!(labels(frame).iter().all(|&v| v == labels::VOID));
    }
    assert!(labels(4).iter().all(|&v| v == 0), "A is known to be absent");
    let back = import(&Davis, &out, None).unwrap();
    let a = &back.document.objects[0].frames;
    let looked_at: Vec<u32> = a.keys().map(|f| f.0).collect();
    assert_eq!(looked_at, [1, 2, 3, 4], "nothing is vouched for elsewhere");
    assert!(a[&FrameIndex(4)].rle.is_empty());
    // Elsewhere, an empty place is all there is.
    for (format, times) in [
        (&YoutubeVis as &dyn Format, 2 + 5),
        (&Mevis, 2 + 5),
        (&Coco, 3),
    ] {
        let losses = format.plan(&doc, &ExportOptions::default()).unwrap().1;
        assert!(losses.contains(&Loss::NotLookedAt { times }), "{losses:?}");
    }
}

#[test]
fn davis_says_which_absences_its_background_cannot_tell() {
    let mut doc = document();
    let absent = || mask(Rle::empty(S), Provenance::Human);
    // An object that is nowhere has no number in any picture.
    doc.objects.push(object(9, "ghost", vec![(0, absent())]));
    let losses = |doc: &Document, verified_only| {
        let options = ExportOptions {
            verified_only,
            ..ExportOptions::default()
        };
        let mut losses = Davis.plan(doc, &options).unwrap().1;
        losses.retain(|l| matches!(l, Loss::Absences { .. }));
        losses
    };
    assert_eq!(losses(&doc, false), [Loss::Absences { masks: 1 }]);
    // Beside an unverified mask, whose pixels are void, the ring may be under it.
    doc.objects.pop();
    doc.objects[0].frames.insert(FrameIndex(1), absent());
    assert_eq!(losses(&doc, false), []);
    assert_eq!(losses(&doc, true), [Loss::Absences { masks: 1 }]);
}

#[test]
fn an_export_can_be_stopped_while_it_is_read_back() {
    let doc = document();
    let frames = u64::from(doc.video.frames);
    for format in super::FORMATS {
        // The first word that everything is written, and the last one before the folder gets its name.
        for last in [false, true] {
            let (dir, out) = place();
            let mut heard = Vec::new();
            let mut whole = |done, total| {
                heard.push((done, total));
                true
            };
            let options = ExportOptions::default();
            export(&doc, *format, &out, &options, None, &mut whole).unwrap();
            let stop_at = if last {
                heard.len()
            } else {
                1 + heard.iter().position(|h| *h == (frames, frames)).unwrap()
            };
            fs::remove_dir_all(&out).unwrap();
            let mut calls = 0;
            let mut stop = |_, _| {
                calls += 1;
                calls < stop_at
            };
            let stopped = export(&doc, *format, &out, &options, None, &mut stop);
            assert!(matches!(stopped, Err(FormatError::Cancelled)));
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        }
    }
}

#[test]
fn verified_only_keeps_anchors_and_claims_nothing_about_the_rest() {
    let doc = document();
    let options = ExportOptions {
        verified_only: true,
        ..ExportOptions::default()
    };
    let (_dir, out) = place();
    let report = run(&doc, &Coco, &out, &options).unwrap();
    assert_eq!(report.masks, 1);
    assert_eq!(
        report.losses,
        [
            Loss::Unverified { masks: 3 },
            Loss::NotLookedAt { times: 1 }
        ]
    );
    let back = import(&Coco, &out, None).unwrap().document;
    assert_eq!(back.objects[0].frames.len(), 1);

    let (_dir, out) = place();
    run(&doc, &Davis, &out, &options).unwrap();
    let at =
        |f: u32| labels::read(&out.join(format!("Annotations/480p/my_clip/{f:05}.png"))).unwrap();
    assert!(at(0).data.iter().all(|&v| v < 2));
    assert!(at(1).data.iter().all(|&v| v == labels::VOID));
    let back = import(&Davis, &out, None).unwrap();
    assert_eq!(back.document.objects[0].frames.len(), 1);
}

#[test]
fn images_travel_along_and_a_failing_frame_leaves_nothing() {
    let doc = document();
    let grey = |frame: FrameIndex| Rgb {
        size: S,
        data: vec![frame.0 as u8 * 40; 7 * 5 * 3],
    };
    for (format, first) in [
        (&Coco as &dyn Format, "images/my_clip/00000.jpg"),
        (&Davis, "JPEGImages/480p/my_clip/00000.jpg"),
    ] {
        let (dir, out) = place();
        let options = ExportOptions::default();
        let mut read = |frame: FrameIndex| Ok(grey(frame));
        export(
            &doc,
            format,
            &out,
            &options,
            Some(&mut read),
            &mut |_, _| true,
        )
        .unwrap();
        let picture = image::open(out.join(first)).unwrap();
        assert_eq!((picture.width(), picture.height()), (7, 5));
        let back = import(format, &out, None).unwrap();
        assert!(
            Path::new(&back.document.video.path)
                .join("00002.jpg")
                .exists()
        );

        let other = dir.path().join("other");
        let mut read = |frame: FrameIndex| {
            if frame.0 == 2 {
                Err("it is damaged".to_owned())
            } else {
                Ok(grey(frame))
            }
        };
        let failed = export(
            &doc,
            format,
            &other,
            &options,
            Some(&mut read),
            &mut |_, _| true,
        );
        assert!(matches!(failed, Err(FormatError::Frame { .. })));
        let mut calls = 0;
        let mut stop = |_, _| {
            calls += 1;
            calls < 2
        };
        let stopped = export(&doc, format, &other, &options, None, &mut stop);
        assert!(matches!(stopped, Err(FormatError::Cancelled)));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}

#[test]
fn an_export_never_replaces_what_is_not_an_export() {
    let doc = document();
    let (dir, out) = place();
    let refuse = ExportOptions::default();
    let replace = ExportOptions {
        existing: Existing::Replace,
        ..ExportOptions::default()
    };
    fs::create_dir(&out).unwrap();
    // An empty folder is no output yet.
    run(&doc, &Coco, &out, &refuse).unwrap();
    assert!(matches!(
        run(&doc, &Coco, &out, &refuse),
        Err(FormatError::Exists(_))
    ));
    let mut less = doc.clone();
    less.objects.pop();
    run(&less, &Coco, &out, &replace).unwrap();
    assert_eq!(import(&Coco, &out, None).unwrap().document.objects.len(), 1);
    // A COCO export is nothing that a DAVIS export may replace, and neither is a file.
    assert!(matches!(
        run(&doc, &Davis, &out, &replace),
        Err(FormatError::OtherFormat { format: "coco", .. })
    ));
    fs::write(out.join("thesis.txt"), "precious").unwrap();
    // Leave to replace would be of no use, so nobody is told to give it.
    for options in [&refuse, &replace] {
        assert!(matches!(
            run(&doc, &Coco, &out, options),
            Err(FormatError::NotAnExport { found, .. }) if found == "thesis.txt"
        ));
    }
    let file = dir.path().join("file");
    fs::write(&file, "x").unwrap();
    assert!(matches!(
        run(&doc, &Coco, &file, &replace),
        Err(FormatError::NotAFolder(_))
    ));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
}

/// A format whose writer forgets an object: the read-back must notice.
struct Forgetful;

impl Format for Forgetful {
    fn name(&self) -> &'static str {
        "forgetful"
    }
    fn title(&self) -> &'static str {
        ""
    }
    fn plan(
        &self,
        doc: &Document,
        options: &ExportOptions,
    ) -> Result<(super::Kept, Vec<Loss>), FormatError> {
        Coco.plan(doc, options)
    }
    fn write(&self, job: &mut super::ExportJob<'_>) -> Result<(), FormatError> {
        let mut doc = job.doc.clone();
        match doc.model.as_str() {
            "nano" => {
                doc.objects.pop();
            }
            _ => {
                let frames = &mut doc.objects[0].frames;
                frames.get_mut(&FrameIndex(0)).unwrap().rle.counts = vec![35 - 1, 1];
            }
        }
        let mut job = super::ExportJob {
            doc: &doc,
            options: job.options,
            dir: job.dir.clone(),
            images: None,
            watch: &mut |_, _| true,
        };
        Coco.write(&mut job)
    }
    fn sequences(&self, path: &Path) -> Result<Vec<String>, FormatError> {
        Coco.sequences(path)
    }
    fn read(
        &self,
        path: &Path,
        sequence: &str,
        watch: &mut super::Watcher<'_>,
    ) -> Result<super::Imported, FormatError> {
        Coco.read(path, sequence, watch)
    }
}

#[test]
fn what_does_not_read_back_is_thrown_away() {
    let (dir, out) = place();
    let mut doc = document();
    for model in ["nano", "other"] {
        doc.model = model.to_owned();
        let failed = run(&doc, &Forgetful, &out, &ExportOptions::default());
        assert!(
            matches!(failed, Err(FormatError::ReadBack(_))),
            "{failed:?}"
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

#[test]
fn more_objects_than_labels_are_said() {
    let mut doc = document();
    let one = doc.objects[0].clone();
    doc.objects = (1..=256)
        .map(|id| Object {
            id: ObjectId(id),
            frames: if id == 254 {
                one.frames.clone()
            } else {
                BTreeMap::new()
            },
            ..one.clone()
        })
        .collect();
    let (_dir, out) = place();
    let report = run(&doc, &Davis, &out, &ExportOptions::default()).unwrap();
    assert_eq!(report.masks, 2);
    assert!(report.losses.contains(&Loss::TooManyObjects {
        left_out: 2,
        limit: 254
    }));
}

#[test]
fn foreign_coco_files_are_understood() {
    let (dir, _) = place();
    let path = dir.path().join("mine.json");
    let json = r#"{"images":[{"id":10,"file_name":"a.jpg","width":7,"height":5},{"id":11,"file_name":"b.jpg","width":7,"height":5}],
        "annotations":[
        {"id":1,"image_id":10,"category_id":3,"segmentation":{"size":[5,7],"counts":[5,5,25]},"iscrowd":0},
        {"id":2,"image_id":11,"category_id":3,"segmentation":[[1,1,4,1,4,3,1,3],[5,0,7,0,7,1,5,1]],"area":8,"bbox":[1,1,3,2],"iscrowd":0},
        {"id":3,"image_id":11,"category_id":3,"segmentation":{"size":[5,7],"counts":"S1"},"iscrowd":1}],
        "categories":[{"id":3,"name":"dog"}]}"#;
    fs::write(&path, json).unwrap();
    let got = import(&Coco, &path, None).unwrap();
    let doc = got.document;
    assert_eq!(got.warnings.len(), 3, "{:?}", got.warnings);
    assert_eq!((doc.video.frames, doc.objects.len()), (2, 2));
    assert_eq!(doc.objects[0].name, "dog");
    let second = &doc.objects[1].frames[&FrameIndex(1)];
    let shape = art([".....##", ".###...", ".###...", ".......", "......."]);
    assert_eq!(second.rle, shape);
    assert!(second.anchor);

    for (old, new) in [
        (r#"[5,5,25]"#, r#"[5,5,26]"#),
        (r#""size":[5,7],"counts":[5"#, r#""size":[7,5],"counts":[5"#),
        (r#""width":7,"height":5},{"#, r#""width":8,"height":5},{"#),
        (r#""width":7"#, r#""width":999999999"#),
        (r#""images":["#, r#""pictures":["#),
        (r#""id":11,"#, r#""id":11,"frame_index":0,"#),
    ] {
        assert!(json.contains(old), "{old}");
        fs::write(&path, json.replacen(old, new, 1)).unwrap();
        let bad = import(&Coco, &path, None);
        assert!(
            matches!(bad, Err(FormatError::Damaged { .. })),
            "{new}: {bad:?}"
        );
    }
}

#[test]
fn sequences_must_be_named_when_there_are_several() {
    let (_dir, out) = place();
    let doc = document();
    run(&doc, &Davis, &out, &ExportOptions::default()).unwrap();
    let annotations = out.join("Annotations/480p");
    fs::create_dir(annotations.join("other")).unwrap();
    fs::copy(
        annotations.join("my_clip/00000.png"),
        annotations.join("other/00000.png"),
    )
    .unwrap();
    let which = import(&Davis, &out, None).unwrap_err();
    assert!(which.to_string().contains("my_clip, other"));
    let other = import(&Davis, &out, Some("other")).unwrap().document;
    assert_eq!(other.video.frames, 1);
    assert!(import(&Davis, &out, Some("none")).is_err());
    assert!(import(&Davis, &annotations.join("other"), None).is_err());
    assert!(by_name("coco").is_ok());
    let unknown = by_name("yolo").err().unwrap().to_string();
    assert!(unknown.contains("coco, davis"), "{unknown}");
}

#[test]
fn a_synthetic_clip_is_read_from_its_folder() {
    let dir = tempfile::tempdir().unwrap();
    assert!(synth::clips(dir.path()).is_err());
    let clip = dir.path().join("000");
    fs::create_dir_all(clip.join("masks")).unwrap();
    let json = r#"{"schema":1,"seed":5,"width":7,"height":5,"frames":1,"fps":8.0,"objects":[{"id":1,"colour":"red"}],
        "phrases":[{"words":["the","red","star"],"kind":"attribute","referents":[1],"slots":{}}]}"#;
    fs::write(clip.join("clip.json"), json).unwrap();
    assert!(synth::clips(dir.path()).is_err());
    let png = labels::encode(S, &[1; 35]).unwrap();
    fs::write(clip.join("masks/00000.png"), png).unwrap();
    let clips = synth::clips(dir.path()).unwrap();
    assert_eq!(clips[0].phrases[0].text(), "the red star");
    assert_eq!(clips[0].masks.len(), 1);
    assert_eq!((clips[0].objects[0].id, clips[0].fps), (1, 8.0));
    fs::write(
        clip.join("clip.json"),
        json.replace("\"schema\":1", "\"schema\":9"),
    )
    .unwrap();
    assert!(synth::clips(dir.path()).is_err());
}

#[test]
fn the_bounding_box_of_a_part_survives() {
    let b = BoxPx::from_array([1.0, 1.0, 4.0, 4.0]);
    assert_eq!(
        document().objects[0].frames[&FrameIndex(0)]
            .rle
            .bounding_box(),
        Some(b)
    );
}
