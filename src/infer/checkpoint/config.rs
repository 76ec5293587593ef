//! A model's description, adapted to what a checkpoint says of itself: sizes of the language model, its tokenizer, and
//! where answers end.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde::Deserialize;
use serde_json::Value;

use super::{
    super::{
        model::{ModelError, ModelInfo},
        pieces::{AddedToken, PiecesConfig},
        tokenizer::TokenizerConfig,
    },
    Parts, Role,
};

/// A description that stands beside the files and replaces the program's own: for checkpoints of other sizes.
pub const DESCRIPTION: &str = "sparrow.json";

/// The model file of the tokenizer.
pub const TOKENIZER: &str = "tokenizer.model";

/// Reads `config.json`, `generation_config.json` and the tokenizer's files of the SPARROW part into a description.
///
/// # Errors
/// [`ModelError::Parts`] if one is damaged or asks for something that the networks do not do.
pub fn resolve(info: &ModelInfo, parts: &Parts) -> Result<ModelInfo, ModelError> {
    let mut info = info.clone();
    let Some(folder) = parts.get(&Role::Sparrow).filter(|p| p.is_dir()) else {
        return Ok(info);
    };
    sizes(&mut info, folder)?;
    if let TokenizerConfig::Pieces(pieces) = &mut info.tokenizer {
        *pieces = tokens(pieces, folder)?;
    }
    Ok(info)
}

fn failed(path: &Path, reason: impl std::fmt::Display) -> ModelError {
    ModelError::Parts {
        place: path.display().to_string(),
        reason: reason.to_string(),
    }
}

/// A JSON file's content; `None` if there is no such file.
fn read<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<Option<T>, ModelError> {
    if !path.is_file() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(path).map_err(|e| failed(path, e))?;
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|e| failed(path, format!("it is damaged ({e})")))
}

#[derive(Deserialize)]
struct Config {
    hidden_size: Option<usize>,
    intermediate_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    num_key_value_heads: Option<usize>,
    vocab_size: Option<usize>,
    rms_norm_eps: Option<f64>,
    rope_theta: Option<f64>,
    out_dim: Option<usize>,
    tsf_k: Option<usize>,
    tsf_kmeans_iters: Option<usize>,
    #[serde(default)]
    rope_scaling: Value,
    #[serde(default)]
    mm_use_im_start_end: bool,
    mm_projector_type: Option<String>,
    image_mm_projector_type: Option<String>,
    mm_vision_select_layer: Option<i64>,
    /// Absent, null and a number all mean something else.
    #[serde(default, deserialize_with = "present")]
    sliding_window: Option<Option<usize>>,
}

fn present<'a, D: serde::Deserializer<'a>>(d: D) -> Result<Option<Option<usize>>, D::Error> {
    Option::deserialize(d).map(Some)
}

fn sizes(info: &mut ModelInfo, folder: &Path) -> Result<(), ModelError> {
    let path = folder.join("config.json");
    let Some(config) = read::<Config>(&path)? else {
        return Err(failed(folder, "it holds no config.json"));
    };
    if !config.rope_scaling.is_null() {
        return Err(failed(
            &path,
            "it asks for rope_scaling, which SPARROW does not use",
        ));
    }
    if config.mm_use_im_start_end {
        return Err(failed(
            &path,
            "it asks for mm_use_im_start_end, which no released SPARROW uses",
        ));
    }
    for projector in [&config.mm_projector_type, &config.image_mm_projector_type] {
        if let Some(kind) = projector
            && kind != "mlp2x_gelu"
        {
            return Err(failed(
                &path,
                format!("it asks for the projector {kind}; SPARROW's is mlp2x_gelu"),
            ));
        }
    }
    if let Some(layer) = config.mm_vision_select_layer
        && layer != -2
    {
        return Err(failed(
            &path,
            format!("it asks for vision layer {layer}; SPARROW's is -2"),
        ));
    }
    let phi3 = &mut info.config.phi3;
    let set = |to: &mut usize, from: Option<usize>| {
        if let Some(n) = from {
            *to = n;
        }
    };
    set(&mut phi3.hidden_size, config.hidden_size);
    set(&mut phi3.intermediate_size, config.intermediate_size);
    set(&mut phi3.num_hidden_layers, config.num_hidden_layers);
    set(&mut phi3.num_attention_heads, config.num_attention_heads);
    set(
        &mut phi3.num_key_value_heads,
        config.num_key_value_heads.or(config.num_attention_heads),
    );
    set(&mut phi3.vocab_size, config.vocab_size);
    set(&mut info.config.filtration.seg_dim, config.out_dim);
    set(&mut info.config.visual.tsf_k, config.tsf_k);
    set(
        &mut info.config.visual.tsf_kmeans_iters,
        config.tsf_kmeans_iters,
    );
    if let Some(eps) = config.rms_norm_eps {
        phi3.rms_norm_eps = eps;
    }
    if let Some(theta) = config.rope_theta {
        phi3.rope_theta = theta;
    }
    if let Some(window) = config.sliding_window {
        phi3.sliding_window = window;
    }
    if phi3.num_attention_heads == 0
        || phi3.num_key_value_heads == 0
        || !phi3.hidden_size.is_multiple_of(phi3.num_attention_heads)
    {
        return Err(failed(
            &path,
            format!(
                "a width of {} does not divide into {} heads",
                phi3.hidden_size, phi3.num_attention_heads
            ),
        ));
    }
    match info.config.unreasonable() {
        Some(what) => Err(failed(&path, what)),
        None => Ok(()),
    }
}

#[derive(Deserialize)]
struct Entry {
    content: String,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
}

/// A token as a text or with its habits.
#[derive(Deserialize)]
#[serde(untagged)]
enum Named {
    Text(String),
    Entry(Entry),
}

impl Named {
    fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Entry(entry) => entry.content,
        }
    }
}

/// One token, several, or none.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
    None(()),
}

impl<T> OneOrMany<T> {
    fn into_vec(self) -> Vec<T> {
        match self {
            Self::One(item) => vec![item],
            Self::Many(items) => items,
            Self::None(()) => Vec::new(),
        }
    }
}

#[derive(Deserialize)]
struct TokenizerFile {
    #[serde(default)]
    added_tokens_decoder: BTreeMap<String, Entry>,
    add_bos_token: Option<bool>,
    legacy: Option<bool>,
    bos_token: Option<Named>,
}

#[derive(Deserialize)]
struct Generation {
    eos_token_id: Option<OneOrMany<u32>>,
}

/// Tokens beside the pieces, habits, and ids that end an answer.
fn tokens(base: &PiecesConfig, folder: &Path) -> Result<PiecesConfig, ModelError> {
    let path = folder.join("tokenizer_config.json");
    let Some(file) = read::<TokenizerFile>(&path)? else {
        return Err(failed(folder, "it holds no tokenizer_config.json"));
    };
    let mut added: BTreeMap<u32, AddedToken> = BTreeMap::new();
    for (id, entry) in file.added_tokens_decoder {
        let id = id
            .parse()
            .ok()
            .ok_or_else(|| failed(&path, format!("{id} is no token's number")))?;
        added.insert(
            id,
            AddedToken {
                id,
                content: entry.content,
                lstrip: entry.lstrip,
                rstrip: entry.rstrip,
            },
        );
    }
    let older = read::<BTreeMap<String, u32>>(&folder.join("added_tokens.json"))?;
    for (content, id) in older.unwrap_or_default() {
        added.entry(id).or_insert(AddedToken {
            id,
            content,
            lstrip: false,
            rstrip: false,
        });
    }
    let map = read::<BTreeMap<String, OneOrMany<Named>>>(&folder.join("special_tokens_map.json"))?;
    let special: BTreeSet<String> = map
        .unwrap_or_default()
        .into_values()
        .flat_map(OneOrMany::into_vec)
        .map(Named::into_text)
        .collect();
    let id_of = |text: &str| added.values().find(|t| t.content == text).map(|t| t.id);
    let begin = file.bos_token.map_or("<s>".to_owned(), Named::into_text);
    let begins = file.add_bos_token.unwrap_or(true);
    let generation = read::<Generation>(&folder.join("generation_config.json"))?;
    let mut ends: BTreeSet<u32> = generation
        .and_then(|g| g.eos_token_id)
        .map(OneOrMany::into_vec)
        .unwrap_or_default()
        .into_iter()
        .collect();
    // An answer that goes on behind its end would be read as the user's next turn.
    ends.extend(
        ["<|end|>", "<|endoftext|>", "</s>"]
            .iter()
            .filter_map(|t| id_of(t)),
    );
    Ok(PiecesConfig {
        begin: begins.then(|| id_of(&begin).unwrap_or(1)),
        legacy: file.legacy.unwrap_or(true),
        added: added.into_values().collect(),
        special,
        ends,
        lowercase: base.lowercase,
    })
}
