//! The timeline: transport, ruler, film strip, a lane per object, emissions. Dragging scrubs; with Shift on the ruler it
//! sets the range of propagation.

use egui::{
    Align, Align2, Color32, Id, Layout, Rect, Response, RichText, Role, ScrollArea, Sense, Shape,
    Stroke, Ui, UiBuilder, WidgetInfo, pos2, vec2,
};

use super::super::{
    actions::Action,
    command::{Command, Out},
    icons::{Icon, anchor_mark},
    lanes::Lane,
    state::State,
    theme::{self, space},
    widgets::{action_icon, fitted_text, hairline, icon_button},
};

const HEADER: f32 = 38.0;
const RULER: f32 = 22.0;
const STRIP: f32 = 46.0;
const LANE: f32 = 26.0;
/// Pixels of height that film strip pictures are asked for.
const THUMBNAIL_PX: u32 = 96;

/// From frames to the screen and back.
#[derive(Clone, Copy)]
struct Scale {
    left: f32,
    width: f32,
    frames: u32,
}

impl Scale {
    fn step(self) -> f32 {
        self.width / self.frames.max(1) as f32
    }

    /// Left edge of a frame.
    fn start(self, frame: u32) -> f32 {
        self.left + frame as f32 * self.step()
    }

    /// Middle of a frame.
    fn x(self, frame: u32) -> f32 {
        self.start(frame) + self.step() / 2.0
    }

    fn frame(self, x: f32) -> u32 {
        let at = ((x - self.left) / self.step().max(1e-6)).floor();
        at.clamp(0.0, self.frames.saturating_sub(1) as f32) as u32
    }
}

pub(crate) fn timeline_ui(ui: &mut Ui, state: &State, out: &mut Out) {
    let full = ui.max_rect();
    hairline(ui, full, true);
    let header = Rect::from_min_size(full.min, vec2(full.width(), HEADER));
    header_ui(
        &mut ui.new_child(UiBuilder::new().max_rect(header.shrink2(vec2(space::S, 0.0)))),
        state,
        out,
    );
    let scale = Scale {
        left: full.left() + space::LANE_NAMES,
        width: (full.width() - space::LANE_NAMES - space::L).max(50.0),
        frames: state.frames(),
    };
    let row = |top: f32, height: f32| {
        Rect::from_min_size(pos2(scale.left, top), vec2(scale.width, height))
    };
    let ruler = row(header.bottom(), RULER);
    let strip = row(ruler.bottom(), STRIP);
    ruler_ui(ui, state, scale, ruler, out);
    strip_ui(ui, state, scale, strip, out);
    let lanes = Rect::from_min_max(
        pos2(full.left(), strip.bottom() + space::S),
        full.right_bottom() - vec2(0.0, space::XS),
    );
    if lanes.height() > 8.0 {
        let mut child = ui.new_child(UiBuilder::new().max_rect(lanes));
        child.shrink_clip_rect(lanes);
        ScrollArea::vertical()
            .id_salt("lanes")
            .auto_shrink([false, false])
            .show(&mut child, |ui| lanes_ui(ui, state, scale, out));
    }
    playhead(ui, state, scale, ruler, full.bottom());
    // What a panel does not fill it gives back.
    ui.take_available_space();
}

fn header_ui(ui: &mut Ui, state: &State, out: &mut Out) {
    let p = theme::palette(ui);
    let keymap = &state.keymap;
    ui.horizontal_centered(|ui| {
        ui.spacing_mut().item_spacing.x = 0.0;
        let play = if state.playing.is_some() {
            Icon::Pause
        } else {
            Icon::Play
        };
        for (icon, action) in [
            (Icon::ToStart, Action::FirstFrame),
            (Icon::StepBack, Action::PreviousFrame),
            (play, Action::PlayPause),
            (Icon::StepForward, Action::NextFrame),
            (Icon::ToEnd, Action::LastFrame),
        ] {
            action_icon(ui, keymap, icon, action, false, out);
        }
        ui.add_space(space::M);
        history_ui(ui, state, out);
        ui.add_space(space::M);
        range_ui(ui, state, out);
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            ui.spacing_mut().item_spacing.x = 0.0;
            ui.add_space(space::XS);
            for (icon, action) in [
                (Icon::CarryForward, Action::PropagateForward),
                (Icon::CarryBoth, Action::PropagateBoth),
                (Icon::CarryBack, Action::PropagateBackward),
            ] {
                action_icon(ui, keymap, icon, action, false, out);
            }
            ui.add_space(space::XS);
            ui.label(RichText::new("propagate").size(12.0).color(p.text_weak));
            ui.add_space(space::L);
            ui.spacing_mut().item_spacing.x = space::L;
            let mut framewise = state.framewise;
            let box_ = ui.checkbox(&mut framewise, RichText::new("framewise").size(12.0));
            let box_ = box_.on_hover_text("As released: the emission's boxes and [SEG] on every frame, each decoded alone. Off: memory propagation.");
            if box_.changed() {
                out.send(Command::SetFramewise(framewise));
            }
            let mut only = state.only_selected;
            let box_ = ui.checkbox(&mut only, RichText::new("selected object only").size(12.0));
            let box_ = box_.on_hover_text("Propagate the selected object and leave the others untouched.");
            if box_.changed() {
                out.send(Command::SetOnlySelected(only));
            }
        });
    });
}

fn history_ui(ui: &mut Ui, state: &State, out: &mut Out) {
    let Some(session) = &state.session else {
        return;
    };
    for (icon, action, step) in [
        (Icon::Undo, Action::Undo, session.undo_label()),
        (Icon::Redo, Action::Redo, session.redo_label()),
    ] {
        let label = match step {
            Some(step) => format!("{}: {step}", action.label()),
            None => action.label().to_owned(),
        };
        let button = ui.add_enabled_ui(step.is_some(), |ui| icon_button(ui, icon, &label, false));
        let key = state.keymap.in_brackets(action);
        if button
            .inner
            .on_hover_text(format!("{label}{key}"))
            .clicked()
        {
            out.act(action);
        }
    }
}

fn range_ui(ui: &mut Ui, state: &State, out: &mut Out) {
    let (start, end) = state.range;
    if start.is_none() && end.is_none() {
        return;
    }
    let p = theme::palette(ui);
    let last = state.frames() - 1;
    let text = format!("range {}–{}", start.unwrap_or(0), end.unwrap_or(last));
    ui.label(RichText::new(text).size(12.0).color(p.text_weak));
    let keymap = &state.keymap;
    action_icon(ui, keymap, Icon::Close, Action::ClearRange, false, out);
}

/// Scrubs: the frame under the pointer while it is pressed.
fn scrub(ui: &Ui, state: &State, scale: Scale, response: &Response, out: &mut Out) {
    let pressed = response.is_pointer_button_down_on() || response.clicked();
    if let (true, Some(at)) = (pressed, ui.input(|i| i.pointer.latest_pos())) {
        let frame = scale.frame(at.x);
        if frame != state.frame {
            out.send(Command::Seek(frame));
        }
    }
}

fn ruler_ui(ui: &Ui, state: &State, scale: Scale, rect: Rect, out: &mut Out) {
    let p = theme::palette(ui);
    let response = ui.interact(rect, ui.scope_id().with("ruler"), Sense::click_and_drag());
    response.widget_info(|| {
        let text = format!("Ruler, frame {} of {}", state.frame, state.frames());
        WidgetInfo::labeled(Role::Slider, true, text)
    });
    let shift = ui.input(|i| i.modifiers.shift);
    if shift && response.dragged() {
        if let (Some(from), Some(to)) =
            ui.input(|i| (i.pointer.press_origin(), i.pointer.latest_pos()))
        {
            let (a, b) = (scale.frame(from.x), scale.frame(to.x));
            out.send(Command::SetRange(Some(a.min(b)), Some(a.max(b))));
        }
    } else {
        scrub(ui, state, scale, &response, out);
    }
    let painter = ui.painter_at(rect.expand2(vec2(20.0, 0.0)));
    let (start, end) = state.range;
    if start.is_some() || end.is_some() {
        let last = state.frames() - 1;
        let left = scale.start(start.unwrap_or(0));
        let right = scale.start(end.unwrap_or(last).min(last) + 1);
        let band = Rect::from_x_y_ranges(left..=right, rect.bottom() - 4.0..=rect.bottom() - 1.0);
        painter.rect_filled(band, 1, p.accent);
    }
    let every = tick_step(scale.step());
    let mut frame = 0;
    while frame < scale.frames {
        let x = scale.x(frame);
        // The playhead's own number stands there.
        if (x - scale.x(state.frame)).abs() > 28.0 {
            painter.text(
                pos2(x, rect.center().y - 2.0),
                Align2::CENTER_CENTER,
                frame.to_string(),
                theme::regular(11.0),
                p.text_faint,
            );
        }
        painter.vline(
            x,
            rect.bottom() - 5.0..=rect.bottom() - 1.0,
            Stroke::new(1.0, p.line),
        );
        frame += every;
    }
}

/// Frames between two numbers of the ruler, so that they stand at least 64 points apart.
fn tick_step(points_per_frame: f32) -> u32 {
    let wanted = 64.0 / points_per_frame.max(1e-4);
    let mut decade = 1_u32;
    loop {
        for factor in [1, 2, 5] {
            let step = decade.saturating_mul(factor);
            if step as f32 >= wanted || step > u32::MAX / 20 {
                return step;
            }
        }
        decade = decade.saturating_mul(10);
    }
}

fn strip_ui(ui: &Ui, state: &State, scale: Scale, rect: Rect, out: &mut Out) {
    let (Some(clip), Some(session)) = (&state.clip, &state.session) else {
        return;
    };
    let p = theme::palette(ui);
    let response = ui.interact(
        rect,
        ui.scope_id().with("film strip"),
        Sense::click_and_drag(),
    );
    response.widget_info(|| WidgetInfo::labeled(Role::Slider, true, "Film strip"));
    scrub(ui, state, scale, &response, out);
    ui.painter().rect_filled(rect, 3, p.well);
    let size = session.doc.video.size;
    let shape = size.width as f32 / size.height.max(1) as f32;
    let tiles = (rect.width() / (rect.height() * shape))
        .ceil()
        .clamp(1.0, 64.0) as u32;
    let width = rect.width() / tiles as f32;
    let mut wanted = Vec::new();
    for tile in 0..tiles {
        let left = rect.left() + tile as f32 * width;
        let frame = scale.frame(left + width / 2.0);
        wanted.push(frame);
        let Some(texture) = clip.thumbnails.get(&frame) else {
            continue;
        };
        let place = Rect::from_min_size(pos2(left, rect.top()), vec2(width, rect.height()));
        let place = place.shrink2(vec2(0.5, 0.0));
        // The middle of the picture fills the tile.
        let part = (width / (rect.height() * shape)).min(1.0);
        let uv = Rect::from_min_max(pos2(0.5 - part / 2.0, 0.0), pos2(0.5 + part / 2.0, 1.0));
        ui.painter().image(texture.id(), place, uv, Color32::WHITE);
    }
    wanted.dedup();
    if clip.thumbnails_wanted != wanted {
        out.send(Command::WantThumbnails(wanted, THUMBNAIL_PX));
    }
}

fn lanes_ui(ui: &mut Ui, state: &State, scale: Scale, out: &mut Out) {
    ui.spacing_mut().item_spacing.y = 2.0;
    for lane in &state.lanes {
        lane_ui(ui, state, lane, scale, out);
    }
    emissions_ui(ui, state, scale, out);
}

fn lane_row(ui: &mut Ui, id: Id, scale: Scale) -> (Rect, Rect, Response) {
    let (row, _) = ui.allocate_exact_size(vec2(ui.available_width(), LANE), Sense::hover());
    let body = Rect::from_min_max(
        pos2(scale.left, row.top()),
        pos2(scale.left + scale.width, row.bottom()),
    );
    let names = Rect::from_min_max(row.min, pos2(scale.left - space::M, row.bottom()));
    let response = ui.interact(body, id, Sense::click_and_drag());
    (names, body, response)
}

fn lane_ui(ui: &mut Ui, state: &State, lane: &Lane, scale: Scale, out: &mut Out) {
    let p = theme::palette(ui);
    let id = ui.scope_id().with(("lane", lane.id.0));
    let (names, body, response) = lane_row(ui, id, scale);
    response.widget_info(|| {
        let text = format!("Lane of {}, {} anchors", lane.name, lane.anchors.len());
        WidgetInfo::labeled(Role::Slider, true, text)
    });
    scrub(ui, state, scale, &response, out);
    let chosen = state.selected == Some(lane.id);
    if response.is_pointer_button_down_on() && !chosen {
        out.send(Command::SelectObject(Some(lane.id)));
    }
    let name = ui.interact(names, id.with("name"), Sense::click());
    name.widget_info(|| WidgetInfo::labeled(Role::Button, true, format!("Select {}", lane.name)));
    if name.clicked() {
        out.send(Command::SelectObject(Some(lane.id)));
    }
    if !ui.is_rect_visible(names.union(body)) {
        return;
    }
    let colour = theme::object_colour(lane.colour);
    let painter = ui.painter();
    if chosen {
        let mark = Rect::from_min_size(
            pos2(names.left() + 8.0, body.top() + 5.0),
            vec2(3.0, body.height() - 10.0),
        );
        painter.rect_filled(mark, 1, colour);
    }
    let text_colour = if chosen { p.text } else { p.text_weak };
    let title = fitted_text(
        ui,
        &lane.name,
        theme::regular(12.5),
        text_colour,
        names.width() - space::L - if lane.locked { 18.0 } else { 0.0 },
    );
    let at = pos2(
        names.left() + space::L,
        body.center().y - title.size().y / 2.0,
    );
    painter.galley(at, title, text_colour);
    if lane.locked {
        let lock =
            Rect::from_center_size(pos2(names.right() - 8.0, body.center().y), vec2(12.0, 12.0));
        Icon::Lock.paint(painter, lock, 12.0, p.text_faint);
    }
    paint_lane(ui, lane, scale, body, colour);
}

fn paint_lane(ui: &Ui, lane: &Lane, scale: Scale, body: Rect, colour: Color32) {
    let p = theme::palette(ui);
    let painter = ui.painter_at(body.expand(4.0));
    let fade = if lane.visible { 1.0 } else { 0.45 };
    let track = body.shrink2(vec2(0.0, 4.0));
    painter.rect_filled(track, 3, theme::faded(p.raised, 0.55));
    let band = |(from, to): (u32, u32)| {
        Rect::from_x_y_ranges(scale.start(from)..=scale.start(to + 1), track.y_range())
    };
    for &span in &lane.spans {
        painter.rect_filled(band(span), 2, theme::faded(colour, 0.38 * fade));
    }
    for &span in &lane.gone {
        let y = track.center().y;
        let r = band(span);
        let stroke = Stroke::new(1.0, p.text_faint);
        painter.add(Shape::dashed_line(
            &[pos2(r.left(), y), pos2(r.right(), y)],
            stroke,
            3.0,
            3.0,
        ));
    }
    for &span in &lane.drift {
        let r = band(span);
        painter.rect_filled(r, 2, p.look_soft);
    }
    for points in score_lines(lane, scale, track) {
        let stroke = Stroke::new(1.4, theme::faded(colour, 0.95 * fade));
        painter.add(Shape::line(points, stroke));
    }
    let mut last = f32::NEG_INFINITY;
    for &frame in &lane.anchors {
        let at = pos2(scale.x(frame), track.center().y);
        // Of marks on one pixel, one is seen.
        if at.x < last + 1.0 {
            continue;
        }
        last = at.x;
        anchor_mark(
            &painter,
            at,
            5.0,
            Color32::WHITE,
            Color32::from_black_alpha(150),
        );
    }
}

/// The score as lines, broken where frames are missing; at most about one point per screen pixel.
fn score_lines(lane: &Lane, scale: Scale, track: Rect) -> Vec<Vec<egui::Pos2>> {
    let every = (1.0 / scale.step().max(1e-4)).floor().max(1.0) as usize;
    let y = |score: f32| track.bottom() - 2.0 - score.clamp(0.0, 1.0) * (track.height() - 4.0);
    let point = |&(frame, score): &(u32, f32)| pos2(scale.x(frame), y(score));
    let mut lines = Vec::new();
    for &(start, end) in &lane.runs {
        let run = &lane.scores[start..end];
        let Some(&(first, _)) = run.first() else {
            continue;
        };
        // The same frames whatever is before them, so that lines stand still while masks come in.
        let next = every - first as usize % every;
        let rest = run.iter().skip(next).step_by(every);
        let line: Vec<egui::Pos2> = run.iter().take(1).chain(rest).map(point).collect();
        if line.len() > 1 {
            lines.push(line);
        }
    }
    lines
}

fn emissions_ui(ui: &mut Ui, state: &State, scale: Scale, out: &mut Out) {
    let Some(session) = &state.session else {
        return;
    };
    if session.doc.emissions.is_empty() {
        return;
    }
    let p = theme::palette(ui);
    let id = ui.scope_id().with("emissions");
    let (names, body, response) = lane_row(ui, id, scale);
    response.widget_info(|| WidgetInfo::labeled(Role::Slider, true, "Emissions"));
    let painter = ui.painter();
    painter.text(
        pos2(names.left() + space::L, body.center().y),
        Align2::LEFT_CENTER,
        "emissions",
        theme::regular(12.5),
        p.text_faint,
    );
    let pointer = response.hover_pos();
    let mut near = None;
    for emission in &session.doc.emissions {
        let at = pos2(scale.x(emission.frame.0), body.center().y);
        let here = emission.frame.0 == state.frame;
        let radius = if here { 5.0 } else { 4.0 };
        painter.circle_filled(at, radius, p.accent);
        if pointer.is_some_and(|x| (x.x - at.x).abs() < 7.0) {
            near = Some(emission);
        }
    }
    if let Some(emission) = near {
        let kept = emission.proposals.iter().filter(|p| p.selected).count();
        let text = format!(
            "frame {}: “{}”, {kept} kept",
            emission.frame.0, emission.phrase
        );
        if response.clicked() {
            out.send(Command::Seek(emission.frame.0));
        }
        response.on_hover_text_at_pointer(text);
    } else {
        scrub(ui, state, scale, &response, out);
    }
}

fn playhead(ui: &Ui, state: &State, scale: Scale, ruler: Rect, bottom: f32) {
    let p = theme::palette(ui);
    let x = scale.x(state.frame);
    let painter = ui.painter();
    painter.vline(x, ruler.bottom() - 2.0..=bottom, Stroke::new(1.5, p.text));
    let text = state.frame.to_string();
    let galley = painter.layout_no_wrap(text, theme::semibold(11.5), p.panel);
    let size = galley.size() + vec2(12.0, 3.0);
    let tag = Rect::from_center_size(pos2(x, ruler.center().y - 2.0), size);
    painter.rect_filled(tag, 4, p.text);
    painter.galley(tag.center() - galley.size() / 2.0, galley, p.panel);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::ObjectId;

    #[test]
    fn frames_and_places_agree() {
        let scale = Scale {
            left: 100.0,
            width: 500.0,
            frames: 50,
        };
        for frame in [0, 1, 25, 49] {
            assert_eq!(scale.frame(scale.x(frame)), frame);
        }
        assert_eq!(scale.frame(-1e9), 0);
        assert_eq!(scale.frame(1e9), 49);
    }

    #[test]
    fn ruler_numbers_have_room() {
        for points in [40.0, 10.0, 1.0, 0.05, 1e-3] {
            let step = tick_step(points);
            assert!(step as f32 * points >= 63.9, "{points}: {step}");
        }
        assert_eq!(tick_step(100.0), 1);
    }

    #[test]
    fn score_lines_break_at_gaps() {
        let lane = Lane {
            id: ObjectId(1),
            name: String::new(),
            colour: 0,
            visible: true,
            locked: false,
            spans: Vec::new(),
            gone: Vec::new(),
            anchors: Vec::new(),
            drift: Vec::new(),
            scores: vec![(0, 0.5), (1, 0.6), (2, 0.7), (9, 0.1), (10, 0.2)],
            runs: vec![(0, 3), (3, 5)],
        };
        let scale = Scale {
            left: 0.0,
            width: 100.0,
            frames: 20,
        };
        let track = Rect::from_min_max(pos2(0.0, 0.0), pos2(100.0, 20.0));
        let lines = score_lines(&lane, scale, track);
        assert_eq!(lines.iter().map(Vec::len).collect::<Vec<_>>(), [3, 2]);
        // Five frames a pixel: the first of a run, then every fifth frame.
        let dense = Scale {
            width: 20.0,
            frames: 100,
            ..scale
        };
        let lane = Lane {
            scores: (3..23).map(|f| (f, 0.5)).collect(),
            runs: vec![(0, 20)],
            ..lane
        };
        let drawn: Vec<u32> = score_lines(&lane, dense, track)[0]
            .iter()
            .map(|p| dense.frame(p.x))
            .collect();
        assert_eq!(drawn, [3, 5, 10, 15, 20]);
    }
}
