//! Matrices in blocks of small integers, as ggml lays them out: what such blocks are called in files, and how floats become
//! blocks and floats again.
//!
//! A safetensors file has no type for them. There a matrix `NAME (rows, columns)` is a tensor `NAME.q4_k` of bytes,
//! `(rows, bytes of a row)`; [`super::set`] gives it its own name and shape back. Which matrices are stored so is left to
//! [`crate::nn::precision`].

use std::borrow::Cow;

use candle_core::{
    Device, Result, Tensor, bail,
    quantized::{GgmlDType, QStorage, QTensor},
};
use rayon::prelude::*;

/// A layout of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Blocks {
    /// 32 numbers of 8 bits with a scale.
    Q8,
    /// 256 numbers of 4 bits with scales and minima in eights.
    Q4K,
    /// 32 numbers of 4 bits with a scale.
    Q4,
}

impl Blocks {
    /// All layouts.
    pub const ALL: [Self; 3] = [Self::Q8, Self::Q4K, Self::Q4];

    /// The last part of a tensor's name in a file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Q8 => "q8_0",
            Self::Q4K => "q4_k",
            Self::Q4 => "q4_0",
        }
    }

    /// The layout of a candle type; `None` for types that files do not hold.
    pub fn of(kind: GgmlDType) -> Option<Self> {
        Self::ALL.into_iter().find(|b| b.kind() == kind)
    }

    /// Candle's type.
    pub fn kind(self) -> GgmlDType {
        match self {
            Self::Q8 => GgmlDType::Q8_0,
            Self::Q4K => GgmlDType::Q4K,
            Self::Q4 => GgmlDType::Q4_0,
        }
    }

    /// Numbers of a block.
    pub fn numbers(self) -> usize {
        self.kind().block_size()
    }

    /// Bytes of a block.
    pub fn bytes(self) -> usize {
        self.kind().type_size()
    }

    /// Bytes of `n` numbers; `None` if they are no whole number of blocks, or too many.
    pub fn bytes_of(self, n: usize) -> Option<usize> {
        let whole = n.is_multiple_of(self.numbers());
        (n / self.numbers())
            .checked_mul(self.bytes())
            .filter(|_| whole)
    }

    /// What a matrix is called in a file.
    pub fn tagged(self, name: &str) -> String {
        format!("{name}.{}", self.name())
    }

    /// The matrix's own name and layout, from its name in a file; `None` for other tensors.
    pub fn untagged(name: &str) -> Option<(&str, Self)> {
        let (own, tag) = name.rsplit_once('.')?;
        let blocks = Self::ALL.into_iter().find(|b| b.name() == tag)?;
        Some((own, blocks))
    }

    /// The shape of a matrix from that of its bytes; `None` if they are no whole blocks.
    pub(super) fn shape_of(self, stored: &[usize]) -> Option<Vec<usize>> {
        let &[rows, width] = stored else { return None };
        width
            .is_multiple_of(self.bytes())
            .then(|| vec![rows, width / self.bytes() * self.numbers()])
    }

    /// Whether every scale of a run of blocks is finite; the integers always are.
    pub(super) fn all_finite(self, bytes: &[u8]) -> bool {
        // The scales are half floats at the front of a block.
        let scales = if self == Self::Q4K { 2 } else { 1 };
        let finite = |b: &[u8; 2]| half::f16::from_le_bytes(*b).is_finite();
        bytes
            .par_chunks_exact(self.bytes())
            .all(|block| block.as_chunks::<2>().0.iter().take(scales).all(finite))
    }

    /// Numbers as blocks.
    ///
    /// # Errors
    /// If they are no whole number of blocks.
    pub fn pack(self, values: &[f32]) -> Result<Vec<u8>> {
        if !values.len().is_multiple_of(self.numbers()) {
            bail!(
                "{} numbers are no whole number of blocks of {}",
                values.len(),
                self.numbers()
            );
        }
        // Blocks know nothing of each other: a run of them at a time, so that all cores take part.
        let run = self.numbers() << 8;
        let parts: Vec<Vec<u8>> = values
            .par_chunks(run)
            .map(|part| {
                let part = Tensor::from_slice(part, part.len(), &Device::Cpu)?;
                Ok(QTensor::quantize(&part, self.kind())?.data()?.into_owned())
            })
            .collect::<Result<_>>()?;
        Ok(parts.concat())
    }

    /// Blocks as a matrix of `shape` on a device.
    ///
    /// # Errors
    /// If the bytes are not the shape's.
    pub fn unpack(self, bytes: &[u8], shape: &[usize], device: &Device) -> Result<QTensor> {
        if self.bytes_of(shape.iter().product()) != Some(bytes.len()) {
            bail!("{} bytes of {} for {shape:?}", bytes.len(), self.name());
        }
        // Blocks hold half floats, and a file may put them at an odd place.
        let aligned = (bytes.as_ptr() as usize).is_multiple_of(align_of::<u64>());
        let bytes = match aligned {
            true => Cow::Borrowed(bytes),
            false => Cow::Owned(bytes.to_vec()),
        };
        let storage = QStorage::from_data(bytes, device, self.kind())?;
        QTensor::new(storage, shape)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use candle_core::DType;

    use super::*;
    use crate::nn::weights::{
        WeightError, WeightStore,
        bundle::{self, Storage},
        element::Element,
        file::TensorFile,
        set::TensorSet,
    };

    #[test]
    fn blocks_come_back_as_near_as_their_bits_allow() -> Result<()> {
        let values: Vec<f32> = (0..4 * 512).map(|i| (i as f32 * 0.37).sin()).collect();
        for (blocks, most) in [(Blocks::Q8, 0.01), (Blocks::Q4K, 0.12), (Blocks::Q4, 0.15)] {
            let bytes = blocks.pack(&values)?;
            assert_eq!(Some(bytes.len()), blocks.bytes_of(values.len()));
            let width = bytes.len() / 4;
            assert_eq!(blocks.shape_of(&[4, width]), Some(vec![4, 512]));
            let back = blocks.unpack(&bytes, &[4, 512], &Device::Cpu)?;
            let back = back
                .dequantize(&Device::Cpu)?
                .flatten_all()?
                .to_vec1::<f32>()?;
            let worst = values.iter().zip(&back).map(|(a, b)| (a - b).abs());
            let worst = worst.fold(0.0, f32::max);
            assert!(worst > 0.0 && worst < most, "{blocks:?}: {worst}");
            // All at once gives the very same blocks.
            let whole = Tensor::from_slice(&values, (4, 512), &Device::Cpu)?;
            let whole = QTensor::quantize(&whole, blocks.kind())?;
            assert!(whole.data()? == bytes, "{blocks:?}");
            assert!(blocks.all_finite(&bytes));
            let mut bad = bytes.clone();
            let at = 2 * blocks.bytes();
            bad[at..at + 2].copy_from_slice(&half::f16::NAN.to_le_bytes());
            assert!(!blocks.all_finite(&bad), "{blocks:?}");
            assert!(blocks.unpack(&bytes[1..], &[4, 512], &Device::Cpu).is_err());
            // At an odd address, too.
            let shifted = [&[0], bytes.as_slice()].concat();
            let back = blocks.unpack(&shifted[1..], &[4, 512], &Device::Cpu)?;
            assert!(back.data()? == bytes);
        }
        assert!(Blocks::Q8.pack(&[0.0; 31]).is_err());
        Ok(())
    }

    #[test]
    fn names_say_the_layout() {
        for blocks in Blocks::ALL {
            let name = blocks.tagged("lm_head.weight");
            assert_eq!(Blocks::untagged(&name), Some(("lm_head.weight", blocks)));
        }
        assert_eq!(Blocks::untagged("lm_head.weight"), None);
        assert_eq!(Blocks::Q8.shape_of(&[4, 35]), None);
    }

    /// A matrix of floats in a file of its own, and the same rewritten in blocks.
    fn rewritten(dir: &std::path::Path, scale: f32) -> std::result::Result<TensorSet, WeightError> {
        let open = |path: &std::path::Path| {
            let mut set = TensorSet::new();
            set.add(TensorFile::open(path)?, |name| Some(name.to_owned()));
            Ok::<_, WeightError>(set)
        };
        let values: Vec<f32> = (0..4 * 512)
            .map(|i| scale * (i as f32 * 0.37).sin())
            .collect();
        let matrix = Tensor::from_vec(values, (4, 512), &Device::Cpu).expect("it fits");
        let floats = dir.join("floats.safetensors");
        let named = std::collections::HashMap::from([("lm_head.weight", matrix)]);
        candle_core::safetensors::save(&named, &floats).expect("written");
        let blocks = dir.join("blocks.safetensors");
        let out = std::fs::File::create(&blocks).expect("written");
        let (texts, extra) = (BTreeMap::new(), BTreeMap::new());
        let storage = |_: &str| Storage::Blocks(Blocks::Q4K);
        bundle::write(&open(&floats)?, out, storage, &texts, &extra, |_, _| true)?;
        open(&blocks)
    }

    #[test]
    fn a_matrix_in_blocks_has_its_own_name_and_shape_and_can_be_had_as_it_is() {
        let dir = tempfile::tempdir().expect("a folder");
        let set = rewritten(dir.path(), 1.0).expect("written");
        let info = set.info("lm_head.weight").expect("it is there");
        assert_eq!(info.element, Element::Blocks(Blocks::Q4K));
        assert_eq!(info.shape, [4, 512]);
        let store = WeightStore::from_files(set, &Device::Cpu);
        let vb = store.var_builder();
        assert!(vb.contains_tensor("lm_head.weight.q4_k"));
        assert!(!vb.contains_tensor("lm_head.weight.q8_0"));
        assert_eq!(store.unused(|_| false), ["lm_head.weight"]);
        let bytes = vb.get_unchecked_dtype("lm_head.weight.q4_k", DType::U8);
        assert_eq!(bytes.expect("read").dims(), [4 * 2 * 144]);
        assert!(store.check_all_used(|_| false).is_ok());
        let floats = vb.get((4, 512), "lm_head.weight").expect("read");
        let off = floats.get(0).and_then(|row| row.get(1)?.to_scalar::<f32>());
        assert!((off.expect("a number") - 0.37_f32.sin()).abs() < 0.1);
    }

    #[test]
    fn blocks_that_are_damaged_or_too_small_for_their_numbers_are_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let error = rewritten(dir.path(), 1e9).expect_err("no half float is so large");
        assert!(matches!(error, WeightError::Overflow { .. }), "{error}");
        let path = dir.path().join("blocks.safetensors");
        rewritten(dir.path(), 1.0).expect("written");
        let mut bytes = std::fs::read(&path).expect("read");
        let at = bytes.len() - 144;
        bytes[at..at + 2].copy_from_slice(&half::f16::INFINITY.to_le_bytes());
        std::fs::write(&path, &bytes).expect("written");
        let mut set = TensorSet::new();
        set.add(TensorFile::open(&path).expect("opened"), |n| {
            Some(n.to_owned())
        });
        let error = set
            .tensor("lm_head.weight", DType::F32, &Device::Cpu)
            .expect_err("a scale is infinite");
        assert!(matches!(error, WeightError::NotFinite { .. }), "{error}");
    }
}
