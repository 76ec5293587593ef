//! Number types of weight files: names, widths, and whether a run of them is finite.

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use super::blocks::Blocks;

/// A number type in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Element {
    /// 64-bit float.
    F64,
    /// 32-bit float.
    F32,
    /// 16-bit float.
    F16,
    /// 16-bit brain float.
    BF16,
    /// 64-bit integer.
    I64,
    /// 32-bit integer.
    I32,
    /// 16-bit integer.
    I16,
    /// 8-bit integer.
    I8,
    /// Byte.
    U8,
    /// Truth value, a byte each.
    Bool,
    /// Blocks of small integers.
    Blocks(Blocks),
    /// Something that no network uses, with bits per number.
    Other(usize),
}

impl Element {
    /// Of a PyTorch storage class such as `HalfStorage`.
    pub(super) fn of_storage(name: &str) -> Option<Self> {
        Some(match name {
            "DoubleStorage" => Self::F64,
            "FloatStorage" => Self::F32,
            "HalfStorage" => Self::F16,
            "BFloat16Storage" => Self::BF16,
            "LongStorage" => Self::I64,
            "IntStorage" => Self::I32,
            "ShortStorage" => Self::I16,
            "CharStorage" => Self::I8,
            "ByteStorage" => Self::U8,
            "BoolStorage" => Self::Bool,
            _ => return None,
        })
    }

    /// Of a PyTorch number type such as `float16`.
    pub(super) fn of_number_type(name: &str) -> Option<Self> {
        Some(match name {
            "float64" | "double" => Self::F64,
            "float32" | "float" => Self::F32,
            "float16" | "half" => Self::F16,
            "bfloat16" => Self::BF16,
            "int64" | "long" => Self::I64,
            "int32" | "int" => Self::I32,
            "int16" | "short" => Self::I16,
            "int8" => Self::I8,
            "uint8" => Self::U8,
            "bool" => Self::Bool,
            _ => return None,
        })
    }

    /// Of a safetensors file.
    pub(super) fn of_safetensors(dtype: safetensors::Dtype) -> Self {
        use safetensors::Dtype;
        match dtype {
            Dtype::F64 => Self::F64,
            Dtype::F32 => Self::F32,
            Dtype::F16 => Self::F16,
            Dtype::BF16 => Self::BF16,
            Dtype::I64 => Self::I64,
            Dtype::I32 => Self::I32,
            Dtype::I16 => Self::I16,
            Dtype::I8 => Self::I8,
            Dtype::U8 => Self::U8,
            Dtype::BOOL => Self::Bool,
            other => Self::Other(other.bitsize()),
        }
    }

    /// As safetensors files call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F64 => "F64",
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::I64 => "I64",
            Self::I32 => "I32",
            Self::I16 => "I16",
            Self::I8 => "I8",
            Self::U8 => "U8",
            Self::Bool => "BOOL",
            Self::Blocks(blocks) => blocks.name(),
            Self::Other(_) => "another number type",
        }
    }

    /// Bytes of `n` numbers; `None` if that overflows.
    pub fn bytes(self, n: usize) -> Option<usize> {
        let width = match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::BF16 | Self::I16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
            Self::Blocks(blocks) => return blocks.bytes_of(n),
            Self::Other(bits) => return Some(n.checked_mul(bits)?.div_ceil(8)),
        };
        n.checked_mul(width)
    }

    /// Whether it stands for real numbers: floats, or blocks that become floats.
    pub fn is_real(self) -> bool {
        self.float().is_some() || matches!(self, Self::Blocks(_))
    }

    /// Candle's name for a floating-point type; `None` for others.
    pub fn float(self) -> Option<DType> {
        match self {
            Self::F64 => Some(DType::F64),
            Self::F32 => Some(DType::F32),
            Self::F16 => Some(DType::F16),
            Self::BF16 => Some(DType::BF16),
            _ => None,
        }
    }
}

/// Whether each of these little-endian numbers is finite; integers always are.
pub fn all_finite(bytes: &[u8], element: Element) -> bool {
    // A number is infinite or none exactly when all bits of its exponent are set.
    const CHUNK: usize = 1 << 16;
    let pairs = |mask: u16| {
        bytes.par_chunks(CHUNK).all(|part| {
            let mut bad = false;
            for b in part.as_chunks::<2>().0 {
                bad |= u16::from_le_bytes(*b) & mask == mask;
            }
            !bad
        })
    };
    match element {
        Element::F16 => pairs(0x7c00),
        Element::BF16 => pairs(0x7f80),
        Element::F32 => bytes.par_chunks(CHUNK).all(|part| {
            let mut bad = false;
            for b in part.as_chunks::<4>().0 {
                bad |= u32::from_le_bytes(*b) & 0x7f80_0000 == 0x7f80_0000;
            }
            !bad
        }),
        Element::F64 => bytes
            .as_chunks::<8>()
            .0
            .iter()
            .all(|b| f64::from_le_bytes(*b).is_finite()),
        Element::Blocks(blocks) => blocks.all_finite(bytes),
        _ => true,
    }
}

/// Little-endian floats, or blocks, as a tensor of `dtype`.
///
/// # Errors
/// If the type is neither, or the bytes are not the shape's.
pub fn to_tensor(
    bytes: &[u8],
    element: Element,
    shape: &[usize],
    dtype: DType,
    device: &Device,
) -> candle_core::Result<Tensor> {
    if let Element::Blocks(blocks) = element {
        let floats = blocks
            .unpack(bytes, shape, &Device::Cpu)?
            .dequantize(&Device::Cpu)?;
        return floats.to_dtype(dtype)?.to_device(device);
    }
    let Some(stored) = element.float() else {
        candle_core::bail!("{} are no floating-point numbers", element.name());
    };
    Tensor::from_raw_buffer(bytes, stored, shape, &Device::Cpu)?
        .to_dtype(dtype)?
        .to_device(device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_bad_number_is_found_in_every_type() {
        let n = 70_000;
        for at in [0, 33_333, n - 1] {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut values = vec![1.5_f32; n];
                values[at] = bad;
                let f32s: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
                let f16s: Vec<u8> = values
                    .iter()
                    .flat_map(|v| half::f16::from_f32(*v).to_le_bytes())
                    .collect();
                let bf16s: Vec<u8> = values
                    .iter()
                    .flat_map(|v| half::bf16::from_f32(*v).to_le_bytes())
                    .collect();
                let f64s: Vec<u8> = values
                    .iter()
                    .flat_map(|v| f64::from(*v).to_le_bytes())
                    .collect();
                for (bytes, element) in [
                    (&f32s, Element::F32),
                    (&f16s, Element::F16),
                    (&bf16s, Element::BF16),
                    (&f64s, Element::F64),
                ] {
                    assert!(!all_finite(bytes, element), "{element:?} {bad} at {at}");
                }
            }
        }
        let largest: Vec<u8> = [f32::MAX, f32::MIN, 0.0, f32::MIN_POSITIVE]
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect();
        assert!(all_finite(&largest, Element::F32));
        assert!(all_finite(&[0xff; 16], Element::I64));
    }

    #[test]
    fn only_floats_become_tensors() {
        let error = to_tensor(&[0; 8], Element::I64, &[1], DType::F32, &Device::Cpu)
            .unwrap_err()
            .to_string();
        assert!(error.contains("I64"), "{error}");
        let half = half::f16::from_f32(0.5).to_le_bytes();
        let t = to_tensor(&half, Element::F16, &[1], DType::F32, &Device::Cpu).unwrap();
        assert_eq!(t.to_vec1::<f32>().unwrap(), [0.5]);
    }
}
