//! The timeline: transport, ruler, film strip, a lane per object; the emissions are [`super::emissions_lane`]'s. Dragging scrubs;
//! with Shift on the ruler it sets the range of propagation. Ctrl with the wheel looks closer, the wheel or the middle button
//! goes along.

use egui::{
    Align, Align2, Color32, Id, Layout, PointerButton, Rect, Response, RichText, Role, ScrollArea,
    Sense, Shape, Stroke, Ui, UiBuilder, WidgetInfo, pos2, vec2,
};

use super::{
    super::{
        absence::NOT_HERE,
        actions::Action,
        arranging::merging,
        command::{Command, Out},
        icons::{Icon, absence_mark, anchor_mark},
        lanes::Lane,
        looks,
        state::{SPEEDS, State},
        theme::{self, space},
        time_view::{Scale, TimeView},
        widgets::{action_icon, fitted_text, hairline, icon_button},
    },
    bring_into_view,
    emissions_lane::{emissions_ui, with_emissions},
};
use crate::project::{FrameIndex, counted};

const HEADER: f32 = 38.0;
const RULER: f32 = 22.0;
const STRIP: f32 = 46.0;
/// Height of a lane, and between two of them.
pub(super) const LANE: f32 = 26.0;
pub(super) const BETWEEN: f32 = 2.0;
/// Height of the strip that says which part of the clip is shown.
const OVERVIEW: f32 = 8.0;
/// Pixels of height that film strip pictures are asked for.
const THUMBNAIL_PX: u32 = 96;

pub(crate) fn timeline_ui(ui: &mut Ui, state: &State, out: &mut Out) {
    let full = ui.max_rect();
    hairline(ui, full, true);
    let header = Rect::from_min_size(full.min, vec2(full.width(), HEADER));
    header_ui(
        &mut ui.new_child(UiBuilder::new().max_rect(header.shrink2(vec2(space::S, 0.0)))),
        state,
        out,
    );
    let left = full.left() + space::LANE_NAMES;
    let width = (full.width() - space::LANE_NAMES - space::L).max(50.0);
    let scale = Scale::new(left, width, state.frames(), state.time_view);
    let row = |top: f32, height: f32| {
        Rect::from_min_size(pos2(scale.left, top), vec2(scale.width, height))
    };
    let mut top = header.bottom();
    if !state.time_view.is_whole() {
        overview_ui(ui, state, scale, row(top, OVERVIEW), out);
        top += OVERVIEW;
    }
    let ruler = row(top, RULER);
    let strip = row(ruler.bottom(), STRIP);
    ruler_ui(ui, state, scale, ruler, out);
    strip_ui(ui, state, scale, strip, out);
    let lanes = Rect::from_min_max(
        pos2(full.left(), strip.bottom() + space::S),
        full.right_bottom() - vec2(0.0, space::XS),
    );
    let (lanes, pinned) = with_emissions(state, lanes);
    if lanes.height() > 8.0 {
        let mut child = ui.new_child(UiBuilder::new().max_rect(lanes));
        child.shrink_clip_rect(lanes);
        ScrollArea::vertical()
            .id_salt("lanes")
            .auto_shrink([false, false])
            .show(&mut child, |ui| {
                lanes_ui(ui, state, scale, out);
                if pinned.is_none() {
                    emissions_ui(ui, state, scale, out);
                }
            });
    }
    if let Some(rect) = pinned {
        let mut child = ui.new_child(UiBuilder::new().max_rect(rect));
        emissions_ui(&mut child, state, scale, out);
    }
    playhead(ui, state, scale, ruler, full.bottom());
    // After the lanes, so that the wheel scrolls them where there are more than fit.
    let body = Rect::from_min_max(pos2(full.left(), header.bottom()), full.right_bottom());
    navigate(ui, state, scale, body, out);
    // What a panel does not fill it gives back.
    ui.take_available_space();
}

/// Looks closer or goes along, with the wheel, two fingers or the middle button.
fn navigate(ui: &Ui, state: &State, scale: Scale, body: Rect, out: &mut Out) {
    let frames = state.frames();
    let view = state.time_view;
    let (wheel, pinch) = ui.input(|i| (i.smooth_scroll_delta(), i.zoom_delta()));
    let over = ui.rect_contains_pointer(body);
    let mut next = view;
    if let (true, Some(at)) = (over, ui.input(|i| i.pointer.hover_pos())) {
        let moved = wheel.x + wheel.y;
        if (pinch - 1.0).abs() > 1e-4 {
            next = view.zoomed(frames, scale.position(at.x), pinch);
        } else if moved.abs() > 0.01 {
            next = view.panned(frames, -moved / scale.step());
        }
    }
    let drags = ui.input(|i| {
        let origin = i.pointer.press_origin();
        i.pointer.middle_down() && origin.is_some_and(|at| body.contains(at))
    });
    if drags && over {
        next = view.panned(frames, -ui.input(|i| i.pointer.delta().x) / scale.step());
    }
    if next != view {
        out.send(Command::SetTimeView(next));
    }
}

/// The whole clip as a strip with the part that is shown; a press goes there.
fn overview_ui(ui: &Ui, state: &State, scale: Scale, rect: Rect, out: &mut Out) {
    let p = theme::palette(ui);
    let whole = Scale::new(
        rect.left(),
        rect.width(),
        state.frames(),
        TimeView::default(),
    );
    let response = ui.interact(
        rect,
        ui.scope_id().with("overview"),
        Sense::click_and_drag(),
    );
    response.widget_info(|| {
        let (from, to) = scale.visible();
        let text = format!("Part shown, frames {from} to {to}");
        WidgetInfo::labeled(Role::ScrollBar, true, text)
    });
    if let (true, Some(at)) = (
        is_pressed(ui, &response),
        ui.input(|i| i.pointer.latest_pos()),
    ) {
        let next = state
            .time_view
            .centred(state.frames(), whole.position(at.x));
        if next != state.time_view {
            out.send(Command::SetTimeView(next));
        }
    }
    let bar = rect.shrink2(vec2(0.0, 2.0));
    ui.painter().rect_filled(bar, 2, p.well);
    let (from, to) = (scale.position(rect.left()), scale.position(rect.right()));
    let per_frame = whole.step();
    let part = Rect::from_x_y_ranges(
        rect.left() + from * per_frame..=rect.left() + to * per_frame,
        bar.y_range(),
    );
    let hot = response.hovered() || response.dragged();
    let fill = if hot { p.text_weak } else { p.text_faint };
    ui.painter().rect_filled(part, 2, fill);
    let here = whole.x(state.frame);
    ui.painter()
        .vline(here, rect.y_range(), Stroke::new(1.5, p.text));
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
        speed_ui(ui, state, out);
        ui.add_space(space::M);
        history_ui(ui, state, out);
        ui.add_space(space::M);
        range_ui(ui, state, out);
        if !state.time_view.is_whole() {
            action_icon(ui, keymap, Icon::Fit, Action::WholeClip, false, out);
        }
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

/// How fast the clip plays; a click takes the next speed.
fn speed_ui(ui: &mut Ui, state: &State, out: &mut Out) {
    let p = theme::palette(ui);
    let text = format!("{}×", state.speed);
    let label = RichText::new(&text).size(12.0).color(p.text_weak);
    let button = egui::Button::new(label)
        .frame(false)
        .min_size(vec2(36.0, 30.0));
    let button = ui
        .add(button)
        .accessible_name(format!("Playback speed {text}"));
    let hint =
        "Playback speed; a click takes the next one. With a range, playing goes round in it.";
    if button.on_hover_text(hint).clicked() {
        let faster = SPEEDS.into_iter().find(|s| *s > state.speed);
        out.send(Command::SetSpeed(faster.unwrap_or(SPEEDS[0])));
    }
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

/// Whether the main button is down on it; the middle one goes along.
fn is_pressed(ui: &Ui, response: &Response) -> bool {
    let down = ui.input(|i| i.pointer.primary_down());
    response.clicked() || (down && response.is_pointer_button_down_on())
}

/// Scrubs: the frame under the pointer while it is pressed.
pub(super) fn scrub(ui: &Ui, state: &State, scale: Scale, response: &Response, out: &mut Out) {
    let pressed = is_pressed(ui, response);
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
    if shift && response.dragged_by(PointerButton::Primary) {
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
    let (from, to) = scale.visible();
    let mut frame = from - from % every;
    while frame <= to {
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
    ui.spacing_mut().item_spacing.y = BETWEEN;
    let lanes = &state.lanes;
    let rows: Vec<Response> = lanes
        .iter()
        .map(|lane| lane_ui(ui, state, lane, scale, out))
        .collect();
    let at = lanes.iter().position(|l| Some(l.id) == state.selected);
    bring_into_view(ui, "lanes", (state.selected, at), &rows);
}

pub(super) fn lane_row(ui: &mut Ui, id: Id, scale: Scale) -> (Rect, Rect, Response) {
    let (row, _) = ui.allocate_exact_size(vec2(ui.available_width(), LANE), Sense::hover());
    let body = Rect::from_min_max(
        pos2(scale.left, row.top()),
        pos2(scale.left + scale.width, row.bottom()),
    );
    let names = Rect::from_min_max(row.min, pos2(scale.left - space::M, row.bottom()));
    let response = ui.interact(body, id, Sense::click_and_drag());
    (names, body, response)
}

fn lane_ui(ui: &mut Ui, state: &State, lane: &Lane, scale: Scale, out: &mut Out) -> Response {
    let p = theme::palette(ui);
    let id = ui.scope_id().with(("lane", lane.id.0));
    let (names, body, response) = lane_row(ui, id, scale);
    response.widget_info(|| {
        let anchors = counted(lane.anchors.len(), "anchor");
        let absent: u32 = lane.absent.iter().map(|(from, to)| to - from + 1).sum();
        let absent = match absent {
            0 => String::new(),
            n => format!(", not there on {}", counted(n, "frame")),
        };
        let text = format!("Lane of {}, {anchors}{absent}", lane.name);
        WidgetInfo::labeled(Role::Slider, true, text)
    });
    scrub(ui, state, scale, &response, out);
    let chosen = state.selected == Some(lane.id);
    // Scrubbing is no answer to which object another one goes into.
    if is_pressed(ui, &response) && !chosen && merging(state).is_none() {
        out.send(Command::SelectObject(Some(lane.id)));
    }
    let name = ui.interact(names, id.with("name"), Sense::click());
    name.widget_info(|| WidgetInfo::labeled(Role::Button, true, format!("Select {}", lane.name)));
    if name.clicked() {
        out.send(Command::SelectObject(Some(lane.id)));
    }
    if !ui.is_rect_visible(names.union(body)) {
        return response;
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
    let why = response.hover_pos().and_then(|at| {
        let marked = why_marked(state, lane, scale, body, at.x);
        marked.or_else(|| said_absent(lane, scale.frame(at.x)))
    });
    match why {
        Some(why) => response.on_hover_text_at_pointer(why),
        None => response,
    }
}

/// Where the pixels of a lane are drawn; the marks stand above.
fn track_of(body: Rect) -> Rect {
    Rect::from_x_y_ranges(body.x_range(), body.top() + 7.0..=body.bottom() - 2.0)
}

/// The mark over a stretch worth a look: wide enough to be seen however many frames share a pixel.
fn mark_of(scale: Scale, body: Rect, (from, to): (u32, u32)) -> Rect {
    let x = scale.start(from)..=scale.start(to + 1);
    let mark = Rect::from_x_y_ranges(x, body.top() + 1.0..=body.top() + 5.0);
    let missing = (4.0 - mark.width()).max(0.0);
    mark.expand2(vec2(missing / 2.0, 0.0))
}

/// What the mark at a place says, if there is one.
fn why_marked(state: &State, lane: &Lane, scale: Scale, body: Rect, x: f32) -> Option<String> {
    let doc = &state.session.as_ref()?.doc;
    let object = doc.object(lane.id)?;
    let stretch = lane.drift.iter().copied();
    let near = |s: &(u32, u32)| mark_of(scale, body, *s).expand(2.0).x_range().contains(x);
    let (from, to) = stretch.filter(near).min_by(|a, b| {
        let off = |s: &(u32, u32)| (mark_of(scale, body, *s).center().x - x).abs();
        off(a).total_cmp(&off(b))
    })?;
    let frame = scale.frame(x).clamp(from, to);
    let reasons = looks::reasons(doc, object, FrameIndex(frame));
    let more = if from < to {
        format!("\nThe stretch goes from frame {from} to {to}.")
    } else {
        String::new()
    };
    Some(format!("Frame {frame}: {}{more}", reasons.join("; ")))
}

/// What is said of a frame where the object is not to be seen.
fn said_absent(lane: &Lane, frame: u32) -> Option<String> {
    let mut stretches = lane.absent.iter();
    let is_absent = stretches.any(|&(from, to)| (from..=to).contains(&frame));
    is_absent.then(|| format!("Frame {frame}: {NOT_HERE}"))
}

/// A line over the frames where the object is not to be seen, with a ring at each end; of rings on one pixel, one is seen.
fn paint_absent(painter: &egui::Painter, lane: &Lane, scale: Scale, y: f32, colour: Color32) {
    const RING: f32 = 4.0;
    let mut last = f32::NEG_INFINITY;
    for &(from, to) in &lane.absent {
        let (left, right) = (scale.x(from), scale.x(to));
        if right < last + 1.0 {
            continue;
        }
        absence_mark(painter, pos2(left, y), RING, colour);
        if right - left > 2.0 * RING {
            let line = left + RING..=right - RING;
            painter.hline(line, y, Stroke::new(1.0, colour));
            absence_mark(painter, pos2(right, y), RING, colour);
        }
        last = right;
    }
}

fn paint_lane(ui: &Ui, lane: &Lane, scale: Scale, body: Rect, colour: Color32) {
    let p = theme::palette(ui);
    let painter = ui.painter_at(body.expand(4.0));
    let fade = if lane.visible { 1.0 } else { 0.45 };
    let track = track_of(body);
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
    paint_absent(&painter, lane, scale, track.center().y, p.text_weak);
    // Over the lane, not on it: there is no colour that an object might not have.
    for &span in &lane.drift {
        painter.rect_filled(mark_of(scale, body, span), 1, p.text);
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

/// The predicted IoU as lines, broken where there is none; at most about one point per screen pixel.
fn score_lines(lane: &Lane, scale: Scale, track: Rect) -> Vec<Vec<egui::Pos2>> {
    let every = (1.0 / scale.step().max(1e-4)).floor().max(1.0) as usize;
    let y = |score: f32| track.bottom() - 2.0 - score.clamp(0.0, 1.0) * (track.height() - 4.0);
    let point = |&(frame, score): &(u32, f32)| pos2(scale.x(frame), y(score));
    let mut lines = Vec::new();
    let (from, to) = scale.visible();
    for &(start, end) in &lane.runs {
        let run = &lane.scores[start..end];
        // One frame beyond the edges, so that lines reach them.
        let begins = run.partition_point(|s| s.0 + 1 < from);
        let ends = run.partition_point(|s| s.0 <= to.saturating_add(1));
        let run = &run[begins..ends];
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

fn playhead(ui: &Ui, state: &State, scale: Scale, ruler: Rect, bottom: f32) {
    let p = theme::palette(ui);
    let x = scale.x(state.frame);
    if !ruler.x_range().contains(x) {
        return;
    }
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
    fn ruler_numbers_have_room() {
        for points in [40.0, 10.0, 1.0, 0.05, 1e-3] {
            let step = tick_step(points);
            assert!(step as f32 * points >= 63.9, "{points}: {step}");
        }
        assert_eq!(tick_step(100.0), 1);
    }

    #[test]
    fn marks_stand_beside_what_has_an_objects_colour_and_are_wide_enough() {
        let body = Rect::from_min_max(pos2(0.0, 40.0), pos2(600.0, 40.0 + LANE));
        let scale = Scale::new(0.0, 600.0, 6000, TimeView::default());
        for stretch in [(0, 0), (700, 701), (2000, 2999)] {
            let mark = mark_of(scale, body, stretch);
            assert!(mark.width() >= 4.0, "{stretch:?}");
            assert!(mark.bottom() < track_of(body).top() && mark.top() > body.top());
        }
        assert!((mark_of(scale, body, (2000, 2999)).width() - 100.0).abs() < 0.1);
    }

    /// What was selected in the list or on the picture stayed below the timeline's edge.
    #[test]
    fn the_lane_of_what_is_selected_comes_into_view() {
        use crate::{
            project::Size,
            ui::{fixture, session::Session, settings::Settings},
        };
        use egui_kittest::{Harness, kittest::Queryable as _};
        let mut doc = fixture::document(Size::new(2, 1), 1);
        for i in 0..30 {
            let mut object = doc.new_object("");
            object.name = format!("horse {i}");
            doc.objects.push(object);
        }
        let mut state = State::new(Settings::default(), "nano".into(), "cpu".into());
        state.lanes = doc.objects.iter().map(Lane::new).collect();
        let last = doc.objects.last().map(|o| o.id);
        state.session = Some(Session::read_only(doc, "clip.sparrow".into()));
        let mut harness = Harness::builder()
            .with_size([700.0, 240.0])
            .with_step_dt(1.0 / 60.0)
            .with_context_setup(theme::install)
            .build_ui_state(
                |ui, state: &mut State| timeline_ui(ui, state, &mut Out::default()),
                state,
            );
        let name = "Select horse 29";
        let inside = |harness: &Harness<'_, State>| {
            let lane = harness.query_by_label(name).map(|lane| lane.rect());
            lane.is_some_and(|lane| lane.bottom() < 240.0)
        };
        harness.run_steps(2);
        assert!(!inside(&harness), "there are more than fit");
        harness.state_mut().selected = last;
        // Scrolling there takes a moment.
        harness.run_steps(60);
        assert!(inside(&harness));
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
            absent: vec![(5, 7)],
            anchors: Vec::new(),
            drift: Vec::new(),
            scores: vec![(0, 0.5), (1, 0.6), (2, 0.7), (9, 0.1), (10, 0.2)],
            runs: vec![(0, 3), (3, 5)],
        };
        assert_eq!(said_absent(&lane, 4), None);
        let said = "Frame 7: not here, by hand";
        assert_eq!(said_absent(&lane, 7).as_deref(), Some(said));
        let scale = Scale::new(0.0, 100.0, 20, TimeView::default());
        let track = Rect::from_min_max(pos2(0.0, 0.0), pos2(100.0, 20.0));
        let lines = score_lines(&lane, scale, track);
        assert_eq!(lines.iter().map(Vec::len).collect::<Vec<_>>(), [3, 2]);
        // Five frames a pixel: the first of a run, then every fifth frame.
        let dense = Scale::new(0.0, 20.0, 100, TimeView::default());
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
