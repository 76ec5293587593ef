//! The language model: Phi-3 (Abdin et al. 2024), embeddings in, hidden states out.
//!
//! Released module: `Phi3Model` + `lm_head` (`model.*`, `lm_head.weight`). candle-transformers' Phi-3 takes ids only,
//! gives logits only and knows no sliding window, while here visual features stand in the place of ids, the hidden
//! states are what the masks are made from, and the window changes the answer. Rotary positions are of the rotate-half
//! kind. Sampling, projection of the states and assembly of the sequence are left to others.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{Init, VarBuilder};

use super::{
    config::Phi3Config,
    layers::{Linear, RmsNorm},
    ops::{self, Band},
    precision::{Precision, Role, place},
    stop,
};

pub use super::ops::MASKED;

/// Keys and values of tokens already seen, with positions applied: `(b, kv heads, tokens, head)` each. Of the oldest tokens, those that
/// no later one sees are left out; as all that counts is how far back a key lies, nobody misses them.
#[derive(Clone, Debug)]
struct Seen {
    k: Tensor,
    v: Tensor,
}

impl Seen {
    fn extended(&self, k: &Tensor, v: &Tensor) -> Result<Self> {
        Ok(Self {
            k: Tensor::cat(&[&self.k, k], 2)?,
            v: Tensor::cat(&[&self.v, v], 2)?,
        })
    }

    /// The last tokens alone, in memory of their own.
    fn last(self, tokens: usize) -> Result<Self> {
        let n = self.k.dim(2)?;
        if n <= tokens {
            return Ok(self);
        }
        let cut = |t: &Tensor| t.narrow(2, n - tokens, tokens)?.force_contiguous();
        Ok(Self {
            k: cut(&self.k)?,
            v: cut(&self.v)?,
        })
    }

    fn stored_as(&self, dtype: DType) -> Result<Self> {
        Ok(Self {
            k: self.k.to_dtype(dtype)?,
            v: self.v.to_dtype(dtype)?,
        })
    }

    fn bytes(&self) -> usize {
        [&self.k, &self.v]
            .map(|t| t.elem_count() * t.dtype().size_in_bytes())
            .iter()
            .sum()
    }
}

/// How a model's keys and values are kept.
#[derive(Clone, Copy, Debug)]
struct Keeping {
    /// Tokens that a later one can see.
    window: usize,
    /// Type of those that clones share.
    shared: DType,
}

/// What the model has seen. A clone is cheap (tensors are shared), so a prefix is run once and every phrase continues
/// from its own clone; the prefix itself is never copied.
#[derive(Clone, Debug, Default)]
pub struct KvCache {
    prefix: Vec<Seen>,
    tail: Vec<Seen>,
    len: usize,
    /// As the model says that has seen something.
    keeping: Option<Keeping>,
}

impl KvCache {
    /// Nothing seen yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Tokens seen.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was seen.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Makes everything seen so far the prefix that clones share. On a GPU whose model is stored in less than f32 it is stored in halves.
    ///
    /// # Errors
    /// If the tensors cannot be joined.
    pub fn freeze(&mut self) -> Result<()> {
        let Some(Keeping { window, shared }) = self.keeping else {
            return Ok(());
        };
        if self.tail.is_empty() {
            return Ok(());
        }
        let old = std::mem::take(&mut self.prefix).into_iter().map(Some);
        for (new, old) in std::mem::take(&mut self.tail)
            .into_iter()
            .zip(old.chain(std::iter::repeat(None)))
        {
            let new = new.stored_as(shared)?;
            let joined = match old {
                Some(old) => old.extended(&new.k, &new.v)?,
                None => new,
            };
            self.prefix.push(joined.last(window)?);
        }
        Ok(())
    }

    /// Bytes of keys and values.
    pub fn bytes(&self) -> usize {
        self.prefix.iter().chain(&self.tail).map(Seen::bytes).sum()
    }
}

/// Bytes of keys and values of a frozen prefix of so many tokens, in a model of a precision.
pub fn prefix_bytes(cfg: &Phi3Config, tokens: usize, precision: Precision, gpu: bool) -> usize {
    let head = cfg.hidden_size / cfg.num_attention_heads.max(1);
    let kept = tokens.min(cfg.sliding_window.unwrap_or(usize::MAX));
    let numbers = 2 * cfg.num_hidden_layers * cfg.num_key_value_heads * head * kept;
    numbers * shared_type(precision, gpu).size_in_bytes()
}

/// Type of the keys and values of a prefix: halves where memory is dear and products of halves are not.
fn shared_type(precision: Precision, gpu: bool) -> DType {
    if gpu {
        precision.matrices()
    } else {
        DType::F32
    }
}

/// Cosines and sines of the positions, `(b or 1, 1, tokens, head/2)` each.
#[derive(Clone, Debug)]
struct Rotary {
    cos: Tensor,
    sin: Tensor,
}

impl Rotary {
    /// `positions`: `rows × tokens`, row-major.
    fn new(
        positions: &[usize],
        rows: usize,
        head: usize,
        theta: f64,
        device: &Device,
    ) -> Result<Self> {
        let half = head / 2;
        let frequencies: Vec<f32> = (0..half)
            .map(|i| (1.0 / theta.powf(2.0 * i as f64 / head as f64)) as f32)
            .collect();
        let angles: Vec<f32> = positions
            .iter()
            .flat_map(|&p| frequencies.iter().map(move |f| p as f32 * f))
            .collect();
        let table = |f: fn(f32) -> f32| {
            let values: Vec<f32> = angles.iter().map(|&a| f(a)).collect();
            Tensor::from_vec(values, (rows, 1, positions.len() / rows, half), device)
        };
        Ok(Self {
            cos: table(f32::cos)?,
            sin: table(f32::sin)?,
        })
    }

    /// `(b, h, n, d)` → the same, rotated.
    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        if let Some(turned) = ops::rotate_half(x, &self.cos, &self.sin)? {
            return Ok(turned);
        }
        let half = x.dim(3)? / 2;
        let (a, b) = (x.narrow(3, 0, half)?, x.narrow(3, half, half)?);
        let left = (a.broadcast_mul(&self.cos)? - b.broadcast_mul(&self.sin)?)?;
        let right = (b.broadcast_mul(&self.cos)? + a.broadcast_mul(&self.sin)?)?;
        Tensor::cat(&[&left, &right], 3)
    }
}

/// Whether a tensor, under the names of the released files, is one of the matrices that may be stored in blocks.
pub fn is_language_matrix(name: &str) -> bool {
    name == "lm_head.weight"
        || (name.starts_with("model.layers.") && name.ends_with("_proj.weight"))
}

#[derive(Clone, Debug)]
struct Layer {
    input_norm: RmsNorm,
    qkv: Linear,
    out: Linear,
    post_norm: RmsNorm,
    gate_up: Linear,
    down: Linear,
    heads: usize,
    kv_heads: usize,
    head: usize,
}

impl Layer {
    fn new(cfg: &Phi3Config, precision: Precision, vb: &VarBuilder<'_>) -> Result<Self> {
        let linear = |i: usize, o: usize, vb| Linear::language(i, o, precision, vb);
        let d = cfg.hidden_size;
        let head = d / cfg.num_attention_heads;
        let rows = d + 2 * cfg.num_key_value_heads * head;
        let attn = vb.pp("self_attn");
        Ok(Self {
            input_norm: RmsNorm::new(d, cfg.rms_norm_eps, vb.pp("input_layernorm"))?,
            qkv: linear(d, rows, attn.pp("qkv_proj"))?,
            out: linear(d, d, attn.pp("o_proj"))?,
            post_norm: RmsNorm::new(d, cfg.rms_norm_eps, vb.pp("post_attention_layernorm"))?,
            gate_up: linear(d, 2 * cfg.intermediate_size, vb.pp("mlp.gate_up_proj"))?,
            down: linear(cfg.intermediate_size, d, vb.pp("mlp.down_proj"))?,
            heads: cfg.num_attention_heads,
            kv_heads: cfg.num_key_value_heads,
            head,
        })
    }

    /// Query, key and value of the normed input, positions applied; heads second.
    fn qkv(&self, x: &Tensor, rotary: &Rotary) -> Result<(Tensor, Tensor, Tensor)> {
        let (b, n, d) = x.dims3()?;
        let y = self.qkv.forward(&self.input_norm.forward(x)?)?;
        let kv = self.kv_heads * self.head;
        let part = |at: usize, width: usize, heads: usize| {
            y.narrow(2, at, width)?
                .reshape((b, n, heads, self.head))?
                .transpose(1, 2)
        };
        let q = rotary.apply(&part(0, d, self.heads)?)?;
        let k = rotary.apply(&part(d, kv, self.kv_heads)?)?;
        Ok((q, k, part(d + kv, kv, self.kv_heads)?))
    }

    /// Repeats key or value heads so that every query head has one.
    fn spread(&self, t: &Tensor) -> Result<Tensor> {
        let groups = self.heads / self.kv_heads;
        if groups == 1 {
            return Ok(t.clone());
        }
        let (b, h, n, d) = t.dims4()?;
        t.unsqueeze(2)?
            .broadcast_as((b, h, groups, n, d))?
            .contiguous()?
            .reshape((b, h * groups, n, d))
    }

    fn finish(&self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        let (b, n, d) = x.dims3()?;
        let y = y.transpose(1, 2)?.contiguous()?.reshape((b, n, d))?;
        let x = self.out.added(&y, None, x)?;
        let y = self.gate_up.forward(&self.post_norm.forward(&x)?)?;
        self.down.added(&ops::swiglu(&y)?, None, &x)
    }

    fn scale(&self) -> f64 {
        1.0 / (self.head as f64).sqrt()
    }

    fn forward(&self, x: &Tensor, rotary: &Rotary, mask: &Tensor) -> Result<Tensor> {
        let (q, k, v) = self.qkv(x, rotary)?;
        let (k, v) = (self.spread(&k)?, self.spread(&v)?);
        let y = ops::attention(&q, &k, &v, self.scale(), Some(mask))?;
        self.finish(x, &y)
    }

    /// Causal attention within the band, after the tokens of `prefix` and `tail`; returns the new tail as well.
    fn forward_cached(
        &self,
        x: &Tensor,
        rotary: &Rotary,
        band: &Band,
        (prefix, tail): (Option<&Seen>, Option<&Seen>),
    ) -> Result<(Tensor, Seen)> {
        let (q, k, v) = self.qkv(x, rotary)?;
        let tail = match tail {
            Some(tail) => tail.extended(&k, &v)?,
            None => Seen {
                k,
                v: v.contiguous()?,
            },
        };
        // Joining prefix and tail would copy the prefix for every token.
        let parts: Vec<_> = prefix
            .into_iter()
            .chain([&tail])
            .map(|seen| (&seen.k, &seen.v))
            .collect();
        let y = ops::causal_attention(&q, &parts, self.scale(), band)?;
        Ok((self.finish(x, &y)?, tail))
    }
}

/// The word embedding `(vocabulary, h)`, stored as a precision stores matrices.
fn word_table(table: Tensor, precision: Precision) -> Result<Tensor> {
    let dtype = match precision {
        Precision::F32 => table.dtype(),
        narrow => narrow.matrices(),
    };
    let shape = table.dims2()?;
    let table = table.to_dtype(dtype)?;
    place(
        Role::Matrix,
        shape,
        table.elem_count() * dtype.size_in_bytes(),
    );
    Ok(table)
}

/// The language model.
#[derive(Clone, Debug)]
pub struct Phi3 {
    embed: Tensor,
    layers: Vec<Layer>,
    norm: RmsNorm,
    head: Linear,
    cfg: Phi3Config,
    /// Type of a prefix's keys and values.
    shared: DType,
}

impl Phi3 {
    /// `vb` stands at the root (names start with `model.` and `lm_head.`).
    ///
    /// # Errors
    /// If a tensor is missing or misshapen, or the sizes do not divide.
    pub fn new(cfg: &Phi3Config, vb: VarBuilder<'_>) -> Result<Self> {
        Self::with_precision(cfg, Precision::F32, vb)
    }

    /// [`Phi3::new`] with matrices stored as a precision says; activations are f32.
    ///
    /// # Errors
    /// As [`Phi3::new`].
    pub fn with_precision(
        cfg: &Phi3Config,
        precision: Precision,
        vb: VarBuilder<'_>,
    ) -> Result<Self> {
        let (heads, kv) = (cfg.num_attention_heads, cfg.num_key_value_heads);
        if heads == 0
            || kv == 0
            || !cfg.hidden_size.is_multiple_of(heads)
            || !heads.is_multiple_of(kv)
            || !(cfg.hidden_size / heads).is_multiple_of(2)
        {
            candle_core::bail!(
                "a language model of width {} cannot have {heads} heads over {kv}",
                cfg.hidden_size
            );
        }
        let model = vb.pp("model");
        let layers = model.pp("layers");
        Ok(Self {
            // Wide enough that words stand out between visual tokens when trained from nothing.
            embed: word_table(
                model.pp("embed_tokens").get_with_hints(
                    (cfg.vocab_size, cfg.hidden_size),
                    "weight",
                    Init::Randn {
                        mean: 0.0,
                        stdev: 0.4,
                    },
                )?,
                precision,
            )?,
            layers: (0..cfg.num_hidden_layers)
                .map(|l| Layer::new(cfg, precision, &layers.pp(l)))
                .collect::<Result<_>>()?,
            norm: RmsNorm::new(cfg.hidden_size, cfg.rms_norm_eps, model.pp("norm"))?,
            head: Linear::language(cfg.hidden_size, cfg.vocab_size, precision, vb.pp("lm_head"))?,
            cfg: cfg.clone(),
            shared: shared_type(precision, !vb.device().is_cpu()),
        })
    }

    /// The same model with another head `(vocabulary, h)`.
    #[must_use]
    pub fn with_head(&self, weight: Tensor) -> Self {
        Self {
            head: Linear::from_parts(weight, None),
            ..self.clone()
        }
    }

    /// Width of the hidden states.
    pub fn width(&self) -> usize {
        self.cfg.hidden_size
    }

    /// Rows of the embedding.
    pub fn vocabulary(&self) -> usize {
        self.cfg.vocab_size
    }

    /// Type of the states.
    fn activations(&self) -> DType {
        match self.embed.dtype() {
            DType::F16 | DType::BF16 => DType::F32,
            other => other,
        }
    }

    fn device(&self) -> &Device {
        self.embed.device()
    }

    /// Ids → embeddings `(n, h)`.
    ///
    /// # Errors
    /// If an id is outside the vocabulary.
    pub fn embed(&self, ids: &[u32]) -> Result<Tensor> {
        if let Some(id) = ids.iter().find(|&&id| id as usize >= self.cfg.vocab_size) {
            candle_core::bail!(
                "token {id} is outside the vocabulary of {}",
                self.cfg.vocab_size
            );
        }
        if ids.is_empty() {
            return Tensor::zeros((0, self.width()), self.activations(), self.device());
        }
        self.embed
            .index_select(&Tensor::new(ids, self.device())?, 0)?
            .to_dtype(self.activations())
    }

    fn rotary(&self, positions: &[usize], rows: usize) -> Result<Rotary> {
        let head = self.cfg.hidden_size / self.cfg.num_attention_heads;
        Rotary::new(positions, rows, head, self.cfg.rope_theta, self.device())
    }

    fn window(&self) -> usize {
        self.cfg.sliding_window.unwrap_or(usize::MAX)
    }

    /// Every hidden state of embeddings `(b, n, h)` at positions 0…n−1: the embeddings, each layer's output except the
    /// last one's, and the final, normed state.
    ///
    /// # Errors
    /// If the width differs.
    pub fn hidden_states(&self, embeds: &Tensor) -> Result<Vec<Tensor>> {
        let n = embeds.dim(1)?;
        let rotary = self.rotary(&(0..n).collect::<Vec<_>>(), 1)?;
        let band = Band::new(self.window());
        let mut states = vec![embeds.clone()];
        for layer in &self.layers {
            let last = &states[states.len() - 1];
            let (next, _) = layer.forward_cached(last, &rotary, &band, (None, None))?;
            states.push(next);
        }
        if let Some(last) = states.last_mut() {
            *last = self.norm.forward(last)?;
        }
        Ok(states)
    }

    /// Continues after the cache's tokens: embeddings `(b, n, h)` → final, normed states `(b, n, h)`.
    ///
    /// # Errors
    /// If the width differs from the model's or the batch from the cache's.
    pub fn forward(&self, embeds: &Tensor, cache: &mut KvCache) -> Result<Tensor> {
        self.run(embeds, cache, None)
    }

    /// [`Phi3::forward`] and [`KvCache::freeze`], but that keys and values are stored as clones share them layer by layer: they are
    /// never all there in f32.
    ///
    /// # Errors
    /// As both.
    pub fn forward_prefix(&self, embeds: &Tensor, cache: &mut KvCache) -> Result<Tensor> {
        let states = self.run(embeds, cache, Some(self.shared))?;
        cache.freeze()?;
        Ok(states)
    }

    fn run(&self, embeds: &Tensor, cache: &mut KvCache, stored: Option<DType>) -> Result<Tensor> {
        let n = embeds.dim(1)?;
        let start = cache.len;
        let positions: Vec<usize> = (start..start + n).collect();
        let rotary = self.rotary(&positions, 1)?;
        let band = Band::new(self.window());
        let mut x = embeds.clone();
        let mut tail = Vec::with_capacity(self.layers.len());
        for (l, layer) in self.layers.iter().enumerate() {
            stop::check()?;
            let seen = (cache.prefix.get(l), cache.tail.get(l));
            let (y, new) = layer.forward_cached(&x, &rotary, &band, seen)?;
            x = y;
            // Layer by layer, so that a long prompt is never held whole.
            let new = new.last(self.window())?;
            tail.push(match stored {
                Some(dtype) => new.stored_as(dtype)?,
                None => new,
            });
        }
        cache.tail = tail;
        cache.len = start + n;
        cache.keeping = Some(Keeping {
            window: self.window(),
            shared: self.shared,
        });
        self.norm.forward(&x)
    }

    /// Training on packed sequences: embeddings `(b, n, h)` with a position per token (`b × n`, row-major) and an
    /// additive mask that broadcasts to `(b, heads, n, n)` → final, normed states. The sliding window is the mask's
    /// business.
    ///
    /// # Errors
    /// If a size differs.
    pub fn forward_packed(
        &self,
        embeds: &Tensor,
        positions: &[usize],
        mask: &Tensor,
    ) -> Result<Tensor> {
        let (b, n, _) = embeds.dims3()?;
        if positions.len() != b * n {
            candle_core::bail!("{} positions for {b} × {n} tokens", positions.len());
        }
        let rotary = self.rotary(positions, b)?;
        let mut x = embeds.clone();
        for layer in &self.layers {
            x = layer.forward(&x, &rotary, mask)?;
        }
        self.norm.forward(&x)
    }

    /// Final states `(…, h)` → logits `(…, vocabulary)`.
    ///
    /// # Errors
    /// If the width differs.
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        self.head.forward(hidden)
    }

    /// The most likely next token of a state `(h)`; the first on ties.
    ///
    /// # Errors
    /// If the width differs or a logit is not a number.
    pub fn greedy(&self, hidden: &Tensor) -> Result<u32> {
        let logits = self.logits(&hidden.unsqueeze(0)?)?.squeeze(0)?;
        let logits: Vec<f32> = logits.to_dtype(DType::F32)?.to_vec1()?;
        let mut best = 0;
        for (i, &l) in logits.iter().enumerate() {
            if !l.is_finite() {
                candle_core::bail!("the language model produced a logit that is not a number");
            }
            if l > logits[best] {
                best = i;
            }
        }
        Ok(best as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::random_weights::RandomWeights;

    fn tiny(window: Option<usize>) -> Phi3 {
        let cfg = Phi3Config {
            hidden_size: 16,
            intermediate_size: 24,
            num_hidden_layers: 2,
            num_attention_heads: 4,
            num_key_value_heads: 2,
            vocab_size: 11,
            sliding_window: window,
            rms_norm_eps: 1e-5,
            rope_theta: 10_000.0,
        };
        let vb = RandomWeights::new(1).var_builder(&Device::Cpu);
        Phi3::new(&cfg, vb).expect("the sizes divide")
    }

    fn far(a: &Tensor, b: &Tensor) -> f32 {
        let d = (a - b).and_then(|d| d.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>());
        d.expect("same shapes")
    }

    #[test]
    fn a_frozen_prefix_changes_nothing() {
        for window in [None, Some(4)] {
            let model = tiny(window);
            let x = model.embed(&[1, 2, 3, 4, 5, 6, 7, 8, 9]).expect("ids");
            let x = x.unsqueeze(0).expect("rank 2");
            let states = model.hidden_states(&x).expect("whole");
            let whole = &states[states.len() - 1];
            let mut cache = KvCache::new();
            let mut parts = vec![];
            for (at, n) in [(0, 3), (3, 2), (5, 1), (6, 3)] {
                let y = model.forward(&x.narrow(1, at, n).expect("inside"), &mut cache);
                parts.push(y.expect("continues"));
                if at < 5 {
                    cache.freeze().expect("joins");
                    cache.freeze().expect("there is nothing more to join");
                    let bytes = prefix_bytes(&model.cfg, at + n, Precision::F32, false);
                    assert_eq!(cache.bytes(), bytes, "no more than later tokens see");
                }
            }
            let parts = Tensor::cat(&parts, 1).expect("same width");
            assert!(far(whole, &parts) < 1e-5);
            assert_eq!(cache.len(), 9);
        }
    }

    #[test]
    fn a_prefix_in_halves_changes_next_to_nothing() {
        let mut model = tiny(Some(5));
        let x = model.embed(&[1, 2, 3, 4, 5, 6, 7, 8, 9]).expect("ids");
        let x = x.unsqueeze(0).expect("rank 2");
        let mut end = |shared: DType| {
            model.shared = shared;
            let mut cache = KvCache::new();
            let part = |from: usize, n: usize| x.narrow(1, from, n).expect("inside");
            model.forward(&part(0, 7), &mut cache).expect("fits");
            cache.freeze().expect("joins");
            let bytes = cache.bytes();
            (model.forward(&part(7, 2), &mut cache).expect("fits"), bytes)
        };
        let ((whole, bytes), (half, fewer)) = (end(DType::F32), end(DType::F16));
        assert_eq!(bytes, 2 * fewer);
        let off = far(&whole, &half);
        assert!(off > 0.0 && off < 1e-2, "{off}");
    }

    #[test]
    fn a_prefix_that_is_stored_layer_by_layer_is_the_same_to_the_bit() {
        let mut model = tiny(Some(5));
        let x = model.embed(&[1, 2, 3, 4, 5, 6, 7, 8, 9]).expect("ids");
        let x = x.unsqueeze(0).expect("rank 2");
        let part = |from: usize, n: usize| x.narrow(1, from, n).expect("inside");
        for shared in [DType::F32, DType::F16] {
            model.shared = shared;
            let (mut at_once, mut by_layer) = (KvCache::new(), KvCache::new());
            for (from, n) in [(0, 3), (3, 4)] {
                let a = model.forward(&part(from, n), &mut at_once).expect("fits");
                at_once.freeze().expect("joins");
                let b = model.forward_prefix(&part(from, n), &mut by_layer);
                assert_eq!(far(&a, &b.expect("fits")), 0.0);
            }
            assert_eq!(at_once.bytes(), by_layer.bytes());
            let [a, b] = [&mut at_once, &mut by_layer].map(|c| model.forward(&part(7, 2), c));
            assert_eq!(far(&a.expect("fits"), &b.expect("fits")), 0.0);
        }
    }

    #[test]
    fn packed_phrases_do_not_see_each_other() {
        let model = tiny(None);
        let ids = |ids: &[u32]| model.embed(ids).expect("ids").unsqueeze(0).expect("rank 2");
        // Two phrases of two tokens behind one prefix of three.
        let packed = ids(&[1, 2, 3, 4, 5, 6, 7]);
        let segment = [0, 0, 0, 1, 1, 2, 2];
        let mut mask = vec![MASKED; 49];
        for i in 0..7 {
            for j in 0..=i {
                if segment[j] == 0 || segment[j] == segment[i] {
                    mask[i * 7 + j] = 0.0;
                }
            }
        }
        let mask = Tensor::from_vec(mask, (1, 1, 7, 7), &Device::Cpu).expect("49 values");
        let y = model
            .forward_packed(&packed, &[0, 1, 2, 3, 4, 3, 4], &mask)
            .expect("sizes agree");
        let alone = model
            .forward(&ids(&[1, 2, 3, 6, 7]), &mut KvCache::new())
            .expect("ids");
        let got = y.narrow(1, 5, 2).expect("inside");
        assert!(far(&got, &alone.narrow(1, 3, 2).expect("inside")) < 1e-5);
    }

    #[test]
    fn an_id_outside_the_vocabulary_is_an_error() {
        let error = tiny(None).embed(&[11]).expect_err("only 11 rows");
        assert!(error.to_string().contains("token 11"));
    }
}
