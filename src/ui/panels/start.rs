//! The start page: the bundled clip, recent clips, opening, dropping.

use egui::{
    Align2, Frame, Margin, Rect, RichText, Role, Sense, Stroke, StrokeKind, Ui, WidgetInfo, pos2,
    vec2,
};

use super::{
    super::{
        actions::Action,
        command::{Command, Out},
        icons::Icon,
        state::State,
        theme::{self, space},
        widgets::{action_button, action_icon, fitted_text, focus_ring},
    },
    status::leaving_ui,
    top_bar::shortened,
};

const WIDTH: f32 = 560.0;

pub(crate) fn start_ui(ui: &mut Ui, state: &State, out: &mut Out) {
    let p = theme::palette(ui);
    let full = ui.max_rect();
    ui.painter().rect_filled(full, 0, p.canvas);
    let dropping = ui.input(|i| !i.raw.hovered_files.is_empty());
    let rows = state.settings.recent.len().min(5) as f32;
    let height = 330.0 + rows * 34.0;
    let top = (full.center().y - height / 2.0 - 20.0).max(24.0);
    let rect = Rect::from_min_size(
        pos2(full.center().x - WIDTH / 2.0, top),
        vec2(WIDTH, full.bottom() - top),
    );
    let mut ui = ui.new_child(egui::UiBuilder::new().max_rect(rect));
    let ui = &mut ui;
    ui.horizontal(|ui| {
        ui.label(RichText::new("Sparrow").font(theme::semibold(30.0)));
        ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
            let keymap = &state.keymap;
            let theme_icon = if ui.visuals().dark_mode {
                Icon::Sun
            } else {
                Icon::Moon
            };
            ui.spacing_mut().item_spacing.x = 0.0;
            action_icon(ui, keymap, Icon::Help, Action::Help, false, out);
            action_icon(ui, keymap, theme_icon, Action::ToggleTheme, false, out);
            action_icon(ui, keymap, Icon::Search, Action::Palette, false, out);
        });
    });
    let about = "Find, track and correct things in video by asking for them.";
    ui.label(RichText::new(about).size(15.0).color(p.text_weak));
    ui.add_space(space::XL);
    if state.leaving.is_some() {
        // There is no status line here, and an export goes on without its clip.
        ui.horizontal(|ui| leaving_ui(ui, state, out));
    }

    if let Some(opening) = &state.opening {
        ui.horizontal(|ui| {
            ui.spinner();
            let text = format!("Opening {}…", shortened(opening, 50));
            ui.label(RichText::new(text).color(p.text_weak));
        });
        return;
    }
    if state.has_sample {
        sample_ui(ui, out);
        ui.add_space(space::M);
    }
    drop_ui(ui, state, dropping, out);
    if !state.settings.recent.is_empty() {
        recent_ui(ui, state, out);
    }
}

fn sample_ui(ui: &mut Ui, out: &mut Out) {
    let p = theme::palette(ui);
    let (rect, response) = ui.allocate_exact_size(vec2(WIDTH, 72.0), Sense::click());
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, "Open the sample clip"));
    let fill = if response.hovered() {
        theme::faded(p.accent, 0.9)
    } else {
        p.accent
    };
    let painter = ui.painter();
    painter.rect_filled(rect, 10, fill);
    let disc = pos2(rect.left() + 40.0, rect.center().y);
    painter.circle_filled(disc, 19.0, theme::faded(p.on_accent, 0.18));
    let icon = Rect::from_center_size(disc + vec2(1.0, 0.0), vec2(20.0, 20.0));
    Icon::Play.paint(painter, icon, 18.0, p.on_accent);
    let left = rect.left() + 76.0;
    painter.text(
        pos2(left, rect.center().y - 10.0),
        Align2::LEFT_CENTER,
        "Try it on the sample clip",
        theme::semibold(15.0),
        p.on_accent,
    );
    painter.text(
        pos2(left, rect.center().y + 11.0),
        Align2::LEFT_CENTER,
        "A few seconds of moving shapes that the bundled model knows.",
        theme::regular(12.5),
        theme::faded(p.on_accent, 0.85),
    );
    if response.has_focus() {
        painter.rect_stroke(rect, 10, Stroke::new(2.0, p.text), StrokeKind::Outside);
    }
    if response.clicked() {
        out.send(Command::OpenSample);
    }
}

fn drop_ui(ui: &mut Ui, state: &State, dropping: bool, out: &mut Out) {
    let p = theme::palette(ui);
    let line = if dropping { p.accent } else { p.line };
    Frame::NONE
        .fill(p.panel)
        .stroke(Stroke::new(if dropping { 2.0 } else { 1.0 }, line))
        .corner_radius(10)
        .inner_margin(Margin::symmetric(20, 18))
        .show(ui, |ui| {
            ui.set_width(WIDTH - 42.0);
            ui.label(RichText::new("Open your own").font(theme::semibold(15.0)));
            let text =
                "Drop a video, a folder of images, a project or a dataset anywhere in this window.";
            ui.label(RichText::new(text).size(12.5).color(p.text_weak));
            ui.add_space(space::S);
            ui.horizontal(|ui| {
                let keymap = &state.keymap;
                action_button(ui, keymap, "Open video…", Action::OpenVideo, out);
                action_button(ui, keymap, "Open image folder…", Action::OpenFolder, out);
                action_button(ui, keymap, "Open project…", Action::OpenProject, out);
                action_button(ui, keymap, "Import a dataset…", Action::ImportDataset, out);
            });
        });
}

fn recent_ui(ui: &mut Ui, state: &State, out: &mut Out) {
    let p = theme::palette(ui);
    ui.add_space(space::XL);
    ui.label(
        RichText::new("RECENT")
            .font(theme::semibold(10.5))
            .extra_letter_spacing(0.7)
            .color(p.text_faint),
    );
    ui.add_space(space::XS);
    ui.spacing_mut().item_spacing.y = 2.0;
    for path in state.settings.recent.iter().take(5) {
        let (rect, response) = ui.allocate_exact_size(vec2(WIDTH, 32.0), Sense::click());
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        response.widget_info(|| WidgetInfo::labeled(Role::Button, true, format!("Open {name}")));
        if response.hovered() {
            ui.painter().rect_filled(rect, 6, p.panel);
        }
        if response.has_focus() {
            focus_ring(ui, rect);
        }
        let icon =
            Rect::from_center_size(pos2(rect.left() + 18.0, rect.center().y), vec2(16.0, 16.0));
        Icon::Film.paint(ui.painter(), icon, 15.0, p.text_weak);
        let title = fitted_text(ui, &name, theme::regular(13.0), p.text, 240.0);
        let folder = path
            .parent()
            .map(|f| f.display().to_string())
            .unwrap_or_default();
        let at = pos2(rect.left() + 38.0, rect.center().y - title.size().y / 2.0);
        let rest = rect.right() - at.x - title.size().x - 24.0;
        let start = at.x + title.size().x + 12.0;
        ui.painter().galley(at, title, p.text);
        let folder = fitted_text(
            ui,
            &shortened(&folder, 60),
            theme::regular(12.0),
            p.text_faint,
            rest,
        );
        let at = pos2(start, rect.center().y - folder.size().y / 2.0);
        ui.painter().galley(at, folder, p.text_faint);
        if response.clicked() {
            out.send(Command::Open(path.clone()));
        }
    }
}
