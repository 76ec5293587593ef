//! A phrase on a frame: the model's words, every proposal with its three scores, and one mask per referent.
//!
//! Each `[SEG]` is one referent; its mask is the maximum over the boxes that its `[BOX]` kept. Which boxes are kept is
//! decided by [`crate::project`]'s pure rule, so that a slider can decide anew without the model. The embeddings are kept
//! with the clip for the framewise mode.

use std::{sync::Arc, time::Instant};

use candle_core::Tensor;

use crate::{
    nn::{
        deformable_detr::Proposals,
        filtration::{Candidates, Followed},
        sam2::ImageFeatures,
    },
    project::{
        BoxPx, Choosing, Emission, FrameIndex, FrameMask, Proposal, Provenance, Size, Thresholds,
        kept,
    },
    task::{GroundOptions, Progress},
};

use super::{
    clip::{Clip, Emitted},
    engine::Engine,
    error::InferResult,
    language::{Opening, Spoken},
    masks::{rows_tensor, sigmoid, values},
    model::{Pixels, PromptConfig},
    preprocess::{box_from_norm, box_to_norm, tower_input},
    released,
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

/// The kept boxes of a referent, corners in 0..=1; `None` if it is not there.
pub(super) type Kept = Option<Vec<[f32; 4]>>;

/// Boxes to choose from.
pub(super) struct Offered {
    /// The proposer's, then those that a person drew.
    pub(super) all: Proposals,
    /// How many a person drew.
    drawn: usize,
}

/// Offered boxes with what the filtration head makes of them.
pub(super) struct Scored {
    /// Corners in 0..=1.
    pub(super) boxes: Vec<[f32; 4]>,
    objectness: Vec<f32>,
    drawn: Vec<bool>,
    /// Per query and box: match with the phrase, 0..=1.
    matches: Vec<Vec<f32>>,
    /// Per query and box: confidence, 0..=1.
    pub(super) confidence: Vec<Vec<f32>>,
    /// The queries with what they attended to, `(n, d)`.
    refined: Option<Tensor>,
}

impl Scored {
    /// The boxes as proposals, as seen by one query.
    pub(super) fn seen_by(&self, query: usize, size: Size) -> Vec<Proposal> {
        (0..self.boxes.len())
            .map(|i| Proposal {
                box_px: box_from_norm(self.boxes[i], size),
                objectness: self.objectness[i],
                filtration: self.matches[query][i],
                confidence: self.confidence[query][i],
                selected: false,
                drawn: self.drawn[i],
            })
            .collect()
    }
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
        self.answer(clip, frame, phrase, (options, Guide::Boxes), progress)
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
        self.answer(clip, frame, phrase, (options, Guide::TextAlone), progress)
    }

    fn answer(
        &self,
        clip: &mut Clip,
        frame: FrameIndex,
        phrase: &str,
        (options, guide): (&GroundOptions, Guide),
        progress: &mut Progress<'_>,
    ) -> InferResult<Grounded> {
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
                format!("the model does not know the word {word:?}; it is left out")
            } else {
                format!("the model does not know the word {word:?}; it reads {read_as:?} instead")
            });
        }
        let prefix = self.prefix(clip, frame, progress)?;
        let tsf = self.tsf_tokens(clip, &options.tsf, progress)?;
        progress.step(1, 4, "reading the phrase")?;
        let spoken = self.speak(&prefix, &read, tsf.as_ref(), Opening::Free, progress)?;
        // A model that says "none" is asked what it would have pointed at: the proposals then show how close each came,
        // which a person needs to see most exactly when nothing was found. No object comes of it.
        let silent = spoken.boxes.is_empty() && spoken.seg.is_empty();
        let presupposed = if silent && !self.is_released() {
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
        self.point(clip, (frame, phrase), heard, how, progress)
    }

    fn point(
        &self,
        clip: &mut Clip,
        (frame, phrase): (FrameIndex, &str),
        heard: Heard,
        (options, guide): (&GroundOptions, Guide),
        progress: &mut Progress<'_>,
    ) -> InferResult<Grounded> {
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
        let says_none = self.says_none() && !self.is_released();
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
            phrase: phrase.to_owned(),
            frame,
            seg: Vec::new(),
            boxes: Vec::new(),
        };
        let canvas = self.canvas(clip, frame)?;
        let mut masks = Vec::new();
        for (text, boxes) in texts.iter().zip(chosen) {
            let Some(boxes) = boxes else {
                continue;
            };
            let in_model: Vec<_> = match guide {
                Guide::Boxes | Guide::Again => boxes.iter().map(|b| b.map(|c| c * side)).collect(),
                Guide::TextAlone => Vec::new(),
            };
            let low_res =
                self.decode_boxes(&features, (canvas.as_deref(), None), &in_model, Some(text))?;
            masks.push(low_res.to_mask(size, Provenance::Model));
            emitted.seg.push(text.clone());
            emitted.boxes.push(boxes);
        }
        clip.remember(emitted);
        Ok(Grounded {
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
            },
            masks,
            warnings,
        })
    }

    /// Keeps of each referent's boxes those that SAM2, prompted with the box alone, fills with a mask; only where the
    /// model's configuration asks for it, as the released one does.
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
        for boxes in chosen.iter_mut().flatten().filter(|b| !b.is_empty()) {
            let before = std::mem::take(boxes);
            let kept = n.credible(std::slice::from_ref(&before), &pyramid, frame)?;
            *boxes = kept.into_iter().next().unwrap_or_default();
        }
        let kept: Vec<BoxPx> = chosen
            .iter()
            .flatten()
            .flatten()
            .map(|b| box_from_norm(*b, size))
            .collect();
        for proposal in proposals.iter_mut().filter(|p| p.selected) {
            proposal.selected = kept.contains(&proposal.box_px);
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
        self.model().thresholds.presence > 0.0
    }

    /// What the proposer offers on a frame, without any phrase, best objectness first.
    ///
    /// # Errors
    /// [`super::error::InferError`] if the frame cannot be read or it was cancelled.
    pub fn propose(
        &self,
        clip: &mut Clip,
        frame: FrameIndex,
        progress: &mut Progress<'_>,
    ) -> InferResult<Vec<Proposal>> {
        self.claim(clip);
        progress.step(0, 1, "looking at the frame")?;
        let features = self.features(clip, frame)?;
        let offered = self.offered(clip, frame, &features, &[])?;
        let scored = self.score(&features, &offered, None, &[])?;
        Ok((0..scored.boxes.len())
            .map(|i| Proposal {
                box_px: box_from_norm(scored.boxes[i], clip.size()),
                objectness: scored.objectness[i],
                filtration: 0.0,
                confidence: 0.0,
                selected: false,
                drawn: false,
            })
            .collect())
    }

    /// The embeddings and boxes of an emission, asked again if the clip no longer keeps them.
    pub(super) fn emitted(
        &self,
        clip: &mut Clip,
        emission: &Emission,
        progress: &mut Progress<'_>,
    ) -> InferResult<Emitted> {
        if let Some(emitted) = clip.recall(&emission.phrase, emission.frame) {
            return Ok(emitted.clone());
        }
        let drawn = emission.proposals.iter().filter(|p| p.drawn);
        // What was kept then is kept again, whatever the thresholds have become since.
        let options = GroundOptions {
            thresholds: thresholds_of(emission, self.model().project_thresholds()),
            drawn_boxes: drawn.map(|p| p.box_px).collect(),
            tsf: Vec::new(),
        };
        let again = (&options, Guide::Again);
        self.answer(clip, emission.frame, &emission.phrase, again, progress)?;
        Ok(clip
            .recall(&emission.phrase, emission.frame)
            .cloned()
            .unwrap_or_else(|| Emitted {
                phrase: emission.phrase.clone(),
                frame: emission.frame,
                seg: Vec::new(),
                boxes: Vec::new(),
            }))
    }

    /// What the proposer sees of a frame. One with an image encoder of its own runs it once per frame in view.
    pub(super) fn proposer_maps(
        &self,
        clip: &mut Clip,
        frame: FrameIndex,
        features: &ImageFeatures,
    ) -> InferResult<Arc<Vec<Tensor>>> {
        let config = &self.config().proposer;
        if config.shared_trunk {
            return Ok(Arc::new(if features.fpn.is_empty() {
                vec![features.embed.clone()]
            } else {
                features.fpn.clone()
            }));
        }
        if let Some((at, maps)) = &clip.proposer_maps
            && *at == frame
        {
            return Ok(Arc::clone(maps));
        }
        let norms = &self.model().info.preprocess;
        let norm = norms.proposer.as_ref().unwrap_or(&norms.internvideo2);
        let input = match norms.pixels {
            Pixels::Released => {
                let sam = self.image(clip, frame)?;
                released::proposer_input(&sam, &norms.sam, config.image_size, norm)?
            }
            Pixels::Stretched => {
                let rgb = clip.rgb(frame)?;
                tower_input(&rgb, config.image_size, norm, &self.model().device)?
            }
        };
        let maps = Arc::new(self.model().networks.proposer_maps(&input)?);
        clip.proposer_maps = Some((frame, Arc::clone(&maps)));
        Ok(maps)
    }

    /// What the proposer offers on a frame, and behind that the boxes that a person drew.
    pub(super) fn offered(
        &self,
        clip: &mut Clip,
        frame: FrameIndex,
        features: &ImageFeatures,
        drawn: &[BoxPx],
    ) -> InferResult<Offered> {
        let n = &self.model().networks;
        let config = &self.config().proposer;
        if drawn.is_empty()
            && let Some((at, all)) = &clip.offered
            && *at == frame
        {
            return Ok(Offered {
                all: all.clone(),
                drawn: 0,
            });
        }
        let maps = self.proposer_maps(clip, frame, features)?;
        let corners: Vec<[f32; 4]> = drawn.iter().map(|b| box_to_norm(*b, clip.size())).collect();
        let all = if corners.is_empty() {
            let output = n.proposer.forward(&maps)?;
            output.proposals(0, config.topk, config.score_power)?
        } else {
            let boxes = rows_tensor(&corners, features.embed.device())?;
            let (output, described) = n.proposer.forward_with_drawn(&maps, &boxes)?;
            let found = output.proposals(0, config.topk, config.score_power)?;
            with_drawn(&found, &boxes, &described)?
        };
        let input = self.crops_from(clip, frame)?;
        let all = n.cut_out(all, corners.len(), &n.pyramid(features)?, input.as_ref())?;
        Ok(Offered {
            all,
            drawn: corners.len(),
        })
    }

    /// What becomes of the boxes on the later frames that the towers see; `None` if the model does not ask.
    pub(super) fn follow(
        &self,
        clip: &mut Clip,
        frame: FrameIndex,
        features: &ImageFeatures,
        offered: &Offered,
        progress: &Progress<'_>,
    ) -> InferResult<Option<Followed>> {
        let later = self.config().filtration.travel;
        let frames = self.encoder_frames(clip, frame);
        // On the last frame, and in a picture, nothing is known of motion, which is not the same as that all stands still.
        if later == 0 || frames.iter().all(|f| *f == frame) {
            return Ok(None);
        }
        if let Some((at, followed)) = &clip.followed
            && *at == frame
            && offered.drawn == 0
        {
            return Ok(Some(followed.clone()));
        }
        let n = &self.model().networks;
        let mut seen = Vec::with_capacity(later);
        self.look_ahead(clip, frames.iter().skip(1).take(later).map(|f| f.0))?;
        for &there in frames.iter().skip(1).take(later) {
            progress.cancel.check()?;
            let features = self.features(clip, there)?;
            let offered = self.offered(clip, there, &features, &[])?;
            seen.push((offered.all, n.pyramid(&features)?));
        }
        let seen: Vec<_> = seen.iter().map(|(p, m)| (p, m)).collect();
        let followed = n
            .filtration
            .follow((&offered.all, &n.pyramid(features)?), &seen)?;
        if offered.drawn == 0 {
            clip.followed = followed.clone().map(|f| (frame, f));
        }
        Ok(followed)
    }

    /// Scores boxes for each query, `(1, d)` each; `followed` from [`Engine::follow`].
    pub(super) fn score(
        &self,
        features: &ImageFeatures,
        offered: &Offered,
        followed: Option<&Followed>,
        queries: &[Tensor],
    ) -> InferResult<Scored> {
        let n = &self.model().networks;
        let all = &offered.all;
        let first_drawn = all.boxes.dim(0)? - offered.drawn;
        let mut scored = Scored {
            boxes: all
                .boxes
                .to_vec2::<f32>()?
                .into_iter()
                .map(corners)
                .collect(),
            objectness: values(&all.scores)?,
            drawn: (0..all.boxes.dim(0)?).map(|i| i >= first_drawn).collect(),
            matches: Vec::new(),
            confidence: Vec::new(),
            refined: None,
        };
        if queries.is_empty() {
            return Ok(scored);
        }
        let queries = Tensor::cat(queries, 0)?;
        let candidates = Candidates {
            followed,
            ..Candidates::all_valid(all)?
        };
        let scores = n
            .filtration
            .score_candidates(&queries, &candidates, &n.pyramid(features)?)?;
        let as_rows = |t: &Tensor| -> InferResult<Vec<Vec<f32>>> {
            let rows = t.to_vec2::<f32>()?;
            Ok(rows
                .into_iter()
                .map(|r| r.into_iter().map(sigmoid).collect())
                .collect())
        };
        scored.matches = as_rows(&scores.matches)?;
        scored.confidence = scores.confidence.to_vec2()?;
        scored.refined = scores.refined_queries;
        Ok(scored)
    }
}

/// Whether the answer is the model's sentence about a single thing, where it has another about several: then one box is
/// meant, however many are good enough.
fn speaks_of_one(text: &str, prompt: &PromptConfig) -> bool {
    let bare = |s: &str| s.split_whitespace().collect::<String>();
    let one = bare(&prompt.answer);
    !one.is_empty() && bare(text) == one && one != bare(&prompt.answer_plural)
}

fn corners(row: Vec<f32>) -> [f32; 4] {
    std::array::from_fn(|i| row.get(i).copied().unwrap_or(0.0))
}

/// Adds boxes that a person drew, `(m, 4)`, with the `(m, d)` that the proposer's own decoder says of them: certain
/// objects, for a person vouches for them.
fn with_drawn(found: &Proposals, boxes: &Tensor, described: &Tensor) -> InferResult<Proposals> {
    let drawn = boxes.dim(0)?;
    let ones = Tensor::ones(drawn, found.scores.dtype(), found.scores.device())?;
    let next = found.indices.iter().copied().max().map_or(0, |i| i + 1);
    Ok(Proposals {
        boxes: Tensor::cat(&[&found.boxes, boxes], 0)?,
        scores: Tensor::cat(&[&found.scores, &ones], 0)?,
        features: Tensor::cat(&[&found.features, described], 0)?,
        indices: found
            .indices
            .iter()
            .copied()
            .chain(next..next + drawn as u32)
            .collect(),
        masks: None,
        crops: None,
    })
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

/// Decides the boxes of each referent (`None` = not there) and lists all proposals, best confidence first.
///
/// As released, referent i takes the boxes of query i, or of the last query if there are fewer.
fn choose(
    scored: &Scored,
    queries: usize,
    referents: usize,
    thresholds: &Thresholds,
    choosing: Choosing,
    size: Size,
) -> (Vec<Kept>, Vec<Proposal>) {
    if queries == 0 {
        // Nothing was asked, so nothing is matched: the boxes are shown with their objectness alone.
        let proposals = (0..scored.boxes.len())
            .map(|i| Proposal {
                box_px: box_from_norm(scored.boxes[i], size),
                objectness: scored.objectness[i],
                filtration: 0.0,
                confidence: 0.0,
                selected: false,
                drawn: scored.drawn[i],
            })
            .collect();
        return (vec![None; referents], proposals);
    }
    let mut all = scored.seen_by(0, size);
    let mut chosen: Vec<Kept> = Vec::new();
    for query in 0..queries {
        let seen = scored.seen_by(query, size);
        let indices = kept(&seen, thresholds, choosing);
        let there = !indices.is_empty() || !choosing.may_be_none;
        for (i, proposal) in seen.iter().enumerate() {
            if proposal.confidence > all[i].confidence {
                all[i].confidence = proposal.confidence;
                all[i].filtration = proposal.filtration;
            }
        }
        if there && query < referents {
            for &i in &indices {
                all[i].selected = true;
            }
        }
        chosen.push(there.then(|| indices.iter().map(|&i| scored.boxes[i]).collect()));
    }
    all.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
    let of_referent = (0..referents)
        .map(|i| chosen[i.min(queries - 1)].clone())
        .collect();
    (of_referent, all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scored(confidence: &[&[f32]]) -> Scored {
        let n = confidence[0].len();
        Scored {
            boxes: (0..n)
                .map(|i| [0.1 * i as f32, 0.0, 0.1 * i as f32 + 0.1, 0.5])
                .collect(),
            objectness: vec![0.9; n],
            drawn: vec![false; n],
            matches: confidence.iter().map(|r| r.to_vec()).collect(),
            confidence: confidence.iter().map(|r| r.to_vec()).collect(),
            refined: None,
        }
    }

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
    fn kept_boxes_prompt_their_referent_and_the_list_is_sorted() {
        let s = scored(&[&[0.2, 0.9, 0.6, 0.55]]);
        let (boxes, list) = choose(&s, 1, 1, &T, OURS, Size::new(100, 100));
        assert_eq!(boxes, [Some(vec![s.boxes[1], s.boxes[2]])]);
        let shown: Vec<_> = list.iter().map(|p| (p.confidence, p.selected)).collect();
        assert_eq!(
            shown,
            [(0.9, true), (0.6, true), (0.55, false), (0.2, false)]
        );
    }

    #[test]
    fn below_the_threshold_there_is_nothing_unless_the_model_never_says_so() {
        let s = scored(&[&[0.2, 0.4]]);
        let (boxes, list) = choose(&s, 1, 1, &T, OURS, Size::new(100, 100));
        assert_eq!(boxes, [None]);
        assert!(list.iter().all(|p| !p.selected));
        let (boxes, list) = choose(&s, 1, 1, &T, Choosing::default(), Size::new(100, 100));
        assert_eq!(boxes, [Some(vec![s.boxes[1]])]);
        assert!(list[0].selected && !list[1].selected);
    }

    #[test]
    fn of_boxes_on_one_thing_the_best_is_kept() {
        let mut s = scored(&[&[0.7, 0.9, 0.8]]);
        s.boxes[2] = [0.1, 0.0, 0.21, 0.5];
        let size = Size::new(100, 100);
        let (boxes, _) = choose(&s, 1, 1, &T, OURS, size);
        assert_eq!(boxes, [Some(vec![s.boxes[1], s.boxes[0]])]);
        let (boxes, _) = choose(&s, 1, 1, &T, Choosing::default(), size);
        assert_eq!(boxes, [Some(vec![s.boxes[1], s.boxes[2]])]);
    }

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
        };
        let again = thresholds_of(&emission, T);
        let kept = kept(&emission.proposals, &again, OURS);
        assert_eq!(again.at_most, 3);
        assert!(kept.contains(&0) && kept.contains(&2) && !kept.contains(&3));
        emission.proposals.clear();
        assert_eq!(thresholds_of(&emission, T), T);
    }

    #[test]
    fn further_referents_take_the_last_query() {
        let s = scored(&[&[0.9, 0.1], &[0.1, 0.8]]);
        let (boxes, list) = choose(&s, 2, 3, &T, OURS, Size::new(100, 100));
        assert_eq!(
            boxes,
            [
                Some(vec![s.boxes[0]]),
                Some(vec![s.boxes[1]]),
                Some(vec![s.boxes[1]])
            ]
        );
        assert!(list.iter().all(|p| p.selected));
        let (boxes, list) = choose(&s, 0, 0, &T, OURS, Size::new(100, 100));
        assert!(boxes.is_empty() && list.iter().all(|p| p.confidence == 0.0));
    }
}
