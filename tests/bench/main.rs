//! Hot paths, ours beside candle's: `cargo bench --no-default-features`. Best of several runs; ratios matter, absolute
//! times do not. Never a test, never a gate.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench reports on stdout and may stop at the first error"
)]

use std::{hint::black_box, time::Instant};

use candle_core::{Result, Tensor};
use sparrow::nn::{ops, random_weights::RandomWeights};

/// Milliseconds of the fastest of enough runs to fill 0.3 s.
fn best_ms(mut f: impl FnMut() -> Result<Tensor>) -> f64 {
    let start = Instant::now();
    let mut best = f64::INFINITY;
    while start.elapsed().as_secs_f64() < 0.3 {
        let one = Instant::now();
        black_box(f().unwrap());
        best = best.min(one.elapsed().as_secs_f64());
    }
    best * 1e3
}

fn row(name: &str, ours: impl FnMut() -> Result<Tensor>, candles: impl FnMut() -> Result<Tensor>) {
    let (ours, theirs) = (best_ms(ours), best_ms(candles));
    println!(
        "{name:44} ours {ours:9.3} ms   candle {theirs:9.3} ms   candle/ours {:6.2}",
        theirs / ours
    );
}

fn randn(shape: &[usize]) -> Tensor {
    RandomWeights::normal(1, shape).unwrap()
}

fn main() {
    let x = randn(&[4096, 384]);
    row("gelu 4096×384", || ops::gelu(&x), || x.gelu_erf());

    let (x, w, b) = (randn(&[4096, 256]), randn(&[256]), randn(&[256]));
    row(
        "layer norm 4096×256",
        || ops::layer_norm(&x, &w, &b, 1e-6),
        || candle_nn::ops::layer_norm(&x, &w, &b, 1e-6),
    );

    let (x, w, b) = (randn(&[4096, 128]), randn(&[512, 128]), randn(&[512]));
    row(
        "linear 4096×128→512",
        || ops::linear(&x, &w, Some(&b)),
        || x.matmul(&w.t()?)?.broadcast_add(&b),
    );

    let (x, w) = (randn(&[1, 3, 256, 256]), randn(&[32, 3, 7, 7]));
    row(
        "conv 7×7 s4 3→32 @256",
        || ops::conv2d(&x, &w, None, 4, 3),
        || x.conv2d(&w, 3, 4, 1, 1),
    );

    let (x, w) = (randn(&[1, 128, 64, 64]), randn(&[128, 128, 3, 3]));
    row(
        "conv 3×3 128→128 @64",
        || ops::conv2d(&x, &w, None, 1, 1),
        || x.conv2d(&w, 1, 1, 1, 1),
    );

    let (x, w) = (randn(&[1, 96, 16, 16]), randn(&[96, 1, 7, 7]));
    row(
        "depthwise 7×7 96 @16",
        || ops::depthwise_conv2d(&x, &w, None, 3),
        || x.conv2d(&w, 3, 1, 1, 96),
    );

    let (x, w) = (randn(&[4, 96, 16, 16]), randn(&[96, 24, 2, 2]));
    row(
        "transposed conv 2×2 96→24 @16",
        || ops::conv_transpose_2x2(&x, &w, None),
        || x.conv_transpose2d(&w, 0, 0, 2, 1),
    );

    let (q, k, v) = (
        randn(&[1, 8, 256, 32]),
        randn(&[1, 8, 1024, 32]),
        randn(&[1, 8, 1024, 32]),
    );
    row(
        "attention 8 heads 256×1024×32",
        || ops::attention(&q, &k, &v, 0.17, None),
        || candle_nn::ops::softmax_last_dim(&(q.matmul(&k.t()?)? * 0.17)?)?.matmul(&v),
    );

    let x = randn(&[1, 96, 64, 64]);
    row(
        "NCHW to tokens 96 @64",
        || ops::nchw_to_tokens(&x),
        || x.reshape((1, 96, 4096))?.transpose(1, 2)?.contiguous(),
    );
    row(
        "bilinear ×4 of one 64×64 map",
        || ops::resize_bilinear(&x.narrow(1, 0, 1)?, (256, 256)),
        || x.narrow(1, 0, 1)?.upsample_bilinear2d(256, 256, false),
    );
}
