//! Saying that an object is not to be seen, on one frame or in the range, and clearing the range of masks that nobody
//! vouches for. Part of `logic`.

use std::{collections::BTreeMap, ops::RangeInclusive};

use super::{
    actions::Action,
    app::App,
    state::{State, Weight},
};
use crate::{
    project::{Author, Edit, FrameIndex, FrameMask, Object, ObjectId, Rle, counted},
    task::PropagateDirection,
};

/// What is said of a frame where a person says that the object is not to be seen.
pub(crate) const NOT_HERE: &str = "not here, by hand";

/// Whether a person says that the object is not to be seen on a frame.
pub(crate) fn is_absent(object: &Object, frame: FrameIndex) -> bool {
    let mask = object.frames.get(&frame);
    mask.is_some_and(FrameMask::says_absent)
}

/// The end of a sentence: how many masks a person made or accepted, which stay; empty if there are none.
fn staying(masks: usize) -> String {
    if masks == 0 {
        return String::new();
    }
    let stay = if masks == 1 { "stays" } else { "stay" };
    let masks = counted(masks, "mask");
    format!("; {masks} that you made or accepted {stay}")
}

impl State {
    /// The frames of the range; `None` if none is set.
    fn chosen_range(&self) -> Option<RangeInclusive<u32>> {
        if self.range == (None, None) {
            return None;
        }
        let (start, end) = self.propagation_range(self.here(), PropagateDirection::Both);
        Some(start..=end)
    }
}

impl App {
    /// The selected object if a person may change its masks; says why not.
    pub(super) fn changeable(&mut self) -> Option<ObjectId> {
        if let Some(id) = self.state.selected_object().map(|o| o.id) {
            return (!self.says_untouchable(id)).then_some(id);
        }
        let here = self.state.here();
        let selected = self.state.selected;
        // Its first mask may be on its way.
        let waits = selected.is_some_and(|id| self.has_to_wait(id, here));
        if !waits {
            self.say(Weight::Info, "Select an object first.");
        }
        None
    }

    /// [`App::changeable`], and the frames of the range; says if there is none.
    fn changeable_range(&mut self) -> Option<(ObjectId, RangeInclusive<u32>)> {
        let Some(range) = self.state.chosen_range() else {
            let key = |action| self.state.keymap.in_brackets(action);
            let text = format!(
                "Set a range first: where it starts{} and where it ends{}.",
                key(Action::RangeStart),
                key(Action::RangeEnd)
            );
            self.say(Weight::Info, text);
            return None;
        };
        let id = self.changeable()?;
        self.end_paint();
        self.finish_prompt();
        Some((id, range))
    }

    /// The selected object is not to be seen on the frame in view: an anchor without a pixel. Again takes it back.
    pub(super) fn not_here(&mut self) {
        let Some(id) = self.changeable() else {
            return;
        };
        self.end_paint();
        let frame = self.state.here();
        self.forget_what_is_asked(id, frame);
        self.state.playing = None;
        let doc = self.state.session.as_ref().map(|s| &s.doc);
        let Some((doc, object)) = doc.and_then(|d| Some((d, d.object(id)?))) else {
            return;
        };
        let name = object.name.clone();
        if !is_absent(object, frame) {
            let mask = FrameMask::by_hand(Rle::empty(doc.video.size));
            let edit = Edit::set_mask(id, frame, mask, Author::Person);
            self.about_to_edit_masks();
            if self.edit(edit, "not on this frame") {
                self.said_absent(id, frame.0..=frame.0);
            }
        } else if !self.unsaid_absent(id, &(frame.0..=frame.0)) {
            self.about_to_edit_masks();
            self.edit(Edit::remove_mask(id, frame), "take “not here” back");
            let text =
                format!("Nothing is said of “{name}” here any more; it has no mask on this frame.");
            self.say(Weight::Info, text);
        }
    }

    /// Remembers by which step an object was said to be absent.
    fn said_absent(&mut self, id: ObjectId, frames: RangeInclusive<u32>) {
        self.state.said_absent = self.undo_id().map(|step| (step, id, frames));
    }

    /// Takes it back by undoing that step, which brings the masks that were there back, if it is the latest one.
    fn unsaid_absent(&mut self, id: ObjectId, frames: &RangeInclusive<u32>) -> bool {
        let said = self.state.said_absent.as_ref();
        let latest = said.is_some_and(|(step, object, there)| {
            Some(*step) == self.undo_id() && *object == id && there == frames
        });
        if latest {
            // What waits or is half drawn is no answer to this.
            self.about_to_edit_masks();
            self.step_history(true);
        }
        latest
    }

    /// The same for all frames of the range but those with a mask that a person made or accepted.
    pub(super) fn not_in_range(&mut self) {
        let Some((id, range)) = self.changeable_range() else {
            return;
        };
        let doc = self.state.session.as_ref().map(|s| &s.doc);
        let Some((doc, object)) = doc.and_then(|d| Some((d, d.object(id)?))) else {
            return;
        };
        let nothing = FrameMask::by_hand(Rle::empty(doc.video.size));
        let frames = range.clone();
        let mut masks = BTreeMap::new();
        let mut absent = BTreeMap::new();
        let mut stayed = 0;
        for frame in range.map(FrameIndex) {
            match object.frames.get(&frame) {
                Some(mask) if mask.says_absent() => {
                    absent.insert(frame, None);
                }
                Some(mask) if mask.anchor => stayed += 1,
                _ => {
                    masks.insert(frame, Some(nothing.clone()));
                }
            }
        }
        let name = object.name.clone();
        let takes_back = masks.is_empty();
        if takes_back && self.unsaid_absent(id, &frames) {
            return;
        }
        let (masks, label) = if takes_back {
            (absent, "take “not here” back")
        } else {
            (masks, "not in this range")
        };
        let stay = staying(stayed);
        let text = match masks.len() {
            0 => format!("Nothing in the range was changed{stay}."),
            n if takes_back => {
                let frames = counted(n, "frame");
                format!("Nothing is said of “{name}” on {frames} any more{stay}.")
            }
            n => format!("“{name}” is not there on {}{stay}.", counted(n, "frame")),
        };
        if self.change_in_range(id, masks, label, text) && !takes_back {
            self.said_absent(id, frames);
        }
    }

    /// Deletes the selected object's masks in the range that no person made or accepted.
    pub(super) fn delete_in_range(&mut self) {
        let Some((id, range)) = self.changeable_range() else {
            return;
        };
        let Some(object) = self.state.selected_object() else {
            return;
        };
        let there = object
            .frames
            .range(FrameIndex(*range.start())..=FrameIndex(*range.end()));
        let (anchors, others): (Vec<_>, Vec<_>) = there.partition(|(_, mask)| mask.anchor);
        let masks: BTreeMap<_, _> = others.iter().map(|(frame, _)| (**frame, None)).collect();
        let stay = staying(anchors.len());
        let text = match masks.len() {
            0 => format!("There is no mask in the range to delete{stay}."),
            n => format!("Deleted {}{stay}.", counted(n, "mask")),
        };
        self.change_in_range(id, masks, "delete masks in the range", text);
    }

    /// Makes the change, if it is one, and says what came of it; whether something was changed.
    fn change_in_range(
        &mut self,
        id: ObjectId,
        masks: BTreeMap<FrameIndex, Option<FrameMask>>,
        label: &str,
        text: String,
    ) -> bool {
        let changes = !masks.is_empty();
        if !masks.is_empty() {
            self.stay();
            self.state.playing = None;
            self.about_to_edit_masks();
            let by = Author::Person;
            if !self.edit(Edit::SetMasks { id, masks, by }, label) {
                return false;
            }
        }
        self.say(Weight::Info, text);
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        project::Provenance,
        task::Update,
        ui::{
            masks::tests::{
                AT, FIRST, ONE, act, add_object, answer, asked, carried, doc, mask, send_answer,
                was_said, window,
            },
            state::{Job, JobKind},
        },
    };

    fn at(app: &App, frame: u32) -> Option<&FrameMask> {
        doc(app).mask(ONE, FrameIndex(frame))
    }

    /// `a` where the object is said to be absent, `k` for an anchor with pixels, `m` for another mask, `-` for nothing.
    fn masks_of(app: &App) -> String {
        let frames = 0..doc(app).video.frames;
        frames
            .map(|f| match at(app, f) {
                Some(mask) if mask.says_absent() => 'a',
                Some(mask) if mask.anchor => 'k',
                Some(_) => 'm',
                None => '-',
            })
            .collect()
    }

    /// A window on an object with masks on frames 0 to 3 of 5, that on frame 1 accepted; it is selected.
    fn with_object() -> App {
        let mut app = window();
        let id = add_object(&mut app, &[0, 1, 2, 3]);
        app.select_object(Some(id));
        let (frame, anchor) = (FrameIndex(1), true);
        assert!(app.edit(Edit::SetAnchor { id, frame, anchor }, "accept frame"));
        assert_eq!(masks_of(&app), "mkmm-");
        app
    }

    fn set_range(app: &mut App, start: u32, end: u32) {
        app.state.range = (Some(start), Some(end));
    }

    #[test]
    fn an_object_is_said_not_to_be_here_and_that_is_taken_back() {
        for (frame, said, taken_back) in [(0, "akmm-", "-kmm-"), (4, "mkmma", "mkmm-")] {
            let mut app = with_object();
            app.seek(frame);
            act(&mut app, Action::NotHere);
            act(&mut app, Action::NotHere);
            assert_eq!(masks_of(&app), "mkmm-", "a slip of the hand takes no mask");
            act(&mut app, Action::Redo);
            assert_eq!(masks_of(&app), said);
            // What was done since is not undone for it.
            app.select_object(Some(ONE));
            let renamed = Edit::Rename {
                id: ONE,
                name: "it".to_owned(),
            };
            assert!(app.edit(renamed, "rename"));
            let mask = at(&app, frame).unwrap();
            assert_eq!(mask, &FrameMask::by_hand(Rle::empty(doc(&app).video.size)));
            act(&mut app, Action::NotHere);
            assert_eq!(masks_of(&app), taken_back);
            assert!(was_said(&app, "it has no mask on this frame"));
            act(&mut app, Action::Undo);
            assert_eq!(masks_of(&app), said);
            act(&mut app, Action::Undo);
            act(&mut app, Action::Undo);
            assert_eq!(masks_of(&app), "mkmm-", "each is one step");
        }
    }

    /// A person's own word against their earlier one.
    #[test]
    fn an_anchor_gives_way_on_the_frame_in_view() {
        let mut app = with_object();
        app.seek(1);
        act(&mut app, Action::NotHere);
        assert_eq!(masks_of(&app), "mamm-");
        act(&mut app, Action::Undo);
        assert_eq!(masks_of(&app), "mkmm-");
    }

    /// What waits was taken back in its place.
    #[test]
    fn not_here_is_taken_back_and_not_what_was_asked_since() {
        let mut app = with_object();
        act(&mut app, Action::NotHere);
        app.propagate(PropagateDirection::Both);
        assert_eq!(carried(&app), [[ONE]]);
        act(&mut app, Action::NotHere);
        assert_eq!(masks_of(&app), "mkmm-");
        // Steps of another clip have the same numbers.
        act(&mut app, Action::NotHere);
        app.cancel_all();
        assert!(app.state.said_absent.is_none());
    }

    #[test]
    fn no_propagation_fills_a_frame_where_the_object_is_not() {
        let mut app = with_object();
        app.seek(2);
        act(&mut app, Action::NotHere);
        app.propagate(PropagateDirection::Both);
        assert_eq!(carried(&app), [[ONE]]);
        let is_propagation = |j: &&Job| matches!(j.kind, JobKind::Propagate { .. });
        let job = app.state.jobs.iter().find(is_propagation).unwrap().id;
        for frame in [2, 4] {
            app.take(Update::Propagated {
                job,
                object: ONE,
                frame: FrameIndex(frame),
                mask: Box::new(FrameMask {
                    provenance: Provenance::Propagated,
                    ..mask(3)
                }),
            });
        }
        assert_eq!(masks_of(&app), "mkamm");
    }

    #[test]
    fn a_running_propagation_ends_where_a_person_says_that_the_object_is_not_there() {
        let mut app = with_object();
        app.propagate(PropagateDirection::Both);
        assert_eq!(carried(&app), [[ONE]]);
        act(&mut app, Action::NotHere);
        assert!(carried(&app).is_empty());
        assert_eq!(masks_of(&app), "akmm-");
    }

    #[test]
    fn a_click_on_its_way_does_not_bring_the_object_back_where_it_is_not() {
        let mut app = with_object();
        app.click(AT, true);
        let late = asked(&app);
        act(&mut app, Action::NotHere);
        send_answer(&mut app, late, 4);
        assert_eq!(masks_of(&app), "akmm-");
        // Asked for since, it does.
        app.click(AT, true);
        answer(&mut app, 4);
        assert_eq!(masks_of(&app), "kkmm-");
    }

    #[test]
    fn an_object_that_is_being_made_has_to_be_waited_for() {
        let mut app = window();
        app.click(AT, true);
        act(&mut app, Action::NotHere);
        assert!(was_said(&app, "still on its way"));
        answer(&mut app, 4);
        assert!(doc(&app).object(ONE).unwrap().frames[&FIRST].anchor);
    }

    #[test]
    fn in_the_range_all_but_a_persons_masks_give_way_in_one_step() {
        let mut app = with_object();
        set_range(&mut app, 1, 4);
        act(&mut app, Action::NotInRange);
        assert_eq!(masks_of(&app), "mkaaa");
        assert!(was_said(&app, "is not there on 3 frames; 1 mask that you"));
        act(&mut app, Action::NotInRange);
        assert_eq!(masks_of(&app), "mkmm-", "a slip of the hand takes no mask");
        act(&mut app, Action::Redo);
        let renamed = Edit::Rename {
            id: ONE,
            name: "it".to_owned(),
        };
        assert!(app.edit(renamed, "rename"));
        act(&mut app, Action::NotInRange);
        assert_eq!(masks_of(&app), "mk---");
        assert!(was_said(&app, "on 3 frames any more"));
        for _ in 0..3 {
            act(&mut app, Action::Undo);
        }
        assert_eq!(masks_of(&app), "mkmm-");
        set_range(&mut app, 1, 1);
        act(&mut app, Action::NotInRange);
        assert_eq!(masks_of(&app), "mkmm-");
        assert!(was_said(&app, "Nothing in the range was changed; 1 mask"));
    }

    #[test]
    fn a_range_with_one_end_goes_on_to_the_clips() {
        let mut app = with_object();
        app.state.range = (Some(3), None);
        act(&mut app, Action::NotInRange);
        assert_eq!(masks_of(&app), "mkmaa");
    }

    #[test]
    fn masks_of_the_range_are_deleted_but_for_a_persons() {
        let mut app = with_object();
        app.seek(3);
        act(&mut app, Action::NotHere);
        set_range(&mut app, 0, 3);
        act(&mut app, Action::DeleteInRange);
        assert_eq!(masks_of(&app), "-k-a-");
        assert!(was_said(&app, "Deleted 2 masks; 2 masks that you"));
        act(&mut app, Action::DeleteInRange);
        assert!(was_said(&app, "no mask in the range to delete"));
        act(&mut app, Action::Undo);
        assert_eq!(masks_of(&app), "mkma-");
    }

    #[test]
    fn without_a_range_an_object_or_a_key_nothing_happens_but_a_sentence() {
        for action in [Action::NotInRange, Action::DeleteInRange] {
            let mut app = with_object();
            let before = doc(&app).clone();
            act(&mut app, action);
            assert!(was_said(&app, "Set a range first"));
            set_range(&mut app, 0, 4);
            app.select_object(None);
            act(&mut app, action);
            assert!(was_said(&app, "Select an object first"));
            assert_eq!(doc(&app), &before);
        }
        for action in [Action::NotHere, Action::NotInRange, Action::DeleteInRange] {
            let mut app = with_object();
            set_range(&mut app, 0, 4);
            act(&mut app, Action::LockObject);
            let before = doc(&app).clone();
            act(&mut app, action);
            assert!(was_said(&app, "is locked"));
            assert_eq!(doc(&app), &before);
        }
    }

    #[test]
    fn accepting_where_there_is_no_mask_says_how_to_say_that_there_is_none() {
        let mut app = with_object();
        app.seek(4);
        app.accept_frame();
        assert!(was_said(&app, "no mask on this frame") && was_said(&app, "(E)"));
    }

    #[test]
    fn a_frame_where_the_object_is_not_is_no_start_of_a_correction() {
        let mut app = with_object();
        act(&mut app, Action::NotHere);
        assert!(!crate::ui::masks::next_mark(&app.state, true).contains("elsewhere"));
        app.click(AT, false);
        assert!(was_said(&app, "Click what belongs to it first"));
        assert_eq!(masks_of(&app), "akmm-");
    }
}
