//! How a phrase was read, and why nothing came of it, in words for a person. Looks at emissions; leaves showing it to the
//! panels and saying it to [`super::answers`].

use super::{app::App, state::Weight};
use crate::project::{Document, Emission, NOT_KNOWN, Thresholds, WhyNot, split_words, why_not};

/// Words without a thing of their own: that a model knows them says nothing of how it reads a phrase.
const LITTLE: [&str; 32] = [
    "a", "above", "an", "and", "at", "behind", "below", "beside", "between", "by", "for", "from",
    "in", "into", "is", "near", "next", "of", "off", "on", "or", "out", "over", "that", "the",
    "this", "to", "under", "which", "who", "with", "without",
];

/// What the phrase was read as if the model knows not one word in it that names or describes a thing; empty if as nothing.
pub(crate) fn read_instead(emission: &Emission) -> Option<String> {
    let unknown = &emission.unknown_words;
    if unknown.is_empty() {
        return None;
    }
    let is_unknown = |word: &str| unknown.iter().any(|(w, _)| w.to_lowercase() == word);
    let says_nothing = |word: &str| LITTLE.contains(&word) || is_unknown(word);
    let all = split_words(&emission.phrase).iter().all(|word| {
        // Of a word with a hyphen the parts may have been looked up.
        says_nothing(word) || word.split('-').all(says_nothing)
    });
    let read = unknown.iter().map(|(_, read)| read.as_str());
    let read: Vec<&str> = read.filter(|r| !r.is_empty()).collect();
    all.then(|| read.join(" "))
}

/// Whether nothing came of an emission: no box is kept, and none of its objects is there.
pub(crate) fn is_nothing(doc: &Document, emission: &Emission) -> bool {
    let mut objects = emission.objects.iter();
    !emission.proposals.iter().any(|p| p.selected) && !objects.any(|id| doc.object(*id).is_some())
}

/// Why nothing came of an emission: a clause.
pub(crate) fn why_nothing(emission: &Emission, thresholds: &Thresholds) -> String {
    if emission.says_nothing() {
        return "the model says that there is no such thing".to_owned();
    }
    let reasons = why_not(emission, thresholds);
    let best = (emission.proposals.iter().zip(reasons))
        .max_by(|(a, _), (b, _)| a.confidence.total_cmp(&b.confidence));
    match best {
        None => "no box is offered on this frame".to_owned(),
        Some((best, Some(WhyNot::BelowKeep))) => format!(
            "no box is sure enough, the best has a confidence of {:.2} and {:.2} is asked for",
            best.confidence, thresholds.keep
        ),
        Some((_, Some(reason))) => {
            format!("the best box is not kept, {}", reason.words(thresholds))
        }
        Some((_, None)) if emission.by_hand.as_ref().is_some_and(|b| !b.is_empty()) => {
            "you took out every box".to_owned()
        }
        Some((_, None)) => "no mask was made from any box".to_owned(),
    }
}

impl App {
    /// A message about the newest answer to a phrase; the next question takes it away.
    pub(super) fn say_of_answer(&mut self, text: impl Into<String>) {
        self.say(Weight::Look, text);
        let key = self.state.toasts.last().map(|t| t.key);
        self.state.answer_toasts.extend(key);
    }

    /// What was said of an older answer speaks of nothing that is asked now.
    pub(super) fn forget_answer(&mut self) {
        let old = std::mem::take(&mut self.state.answer_toasts);
        self.state.toasts.retain(|t| !old.contains(&t.key));
    }

    /// Says what a phrase was read as of which the model knows no word, in place of a message for each of them.
    pub(super) fn say_read_instead(&mut self, phrase: &str, read: &str) {
        let spoken = &self.state.answer_toasts;
        let is_of_word = |text: &str| text.contains(NOT_KNOWN);
        self.state
            .toasts
            .retain(|t| !(spoken.contains(&t.key) && is_of_word(&t.text)));
        let model = self.state.model.at_work();
        let read = match read {
            "" => "leaves all of it out".to_owned(),
            read => format!("reads it as “{read}”"),
        };
        self.say_of_answer(format!(
            "{model} knows no word of “{phrase}” and {read}: what it finds is a guess. Use words that it knows."
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        project::{BoxPx, Choosing, Proposal, Size},
        task::Update,
        ui::session::Session,
    };

    fn emission(phrase: &str, unknown: &[(&str, &str)]) -> Emission {
        let owned = |(word, read): &(&str, &str)| ((*word).to_owned(), (*read).to_owned());
        Emission {
            text: "it is [BOX] [SEG]".to_owned(),
            unknown_words: unknown.iter().map(owned).collect(),
            proposals: vec![Proposal {
                box_px: BoxPx::from_array([0.0, 0.0, 2.0, 2.0]),
                objectness: 0.9,
                filtration: 0.2,
                confidence: 0.21,
                selected: false,
                drawn: false,
                incredible: false,
            }],
            choosing: Choosing {
                may_be_none: true,
                ..Choosing::default()
            },
            by_hand: Some(std::collections::BTreeSet::new()),
            ..crate::ui::fixture::emission(0, phrase)
        }
    }

    fn window() -> App {
        let mut app = App::without_model(&egui::Context::default());
        let doc = crate::ui::fixture::document(Size::new(4, 4), 3);
        let wake = app.services.wake.clone();
        app.state.session = Some(Session::unsaved(doc, Vec::new(), wake));
        app
    }

    /// Asks, and hands in the answer, with warnings before it as the engine sends them.
    fn ask(app: &mut App, emission: Emission, warnings: &[&str]) {
        app.ground_phrase(emission.phrase.clone(), false, None);
        let job = app.state.jobs.last().unwrap().id;
        for text in warnings {
            let text = (*text).to_owned();
            app.take(Update::Warning { job, text });
        }
        app.take(Update::Grounded {
            job,
            emission: Box::new(emission),
            masks: Vec::new(),
        });
    }

    fn said(app: &App) -> Vec<&str> {
        app.state.toasts.iter().map(|t| t.text.as_str()).collect()
    }

    #[test]
    fn a_phrase_of_which_no_word_is_known_is_told_from_one_with_a_known_word() {
        let read =
            |phrase: &str, unknown: &[(&str, &str)]| read_instead(&emission(phrase, unknown));
        let horse = [("das", ""), ("pferd", "object")];
        assert_eq!(read("das Pferd", &horse).as_deref(), Some("object"));
        let one = [("horse", "object")];
        assert_eq!(read("the horse’s", &one).as_deref(), Some("object"));
        assert_eq!(read("the red horse", &one), None);
        assert_eq!(read("the ball", &[]), None);
        assert_eq!(read("xyz", &[("xyz", "")]).as_deref(), Some(""));
        let parts = [("foo", ""), ("bar", "object")];
        assert_eq!(read("the foo-bar", &parts).as_deref(), Some("object"));
        assert_eq!(read("the foo-ball", &parts), None);
    }

    /// An object came of it, and that not one word had been understood stood where nobody saw it.
    #[test]
    fn a_message_says_what_a_phrase_without_a_known_word_was_read_as() {
        let mut app = window();
        let pferd = emission("das Pferd", &[("das", ""), ("pferd", "object")]);
        let warnings = [
            format!("the model {NOT_KNOWN} \"das\"; it is left out"),
            format!("the model {NOT_KNOWN} \"pferd\"; it reads \"object\" instead"),
        ];
        let warnings = warnings.each_ref().map(String::as_str);
        ask(&mut app, pferd, &warnings);
        let all = said(&app);
        assert_eq!(all.len(), 2, "{all:?}");
        assert!(
            all[0].starts_with("Nano knows no word of “das Pferd” and reads it as “object”"),
            "{all:?}"
        );
        let mut app = window();
        ask(
            &mut app,
            emission("the red horse", &[("horse", "object")]),
            &warnings[1..],
        );
        assert!(said(&app)[0].contains(NOT_KNOWN));
    }

    /// The message of the phrase before stood beside it, and neither said why.
    #[test]
    fn a_message_that_nothing_matches_says_why_and_takes_the_place_of_the_one_before() {
        let mut app = window();
        app.say(Weight::Info, "Something else.");
        ask(
            &mut app,
            emission("two horses", &[]),
            &["only a part is read"],
        );
        assert_eq!(said(&app).len(), 3);
        ask(&mut app, emission("the purple moon", &[]), &[]);
        let all = said(&app);
        assert_eq!(all.len(), 2, "{all:?}");
        assert_eq!(all[0], "Something else.");
        assert!(
            all[1].starts_with(
                "Nothing on frame 0 matches “the purple moon”: no box is sure enough, the best has a confidence of 0.21 and 0.40 is asked for."
            ),
            "{all:?}"
        );
    }

    #[test]
    fn why_nothing_came_of_an_emission_has_one_reason() {
        let rule = Thresholds::default();
        let mut nothing = emission("the purple moon", &[]);
        let doc = crate::ui::fixture::document(Size::new(4, 4), 3);
        assert!(is_nothing(&doc, &nothing));
        nothing.proposals[0].incredible = true;
        let why = why_nothing(&nothing, &rule);
        assert_eq!(
            why,
            "the best box is not kept, SAM2 does not fill its box with a mask"
        );
        nothing.text = "there is none".to_owned();
        assert!(why_nothing(&nothing, &rule).contains("no such thing"));
        nothing.text.clear();
        nothing.proposals.clear();
        assert_eq!(
            why_nothing(&nothing, &rule),
            "no box is offered on this frame"
        );
        let mut taken = emission("the ball", &[]);
        taken.proposals[0].confidence = 0.9;
        taken.by_hand = Some([0].into());
        assert_eq!(why_nothing(&taken, &rule), "you took out every box");
        taken.proposals[0].selected = true;
        assert!(!is_nothing(&doc, &taken));
    }
}
