//! The answer as the authors' program gets it: for every token both towers are run again, and the whole sequence goes
//! through the language model, which keeps nothing.
//!
//! There so that what is gained by keeping can be measured on the same networks and the same machine, and checked to change
//! nothing. What is kept, and how, is [`super::super::language`]'s. The authors' program also turns the states of all tokens
//! into words, of which this needs the last alone: the baseline is a little better than what it stands for.

use candle_core::Tensor;

use crate::{
    infer::{
        Clip, Engine,
        error::InferResult,
        language::{Spoken, best},
        words::Phrase,
    },
    nn::{
        multimodal::{self, PromptIds, TsfTokens},
        phi3::KvCache,
    },
    project::FrameIndex,
    task::Progress,
};

/// An answer, and what it took.
pub(super) struct Recomputed {
    pub(super) spoken: Spoken,
    /// How often the towers and the whole sequence were run.
    pub(super) passes: usize,
}

impl Engine {
    /// The answer to a phrase asked about the first frame, nothing being kept from one token to the next.
    pub(super) fn speak_as_authors(
        &self,
        clip: &mut Clip,
        phrase: &Phrase,
        progress: &mut Progress<'_>,
    ) -> InferResult<Recomputed> {
        let model = self.model();
        let frames = self.encoder_frames(clip, FrameIndex(0));
        let towers = self.tower_inputs(clip, &frames, progress)?;
        let prompt = &model.info.prompt;
        let images = self.config().visual.num_frames;
        let mut ids = model.words.prompt(&prompt.template, phrase, images, 0)?.ids;
        let tokens = self.prompt_tokens();
        let mut spoken = Spoken::nothing(0);
        // Once for nothing but to count the places that the frames take.
        self.last_state(&ids, &towers, tokens)?;
        let mut passes = 1;
        let mut said = Vec::new();
        while said.len() < prompt.max_new_tokens {
            progress.cancel.check()?;
            let state = self.last_state(&ids, &towers, tokens)?;
            passes += 1;
            let probabilities = self.probabilities(&state)?;
            let id = best(&probabilities, |_| true);
            if self.take_down(&mut spoken, id, &probabilities, &state)? {
                break;
            }
            said.push(id);
            ids.push(i64::from(id));
        }
        spoken.text = model.words.decode(&said);
        Ok(Recomputed { spoken, passes })
    }

    /// One pass over everything: towers, projections, and the language model from the first token on; the last state `(1, h)`.
    fn last_state(
        &self,
        ids: &[i64],
        (spatial, temporal): &(Tensor, Tensor),
        tokens: PromptIds,
    ) -> InferResult<Tensor> {
        let language = &self.model().networks.language;
        let block = self.visual_block(spatial, temporal)?;
        let none = TsfTokens::Zeros(0);
        let spliced = multimodal::splice(ids, None, Some(&block), &none, tokens, |ids| {
            language.embed(ids)
        })?;
        let states = language.forward(&spliced.embeds.unsqueeze(0)?, &mut KvCache::new())?;
        Ok(states.narrow(1, states.dim(1)? - 1, 1)?.squeeze(0)?)
    }
}
