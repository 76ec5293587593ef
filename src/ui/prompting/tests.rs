//! Answers of the model are handed in by hand, so that each comes exactly when a test says.

use super::*;
use crate::{
    task::Update,
    ui::{
        actions::Action,
        command::Command,
        leaving::Leaving,
        masks::tests::{
            AT, FIRST, ONE, act, add_object, answer, asked, doc, emission, fail, kept, mask,
            send_answer, was_said, window,
        },
        state::{BoxUse, Tool},
    },
};

const TWO: ObjectId = ObjectId(2);
/// Around the mask that [`answer`] brings: a column in the middle.
const AROUND: [f32; 4] = [1.0, 0.0, 3.0, 4.0];
const FAR: [f32; 4] = [2.0, 2.0, 4.0, 4.0];

fn area(app: &App, id: ObjectId) -> Option<u64> {
    doc(app).mask(id, FIRST).map(|m| m.rle.area())
}

fn draw(app: &mut App, corners: [f32; 4]) {
    app.draw_box(BoxPx::from_array(corners));
}

fn points(app: &App) -> usize {
    let open = app.state.prompting.as_ref();
    open.map_or(0, |p| p.points().count())
}

/// A click was to mend a mask without a pixel, and the next one learnt the object's colours from it.
#[test]
fn a_frame_where_the_object_is_not_is_nothing_to_start_from() {
    let mut app = window();
    let id = add_object(&mut app, &[0, 1]);
    app.select_object(Some(id));
    let before = |app: &App| app.state.prompting.as_ref().map(|p| p.before.is_some());
    app.click(AT, true);
    assert_eq!(before(&app), Some(true));
    answer(&mut app, 4);
    let other = FrameIndex(1);
    assert_eq!(app.vouched_for(id, other).len(), 1);
    act(&mut app, Action::NotHere);
    assert!(app.vouched_for(id, other).is_empty());
    app.click(AT, true);
    assert_eq!(before(&app), Some(false));
}

#[test]
fn a_box_that_lies_elsewhere_begins_a_new_object_and_leaves_the_first_as_it_is() {
    for finished in [false, true] {
        let mut app = window();
        draw(&mut app, [1.0, 0.0, 3.0, 3.0]);
        answer(&mut app, 4);
        if finished {
            act(&mut app, Action::FinishPrompt);
        }
        let first = doc(&app).objects[0].clone();
        draw(&mut app, FAR);
        answer(&mut app, 7);
        assert_eq!(doc(&app).object(ONE), Some(&first));
        assert_eq!((area(&app, TWO), app.state.selected), (Some(7), Some(TWO)));
        app.undo_or_redo(true);
        assert_eq!(doc(&app).objects, [first], "the first has its own step");
        assert_eq!(app.state.selected, Some(ONE));
        app.undo_or_redo(true);
        assert!(doc(&app).objects.is_empty());
    }
}

#[test]
fn a_box_elsewhere_begins_a_new_object_although_the_first_has_no_answer_yet() {
    let mut app = window();
    draw(&mut app, [0.0, 0.0, 2.0, 2.0]);
    draw(&mut app, FAR);
    answer(&mut app, 4);
    answer(&mut app, 5);
    assert_eq!((area(&app, ONE), area(&app, TWO)), (Some(4), Some(5)));
}

#[test]
fn a_box_on_an_anchor_draws_it_anew_and_undo_brings_the_old_one_back() {
    let mut app = window();
    draw(&mut app, AROUND);
    answer(&mut app, 4);
    draw(&mut app, AROUND);
    answer(&mut app, 6);
    assert_eq!((doc(&app).objects.len(), area(&app, ONE)), (1, Some(6)));
    app.undo_or_redo(true);
    assert_eq!(area(&app, ONE), Some(4));
}

#[test]
fn a_box_corrects_the_selected_object_where_a_model_made_its_mask() {
    let mut app = window();
    let id = add_object(&mut app, &[0]);
    app.select_object(Some(id));
    draw(&mut app, FAR);
    answer(&mut app, 6);
    assert_eq!((doc(&app).objects.len(), area(&app, id)), (1, Some(6)));
    // On a frame without a mask likewise.
    app.seek(1);
    draw(&mut app, FAR);
    answer(&mut app, 6);
    assert_eq!(doc(&app).objects.len(), 1);
}

/// By then the box's own mask was an anchor in the document, and what the box corrects was looked for there.
#[test]
fn what_a_box_corrects_is_known_to_the_clicks_that_follow_it() {
    let mut app = window();
    let id = add_object(&mut app, &[0]);
    app.select_object(Some(id));
    let carried = |app: &App| app.state.prompting.as_ref().and_then(|p| p.asks().carried);
    draw(&mut app, AROUND);
    assert_eq!(carried(&app), Some(mask(2).rle));
    answer(&mut app, 6);
    app.click(AT, true);
    assert_eq!(points(&app), 1);
    assert_eq!(carried(&app), Some(mask(2).rle));
    answer(&mut app, 5);
    // What was vouched for is nothing that a box corrects.
    act(&mut app, Action::FinishPrompt);
    app.select_object(Some(id));
    draw(&mut app, AROUND);
    assert_eq!((area(&app, id), carried(&app)), (Some(5), None));
}

#[test]
fn a_finished_object_is_not_changed_by_the_next_click_until_it_is_chosen_again() {
    let mut app = window();
    app.click(AT, true);
    answer(&mut app, 4);
    act(&mut app, Action::FinishPrompt);
    assert_eq!(app.state.selected, Some(ONE), "to be named or carried");
    app.click(AT, true);
    answer(&mut app, 5);
    assert_eq!((area(&app, ONE), area(&app, TWO)), (Some(4), Some(5)));
    act(&mut app, Action::FinishPrompt);
    app.select_object(Some(TWO));
    app.click(AT, true);
    answer(&mut app, 6);
    assert_eq!((doc(&app).objects.len(), area(&app, TWO)), (2, Some(6)));
    // On another frame it is corrected as ever.
    act(&mut app, Action::FinishPrompt);
    app.seek(1);
    app.click(AT, true);
    answer(&mut app, 6);
    assert_eq!(doc(&app).objects.len(), 2);
}

#[test]
fn the_tools_say_what_the_next_box_or_click_does() {
    use crate::ui::masks::next_mark;
    let mut app = window();
    app.state.box_use = BoxUse::Segment;
    assert_eq!(next_mark(&app.state, true), "begins a new object");
    let id = add_object(&mut app, &[0]);
    app.select_object(Some(id));
    let corrects = "corrects “a horse” · Ctrl+N for a new one";
    assert_eq!(next_mark(&app.state, true), corrects);
    app.accept_frame();
    let redraws = "corrects “a horse” · elsewhere a new object";
    assert_eq!(next_mark(&app.state, true), redraws);
    assert_eq!(next_mark(&app.state, false), corrects);
    app.click(AT, true);
    answer(&mut app, 5);
    act(&mut app, Action::FinishPrompt);
    assert_eq!(next_mark(&app.state, false), "begins a new object");
}

#[test]
fn every_click_is_undone_and_made_again_by_itself() {
    let mut app = window();
    for pixels in [4, 5, 6] {
        app.click(AT, true);
        answer(&mut app, pixels);
    }
    let undo = |app: &mut App| {
        app.undo_or_redo(true);
        (area(app, ONE), points(app))
    };
    assert_eq!(undo(&mut app), (Some(5), 2));
    assert_eq!(undo(&mut app), (Some(4), 1));
    assert_eq!(undo(&mut app), (None, 0));
    assert!(app.state.prompting.is_none() && app.state.selected.is_none());
    let redo = |app: &mut App| {
        app.undo_or_redo(false);
        (area(app, ONE), points(app))
    };
    assert_eq!(redo(&mut app), (Some(4), 1));
    assert_eq!(redo(&mut app), (Some(5), 2));
    assert_eq!(app.state.selected, Some(ONE));
    // A click goes on from there, and what was undone is gone.
    app.click(AT, false);
    answer(&mut app, 2);
    assert_eq!((area(&app, ONE), points(&app)), (Some(2), 3));
    app.undo_or_redo(false);
    assert_eq!(area(&app, ONE), Some(2));
    assert_eq!(undo(&mut app), (Some(5), 2));
}

/// "Undone" stood below "Done again" although it was not true any more, and under a pointer each message climbed above the one before.
#[test]
fn what_is_said_of_a_step_takes_the_place_of_what_was_said_of_the_one_before() {
    let mut app = window();
    app.click(AT, true);
    answer(&mut app, 4);
    let said = |app: &App| -> Vec<(String, u64)> {
        let of_steps = |text: &str| text.starts_with("Undone:") || text.starts_with("Done again:");
        let toasts = app.state.toasts.iter().filter(|t| of_steps(&t.text));
        toasts.map(|t| (t.text.clone(), t.key)).collect()
    };
    app.undo_or_redo(true);
    let [(undone, place)] = &said(&app)[..] else {
        panic!("{:?}", said(&app));
    };
    assert!(undone.contains("click"));
    app.undo_or_redo(false);
    assert_eq!(said(&app), [("Done again: click".to_owned(), *place)]);
}

#[test]
fn clicks_are_undone_one_by_one_after_they_were_finished_as_well() {
    let mut app = window();
    for pixels in [4, 5] {
        app.click(AT, true);
        answer(&mut app, pixels);
    }
    act(&mut app, Action::FinishPrompt);
    app.undo_or_redo(true);
    assert_eq!(area(&app, ONE), Some(4));
    app.undo_or_redo(true);
    assert!(doc(&app).objects.is_empty());
    app.undo_or_redo(false);
    app.undo_or_redo(false);
    assert_eq!(area(&app, ONE), Some(5));
}

#[test]
fn clicks_faster_than_their_answers_are_answered_and_undone_one_by_one() {
    let mut app = window();
    for _ in 0..3 {
        app.click(AT, true);
    }
    answer(&mut app, 4);
    assert_eq!(area(&app, ONE), Some(4));
    // The third has not been asked, the second has no answer.
    app.undo_or_redo(true);
    assert_eq!((points(&app), area(&app, ONE)), (2, Some(4)));
    let late = asked(&app);
    app.undo_or_redo(true);
    assert_eq!((points(&app), area(&app, ONE)), (1, Some(4)));
    assert!(app.state.prompts().all(|p| !p.is_pending()));
    send_answer(&mut app, late, 7);
    assert_eq!(area(&app, ONE), Some(4), "too late");
    app.click(AT, true);
    answer(&mut app, 5);
    assert_eq!((points(&app), area(&app, ONE)), (2, Some(5)));
    app.undo_or_redo(true);
    app.undo_or_redo(true);
    assert!(doc(&app).objects.is_empty());
}

#[test]
fn a_click_that_brings_nothing_is_undone_without_the_one_before_it() {
    let mut app = window();
    app.click(AT, true);
    answer(&mut app, 4);
    app.click(AT, true);
    fail(&mut app);
    app.undo_or_redo(true);
    assert_eq!((points(&app), area(&app, ONE)), (1, Some(4)));
    app.undo_or_redo(true);
    assert!(doc(&app).objects.is_empty());
}

#[test]
fn escape_takes_all_clicks_of_the_open_prompt() {
    let mut app = window();
    for pixels in [4, 5, 6] {
        app.click(AT, true);
        answer(&mut app, pixels);
    }
    act(&mut app, Action::Stop);
    assert!(doc(&app).objects.is_empty() && app.state.prompting.is_none());
}

#[test]
fn the_first_click_says_what_belongs_to_the_object() {
    let mut app = window();
    app.click(AT, false);
    assert!(app.state.prompts().next().is_none());
    assert!(was_said(&app, "Click what belongs to it first"));
    // Where there is a mask, it takes something away.
    let id = add_object(&mut app, &[0]);
    app.select_object(Some(id));
    app.click(AT, false);
    answer(&mut app, 1);
    assert_eq!(area(&app, id), Some(1));
}

#[test]
fn undo_goes_to_the_frame_that_it_changes_and_names_it() {
    let mut app = window();
    let other = add_object(&mut app, &[0]);
    app.seek(3);
    app.click(AT, true);
    answer(&mut app, 4);
    app.finish_prompt();
    app.select_object(Some(other));
    app.seek(0);
    app.undo_or_redo(true);
    assert_eq!(app.state.frame, 3);
    assert!(was_said(&app, "Undone: click, on frame 3"));
    app.seek(0);
    app.undo_or_redo(false);
    let at = (app.state.frame, app.state.selected);
    assert_eq!(at, (3, Some(TWO)), "with the object that it makes again");
    // What changes in view leads nowhere.
    app.undo_or_redo(true);
    assert_eq!(app.state.frame, 3);
}

#[test]
fn a_phrase_of_any_length_makes_a_short_label() {
    let mut app = window();
    let phrase = "dog ".repeat(2500).trim_end().to_owned();
    app.ground_phrase(phrase.clone(), false, None);
    let job = app.state.jobs.last().unwrap().id;
    let said = app.state.jobs.last().unwrap().title();
    let mut emission = emission(&[true]);
    emission.phrase.clone_from(&phrase);
    app.take(Update::Grounded {
        job,
        emission: Box::new(emission),
        masks: vec![mask(3)],
    });
    let session = app.state.session.as_ref().unwrap();
    let label = session.undo_label().unwrap();
    assert!(
        label.chars().count() <= 40 && label.ends_with("…”"),
        "{label}"
    );
    assert!(said.chars().count() < 80, "{said}");
    assert_eq!(session.doc.emissions[0].phrase, phrase, "whole");
}

/// What was chosen first lost its mask, and what was chosen second its place in the order.
#[test]
fn proposals_chosen_on_two_frames_within_one_answers_time_are_undone_step_by_step() {
    let mut app = window();
    for frame in [0, 1] {
        let mut emission = emission(&[false, false]);
        emission.frame = FrameIndex(frame);
        assert!(app.edit(Edit::add_emission(emission), "ground"));
    }
    app.toggle_proposal(1);
    app.seek(1);
    app.toggle_proposal(0);
    answer(&mut app, 4);
    let is_kept = |app: &App, at: usize| {
        let proposals = &doc(app).emissions[at].proposals;
        proposals.iter().any(|p| p.selected)
    };
    let mut seen = Vec::new();
    for _ in 0..3 {
        let masks = doc(&app).objects.len();
        let pending = app.state.prompts().filter(|p| p.is_pending()).count();
        seen.push((masks, pending, is_kept(&app, 0), is_kept(&app, 1)));
        app.undo_or_redo(true);
    }
    // The mask that came last, then the second choice with what is asked for it, then the first choice.
    let all = [(1, 1, true, true), (0, 1, true, true), (0, 0, true, false)];
    assert_eq!(seen, all);
    assert_eq!(kept(&app), [false, false]);
    assert!(app.state.prompts().next().is_none());
}

#[test]
fn an_answer_does_not_call_the_closing_of_the_window_off() {
    let mut app = window();
    app.state.phrase = "a dog".to_owned();
    draw(&mut app, AROUND);
    app.state.leaving = Some(Leaving::Quit);
    let job = app.state.jobs.last().unwrap().id;
    let mut emission = emission(&[false]);
    emission.proposals[0].drawn = true;
    emission.proposals[0].box_px = BoxPx::from_array(AROUND);
    app.take(Update::Grounded {
        job,
        emission: Box::new(emission),
        masks: Vec::new(),
    });
    assert!(
        app.state.prompts().next().is_some(),
        "the box is taken for it"
    );
    assert_eq!(app.state.leaving, Some(Leaving::Quit));
    // A hand does.
    let ctx = egui::Context::default();
    app.run(&ctx, Command::ToggleProposal(0));
    assert_eq!(app.state.leaving, None);
}

#[test]
fn an_object_takes_another_colour_and_undo_gives_the_old_one_back() {
    let mut app = window();
    let id = add_object(&mut app, &[0]);
    let colour = |app: &App| doc(app).object(id).unwrap().colour;
    let before = colour(&app);
    app.run(&egui::Context::default(), Command::SetColour(id, 7));
    assert_eq!(colour(&app), 7);
    app.undo_or_redo(true);
    assert_eq!(colour(&app), before);
}

#[test]
fn the_phrase_field_has_the_keyboard_again_after_no_match_unless_the_hand_went_on() {
    for turns_away in [false, true] {
        let mut app = window();
        app.state.phrase = "a dog".to_owned();
        app.ground(false);
        if turns_away {
            app.set_tool(Tool::Brush);
            app.paint(AT);
        }
        let job = app.state.jobs.last().unwrap().id;
        app.take(Update::Grounded {
            job,
            emission: Box::new(emission(&[false])),
            masks: Vec::new(),
        });
        assert_eq!(app.state.focus_phrase, !turns_away);
    }
    // Asked by a key, it was not typed.
    let mut app = window();
    app.state.phrase = "a dog".to_owned();
    app.ground_phrase("a dog".to_owned(), false, None);
    let job = app.state.jobs.last().unwrap().id;
    app.take(Update::Grounded {
        job,
        emission: Box::new(emission(&[false])),
        masks: Vec::new(),
    });
    assert!(!app.state.focus_phrase);
}
