//! What is asked of the model, and what comes of its answers. Part of `logic`.

use std::collections::BTreeMap;

use super::{
    actions::Action,
    app::App,
    logic::cut,
    looks,
    reading::{read_instead, why_nothing},
    session::Collecting,
    state::{Job, JobKind, QueuedPropagation, Weight},
};
use crate::{
    project::{
        Author, BoxPx, Edit, Emission, FrameIndex, FrameMask, Object, ObjectId, Proposal,
        Provenance, counted, select, were,
    },
    task::{GroundOptions, JobId, Mode, PropagateDirection, Request, Update},
};

impl App {
    /// Hands a request to the inference thread and remembers what it is for.
    pub(super) fn submit(&mut self, request: Request, kind: JobKind) -> Option<JobId> {
        let id = self.services.worker.as_mut()?.submit(request);
        self.state.jobs.push(Job {
            id,
            kind,
            done: 0,
            total: 0,
            stage: String::new(),
            started: false,
            stopping: false,
        });
        Some(id)
    }

    /// Grounds the typed phrase on the frame in view.
    pub(super) fn ground(&mut self, propagate: bool) {
        let phrase = self.state.phrase.trim().to_owned();
        if phrase.is_empty() {
            self.state.focus_phrase = true;
            self.say(
                super::state::Weight::Info,
                "Say what to find first, for example “the red ball”.",
            );
            return;
        }
        self.ground_phrase(phrase, propagate, None);
        if let Some(job) = self.state.jobs.last_mut()
            && let JobKind::Ground { typed, .. } = &mut job.kind
        {
            *typed = true;
        }
    }

    /// Grounds a phrase on the frame in view; `drawn` is one more box to offer, beside those that were drawn for the same
    /// phrase here before.
    pub(super) fn ground_phrase(&mut self, phrase: String, propagate: bool, drawn: Option<BoxPx>) {
        self.stay();
        self.end_paint();
        self.finish_prompt();
        let Some(session) = &self.state.session else {
            return;
        };
        let frame = self.state.here();
        let mut boxes: Vec<BoxPx> = session
            .doc
            .emissions
            .iter()
            .filter(|e| e.frame == frame && e.phrase == phrase)
            .flat_map(|e| e.proposals.iter().filter(|p| p.drawn))
            .map(|p| p.box_px)
            .collect();
        // A newer question makes an older one on the same frame worthless, but for the boxes drawn for it.
        let mut older: Vec<JobId> = Vec::new();
        for job in &self.state.jobs {
            if let JobKind::Ground {
                frame: f,
                phrase: asked,
                drawn,
                ..
            } = &job.kind
                && *f == frame
            {
                older.push(job.id);
                if *asked == phrase {
                    boxes.extend(
                        drawn
                            .iter()
                            .filter(|b| !boxes.contains(b))
                            .collect::<Vec<_>>(),
                    );
                }
            }
        }
        boxes.extend(drawn);
        let tsf = if self.state.settings.use_tsf {
            anchors_for(&session.doc.objects, &phrase)
        } else {
            Vec::new()
        };
        let thresholds = session.doc.thresholds;
        let options = GroundOptions {
            thresholds,
            drawn_boxes: boxes.clone(),
            tsf,
        };
        if let Some(worker) = &mut self.services.worker {
            for job in older {
                worker.cancel(job);
            }
        }
        let request = Request::Ground {
            frame,
            phrase: phrase.clone(),
            options,
        };
        let kind = JobKind::Ground {
            frame,
            phrase,
            propagate,
            drawn: boxes,
            thresholds,
            selected: self.state.selected,
            typed: false,
        };
        self.forget_answer();
        self.submit(request, kind);
    }

    /// Once more on this frame: the phrase of its emission, or the typed one.
    pub(super) fn emit_again(&mut self) {
        match self.state.emission_here().map(|(_, e)| e.phrase.clone()) {
            Some(phrase) => self.ground_phrase(phrase, false, None),
            None => self.ground(false),
        }
    }

    /// Carries masks over frames, from the one in view.
    pub(super) fn propagate(&mut self, direction: PropagateDirection) {
        self.stay();
        self.end_paint();
        self.finish_prompt();
        let only = self.state.only_selected;
        self.propagate_from(QueuedPropagation {
            direction,
            from: self.state.here(),
            only: only.then(|| self.state.selected.into_iter().collect()),
            depth: self.depth(),
        });
    }

    /// Carries masks over frames, once all that were asked for are there.
    pub(super) fn propagate_from(&mut self, queued: QueuedPropagation) {
        if !self.state.finishing.is_empty() {
            if !self.state.queued.iter().any(|q| q.is_like(&queued)) {
                self.state.queued.push(queued);
            }
            return;
        }
        let QueuedPropagation {
            direction,
            from: here,
            only,
            ..
        } = queued;
        let Some(session) = &self.state.session else {
            return;
        };
        let chosen = |o: &&Object| only.as_ref().is_none_or(|ids| ids.contains(&o.id));
        let objects: Vec<Object> = session
            .doc
            .objects
            .iter()
            .filter(chosen)
            .filter(|o| !o.locked)
            .map(|o| conditioning(o, here, direction))
            .filter(|o| o.frames.values().any(|m| !m.rle.is_empty()))
            .collect();
        if objects.is_empty() {
            let why = if session.doc.objects.is_empty() {
                "There is no object yet: ground a phrase or draw one first."
            } else {
                "No object that may change has a mask to start from on this frame or an anchor."
            };
            self.say(Weight::Info, why);
            return;
        }
        let ids: Vec<ObjectId> = objects.iter().map(|o| o.id).collect();
        let busy = self.state.jobs.iter().any(|job| match &job.kind {
            JobKind::Propagate { objects, .. } if !job.stopping => {
                objects.iter().any(|id| ids.contains(id))
            }
            _ => false,
        });
        if busy {
            let key = self.state.keymap.in_brackets(Action::Stop);
            let why = format!("These masks are being propagated already; stop that first{key}.");
            self.say(Weight::Info, why);
            return;
        }
        let (start, end) = self.state.propagation_range(here, direction);
        let mode = if self.state.framewise {
            Mode::Framewise
        } else {
            Mode::Track
        };
        let lists = |e: &&Emission| objects.iter().any(|o| e.objects.contains(&o.id));
        let mut emissions: Vec<Emission> = session
            .doc
            .emissions
            .iter()
            .rev()
            .filter(lists)
            .cloned()
            .collect();
        // Of two that list an object, the nearer to what is in view.
        emissions.sort_by_key(|e| e.frame.0.abs_diff(here.0));
        let what = match objects.as_slice() {
            [one] => format!("{} {start}–{end}", cut(&one.name, 24)),
            many => format!("{} objects {start}–{end}", many.len()),
        };
        let request = Request::Propagate {
            objects,
            range: start..=end,
            direction,
            mode,
            emissions,
        };
        let kind = JobKind::Propagate {
            what,
            objects: ids,
            frames: BTreeMap::new(),
        };
        self.submit(request, kind);
    }

    pub(super) fn cancel_all(&mut self) {
        if let Some(worker) = &mut self.services.worker {
            for job in &self.state.jobs {
                if !matches!(job.kind, JobKind::LoadModel) {
                    worker.cancel(job.id);
                }
            }
        }
        // Answers of the clip that is left must not touch the next one.
        self.state.finishing.clear();
        self.state.queued.clear();
        self.state.toggled = None;
        self.state.prompting = None;
        self.state.taken_back = None;
        self.state.said_absent = None;
        self.state.finished = None;
        self.state
            .jobs
            .retain(|j| matches!(j.kind, JobKind::LoadModel));
    }

    /// Ends running propagations at once: a frame that is still on its way is nobody's any more. Says what was kept.
    pub(super) fn cancel_propagations(&mut self) {
        if let Some(kept) = self.drop_propagations() {
            self.say(
                Weight::Info,
                format!("Propagation stopped; {}.", finished(kept)),
            );
        }
    }

    /// [`App::cancel_propagations`] without a word; the number of finished frames if anything ran.
    pub(super) fn drop_propagations(&mut self) -> Option<u32> {
        let runs = |kind: &JobKind| matches!(kind, JobKind::Propagate { .. });
        self.cancel_where(runs);
        let mut kept = None;
        for job in self.state.jobs.iter().filter(|j| runs(&j.kind)) {
            if let JobKind::Propagate { frames, .. } = &job.kind {
                let done = frames.values().copied().max().unwrap_or(0);
                kept = Some(kept.unwrap_or(0).max(done));
            }
        }
        self.state.jobs.retain(|j| !runs(&j.kind));
        if let Some(session) = &mut self.state.session
            && session.collecting() == Some(Collecting::Propagation)
        {
            session.finish();
        }
        kept
    }

    /// Stops a job for a person; what it has finished is kept.
    pub(super) fn stop_job(&mut self, id: JobId) {
        let job = self.job_mut(id).filter(|j| j.can_be_stopped());
        if let Some(job) = job {
            job.stopping = true;
            self.cancel_job(Some(id));
        }
    }

    /// Asks a job to stop, if there is one.
    pub(super) fn cancel_job(&mut self, job: Option<JobId>) {
        if let (Some(worker), Some(job)) = (&mut self.services.worker, job) {
            worker.cancel(job);
        }
    }

    /// The change, and with it the model that it is made by, if that is another than before.
    pub(super) fn with_model(&self, edit: Edit) -> Edit {
        let model = self.state.model.at_work();
        let session = self.state.session.as_ref();
        if session.is_none_or(|s| s.doc.model == model) {
            return edit;
        }
        let model = model.to_owned();
        Edit::Group(vec![Edit::SetModel { model }, edit])
    }

    fn cancel_where(&mut self, which: impl Fn(&JobKind) -> bool) {
        if let Some(worker) = &mut self.services.worker {
            for job in self.state.jobs.iter().filter(|j| which(&j.kind)) {
                worker.cancel(job.id);
            }
        }
    }

    /// Takes one answer in. Answers of jobs that are no longer held are dropped.
    pub(super) fn take(&mut self, update: Update) {
        match update {
            Update::Started { job } => {
                if let Some(job) = self.job_mut(job) {
                    job.started = true;
                }
            }
            Update::Progress {
                job,
                done,
                total,
                stage,
            } => {
                if let Some(job) = self.job_mut(job) {
                    job.done = done;
                    job.total = total;
                    job.stage = stage;
                }
            }
            Update::ModelLoaded {
                model,
                device,
                thresholds,
                vocabulary,
                ..
            } => {
                let state = &mut self.state.model;
                state.id = model;
                state.device = device;
                state.ready = true;
                state.held = None;
                state.thresholds = thresholds;
                state.vocabulary = vocabulary;
                // A document without work in it takes the thresholds that belong to the weights.
                if let Some(session) = &mut self.state.session
                    && session.undo_label().is_none()
                    && session.doc.emissions.is_empty()
                    && session.doc.objects.is_empty()
                {
                    session.doc.thresholds = thresholds;
                }
            }
            Update::Grounded {
                job,
                emission,
                masks,
            } => self.grounded(job, *emission, masks),
            Update::Segmented {
                job,
                object,
                frame,
                mask,
            } => self.segmented(job, object, frame, *mask),
            Update::Propagated {
                job,
                object,
                frame,
                mask,
            } => self.propagated(job, object, frame, *mask),
            Update::Warning { job, text } => {
                let is_answer = |j: &mut Job| matches!(j.kind, JobKind::Ground { .. });
                match self.job_mut(job).map(is_answer) {
                    Some(true) => self.say_of_answer(text),
                    Some(false) => self.say(Weight::Look, text),
                    None => {}
                }
            }
            Update::Finished { job, secs } => self.ended(job, Ending::Finished(secs)),
            Update::Failed { job, text } => self.ended(job, Ending::Failed(text)),
            Update::Cancelled { job } => self.ended(job, Ending::Cancelled),
        }
    }

    fn job_mut(&mut self, id: JobId) -> Option<&mut Job> {
        self.state.jobs.iter_mut().find(|j| j.id == id)
    }

    fn grounded(&mut self, job: JobId, mut emission: Emission, masks: Vec<FrameMask>) {
        let Some(JobKind::Ground {
            propagate,
            thresholds,
            drawn: mut asked_with,
            selected: selected_then,
            typed,
            ..
        }) = self.job_mut(job).map(|j| j.kind.clone())
        else {
            return;
        };
        let Some(session) = &self.state.session else {
            return;
        };
        let doc = &session.doc;
        // What was kept is the model's word, unless a slider has moved since it was asked.
        if thresholds != doc.thresholds {
            let kept = select(&emission.proposals, &doc.thresholds, emission.choosing);
            for (proposal, keep) in emission.proposals.iter_mut().zip(kept) {
                proposal.selected = keep;
            }
        }
        if masks.is_empty() {
            // Nothing matched: then no box prompted anything either.
            for proposal in &mut emission.proposals {
                proposal.selected = false;
            }
        }
        let frame = emission.frame;
        let phrase = emission.phrase.clone();
        let known: Vec<&Object> = doc.objects.iter().filter(|o| o.phrase == phrase).collect();
        let Some(first_new) = self.state.free_id() else {
            return;
        };
        let mut edits = Vec::new();
        let mut spared = 0;
        for (i, mut mask) in masks.into_iter().enumerate() {
            mask.anchor = false;
            if mask.provenance == Provenance::Human {
                mask.provenance = Provenance::Model;
            }
            if let Some(object) = known.get(i) {
                emission.objects.push(object.id);
                let is_anchor = object.frames.get(&frame).is_some_and(|m| m.anchor);
                if is_anchor || object.locked {
                    spared += 1;
                } else {
                    edits.push(Edit::set_mask(object.id, frame, mask, Author::Model));
                }
                continue;
            }
            let mut object = doc.new_object(phrase.clone());
            object.id = ObjectId(first_new.0 + (i - known.len()) as u32);
            object.colour = object.id.0.saturating_sub(1);
            if i > 0 {
                object.name = format!("{phrase} {}", i + 1);
            }
            object.frames.insert(frame, mask);
            emission.objects.push(object.id);
            edits.push(Edit::add_object(object));
        }
        let found = emission.objects.clone();
        let instead = read_instead(&emission);
        let why = found
            .is_empty()
            .then(|| why_nothing(&emission, &doc.thresholds));
        let there = doc
            .emissions
            .iter()
            .position(|e| e.frame == frame && e.phrase == phrase);
        let before = there.map(|at| &doc.emissions[at]);
        if found.is_empty() {
            // What a person chose for the phrase goes on answering to it.
            let listed = before.into_iter().flat_map(|e| &e.objects).copied();
            let listed = listed.filter(|id| doc.object(*id).is_some());
            emission.objects = listed.collect();
        }
        // The box that was drawn now, if one was.
        let is = |p: &Proposal, b: BoxPx| p.drawn && p.box_px.iou(b) > 0.99;
        let drawn = asked_with.pop().filter(|b| {
            let mut known = before.into_iter().flat_map(|e| &e.proposals);
            !known.any(|p| is(p, *b))
        });
        let drawn = drawn.and_then(|b| emission.proposals.iter().position(|p| is(p, b)));
        edits.push(match there {
            Some(at) => Edit::ReplaceEmission {
                at,
                emission: Box::new(emission),
            },
            None => Edit::add_emission(emission),
        });
        let named = cut(&phrase, 30);
        let label = format!("ground “{named}”");
        let edit = self.with_model(Edit::Group(edits));
        if !self.edit(edit, &label) {
            return;
        }
        if frame == self.state.here() {
            self.state.choose_emission(phrase.clone());
        }
        if let Some(read) = instead {
            self.say_read_instead(&named, &read);
        }
        let state = &self.state;
        let hand_is_free =
            state.prompting.is_none() && state.painting.is_none() && state.outline.is_none();
        let is_expected = hand_is_free && frame == state.here();
        if let Some(why) = why {
            if let (Some(drawn), true) = (drawn, is_expected) {
                self.say_of_answer(format!("The model finds nothing here that matches “{named}”; the box that you drew is taken for it."));
                self.toggle_proposal(drawn);
                return;
            }
            self.say_of_answer(format!("Nothing on frame {} matches “{named}”: {why}. Choose a proposal, draw a box, or try other words or another frame.", frame.0));
            // Other words come next, unless the hand has turned to something else since.
            let is_free = self.state.dialog.is_none() && self.state.renaming.is_none();
            if typed && is_expected && is_free && self.state.phrase.trim() == phrase {
                self.state.focus_phrase = true;
            }
        } else {
            if is_expected && self.state.selected == selected_then {
                self.state.selected = found.first().copied();
                // Chosen beside this object, not beside the one before.
                self.state.choose_emission(phrase);
            }
            if spared > 0 {
                self.say(
                    Weight::Info,
                    "Your anchor on this frame stays as it is; the emission is listed beside it.",
                );
            }
            if propagate {
                self.propagate_from(QueuedPropagation {
                    direction: PropagateDirection::Both,
                    from: frame,
                    only: Some(found),
                    depth: self.depth(),
                });
            }
        }
    }

    fn propagated(&mut self, job: JobId, object: ObjectId, frame: FrameIndex, mask: FrameMask) {
        let Some(kind) = self.job_mut(job).map(|j| &mut j.kind) else {
            return;
        };
        let JobKind::Propagate { what, frames, .. } = kind else {
            return;
        };
        *frames.entry(object).or_default() += 1;
        let label = format!("propagate {what}");
        let Some(session) = &self.state.session else {
            return;
        };
        let Some(target) = session.doc.object(object) else {
            return;
        };
        // What was emitted or made by hand since the propagation was asked for is newer.
        let made = |m: &FrameMask| m.provenance != Provenance::Propagated && !m.rle.is_empty();
        let there = target.frames.get(&frame);
        if there.is_some_and(|m| m.anchor || made(m)) || target.locked {
            return;
        }
        let mut mask = mask;
        mask.anchor = false;
        if mask.provenance == Provenance::Human {
            mask.provenance = Provenance::Propagated;
        }
        let edit = self.with_model(looks::carried(&session.doc, target, frame, mask));
        self.collect(Collecting::Propagation, edit, &label);
    }

    fn ended(&mut self, id: JobId, ending: Ending) {
        let Some(at) = self.state.jobs.iter().position(|j| j.id == id) else {
            return;
        };
        let job = self.state.jobs.remove(at);
        let ended_well = matches!(ending, Ending::Finished(_));
        match job.kind {
            JobKind::Segment { .. } => self.prompt_ended(id, ended_well),
            JobKind::LoadModel if !ended_well => self.state.model.keep_held(),
            _ => {}
        }
        let mut kept = 0;
        if let JobKind::Propagate { frames, .. } = &job.kind {
            kept = frames.values().copied().max().unwrap_or(0);
            if let Some(session) = &mut self.state.session
                && session.collecting() == Some(Collecting::Propagation)
            {
                session.finish();
            }
        }
        let is_propagation = matches!(job.kind, JobKind::Propagate { .. });
        match ending {
            Ending::Finished(_) if is_propagation && kept == 0 => {
                let text = "There was nothing to carry: on every frame meant, a mask is given already, or the object is not there.";
                self.say(Weight::Info, text);
            }
            Ending::Finished(secs) if is_propagation => {
                let rate = f64::from(kept) / f64::from(secs.max(1e-3));
                self.say(
                    Weight::Info,
                    format!(
                        "Propagated {} in {secs:.1} s ({rate:.1} a second).",
                        counted(kept, "frame")
                    ),
                );
            }
            Ending::Cancelled if is_propagation => {
                self.say(
                    Weight::Info,
                    format!("Propagation stopped; {}.", finished(kept)),
                );
            }
            Ending::Finished(_) | Ending::Cancelled => {}
            Ending::Failed(text) => {
                let kept = if kept > 0 {
                    format!(" {}.", finished(kept))
                } else {
                    String::new()
                };
                let what = match &job.kind {
                    JobKind::LoadModel => "The model could not be loaded",
                    JobKind::OpenClip => "The model cannot read the clip",
                    JobKind::Ground { .. } => "Grounding failed",
                    JobKind::Segment { .. } => "Segmenting failed",
                    JobKind::Propagate { .. } => "Propagation failed",
                };
                let text = text.trim_end_matches('.');
                self.say(Weight::Error, format!("{what}: {text}.{kept}"));
            }
        }
    }
}

/// What becomes of the frames that a job has finished.
fn finished(frames: u32) -> String {
    let were = were(frames);
    format!("{} {were} kept", counted(frames, "finished frame"))
}

enum Ending {
    Finished(f32),
    Failed(String),
    Cancelled,
}

/// The frames and boxes whose crops become TSF tokens: the anchors of the objects that answer to the phrase.
fn anchors_for(objects: &[Object], phrase: &str) -> Vec<(FrameIndex, crate::project::BoxPx)> {
    objects
        .iter()
        .filter(|o| o.phrase == phrase)
        .flat_map(|o| o.frames.iter())
        .filter(|(_, m)| m.anchor)
        .filter_map(|(&frame, m)| Some((frame, m.rle.bounding_box()?)))
        .collect()
}

/// The object with the frames that condition the memory only: anchors, emitted masks, and the frame in view if it is carried
/// one way or if there is nothing else.
fn conditioning(object: &Object, here: FrameIndex, direction: PropagateDirection) -> Object {
    let shows = |mask: &FrameMask| mask.is_given() && !mask.rle.is_empty();
    // Where a person says that it is not, nothing is carried.
    let kept = object
        .frames
        .iter()
        .filter(|(_, m)| shows(m) || m.says_absent());
    let has_start = object.frames.values().any(shows);
    let mut frames: BTreeMap<FrameIndex, FrameMask> = kept.map(|(f, m)| (*f, m.clone())).collect();
    let in_view = object.frames.get(&here).filter(|m| !m.rle.is_empty());
    if (direction != PropagateDirection::Both || !has_start)
        && let Some(mask) = in_view
        && !shows(mask)
    {
        // It was carried here itself; whoever goes on from it takes it as given.
        let provenance = Provenance::Model;
        let mask = FrameMask {
            provenance,
            ..mask.clone()
        };
        frames.insert(here, mask);
    }
    Object {
        name: object.name.clone(),
        phrase: object.phrase.clone(),
        frames,
        ..*object
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::{Rle, Size};

    /// The window left every empty mask out, and what a person had said to be absent was filled again.
    #[test]
    fn the_model_hears_where_an_object_is_said_to_be_absent() {
        let size = Size::new(4, 4);
        let full = Rle::new(size, vec![0, 16]).unwrap();
        let mut object = crate::ui::fixture::document(size, 9).new_object("dog");
        let (shown, absent, carried) = (FrameIndex(0), FrameIndex(4), FrameIndex(5));
        object
            .frames
            .insert(shown, FrameMask::by_hand(full.clone()));
        object
            .frames
            .insert(absent, FrameMask::by_hand(Rle::empty(size)));
        let propagated = FrameMask {
            provenance: Provenance::Propagated,
            anchor: false,
            ..FrameMask::by_hand(full)
        };
        object.frames.insert(carried, propagated);
        let both = conditioning(&object, carried, PropagateDirection::Both);
        assert_eq!(both.frames.keys().collect::<Vec<_>>(), [&shown, &absent]);
        // Without a mask by hand, the one in view is what there is to start from.
        object.frames.remove(&shown);
        let both = conditioning(&object, carried, PropagateDirection::Both);
        assert_eq!(both.frames.keys().collect::<Vec<_>>(), [&absent, &carried]);
    }
}
