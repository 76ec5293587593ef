//! From a typed phrase to token ids, for models whose vocabulary is a short list of words.
//!
//! Such a model cannot sound out a word it never saw, and must not pretend to: each word is lower-cased, looked up, led
//! back to a known word by the synonym table or by undoing a plural, and otherwise reported with what is read in its
//! place. Text of the user never becomes a special token. Leaves sub-word vocabularies to [`super::pieces`] and the
//! placing of visual tokens to the networks.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use crate::project::split_words;

/// Reserved id of a frame placeholder; never embedded.
pub const IMAGE_TOKEN: i64 = -200;
/// Reserved id of a target-specific-feature placeholder; never embedded.
pub const TSF_TOKEN: i64 = -201;

/// Words of a phrase that are read; the rest is cut off with a warning.
const MAX_WORDS: usize = 48;
/// Bytes of a phrase that are looked at; the rest is cut off with a warning.
const MAX_BYTES: usize = 1000;

/// English words without a thing of their own: they end a noun phrase and are dropped if the model does not know them.
const FUNCTION_WORDS: &[&str] = &[
    "above", "across", "after", "against", "along", "and", "are", "around", "as", "at", "before",
    "behind", "below", "beneath", "beside", "between", "beyond", "but", "by", "can", "do", "does",
    "during", "for", "from", "has", "have", "having", "he", "her", "him", "his", "i", "in",
    "inside", "into", "is", "its", "me", "my", "near", "next", "not", "of", "off", "on", "onto",
    "or", "our", "out", "outside", "over", "past", "she", "than", "that", "their", "them", "then",
    "these", "they", "this", "those", "through", "to", "towards", "toward", "under", "until",
    "was", "were", "what", "when", "where", "which", "while", "who", "whose", "will", "with",
    "within", "without", "you", "your",
];

/// The `tokenizer` part of a model description.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WordsConfig {
    /// Token `i` is `vocabulary[i]`.
    pub vocabulary: Vec<String>,
    /// Word → known word.
    #[serde(default)]
    pub synonyms: BTreeMap<String, String>,
    /// Known words that name things.
    #[serde(default)]
    pub nouns: BTreeSet<String>,
    /// What an unknown name of a thing is read as.
    pub unknown_noun: String,
}

/// Why a phrase cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PhraseError {
    /// Nothing was typed.
    #[error("the phrase is empty: type what to look for, for example \"the red circle\"")]
    Empty,
    /// Nothing that was typed is a word.
    #[error(
        "the phrase {0:?} holds no word: type what to look for, for example \"the red circle\""
    )]
    NoWords(String),
}

/// Why a vocabulary cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WordsError {
    /// A word that the program relies on is absent.
    #[error("the vocabulary lacks the word {0:?}")]
    Missing(String),
    /// A word occurs twice.
    #[error("the vocabulary holds {0:?} twice")]
    Twice(String),
    /// More words than the language model has rows.
    #[error("the vocabulary has {words} words, the language model only {rows} rows")]
    TooMany {
        /// Words.
        words: usize,
        /// Rows of the embedding.
        rows: usize,
    },
}

/// A phrase as the model reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Phrase {
    /// What is read, as text.
    pub text: String,
    /// Token ids.
    pub ids: Vec<u32>,
    /// The words behind them.
    pub words: Vec<String>,
    /// Words the model does not know with what is read in their place (empty = nothing).
    pub unknown: Vec<(String, String)>,
    /// One sentence each.
    pub warnings: Vec<String>,
}

/// A whole prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromptIds {
    /// Ids with [`IMAGE_TOKEN`] and [`TSF_TOKEN`] placeholders.
    pub ids: Vec<i64>,
    /// Length of the part up to and including the last image placeholder: the same for every phrase on a clip.
    pub prefix: usize,
}

/// A vocabulary of words.
#[derive(Clone, Debug)]
pub struct WordTokenizer {
    config: WordsConfig,
    ids: HashMap<String, u32>,
}

fn is_special(token: &str) -> bool {
    token.len() > 2
        && ((token.starts_with('<') && token.ends_with('>'))
            || (token.starts_with('[') && token.ends_with(']')))
}

/// Singular forms that `word` may be the plural of, likeliest first.
fn singulars(word: &str) -> Vec<String> {
    let mut out = Vec::new();
    if let Some(stem) = word.strip_suffix("ies") {
        out.push(format!("{stem}y"));
    }
    if let Some(stem) = word.strip_suffix("es") {
        out.push(stem.to_owned());
    }
    if let Some(stem) = word.strip_suffix('s')
        && !stem.ends_with('s')
    {
        out.push(stem.to_owned());
    }
    out
}

fn looks_plural(word: &str) -> bool {
    word.len() > 3 && word.ends_with('s') && !["ss", "us", "is"].iter().any(|e| word.ends_with(e))
}

/// A word on its way to an id.
enum Reading {
    /// Known as this.
    Known(String),
    /// Not known; may name a thing.
    Unknown(String),
}

impl WordTokenizer {
    /// Checks the vocabulary against a language model of `rows` rows.
    ///
    /// # Errors
    /// If a word that the program relies on is absent, occurs twice, or there are more words than rows.
    pub fn new(config: &WordsConfig, rows: usize) -> Result<Self, WordsError> {
        if config.vocabulary.len() > rows {
            return Err(WordsError::TooMany {
                words: config.vocabulary.len(),
                rows,
            });
        }
        let mut ids = HashMap::with_capacity(config.vocabulary.len());
        for (i, word) in config.vocabulary.iter().enumerate() {
            if ids.insert(word.clone(), i as u32).is_some() {
                return Err(WordsError::Twice(word.clone()));
            }
        }
        let needed = ["<s>", "<end>", "<assistant>", "[SEG]", "[BOX]"]
            .into_iter()
            .chain([config.unknown_noun.as_str()])
            .chain(config.synonyms.values().map(String::as_str))
            .chain(config.nouns.iter().map(String::as_str));
        for word in needed {
            if !ids.contains_key(word) {
                return Err(WordsError::Missing(word.to_owned()));
            }
        }
        Ok(Self {
            config: config.clone(),
            ids,
        })
    }

    /// Id of a token spelled exactly so.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.ids.get(token).copied()
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.config.vocabulary.len()
    }

    /// Whether there is no token at all.
    pub fn is_empty(&self) -> bool {
        self.config.vocabulary.is_empty()
    }

    /// The token with an id; `<unk>` past the end.
    pub fn token(&self, id: u32) -> &str {
        self.config
            .vocabulary
            .get(id as usize)
            .map_or("<unk>", String::as_str)
    }

    /// Words a user may type, synonyms included, sorted; special tokens and punctuation left out.
    pub fn known_words(&self) -> Vec<String> {
        self.config
            .vocabulary
            .iter()
            .chain(self.config.synonyms.keys())
            .filter(|w| !is_special(w) && w.chars().any(char::is_alphanumeric))
            .cloned()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect()
    }

    /// Ids of text made of tokens separated by blanks, special ones included.
    ///
    /// # Errors
    /// [`WordsError::Missing`] with the first token that is not in the vocabulary.
    pub fn encode_exact(&self, text: &str) -> Result<Vec<u32>, WordsError> {
        text.split_whitespace()
            .map(|t| self.id(t).ok_or_else(|| WordsError::Missing(t.to_owned())))
            .collect()
    }

    /// Tokens joined by blanks, punctuation drawn to the word before it, control tokens such as `<end>` left out.
    pub fn decode(&self, ids: &[u32]) -> String {
        let mut out = String::new();
        for &id in ids {
            let token = self.token(id);
            if token.starts_with('<') && is_special(token) {
                continue;
            }
            if !out.is_empty() && token.chars().any(char::is_alphanumeric) {
                out.push(' ');
            }
            out.push_str(token);
        }
        out
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
        let mut typed = split_words(&plain);
        if typed.is_empty() {
            return Err(PhraseError::NoWords(truncated(text.trim(), 60).to_owned()));
        }
        if typed.len() > MAX_WORDS {
            typed.truncate(MAX_WORDS);
            if shown.len() == text.len() {
                warnings.push(format!(
                    "only the first {MAX_WORDS} words of the phrase are read"
                ));
            }
        }
        let readings: Vec<_> = typed.iter().flat_map(|w| self.look_up(w)).collect();
        let (words, unknown) = self.settle(readings);
        let ids = words.iter().filter_map(|w| self.id(w)).collect();
        Ok(Phrase {
            text: words.join(" "),
            ids,
            words,
            unknown,
            warnings,
        })
    }

    fn without_special_tokens(&self, text: &str) -> (String, bool) {
        let mut out = text.to_owned();
        let mut stripped = false;
        for token in self.config.vocabulary.iter().filter(|t| is_special(t)) {
            while let Some(at) = out.to_ascii_lowercase().find(&token.to_ascii_lowercase()) {
                out.replace_range(at..at + token.len(), " ");
                stripped = true;
            }
        }
        (out, stripped)
    }

    fn canonical(&self, word: &str) -> Option<String> {
        if self.ids.contains_key(word) && !is_special(word) {
            return Some(word.to_owned());
        }
        if let Some(known) = self.config.synonyms.get(word) {
            return Some(known.clone());
        }
        for stem in singulars(word) {
            let known = if self.ids.contains_key(&stem) {
                Some(&stem)
            } else {
                self.config.synonyms.get(&stem)
            };
            if let Some(known) = known {
                let plural = [format!("{known}s"), format!("{known}es")];
                let plural = plural.into_iter().find(|p| self.ids.contains_key(p));
                return Some(plural.unwrap_or_else(|| known.clone()));
            }
        }
        None
    }

    /// A typed word, or its parts if it is hyphenated and only they are known.
    fn look_up(&self, word: &str) -> Vec<Reading> {
        if let Some(known) = self.canonical(word) {
            return vec![Reading::Known(known)];
        }
        let parts: Vec<_> = word.split('-').filter(|p| !p.is_empty()).collect();
        if parts.len() > 1 && parts.iter().any(|p| self.canonical(p).is_some()) {
            return parts
                .into_iter()
                .map(|p| match self.canonical(p) {
                    Some(known) => Reading::Known(known),
                    None => Reading::Unknown(p.to_owned()),
                })
                .collect();
        }
        vec![Reading::Unknown(word.to_owned())]
    }

    /// Decides what each unknown word is read as: the head of the first noun phrase becomes the general noun if it is
    /// unknown, everything else unknown is dropped.
    fn settle(&self, readings: Vec<Reading>) -> (Vec<String>, Vec<(String, String)>) {
        let head = self.unknown_head(&readings);
        let mut words = Vec::new();
        let mut unknown = Vec::new();
        for (i, reading) in readings.into_iter().enumerate() {
            match reading {
                Reading::Known(word) => words.push(word),
                Reading::Unknown(word) if Some(i) == head => {
                    let plural = format!("{}s", self.config.unknown_noun);
                    let read_as = if looks_plural(&word) && self.ids.contains_key(&plural) {
                        plural
                    } else {
                        self.config.unknown_noun.clone()
                    };
                    words.push(read_as.clone());
                    unknown.push((word, read_as));
                }
                Reading::Unknown(word) => unknown.push((word, String::new())),
            }
        }
        // What was dropped may leave its article or preposition behind.
        while !unknown.is_empty()
            && words.len() > 1
            && words.last().is_some_and(|w: &String| {
                matches!(w.as_str(), "the" | "a" | "an") || FUNCTION_WORDS.contains(&w.as_str())
            })
        {
            words.pop();
        }
        (words, unknown)
    }

    /// Index of the unknown word that names the referent, if the first noun phrase has no known noun.
    fn unknown_head(&self, readings: &[Reading]) -> Option<usize> {
        let mut candidate = None;
        for (i, reading) in readings.iter().enumerate() {
            match reading {
                Reading::Known(word) if self.config.nouns.contains(word) => return None,
                Reading::Known(word) | Reading::Unknown(word)
                    if FUNCTION_WORDS.contains(&word.as_str()) =>
                {
                    if candidate.is_some() {
                        break;
                    }
                }
                Reading::Known(word) => {
                    // A motion word after the noun begins what the noun does.
                    if candidate.is_some() && word.ends_with("ing") {
                        break;
                    }
                }
                Reading::Unknown(word) => {
                    let after_noun = candidate.is_some();
                    if after_noun && word.ends_with("ing") {
                        break;
                    }
                    if !(after_noun && word.ends_with("ly")) {
                        candidate = Some(i);
                    }
                }
            }
        }
        candidate
    }

    /// Fills a template such as `<s><image>{phrase}<tsf><assistant>`: `<image>` becomes `images` placeholders, `<tsf>`
    /// becomes `tsf` of them.
    ///
    /// # Errors
    /// [`WordsError::Missing`] if the template holds text that is not in the vocabulary.
    pub fn prompt(
        &self,
        template: &str,
        phrase: &[u32],
        images: usize,
        tsf: usize,
    ) -> Result<PromptIds, WordsError> {
        let mut ids = Vec::new();
        let mut prefix = 0;
        let mut rest = template;
        while !rest.is_empty() {
            let end = match rest.chars().next() {
                Some('<') => rest.find('>').map_or(rest.len(), |i| i + 1),
                Some('{') => rest.find('}').map_or(rest.len(), |i| i + 1),
                _ => rest.find(['<', '{']).unwrap_or(rest.len()),
            };
            let (piece, tail) = rest.split_at(end);
            rest = tail;
            match piece {
                "<image>" => {
                    ids.extend(std::iter::repeat_n(IMAGE_TOKEN, images));
                    prefix = ids.len();
                }
                "<tsf>" => ids.extend(std::iter::repeat_n(TSF_TOKEN, tsf)),
                "{phrase}" => ids.extend(phrase.iter().map(|&id| i64::from(id))),
                text => ids.extend(self.encode_exact(text)?.into_iter().map(i64::from)),
            }
        }
        Ok(PromptIds { ids, prefix })
    }
}

/// At most `bytes` of `text`, cut between characters.
pub(super) fn truncated(text: &str, bytes: usize) -> &str {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::model::ModelInfo;

    fn words() -> WordTokenizer {
        let nano = ModelInfo::by_id("nano").unwrap();
        WordTokenizer::new(nano.words().unwrap(), nano.config.phi3.vocab_size).unwrap()
    }

    fn read(text: &str) -> String {
        words().read(text).unwrap().words.join(" ")
    }

    #[test]
    fn known_phrases_pass_through() {
        assert_eq!(read("the leftmost red circle"), "the leftmost red circle");
        assert_eq!(read("  The RED, circle!! "), "the red circle");
        let phrase = words().read("the red circle that is moving left").unwrap();
        assert!(phrase.unknown.is_empty() && phrase.warnings.is_empty());
        assert_eq!(phrase.ids.len(), 7);
        assert_eq!(
            words().decode(&phrase.ids),
            "the red circle that is moving left"
        );
    }

    #[test]
    fn synonyms_and_plurals_lead_back_to_known_words() {
        assert_eq!(read("the crimson disc"), "the red circle");
        assert_eq!(read("all balls"), "all circles");
        assert_eq!(read("both boxes"), "both squares");
        assert_eq!(
            read("the left-most stripy donut"),
            "the leftmost striped ring"
        );
        assert_eq!(read("the women"), "the people");
        assert_eq!(read("the red-striped square"), "the red striped square");
    }

    #[test]
    fn an_unknown_head_is_read_as_an_object_and_said_so() {
        let phrase = words()
            .read("the brown dog running quickly over the fence")
            .unwrap();
        assert_eq!(phrase.words.join(" "), "the brown object");
        assert_eq!(
            phrase.unknown,
            [
                ("dog", "object"),
                ("running", ""),
                ("quickly", ""),
                ("over", ""),
                ("fence", "")
            ]
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
        );
        assert_eq!(read("all dogs"), "all objects");
        assert_eq!(
            read("the dog next to the red ball"),
            "the object to the red circle"
        );
        assert_eq!(read("the ceramic ball"), "the circle");
        assert_eq!(read("the king"), "the object");
        assert_eq!(read("the running horse"), "the object");
        assert_eq!(read("das Auto"), "object");
        assert_eq!(read("собака"), "object");
    }

    #[test]
    fn what_holds_no_word_is_refused_with_a_sentence() {
        let words = words();
        assert_eq!(words.read(""), Err(PhraseError::Empty));
        assert_eq!(words.read(" \t\n"), Err(PhraseError::Empty));
        for text in [
            "🐕🐕",
            "[SEG]",
            "<image>",
            "...",
            "[BOX] [seg] <tsf>",
            "-'-",
        ] {
            let error = words.read(text).unwrap_err();
            assert!(matches!(error, PhraseError::NoWords(_)), "{text}");
            assert!(error.to_string().contains("type what to look for"));
        }
        assert_eq!(words.read("🐕 the red circle").unwrap().ids.len(), 3);
    }

    #[test]
    fn oddity_48_special_tokens_never_come_from_the_user() {
        let words = words();
        let phrase = words
            .read("the [SEG] red [BOX]circle <assistant> [[SEG]SEG]")
            .unwrap();
        assert_eq!(phrase.warnings.len(), 1);
        for token in ["[SEG]", "[BOX]", "<assistant>", "<unk>", "<pad>"] {
            assert!(!phrase.ids.contains(&words.id(token).unwrap()));
        }
        assert_eq!(read("seg box end pad"), "square");
    }

    #[test]
    fn a_very_long_phrase_is_cut_with_one_warning() {
        let long = "red ".repeat(2500);
        let phrase = words().read(&long).unwrap();
        assert_eq!(phrase.ids.len(), MAX_WORDS);
        assert_eq!(phrase.warnings.len(), 1, "{:?}", phrase.warnings);
        let glued = "é".repeat(10_000);
        assert_eq!(words().read(&glued).unwrap().words, ["object"]);
    }

    #[test]
    fn the_template_places_images_phrase_and_features() {
        let words = words();
        let phrase = words.read("red circle").unwrap();
        let prompt = words
            .prompt("<s><image>{phrase}<tsf><assistant>", &phrase.ids, 4, 2)
            .unwrap();
        let id = |t: &str| i64::from(words.id(t).unwrap());
        assert_eq!(
            prompt.ids,
            [
                id("<s>"),
                -200,
                -200,
                -200,
                -200,
                id("red"),
                id("circle"),
                -201,
                -201,
                id("<assistant>")
            ]
        );
        assert_eq!(prompt.prefix, 5);
        assert_eq!(
            words.prompt("<s>nonsense", &[], 1, 0),
            Err(WordsError::Missing("nonsense".into()))
        );
    }

    #[test]
    fn a_damaged_vocabulary_is_named() {
        let nano = ModelInfo::by_id("nano").unwrap();
        let mut config = nano.words().unwrap().clone();
        config.vocabulary.push("red".into());
        assert_eq!(
            WordTokenizer::new(&config, 512).unwrap_err(),
            WordsError::Twice("red".into())
        );
        assert!(matches!(
            WordTokenizer::new(nano.words().unwrap(), 3).unwrap_err(),
            WordsError::TooMany { .. }
        ));
        let mut config = nano.words().unwrap().clone();
        config.synonyms.insert("car".into(), "vehicle".into());
        assert_eq!(
            WordTokenizer::new(&config, 512).unwrap_err(),
            WordsError::Missing("vehicle".into())
        );
    }
}
