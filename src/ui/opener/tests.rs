//! What stands behind a path, and what a person has to be asked about it.

use super::*;
use crate::{
    formats::{Davis, ExportOptions, export},
    project::{FrameIndex, FrameMask, Rle, Size, Thresholds, VideoInfo},
    store::Existing,
};
use std::sync::Arc;

fn project_for(video: &Path) -> Document {
    let info = VideoInfo {
        path: video.display().to_string(),
        size: Size::new(4, 4),
        frames: 1,
        fps: 1.0,
        hash: String::new(),
    };
    Document::new(info, "nano", Thresholds::default())
}

#[test]
fn a_video_brings_the_project_beside_it_but_not_another_ones() {
    let dir = tempfile::tempdir().unwrap();
    let video = dir.path().join("dog.mp4");
    let other = dir.path().join("cat.mp4");
    std::fs::write(&video, "v").unwrap();
    std::fs::write(&other, "v").unwrap();
    let place = dir.path().join("dog.sparrow");
    Store::create(&place, &project_for(&other), Existing::Refuse).unwrap();
    let wake: Wake = Arc::new(|| {});
    let Some(Refusal::OtherProject { project, why, .. }) =
        open_video(video.clone(), None, &wake).err()
    else {
        panic!("it is the cat's");
    };
    assert_eq!(project, place);
    assert!(why.contains("cat.mp4"), "{why}");
    std::fs::remove_file(&place).unwrap();
    Store::create(&place, &project_for(&video), Existing::Refuse).unwrap();
    let found = open_video(video.clone(), None, &wake).ok().unwrap();
    assert_eq!(found.project.unwrap().path, place);
    let found = open_project(place, None, None, &wake).ok().unwrap();
    assert_eq!(found.video, video);
}

#[test]
fn a_project_under_another_number_is_found_and_a_damaged_one_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (video, other) = (dir.path().join("dog.mp4"), dir.path().join("dog.mov"));
    std::fs::write(&video, "v").unwrap();
    std::fs::write(&other, "v").unwrap();
    let place = |n: u32| numbered(&dir.path().join("dog.sparrow"), n);
    std::fs::write(place(2), "no project").unwrap();
    let wake: Wake = Arc::new(|| {});
    let found = open_video(video.clone(), None, &wake).ok().unwrap();
    assert!(found.project.is_none());
    let notice = found.notice.unwrap();
    assert!(notice.contains("dog 2.sparrow"), "{notice}");
    Store::create(&place(1), &project_for(&other), Existing::Refuse).unwrap();
    Store::create(&place(3), &project_for(&video), Existing::Refuse).unwrap();
    let found = open_video(video, None, &wake).ok().unwrap();
    assert_eq!(found.project.unwrap().path, place(3));
    let notice = found.notice.unwrap();
    assert!(notice.contains("dog 2.sparrow was left alone"), "{notice}");
    assert!(notice.ends_with("dog 3.sparrow is used."), "{notice}");
    assert_eq!(notice.matches("dog 2.sparrow").count(), 1, "{notice}");
}

#[test]
fn a_copied_folder_is_one_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    std::fs::create_dir(&one).unwrap();
    std::fs::create_dir(&two).unwrap();
    for folder in [&one, &two] {
        std::fs::write(folder.join("dog.mp4"), "v").unwrap();
    }
    let doc = project_for(&one.join("dog.mp4"));
    Store::create(&one.join("dog.sparrow"), &doc, Existing::Refuse).unwrap();
    std::fs::copy(one.join("dog.sparrow"), two.join("dog.sparrow")).unwrap();
    let wake: Wake = Arc::new(|| {});
    let found = open_video(two.join("dog.mp4"), None, &wake).ok().unwrap();
    assert_eq!(found.project.unwrap().path, two.join("dog.sparrow"));
    let found = open_project(two.join("dog.sparrow"), None, None, &wake);
    assert_eq!(found.ok().unwrap().video, two.join("dog.mp4"));
}

#[test]
fn a_project_of_what_the_video_was_does_not_hide_the_one_of_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let video = dir.path().join("shot");
    std::fs::create_dir(&video).unwrap();
    let picture = |side: u32| {
        let picture = image::RgbImage::new(side, side);
        picture.save(video.join("1.png")).unwrap();
    };
    picture(4);
    let place = |n: u32| numbered(&dir.path().join("shot.sparrow"), n);
    let mut doc = project_for(&video);
    Store::create(&place(1), &doc, Existing::Refuse).unwrap();
    doc.video.size = Size::new(8, 8);
    // The second was deleted.
    Store::create(&place(3), &doc, Existing::Refuse).unwrap();
    let wake: Wake = Arc::new(|| {});
    let found = || open_video(video.clone(), None, &wake).ok().unwrap().project;
    assert_eq!(found().unwrap().path, place(1));
    picture(8);
    assert_eq!(found().unwrap().path, place(3));
}

#[test]
fn folders_whose_names_differ_behind_a_dot_have_projects_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let names = ["shot.01", "shot.02"].map(|n| dir.path().join(n));
    for name in &names {
        std::fs::create_dir(name).unwrap();
    }
    assert_eq!(places_for(&names[0])[0], dir.path().join("shot.01.sparrow"));
    assert_ne!(places_for(&names[0])[0], places_for(&names[1])[0]);
    // One that was made when they were cut off is found all the same.
    let old = dir.path().join("shot.sparrow");
    Store::create(&old, &project_for(&names[1]), Existing::Refuse).unwrap();
    let wake: Wake = Arc::new(|| {});
    let found = |n: usize| open_video(names[n].clone(), None, &wake).ok().unwrap();
    assert!(found(0).project.is_none());
    assert_eq!(found(1).project.unwrap().path, old);
}

/// Its file would be read while edits are on their way to it, and then take no more.
#[test]
fn what_is_open_is_not_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let video = dir.path().join("dog.mp4");
    std::fs::write(&video, "v").unwrap();
    let place = dir.path().join("dog.sparrow");
    let wake: Wake = Arc::new(|| {});
    let mut open = Open {
        video: video.clone(),
        project: None,
    };
    let again = |open: &Open| open_video(video.clone(), Some(open), &wake).err();
    assert_eq!(
        again(&open),
        Some(Refusal::AlreadyOpen),
        "before its first edit"
    );
    Store::create(&place, &project_for(&video), Existing::Refuse).unwrap();
    open.project = Some(place.clone());
    assert_eq!(again(&open), Some(Refusal::AlreadyOpen));
    let by_name = open_project(place, None, Some(&open), &wake).err();
    assert_eq!(by_name, Some(Refusal::AlreadyOpen));
    // Work on it that was saved elsewhere is another project.
    open.project = Some(dir.path().join("work.sparrow"));
    assert_eq!(again(&open), None);
}

#[test]
fn a_project_without_its_video_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("dog.sparrow");
    let doc = project_for(&dir.path().join("gone.mp4"));
    Store::create(&place, &doc, Existing::Refuse).unwrap();
    let wake: Wake = Arc::new(|| {});
    let Some(Refusal::NoVideo { why, .. }) = open_project(place, None, None, &wake).err() else {
        panic!("it has no video");
    };
    assert!(why.contains("gone.mp4"), "{why}");
}

/// A folder of `frames` images of 4 × 4 pixels.
fn clip(at: &Path, frames: u32) {
    std::fs::create_dir(at).unwrap();
    for frame in 0..frames {
        let name = format!("{frame}.png");
        image::RgbImage::new(4, 4).save(at.join(name)).unwrap();
    }
}

#[test]
fn a_video_that_was_located_is_opened_if_the_masks_fit_it() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("dog.sparrow");
    let doc = project_for(&dir.path().join("gone.mp4"));
    Store::create(&place, &doc, Existing::Refuse).unwrap();
    let (moved, other) = (dir.path().join("moved"), dir.path().join("other"));
    clip(&moved, 1);
    std::fs::create_dir(&other).unwrap();
    image::RgbImage::new(8, 8)
        .save(other.join("1.png"))
        .unwrap();
    let wake: Wake = Arc::new(|| {});
    let locate = |video: &Path| {
        let located = Some((video.to_path_buf(), false));
        open_project(place.clone(), located, None, &wake)
    };
    let found = locate(&moved).ok().unwrap();
    assert!(found.is_located && found.video == moved);
    for wrong in [other, dir.path().join("nowhere.mp4")] {
        let Some(Refusal::NoVideo { place, .. }) = locate(&wrong).err() else {
            panic!("{} is not its video", wrong.display());
        };
        // A slip in what was typed is mended, not typed anew.
        assert_eq!(Path::new(&place), wrong);
    }
}

/// As after an import of a dataset without images.
#[test]
fn a_project_that_knows_no_video_takes_the_one_of_its_name_and_length() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("dog.sparrow");
    let doc = project_for(Path::new(""));
    Store::create(&place, &doc, Existing::Refuse).unwrap();
    let wake: Wake = Arc::new(|| {});
    let open = || open_project(place.clone(), None, None, &wake);
    let is_asked = |refused: Option<Refusal>| matches!(refused, Some(Refusal::NoVideo { place, .. }) if place.is_empty());
    assert!(is_asked(open().err()));
    let video = dir.path().join("dog");
    clip(&video, 2);
    assert!(is_asked(open().err()), "it is longer");
    std::fs::remove_file(video.join("1.png")).unwrap();
    let found = open().ok().unwrap();
    assert!(found.is_located && found.video == video);
    drop(found);
    let found = open_video(video.clone(), None, &wake).ok().unwrap();
    assert!(found.is_located && found.project.unwrap().path == place);
}

#[test]
fn an_import_whose_video_must_be_asked_for_says_what_it_did() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("out");
    let mut doc = project_for(Path::new(""));
    let mut object = doc.new_object("the box");
    let rle = Rle::new(doc.video.size, vec![4, 4, 8]).unwrap();
    object.frames.insert(FrameIndex(0), FrameMask::by_hand(rle));
    doc.objects.push(object);
    let options = ExportOptions {
        sequence: Some("shot".to_owned()),
        ..ExportOptions::default()
    };
    export(&doc, &Davis, &at, &options, None, &mut |_, _| true).unwrap();
    let wake: Wake = Arc::new(|| {});
    let known = importer::dataset(&at).unwrap();
    let refused = import(at, known, None, None, &wake).err();
    let Some(Refusal::NoVideo { why, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert!(
        why.contains("was imported to") && why.contains("does not know its video"),
        "{why}"
    );
}

#[test]
fn a_project_that_is_open_elsewhere_is_said_to_be() {
    let dir = tempfile::tempdir().unwrap();
    let video = dir.path().join("dog.mp4");
    std::fs::write(&video, "v").unwrap();
    let place = dir.path().join("dog.sparrow");
    Store::create(&place, &project_for(&video), Existing::Refuse).unwrap();
    let wake: Wake = Arc::new(|| {});
    let open = || open_video(video.clone(), None, &wake).ok().unwrap();
    let first = open();
    assert_eq!(first.notice, None);
    let said = open().notice.unwrap();
    assert!(said.contains("another window"), "{said}");
    drop(first);
    assert_eq!(open().notice, None);
}

#[test]
fn the_sample_is_unpacked_once() {
    let why = unpack_sample("a/b\0c", b"x");
    assert!(why.is_err());
}

/// The first stroke silently made "dog 2.sparrow".
#[test]
fn a_new_project_beside_another_videos_is_begun_only_where_a_person_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (video, other) = (dir.path().join("dog.mp4"), dir.path().join("dog.mov"));
    std::fs::write(&video, "v").unwrap();
    std::fs::write(&other, "v").unwrap();
    let place = |n: u32| numbered(&dir.path().join("dog.sparrow"), n);
    Store::create(&place(1), &project_for(&other), Existing::Refuse).unwrap();
    let wake: Wake = Arc::new(|| {});
    let refused = open_video(video.clone(), None, &wake).err();
    assert!(matches!(refused, Some(Refusal::OtherProject { .. })));
    let begun = resolve(Target::Fresh(video.clone()), None, &wake);
    let begun = begun.ok().unwrap();
    assert!(begun.project.is_none() && begun.places[0] == place(1));
    // Once it is there, nothing is asked any more.
    Store::create(&place(2), &project_for(&video), Existing::Refuse).unwrap();
    let found = open_video(video, None, &wake).ok().unwrap();
    assert_eq!(found.project.unwrap().path, place(2));
}

fn hash(video: &Path) -> String {
    content_hash(video, &mut Progress::silent()).unwrap()
}

/// A folder of images that are longer than those of any lower `kind`.
fn clip_of(at: &Path, frames: u32, kind: usize) {
    clip(at, frames);
    for frame in 0..frames {
        let file = at.join(format!("{frame}.png"));
        let mut file = std::fs::File::options().append(true).open(file).unwrap();
        // Behind its end a picture may have anything.
        std::io::Write::write_all(&mut file, &vec![0; 1000 * kind]).unwrap();
    }
}

/// Another clip of the same size was accepted without a word, and its binding saved.
#[test]
fn another_clip_of_the_same_size_is_the_projects_only_if_a_person_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    clip_of(&at("right"), 2, 1);
    clip_of(&at("other"), 2, 2);
    clip_of(&at("longer"), 3, 1);
    clip_of(&at("shorter"), 1, 1);
    let mut doc = project_for(&at("gone"));
    doc.video.frames = 2;
    doc.video.hash = hash(&at("right"));
    let mut object = doc.new_object("the box");
    let rle = Rle::new(doc.video.size, vec![4, 4, 8]).unwrap();
    object.frames.insert(FrameIndex(1), FrameMask::by_hand(rle));
    doc.objects.push(object);
    let place = at("dog.sparrow");
    Store::create(&place, &doc, Existing::Refuse).unwrap();
    let wake: Wake = Arc::new(|| {});
    let locate = |name: &str, anyway: bool| {
        let target = Target::Located {
            project: place.clone(),
            video: at(name),
            anyway,
        };
        resolve(target, None, &wake)
    };
    let found = locate("right", false).ok().unwrap();
    assert!(found.is_located && !found.is_accepted);
    for (name, says) in [("other", "content"), ("longer", "3 frames")] {
        let refused = locate(name, false).err();
        let Some(Refusal::OtherVideo { why, .. }) = refused else {
            panic!("{name}: {refused:?}");
        };
        assert!(why.contains(says), "{why}");
        let found = locate(name, true).ok().unwrap();
        assert!(found.is_located && found.is_accepted);
    }
    for anyway in [false, true] {
        let refused = locate("shorter", anyway).err();
        let Some(Refusal::NoVideo { why, .. }) = refused else {
            panic!("{refused:?}");
        };
        assert!(why.contains("only 1 frame"), "{why}");
    }
}

#[test]
fn the_video_of_a_project_that_is_open_may_be_another() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (dir.path().join("first"), dir.path().join("second"));
    clip(&first, 1);
    clip(&second, 1);
    let place = dir.path().join("dog.sparrow");
    Store::create(&place, &project_for(&first), Existing::Refuse).unwrap();
    let wake: Wake = Arc::new(|| {});
    let open = Open {
        video: first,
        project: Some(place.clone()),
    };
    let located = |anyway| Target::Located {
        project: place.clone(),
        video: second.clone(),
        anyway,
    };
    let refused = resolve(located(false), Some(&open), &wake).err();
    assert_eq!(refused, Some(Refusal::Again(located(true))));
}

/// Bound to another clip once, a project never came back to its own.
#[test]
fn the_video_that_the_masks_were_made_on_goes_before_one_that_only_stands_on_record() {
    let dir = tempfile::tempdir().unwrap();
    let (original, other) = (dir.path().join("dog"), dir.path().join("other"));
    clip_of(&original, 1, 1);
    clip_of(&other, 1, 2);
    let mut doc = project_for(&other);
    doc.video.hash = hash(&original);
    let place = dir.path().join("dog.sparrow");
    Store::create(&place, &doc, Existing::Refuse).unwrap();
    let wake: Wake = Arc::new(|| {});
    let open = || {
        let found = open_project(place.clone(), None, None, &wake);
        found.ok().unwrap()
    };
    let found = open();
    assert!(found.is_located && found.video == original);
    assert!(found.notice.unwrap().contains("content"));
    std::fs::remove_dir_all(&original).unwrap();
    let found = open();
    assert!(!found.is_located && found.video == other);
}

#[test]
fn a_video_that_has_changed_its_length_is_asked_about_before_it_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let video = dir.path().join("dog");
    clip(&video, 2);
    let place = dir.path().join("dog.sparrow");
    // Made when it had one frame.
    Store::create(&place, &project_for(&video), Existing::Refuse).unwrap();
    let wake: Wake = Arc::new(|| {});
    let source = crate::video::open(&video).unwrap();
    let objection = |target| {
        let found = resolve(target, None, &wake).ok().unwrap();
        found.objection(source.info())
    };
    let by_project = objection(Target::Path(place.clone()));
    assert!(matches!(by_project, Some(Refusal::OtherVideo { .. })));
    let by_video = objection(Target::Path(video.clone()));
    assert!(matches!(by_video, Some(Refusal::OtherProject { .. })));
    let accepted = Target::Located {
        project: place,
        video,
        anyway: true,
    };
    assert_eq!(objection(accepted), None);
}
