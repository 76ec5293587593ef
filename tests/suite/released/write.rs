//! Writes a checkpoint in the layout that the authors release: small for the tests, or of full size.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
};

use candle_core::{DType, Device, Tensor};
use serde_json::json;
use sparrow::{
    infer::{
        LoadedModel,
        model::{ModelInfo, Pixels},
    },
    nn::random_weights::RandomWeights,
};

use super::torch::{Data, Item, Kind, save};

/// A checkpoint before it is written: items of each file.
#[derive(Clone)]
pub(crate) struct Files {
    pub(crate) shards: Vec<Vec<Item>>,
    pub(crate) clip: Vec<Item>,
    pub(crate) internvideo2: Vec<Item>,
    pub(crate) proposer: Vec<Item>,
}

/// Prefixes of what lies in other files than the checkpoint's own.
const CLIP: &str = "model.image_vision_tower.vision_tower.";
const VIDEO: &str = "model.vision_tower.";
const DETECTOR: &str = "detector.";

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

/// The released model at the size of the miniature one, with the small tokenizer of the tests.
pub(crate) fn small_info() -> ModelInfo {
    let nano = ModelInfo::by_id("nano").unwrap();
    let mut info = ModelInfo::by_id("sparrow-videoglamm").unwrap();
    let gamma = (
        info.config.filtration.gamma,
        info.config.filtration.box_prior_max_keep,
    );
    info.config = nano.config;
    info.config.phi3.vocab_size = 608;
    info.config.phi3.sliding_window = Some(100);
    info.config.proposer.shared_trunk = false;
    info.config.proposer.image_size = 128;
    info.config.filtration.gamma = gamma.0;
    info.config.filtration.gamma_from_weights = false;
    info.config.filtration.box_prior_max_keep = gamma.1;
    info.prompt.max_new_tokens = 8;
    assert_eq!(info.preprocess.pixels, Pixels::Released);
    info
}

/// Where a name of the networks lies, and what it is called there.
fn placed(name: &str) -> (usize, String) {
    if let Some(rest) = name.strip_prefix(CLIP) {
        (1, rest.to_owned())
    } else if let Some(rest) = name.strip_prefix(VIDEO) {
        (2, rest.to_owned())
    } else if let Some(rest) = name.strip_prefix(DETECTOR) {
        (3, rest.to_owned())
    } else {
        (0, name.to_owned())
    }
}

/// Ids of the small tokenizer.
const SEG: usize = 606;
const BOX: usize = 607;

/// Values of the language model that make it say `[BOX] [SEG]` and end, whatever it is asked: the state is the last
/// token's own embedding, and the head tells from it what comes next.
fn speaks(name: &str, shape: &[usize]) -> Option<Vec<f32>> {
    const END: usize = 603;
    let mut values = vec![0.0; shape.iter().product()];
    let width = shape.last().copied().unwrap_or(1);
    match name {
        "model.embed_tokens.weight" => {
            for row in values.chunks_exact_mut(width) {
                row[0] = 1.0;
            }
            values[BOX * width + 1] = 10.0;
            values[SEG * width + 2] = 10.0;
        }
        "lm_head.weight" => {
            values[BOX * width] = 1.0;
            values[SEG * width + 1] = 10.0;
            values[END * width + 2] = 10.0;
        }
        "model.norm.weight" => values.fill(1.0),
        name if name.ends_with("o_proj.weight") || name.ends_with("mlp.down_proj.weight") => {
            if !name.starts_with("model.layers.") {
                return None;
            }
        }
        _ => return None,
    }
    Some(values)
}

/// The language model hears what it is asked and shown: its layers add to all components of a state but the first three,
/// which decide the words. With `silent` it says `[SEG]` without any `[BOX]`.
pub(crate) fn listens(files: &mut Files, silent: bool) {
    for item in files.shards.iter_mut().flatten() {
        let Data::Values(values) = &mut item.data else {
            continue;
        };
        let width = item.shape.last().copied().unwrap_or(1);
        let name = item.name.as_str();
        let adds = name.ends_with("o_proj.weight") || name.ends_with("mlp.down_proj.weight");
        if name.starts_with("model.layers.") && adds {
            for (i, value) in values.iter_mut().enumerate().skip(3 * width) {
                *value = 0.1 * ((i * 7919 % 1013) as f32 / 1013.0 - 0.5);
            }
        } else if name == "lm_head.weight" && silent {
            values.swap(SEG * width, BOX * width);
        }
    }
}

/// All files of a small checkpoint: what the networks ask for, and what released files hold besides.
pub(crate) fn small_files(info: &ModelInfo) -> Files {
    let weights = RandomWeights::new(11);
    LoadedModel::random_tensors(info, &weights).unwrap();
    let mut files: [Vec<Item>; 4] = Default::default();
    for (name, tensor) in weights.tensors() {
        let shape = tensor.dims().to_vec();
        let values = speaks(&name, &shape).unwrap_or_else(|| {
            let flat = tensor.flatten_all().unwrap();
            flat.to_vec1::<f32>().unwrap()
        });
        let (file, name) = placed(&name);
        // As released: the language model in half precision, the rest in single.
        let kind = if file == 0 { Kind::F16 } else { Kind::F32 };
        let data = if name.ends_with("fc1.weight") {
            Data::Transposed(values)
        } else {
            Data::Values(values)
        };
        files[file].push(Item {
            name,
            shape,
            kind,
            data,
        });
    }
    let [mut own, mut clip, mut internvideo2, mut proposer] = files;
    let config = &info.config;
    copy_layer(&mut clip, "encoder.layers", config.clip.layers);
    copy_layer(&mut internvideo2, "blocks", config.internvideo2.depth);
    let spare = |name: &str, shape: &[usize], kind| Item {
        name: name.to_owned(),
        shape: shape.to_vec(),
        kind,
        data: Data::Values(vec![1.0; shape.iter().product()]),
    };
    clip.push(spare(
        "vision_model.post_layernorm.weight",
        &[96],
        Kind::F32,
    ));
    clip.push(spare(
        "vision_model.embeddings.position_ids",
        &[1, 145],
        Kind::I64,
    ));
    clip.push(spare("text_model.final_layer_norm.weight", &[8], Kind::F32));
    clip.push(spare("logit_scale", &[], Kind::F32));
    internvideo2.push(spare("vision_proj.weight", &[4, 6], Kind::F32));
    internvideo2.push(spare(
        "vision_encoder.clip_projector.norm1_q.weight",
        &[96],
        Kind::F32,
    ));
    internvideo2.push(spare("text_encoder.embeddings.weight", &[3, 4], Kind::F32));
    // The exporter leaves the temporal tower in; it is taken from its own file all the same.
    let copied: Vec<Item> = internvideo2
        .iter()
        .filter(|i| i.name.starts_with("vision_encoder."))
        .map(|i| Item {
            name: format!("{VIDEO}{}", i.name),
            data: Data::Values(vec![0.25; i.shape.iter().product()]),
            kind: Kind::F16,
            shape: i.shape.clone(),
        })
        .collect();
    own.extend(copied);
    own.push(spare("model.roi_fusion_gamma", &[], Kind::F16));
    for item in own
        .iter_mut()
        .filter(|i| i.name.contains("memory_encoder.pix_feat"))
    {
        item.kind = Kind::BF16;
    }
    aliases(&mut proposer);
    Files {
        shards: cut(own, 3),
        clip,
        internvideo2,
        proposer,
    }
}

/// Adds the layer that is never run, as a copy of the first.
fn copy_layer(items: &mut Vec<Item>, under: &str, layers: usize) {
    let (first, last) = (format!("{under}.0."), format!("{under}.{}.", layers - 1));
    let copies: Vec<Item> = items
        .iter()
        .filter(|i| i.name.contains(&first))
        .map(|i| Item {
            name: i.name.replace(&first, &last),
            ..i.clone()
        })
        .collect();
    assert!(!copies.is_empty());
    items.extend(copies);
}

/// Adds the second names of the proposer's heads, which share their numbers.
fn aliases(items: &mut Vec<Item>) {
    let head = "ddetr_transformer.";
    let more: Vec<Item> = items
        .iter()
        .filter(|i| {
            let rest = i.name.strip_prefix(head).unwrap_or_default();
            rest.starts_with("bbox_embed.") || rest.starts_with("class_embed_")
        })
        .map(|i| Item {
            name: i.name.replace(head, "ddetr_transformer.decoder."),
            data: Data::Alias(i.name.clone()),
            ..i.clone()
        })
        .collect();
    assert!(!more.is_empty());
    items.extend(more);
}

/// `n` shards of about the same size.
fn cut(items: Vec<Item>, n: usize) -> Vec<Vec<Item>> {
    let size = |i: &Item| i.shape.iter().product::<usize>() * i.kind.width();
    let share = items.iter().map(size).sum::<usize>().div_ceil(n);
    let (mut shards, mut filled) = (vec![Vec::new(); n], 0);
    for item in items {
        let at = filled / share;
        filled += size(&item);
        shards[at].push(item);
    }
    assert!(shards.iter().all(|s| !s.is_empty()));
    shards
}

/// Name of shard `i` of `n`.
pub(crate) fn shard(i: usize, n: usize) -> String {
    format!("pytorch_model-{:05}-of-{n:05}.bin", i + 1)
}

fn write_json(path: &Path, value: &serde_json::Value) {
    fs::write(path, serde_json::to_string_pretty(value).unwrap()).unwrap();
}

/// Writes a checkpoint's files into `root`, which is made.
pub(crate) fn write(root: &Path, info: &ModelInfo, files: &Files) {
    let own = root.join("sparrow");
    let clip = root.join("clip-vit-large-patch14-336");
    let proposer = root.join("ddetr_sam2");
    for folder in [&own, &clip, &proposer] {
        fs::create_dir_all(folder).unwrap();
    }
    let n = files.shards.len();
    let mut map = BTreeMap::new();
    for (i, items) in files.shards.iter().enumerate() {
        save(&own.join(shard(i, n)), None, items).unwrap();
        map.extend(items.iter().map(|item| (item.name.clone(), shard(i, n))));
    }
    write_json(
        &own.join("pytorch_model.bin.index.json"),
        &json!({"metadata": {"total_size": 0}, "weight_map": map}),
    );
    write_json(&own.join("config.json"), &config(info));
    write_json(
        &own.join("generation_config.json"),
        &json!({"bos_token_id": 1, "eos_token_id": [600, 603], "do_sample": true}),
    );
    save(&clip.join("pytorch_model.bin"), None, &files.clip).unwrap();
    write_json(&clip.join("config.json"), &json!({"model_type": "clip"}));
    let file = root.join("InternVideo2-stage2_1b-224p-f4.pt");
    save(&file, Some("module"), &files.internvideo2).unwrap();
    save(&proposer.join("pytorch_model.bin"), None, &files.proposer).unwrap();
    write_json(
        &proposer.join("config.json"),
        &json!({"model_type": "ddetr_sam2", "num_queries": 300}),
    );
}

/// The tokenizer of the tests, beside the checkpoint.
pub(crate) fn write_tokenizer(root: &Path) {
    for name in [
        "tokenizer.model",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
    ] {
        fs::copy(
            fixture("tokenizer").join(name),
            root.join("sparrow").join(name),
        )
        .unwrap();
    }
}

fn config(info: &ModelInfo) -> serde_json::Value {
    let phi3 = &info.config.phi3;
    json!({
        "architectures": ["SPARROWForCausalLM"], "model_type": "VideoGPT+", "torch_dtype": "float16",
        "hidden_size": phi3.hidden_size, "intermediate_size": phi3.intermediate_size,
        "num_hidden_layers": phi3.num_hidden_layers, "num_attention_heads": phi3.num_attention_heads,
        "num_key_value_heads": phi3.num_key_value_heads, "vocab_size": phi3.vocab_size,
        "rms_norm_eps": phi3.rms_norm_eps, "rope_theta": phi3.rope_theta, "rope_scaling": null,
        "sliding_window": phi3.sliding_window, "max_position_embeddings": 4096,
        "mm_projector_type": "mlp2x_gelu", "image_mm_projector_type": "mlp2x_gelu", "mm_vision_select_layer": -2,
        "mm_use_im_start_end": false, "mm_use_im_patch_token": false, "use_sam2": true,
        "out_dim": info.config.filtration.seg_dim, "tsf_k": info.config.visual.tsf_k,
        "tsf_kmeans_iters": info.config.visual.tsf_kmeans_iters,
    })
}

/// A small checkpoint with everything that a user would have, and the description of its sizes.
pub(crate) fn small(root: &Path) {
    let info = small_info();
    write_whole(root, &info, &small_files(&info));
}

/// [`write`] with the tokenizer and the description beside it.
pub(crate) fn write_whole(root: &Path, info: &ModelInfo, files: &Files) {
    write(root, info, files);
    write_tokenizer(root);
    let text = serde_json::to_string_pretty(info).unwrap();
    fs::write(root.join("sparrow.json"), text).unwrap();
}

fn tensor(items: &[Item], item: &Item) -> Tensor {
    let values = match &item.data {
        Data::Values(values) | Data::Transposed(values) => values.clone(),
        Data::Alias(of) => return tensor(items, items.iter().find(|i| i.name == *of).unwrap()),
        Data::Noise { .. } => panic!("noise is for files that no test reads"),
    };
    let dtype = match item.kind {
        Kind::F32 => DType::F32,
        Kind::F16 => DType::F16,
        Kind::BF16 => DType::BF16,
        Kind::I64 => DType::I64,
    };
    let wide = Tensor::from_vec(values, item.shape.as_slice(), &Device::Cpu).unwrap();
    wide.to_dtype(dtype).unwrap()
}

/// A safetensors file of the same tensors.
pub(crate) fn write_safetensors(path: &Path, items: &[Item]) {
    let all: HashMap<String, Tensor> = items
        .iter()
        .map(|item| (item.name.clone(), tensor(items, item)))
        .collect();
    candle_core::safetensors::save(&all, path).unwrap();
}

/// The same in two shards with an index.
pub(crate) fn write_safetensors_shards(folder: &Path, items: &[Item]) {
    let mut map = BTreeMap::new();
    for i in 0..2 {
        let name = format!("model-{:05}-of-00002.safetensors", i + 1);
        let part: HashMap<String, Tensor> = items
            .iter()
            .skip(i)
            .step_by(2)
            .map(|item| (item.name.clone(), tensor(items, item)))
            .collect();
        candle_core::safetensors::save(&part, folder.join(&name)).unwrap();
        map.extend(part.into_keys().map(|tensor| (tensor, name.clone())));
    }
    write_json(
        &folder.join("model.safetensors.index.json"),
        &json!({"metadata": {"total_size": 0}, "weight_map": map}),
    );
}

/// All files of a checkpoint of the released size; norms are one, all else is small noise.
pub(crate) fn full_files(tensors: BTreeMap<String, BTreeMap<String, Vec<usize>>>) -> Files {
    let items = |section: &str, kind: Kind| -> Vec<Item> {
        let item = |(name, shape): (&String, &Vec<usize>)| {
            let norm = shape.len() == 1 && name.contains("norm") && name.ends_with("weight");
            let mean = if norm || name.ends_with("gamma") {
                1.0
            } else {
                0.0
            };
            Item {
                name: name.clone(),
                shape: shape.clone(),
                kind,
                data: Data::Noise { mean, std: 0.02 },
            }
        };
        tensors[section].iter().map(item).collect()
    };
    let mut proposer = items("proposer", Kind::F32);
    proposer.extend(items("alias", Kind::F32).into_iter().map(|i| Item {
        data: Data::Alias(i.name.replace("decoder.", "")),
        ..i
    }));
    Files {
        shards: cut(items("sparrow", Kind::F16), 4),
        clip: items("clip", Kind::F32),
        internvideo2: items("internvideo2", Kind::F32),
        proposer,
    }
}

/// A tokenizer of `rows` tokens in the released layout, which the small one's pieces begin.
pub(crate) fn write_full_tokenizer(folder: &Path, rows: usize) {
    let model = fs::read(fixture("tokenizer").join("tokenizer.model")).unwrap();
    let text = fs::read_to_string(fixture("tokenizer").join("tokenizer_config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
    let added = config["added_tokens_decoder"].as_object_mut().unwrap();
    for id in 608..rows {
        added.insert(
            id.to_string(),
            json!({"content": format!("<|unused{id}|>"), "special": true}),
        );
    }
    fs::write(folder.join("tokenizer.model"), model).unwrap();
    write_json(&folder.join("tokenizer_config.json"), &config);
}
