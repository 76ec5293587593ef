//! A model in memory: the networks with their words and thresholds.

use std::collections::BTreeMap;

use candle_core::Device;
use candle_nn::VarBuilder;

use crate::{
    nn::{
        config::SparrowConfig,
        precision::{Precision, inventory},
        random_weights::RandomWeights,
        sparrow::{Sparrow, is_spare},
    },
    project::Thresholds,
};

use super::{
    checkpoint::report::asked,
    memory,
    model::{ModelError, ModelInfo, ModelSource, ModelThresholds},
    pieces::PieceTokenizer,
    tokenizer::{Tokenizer, TokenizerConfig},
    words::WordTokenizer,
};

/// Names are those of the released files; the proposer, which has a file of its own there, lies under `detector`.
fn build(config: &SparrowConfig, vb: &VarBuilder<'_>) -> candle_core::Result<Sparrow> {
    Sparrow::new(config, vb, &vb.pp("detector"))
}

/// [`build`] with weights stored as a precision says, and the bytes that they take.
fn build_in(
    config: &SparrowConfig,
    vb: &VarBuilder<'_>,
    precision: Precision,
) -> candle_core::Result<(Sparrow, u64)> {
    let (built, placed) =
        inventory(|| Sparrow::with_precision(config, vb, &vb.pp("detector"), precision));
    Ok((built?, placed.placed))
}

/// A model ready to work.
pub struct LoadedModel {
    /// Description.
    pub info: ModelInfo,
    /// Its id, or the path of its file.
    pub name: String,
    /// Vocabulary.
    pub words: Tokenizer,
    /// Thresholds stored with the weights, else the description's.
    pub thresholds: ModelThresholds,
    /// Where it lives.
    pub device: Device,
    /// Number of tensors.
    pub tensors: usize,
    /// Number of numbers in them.
    pub parameters: usize,
    /// How weights are stored.
    pub precision: Precision,
    /// Bytes that they take.
    pub placed: u64,
    /// Nobody trained it: the answers mean nothing.
    pub untrained: bool,
    pub(super) networks: Sparrow,
}

impl LoadedModel {
    /// Loads strictly: every tensor there, none too many, all of the right shape and finite. Between tensors of a file it can be
    /// stopped, see [`super::heeding`].
    ///
    /// # Errors
    /// [`ModelError`] in one sentence.
    pub fn load(source: &ModelSource, device: &Device) -> Result<Self, ModelError> {
        Self::load_in(source, device, Precision::F32)
    }

    /// [`LoadedModel::load`] in the precision that [`memory::recommended`] names for the device, of whose memory `held` bytes are
    /// taken: a model that stays at work until this one is whole. Where there turns out to be less room, in a smaller one.
    ///
    /// # Errors
    /// As [`LoadedModel::load`].
    pub fn load_fitting(
        source: &ModelSource,
        device: &Device,
        held: u64,
    ) -> Result<Self, ModelError> {
        let found = memory::recommended(source, device, held)?;
        stepping_down(found.precision, |p| Self::load_in(source, device, p))
    }

    /// [`LoadedModel::load`] with weights stored as a precision says.
    ///
    /// # Errors
    /// As [`LoadedModel::load`].
    pub fn load_in(
        source: &ModelSource,
        device: &Device,
        precision: Precision,
    ) -> Result<Self, ModelError> {
        // The vocabulary first: it is read in an instant, the weights are not.
        let words = source.tokenizer()?;
        let (store, thresholds, info) = source.weights(device)?;
        let names = store.names();
        if names.is_empty() && source.file.is_none() {
            return Self::untrained(&source.info, 0, device);
        }
        let (networks, placed) = build_in(&info.config, &store.var_builder(), precision)
            .map_err(|e| source.build_error(&e))?;
        source.check_all_used(&store, |name| is_spare(&info.config, name))?;
        let parameters = names
            .iter()
            .filter_map(|n| store.shape(n))
            .map(|shape| shape.iter().product::<usize>())
            .sum();
        Ok(Self {
            info,
            name: source.name(),
            words,
            thresholds,
            device: device.clone(),
            tensors: names.len(),
            parameters,
            precision,
            placed,
            untrained: false,
            networks,
        })
    }

    /// The networks of a description with weights that follow from `seed`: for tests, and for a program that carries no
    /// trained weights.
    ///
    /// # Errors
    /// [`ModelError`] if the description makes no sense.
    pub fn untrained(info: &ModelInfo, seed: u64, device: &Device) -> Result<Self, ModelError> {
        let weights = RandomWeights::new(seed);
        let networks = build(&info.config, &weights.var_builder(device)).map_err(|e| {
            ModelError::Description {
                id: info.id.clone(),
                reason: e.to_string(),
            }
        })?;
        let tensors = weights.tensors();
        let parameters = tensors.values().map(candle_core::Tensor::elem_count).sum();
        Ok(Self {
            info: info.clone(),
            name: info.id.clone(),
            words: words_of(info)?,
            thresholds: info.thresholds,
            device: device.clone(),
            tensors: tensors.len(),
            parameters,
            precision: Precision::F32,
            placed: 4 * parameters as u64,
            untrained: true,
            networks,
        })
    }

    /// Has `weights` make every tensor that a model asks for.
    ///
    /// # Errors
    /// [`ModelError`] if the description makes no sense.
    pub fn random_tensors(info: &ModelInfo, weights: &RandomWeights) -> Result<(), ModelError> {
        build(&info.config, &weights.var_builder(&Device::Cpu))
            .map(drop)
            .map_err(|e| ModelError::Description {
                id: info.id.clone(),
                reason: e.to_string(),
            })
    }

    /// Name and shape of every tensor that a model asks for: what its weight file holds, no more and no less.
    ///
    /// # Errors
    /// [`ModelError`] if the description makes no sense.
    pub fn tensor_shapes(info: &ModelInfo) -> Result<BTreeMap<String, Vec<usize>>, ModelError> {
        asked(info, [])
    }

    /// The thresholds as a document keeps them.
    pub fn project_thresholds(&self) -> Thresholds {
        Thresholds {
            objectness: self.thresholds.objectness,
            keep: self.thresholds.keep,
            at_most: self.thresholds.at_most,
        }
    }
}

/// Loads in a precision, and in the next smaller one as long as memory runs out.
fn stepping_down<T>(
    mut precision: Precision,
    mut load: impl FnMut(Precision) -> Result<T, ModelError>,
) -> Result<T, ModelError> {
    loop {
        let loaded = load(precision);
        match (&loaded, precision.smaller()) {
            (Err(ModelError::Memory { .. }), Some(smaller)) => {
                tracing::warn!(
                    "there was too little free memory to load the model in {precision}: it is loaded in {smaller}"
                );
                precision = smaller;
            }
            _ => return loaded,
        }
    }
}

/// The vocabulary of a model without files: its list of words, or one in which every byte is a token.
pub(super) fn words_of(info: &ModelInfo) -> Result<Tokenizer, ModelError> {
    let rows = info.config.phi3.vocab_size;
    match &info.tokenizer {
        TokenizerConfig::Words(words) => WordTokenizer::new(words, rows)
            .map(Tokenizer::Words)
            .map_err(|e| e.to_string()),
        TokenizerConfig::Pieces(pieces) => PieceTokenizer::of_bytes(pieces, rows)
            .map(Tokenizer::Pieces)
            .map_err(|e| e.to_string()),
    }
    .map_err(|reason| ModelError::Description {
        id: info.id.clone(),
        reason,
    })
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, path::Path};

    use candle_core::{DType, Tensor};

    use super::*;
    use crate::{
        infer::heeding,
        nn::{
            phi3::{KvCache, is_language_matrix},
            precision::Stored,
            weights::{
                blocks::Blocks,
                bundle::{self, Storage},
            },
        },
        task::{CancelToken, Cancelled},
    };

    /// A weight file of the right shape, and a way to damage it.
    fn file(dir: &Path, change: impl FnOnce(&mut HashMap<String, Tensor>)) -> ModelSource {
        let info = ModelInfo::by_id("nano").unwrap();
        let weights = RandomWeights::new(3);
        build(&info.config, &weights.var_builder(&Device::Cpu)).unwrap();
        let mut tensors: HashMap<String, Tensor> = weights.tensors().into_iter().collect();
        change(&mut tensors);
        let path = dir.join("w.safetensors");
        candle_core::safetensors::save(&tensors, &path).unwrap();
        ModelSource::find(path.to_str().unwrap()).unwrap()
    }

    fn error(source: &ModelSource) -> String {
        let text = LoadedModel::load(source, &Device::Cpu)
            .err()
            .unwrap()
            .to_string();
        assert!(!text.contains('\n'), "one sentence: {text}");
        assert!(
            text.contains("w.safetensors") && text.contains("nano"),
            "{text}"
        );
        text
    }

    #[test]
    fn a_whole_file_loads_and_a_half_one_too_in_half_precision() {
        let dir = tempfile::tempdir().unwrap();
        let loaded = LoadedModel::load(&file(dir.path(), |_| ()), &Device::Cpu).unwrap();
        assert!(!loaded.untrained && loaded.parameters > 5_000_000);
        let halved = file(dir.path(), |tensors| {
            let half = |(name, t): (String, Tensor)| (name, t.to_dtype(DType::F16).unwrap());
            *tensors = tensors.drain().map(half).collect();
        });
        let halved = LoadedModel::load(&halved, &Device::Cpu).unwrap();
        assert_eq!(
            (halved.tensors, halved.parameters),
            (loaded.tensors, loaded.parameters)
        );
    }

    #[test]
    fn a_model_that_does_not_fit_is_tried_smaller() {
        let full = || ModelError::Memory {
            id: "x".into(),
            reason: "out of memory".into(),
        };
        let mut tried = Vec::new();
        let loaded = stepping_down(Precision::F16, |p| {
            tried.push(p);
            if p == Precision::Q4 {
                Ok(p)
            } else {
                Err(full())
            }
        });
        assert_eq!(loaded.unwrap(), Precision::Q4);
        assert_eq!(tried, [Precision::F16, Precision::Q8, Precision::Q4]);
        let never = stepping_down(Precision::F32, |_| Err::<(), _>(full()));
        assert!(matches!(never, Err(ModelError::Memory { .. })));
        let mut tries = 0;
        let other = stepping_down(Precision::F32, |_| {
            tries += 1;
            Err::<(), _>(ModelError::UnknownDevice("tpu".into()))
        });
        assert!(
            other.is_err() && tries == 1,
            "another reason is none to round"
        );
    }

    /// A large model takes minutes to read, and nobody who has changed their mind waits for it.
    #[test]
    fn loading_a_model_can_be_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let source = file(dir.path(), |_| ());
        let load = |cancel: &CancelToken| {
            heeding(cancel, || -> anyhow::Result<LoadedModel> {
                Ok(LoadedModel::load_fitting(&source, &Device::Cpu, 0)?)
            })
        };
        let token = CancelToken::default();
        assert!(load(&token).is_ok());
        token.cancel();
        let error = load(&token).map(drop).unwrap_err();
        assert!(error.is::<Cancelled>(), "{error:#}");
        // Who stops is no fault of the file's.
        assert!(load(&CancelToken::default()).is_ok());
    }

    /// What is placed is what was counted from shapes alone, to the byte, in every precision.
    #[test]
    fn placed_bytes_are_those_that_the_shapes_foretell() {
        let dir = tempfile::tempdir().unwrap();
        let source = file(dir.path(), |_| ());
        let weights = crate::infer::memory::weights(&source.info).unwrap();
        let mut last = u64::MAX;
        for precision in [Precision::F32, Precision::F16, Precision::Q8, Precision::Q4] {
            let loaded = LoadedModel::load_in(&source, &Device::Cpu, precision).unwrap();
            assert_eq!(loaded.placed, weights.bytes(precision), "{precision}");
            assert_eq!(loaded.parameters as u64, weights.values);
            assert!(loaded.placed < last, "{precision}");
            last = loaded.placed;
        }
        let half = LoadedModel::load_in(&source, &Device::Cpu, Precision::Bf16).unwrap();
        assert_eq!(half.placed, weights.bytes(Precision::F16));
    }

    /// A file whose language model is in blocks gives the very blocks that a file of floats would be made into.
    #[test]
    fn a_language_model_that_is_stored_in_blocks_is_taken_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let floats = file(dir.path(), |_| ());
        for precision in [Precision::Q8, Precision::Q4] {
            let path = dir.path().join(format!("{precision}.safetensors"));
            let opened = floats.open().unwrap();
            let storage = |name: &str| {
                let shape = &opened.set.info(name).unwrap().shape;
                match precision.language(shape.last().copied().unwrap_or(0)) {
                    Stored::Blocks(kind) if is_language_matrix(name) => {
                        Storage::Blocks(Blocks::of(kind).unwrap())
                    }
                    _ => Storage::F32,
                }
            };
            let out = std::fs::File::create(&path).unwrap();
            let none = BTreeMap::new();
            bundle::write(
                &opened.set,
                out,
                storage,
                &none,
                &BTreeMap::new(),
                |_, _| true,
            )
            .unwrap()
            .unwrap();
            let source = ModelSource::find(path.to_str().unwrap()).unwrap();
            let stored = LoadedModel::load_fitting(&source, &Device::Cpu, 0).unwrap();
            assert_eq!(stored.precision, precision);
            let made = LoadedModel::load_in(&floats, &Device::Cpu, precision).unwrap();
            assert_eq!(
                (stored.placed, stored.parameters, stored.tensors),
                (made.placed, made.parameters, made.tensors)
            );
            let says = |model: &LoadedModel| -> Vec<f32> {
                let net = &model.networks.language;
                let embeds = net.embed(&[3, 1, 4, 1, 5]).unwrap().unsqueeze(0).unwrap();
                let hidden = net.forward(&embeds, &mut KvCache::new()).unwrap();
                let logits = net.logits(&hidden).unwrap();
                logits.flatten_all().unwrap().to_vec1().unwrap()
            };
            assert_eq!(says(&stored), says(&made), "{precision}");
            // Other precisions are made of what the blocks hold.
            let wide = LoadedModel::load(&source, &Device::Cpu).unwrap();
            let (wide, narrow) = (says(&wide), says(&stored));
            let off = wide.iter().zip(&narrow).map(|(a, b)| (a - b).abs());
            let most = |values: &mut dyn Iterator<Item = f32>| values.fold(0.0, f32::max);
            let loudest = most(&mut wide.iter().map(|v| v.abs()));
            let off = most(&mut { off });
            assert!(off < 0.1 * loudest, "{precision}: {off} of {loudest}");
        }
    }

    /// One matrix twice in a file, as floats and in blocks: one is too many, whichever stands first.
    #[test]
    fn a_matrix_that_a_file_holds_twice_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let own = "lm_head.weight";
        for tag in [".q8_0", ".q4_0"] {
            let text = error(&file(dir.path(), |tensors| {
                let rows = tensors[own].dims()[0];
                let blocks = Tensor::zeros((rows, 5 * 34 * 18), DType::U8, &Device::Cpu).unwrap();
                tensors.insert(format!("{own}{tag}"), blocks);
            }));
            assert!(text.contains(&format!("{own}{tag}")), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let name = "model.visual_model.no_mem_embed";
        let missing = error(&file(dir.path(), |t| {
            t.remove(name).unwrap();
        }));
        assert!(
            missing.contains(name) && missing.contains("missing"),
            "{missing}"
        );
        let misshapen = error(&file(dir.path(), |t| {
            let wrong = Tensor::zeros((1, 1, 7), DType::F32, &Device::Cpu).unwrap();
            t.insert(name.into(), wrong);
        }));
        assert!(
            misshapen.contains(name) && misshapen.contains("shape"),
            "{misshapen}"
        );
        let superfluous = error(&file(dir.path(), |t| {
            t.insert("aux.head.weight".into(), t[name].clone());
        }));
        assert!(superfluous.contains("aux.head.weight"), "{superfluous}");
        for bad in [f32::NAN, f32::INFINITY] {
            let text = error(&file(dir.path(), |t| {
                let poisoned = t[name].affine(0.0, f64::from(bad)).unwrap();
                t.insert(name.into(), poisoned);
            }));
            assert!(
                text.contains(name) && text.contains("not a number"),
                "{text}"
            );
        }
        let whole = file(dir.path(), |_| ());
        let path = dir.path().join("w.safetensors");
        let bytes = std::fs::read(&path).unwrap();
        for length in [0, 4, 100, bytes.len() / 2, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..length]).unwrap();
            let text = error(&whole);
            assert!(text.contains("cut short"), "{length}: {text}");
        }
    }
}
