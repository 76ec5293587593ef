//! Masks by hand: clicks, boxes, choosing proposals, accepting, deleting. Part of `logic`.

use super::{
    actions::Action,
    app::App,
    logic::cut,
    prompting::{CHOOSE_ONE, Mark, Prompting},
    state::{State, Weight},
};
use crate::project::{
    Author, BoxPx, Edit, FrameIndex, FrameMask, Object, ObjectId, PointPx, Provenance,
};

/// What the step is called that changes which proposals are kept.
const CHOOSE: &str = "choose proposals";

/// A box that overlaps the box of a mask by less than this (IoU) lies elsewhere.
const ELSEWHERE: f32 = 0.3;

/// Whether a drawn box lies elsewhere than what a person has made, or asked for, of the selected object on the frame in view.
fn lies_elsewhere(state: &State, area: BoxPx) -> bool {
    let Some(selected) = state.selected else {
        return false;
    };
    let here = state.here();
    let mut asked = state.prompts().filter(|p| p.by_hand && p.is_pending());
    if let Some(asked) = asked.find(|p| p.object == selected && p.frame == here) {
        let holds = |(at, on): (PointPx, bool)| {
            on && (area.x1..area.x2).contains(&at.x) && (area.y1..area.y2).contains(&at.y)
        };
        return match asked.box_px() {
            Some(before) => area.iou(before) < ELSEWHERE,
            None => !asked.points().any(holds),
        };
    }
    let doc = state.session.as_ref().map(|s| &s.doc);
    let anchor = doc
        .and_then(|d| d.mask(selected, here))
        .filter(|m| m.anchor);
    let there = anchor.and_then(|m| m.rle.bounding_box());
    there.is_some_and(|there| area.iou(there) < ELSEWHERE)
}

/// What the next box does that becomes a mask, or the next click on an object.
pub(super) fn next_mark(state: &State, is_box: bool) -> String {
    let selected = state.selected_object().filter(|_| !state.is_finished());
    let Some(object) = selected else {
        return "begins a new object".to_owned();
    };
    let name = cut(&object.name, 24);
    let here = object.frames.get(&state.here());
    let anchor = here.is_some_and(|m| m.anchor && !m.rle.is_empty());
    let new = state.keymap.shown(Action::NewObject);
    let elsewhere = if is_box && anchor {
        "elsewhere a new object".to_owned()
    } else if new.is_empty() {
        return format!("corrects “{name}”");
    } else {
        format!("{new} for a new one")
    };
    format!("corrects “{name}” · {elsewhere}")
}

impl App {
    /// The object that hand work goes to: the selected one, or a new one. Says why not if it is locked or hidden.
    pub(super) fn target(&mut self) -> Option<ObjectId> {
        let session = self.state.session.as_ref()?;
        match self.state.selected {
            Some(id) if session.doc.object(id).is_some() => {
                (!self.says_untouchable(id)).then_some(id)
            }
            // Its first mask is on its way.
            Some(id) if self.state.prompts().any(|p| p.object == id) => Some(id),
            _ => self.state.free_id(),
        }
    }

    /// The object that a drawn box is for: one that a person has made here already is not overwritten by a box that lies
    /// elsewhere.
    fn box_target(&mut self, area: BoxPx) -> Option<ObjectId> {
        if self.state.is_finished() || lies_elsewhere(&self.state, area) {
            return self.state.free_id();
        }
        self.target()
    }

    /// Whether a person may not change an object's masks as it is, locked or hidden; says so. What nobody sees nobody should paint.
    pub(super) fn says_untouchable(&mut self, id: ObjectId) -> bool {
        self.says_locked(id)
            || self.says_of(id, |o| !o.visible, ("hidden. Show it", Action::ShowObject))
    }

    /// Whether an object is locked; says so if it is.
    pub(super) fn says_locked(&mut self, id: ObjectId) -> bool {
        self.says_of(id, |o| o.locked, ("locked. Unlock it", Action::LockObject))
    }

    /// Whether an object is in a state in which its masks stay as they are; says which, and what ends it.
    fn says_of(
        &mut self,
        id: ObjectId,
        is_so: fn(&Object) -> bool,
        (state, end): (&str, Action),
    ) -> bool {
        let object = self.state.session.as_ref().and_then(|s| s.doc.object(id));
        let Some(object) = object.filter(|o| is_so(o)) else {
            return false;
        };
        let text = format!(
            "“{}” is {state}{} to change its masks.",
            object.name,
            self.state.keymap.in_brackets(end)
        );
        self.say(Weight::Look, text);
        true
    }

    /// Whether a mask is still to come to this frame of the object; says that it has to be waited for.
    pub(super) fn has_to_wait(&mut self, object: ObjectId, frame: FrameIndex) -> bool {
        let awaited = self.state.is_awaited(object, frame);
        if awaited {
            let text = "The mask that you asked for is still on its way; go on once it is there.";
            self.say(Weight::Info, text);
        }
        awaited
    }

    /// Nothing stays selected that is neither there nor being made.
    pub(super) fn mend_selection(&mut self) {
        let doc = self.state.session.as_ref().map(|s| &s.doc);
        let is_there = |id| {
            doc.is_some_and(|d| d.object(id).is_some())
                || self.state.prompts().any(|p| p.object == id)
        };
        if self.state.selected.is_some_and(|id| !is_there(id)) {
            self.state.selected = None;
        }
    }

    /// A person changes masks: a running propagation would fight with that, so it ends with what it has.
    pub(super) fn about_to_edit_masks(&mut self) {
        self.drop_queued();
        if self.state.propagation().is_some() {
            self.cancel_propagations();
        }
    }

    /// Propagations that wait for masks do not come any more; says so if there were any.
    pub(super) fn drop_queued(&mut self) {
        if !std::mem::take(&mut self.state.queued).is_empty() {
            let text = "The propagation that waited for a mask was dropped.";
            self.say(Weight::Info, text);
        }
    }

    /// Puts a mask on a frame; an object that is not there yet is made.
    pub(super) fn put_mask(
        &mut self,
        id: ObjectId,
        frame: FrameIndex,
        mask: FrameMask,
    ) -> Option<Edit> {
        let doc = &self.state.session.as_ref()?.doc;
        if doc.object(id).is_some() {
            return Some(Edit::set_mask(id, frame, mask, Author::Person));
        }
        let mut object = doc.new_object("");
        object.id = id;
        object.colour = id.0.saturating_sub(1);
        object.name = format!("object {}", id.0);
        object.frames.insert(frame, mask);
        Some(Edit::add_object(object))
    }

    /// [`App::put_mask`] for an object that answers to a phrase: made now if it is not there yet, it is listed in the
    /// phrase's emission, in place of any that are gone.
    pub(super) fn put_referent(
        &mut self,
        id: ObjectId,
        frame: FrameIndex,
        mask: FrameMask,
        phrase: &str,
    ) -> Option<Edit> {
        let doc = &self.state.session.as_ref()?.doc;
        let mut edits = Vec::new();
        if doc.object(id).is_some() {
            edits.push(Edit::set_mask(id, frame, mask, Author::Person));
        } else {
            let mut object = doc.new_object(phrase);
            object.id = id;
            object.colour = id.0.saturating_sub(1);
            object.frames.insert(frame, mask);
            edits.push(Edit::add_object(object));
        }
        let emissions = doc.emissions.iter();
        let at = emissions
            .clone()
            .rposition(|e| e.frame == frame && e.phrase == phrase);
        if let Some(at) = at {
            let mut emission = Box::new(doc.emissions[at].clone());
            emission.objects.retain(|id| doc.object(*id).is_some());
            emission.objects.push(id);
            edits.push(Edit::ReplaceEmission { at, emission });
        }
        Some(Edit::Group(edits))
    }

    // Clicks and boxes.

    pub(super) fn click(&mut self, point: PointPx, on: bool) {
        self.stay();
        self.state.playing = None;
        let target = if self.state.is_finished() {
            self.state.free_id()
        } else {
            self.target()
        };
        let Some(object) = target else {
            return;
        };
        if !on && !self.has_start(object) {
            self.say(Weight::Info, "Click what belongs to it first.");
            return;
        }
        self.about_to_edit_masks();
        self.give(object, Mark::Point(point, on));
    }

    /// Whether there is something on this frame that a click can take away from: a mask, or what was given for one.
    fn has_start(&self, object: ObjectId) -> bool {
        let frame = self.state.here();
        let doc = self.state.session.as_ref().map(|s| &s.doc);
        let mask = doc.and_then(|d| d.mask(object, frame));
        let mut prompts = self.state.prompts();
        mask.is_some_and(|m| !m.rle.is_empty())
            || prompts.any(|p| p.object == object && p.frame == frame && p.has_start())
    }

    pub(super) fn draw_box(&mut self, area: BoxPx) {
        self.stay();
        self.state.playing = None;
        let Some(session) = &self.state.session else {
            return;
        };
        let area = area.clamped(session.doc.video.size);
        if area.width() < 2.0 || area.height() < 2.0 {
            return;
        }
        if let Some(phrase) = self.state.box_phrase() {
            self.ground_phrase(phrase, false, Some(area));
        } else if let Some(object) = self.box_target(area) {
            self.about_to_edit_masks();
            self.give(object, Mark::Box(area));
        }
    }

    // Proposals.

    pub(super) fn toggle_proposal(&mut self, index: usize) {
        let Some((_, emission)) = self.state.emission_here() else {
            return;
        };
        let mut selected: Vec<bool> = emission.proposals.iter().map(|p| p.selected).collect();
        let Some(flag) = selected.get_mut(index) else {
            return;
        };
        *flag = !*flag;
        let kept: Vec<usize> = (0..selected.len()).filter(|&i| selected[i]).collect();
        let made = match kept.as_slice() {
            [only] => self.segment_proposal(*only, &selected),
            _ => false,
        };
        let chosen = (!made).then(|| self.choice_by_hand(&selected)).flatten();
        if made || chosen.is_some_and(|edit| self.edit(edit, CHOOSE)) {
            self.state.toggled = Some((index, self.revision()));
        }
    }

    /// Keeps one proposal alone and makes the mask from it. Of the two clicks that this takes, what the first one did
    /// does not count.
    pub(super) fn use_proposal(&mut self, index: usize) {
        let toggled = self.state.toggled.take() == Some((index, self.revision()));
        if toggled && let Some(session) = &mut self.state.session {
            // Beside a propagation the last step is another one.
            let label = session.undo_label();
            if label.is_some_and(|l| l == CHOOSE || l == CHOOSE_ONE) {
                let first = session.undo_id();
                match session.retract() {
                    Ok(()) => self.forget_step(first),
                    Err(error) => tracing::warn!("the first click stays: {error}"),
                }
            }
            self.mend_selection();
        }
        let Some((_, emission)) = self.state.emission_here() else {
            return;
        };
        let alone: Vec<bool> = (0..emission.proposals.len()).map(|i| i == index).collect();
        self.segment_proposal(index, &alone);
    }

    /// Makes the mask of the emission's object from one proposal, in one step with what is kept; where there is none, an
    /// object that answers to the phrase. Says whether that has begun.
    fn segment_proposal(&mut self, index: usize, selected: &[bool]) -> bool {
        let Some((_, emission)) = self.state.emission_here() else {
            return false;
        };
        let changes = (emission.proposals.iter())
            .zip(selected)
            .any(|(p, keep)| p.selected != *keep);
        let Some(proposal) = emission.proposals.get(index) else {
            return false;
        };
        let area = proposal.box_px;
        let phrase = emission.phrase.clone();
        let frame = self.state.here();
        let doc = self.state.session.as_ref().map(|s| &s.doc);
        let is_there = |id: &ObjectId| doc.is_some_and(|d| d.object(*id).is_some());
        let listed: Vec<ObjectId> = emission.objects.iter().copied().filter(is_there).collect();
        let chosen = listed
            .iter()
            .copied()
            .find(|id| Some(*id) == self.state.selected)
            .or_else(|| listed.first().copied());
        // A phrase that nothing answered to: what was selected before is another thing. A second try goes to the same new one.
        let held = self.state.prompts().find(|p| {
            let is_new = !is_there(&p.object);
            p.frame == frame && p.phrase.as_ref() == Some(&phrase) && is_new
        });
        let held = held.map(|p| p.object);
        // Found on another frame, it is the same thing here.
        let known = |selected: bool| {
            let objects = doc.into_iter().flat_map(|d| &d.objects);
            let mut known = objects.filter(|o| o.phrase == phrase && !phrase.is_empty());
            known
                .find(|o| !selected || Some(o.id) == self.state.selected)
                .map(|o| o.id)
        };
        let known = known(true).or_else(|| known(false));
        let object = chosen.or(held).or(known);
        let Some(object) = object.or_else(|| self.state.free_id()) else {
            return false;
        };
        let there = doc.and_then(|d| d.object(object));
        let is_anchor = there.is_some_and(|o| o.frames.get(&frame).is_some_and(|m| m.anchor));
        if is_anchor || there.is_some_and(|o| o.locked) {
            let key = |action| self.state.keymap.in_brackets(action);
            let text = format!(
                "The mask on this frame is an anchor{} or its object is locked{}; take that back to use a proposal.",
                key(Action::AcceptFrame),
                key(Action::LockObject)
            );
            self.say(Weight::Look, text);
            return false;
        }
        self.about_to_edit_masks();
        let phrase = chosen.is_none().then_some(phrase);
        let selection = self.choice_by_hand(selected).filter(|_| changes);
        self.give_proposal(object, area, phrase, selection);
        true
    }

    // Accepting and deleting.

    pub(super) fn accept_frame(&mut self) {
        let frame = self.state.here();
        let selected = self.state.selected;
        let is_here = |p: &Prompting| Some(p.object) == selected && p.frame == frame;
        let open = self.state.prompting.as_ref();
        let ends_clicks = open.is_some_and(|p| is_here(p) && p.by_hand && p.stands());
        self.finish_prompt();
        let mut awaited = self.state.finishing.iter_mut().rev();
        if let Some(prompting) = awaited.find(|p| is_here(p)) {
            prompting.accepted = true;
            return;
        }
        let Some(object) = self.state.selected_object() else {
            self.say(
                Weight::Info,
                "Select an object first, then accept its mask.",
            );
            return;
        };
        let id = object.id;
        let Some(mask) = object.frames.get(&frame) else {
            let text = format!(
                "The selected object has no mask on this frame; if it is not to be seen here, say so{}.",
                self.state.keymap.in_brackets(Action::NotHere)
            );
            self.say(Weight::Info, text);
            return;
        };
        if mask.says_absent() {
            let text = format!(
                "You said that this object is not on this frame; take that back as you said it{}.",
                self.state.keymap.in_brackets(Action::NotHere)
            );
            self.say(Weight::Info, text);
            return;
        }
        if mask.anchor && ends_clicks {
            // Clicks are accepted as they are made: the key that ends them takes nothing back.
            return;
        }
        if mask.anchor {
            // Nobody vouches for it any more, whoever made it: a propagation may go over it again, unless it was emitted here.
            let doc = self.state.session.as_ref().map(|s| &s.doc);
            let mut emissions = doc.into_iter().flat_map(|d| &d.emissions);
            let emitted = emissions.any(|e| e.frame == frame && e.objects.contains(&id));
            let given_up = FrameMask {
                anchor: false,
                provenance: if emitted {
                    Provenance::Model
                } else {
                    Provenance::Propagated
                },
                ..mask.clone()
            };
            let edit = Edit::set_mask(id, frame, given_up, Author::Person);
            self.edit(edit, "take back anchor");
        } else {
            let anchor = true;
            self.edit(Edit::SetAnchor { id, frame, anchor }, "accept frame");
        }
    }

    /// A person decides about an object's mask on a frame: what is still to come of it does not come any more.
    pub(super) fn forget_what_is_asked(&mut self, id: ObjectId, frame: FrameIndex) {
        self.stay();
        // Clicks that stand are steps: taking them back would lose their mask for good once the next step is made.
        if self.state.prompting.as_ref().is_some_and(Prompting::stands) {
            self.finish_prompt();
        } else if self.state.prompting.is_some() {
            self.drop_prompt();
        }
        self.forget_prompts(id, Some(frame));
    }

    pub(super) fn delete_mask(&mut self) {
        let frame = self.state.here();
        if let Some(id) = self.state.selected {
            if self.says_untouchable(id) {
                return;
            }
            self.forget_what_is_asked(id, frame);
        }
        self.mend_selection();
        let Some(object) = self.state.selected_object() else {
            return;
        };
        if object.frames.contains_key(&frame) {
            let edit = Edit::remove_mask(object.id, frame);
            self.about_to_edit_masks();
            self.edit(edit, "delete this frame's mask");
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
