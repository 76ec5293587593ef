//! Encoder and decoder layers: post-norm, ReLU, no dropout (training here runs without it too).

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use super::attention::{DeformableAttention, Reference, SelfAttention, Sizes};
use crate::nn::{
    layers::{LayerNorm, Linear},
    ops::Activation,
};

/// Epsilon of every norm on tokens.
pub(super) const NORM_EPS: f64 = 1e-5;

#[derive(Clone, Debug)]
struct FeedForward {
    fc1: Linear,
    fc2: Linear,
    norm: LayerNorm,
}

impl FeedForward {
    /// The released names lie flat in the layer: `fc1`, `fc2`, `final_layer_norm`.
    fn new(d: usize, hidden: usize, vb: &VarBuilder<'_>) -> Result<Self> {
        Ok(Self {
            fc1: Linear::new(d, hidden, vb.pp("fc1"))?,
            fc2: Linear::new(hidden, d, vb.pp("fc2"))?,
            norm: LayerNorm::new(d, NORM_EPS, vb.pp("final_layer_norm"))?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = self
            .fc1
            .perceptron(x, Activation::Relu, &self.fc2, None, x)?;
        self.norm.forward(&y)
    }
}

/// One encoder layer: every cell looks around itself on all levels.
#[derive(Clone, Debug)]
pub(crate) struct EncoderLayer {
    self_attn: DeformableAttention,
    self_attn_layer_norm: LayerNorm,
    feed_forward: FeedForward,
}

impl EncoderLayer {
    pub(super) fn new(sizes: Sizes, hidden: usize, vb: VarBuilder<'_>) -> Result<Self> {
        let norm = vb.pp("self_attn_layer_norm");
        Ok(Self {
            self_attn: DeformableAttention::new(sizes, vb.pp("self_attn"))?,
            self_attn_layer_norm: LayerNorm::new(sizes.d, NORM_EPS, norm)?,
            feed_forward: FeedForward::new(sizes.d, hidden, &vb)?,
        })
    }

    /// `(b, cells, d)` → the layer's output and its attention's, both `(b, cells, d)`.
    pub(super) fn forward(
        &self,
        x: &Tensor,
        position: &Tensor,
        centres: &Reference,
        shapes: &[(usize, usize)],
    ) -> Result<(Tensor, Tensor)> {
        let read = self.self_attn.forward(x, position, centres, x, shapes)?;
        let y = self.self_attn_layer_norm.forward(&(x + &read)?)?;
        Ok((self.feed_forward.forward(&y)?, read))
    }
}

/// One decoder layer: queries look at each other, then at the memory around their references.
#[derive(Clone, Debug)]
pub(crate) struct DecoderLayer {
    self_attn: SelfAttention,
    self_attn_layer_norm: LayerNorm,
    encoder_attn: DeformableAttention,
    encoder_attn_layer_norm: LayerNorm,
    feed_forward: FeedForward,
}

impl DecoderLayer {
    pub(super) fn new(sizes: Sizes, hidden: usize, vb: VarBuilder<'_>) -> Result<Self> {
        let norm = |name: &str| LayerNorm::new(sizes.d, NORM_EPS, vb.pp(name));
        Ok(Self {
            self_attn: SelfAttention::new(sizes.d, sizes.heads, vb.pp("self_attn"))?,
            self_attn_layer_norm: norm("self_attn_layer_norm")?,
            encoder_attn: DeformableAttention::new(sizes, vb.pp("encoder_attn"))?,
            encoder_attn_layer_norm: norm("encoder_attn_layer_norm")?,
            feed_forward: FeedForward::new(sizes.d, hidden, &vb)?,
        })
    }

    /// `(b, q, d)` → the layer's output and its deformable attention's, both `(b, q, d)`.
    pub(super) fn forward(
        &self,
        x: &Tensor,
        position: &Tensor,
        reference: &Reference,
        memory: &Tensor,
        shapes: &[(usize, usize)],
    ) -> Result<(Tensor, Tensor)> {
        let x = (x + self.self_attn.forward(x, position)?)?;
        let x = self.self_attn_layer_norm.forward(&x)?;
        let read = self
            .encoder_attn
            .forward(&x, position, reference, memory, shapes)?;
        let x = self.encoder_attn_layer_norm.forward(&(&x + &read)?)?;
        Ok((self.feed_forward.forward(&x)?, read))
    }
}
