//! Boxes on a frame: what the proposer offers, what the filtration head makes of them for a phrase, and which are kept.
//!
//! Which are kept is decided by [`crate::project`]'s pure rule, so that a slider can decide anew without the model. What was
//! said, and the masks, are left to [`super::ground`]; the released rule to [`super::compat`].

use std::sync::Arc;

use candle_core::Tensor;

use crate::{
    nn::{
        deformable_detr::Proposals,
        filtration::{Candidates, Followed, Sighting},
        sam2::ImageFeatures,
    },
    project::{BoxPx, Choosing, FrameIndex, Proposal, Size, Thresholds, kept},
    task::Progress,
};

use super::{
    clip::Clip,
    engine::Engine,
    error::InferResult,
    masks::{rows_tensor, sigmoid, values},
    model::Pixels,
    preprocess::{box_from_norm, box_to_norm, tower_input},
    released,
};

/// The kept boxes of a referent, corners in 0..=1; `None` if it is not there.
pub(super) type Kept = Option<Vec<[f32; 4]>>;

/// Boxes to choose from.
pub(super) struct Offered {
    /// The proposer's, then those that a person drew.
    pub(super) all: Proposals,
    /// How many a person drew.
    pub(super) drawn: usize,
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
    pub(super) refined: Option<Tensor>,
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
                incredible: false,
            })
            .collect()
    }

    /// The boxes as proposals that nothing was asked of: objectness alone.
    fn unmatched(&self, size: Size) -> Vec<Proposal> {
        (0..self.boxes.len())
            .map(|i| Proposal {
                box_px: box_from_norm(self.boxes[i], size),
                objectness: self.objectness[i],
                filtration: 0.0,
                confidence: 0.0,
                selected: false,
                drawn: self.drawn[i],
                incredible: false,
            })
            .collect()
    }
}

impl Engine {
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
        Ok(scored.unmatched(clip.size()))
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
                tower_input(
                    &norms.lit(&rgb),
                    config.image_size,
                    norm,
                    &self.model().device,
                )?
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
        let Size { width, height } = clip.size();
        let all = Proposals {
            aspect: Proposals::aspect_of(width as usize, height as usize),
            ..n.cut_out(all, corners.len(), &n.pyramid(features)?, input.as_ref())?
        };
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
        let later: Vec<FrameIndex> = frames.into_iter().skip(1).take(later).collect();
        let Some(seen) = self.sightings(clip, &later, progress)? else {
            return Ok(None);
        };
        let followed = n
            .filtration
            .follow((&offered.all, &n.pyramid(features)?), &seen)?;
        if offered.drawn == 0 {
            clip.followed = followed.clone().map(|f| (frame, f));
        }
        Ok(followed)
    }

    /// What the proposer offers on each of `frames`, from the clip if it is there; `None` if the model does not ask.
    fn sightings(
        &self,
        clip: &mut Clip,
        frames: &[FrameIndex],
        progress: &Progress<'_>,
    ) -> InferResult<Option<Vec<Sighting>>> {
        let n = &self.model().networks;
        clip.sightings.retain(|(at, _)| frames.contains(at));
        let mut seen = Vec::with_capacity(frames.len());
        for (i, there) in frames.iter().enumerate() {
            if let Some((_, known)) = clip.sightings.iter().find(|(at, _)| at == there) {
                seen.push(known.clone());
                continue;
            }
            progress.cancel.check()?;
            self.look_ahead(clip, frames[i..].iter().map(|f| f.0))?;
            let features = self.features(clip, *there)?;
            let all = self.offered(clip, *there, &features, &[])?.all;
            let Some(made) = n.filtration.sighting((&all, &n.pyramid(&features)?))? else {
                return Ok(None);
            };
            clip.sightings.push((*there, made.clone()));
            seen.push(made);
        }
        Ok(Some(seen))
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
        aspect: found.aspect,
    })
}

/// Decides the boxes of each referent (`None` = not there) and lists all proposals, best confidence first.
///
/// As released, referent i takes the boxes of query i, or of the last query if there are fewer.
pub(super) fn choose(
    scored: &Scored,
    queries: usize,
    referents: usize,
    thresholds: &Thresholds,
    choosing: Choosing,
    size: Size,
) -> (Vec<Kept>, Vec<Proposal>) {
    if queries == 0 {
        // Nothing was asked, so nothing is matched: the boxes are shown with their objectness alone.
        return (vec![None; referents], scored.unmatched(size));
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
    use candle_core::Device;

    use super::*;
    use crate::{
        infer::{LoadedModel, model::ModelInfo},
        nn::ops::metered,
        video::SyntheticSource,
    };

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
    fn a_drawn_box_leaves_what_is_known_of_the_later_frames() {
        let info = ModelInfo::by_id("nano").unwrap();
        let engine = Engine::new(LoadedModel::untrained(&info, 5, &Device::Cpu).unwrap());
        let clip = || {
            let mut clip = Clip::new(Box::new(SyntheticSource::new(Size::new(64, 48), 8, 8.0)));
            engine.claim(&mut clip);
            clip
        };
        let (frame, progress) = (FrameIndex(0), Progress::silent());
        // What comes of it, its work, and the work of looking at the first frame's boxes alone.
        let follow = |clip: &mut Clip, drawn: &[BoxPx]| {
            let features = engine.features(clip, frame).unwrap();
            let offered = engine.offered(clip, frame, &features, drawn).unwrap();
            let (followed, work) =
                metered(|| engine.follow(clip, frame, &features, &offered, &progress));
            let n = &engine.model().networks;
            let pyramid = n.pyramid(&features).unwrap();
            let (_, least) = metered(|| n.filtration.sighting((&offered.all, &pyramid)));
            let followed = followed.unwrap().expect("nano asks");
            (followed, work.flop, least.flop)
        };
        let drawn = [BoxPx::from_array([3.0, 4.0, 50.0, 40.0])];
        let (want, ..) = follow(&mut clip(), &drawn);
        let mut known = clip();
        let (_, all, least) = follow(&mut known, &[]);
        assert!(all > least && least > 0);
        let (found, rest, least) = follow(&mut known, &drawn);
        assert_eq!(rest, least);
        for (a, b) in [
            (&found.travel, &want.travel),
            (&found.code, &want.code),
            (&found.looks, &want.looks),
        ] {
            assert_eq!(values(a).unwrap(), values(b).unwrap());
        }
    }

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
