//! The words of a phrase as a model with a list of words looks them up.

/// What a warning says of the model before a word that it cannot look up; whoever says it in another way finds it by this.
pub const NOT_KNOWN: &str = "does not know the word";

/// Lower-case words: letters and digits, inner hyphens kept, a possessive `'s` dropped.
pub fn split_words(text: &str) -> Vec<String> {
    text.to_lowercase()
        .replace(['’', '`'], "'")
        .split(|c: char| !(c.is_alphanumeric() || c == '-' || c == '\''))
        .map(|w| {
            let w = w.trim_matches(['-', '\'']);
            w.strip_suffix("'s").unwrap_or(w).replace('\'', "")
        })
        .filter(|w| w.chars().any(char::is_alphanumeric))
        .collect()
}
