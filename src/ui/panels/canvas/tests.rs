//! The picture and what the pointer does on it, without a clip to decode.

use egui_kittest::{Harness, kittest::Queryable as _};

use super::*;
use crate::{
    project::{FrameIndex, FrameMask, Rle},
    ui::{session::Session, settings::Settings, state::Clip},
    video::{Frame, Pixels},
};

/// A clip whose picture of this frame is shown.
fn clip_showing(frame: u32, trouble: Option<&str>) -> Clip {
    Clip {
        title: String::new(),
        path: "clip.mp4".into(),
        shown: Some(std::sync::Arc::new(Frame {
            index: FrameIndex(frame),
            pts_secs: 0.0,
            coded_size: Size::new(1, 1),
            rotation: 0,
            pixels: Pixels::Rgb(vec![0; 3]),
        })),
        shown_key: 1,
        pts_secs: 0.0,
        thumbnails: std::collections::BTreeMap::new(),
        thumbnails_wanted: Vec::new(),
        trouble: trouble.map(str::to_owned),
        failed: std::collections::BTreeSet::new(),
    }
}

#[test]
fn a_frame_that_cannot_be_decoded_is_not_passed_off_as_the_one_before() {
    let mut state = State::new(Settings::default(), "nano".into(), "cpu".into());
    state.clip = Some(clip_showing(
        43,
        Some("frame 44 cannot be decoded: no data"),
    ));
    state.frame = 44;
    let said = "Frame 44 cannot be decoded: no data. You see frame 43.";
    assert_eq!(missing(&state).as_deref(), Some(said));
    state.frame = 43;
    assert_eq!(missing(&state), None);
    // What is only on its way is none of it.
    state.frame = 45;
    state.clip.as_mut().unwrap().trouble = None;
    assert_eq!(missing(&state), None);
}

#[test]
fn the_topmost_object_is_hit_or_the_one_below_it_where_that_goes_into_another() {
    let size = Size::new(4, 4);
    let mut doc = crate::ui::fixture::document(size, 1);
    for _ in 0..2 {
        let mut object = doc.new_object("");
        let rle = Rle::new(size, vec![0, 4, 12]).unwrap();
        object.frames.insert(FrameIndex(0), FrameMask::by_hand(rle));
        doc.objects.push(object);
    }
    let ids = [doc.objects[0].id, doc.objects[1].id];
    let mut state = State::new(Settings::default(), "nano".into(), "cpu".into());
    state.session = Some(Session::read_only(doc, "clip.sparrow".into()));
    let (on, off) = (PointPx { x: 0.5, y: 1.5 }, PointPx { x: 2.5, y: 1.5 });
    assert_eq!(object_at(&state, on, None), Some(ids[1]));
    assert_eq!(object_at(&state, on, Some(ids[1])), Some(ids[0]));
    assert_eq!(object_at(&state, off, None), None);
}

#[test]
fn hints_of_keys_that_are_not_bound_are_left_out() {
    let hints = |enter, esc| {
        let back = Some("right-click: back".to_owned());
        one_line([with_key(enter, "closes"), back, with_key(esc, "drops")])
    };
    let all = "Enter closes · right-click: back · Esc drops";
    assert_eq!(hints("Enter", "Esc"), all);
    assert_eq!(hints("", ""), "right-click: back");
}

/// "frame 7195" stood over frame 0's picture without a sign.
#[test]
fn a_frame_that_is_not_decoded_yet_is_said_to_be_loading() {
    let mut state = with_tool(Tool::Select);
    state.clip = Some(clip_showing(0, None));
    assert_eq!((shows_another(&state), loading(&state)), (None, None));
    state.frame = 7195;
    assert_eq!(shows_another(&state), Some(0));
    let said = "Loading frame 7195… You see frame 0.";
    assert_eq!(loading(&state).as_deref(), Some(said));
    // Playing, it would flicker; and what cannot be decoded is told by another line.
    state.playing = Some((0.0, 0));
    assert_eq!(loading(&state), None);
    state.playing = None;
    state.clip.as_mut().unwrap().trouble = Some("no data".to_owned());
    assert_eq!(loading(&state), None);
    assert!(missing(&state).is_some());
}

/// A document of three frames of 100 × 100 pixels, and this tool in hand.
fn with_tool(tool: Tool) -> State {
    let doc = crate::ui::fixture::document(Size::new(100, 100), 3);
    let mut state = State::new(Settings::default(), "nano".into(), "cpu".into());
    state.session = Some(Session::read_only(doc, "clip.sparrow".into()));
    state.tool = tool;
    state
}

/// The canvas alone, and what it asks for.
fn canvas(state: State, size: [f32; 2]) -> Harness<'static, (State, Vec<Command>)> {
    let mut harness = Harness::builder()
        .with_size(size)
        .with_context_setup(theme::install)
        .build_ui_state(
            |ui, (state, sent): &mut (State, Vec<Command>)| {
                let mut out = Out::default();
                canvas_ui(ui, state, &mut out);
                sent.append(&mut out.0);
            },
            (state, Vec::new()),
        );
    harness.run_steps(4);
    harness.state_mut().1.clear();
    harness
}

fn button(pos: Pos2, pressed: bool) -> egui::Event {
    egui::Event::PointerButton {
        pos,
        button: PointerButton::Primary,
        pressed,
        modifiers: egui::Modifiers::NONE,
    }
}

/// A press, a way by a corner and a release, all between two drawings; where they are in the video.
fn drawn_at_once(harness: &mut Harness<'_, (State, Vec<Command>)>) -> [PointPx; 3] {
    let rect = harness.get_by_label("Canvas, frame 0").rect();
    let by = [vec2(-60.0, -40.0), vec2(30.0, 50.0), vec2(80.0, 20.0)];
    let places @ [from, corner, to] = by.map(|by| rect.center() + by);
    harness.input_mut().events.extend([
        egui::Event::PointerMoved(from),
        button(from, true),
        egui::Event::PointerMoved(corner),
        egui::Event::PointerMoved(to),
        button(to, false),
        egui::Event::PointerMoved(rect.center()),
    ]);
    harness.step();
    let size = Size::new(100, 100);
    let (zoom, origin) = harness.state().0.view.place(rect, size);
    let place = Place { zoom, origin, size };
    places.map(|p| place.to_video(p))
}

fn is_near(a: PointPx, b: PointPx) -> bool {
    (a.x - b.x).hypot(a.y - b.y) < 0.1
}

/// Sampled once per drawing, it had no head and no tail, or was not there at all.
#[test]
fn a_stroke_made_between_two_drawings_is_whole() {
    let mut harness = canvas(with_tool(Tool::Brush), [800.0, 600.0]);
    let [from, corner, to] = drawn_at_once(&mut harness);
    let sent = &harness.state().1;
    let mut painted = sent.iter().filter_map(|c| match c {
        Command::Paint(points) => Some(points.as_slice()),
        _ => None,
    });
    let stroke = painted.next().expect("it was not seen");
    assert!(is_near(stroke[0], from) && is_near(stroke[stroke.len() - 1], to));
    assert!(stroke.iter().any(|at| is_near(*at, corner)));
    assert!(painted.next().is_none());
    let ends = sent.iter().filter(|c| matches!(c, Command::EndPaint));
    assert_eq!(ends.count(), 1);
}

#[test]
fn a_box_drawn_between_two_drawings_has_its_own_corners() {
    let mut harness = canvas(with_tool(Tool::Box), [800.0, 600.0]);
    let [from, _, to] = drawn_at_once(&mut harness);
    let sent = &harness.state().1;
    let drawn = sent.iter().find_map(|c| match c {
        Command::DrawBox(area) => Some(*area),
        _ => None,
    });
    let drawn = drawn.expect("it was not seen");
    let corners = [(drawn.x1, drawn.y1), (drawn.x2, drawn.y2)].map(|(x, y)| PointPx { x, y });
    let wanted = BoxPx::from_corners(from, to);
    let wanted = [(wanted.x1, wanted.y1), (wanted.x2, wanted.y2)].map(|(x, y)| PointPx { x, y });
    assert!(is_near(corners[0], wanted[0]) && is_near(corners[1], wanted[1]));
}

/// It lay over the inspector's heading in the smallest window.
#[test]
fn hints_of_a_tool_stay_on_the_canvas() {
    for tool in [Tool::Box, Tool::Polygon, Tool::Points] {
        let harness = canvas(with_tool(tool), [420.0, 400.0]);
        let hints = ["Without a phrase", "a corner back", "not on it"];
        let mut hints = hints
            .iter()
            .flat_map(|hint| harness.query_all_by_label_contains(hint));
        let hint = hints.next().expect("a hint");
        let right = hint.rect().right();
        assert!(right <= 420.0, "{tool:?}: {right}");
    }
}

/// "a proposal" was lit where a mask would come.
#[test]
fn what_a_box_becomes_is_what_is_lit() {
    let mut state = with_tool(Tool::Box);
    assert_eq!(state.box_use, BoxUse::Proposal);
    assert_eq!(box_becomes(&state), BoxUse::Segment);
    state.phrase = "the red ball".to_owned();
    assert_eq!(box_becomes(&state), BoxUse::Proposal);
    state.box_use = BoxUse::Segment;
    assert_eq!(box_becomes(&state), BoxUse::Segment);
}
