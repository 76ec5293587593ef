//! The export dialog: format, folder, what goes in, how far it is, and afterwards what the format could not hold.

use std::path::Path;

use egui::{Margin, RichText, Ui, vec2};

use super::{
    super::{
        command::{Command, Out},
        exporter::{ExportForm, ExportStatus},
        logic::sentence,
        state::{Dialog, State},
        theme::{self, space},
        widgets::primary_button,
    },
    buttons_ui, dialog_title, dialog_ui, is_entered,
};
use crate::formats::FORMATS;

pub(crate) fn export_ui(ui: &mut Ui, state: &State, form: &ExportForm, out: &mut Out) {
    dialog_ui(ui, "export", 520.0, out, |ui, out| {
        dialog_title(ui, "Export masks");
        let running = form.status.is_running();
        let mut next = form.clone();
        ui.add_enabled_ui(!running, |ui| form_ui(ui, &mut next, out));
        if next != *form {
            next.status = ExportStatus::Idle;
            out.send(Command::UpdateDialog(Dialog::Export(next)));
        }
        ui.add_space(space::M);
        if !running && state.propagation().is_some() {
            let text = "Masks are still being carried: the export holds those that are there when it begins.";
            let p = theme::palette(ui);
            ui.label(RichText::new(text).size(12.5).color(p.look));
        }
        status_ui(ui, &form.status);
        ui.add_space(space::S);
        buttons_ui(ui, |ui| {
            if running {
                running_buttons_ui(ui, &form.status, out);
                return;
            }
            if let ExportStatus::Done { folder, .. } = &form.status {
                if primary_button(ui, "Close", true).clicked() {
                    out.send(Command::ShowDialog(None));
                }
                if ui.button("Open folder").clicked() {
                    out.send(Command::ShowFolder(folder.clone()));
                }
                return;
            }
            let ready = form.place().is_some();
            let export = primary_button(ui, "Export", ready);
            let cancel = ui.button("Cancel");
            if export.clicked() || (ready && is_entered(ui)) {
                out.send(Command::RunExport);
            }
            if cancel.clicked() {
                out.send(Command::ShowDialog(None));
            }
        });
    });
}

fn running_buttons_ui(ui: &mut Ui, status: &ExportStatus, out: &mut Out) {
    let on = ui.button("Go on in the background");
    if on
        .on_hover_text("Closes this dialog (Esc); the end is told in a message")
        .clicked()
    {
        out.send(Command::ShowDialog(None));
    }
    let stop = ui.add_enabled(
        *status != ExportStatus::Stopping,
        egui::Button::new("Stop exporting"),
    );
    if stop
        .on_hover_text("Ends the export and leaves nothing behind")
        .clicked()
    {
        out.send(Command::StopExport);
    }
}

fn form_ui(ui: &mut Ui, form: &mut ExportForm, out: &mut Out) {
    let p = theme::palette(ui);
    let label = |ui: &mut Ui, text: &str| {
        ui.label(RichText::new(text).size(12.0).color(p.text_weak));
    };
    label(ui, "Format");
    ui.spacing_mut().item_spacing.y = 2.0;
    ui.spacing_mut().interact_size.y = 24.0;
    for format in FORMATS {
        let chosen = form.format == format.name();
        let radio = ui.radio(chosen, format.title());
        if radio.clicked() && !chosen {
            // A folder named after the old format is named after the new one.
            let suffix = format!("-{}", form.format);
            if let Some(stem) = form.folder.strip_suffix(&suffix) {
                form.folder = format!("{stem}-{}", format.name());
            }
            form.format = format.name().to_owned();
        }
    }
    ui.add_space(space::S);
    label(ui, "Folder");
    ui.horizontal(|ui| {
        let field = egui::TextEdit::singleline(&mut form.folder)
            .margin(Margin::symmetric(8, 6))
            .desired_width(ui.available_width() - 84.0 - space::S);
        ui.add(field).accessible_name("Export folder");
        if ui
            .add(egui::Button::new("Browse…").min_size(vec2(84.0, 28.0)))
            .clicked()
        {
            out.send(Command::PickExportFolder);
        }
    });
    place_ui(ui, form);
    ui.add_space(space::S);
    ui.checkbox(
        &mut form.verified_only,
        "Only masks that a person made or accepted",
    );
    ui.checkbox(&mut form.with_images, "Frames as images beside the masks");
    ui.checkbox(
        &mut form.replace,
        "Replace an earlier export in this folder",
    )
    .on_hover_text("Only what an export of this format wrote is ever replaced");
}

/// What a folder that is no whole path means, before anything is written there.
fn place_ui(ui: &mut Ui, form: &ExportForm) {
    let p = theme::palette(ui);
    let text = match form.place() {
        None => "Name a folder.".to_owned(),
        Some(place) if place == Path::new(form.folder.trim()) => {
            let earlier = if form.replace {
                ", or that of an earlier export"
            } else {
                ""
            };
            format!("A new folder, or an empty one{earlier}.")
        }
        Some(place) => format!("That is {}", place.display()),
    };
    let text = RichText::new(text).size(12.0).color(p.text_faint);
    ui.add(egui::Label::new(text).wrap());
}

fn status_ui(ui: &mut Ui, status: &ExportStatus) {
    let p = theme::palette(ui);
    match status {
        ExportStatus::Idle => {
            let text =
                "What is written is read back and compared before the export counts as done.";
            ui.label(RichText::new(text).size(12.0).color(p.text_faint));
        }
        ExportStatus::Refused(why) => {
            ui.label(RichText::new(*why).color(p.look));
        }
        ExportStatus::Running { done, total } => {
            let (done, total) = (*done, *total);
            let share = if total > 0 {
                done as f32 / total as f32
            } else {
                0.0
            };
            let text = if total == 0 {
                "Starting…".to_owned()
            } else if done < total {
                format!("Writing frame {} of {total}…", done + 1)
            } else {
                "Reading back and comparing…".to_owned()
            };
            let bar = egui::ProgressBar::new(share)
                .desired_height(6.0)
                .fill(p.accent);
            ui.add(bar).accessible_name("Export progress");
            ui.label(RichText::new(text).color(p.text_weak));
        }
        ExportStatus::Stopping => {
            ui.horizontal(|ui| {
                ui.spinner();
                ui.label(RichText::new("Stopping…").color(p.text_weak));
            });
        }
        ExportStatus::Stopped => {
            let text = "Stopped. Nothing was left behind.";
            ui.label(RichText::new(text).color(p.text_weak));
        }
        ExportStatus::Done {
            summary,
            masks,
            losses,
            flaws,
            ..
        } => {
            let colour = if *masks > 0 { p.good } else { p.look };
            // It names the folder, which people paste elsewhere.
            let summary = egui::Label::new(RichText::new(summary).color(colour));
            ui.add(summary.selectable(true));
            for flaw in flaws {
                let text = format!("{}.", sentence(flaw));
                ui.label(RichText::new(text).size(12.5).color(p.look));
            }
            if losses.is_empty() && flaws.is_empty() && *masks > 0 {
                let text = "Nothing was lost.";
                ui.label(RichText::new(text).size(12.5).color(p.text_weak));
            } else if !losses.is_empty() {
                ui.add_space(space::XS);
                let text = "The format could not hold:";
                ui.label(RichText::new(text).size(12.5).color(p.text_weak));
                for loss in losses {
                    ui.label(RichText::new(format!("•  {loss}")).size(12.5).color(p.look));
                }
            }
        }
        ExportStatus::Failed(why) => {
            let text = sentence(&format!("{why}. Nothing was left behind."));
            ui.label(RichText::new(text).color(p.bad));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use egui_kittest::{Harness, kittest::Queryable as _};

    use super::*;
    use crate::ui::settings::Settings;

    fn form(folder: &str, status: ExportStatus) -> ExportForm {
        ExportForm {
            format: "coco".to_owned(),
            folder: folder.to_owned(),
            beside: PathBuf::from("/data"),
            verified_only: false,
            with_images: true,
            replace: false,
            status,
        }
    }

    /// The dialog in a window, as long as there is a form.
    fn harness(form: ExportForm) -> Harness<'static, (State, Option<ExportForm>)> {
        let state = State::new(Settings::default(), "nano".into(), "cpu".into());
        let mut harness = Harness::builder()
            .with_size([1000.0, 900.0])
            .with_context_setup(theme::install)
            .build_ui_state(
                |ui, (state, form): &mut (State, Option<ExportForm>)| {
                    if let Some(form) = form {
                        export_ui(ui, state, form, &mut Out::default());
                    }
                },
                (state, Some(form)),
            );
        harness.run_steps(4);
        harness
    }

    #[test]
    fn the_dialog_is_no_higher_for_what_it_said_before() {
        let height = |harness: &Harness<'_, (State, Option<ExportForm>)>| {
            let id = egui::Id::unique("export");
            let place = harness.ctx.memory(|m| m.area_rect(id));
            place.unwrap().height()
        };
        let mut harness = harness(form("/data/out", ExportStatus::Idle));
        let before = height(&harness);
        let done = ExportStatus::Done {
            summary: "9 masks written.".to_owned(),
            masks: 9,
            losses: vec!["something".to_owned(); 8],
            flaws: Vec::new(),
            folder: PathBuf::from("/data/out"),
            lost_masks: false,
        };
        harness.state_mut().1 = Some(form("/data/out", done));
        harness.run_steps(4);
        assert!(height(&harness) > before + 60.0);
        // Closed and asked for again.
        harness.state_mut().1 = None;
        harness.run_steps(2);
        harness.state_mut().1 = Some(form("/data/out", ExportStatus::Idle));
        harness.run_steps(2);
        let now = height(&harness);
        assert!((now - before).abs() < 1.0, "{now} instead of {before}");
    }

    #[test]
    fn where_a_folder_without_a_whole_path_is_stands_in_the_dialog() {
        let mut harness = harness(form("out", ExportStatus::Idle));
        assert!(harness.query_by_label("That is /data/out").is_some());
        harness.state_mut().1 = Some(form("/data/out", ExportStatus::Idle));
        harness.run_steps(2);
        assert!(harness.query_by_label_contains("That is").is_none());
    }
}
