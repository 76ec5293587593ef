//! Which models there are, what each needs, and its weights from wherever they lie.
//!
//! A model is a description (`models/<id>.json`: sizes, preprocessing, prompt, words, thresholds) and a weight file. The
//! miniature model is in the program itself; any other weight file of the same shape can be named by its path. Loading is
//! strict: a tensor that is missing, superfluous, misshapen or not a number is named before any work. Leaves the networks
//! to [`crate::nn`] and what is done with them to [`super::engine`].

use std::path::{Path, PathBuf};

use candle_core::Device;
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};

use crate::nn::{
    config::SparrowConfig,
    weights::{WeightError, WeightStore},
};

use super::words::WordsConfig;

/// Descriptions in the program.
const DESCRIPTIONS: &[&str] = &[include_str!("../../models/nano.json")];

/// Weights in the program, by id.
const BUNDLED: &[(&str, &[u8])] = &[("nano", include_bytes!("../../assets/nano.safetensors"))];

/// Key of a weight file's metadata that holds thresholds fitted to those very weights, as JSON.
pub const THRESHOLDS_KEY: &str = "thresholds";

/// Why a model cannot be used. Every message is one sentence for the user.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// No such id, and no such file either.
    #[error("there is no model {id:?}: known are {known}, or give the path of a .safetensors file")]
    Unknown {
        /// What was asked for.
        id: String,
        /// Ids, separated by commas.
        known: String,
    },
    /// The description cannot be read.
    #[error("the description of model {id} is damaged: {reason}")]
    Description {
        /// Id, or where it stood.
        id: String,
        /// Why.
        reason: String,
    },
    /// The weights are not on this machine.
    #[error("the weights of model {id} are not here: {advice}")]
    NoWeights {
        /// Id.
        id: String,
        /// What to do.
        advice: String,
    },
    /// The weights do not fit the description or are damaged.
    #[error("cannot load model {id} from {place}: {reason}")]
    Weights {
        /// Id.
        id: String,
        /// File, or `the program`.
        place: String,
        /// One clause.
        reason: String,
    },
    /// No such device, or not in this build.
    #[error("cannot use device {name:?}: {reason}")]
    Device {
        /// As asked for.
        name: String,
        /// Why, and what to do.
        reason: String,
    },
}

/// Where the weights come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WeightsInfo {
    /// File name.
    pub file: String,
    /// Inside the program.
    #[serde(default)]
    pub bundled: bool,
}

/// Mean and standard deviation per colour channel.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Normalisation {
    /// Red, green, blue.
    pub mean: [f32; 3],
    /// Red, green, blue.
    pub std: [f32; 3],
}

/// How pixels become network input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PreprocessConfig {
    /// SAM2, on the 0–255 scale.
    pub sam: Normalisation,
    /// CLIP, on the 0–1 scale.
    pub clip: Normalisation,
    /// InternVideo2, on the 0–1 scale.
    pub internvideo2: Normalisation,
}

/// The words around a phrase.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PromptConfig {
    /// `<image>`, `{phrase}` and `<tsf>` are filled in, the rest are tokens.
    pub template: String,
    /// What the model was taught to say of one referent.
    pub answer: String,
    /// Of several.
    pub answer_plural: String,
    /// Of none.
    pub answer_none: String,
}

/// When a proposal counts, and when the phrase.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelThresholds {
    /// Proposals below this objectness are not offered.
    pub objectness: f32,
    /// Proposals at or above this confidence are kept.
    pub keep: f32,
    /// At most this many are kept.
    pub at_most: u32,
    /// The answer may say that there is one if the probability of its first word not being "none"'s is at or above this;
    /// 0 for a model that was never taught to say none.
    pub presence: f32,
}

/// A model's description.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// Short name.
    pub id: String,
    /// One line.
    pub title: String,
    /// Licence of the weights.
    pub licence: String,
    /// Where the weights come from.
    pub weights: WeightsInfo,
    /// Sizes of every network.
    pub config: SparrowConfig,
    /// How pixels become network input.
    pub preprocess: PreprocessConfig,
    /// The words around a phrase.
    pub prompt: PromptConfig,
    /// Vocabulary.
    pub tokenizer: WordsConfig,
    /// Thresholds, unless the weight file carries its own.
    pub thresholds: ModelThresholds,
    /// The prompt encoder was trained on masks. Without it, a known mask is prompted by its box.
    #[serde(default = "yes")]
    pub mask_prompts: bool,
}

fn yes() -> bool {
    true
}

impl ModelInfo {
    /// Every description in the program, in order.
    ///
    /// # Errors
    /// [`ModelError::Description`] if one is damaged.
    pub fn all() -> Result<Vec<Self>, ModelError> {
        DESCRIPTIONS.iter().map(|text| Self::parse(text)).collect()
    }

    /// Reads a description.
    ///
    /// # Errors
    /// [`ModelError::Description`] if it is not one.
    pub fn parse(text: &str) -> Result<Self, ModelError> {
        serde_json::from_str(text).map_err(|e| ModelError::Description {
            id: "?".into(),
            reason: e.to_string(),
        })
    }

    /// The description with an id.
    ///
    /// # Errors
    /// [`ModelError::Unknown`].
    pub fn by_id(id: &str) -> Result<Self, ModelError> {
        let all = Self::all()?;
        let known: Vec<_> = all.iter().map(|m| m.id.clone()).collect();
        all.into_iter()
            .find(|m| m.id == id)
            .ok_or_else(|| ModelError::Unknown {
                id: id.to_owned(),
                known: known.join(", "),
            })
    }
}

/// A description together with the place of its weights.
#[derive(Clone, Debug)]
pub struct ModelSource {
    /// Description.
    pub info: ModelInfo,
    /// Weight file; `None` = inside the program.
    pub file: Option<PathBuf>,
}

impl ModelSource {
    /// From what a user types: an id, or the path of a weight file in nano's shape.
    ///
    /// # Errors
    /// [`ModelError::Unknown`] if it is neither.
    pub fn find(name: &str) -> Result<Self, ModelError> {
        match ModelInfo::by_id(name) {
            Ok(info) => Ok(Self { info, file: None }),
            Err(unknown) => {
                let path = Path::new(name);
                if path.is_file() {
                    Ok(Self {
                        info: ModelInfo::by_id("nano")?,
                        file: Some(path.into()),
                    })
                } else {
                    Err(unknown)
                }
            }
        }
    }

    /// What to call the model in messages and results: its id, or the path of its file.
    pub fn name(&self) -> String {
        match &self.file {
            None => self.info.id.clone(),
            Some(path) => path.display().to_string(),
        }
    }

    fn weights_error(&self, reason: impl Into<String>) -> ModelError {
        ModelError::Weights {
            id: self.info.id.clone(),
            place: match &self.file {
                None => "the program".into(),
                Some(path) => path.display().to_string(),
            },
            reason: reason.into(),
        }
    }

    /// The bytes of the weight file.
    ///
    /// # Errors
    /// [`ModelError`] if there are none or they cannot be read.
    pub fn bytes(&self) -> Result<std::borrow::Cow<'static, [u8]>, ModelError> {
        if let Some(path) = &self.file {
            return std::fs::read(path)
                .map(Into::into)
                .map_err(|e| self.weights_error(e.to_string()));
        }
        BUNDLED
            .iter()
            .find(|(id, _)| *id == self.info.id)
            .map(|(_, bytes)| (*bytes).into())
            .ok_or_else(|| ModelError::NoWeights {
                id: self.info.id.clone(),
                advice: format!("give the path of {}", self.info.weights.file),
            })
    }

    /// Reads the weights and checks that they are numbers; names and shapes are checked by who asks for them.
    ///
    /// # Errors
    /// [`ModelError`] in one sentence.
    pub fn weights(&self, device: &Device) -> Result<(WeightStore, ModelThresholds), ModelError> {
        let bytes = self.bytes()?;
        let place = self.file.clone().unwrap_or_default();
        let store = WeightStore::from_bytes(&bytes, &place, device).map_err(|e| match e {
            WeightError::Read { reason, .. } => self.weights_error(read_reason(&reason)),
            other => self.weights_error(other.to_string()),
        })?;
        Ok((store, self.thresholds_in(&bytes)?))
    }

    fn thresholds_in(&self, bytes: &[u8]) -> Result<ModelThresholds, ModelError> {
        let stored = SafeTensors::read_metadata(bytes)
            .ok()
            .and_then(|(_, m)| m.metadata().as_ref()?.get(THRESHOLDS_KEY).cloned());
        match stored {
            None => Ok(self.info.thresholds),
            Some(text) => serde_json::from_str(&text)
                .map_err(|e| self.weights_error(format!("its thresholds are damaged: {e}"))),
        }
    }

    /// Says what a network found wrong while it asked for its tensors.
    pub fn build_error(&self, error: &candle_core::Error) -> ModelError {
        // Candle wraps the message in a path and a backtrace; the tensor's name is what helps.
        let text = error.to_string();
        let line = text.lines().next().unwrap_or_default();
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

/// Turns the safetensors library's words for a damaged file into a clause.
fn read_reason(reason: &str) -> String {
    let line = reason.lines().next().unwrap_or_default();
    let words = line.to_lowercase();
    if ["header", "metadata", "offset", "invalid", "buffer"]
        .iter()
        .any(|w| words.contains(w))
    {
        format!("the file is cut short or is not a safetensors file ({line})")
    } else {
        line.to_owned()
    }
}

/// A device by name: `auto` (the fastest there is), `cpu`, `cuda` or `metal`.
///
/// # Errors
/// [`ModelError::Device`] if it is unknown, absent, or not in this build.
pub fn device(name: &str) -> Result<Device, ModelError> {
    let failed = |reason: String| ModelError::Device {
        name: name.to_owned(),
        reason,
    };
    match name {
        "cpu" => Ok(Device::Cpu),
        "auto" => Ok(Device::cuda_if_available(0)
            .ok()
            .filter(Device::is_cuda)
            .or_else(|| Device::metal_if_available(0).ok().filter(Device::is_metal))
            .unwrap_or(Device::Cpu)),
        "cuda" if !cfg!(feature = "cuda") => Err(failed(
            "this build has no CUDA; build with `--features cuda` or use `--device cpu`".into(),
        )),
        "metal" if !cfg!(feature = "metal") => Err(failed(
            "this build has no Metal; build with `--features metal` or use `--device cpu`".into(),
        )),
        "cuda" => Device::new_cuda(0)
            .map_err(|e| failed(format!("{}; use `--device cpu`", first_line(&e)))),
        "metal" => Device::new_metal(0)
            .map_err(|e| failed(format!("{}; use `--device cpu`", first_line(&e)))),
        _ => Err(failed("use auto, cpu, cuda or metal".into())),
    }
}

fn first_line(error: &candle_core::Error) -> String {
    error
        .to_string()
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// A device in words.
pub fn device_words(device: &Device) -> String {
    if device.is_cuda() {
        "CUDA GPU".into()
    } else if device.is_metal() {
        "Metal GPU".into()
    } else {
        let threads = rayon::current_num_threads();
        format!(
            "CPU, {threads} thread{}",
            if threads == 1 { "" } else { "s" }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_description_is_whole_and_ids_differ() {
        let all = ModelInfo::all().unwrap();
        assert!(all.iter().any(|m| m.id == "nano" && m.weights.bundled));
        for (i, model) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|other| other.id != model.id));
            assert!(!model.title.is_empty() && !model.licence.is_empty());
            assert!(model.prompt.template.contains("{phrase}"));
            assert!((0.0..=1.0).contains(&model.thresholds.keep));
        }
    }

    #[test]
    fn unknown_models_and_devices_are_named() {
        let error = ModelSource::find("gpt").unwrap_err().to_string();
        assert!(
            error.contains("\"gpt\"") && error.contains("nano"),
            "{error}"
        );
        let error = device("tpu").unwrap_err().to_string();
        assert!(error.contains("auto, cpu, cuda or metal"), "{error}");
        assert!(device("cpu").unwrap().is_cpu());
        if cfg!(not(feature = "cuda")) {
            assert!(
                device("cuda")
                    .unwrap_err()
                    .to_string()
                    .contains("--device cpu")
            );
        }
    }

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
        };
        let meta = [(
            THRESHOLDS_KEY.to_owned(),
            serde_json::to_string(&fitted).unwrap(),
        )];
        let none: Vec<(String, safetensors::tensor::TensorView<'_>)> = Vec::new();
        let bytes = safetensors::serialize(none, Some(meta.into_iter().collect())).unwrap();
        std::fs::write(&path, bytes).unwrap();
        let source = ModelSource::find(path.to_str().unwrap()).unwrap();
        assert_eq!(source.weights(&Device::Cpu).unwrap().1, fitted);
    }
}
