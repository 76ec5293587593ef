//! The mask decoder's transformer: tokens and image look at each other in turn.
//!
//! Released module `sam2/modeling/sam/transformer.py`. Norms stand after their sub-layers; tokens are `(k, n, d)`, the image
//! is `(k, h·w, d)`.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use crate::nn::{
    config::Sam2Config,
    layers::{LayerNorm, Linear, Mlp},
    ops,
};

const NORM_EPS: f64 = 1e-5;

/// Multi-head attention whose inner width may be narrower than the tokens.
#[derive(Clone, Debug)]
struct Attention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
    heads: usize,
}

impl Attention {
    fn new(d: usize, inner: usize, heads: usize, vb: VarBuilder<'_>) -> Result<Self> {
        if !inner.is_multiple_of(heads) {
            candle_core::bail!("{heads} heads cannot share {inner} features");
        }
        Ok(Self {
            q_proj: Linear::new(d, inner, vb.pp("q_proj"))?,
            k_proj: Linear::new(d, inner, vb.pp("k_proj"))?,
            v_proj: Linear::new(d, inner, vb.pp("v_proj"))?,
            out_proj: Linear::new(inner, d, vb.pp("out_proj"))?,
            heads,
        })
    }

    /// q `(k, n, d)`, keys and values `(k, m, d)` → `(k, n, d)`.
    fn forward(&self, q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
        self.out_proj.forward(&self.attend(q, k, v)?)
    }

    /// [`Attention::forward`], and `rest` added.
    fn added(&self, q: &Tensor, k: &Tensor, v: &Tensor, rest: &Tensor) -> Result<Tensor> {
        self.out_proj.added(&self.attend(q, k, v)?, None, rest)
    }

    fn attend(&self, q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
        let split = |x: Tensor| -> Result<Tensor> {
            let (b, n, inner) = x.dims3()?;
            x.reshape((b, n, self.heads, inner / self.heads))?
                .transpose(1, 2)
        };
        let q = split(self.q_proj.forward(q)?)?;
        let k = split(self.k_proj.forward(k)?)?;
        let v = split(self.v_proj.forward(v)?)?;
        let head = q.dim(3)?;
        ops::merge_heads(&ops::attention(
            &q,
            &k,
            &v,
            1.0 / (head as f64).sqrt(),
            None,
        )?)
    }
}

#[derive(Clone, Debug)]
struct Layer {
    self_attn: Attention,
    norm1: LayerNorm,
    token_to_image: Attention,
    norm2: LayerNorm,
    mlp: Mlp,
    norm3: LayerNorm,
    image_to_token: Attention,
    norm4: LayerNorm,
}

impl Layer {
    fn new(cfg: &Sam2Config, vb: VarBuilder<'_>) -> Result<Self> {
        let d = cfg.d_model;
        let inner = d / cfg.attention_downsample;
        let heads = cfg.decoder_heads;
        let norm = |name: &str| LayerNorm::new(d, NORM_EPS, vb.pp(name));
        let cross = |name: &str| Attention::new(d, inner, heads, vb.pp(name));
        Ok(Self {
            self_attn: Attention::new(d, d, heads, vb.pp("self_attn"))?,
            norm1: norm("norm1")?,
            token_to_image: cross("cross_attn_token_to_image")?,
            norm2: norm("norm2")?,
            mlp: Mlp::new(d, cfg.decoder_mlp_dim, d, 2, vb.pp("mlp"))?,
            norm3: norm("norm3")?,
            image_to_token: cross("cross_attn_image_to_token")?,
            norm4: norm("norm4")?,
        })
    }

    /// `self_attended` is what self-attention leaves of the tokens, which differs between the first layer and the rest.
    fn forward(
        &self,
        self_attended: &Tensor,
        image: &Tensor,
        token_code: &Tensor,
        image_code: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        let tokens = self.norm1.forward(self_attended)?;
        let keys = ops::add(image, image_code)?;
        let seen = self
            .token_to_image
            .forward(&(&tokens + token_code)?, &keys, image)?;
        let tokens = self.norm2.forward(&(tokens + seen)?)?;
        let tokens = self
            .norm3
            .forward(&(&tokens + self.mlp.forward(&tokens)?)?)?;
        let placed = (&tokens + token_code)?;
        let image = self.image_to_token.added(&keys, &placed, &tokens, image)?;
        let image = self.norm4.forward(&image)?;
        Ok((tokens, image))
    }
}

/// The two-way transformer.
#[derive(Clone, Debug)]
pub struct TwoWayTransformer {
    layers: Vec<Layer>,
    final_attn: Attention,
    norm_final: LayerNorm,
}

impl TwoWayTransformer {
    /// Names below `vb`: `layers.*`, `final_attn_token_to_image`, `norm_final_attn`.
    pub fn new(cfg: &Sam2Config, vb: VarBuilder<'_>) -> Result<Self> {
        let d = cfg.d_model;
        Ok(Self {
            layers: (0..cfg.decoder_depth)
                .map(|i| Layer::new(cfg, vb.pp("layers").pp(i)))
                .collect::<Result<_>>()?,
            final_attn: Attention::new(
                d,
                d / cfg.attention_downsample,
                cfg.decoder_heads,
                vb.pp("final_attn_token_to_image"),
            )?,
            norm_final: LayerNorm::new(d, NORM_EPS, vb.pp("norm_final_attn"))?,
        })
    }

    /// Tokens `(k, n, d)`, image `(k, h·w, d)`, its position code `(1, h·w, d)` → both, changed.
    pub fn forward(
        &self,
        tokens: &Tensor,
        image: &Tensor,
        image_code: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        // The tokens as they came serve as their own position code all the way.
        let code = tokens;
        let mut tokens = tokens.clone();
        let mut image = image.clone();
        for (i, layer) in self.layers.iter().enumerate() {
            let attended = if i == 0 {
                layer.self_attn.forward(&tokens, &tokens, &tokens)?
            } else {
                let placed = (&tokens + code)?;
                (&tokens + layer.self_attn.forward(&placed, &placed, &tokens)?)?
            };
            (tokens, image) = layer.forward(&attended, &image, code, image_code)?;
        }
        let keys = ops::add(&image, image_code)?;
        let seen = self.final_attn.forward(&(&tokens + code)?, &keys, &image)?;
        let tokens = self.norm_final.forward(&(tokens + seen)?)?;
        Ok((tokens, image))
    }
}
