//! One file of tensors, PyTorch's or safetensors: what it holds, and the numbers of one tensor at a time.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use super::{WeightError, element::Element, torch::TorchFile};

/// What is known of a tensor without its numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Number type.
    pub element: Element,
    /// Shape.
    pub shape: Vec<usize>,
}

impl TensorInfo {
    /// How many numbers.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }
}

/// A memory-mapped safetensors file.
#[derive(Debug)]
pub struct MappedFile {
    path: PathBuf,
    map: memmap2::Mmap,
    /// Where the numbers begin.
    data: usize,
    tensors: BTreeMap<String, (TensorInfo, usize, usize)>,
    metadata: BTreeMap<String, String>,
}

impl MappedFile {
    /// Maps a file and checks that its header fits its length.
    ///
    /// # Errors
    /// [`WeightError::Read`] if it is cut short or is not a safetensors file.
    pub fn open(path: &Path) -> Result<Self, WeightError> {
        let read = |reason: String| WeightError::Read {
            path: path.into(),
            reason,
        };
        let file = File::open(path).map_err(|e| read(e.to_string()))?;
        #[expect(
            unsafe_code,
            reason = "a map of a file is sound only while nobody shortens the file; weight files are written under \
                      another name and renamed, never changed in place, and reading 11 GB into memory instead would \
                      take twice what the model needs"
        )]
        // SAFETY: the map is read-only and private to this process; see the reason above.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(|e| read(e.to_string()))?;
        let damaged = |e: &dyn std::fmt::Display| {
            read(format!(
                "the file is cut short or is not a safetensors file ({e})"
            ))
        };
        let (header, metadata) =
            safetensors::SafeTensors::read_metadata(&map).map_err(|e| damaged(&e))?;
        let data = header + 8;
        if data + metadata.data_len() != map.len() {
            return Err(damaged(&format_args!(
                "{} bytes where {} are announced",
                map.len(),
                data + metadata.data_len()
            )));
        }
        let tensors = metadata
            .tensors()
            .into_iter()
            .map(|(name, info)| {
                let known = TensorInfo {
                    element: Element::of_safetensors(info.dtype),
                    shape: info.shape.clone(),
                };
                (name, (known, info.data_offsets.0, info.data_offsets.1))
            })
            .collect();
        let metadata = metadata.metadata().clone().unwrap_or_default();
        Ok(Self {
            path: path.into(),
            map,
            data,
            tensors,
            metadata: metadata.into_iter().collect(),
        })
    }

    /// Texts stored beside the tensors.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    fn bytes(&self, name: &str) -> Result<&[u8], WeightError> {
        self.tensors
            .get(name)
            .and_then(|(_, from, to)| self.map.get(self.data + from..self.data + to))
            .ok_or_else(|| WeightError::Read {
                path: self.path.clone(),
                reason: format!("it holds no tensor {name}"),
            })
    }
}

/// A file of tensors.
#[derive(Debug)]
pub enum TensorFile {
    /// Of `torch.save`.
    Torch(TorchFile),
    /// Memory-mapped safetensors.
    Mapped(MappedFile),
}

impl TensorFile {
    /// Opens a file of either kind, told by its first bytes.
    ///
    /// # Errors
    /// [`WeightError::Read`] if it is neither, is cut short, or holds anything but data.
    pub fn open(path: &Path) -> Result<Self, WeightError> {
        let mut head = [0_u8; 9];
        let n = File::open(path)
            .and_then(|mut f| f.read(&mut head))
            .map_err(|e| WeightError::Read {
                path: path.into(),
                reason: e.to_string(),
            })?;
        let named = path.extension().is_some_and(|e| e == "safetensors");
        // A safetensors file begins with the length of its header, which begins with a brace.
        if named || (n == 9 && head[8] == b'{') {
            return MappedFile::open(path).map(Self::Mapped);
        }
        TorchFile::open(path).map(Self::Torch)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        match self {
            Self::Torch(file) => file.path(),
            Self::Mapped(file) => &file.path,
        }
    }

    /// Names with what is known of each tensor, sorted.
    pub fn tensors(&self) -> Vec<(&str, &TensorInfo)> {
        match self {
            Self::Torch(file) => file.tensors().collect(),
            Self::Mapped(file) => file
                .tensors
                .iter()
                .map(|(n, (info, _, _))| (n.as_str(), info))
                .collect(),
        }
    }

    /// A tensor's numbers, row-major and little-endian.
    ///
    /// # Errors
    /// [`WeightError::Read`] if there is no such tensor or the file became shorter.
    pub fn read(&self, name: &str) -> Result<Cow<'_, [u8]>, WeightError> {
        match self {
            Self::Torch(file) => file.read(name).map(Cow::Owned),
            Self::Mapped(file) => file.bytes(name).map(Cow::Borrowed),
        }
    }
}
