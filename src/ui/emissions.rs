//! Which emission of the frame in view is looked at: a frame may have one for every phrase.

use super::state::State;
use crate::project::{Emission, FrameIndex, ObjectId};

/// An emission that was chosen to be looked at, until another frame or another object is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChosenEmission {
    pub(crate) frame: FrameIndex,
    /// A frame has one emission of a phrase.
    pub(crate) phrase: String,
    /// What was selected when it was chosen.
    pub(crate) beside: Option<ObjectId>,
}

impl State {
    /// The emissions on the frame in view with their indices, newest first.
    pub(crate) fn emissions_here(&self) -> impl Iterator<Item = (usize, &Emission)> {
        let session = self.session.iter();
        session
            .flat_map(|s| s.doc.emissions.iter().enumerate().rev())
            .filter(|(_, e)| e.frame == self.here())
    }

    /// The emission to be looked at on the frame in view, with its index: the one that was chosen, or the one that the
    /// selected object came from, or the newest.
    pub(crate) fn emission_here(&self) -> Option<(usize, &Emission)> {
        let lists = |e: &Emission| self.selected.is_some_and(|id| e.objects.contains(&id));
        let listing = self.emissions_here().find(|(_, e)| lists(e));
        // An object that is only being made is listed nowhere yet: it changes nothing.
        let holds = |c: &&ChosenEmission| {
            c.frame == self.here() && (c.beside == self.selected || listing.is_none())
        };
        let chosen = self.chosen_emission.as_ref().filter(holds);
        chosen
            .and_then(|c| self.emissions_here().find(|(_, e)| e.phrase == c.phrase))
            .or(listing)
            .or_else(|| self.emissions_here().next())
    }

    /// Looks at the emission of a phrase on the frame in view.
    pub(crate) fn choose_emission(&mut self, phrase: String) {
        self.chosen_emission = Some(ChosenEmission {
            frame: self.here(),
            phrase,
            beside: self.selected,
        });
        // It speaks of a proposal by its number, and the numbers are another emission's now.
        self.toggled = None;
        self.hovered_proposal = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        project::{Choosing, Size},
        ui::{session::Session, settings::Settings},
    };

    fn emission(phrase: &str, objects: &[u32]) -> Emission {
        Emission {
            frame: FrameIndex(0),
            phrase: phrase.to_owned(),
            text: String::new(),
            tokens: Vec::new(),
            unknown_words: Vec::new(),
            proposals: Vec::new(),
            objects: objects.iter().map(|&id| ObjectId(id)).collect(),
            tsf_tokens: 0,
            secs: 0.0,
            choosing: Choosing::default(),
        }
    }

    #[test]
    fn every_emission_of_a_frame_can_be_looked_at() {
        let mut state = State::new(Settings::default(), "nano".into(), "cpu".into());
        let mut doc = crate::ui::fixture::document(Size::new(4, 4), 3);
        doc.emissions = vec![
            emission("the red circle", &[1]),
            emission("the green star", &[2]),
            emission("nothing", &[]),
        ];
        state.session = Some(Session::read_only(doc, "clip.sparrow".into()));
        let shown = |state: &State| state.emission_here().map(|(at, _)| at);
        assert_eq!(shown(&state), Some(2), "the newest");
        state.selected = Some(ObjectId(1));
        assert_eq!(shown(&state), Some(0), "the one that the object came from");
        state.choose_emission("nothing".into());
        assert_eq!(shown(&state), Some(2), "the chosen one");
        // An object in the making changes nothing; one that came of another emission does.
        state.selected = Some(ObjectId(9));
        assert_eq!(shown(&state), Some(2));
        state.selected = Some(ObjectId(2));
        assert_eq!(shown(&state), Some(1));
        state.selected = None;
        state.choose_emission("the red circle".into());
        assert_eq!(shown(&state), Some(0));
        let all: Vec<usize> = state.emissions_here().map(|(at, _)| at).collect();
        assert_eq!(all, [2, 1, 0]);
        state.frame = 1;
        assert_eq!(shown(&state), None);
    }
}
