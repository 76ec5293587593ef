//! What the language stages let prompts and answers say, as tokens. Leaves weighing them to the model.

use crate::{
    infer::{model::ModelInfo, words::WordTokenizer},
    train::{TrainError, TrainResult, synth::Phrase},
};

use super::pack::PromptTokens;

/// Tokens that prompts and answers are made of.
pub(super) struct Script {
    pub(super) head: Vec<u32>,
    pub(super) bridge: Vec<u32>,
    one: Vec<u32>,
    several: Vec<u32>,
    pub(super) none: Vec<u32>,
    pub(super) prompts: PromptTokens,
}

impl Script {
    pub(super) fn new(info: &ModelInfo, words: &WordTokenizer) -> TrainResult<Self> {
        let fail = |e: crate::infer::words::WordsError| TrainError::Content(e.to_string());
        let prompt = words
            .prompt(&info.prompt.template, &[], 1, 0)
            .map_err(fail)?;
        let text = |ids: &[i64]| -> Vec<u32> {
            ids.iter().filter_map(|&i| u32::try_from(i).ok()).collect()
        };
        let answer = |text: &str| -> TrainResult<Vec<u32>> {
            words.encode_exact(&format!("{text} <end>")).map_err(fail)
        };
        let id = |token: &str| {
            words
                .id(token)
                .ok_or_else(|| TrainError::Content(format!("the vocabulary lacks {token}")))
        };
        Ok(Self {
            head: text(&prompt.ids[..prompt.prefix]),
            bridge: text(&prompt.ids[prompt.prefix..]),
            one: answer(&info.prompt.answer)?,
            several: answer(&info.prompt.answer_plural)?,
            none: answer(&info.prompt.answer_none)?,
            prompts: [id("[BOX]")?, id("[SEG]")?],
        })
    }

    /// What is answered to a phrase; `forced`, that there is such a thing although there is none, in the form in which the
    /// phrase asks.
    pub(super) fn answer(&self, phrase: &Phrase, forced: bool) -> &[u32] {
        match (
            phrase.referents.is_empty() && !forced,
            phrase.speaks_of_several(),
        ) {
            (true, _) => &self.none,
            (false, false) => &self.one,
            (false, true) => &self.several,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::synth::{PhraseKind, Slots};

    /// The program reads "the circles" as several whether there are any or not, and filtration must have heard it so.
    #[test]
    fn several_that_are_not_there_are_answered_as_several() {
        let info = ModelInfo::by_id("nano").unwrap();
        let words = WordTokenizer::new(info.words().unwrap(), info.config.phi3.vocab_size).unwrap();
        let script = Script::new(&info, &words).unwrap();
        let phrase = |text: &str, referents: &[u8]| Phrase {
            words: text.split(' ').map(str::to_owned).collect(),
            kind: PhraseKind::NoMatch,
            referents: referents.to_vec(),
            slots: Slots::default(),
        };
        let forced = |text: &str| script.answer(&phrase(text, &[]), true).to_vec();
        assert_eq!(forced("all the red circles"), script.several);
        assert_eq!(forced("both things moving left"), script.several);
        assert_eq!(forced("the red circle"), script.one);
        assert_eq!(
            script.answer(&phrase("the circles", &[]), false),
            script.none
        );
        assert_eq!(
            script.answer(&phrase("every circle", &[1, 2]), false),
            script.several
        );
        assert_eq!(
            script.answer(&phrase("the circle", &[2]), false),
            script.one
        );
    }
}
