//! A path to type, with the system's chooser beside it: where to save, what to open, where a project's video is.

use std::path::Path;

use egui::{Margin, RichText, Ui, vec2};

use super::{
    super::{
        command::{Command, Out},
        dialogs::{PathForm, Purpose},
        opener::Target,
        state::Dialog,
        theme::{self, space},
        widgets::primary_button,
    },
    buttons_ui, dialog_room, dialog_title, dialog_ui, is_confirmed, is_entered, list_area,
    search_ui,
};
use crate::formats::file_name;

/// Width of a sequence's name, and height of a line of them.
const NAME: f32 = 240.0;
const LINE: f32 = 28.0;
/// So many sequences are found without searching.
const FEW: usize = 12;

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
    let width = dialog_room(ui).clamp(560.0, 800.0);
    dialog_ui(ui, "path", width, out, |ui, out| {
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
        buttons_ui(ui, |ui| {
            let clicked = primary_button(ui, go_on, ready).clicked();
            if clicked || (ready && is_entered(ui)) {
                out.send(Command::UsePath);
            }
            if ui.button("Cancel").clicked() {
                out.send(Command::ShowDialog(None));
            }
        });
    });
}

/// Whether a project is to be shown on a video that is not, or no longer, what its masks were made on.
pub(crate) fn other_video_ui(ui: &mut Ui, project: &Path, video: &Path, why: &str, out: &mut Out) {
    dialog_ui(ui, "other video", 520.0, out, |ui, out| {
        let p = theme::palette(ui);
        dialog_title(ui, "Another video than the masks were made on");
        let (of, on) = (file_name(project), file_name(video));
        let text = format!(
            "{on} differs from the video of {of}: {why}. Masks may lie on the wrong frames or beside what they are of."
        );
        ui.label(RichText::new(text).color(p.text_weak));
        ui.add_space(space::M);
        buttons_ui(ui, |ui| {
            let other = primary_button(ui, "Choose another…", true).clicked();
            if other || is_confirmed(ui) {
                out.send(Command::ShowDialog(Some(Dialog::Path(PathForm {
                    purpose: Purpose::LocateVideo(project.to_path_buf()),
                    text: video.display().to_string(),
                    note: None,
                }))));
            }
            if ui.button("Use it anyway").clicked() {
                out.send(Command::OpenTarget(Target::Located {
                    project: project.to_path_buf(),
                    video: video.to_path_buf(),
                    anyway: true,
                }));
            }
            if ui.button("Cancel").clicked() {
                out.send(Command::ShowDialog(None));
            }
        });
    });
}

/// Whether a project that bears a video's name but was made on another one is meant.
pub(crate) fn other_project_ui(
    ui: &mut Ui,
    project: &Path,
    video: &Path,
    why: &str,
    out: &mut Out,
) {
    let name = file_name(project);
    dialog_ui(ui, "other project", 520.0, out, |ui, out| {
        let p = theme::palette(ui);
        dialog_title(ui, &format!("{name} is about another video"));
        let on = file_name(video);
        let text = format!("{why} Open that project, or begin a new one on {on} beside it?");
        ui.label(RichText::new(text).color(p.text_weak));
        ui.add_space(space::M);
        buttons_ui(ui, |ui| {
            let opens = primary_button(ui, "Open that project", true).clicked();
            if opens || is_confirmed(ui) {
                let target = Target::Path(project.to_path_buf());
                out.send(Command::OpenTarget(target));
            }
            if ui.button("New project").clicked() {
                let target = Target::Fresh(video.to_path_buf());
                out.send(Command::OpenTarget(target));
            }
            if ui.button("Cancel").clicked() {
                out.send(Command::ShowDialog(None));
            }
        });
    });
}

/// Which sequence of a dataset is to be opened: there may be thousands.
pub(crate) fn sequences_ui(
    ui: &mut Ui,
    dataset: &Path,
    names: &[String],
    query: &str,
    out: &mut Out,
) {
    let most = ((dialog_room(ui) / (NAME + space::S)) as usize).clamp(1, 5);
    let columns = names.len().div_ceil(FEW).clamp(1, most);
    let width = (columns as f32 * (NAME + space::S) - space::S).max(420.0);
    dialog_ui(ui, "sequences", width, out, |ui, out| {
        let p = theme::palette(ui);
        dialog_title(ui, "Which sequence?");
        let about = format!("{} holds {} of them.", dataset.display(), names.len());
        ui.label(RichText::new(about).size(12.5).color(p.text_weak));
        ui.add_space(space::S);
        let mut text = query.to_owned();
        if names.len() > FEW && search_ui(ui, &mut text, "Search sequences", true) {
            out.send(Command::UpdateDialog(Dialog::Sequences {
                dataset: dataset.to_path_buf(),
                names: names.to_vec(),
                query: text.clone(),
            }));
        }
        let wanted = text.trim().to_lowercase();
        let found: Vec<&String> = names
            .iter()
            .filter(|name| name.to_lowercase().contains(&wanted))
            .collect();
        if found.is_empty() {
            let text = "No sequence is called like that.";
            ui.label(RichText::new(text).color(p.text_weak));
        }
        let mut chosen = None;
        // Enter takes the one that is left.
        if let ([only], true) = (found.as_slice(), is_entered(ui)) {
            chosen = Some(*only);
        }
        let size = vec2(
            (width - space::S * (columns - 1) as f32) / columns as f32,
            LINE,
        );
        list_area(ui, 0.0).show_rows(ui, LINE, found.len().div_ceil(columns), |ui, rows| {
            let lines = found.chunks(columns).skip(rows.start).take(rows.len());
            for line in lines {
                ui.horizontal(|ui| {
                    for &name in line {
                        let button = egui::Button::new(name).truncate();
                        if ui.add_sized(size, button).on_hover_text(name).clicked() {
                            chosen = Some(name);
                        }
                    }
                });
            }
        });
        if let Some(name) = chosen {
            out.send(Command::OpenSequence(dataset.to_path_buf(), name.clone()));
        }
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

    #[test]
    fn what_differs_is_said_and_either_way_is_one_click() {
        let (project, video) = (Path::new("/a/dog.sparrow"), Path::new("/b/cat.mp4"));
        let mut harness = Harness::builder()
            .with_context_setup(theme::install)
            .build_ui_state(
                move |ui, (is_project, sent): &mut (bool, Vec<Command>)| {
                    let mut out = Out::default();
                    if *is_project {
                        other_project_ui(ui, project, video, "It was made on dog.mp4.", &mut out);
                    } else {
                        other_video_ui(ui, project, video, "it has 3 frames", &mut out);
                    }
                    sent.append(&mut out.0);
                },
                (false, Vec::new()),
            );
        harness.run_steps(3);
        assert!(harness.query_by_label_contains("it has 3 frames").is_some());
        harness.get_by_label("Use it anyway").click();
        harness.run_steps(3);
        let used = harness.state_mut().1.pop();
        assert!(matches!(
            used,
            Some(Command::OpenTarget(Target::Located { anyway: true, .. }))
        ));
        harness.state_mut().0 = true;
        harness.run_steps(3);
        assert!(harness.query_by_label_contains("made on dog.mp4").is_some());
        harness.get_by_label("New project").click();
        harness.run_steps(3);
        let begun = harness.state_mut().1.pop();
        assert!(matches!(begun, Some(Command::OpenTarget(Target::Fresh(at))) if at == video));
    }

    #[test]
    fn one_of_many_sequences_is_found_by_typing() {
        let names: Vec<String> = (0..3000).map(|n| format!("shot-{n:04}")).collect();
        let mut harness = Harness::builder()
            .with_context_setup(theme::install)
            .build_ui_state(
                move |ui, (query, opened): &mut (String, Vec<String>)| {
                    let mut out = Out::default();
                    sequences_ui(ui, Path::new("/data"), &names, query, &mut out);
                    for command in out.0 {
                        match command {
                            Command::UpdateDialog(Dialog::Sequences { query: typed, .. }) => {
                                *query = typed;
                            }
                            Command::OpenSequence(_, name) => opened.push(name),
                            _ => {}
                        }
                    }
                },
                (String::new(), Vec::new()),
            );
        harness.run_steps(3);
        let shown = |harness: &Harness<'_, (String, Vec<String>)>| {
            harness.query_all_by_label_contains("shot-").count()
        };
        // No more than can be seen are laid out.
        assert!((2..300).contains(&shown(&harness)), "{}", shown(&harness));
        harness.get_by_label("Search sequences").focus();
        harness.run_steps(2);
        harness.get_by_label("Search sequences").type_text("2718");
        harness.run_steps(3);
        assert_eq!(shown(&harness), 1);
        harness.key_press(egui::Key::Enter);
        harness.run_steps(3);
        assert_eq!(harness.state().1, ["shot-2718"]);
    }
}
