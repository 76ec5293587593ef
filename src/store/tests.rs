//! What needs the open connection: a full disk, a newer file, damage from inside.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::{
    Existing, Store, StoreError, VideoChange, VideoPlace, Writer, compare_video, find_video,
    videos_named_like,
};
use crate::project::{
    Author, Bitmap, BoxPx, Choosing, Document, DriftSignal, Edit, Emission, FrameIndex, FrameMask,
    ObjectId, Proposal, Provenance, Rle, Size, Thresholds, VideoInfo, apply,
};

const S: Size = Size {
    width: 40,
    height: 30,
};

fn document() -> Document {
    let video = VideoInfo {
        path: "clip.mp4".to_owned(),
        size: S,
        frames: 50,
        fps: 30_000.0 / 1001.0,
        hash: "ab".repeat(32),
    };
    Document::new(video, "nano", Thresholds::default())
}

fn mask(k: u32, provenance: Provenance) -> FrameMask {
    let x = (k % 30) as f32;
    let b = BoxPx::from_array([x, 3.0, x + 7.0, 20.0]);
    FrameMask {
        rle: Rle::from_bitmap(&Bitmap::from_box(S, b)),
        score: 0.1 + k as f32 / 100.0,
        iou: 1.0 / 3.0,
        provenance,
        anchor: provenance == Provenance::Human,
        drift: DriftSignal {
            area_jump: 0.7,
            on_other: 0.3,
            split: 0.2,
            left_out: 0.1,
            ..DriftSignal::default()
        },
    }
}

fn emission() -> Emission {
    let p = Proposal {
        box_px: BoxPx::from_array([0.1, 0.2, 2.3, 4.5]),
        objectness: 0.123_456_79,
        filtration: 0.3,
        confidence: 0.9,
        selected: true,
        drawn: false,
        incredible: false,
    };
    Emission {
        frame: FrameIndex(2),
        phrase: "the \"dog\" 🐕".to_owned(),
        text: "it is [BOX] [SEG] .".to_owned(),
        tokens: vec![("[BOX]".to_owned(), 0.7)],
        unknown_words: vec![("hund".to_owned(), "dog".to_owned())],
        proposals: vec![p.clone(), p],
        objects: vec![ObjectId(1)],
        tsf_tokens: 3,
        secs: 0.1,
        choosing: Choosing {
            may_be_none: true,
            ..Choosing::default()
        },
        by_hand: Some([1].into()),
    }
}

/// Every kind of edit, in an order in which each applies.
fn edits(doc: &Document) -> Vec<Edit> {
    let mut dog = doc.new_object("the dog");
    dog.frames.insert(FrameIndex(0), mask(0, Provenance::Human));
    dog.frames.insert(FrameIndex(1), mask(1, Provenance::Model));
    let (first, second) = (dog.id, ObjectId(dog.id.0 + 1));
    let mut cat = dog.clone();
    cat.id = second;
    let masks = (1..9).map(|f| (FrameIndex(f), Some(mask(f, Provenance::Propagated))));
    let mut video = doc.video.clone();
    video.path = "elsewhere.mp4".to_owned();
    video.fps = 23.976_023_976_023_978;
    vec![
        Edit::add_object(dog),
        Edit::AddObject {
            object: Box::new(cat),
            at: 0,
        },
        Edit::MoveObject {
            id: second,
            at: usize::MAX,
        },
        Edit::MoveObject { id: second, at: 0 },
        Edit::Rename {
            id: first,
            name: "Rex".to_owned(),
        },
        Edit::SetPhrase {
            id: first,
            phrase: "the brown dog".to_owned(),
        },
        Edit::SetVisible {
            id: first,
            visible: false,
        },
        Edit::SetColour {
            id: first,
            colour: 7,
        },
        Edit::SetLocked {
            id: second,
            locked: true,
        },
        Edit::SetMasks {
            id: first,
            masks: masks.collect(),
            by: Author::Model,
        },
        Edit::remove_mask(first, FrameIndex(4)),
        Edit::SetAnchor {
            id: first,
            frame: FrameIndex(2),
            anchor: true,
        },
        Edit::SetAnchor {
            id: first,
            frame: FrameIndex(0),
            anchor: false,
        },
        Edit::add_emission(emission()),
        Edit::AddEmission {
            emission: Box::new(Emission {
                text: "there is none .".to_owned(),
                ..emission()
            }),
            at: 0,
        },
        Edit::SetSelection {
            at: 1,
            selected: vec![false, true],
        },
        Edit::ReplaceEmission {
            at: 0,
            emission: Box::new(emission()),
        },
        Edit::Group(vec![
            Edit::RemoveEmission { at: 0 },
            Edit::SetModel {
                model: "sparrow-videoglamm".to_owned(),
            },
            Edit::SetThresholds {
                thresholds: Thresholds {
                    objectness: 0.1,
                    keep: 0.7,
                    at_most: 2,
                },
            },
        ]),
        Edit::SetVideo {
            video: Box::new(video),
        },
        Edit::RemoveObject { id: second },
    ]
}

#[test]
fn every_edit_and_its_inverse_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sparrow");
    let mut doc = document();
    let mut store = Store::create(&path, &doc, Existing::Refuse).unwrap();
    let mut inverses = Vec::new();
    for edit in edits(&doc) {
        inverses.push(apply(&mut doc, edit.clone()).unwrap());
        store.commit(&edit).unwrap();
        assert_eq!(store.load().unwrap(), doc, "{edit:?}");
        assert_eq!(Store::open(&path).unwrap().load().unwrap(), doc);
    }
    for edit in inverses.into_iter().rev() {
        apply(&mut doc, edit.clone()).unwrap();
        store.commit(&edit).unwrap();
        assert_eq!(store.load().unwrap(), doc, "{edit:?}");
    }
    // At rest the project is one file.
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn an_object_is_moved_to_every_place_of_the_list() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sparrow");
    let mut doc = document();
    for name in ["dog", "cat", "cow", "hen"] {
        let object = doc.new_object(name);
        doc.objects.push(object);
    }
    let mut store = Store::create(&path, &doc, Existing::Refuse).unwrap();
    let ids: Vec<ObjectId> = doc.objects.iter().map(|o| o.id).collect();
    for (i, &id) in ids.iter().enumerate() {
        for at in [i, 3, 0, 2, 1] {
            let edit = Edit::MoveObject { id, at };
            apply(&mut doc, edit.clone()).unwrap();
            store.commit(&edit).unwrap();
            assert_eq!(store.load().unwrap().objects, doc.objects, "{edit:?}");
        }
    }
    let edit = Edit::MoveObject {
        id: ObjectId(9),
        at: 0,
    };
    assert!(matches!(store.commit(&edit), Err(StoreError::OutOfStep(_))));
}

#[test]
fn a_document_written_whole_reads_back_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sparrow");
    let mut doc = document();
    for edit in edits(&doc) {
        apply(&mut doc, edit).unwrap();
    }
    let mut store = Store::create(&path, &doc, Existing::Refuse).unwrap();
    assert_eq!(store.load().unwrap(), doc);
    assert_eq!(store.setting("zoom").unwrap(), None);
    store.set_setting("zoom", "2").unwrap();
    store.set_setting("zoom", "3").unwrap();
    assert_eq!(store.frame_table().unwrap(), None);
    store.set_frame_table(&[0, 255, 7]).unwrap();

    let copy = dir.path().join("b.sparrow");
    store.save_copy(&copy, Existing::Refuse).unwrap();
    assert!(matches!(
        store.save_copy(&copy, Existing::Refuse),
        Err(StoreError::Exists(_))
    ));
    store.save_copy(&copy, Existing::Replace).unwrap();
    let mut copied = Store::open(&copy).unwrap();
    assert_eq!(copied.load().unwrap(), doc);
    assert_eq!(copied.setting("zoom").unwrap().as_deref(), Some("3"));
    assert_eq!(copied.frame_table().unwrap(), Some(vec![0, 255, 7]));
    let edit = Edit::SetModel {
        model: "other".to_owned(),
    };
    copied.commit(&edit).unwrap();
    assert_eq!(store.load().unwrap(), doc);
}

#[test]
fn a_name_in_use_is_kept_unless_asked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sparrow");
    std::fs::write(&path, "precious").unwrap();
    assert!(matches!(
        Store::create(&path, &document(), Existing::Refuse),
        Err(StoreError::Exists(_))
    ));
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    // A journal of the old file must not be rolled back into the new one.
    let journal = dir.path().join("a.sparrow-journal");
    std::fs::write(&journal, "old").unwrap();
    Store::create(&path, &document(), Existing::Replace).unwrap();
    assert!(!journal.exists());
    let nowhere = dir.path().join("no/such/folder/a.sparrow");
    assert!(matches!(
        Store::create(&nowhere, &document(), Existing::Refuse),
        Err(StoreError::NoFolder(_))
    ));
}

/// The project's own folder was taken for its video.
#[test]
fn a_project_that_knows_no_video_finds_those_of_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let project = dir.path().join("shot.01.sparrow");
    let mut video = document().video;
    video.path = String::new();
    let missing = VideoPlace::Missing(PathBuf::new());
    assert_eq!(find_video(&project, &video), missing);
    for name in ["shot.01.txt", "shot.02.mp4", "shot.mp4"] {
        std::fs::write(dir.path().join(name), "v").unwrap();
    }
    assert_eq!(find_video(&project, &video), missing);
    let (folder, file) = (dir.path().join("shot.01"), dir.path().join("shot.01.MP4"));
    std::fs::write(&file, "v").unwrap();
    std::fs::create_dir(&folder).unwrap();
    let found = videos_named_like(&project);
    assert_eq!(found, [folder.clone(), file]);
    let beside = VideoPlace::BesideProject(folder);
    assert_eq!(find_video(&project, &video), beside);
}

/// A project of version 1 with one mask in `dir`, and what it holds.
fn version_1(dir: &Path) -> (PathBuf, Document) {
    let path = dir.join("a.sparrow");
    let mut doc = document();
    let mut object = doc.new_object("the dog");
    let mut mask = mask(3, Provenance::Propagated);
    (mask.drift.on_other, mask.drift.split) = (0.0, 0.0);
    mask.drift.left_out = 0.0;
    object.frames.insert(FrameIndex(1), mask);
    doc.objects.push(object);
    Store::create(&path, &doc, Existing::Refuse).unwrap();
    let as_version_1 = "ALTER TABLE mask DROP COLUMN drift_left_out;
        ALTER TABLE mask DROP COLUMN drift_split;
        ALTER TABLE mask DROP COLUMN drift_on_other; PRAGMA user_version = 1;
        UPDATE schema_version SET version = 1;";
    let db = Connection::open(&path).unwrap();
    db.execute_batch(as_version_1).unwrap();
    let held = super::rows::read_document(&db, &path).unwrap();
    assert_eq!(held.objects, doc.objects);
    drop(db);
    (path, held)
}

fn version_of(path: &Path) -> u32 {
    let db = Connection::open(path).unwrap();
    db.pragma_query_value(None, "user_version", |r| r.get(0))
        .unwrap()
}

/// Gives the first object another name, in the document too.
fn rename(doc: &mut Document, name: &str) -> Edit {
    let edit = Edit::Rename {
        id: doc.objects[0].id,
        name: name.to_owned(),
    };
    apply(doc, edit.clone()).unwrap();
    edit
}

#[test]
fn a_project_of_version_1_is_read_as_it_is_and_brought_up_to_date_by_the_first_write() {
    let dir = tempfile::tempdir().unwrap();
    let (path, mut doc) = version_1(dir.path());
    let before = std::fs::read(&path).unwrap();
    let mut store = Store::open(&path).unwrap();
    assert_eq!(store.load().unwrap(), doc);
    assert_eq!(std::fs::read(&path).unwrap(), before);
    store.commit(&rename(&mut doc, "Bella")).unwrap();
    store.commit(&rename(&mut doc, "Ada")).unwrap();
    assert_eq!(store.load().unwrap(), doc);
    drop(store);
    assert_eq!(version_of(&path), super::VERSION);
    assert_eq!(Store::open(&path).unwrap().load().unwrap(), doc);
}

#[test]
fn a_project_of_an_older_version_keeps_its_signs_and_gets_those_that_it_lacks() {
    for (version, split) in [(2, 0.0), (3, 0.2)] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sparrow");
        let mut doc = document();
        let mut object = doc.new_object("the dog");
        let mut mask = mask(3, Provenance::Propagated);
        (mask.drift.split, mask.drift.left_out) = (split, 0.0);
        object.frames.insert(FrameIndex(1), mask);
        let edit = Edit::add_object(object);
        apply(&mut doc, edit).unwrap();
        Store::create(&path, &doc, Existing::Refuse).unwrap();
        let db = Connection::open(&path).unwrap();
        let lacks = [(3, "drift_split"), (4, "drift_left_out")];
        for (_, column) in lacks.iter().filter(|(since, _)| *since > version) {
            let drop = format!("ALTER TABLE mask DROP COLUMN {column};");
            db.execute_batch(&drop).unwrap();
        }
        let as_it_was = format!(
            "PRAGMA user_version = {version}; UPDATE schema_version SET version = {version};"
        );
        db.execute_batch(&as_it_was).unwrap();
        drop(db);
        let mut store = Store::open(&path).unwrap();
        assert_eq!(store.load().unwrap(), doc);
        store.commit(&rename(&mut doc, "Bella")).unwrap();
        assert_eq!(store.load().unwrap(), doc);
        assert_eq!(version_of(&path), super::VERSION);
    }
}

#[test]
fn a_project_of_version_1_that_cannot_be_written_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let (path, doc) = version_1(dir.path());
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    // An upgrade would have to wait for the other.
    let mut store = Store::open(&path).unwrap();
    assert_eq!(store.load().unwrap(), doc);
    drop(other);
    // Stands in for a folder that takes no journal.
    store.db.pragma_update(None, "query_only", true).unwrap();
    let edit = rename(&mut doc.clone(), "Bella");
    let error = store.commit(&edit).unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly(_)), "{error:?}");
    assert_eq!(store.load().unwrap(), doc);
    store.db.pragma_update(None, "query_only", false).unwrap();
    store.commit(&edit).unwrap();
    assert_eq!(version_of(&path), super::VERSION);
}

#[test]
fn two_programs_on_a_project_of_version_1_upgrade_it_once() {
    let dir = tempfile::tempdir().unwrap();
    let (path, mut doc) = version_1(dir.path());
    let (mut one, mut two) = (Store::open(&path).unwrap(), Store::open(&path).unwrap());
    one.commit(&rename(&mut doc, "Bella")).unwrap();
    let error = two.set_setting("k", "v").unwrap_err();
    assert!(
        matches!(error, StoreError::ChangedElsewhere(_)),
        "{error:?}"
    );
    // It reads what the other has written, whatever it was opened as.
    assert_eq!(two.load().unwrap(), doc);
    // Upgraded and not written to: as an earlier release did when it opened one.
    let dir = tempfile::tempdir().unwrap();
    let (path, mut doc) = version_1(dir.path());
    let mut store = Store::open(&path).unwrap();
    let other = Connection::open(&path).unwrap();
    super::schema::upgrade(&other, 1).unwrap();
    drop(other);
    store.commit(&rename(&mut doc, "Ada")).unwrap();
    assert_eq!(store.load().unwrap(), doc);
}

#[test]
fn a_project_that_a_newer_program_takes_over_is_not_written_to() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sparrow");
    let mut store = Store::create(&path, &document(), Existing::Refuse).unwrap();
    let db = Connection::open(&path).unwrap();
    db.pragma_update(None, "user_version", super::VERSION + 1)
        .unwrap();
    let error = store.set_setting("k", "v").unwrap_err();
    assert!(matches!(error, StoreError::Newer { .. }), "{error:?}");
    assert!(error.is_final());
}

#[test]
fn newer_files_are_refused_and_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sparrow");
    Store::create(&path, &document(), Existing::Refuse).unwrap();
    let db = Connection::open(&path).unwrap();
    db.pragma_update(None, "user_version", super::VERSION + 1)
        .unwrap();
    drop(db);
    let before = std::fs::read(&path).unwrap();
    let error = Store::open(&path).unwrap_err();
    assert!(matches!(error, StoreError::Newer { version, .. } if version == super::VERSION + 1));
    assert!(error.to_string().contains("newer Sparrow"));
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn what_is_no_project_is_said_to_be_none() {
    let dir = tempfile::tempdir().unwrap();
    let open = |p: &Path| Store::open(p).unwrap_err();
    let path = dir.path().join("a.sparrow");
    assert!(matches!(open(&path), StoreError::NotFound(_)));
    assert!(matches!(open(dir.path()), StoreError::NotAProject(_)));
    for bytes in [&b""[..], b"SQLite format 3\0", &[7; 5000]] {
        std::fs::write(&path, bytes).unwrap();
        assert!(matches!(open(&path), StoreError::NotAProject(_)));
    }
    // Another program's database.
    std::fs::remove_file(&path).unwrap();
    let db = Connection::open(&path).unwrap();
    db.execute_batch("CREATE TABLE t (x); PRAGMA user_version = 1;")
        .unwrap();
    drop(db);
    assert!(matches!(open(&path), StoreError::NotAProject(_)));
}

#[test]
fn a_full_disk_is_one_sentence_and_the_edit_can_be_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sparrow");
    let doc = document();
    let mut store = Store::create(&path, &doc, Existing::Refuse).unwrap();
    store.db.pragma_update(None, "max_page_count", 1).unwrap();
    let mut object = doc.new_object("the dog");
    object.name = "x".repeat(100_000);
    let edit = Edit::add_object(object);
    let error = store.commit(&edit).unwrap_err();
    assert!(matches!(error, StoreError::DiskFull(_)), "{error:?}");
    assert!(error.is_passing());
    assert_eq!(store.load().unwrap(), doc);
    store
        .db
        .pragma_update(None, "max_page_count", 100_000)
        .unwrap();
    store.commit(&edit).unwrap();
    assert_eq!(store.load().unwrap().objects.len(), 1);
}

#[test]
fn the_writer_keeps_order_and_goes_on_after_trouble() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sparrow");
    let mut doc = document();
    let store = Store::create(&path, &doc, Existing::Refuse).unwrap();
    store.db.pragma_update(None, "max_page_count", 1).unwrap();
    let other = Connection::open(&path).unwrap();
    let mut writer = Writer::start(store, || {}).unwrap();
    let mut big = doc.new_object("the dog");
    big.name = "x".repeat(100_000);
    let mut all = vec![Edit::add_object(big)];
    all.extend((0..40).map(|k| Edit::SetModel {
        model: format!("m{k}"),
    }));
    for edit in &all {
        apply(&mut doc, edit.clone()).unwrap();
        writer.commit(edit.clone());
    }
    let state = writer.flush();
    assert_eq!(state.waiting, all.len());
    assert!(state.trouble.unwrap().contains("disk is full"));
    writer.retry();
    assert_eq!(writer.flush().waiting, all.len());
    drop(other);
    drop(writer);
    // The file holds none of it, and takes all of it once there is room.
    let store = Store::open(&path).unwrap();
    assert_eq!(store.load().unwrap(), document());
    let mut writer = Writer::start(store, || {}).unwrap();
    for edit in all {
        writer.commit(edit);
    }
    assert_eq!(writer.flush(), super::WriterState::default());
    drop(writer);
    assert_eq!(Store::open(&path).unwrap().load().unwrap(), doc);
}

#[test]
fn two_programs_do_not_overwrite_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sparrow");
    let mut one = Store::create(&path, &document(), Existing::Refuse).unwrap();
    let mut two = Store::open(&path).unwrap();
    let edit = |m: &str| Edit::SetModel {
        model: m.to_owned(),
    };
    one.commit(&edit("one")).unwrap();
    assert!(matches!(
        two.commit(&edit("two")),
        Err(StoreError::ChangedElsewhere(_))
    ));
    assert_eq!(two.load().unwrap().model, "one");
}

/// The name of a file that is open can be taken by another where names and files are two things.
#[cfg(unix)]
#[test]
fn a_project_that_was_replaced_while_open_is_not_called_write_protected() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sparrow");
    let mut doc = document();
    let mut store = Store::create(&path, &doc, Existing::Refuse).unwrap();
    let other = dir.path().join("b.sparrow");
    store.save_copy(&other, Existing::Refuse).unwrap();
    std::fs::rename(&other, &path).unwrap();
    let edit = edits(&doc).remove(0);
    apply(&mut doc, edit.clone()).unwrap();
    let error = store.commit(&edit).unwrap_err();
    assert!(matches!(error, StoreError::Moved(_)), "{error:?}");
    assert!(error.to_string().contains("moved or replaced") && !error.is_passing());
}

#[test]
fn damage_inside_is_an_error_and_edits_that_do_not_fit_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sparrow");
    let mut doc = document();
    let mut store = Store::create(&path, &doc, Existing::Refuse).unwrap();
    for edit in [
        Edit::RemoveObject { id: ObjectId(5) },
        Edit::remove_mask(ObjectId(5), FrameIndex(1)),
        Edit::set_mask(
            ObjectId(5),
            FrameIndex(1),
            mask(1, Provenance::Model),
            Author::Model,
        ),
        Edit::RemoveEmission { at: 3 },
        Edit::SetSelection {
            at: 0,
            selected: vec![],
        },
    ] {
        let both = Edit::Group(vec![
            Edit::SetModel {
                model: "half done".to_owned(),
            },
            edit,
        ]);
        assert!(matches!(store.commit(&both), Err(StoreError::OutOfStep(_))));
        assert_eq!(store.load().unwrap(), doc);
    }
    for edit in edits(&doc) {
        apply(&mut doc, edit.clone()).unwrap();
        store.commit(&edit).unwrap();
    }
    for damage in [
        "UPDATE mask SET counts = 'zz' WHERE frame = 1",
        "UPDATE mask SET frame = 999 WHERE frame = 1",
        "UPDATE emission SET json = '{}'",
        "UPDATE document SET video_width = 100000",
        "UPDATE document SET video_width = -1",
        "UPDATE object SET colour = -1",
        "DELETE FROM document",
        "DROP TABLE object",
    ] {
        store
            .db
            .execute_batch("PRAGMA foreign_keys = OFF; BEGIN")
            .unwrap();
        store.db.execute_batch(damage).unwrap();
        let error = store.load().unwrap_err();
        assert!(
            matches!(error, StoreError::Damaged { .. } | StoreError::Io { .. }),
            "{damage}: {error:?}"
        );
        store.db.execute_batch("ROLLBACK").unwrap();
    }
    assert_eq!(store.load().unwrap(), doc);
}

#[test]
fn a_video_that_moved_or_changed_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let project = dir.path().join("a.sparrow");
    let mut video = document().video;
    video.path = "/no/such/place/clip.mp4".to_owned();
    let missing = VideoPlace::Missing("/no/such/place/clip.mp4".into());
    assert_eq!(find_video(&project, &video), missing);
    let beside = dir.path().join("clip.mp4");
    std::fs::write(&beside, "x").unwrap();
    let found = VideoPlace::BesideProject(beside.clone());
    assert_eq!(find_video(&project, &video), found);
    video.path = r"C:\videos\clip.mp4".to_owned();
    assert_eq!(find_video(&project, &video), found);
    video.path = "clip.mp4".to_owned();
    assert_eq!(
        find_video(&project, &video),
        VideoPlace::AsRecorded(beside.clone())
    );
    video.path = beside.display().to_string();
    assert_eq!(find_video(&project, &video), VideoPlace::AsRecorded(beside));
    // In a copied folder the copy's own video counts, but nothing else of its name; a path within it moves along.
    std::fs::create_dir(dir.path().join("videos")).unwrap();
    let within = dir.path().join("videos").join("clip.mp4");
    std::fs::write(&within, "x").unwrap();
    let recorded = VideoPlace::AsRecorded(within.clone());
    video.path = "videos/clip.mp4".to_owned();
    assert_eq!(find_video(&project, &video), recorded);
    video.path = within.display().to_string();
    assert_eq!(find_video(&project, &video), found);
    std::fs::write(&within, "another").unwrap();
    assert_eq!(find_video(&project, &video), recorded);
    // Masks in a folder of the images' name are no copy of them.
    let folders = ["bear", "images/bear"].map(|f| dir.path().join(f));
    for (folder, frame) in folders.iter().zip(["0.png", "0.jpg"]) {
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(folder.join(frame), "x").unwrap();
    }
    let images = folders[1].clone();
    video.path = images.display().to_string();
    assert_eq!(find_video(&project, &video), VideoPlace::AsRecorded(images));
    video.path = "clip.mp4".to_owned();

    assert!(compare_video(&video, &video).is_empty());
    let mut other = video.clone();
    other.hash = String::new();
    assert!(compare_video(&video, &other).is_empty());
    other.hash = "cd".repeat(32);
    other.frames = 51;
    other.size.width = 41;
    let changes = compare_video(&video, &other);
    assert_eq!(changes.len(), 3);
    assert!(changes[0].is_fatal());
    assert_eq!(
        changes[1].to_string(),
        "it has 51 frames, the project was made with 50"
    );
    assert_eq!(changes[2], VideoChange::Content);
}

/// It told of "os error 2" and of a temporary file that nobody knows.
#[test]
fn a_folder_that_is_not_there_is_named_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "no folder").unwrap();
    for folder in [dir.path().join("nowhere"), file] {
        let made = Store::create(&folder.join("a.sparrow"), &document(), Existing::Refuse);
        let why = made.unwrap_err().to_string();
        assert!(
            why.contains("does not exist or may not be written"),
            "{why}"
        );
        assert!(why.contains(&folder.display().to_string()), "{why}");
        assert!(!why.contains("os error") && !why.contains(".part"), "{why}");
    }
}
