//! Writes the tensors of several files into one safetensors file, a tensor at a time.
//!
//! The header is known before any number is read, so the file is written from front to back and no more than one tensor
//! is in memory. Tensors are put in the order of the files that they come from, so that each of those is read once from
//! front to back. Which tensors are stored how, and where the output goes, is left to others.

use std::{
    collections::BTreeMap,
    io::{BufWriter, Write},
};

use candle_core::Device;
use half::{bf16, f16};
use rayon::prelude::*;

use super::{WeightError, blocks::Blocks, element::Element, set::TensorSet};

/// How numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// 16-bit brain floats.
    BF16,
    /// Blocks of small integers, for matrices whose rows are whole blocks.
    Blocks(Blocks),
}

impl Storage {
    fn element(self) -> Element {
        match self {
            Self::F32 => Element::F32,
            Self::F16 => Element::F16,
            Self::BF16 => Element::BF16,
            Self::Blocks(blocks) => Element::Blocks(blocks),
        }
    }
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Tensors.
    pub tensors: usize,
    /// Bytes of the file.
    pub bytes: u64,
}

/// Little-endian floats of one type as those of another.
fn convert(name: &str, bytes: &[u8], from: Element, to: Storage) -> Result<Vec<u8>, WeightError> {
    if let (Element::Blocks(_), _) | (_, Storage::Blocks(_)) = (from, to) {
        return through_floats(name, bytes, from, to);
    }
    let not_float = || WeightError::NotFloat {
        name: name.into(),
        found: from.name(),
    };
    let (count, width) = match from {
        Element::F64 => (bytes.len() / 8, 8),
        Element::F32 => (bytes.len() / 4, 4),
        Element::F16 | Element::BF16 => (bytes.len() / 2, 2),
        _ => return Err(not_float()),
    };
    let value = |b: &[u8]| match (from, b) {
        (Element::F64, &[a, b, c, d, e, f, g, h]) => {
            f64::from_le_bytes([a, b, c, d, e, f, g, h]) as f32
        }
        (Element::F32, &[a, b, c, d]) => f32::from_le_bytes([a, b, c, d]),
        (Element::F16, &[a, b]) => f16::from_le_bytes([a, b]).to_f32(),
        (_, &[a, b]) => bf16::from_le_bytes([a, b]).to_f32(),
        _ => 0.0,
    };
    // A run of numbers at a time, so that all cores take part.
    const RUN: usize = 1 << 14;
    let wide = if to == Storage::F32 { 4 } else { 2 };
    let mut out = vec![0_u8; count * wide];
    let fits = out
        .par_chunks_mut(RUN * wide)
        .zip(bytes.par_chunks(RUN * width))
        .map(|(out, bytes)| {
            let mut fits = true;
            for (o, b) in out.chunks_exact_mut(wide).zip(bytes.chunks_exact(width)) {
                let v = value(b);
                match to {
                    Storage::F32 => o.copy_from_slice(&v.to_le_bytes()),
                    Storage::BF16 => o.copy_from_slice(&bf16::from_f32(v).to_le_bytes()),
                    Storage::Blocks(_) => {}
                    Storage::F16 => {
                        let h = f16::from_f32(v);
                        fits &= h.is_finite();
                        o.copy_from_slice(&h.to_le_bytes());
                    }
                }
            }
            fits
        })
        .reduce(|| true, |a, b| a && b);
    if fits {
        Ok(out)
    } else {
        Err(WeightError::Overflow { name: name.into() })
    }
}

/// [`convert`] where one side is blocks: by way of floats.
fn through_floats(
    name: &str,
    bytes: &[u8],
    from: Element,
    to: Storage,
) -> Result<Vec<u8>, WeightError> {
    let failed = |e: candle_core::Error| WeightError::Write {
        reason: format!("tensor {name}: {e}"),
    };
    let floats = match from {
        Element::Blocks(blocks) => {
            let n = bytes.len() / blocks.bytes() * blocks.numbers();
            let blocks = blocks.unpack(bytes, &[n], &Device::Cpu).map_err(failed)?;
            let floats = blocks.dequantize(&Device::Cpu).map_err(failed)?;
            let floats = floats.to_vec1::<f32>().map_err(failed)?;
            floats.iter().flat_map(|v| v.to_le_bytes()).collect()
        }
        _ => convert(name, bytes, from, Storage::F32)?,
    };
    match to {
        Storage::Blocks(blocks) => {
            let numbers = floats.as_chunks::<4>().0;
            let values: Vec<f32> = numbers.iter().map(|b| f32::from_le_bytes(*b)).collect();
            let packed = blocks.pack(&values).map_err(failed)?;
            // Scales are half floats, which may be too small for them.
            if blocks.all_finite(&packed) {
                Ok(packed)
            } else {
                Err(WeightError::Overflow { name: name.into() })
            }
        }
        to => convert(name, &floats, Element::F32, to),
    }
}

/// Writes all tensors of a set as one safetensors file. `extra` are files that go with them, stored as bytes under their
/// names. `progress` is told how many bytes of how many are written, and ends the work by returning `false`: then the
/// answer is `None` and what was written is worthless.
///
/// # Errors
/// [`WeightError`] if a tensor cannot be read, holds anything but finite numbers, or `out` takes no more.
pub fn write(
    set: &TensorSet,
    out: impl Write,
    storage: impl Fn(&str) -> Storage,
    metadata: &BTreeMap<String, String>,
    extra: &BTreeMap<String, Vec<u8>>,
    mut progress: impl FnMut(u64, u64) -> bool,
) -> Result<Option<Written>, WeightError> {
    let failed = |e: &dyn std::fmt::Display| WeightError::Write {
        reason: e.to_string(),
    };
    let order = set.by_file();
    let (header, total) = header(set, &order, &storage, metadata, extra)?;
    let mut out = BufWriter::with_capacity(1 << 20, out);
    let mut written = header.len() as u64;
    out.write_all(&header).map_err(|e| failed(&e))?;
    for &name in &order {
        if !progress(written, total) {
            return Ok(None);
        }
        let bytes = set.bytes(name)?;
        let from = set.info(name).map_or(Element::U8, |i| i.element);
        let to = storage(name);
        let bytes = if from == to.element() {
            bytes
        } else {
            convert(name, &bytes, from, to)?.into()
        };
        out.write_all(&bytes).map_err(|e| failed(&e))?;
        written += bytes.len() as u64;
    }
    for bytes in extra.values() {
        out.write_all(bytes).map_err(|e| failed(&e))?;
    }
    out.flush().map_err(|e| failed(&e))?;
    progress(total, total);
    Ok(Some(Written {
        tensors: order.len(),
        bytes: total,
    }))
}

/// The file's beginning, and the length of all of it.
fn header(
    set: &TensorSet,
    order: &[&str],
    storage: &impl Fn(&str) -> Storage,
    metadata: &BTreeMap<String, String>,
    extra: &BTreeMap<String, Vec<u8>>,
) -> Result<(Vec<u8>, u64), WeightError> {
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".into(), serde_json::json!(metadata));
    let mut at = 0_usize;
    let mut put = |name: &str, kind: &str, shape: &[usize], length: usize| {
        let offsets = [at, at + length];
        at += length;
        let entry = serde_json::json!({"dtype": kind, "shape": shape, "data_offsets": offsets});
        header.insert(name.to_owned(), entry);
    };
    for &name in order {
        let element = storage(name).element();
        let info = set.info(name);
        let length = info.and_then(|i| element.bytes(i.count()));
        let (Some(info), Some(length)) = (info, length) else {
            return Err(WeightError::Write {
                reason: format!("tensor {name} has an impossible size"),
            });
        };
        match element {
            Element::Blocks(blocks) => {
                let rows = info.shape.first().copied().unwrap_or(1).max(1);
                put(&blocks.tagged(name), "U8", &[rows, length / rows], length);
            }
            element => put(name, element.name(), &info.shape, length),
        }
    }
    for (name, bytes) in extra {
        put(name, "U8", &[bytes.len()], bytes.len());
    }
    let mut text = serde_json::to_vec(&header).map_err(|e| WeightError::Write {
        reason: e.to_string(),
    })?;
    text.resize((text.len() + 8).next_multiple_of(64) - 8, b' ');
    let mut out = (text.len() as u64).to_le_bytes().to_vec();
    out.extend(text);
    let total = (out.len() + at) as u64;
    Ok((out, total))
}
