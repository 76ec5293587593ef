//! Two objects joined into one, and one parted in two: which edit that is. Leaves making it to [`super::edit`], and asking
//! for it to others.

use std::collections::BTreeMap;

use super::{
    document::{Document, DriftSignal, FrameIndex, FrameMask, Object, ObjectId},
    drift::lies_on,
    edit::{Author, Edit, EditError},
};

/// Why an object was not parted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// No object has this id.
    #[error("there is no object {}", .0.0)]
    NoSuchObject(ObjectId),
    /// The first part would hold no pixel.
    #[error("“{name}” has no mask before frame {}: go to the first frame of its second part", .frame.0)]
    NothingBefore {
        /// The object's name.
        name: String,
        /// Where it was to be parted.
        frame: FrameIndex,
    },
    /// The second part would hold no pixel.
    #[error("“{name}” has no mask from frame {} on: go to the first frame of its second part", .frame.0)]
    NothingAfter {
        /// The object's name.
        name: String,
        /// Where it was to be parted.
        frame: FrameIndex,
    },
}

/// The change by which a person joins the masks of `from` into `into`, which keeps its name, phrase and colour; `from` goes.
/// Where both have a mask, an anchor beats one that is none, and of two alike both pixels count; a mask beats that the other is
/// not there. Emissions that list `from` list `into` in its place.
///
/// # Errors
/// [`EditError::NoSuchObject`], also if both are the same one; [`EditError::BadMask`] if two masks cannot be put together.
pub fn merge(doc: &Document, from: ObjectId, into: ObjectId) -> Result<Edit, EditError> {
    let gone = doc.object(from).ok_or(EditError::NoSuchObject(from))?;
    let stays = doc.object(into).filter(|_| into != from);
    let stays = stays.ok_or(EditError::NoSuchObject(into))?;
    let mut masks = BTreeMap::new();
    for (&frame, mask) in &gone.frames {
        let taken = match stays.frames.get(&frame) {
            // That one of the two is not there says nothing against the mask of the other, of which it is now said to be a part.
            Some(there) if mask.rle.is_empty() && !there.rle.is_empty() => continue,
            Some(there) if there.rle.is_empty() && !mask.rle.is_empty() => mask.clone(),
            Some(there) if there.anchor && !mask.anchor => continue,
            Some(there) if there.anchor == mask.anchor => {
                let mut joined = union(frame, there, mask)?;
                if !joined.anchor {
                    // What the two of them lay on was each other, perhaps.
                    let others = doc.objects.iter().filter(|o| o.id != from);
                    let signs = others.map(|o| lies_on(&joined, stays, frame, o));
                    joined.drift.on_other = signs.fold(0.0, f32::max);
                }
                joined
            }
            _ => mask.clone(),
        };
        masks.insert(frame, Some(taken));
    }
    let mut edits = vec![Edit::SetMasks {
        id: into,
        masks,
        by: Author::Person,
    }];
    edits.extend(relisted(doc, FrameIndex(0), from, into));
    edits.push(Edit::RemoveObject { id: from });
    Ok(Edit::Group(edits))
}

/// The changes by which emissions of the frames from `since` on that list `old` list `new`. It takes the same places: each is
/// that of one `[SEG]`.
fn relisted(
    doc: &Document,
    since: FrameIndex,
    old: ObjectId,
    new: ObjectId,
) -> impl Iterator<Item = Edit> {
    let all = doc.emissions.iter().enumerate();
    let listing = all.filter(move |(_, e)| e.frame >= since && e.objects.contains(&old));
    listing.map(move |(at, emission)| {
        let mut emission = Box::new(emission.clone());
        for listed in emission.objects.iter_mut().filter(|o| **o == old) {
            *listed = new;
        }
        Edit::ReplaceEmission { at, emission }
    })
}

/// The pixels of both masks, of which both or none are anchors; no surer than the less sure of the two.
fn union(frame: FrameIndex, a: &FrameMask, b: &FrameMask) -> Result<FrameMask, EditError> {
    let rle = a.rle.union(&b.rle);
    let rle = rle.map_err(|source| EditError::BadMask { frame, source })?;
    if a.anchor {
        return Ok(FrameMask::by_hand(rle));
    }
    let (d, e) = (&a.drift, &b.drift);
    Ok(FrameMask {
        rle,
        score: a.score.min(b.score),
        iou: a.iou.min(b.iou),
        provenance: if a.is_given() {
            a.provenance
        } else {
            b.provenance
        },
        anchor: false,
        drift: DriftSignal {
            object_score: d.object_score.max(e.object_score),
            predicted_iou: d.predicted_iou.max(e.predicted_iou),
            area_jump: d.area_jump.max(e.area_jump),
            centroid_jump: d.centroid_jump.max(e.centroid_jump),
            box_mask: d.box_mask.max(e.box_mask),
            // What the two lay on may have been each other: only the whole document tells.
            on_other: 0.0,
            split: d.split.max(e.split),
            left_out: d.left_out.max(e.left_out),
        },
    })
}

/// The change by which a person gives the masks of an object from frame `at` on to a new object, `new`, right below it in the
/// list; emissions of these frames that list the object list the new one. `new` must be an id that no object had.
///
/// # Errors
/// [`SplitError`] if one of the two would hold no pixel.
pub fn split(
    doc: &Document,
    id: ObjectId,
    at: FrameIndex,
    new: ObjectId,
) -> Result<Edit, SplitError> {
    let place = doc.objects.iter().position(|o| o.id == id);
    let place = place.ok_or(SplitError::NoSuchObject(id))?;
    let object = &doc.objects[place];
    let (name, frame) = (object.name.clone(), at);
    let is_seen = |(_, mask): (&FrameIndex, &FrameMask)| !mask.rle.is_empty();
    if !object.frames.range(..at).any(is_seen) {
        return Err(SplitError::NothingBefore { name, frame });
    }
    if !object.frames.range(at..).any(is_seen) {
        return Err(SplitError::NothingAfter { name, frame });
    }
    let part = Object {
        id: new,
        name: numbered(doc, &object.name),
        colour: new.0.saturating_sub(1),
        visible: object.visible,
        frames: object
            .frames
            .range(at..)
            .map(|(f, m)| (*f, m.clone()))
            .collect(),
        ..doc.new_object(object.phrase.clone())
    };
    let masks = part.frames.keys().map(|f| (*f, None)).collect();
    let mut edits = vec![
        Edit::AddObject {
            object: Box::new(part),
            at: place + 1,
        },
        Edit::SetMasks {
            id,
            masks,
            by: Author::Person,
        },
    ];
    edits.extend(relisted(doc, at, id, new));
    Ok(Edit::Group(edits))
}

/// "NAME (2)", or the first number after it that no object has; of a name that ends so itself, the rest counts.
fn numbered(doc: &Document, name: &str) -> String {
    let numbered = name
        .strip_suffix(')')
        .and_then(|rest| rest.rsplit_once(" ("));
    let base = match numbered {
        Some((base, n)) if !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()) => base,
        _ => name,
    };
    let mut names = (2_u32..).map(|n| format!("{base} ({n})"));
    let free = names.find(|name| doc.objects.iter().all(|o| o.name != *name));
    free.unwrap_or_else(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::{Choosing, Emission, Provenance, Rle, Size, Thresholds, VideoInfo, apply};

    const S: Size = Size {
        width: 4,
        height: 4,
    };
    const ONE: ObjectId = ObjectId(1);
    const TWO: ObjectId = ObjectId(2);
    const NEW: ObjectId = ObjectId(3);

    /// `pixels` of them from pixel `first` on.
    fn mask(first: u32, pixels: u32, anchor: bool) -> FrameMask {
        let rle = Rle::new(S, vec![first, pixels, 16 - first - pixels]).unwrap();
        if anchor {
            return FrameMask::by_hand(rle);
        }
        FrameMask {
            rle,
            score: 0.5 + pixels as f32 / 100.0,
            iou: 0.9,
            provenance: Provenance::Propagated,
            anchor: false,
            drift: DriftSignal::default(),
        }
    }

    fn document(objects: &[(&str, &[(u32, FrameMask)])]) -> Document {
        let video = VideoInfo {
            path: "clip.mp4".to_owned(),
            size: S,
            frames: 10,
            fps: 30.0,
            hash: String::new(),
        };
        let mut doc = Document::new(video, "nano", Thresholds::default());
        for (name, masks) in objects {
            let mut object = doc.new_object("a horse");
            object.name = (*name).to_owned();
            let masks = masks.iter().map(|(f, m)| (FrameIndex(*f), m.clone()));
            object.frames = masks.collect();
            apply(&mut doc, Edit::add_object(object)).unwrap();
        }
        doc
    }

    fn emission(frame: u32, objects: &[ObjectId]) -> Emission {
        Emission {
            frame: FrameIndex(frame),
            phrase: "a horse".to_owned(),
            text: String::new(),
            tokens: Vec::new(),
            unknown_words: Vec::new(),
            proposals: Vec::new(),
            objects: objects.to_vec(),
            tsf_tokens: 0,
            secs: 0.1,
            choosing: Choosing::default(),
            by_hand: None,
        }
    }

    /// Applies it, and makes sure that its inverse takes all of it back.
    fn applied(doc: &Document, edit: Edit) -> Document {
        let mut after = doc.clone();
        let back = apply(&mut after, edit).unwrap();
        let mut again = after.clone();
        apply(&mut again, back).unwrap();
        // Ids are never given twice, so this one number stays.
        again.next_id = doc.next_id;
        assert_eq!(&again, doc);
        after
    }

    #[test]
    fn an_anchor_beats_what_is_none_and_of_two_alike_both_count() {
        let absent = FrameMask::by_hand(Rle::empty(S));
        let one = [
            (0, mask(0, 2, false)),
            (1, mask(0, 2, true)),
            (2, mask(0, 2, false)),
            (3, mask(0, 2, true)),
            (4, mask(0, 2, false)),
            (5, absent.clone()),
            (6, mask(0, 2, false)),
        ];
        let two = [
            (1, mask(4, 3, false)),
            (2, mask(4, 3, true)),
            (3, mask(4, 3, true)),
            (4, mask(4, 3, false)),
            (5, mask(4, 3, false)),
            (6, absent),
            (7, mask(4, 3, false)),
        ];
        let doc = document(&[("a", &one), ("b", &two)]);
        let after = applied(&doc, merge(&doc, TWO, ONE).unwrap());
        assert_eq!(after.objects.len(), 1);
        let object = &after.objects[0];
        assert_eq!((object.id, object.name.as_str()), (ONE, "a"));
        let at = |f: u32| &object.frames[&FrameIndex(f)];
        assert_eq!(at(0), &mask(0, 2, false), "only the one that stays");
        assert_eq!(at(1), &mask(0, 2, true), "its anchor");
        assert_eq!(at(2), &mask(4, 3, true), "the other's anchor");
        let both = Rle::new(S, vec![0, 2, 2, 3, 9]).unwrap();
        assert_eq!(at(3), &FrameMask::by_hand(both.clone()));
        assert_eq!((&at(4).rle, at(4).anchor), (&both, false));
        assert_eq!(at(4).score, mask(0, 2, false).score, "the less sure one's");
        assert_eq!(at(5), &mask(4, 3, false), "where one is not, the other is");
        assert_eq!(at(6), &mask(0, 2, false));
        assert_eq!(at(7), &mask(4, 3, false), "only the one that goes");
        assert_eq!(object.frames.len(), 8);
    }

    /// They went on listing the object that was gone: nothing answered to their phrase.
    #[test]
    fn emissions_list_the_object_that_another_one_went_into() {
        let masks = |f: u32| [(f, mask(0, 2, true))];
        let mut doc = document(&[("a", &masks(0)), ("b", &masks(3)), ("c", &masks(5))]);
        for (frame, objects) in [(0, vec![ONE]), (3, vec![TWO]), (5, vec![NEW, TWO, ONE])] {
            apply(&mut doc, Edit::add_emission(emission(frame, &objects))).unwrap();
        }
        let after = applied(&doc, merge(&doc, TWO, ONE).unwrap());
        let listed: Vec<_> = after.emissions.iter().map(|e| &e.objects[..]).collect();
        assert_eq!(listed, [&[ONE][..], &[ONE], &[NEW, ONE, ONE]]);
    }

    #[test]
    fn joined_masks_are_not_said_to_lie_on_each_other() {
        let mut lying = mask(0, 6, false);
        lying.drift.on_other = 1.0;
        lying.drift.area_jump = 0.7;
        let mut doc = document(&[("a", &[(0, lying.clone())]), ("b", &[(0, lying)])]);
        let after = applied(&doc, merge(&doc, TWO, ONE).unwrap());
        let drift = after.objects[0].frames[&FrameIndex(0)].drift;
        assert_eq!((drift.on_other, drift.area_jump), (0.0, 0.7));
        // A third one may lie there as well.
        let mut third = doc.new_object("a cart");
        third.frames.insert(FrameIndex(0), mask(0, 6, false));
        apply(&mut doc, Edit::add_object(third)).unwrap();
        let after = applied(&doc, merge(&doc, TWO, ONE).unwrap());
        let drift = after.objects[0].frames[&FrameIndex(0)].drift;
        assert_eq!(drift.on_other, 1.0);
    }

    /// Masks on frames where the other was said not to be went without a word.
    #[test]
    fn that_one_is_not_there_takes_no_mask_of_the_other() {
        let carried = mask(4, 4, false);
        for (a, b) in [
            (carried.clone(), mask(0, 0, true)),
            (mask(0, 0, true), carried.clone()),
        ] {
            let mut doc = document(&[("near", &[(3, a)]), ("far", &[(3, b)])]);
            let edit = merge(&doc, TWO, ONE).unwrap();
            apply(&mut doc, edit).unwrap();
            assert_eq!(doc.mask(ONE, FrameIndex(3)), Some(&carried));
        }
    }

    #[test]
    fn an_object_is_not_merged_into_itself_or_into_nothing() {
        let doc = document(&[("a", &[(0, mask(0, 2, true))])]);
        for (from, into, missing) in [(ONE, ONE, ONE), (ONE, TWO, TWO), (TWO, ONE, TWO)] {
            let refused = merge(&doc, from, into);
            assert_eq!(refused, Err(EditError::NoSuchObject(missing)));
        }
    }

    #[test]
    fn the_second_part_stands_below_the_first_with_its_masks_and_emissions() {
        let one = [
            (0, mask(0, 2, true)),
            (3, mask(0, 3, false)),
            (4, mask(0, 4, false)),
            (9, mask(0, 5, true)),
        ];
        let mut doc = document(&[("a", &one), ("b", &[])]);
        for (frame, objects) in [(3, [ONE, TWO]), (4, [ONE, TWO]), (9, [TWO, TWO])] {
            apply(&mut doc, Edit::add_emission(emission(frame, &objects))).unwrap();
        }
        let after = applied(&doc, split(&doc, ONE, FrameIndex(4), NEW).unwrap());
        let ids: Vec<ObjectId> = after.objects.iter().map(|o| o.id).collect();
        assert_eq!(ids, [ONE, NEW, TWO]);
        let frames = |id| {
            let frames = after.object(id).unwrap().frames.iter();
            frames.map(|(f, m)| (f.0, m.clone())).collect::<Vec<_>>()
        };
        assert_eq!(frames(ONE), one[..2]);
        assert_eq!(frames(NEW), one[2..]);
        let part = after.object(NEW).unwrap();
        let told = (part.name.as_str(), part.phrase.as_str(), part.colour);
        assert_eq!(told, ("a (2)", "a horse", 2));
        let listed: Vec<_> = after.emissions.iter().map(|e| e.objects.clone()).collect();
        assert_eq!(listed, [[ONE, TWO], [NEW, TWO], [TWO, TWO]]);
    }

    #[test]
    fn neither_part_is_empty() {
        let absent = FrameMask::by_hand(Rle::empty(S));
        let one = [
            (1, absent.clone()),
            (2, mask(0, 2, false)),
            (5, mask(0, 2, false)),
            (7, absent),
        ];
        let doc = document(&[("a", &one)]);
        let refused = |f: u32| split(&doc, ONE, FrameIndex(f), NEW).unwrap_err();
        let before = |e: &SplitError| matches!(e, SplitError::NothingBefore { .. });
        assert!([0, 1, 2].iter().all(|&f| before(&refused(f))));
        let after = |e: &SplitError| matches!(e, SplitError::NothingAfter { .. });
        assert!([6, 7, 9].iter().all(|&f| after(&refused(f))));
        for frame in [3, 5] {
            assert!(split(&doc, ONE, FrameIndex(frame), NEW).is_ok());
        }
        let missing = split(&doc, TWO, FrameIndex(3), NEW);
        assert_eq!(missing, Err(SplitError::NoSuchObject(TWO)));
    }

    #[test]
    fn the_next_free_number_is_taken_whatever_was_parted_before() {
        let doc = document(&[("a", &[]), ("a (2)", &[]), ("b (x)", &[]), ("(3)", &[])]);
        for (name, next) in [
            ("a", "a (3)"),
            ("a (2)", "a (3)"),
            ("b", "b (2)"),
            ("b (x)", "b (x) (2)"),
            ("(3)", "(3) (2)"),
        ] {
            assert_eq!(numbered(&doc, name), next);
        }
    }
}
