//! Region codes: what they are shown of a batch and what they must tell of it. Leaves the networks to [`super::model`] and
//! seeing it again to [`super::looks`].

use candle_core::{Device, Result, Tensor, bail};

use super::{
    batch::{Batch, Truth},
    heads::Names,
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
/// Weights of the loss terms.
const ATTRIBUTES: f64 = 1.0;
const OUTLINE: f64 = 2.0;

/// Regions of the objects of a batch, and what is true of them.
pub(super) struct Shown {
    regions: RegionGrids,
    names: Names,
    /// Part of each cell of twice the grid that the object covers; empty if pixels are not looked at.
    outlines: Vec<f32>,
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
        }
        if rois.is_empty() {
            return Ok(None);
        }
        let maps = [&features.high_res[0], &features.high_res[1]];
        let (masks, crops) = self.cut_out(features, images, &mut rois, batch.px)?;
        let cut = Cuttings {
            masks: masks.as_ref(),
            crops: crops.as_ref(),
        };
        let outlines = match &crops {
            Some(crops) => outlines(&rois, &ids, batch, crops.dim(3)?)?,
            None => Vec::new(),
        };
        Ok(Some(Shown {
            regions: code.read(maps, cut, &rois, batch.px)?,
            names,
            outlines,
        }))
    }

    /// What region codes must tell of what they see.
    pub(super) fn region_loss(&self, shown: &Shown, terms: &mut Vec<Term>) -> Result<Tensor> {
        let Some(code) = &self.region_code else {
            bail!("the model has no region codes");
        };
        let read = code.code(&shown.regions)?;
        let Some(loss) = self.heads.regions(&read.codes, shown.names.clone())? else {
            bail!("nothing reads region codes");
        };
        let mut total = (loss * ATTRIBUTES)?;
        terms.push(("region", scalar(&total)?));
        if let Some(drawn) = &read.outlines {
            let n = shown.outlines.len();
            let loss = weighted_bce(drawn, shown.outlines.clone(), vec![1.0 / n as f32; n])?;
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
    let own = [cx - w / 2.0, cy - h / 2.0, cx + w / 2.0, cy + h / 2.0];
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
