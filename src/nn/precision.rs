//! In what width weights are stored. Arithmetic stays in f32 (on a GPU, products of matrices run in the weights' own
//! type), so that one graph serves every precision: only [`super::layers::Linear`] and the word embedding know.
//!
//! Layers say what they place on a thread's ledger while they are built. That gives both the exact account of a loaded
//! model and, from shapes alone, what any precision would need.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    fmt,
    str::FromStr,
    sync::{Mutex, PoisonError},
};

use candle_core::{DType, Device, Result, Shape, Tensor, quantized::GgmlDType};
use candle_nn::{Init, VarBuilder, var_builder::SimpleBackend};

use super::weights::blocks::Blocks;

/// How weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit floats throughout.
    F32,
    /// Matrices in IEEE half floats.
    F16,
    /// Matrices in bfloat16.
    Bf16,
    /// The language model in blocks of 8-bit integers, other matrices in f16.
    Q8,
    /// The language model in blocks of 4-bit integers, other matrices in f16.
    Q4,
}

impl Precision {
    /// From the most exact to the smallest.
    pub const ALL: [Self; 5] = [Self::F32, Self::F16, Self::Bf16, Self::Q8, Self::Q4];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Q8 => "q8",
            Self::Q4 => "q4",
        }
    }

    /// Type of the matrices outside the language model, and of the word embedding.
    pub fn matrices(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F16 | Self::Q8 | Self::Q4 => DType::F16,
            Self::Bf16 => DType::BF16,
        }
    }

    /// How a language model's matrix with rows of `width` values is stored. Rows that do not divide into blocks stay floats.
    pub fn language(self, width: usize) -> Stored {
        let blocks = |kinds: &[GgmlDType]| {
            let fits = |k: &&GgmlDType| width > 0 && width.is_multiple_of(k.block_size());
            kinds.iter().find(fits).copied()
        };
        let found = match self {
            Self::Q8 => blocks(&[GgmlDType::Q8_0]),
            // Super-blocks of 256 are the more exact at the same size.
            Self::Q4 => blocks(&[GgmlDType::Q4K, GgmlDType::Q4_0]),
            _ => None,
        };
        found.map_or(Stored::Float(self.matrices()), Stored::Blocks)
    }

    /// The precision whose language model is stored in such blocks.
    pub fn of_blocks(blocks: Blocks) -> Self {
        match blocks {
            Blocks::Q8 => Self::Q8,
            Blocks::Q4K | Blocks::Q4 => Self::Q4,
        }
    }

    /// The next one that takes less memory on a GPU; `None` after the smallest.
    pub fn smaller(self) -> Option<Self> {
        match self {
            Self::F32 => Some(Self::F16),
            Self::F16 | Self::Bf16 => Some(Self::Q8),
            Self::Q8 => Some(Self::Q4),
            Self::Q4 => None,
        }
    }

    /// What a device prefers where there is room for it.
    pub fn preferred(gpu: bool) -> Self {
        Self::that_fits(gpu, |_| 0, u64::MAX)
    }

    /// The most exact one of the order in which a device prefers them whose weights fit; the smallest if none does.
    /// `bytes` is what a precision needs, `room` how much there is.
    pub fn that_fits(gpu: bool, bytes: impl Fn(Self) -> u64, room: u64) -> Self {
        let order: &[Self] = if gpu {
            &[Self::F16, Self::Q8, Self::Q4]
        } else {
            &[Self::F32, Self::F16, Self::Q8, Self::Q4]
        };
        let fits = order.iter().copied().find(|p| bytes(*p) <= room);
        fits.unwrap_or(Self::Q4)
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|p| p.name() == text)
            .ok_or_else(|| {
                format!("there is no precision {text:?}: use auto, f32, f16, bf16, q8 or q4")
            })
    }
}

/// How one matrix is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// As floats.
    Float(DType),
    /// As blocks of small integers with a scale each.
    Blocks(GgmlDType),
}

impl Stored {
    /// Bytes of `values` numbers, which are a whole number of blocks.
    fn bytes(self, values: u64) -> u64 {
        match self {
            Self::Float(dtype) => values * dtype.size_in_bytes() as u64,
            Self::Blocks(kind) => values / kind.block_size() as u64 * kind.type_size() as u64,
        }
    }
}

/// What a matrix is for, which decides how small it may get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A layer outside the language model, or a table that is only looked up.
    Matrix,
    /// A layer of the language model.
    Language,
}

/// Every weight of a model, by what may be done to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Numbers in all.
    pub values: u64,
    /// Tensors in all.
    pub tensors: u64,
    /// Bytes as they were stored.
    pub placed: u64,
    /// Numbers in matrices outside the language model.
    matrices: u64,
    /// Rows and columns of the language model's.
    language: Vec<(usize, usize)>,
}

impl Inventory {
    /// Bytes that these weights take in a precision.
    pub fn bytes(&self, precision: Precision) -> u64 {
        let mut plain = self.values - self.matrices;
        let mut bytes = Stored::Float(precision.matrices()).bytes(self.matrices);
        for &(rows, width) in &self.language {
            let values = (rows * width) as u64;
            plain -= values;
            bytes += precision.language(width).bytes(values);
        }
        bytes + Stored::Float(DType::F32).bytes(plain)
    }

    /// Bytes that this CPU holds besides in a precision, once the language model has spoken: second copies of blocks.
    pub fn regrouped(&self, precision: Precision) -> u64 {
        let products = Products::of_this_cpu();
        self.language
            .iter()
            .map(|&shape| match precision.language(shape.1) {
                Stored::Blocks(kind) => regrouped(kind, shape, products),
                Stored::Float(_) => 0,
            })
            .sum()
    }
}

/// What a CPU has for products of blocks, as far as candle makes use of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Products {
    /// Nothing: blocks are multiplied where they lie.
    Plain,
    /// AVX2.
    Wide,
    /// Dot products of bytes: AVX-512 VNNI or AVX-VNNI.
    Dots,
    /// Those of ARM.
    Arm,
}

impl Products {
    fn of_this_cpu() -> Self {
        let (wide, dots) = of_x86();
        if cfg!(target_arch = "aarch64") {
            Self::Arm
        } else if dots {
            Self::Dots
        } else if wide {
            Self::Wide
        } else {
            Self::Plain
        }
    }
}

/// Whether there is AVX2, and whether there are dot products of bytes.
#[cfg(target_arch = "x86_64")]
fn of_x86() -> (bool, bool) {
    use std::arch::is_x86_feature_detected as has;

    let vnni = (has!("avx512f") && has!("avx512vnni")) || (has!("avx2") && has!("avxvnni"));
    (has!("avx2") && has!("fma"), vnni)
}

#[cfg(not(target_arch = "x86_64"))]
fn of_x86() -> (bool, bool) {
    (false, false)
}

/// Bytes of the second copy that candle 0.11 makes of a matrix in blocks `(rows, width)` at its first product with few rows, and
/// keeps: rows grouped in the order in which the processor reads them, 4-bit blocks with their scales as floats. It cannot be told
/// not to.
fn regrouped(kind: GgmlDType, (rows, width): (usize, usize), products: Products) -> u64 {
    let values = (rows * width) as u64;
    let tiled = rows.is_multiple_of(16) && width.is_multiple_of(256);
    match (products, kind) {
        // Of 16 rows and 256 columns: a scale and a least value for every 32 numbers, and the numbers.
        (Products::Wide | Products::Dots, GgmlDType::Q4K) if tiled => values / 4096 * 3072,
        (Products::Dots, GgmlDType::Q8_0) if tiled => Stored::Blocks(kind).bytes(values),
        (Products::Arm, GgmlDType::Q4K) if rows.is_multiple_of(8) => {
            Stored::Blocks(kind).bytes(values)
        }
        (Products::Arm, GgmlDType::Q4_0 | GgmlDType::Q8_0) if rows.is_multiple_of(4) => {
            Stored::Blocks(kind).bytes(values)
        }
        _ => 0,
    }
}

thread_local! {
    static LEDGER: RefCell<Inventory> = RefCell::default();
}

/// Builds something and says what its layers placed on this thread.
pub fn inventory<T>(build: impl FnOnce() -> T) -> (T, Inventory) {
    let outer = LEDGER.take();
    let built = build();
    let inner = LEDGER.replace(outer);
    (built, inner)
}

/// A matrix `(rows, width)` that was counted as f32 is stored in `bytes` instead.
pub(super) fn place(role: Role, (rows, width): (usize, usize), bytes: usize) {
    LEDGER.with_borrow_mut(|l| {
        let values = (rows * width) as u64;
        match role {
            Role::Matrix => l.matrices += values,
            Role::Language => l.language.push((rows, width)),
        }
        // A matrix that did not come through `stored_in` was never counted.
        l.placed = (l.placed + bytes as u64).saturating_sub(values * 4);
    });
}

/// A tensor has come, and is counted as if as f32, for [`place`] to correct.
pub(super) fn came(values: usize) {
    LEDGER.with_borrow_mut(|l| {
        let values = values as u64;
        l.values += values;
        l.tensors += 1;
        l.placed += values * 4;
    });
}

/// Type of activations in a network built from `vb`: f32 unless it asks for more.
pub(super) fn activations(vb: &VarBuilder<'_>) -> DType {
    match vb.dtype() {
        DType::F64 => DType::F64,
        _ => DType::F32,
    }
}

/// A builder whose tensors are f32 and accounted for, and whose type tells layers how to store their matrices.
pub fn stored_in<'a>(vb: &VarBuilder<'a>, precision: Precision) -> VarBuilder<'a> {
    let device = vb.device().clone();
    let inner = Accounting {
        inner: vb.clone(),
        seen: Mutex::default(),
    };
    VarBuilder::from_backend(Box::new(inner), precision.matrices(), device)
}

/// Passes on f32 tensors and counts each name once.
struct Accounting<'a> {
    inner: VarBuilder<'a>,
    seen: Mutex<BTreeSet<String>>,
}

impl Accounting<'_> {
    fn count(&self, name: &str, tensor: &Tensor) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.insert(name.to_owned()) {
            came(tensor.elem_count());
        }
    }
}

impl SimpleBackend for Accounting<'_> {
    fn get(&self, shape: Shape, name: &str, init: Init, _: DType, _: &Device) -> Result<Tensor> {
        let tensor = self
            .inner
            .get_with_hints_dtype(shape, name, init, DType::F32)?;
        self.count(name, &tensor);
        Ok(tensor)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, _: &Device) -> Result<Tensor> {
        if dtype == DType::U8 {
            // Blocks, which whoever takes them accounts for.
            return self.inner.get_unchecked_dtype(name, dtype);
        }
        let tensor = self.inner.get_unchecked_dtype(name, DType::F32)?;
        self.count(name, &tensor);
        Ok(tensor)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.inner.contains_tensor(name)
    }
}

/// Hands out zeros that take no memory: for learning the shapes that a description asks for, however large.
pub fn shapes_only() -> VarBuilder<'static> {
    VarBuilder::from_backend(Box::new(ShapesOnly), DType::F32, Device::Cpu)
}

struct ShapesOnly;

impl SimpleBackend for ShapesOnly {
    fn get(&self, shape: Shape, _: &str, _: Init, dtype: DType, device: &Device) -> Result<Tensor> {
        // A scalar broadcasts to anything, a vector of one to no scalar.
        Tensor::zeros((), dtype, device)?.broadcast_as(shape)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> Result<Tensor> {
        candle_core::bail!("tensor {name} has no shape of its own here")
    }

    fn contains_tensor(&self, _: &str) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::nn::{
        clip::Clip,
        parity::Case,
        phi3::{KvCache, Phi3},
    };

    fn case(name: &str) -> Case {
        let path = format!("tests/fixtures/{name}.safetensors");
        Case::read(Path::new(&path)).unwrap()
    }

    /// Root of the summed squares of the difference, relative to that of the values.
    fn off(got: &Tensor, want: &Tensor) -> f32 {
        let norm = |t: &Tensor| {
            let squares = t.sqr().unwrap().sum_all().unwrap();
            squares.to_scalar::<f32>().unwrap().sqrt()
        };
        norm(&(got - want).unwrap()) / norm(want)
    }

    /// Logits of a prompt and of one token behind it, which go through different products.
    fn speak(net: &Phi3, ids: &[u32]) -> (Tensor, Tensor) {
        let mut cache = KvCache::new();
        let embeds = net.embed(ids).unwrap().unsqueeze(0).unwrap();
        let prompt = net.forward(&embeds, &mut cache).unwrap();
        cache.freeze().unwrap();
        let next = net.embed(&ids[..1]).unwrap().unsqueeze(0).unwrap();
        let token = net.forward(&next, &mut cache).unwrap();
        (net.logits(&prompt).unwrap(), net.logits(&token).unwrap())
    }

    #[test]
    fn every_precision_stays_near_full_width() {
        let (words, eyes) = (case("phi3"), case("clip_vision"));
        let cfg = words.value("model").unwrap();
        let ids: Vec<u32> = words
            .ints("input.ids")
            .unwrap()
            .into_iter()
            .map(|i| i as u32)
            .collect();
        let exact = speak(&Phi3::new(&cfg, words.var_builder("")).unwrap(), &ids);
        let clip_cfg = eyes.value("model").unwrap();
        let images = eyes.float("input.images").unwrap();
        let clip = |vb: VarBuilder<'_>| {
            let net = Clip::new(&clip_cfg, vb.pp("vision_tower")).unwrap();
            net.forward(&images).unwrap()
        };
        let plain = eyes.var_builder("model.image_vision_tower.");
        let seen = clip(plain.clone());
        for (precision, towers, language) in [
            (Precision::F32, 1e-6, 1e-6),
            (Precision::F16, 2e-3, 2e-3),
            (Precision::Bf16, 2e-2, 2e-2),
            (Precision::Q8, 2e-3, 5e-2),
            (Precision::Q4, 2e-3, 0.5),
        ] {
            let vb = stored_in(&words.var_builder(""), precision);
            let got = speak(&Phi3::with_precision(&cfg, precision, vb).unwrap(), &ids);
            let (a, b) = (off(&got.0, &exact.0), off(&got.1, &exact.1));
            assert!(a < language && b < language, "{precision}: {a} {b}");
            // A narrower width that changes nothing at all was not in use.
            assert!(
                precision == Precision::F32 || (a > 0.0 && b > 0.0),
                "{precision}"
            );
            let a = off(&clip(stored_in(&plain, precision)), &seen);
            assert!(a < towers, "{precision}: {a}");
        }
    }

    /// Against candle's own types: 16 rows of 256 numbers are 3 072 bytes in 4 bits, and as large as before in 8.
    #[test]
    fn second_copies_of_blocks_are_counted() {
        let (q8, q4k, q4) = (GgmlDType::Q8_0, GgmlDType::Q4K, GgmlDType::Q4_0);
        let stored = |kind| Stored::Blocks(kind).bytes(16 * 256);
        let copy = |kind, products| regrouped(kind, (16, 256), products);
        assert_eq!((stored(q8), stored(q4k)), (4352, 2304));
        assert_eq!(copy(q8, Products::Dots), 4352);
        assert_eq!(copy(q4k, Products::Dots), 3072);
        assert_eq!(
            (copy(q8, Products::Wide), copy(q4k, Products::Wide)),
            (0, 3072)
        );
        assert_eq!(
            (copy(q4, Products::Dots), copy(q4, Products::Arm)),
            (0, 2304)
        );
        assert_eq!(
            (copy(q8, Products::Arm), copy(q4k, Products::Arm)),
            (4352, 2304)
        );
        for kind in [q8, q4k, q4] {
            assert_eq!(copy(kind, Products::Plain), 0);
        }
        // What does not divide into tiles is multiplied where it lies.
        assert_eq!(regrouped(q8, (24, 256), Products::Dots), 0);
        let all = Inventory {
            language: vec![(32, 512)],
            ..Inventory::default()
        };
        assert_eq!(all.regrouped(Precision::F16), 0);
        let here = regrouped(q4k, (32, 512), Products::of_this_cpu());
        assert_eq!(all.regrouped(Precision::Q4), here);
    }

    #[test]
    fn names_are_read_and_others_refused() {
        for precision in Precision::ALL {
            assert_eq!(precision.name().parse(), Ok(precision));
        }
        let error = "f64".parse::<Precision>().unwrap_err();
        assert!(error.contains("f32, f16, bf16, q8 or q4"), "{error}");
    }

    #[test]
    fn rows_that_do_not_divide_into_blocks_stay_floats() {
        assert_eq!(Precision::Q4.language(512), Stored::Blocks(GgmlDType::Q4K));
        assert_eq!(Precision::Q4.language(160), Stored::Blocks(GgmlDType::Q4_0));
        assert_eq!(Precision::Q8.language(160), Stored::Blocks(GgmlDType::Q8_0));
        assert_eq!(Precision::Q4.language(56), Stored::Float(DType::F16));
        assert_eq!(Precision::Bf16.language(64), Stored::Float(DType::BF16));
        // Eighteen bytes for thirty-two numbers.
        assert_eq!(Precision::Q4.language(32).bytes(64), 36);
    }
}
