//! Where a model's weights lie, and how they are read: inside the program, in one safetensors file, or in the files that
//! the authors released.
//!
//! Loading is strict: a tensor that is missing, superfluous or misshapen is named before any number is read, and one that
//! is not a number when it is. A file of one's own carries its description with it, or has nano's shape.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use candle_core::Device;
use safetensors::SafeTensors;

use crate::nn::weights::{
    WeightError, WeightStore, blocks::Blocks, element::Element, file::TensorFile, set::TensorSet,
};

use super::{
    checkpoint::{
        self, Parts, Role, config,
        registry::{self, Place},
        report::Report,
    },
    error::memory_ran_out,
    model::{ModelError, ModelInfo, ModelThresholds},
    pieces::PieceTokenizer,
    tokenizer::{Tokenizer, TokenizerConfig},
    words::WordTokenizer,
};

/// Weights in the program, by id.
const BUNDLED: &[(&str, &[u8])] = &[("nano", include_bytes!("../../assets/nano.safetensors"))];

/// Key of a weight file's metadata that holds thresholds fitted to those very weights, as JSON.
pub const THRESHOLDS_KEY: &str = "thresholds";

/// Key of a weight file's metadata that holds its description, as JSON, or the id of one that the program has.
pub const DESCRIPTION_KEY: &str = "model";

/// The model whose sizes a folder of released files has unless it says otherwise.
const RELEASED: &str = "sparrow-videoglamm";

/// A description together with the place of its weights.
#[derive(Clone, Debug)]
pub struct ModelSource {
    /// Description.
    pub info: ModelInfo,
    /// Weight file; `None` = inside the program, or the released files.
    pub file: Option<PathBuf>,
    /// Released files.
    pub parts: Parts,
}

/// Weights before any network asked for them.
pub struct Opened {
    /// Tensors in files.
    pub set: TensorSet,
    /// Texts beside them.
    pub metadata: BTreeMap<String, String>,
}

impl ModelSource {
    /// From what a user types: an id, the path of a weight file, or that of a folder with released files.
    ///
    /// # Errors
    /// [`ModelError`] if it is none of these, or what a file says of itself is damaged.
    pub fn find(name: &str) -> Result<Self, ModelError> {
        match ModelInfo::by_id(name) {
            Ok(info) if info.weights.bundled => Ok(Self::without_files(info)),
            Ok(info) => match registry::place(&info.id)? {
                Some(Place::One(path)) => Self::at(Some(&info), &path),
                Some(Place::Parts(parts)) => Ok(Self {
                    info: config::resolve(&info, &parts)?,
                    file: None,
                    parts,
                }),
                None => Ok(Self::without_files(info)),
            },
            Err(unknown) => {
                let path = Path::new(name);
                if path.exists() {
                    Self::at(None, path)
                } else {
                    Err(unknown)
                }
            }
        }
    }

    fn without_files(info: ModelInfo) -> Self {
        Self {
            info,
            file: None,
            parts: Parts::new(),
        }
    }

    /// The weights at a path: a file, or a folder with released files. `info` is the description unless the files carry
    /// one of their own.
    ///
    /// # Errors
    /// [`ModelError`] if there is nothing, or what a file says of itself is damaged.
    pub fn at(info: Option<&ModelInfo>, path: &Path) -> Result<Self, ModelError> {
        if path.is_dir() {
            return Self::released(info, path);
        }
        let own = description_in(path)?;
        let info = match (own, info) {
            (Some(own), Some(info)) if own.id != info.id => {
                return Err(ModelError::Weights {
                    id: info.id.clone(),
                    place: path.display().to_string(),
                    reason: format!("its weights are of the model {}", own.id),
                });
            }
            (Some(own), _) => own,
            (None, Some(info)) => info.clone(),
            (None, None) => ModelInfo::by_id("nano")?,
        };
        Ok(Self {
            info,
            file: Some(path.into()),
            parts: Parts::new(),
        })
    }

    fn released(info: Option<&ModelInfo>, folder: &Path) -> Result<Self, ModelError> {
        let parts = checkpoint::find(folder, &checkpoint::NEEDED)?;
        if parts.is_empty() {
            return Err(ModelError::Parts {
                place: folder.display().to_string(),
                reason: "no part of a released SPARROW checkpoint is in it".into(),
            });
        }
        let beside = folder.join(config::DESCRIPTION);
        let info = if beside.is_file() {
            let text = std::fs::read_to_string(&beside).map_err(|e| ModelError::Parts {
                place: beside.display().to_string(),
                reason: e.to_string(),
            })?;
            ModelInfo::parse(&text)?
        } else {
            match info {
                Some(info) => info.clone(),
                None => ModelInfo::by_id(RELEASED)?,
            }
        };
        Ok(Self {
            info: config::resolve(&info, &parts)?,
            file: None,
            parts,
        })
    }

    /// What to call the model in messages and results: its id, or the path of its file.
    pub fn name(&self) -> String {
        match &self.file {
            None => self.info.id.clone(),
            Some(path) => path.display().to_string(),
        }
    }

    /// Whether the weights are on this machine.
    pub fn is_here(&self) -> bool {
        self.info.weights.bundled
            || self.file.as_ref().is_some_and(|f| f.is_file())
            || self.parts.contains_key(&Role::Sparrow)
    }

    fn weights_error(&self, reason: impl Into<String>) -> ModelError {
        let reason = reason.into();
        if memory_ran_out(&reason) {
            let id = self.info.id.clone();
            return ModelError::Memory { id, reason };
        }
        ModelError::Weights {
            id: self.info.id.clone(),
            place: match (&self.file, self.parts.get(&Role::Sparrow)) {
                (Some(path), _) | (None, Some(path)) => path.display().to_string(),
                // Whatever else of it there is says where it was looked for.
                (None, None) => match self.parts.values().next() {
                    Some(path) => path.display().to_string(),
                    None => "the program".into(),
                },
            },
            reason,
        }
    }

    /// Says what a file has wrong: the file itself where that is known.
    pub fn file_error(&self, error: WeightError) -> ModelError {
        match error {
            WeightError::Read { path, reason } => ModelError::Weights {
                id: self.info.id.clone(),
                place: path.display().to_string(),
                reason: read_reason(&reason),
            },
            other => self.weights_error(other.to_string()),
        }
    }

    /// The bytes of the weight file.
    ///
    /// # Errors
    /// [`ModelError`] if there are none or they cannot be read.
    pub fn bytes(&self) -> Result<Cow<'static, [u8]>, ModelError> {
        if let Some(path) = &self.file {
            return std::fs::read(path)
                .map(Into::into)
                .map_err(|e| self.weights_error(e.to_string()));
        }
        BUNDLED
            .iter()
            .find(|(id, _)| *id == self.info.id)
            .map(|(_, bytes)| (*bytes).into())
            .ok_or_else(|| self.no_weights())
    }

    fn no_weights(&self) -> ModelError {
        let id = &self.info.id;
        if self.info.weights.bundled {
            return self.weights_error(
                "they are part of it, not a file: give the path of a weight file instead",
            );
        }
        ModelError::NoWeights {
            id: id.clone(),
            advice: format!(
                "`sparrow models fetch {id}` downloads them, `sparrow models fetch {id} --from FOLDER` remembers where \
                 they are"
            ),
        }
    }

    /// Opens the files and puts their tensors together; no number is read.
    ///
    /// # Errors
    /// [`ModelError`] if files are absent, cut short, or hold anything but data.
    pub fn open(&self) -> Result<Opened, ModelError> {
        if let Some(path) = &self.file {
            let file = TensorFile::open(path).map_err(|e| self.file_error(e))?;
            let metadata = match &file {
                TensorFile::Mapped(mapped) => mapped.metadata().clone(),
                TensorFile::Torch(_) => BTreeMap::new(),
            };
            let mut set = TensorSet::new();
            set.add(file, |name| {
                (name != config::TOKENIZER).then(|| name.to_owned())
            });
            return Ok(Opened { set, metadata });
        }
        if self.parts.is_empty() {
            return Err(self.no_weights());
        }
        let set = checkpoint::open(&self.parts).map_err(|e| self.file_error(e))?;
        for role in checkpoint::absent(&self.parts) {
            if !checkpoint::is_copied(&set, role) {
                return Err(self.weights_error(format!(
                    "{} is not among the files (`sparrow models list` says where it is published)",
                    role.words()
                )));
            }
        }
        Ok(Opened {
            set,
            metadata: BTreeMap::new(),
        })
    }

    /// The blocks that a weight file stores its language model in; `None` if it stores floats, or there is no single file.
    ///
    /// # Errors
    /// As [`ModelSource::open`].
    pub fn blocks(&self) -> Result<Option<Blocks>, ModelError> {
        if self.file.is_none() {
            return Ok(None);
        }
        let set = self.open()?.set;
        let blocks = |name: &str| match set.info(name)?.element {
            Element::Blocks(blocks) => Some(blocks),
            _ => None,
        };
        Ok(set.names().find_map(blocks))
    }

    /// The description, with what only the numbers tell: whether the proposer's encoder is SAM2's.
    ///
    /// # Errors
    /// [`ModelError`] if a file cannot be read.
    pub fn described(&self, set: &TensorSet) -> Result<ModelInfo, ModelError> {
        let mut info = self.info.clone();
        let proposer = &mut info.config.proposer;
        if proposer.shared_trunk {
            return Ok(info);
        }
        let same = checkpoint::encoders_are_same(set).map_err(|e| self.file_error(e))?;
        match same {
            Some(false) if proposer.encoder_of_sam2 => {
                return Err(self.weights_error(
                    "its description says that the proposer's image encoder is SAM2's, but their numbers differ",
                ));
            }
            Some(same) => proposer.encoder_of_sam2 = same,
            None => {}
        }
        Ok(info)
    }

    /// Finds the weights and checks that every tensor that is needed is there, in the right shape, and none too many; with the
    /// model as [`ModelSource::described`].
    ///
    /// # Errors
    /// [`ModelError`] in one sentence.
    pub fn weights(
        &self,
        device: &Device,
    ) -> Result<(WeightStore, ModelThresholds, ModelInfo), ModelError> {
        if self.file.is_none() && self.info.weights.bundled {
            let bytes = self.bytes()?;
            let store = WeightStore::from_bytes(&bytes, Path::new(""), device)
                .map_err(|e| self.weights_error(e.to_string()))?;
            let stored = SafeTensors::read_metadata(&bytes)
                .ok()
                .and_then(|(_, m)| m.metadata().as_ref()?.get(THRESHOLDS_KEY).cloned());
            let thresholds = self.thresholds(stored.as_deref())?;
            return Ok((store, thresholds, self.info.clone()));
        }
        let opened = self.open()?;
        if let Some(wrong) = Report::new(&self.info, &opened.set)?.first() {
            return Err(self.weights_error(format!(
                "{wrong}; the files belong to another model or version, or are damaged"
            )));
        }
        let thresholds =
            self.thresholds(opened.metadata.get(THRESHOLDS_KEY).map(String::as_str))?;
        let info = self.described(&opened.set)?;
        let store = WeightStore::from_files(opened.set, device);
        Ok((store, thresholds, info))
    }

    fn thresholds(&self, stored: Option<&str>) -> Result<ModelThresholds, ModelError> {
        match stored {
            None => Ok(self.info.thresholds),
            Some(text) => serde_json::from_str(text)
                .map_err(|e| self.weights_error(format!("its thresholds are damaged: {e}"))),
        }
    }

    /// The vocabulary, checked against the language model.
    ///
    /// # Errors
    /// [`ModelError`] if it is absent, damaged, or does not fit.
    pub fn tokenizer(&self) -> Result<Tokenizer, ModelError> {
        let rows = self.info.config.phi3.vocab_size;
        match &self.info.tokenizer {
            TokenizerConfig::Words(words) => WordTokenizer::new(words, rows)
                .map(Tokenizer::Words)
                .map_err(|e| ModelError::Description {
                    id: self.info.id.clone(),
                    reason: e.to_string(),
                }),
            TokenizerConfig::Pieces(pieces) => {
                PieceTokenizer::new(pieces, &self.tokenizer_file()?, rows)
                    .map(Tokenizer::Pieces)
                    .map_err(|e| self.weights_error(e.to_string()))
            }
        }
    }

    /// The tokenizer's model file.
    ///
    /// # Errors
    /// [`ModelError`] if there is none.
    pub fn tokenizer_file(&self) -> Result<Vec<u8>, ModelError> {
        if let Some(path) = &self.file {
            let file = TensorFile::open(path).map_err(|e| self.file_error(e))?;
            let bytes = file.read(config::TOKENIZER);
            return Ok(bytes.map_err(|e| self.file_error(e))?.into_owned());
        }
        let folder = self
            .parts
            .get(&Role::Sparrow)
            .ok_or_else(|| self.no_weights())?;
        let path = folder.join(config::TOKENIZER);
        std::fs::read(&path).map_err(|e| ModelError::Parts {
            place: path.display().to_string(),
            reason: format!("the tokenizer cannot be read ({e})"),
        })
    }

    /// Says what a network found wrong while it asked for its tensors.
    pub fn build_error(&self, error: &candle_core::Error) -> ModelError {
        // Candle wraps the message in a path and a backtrace; the tensor's name is what helps.
        let text = error.to_string();
        let line = text.lines().next().unwrap_or_default();
        if memory_ran_out(&text) {
            return self.weights_error(line);
        }
        self.weights_error(format!(
            "{line}; the file belongs to another model or version, or is damaged"
        ))
    }

    /// Refuses tensors that no network asked for, except those that `ignore` accepts.
    ///
    /// # Errors
    /// [`ModelError::Weights`] with the first such tensor.
    pub fn check_all_used(
        &self,
        store: &WeightStore,
        ignore: impl Fn(&str) -> bool,
    ) -> Result<(), ModelError> {
        store.check_all_used(ignore).map_err(|e| {
            self.weights_error(format!("{e}; the file belongs to another model or version"))
        })
    }
}

/// The description that a weight file carries.
fn description_in(path: &Path) -> Result<Option<ModelInfo>, ModelError> {
    // A file that cannot be opened is named when its weights are asked for.
    let Ok(TensorFile::Mapped(file)) = TensorFile::open(path) else {
        return Ok(None);
    };
    match file.metadata().get(DESCRIPTION_KEY) {
        Some(text) if text.trim_start().starts_with('{') => ModelInfo::parse(text).map(Some),
        // Weights of our own trainer name the description that they were made for.
        Some(id) => ModelInfo::by_id(id)
            .map(Some)
            .map_err(|_source| ModelError::Weights {
                id: id.clone(),
                place: path.display().to_string(),
                reason: "this program has no description of that model".into(),
            }),
        None => Ok(None),
    }
}

/// Turns the safetensors library's words for a damaged file into a clause.
fn read_reason(reason: &str) -> String {
    reason.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_file_is_one_sentence() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.safetensors");
        for bytes in [&b""[..], b"hello, I am a text", &[255; 64]] {
            std::fs::write(&path, bytes).unwrap();
            let source = ModelSource::find(path.to_str().unwrap()).unwrap();
            let error = source.weights(&Device::Cpu).err().unwrap().to_string();
            assert!(error.contains("cut short or is not"), "{error}");
            assert!(error.contains("w.safetensors") && !error.contains('\n'));
        }
    }

    #[test]
    fn thresholds_in_the_weight_file_win() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.safetensors");
        let fitted = ModelThresholds {
            objectness: 0.1,
            keep: 0.6,
            at_most: 2,
            presence: 0.3,
            presence_power: 0.0,
        };
        let meta = [(
            THRESHOLDS_KEY.to_owned(),
            serde_json::to_string(&fitted).unwrap(),
        )];
        let none: Vec<(String, safetensors::tensor::TensorView<'_>)> = Vec::new();
        let bytes = safetensors::serialize(none, Some(meta.into_iter().collect())).unwrap();
        std::fs::write(&path, bytes).unwrap();
        let source = ModelSource::find(path.to_str().unwrap()).unwrap();
        let opened = source.open().unwrap();
        let stored = opened.metadata.get(THRESHOLDS_KEY).map(String::as_str);
        assert_eq!(source.thresholds(stored).unwrap(), fitted);
        assert_eq!(source.thresholds(None).unwrap(), source.info.thresholds);
        let error = source.thresholds(Some("{}")).unwrap_err().to_string();
        assert!(error.contains("thresholds are damaged"), "{error}");
    }
}
