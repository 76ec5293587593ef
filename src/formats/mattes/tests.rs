//! Mattes there and back, those of others, and what must not be taken for them.

use std::{fs, path::Path};

use super::{picture::Picture, *};
use crate::formats::{
    FORMATS, detect, import,
    labels::{self, VOID},
    tests::{S, art, document, mask, object, place, run, with_images},
};

/// The document of all formats, with names that no file can have, two that are the same, and an object that is nowhere.
fn odd_document() -> Document {
    let mut doc = document();
    doc.objects[0].name = "a/b: \\ c?".to_owned();
    doc.objects[1].name = "🦊".to_owned();
    let absent = || mask(Rle::empty(S), Provenance::Human);
    let corner = art(["##.....", ".......", ".......", ".......", "......."]);
    let carried = mask(corner, Provenance::Propagated);
    doc.objects.extend([
        object(8, "twin", vec![(0, absent()), (2, carried)]),
        object(9, "twin", vec![]),
        object(10, "..", vec![(1, absent())]),
        object(11, &"x".repeat(300), vec![]),
    ]);
    doc.next_id = 12;
    for (place, object) in doc.objects.iter_mut().enumerate() {
        // Colours follow the order; the format has no place for them.
        object.colour = u32::try_from(place).unwrap();
    }
    doc
}

fn grey(path: &Path, size: (u32, u32), data: Vec<u8>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let image = image::GrayImage::from_raw(size.0, size.1, data).unwrap();
    image.save(path).unwrap();
}

/// A grey picture of the tests' size: `rle` in white.
fn drawn(path: &Path, rle: &Rle) {
    let data = rle.to_bitmap().data.iter().map(|v| v * 255).collect();
    grey(path, (S.width, S.height), data);
}

/// Folder and frame of every mask, and whether somebody vouches for it.
fn facts(doc: &Document) -> Vec<(String, u32, Rle, bool)> {
    let masks = doc.objects.iter().flat_map(|o| {
        let frames = o.frames.iter();
        frames.map(|(f, m)| (o.name.clone(), f.0, m.rle.clone(), m.anchor))
    });
    masks.collect()
}

#[test]
fn mattes_come_back_whole_with_overlaps_absences_and_names_that_no_file_can_have() {
    let (_dir, out) = place();
    let mut doc = odd_document();
    let report = run(&doc, &Mattes, &out, &ExportOptions::default()).unwrap();
    assert_eq!((report.masks, report.sequence.as_str()), (4, "my_clip"));
    // Of 6 objects on 3 frames, 7 masks are known.
    assert_eq!(report.losses, [Loss::NotLookedAt { times: 11 }]);
    let clip = out.join("my_clip");
    let folders: Vec<String> = folders_in(&clip).iter().map(|d| file_name(d)).collect();
    let long = format!("006_{}", "x".repeat(NAME_LETTERS));
    let expected = [
        "001_a_b____c",
        "002_object",
        "003_twin",
        "004_twin",
        "005_object",
        long.as_str(),
    ];
    assert_eq!(folders, expected);
    for folder in folders_in(&clip) {
        let frames = files_with(&folder, &["png"]).unwrap();
        let stems: Vec<String> = frames.iter().map(|f| file_stem(f)).collect();
        assert_eq!(stems, ["00000", "00001", "00002"]);
    }
    let picture = image::open(clip.join("001_a_b____c/00001.png")).unwrap();
    assert_eq!(picture.color(), image::ColorType::L8);
    let levels = picture.into_luma8().into_raw();
    let ring = doc.objects[0].frames[&FrameIndex(1)].rle.to_bitmap().data;
    let white: Vec<u8> = ring.iter().map(|v| v * 255).collect();
    assert_eq!(levels, white, "also where the other object lies on it");
    let black = image::open(clip.join("004_twin/00000.png")).unwrap();
    assert!(black.into_luma8().into_raw().iter().all(|&v| v == 0));

    let back = import(&Mattes, &out, None).unwrap();
    doc.model = String::new();
    assert_eq!(back.document, doc);
    assert_eq!(back.warnings, Vec::<String>::new());
    // The clip's folder and its list are the dataset as well.
    for path in [clip.clone(), clip.join(ABOUT)] {
        assert_eq!(import(&Mattes, &path, None).unwrap().document, doc);
    }
}

#[test]
fn of_verified_mattes_the_others_are_black_and_not_absent() {
    let (_dir, out) = place();
    let doc = document();
    let options = ExportOptions {
        verified_only: true,
        ..ExportOptions::default()
    };
    let report = run(&doc, &Mattes, &out, &options).unwrap();
    assert_eq!(report.masks, 1);
    assert_eq!(
        report.losses,
        [
            Loss::Unverified { masks: 3 },
            Loss::NotLookedAt { times: 5 }
        ]
    );
    let back = import(&Mattes, &out, None).unwrap().document;
    let known: Vec<usize> = back.objects.iter().map(|o| o.frames.len()).collect();
    assert_eq!(known, [1, 0]);
    assert!(back.objects[0].frames[&FrameIndex(0)].anchor);
}

#[test]
fn images_beside_mattes_are_the_video_if_they_are_every_frame() {
    let (_dir, out) = place();
    let doc = document();
    with_images(&doc, &Mattes, &out);
    let video = import(&Mattes, &out, None).unwrap().document.video;
    assert!(Path::new(&video.path).ends_with("JPEGImages/my_clip"));
    assert_eq!((video.frames, video.hash.as_str()), (3, ""));
    assert_eq!(Mattes.sequences(&out).unwrap(), ["my_clip"]);
    fs::remove_file(out.join("JPEGImages/my_clip/00001.jpg")).unwrap();
    let video = import(&Mattes, &out, None).unwrap().document.video;
    assert_eq!(video, doc.video);
}

#[test]
fn folders_without_a_list_are_objects_and_their_pictures_the_truth() {
    let (_dir, out) = place();
    let doc = document();
    run(&doc, &Mattes, &out, &ExportOptions::default()).unwrap();
    let clip = out.join("my_clip");
    fs::remove_file(clip.join(ABOUT)).unwrap();
    let back = import(&Mattes, &clip, None).unwrap();
    assert!(back.warnings[0].ends_with(PUT_VIDEO), "{:?}", back.warnings);
    let empty = || Rle::empty(S);
    let of = |object: usize, frame: u32| doc.objects[object].frames[&FrameIndex(frame)].rle.clone();
    let named = |name: &str, frame, rle| (name.to_owned(), frame, rle, true);
    let expected = [
        named("ring", 0, of(0, 0)),
        named("ring", 1, of(0, 1)),
        named("ring", 2, empty()),
        named("parts", 0, empty()),
        named("parts", 1, of(1, 1)),
        named("parts", 2, empty()),
    ];
    assert_eq!(facts(&back.document), expected);
    assert_eq!(
        (back.document.video.size, back.document.video.frames),
        (S, 3)
    );
    // Names of every kind, in the order of their numbers.
    for (old, new) in [("001_ring", "10"), ("002_parts", "9-a man")] {
        fs::rename(clip.join(old), clip.join(new)).unwrap();
    }
    fs::create_dir(clip.join("notes")).unwrap();
    drawn(&clip.join("3d sky/sky.0007.png"), &empty());
    let back = import(&Mattes, &out, None).unwrap().document;
    let names: Vec<&str> = back.objects.iter().map(|o| o.name.as_str()).collect();
    assert_eq!(names, ["3d sky", "a man", "object 10"]);
    let ids: Vec<u32> = back.objects.iter().map(|o| o.id.0).collect();
    assert_eq!((ids, back.next_id), (vec![1, 2, 3], 4));
    // The fourth frame there is, by its number.
    let sky: Vec<u32> = back.objects[0].frames.keys().map(|f| f.0).collect();
    assert_eq!((sky, back.video.frames), (vec![3], 4));
}

#[test]
fn the_layout_of_sa_v_sits_on_the_frames_of_its_images() {
    let (_dir, out) = place();
    let corner = art(["##.....", ".......", ".......", ".......", "......."]);
    let bar = art([".......", ".......", ".......", ".......", "#######"]);
    let masks = out.join("Annotations_6fps/sav_1");
    drawn(&masks.join("000/00000.png"), &corner);
    drawn(&masks.join("000/00004.png"), &bar);
    drawn(&masks.join("001/00004.png"), &corner);
    let alone = import(&Mattes, &out, None).unwrap().document;
    assert_eq!((alone.video.frames, alone.video.fps), (2, 6.0));
    assert_eq!(detect(&out).unwrap().0.name(), "mattes");

    let images = out.join("JPEGImages_24fps/sav_1");
    fs::create_dir_all(&images).unwrap();
    for frame in 0..8 {
        fs::write(images.join(format!("{frame:05}.jpg")), b"").unwrap();
    }
    for path in [&out, &out.join("Annotations_6fps"), &masks] {
        let doc = import(&Mattes, path, Some("sav_1")).unwrap().document;
        assert_eq!((doc.video.frames, doc.video.fps), (8, 24.0));
        assert_eq!(Path::new(&doc.video.path), images);
        let of = |frame, rle: &Rle, name: &str| (name.to_owned(), frame, rle.clone(), true);
        let expected = [
            of(0, &corner, "object 000"),
            of(4, &bar, "object 000"),
            of(4, &corner, "object 001"),
        ];
        assert_eq!(facts(&doc), expected);
    }
    drawn(&masks.join("001/00009.png"), &corner);
    let refused = import(&Mattes, &out, None).unwrap_err().to_string();
    assert!(
        refused.contains("no image") && refused.contains("00009"),
        "{refused}"
    );
}

#[test]
fn files_of_one_frame_are_told_by_their_numbers_or_by_their_names() {
    let corner = art(["##.....", ".......", ".......", ".......", "......."]);
    for (files, frames) in [
        (["a/a.9.png", "a/a.10.png", "b/b_0010.png"], [0, 1, 1]),
        (["a/in.png", "a/out.png", "b/out.png"], [0, 1, 1]),
        // Two files of the same number are two frames.
        (["a/x1.png", "a/y1.png", "b/y1.png"], [0, 1, 1]),
    ] {
        let (_dir, out) = place();
        for file in files {
            drawn(&out.join(file), &corner);
        }
        let doc = import(&Mattes, &out, None).unwrap().document;
        let found: Vec<u32> = facts(&doc).iter().map(|(_, frame, ..)| *frame).collect();
        assert_eq!(found, frames, "{files:?}");
        assert_eq!(doc.video.frames, 2, "{files:?}");
    }
}

#[test]
fn the_brighter_half_is_inside_however_a_picture_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.png");
    let inside = |path: &Path| Picture::open(path).unwrap().mask().to_bitmap().data;
    grey(&path, (4, 1), vec![0, 127, 128, 255]);
    assert_eq!(inside(&path), [0, 0, 1, 1]);
    grey(&path, (3, 1), vec![0, 1, 127]);
    assert_eq!(inside(&path), [0, 0, 0]);
    // Numbers, as some tools store one object, and the palette of many.
    grey(&path, (3, 1), vec![0, 1, 1]);
    assert_eq!(inside(&path), [0, 1, 1]);
    for label in [1, 8, 15] {
        let bytes = labels::encode(Size::new(3, 1), &[0, label, 0]).unwrap();
        fs::write(&path, bytes).unwrap();
        assert_eq!(inside(&path), [0, 1, 0], "label {label}");
    }
    let rgba = [255, 255, 255, 255, 255, 255, 255, 0, 0, 200, 0, 255].to_vec();
    let image = image::RgbaImage::from_raw(3, 1, rgba).unwrap();
    image.save(&path).unwrap();
    assert_eq!(inside(&path), [1, 0, 1]);
    let deep = image::ImageBuffer::<image::Luma<u16>, _>::from_raw(2, 1, vec![0x7fff, 0x8000]);
    deep.unwrap().save(&path).unwrap();
    assert_eq!(inside(&path), [0, 1]);
    fs::write(&path, b"no picture").unwrap();
    assert!(Picture::open(&path).is_err());
}

#[test]
fn mattes_of_another_size_are_refused_by_name() {
    let (_dir, out) = place();
    run(&document(), &Mattes, &out, &ExportOptions::default()).unwrap();
    let clip = out.join("my_clip");
    let odd = clip.join("002_parts/00001.png");
    grey(&odd, (5, 7), vec![0; 35]);
    for has_list in [true, false] {
        if !has_list {
            fs::remove_file(clip.join(ABOUT)).unwrap();
        }
        let refused = import(&Mattes, &out, None).unwrap_err().to_string();
        assert!(
            refused.contains("5×7") && refused.contains("00001.png"),
            "{refused}"
        );
    }
}

#[test]
fn a_damaged_list_is_refused_and_what_it_lacks_is_said() {
    let (_dir, out) = place();
    run(&document(), &Mattes, &out, &ExportOptions::default()).unwrap();
    let clip = out.join("my_clip");
    let list = clip.join(ABOUT);
    let text = fs::read_to_string(&list).unwrap();
    for (old, new, why) in [
        ("\"id\": 7", "\"id\": 2", "two objects"),
        ("002_parts", "../my_clip/002_parts", "folder"),
        ("002_parts", "..", "folder"),
        ("\"width\": 7", "\"width\": 99999", "too large"),
        ("\"frames\": 3", "\"frames\": 2", "no frame of the clip"),
        ("\"human\"", "\"somebody\"", "not a list"),
    ] {
        assert!(text.contains(old), "{old}");
        fs::write(&list, text.replacen(old, new, 1)).unwrap();
        let refused = import(&Mattes, &out, None).unwrap_err().to_string();
        assert!(refused.contains(why), "{new}: {refused}");
    }
    fs::write(&list, &text).unwrap();
    fs::remove_file(clip.join("001_ring/00001.png")).unwrap();
    let corner = art(["##.....", ".......", ".......", ".......", "......."]);
    drawn(&clip.join("sky/00000.png"), &corner);
    let back = import(&Mattes, &out, None).unwrap();
    assert_eq!(
        back.warnings,
        [
            "1 mask of the list has no picture",
            "1 folder that mattes.json does not name was left out"
        ]
    );
    // Drawn by another program where nobody had looked.
    drawn(&clip.join("002_parts/00002.png"), &corner);
    let back = import(&Mattes, &out, None).unwrap().document;
    let parts = &back.objects[1].frames;
    assert_eq!(parts[&FrameIndex(2)], FrameMask::by_hand(corner));
    assert!(!parts.contains_key(&FrameIndex(0)));
}

#[test]
fn reading_mattes_can_be_stopped() {
    let (_dir, out) = place();
    run(&document(), &Mattes, &out, &ExportOptions::default()).unwrap();
    for has_list in [true, false] {
        if !has_list {
            fs::remove_file(out.join("my_clip").join(ABOUT)).unwrap();
        }
        let mut heard = Vec::new();
        let mut watch = |done, total| {
            heard.push((done, total));
            heard.len() < 3
        };
        let stopped = Mattes.read(&out, "my_clip", &mut watch);
        assert!(matches!(stopped, Err(FormatError::Cancelled)));
        assert_eq!(heard, [(0, 6), (1, 6), (2, 6)]);
    }
}

#[test]
fn every_layout_is_told_from_mattes_and_mattes_from_every_layout() {
    let (dir, _) = place();
    for &format in FORMATS {
        for images in [false, true] {
            let out = dir.path().join(format!("{}-{images}", format.name()));
            if images {
                with_images(&document(), format, &out);
            } else {
                run(&document(), format, &out, &ExportOptions::default()).unwrap();
            }
            let (found, names) = detect(&out).unwrap();
            assert_eq!(found.name(), format.name());
            assert_eq!(names.len(), 1);
            if format.name() != "mattes" {
                assert!(Mattes.sequences(&out).is_err(), "{}", format.name());
            }
        }
    }
    let (clip, davis) = (
        dir.path().join("mattes-true"),
        dir.path().join("davis-true"),
    );
    for path in [clip.join("my_clip"), clip.join("my_clip").join(ABOUT)] {
        assert_eq!(detect(&path).unwrap().0.name(), "mattes");
    }
    fs::remove_file(clip.join("my_clip").join(ABOUT)).unwrap();
    assert_eq!(detect(&clip).unwrap().0.name(), "mattes", "by its look");
    // Neither what lies around datasets nor what lies in them.
    for path in [
        dir.path(),
        &davis.join("Annotations"),
        &davis.join("Annotations/480p"),
    ] {
        assert!(detect(path).is_none(), "{}", path.display());
    }
    // A clip of that name is no dataset of DAVIS.
    let out = dir.path().join("named");
    let options = ExportOptions {
        sequence: Some("Annotations".to_owned()),
        ..ExportOptions::default()
    };
    run(&document(), &Mattes, &out, &options).unwrap();
    assert_eq!(detect(&out).unwrap().0.name(), "mattes");
}

#[test]
fn pictures_in_folders_are_no_mattes_by_their_look_alone() {
    let side = 20;
    let pixels = (side * side) as usize;
    let shades = || (0..pixels).map(|k| (k % 256) as u8);
    let photo: Vec<u8> = shades().map(|v| v.clamp(1, 254)).collect();
    let smoothed: Vec<u8> = (0..pixels)
        .map(|k| match k % 20 {
            0..10 => 0,
            10 => 100,
            _ => 255,
        })
        .collect();
    for (what, data, is_matte) in [
        ("a grey photograph", photo, false),
        ("nothing but black", vec![0; pixels], false),
        ("a smoothed matte", smoothed, true),
        ("a binary matte", vec![255; pixels], true),
    ] {
        let (_dir, out) = place();
        grey(&out.join("a/0.png"), (side, side), data);
        assert_eq!(detect(&out).is_some(), is_matte, "{what}");
        // Asked for by name, whatever it looks like.
        assert!(import(&Mattes, &out, None).is_ok(), "{what}");
    }
    let (_dir, out) = place();
    let image = image::RgbImage::from_pixel(side, side, image::Rgb([255, 0, 0]));
    fs::create_dir_all(out.join("a")).unwrap();
    image.save(out.join("a/0.png")).unwrap();
    assert!(detect(&out).is_none(), "a colour");
    let bytes = labels::encode(Size::new(3, 1), &[0, 1, VOID]).unwrap();
    fs::write(out.join("a/0.png"), bytes).unwrap();
    assert!(detect(&out).is_none(), "label maps");
}
