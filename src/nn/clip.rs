//! CLIP's vision tower (Radford et al. 2021), the spatial stream. Features are the second last hidden state without the
//! class token and without the post layer norm; the last layer is therefore neither loaded nor run.
//!
//! Released module: `CLIPVisionModel` of ViT-L/14-336. candle-transformers' CLIP returns a pooled or projected vector,
//! and its all-states method would run the unused layer, so the tower stands here. Images `(n, 3, s, s)`, tokens
//! `(n, g², d)` row by row. Pixels, projection and pooling are left to others.

use candle_core::{Result, Tensor};
use candle_nn::{Init, VarBuilder};

use super::{
    config::ClipConfig,
    layers::{LayerNorm, Linear},
    ops,
    patch::Patches,
    stop,
};

const EPS: f64 = 1e-5;

#[derive(Clone, Debug)]
struct Layer {
    norm1: LayerNorm,
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    heads: usize,
}

impl Layer {
    fn new(cfg: &ClipConfig, vb: &VarBuilder<'_>) -> Result<Self> {
        let d = cfg.dim;
        let attn = vb.pp("self_attn");
        Ok(Self {
            norm1: LayerNorm::new(d, EPS, vb.pp("layer_norm1"))?,
            q: Linear::new(d, d, attn.pp("q_proj"))?,
            k: Linear::new(d, d, attn.pp("k_proj"))?,
            v: Linear::new(d, d, attn.pp("v_proj"))?,
            out: Linear::new(d, d, attn.pp("out_proj"))?,
            norm2: LayerNorm::new(d, EPS, vb.pp("layer_norm2"))?,
            fc1: Linear::new(d, cfg.mlp, vb.pp("mlp.fc1"))?,
            fc2: Linear::new(cfg.mlp, d, vb.pp("mlp.fc2"))?,
            heads: cfg.heads,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (b, n, d) = x.dims3()?;
        let split = |t: Tensor| {
            t.reshape((b, n, self.heads, d / self.heads))?
                .transpose(1, 2)
        };
        let y = self.norm1.forward(x)?;
        let scale = 1.0 / ((d / self.heads) as f64).sqrt();
        let y = ops::attention(
            &split(self.q.forward(&y)?)?,
            &split(self.k.forward(&y)?)?,
            &split(self.v.forward(&y)?)?,
            scale,
            None,
        )?;
        let y = ops::merge_heads(&y)?;
        let x = self.out.added(&y, None, x)?;
        let y = self.norm2.forward(&x)?;
        self.fc1
            .perceptron(&y, ops::Activation::QuickGelu, &self.fc2, None, &x)
    }
}

/// The tower.
#[derive(Clone, Debug)]
pub struct Clip {
    patches: Patches,
    class: Tensor,
    position: Tensor,
    pre_norm: LayerNorm,
    layers: Vec<Layer>,
}

impl Clip {
    /// `vb` stands at `….vision_tower` (names start with `vision_model.`).
    ///
    /// # Errors
    /// If a tensor is missing or misshapen, or the sizes do not divide.
    pub fn new(cfg: &ClipConfig, vb: VarBuilder<'_>) -> Result<Self> {
        if cfg.heads == 0
            || !cfg.dim.is_multiple_of(cfg.heads)
            || cfg.patch_size == 0
            || cfg.layers == 0
        {
            candle_core::bail!("CLIP of width {} cannot have {} heads", cfg.dim, cfg.heads);
        }
        let vb = vb.pp("vision_model");
        let emb = vb.pp("embeddings");
        let grid = cfg.image_size / cfg.patch_size;
        let small = Init::Randn {
            mean: 0.0,
            stdev: 0.02,
        };
        let layers = vb.pp("encoder.layers");
        Ok(Self {
            patches: Patches::new(
                (cfg.dim, 3, cfg.patch_size, cfg.patch_size),
                cfg.patch_size,
                false,
                &emb.pp("patch_embedding"),
            )?,
            class: emb.get_with_hints((cfg.dim,), "class_embedding", small)?,
            position: emb.pp("position_embedding").get_with_hints(
                (grid * grid + 1, cfg.dim),
                "weight",
                small,
            )?,
            pre_norm: LayerNorm::new(cfg.dim, EPS, vb.pp("pre_layrnorm"))?,
            layers: (0..cfg.layers - 1)
                .map(|l| Layer::new(cfg, &layers.pp(l)))
                .collect::<Result<_>>()?,
        })
    }

    /// Images `(n, 3, s, s)` → all states that are run, each `(n, 1 + g², d)`: the embeddings, then one per layer.
    ///
    /// # Errors
    /// If the images do not have the configured size.
    pub fn hidden_states(&self, images: &Tensor) -> Result<Vec<Tensor>> {
        let mut states = vec![self.embed(images)?];
        for layer in &self.layers {
            stop::check()?;
            let next = layer.forward(&states[states.len() - 1])?;
            states.push(next);
        }
        Ok(states)
    }

    /// Images `(n, 3, s, s)`, normalised → features `(n, g², d)`.
    ///
    /// # Errors
    /// As [`Clip::hidden_states`].
    pub fn forward(&self, images: &Tensor) -> Result<Tensor> {
        // Of many images, the states of all layers together would be most of the memory that is needed.
        let mut last = self.embed(images)?;
        for layer in &self.layers {
            stop::check()?;
            last = layer.forward(&last)?;
        }
        last.narrow(1, 1, last.dim(1)? - 1)
    }

    /// Images `(n, 3, s, s)` → what the first layer takes `(n, 1 + g², d)`.
    fn embed(&self, images: &Tensor) -> Result<Tensor> {
        let n = images.dim(0)?;
        let d = self.class.dim(0)?;
        let tokens = self.patches.forward(images)?;
        let class = self.class.reshape((1, 1, d))?.broadcast_as((n, 1, d))?;
        let x = Tensor::cat(&[&class, &tokens], 1)?.broadcast_add(&self.position)?;
        self.pre_norm.forward(&x)
    }
}
