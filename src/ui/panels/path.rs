//! A path to type, with the system's chooser beside it: where to save, what to open, where a project's video is.

use std::path::Path;

use egui::{Align, Layout, Margin, RichText, ScrollArea, Ui, vec2};

use super::{
    super::{
        command::{Command, Out},
        dialogs::{PathForm, Purpose},
        state::Dialog,
        theme::{self, space},
        widgets::primary_button,
    },
    dialog_title, dialog_ui,
};

pub(crate) fn path_ui(ui: &mut Ui, form: &PathForm, out: &mut Out) {
    let (title, about, go_on) = match form.purpose {
        Purpose::Open => (
            "Open",
            "A video, a folder of images, a project or a dataset.",
            "Open",
        ),
        Purpose::ExportFolder => ("Export to a folder", "", "Use this folder"),
        Purpose::SaveElsewhere => (
            "Save the project elsewhere",
            "Everything up to here goes along; a file that is there already is left alone.",
            "Save here",
        ),
        Purpose::LocateVideo(_) => (
            "Locate the video",
            "The video file or folder of images that the masks were made on.",
            "Use this video",
        ),
    };
    dialog_ui(ui, "path", 560.0, out, |ui, out| {
        let p = theme::palette(ui);
        dialog_title(ui, title);
        if let Some(note) = &form.note {
            ui.label(RichText::new(note).color(p.look));
            ui.add_space(space::XS);
        }
        if !about.is_empty() {
            ui.label(RichText::new(about).size(12.5).color(p.text_weak));
        }
        ui.add_space(space::S);
        let mut changed = form.clone();
        let mut browses = None;
        ui.horizontal(|ui| {
            let buttons = if form.takes_both() { 2.0 } else { 1.0 };
            let field = egui::TextEdit::singleline(&mut changed.text)
                .margin(Margin::symmetric(8, 6))
                .desired_width(ui.available_width() - buttons * (84.0 + space::S));
            let field = ui.add(field).accessible_name("Path");
            if ui.memory(|m| m.focused().is_none()) {
                field.request_focus();
            }
            let mut button = |name: &str, folder: bool| {
                let button = egui::Button::new(name).min_size(vec2(84.0, 28.0));
                if ui.add(button).clicked() {
                    browses = Some(folder);
                }
            };
            button("Browse…", false);
            if form.takes_both() {
                button("Folder…", true);
            }
        });
        let ready = !changed.text.trim().is_empty();
        if changed != *form {
            out.send(Command::UpdateDialog(Dialog::Path(changed)));
        }
        if let Some(folder) = browses {
            out.send(Command::BrowsePath { folder });
        }
        ui.add_space(space::M);
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let clicked = primary_button(ui, go_on, ready).clicked();
            // Enter does so from everywhere but a button that has the keyboard.
            let pressed = ui.input(|i| i.key_pressed(egui::Key::Enter));
            let typing = ui.ctx().text_edit_focused() || ui.memory(|m| m.focused().is_none());
            if clicked || (ready && pressed && typing) {
                out.send(Command::UsePath);
            }
            if ui.button("Cancel").clicked() {
                out.send(Command::ShowDialog(None));
            }
        });
    });
}

/// Which sequence of a dataset is to be opened.
pub(crate) fn sequences_ui(ui: &mut Ui, dataset: &Path, names: &[String], out: &mut Out) {
    dialog_ui(ui, "sequences", 420.0, out, |ui, out| {
        let p = theme::palette(ui);
        dialog_title(ui, "Which sequence?");
        let about = format!("{} holds {} of them.", dataset.display(), names.len());
        ui.label(RichText::new(about).size(12.5).color(p.text_weak));
        ui.add_space(space::S);
        ScrollArea::vertical()
            .max_height(320.0)
            .auto_shrink([false, true])
            .show(ui, |ui| {
                for name in names {
                    if ui.button(name).clicked() {
                        out.send(Command::OpenSequence(dataset.to_path_buf(), name.clone()));
                    }
                }
            });
    });
}

#[cfg(test)]
mod tests {
    use egui_kittest::{Harness, kittest::Queryable as _};

    use super::*;

    /// The form in a window, and how often the chooser was asked for.
    fn harness(purpose: Purpose) -> Harness<'static, (PathForm, Vec<bool>)> {
        let form = PathForm {
            purpose,
            text: String::new(),
            note: None,
        };
        let mut harness = Harness::builder()
            .with_context_setup(theme::install)
            .build_ui_state(
                |ui, (form, asked): &mut (PathForm, Vec<bool>)| {
                    let mut out = Out::default();
                    path_ui(ui, form, &mut out);
                    for command in out.0 {
                        match command {
                            Command::UpdateDialog(Dialog::Path(changed)) => *form = changed,
                            Command::BrowsePath { folder } => asked.push(folder),
                            _ => {}
                        }
                    }
                },
                (form, Vec::new()),
            );
        harness.run_steps(3);
        harness
    }

    #[test]
    fn a_video_that_is_a_folder_of_images_can_be_browsed_for() {
        let mut harness = harness(Purpose::LocateVideo("a.sparrow".into()));
        for (label, folders) in [("Folder…", &[true][..]), ("Browse…", &[true, false])] {
            harness.get_by_label(label).click();
            harness.run_steps(3);
            assert_eq!(harness.state().1, folders);
        }
    }

    #[test]
    fn only_what_may_be_a_file_or_a_folder_is_browsed_for_in_two_ways() {
        for (purpose, both) in [
            (Purpose::Open, true),
            (Purpose::SaveElsewhere, false),
            (Purpose::ExportFolder, false),
        ] {
            let harness = harness(purpose);
            assert_eq!(harness.query_by_label("Folder…").is_some(), both);
        }
    }
}
