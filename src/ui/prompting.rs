//! Prompts: the clicks and boxes that make one mask, how they are asked one after the other, and what undo and redo make
//! of each. Part of `logic`.

use super::{
    app::App,
    session::Collecting,
    state::{Job, JobKind, Weight},
};
use crate::{
    project::{
        BoxPx, DriftSignal, Edit, FrameIndex, FrameMask, ObjectId, PointPx, Provenance, Rle, StepId,
    },
    task::{JobId, Prompt, Request},
};

/// Anchors that a correction learns an object's colours from.
const VOUCHED: usize = 2;

/// What the step of a chosen proposal is called.
pub(super) const CHOOSE_ONE: &str = "choose a proposal";

/// What a person gives a prompt at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Mark {
    /// A click: on the object, or not.
    Point(PointPx, bool),
    /// Around the object, in place of an earlier one.
    Box(BoxPx),
}

/// A mark, and the step of the history that holds what came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given {
    pub(crate) mark: Mark,
    /// `None` as long as nothing of it stands in the document.
    pub(crate) step: Option<StepId>,
}

/// Marks that make one mask.
#[derive(Clone, Debug)]
pub(crate) struct Prompting {
    pub(crate) object: ObjectId,
    pub(crate) frame: FrameIndex,
    /// Oldest first. Each is asked with those before it, and is a step of its own; of proposals there is only one.
    pub(crate) given: Vec<Given>,
    /// So many of them have had their answers.
    pub(crate) answered: usize,
    /// Marks that undo took back; the last one comes again first.
    undone: Vec<Given>,
    /// The mask before the first mark, to be refined.
    before: Option<Rle>,
    /// The same if nobody vouched for it: what a box corrects, also when clicks follow.
    carried: Option<Rle>,
    pub(crate) job: Option<JobId>,
    /// What the prompt is for: a person's own mask becomes an anchor, a chosen proposal does not.
    pub(crate) by_hand: bool,
    /// The phrase whose emission on this frame lists the object, if that is made only now.
    pub(crate) phrase: Option<String>,
    /// Number of the undo step that collects a proposal.
    pub(crate) step: u64,
    /// Depth of the history when the newest mark was given; what makes that deeper is newer.
    pub(crate) depth: usize,
    /// What was selected before it; again so if nothing comes of it.
    pub(crate) selected_before: Option<ObjectId>,
    /// The object was in the document when it was asked.
    existed: bool,
    /// Accepted before there was a mask: it comes as an anchor.
    pub(crate) accepted: bool,
}

impl Prompting {
    /// Whether a mask is still to come.
    pub(crate) fn is_pending(&self) -> bool {
        self.answered < self.given.len()
    }

    /// Whether something of it stands in the document.
    pub(crate) fn stands(&self) -> bool {
        self.given.iter().any(|g| g.step.is_some())
    }

    /// Whether it says where the object is, not only where it is not.
    pub(crate) fn has_start(&self) -> bool {
        let starts = |g: &Given| !matches!(g.mark, Mark::Point(_, false));
        self.given.iter().any(starts)
    }

    /// The clicks that were given so far.
    pub(crate) fn points(&self) -> impl Iterator<Item = (PointPx, bool)> {
        self.given.iter().filter_map(|g| match g.mark {
            Mark::Point(at, on) => Some((at, on)),
            Mark::Box(_) => None,
        })
    }

    /// The box that was given last.
    pub(crate) fn box_px(&self) -> Option<BoxPx> {
        self.given.iter().rev().find_map(|g| match g.mark {
            Mark::Box(area) => Some(area),
            Mark::Point(..) => None,
        })
    }

    /// What the mark whose turn it is asks, together with those before it; what the object looks like elsewhere is left open.
    fn asks(&self) -> Prompt {
        let mut asks = self.clone();
        asks.given.truncate(self.answered + 1);
        let box_px = asks.box_px();
        Prompt {
            box_px,
            points: asks.points().collect(),
            // A box says all anew.
            mask: asks.before.filter(|_| box_px.is_none()),
            known: Vec::new(),
            carried: asks.carried.filter(|_| box_px.is_some()),
        }
    }

    /// What the step of a mark is called.
    fn label(&self, mark: Mark) -> &'static str {
        match mark {
            _ if !self.by_hand => CHOOSE_ONE,
            Mark::Point(..) => "click",
            Mark::Box(_) => "box",
        }
    }

    /// Notes how the mark that was asked has ended.
    fn end(&mut self) {
        self.job = None;
        self.answered = (self.answered + 1).min(self.given.len());
    }
}

impl App {
    /// The open prompt if it is this one's; a new one otherwise.
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
            given: Vec::new(),
            answered: 0,
            undone: Vec::new(),
            before: None,
            carried: None,
            job: None,
            by_hand,
            phrase: None,
            step,
            depth,
            selected_before,
            existed: false,
            accepted: false,
        })
    }

    /// One more mark of a person's own for the mask of an object on the frame in view.
    pub(super) fn give(&mut self, object: ObjectId, mark: Mark) {
        let depth = self.depth();
        let prompting = self.prompt(object, true);
        prompting.undone.clear();
        prompting.given.push(Given { mark, step: None });
        prompting.depth = depth;
        self.state.taken_back = None;
        if let Some(session) = &mut self.state.session {
            session.forget_redo();
        }
        self.send_due();
    }

    /// Asks for the mask of a proposal, in place of one that was asked for before; what is kept becomes the beginning of
    /// its step, if it changes.
    pub(super) fn give_proposal(
        &mut self,
        object: ObjectId,
        area: BoxPx,
        phrase: Option<String>,
        selection: Option<Edit>,
    ) {
        let prompting = self.prompt(object, false);
        let replaced = prompting.job.take();
        let mark = Mark::Box(area);
        // A selection that stands already goes on being the step's beginning.
        let before = prompting.given.pop().and_then(|g| g.step);
        prompting.given = vec![Given { mark, step: before }];
        prompting.answered = 0;
        prompting.phrase = phrase;
        let step = prompting.step;
        self.cancel_job(replaced);
        if let Some(edit) = selection
            && self.own_step(|app| app.collect(Collecting::Prompt(step), edit, CHOOSE_ONE))
        {
            let id = self.undo_id();
            if let Some(prompting) = self.state.prompt_mut(step) {
                prompting.given[0].step = id;
            }
        }
        let depth = self.depth();
        if let Some(prompting) = self.state.prompt_mut(step) {
            prompting.depth = depth;
        }
        self.send_due();
    }

    /// Asks for the oldest mask that is due, one at a time: each mark is answered by itself, so that each can be undone.
    pub(super) fn send_due(&mut self) {
        let state = &mut self.state;
        if state.prompts().any(|p| p.job.is_some()) {
            return;
        }
        let mut waiting = state.finishing.iter_mut().chain(&mut state.prompting);
        let Some(prompting) = waiting.find(|p| p.is_pending()) else {
            return;
        };
        let doc = state.session.as_ref().map(|s| &s.doc);
        let object = doc.and_then(|d| d.object(prompting.object));
        prompting.existed = object.is_some();
        if prompting.answered == 0 {
            let mask = object.and_then(|o| o.frames.get(&prompting.frame));
            // What a person vouched for and boxes anew is not what they want.
            let carried = mask.filter(|m| !m.anchor);
            prompting.carried = carried.map(|m| m.rle.clone());
            // Where nothing is, nothing is refined; a proposal is not refined at all.
            let refined = mask.filter(|m| prompting.by_hand && !m.rle.is_empty());
            prompting.before = refined.map(|m| m.rle.clone());
        }
        let (object, frame, step) = (prompting.object, prompting.frame, prompting.step);
        let prompt = prompting.asks();
        let request = Request::Segment {
            frame,
            object,
            prompt: Prompt {
                known: self.vouched_for(object, frame),
                ..prompt
            },
        };
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
            .filter(|(f, m)| m.anchor && !m.rle.is_empty() && **f != frame);
        let mut nearest: Vec<_> = anchors.map(|(f, m)| (*f, m)).collect();
        nearest.sort_by_key(|(f, _)| f.0.abs_diff(frame.0));
        nearest.truncate(VOUCHED);
        nearest
            .into_iter()
            .map(|(f, m)| (f, m.rle.clone()))
            .collect()
    }

    /// A mask that was asked for is there.
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
        let Some(mark) = prompting.given.get(prompting.answered).map(|g| g.mark) else {
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
        let revision = self.revision();
        let (step, label) = (prompting.step, prompting.label(mark));
        let done = self.own_step(|app| {
            if prompting.by_hand {
                app.edit(edit, label)
            } else {
                // It belongs to the click that chose the proposal.
                app.collect_prompt(step, edit, label)
            }
        });
        if done {
            let (now, id) = (self.revision(), self.undo_id());
            if let Some((_, since)) = self.state.toggled.as_mut().filter(|t| t.1 == revision) {
                *since = now;
            }
            if let Some(prompting) = self.state.prompt_mut(step)
                && let Some(given) = prompting.given.get_mut(prompting.answered)
            {
                given.step = id;
            }
        }
        self.prompt_ended(job, true);
        let open = self.state.prompting.as_ref().map(|p| p.step);
        if !prompting.by_hand && open == Some(step) {
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

    /// The step that the next undo takes back.
    pub(super) fn undo_id(&self) -> Option<StepId> {
        self.state.session.as_ref().and_then(|s| s.undo_id())
    }

    /// Makes a change of a prompt's own: to prompts that were asked last it is no newer step.
    fn own_step<T>(&mut self, change: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.depth();
        let changed = change(self);
        let now = self.depth();
        for prompting in self.state.prompts_mut().filter(|p| p.depth == before) {
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

    /// Ends the clicks for good: the next one on this frame begins another object.
    pub(super) fn finish_object(&mut self) {
        let by_hand = self.state.prompting.as_ref().filter(|p| p.by_hand);
        let done = by_hand.map(|p| p.object);
        self.finish_prompt();
        if done.is_some() {
            self.state.finished = done;
        }
    }

    /// A prompt's job has ended: what waited for it goes on, if it ended well.
    pub(super) fn prompt_ended(&mut self, job: JobId, well: bool) {
        let selected = self.state.selected;
        let of_job = |p: &&Prompting| p.job == Some(job) && !well;
        let failed = (self.state.prompts().find(of_job)).map(|p| (p.object, p.selected_before));
        if let Some(prompting) = &mut self.state.prompting
            && prompting.job == Some(job)
        {
            prompting.end();
            // Clicks may go on; a proposal has had its answer.
            if !well && !prompting.by_hand {
                self.finish_prompt();
            }
        }
        let finishing = &mut self.state.finishing;
        if let Some(at) = finishing.iter().position(|p| p.job == Some(job)) {
            finishing[at].end();
            if !well {
                self.drop_queued();
            }
            let finishing = &mut self.state.finishing;
            if !finishing[at].is_pending() {
                let prompting = finishing.remove(at);
                self.end_step(prompting.step);
                if !well && prompting.accepted {
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
        let Some(mut prompting) = open.or_else(|| self.state.finishing.pop()) else {
            return false;
        };
        self.drop_queued();
        self.cancel_job(prompting.job);
        while let Some(given) = prompting.given.pop() {
            // What another step has come after stays.
            if given.step.is_some() && given.step != self.undo_id() {
                break;
            }
            if given.step.is_some() && !self.undo_own() {
                break;
            }
        }
        self.select_again(&prompting);
        self.send_due();
        true
    }

    /// Takes the last step back, which is a prompt's own; says so if that is refused.
    fn undo_own(&mut self) -> bool {
        let undone = self.own_step(|app| app.state.session.as_mut().map(|s| s.undo()));
        undone.is_some_and(|result| self.refused(result.map(drop)))
    }

    /// A step was taken back that was only the beginning of the next: nothing of it stands any more.
    pub(super) fn forget_step(&mut self, step: Option<StepId>) {
        for given in self.state.prompts_mut().flat_map(|p| &mut p.given) {
            given.step = given.step.filter(|s| Some(*s) != step);
        }
    }

    /// What was selected before a prompt of which nothing is left is selected again.
    fn select_again(&mut self, prompting: &Prompting) {
        let was_selected = self.state.selected == Some(prompting.object);
        self.mend_selection();
        if was_selected && self.state.selected.is_none() {
            self.state.selected = prompting.selected_before;
            self.mend_selection();
        }
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

    /// Takes back what was asked for last, if no other step has come since: a propagation that waits, a mark of a prompt,
    /// or a job that has changed nothing yet. Says whether something was taken back.
    pub(super) fn take_back_asked(&mut self) -> bool {
        let collecting = self.state.session.as_ref().and_then(|s| s.collecting());
        let carrying = collecting == Some(Collecting::Propagation);
        let is_idle = |job: &&Job| match &job.kind {
            JobKind::Propagate { frames, .. } => frames.is_empty() || !carrying,
            _ => false,
        };
        let depth = self.depth();
        let what = if self.state.queued.pop_if(|q| depth <= q.depth).is_some() {
            "propagate".to_owned()
        } else if self.state.prompts().next().is_some() {
            return self.take_back_mark();
        } else if let Some(job) = self.state.jobs.iter().rev().find(is_idle) {
            let (id, what) = (job.id, job.title());
            self.cancel_job(Some(id));
            self.state.jobs.retain(|j| j.id != id);
            what
        } else {
            return false;
        };
        self.say_step(true, &what);
        true
    }

    /// Takes the newest mark of the newest prompt back, whether it has its answer or not, if undo comes to it next.
    fn take_back_mark(&mut self) -> bool {
        let newest = self.state.prompting.as_ref();
        let Some(prompting) = newest.or_else(|| self.state.finishing.last()) else {
            return false;
        };
        let Some(given) = prompting.given.last().copied() else {
            return false;
        };
        let comes_next = match given.step {
            Some(step) => self.undo_id() == Some(step),
            None => self.depth() <= prompting.depth,
        };
        if !comes_next {
            return false;
        }
        let (frame, label) = (prompting.frame, prompting.label(given.mark));
        let whole = prompting.given.len() == 1 && given.step.is_none();
        if !prompting.by_hand || whole {
            self.drop_prompt();
        } else {
            if given.step.is_some() && !self.undo_own() {
                return true;
            }
            self.forget_mark(given);
        }
        let at = self.go_to(frame);
        self.say_step(true, &format!("{label}{at}"));
        true
    }

    /// Takes the newest mark out of the newest prompt; the document is as it was before it already.
    fn forget_mark(&mut self, given: Given) {
        let state = &mut self.state;
        let newest = state.prompting.as_mut();
        let Some(prompting) = newest.or_else(|| state.finishing.last_mut()) else {
            return;
        };
        prompting.given.pop();
        let left = prompting.given.len();
        let asked = (prompting.job.is_some() && prompting.answered == left)
            .then(|| prompting.job.take())
            .flatten();
        prompting.answered = prompting.answered.min(left);
        if given.step.is_some() {
            prompting.undone.push(given);
        }
        let (is_empty, is_pending) = (left == 0, prompting.is_pending());
        self.cancel_job(asked);
        if is_empty || (self.state.prompting.is_none() && !is_pending) {
            let open = self.state.prompting.take();
            if let Some(prompting) = open.or_else(|| self.state.finishing.pop()) {
                self.drop_queued();
                self.select_again(&prompting);
                self.state.taken_back = Some(prompting).filter(|p| p.given.is_empty());
            }
        }
        self.send_due();
    }

    /// The prompt that has a mark which the next redo makes again.
    fn comes_again(&mut self) -> Option<&mut Prompting> {
        let next = self.state.session.as_ref().and_then(|s| s.redo_id())?;
        let state = &mut self.state;
        let mut prompts = state.prompting.iter_mut().chain(&mut state.taken_back);
        prompts.find(|p| p.undone.last().is_some_and(|g| g.step == Some(next)))
    }

    /// Whether the next redo makes a mark of the open prompt again, or of one that undo has closed.
    pub(super) fn redo_goes_on(&mut self) -> bool {
        self.comes_again().is_some()
    }

    /// Redo made the mark again that came next when [`App::redo_goes_on`] said so.
    pub(super) fn mark_made_again(&mut self) {
        let state = &mut self.state;
        if state.prompting.is_none() {
            let here = state.here();
            state.prompting = state.taken_back.take_if(|p| p.frame == here);
        }
        if let Some(prompting) = &mut state.prompting
            && let Some(given) = prompting.undone.pop()
        {
            prompting.given.push(given);
            prompting.answered = prompting.given.len();
            state.selected = Some(prompting.object);
        }
    }
}

#[cfg(test)]
mod tests;
