//! Names of files as frames of a clip: which count, and in what order. Leaves listing folders to those who read them.

use std::{cmp::Ordering, path::PathBuf};

/// Those of `files` that are frames, or belong to frames, by their names: with one of the extensions and not hidden (archives
/// from a Mac hold a `._00000.jpg` beside each image), in natural order. Whoever opens images and whoever puts masks on them
/// must count alike.
pub fn frames_of(files: Vec<PathBuf>, extensions: &[&str]) -> Vec<PathBuf> {
    let mut named: Vec<(String, PathBuf)> = files
        .into_iter()
        .filter(|path| {
            path.extension()
                .is_some_and(|e| extensions.iter().any(|known| e.eq_ignore_ascii_case(known)))
        })
        .filter_map(|path| {
            let name = path.file_name()?.to_string_lossy().into_owned();
            (!name.starts_with('.')).then_some((name, path))
        })
        .collect();
    named.sort_by(|a, b| natural_order(&a.0, &b.0));
    named.into_iter().map(|(_, path)| path).collect()
}

/// Endings of video files and images, in small letters.
pub const CLIP_ENDINGS: &[&str] = &[
    "264", "265", "3gp", "avi", "flv", "gif", "h264", "h265", "hevc", "ivf", "jpeg", "jpg", "m2ts",
    "m2v", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "mts", "mxf", "ogv", "png", "ts", "vob",
    "webm", "wmv", "y4m",
];

/// Those of images among [`CLIP_ENDINGS`].
pub const IMAGE_ENDINGS: &[&str] = &["jpeg", "jpg", "png"];

/// [`frames_of`] for the images of a clip: JPEG and PNG files.
pub fn images_of(files: Vec<PathBuf>) -> Vec<PathBuf> {
    frames_of(files, IMAGE_ENDINGS)
}

/// Compares names so that runs of digits count as numbers: `f2` before `f10`.
fn natural_order(a: &str, b: &str) -> Ordering {
    let (mut x, mut y) = (a, b);
    while let (Some(p), Some(q)) = (x.chars().next(), y.chars().next()) {
        let order = if p.is_ascii_digit() && q.is_ascii_digit() {
            let (m, n) = (take_digits(&mut x), take_digits(&mut y));
            m.len().cmp(&n.len()).then_with(|| m.cmp(n))
        } else {
            x = &x[p.len_utf8()..];
            y = &y[q.len_utf8()..];
            p.cmp(&q)
        };
        if order.is_ne() {
            return order;
        }
    }
    // `f1` and `f01` count the same: any fixed order will do.
    x.len().cmp(&y.len()).then_with(|| a.cmp(b))
}

/// Cuts the leading digits off `s` and gives them without leading zeros.
fn take_digits<'a>(s: &mut &'a str) -> &'a str {
    let end = s.find(|c: char| !c.is_ascii_digit()).unwrap_or(s.len());
    let (digits, rest) = s.split_at(end);
    *s = rest;
    digits.trim_start_matches('0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_files_and_other_kinds_are_no_frames() {
        let files = ["10.JPG", "._2.jpg", "notes.txt", "2.jpg", ".jpg"].map(PathBuf::from);
        let frames = frames_of(files.to_vec(), &["jpg"]);
        assert_eq!(frames, ["2.jpg", "10.JPG"].map(PathBuf::from));
    }

    #[test]
    fn names_sort_by_their_numbers() {
        let mut names = [
            "f10.png", "f2.png", "f1.png", "f01.png", "e9.png", "f2b.png", "f.png",
        ];
        names.sort_by(|a, b| natural_order(a, b));
        assert_eq!(
            names,
            [
                "e9.png", "f.png", "f01.png", "f1.png", "f2.png", "f2b.png", "f10.png"
            ]
        );
    }

    #[test]
    fn numbers_longer_than_any_integer_sort_too() {
        let a = format!("{}1.png", "9".repeat(40));
        let b = format!("{}2.png", "9".repeat(40));
        assert_eq!(natural_order(&a, &b), Ordering::Less);
    }
}
