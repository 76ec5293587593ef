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

    /// The newest emission on the frame in view that the selected object came from.
    fn listing(&self) -> Option<(usize, &Emission)> {
        let selected = self.selected?;
        self.emissions_here()
            .find(|(_, e)| e.objects.contains(&selected))
    }

    /// Whether what was chosen to be looked at still is.
    fn choice_holds(&self, choice: &ChosenEmission) -> bool {
        // An object that is only being made is listed nowhere yet: it changes nothing.
        choice.frame == self.here() && (choice.beside == self.selected || self.listing().is_none())
    }

    /// The emission to be looked at on the frame in view, with its index: the one that was chosen, or the one that the
    /// selected object came from, or the newest.
    pub(crate) fn emission_here(&self) -> Option<(usize, &Emission)> {
        let chosen = self.chosen_emission.as_ref();
        chosen
            .filter(|choice| self.choice_holds(choice))
            .and_then(|c| self.emissions_here().find(|(_, e)| e.phrase == c.phrase))
            .or_else(|| self.listing())
            .or_else(|| self.emissions_here().next())
    }

    /// Lets go of a choice once another frame or another object is looked at: it does not come back with them.
    pub(crate) fn end_chosen_emission(&mut self) {
        let chosen = self.chosen_emission.as_ref();
        if chosen.is_some_and(|choice| !self.choice_holds(choice)) {
            self.chosen_emission = None;
        }
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
        project::Size,
        ui::{app::App, session::Session, settings::Settings},
    };

    fn emission(phrase: &str, objects: &[u32]) -> Emission {
        Emission {
            objects: objects.iter().map(|&id| ObjectId(id)).collect(),
            ..crate::ui::fixture::emission(0, phrase)
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

    /// It came back when its object was selected again, or its frame gone to.
    #[test]
    fn an_emission_that_was_chosen_is_let_go_of_with_its_object_and_its_frame() {
        let mut app = App::without_model(&egui::Context::default());
        let mut doc = crate::ui::fixture::document(Size::new(4, 4), 3);
        doc.emissions = vec![
            emission("the red circle", &[1]),
            emission("the green star", &[2]),
            emission("nothing", &[]),
        ];
        app.state.session = Some(Session::read_only(doc, "clip.sparrow".into()));
        let shown = |app: &App| app.state.emission_here().map(|(at, _)| at);
        app.state.selected = Some(ObjectId(1));
        app.state.choose_emission("nothing".into());
        app.refresh();
        assert_eq!(shown(&app), Some(2), "it is looked at still");
        for id in [2, 1] {
            app.state.selected = Some(ObjectId(id));
            app.refresh();
        }
        assert_eq!(shown(&app), Some(0), "the one that the object came from");
        app.state.choose_emission("nothing".into());
        for frame in [1, 0] {
            app.state.frame = frame;
            app.refresh();
        }
        assert_eq!(shown(&app), Some(0));
    }
}
