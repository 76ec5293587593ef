//! The released tokenizer: `SentencePiece` pieces, tokens added to them, and the rule by which a prompt is cut.
//!
//! What the released program does is the slow Llama tokenizer's doing, and the ids depend on its habits: a prompt is cut
//! at its images and each chunk is read on its own, so that each begins with a blank of its own; added tokens swallow the
//! white space behind them where their entry says so. Text of the user never becomes a special token. The pieces
//! themselves are [`model`]'s; phrases of known words are [`super::words`]'s.

mod model;

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

pub use model::{PieceModel, PieceModelError};

use super::words::{IMAGE_TOKEN, Phrase, PhraseError, PromptIds, TSF_TOKEN, truncated};
use crate::project::split_words;
use model::BLANK;

/// Bytes of a phrase that are looked at; the rest is cut off with a warning.
const MAX_BYTES: usize = 1000;

/// A token that was added to the pieces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddedToken {
    /// Id.
    pub id: u32,
    /// Text.
    pub content: String,
    /// Swallows white space before it.
    #[serde(default)]
    pub lstrip: bool,
    /// Swallows white space behind it.
    #[serde(default)]
    pub rstrip: bool,
}

/// The `tokenizer` part of a model description.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PiecesConfig {
    /// Tokens beside the pieces; read from the checkpoint.
    pub added: Vec<AddedToken>,
    /// Special tokens before which a lone blank is dropped.
    pub special: BTreeSet<String>,
    /// Every text begins with the token of beginnings.
    pub begin: Option<u32>,
    /// The older habit: the model's own blank in front of every piece of text between tokens.
    pub legacy: bool,
    /// Ids that end an answer.
    pub ends: BTreeSet<u32>,
    /// Phrases are read in small letters, as in training.
    pub lowercase: bool,
}

/// Why a tokenizer cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PiecesError {
    /// The model file.
    #[error("the tokenizer cannot be used: tokenizer.model: {0}")]
    Model(#[from] PieceModelError),
    /// A token that the program relies on is absent.
    #[error("the tokenizer lacks the token {0}: the files are of another model than SPARROW")]
    Missing(&'static str),
    /// Another number of tokens than the language model has rows.
    #[error("the tokenizer has {tokens} tokens, the language model {rows} rows")]
    Rows {
        /// Tokens.
        tokens: usize,
        /// Rows of the embedding.
        rows: usize,
    },
}

/// Pieces and added tokens.
#[derive(Clone, Debug)]
pub struct PieceTokenizer {
    config: PiecesConfig,
    model: PieceModel,
    added: HashMap<u32, usize>,
    /// Indices into the added tokens, longest text first.
    by_length: Vec<usize>,
    /// Pieces of the token of unknown text, spelled out.
    unknown_length: usize,
    len: usize,
}

/// The spelling of unknown text, behind which the slow tokenizer encodes what begins with a blank.
const UNKNOWN: &str = "<unk>";

/// A prompt's parts.
enum Part<'a> {
    Text(&'a str),
    Added(usize),
}

impl PieceTokenizer {
    /// Reads a model file and checks both against a language model of `rows` rows.
    ///
    /// # Errors
    /// If the file cannot be read, `[SEG]` or `[BOX]` is absent, or there are more or fewer tokens than rows.
    pub fn new(config: &PiecesConfig, file: &[u8], rows: usize) -> Result<Self, PiecesError> {
        Self::of(config, PieceModel::read(file)?, rows)
    }

    fn of(config: &PiecesConfig, model: PieceModel, rows: usize) -> Result<Self, PiecesError> {
        let mut by_length: Vec<usize> = (0..config.added.len())
            .filter(|&i| !config.added[i].content.is_empty())
            .collect();
        by_length.sort_by_key(|&i| std::cmp::Reverse(config.added[i].content.len()));
        let added: HashMap<u32, usize> = config
            .added
            .iter()
            .enumerate()
            .map(|(i, token)| (token.id, i))
            .collect();
        let beyond = config
            .added
            .iter()
            .filter(|t| t.id as usize >= model.len())
            .map(|t| t.id)
            .collect::<BTreeSet<_>>();
        let mut tokenizer = Self {
            len: model.len() + beyond.len(),
            unknown_length: 0,
            config: config.clone(),
            model,
            added,
            by_length,
        };
        tokenizer.unknown_length = tokenizer.model.encode(UNKNOWN, false).len();
        for needed in ["[SEG]", "[BOX]"] {
            if tokenizer.id(needed).is_none() {
                return Err(PiecesError::Missing(needed));
            }
        }
        if tokenizer.len != rows {
            return Err(PiecesError::Rows {
                tokens: tokenizer.len,
                rows,
            });
        }
        Ok(tokenizer)
    }

    /// A vocabulary of `rows` tokens without a model file: a token per byte, `[SEG]`, `[BOX]`, and unused ones. For
    /// networks that nobody trained.
    ///
    /// # Errors
    /// If there are too few rows for that.
    pub fn of_bytes(config: &PiecesConfig, rows: usize) -> Result<Self, PiecesError> {
        let mut config = config.clone();
        let model = PieceModel::of_bytes();
        let first = model.len();
        config.added = [
            "[SEG]",
            "[BOX]",
            "<|end|>",
            "<|user|>",
            "<|assistant|>",
            "<|system|>",
        ]
        .into_iter()
        .map(str::to_owned)
        .chain((first + 6..rows).map(|i| format!("<|unused{i}|>")))
        .enumerate()
        .map(|(i, content)| AddedToken {
            id: (first + i) as u32,
            content,
            lstrip: false,
            rstrip: false,
        })
        .collect();
        config.ends = [first as u32 + 2].into();
        Self::of(&config, model, rows)
    }

    /// Id of an added token.
    pub fn id(&self, token: &str) -> Option<u32> {
        let found = self.config.added.iter().find(|t| t.content == token);
        found.map(|t| t.id)
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no token at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Ids that end an answer.
    pub fn ends(&self) -> &BTreeSet<u32> {
        &self.config.ends
    }

    /// The token with an id; `<unk>` past the end.
    pub fn token(&self, id: u32) -> &str {
        match self.added.get(&id) {
            Some(&i) => &self.config.added[i].content,
            None => self.model.piece(id).unwrap_or(UNKNOWN),
        }
    }

    /// Text of an answer: pieces joined, control tokens such as `<|end|>` left out, `[SEG]` and `[BOX]` kept.
    pub fn decode(&self, ids: &[u32]) -> String {
        let mut out: Vec<u8> = Vec::new();
        for &id in ids {
            if let Some(&i) = self.added.get(&id) {
                let content = &self.config.added[i].content;
                if !(content.starts_with('<') && content.ends_with('>')) {
                    // The released program sets added tokens off by blanks.
                    if out.last().is_some_and(|b| *b != b' ') {
                        out.push(b' ');
                    }
                    out.extend(content.as_bytes());
                }
            } else if let Some(byte) = self.model.byte(id) {
                out.push(byte);
            } else if !self.model.is_control(id) {
                out.extend(self.model.piece(id).unwrap_or_default().as_bytes());
            }
        }
        // A blank may also have been spelled out in bytes.
        String::from_utf8_lossy(&out)
            .replace(BLANK, " ")
            .trim()
            .to_owned()
    }

    fn parts<'a>(&self, text: &'a str) -> Vec<Part<'a>> {
        let mut out = Vec::new();
        let (mut from, mut at) = (0, 0);
        while at < text.len() {
            let token = self
                .by_length
                .iter()
                .copied()
                .find(|&i| text[at..].starts_with(self.config.added[i].content.as_str()));
            match token {
                Some(i) => {
                    if from < at {
                        out.push(Part::Text(&text[from..at]));
                    }
                    out.push(Part::Added(i));
                    at += self.config.added[i].content.len();
                    from = at;
                }
                None => at += text[at..].chars().next().map_or(1, char::len_utf8),
            }
        }
        if from < text.len() {
            out.push(Part::Text(&text[from..]));
        }
        out
    }

    fn pieces(&self, text: &str) -> Vec<u32> {
        if self.config.legacy {
            return self.model.encode(text, self.model.dummy_prefix());
        }
        if text.starts_with([BLANK, ' ']) {
            // The slow tokenizer keeps a leading blank by encoding it behind something known.
            let ids = self.model.encode(&format!("{UNKNOWN}{text}"), false);
            return ids.get(self.unknown_length..).unwrap_or(&ids).to_vec();
        }
        self.model.encode(text, false)
    }

    /// Ids of a chunk of text, special tokens included, as the slow tokenizer gives them (without the beginning).
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let prefixed;
        let text = if self.config.legacy || text.is_empty() {
            text
        } else {
            prefixed = format!("{BLANK}{}", text.replace(BLANK, " "));
            &prefixed
        };
        let mut parts = self.parts(text);
        for i in 0..parts.len() {
            let Part::Added(token) = parts[i] else {
                continue;
            };
            let token = &self.config.added[token];
            if token.rstrip
                && let Some(Part::Text(right)) = parts.get_mut(i + 1)
            {
                *right = right.trim_start();
            }
            if token.lstrip
                && i > 0
                && let Some(Part::Text(left)) = parts.get_mut(i - 1)
            {
                *left = left.trim_end();
            }
        }
        let mut ids = Vec::new();
        let mut tokens = Vec::new();
        for part in parts {
            match part {
                Part::Added(i) => {
                    let token = &self.config.added[i];
                    tokens.push(token.content.as_str());
                    ids.push(token.id);
                }
                Part::Text(text) => {
                    let new = self.pieces(text);
                    tokens.extend(new.iter().map(|&id| self.token(id)));
                    ids.extend(new);
                }
            }
        }
        let lone = !self.config.legacy
            && tokens.len() > 1
            && tokens[0].chars().eq([BLANK])
            && self.config.special.contains(tokens[1]);
        if lone {
            ids.remove(0);
        }
        ids
    }

    /// Reads a phrase as a person types it.
    ///
    /// # Errors
    /// [`PhraseError`] if it holds no word.
    pub fn read(&self, text: &str) -> Result<Phrase, PhraseError> {
        if text.trim().is_empty() {
            return Err(PhraseError::Empty);
        }
        let mut warnings = Vec::new();
        let shown = truncated(text, MAX_BYTES);
        if shown.len() < text.len() {
            warnings.push(format!(
                "the phrase is {} characters long; only the beginning is read",
                text.chars().count()
            ));
        }
        let (plain, stripped) = self.without_special_tokens(shown);
        if stripped {
            warnings.push("special tokens such as [SEG] in the phrase are ignored".to_owned());
        }
        let plain = plain.split_whitespace().collect::<Vec<_>>().join(" ");
        // The question around the phrase ends with a mark of its own.
        let plain = plain.trim_end_matches(['?', '.', '!', ',', ';', ' ']);
        if !plain.chars().any(char::is_alphanumeric) {
            return Err(PhraseError::NoWords(truncated(text.trim(), 60).to_owned()));
        }
        let text = if self.config.lowercase {
            plain.to_lowercase()
        } else {
            plain.to_owned()
        };
        Ok(Phrase {
            ids: self.encode(&text),
            words: split_words(&text),
            text,
            unknown: Vec::new(),
            warnings,
        })
    }

    fn without_special_tokens(&self, text: &str) -> (String, bool) {
        let mut out = text.to_owned();
        let mut stripped = false;
        let placeholders = ["<image>", "<tsf>", "<s>", "</s>", UNKNOWN];
        let added = self.config.added.iter().map(|t| t.content.as_str());
        let tokens: Vec<String> = added
            .chain(placeholders)
            .filter(|t| t.len() > 2)
            .map(str::to_ascii_lowercase)
            .collect();
        // Taking one out may leave another behind, as in `[S[BOX]EG]`.
        while let Some((at, token)) = tokens.iter().find_map(|token| {
            let at = out.to_ascii_lowercase().find(token)?;
            Some((at, token))
        }) {
            out.replace_range(at..at + token.len(), " ");
            stripped = true;
        }
        (out, stripped)
    }

    /// Fills a template: `<image>` becomes `images` placeholders, `<tsf>` a line with `tsf` of them (none at all without
    /// any), `{phrase}` the phrase; what lies between placeholders is read chunk by chunk.
    pub fn prompt(&self, template: &str, phrase: &Phrase, images: usize, tsf: usize) -> PromptIds {
        let line = if tsf > 0 { "\n<tsf>" } else { "" };
        let text = template
            .replace("<tsf>", line)
            .replace("{phrase}", &phrase.text);
        let mut ids: Vec<i64> = Vec::new();
        let mut prefix = 0;
        let mut first = true;
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let next = ["<image>", "<tsf>"]
                .into_iter()
                .filter_map(|p| rest.find(p).map(|at| (at, p)))
                .min();
            let (chunk, placeholder) = match next {
                Some((at, p)) => (&rest[..at], Some(p)),
                None => (rest, None),
            };
            if !chunk.is_empty() {
                if let Some(begin) = self.config.begin.filter(|_| first) {
                    ids.push(i64::from(begin));
                }
                first = false;
                ids.extend(self.encode(chunk).into_iter().map(i64::from));
            }
            match placeholder {
                Some("<image>") => {
                    ids.extend(std::iter::repeat_n(IMAGE_TOKEN, images));
                    prefix = ids.len();
                }
                Some(_) => ids.extend(std::iter::repeat_n(TSF_TOKEN, tsf)),
                None => {}
            }
            rest = &rest[chunk.len() + placeholder.map_or(0, str::len)..];
        }
        PromptIds { ids, prefix }
    }
}

#[cfg(test)]
mod tests;
