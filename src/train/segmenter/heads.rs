//! Training-only heads under `aux.`: what a cell of the pyramid, or a proposal, must know of the object it belongs to.
//!
//! They make the shared trunk carry colour and shape, which masks alone never ask for and phrases need later.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use crate::{
    nn::{filtration, layers::Linear, ops},
    train::{
        fused::{weighted_bce, weighted_ce, weighted_l1},
        synth::{Colour, Shape, Texture},
    },
};

/// What each cell of one pyramid level should say. Cells are rows of the image batch, row-major.
#[derive(Clone, Default)]
pub(super) struct CellTargets {
    /// Part of the cell that is covered by any object.
    pub(super) cover: Vec<f32>,
    /// Cells that belong to one object: their places, its colour, shape and distances left, top, right, bottom from
    /// the cell's centre to its box, in image sides.
    pub(super) owned: Vec<OwnedCell>,
}

#[derive(Clone, Copy)]
pub(super) struct OwnedCell {
    pub(super) cell: u32,
    pub(super) colour: u32,
    pub(super) shape: u32,
    pub(super) sides: [f32; 4],
}

/// Class of a colour or shape that has no name.
pub(super) const UNNAMED: u32 = u32::MAX;

/// Classes and weights of a mean over the rows that have a name.
fn named(classes: impl Iterator<Item = u32>) -> (Vec<u32>, Vec<f32>) {
    let classes: Vec<u32> = classes.collect();
    let known = classes.iter().filter(|c| **c != UNNAMED).count().max(1) as f32;
    let weight = |c: &u32| if *c == UNNAMED { 0.0 } else { 1.0 / known };
    let weights = classes.iter().map(weight).collect();
    let classes = classes
        .into_iter()
        .map(|c| if c == UNNAMED { 0 } else { c });
    (classes.collect(), weights)
}

const COLOURS: usize = Colour::ALL.len();
const SHAPES: usize = Shape::ALL.len();
const TEXTURES: usize = Texture::ALL.len();
/// Colours, shapes, textures.
const CLASSES: usize = 3;

/// Weighted terms of one level, for the sum and for the log.
pub(super) struct HeadLoss {
    pub(super) dense: Tensor,
    pub(super) attributes: Option<Tensor>,
}

/// Heads of the three pyramid levels and of the proposals.
pub(super) struct AuxHeads {
    cover: Vec<Linear>,
    /// Strides 8 and 16.
    sides: Vec<Linear>,
    colour: Vec<Linear>,
    shape: Vec<Linear>,
    query_colour: Linear,
    query_shape: Linear,
    /// Colour, shape and texture from region codes, where the model has them and does not say them itself.
    region: Option<[Linear; 3]>,
}

/// Classes of some objects' words; [`UNNAMED`] where a word does not hold.
#[derive(Clone, Default)]
pub(super) struct Names {
    pub(super) colours: Vec<u32>,
    pub(super) shapes: Vec<u32>,
    pub(super) textures: Vec<u32>,
    /// Whether there is one thing in the region at all.
    pub(super) things: Vec<bool>,
}

impl AuxHeads {
    pub(super) fn new(d: usize, region_width: Option<usize>, vb: &VarBuilder<'_>) -> Result<Self> {
        let vb = vb.pp("aux");
        let region = |d: usize| -> Result<[Linear; 3]> {
            let vb = vb.pp("region");
            Ok([
                Linear::new(d, COLOURS, vb.pp("colour"))?,
                Linear::new(d, SHAPES, vb.pp("shape"))?,
                Linear::new(d, TEXTURES, vb.pp("texture"))?,
            ])
        };
        let each = |name: &str, levels: std::ops::Range<usize>, o: usize| {
            levels
                .map(|l| Linear::new(d, o, vb.pp(format!("{name}.{l}"))))
                .collect::<Result<Vec<_>>>()
        };
        Ok(Self {
            cover: each("cover", 0..3, 1)?,
            sides: each("sides", 1..3, 4)?,
            colour: each("colour", 1..3, COLOURS)?,
            shape: each("shape", 1..3, SHAPES)?,
            query_colour: Linear::new(d, COLOURS, vb.pp("query_colour"))?,
            query_shape: Linear::new(d, SHAPES, vb.pp("query_shape"))?,
            region: region_width.map(region).transpose()?,
        })
    }

    /// Loss of pyramid level `level` (0 = stride 4): map `(b, d, h, w)`.
    pub(super) fn level(
        &self,
        level: usize,
        map: &Tensor,
        targets: &CellTargets,
    ) -> Result<HeadLoss> {
        let (b, d, h, w) = map.dims4()?;
        let tokens = ops::nchw_to_tokens(map)?.reshape((b * h * w, d))?;
        let n = targets.cover.len();
        let cover = weighted_bce(
            &self.cover[level].forward(&tokens)?,
            targets.cover.clone(),
            vec![1.0 / n as f32; n],
        )?;
        if level == 0 || targets.owned.is_empty() {
            return Ok(HeadLoss {
                dense: cover,
                attributes: None,
            });
        }
        let cells: Vec<u32> = targets.owned.iter().map(|c| c.cell).collect();
        let k = cells.len();
        let cells = Tensor::from_vec(cells, k, map.device())?;
        let owned = tokens.index_select(&cells, 0)?;
        let mean = |n: usize| vec![1.0 / n as f32; n];
        let sides = weighted_l1(
            &self.sides[level - 1].forward(&owned)?,
            targets.owned.iter().flat_map(|c| c.sides).collect(),
            mean(4 * k),
        )?;
        let (classes, weights) = named(targets.owned.iter().map(|c| c.colour));
        let colour = weighted_ce(&self.colour[level - 1].forward(&owned)?, classes, weights)?;
        let (classes, weights) = named(targets.owned.iter().map(|c| c.shape));
        let shape = weighted_ce(&self.shape[level - 1].forward(&owned)?, classes, weights)?;
        Ok(HeadLoss {
            dense: (cover + (sides * 2.0)?)?,
            attributes: Some((colour + shape)?),
        })
    }

    /// Loss of matched proposals: features `(k, d)`, their objects' colour and shape classes.
    pub(super) fn queries(
        &self,
        features: &Tensor,
        colours: Vec<u32>,
        shapes: Vec<u32>,
    ) -> Result<Tensor> {
        let (classes, weights) = named(colours.into_iter());
        let colour = weighted_ce(&self.query_colour.forward(features)?, classes, weights)?;
        let (classes, weights) = named(shapes.into_iter());
        colour + weighted_ce(&self.query_shape.forward(features)?, classes, weights)?
    }

    /// Loss of region codes `(k, d)` of objects with these names, read by `said` if the model says names itself; `None` where it
    /// has no such codes.
    pub(super) fn regions(
        &self,
        codes: &Tensor,
        names: Names,
        said: Option<&filtration::Names>,
    ) -> Result<Option<Tensor>> {
        let read = match (said, &self.region) {
            (Some(said), _) => said.logits(codes)?,
            (None, Some(heads)) => heads
                .iter()
                .map(|h| h.forward(codes))
                .collect::<Result<_>>()?,
            (None, None) => return Ok(None),
        };
        let mut total: Option<Tensor> = match read.get(CLASSES) {
            Some(thing) => {
                let n = names.things.len();
                let there = names.things.iter().map(|t| f32::from(u8::from(*t)));
                Some(weighted_bce(
                    thing,
                    there.collect(),
                    vec![1.0 / n as f32; n],
                )?)
            }
            None => None,
        };
        for (logits, classes) in read
            .iter()
            .zip([names.colours, names.shapes, names.textures])
        {
            let (classes, weights) = named(classes.into_iter());
            let loss = weighted_ce(logits, classes, weights)?;
            total = Some(match total {
                Some(sum) => (sum + loss)?,
                None => loss,
            });
        }
        Ok(total)
    }

    /// Shape classes read from region codes `(k, d)`, as [`Self::regions`].
    pub(super) fn read_regions(
        &self,
        codes: &Tensor,
        said: Option<&filtration::Names>,
    ) -> Result<Vec<u32>> {
        match (said, &self.region) {
            (Some(said), _) => said.logits(codes)?[1].argmax(1)?.to_vec1(),
            (None, Some([_, shape, _])) => shape.forward(codes)?.argmax(1)?.to_vec1(),
            (None, None) => Ok(vec![]),
        }
    }

    /// Colour and shape classes read from proposals `(k, d)`: what validation counts.
    pub(super) fn read_queries(&self, features: &Tensor) -> Result<(Vec<u32>, Vec<u32>)> {
        let read = |head: &Linear| head.forward(features)?.argmax(1)?.to_vec1::<u32>();
        Ok((read(&self.query_colour)?, read(&self.query_shape)?))
    }
}
