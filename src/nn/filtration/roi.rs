//! Regions as tokens: each proposal's grid of pixels on every level, projected to one width.

use candle_core::{DType, Result, Tensor, bail};
use candle_nn::VarBuilder;

use super::{Candidates, Pyramid};
use crate::nn::{
    config::FiltrationConfig,
    layers::Linear,
    ops::{self, Roi},
};

/// Two projections per level: of every grid cell and of the grid's mean (`level_token_proj`, `level_pool_proj`).
#[derive(Clone, Debug)]
pub(super) struct RegionTokens {
    level_token_proj: Vec<Linear>,
    level_pool_proj: Vec<Linear>,
    size: usize,
}

/// `m` regions.
pub(super) struct Regions {
    /// `(m, levels · size², d)`.
    pub(super) tokens: Tensor,
    /// `(m, d)`: mean over the levels' pooled projections.
    pub(super) pooled: Tensor,
}

impl RegionTokens {
    pub(super) fn new(config: &FiltrationConfig, vb: &VarBuilder<'_>) -> Result<Self> {
        let levels = |name: &str| -> Result<Vec<Linear>> {
            let widths = config.level_in_dims.iter().enumerate();
            widths
                .map(|(l, &c)| Linear::new(c, config.roi_hidden, vb.pp(name).pp(l)))
                .collect()
        };
        if config.level_in_dims.len() != 3 || config.roi_size == 0 {
            bail!("regions are read from three levels on a grid of at least one cell");
        }
        Ok(Self {
            level_token_proj: levels("level_token_proj")?,
            level_pool_proj: levels("level_pool_proj")?,
            size: config.roi_size,
        })
    }

    pub(super) fn forward(
        &self,
        candidates: &Candidates<'_>,
        pyramid: &Pyramid,
    ) -> Result<Regions> {
        let (_, _, h, w) = pyramid[0].dims4()?;
        let image = candidates.image.unwrap_or((4 * h, 4 * w));
        let rois = rois(candidates.boxes, image)?;
        let cells = self.size * self.size;
        let mut tokens = Vec::with_capacity(pyramid.len());
        let mut pooled: Option<Tensor> = None;
        let projections = self.level_token_proj.iter().zip(&self.level_pool_proj);
        for (map, (token_proj, pool_proj)) in pyramid.iter().zip(projections) {
            // Released: the scale of both axes comes from the rows.
            let scale = map.dim(2)? as f32 / image.0 as f32;
            let grid = ops::roi_align(map, &rois, scale, self.size)?;
            let (m, c, _, _) = grid.dims4()?;
            let grid = ops::transpose_last(&grid.reshape((m, c, cells))?)?;
            let mean = pool_proj.forward(&grid.mean(1)?)?;
            tokens.push(token_proj.forward(&grid)?);
            pooled = Some(match pooled {
                Some(sum) => (sum + mean)?,
                None => mean,
            });
        }
        let Some(pooled) = pooled else {
            bail!("regions need at least one level");
        };
        Ok(Regions {
            tokens: Tensor::cat(&tokens, 1)?,
            pooled: (pooled / pyramid.len() as f64)?,
        })
    }
}

/// Boxes `(m, 4)` as fractions → regions in pixels of an image of `(rows, columns)`. Boxes carry no gradient.
pub(crate) fn rois(boxes: &Tensor, (rows, columns): (usize, usize)) -> Result<Vec<Roi>> {
    let boxes = boxes.to_dtype(DType::F32)?.to_vec2::<f32>()?;
    let (w, h) = (columns as f32, rows as f32);
    let roi = |b: &Vec<f32>| Roi {
        image: 0,
        bounds: [b[0] * w, b[1] * h, b[2] * w, b[3] * h],
    };
    Ok(boxes.iter().map(roi).collect())
}

/// Regions of maps of which each has one of its own.
pub(crate) fn each_its_own(rois: &[Roi]) -> Vec<Roi> {
    let own = |(image, roi): (usize, &Roi)| Roi { image, ..*roi };
    rois.iter().enumerate().map(own).collect()
}

/// Each query attends the tokens of each region, keys being values: queries `(n, d)`, tokens `(m, t, d)` →
/// `(n, m, d)`.
pub(super) fn attend(queries: &Tensor, tokens: &Tensor) -> Result<Tensor> {
    let (n, d) = queries.dims2()?;
    let (m, _, _) = tokens.dims3()?;
    let scale = (d as f64).powf(-0.5);
    let queries = queries
        .unsqueeze(0)?
        .broadcast_as((m, n, d))?
        .contiguous()?;
    let keys = ops::transpose_last(tokens)?;
    let scores = (ops::matmul(&queries, &keys)? * scale)?;
    let read = ops::matmul(&ops::softmax_last(&scores)?, tokens)?;
    read.transpose(0, 1)?.contiguous()
}

/// `(n, d)` → `(n, m, d)` with each row repeated; and `(m, d)` likewise with `by_query` false.
pub(super) fn pairs(queries: &Tensor, proposals: &Tensor) -> Result<(Tensor, Tensor)> {
    let (n, a) = queries.dims2()?;
    let (m, b) = proposals.dims2()?;
    Ok((
        queries.unsqueeze(1)?.broadcast_as((n, m, a))?,
        proposals.unsqueeze(0)?.broadcast_as((n, m, b))?,
    ))
}
