//! A whole model on made-up weights that gives an answer of a given length: for timing sizes of which no weights are here.
//!
//! Its masks mean nothing; that each of its tokens costs what a trained model's costs is all that is asked of it. The weights
//! are [`super::fill`]'s.

use candle_core::Device;

use crate::{
    infer::{
        LoadedModel,
        error::{InferError, InferResult},
        networks::words_of,
        tokenizer::Tokenizer,
        words::Phrase,
    },
    nn::{
        precision::{Precision, inventory},
        sparrow::Sparrow,
    },
};

use super::{fill, sizes::Sizes};

/// Tokens that an answer has at least: `[BOX]`, `[SEG]`, and its end.
pub const SHORTEST_ANSWER: usize = 3;

/// A model of `sizes` that says `tokens` tokens, `[BOX]`, `[SEG]` and the end being the last of them.
///
/// # Errors
/// If its vocabulary has too few words for so long an answer, the description is damaged, or the device fails.
pub fn scripted(
    sizes: &Sizes,
    tokens: usize,
    device: &Device,
    precision: Precision,
) -> InferResult<LoadedModel> {
    let mut info = sizes.info()?;
    info.prompt.max_new_tokens = tokens;
    let words = words_of(&info)?;
    let prompt = words.prompt(&info.prompt.template, &Phrase::default(), 1, 0)?;
    let last = prompt.ids.last().and_then(|id| u32::try_from(*id).ok());
    let script = script(&words, last.unwrap_or_default(), tokens)?;
    let vb = fill::saying(script, device);
    let (networks, placed) =
        inventory(|| Sparrow::with_precision(&info.config, &vb, &vb.pp("detector"), precision));
    Ok(LoadedModel {
        name: info.id.clone(),
        words,
        thresholds: info.thresholds,
        device: device.clone(),
        tensors: placed.tensors as usize,
        parameters: placed.values as usize,
        precision,
        placed: placed.placed,
        untrained: true,
        networks: networks?,
        info,
    })
}

/// The prompt's last token and `tokens` others, none twice: words without a meaning here, `[BOX]`, `[SEG]`, the end.
fn script(words: &Tokenizer, last: u32, tokens: usize) -> InferResult<Vec<u32>> {
    let all = 0..words.len() as u32;
    let pointing = [words.id("[BOX]"), words.id("[SEG]")];
    let end = all.clone().find(|id| words.is_end(*id));
    let tail: Vec<u32> = pointing.into_iter().chain([end]).flatten().collect();
    let fillers = all.filter(|id| *id != last && !tail.contains(id) && !words.is_end(*id));
    let before = tokens.saturating_sub(tail.len());
    let script: Vec<u32> = std::iter::once(last)
        .chain(fillers.take(before))
        .chain(tail.iter().copied())
        .collect();
    if script.len() == tokens + 1 {
        return Ok(script);
    }
    Err(InferError::Prompt(format!(
        "an answer on random weights has {SHORTEST_ANSWER} to {} tokens at these sizes, not {tokens}",
        script.len().max(SHORTEST_ANSWER + 1) - 1
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_has_the_length_that_was_asked_for_or_says_what_it_can_have() {
        let info = Sizes::by_name("nano").unwrap().unwrap().info().unwrap();
        let words = words_of(&info).unwrap();
        for tokens in [3, 4, 20] {
            let script = script(&words, 5, tokens).unwrap();
            assert_eq!(script.len(), tokens + 1);
            let mut once = script.clone();
            once.sort_unstable();
            once.dedup();
            assert_eq!(once.len(), script.len(), "each word leads to one other");
            assert!(words.is_end(script[tokens]));
            assert_eq!(words.id("[SEG]"), Some(script[tokens - 1]));
        }
        for tokens in [0, 2, 100_000] {
            let error = script(&words, 5, tokens).unwrap_err().to_string();
            assert!(error.contains(&format!("not {tokens}")), "{error}");
        }
    }
}
