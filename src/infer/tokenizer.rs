//! The two kinds of vocabulary behind one face: words ([`super::words`], the miniature model) and pieces
//! ([`super::pieces`], the released one).

use serde::{Deserialize, Serialize};

use super::{
    pieces::{PieceTokenizer, PiecesConfig},
    words::{Phrase, PhraseError, PromptIds, WordTokenizer, WordsConfig, WordsError},
};

/// The `tokenizer` part of a model description.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum TokenizerConfig {
    /// A list of words.
    Words(WordsConfig),
    /// `SentencePiece` pieces, in a file of their own.
    Pieces(PiecesConfig),
}

/// A vocabulary.
#[derive(Clone, Debug)]
pub enum Tokenizer {
    /// A list of words.
    Words(WordTokenizer),
    /// `SentencePiece` pieces.
    Pieces(PieceTokenizer),
}

impl Tokenizer {
    /// Id of a token spelled exactly so.
    pub fn id(&self, token: &str) -> Option<u32> {
        match self {
            Self::Words(t) => t.id(token),
            Self::Pieces(t) => t.id(token),
        }
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        match self {
            Self::Words(t) => t.len(),
            Self::Pieces(t) => t.len(),
        }
    }

    /// Whether there is no token at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The token with an id; `<unk>` past the end.
    pub fn token(&self, id: u32) -> &str {
        match self {
            Self::Words(t) => t.token(id),
            Self::Pieces(t) => t.token(id),
        }
    }

    /// Whether a token ends an answer.
    pub fn is_end(&self, id: u32) -> bool {
        match self {
            Self::Words(t) => t.id("<end>") == Some(id),
            Self::Pieces(t) => t.ends().contains(&id),
        }
    }

    /// Words a user may type; empty if any word will do.
    pub fn known_words(&self) -> Vec<String> {
        match self {
            Self::Words(t) => t.known_words(),
            Self::Pieces(_) => Vec::new(),
        }
    }

    /// Text of an answer.
    pub fn decode(&self, ids: &[u32]) -> String {
        match self {
            Self::Words(t) => t.decode(ids),
            Self::Pieces(t) => t.decode(ids),
        }
    }

    /// First token of an answer, `None` if there is no such answer.
    pub fn first_of(&self, answer: &str) -> Option<u32> {
        match self {
            Self::Words(t) => t.encode_exact(answer).ok()?.first().copied(),
            Self::Pieces(t) => t.encode(answer).first().copied(),
        }
    }

    /// Reads a phrase as a person types it.
    ///
    /// # Errors
    /// [`PhraseError`] if it holds no word.
    pub fn read(&self, text: &str) -> Result<Phrase, PhraseError> {
        match self {
            Self::Words(t) => t.read(text),
            Self::Pieces(t) => t.read(text),
        }
    }

    /// Fills a template with `images` frames, a phrase and `tsf` target-specific tokens.
    ///
    /// # Errors
    /// [`WordsError::Missing`] if the template holds text that is not in a vocabulary of words.
    pub fn prompt(
        &self,
        template: &str,
        phrase: &Phrase,
        images: usize,
        tsf: usize,
    ) -> Result<PromptIds, WordsError> {
        match self {
            Self::Words(t) => t.prompt(template, &phrase.ids, images, tsf),
            Self::Pieces(t) => Ok(t.prompt(template, phrase, images, tsf)),
        }
    }
}
