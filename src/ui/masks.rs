//! Masks by hand: clicks, boxes, choosing proposals, accepting, deleting. Part of `logic`.

use super::{
    actions::Action,
    app::App,
    session::Collecting,
    state::{BoxUse, Job, JobKind, Prompting, Weight},
};
use crate::{
    project::{
        Author, BoxPx, DriftSignal, Edit, FrameIndex, FrameMask, ObjectId, PointPx, Provenance, Rle,
    },
    task::{JobId, Prompt, Request},
};

/// Anchors that a correction learns an object's colours from.
const VOUCHED: usize = 2;

/// Labels of steps.
const CHOOSE: &str = "choose proposals";
const CHOOSE_ONE: &str = "choose a proposal";

/// What a prompt's step is called.
fn label(prompting: &Prompting) -> &'static str {
    if prompting.by_hand {
        "clicks"
    } else {
        CHOOSE_ONE
    }
}

impl App {
    /// The object that hand work goes to: the selected one, or a new one. Says why not if it is locked.
    pub(super) fn target(&mut self) -> Option<ObjectId> {
        let session = self.state.session.as_ref()?;
        match self.state.selected {
            Some(id) if session.doc.object(id).is_some() => (!self.says_locked(id)).then_some(id),
            // Its first mask is on its way.
            Some(id) if self.state.prompts().any(|p| p.object == id) => Some(id),
            _ => self.state.free_id(),
        }
    }

    /// Whether an object is locked; says so if it is.
    fn says_locked(&mut self, id: ObjectId) -> bool {
        let object = self.state.session.as_ref().and_then(|s| s.doc.object(id));
        let Some(object) = object.filter(|o| o.locked) else {
            return false;
        };
        let text = format!(
            "“{}” is locked. Unlock it{} to change its masks.",
            object.name,
            self.state.keymap.in_brackets(Action::LockObject)
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
        self.stay();
        self.drop_queued();
        if self.state.propagation().is_some() {
            self.cancel_propagations();
        }
    }

    /// Propagations that wait for masks do not come any more; says so if there were any.
    fn drop_queued(&mut self) {
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
    fn put_referent(
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

    fn prompt(&mut self, object: ObjectId, by_hand: bool) -> &mut Prompting {
        let frame = self.state.here();
        let fits = self
            .state
            .prompting
            .as_ref()
            .is_some_and(|p| p.object == object && p.frame == frame && p.by_hand == by_hand);
        if !fits {
            self.finish_prompt();
        }
        let step = self.state.fresh_key();
        let depth = self.depth();
        let selected_before = self.state.selected.replace(object);
        self.state.prompting.get_or_insert(Prompting {
            object,
            frame,
            points: Vec::new(),
            box_px: None,
            before: None,
            job: None,
            by_hand,
            phrase: None,
            answered: false,
            step,
            depth,
            selected_before,
            due: false,
            existed: false,
            accepted: false,
        })
    }

    fn send_prompt(&mut self) {
        let depth = self.depth();
        if let Some(prompting) = &mut self.state.prompting {
            prompting.due = true;
            prompting.depth = depth;
        }
        self.send_due();
    }

    /// Asks for the oldest mask that is due. A further prompt would replace one that the inference thread has, so only
    /// the open one may be sent anew.
    pub(super) fn send_due(&mut self) {
        let state = &mut self.state;
        if state.finishing.iter().any(|p| p.job.is_some()) {
            return;
        }
        let mut waiting = state.finishing.iter_mut().chain(&mut state.prompting);
        let Some(prompting) = waiting.find(|p| p.due) else {
            return;
        };
        prompting.due = false;
        let doc = state.session.as_ref().map(|s| &s.doc);
        let object = doc.and_then(|d| d.object(prompting.object));
        prompting.existed = object.is_some();
        let is_first = !prompting.answered && prompting.job.is_none();
        if is_first && prompting.by_hand && prompting.box_px.is_none() {
            let mask = object.and_then(|o| o.frames.get(&prompting.frame));
            prompting.before = mask.map(|m| m.rle.clone());
        }
        let prompting = prompting.clone();
        let step = prompting.step;
        let request = Request::Segment {
            frame: prompting.frame,
            object: prompting.object,
            prompt: Prompt {
                box_px: prompting.box_px,
                points: prompting.points.clone(),
                mask: prompting.before.clone(),
                known: self.vouched_for(prompting.object, prompting.frame),
            },
        };
        let frame = prompting.frame;
        let job = self.submit(request, JobKind::Segment { frame });
        if let Some(prompting) = self.state.prompt_mut(step) {
            prompting.job = job;
        }
    }

    /// The object's anchors nearest to a frame, but for that frame's own: what it looks like.
    fn vouched_for(&self, object: ObjectId, frame: FrameIndex) -> Vec<(FrameIndex, Rle)> {
        let doc = self.state.session.as_ref().map(|s| &s.doc);
        let Some(object) = doc.and_then(|d| d.object(object)) else {
            return Vec::new();
        };
        let anchors = object
            .frames
            .iter()
            .filter(|(f, m)| m.anchor && **f != frame);
        let mut nearest: Vec<_> = anchors.map(|(f, m)| (*f, m)).collect();
        nearest.sort_by_key(|(f, _)| f.0.abs_diff(frame.0));
        nearest.truncate(VOUCHED);
        nearest
            .into_iter()
            .map(|(f, m)| (f, m.rle.clone()))
            .collect()
    }

    pub(super) fn click(&mut self, point: PointPx, on: bool) {
        self.state.playing = None;
        let Some(object) = self.target() else {
            return;
        };
        self.about_to_edit_masks();
        self.prompt(object, true).points.push((point, on));
        self.send_prompt();
    }

    pub(super) fn draw_box(&mut self, area: BoxPx) {
        self.state.playing = None;
        let Some(session) = &self.state.session else {
            return;
        };
        let area = area.clamped(session.doc.video.size);
        if area.width() < 2.0 || area.height() < 2.0 {
            return;
        }
        let emitted = self.state.emission_here().map(|(_, e)| e.phrase.clone());
        let typed = self.state.phrase.trim().to_owned();
        let phrase = emitted.or((!typed.is_empty()).then_some(typed));
        match (self.state.box_use, phrase) {
            (BoxUse::Proposal, Some(phrase)) => {
                self.ground_phrase(phrase, false, Some(area));
            }
            _ => {
                let Some(object) = self.target() else {
                    return;
                };
                self.about_to_edit_masks();
                let prompting = self.prompt(object, true);
                prompting.box_px = Some(area);
                prompting.before = None;
                self.send_prompt();
            }
        }
    }

    pub(super) fn segmented(
        &mut self,
        job: JobId,
        object: ObjectId,
        frame: FrameIndex,
        mut mask: FrameMask,
    ) {
        let asked = |p: &&Prompting| p.job == Some(job) && p.object == object && p.frame == frame;
        let Some(prompting) = self.state.prompts().find(asked).cloned() else {
            return;
        };
        let doc = self.state.session.as_ref().map(|s| &s.doc);
        let there = doc.and_then(|d| d.object(object));
        if prompting.existed && there.is_none() {
            return;
        }
        let is_anchor = there.is_some_and(|o| o.frames.get(&frame).is_some_and(|m| m.anchor));
        let by_person = prompting.by_hand || prompting.accepted;
        if self.says_locked(object) || (is_anchor && !by_person) {
            return;
        }
        if mask.rle.counts.len() < 2 {
            self.say(
                Weight::Look,
                "The model sees nothing there. Add a click on the object, or use the brush.",
            );
            self.prompt_ended(job, false);
            return;
        }
        mask.anchor = by_person;
        mask.provenance = if by_person {
            Provenance::Human
        } else {
            Provenance::Model
        };
        mask.drift = DriftSignal::default();
        let edit = match &prompting.phrase {
            Some(phrase) => self.put_referent(object, frame, mask, phrase),
            None => self.put_mask(object, frame, mask),
        };
        let Some(edit) = edit else {
            return;
        };
        let edit = self.with_model(edit);
        // It belongs to the click that chose the proposal.
        let revision = self.revision();
        let (step, label) = (prompting.step, label(&prompting));
        if self.own_step(|app| app.collect_prompt(step, edit, label)) {
            let now = self.revision();
            if let Some((_, since)) = self.state.toggled.as_mut().filter(|t| t.1 == revision) {
                *since = now;
            }
            if let Some(prompting) = self.state.prompt_mut(prompting.step) {
                prompting.answered = true;
            }
        }
        self.prompt_ended(job, true);
        let open = self.state.prompting.as_ref().map(|p| p.step);
        if !prompting.by_hand && open == Some(prompting.step) {
            self.finish_prompt();
        }
    }

    /// Grows with each change of the document; 0 without one.
    pub(super) fn revision(&self) -> u64 {
        self.state.session.as_ref().map_or(0, |s| s.revision)
    }

    /// Number of steps that can be undone.
    pub(super) fn depth(&self) -> usize {
        self.state.session.as_ref().map_or(0, |s| s.depth())
    }

    /// Makes a change of a prompt's own: to prompts that were asked last it is no newer step.
    fn own_step<T>(&mut self, change: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.depth();
        let changed = change(self);
        let now = self.depth();
        let prompts = self.state.finishing.iter_mut();
        let prompts = prompts.chain(&mut self.state.prompting);
        for prompting in prompts.filter(|p| p.depth == before) {
            prompting.depth = now;
        }
        changed
    }

    /// Makes a change as part of a prompt's step; beside a propagation as a step of its own.
    fn collect_prompt(&mut self, step: u64, edit: Edit, label: &str) -> bool {
        let collecting = self.state.session.as_ref().and_then(|s| s.collecting());
        if collecting == Some(Collecting::Propagation) {
            self.edit(edit, label)
        } else {
            self.collect(Collecting::Prompt(step), edit, label)
        }
    }

    /// Ends a prompt's step, if it is still open.
    fn end_step(&mut self, step: u64) {
        if let Some(session) = &mut self.state.session
            && session.collecting() == Some(Collecting::Prompt(step))
        {
            session.finish();
        }
    }

    /// Ends the clicks and keeps their mask, also one that is still to come.
    pub(super) fn finish_prompt(&mut self) {
        let Some(prompting) = self.state.prompting.take() else {
            return;
        };
        if prompting.is_pending() {
            self.state.finishing.push(prompting);
        } else {
            self.end_step(prompting.step);
        }
        self.mend_selection();
    }

    /// A prompt's job has ended: what waited for it goes on, if it ended well.
    pub(super) fn prompt_ended(&mut self, job: JobId, well: bool) {
        let selected = self.state.selected;
        let of_job = |p: &&Prompting| p.job == Some(job) && !well;
        let failed = (self.state.prompts().find(of_job)).map(|p| (p.object, p.selected_before));
        if let Some(prompting) = &mut self.state.prompting
            && prompting.job == Some(job)
        {
            prompting.job = None;
            // Clicks may go on; a proposal has had its answer.
            if !well && !prompting.by_hand && !prompting.due {
                self.finish_prompt();
            }
        }
        let finishing = &mut self.state.finishing;
        if let Some(at) = finishing.iter().position(|p| p.job == Some(job)) {
            let prompting = finishing.remove(at);
            self.end_step(prompting.step);
            if !well {
                self.drop_queued();
                if prompting.accepted {
                    self.accept_old_mask(prompting.object, prompting.frame);
                }
            }
        }
        self.mend_selection();
        if let Some((object, before)) = failed
            && selected == Some(object)
            && self.state.selected.is_none()
        {
            self.state.selected = before;
            self.mend_selection();
        }
        self.send_due();
        if self.state.finishing.is_empty() {
            for queued in std::mem::take(&mut self.state.queued) {
                self.propagate_from(queued);
            }
        }
    }

    /// The mask that was to replace this one does not come: what was accepted is this one.
    fn accept_old_mask(&mut self, id: ObjectId, frame: FrameIndex) {
        let doc = self.state.session.as_ref().map(|s| &s.doc);
        let mask = doc.and_then(|d| d.mask(id, frame));
        if mask.is_some_and(|m| !m.anchor) {
            let anchor = true;
            self.edit(Edit::SetAnchor { id, frame, anchor }, "accept frame");
        }
    }

    /// Ends the clicks, or the newest that were left before their mask came, and takes their mask back. Says whether
    /// there were any.
    pub(super) fn drop_prompt(&mut self) -> bool {
        let open = self.state.prompting.take();
        let Some(prompting) = open.or_else(|| self.state.finishing.pop()) else {
            return false;
        };
        self.drop_queued();
        self.cancel_job(prompting.job);
        let collecting = self.state.session.as_ref().and_then(|s| s.collecting());
        if prompting.answered
            && collecting == Some(Collecting::Prompt(prompting.step))
            && let Some(Err(error)) =
                self.own_step(|app| app.state.session.as_mut().map(|s| s.undo()))
        {
            self.say(Weight::Error, format!("Nothing was changed: {error}."));
        }
        self.mend_selection();
        self.send_due();
        true
    }

    /// Ends the prompts of an object, on one frame or on all: what is still to come of them does not come any more.
    pub(super) fn forget_prompts(&mut self, object: ObjectId, frame: Option<FrameIndex>) {
        let is_of = |p: &Prompting| p.object == object && frame.is_none_or(|f| f == p.frame);
        let state = &mut self.state;
        let mut gone: Vec<Prompting> = state.finishing.extract_if(.., |p| is_of(p)).collect();
        gone.extend(state.prompting.take_if(|p| is_of(p)));
        if !gone.is_empty() {
            self.drop_queued();
        }
        for prompting in gone {
            self.cancel_job(prompting.job);
        }
        self.send_due();
    }

    /// Takes back what was asked for and has no answer yet, and clicks that are still open. A prompt since which another
    /// step has come has to wait until that is undone. Says whether something was taken back.
    pub(super) fn take_back_asked(&mut self) -> bool {
        let collecting = self.state.session.as_ref().and_then(|s| s.collecting());
        let carrying = collecting == Some(Collecting::Propagation);
        let is_idle = |job: &&Job| match &job.kind {
            JobKind::Propagate { frames, .. } => frames.is_empty() || !carrying,
            _ => false,
        };
        let newest = self.state.prompting.as_ref();
        let newest = newest.or_else(|| self.state.finishing.last());
        let depth = self.depth();
        let queued = self.state.queued.pop_if(|q| depth <= q.depth);
        let what = if queued.is_some() {
            "propagate".to_owned()
        } else if let Some(prompting) = newest {
            let is_open = collecting == Some(Collecting::Prompt(prompting.step));
            let is_newest = is_open || self.depth() <= prompting.depth;
            if !is_newest || (prompting.answered && !is_open && !prompting.is_pending()) {
                return false;
            }
            let what = label(prompting).to_owned();
            let history = self.state.session.as_ref().and_then(|s| s.undo_label());
            // What is kept became a step of its own meanwhile, which is left to the history.
            let is_divided = prompting.answered && !is_open && history == Some(CHOOSE_ONE);
            self.drop_prompt();
            if is_divided {
                return false;
            }
            what
        } else if let Some(job) = self.state.jobs.iter().rev().find(is_idle) {
            let (id, what) = (job.id, job.title());
            self.cancel_job(Some(id));
            self.state.jobs.retain(|j| j.id != id);
            what
        } else {
            return false;
        };
        self.say(Weight::Info, format!("Undone: {what}"));
        true
    }

    // Proposals.

    pub(super) fn toggle_proposal(&mut self, index: usize) {
        let Some((at, emission)) = self.state.emission_here() else {
            return;
        };
        let mut selected: Vec<bool> = emission.proposals.iter().map(|p| p.selected).collect();
        let Some(flag) = selected.get_mut(index) else {
            return;
        };
        *flag = !*flag;
        let kept: Vec<usize> = (0..selected.len()).filter(|&i| selected[i]).collect();
        let made = match kept.as_slice() {
            [only] => self.segment_proposal(*only, selected.clone()),
            _ => false,
        };
        if made || self.edit(Edit::SetSelection { at, selected }, CHOOSE) {
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
            if label.is_some_and(|l| l == CHOOSE || l == CHOOSE_ONE)
                && let Err(error) = session.retract()
            {
                tracing::warn!("the first click stays: {error}");
            }
            self.mend_selection();
        }
        let Some((_, emission)) = self.state.emission_here() else {
            return;
        };
        let alone = (0..emission.proposals.len()).map(|i| i == index).collect();
        self.segment_proposal(index, alone);
    }

    /// Makes the mask of the emission's object from one proposal, in one step with what is kept; where there is none, an
    /// object that answers to the phrase. Says whether that has begun.
    fn segment_proposal(&mut self, index: usize, selected: Vec<bool>) -> bool {
        let Some((at, emission)) = self.state.emission_here() else {
            return false;
        };
        let changes = (emission.proposals.iter())
            .zip(&selected)
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
        let prompting = self.prompt(object, false);
        prompting.box_px = Some(area);
        prompting.phrase = chosen.is_none().then_some(phrase);
        let step = prompting.step;
        if changes {
            let edit = Edit::SetSelection { at, selected };
            let kind = Collecting::Prompt(step);
            let done = self.own_step(|app| app.collect(kind, edit, CHOOSE_ONE));
            if let Some(prompting) = self.state.prompt_mut(step).filter(|_| done) {
                prompting.answered = true;
            }
        }
        self.send_prompt();
        true
    }

    // Accepting and deleting.

    pub(super) fn accept_frame(&mut self) {
        let frame = self.state.here();
        let selected = self.state.selected;
        let is_here = |p: &Prompting| Some(p.object) == selected && p.frame == frame;
        let open = self.state.prompting.as_ref();
        let ends_clicks = open.is_some_and(|p| is_here(p) && p.by_hand && p.answered);
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
            self.say(
                Weight::Info,
                "The selected object has no mask on this frame.",
            );
            return;
        };
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

    pub(super) fn delete_mask(&mut self) {
        let frame = self.state.here();
        if let Some(id) = self.state.selected {
            if self.says_locked(id) {
                return;
            }
            if self.state.prompting.is_some() {
                self.drop_prompt();
            }
            self.forget_prompts(id, Some(frame));
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
mod tests;
