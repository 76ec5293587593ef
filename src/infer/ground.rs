//! A phrase on a frame: the model's words, every proposal with its three scores, and one mask per referent.
//!
//! Each `[SEG]` is one referent; its mask is the maximum over the boxes that its `[BOX]` kept. The embeddings are kept with
//! the clip for the framewise mode. Which boxes there are, and which are kept, is [`super::offer`]'s.

use std::time::Instant;

use candle_core::Tensor;

use crate::{
    nn::sam2::ImageFeatures,
    project::{
        BoxPx, Choosing, Emission, FrameIndex, FrameMask, NOT_KNOWN, Proposal, Provenance, Size,
        Thresholds, measure,
    },
    task::{GroundOptions, Progress},
};

use super::{
    clip::{Clip, EmissionKey, Emitted},
    engine::Engine,
    error::InferResult,
    heed::heeding,
    language::{Opening, Spoken},
    masks::ByColour,
    model::PromptConfig,
    offer::{Kept, choose},
    preprocess::{box_around, box_from_norm},
};

/// An answer.
#[derive(Clone, Debug)]
pub struct Grounded {
    /// What was said and offered; its list of objects is still empty.
    pub emission: Emission,
    /// One mask per referent.
    pub masks: Vec<FrameMask>,
    /// One sentence each.
    pub warnings: Vec<String>,
}

/// What guides the masks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guide {
    /// `[SEG]` and the kept boxes.
    Boxes,
    /// The same, of what was kept before, however much surer the best of it is.
    Again,
    /// `[SEG]`.
    TextAlone,
}

/// What was heard when a phrase was asked, before anything is pointed at.
struct Heard {
    started: Instant,
    spoken: Spoken,
    /// The answer that takes for granted that there is such a thing, if the model said that there is not.
    presupposed: Option<Spoken>,
    unknown_words: Vec<(String, String)>,
    warnings: Vec<String>,
}

impl Engine {
    /// Proposals and masks for a phrase on a frame.
    ///
    /// # Errors
    /// [`super::error::InferError`] if the phrase holds no word, the frame cannot be read, or it was cancelled.
    pub fn ground(
        &self,
        clip: &mut Clip,
        frame: FrameIndex,
        phrase: &str,
        options: &GroundOptions,
        progress: &mut Progress<'_>,
    ) -> InferResult<Grounded> {
        let how = (options, Guide::Boxes);
        let (grounded, emitted) = self.answer(clip, frame, phrase, how, progress)?;
        clip.remember(emitted);
        Ok(grounded)
    }

    /// [`Engine::ground`] with masks that `[SEG]` alone prompts: what the boxes are worth is the difference. Whether
    /// there is such a thing is decided as ever.
    ///
    /// # Errors
    /// As [`Engine::ground`].
    pub fn ground_by_text(
        &self,
        clip: &mut Clip,
        frame: FrameIndex,
        phrase: &str,
        options: &GroundOptions,
        progress: &mut Progress<'_>,
    ) -> InferResult<Grounded> {
        let how = (options, Guide::TextAlone);
        let (grounded, emitted) = self.answer(clip, frame, phrase, how, progress)?;
        clip.remember(emitted);
        Ok(grounded)
    }

    /// The answer, and what is to be remembered of it; also stopped within a network, of which a large one takes long.
    fn answer(
        &self,
        clip: &mut Clip,
        frame: FrameIndex,
        phrase: &str,
        how: (&GroundOptions, Guide),
        progress: &mut Progress<'_>,
    ) -> InferResult<(Grounded, Emitted)> {
        let cancel = progress.cancel.clone();
        heeding(&cancel, || {
            self.answered(clip, frame, phrase, how, progress)
        })
    }

    fn answered(
        &self,
        clip: &mut Clip,
        frame: FrameIndex,
        phrase: &str,
        (options, guide): (&GroundOptions, Guide),
        progress: &mut Progress<'_>,
    ) -> InferResult<(Grounded, Emitted)> {
        let started = Instant::now();
        self.claim(clip);
        let read = self.model().words.read(phrase)?;
        let mut warnings = read.warnings.clone();
        if self.model().untrained {
            warnings
                .push("this program carries no trained weights: the answer means nothing".into());
        }
        for (word, read_as) in &read.unknown {
            warnings.push(if read_as.is_empty() {
                format!("the model {NOT_KNOWN} {word:?}; it is left out")
            } else {
                format!("the model {NOT_KNOWN} {word:?}; it reads {read_as:?} instead")
            });
        }
        let prefix = self.prefix(clip, frame, progress)?;
        let tsf = self.tsf_tokens(clip, frame, &options.tsf, progress)?;
        progress.step(1, 4, "reading the phrase")?;
        let spoken = self.speak(&prefix, &read, tsf.as_ref(), Opening::Free, progress)?;
        // A model that says "none" is asked what it would have pointed at: the proposals then show how close each came,
        // which a person needs to see most exactly when nothing was found. No object comes of it. One that has no words for
        // "none" would say the same again.
        let silent = spoken.boxes.is_empty() && spoken.seg.is_empty();
        let presupposed = if silent && self.says_none() {
            Some(self.speak(&prefix, &read, tsf.as_ref(), Opening::Presupposed, progress)?)
        } else {
            None
        };
        let heard = Heard {
            started,
            spoken,
            presupposed,
            unknown_words: read.unknown,
            warnings,
        };
        self.point(clip, (frame, phrase), heard, (options, guide), progress)
    }

    /// Proposals and masks for an answer that was had in whatever way.
    ///
    /// # Errors
    /// As [`Engine::ground`].
    pub(super) fn point_at(
        &self,
        clip: &mut Clip,
        (frame, phrase): (FrameIndex, &str),
        spoken: Spoken,
        options: &GroundOptions,
        progress: &mut Progress<'_>,
    ) -> InferResult<Grounded> {
        self.claim(clip);
        let heard = Heard {
            started: Instant::now(),
            spoken,
            presupposed: None,
            unknown_words: Vec::new(),
            warnings: Vec::new(),
        };
        let how = (options, Guide::Boxes);
        let (grounded, emitted) = self.point(clip, (frame, phrase), heard, how, progress)?;
        clip.remember(emitted);
        Ok(grounded)
    }

    /// [`Engine::answer`] to what was heard.
    fn point(
        &self,
        clip: &mut Clip,
        (frame, phrase): (FrameIndex, &str),
        heard: Heard,
        (options, guide): (&GroundOptions, Guide),
        progress: &mut Progress<'_>,
    ) -> InferResult<(Grounded, Emitted)> {
        let Heard {
            started,
            spoken,
            presupposed,
            unknown_words,
            warnings,
        } = heard;
        progress.step(2, 4, "looking at the frame")?;
        let features = self.features(clip, frame)?;
        let size = clip.size();
        let pointing = presupposed.as_ref().unwrap_or(&spoken);
        let queries = if pointing.boxes.is_empty() {
            &pointing.seg
        } else {
            &pointing.boxes
        };
        let offered = self.offered(clip, frame, &features, &options.drawn_boxes)?;
        if offered.drawn == 0 {
            clip.offered = Some((frame, offered.all.clone()));
        }
        let followed = match queries.is_empty() {
            false => self.follow(clip, frame, &features, &offered, progress)?,
            true => None,
        };
        let mut scored = self.score(&features, &offered, followed.as_ref(), queries)?;
        let share = spoken.presence.powf(self.model().thresholds.presence_power);
        for c in scored.confidence.iter_mut().flatten() {
            *c *= share;
        }
        progress.step(3, 4, "decoding the masks")?;
        let says_none = self.says_none();
        let choosing = Choosing {
            may_be_none: says_none,
            // A model of ours was not made to count a thing twice; a released one keeps what it was released to keep.
            once: says_none,
            peers: says_none && guide != Guide::Again,
            one: says_none && speaks_of_one(&spoken.text, &self.model().info.prompt),
        };
        let (chosen, proposals) = if self.is_released() && !queries.is_empty() {
            self.choose_as_released(&scored, spoken.seg.len(), &features, size)?
        } else {
            let (mut chosen, mut proposals) = choose(
                &scored,
                queries.len(),
                spoken.seg.len(),
                &options.thresholds,
                choosing,
                size,
            );
            self.drop_incredible(&features, &mut chosen, &mut proposals, size)?;
            (chosen, proposals)
        };
        let texts = self.prompts_of(&spoken, scored.refined.as_ref())?;
        let side = self.config().sam2.image_size as f32;
        let mut emitted = Emitted {
            key: EmissionKey::new(phrase, frame, &proposals),
            seg: Vec::new(),
            boxes: Vec::new(),
        };
        let (sight, canvas) = (self.sight(&features)?, self.canvas(clip, frame)?);
        let mut masks = Vec::new();
        for (text, boxes) in texts.iter().zip(chosen) {
            let Some(boxes) = boxes else {
                continue;
            };
            let in_model: Vec<_> = match guide {
                Guide::Boxes | Guide::Again => boxes.iter().map(|b| b.map(|c| c * side)).collect(),
                Guide::TextAlone => Vec::new(),
            };
            let low_res = self.decode_boxes(
                &sight,
                ByColour::of(canvas.as_deref()),
                &in_model,
                Some(text),
            )?;
            let mut mask = low_res.to_mask(size, Provenance::Model);
            let expected = box_around(&boxes).map(|b| box_from_norm(b, size));
            mask.drift = measure([], &mask, expected);
            masks.push(mask);
            emitted.seg.push(text.clone());
            emitted.boxes.push(boxes);
        }
        if spoken.tsf_tokens > 0 {
            clip.remember_crops(emitted.key.clone(), &options.tsf);
        }
        let grounded = Grounded {
            emission: Emission {
                frame,
                phrase: phrase.to_owned(),
                text: spoken.text,
                tokens: spoken.tokens,
                unknown_words,
                proposals,
                objects: Vec::new(),
                tsf_tokens: spoken.tsf_tokens,
                secs: started.elapsed().as_secs_f32(),
                choosing,
                by_hand: Some(std::collections::BTreeSet::new()),
            },
            masks,
            warnings,
        };
        Ok((grounded, emitted))
    }

    /// Keeps of each referent's boxes those that SAM2, prompted with the box alone, fills with a mask, and those that a person drew;
    /// only where the model's configuration asks for it, as the released one does.
    fn drop_incredible(
        &self,
        features: &ImageFeatures,
        chosen: &mut [Kept],
        proposals: &mut [Proposal],
        size: Size,
    ) -> InferResult<()> {
        let n = &self.model().networks;
        if self.config().filtration.box_prior_max_keep == 0 {
            return Ok(());
        }
        let pyramid = n.pyramid(features)?;
        let frame = (size.height as usize, size.width as usize);
        let is_drawn = |b: &[f32; 4]| {
            let shown = box_from_norm(*b, size);
            proposals.iter().any(|p| p.drawn && p.box_px == shown)
        };
        for boxes in chosen.iter_mut().flatten() {
            let (drawn, offered): (Vec<_>, Vec<_>) = boxes.iter().copied().partition(is_drawn);
            *boxes = drawn;
            if !offered.is_empty() {
                let kept = n.credible(&[offered], &pyramid, frame)?;
                boxes.extend(kept.into_iter().flatten());
            }
        }
        let kept: Vec<BoxPx> = chosen
            .iter()
            .flatten()
            .flatten()
            .map(|b| box_from_norm(*b, size))
            .collect();
        for proposal in proposals.iter_mut().filter(|p| p.selected) {
            proposal.selected = kept.contains(&proposal.box_px);
            proposal.incredible = !proposal.selected;
        }
        Ok(())
    }

    /// What prompts the masks: the `[SEG]`s, or, by the released rules, what the filtration head made of them where no
    /// `[BOX]` asked in their place.
    fn prompts_of(&self, spoken: &Spoken, refined: Option<&Tensor>) -> InferResult<Vec<Tensor>> {
        match refined {
            Some(refined) if self.is_released() && spoken.boxes.is_empty() => (0..spoken.seg.len())
                .map(|i| Ok(refined.narrow(0, i, 1)?))
                .collect(),
            _ => Ok(spoken.seg.clone()),
        }
    }

    /// Whether the model was taught to say that there is no such thing; a released model always keeps its best box.
    fn says_none(&self) -> bool {
        self.model().thresholds.presence > 0.0 && !self.is_released()
    }

    /// The embeddings and boxes of an emission, asked again if the clip no longer keeps them; a sentence in `warnings` if that cannot
    /// be done as it was.
    pub(super) fn emitted(
        &self,
        clip: &mut Clip,
        emission: &Emission,
        warnings: &mut Vec<String>,
        progress: &mut Progress<'_>,
    ) -> InferResult<Emitted> {
        self.claim(clip);
        if let Some(emitted) = clip.recall(emission) {
            return Ok(emitted.clone());
        }
        let drawn = emission.proposals.iter().filter(|p| p.drawn);
        let tsf = clip.crops_of(emission).map(<[_]>::to_vec);
        if tsf.is_none() {
            warnings.push(format!(
                "{:?} was asked with crops of its target, which are not kept with a project: it is asked again without them",
                emission.phrase
            ));
        }
        // What was kept then is kept again, whatever the thresholds have become since.
        let options = GroundOptions {
            thresholds: thresholds_of(emission, self.model().project_thresholds()),
            drawn_boxes: drawn.map(|p| p.box_px).collect(),
            tsf: tsf.unwrap_or_default(),
        };
        let again = (&options, Guide::Again);
        let (_, answered) = self.answer(clip, emission.frame, &emission.phrase, again, progress)?;
        // It stands for what was said then, whether or not it was asked as it was: an emission's further objects find it.
        let emitted = Emitted {
            key: EmissionKey::of(emission),
            ..answered
        };
        clip.remember(emitted.clone());
        Ok(emitted)
    }
}

/// Whether the answer is the model's sentence about a single thing, where it has another about several: then one box is
/// meant, however many are good enough.
fn speaks_of_one(text: &str, prompt: &PromptConfig) -> bool {
    let bare = |s: &str| s.split_whitespace().collect::<String>();
    let one = bare(&prompt.answer);
    !one.is_empty() && bare(text) == one && one != bare(&prompt.answer_plural)
}

/// Thresholds under which an emission keeps what it has kept, asked again.
fn thresholds_of(emission: &Emission, model: Thresholds) -> Thresholds {
    let selected = || emission.proposals.iter().filter(|p| p.selected);
    let least = |get: fn(&Proposal) -> f32, of: f32| {
        let all = selected().filter(|p| !p.drawn).map(get);
        all.reduce(f32::min).map_or(of, |v| (v - ROUNDING).min(of))
    };
    Thresholds {
        objectness: least(|p| p.objectness, model.objectness),
        keep: least(|p| p.confidence, model.keep),
        at_most: model.at_most.max(selected().count() as u32),
    }
}

/// How far a confidence may move when the same thing is asked again.
const ROUNDING: f32 = 1e-4;

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::{
        infer::{LoadedModel, model::ModelInfo},
        nn::ops::metered,
        project::{kept, select},
        video::SyntheticSource,
    };

    const OURS: Choosing = Choosing {
        may_be_none: true,
        once: true,
        peers: true,
        one: false,
    };

    const T: Thresholds = Thresholds {
        objectness: 0.1,
        keep: 0.5,
        at_most: 2,
    };

    #[test]
    fn a_sentence_about_one_thing_is_told_from_one_about_several() {
        let mut prompt = PromptConfig {
            template: String::new(),
            answer: "it is [BOX] [SEG] .".into(),
            answer_plural: "they are [BOX] [SEG] .".into(),
            answer_none: String::new(),
            max_new_tokens: 16,
        };
        assert!(speaks_of_one("it is [BOX] [SEG].", &prompt));
        assert!(!speaks_of_one("they are [BOX] [SEG].", &prompt));
        assert!(!speaks_of_one("", &prompt));
        // A model with one sentence for both does not tell.
        prompt.answer_plural.clone_from(&prompt.answer);
        assert!(!speaks_of_one("it is [BOX] [SEG].", &prompt));
    }

    /// By the work that is done for an answer without [SEG] and [BOX].
    #[test]
    fn a_model_without_words_for_none_is_asked_once() {
        let info = ModelInfo::by_id("nano").unwrap();
        let work = |presence: f32| {
            let mut model = LoadedModel::untrained(&info, 5, &Device::Cpu).unwrap();
            model.thresholds.presence = presence;
            let language = &mut model.networks.language;
            let shape = (language.vocabulary(), language.width());
            // Every word is as likely as every other, and the first is neither of the two.
            let head = Tensor::zeros(shape, candle_core::DType::F32, &Device::Cpu).unwrap();
            *language = language.with_head(head);
            let engine = Engine::new(model);
            let source = SyntheticSource::new(Size::new(64, 48), 2, 8.0);
            let (mut clip, mut progress) = (Clip::new(Box::new(source)), Progress::silent());
            let options = GroundOptions {
                thresholds: T,
                drawn_boxes: Vec::new(),
                tsf: Vec::new(),
            };
            let (said, work) = metered(|| {
                let frame = FrameIndex(0);
                engine.ground(&mut clip, frame, "the horse", &options, &mut progress)
            });
            assert!(said.unwrap().masks.is_empty());
            work.flop
        };
        assert!(work(0.0) < work(0.05));
    }

    #[test]
    fn what_is_dropped_as_incredible_stays_dropped_and_what_a_person_drew_stays() {
        let mut info = ModelInfo::by_id("nano").unwrap();
        info.config.filtration.box_prior_max_keep = 1;
        let engine = Engine::new(LoadedModel::untrained(&info, 5, &Device::Cpu).unwrap());
        let size = Size::new(64, 48);
        let mut clip = clip_of(size);
        engine.claim(&mut clip);
        let features = engine.features(&mut clip, FrameIndex(0)).unwrap();
        let boxes = [
            [0.1, 0.1, 0.4, 0.5],
            [0.5, 0.2, 0.9, 0.8],
            [0.2, 0.5, 0.6, 0.9],
        ];
        let offer = |(i, b): (usize, &[f32; 4])| Proposal {
            box_px: box_from_norm(*b, size),
            objectness: 1.0,
            filtration: 0.5,
            confidence: 0.9 - 0.1 * i as f32,
            selected: true,
            drawn: i == 2,
            incredible: false,
        };
        let mut proposals: Vec<Proposal> = boxes.iter().enumerate().map(offer).collect();
        let mut chosen = [Some(boxes.to_vec())];
        engine
            .drop_incredible(&features, &mut chosen, &mut proposals, size)
            .unwrap();
        let left = chosen[0].as_ref().unwrap();
        assert!(left.len() == 2 && left.contains(&boxes[2]), "{left:?}");
        let selected: Vec<bool> = proposals.iter().map(|p| p.selected).collect();
        assert!(selected[2] && selected[0] != selected[1], "{selected:?}");
        // As a slider does that is moved and moved back.
        let low = Thresholds { at_most: 9, ..T };
        let again = select(&proposals, &low, Choosing::default());
        assert_eq!(again, selected);
    }

    /// Whatever it is asked, its every word is [BOX] or [SEG].
    fn always_pointing() -> Engine {
        let info = ModelInfo::by_id("nano").unwrap();
        let mut model = LoadedModel::untrained(&info, 5, &Device::Cpu).unwrap();
        let ids = ["[BOX]", "[SEG]"].map(|token| model.words.id(token).unwrap() as usize);
        let language = &mut model.networks.language;
        let shape @ (rows, width) = (language.vocabulary(), language.width());
        let mut head = vec![0f32; rows * width];
        // Whichever way a state points, one of the two is likelier than all other words.
        for (id, sign) in ids.into_iter().zip([1.0, -1.0]) {
            head[id * width..][..width].fill(sign);
        }
        let head = Tensor::from_vec(head, shape, &Device::Cpu).unwrap();
        *language = language.with_head(head);
        Engine::new(model)
    }

    fn clip_of(size: Size) -> Clip {
        Clip::new(Box::new(SyntheticSource::new(size, 2, 8.0)))
    }

    fn ask(engine: &Engine, clip: &mut Clip, drawn: &[BoxPx], crops: &[BoxPx]) -> Emission {
        let frame = FrameIndex(0);
        let options = GroundOptions {
            thresholds: T,
            drawn_boxes: drawn.to_vec(),
            tsf: crops.iter().map(|b| (frame, *b)).collect(),
        };
        let answer = engine.ground(clip, frame, "the horse", &options, &mut Progress::silent());
        answer.unwrap().emission
    }

    /// The work of finding out what an emission prompts with, and what is said about it.
    fn recalled(engine: &Engine, clip: &mut Clip, emission: &Emission) -> (u64, Vec<String>) {
        let mut warnings = Vec::new();
        let (found, work) =
            metered(|| engine.emitted(clip, emission, &mut warnings, &mut Progress::silent()));
        found.unwrap();
        (work.flop, warnings)
    }

    /// As for two objects of one emission in a project of another session.
    #[test]
    fn an_emission_whose_crops_are_gone_is_asked_again_once() {
        let (engine, size) = (always_pointing(), Size::new(64, 48));
        let crop = BoxPx::from_array([4.0, 4.0, 30.0, 30.0]);
        let emission = ask(&engine, &mut clip_of(size), &[], &[crop]);
        assert!(emission.tsf_tokens > 0);
        let mut clip = clip_of(size);
        let (work, warnings) = recalled(&engine, &mut clip, &emission);
        assert!(work > 0 && warnings.len() == 1, "{warnings:?}");
        assert_eq!(recalled(&engine, &mut clip, &emission), (0, Vec::new()));
    }

    #[test]
    fn a_phrase_asked_with_a_drawn_box_at_odd_coordinates_is_not_asked_again() {
        let (engine, size) = (always_pointing(), Size::new(1920, 1080));
        let drawn = BoxPx::from_array([101.3, 73.7, 733.1, 517.9]);
        let mut clip = clip_of(size);
        let emission = ask(&engine, &mut clip, &[drawn], &[]);
        let shown = emission.proposals.iter().find(|p| p.drawn).unwrap().box_px;
        assert!(shown != drawn && shown.iou(drawn) > 0.999, "{shown:?}");
        assert_eq!(recalled(&engine, &mut clip, &emission), (0, Vec::new()));
    }

    #[test]
    fn a_phrase_asked_again_with_other_crops_keeps_both() {
        let (engine, size) = (always_pointing(), Size::new(64, 48));
        let mut clip = clip_of(size);
        let crops = [[4.0, 4.0, 30.0, 30.0], [34.0, 10.0, 60.0, 44.0]].map(BoxPx::from_array);
        let asked = crops.map(|crop| (ask(&engine, &mut clip, &[], &[crop]), crop));
        assert_eq!(asked[0].0.tsf_tokens, asked[1].0.tsf_tokens);
        for (emission, crop) in &asked {
            let kept = clip.crops_of(emission);
            assert_eq!(kept, Some(&[(FrameIndex(0), *crop)][..]));
            assert_eq!(recalled(&engine, &mut clip, emission), (0, Vec::new()));
        }
        assert_eq!(clip.emitted.len(), 2);
    }

    #[test]
    fn an_emission_asked_again_keeps_what_it_kept() {
        let proposal = |objectness: f32, confidence: f32, selected, drawn| Proposal {
            // Each of a place of its own.
            box_px: BoxPx::from_array([100.0 * confidence, 0.0, 100.0 * confidence + 5.0, 9.0]),
            objectness,
            filtration: confidence,
            confidence,
            selected,
            drawn,
            incredible: false,
        };
        let mut emission = Emission {
            frame: FrameIndex(0),
            phrase: "x".into(),
            text: String::new(),
            tokens: vec![],
            unknown_words: vec![],
            proposals: vec![
                proposal(0.04, 0.3, true, false),
                proposal(1.0, 0.2, true, true),
                proposal(0.9, 0.6, true, false),
                proposal(0.01, 0.1, false, false),
            ],
            objects: vec![],
            tsf_tokens: 0,
            secs: 0.0,
            choosing: OURS,
            by_hand: None,
        };
        let again = thresholds_of(&emission, T);
        let kept = kept(&emission.proposals, &again, OURS);
        assert_eq!(again.at_most, 3);
        assert!(kept.contains(&0) && kept.contains(&2) && !kept.contains(&3));
        emission.proposals.clear();
        assert_eq!(thresholds_of(&emission, T), T);
    }
}
