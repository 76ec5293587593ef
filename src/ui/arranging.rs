//! Objects joined, parted and put in another order. Part of `logic`; which masks an object has then is decided by
//! [`crate::project::merge`] and [`crate::project::split`].

use super::{
    actions::Action,
    app::App,
    logic::cut,
    prompting::Prompting,
    state::{State, Weight},
};
use crate::project::{Edit, Object, ObjectId, merge, split};

/// The object that goes into the one that is clicked next, if one does.
pub(crate) fn merging(state: &State) -> Option<&Object> {
    let id = state.merging?;
    state.selected_object().filter(|o| o.id == id)
}

/// What to click while an object is to be merged.
pub(crate) fn merge_hint(state: &State) -> Option<String> {
    let name = cut(&merging(state)?.name, 24);
    let drops = match state.keymap.shown(Action::Stop) {
        key if key.is_empty() => key,
        key => format!(" · {key} drops it"),
    };
    Some(format!(
        "click the object that takes the masks of “{name}”{drops}"
    ))
}

impl App {
    /// The next click on another object joins the masks of the selected one into it.
    pub(super) fn begin_merge(&mut self) {
        let Some(id) = self.changeable() else {
            return;
        };
        let objects = self
            .state
            .session
            .as_ref()
            .map_or(0, |s| s.doc.objects.len());
        if objects < 2 {
            let text = "There is no other object to merge into.";
            self.say(Weight::Info, text);
            return;
        }
        self.end_paint();
        self.finish_prompt();
        self.state.merging = Some(id);
    }

    /// Whether a merge was begun; it is not, any more.
    pub(super) fn drop_merge(&mut self) -> bool {
        let begun = merging(&self.state).is_some();
        self.state.merging = None;
        begun
    }

    /// A person points at an object, or at none: it is selected, or the merge that was begun goes into it.
    pub(super) fn choose_object(&mut self, id: Option<ObjectId>) {
        let Some(from) = merging(&self.state).map(|o| o.id) else {
            self.select_object(id);
            return;
        };
        if let Some(into) = id.filter(|id| *id != from) {
            self.merge_objects(from, into);
        }
    }

    /// Whether a mask of an object is still to come; says that it has to be waited for.
    fn waits_for_masks(&mut self, id: ObjectId) -> bool {
        let is_awaited = |p: &&Prompting| p.object == id && p.is_pending();
        let awaited = self.state.prompts().find(is_awaited).map(|p| p.frame);
        awaited.is_some_and(|frame| self.has_to_wait(id, frame))
    }

    fn merge_objects(&mut self, from: ObjectId, into: ObjectId) {
        for id in [from, into] {
            if self.says_locked(id) || self.waits_for_masks(id) {
                return;
            }
        }
        let Some(session) = &self.state.session else {
            return;
        };
        let doc = &session.doc;
        let name = |id| {
            doc.object(id)
                .map_or_else(String::new, |o| cut(&o.name, 30))
        };
        let text = format!("“{}” was merged into “{}”.", name(from), name(into));
        match merge(doc, from, into) {
            Ok(edit) => {
                self.stay();
                self.about_to_edit_masks();
                if self.edit(edit, "merge objects") {
                    self.select_object(Some(into));
                    self.say(Weight::Info, text);
                }
            }
            Err(error) => {
                self.refused(Err(error));
            }
        }
    }

    /// The selected object's masks from the frame in view on become a new object.
    pub(super) fn split_object(&mut self) {
        let Some(id) = self.changeable() else {
            return;
        };
        self.end_paint();
        self.finish_prompt();
        if self.waits_for_masks(id) {
            return;
        }
        let frame = self.state.here();
        let Some(new) = self.state.free_id() else {
            return;
        };
        let Some(session) = &self.state.session else {
            return;
        };
        match split(&session.doc, id, frame, new) {
            Ok(edit) => {
                self.stay();
                self.about_to_edit_masks();
                if self.edit(edit, "split object") {
                    self.select_object(Some(new));
                    let name = self.state.selected_object().map(|o| o.name.as_str());
                    let name = cut(name.unwrap_or_default(), 30);
                    let text = format!("From frame {} on it is “{name}” now.", frame.0);
                    self.say(Weight::Info, text);
                }
            }
            Err(why) => self.say(Weight::Info, format!("{why}.")),
        }
    }

    /// Puts an object at another place of the list.
    pub(super) fn move_object(&mut self, id: ObjectId, at: usize) {
        let objects = self.state.session.as_ref().map(|s| &s.doc.objects);
        let from = objects.and_then(|all| all.iter().position(|o| o.id == id));
        if from.is_some_and(|from| from != at) {
            self.edit(Edit::MoveObject { id, at }, "move object");
        }
    }

    /// The selected object one place up in the list, or down.
    pub(super) fn move_selected(&mut self, down: bool) {
        let Some(id) = self.state.selected_object().map(|o| o.id) else {
            self.say(Weight::Info, "Select an object first.");
            return;
        };
        let objects = self.state.session.as_ref().map(|s| &s.doc.objects);
        let Some((from, all)) = objects.and_then(|all| {
            let from = all.iter().position(|o| o.id == id)?;
            Some((from, all.len()))
        }) else {
            return;
        };
        let to = if down {
            Some(from + 1).filter(|to| *to < all)
        } else {
            from.checked_sub(1)
        };
        match to {
            Some(to) => self.move_object(id, to),
            None if down => self.say(Weight::Info, "It is the last object of the list."),
            None => self.say(Weight::Info, "It is the first object of the list."),
        }
    }

    /// The objects there are.
    pub(super) fn object_ids(&self) -> Vec<ObjectId> {
        let objects = self.state.session.iter().flat_map(|s| &s.doc.objects);
        objects.map(|o| o.id).collect()
    }

    /// An object that undo or redo has brought, alone, is selected: it is what one was about.
    pub(super) fn select_returned(&mut self, before: &[ObjectId]) {
        let now = self.object_ids();
        let mut new = now.into_iter().filter(|id| !before.contains(id));
        if let (Some(id), None) = (new.next(), new.next()) {
            self.select_object(Some(id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        project::{FrameIndex, FrameMask},
        ui::{
            command::Command,
            masks::tests::{AT, FIRST, ONE, act, add_object, answer, doc, mask, was_said, window},
            state::Tool,
        },
    };

    const TWO: ObjectId = ObjectId(2);
    const THREE: ObjectId = ObjectId(3);

    fn send(app: &mut App, command: Command) {
        app.run(&egui::Context::default(), command);
    }

    fn choose(app: &mut App, id: ObjectId) {
        send(app, Command::SelectObject(Some(id)));
    }

    fn ids(app: &App) -> Vec<u32> {
        app.object_ids().iter().map(|id| id.0).collect()
    }

    fn frames(app: &App, id: ObjectId) -> Vec<u32> {
        let object = doc(app).object(id).unwrap();
        object.frames.keys().map(|f| f.0).collect()
    }

    /// Two objects, on frames 0 to 2 and 2 to 4; the first is selected.
    fn two() -> App {
        let mut app = window();
        add_object(&mut app, &[0, 1, 2]);
        add_object(&mut app, &[2, 3, 4]);
        app.select_object(Some(ONE));
        app
    }

    #[test]
    fn the_next_click_on_another_object_joins_the_two_in_one_step() {
        let mut app = two();
        let before = doc(&app).clone();
        act(&mut app, Action::MergeObject);
        let hint = merge_hint(&app.state).unwrap();
        assert!(hint.contains("a horse") && hint.contains("Esc"), "{hint}");
        // Itself, or a click beside all objects, is no answer.
        choose(&mut app, ONE);
        send(&mut app, Command::SelectObject(None));
        assert!(merging(&app.state).is_some_and(|o| o.id == ONE));
        choose(&mut app, TWO);
        assert_eq!(
            (ids(&app), frames(&app, TWO)),
            (vec![2], vec![0, 1, 2, 3, 4])
        );
        assert_eq!(app.state.selected, Some(TWO));
        assert!(merge_hint(&app.state).is_none());
        act(&mut app, Action::Undo);
        assert_eq!(doc(&app), &before);
        assert_eq!(app.state.selected, Some(ONE), "what was merged is back");
        act(&mut app, Action::Redo);
        assert_eq!(ids(&app), [2]);
    }

    #[test]
    fn escape_other_work_and_another_selection_drop_a_merge_that_was_begun() {
        let ways: [fn(&mut App); 6] = [
            |app| act(app, Action::Stop),
            |app| app.set_tool(Tool::Brush),
            |app| act(app, Action::NewObject),
            |app| act(app, Action::Undo),
            |app| send(app, Command::DeleteObject(ONE)),
            |app| {
                send(app, Command::OnObject(TWO, Action::LockObject));
                act(app, Action::LockObject);
            },
        ];
        for way in ways {
            let mut app = two();
            add_object(&mut app, &[0]);
            act(&mut app, Action::MergeObject);
            way(&mut app);
            assert!(merge_hint(&app.state).is_none());
            let before = doc(&app).clone();
            choose(&mut app, TWO);
            assert_eq!(doc(&app), &before);
            assert_eq!(app.state.selected, Some(TWO));
        }
    }

    #[test]
    fn escape_drops_the_merge_and_keeps_the_selection() {
        let mut app = two();
        act(&mut app, Action::MergeObject);
        act(&mut app, Action::Stop);
        assert_eq!(app.state.selected, Some(ONE));
        assert!(!app.drop_merge());
    }

    #[test]
    fn locked_objects_and_a_lone_one_are_not_merged() {
        for locked in [ONE, TWO] {
            let mut app = two();
            let lock = |app: &mut App| send(app, Command::LockObject(locked, true));
            if locked == ONE {
                lock(&mut app);
            }
            act(&mut app, Action::MergeObject);
            if locked == TWO {
                lock(&mut app);
            }
            choose(&mut app, TWO);
            assert_eq!(ids(&app), [1, 2]);
            assert!(was_said(&app, "is locked"));
        }
        let mut app = window();
        let id = add_object(&mut app, &[0]);
        app.select_object(Some(id));
        act(&mut app, Action::MergeObject);
        assert!(was_said(&app, "no other object") && merging(&app.state).is_none());
    }

    #[test]
    fn a_mask_on_its_way_to_either_object_is_waited_for() {
        for clicked in [ONE, TWO] {
            let mut app = two();
            app.select_object(Some(clicked));
            app.click(AT, true);
            app.select_object(Some(ONE));
            act(&mut app, Action::MergeObject);
            choose(&mut app, TWO);
            assert_eq!(ids(&app), [1, 2]);
            assert!(was_said(&app, "still on its way"));
            answer(&mut app, 4);
            choose(&mut app, TWO);
            assert_eq!(ids(&app), [2]);
            assert!(doc(&app).object(TWO).unwrap().frames[&FIRST].anchor);
        }
    }

    #[test]
    fn what_goes_on_after_the_frame_in_view_is_a_new_object() {
        let mut app = two();
        let before = doc(&app).clone();
        app.seek(1);
        act(&mut app, Action::SplitObject);
        assert_eq!(ids(&app), [1, 3, 2]);
        assert_eq!(frames(&app, ONE), [0]);
        assert_eq!(frames(&app, THREE), [1, 2]);
        let part = doc(&app).object(THREE).unwrap();
        assert_eq!((part.name.as_str(), part.colour), ("a horse (2)", 2));
        assert_eq!(app.state.selected, Some(THREE));
        assert!(was_said(&app, "“a horse (2)”"));
        act(&mut app, Action::Undo);
        assert_eq!(doc(&app).objects, before.objects);
        act(&mut app, Action::Redo);
        assert_eq!(app.state.selected, Some(THREE));
    }

    #[test]
    fn no_object_is_split_where_one_part_would_be_empty() {
        let mut app = two();
        for (frame, why) in [(0, "no mask before frame 0"), (3, "no mask from frame 3")] {
            app.seek(frame);
            act(&mut app, Action::SplitObject);
            assert_eq!(ids(&app), [1, 2]);
            assert!(was_said(&app, why));
        }
        send(&mut app, Command::LockObject(ONE, true));
        app.seek(1);
        act(&mut app, Action::SplitObject);
        assert!(ids(&app) == [1, 2] && was_said(&app, "is locked"));
    }

    #[test]
    fn an_id_that_a_click_has_been_given_is_not_given_to_a_part() {
        let mut app = two();
        app.select_object(None);
        app.click(AT, true);
        app.select_object(Some(ONE));
        app.seek(1);
        act(&mut app, Action::SplitObject);
        assert_eq!(ids(&app), [1, 4, 2]);
        answer(&mut app, 4);
        assert_eq!(ids(&app), [1, 4, 2, 3]);
    }

    #[test]
    fn the_selected_object_goes_up_and_down_one_step_each() {
        let mut app = two();
        act(&mut app, Action::ObjectDown);
        assert_eq!(ids(&app), [2, 1]);
        act(&mut app, Action::ObjectDown);
        assert!(was_said(&app, "the last object"));
        act(&mut app, Action::ObjectUp);
        act(&mut app, Action::ObjectUp);
        assert!(was_said(&app, "the first object"));
        assert_eq!(ids(&app), [1, 2]);
        send(&mut app, Command::MoveObject(TWO, 0));
        assert_eq!(ids(&app), [2, 1]);
        send(&mut app, Command::MoveObject(TWO, 0));
        let undone = [[1, 2], [2, 1], [1, 2]];
        for ids_then in undone {
            act(&mut app, Action::Undo);
            assert_eq!(ids(&app), ids_then);
        }
        assert_eq!(app.state.selected, Some(ONE));
    }

    /// Undo brought it back, and one had to look for it in the list.
    #[test]
    fn a_deleted_object_comes_back_selected() {
        let mut app = two();
        app.seek(4);
        send(&mut app, Command::DeleteObject(ONE));
        assert_eq!(app.state.selected, None);
        act(&mut app, Action::Undo);
        assert_eq!(app.state.selected, Some(ONE));
        // On the frame in view as well.
        act(&mut app, Action::Redo);
        app.select_object(Some(TWO));
        act(&mut app, Action::Undo);
        assert_eq!(app.state.selected, Some(ONE));
    }

    #[test]
    fn a_number_key_answers_a_merge_as_a_click_does() {
        let mut app = two();
        act(&mut app, Action::MergeObject);
        let mut input = egui::RawInput::default();
        input.events.push(egui::Event::Key {
            key: egui::Key::Num2,
            physical_key: None,
            pressed: true,
            repeat: false,
            modifiers: egui::Modifiers::NONE,
        });
        let ctx = egui::Context::default();
        let mut output = ctx.run_ui(input, |ui| app.keys(ui.ctx()));
        // Nothing is drawn.
        output.textures_delta.clear();
        assert_eq!(ids(&app), [2]);
    }

    #[test]
    fn an_anchor_of_either_object_survives_the_merge() {
        let mut app = two();
        let (id, frame, anchor) = (ONE, FrameIndex(2), true);
        assert!(app.edit(Edit::SetAnchor { id, frame, anchor }, "accept frame"));
        act(&mut app, Action::MergeObject);
        choose(&mut app, TWO);
        let kept = doc(&app).mask(TWO, FrameIndex(2)).unwrap();
        assert!(kept.anchor && kept.rle == mask(2).rle);
        let others = [0, 1, 3, 4].map(|f| doc(&app).mask(TWO, FrameIndex(f)));
        assert!(
            others
                .iter()
                .all(|m| m.is_some_and(|m: &FrameMask| !m.anchor))
        );
    }
}
