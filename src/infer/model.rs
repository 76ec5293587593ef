//! Which models there are, what each needs, and its weights from wherever they lie.
//!
//! A model is a description (`models/<id>.json`: sizes, preprocessing, prompt, words, thresholds) and weights. Where the
//! weights lie and how they are read is [`super::source`]'s. Leaves the networks to [`crate::nn`] and what is done with
//! them to [`super::engine`].

use std::{borrow::Cow, collections::BTreeMap};

use candle_core::Device;
use serde::{Deserialize, Serialize};

use crate::{
    nn::{config::SparrowConfig, ops},
    video::RgbFrame,
};

use super::{
    appearance::AppearanceConfig, checkpoint::Role, exposure::lifted, leash::LeashConfig,
    tokenizer::TokenizerConfig, words::WordsConfig,
};

pub use super::source::ModelSource;

/// Descriptions in the program.
const DESCRIPTIONS: &[&str] = &[
    include_str!("../../models/nano.json"),
    include_str!("../../models/sparrow-videoglamm.json"),
];

/// Why a model cannot be used. Every message is one sentence for the user.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// No such id, and no such file either.
    #[error(
        "there is no model {id:?}: known are {known}, or give the path of a .safetensors file or of a checkpoint folder"
    )]
    Unknown {
        /// What was asked for.
        id: String,
        /// Ids, separated by commas.
        known: String,
    },
    /// No kind of device is called that.
    #[error("there is no device {0:?}: use auto, cpu, cuda or metal")]
    UnknownDevice(String),
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
    /// The weights are as they should be, but there is no room for them.
    #[error(
        "there is not enough memory for model {id} ({reason}): load it with a smaller --precision, or on another --device"
    )]
    Memory {
        /// Id.
        id: String,
        /// The driver's or the system's words.
        reason: String,
    },
    /// The hub.
    #[error("cannot fetch {repository}: {reason}")]
    Fetch {
        /// Where it is published.
        repository: String,
        /// One clause.
        reason: String,
    },
    /// Released files that are damaged, ambiguous, or ask for what is not there.
    #[error("cannot use the model files at {place}: {reason}")]
    Parts {
        /// File or folder.
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
    /// Files of other people's that it is put together from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<PartInfo>,
}

/// Files of one origin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartInfo {
    /// What they are good for.
    pub role: Role,
    /// One line.
    pub title: String,
    /// Where they are published.
    pub repository: String,
    /// Licence, as far as it is known.
    pub licence: String,
    /// Names, `*` standing for anything.
    pub files: Vec<String>,
    /// Numbers in them.
    pub parameters: u64,
    /// SHA-256 of a file, where its authors publish one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sha256: BTreeMap<String, String>,
}

/// Mean and standard deviation per colour channel.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Normalisation {
    /// Red, green, blue.
    pub mean: [f32; 3],
    /// Red, green, blue.
    pub std: [f32; 3],
}

/// The way that frames are brought to the networks' sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pixels {
    /// Stretched with one antialiased filter for all networks.
    #[default]
    Stretched,
    /// As the released code does, to the bit: each network's own library and crop.
    Released,
}

/// How pixels become network input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PreprocessConfig {
    /// The way that frames are brought to the networks' sizes.
    #[serde(default)]
    pub pixels: Pixels,
    /// SAM2, on the 0–255 scale.
    pub sam: Normalisation,
    /// CLIP, on the 0–1 scale.
    pub clip: Normalisation,
    /// InternVideo2, on the 0–1 scale.
    pub internvideo2: Normalisation,
    /// The proposer's own encoder, on the 0–1 scale; the temporal tower's if absent.
    #[serde(default)]
    pub proposer: Option<Normalisation>,
    /// Whether dark frames are lifted before the networks see them (`infer/exposure.rs`); with [`Pixels::Stretched`] only.
    #[serde(default)]
    pub lifts_dark: bool,
}

impl PreprocessConfig {
    /// The frame as the networks are shown it.
    pub(super) fn lit<'a>(&self, frame: &'a RgbFrame) -> Cow<'a, RgbFrame> {
        let lit = self.lifts_dark.then(|| lifted(frame)).flatten();
        lit.map_or(Cow::Borrowed(frame), Cow::Owned)
    }
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
    /// Tokens of an answer at most.
    #[serde(default = "some_tokens")]
    pub max_new_tokens: usize,
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
    /// Power of that probability that is multiplied into every proposal's confidence; 0, as released: it has no part in it.
    #[serde(default)]
    pub presence_power: f32,
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
    pub tokenizer: TokenizerConfig,
    /// Thresholds, unless the weight file carries its own.
    pub thresholds: ModelThresholds,
    /// The prompt encoder was trained on masks. Without it, a known mask is prompted by its box.
    #[serde(default = "yes")]
    pub mask_prompts: bool,
    /// How far masks may reach; absent: as far as the model paints them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leash: Option<LeashConfig>,
    /// How masks are divided by colour; absent: they stay as the decoder paints them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub appearance: Option<AppearanceConfig>,
}

fn yes() -> bool {
    true
}

fn some_tokens() -> usize {
    32
}

/// Sizes beyond this belong to no network; far below it, building one would already never end.
const LARGEST_SIZE: u64 = 1 << 20;
/// Repetitions (layers, blocks, levels) beyond this likewise.
const MOST_LAYERS: u64 = 1 << 10;
/// Whole numbers that may be 0, because 0 switches something off.
const MAY_BE_ZERO: [&str; 6] = [
    "roi_hidden",
    "box_prior_max_keep",
    "place_waves",
    "travel",
    "max_obj_ptrs_in_encoder",
    "tsf_k",
];

impl SparrowConfig {
    /// A clause about the first size that no network can have; building one of such a size would never end.
    pub(super) fn unreasonable(&self) -> Option<String> {
        let value = serde_json::to_value(self).ok()?;
        unreasonable(&value, "config")
    }
}

/// A clause about the first number of a configuration that no network can have.
fn unreasonable(value: &serde_json::Value, name: &str) -> Option<String> {
    match value {
        serde_json::Value::Object(fields) => fields.iter().find_map(|(k, v)| unreasonable(v, k)),
        serde_json::Value::Array(items) => items.iter().find_map(|v| unreasonable(v, name)),
        serde_json::Value::Number(number) => {
            // What is no whole number is a factor or a rate.
            let size = number.as_u64()?;
            let repeats = ["layers", "depth", "stages", "levels", "blocks"];
            let most = if repeats.iter().any(|r| name.contains(r)) {
                MOST_LAYERS
            } else {
                LARGEST_SIZE
            };
            let may_be_zero = MAY_BE_ZERO.contains(&name) || name.contains("blocks");
            ((size == 0 && !may_be_zero) || size > most)
                .then(|| format!("{name} is {size}, which no network can have"))
        }
        _ => None,
    }
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
        let damaged = |reason: String| ModelError::Description {
            id: "?".into(),
            reason,
        };
        let value: serde_json::Value =
            serde_json::from_str(text).map_err(|e| damaged(e.to_string()))?;
        if let Some(what) = unreasonable(&value["config"], "config") {
            return Err(damaged(what));
        }
        let info: Self = serde_json::from_value(value).map_err(|e| damaged(e.to_string()))?;
        let (filtration, frames) = (&info.config.filtration, info.config.visual.num_frames);
        if filtration.travel > 0
            && (filtration.region_code.is_none() || filtration.travel >= frames)
        {
            return Err(damaged(format!(
                "travel needs a region code and fewer frames than the towers' {frames}"
            )));
        }
        let decoder = info.config.sam2.image_size / 4;
        if let Some(what) = info.appearance.and_then(|a| a.unreasonable(decoder)) {
            return Err(damaged(what));
        }
        Ok(info)
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

    /// The list of words, if that is what the model reads.
    pub fn words(&self) -> Option<&WordsConfig> {
        match &self.tokenizer {
            TokenizerConfig::Words(words) => Some(words),
            TokenizerConfig::Pieces(_) => None,
        }
    }
}

/// A device by name: `auto` (the fastest there is), `cpu`, `cuda` or `metal`; or `composed`, the CPU without our kernels,
/// which computes as a GPU does and is there to check that path where there is no GPU.
///
/// # Errors
/// [`ModelError::UnknownDevice`]; [`ModelError::Device`] if it is absent or not in this build.
pub fn device(name: &str) -> Result<Device, ModelError> {
    let failed = |reason: String| ModelError::Device {
        name: name.to_owned(),
        reason,
    };
    match name {
        "cpu" => Ok(Device::Cpu),
        "composed" => {
            ops::compose_only();
            Ok(Device::Cpu)
        }
        "auto" => Ok(fastest()),
        "cuda" if !cfg!(feature = "cuda") => Err(failed(
            "this build has no CUDA; build with `--features cuda` or use `--device cpu`".into(),
        )),
        "metal" if !cfg!(feature = "metal") => Err(failed(
            "this build has no Metal; build with `--features metal` or use `--device cpu`".into(),
        )),
        "cuda" => Device::new_cuda(0).map_err(|e| {
            failed(format!(
                "{}; use `--device cpu`",
                driver_words(first_line(&e))
            ))
        }),
        "metal" => Device::new_metal(0)
            .map_err(|e| failed(format!("{}; use `--device cpu`", first_line(&e)))),
        _ => Err(ModelError::UnknownDevice(name.to_owned())),
    }
}

/// The fastest device there is. A build for GPUs that finds none says so: the CPU takes many times as long.
fn fastest() -> Device {
    let gpus = [Device::cuda_if_available(0), Device::metal_if_available(0)];
    let mut why = None;
    for gpu in gpus {
        match gpu {
            Ok(device) if !device.is_cpu() => return device,
            Ok(_) => {}
            Err(e) => why = Some(driver_words(first_line(&e))),
        }
    }
    if let Some(why) = why {
        tracing::warn!("the work is done on the CPU: {why}");
    }
    Device::Cpu
}

/// The driver's word for having found nothing, in the user's.
fn driver_words(line: String) -> String {
    if line.contains("CUDA_ERROR_NO_DEVICE") {
        "there is no NVIDIA GPU here, or its driver is not running".into()
    } else {
        line
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
    fn a_missing_gpu_is_said_in_words() {
        let line = r#"DriverError(CUDA_ERROR_NO_DEVICE, "no CUDA-capable device is detected")"#;
        let words = driver_words(line.into());
        assert!(words.contains("no NVIDIA GPU") && !words.contains("CUDA_ERROR"));
        assert_eq!(driver_words("out of memory".into()), "out of memory");
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
}
