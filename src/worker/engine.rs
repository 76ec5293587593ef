//! The real engine behind the thread: turns requests into calls of [`crate::infer`] and results into updates.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::{
    infer::{
        Clip, Engine, LoadedModel, PropagateOptions, Propagation, heeding,
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
        // The model that is at work stays until the new one is whole, so that neither a damaged file nor a change of mind costs
        // anything.
        let held = self.engine.as_ref().map(Engine::model);
        let held = held.filter(|m| m.device.same_device(&device));
        let held = held.map_or(0, |m| m.placed);
        let load = || anyhow::Ok(LoadedModel::load_fitting(&source, &device, held)?);
        let loaded = heeding(&out.cancel, load)?;
        out.cancel.check()?;
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

    /// Says nothing of the file: whoever asks has opened it as well, to show it, and has said what there is to say by then.
    fn open(&mut self, path: &str) -> Result<()> {
        // The old clip goes first: its caches may be large.
        self.clip = None;
        self.clip = Some(Clip::new(video::open(Path::new(path))?));
        Ok(())
    }

    /// Says what decoding has brought to light of the file.
    fn tell(&mut self, out: &Output<'_>) {
        for warning in self.clip.iter_mut().flat_map(Clip::news) {
            out.warn(warning);
        }
    }

    fn answer(&mut self, request: Request, out: &Output<'_>) -> Result<InferTask> {
        let mut progress = out.progress();
        match request {
            Request::LoadModel { model, device } => self.load(&model, &device, out)?,
            Request::OpenClip { path } => self.open(&path)?,
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
                    self.tell(out);
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
                let step = || engine.step(clip, propagation);
                let masks = heeding(&out.cancel, step).with_context(|| {
                    format!("tracking stopped after {done} of {total} frames, which are kept")
                })?;
                let Some(masks) = masks else {
                    self.tell(out);
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

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::{
        infer::model::ModelInfo,
        nn::random_weights::RandomWeights,
        task::{CancelToken, JobId},
        worker::backend::was_cancelled,
    };

    #[test]
    fn a_load_that_is_cancelled_leaves_the_old_model_at_work() {
        let info = ModelInfo::by_id("nano").unwrap();
        let weights = RandomWeights::new(3);
        LoadedModel::random_tensors(&info, &weights).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new.safetensors");
        let tensors: std::collections::HashMap<_, _> = weights.tensors().into_iter().collect();
        candle_core::safetensors::save(&tensors, &path).unwrap();

        let old = LoadedModel::untrained(&info, 5, &Device::Cpu).unwrap();
        let mut backend = InferBackend {
            engine: Some(Engine::new(old)),
            clip: None,
        };
        let at_work = |backend: &InferBackend| {
            let engine = backend.engine.as_ref().unwrap();
            engine.model().name.clone()
        };
        let (updates, received) = crossbeam_channel::bounded(8);
        let load = |backend: &mut InferBackend, cancel: CancelToken| {
            let mut out = Output {
                job: JobId(1),
                cancel,
                updates: &updates,
                wake: &|| (),
            };
            let mut task = backend
                .start(Request::LoadModel {
                    model: path.display().to_string(),
                    device: "cpu".into(),
                })
                .unwrap();
            backend.advance(&mut task, &mut out)
        };
        let stopped = CancelToken::default();
        stopped.cancel();
        let error = load(&mut backend, stopped).unwrap_err();
        assert!(was_cancelled(&error), "{error:#}");
        assert_eq!(at_work(&backend), "nano");
        assert!(received.is_empty(), "nothing was loaded");
        load(&mut backend, CancelToken::default()).unwrap();
        assert_eq!(at_work(&backend), path.display().to_string());
        assert_eq!(received.len(), 1);
    }
}
