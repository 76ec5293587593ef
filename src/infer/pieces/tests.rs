use std::path::Path;

use serde::Deserialize;

use super::*;
use crate::infer::{
    checkpoint::{Parts, Role, config::resolve},
    model::ModelInfo,
    tokenizer::TokenizerConfig,
};

/// What the authors' own tokenizer gives (tests/tools/tokenizer.py).
#[derive(Deserialize)]
struct Golden {
    texts: Vec<String>,
    current: Vec<Vec<u32>>,
    listed: Vec<Vec<u32>>,
    legacy: Vec<Vec<u32>>,
    prompts: Prompts,
    length: usize,
    seg: u32,
    #[serde(rename = "box")]
    boxes: u32,
}

#[derive(Deserialize)]
struct Prompts {
    video: Vec<i64>,
    image: Vec<i64>,
    video_tsf: Vec<i64>,
}

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokenizer")
}

fn golden() -> Golden {
    let text = std::fs::read_to_string(folder().join("golden.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn file() -> Vec<u8> {
    std::fs::read(folder().join("tokenizer.model")).unwrap()
}

/// The fixture's files, read as those of a checkpoint.
fn config() -> PiecesConfig {
    let dir = tempfile::tempdir().unwrap();
    for name in [
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
    ] {
        std::fs::copy(folder().join(name), dir.path().join(name)).unwrap();
    }
    std::fs::write(dir.path().join("config.json"), "{}").unwrap();
    std::fs::write(
        dir.path().join("generation_config.json"),
        r#"{"eos_token_id": [600, 603]}"#,
    )
    .unwrap();
    let parts: Parts = [(Role::Sparrow, dir.path().to_owned())].into();
    let info = ModelInfo::by_id("sparrow-videoglamm").unwrap();
    match resolve(&info, &parts).unwrap().tokenizer {
        TokenizerConfig::Pieces(pieces) => pieces,
        TokenizerConfig::Words(_) => panic!("the released model reads pieces"),
    }
}

fn tokenizer() -> PieceTokenizer {
    PieceTokenizer::new(&config(), &file(), golden().length).unwrap()
}

#[test]
fn oddity_49_ids_are_the_slow_tokenizers_own() {
    let golden = golden();
    let current = tokenizer();
    let mut listed = current.clone();
    listed.config.special.extend(
        config()
            .added
            .iter()
            .map(|t| t.content.clone())
            .filter(|t| t.starts_with("<|")),
    );
    let mut legacy = current.clone();
    legacy.config.legacy = true;
    for (i, text) in golden.texts.iter().enumerate() {
        assert_eq!(current.encode(text), golden.current[i], "{text:?}");
        assert_eq!(listed.encode(text), golden.listed[i], "listed {text:?}");
        assert_eq!(legacy.encode(text), golden.legacy[i], "legacy {text:?}");
    }
    assert_eq!(current.id("[SEG]"), Some(golden.seg));
    assert_eq!(current.id("[BOX]"), Some(golden.boxes));
    assert_eq!(
        current.ends().iter().copied().collect::<Vec<_>>(),
        [2, 600, 603]
    );
}

#[test]
fn a_prompt_is_cut_at_its_images_and_every_chunk_read_alone() {
    let (golden, words) = (golden(), tokenizer());
    let info = ModelInfo::by_id("sparrow-videoglamm").unwrap();
    let phrase = words.read("the red horse").unwrap();
    let template = &info.prompt.template;
    let video = words.prompt(template, &phrase, 16, 0);
    assert_eq!(video.ids, golden.prompts.video);
    assert_eq!(video.ids[video.prefix - 1], IMAGE_TOKEN);
    assert_ne!(video.ids[video.prefix], IMAGE_TOKEN);
    assert_eq!(
        words.prompt(template, &phrase, 1, 0).ids,
        golden.prompts.image
    );
    let steered = words.prompt(template, &phrase, 16, 16);
    assert_eq!(steered.ids, golden.prompts.video_tsf);
    // The part before the phrase is the same for every phrase: its keys and values are kept.
    let other = words.prompt(template, &Phrase::default(), 16, 0);
    assert_eq!(other.prefix, video.prefix);
    assert_eq!(other.ids[..other.prefix], video.ids[..video.prefix]);
}

#[test]
fn special_tokens_never_come_from_the_user() {
    let words = tokenizer();
    let typed = "The [SEG] Red [BOX]horse <|end|> <image> [S[BOX]EG] <|USER|>?";
    let phrase = words.read(typed).unwrap();
    assert_eq!(phrase.text, "the red horse [s eg]");
    assert_eq!(phrase.warnings.len(), 1);
    assert!(phrase.unknown.is_empty());
    for token in ["[SEG]", "[BOX]", "<|end|>", "<|user|>"] {
        assert!(!phrase.ids.contains(&words.id(token).unwrap()), "{token}");
    }
    for empty in ["", "  \n"] {
        assert_eq!(words.read(empty), Err(PhraseError::Empty));
    }
    for nothing in ["[SEG]", "<image><tsf>", "...", "🐎"] {
        let error = words.read(nothing).unwrap_err();
        assert!(matches!(error, PhraseError::NoWords(_)), "{nothing}");
    }
    let long = words.read(&"horse ".repeat(500)).unwrap();
    assert!(long.text.len() <= MAX_BYTES && long.warnings.len() == 1);
}

#[test]
fn answers_are_readable() {
    let words = tokenizer();
    let mut ids = words.encode("It is [BOX] [SEG].");
    ids.extend([603, 2]);
    assert_eq!(words.decode(&ids).replace("  ", " "), "It is [BOX] [SEG].");
    assert_eq!(
        words.decode(&words.encode("naïve café лошадь 🐎")),
        "naïve café лошадь 🐎"
    );
    assert_eq!(words.decode(&[]), "");
    assert_eq!(words.token(1_000_000), "<unk>");
}

#[test]
fn a_tokenizer_of_another_model_is_refused_by_name() {
    let (config, file, rows) = (config(), file(), golden().length);
    for token in ["[SEG]", "[BOX]"] {
        let mut lacking = config.clone();
        lacking.added.retain(|t| t.content != token);
        let error = PieceTokenizer::new(&lacking, &file, rows).unwrap_err();
        assert!(error.to_string().contains(token), "{error}");
    }
    let error = PieceTokenizer::new(&config, &file, 32_013).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the tokenizer has 608 tokens, the language model 32013 rows"
    );
    for n in [0, 1, 10, file.len() / 2, file.len() - 1] {
        assert!(
            PieceTokenizer::new(&config, &file[..n], rows).is_err(),
            "{n}"
        );
    }
    let error = PieceTokenizer::new(&config, b"{\"version\": 1}", rows).unwrap_err();
    assert!(error.to_string().contains("tokenizer.model"), "{error}");
}

#[test]
fn a_vocabulary_of_bytes_reads_anything() {
    let words = PieceTokenizer::of_bytes(&PiecesConfig::default(), 300).unwrap();
    assert_eq!(words.len(), 300);
    let ids = words.read("Horse 🐎").unwrap().ids;
    assert_eq!(words.decode(&ids), "Horse 🐎");
    assert!(PieceTokenizer::of_bytes(&PiecesConfig::default(), 100).is_err());
}
