//! Files of `torch.save`: a zip archive with a pickle that describes the tensors and one uncompressed file per storage.
//!
//! Opening reads the archive's directory and the pickle, never a storage; a tensor's numbers are read from where they lie
//! when they are asked for, so a shard is never held as a whole. Tensors that share a storage, transposed ones and parts
//! of larger ones come out contiguous. The pickle itself is read by [`super::pickle`].

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use super::{
    WeightError,
    file::TensorInfo,
    pickle::{self, Arena, Id, TensorRef, Value},
};

/// Bytes of a pickle at most; the released checkpoint's are below 1 MB.
const PICKLE_LIMIT: u64 = 256 << 20;

/// Names under which training programs wrap the tensors.
const WRAPPERS: [&str; 3] = ["model", "module", "state_dict"];

/// Where a tensor's numbers lie.
#[derive(Clone, Debug)]
struct Place {
    /// Of its first number, in the file.
    start: u64,
    strides: Vec<usize>,
    info: TensorInfo,
}

/// An opened file.
#[derive(Debug)]
pub struct TorchFile {
    path: PathBuf,
    file: Mutex<File>,
    tensors: BTreeMap<String, Place>,
}

/// Where the storages lie: start and length in bytes, by key.
type Storages = HashMap<String, (u64, u64)>;

impl TorchFile {
    /// Opens a file and reads what it says of its tensors.
    ///
    /// # Errors
    /// [`WeightError::Read`] if it is not such a file, is cut short, or its pickle holds anything but data.
    pub fn open(path: &Path) -> Result<Self, WeightError> {
        let read = |reason: String| WeightError::Read {
            path: path.into(),
            reason,
        };
        let mut file = File::open(path).map_err(|e| read(e.to_string()))?;
        refuse_other_formats(&mut file).map_err(read)?;
        let (pickle, storages) = archive(&mut file).map_err(read)?;
        let (arena, root) = pickle::read(&pickle).map_err(|e| read(e.to_string()))?;
        let tensors = tensors(&arena, root, &storages).map_err(read)?;
        Ok(Self {
            path: path.into(),
            file: Mutex::new(file),
            tensors,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names with what is known of each tensor, sorted.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &TensorInfo)> {
        self.tensors.iter().map(|(n, p)| (n.as_str(), &p.info))
    }

    /// A tensor's numbers, row-major.
    ///
    /// # Errors
    /// [`WeightError::Read`] if there is no such tensor or the file became shorter.
    pub fn read(&self, name: &str) -> Result<Vec<u8>, WeightError> {
        let failed = |reason: String| WeightError::Read {
            path: self.path.clone(),
            reason,
        };
        let place = self
            .tensors
            .get(name)
            .ok_or_else(|| failed(format!("it holds no tensor {name}")))?;
        let wrong = || failed(format!("tensor {name} has an impossible size"));
        let shape = &place.info.shape;
        let width = place.info.element.bytes(1).ok_or_else(wrong)?;
        let span = extent(shape, &place.strides).ok_or_else(wrong)?;
        let length = span.checked_mul(width).ok_or_else(wrong)?;
        let mut bytes = vec![0; length];
        {
            let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            file.seek(SeekFrom::Start(place.start))
                .and_then(|_| file.read_exact(&mut bytes))
                .map_err(|e| failed(format!("tensor {name} is cut short ({e})")))?;
        }
        if is_contiguous(shape, &place.strides) {
            return Ok(bytes);
        }
        let count: usize = shape.iter().product();
        Ok(gather(&bytes, shape, &place.strides, width, count))
    }
}

/// Says what a file is that is no archive.
fn refuse_other_formats(file: &mut File) -> Result<(), String> {
    let mut head = [0_u8; 32];
    let mut n = 0;
    while n < head.len() {
        match file.read(&mut head[n..]) {
            Ok(0) => break,
            Ok(more) => n += more,
            Err(e) => return Err(e.to_string()),
        }
    }
    let head = &head[..n];
    if head.starts_with(b"PK\x03\x04") {
        return Ok(());
    }
    Err(if head.is_empty() {
        "the file is empty".to_owned()
    } else if head.starts_with(b"version https://git-lfs") {
        "this is a Git LFS pointer, not the file itself: fetch it with `git lfs pull`".to_owned()
    } else if head.starts_with(b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46") || head.starts_with(b"\x80\x02")
    {
        "this is PyTorch's format of before version 1.6: load and save it once with a newer PyTorch"
            .to_owned()
    } else {
        "it is neither a .safetensors nor a PyTorch file".to_owned()
    })
}

/// The pickle and the places of the storages.
fn archive(file: &mut File) -> Result<(Vec<u8>, Storages), String> {
    let cut = |e: zip::result::ZipError| format!("the file is cut short or damaged ({e})");
    let mut zip = zip::ZipArchive::new(&mut *file).map_err(cut)?;
    let mut storages = Storages::new();
    let mut pickle = None;
    for i in 0..zip.len() {
        let mut entry = zip.by_index_raw(i).map_err(cut)?;
        let name = entry.name().map_err(cut)?.into_owned();
        // Everything lies in one folder, named after the file when it was saved.
        let inner = name.split_once('/').map_or(name.as_str(), |(_, rest)| rest);
        if entry.compression() != zip::CompressionMethod::Stored || entry.encrypted() {
            return Err("it is compressed, which PyTorch never does".to_owned());
        }
        let size = entry.size();
        if inner == "data.pkl" {
            if size > PICKLE_LIMIT {
                return Err("its list of tensors is absurdly long".to_owned());
            }
            let mut bytes = Vec::new();
            entry
                .read_to_end(&mut bytes)
                .map_err(|e| format!("its list of tensors cannot be read ({e})"))?;
            pickle = Some(bytes);
        } else if inner == "byteorder" {
            let mut order = String::new();
            entry
                .take(16)
                .read_to_string(&mut order)
                .map_err(|e| e.to_string())?;
            if order.trim() != "little" {
                return Err(format!("its numbers are stored {order}-endian"));
            }
        } else if let Some(key) = inner.strip_prefix("data/") {
            let start = entry
                .data_start()
                .ok_or("the file is damaged (a storage has no place)")?;
            storages.insert(key.to_owned(), (start, size));
        }
    }
    let pickle = pickle.ok_or("it is a zip archive, but not one of PyTorch's")?;
    Ok((pickle, storages))
}

/// The tensors of a dictionary, or of the one that a training program wrapped it in.
fn tensors(
    arena: &Arena,
    root: Id,
    storages: &Storages,
) -> Result<BTreeMap<String, Place>, String> {
    let wrapped = WRAPPERS
        .iter()
        .filter_map(|w| arena.entry(root, w))
        .find(|id| matches!(arena.get(*id), Value::Dict(_)));
    let Value::Dict(entries) = arena.get(wrapped.unwrap_or(root)) else {
        return Err("it holds no named tensors".to_owned());
    };
    let mut out = BTreeMap::new();
    for (key, value) in entries {
        if let (Value::Text(name), Value::Tensor(tensor)) = (arena.get(*key), arena.get(*value)) {
            out.insert(name.clone(), place(name, tensor, storages)?);
        }
    }
    if out.is_empty() {
        return Err("it holds no named tensors".to_owned());
    }
    Ok(out)
}

fn place(name: &str, tensor: &TensorRef, storages: &Storages) -> Result<Place, String> {
    let key = &tensor.storage.key;
    let &(start, size) = storages
        .get(key)
        .ok_or_else(|| format!("the numbers of tensor {name} are missing"))?;
    let impossible = || format!("tensor {name} has an impossible size");
    if tensor.shape.len() != tensor.strides.len() {
        return Err(impossible());
    }
    let element = tensor.storage.element;
    let width = element.bytes(1).ok_or_else(impossible)? as u64;
    let declared = tensor.storage.elements.checked_mul(width);
    if declared != Some(size) {
        return Err(format!(
            "the numbers of tensor {name} take {size} bytes where {} are announced",
            declared.map_or_else(|| "impossibly many".to_owned(), |n| n.to_string())
        ));
    }
    let span = extent(&tensor.shape, &tensor.strides).ok_or_else(impossible)? as u64;
    let end = tensor.offset.checked_add(span).ok_or_else(impossible)?;
    if end > tensor.storage.elements {
        return Err(format!("tensor {name} reaches beyond its numbers"));
    }
    // A tensor that repeats its numbers may be far larger than its file.
    let count = tensor
        .shape
        .iter()
        .try_fold(1_usize, |n, &d| n.checked_mul(d))
        .ok_or_else(impossible)?;
    if count as u64 > span.max(1) && count > 1 << 20 {
        return Err(impossible());
    }
    Ok(Place {
        start: start + tensor.offset * width,
        strides: tensor.strides.clone(),
        info: TensorInfo {
            element,
            shape: tensor.shape.clone(),
        },
    })
}

/// Numbers from a tensor's first to its last in storage, both included; `None` on overflow.
fn extent(shape: &[usize], strides: &[usize]) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape
        .iter()
        .zip(strides)
        .try_fold(1_usize, |sum, (&d, &s)| {
            sum.checked_add((d - 1).checked_mul(s)?)
        })
}

fn is_contiguous(shape: &[usize], strides: &[usize]) -> bool {
    if shape.contains(&0) {
        return true;
    }
    let mut expected: usize = 1;
    for (&d, &s) in shape.iter().zip(strides).rev() {
        if d != 1 {
            if s != expected {
                return false;
            }
            expected = expected.saturating_mul(d);
        }
    }
    true
}

/// Row-major numbers of `width` bytes each from strided ones.
fn gather(bytes: &[u8], shape: &[usize], strides: &[usize], width: usize, count: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(count * width);
    let mut index = vec![0; shape.len()];
    let mut at = 0;
    for _ in 0..count {
        out.extend_from_slice(&bytes[at * width..(at + 1) * width]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            at += strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            at -= strides[axis] * shape[axis];
            index[axis] = 0;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strided_numbers_come_out_row_by_row() {
        let bytes: Vec<u8> = (0..6).collect();
        // 2 × 3, transposed.
        assert!(!is_contiguous(&[3, 2], &[1, 3]));
        assert_eq!(gather(&bytes, &[3, 2], &[1, 3], 1, 6), [0, 3, 1, 4, 2, 5]);
        // A repeated row.
        assert_eq!(gather(&bytes, &[2, 2], &[0, 1], 1, 4), [0, 1, 0, 1]);
        assert_eq!(extent(&[2, 2], &[0, 1]), Some(2));
        assert_eq!(extent(&[3, 2], &[1, 3]), Some(6));
        assert_eq!(extent(&[usize::MAX, 2], &[usize::MAX, 3]), None);
        assert_eq!(extent(&[], &[]), Some(1));
        // Strides of axes of one do not matter.
        assert!(is_contiguous(&[1, 3], &[77, 1]));
    }
}
