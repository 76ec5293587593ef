//! Region codes: what they are shown of a batch and what they must tell of it. Leaves the networks to [`super::model`] and
//! seeing it again to [`super::looks`].

use candle_core::{Device, Result, Tensor, bail};

use super::{
    batch::{Batch, Truth},
    heads::{Names, UNNAMED},
    model::{Nets, Term, scalar},
};
use crate::{
    nn::{
        filtration::{Cuttings, RegionGrids, roi::each_its_own},
        ops::{self, Roi},
        sam2::ImageFeatures,
    },
    train::{boxes::iou, fused::weighted_bce},
};

/// How far the sides of a box that a region code is read from lie off the true one, in parts of its size, where no proposal
/// covers the object: proposals are never exact.
const JITTER: f32 = 0.08;
/// Overlap from which a proposal stands for an object.
const COVERS: f32 = 0.5;
/// Proposals of an image that cover nothing and are shown as such, where the model says whether there is one thing: parts of
/// things, pairs, the ground. Of so many of the best.
const OTHERS: usize = 2;
const AMONG: usize = 16;
/// Id of no object.
const NOBODY: u8 = u8::MAX;
/// Weights of the loss terms.
const ATTRIBUTES: f64 = 1.0;
const OUTLINE: f64 = 2.0;

/// Regions of the objects of a batch, and what is true of them.
pub(super) struct Shown {
    regions: RegionGrids,
    names: Names,
    /// Part of each cell of twice the grid that the object covers; empty if pixels are not looked at.
    outlines: Vec<f32>,
    /// Which regions are an object's, and have an outline.
    outlined: Vec<bool>,
}

impl Shown {
    /// The same in a mirror: no name of a colour, a shape or a texture changes there.
    pub(super) fn mirrored(&self) -> Result<Self> {
        let side = self.regions.fine_side();
        Ok(Self {
            regions: self.regions.mirrored()?,
            names: self.names.clone(),
            outlines: mirrored(&self.outlines, side),
            outlined: self.outlined.clone(),
        })
    }
}

impl Nets {
    /// What region codes see of a batch; `None` if there is nothing to see, or there are no codes.
    pub(super) fn show(
        &self,
        images: &Tensor,
        features: &ImageFeatures,
        batch: &Batch,
    ) -> Result<Option<Shown>> {
        let Some(code) = &self.region_code else {
            return Ok(None);
        };
        let (mut rois, mut ids, mut names) = (Vec::new(), Vec::new(), Names::default());
        for (image, truths) in batch.truths.iter().enumerate() {
            let offered = self.offered(&features.fpn[2].narrow(0, image, 1)?)?;
            for (i, truth) in truths.iter().enumerate() {
                let bounds = region(truth, i, &offered).map(|v| v * batch.px as f32);
                rois.push(Roi { image, bounds });
                ids.push((image, truth.id));
                names.colours.push(truth.colour);
                names.shapes.push(truth.shape);
                names.textures.push(truth.texture);
            }
            let free = match code.names() {
                Some(_) => others(truths, &offered),
                None => Vec::new(),
            };
            for bounds in free {
                let bounds = bounds.map(|v| v * batch.px as f32);
                rois.push(Roi { image, bounds });
                ids.push((image, NOBODY));
                names.colours.push(UNNAMED);
                names.shapes.push(UNNAMED);
                names.textures.push(UNNAMED);
            }
        }
        if rois.is_empty() {
            return Ok(None);
        }
        let maps = [&features.high_res[0], &features.high_res[1]];
        let (masks, crops) = self.cut_out(features, images, &mut rois, batch.px)?;
        // Drawn tight, what covered nothing may cover something after all.
        let is_thing = |(roi, &(image, id)): (&Roi, &(usize, u8))| {
            let there = roi.bounds.map(|v| v / batch.px as f32);
            let mut truths = batch.truths[image].iter();
            id != NOBODY || truths.any(|t| iou(there, corners(t)) >= COVERS)
        };
        names.things = rois.iter().zip(&ids).map(is_thing).collect();
        let cut = Cuttings {
            masks: masks.as_ref(),
            crops: crops.as_ref(),
            aspect: batch.aspect,
        };
        let outlines = match &crops {
            Some(crops) => outlines(&rois, &ids, batch, crops.dim(3)?)?,
            None => Vec::new(),
        };
        Ok(Some(Shown {
            regions: code.read(maps, cut, &rois, batch.px)?,
            names,
            outlines,
            outlined: ids.iter().map(|(_, id)| *id != NOBODY).collect(),
        }))
    }

    /// What region codes must tell of what they see.
    pub(super) fn region_loss(&self, shown: &Shown, terms: &mut Vec<Term>) -> Result<Tensor> {
        let Some(code) = &self.region_code else {
            bail!("the model has no region codes");
        };
        let read = code.code(&shown.regions)?;
        let names = shown.names.clone();
        let Some(loss) = self.heads.regions(&read.codes, names, code.names())? else {
            bail!("nothing reads region codes");
        };
        let mut total = (loss * ATTRIBUTES)?;
        terms.push(("region", scalar(&total)?));
        if let Some(drawn) = &read.outlines {
            let has = &shown.outlined;
            let cells = shown.outlines.len() / has.len().max(1);
            let counted = cells * has.iter().filter(|h| **h).count().max(1);
            let weight = |h: &bool| f32::from(u8::from(*h)) / counted as f32;
            let weights = has.iter().flat_map(|h| vec![weight(h); cells]).collect();
            let loss = weighted_bce(drawn, shown.outlines.clone(), weights)?;
            terms.push(("outline", scalar(&loss)?));
            total = (total + (loss * OUTLINE)?)?;
        }
        Ok(total)
    }

    /// Corners of the proposals of one image.
    fn offered(&self, map: &Tensor) -> Result<Vec<[f32; 4]>> {
        let config = self.proposer.config();
        let found = self.proposer.forward(&[map.detach()])?;
        let found = found.proposals(0, config.topk, config.score_power)?;
        let boxes = found.boxes.to_vec2::<f32>()?;
        Ok(boxes.iter().map(|b| [b[0], b[1], b[2], b[3]]).collect())
    }
}

/// Where an object is looked at, as corners in fractions: in one of the proposals that cover it, else in a box near its own. The
/// choice follows from the box itself, so that a run can be repeated.
fn region(truth: &Truth, index: usize, offered: &[[f32; 4]]) -> [f32; 4] {
    let [cx, cy, w, h] = truth.cxcywh;
    let own = corners(truth);
    let drawn = |salt: usize| {
        let mixed = cx * 7919.0 + cy * 104_729.0 + (salt + 4 * index) as f32 * 0.618_034;
        mixed.fract().abs()
    };
    let covering: Vec<[f32; 4]> = offered
        .iter()
        .copied()
        .filter(|b| iou(*b, own) >= COVERS)
        .collect();
    let at = (drawn(4) * covering.len() as f32) as usize;
    if let Some(proposal) = covering.get(at) {
        return *proposal;
    }
    let off = |side: usize| (drawn(side) * 2.0 - 1.0) * JITTER;
    [
        own[0] + off(0) * w,
        own[1] + off(1) * h,
        own[2] + off(2) * w,
        own[3] + off(3) * h,
    ]
}

/// Rows of `side` cells, each read from its end.
fn mirrored(cells: &[f32], side: usize) -> Vec<f32> {
    let rows = cells.chunks(side.max(1));
    rows.flat_map(|row| row.iter().rev().copied()).collect()
}

fn corners(truth: &Truth) -> [f32; 4] {
    let [cx, cy, w, h] = truth.cxcywh;
    [cx - w / 2.0, cy - h / 2.0, cx + w / 2.0, cy + h / 2.0]
}

/// Proposals of an image that cover none of its objects; which of them follows from their boxes.
fn others(truths: &[Truth], offered: &[[f32; 4]]) -> Vec<[f32; 4]> {
    let mut free: Vec<[f32; 4]> = offered
        .iter()
        .take(AMONG)
        .copied()
        .filter(|b| truths.iter().all(|t| iou(*b, corners(t)) < COVERS))
        .collect();
    let drawn = |b: &[f32; 4]| (b[0] * 7919.0 + b[1] * 104_729.0).fract().abs();
    free.sort_by(|a, b| drawn(a).total_cmp(&drawn(b)));
    free.truncate(OTHERS);
    free
}

/// Part of each cell of a `side × side` grid over each region that is its object, `(image, id)`.
fn outlines(rois: &[Roi], objects: &[(usize, u8)], batch: &Batch, side: usize) -> Result<Vec<f32>> {
    let mut whole = Vec::with_capacity(objects.len() * batch.px * batch.px);
    for &(image, id) in objects {
        let ids = batch.ids.get(image).map_or(&[][..], Vec::as_slice);
        whole.extend(ids.iter().map(|v| f32::from(u8::from(*v == id))));
    }
    let whole = Tensor::from_vec(whole, (rois.len(), 1, batch.px, batch.px), &Device::Cpu)?;
    ops::roi_align(&whole, &each_its_own(rois), 1.0, side)?
        .flatten_all()?
        .to_vec1()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn truth() -> Truth {
        Truth {
            id: 2,
            cxcywh: [0.5, 0.5, 0.4, 0.2],
            colour: 0,
            shape: 0,
            texture: 0,
        }
    }

    #[test]
    fn objects_are_looked_at_in_proposals_that_cover_them() {
        let (covering, off) = ([0.28, 0.4, 0.7, 0.62], [0.5, 0.5, 0.9, 0.9]);
        for index in 0..6 {
            assert_eq!(region(&truth(), index, &[off, covering, off]), covering);
            let near = region(&truth(), index, &[off]);
            assert!(iou(near, [0.3, 0.4, 0.7, 0.6]) > 0.6, "{near:?}");
            assert_ne!(near, off);
        }
        let other = [0.3, 0.39, 0.7, 0.6];
        let drawn: Vec<_> = (0..12)
            .map(|index| region(&truth(), index, &[covering, other]))
            .collect();
        assert!(drawn.contains(&covering) && drawn.contains(&other));
    }

    #[test]
    fn what_covers_no_object_is_shown_as_no_thing() {
        let covering = [0.28, 0.4, 0.7, 0.62];
        let part = [0.3, 0.4, 0.4, 0.5];
        let free: Vec<[f32; 4]> = (0..AMONG)
            .map(|i| [0.8, 0.05 * i as f32, 0.9, 0.05 * i as f32 + 0.1])
            .collect();
        let shown = others(&[truth()], &[covering, part, covering]);
        assert_eq!(shown, [part]);
        assert_eq!(others(&[truth()], &[covering]), [[0.0; 4]; 0]);
        // A few of the best.
        let mut offered = free.clone();
        let late = [0.0, 0.0, 0.1, 0.1];
        offered.push(late);
        let shown = others(&[truth()], &offered);
        assert_eq!(shown.len(), OTHERS);
        assert!(shown.iter().all(|b| free.contains(b) && *b != late));
    }

    #[test]
    fn a_mirror_turns_rows_around_and_leaves_their_order() {
        assert_eq!(
            mirrored(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3),
            [3.0, 2.0, 1.0, 6.0, 5.0, 4.0]
        );
        assert_eq!(mirrored(&[], 0), [0.0; 0]);
    }

    #[test]
    fn an_outline_is_the_part_of_each_cell_that_is_the_object() -> Result<()> {
        // The left half of an image of 8 × 8 pixels is object 2, the rest object 1.
        let ids = (0..64).map(|i| if i % 8 < 4 { 2 } else { 1 }).collect();
        let batch = Batch {
            px: 8,
            ids: vec![ids],
            ..Batch::default()
        };
        let whole = Roi {
            image: 0,
            bounds: [0.0, 0.0, 8.0, 8.0],
        };
        let drawn = outlines(&[whole, whole], &[(0, 2), (0, 1)], &batch, 4)?;
        let row = [1.0, 1.0, 0.0, 0.0].repeat(4);
        assert_eq!(drawn[..16], row);
        assert_eq!(drawn[16..20], [0.0, 0.0, 1.0, 1.0]);
        Ok(())
    }
}
