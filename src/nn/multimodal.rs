//! Between the towers and the language model: both vision-to-language projectors, pooling, the visual block, splicing
//! of visual and target-specific tokens into a prompt, and the language-to-vision projection of `[SEG]` and `[BOX]`.
//!
//! Released module: `model/videogpt_plus/model/arch.py` with `mm_projector`, `image_mm_projector` and `text_hidden_fcs`.
//! Features are projected first and pooled afterwards. The visual block of a video holds all spatial tokens, frame by
//! frame, then all temporal ones. Towers, language model and selection of target-specific tokens are left to others.

use candle_core::{Device, Result, Tensor};
use candle_nn::VarBuilder;

use super::{layers::Linear, ops};

/// Place of a frame (or image) in a prompt; never embedded.
pub const IMAGE: i64 = -200;
/// Place of a target-specific token in a prompt; never embedded.
pub const TSF: i64 = -201;
/// Label that no loss looks at.
pub const IGNORE: i64 = -100;

/// Two layers with GELU between them (`0` and `2` in the files).
#[derive(Clone, Debug)]
struct Projector(Linear, Linear);

impl Projector {
    fn new(i: usize, o: usize, vb: &VarBuilder<'_>) -> Result<Self> {
        Ok(Self(
            Linear::new(i, o, vb.pp(0))?,
            Linear::new(o, o, vb.pp(2))?,
        ))
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.1.forward(&ops::gelu(&self.0.forward(x)?)?)
    }
}

/// Widths of the projections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Widths {
    /// Spatial tower.
    pub spatial: usize,
    /// Temporal tower.
    pub temporal: usize,
    /// Language model.
    pub language: usize,
    /// Prompts of the mask decoder.
    pub out: usize,
}

/// The projections.
#[derive(Clone, Debug)]
pub struct Multimodal {
    temporal: Projector,
    spatial: Projector,
    to_vision: (Linear, Linear),
    pools: (usize, usize),
}

impl Multimodal {
    /// `vb` stands at `model`; `pools` is the pooling of the spatial and of the temporal stream, per axis.
    ///
    /// # Errors
    /// If a tensor is missing or misshapen.
    pub fn new(widths: Widths, pools: (usize, usize), vb: VarBuilder<'_>) -> Result<Self> {
        let h = widths.language;
        let fcs = vb.pp("text_hidden_fcs.0");
        Ok(Self {
            temporal: Projector::new(widths.temporal, h, &vb.pp("mm_projector"))?,
            spatial: Projector::new(widths.spatial, h, &vb.pp("image_mm_projector"))?,
            to_vision: (
                Linear::new(h, h, fcs.pp(0))?,
                Linear::new(h, widths.out, fcs.pp(2))?,
            ),
            pools,
        })
    }

    /// States `(…, h)` that predicted `[SEG]` or `[BOX]` → prompt embeddings `(…, out)`.
    ///
    /// # Errors
    /// If the width differs.
    pub fn to_vision(&self, states: &Tensor) -> Result<Tensor> {
        let (a, b) = &self.to_vision;
        b.forward(&a.forward(states)?.relu()?)
    }

    /// Spatial features `(f, g², d)` → pooled tokens `(f, (g/p)², h)`.
    ///
    /// # Errors
    /// If the grid is not square or does not divide.
    pub fn spatial(&self, features: &Tensor) -> Result<Tensor> {
        pool_grid(&self.spatial.forward(features)?, self.pools.0)
    }

    /// Temporal features of `frames` frames in all, `(chunks, t · g², d)` → pooled tokens `(f, (g/p)², h)`.
    ///
    /// # Errors
    /// If the frames do not divide, the grid is not square or does not divide.
    pub fn temporal(&self, features: &Tensor, frames: usize) -> Result<Tensor> {
        let x = self.temporal.forward(features)?;
        let (chunks, n, h) = x.dims3()?;
        if frames == 0 || (chunks * n) % frames != 0 {
            candle_core::bail!("{chunks} × {n} temporal tokens do not divide into {frames} frames");
        }
        pool_grid(&x.reshape((frames, chunks * n / frames, h))?, self.pools.1)
    }

    /// The visual block `(tokens, h)` of a video: spatial features `(f, g², d)`, temporal ones `(chunks, t · g², d)`.
    ///
    /// # Errors
    /// As [`Multimodal::spatial`] and [`Multimodal::temporal`].
    pub fn video_block(&self, spatial: &Tensor, temporal: &Tensor) -> Result<Tensor> {
        let frames = spatial.dim(0)?;
        let spatial = self.spatial(spatial)?.flatten(0, 1)?;
        let temporal = self.temporal(temporal, frames)?.flatten(0, 1)?;
        Tensor::cat(&[&spatial, &temporal], 0)
    }

    /// The visual block `(g², h)` of a single image, which is not pooled: features `(1, g², d)`.
    ///
    /// # Errors
    /// If the width differs.
    pub fn image_block(&self, features: &Tensor) -> Result<Tensor> {
        self.spatial.forward(features)?.flatten(0, 1)
    }

    /// Spatial features of crops `(n, g², d)` → one token per crop `(n, h)`.
    ///
    /// # Errors
    /// If the width differs.
    pub fn crop_tokens(&self, features: &Tensor) -> Result<Tensor> {
        self.spatial.forward(features)?.mean(1)
    }
}

/// Mean over `p × p` tiles: `(f, g², h)` → `(f, (g/p)², h)`.
fn pool_grid(x: &Tensor, p: usize) -> Result<Tensor> {
    let (f, n, h) = x.dims3()?;
    let g = n.isqrt();
    if g * g != n || p == 0 || g % p != 0 {
        candle_core::bail!("{n} tokens are no square grid that divides into tiles of {p}");
    }
    if p == 1 {
        return Ok(x.clone());
    }
    let s = g / p;
    x.reshape((f * s, p, s, p * h))?
        .sum(1)?
        .reshape((f * s * s, p, h))?
        .sum(1)?
        .affine(1.0 / (p * p) as f64, 0.0)?
        .reshape((f, s * s, h))
}

/// Ids of the two tokens whose states become prompts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PromptIds {
    /// `[SEG]`.
    pub seg: u32,
    /// `[BOX]`.
    pub boxes: u32,
}

/// Target-specific tokens of a prompt.
#[derive(Clone, Debug)]
pub enum TsfTokens<'a> {
    /// Selected tokens `(m, h)`.
    Selected(&'a Tensor),
    /// None at hand: as many zero vectors as there are places, at most this many (as released).
    Zeros(usize),
}

/// A prompt ready for the language model.
#[derive(Clone, Debug)]
pub struct Spliced {
    /// Embeddings `(n, h)`.
    pub embeds: Tensor,
    /// A label per token; visual and target-specific tokens have [`IGNORE`].
    pub labels: Vec<i64>,
    /// Where the *next* token is `[SEG]`: the state that predicts it becomes the prompt.
    pub seg: Vec<bool>,
    /// Where the next token is `[BOX]`.
    pub boxes: Vec<bool>,
}

impl Spliced {
    /// Tokens.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }
}

/// First and one past the last place of the frames; `None` if there is no image.
///
/// # Errors
/// If they do not form one run: the released code mishandles that, so it is refused.
pub fn image_run(ids: &[i64]) -> Result<Option<std::ops::Range<usize>>> {
    let Some(first) = ids.iter().position(|&id| id == IMAGE) else {
        return Ok(None);
    };
    let last = ids.iter().rposition(|&id| id == IMAGE).unwrap_or(first);
    if ids[first..=last].iter().any(|&id| id != IMAGE) {
        candle_core::bail!("the images of a prompt must stand together");
    }
    Ok(Some(first..last + 1))
}

/// Replaces the run of images by `visual` and the places of target-specific tokens by `tsf`; places left over vanish.
/// `embed` turns ids into `(n, h)`. `labels` are the ids' labels, all ignored if absent.
///
/// # Errors
/// If an image stands without a visual block, images stand apart, or an id is negative or outside the vocabulary.
pub fn splice(
    ids: &[i64],
    labels: Option<&[i64]>,
    visual: Option<&Tensor>,
    tsf: &TsfTokens<'_>,
    prompt_ids: PromptIds,
    embed: impl Fn(&[u32]) -> Result<Tensor>,
) -> Result<Spliced> {
    let images = image_run(ids)?;
    let places = ids.iter().filter(|&&id| id == TSF).count();
    let keep = match tsf {
        TsfTokens::Selected(t) => places.min(t.dim(0)?),
        TsfTokens::Zeros(k) => places.min(*k),
    };
    let mut pieces: Vec<Tensor> = vec![];
    let mut text: Vec<u32> = vec![];
    let mut out = (vec![], vec![], vec![]);
    let mut used = 0;
    for (i, &id) in ids.iter().enumerate() {
        let next = ids.get(i + 1).copied();
        let special = match (id, &images) {
            (IMAGE, Some(run)) if run.start == i => {
                let Some(visual) = visual else {
                    candle_core::bail!("the prompt has an image but no visual block was given");
                };
                Some(visual.clone())
            }
            (IMAGE, _) => continue,
            (TSF, _) if used == keep => continue,
            (TSF, _) => {
                used += 1;
                Some(match tsf {
                    TsfTokens::Selected(t) => t.narrow(0, used - 1, 1)?,
                    TsfTokens::Zeros(_) => embed(&[0])?.zeros_like()?,
                })
            }
            _ => None,
        };
        let added = match special {
            Some(piece) => {
                if !text.is_empty() {
                    pieces.push(embed(&std::mem::take(&mut text))?);
                }
                let n = piece.dim(0)?;
                pieces.push(piece);
                n
            }
            None => {
                let Ok(id) = u32::try_from(id) else {
                    candle_core::bail!("{id} is no token");
                };
                text.push(id);
                0
            }
        };
        let is_text = added == 0;
        let label = labels.map_or(IGNORE, |l| l[i]);
        let at = |token: u32| is_text && next == Some(i64::from(token));
        for _ in 0..added.max(1) {
            out.0.push(if is_text { label } else { IGNORE });
            out.1.push(at(prompt_ids.seg));
            out.2.push(at(prompt_ids.boxes));
        }
    }
    if !text.is_empty() || pieces.is_empty() {
        pieces.push(embed(&text)?);
    }
    Ok(Spliced {
        embeds: Tensor::cat(&pieces, 0)?,
        labels: out.0,
        seg: out.1,
        boxes: out.2,
    })
}

/// Rows of different length as one batch, padded on the right.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Embeddings `(b, n, h)`, zeros where padded.
    pub embeds: Tensor,
    /// Whether a token counts, row by row.
    pub attention: Vec<Vec<bool>>,
    /// Labels, row by row.
    pub labels: Vec<Vec<i64>>,
    /// [`Spliced::seg`], row by row.
    pub seg: Vec<Vec<bool>>,
    /// [`Spliced::boxes`], row by row.
    pub boxes: Vec<Vec<bool>>,
}

/// Pads rows to the longest. `attention` says which ids of a row counted before splicing.
///
/// # Errors
/// If there are no rows or their widths differ.
pub fn batch(rows: &[Spliced], attention: &[Vec<bool>]) -> Result<Batch> {
    let n = rows.iter().map(Spliced::len).max().unwrap_or(0);
    fn padded<T: Clone>(row: &[T], n: usize, with: T) -> Vec<T> {
        let mut row = row.to_vec();
        row.resize(n, with);
        row
    }
    let mut embeds = Vec::with_capacity(rows.len());
    for row in rows {
        embeds.push(row.embeds.pad_with_zeros(0, 0, n - row.len())?);
    }
    let attention = rows
        .iter()
        .zip(attention)
        .map(|(row, old)| {
            // What splicing added stands in front as far as this mask is concerned.
            let mut mask = vec![true; row.len().saturating_sub(old.len())];
            mask.extend(old);
            padded(&mask, n, false)
        })
        .collect();
    Ok(Batch {
        embeds: Tensor::stack(&embeds, 0)?,
        attention,
        labels: rows.iter().map(|r| padded(&r.labels, n, IGNORE)).collect(),
        seg: rows.iter().map(|r| padded(&r.seg, n, false)).collect(),
        boxes: rows.iter().map(|r| padded(&r.boxes, n, false)).collect(),
    })
}

/// Where the states of a token stand once an output has been generated: `added` tokens were spliced into `ids`, and the
/// state before each occurrence counts.
pub fn generated_positions(ids: &[u32], token: u32, added: usize) -> Vec<usize> {
    ids.iter()
        .enumerate()
        .skip(1)
        .filter(|(_, id)| **id == token)
        .map(|(j, _)| added + j - 1)
        .collect()
}

/// Rows of `states` `(n, h)` where `mask` holds, `(m, h)`; `None` if nowhere.
///
/// # Errors
/// If the mask is longer than the states.
pub fn gather(states: &Tensor, mask: &[bool], device: &Device) -> Result<Option<Tensor>> {
    let at: Vec<u32> = mask
        .iter()
        .enumerate()
        .filter(|(_, m)| **m)
        .map(|(i, _)| i as u32)
        .collect();
    if at.is_empty() {
        return Ok(None);
    }
    states.index_select(&Tensor::new(at, device)?, 0).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: PromptIds = PromptIds { seg: 8, boxes: 9 };

    fn embed(ids: &[u32]) -> Result<Tensor> {
        let values: Vec<f32> = ids.iter().map(|&i| i as f32).collect();
        Tensor::from_vec(values, (ids.len(), 1), &Device::Cpu)
    }

    fn values(t: &Tensor) -> Vec<f32> {
        t.flatten_all()
            .and_then(|t| t.to_vec1())
            .expect("f32 values")
    }

    #[test]
    fn blocks_replace_their_places_and_spare_places_vanish() {
        let visual = Tensor::new(&[[100_f32], [101.0], [102.0]], &Device::Cpu).expect("literal");
        let tsf = Tensor::new(&[[200_f32]], &Device::Cpu).expect("literal");
        let ids = [2, IMAGE, IMAGE, 5, TSF, TSF, 9, 8, 3];
        let s = splice(
            &ids,
            Some(&ids),
            Some(&visual),
            &TsfTokens::Selected(&tsf),
            IDS,
            embed,
        )
        .expect("one run");
        assert_eq!(
            values(&s.embeds),
            [2.0, 100.0, 101.0, 102.0, 5.0, 200.0, 9.0, 8.0, 3.0]
        );
        assert_eq!(s.labels, [2, -100, -100, -100, 5, -100, 9, 8, 3]);
        assert_eq!(s.seg.iter().position(|m| *m), Some(6));
        // The place before [BOX] is a target-specific token, which never counts.
        assert!(!s.boxes.contains(&true));
    }

    #[test]
    fn images_apart_and_missing_blocks_are_errors() {
        let visual = Tensor::new(&[[1_f32]], &Device::Cpu).expect("literal");
        let zeros = TsfTokens::Zeros(4);
        for (ids, visual) in [(vec![IMAGE, 1, IMAGE], Some(&visual)), (vec![IMAGE], None)] {
            assert!(splice(&ids, None, visual, &zeros, IDS, embed).is_err());
        }
    }

    #[test]
    fn pooling_takes_means_of_tiles() {
        let x = Tensor::arange(0_f32, 16.0, &Device::Cpu)
            .and_then(|x| x.reshape((1, 16, 1)))
            .expect("16 values");
        let y = pool_grid(&x, 2).expect("divides");
        assert_eq!(values(&y), [2.5, 4.5, 10.5, 12.5]);
        assert!(pool_grid(&x, 3).is_err());
    }

    #[test]
    fn oddity_08_the_state_before_a_token_counts() {
        assert_eq!(generated_positions(&[8, 1, 8, 9, 8], 8, 10), [11, 13]);
    }
}
