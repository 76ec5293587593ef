//! The picture: frame, heat, masks, proposals, prompts, and what the pointer does with the tool in hand.

use egui::{
    Align2, CursorIcon, Key, PointerButton, Pos2, Rect, Response, RichText, Role, Sense, Stroke,
    StrokeKind, Ui, Vec2, WidgetInfo, pos2, vec2,
};

mod moves;

use moves::{CLICK, Move, moves, releases};

use super::{
    super::{
        actions::Action,
        arranging::merging,
        command::{Command, Out},
        frames::Shown,
        logic::sentence,
        masks::next_mark,
        outline::{CLOSES_WITHIN, FEWEST},
        state::{BoxUse, State, Tool},
        theme::{self, space},
        widgets::{fitted_text, slider},
    },
    marks, review,
};
use crate::{
    project::{BoxPx, ObjectId, PointPx, Size},
    render::{HeatPaint, MaskPaint, MaskStyle, VideoPaint, View},
};

/// From video pixels to the screen and back.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// Points per video pixel.
    pub(crate) zoom: f32,
    /// Where video point 0,0 lies.
    pub(crate) origin: Pos2,
    pub(crate) size: Size,
}

impl Place {
    pub(crate) fn to_screen(self, p: PointPx) -> Pos2 {
        self.origin + vec2(p.x, p.y) * self.zoom
    }

    pub(crate) fn to_video(self, p: Pos2) -> PointPx {
        let v = (p - self.origin) / self.zoom;
        PointPx { x: v.x, y: v.y }
    }

    pub(crate) fn rect(self, b: BoxPx) -> Rect {
        Rect::from_min_max(
            self.to_screen(PointPx { x: b.x1, y: b.y1 }),
            self.to_screen(PointPx { x: b.x2, y: b.y2 }),
        )
    }

    fn clamped(self, p: PointPx) -> PointPx {
        PointPx {
            x: p.x.clamp(0.0, self.size.width as f32),
            y: p.y.clamp(0.0, self.size.height as f32),
        }
    }
}

pub(crate) fn canvas_ui(ui: &mut Ui, state: &State, out: &mut Out) {
    let Some(session) = &state.session else {
        return;
    };
    let rect = ui.max_rect();
    if state.canvas != rect {
        out.send(Command::CanvasAt(rect));
    }
    let size = session.doc.video.size;
    let (zoom, origin) = state.view.place(rect, size);
    let place = Place { zoom, origin, size };
    let response = ui.interact(rect, ui.scope_id().with("canvas"), Sense::click_and_drag());
    response.widget_info(|| {
        let text = format!("Canvas, frame {}", state.frame);
        WidgetInfo::labeled(Role::Image, true, text)
    });
    paint_picture(ui, state, rect, place);
    let painter = ui.painter_at(rect);
    if shows_another(state).is_none() {
        marks::proposals(&painter, ui, state, place);
        marks::prompts(&painter, ui, state, place);
        marks::outline(&painter, ui, state, place);
    }
    missing_ui(ui, state, rect);
    let loading = loading(state);
    loading_ui(ui, loading.as_deref(), rect, place);
    navigate(ui, state, &response, place, out);
    // What is drawn on a picture is about that picture.
    if loading.is_none() {
        use_tool(ui, state, &response, place, out);
    }
    tool_options_ui(ui, state, rect, out);
    zoom_ui(ui, state, rect, zoom);
    marks::heat_legend(ui, state, rect);
    review::review_ui(ui, state, rect, out);
}

fn paint_picture(ui: &Ui, state: &State, rect: Rect, place: Place) {
    let clip = state.clip.as_ref();
    let Some((frame, key)) = clip.and_then(|c| Some((c.shown.clone()?, c.shown_key))) else {
        let p = theme::palette(ui);
        ui.painter().text(
            rect.center(),
            Align2::CENTER_CENTER,
            "decoding…",
            theme::regular(13.0),
            p.text_faint,
        );
        return;
    };
    let origin = (rect.min - place.origin) / place.zoom;
    let extent = rect.size() / place.zoom;
    let view = View {
        origin: [origin.x, origin.y],
        extent: [extent.x, extent.y],
        size: place.size,
        scale: 1.0 / (place.zoom * ui.pixels_per_point()),
    };
    let is_current = frame.index.0 == state.frame;
    let video = VideoPaint {
        image: std::sync::Arc::new(Shown(frame)),
        key,
        view,
    };
    let painter = ui.painter_at(rect);
    painter.add(egui_wgpu::Callback::new_paint_callback(rect, video));
    if state.show_heat
        && is_current
        && let Some(heat) = &state.heat
    {
        let paint = HeatPaint {
            grid: heat.grid.clone(),
            key: heat.key,
            opacity: 0.7,
            view,
        };
        painter.add(egui_wgpu::Callback::new_paint_callback(rect, paint));
    }
    if let Some(overlay) = &state.overlay
        && !overlay.ids.is_empty()
        && !state.masks_hidden
        && is_current
    {
        let paint = MaskPaint {
            masks: overlay.masks.clone(),
            key: overlay.key,
            style: mask_style(ui, state, &overlay.ids),
            view,
        };
        painter.add(egui_wgpu::Callback::new_paint_callback(rect, paint));
    }
}

/// The frame that the picture is of, if it is another than the one in view.
fn shows_another(state: &State) -> Option<u32> {
    let shown = state.clip.as_ref()?.shown.as_ref()?.index.0;
    (shown != state.frame).then_some(shown)
}

/// What is said where the picture is another frame's and will not become this one's.
fn missing(state: &State) -> Option<String> {
    let why = state.clip.as_ref()?.trouble.as_ref()?;
    let shown = shows_another(state)?;
    let why = sentence(why.trim_end_matches('.'));
    Some(format!("{why}. You see frame {shown}."))
}

/// What is said where the picture is another frame's until this one is decoded. While a clip plays, pictures that come late
/// are as good as any.
fn loading(state: &State) -> Option<String> {
    let shown = shows_another(state)?;
    let is_on_its_way = state.clip.as_ref()?.trouble.is_none() && state.playing.is_none();
    let frame = state.frame;
    is_on_its_way.then(|| format!("Loading frame {frame}… You see frame {shown}."))
}

/// Dims a picture that is another frame's, more so the longer it stays: what comes at once does not flicker.
fn loading_ui(ui: &Ui, text: Option<&str>, rect: Rect, place: Place) {
    let id = ui.scope_id().with("loading");
    let Some(text) = text else {
        ui.ctx().animate_bool_with_time(id, false, 0.0);
        return;
    };
    let dim = ui.ctx().animate_bool_with_time(id, true, 0.25);
    let whole = Rect::from_min_size(
        place.origin,
        vec2(place.size.width as f32, place.size.height as f32) * place.zoom,
    );
    let dark = theme::faded(theme::palette(ui).canvas, 0.6 * dim);
    ui.painter_at(rect).rect_filled(whole, 0, dark);
    if dim > 0.4 {
        plate_ui(ui, "loading frame", text, theme::palette(ui).look, rect);
    }
}

fn missing_ui(ui: &Ui, state: &State, rect: Rect) {
    if let Some(text) = missing(state) {
        plate_ui(ui, "missing frame", &text, theme::palette(ui).bad, rect);
    }
}

/// A line over the picture's top.
fn plate_ui(ui: &Ui, name: &str, text: &str, rim: egui::Color32, rect: Rect) {
    let p = theme::palette(ui);
    let width = (rect.width() - 4.0 * space::L).max(80.0);
    let galley = fitted_text(ui, text, theme::regular(13.0), p.text, width);
    let middle = pos2(rect.center().x, rect.top() + space::XL + space::L);
    let plate = Rect::from_center_size(middle, galley.size() + vec2(24.0, 12.0));
    let painter = ui.painter_at(rect);
    painter.rect(plate, 6, p.panel, Stroke::new(1.0, rim), StrokeKind::Inside);
    painter.galley(plate.center() - galley.size() / 2.0, galley, p.text);
    let id = ui.scope_id().with(name);
    let response = ui.interact(plate, id, Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(Role::Label, true, text));
}

fn mask_style(ui: &Ui, state: &State, ids: &[crate::project::ObjectId]) -> MaskStyle {
    let doc = state.session.as_ref().map(|s| &s.doc);
    let colours = ids
        .iter()
        .map(|id| {
            let index = doc
                .and_then(|d| d.object(*id))
                .map_or(id.0.saturating_sub(1), |o| o.colour);
            let [r, g, b] = crate::project::colour_rgb(index).map(|c| f32::from(c) / 255.0);
            [r, g, b, 1.0]
        })
        .collect();
    MaskStyle {
        opacity: marks::fill_opacity(state),
        outline_px: 1.6 * ui.pixels_per_point(),
        colours,
        selected: ids.iter().position(|id| Some(*id) == state.selected),
    }
}

fn panning(ui: &Ui, state: &State) -> bool {
    state.tool == Tool::Pan || ui.input(|i| i.key_down(Key::Space)) && !ui.ctx().text_edit_focused()
}

fn navigate(ui: &Ui, state: &State, response: &Response, place: Place, out: &mut Out) {
    let rect = response.rect;
    if response.contains_pointer()
        && let Some(at) = ui.input(|i| i.pointer.hover_pos())
    {
        let (wheel, pinch) = ui.input(|i| (i.smooth_scroll_delta(), i.zoom_delta()));
        let factor = if pinch != 1.0 {
            pinch
        } else {
            (wheel.y * 0.004).exp()
        };
        if (factor - 1.0).abs() > 1e-4 {
            let view = state.view.zoomed(rect, place.size, at, factor);
            out.send(Command::SetView(view));
        }
    }
    let by_hand = panning(ui, state) && response.dragged_by(PointerButton::Primary);
    if by_hand || response.dragged_by(PointerButton::Middle) {
        let by = response.drag_delta();
        if by != Vec2::ZERO {
            out.send(Command::SetView(state.view.panned(rect, place.size, by)));
        }
    }
}

fn use_tool(ui: &Ui, state: &State, response: &Response, place: Place, out: &mut Out) {
    if response.clicked() || response.secondary_clicked() {
        response.request_focus();
        response.surrender_focus();
    }
    // A click is where it was let go, wherever the pointer is by now.
    let clicked = if response.secondary_clicked() {
        releases(ui, PointerButton::Secondary).pop()
    } else if response.clicked() {
        releases(ui, PointerButton::Primary).pop()
    } else {
        None
    };
    let pointer = clicked.or_else(|| ui.input(|i| i.pointer.latest_pos()));
    let at = pointer
        .filter(|p| response.rect.contains(*p))
        .map(|p| place.to_video(p));
    if panning(ui, state) {
        let down = ui.input(|i| i.pointer.primary_down());
        let icon = if down {
            CursorIcon::Grabbing
        } else {
            CursorIcon::Grab
        };
        set_cursor(ui, response, icon);
        return;
    }
    if let Some(from) = merging(state).map(|o| o.id) {
        merge_tool(ui, state, response, at, from, out);
        return;
    }
    match state.tool {
        Tool::Pan => {}
        Tool::Select => select_tool(state, response, at, place.zoom, out),
        Tool::Box => {
            set_cursor(ui, response, CursorIcon::Crosshair);
            box_tool(ui, response, place, out);
        }
        Tool::Points => {
            set_cursor(ui, response, CursorIcon::Crosshair);
            if let Some(at) = at.filter(|p| inside(*p, place.size)) {
                if response.clicked() {
                    let negative = ui.input(|i| i.modifiers.alt);
                    out.send(Command::Click(at, !negative));
                } else if response.secondary_clicked() {
                    out.send(Command::Click(at, false));
                }
            }
        }
        Tool::Polygon => {
            set_cursor(ui, response, CursorIcon::Crosshair);
            polygon_tool(ui, state, response, place, at, out);
        }
        Tool::Brush | Tool::Eraser => brush_tool(ui, state, response, place, pointer, out),
    }
}

fn set_cursor(ui: &Ui, response: &Response, icon: CursorIcon) {
    if response.contains_pointer() {
        ui.ctx().set_cursor_icon(icon);
    }
}

fn inside(p: PointPx, size: Size) -> bool {
    p.x >= 0.0 && p.y >= 0.0 && p.x < size.width as f32 && p.y < size.height as f32
}

/// A click takes the object under the pointer; a click on a proposal's rim keeps or drops it.
fn select_tool(state: &State, response: &Response, at: Option<PointPx>, zoom: f32, out: &mut Out) {
    let Some(at) = at.filter(|_| response.contains_pointer()) else {
        return;
    };
    let near = 6.0 / zoom.max(1e-3);
    let proposal = if state.show_proposals {
        marks::rim_under(state, at, near)
    } else {
        None
    };
    if proposal.is_some() {
        out.send(Command::HoverProposal(proposal));
    }
    if !response.clicked() {
        return;
    }
    if let Some(index) = proposal {
        out.send(Command::ToggleProposal(index));
        return;
    }
    out.send(Command::SelectObject(object_at(state, at, None)));
}

/// The topmost object at a place, but for one of them.
fn object_at(state: &State, at: PointPx, but: Option<ObjectId>) -> Option<ObjectId> {
    let doc = &state.session.as_ref()?.doc;
    let here = state.here();
    let hit = doc.objects.iter().rev().find(|o| {
        let mask = o.frames.get(&here);
        o.visible
            && Some(o.id) != but
            && inside(at, doc.video.size)
            && mask.is_some_and(|m| m.rle.contains(at.x as u32, at.y as u32))
    });
    hit.map(|o| o.id)
}

/// Whatever the tool, a click says into which object another one goes.
fn merge_tool(
    ui: &Ui,
    state: &State,
    response: &Response,
    at: Option<PointPx>,
    from: ObjectId,
    out: &mut Out,
) {
    let at = at.filter(|_| response.contains_pointer());
    let Some(into) = at.and_then(|at| object_at(state, at, Some(from))) else {
        return;
    };
    set_cursor(ui, response, CursorIcon::PointingHand);
    if response.clicked() {
        out.send(Command::SelectObject(Some(into)));
    }
}

fn box_tool(ui: &Ui, response: &Response, place: Place, out: &mut Out) {
    let id = response.id.with("box start");
    let before = ui.data(|d| d.get_temp::<Pos2>(id));
    let mut start = before;
    for event in moves(ui, response, before.is_some()) {
        match event {
            Move::Press(at) => start = Some(at),
            Move::To(_) => {}
            Move::Release(at) => {
                let from = start.take().filter(|from| from.distance(at) > CLICK);
                if let Some(from) = from {
                    let corner = |p| place.clamped(place.to_video(p));
                    out.send(Command::DrawBox(BoxPx::from_corners(
                        corner(from),
                        corner(at),
                    )));
                }
            }
        }
    }
    // Let go where nobody told, or called off.
    if ui.input(|i| !i.pointer.primary_down() || i.key_down(Key::Escape)) {
        start = None;
    }
    if start != before {
        ui.data_mut(|d| match start {
            Some(start) => {
                d.insert_temp(id, start);
            }
            None => d.remove::<Pos2>(id),
        });
    }
    let now = ui.input(|i| i.pointer.latest_pos());
    if let (Some(start), Some(now)) = (start, now)
        && start.distance(now) > CLICK
    {
        let p = theme::palette(ui);
        let painter = ui.painter_at(response.rect);
        let rect = Rect::from_two_pos(start, now);
        painter.rect_filled(rect, 0, theme::faded(p.accent, 0.12));
        let stroke = Stroke::new(1.5, p.accent);
        painter.rect_stroke(rect, 0, stroke, StrokeKind::Middle);
    }
}

fn polygon_tool(
    ui: &Ui,
    state: &State,
    response: &Response,
    place: Place,
    at: Option<PointPx>,
    out: &mut Out,
) {
    let outline = state.outline.as_ref().filter(|o| o.frame == state.here());
    if response.secondary_clicked() {
        out.send(Command::OutlineBack);
        return;
    }
    let Some(at) = at.filter(|_| response.clicked()) else {
        return;
    };
    // Several clicks since the last drawing are several corners.
    let mut clicks = releases(ui, PointerButton::Primary);
    clicks.pop();
    for earlier in clicks {
        let corner = place.clamped(place.to_video(earlier));
        out.send(Command::OutlineCorner(corner));
    }
    // The first click of a double click has set the last corner.
    let closes = response.double_clicked()
        || outline.is_some_and(|o| {
            let first = o.corners.first().map(|p| place.to_screen(*p));
            let reached = first.is_some_and(|p| p.distance(place.to_screen(at)) < CLOSES_WITHIN);
            o.corners.len() >= FEWEST && reached
        });
    out.send(if closes && outline.is_some() {
        Command::CloseOutline
    } else {
        Command::OutlineCorner(place.clamped(at))
    });
}

fn brush_tool(
    ui: &Ui,
    state: &State,
    response: &Response,
    place: Place,
    pointer: Option<Pos2>,
    out: &mut Out,
) {
    if let Some(at) = pointer.filter(|_| response.contains_pointer()) {
        ui.ctx().set_cursor_icon(CursorIcon::None);
        let painter = ui.painter_at(response.rect);
        let radius = (state.brush_radius * place.zoom).max(1.5);
        let dark = egui::Color32::from_black_alpha(160);
        painter.circle_stroke(at, radius + 1.0, Stroke::new(1.0, dark));
        painter.circle_stroke(at, radius, Stroke::new(1.2, egui::Color32::WHITE));
    }
    let mut painting = state.painting.as_ref();
    let mut goes_on = painting.is_some();
    let mut points = Vec::new();
    for event in moves(ui, response, goes_on) {
        let (Move::Press(at) | Move::To(at) | Move::Release(at)) = event;
        points.push(place.to_video(at));
        goes_on = !matches!(event, Move::Release(_));
        if !goes_on {
            out.send(Command::Paint(std::mem::take(&mut points)));
            out.send(Command::EndPaint);
            painting = None;
        }
    }
    // A brush that is held still asks for nothing, and so for no further drawing.
    let is_there = painting.is_some_and(|p| points.iter().all(|at| p.is_at(*at)));
    if !points.is_empty() && !is_there {
        out.send(Command::Paint(points));
    }
    // Let go where nobody told.
    if goes_on && !ui.input(|i| i.pointer.primary_down()) {
        out.send(Command::EndPaint);
    }
}

/// What a key does; nothing if it is none.
fn with_key(key: &str, does: &str) -> Option<String> {
    (!key.is_empty()).then(|| format!("{key} {does}"))
}

/// Hints beside each other.
fn one_line(hints: [Option<String>; 3]) -> String {
    let hints: Vec<String> = hints.into_iter().flatten().collect();
    hints.join(" · ")
}

/// What a box drawn now becomes: without a phrase there is nothing that it could be a proposal for.
fn box_becomes(state: &State) -> BoxUse {
    match state.box_phrase() {
        Some(_) => BoxUse::Proposal,
        None => BoxUse::Segment,
    }
}

/// A hint, cut off at the canvas's right side and whole under the pointer where there is no room for it.
fn hint_ui(ui: &mut Ui, text: &str, canvas: Rect) {
    let p = theme::palette(ui);
    let room = (canvas.right() - space::M - 10.0 - ui.cursor().left()).max(24.0);
    let galley = fitted_text(ui, text, theme::regular(12.0), p.text_weak, room);
    let is_cut = galley.elided;
    if is_cut {
        let label = ui.add(egui::Label::new(galley).sense(Sense::hover()));
        label.on_hover_text(text);
    } else {
        ui.label(RichText::new(text).size(12.0).color(p.text_weak));
    }
}

/// What the next box does, where it becomes a mask.
fn box_hint(state: &State) -> Option<String> {
    if state.box_phrase().is_some() {
        return None;
    }
    let next = next_mark(state, true);
    Some(match state.box_use {
        BoxUse::Proposal => format!("Without a phrase a mask: it {next}"),
        BoxUse::Segment => format!("It {next}"),
    })
}

/// What the tool in hand can be told, in the canvas's corner.
fn tool_options_ui(ui: &mut Ui, state: &State, rect: Rect, out: &mut Out) {
    let wants = match state.tool {
        Tool::Box | Tool::Points | Tool::Polygon | Tool::Brush | Tool::Eraser => true,
        Tool::Select | Tool::Pan => false,
    };
    if !wants {
        return;
    }
    let p = theme::palette(ui);
    let shown = |action| state.keymap.shown(action);
    let (enter, esc) = (shown(Action::FinishPrompt), shown(Action::Stop));
    let at = rect.left_top() + vec2(space::M, space::M);
    egui::Area::new(ui.scope_id().with("tool options"))
        .order(egui::Order::Middle)
        .fixed_pos(at)
        .show(ui.ctx(), |ui| {
            egui::Frame::NONE
                .fill(p.panel)
                .stroke(Stroke::new(1.0, p.line))
                .corner_radius(8)
                .inner_margin(egui::Margin::symmetric(10, 5))
                .show(ui, |ui| {
                    ui.horizontal(|ui| {
                        let small = |t: &str| RichText::new(t).size(12.0).color(p.text_weak);
                        match state.tool {
                            Tool::Box => {
                                ui.label(small("The box becomes"));
                                for (wish, text, hint) in [
                                    (BoxUse::Proposal, "a proposal", "One more proposal of the emission, scored by the same head: cures a missed proposal."),
                                    (BoxUse::Segment, "a mask", "The mask inside the box, at once, as your own (an anchor)."),
                                ] {
                                    let chosen = box_becomes(state) == wish;
                                    if ui.selectable_label(chosen, RichText::new(text).color(p.text)).on_hover_text(hint).clicked() {
                                        out.send(Command::SetBoxUse(wish));
                                    }
                                }
                                if let Some(hint) = box_hint(state) {
                                    hint_ui(ui, &hint, rect);
                                }
                            }
                            Tool::Polygon => {
                                ui.label(small("The polygon"));
                                for (cuts, text, hint) in [
                                    (false, "joins", "Its pixels become part of the selected object's mask."),
                                    (true, "is cut out", "Its pixels are taken out of the selected object's mask."),
                                ] {
                                    let chosen = state.outline_cuts == cuts;
                                    if ui.selectable_label(chosen, RichText::new(text).color(p.text)).on_hover_text(hint).clicked() {
                                        out.send(Command::SetOutlineCuts(cuts));
                                    }
                                }
                                let back = Some("right-click: a corner back".to_owned());
                                let text = [with_key(&enter, "closes"), back, with_key(&esc, "drops")];
                                hint_ui(ui, &one_line(text), rect);
                            }
                            Tool::Points => {
                                let click = Some("Click: on the object · right-click: not on it".to_owned());
                                let text = if state.prompting.is_some() {
                                    [click, with_key(&enter, "keeps"), with_key(&esc, "drops")]
                                } else {
                                    [click, Some(format!("the next one {}", next_mark(state, false))), None]
                                };
                                hint_ui(ui, &one_line(text), rect);
                            }
                            _ => {
                                ui.label(small("size"));
                                let mut radius = state.brush_radius;
                                let range =
                                    egui::Slider::new(&mut radius, 1.0..=200.0).logarithmic(true);
                                let size = slider(ui, "Brush size", 110.0, range);
                                let key = |action| state.keymap.in_brackets(action);
                                let keys = format!("Smaller{}, larger{}", key(Action::BrushSmaller), key(Action::BrushLarger));
                                if size.on_hover_text(keys).changed() {
                                    out.send(Command::SetBrush(radius));
                                }
                                ui.label(small(&format!("{:.0} px", radius * 2.0)));
                            }
                        }
                    });
                });
        });
}

/// The zoom, in the corner, when the picture is not fitted.
fn zoom_ui(ui: &Ui, state: &State, rect: Rect, zoom: f32) {
    if state.view.fixed.is_none() {
        return;
    }
    let p = theme::palette(ui);
    let percent = zoom * ui.pixels_per_point() * 100.0;
    let text = format!("{percent:.0} %");
    let galley = ui
        .painter()
        .layout_no_wrap(text, theme::regular(12.0), p.text);
    let corner = pos2(rect.left() + space::M, rect.bottom() - space::M);
    let back = Rect::from_min_max(
        corner - vec2(0.0, galley.size().y + 8.0),
        corner + vec2(galley.size().x + 14.0, 0.0),
    );
    ui.painter()
        .rect_filled(back, 4, theme::faded(p.panel, 0.9));
    ui.painter()
        .galley(back.min + vec2(7.0, 4.0), galley, p.text);
}

#[cfg(test)]
mod tests;
