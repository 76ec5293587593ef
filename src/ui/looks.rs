//! Where a person should look, and why: frames whose masks may have drifted. Part of `logic`; the signs themselves are
//! [`crate::project::measure`]'s.

use super::{app::App, state::Weight};
use crate::project::{
    Author, Document, Edit, FrameIndex, FrameMask, Object, ObjectId, Reason, lies_on,
};

/// Why the mask of an object on a frame is worth a look, the strongest sign first; empty if it is not.
pub(crate) fn reasons(doc: &Document, object: &Object, frame: FrameIndex) -> Vec<String> {
    let Some(mask) = object.frames.get(&frame) else {
        return Vec::new();
    };
    if !mask.is_worth_a_look() {
        return carried_on(object, frame).into_iter().collect();
    }
    mask.reasons()
        .into_iter()
        .map(|reason| {
            // The other object has a name here.
            let under = (reason == Reason::OnOther).then(|| {
                let others = doc.objects.iter().filter(|o| o.id != object.id);
                others
                    .filter_map(|o| Some((o, o.frames.get(&frame)?.rle.iou(&mask.rle).ok()?)))
                    .max_by(|a, b| a.1.total_cmp(&b.1))
            });
            match under.flatten() {
                Some((other, _)) => format!("it lies on “{}”", other.name),
                None => reason.to_string(),
            }
        })
        .collect()
}

/// Why a mask without signs of its own is worth a look all the same.
fn carried_on(object: &Object, frame: FrameIndex) -> Option<String> {
    let mut looks = object.worth_a_look().into_iter();
    let (_, from) = looks.find(|look| look.0 == frame)?;
    Some(format!(
        "carried on from frame {}, where it may have gone wrong",
        from.0
    ))
}

/// The change that a carried mask makes: where it has come to lie on another object's, both are marked. Which of the two
/// went astray, their masks do not say.
pub(super) fn carried(
    doc: &Document,
    object: &Object,
    frame: FrameIndex,
    mut mask: FrameMask,
) -> Edit {
    let mut edits = Vec::new();
    for other in &doc.objects {
        let sign = lies_on(&mask, object, frame, other);
        mask.drift.on_other = mask.drift.on_other.max(sign);
        let under = other.frames.get(&frame);
        let may_be_marked =
            |m: &&FrameMask| !m.is_given() && !other.locked && m.drift.on_other < sign;
        if let Some(mut under) = under.filter(may_be_marked).cloned() {
            under.drift.on_other = sign;
            edits.push(Edit::set_mask(other.id, frame, under, Author::Model));
        }
    }
    edits.push(Edit::set_mask(object.id, frame, mask, Author::Model));
    match edits.len() {
        1 => edits.remove(0),
        _ => Edit::Group(edits),
    }
}

/// Starts of all stretches with signs of their own, by frame: within a longer one that is carried on from the first of them, each is
/// where something else has become worse.
fn stretches(doc: &Document) -> Vec<(FrameIndex, ObjectId)> {
    let mut places = Vec::new();
    for object in &doc.objects {
        let marked = object.frames.iter().filter(|(_, m)| m.is_worth_a_look());
        let mut last: Option<u32> = None;
        for (frame, _) in marked {
            if last.is_none_or(|last| last + 1 != frame.0) {
                places.push((*frame, object.id));
            }
            last = Some(frame.0);
        }
    }
    places.sort_unstable();
    places
}

/// The mask whose signs are the strongest; of equal ones, that with the most of them, then the earliest.
fn worst(doc: &Document) -> Option<(FrameIndex, ObjectId)> {
    let objects = doc.objects.iter();
    let masks = objects.flat_map(|o| o.frames.iter().map(|(frame, m)| (*frame, o.id, m)));
    let marked = masks.filter(|(_, _, m)| m.is_worth_a_look());
    marked
        .max_by(|(f, a, m), (g, b, n)| {
            let by_signs = m.drift.cmp_severity(&n.drift);
            by_signs.then((g, b).cmp(&(f, a)))
        })
        .map(|(frame, id, _)| (frame, id))
}

impl App {
    /// To the start of the next or the previous stretch worth a look; past the end, from the start again.
    pub(super) fn next_look(&mut self, forward: bool) {
        let Some(session) = &self.state.session else {
            return;
        };
        let places = stretches(&session.doc);
        let seen = (self.state.here(), self.state.selected);
        let at = |(frame, id): &&(FrameIndex, ObjectId)| (*frame, Some(*id));
        let further = if forward {
            places.iter().find(|p| at(p) > seen).or(places.first())
        } else {
            places.iter().rfind(|p| at(p) < seen).or(places.last())
        };
        let further = further.copied();
        self.look_at(further);
    }

    /// To the mask that most asks for a look.
    pub(super) fn worst_look(&mut self) {
        let place = self.state.session.as_ref().and_then(|s| worst(&s.doc));
        self.look_at(place);
    }

    fn look_at(&mut self, place: Option<(FrameIndex, ObjectId)>) {
        let Some((frame, id)) = place else {
            self.say(Weight::Info, "No frame asks for a look.");
            return;
        };
        self.select_object(Some(id));
        self.state.playing = None;
        self.seek(frame.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    use crate::{
        project::{DriftSignal, Provenance, Rle, Size},
        task::{Request, Update},
        ui::{session::Session, state::JobKind},
    };

    const SIZE: Size = Size {
        width: 4,
        height: 4,
    };

    fn mask(drift: DriftSignal) -> FrameMask {
        FrameMask {
            rle: Rle {
                size: SIZE,
                counts: vec![4, 4, 8],
            },
            score: 0.9,
            iou: 0.9,
            provenance: Provenance::Propagated,
            anchor: false,
            drift,
        }
    }

    fn jump(area_jump: f32) -> DriftSignal {
        DriftSignal {
            area_jump,
            ..DriftSignal::default()
        }
    }

    /// Two objects; the first is marked on frames 2 to 4 and 8, the second on 3.
    fn window() -> App {
        let mut doc = crate::ui::fixture::document(SIZE, 20);
        for marked in [&[(2, 0.6), (3, 1.0), (4, 0.6), (8, 0.7)][..], &[(3, 0.8)]] {
            let mut object = doc.new_object("a horse");
            for frame in 0..20 {
                let drift = marked.iter().find(|(f, _)| *f == frame);
                let drift = drift.map_or_else(DriftSignal::default, |(_, sign)| jump(*sign));
                object.frames.insert(FrameIndex(frame), mask(drift));
            }
            doc.objects.push(object);
        }
        let mut app = App::without_model(&egui::Context::default());
        app.state.session = Some(Session::read_only(doc, "clip.sparrow".into()));
        app
    }

    fn place(app: &App) -> (u32, u32) {
        (app.state.frame, app.state.selected.map_or(0, |id| id.0))
    }

    #[test]
    fn looks_go_from_stretch_to_stretch_and_back() {
        let mut app = window();
        let mut go = |forward| {
            app.next_look(forward);
            place(&app)
        };
        assert_eq!([true; 4].map(&mut go), [(2, 1), (3, 2), (8, 1), (2, 1)]);
        assert_eq!([false; 3].map(&mut go), [(8, 1), (3, 2), (2, 1)]);
    }

    #[test]
    fn what_is_carried_on_from_a_marked_frame_says_so() {
        let app = window();
        let doc = app.document().unwrap();
        let said = |frame| reasons(doc, &doc.objects[1], FrameIndex(frame)).join("; ");
        assert!(said(3).starts_with("the area jumped"), "{}", said(3));
        assert!(said(9).contains("carried on from frame 3"), "{}", said(9));
        assert_eq!(said(2), "");
    }

    #[test]
    fn the_worst_frame_has_the_strongest_sign_and_of_equals_the_most() {
        let mut app = window();
        app.worst_look();
        assert_eq!(place(&app), (3, 1));
        let doc = &mut app.state.session.as_mut().unwrap().doc;
        let worse = DriftSignal {
            centroid_jump: 1.0,
            ..jump(1.0)
        };
        let frames = &mut doc.objects[1].frames;
        frames.insert(FrameIndex(15), mask(worse));
        app.worst_look();
        assert_eq!(place(&app), (15, 2));
    }

    #[test]
    fn two_carried_masks_that_come_to_lie_on_each_other_are_both_marked() {
        let mut app = window();
        let wake = app.services.wake.clone();
        let mut doc = app.state.session.take().unwrap().doc;
        for (object, first) in doc.objects.iter_mut().zip([0, 8]) {
            let mut given = mask(DriftSignal::default());
            given.provenance = Provenance::Model;
            given.rle.counts = vec![first, 4, 12 - first];
            object.frames = BTreeMap::from([(FrameIndex(0), given)]);
        }
        let ids = [doc.objects[0].id, doc.objects[1].id];
        app.state.session = Some(Session::unsaved(doc, Vec::new(), wake));
        let (model, device) = ("nano".to_owned(), "cpu".to_owned());
        let kind = JobKind::Propagate {
            what: "2 objects".to_owned(),
            objects: ids.to_vec(),
            frames: BTreeMap::new(),
        };
        let job = app.submit(Request::LoadModel { model, device }, kind);
        for object in ids {
            app.take(Update::Propagated {
                job: job.unwrap(),
                object,
                frame: FrameIndex(5),
                mask: Box::new(mask(DriftSignal::default())),
            });
        }
        let doc = app.document().unwrap();
        let signs = ids.map(|id| doc.mask(id, FrameIndex(5)).unwrap().drift.on_other);
        assert_eq!(signs, [1.0, 1.0]);
        assert_eq!(stretches(doc), ids.map(|id| (FrameIndex(5), id)));
    }

    #[test]
    fn a_mark_says_its_reason_and_names_the_object_that_it_lies_on() {
        let mut app = window();
        let doc = &mut app.state.session.as_mut().unwrap().doc;
        doc.objects[1].name = "the star".to_owned();
        let lies = DriftSignal {
            on_other: 1.0,
            ..jump(0.7)
        };
        let frames = &mut doc.objects[0].frames;
        frames.insert(FrameIndex(3), mask(lies));
        let said = |frame| reasons(doc, &doc.objects[0], FrameIndex(frame));
        assert_eq!(said(3), ["it lies on “the star”", "the area jumped ×2.0"]);
        assert_eq!(said(2), ["the area jumped ×1.9"]);
        assert_eq!(said(0), [""; 0]);
    }
}
