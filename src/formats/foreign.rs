//! Datasets as others write them, and exports that come back as projects or go to awkward places.

use std::{fs, path::Path};

use super::{
    Coco, Davis, Existing, ExportOptions, Format, FormatError, Mevis, Rgb, YoutubeVis, clip_name,
    davis, export, import, labels, manifest,
    tests::{S, art, document, mask, place, run, with_images},
};
use crate::project::{Document, FrameIndex, Provenance};

/// A file of an image's name: what is in it does not matter here.
fn touch(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, b"").unwrap();
}

#[test]
fn images_of_every_frame_are_the_video_and_images_of_some_are_not() {
    let (dir, out) = place();
    let mut doc = document();
    with_images(&doc, &Coco, &out);
    let video = import(&Coco, &out, None).unwrap().document.video;
    assert!(Path::new(&video.path).ends_with("images/my_clip"));
    // The hash that was recorded is that of another file.
    assert_eq!((video.frames, video.hash.as_str()), (3, ""));

    let corner = art(["##.....", ".......", ".......", ".......", "......."]);
    doc.video.frames = 6;
    doc.objects.truncate(1);
    doc.objects[0].frames = [(FrameIndex(3), mask(corner, Provenance::Human))].into();
    let sparse = dir.path().join("sparse");
    with_images(&doc, &Coco, &sparse);
    assert!(sparse.join("images/my_clip/00003.jpg").exists());
    let back = import(&Coco, &sparse, None).unwrap();
    assert_eq!(back.document.video, doc.video);
    assert_eq!(back.warnings, Vec::<String>::new());
    // Where no video was recorded, it is said instead.
    let json = sparse.join("annotations/instances_train.json");
    let text = fs::read_to_string(&json).unwrap();
    fs::write(&json, text.replace("/somewhere/my clip.mp4", "")).unwrap();
    let back = import(&Coco, &sparse, None).unwrap();
    assert_eq!(back.document.video.path, "");
    assert!(
        back.warnings[0].contains("not every frame"),
        "{:?}",
        back.warnings
    );
}

#[test]
fn an_export_never_takes_the_place_of_the_video_it_is_of() {
    let (_dir, out) = place();
    with_images(&document(), &Davis, &out);
    let doc = import(&Davis, &out, None).unwrap().document;
    let replace = ExportOptions {
        existing: Existing::Replace,
        ..ExportOptions::default()
    };
    let refused = run(&doc, &Davis, &out, &replace);
    assert!(
        matches!(refused, Err(FormatError::HoldsVideo(_))),
        "{refused:?}"
    );
    // The same where the video is found elsewhere than recorded.
    let elsewhere = document();
    let found = ExportOptions {
        video: Some(doc.video.path.clone().into()),
        ..replace.clone()
    };
    let refused = run(&elsewhere, &Davis, &out, &found);
    assert!(
        matches!(refused, Err(FormatError::HoldsVideo(_))),
        "{refused:?}"
    );
    assert!(Path::new(&doc.video.path).join("00002.jpg").exists());
    run(&elsewhere, &Davis, &out, &replace).unwrap();
}

/// Whoever exported a second clip to the folder of the first lost the first one's images.
#[test]
fn an_export_never_takes_the_place_of_another_videos() {
    let replace = ExportOptions {
        existing: Existing::Replace,
        ..ExportOptions::default()
    };
    let doc = document();
    let (_dir, out) = place();
    with_images(&doc, &Davis, &out);
    let image = out.join("JPEGImages/480p/my_clip/00002.jpg");
    let refused_for = |doc: &Document, found: &str| match run(doc, &Davis, &out, &replace) {
        Err(FormatError::OtherVideo { found: named, .. }) => assert_eq!(named, found),
        other => panic!("{other:?}"),
    };
    let named = "my_clip, 3 frames of 7×5 pixels";
    // Another file of the same name and shape, one of another length, and one that is called otherwise where no content is
    // known.
    let mut other = doc.clone();
    other.video.hash = "11ff".to_owned();
    refused_for(&other, named);
    other.video.hash = String::new();
    other.video.path = "/somewhere/else.mp4".to_owned();
    refused_for(&other, named);
    other.video = doc.video.clone();
    other.video.frames = 4;
    refused_for(&other, named);
    assert!(image.exists());
    // An export that does not say which video it is of is told by its sequences.
    let list = out.join(manifest::MANIFEST);
    let text = fs::read_to_string(&list).unwrap();
    let lines: Vec<&str> = text.lines().filter(|l| !l.starts_with("# ")).collect();
    assert_eq!(lines.len() + 1, text.lines().count());
    fs::write(&list, lines.join("\n")).unwrap();
    other.video.path = "/somewhere/else.mp4".to_owned();
    refused_for(&other, "my_clip");
    assert!(image.exists());
    run(&doc, &Davis, &out, &replace).unwrap();
    // The same content under another name is the same video.
    other.video = doc.video.clone();
    other.video.path = "/somewhere/else.mp4".to_owned();
    run(&other, &Davis, &out, &replace).unwrap();
}

/// Each export packed them anew, and each time they lost a little.
#[test]
fn images_that_are_jpegs_already_go_along_byte_for_byte() {
    let (dir, _) = place();
    let clip = dir.path().join("clip");
    fs::create_dir(&clip).unwrap();
    let mut doc = document();
    doc.video.path = clip.display().to_string();
    let file = |f: u32| clip.join(format!("{f:05}.{}", if f == 2 { "png" } else { "jpg" }));
    for f in 0..3 {
        let shade = image::Luma([90 + f as u8]);
        let grey = image::GrayImage::from_pixel(S.width, S.height, shade);
        grey.save(file(f)).unwrap();
    }
    let options = ExportOptions {
        video: Some(clip.clone()),
        ..ExportOptions::default()
    };
    let formats: [&dyn Format; 4] = [&Davis, &Mevis, &YoutubeVis, &Coco];
    for format in formats {
        let mut asked = 0;
        let mut read = |_: FrameIndex| {
            asked += 1;
            Ok(Rgb {
                size: S,
                data: vec![10; 7 * 5 * 3],
            })
        };
        let out = dir.path().join(format.name());
        let watch = &mut |_, _| true;
        export(&doc, format, &out, &options, Some(&mut read), watch).unwrap();
        assert_eq!(
            asked,
            3,
            "{}: what cannot be read is no image",
            format.name()
        );
        let video = import(format, &out, None).unwrap().document.video;
        let of = |f: u32| fs::read(Path::new(&video.path).join(format!("{f:05}.jpg"))).unwrap();
        for f in [0, 1] {
            assert!(of(f) == fs::read(file(f)).unwrap(), "{} {f}", format.name());
        }
        // What is no JPEG becomes one.
        assert!(of(2).starts_with(b"\xff\xd8"), "{}", format.name());
    }
}

#[test]
fn folders_keep_the_whole_of_their_names() {
    for (path, name) in [
        ("/a/shot.01", "shot.01"),
        ("/a/shot.02/", "shot.02"),
        ("C:\\a\\my clip.MP4", "my clip"),
        ("one.two.jpeg", "one.two"),
        (".mp4", ".mp4"),
        ("", ""),
    ] {
        assert_eq!(clip_name(path), name, "{path}");
    }
    let mut doc = document();
    doc.video.path = "/a/shot.01".to_owned();
    assert_eq!(ExportOptions::default().sequence_name(&doc), "shot.01");
}

#[test]
fn masks_sit_on_the_frames_of_their_images_whatever_the_names() {
    let dir = tempfile::tempdir().unwrap();
    let masks = dir.path().join("Annotations/480p/a");
    let images = dir.path().join("JPEGImages/480p/a");
    fs::create_dir_all(&masks).unwrap();
    fs::create_dir_all(&images).unwrap();
    let grey = image::GrayImage::new(7, 5);
    for f in 0..12_u8 {
        grey.save(images.join(format!("{f}.jpg"))).unwrap();
        let png = labels::encode(S, &[f + 1; 35]).unwrap();
        fs::write(masks.join(format!("{f}.png")), png).unwrap();
    }
    // Neither is a frame.
    touch(&images.join("._1.jpg"));
    touch(&masks.join("._1.png"));
    fs::create_dir(images.join("more.jpg")).unwrap();
    let all = davis::sequences(dir.path()).unwrap();
    let shown: Vec<String> = (0..12).map(|f| f.to_string()).collect();
    assert_eq!(all[0].frames, shown);
    let doc = import(&Davis, dir.path(), None).unwrap().document;
    assert_eq!(doc.objects.len(), 12);
    for (f, object) in (0..).zip(&doc.objects) {
        assert!(!object.frames[&FrameIndex(f)].rle.is_empty(), "frame {f}");
    }
}

#[test]
fn a_mask_without_an_image_spoils_its_own_sequence_only() {
    let dir = tempfile::tempdir().unwrap();
    let png = labels::encode(S, &[1; 35]).unwrap();
    for name in ["a", "b"] {
        let mask = dir
            .path()
            .join(format!("Annotations/480p/{name}/00000.png"));
        touch(&mask);
        fs::write(&mask, &png).unwrap();
        touch(&dir.path().join(format!("JPEGImages/480p/{name}/00000.jpg")));
    }
    fs::write(dir.path().join("Annotations/480p/b/00009.png"), &png).unwrap();
    assert_eq!(
        import(&Davis, dir.path(), Some("a"))
            .unwrap()
            .document
            .objects
            .len(),
        1
    );
    let bad = import(&Davis, dir.path(), Some("b")).unwrap_err();
    assert!(matches!(bad, FormatError::Damaged { .. }));
    assert!(bad.to_string().contains("\"00009\""), "{bad}");
}

#[test]
fn a_frame_number_beyond_counting_is_refused() {
    let (dir, _) = place();
    let path = dir.path().join("mine.json");
    let json = r#"{"images":[{"id":1,"file_name":"a.jpg","width":7,"height":5,"frame_index":4294967295}]}"#;
    fs::write(&path, json).unwrap();
    let refused = import(&Coco, &path, None).unwrap_err();
    assert!(matches!(refused, FormatError::Damaged { .. }));
    assert!(refused.to_string().contains("4294967295"), "{refused}");
}
