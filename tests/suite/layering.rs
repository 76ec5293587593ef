//! Rooms only name the rooms below them.
//!
//! A single package has no crate borders, so this test stands in for them: it reads every file under
//! `src` and fails when a room names a room that its line in [`RULES`] does not list.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// `(room, rooms it may name)`; a room is a direct child of `src`.
const RULES: &[(&str, &[&str])] = &[
    ("project", &[]),
    ("store", &["project"]),
    ("task", &["project"]),
    ("nn", &[]),
    ("formats", &["project"]),
    ("video", &["project", "task"]),
    ("infer", &["project", "task", "video", "nn"]),
    ("eval", &["project", "task", "formats", "video", "infer"]),
    (
        "train",
        &["project", "task", "formats", "video", "nn", "infer", "eval"],
    ),
    (
        "worker",
        &["project", "task", "formats", "video", "nn", "infer"],
    ),
    ("render", &["project"]),
    (
        "ui",
        &[
            "project", "store", "task", "formats", "video", "worker", "render",
        ],
    ),
    (
        "cli",
        &[
            "project", "store", "task", "formats", "video", "nn", "infer", "eval", "train",
            "worker", "ui",
        ],
    ),
];

/// Files in `src` itself that may name every room.
const ROOTS: &[&str] = &["lib", "main", "huge_pages"];

fn rust_files(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, out);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            out.push(path);
        }
    }
}

fn first_name(text: &str) -> &str {
    let end = text
        .find(|c: char| !(c.is_alphanumeric() || c == '_'))
        .unwrap_or(text.len());
    &text[..end]
}

/// The rooms that `source` names, through `crate::room` or `crate::{room, other::thing}`.
fn rooms_named(source: &str) -> Vec<String> {
    let text: String = source
        .lines()
        .map(|line| line.split("//").next().unwrap_or(""))
        .collect::<Vec<_>>()
        .join(" ");
    let mut names = Vec::new();
    for rest in text.split("crate::").skip(1) {
        let Some(group) = rest.strip_prefix('{') else {
            names.push(first_name(rest).to_owned());
            continue;
        };
        let mut depth = 1;
        let mut start = 0;
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 || (depth == 1 && c == ',') {
                names.push(first_name(group[start..at].trim_start()).to_owned());
                start = at + 1;
            }
            if depth == 0 {
                break;
            }
        }
    }
    names
}

#[test]
fn rooms_only_look_down() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    files.sort();

    let mut wrong = Vec::new();
    for file in &files {
        let inside = file.strip_prefix(&src).unwrap();
        let room = inside
            .iter()
            .next()
            .unwrap()
            .to_str()
            .unwrap()
            .trim_end_matches(".rs");
        if ROOTS.contains(&room) {
            continue;
        }
        let source = fs::read_to_string(file).unwrap();
        let Some((_, may)) = RULES.iter().find(|(name, _)| *name == room) else {
            wrong.push(format!(
                "{}: room {room} has no line in RULES",
                inside.display()
            ));
            continue;
        };
        for other in rooms_named(&source) {
            let is_room = RULES.iter().any(|(name, _)| *name == other);
            if is_room && other != room && !may.contains(&other.as_str()) {
                wrong.push(format!("{}: {room} names {other}", inside.display()));
            }
        }
        // `super::…` must not climb out of the room: cross-room names are written `crate::room::…`.
        // (`mod tests` at the end of a file may write `use super::*`.)
        let depth = inside.iter().count() - usize::from(inside.ends_with("mod.rs"));
        let climb = "super::".repeat(depth);
        let code = source.split("#[cfg(test)]").next().unwrap_or("");
        if code
            .lines()
            .any(|l| !l.trim_start().starts_with("//") && l.contains(&climb))
        {
            wrong.push(format!(
                "{}: `{climb}` climbs out of {room}",
                inside.display()
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
