//! Edits, their inverses and the history, on documents small enough to compare whole.

use std::collections::BTreeMap;

use crate::project::{
    Author, Bitmap, BoxPx, Choosing, Document, DriftSignal, Edit, EditError, Emission, FrameIndex,
    FrameMask, History, MaskError, ObjectId, Proposal, Provenance, Rle, Size, Thresholds,
    VideoInfo, apply,
};

const S: Size = Size {
    width: 8,
    height: 6,
};

fn document() -> Document {
    let video = VideoInfo {
        path: "clip.mp4".to_owned(),
        size: S,
        frames: 10,
        fps: 30.0,
        hash: String::new(),
    };
    Document::new(video, "nano", Thresholds::default())
}

fn mask(x: f32, provenance: Provenance) -> FrameMask {
    let b = BoxPx::from_array([x, 1.0, x + 2.0, 4.0]);
    FrameMask {
        rle: Rle::from_bitmap(&Bitmap::from_box(S, b)),
        score: 0.9,
        iou: 0.8,
        provenance,
        anchor: provenance == Provenance::Human,
        drift: DriftSignal::default(),
    }
}

fn emission() -> Emission {
    let offer = |confidence| Proposal {
        box_px: BoxPx::from_array([0.0, 0.0, 2.0, 2.0]),
        objectness: 0.5,
        filtration: confidence,
        confidence,
        selected: false,
        drawn: false,
        incredible: false,
    };
    Emission {
        frame: FrameIndex(2),
        phrase: "the dog".to_owned(),
        text: "it is [BOX] [SEG] .".to_owned(),
        tokens: vec![("[BOX]".to_owned(), 0.7)],
        unknown_words: Vec::new(),
        proposals: vec![offer(0.9), offer(0.2)],
        objects: vec![ObjectId(1)],
        tsf_tokens: 0,
        secs: 0.1,
        choosing: Choosing {
            may_be_none: true,
            ..Choosing::default()
        },
        by_hand: None,
    }
}

/// One object with masks on frames 0 (human), 1 and 2 (propagated).
fn with_object() -> Document {
    let mut doc = document();
    let mut object = doc.new_object("the dog");
    object
        .frames
        .insert(FrameIndex(0), mask(0.0, Provenance::Human));
    for f in 1..3 {
        object
            .frames
            .insert(FrameIndex(f), mask(f as f32, Provenance::Propagated));
    }
    apply(&mut doc, Edit::add_object(object)).unwrap();
    apply(&mut doc, Edit::add_emission(emission())).unwrap();
    doc
}

const DOG: ObjectId = ObjectId(1);

/// What a propagation brings on some frames.
fn carried(frames: std::ops::Range<u32>) -> Edit {
    Edit::SetMasks {
        id: DOG,
        masks: frames
            .map(|f| (FrameIndex(f), Some(mask(4.0, Provenance::Propagated))))
            .collect(),
        by: Author::Model,
    }
}

fn one_of_each() -> Vec<Edit> {
    let doc = with_object();
    let mut moved = doc.video.clone();
    moved.path = "elsewhere/clip.mp4".to_owned();
    vec![
        Edit::add_object(doc.new_object("")),
        Edit::RemoveObject { id: DOG },
        Edit::Rename {
            id: DOG,
            name: "Rex".to_owned(),
        },
        Edit::SetPhrase {
            id: DOG,
            phrase: "the brown dog".to_owned(),
        },
        Edit::SetVisible {
            id: DOG,
            visible: false,
        },
        Edit::SetLocked {
            id: DOG,
            locked: true,
        },
        Edit::SetColour { id: DOG, colour: 7 },
        Edit::set_mask(
            DOG,
            FrameIndex(0),
            mask(5.0, Provenance::Human),
            Author::Person,
        ),
        Edit::remove_mask(DOG, FrameIndex(1)),
        carried(1..9),
        Edit::SetAnchor {
            id: DOG,
            frame: FrameIndex(1),
            anchor: true,
        },
        Edit::SetAnchor {
            id: DOG,
            frame: FrameIndex(0),
            anchor: false,
        },
        Edit::AddEmission {
            emission: Box::new(emission()),
            at: 0,
        },
        Edit::RemoveEmission { at: 0 },
        Edit::ReplaceEmission {
            at: 0,
            emission: Box::new(Emission {
                text: "there is none .".to_owned(),
                ..emission()
            }),
        },
        Edit::SetSelection {
            at: 0,
            selected: vec![true, false],
        },
        Edit::SetThresholds {
            thresholds: Thresholds {
                keep: 0.7,
                ..Thresholds::default()
            },
        },
        Edit::SetModel {
            model: "sparrow-videoglamm".to_owned(),
        },
        Edit::SetVideo {
            video: Box::new(moved),
        },
    ]
}

#[test]
fn every_edit_changes_something_and_its_inverse_takes_it_back() {
    let start = with_object();
    for edit in one_of_each() {
        let mut doc = start.clone();
        let inverse = apply(&mut doc, edit.clone()).unwrap();
        assert_ne!(doc, start, "{edit:?}");
        let changed = doc.clone();
        let again = apply(&mut doc, inverse).unwrap();
        // Ids are never given twice, so this one number stays.
        let mut expected = start.clone();
        expected.next_id = doc.next_id;
        assert_eq!(doc, expected, "{edit:?}");
        apply(&mut doc, again).unwrap();
        assert_eq!(doc, changed, "{edit:?}");
        let json = serde_json::to_string(&edit).unwrap();
        assert_eq!(serde_json::from_str::<Edit>(&json).unwrap(), edit);
    }
}

#[test]
fn no_model_changes_an_anchor() {
    let mut doc = with_object();
    let start = doc.clone();
    for provenance in [Provenance::Model, Provenance::Propagated] {
        let edit = Edit::set_mask(DOG, FrameIndex(0), mask(4.0, provenance), Author::Model);
        let error = EditError::Anchor {
            id: DOG,
            frame: FrameIndex(0),
        };
        assert_eq!(apply(&mut doc, edit), Err(error));
    }
    // A range that touches an anchor is refused whole…
    let masks = (0..3)
        .map(|f| (FrameIndex(f), Some(mask(4.0, Provenance::Propagated))))
        .collect();
    let edit = Edit::SetMasks {
        id: DOG,
        masks,
        by: Author::Model,
    };
    assert!(apply(&mut doc, edit).is_err());
    let remove = Edit::SetMasks {
        id: DOG,
        masks: BTreeMap::from([(FrameIndex(0), None)]),
        by: Author::Model,
    };
    assert!(apply(&mut doc, remove).is_err());
    assert_eq!(doc, start);
    // …what leaves them out is taken…
    apply(&mut doc, carried(1..3)).unwrap();
    assert_eq!(doc.mask(DOG, FrameIndex(0)), start.mask(DOG, FrameIndex(0)));
    assert_ne!(doc.mask(DOG, FrameIndex(1)), start.mask(DOG, FrameIndex(1)));
    // …and a person may force it.
    let forced = mask(4.0, Provenance::Model);
    let edit = Edit::set_mask(DOG, FrameIndex(0), forced.clone(), Author::Person);
    apply(&mut doc, edit).unwrap();
    assert_eq!(doc.mask(DOG, FrameIndex(0)), Some(&forced));
}

#[test]
fn a_model_neither_makes_anchors_nor_touches_locked_objects() {
    let mut doc = with_object();
    let human = mask(4.0, Provenance::Human);
    let edit = Edit::set_mask(DOG, FrameIndex(1), human, Author::Model);
    assert!(matches!(
        apply(&mut doc, edit),
        Err(EditError::OnlyPeople { .. })
    ));
    let locked = true;
    apply(&mut doc, Edit::SetLocked { id: DOG, locked }).unwrap();
    let carried = mask(4.0, Provenance::Propagated);
    let edit = Edit::set_mask(DOG, FrameIndex(1), carried.clone(), Author::Model);
    assert_eq!(apply(&mut doc, edit), Err(EditError::Locked(DOG)));
    let edit = Edit::set_mask(DOG, FrameIndex(1), carried, Author::Person);
    assert!(apply(&mut doc, edit).is_ok());
}

#[test]
fn accepting_makes_a_human_anchor() {
    let mut doc = with_object();
    let (id, frame) = (DOG, FrameIndex(1));
    let anchor = true;
    let back = apply(&mut doc, Edit::SetAnchor { id, frame, anchor }).unwrap();
    let mask = doc.mask(id, frame).unwrap();
    assert!(mask.anchor && mask.provenance == Provenance::Human);
    apply(&mut doc, back).unwrap();
    let mask = doc.mask(id, frame).unwrap();
    assert!(!mask.anchor && mask.provenance == Provenance::Propagated);
}

#[test]
fn bad_edits_are_refused_and_leave_no_trace() {
    let mut doc = with_object();
    let start = doc.clone();
    let mut wide = mask(0.0, Provenance::Human);
    wide.rle = Rle::empty(Size::new(3, 3));
    let mut short = mask(0.0, Provenance::Human);
    short.rle.counts.pop();
    let mut nan = mask(0.0, Provenance::Human);
    nan.score = f32::NAN;
    let person =
        |frame, m: &FrameMask| Edit::set_mask(DOG, FrameIndex(frame), m.clone(), Author::Person);
    let mut smaller = doc.video.clone();
    smaller.frames = 2;
    let mut nan_emission = emission();
    nan_emission.proposals[1].confidence = f32::NAN;
    let bad = vec![
        person(10, &mask(0.0, Provenance::Human)),
        person(1, &wide),
        person(1, &short),
        person(1, &nan),
        Edit::remove_mask(DOG, FrameIndex(7)),
        Edit::RemoveObject { id: ObjectId(9) },
        Edit::add_object(start.objects[0].clone()),
        Edit::RemoveEmission { at: 1 },
        Edit::add_emission(nan_emission),
        Edit::SetSelection {
            at: 0,
            selected: vec![true],
        },
        Edit::SetVideo {
            video: Box::new(smaller),
        },
        Edit::SetAnchor {
            id: DOG,
            frame: FrameIndex(7),
            anchor: true,
        },
    ];
    for edit in bad {
        let whole = Edit::Group(vec![
            Edit::RemoveEmission { at: 0 },
            Edit::Rename {
                id: DOG,
                name: "half done".to_owned(),
            },
            edit.clone(),
        ]);
        assert!(apply(&mut doc, edit.clone()).is_err(), "{edit:?}");
        assert!(apply(&mut doc, whole).is_err(), "{edit:?}");
        assert_eq!(doc, start, "{edit:?}");
    }
    assert!(matches!(
        apply(&mut doc, person(1, &short)),
        Err(EditError::BadMask {
            source: MaskError::WrongLength { .. },
            ..
        })
    ));
}

#[test]
fn ids_are_never_given_twice() {
    let mut doc = with_object();
    apply(&mut doc, Edit::RemoveObject { id: DOG }).unwrap();
    let next = doc.new_object("");
    assert_eq!(next.id, ObjectId(2));
    assert_eq!((next.name.as_str(), next.colour), ("object 2", 1));
}

#[test]
fn a_moved_object_stands_where_it_was_put_and_goes_back() {
    let mut doc = with_object();
    for name in ["the cat", "the cow"] {
        let object = doc.new_object(name);
        apply(&mut doc, Edit::add_object(object)).unwrap();
    }
    let ids = |doc: &Document| doc.objects.iter().map(|o| o.id.0).collect::<Vec<_>>();
    assert_eq!(ids(&doc), [1, 2, 3]);
    for (id, at, expected) in [
        (1, 1, [2, 1, 3]),
        (1, 2, [2, 3, 1]),
        (1, usize::MAX, [2, 3, 1]),
        (2, 1, [1, 2, 3]),
        (3, 0, [3, 1, 2]),
        (3, 1, [1, 3, 2]),
    ] {
        let id = ObjectId(id);
        let mut moved = doc.clone();
        let back = apply(&mut moved, Edit::MoveObject { id, at }).unwrap();
        assert_eq!(ids(&moved), expected);
        apply(&mut moved, back).unwrap();
        assert_eq!(moved, doc);
    }
    let id = ObjectId(9);
    let refused = apply(&mut doc, Edit::MoveObject { id, at: 0 });
    assert_eq!(refused, Err(EditError::NoSuchObject(id)));
    assert!(!Edit::MoveObject { id: DOG, at: 0 }.touches_masks());
}

#[test]
fn history_walks_back_to_the_start_and_forth_again() {
    let start = with_object();
    let mut doc = start.clone();
    let mut history = History::new();
    let mut states = vec![doc.clone()];
    for edit in one_of_each() {
        // After the object is gone some edits do not apply any more: those leave no step.
        if history.apply(&mut doc, edit, "edit").is_ok() {
            states.push(doc.clone());
        }
    }
    assert_eq!(history.depth(), states.len() - 1);
    let same = |a: &Document, b: &Document| {
        let mut a = a.clone();
        a.next_id = b.next_id;
        assert_eq!(&a, b);
    };
    for state in states.iter().rev().skip(1) {
        assert!(history.undo(&mut doc).unwrap().is_some());
        same(state, &doc);
    }
    assert!(history.undo(&mut doc).unwrap().is_none());
    for state in &states[1..] {
        // What the store is handed makes the same change elsewhere.
        let mut other = doc.clone();
        let edit = history.redo(&mut doc).unwrap().unwrap();
        apply(&mut other, edit).unwrap();
        assert_eq!(other, doc);
        same(state, &doc);
    }
    assert!(history.redo(&mut doc).unwrap().is_none());
}

#[test]
fn a_group_is_one_step_and_a_new_edit_forgets_what_was_undone() {
    let mut doc = with_object();
    let start = doc.clone();
    let mut history = History::new();
    let name = |name: &str| Edit::Rename {
        id: DOG,
        name: name.to_owned(),
    };
    history.open_group("rename");
    for n in ["a", "ab", "abc"] {
        history.apply(&mut doc, name(n), "type").unwrap();
    }
    assert_eq!(history.undo_label(), Some("rename"));
    history.close_group();
    assert_eq!(history.depth(), 1);
    let after = doc.clone();
    history.undo(&mut doc).unwrap();
    assert_eq!(doc, start);
    assert_eq!(history.redo_label(), Some("rename"));
    history.redo(&mut doc).unwrap();
    assert_eq!(doc, after);
    history.undo(&mut doc).unwrap();
    history.apply(&mut doc, name("other"), "type").unwrap();
    assert_eq!(history.redo(&mut doc).unwrap(), None);
    // A group in which nothing happened is no step; undo closes an open one.
    history.open_group("nothing");
    history.undo(&mut doc).unwrap();
    assert_eq!(doc, start);
    assert_eq!(history.depth(), 0);
}

#[test]
fn an_emission_of_an_older_project_is_chosen_from_as_released() {
    let mut json = serde_json::to_value(emission()).unwrap();
    json.as_object_mut().unwrap().remove("choosing").unwrap();
    let old: Emission = serde_json::from_value(json).unwrap();
    assert_eq!(old.choosing, Choosing::default());
    assert_eq!(old.proposals, emission().proposals);
}

#[test]
fn a_step_keeps_its_identity_when_it_is_undone_and_made_again() {
    let mut doc = with_object();
    let mut history = History::new();
    let rename = |name: &str| Edit::Rename {
        id: DOG,
        name: name.to_owned(),
    };
    history.apply(&mut doc, rename("Rex"), "rename").unwrap();
    let first = history.undo_id().unwrap();
    history.open_group("rename");
    assert_eq!(history.undo_id(), Some(first), "an empty group is no step");
    history.apply(&mut doc, rename("Bella"), "rename").unwrap();
    let second = history.undo_id().unwrap();
    assert_ne!(first, second);
    history.undo(&mut doc).unwrap();
    assert_eq!(
        (history.undo_id(), history.redo_id()),
        (Some(first), Some(second))
    );
    history.redo(&mut doc).unwrap();
    assert_eq!((history.undo_id(), history.redo_id()), (Some(second), None));
    history.undo(&mut doc).unwrap();
    history.forget_redo();
    assert_eq!(history.redo(&mut doc).unwrap(), None);
    assert_eq!(doc.object(DOG).unwrap().name, "Rex");
}

#[test]
fn a_change_knows_the_frames_and_objects_that_it_touches() {
    let doc = with_object();
    let frames = |edit: Edit| {
        let touched = edit.touched(&doc);
        let frames: Vec<u32> = touched.frames.iter().map(|f| f.0).collect();
        (frames, touched.objects.len())
    };
    assert_eq!(frames(carried(3..5)), (vec![3, 4], 1));
    assert_eq!(frames(Edit::RemoveObject { id: DOG }), (vec![0, 1, 2], 0));
    let emission = doc.emissions[0].frame.0;
    assert_eq!(frames(Edit::RemoveEmission { at: 0 }), (vec![emission], 0));
    let colour = Edit::SetColour { id: DOG, colour: 3 };
    let both = Edit::Group(vec![colour, Edit::remove_mask(DOG, FrameIndex(1))]);
    assert_eq!(frames(both), (vec![1], 1));
}
