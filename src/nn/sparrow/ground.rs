//! From an answer to boxes: the released rules about which embeddings ask, which proposals each keeps, and which of the
//! kept boxes SAM2 itself finds credible.

use candle_core::{DType, Result, Tensor};

use super::{Emission, Sparrow};
use crate::nn::{
    deformable_detr::Proposals,
    filtration::{Pyramid, prior, select},
    ops,
    sam2::{DecodeOptions, Prompts},
};

/// Side of the grid on which a box is compared with the mask that it prompts.
const PRIOR_GRID: usize = 256;

/// Boxes decoded together on a GPU to see how they are filled. On the CPU, one by one stays in its caches and takes four fifths of the
/// time.
const BOXES_AT_ONCE: usize = 8;

/// What the filtration head made of an answer.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// Confidence of every proposal for every asking embedding `(n, m)`.
    pub confidence: Tensor,
    /// The embeddings with what they attended to `(n, d)`, if the head refines them.
    pub refined: Option<Tensor>,
    /// Embeddings that prompt the masks `(s, d)`: the answer's own, or the refined ones if nothing but they asked.
    pub prompts: Tensor,
    /// Kept boxes of each `[SEG]`, as corners in fractions.
    pub boxes: Vec<Vec<[f32; 4]>>,
}

impl Sparrow {
    /// Lets the answer's embeddings choose among proposals. `[BOX]` asks, or `[SEG]` where the answer has no `[BOX]`;
    /// `None` if it has neither.
    ///
    /// # Errors
    /// If widths do not fit.
    pub fn choose(
        &self,
        emission: &Emission,
        proposals: &Proposals,
        pyramid: &Pyramid,
    ) -> Result<Option<Chosen>> {
        let fallback = emission.boxes.dim(0)? == 0;
        let queries = if fallback {
            &emission.seg
        } else {
            &emission.boxes
        };
        if queries.dim(0)? == 0 {
            return Ok(None);
        }
        let scored = self.filtration.score(queries, proposals, pyramid)?;
        let confidence: Vec<Vec<f32>> = scored.confidence.to_dtype(DType::F32)?.to_vec2()?;
        let boxes: Vec<Vec<Vec<f32>>> = scored.boxes.to_dtype(DType::F32)?.to_vec3()?;
        let valid = vec![true; proposals.boxes.dim(0)?];
        let config = &self.config.filtration;
        let kept = select::select(
            &confidence,
            &valid,
            config.score_threshold,
            config.max_selected,
        );
        let sets: Vec<Vec<[f32; 4]>> = kept
            .iter()
            .zip(&boxes)
            .map(|(kept, row)| {
                let corners = |&j: &usize| [row[j][0], row[j][1], row[j][2], row[j][3]];
                kept.iter().map(corners).collect()
            })
            .collect();
        let tokens = emission.seg.dim(0)?;
        let prompts = match &scored.refined_queries {
            Some(refined) if fallback => refined.clone(),
            _ => emission.seg.clone(),
        };
        Ok(Some(Chosen {
            boxes: select::align(sets.len(), tokens)
                .into_iter()
                .map(|set| sets[set].clone())
                .collect(),
            confidence: scored.confidence,
            refined: scored.refined_queries,
            prompts,
        }))
    }

    /// Keeps of each token's boxes those that SAM2, prompted with the box alone, fills with a mask. `size` is the frame's
    /// own, rows and columns.
    ///
    /// # Errors
    /// If widths do not fit.
    pub fn credible(
        &self,
        boxes: &[Vec<[f32; 4]>],
        pyramid: &Pyramid,
        size: (usize, usize),
    ) -> Result<Vec<Vec<[f32; 4]>>> {
        let config = &self.config.filtration;
        let limits = (config.box_prior_min_score, config.box_prior_max_keep);
        self.credible_within(boxes, pyramid, size, limits)
    }

    /// [`Sparrow::credible`] with the least score and the largest number of boxes that are kept.
    ///
    /// # Errors
    /// If widths do not fit.
    pub fn credible_within(
        &self,
        boxes: &[Vec<[f32; 4]>],
        pyramid: &Pyramid,
        size: (usize, usize),
        (least, most): (f32, usize),
    ) -> Result<Vec<Vec<[f32; 4]>>> {
        let at_once = if pyramid[2].device().is_cpu() {
            1
        } else {
            BOXES_AT_ONCE
        };
        let mut out = Vec::with_capacity(boxes.len());
        for set in boxes {
            let mut scores = Vec::with_capacity(set.len());
            for some in set.chunks(at_once) {
                scores.extend(self.credibilities(some, pyramid, size)?);
            }
            let kept = prior::keep(&scores, least, most);
            out.push(kept.into_iter().map(|i| set[i]).collect());
        }
        Ok(out)
    }

    /// How well SAM2, prompted with each of these boxes alone, fills it, 0 to 1: corners as fractions, decoded together.
    ///
    /// # Errors
    /// If widths do not fit.
    pub fn credibilities(
        &self,
        boxes: &[[f32; 4]],
        pyramid: &Pyramid,
        (h, w): (usize, usize),
    ) -> Result<Vec<f32>> {
        if boxes.is_empty() {
            return Ok(Vec::new());
        }
        let [high0, high1, embed] = pyramid;
        let side = self.config.sam2.image_size;
        // Only here are boxes clamped to the image (seen in the reference's choice between two of them).
        let inside: Vec<_> = boxes.iter().map(|b| b.map(|v| v.clamp(0.0, 1.0))).collect();
        let px: Vec<f32> = inside.iter().flatten().map(|v| v * side as f32).collect();
        let (n, device) = (boxes.len(), embed.device());
        let points = Tensor::from_vec(px, (n, 2, 2), device)?;
        let labels = Tensor::from_vec([2_f32, 3.0].repeat(n), (n, 2), device)?;
        let prompts = Prompts {
            points: Some((points, labels)),
            ..Prompts::default()
        };
        let options = DecodeOptions {
            multimask: false,
            train: false,
            image_size: side,
        };
        let mask = self
            .sam2
            .decode(embed, &[high0.clone(), high1.clone()], &prompts, options)?
            .low_res;
        // Binary at the frame's size first, then on the grid, as released.
        let full = ops::resize_bilinear(&mask, (h, w))?.gt(0.0)?;
        let grid = ops::resize_bilinear(&full.to_dtype(DType::F32)?, (PRIOR_GRID, PRIOR_GRID))?;
        let on: Vec<f32> = grid.flatten_all()?.to_vec1()?;
        let on: Vec<bool> = on.into_iter().map(|v| v > 0.5).collect();
        let grids = on.chunks_exact(PRIOR_GRID * PRIOR_GRID);
        let filled = |(&b, on)| prior::credibility(b, on, (PRIOR_GRID, PRIOR_GRID));
        Ok(inside.iter().zip(grids).map(filled).collect())
    }
}
