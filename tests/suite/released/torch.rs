//! Files as `torch.save` writes them, for tests: the same archive, the same pickle instructions.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
};

use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

/// Number types that are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    F32,
    F16,
    BF16,
    I64,
}

impl Kind {
    fn storage(self) -> &'static str {
        match self {
            Self::F32 => "FloatStorage",
            Self::F16 => "HalfStorage",
            Self::BF16 => "BFloat16Storage",
            Self::I64 => "LongStorage",
        }
    }

    pub(crate) fn width(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::I64 => 8,
        }
    }

    /// Little-endian numbers of this type.
    pub(crate) fn bytes(self, values: &[f32]) -> Vec<u8> {
        let half = |v: f32| half::f16::from_f32(v).to_le_bytes();
        let brain = |v: f32| half::bf16::from_f32(v).to_le_bytes();
        match self {
            Self::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Self::F16 => values.iter().flat_map(|v| half(*v)).collect(),
            Self::BF16 => values.iter().flat_map(|v| brain(*v)).collect(),
            Self::I64 => values
                .iter()
                .flat_map(|v| (*v as i64).to_le_bytes())
                .collect(),
        }
    }
}

/// Where a tensor's numbers come from.
#[derive(Clone)]
pub(crate) enum Data {
    /// These, row-major.
    Values(Vec<f32>),
    /// These, row-major, stored column by column and transposed on reading; of a matrix.
    Transposed(Vec<f32>),
    /// A block of noise over and over, around a mean: for files that are too large to think about.
    Noise { mean: f32, std: f32 },
    /// Those of another tensor of the same file.
    Alias(String),
}

/// A tensor to be written.
#[derive(Clone)]
pub(crate) struct Item {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) kind: Kind,
    pub(crate) data: Data,
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.push(b'X');
    out.extend((text.len() as u32).to_le_bytes());
    out.extend(text.as_bytes());
}

fn int(out: &mut Vec<u8>, n: usize) {
    if let Ok(n) = u8::try_from(n) {
        out.extend([b'K', n]);
    } else if let Ok(n) = i32::try_from(n) {
        out.push(b'J');
        out.extend(n.to_le_bytes());
    } else {
        out.extend([0x8a, 8]);
        out.extend((n as i64).to_le_bytes());
    }
}

fn ints(out: &mut Vec<u8>, items: &[usize]) {
    out.push(b'(');
    for &n in items {
        int(out, n);
    }
    out.push(b't');
}

fn strides(item: &Item) -> Vec<usize> {
    if let (Data::Transposed(_), [rows, _]) = (&item.data, item.shape.as_slice()) {
        return vec![1, *rows];
    }
    let mut all = vec![1; item.shape.len()];
    for i in (1..item.shape.len()).rev() {
        all[i - 1] = all[i] * item.shape[i];
    }
    all
}

/// Puts a number in front of each storage key.
fn key_of(items: &[Item], at: usize) -> usize {
    match &items[at].data {
        Data::Alias(of) => items.iter().position(|i| i.name == *of).unwrap(),
        _ => at,
    }
}

/// The pickle of a dictionary of tensors, inside of another one if `wrapper` names its entry.
pub(crate) fn pickle(wrapper: Option<&str>, items: &[Item]) -> Vec<u8> {
    let mut out = b"\x80\x02".to_vec();
    if let Some(wrapper) = wrapper {
        // Training programs save more than tensors.
        out.extend(b"}(");
        text(&mut out, "epoch");
        out.extend(b"K\x07");
        text(&mut out, "loss");
        out.push(b'G');
        out.extend(0.5_f64.to_be_bytes());
        text(&mut out, wrapper);
    }
    out.extend(b"ccollections\nOrderedDict\n)R(");
    for (at, item) in items.iter().enumerate() {
        text(&mut out, &item.name);
        out.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        text(&mut out, "storage");
        out.extend(format!("ctorch\n{}\n", item.kind.storage()).as_bytes());
        text(&mut out, &key_of(items, at).to_string());
        text(&mut out, "cpu");
        int(&mut out, item.shape.iter().product());
        out.extend(b"tQK\x00");
        ints(&mut out, &item.shape);
        ints(&mut out, &strides(item));
        out.extend(b"\x89ccollections\nOrderedDict\n)RtR");
    }
    out.push(b'u');
    if wrapper.is_some() {
        out.push(b'u');
    }
    out.push(b'.');
    out
}

/// A megabyte of numbers of a bell-like shape.
fn noise(kind: Kind, mean: f32, std: f32) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let mut uniform = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as f32 / u32::MAX as f32
    };
    let values: Vec<f32> = (0..(1 << 20) / kind.width())
        .map(|_| mean + std * 1.7 * (uniform() + uniform() + uniform() + uniform() - 2.0))
        .collect();
    kind.bytes(&values)
}

fn write_numbers(out: &mut impl Write, item: &Item) -> std::io::Result<()> {
    match &item.data {
        Data::Values(values) => out.write_all(&item.kind.bytes(values)),
        Data::Transposed(values) => {
            let (rows, columns) = (item.shape[0], item.shape[1]);
            let turned: Vec<f32> = (0..rows * columns)
                .map(|i| values[(i % rows) * columns + i / rows])
                .collect();
            out.write_all(&item.kind.bytes(&turned))
        }
        Data::Noise { mean, std } => {
            let block = noise(item.kind, *mean, *std);
            let mut left = item.shape.iter().product::<usize>() * item.kind.width();
            while left > 0 {
                let n = left.min(block.len());
                out.write_all(&block[..n])?;
                left -= n;
            }
            Ok(())
        }
        Data::Alias(_) => Ok(()),
    }
}

/// Writes a file; `pickle` replaces the list of tensors, for damaged ones.
pub(crate) fn save_with(path: &Path, pickle: &[u8], items: &[Item]) -> std::io::Result<()> {
    let mut zip = ZipWriter::new(BufWriter::new(File::create(path)?));
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .large_file(true);
    zip.start_file("archive/data.pkl", options)?;
    zip.write_all(pickle)?;
    zip.start_file("archive/byteorder", options)?;
    zip.write_all(b"little")?;
    for (at, item) in items.iter().enumerate() {
        if !matches!(item.data, Data::Alias(_)) {
            zip.start_file(format!("archive/data/{at}"), options)?;
            write_numbers(&mut zip, item)?;
        }
    }
    zip.start_file("archive/version", options)?;
    zip.write_all(b"3\n")?;
    zip.finish()?.flush()
}

/// Writes a file.
pub(crate) fn save(path: &Path, wrapper: Option<&str>, items: &[Item]) -> std::io::Result<()> {
    save_with(path, &pickle(wrapper, items), items)
}
