//! The real engine behind the thread: turns requests into calls of [`crate::infer`] and results into updates.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::{
    infer::{
        Clip, Engine, LoadedModel, PropagateOptions, Propagation,
        model::{ModelSource, device, device_words},
    },
    task::{Request, Update},
    video,
};

use super::backend::{Backend, Flow, Output};

/// Model and clip that requests speak of.
#[derive(Default)]
pub struct InferBackend {
    engine: Option<Engine>,
    clip: Option<Clip>,
}

/// A request in the middle of being answered.
pub enum InferTask {
    /// Answered in one piece.
    Whole(Option<Request>),
    /// Handed out frame by frame.
    Propagation(Box<Propagation>),
}

impl InferBackend {
    fn both(&mut self) -> Result<(&Engine, &mut Clip)> {
        match (&self.engine, &mut self.clip) {
            (Some(engine), Some(clip)) => Ok((engine, clip)),
            (None, _) => bail!("no model is loaded: choose one first"),
            (_, None) => bail!("no clip is open: open a video or an image folder first"),
        }
    }

    fn load(&mut self, model: &str, device_name: &str, out: &Output<'_>) -> Result<()> {
        let source = ModelSource::find(model)?;
        let device = device(device_name)?;
        // The model that is at work stays until the new one is whole, so that a damaged file costs nothing.
        let held = self.engine.as_ref().map(Engine::model);
        let held = held.filter(|m| m.device.same_device(&device));
        let held = held.map_or(0, |m| m.placed);
        let loaded = LoadedModel::load_fitting(&source, &device, held)?;
        if loaded.untrained {
            out.warn("this program carries no trained weights: answers mean nothing");
        }
        let vocabulary = loaded.words.known_words();
        let thresholds = loaded.project_thresholds();
        self.engine = Some(Engine::new(loaded));
        out.send(Update::ModelLoaded {
            job: out.job(),
            model: model.to_owned(),
            device: device_words(&device),
            thresholds,
            vocabulary,
        });
        Ok(())
    }

    fn open(&mut self, path: &str, out: &Output<'_>) -> Result<()> {
        // The old clip goes first: its caches may be large.
        self.clip = None;
        let source = video::open(Path::new(path))?;
        for warning in source.warnings() {
            out.warn(warning);
        }
        self.clip = Some(Clip::new(source));
        Ok(())
    }

    fn answer(&mut self, request: Request, out: &Output<'_>) -> Result<InferTask> {
        let mut progress = out.progress();
        match request {
            Request::LoadModel { model, device } => self.load(&model, &device, out)?,
            Request::OpenClip { path } => self.open(&path, out)?,
            Request::Ground {
                frame,
                phrase,
                options,
            } => {
                let (engine, clip) = self.both()?;
                let grounded = engine.ground(clip, frame, &phrase, &options, &mut progress)?;
                for warning in grounded.warnings {
                    out.warn(warning);
                }
                out.send(Update::Grounded {
                    job: out.job(),
                    emission: Box::new(grounded.emission),
                    masks: grounded.masks,
                });
            }
            Request::Segment {
                frame,
                object,
                prompt,
            } => {
                let (engine, clip) = self.both()?;
                let mask = engine.segment(clip, frame, &prompt, &mut progress)?;
                out.send(Update::Segmented {
                    job: out.job(),
                    object,
                    frame,
                    mask: Box::new(mask),
                });
            }
            Request::Propagate {
                objects,
                range,
                direction,
                mode,
                emissions,
            } => {
                let (engine, clip) = self.both()?;
                let options = PropagateOptions {
                    range,
                    direction,
                    mode,
                    emissions,
                };
                let propagation = engine.begin(clip, &objects, &options, &mut progress)?;
                for warning in &propagation.warnings {
                    out.warn(warning);
                }
                return Ok(InferTask::Propagation(Box::new(propagation)));
            }
        }
        Ok(InferTask::Whole(None))
    }
}

impl Backend for InferBackend {
    type Task = InferTask;

    fn start(&mut self, request: Request) -> Result<InferTask> {
        Ok(InferTask::Whole(Some(request)))
    }

    fn advance(&mut self, task: &mut InferTask, out: &mut Output<'_>) -> Result<Flow> {
        match task {
            // Cloned, not taken: after a failure for want of memory it is asked again.
            InferTask::Whole(request) => match request.clone() {
                None => Ok(Flow::Done),
                Some(request) => {
                    *task = self.answer(request, out)?;
                    Ok(match task {
                        InferTask::Whole(_) => Flow::Done,
                        InferTask::Propagation(_) => Flow::More,
                    })
                }
            },
            InferTask::Propagation(propagation) => {
                let (engine, clip) = self.both()?;
                let (done, total) = propagation.progress();
                out.progress().step(done, total, "tracking")?;
                let masks = engine.step(clip, propagation).with_context(|| {
                    format!("tracking stopped after {done} of {total} frames, which are kept")
                })?;
                let Some(masks) = masks else {
                    return Ok(Flow::Done);
                };
                for (object, frame, mask) in masks {
                    out.send(Update::Propagated {
                        job: out.job(),
                        object,
                        frame,
                        mask: Box::new(mask),
                    });
                }
                Ok(Flow::More)
            }
        }
    }

    fn recover(&mut self) {
        // Weights never change; what was computed of the clip may be half made.
        if let Some(clip) = &mut self.clip {
            clip.forget();
        }
    }

    fn relieve(&mut self) {
        if let Some(clip) = &mut self.clip {
            clip.keep_less();
        }
    }
}
