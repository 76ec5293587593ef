//! The real model as a subject. Leaves everything it does to [`crate::infer`].

use std::{collections::BTreeMap, path::Path, slice};

use super::{
    error::EvalError,
    subject::{Answer, Ask, Opened, Subject, Track},
};
use crate::{
    infer::{Clip, Engine, InferError, PropagateOptions},
    project::{FrameIndex, FrameMask, Object, ObjectId, Proposal},
    task::{GroundOptions, Mode, Progress, Prompt, PropagateDirection},
    video,
};

impl From<InferError> for EvalError {
    fn from(error: InferError) -> Self {
        match error {
            InferError::Cancelled(stop) => Self::Cancelled(stop),
            other => Self::Model(other.to_string()),
        }
    }
}

/// An engine and the clip that is open.
pub struct EngineSubject<'a> {
    engine: &'a Engine,
    clip: Option<Clip>,
}

impl<'a> EngineSubject<'a> {
    /// No clip is open yet.
    pub fn new(engine: &'a Engine) -> Self {
        Self { engine, clip: None }
    }

    fn parts(&mut self) -> Result<(&'a Engine, &mut Clip), EvalError> {
        let clip = self.clip.as_mut();
        let clip = clip.ok_or_else(|| EvalError::Model("no clip is open".to_owned()))?;
        Ok((self.engine, clip))
    }
}

impl Subject for EngineSubject<'_> {
    fn name(&self) -> String {
        self.engine.model().name.clone()
    }

    fn open(&mut self, images: &Path) -> Result<Opened, EvalError> {
        let source = video::open(images).map_err(|e| EvalError::Model(e.to_string()))?;
        let clip = Clip::new(source);
        let opened = Opened {
            size: clip.size(),
            frames: clip.frames(),
        };
        self.clip = Some(clip);
        Ok(opened)
    }

    fn ground(
        &mut self,
        frame: FrameIndex,
        phrase: &str,
        ask: &Ask,
        progress: &mut Progress<'_>,
    ) -> Result<Answer, EvalError> {
        let (engine, clip) = self.parts()?;
        let options = GroundOptions {
            thresholds: engine.model().project_thresholds(),
            drawn_boxes: Vec::new(),
            tsf: ask.anchors.clone(),
        };
        let grounded = Engine::sparing(clip, |clip| {
            if ask.text_alone {
                engine.ground_by_text(clip, frame, phrase, &options, progress)
            } else {
                engine.ground(clip, frame, phrase, &options, progress)
            }
        })?;
        Ok(Answer {
            emission: grounded.emission,
            masks: grounded.masks,
        })
    }

    fn segment(
        &mut self,
        frame: FrameIndex,
        prompt: &Prompt,
        progress: &mut Progress<'_>,
    ) -> Result<FrameMask, EvalError> {
        let (engine, clip) = self.parts()?;
        Ok(Engine::sparing(clip, |clip| {
            engine.segment(clip, frame, prompt, progress)
        })?)
    }

    fn carry(
        &mut self,
        frame: FrameIndex,
        answer: &Answer,
        mode: Mode,
        progress: &mut Progress<'_>,
    ) -> Result<Vec<Track>, EvalError> {
        let (engine, clip) = self.parts()?;
        let objects: Vec<Object> = (1..)
            .zip(&answer.masks)
            .map(|(id, mask)| Object {
                id: ObjectId(id),
                name: String::new(),
                phrase: answer.emission.phrase.clone(),
                colour: 0,
                visible: true,
                locked: false,
                frames: [(frame, mask.clone())].into(),
            })
            .collect();
        let mut tracks: Vec<Track> = answer
            .masks
            .iter()
            .map(|mask| Track::from([(frame.0, mask.clone())]))
            .collect();
        if objects.is_empty() {
            return Ok(tracks);
        }
        let mut emission = answer.emission.clone();
        emission.objects = objects.iter().map(|o| o.id).collect();
        let options = PropagateOptions {
            range: 0..=clip.frames().saturating_sub(1),
            direction: PropagateDirection::Both,
            mode,
            emissions: vec![emission],
        };
        // Carried once more, a frame's mask takes the place of the first.
        Engine::sparing(clip, |clip| {
            engine.propagate(
                clip,
                &objects,
                &options,
                progress,
                &mut |id, frame, mask| {
                    let track = tracks.get_mut((id.0 as usize).wrapping_sub(1));
                    if let Some(track) = track {
                        track.insert(frame.0, mask);
                    }
                },
            )
        })?;
        Ok(tracks)
    }

    fn carry_between(
        &mut self,
        anchors: &BTreeMap<FrameIndex, FrameMask>,
        progress: &mut Progress<'_>,
    ) -> Result<Track, EvalError> {
        let (engine, clip) = self.parts()?;
        let object = Object {
            id: ObjectId(1),
            name: String::new(),
            phrase: String::new(),
            colour: 0,
            visible: true,
            locked: false,
            frames: anchors.clone(),
        };
        let options = PropagateOptions {
            range: 0..=clip.frames().saturating_sub(1),
            direction: PropagateDirection::Both,
            mode: Mode::Track,
            emissions: Vec::new(),
        };
        let given = anchors.iter().map(|(f, mask)| (f.0, mask.clone()));
        let mut track: Track = given.collect();
        Engine::sparing(clip, |clip| {
            engine.propagate(
                clip,
                slice::from_ref(&object),
                &options,
                progress,
                &mut |_, frame, mask| {
                    track.insert(frame.0, mask);
                },
            )
        })?;
        Ok(track)
    }

    fn propose(
        &mut self,
        frame: FrameIndex,
        progress: &mut Progress<'_>,
    ) -> Result<Vec<Proposal>, EvalError> {
        let (engine, clip) = self.parts()?;
        Ok(Engine::sparing(clip, |clip| {
            engine.propose(clip, frame, progress)
        })?)
    }
}
