//! What is drawn over the picture: proposals with their scores, clicks and boxes of a prompt, what the colours of the heat map
//! mean.

use egui::{
    Align2, Color32, Mesh, Painter, Rect, Role, Sense, Shape, Stroke, StrokeKind, Ui, Vec2,
    WidgetInfo, pos2, vec2,
};

use super::{
    super::{
        outline::{CLOSES_WITHIN, FEWEST, Outline},
        prompting::Prompting,
        state::{State, Tool},
        theme::{self, space},
        widgets::{tag, two_digits},
    },
    canvas::Place,
};
use crate::{
    project::{BoxPx, PointPx},
    render::heat_ramp,
};

/// So many proposals that are not kept are drawn, the best ones; the others show in the table and on hover.
const MOST_FAINT: usize = 8;

/// Indices of the proposals that are drawn, faint ones first.
fn drawn(state: &State) -> Vec<usize> {
    let Some((_, emission)) = state.emission_here() else {
        return Vec::new();
    };
    let proposals = &emission.proposals;
    let sorted = |selected: bool| {
        let mut all: Vec<usize> = (0..proposals.len())
            .filter(|&i| proposals[i].selected == selected)
            .collect();
        all.sort_by(|&a, &b| proposals[a].confidence.total_cmp(&proposals[b].confidence));
        all
    };
    // The best last, so that it is drawn over the others.
    let mut faint = sorted(false);
    faint.drain(..faint.len().saturating_sub(MOST_FAINT));
    faint.extend(sorted(true));
    if let Some(hovered) = state.hovered_proposal.filter(|&h| h < proposals.len()) {
        faint.retain(|&i| i != hovered);
        faint.push(hovered);
    }
    faint
}

pub(crate) fn proposals(painter: &Painter, ui: &Ui, state: &State, place: Place) {
    let Some((_, emission)) = state.emission_here() else {
        return;
    };
    if !state.show_proposals && state.hovered_proposal.is_none() {
        return;
    }
    let p = theme::palette(ui);
    // Drawn over video, so the same in both themes.
    let kept_colour = Color32::from_rgb(0x3d, 0xcf, 0x8e);
    let (mut labels, mut wishes) = (Vec::new(), Vec::new());
    for index in drawn(state) {
        let Some(proposal) = emission.proposals.get(index) else {
            continue;
        };
        let hovered = state.hovered_proposal == Some(index);
        if !state.show_proposals && !hovered {
            continue;
        }
        let rect = place.rect(proposal.box_px);
        let score = two_digits(proposal.confidence);
        let label = if proposal.selected {
            painter.rect_stroke(rect, 1, Stroke::new(2.0, kept_colour), StrokeKind::Outside);
            let back = Color32::from_rgb(0x14, 0x5c, 0x3d);
            Some((format!("kept {score}"), Some(back)))
        } else if hovered {
            painter.rect_stroke(
                rect,
                1,
                Stroke::new(1.5, Color32::WHITE),
                StrokeKind::Outside,
            );
            Some((score, Some(Color32::from_black_alpha(200))))
        } else {
            dashed(painter, rect, Color32::from_white_alpha(105));
            // Under a kept box the number would only be in the way; the table has it.
            let covered = emission
                .proposals
                .iter()
                .any(|k| k.selected && k.box_px.iou(proposal.box_px) > 0.4);
            let wanted = rect.width() > 30.0 && proposal.confidence >= 0.05 && !covered;
            wanted.then_some((score, None))
        };
        if hovered && proposal.selected {
            painter.rect_filled(rect, 1, theme::faded(p.good, 0.12));
        }
        if let Some((text, back)) = label {
            let font = theme::regular(if back.is_some() { 11.5 } else { 11.0 });
            let size = painter
                .layout_no_wrap(text.clone(), font, Color32::WHITE)
                .size();
            labels.push((text, back));
            wishes.push(Wish {
                at: rect,
                // A tag has a margin.
                size: size + back.map_or(Vec2::ZERO, |_| vec2(12.0, 4.0)),
                inside: back.is_none(),
                must: back.is_some(),
            });
        }
    }
    // What is drawn last, the hovered and the best, gets its place first.
    labels.reverse();
    wishes.reverse();
    let placed = placed(&wishes, painter.clip_rect());
    for ((text, back), at) in labels.iter().zip(placed).rev() {
        match (at, back) {
            (Some(at), Some(back)) => {
                tag(painter, at.left_center(), text, *back, Color32::WHITE);
            }
            (Some(at), None) => shadowed_text(painter, at.min, text),
            (None, _) => {}
        }
    }
}

/// A label that wants a place at the corners of its box.
struct Wish {
    at: Rect,
    size: Vec2,
    /// Inside of the box, or above and below.
    inside: bool,
    /// It is drawn even where it lies on another.
    must: bool,
}

impl Wish {
    /// In the order in which they are tried.
    fn places(&self) -> [Rect; 4] {
        let (x, y) = if self.inside {
            (4.0, 3.0)
        } else {
            (-2.0, -3.0 - self.size.y)
        };
        let (left, right) = (self.at.left() + x, self.at.right() - x - self.size.x);
        let (top, bottom) = (self.at.top() + y, self.at.bottom() - y - self.size.y);
        [(left, top), (right, top), (left, bottom), (right, bottom)]
            .map(|(x, y)| Rect::from_min_size(pos2(x, y), self.size))
    }
}

/// Where labels go without lying on each other, those before first; `None` for one without room, whose number the table
/// and the pointer on the box show.
fn placed(wishes: &[Wish], canvas: Rect) -> Vec<Option<Rect>> {
    let mut taken: Vec<Rect> = Vec::new();
    let mut found = Vec::new();
    for wish in wishes {
        let places = wish.places();
        let is_free = |r: &&Rect| taken.iter().all(|t| !t.intersects(**r));
        let whole = places.iter().filter(is_free);
        let place = whole
            .clone()
            .find(|r| canvas.contains_rect(**r))
            .or_else(|| whole.clone().next())
            .copied()
            .or_else(|| wish.must.then_some(places[0]));
        taken.extend(place);
        found.push(place);
    }
    found
}

fn dashed(painter: &Painter, rect: Rect, colour: Color32) {
    let path = [
        rect.left_top(),
        rect.right_top(),
        rect.right_bottom(),
        rect.left_bottom(),
        rect.left_top(),
    ];
    painter.extend(Shape::dashed_line(
        &path,
        Stroke::new(1.0, colour),
        4.0,
        4.0,
    ));
}

fn shadowed_text(painter: &Painter, at: egui::Pos2, text: &str) {
    let font = theme::regular(11.0);
    let shadow = Color32::from_black_alpha(190);
    painter.text(
        at + vec2(1.0, 1.0),
        Align2::LEFT_TOP,
        text,
        font.clone(),
        shadow,
    );
    painter.text(
        at,
        Align2::LEFT_TOP,
        text,
        font,
        Color32::from_white_alpha(220),
    );
}

/// The prompts whose marks are drawn: the open one, and those whose masks are still to come.
fn drawn_prompts(state: &State) -> impl Iterator<Item = &Prompting> {
    let here = state.here();
    let prompts = state.prompts();
    prompts.filter(move |p| p.frame == here && p.by_hand)
}

/// Clicks and boxes of the prompts on this frame.
pub(crate) fn prompts(painter: &Painter, ui: &Ui, state: &State, place: Place) {
    for prompting in drawn_prompts(state) {
        prompt(painter, ui, prompting, place);
    }
}

fn prompt(painter: &Painter, ui: &Ui, prompting: &Prompting, place: Place) {
    let p = theme::palette(ui);
    if let Some(area) = prompting.box_px() {
        let stroke = Stroke::new(1.5, p.accent);
        painter.rect_stroke(place.rect(area), 1, stroke, StrokeKind::Middle);
    }
    for (point, on) in prompting.points() {
        let at = place.to_screen(point);
        let fill = if on {
            Color32::from_rgb(0x2e, 0xb8, 0x74)
        } else {
            Color32::from_rgb(0xe0, 0x4f, 0x4f)
        };
        painter.circle(at, 6.5, fill, Stroke::new(1.5, Color32::WHITE));
        let line = Stroke::new(1.6, Color32::WHITE);
        painter.hline(at.x - 3.0..=at.x + 3.0, at.y, line);
        if on {
            painter.vline(at.x, at.y - 3.0..=at.y + 3.0, line);
        }
    }
}

/// The polygon that is being drawn, with a line to the pointer.
pub(crate) fn outline(painter: &Painter, ui: &Ui, state: &State, place: Place) {
    let here = |o: &&Outline| o.frame == state.here() && state.tool == Tool::Polygon;
    let Some(outline) = state.outline.as_ref().filter(here) else {
        return;
    };
    let p = theme::palette(ui);
    let mut path: Vec<_> = outline
        .corners
        .iter()
        .map(|c| place.to_screen(*c))
        .collect();
    let corners = path.len();
    let pointer = ui.input(|i| i.pointer.hover_pos());
    path.extend(pointer.filter(|at| painter.clip_rect().contains(*at)));
    let dark = Stroke::new(3.0, Color32::from_black_alpha(120));
    painter.add(Shape::line(path.clone(), dark));
    painter.add(Shape::line(path.clone(), Stroke::new(1.5, p.accent)));
    for (i, at) in path.into_iter().take(corners).enumerate() {
        // A click on the first one closes, once there are enough.
        let closes = i == 0 && corners >= FEWEST;
        let radius = CLOSES_WITHIN * if closes { 0.6 } else { 0.4 };
        painter.circle(at, radius, Color32::WHITE, Stroke::new(1.5, p.accent));
    }
}

/// Size of the bar that shows the colours of the heat map, and how many of them.
const RAMP: Vec2 = vec2(156.0, 8.0);
const COLOURS: u16 = 24;
/// Height of the words above it.
const WORDS: f32 = 16.0;
/// Around both.
const RIM: f32 = 8.0;

/// Whether the heat map lies over the picture.
fn heat_shows(state: &State) -> bool {
    state.show_heat && state.heat.is_some()
}

/// How opaque masks are filled: while the heat map shows, not at all, for it lies under them.
pub(crate) fn fill_opacity(state: &State) -> f32 {
    if heat_shows(state) {
        0.0
    } else {
        state.opacity
    }
}

/// The colours of the heat map from left to right, as faint as the map has them where they are low.
fn ramp(bar: Rect) -> Mesh {
    let mut mesh = Mesh::default();
    for i in 0..=COLOURS {
        let heat = f32::from(i) / f32::from(COLOURS);
        let t = (heat / 0.35).min(1.0);
        let alpha = t * t * (3.0 - 2.0 * t);
        let byte = |part: f32| (part * 255.0).round() as u8;
        let [r, g, b] = heat_ramp(heat).map(byte);
        let colour = Color32::from_rgba_unmultiplied(r, g, b, byte(alpha));
        let x = bar.left() + heat * bar.width();
        mesh.colored_vertex(pos2(x, bar.top()), colour);
        mesh.colored_vertex(pos2(x, bar.bottom()), colour);
        if let Some(last) = u32::from(2 * i).checked_sub(2) {
            mesh.add_triangle(last, last + 1, last + 2);
            mesh.add_triangle(last + 1, last + 2, last + 3);
        }
    }
    mesh
}

/// What the colours of the heat map mean, in the canvas's corner, while it shows; and, where it is asked for and there is none,
/// why.
pub(crate) fn heat_legend(ui: &Ui, state: &State, canvas: Rect) {
    if !state.show_heat || (state.heat.is_none() && state.session.is_none()) {
        return;
    }
    let (label, about, bar) = if heat_shows(state) {
        (
            "Heat map: objectness from low to high",
            "How sure the proposer is that there is an object, whatever the phrase: blue is low, yellow is high, and without a colour it saw nothing. Masks are outlines while the map shows.",
            RAMP.y,
        )
    } else {
        (
            "No heat map on this frame",
            "The map shows where the proposer saw objects, and it has not looked at this frame: ask for something here.",
            0.0,
        )
    };
    let p = theme::palette(ui);
    let painter = ui.painter_at(canvas);
    let size = vec2(RAMP.x, WORDS + bar) + Vec2::splat(2.0 * RIM);
    let corner = canvas.right_top() + vec2(-space::M - size.x, space::M);
    let plate = Rect::from_min_size(corner, size);
    let rim = Stroke::new(1.0, p.line);
    painter.rect(plate, 6, p.panel, rim, StrokeKind::Inside);
    let inner = plate.shrink(RIM);
    let write = |at, align, text, colour| {
        painter.text(at, align, text, theme::regular(11.5), colour);
    };
    if heat_shows(state) {
        write(inner.left_top(), Align2::LEFT_TOP, "low", p.text_weak);
        write(inner.center_top(), Align2::CENTER_TOP, "objectness", p.text);
        write(inner.right_top(), Align2::RIGHT_TOP, "high", p.text_weak);
        let bar = inner.with_min_y(inner.bottom() - bar);
        painter.add(Shape::mesh(ramp(bar)));
    } else {
        let text = "no heat map on this frame";
        write(inner.center_top(), Align2::CENTER_TOP, text, p.text_weak);
    }
    let response = ui.interact(plate, ui.scope_id().with("heat legend"), Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(Role::Label, true, label));
    response.on_hover_text(about);
}

/// The proposal whose rim is within `near` pixels of a point; of several, the smallest.
pub(crate) fn rim_under(state: &State, at: PointPx, near: f32) -> Option<usize> {
    let (_, emission) = state.emission_here()?;
    drawn(state)
        .into_iter()
        .filter(|&i| on_rim(emission.proposals[i].box_px, at, near))
        .min_by(|&a, &b| {
            let area = |i: usize| emission.proposals[i].box_px.area();
            area(a).total_cmp(&area(b))
        })
}

fn on_rim(b: BoxPx, at: PointPx, near: f32) -> bool {
    let outer =
        at.x >= b.x1 - near && at.x <= b.x2 + near && at.y >= b.y1 - near && at.y <= b.y2 + near;
    let inner =
        at.x > b.x1 + near && at.x < b.x2 - near && at.y > b.y1 + near && at.y < b.y2 - near;
    outer && !inner
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_boxes_on_one_place_stand_apart_or_wait_for_the_pointer() {
        let canvas = Rect::from_min_max(pos2(0.0, 0.0), pos2(800.0, 600.0));
        let wish = |at: [f32; 4], tagged: bool| Wish {
            at: Rect::from_min_max(pos2(at[0], at[1]), pos2(at[2], at[3])),
            size: vec2(30.0, 14.0),
            inside: !tagged,
            must: tagged,
        };
        let one_place = [100.0, 100.0, 300.0, 260.0];
        let mut wishes = vec![wish(one_place, true), wish(one_place, true)];
        wishes.extend((0..6).map(|_| wish(one_place, false)));
        let placed = placed(&wishes, canvas);
        let shown: Vec<Rect> = placed.iter().flatten().copied().collect();
        for (i, a) in shown.iter().enumerate() {
            assert!(shown[..i].iter().all(|b| !a.intersects(*b)), "{a} at {i}");
        }
        // Two tags above, four numbers in the corners, and no room for two more.
        assert_eq!(placed.iter().filter(|p| p.is_none()).count(), 2);
        assert!(placed[0].is_some() && placed[1].is_some());
        // At the upper edge a tag goes below.
        let top = super::placed(&[wish([100.0, 2.0, 300.0, 60.0], true)], canvas);
        assert!(top[0].is_some_and(|r| r.top() > 60.0));
        // Five tags on one place: the fifth lies on another rather than being missed.
        let five: Vec<Wish> = (0..5).map(|_| wish(one_place, true)).collect();
        assert!(super::placed(&five, canvas).iter().all(Option::is_some));
    }

    /// Nobody could tell what the colours meant, and the masks lay over them.
    #[test]
    fn the_heat_map_has_a_legend_and_masks_are_outlines_while_it_shows() {
        use crate::{
            project::Size,
            render::HeatGrid,
            ui::{settings::Settings, state::HeatLayer},
        };
        use egui_kittest::{Harness, kittest::Queryable as _};
        let state = State::new(Settings::default(), "nano".into(), "cpu".into());
        let mut harness = Harness::builder()
            .with_size([600.0, 400.0])
            .with_context_setup(theme::install)
            .build_ui_state(
                |ui, state: &mut State| heat_legend(ui, state, ui.max_rect()),
                state,
            );
        let legend = "Heat map: objectness from low to high";
        let opacity = harness.state().opacity;
        assert!(opacity > 0.0);
        harness.state_mut().show_heat = true;
        harness.run_steps(2);
        assert!(
            harness.query_by_label(legend).is_none(),
            "no map to explain"
        );
        harness.state_mut().heat = Some(HeatLayer {
            grid: std::sync::Arc::new(HeatGrid::new(Size::new(4, 4), &[])),
            key: 1,
            boxes: Vec::new(),
        });
        harness.run_steps(2);
        assert!(harness.query_by_label(legend).is_some());
        assert_eq!(fill_opacity(harness.state()), 0.0);
        harness.state_mut().show_heat = false;
        harness.run_steps(2);
        assert!(harness.query_by_label(legend).is_none());
        assert_eq!(fill_opacity(harness.state()), opacity);
    }

    /// The key seemed to do nothing where nothing had been asked.
    #[test]
    fn a_heat_map_that_is_not_there_says_why() {
        use egui_kittest::{Harness, kittest::Queryable as _};
        let doc = crate::ui::fixture::document(crate::project::Size::new(2, 1), 1);
        let settings = crate::ui::settings::Settings::default();
        let mut state = State::new(settings, "nano".into(), "cpu".into());
        state.session = Some(crate::ui::session::Session::read_only(
            doc,
            "clip.sparrow".into(),
        ));
        let mut harness = Harness::builder()
            .with_size([600.0, 400.0])
            .with_context_setup(theme::install)
            .build_ui_state(
                |ui, state: &mut State| heat_legend(ui, state, ui.max_rect()),
                state,
            );
        let why = "No heat map on this frame";
        harness.run_steps(2);
        assert!(harness.query_by_label(why).is_none());
        harness.state_mut().show_heat = true;
        harness.run_steps(2);
        assert!(harness.query_by_label(why).is_some());
    }

    #[test]
    fn clicks_that_were_left_are_drawn_until_their_mask_comes() {
        let mut app = crate::ui::App::without_model(&egui::Context::default());
        let video = crate::project::VideoInfo {
            path: "clip.mp4".into(),
            size: crate::project::Size::new(40, 40),
            frames: 3,
            fps: 25.0,
            hash: String::new(),
        };
        let thresholds = crate::project::Thresholds::default();
        let doc = crate::project::Document::new(video, "nano", thresholds);
        let wake = app.services.wake.clone();
        let session = crate::ui::session::Session::unsaved(doc, Vec::new(), wake);
        app.state.session = Some(session);
        let at = PointPx { x: 3.0, y: 4.0 };
        app.click(at, true);
        app.finish_prompt();
        let drawn = |app: &crate::ui::App| {
            let prompts = drawn_prompts(&app.state);
            prompts
                .flat_map(|p| p.points().collect::<Vec<_>>())
                .collect::<Vec<_>>()
        };
        assert_eq!(drawn(&app), [(at, true)]);
        app.state.frame = 1;
        assert!(drawn(&app).is_empty(), "on another frame");
    }

    #[test]
    fn the_rim_is_neither_inside_nor_outside() {
        let b = BoxPx::from_array([10.0, 10.0, 50.0, 40.0]);
        let at = |x, y| on_rim(b, PointPx { x, y }, 3.0);
        assert!(at(10.0, 20.0) && at(12.0, 12.0) && at(30.0, 42.0));
        assert!(!at(30.0, 25.0) && !at(60.0, 20.0) && !at(30.0, 44.0));
    }
}
