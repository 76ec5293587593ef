//! Letters that the bundled fonts do not have, as file names in Chinese, Japanese, Korean or with emoji need them: from the
//! system's fonts, which are looked for once such a letter is to be drawn. Without one of them it stays blank.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use egui::{
    FontData,
    epaint::text::{FallbackRequest, FontInsert, FontProvider},
};

/// Beginnings of file names, in small letters, the best first; of each group one font is taken.
const WANTED: [&[&str]; 4] = [
    // Han and kana.
    &[
        "notosanscjk-regular",
        "notosanscjksc-regular",
        "notosanssc",
        "notosansjp",
        "sourcehansans",
        "wqy-microhei",
        "wqy-zenhei",
        "droidsansfallback",
        "pingfang",
        "hiragino sans gb",
        "stheiti",
        "msyh",
        "yugoth",
        "meiryo",
        "arialuni",
        "unifont",
    ],
    // Hangul, where the first has none.
    &["notosanskr", "nanumgothic", "applesdgothicneo", "malgun"],
    // Other scripts.
    &["dejavusans.", "notosans-regular", "freesans.", "segoeui."],
    &["notoemoji", "symbola", "seguiemj", "apple symbols"],
];

/// A larger file is passed over; they stay in memory.
const MOST_BYTES: u64 = 48 << 20;
/// So deep fonts lie in their folders, and so many entries are looked at.
const MOST_DEPTH: usize = 4;
const MOST_ENTRIES: usize = 20_000;

/// Whether a system's font is worth looking for: arrows, signs and the letters of Europe are in the bundled ones.
fn is_foreign(letter: char) -> bool {
    matches!(u32::from(letter), 0x0530..0x2000 | 0x2e80..)
}

/// Waits for a letter that no font has.
#[derive(Default)]
pub(super) struct MissingLetters {
    missed: Arc<AtomicBool>,
}

impl MissingLetters {
    /// Has egui tell of such letters.
    pub(super) fn watch(ctx: &egui::Context) -> Self {
        let watched = Self::default();
        let missed = Arc::clone(&watched.missed);
        ctx.add_font_provider(Arc::new(move |request: &FallbackRequest<'_>| {
            if request.cluster.chars().next().is_some_and(is_foreign) {
                missed.store(true, Ordering::Relaxed);
            }
            None
        }));
        watched
    }

    /// Looks for fonts on a thread of its own, once and if they are needed; they are used when they are there.
    pub(super) fn poll(&mut self, ctx: &egui::Context) {
        if !self.missed.swap(false, Ordering::Relaxed) {
            return;
        }
        // What comes after that is missing for good.
        self.missed = Arc::default();
        let ctx = ctx.clone();
        let thread = std::thread::Builder::new().name("sparrow-fonts".to_owned());
        let spawned = thread.spawn(move || {
            let fonts = find(&folders()).into_iter().filter_map(|font| load(&font));
            // One each: egui asks them in turn until one has the letter.
            let providers: Vec<Arc<dyn FontProvider>> = fonts.map(provider).collect();
            ctx.set_font_providers(providers);
        });
        if let Err(error) = spawned {
            tracing::debug!("no further fonts: {error}");
        }
    }
}

fn provider(font: FontInsert) -> Arc<dyn FontProvider> {
    Arc::new(move |_: &FallbackRequest<'_>| Some(font.clone()))
}

fn load(path: &Path) -> Option<FontInsert> {
    let bytes = std::fs::read(path)
        .inspect_err(|e| tracing::debug!("{}: {e}", path.display()))
        .ok()?;
    Some(FontInsert {
        name: path.display().to_string(),
        // Fonts stay for as long as the window does, and egui copies what is not static.
        data: FontData::from_static(Box::leak(bytes.into_boxed_slice())),
        families: Vec::new(),
    })
}

/// Where fonts usually are.
fn folders() -> Vec<PathBuf> {
    let var = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let at_home = |inside: &str| var("HOME").map(|home| home.join(inside));
    let folders = if cfg!(windows) {
        vec![var("WINDIR").map(|windows| windows.join("Fonts"))]
    } else if cfg!(target_os = "macos") {
        vec![
            Some("/System/Library/Fonts".into()),
            Some("/Library/Fonts".into()),
            at_home("Library/Fonts"),
        ]
    } else {
        vec![
            Some("/usr/share/fonts".into()),
            Some("/usr/local/share/fonts".into()),
            at_home(".local/share/fonts"),
            at_home(".fonts"),
        ]
    };
    folders.into_iter().flatten().collect()
}

/// The best font of each group in `folders`, in the groups' order.
fn find(folders: &[PathBuf]) -> Vec<PathBuf> {
    let mut best: [Option<(usize, PathBuf)>; WANTED.len()] = [const { None }; WANTED.len()];
    let mut open: Vec<(usize, PathBuf)> = folders.iter().map(|f| (0, f.clone())).collect();
    let mut left = MOST_ENTRIES;
    while let Some((depth, folder)) = open.pop() {
        for entry in folder.read_dir().into_iter().flatten().flatten().take(left) {
            left -= 1;
            let path = entry.path();
            let Ok(facts) = path.metadata() else {
                continue;
            };
            if facts.is_dir() {
                if depth < MOST_DEPTH {
                    open.push((depth + 1, path));
                }
                continue;
            }
            let name = entry.file_name().to_string_lossy().to_lowercase();
            let is_font = [".ttf", ".otf", ".ttc", ".otc"]
                .iter()
                .any(|ending| name.ends_with(ending));
            if !is_font || facts.len() > MOST_BYTES {
                continue;
            }
            for (best, names) in best.iter_mut().zip(WANTED) {
                let Some(place) = names.iter().position(|n| name.starts_with(n)) else {
                    continue;
                };
                if best.as_ref().is_none_or(|(p, b)| (place, &path) < (*p, b)) {
                    *best = Some((place, path.clone()));
                }
            }
        }
    }
    best.into_iter().flatten().map(|(_, path)| path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_font_of_each_kind_is_found_and_no_huge_one() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(at("opentype/noto")).unwrap();
        for name in [
            "wqy-zenhei.ttc",
            "opentype/noto/NotoSansCJK-Regular.ttc",
            "opentype/noto/NotoSansCJK-Bold.ttc",
            "DejaVuSans.ttf",
            "DejaVuSansMono.ttf",
            "NotoEmoji.txt",
        ] {
            std::fs::write(at(name), "font").unwrap();
        }
        let found = find(&[dir.path().to_path_buf(), at("nowhere")]);
        let best = at("opentype/noto/NotoSansCJK-Regular.ttc");
        assert_eq!(found, [best.clone(), at("DejaVuSans.ttf")]);
        let file = std::fs::File::options().write(true).open(&best).unwrap();
        file.set_len(MOST_BYTES + 1).unwrap();
        let found = find(&[dir.path().to_path_buf()]);
        assert_eq!(found, [at("wqy-zenhei.ttc"), at("DejaVuSans.ttf")]);
    }

    #[test]
    fn a_letter_that_is_missing_is_noticed_and_a_damaged_font_is_survived() {
        let ctx = egui::Context::default();
        let watched = MissingLetters::watch(&ctx);
        let draw = |text: &str| {
            let mut output = ctx.run_ui(egui::RawInput::default(), |ui| {
                ui.label(text);
            });
            // Nothing is drawn.
            output.textures_delta.clear();
        };
        draw("frame 0 → 12 · “a dog”…");
        assert!(!watched.missed.load(Ordering::Relaxed));
        draw("犬.mp4");
        assert!(watched.missed.load(Ordering::Relaxed));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("broken.ttf");
        std::fs::write(&path, "no font").unwrap();
        // A damaged font is no reason to fall.
        ctx.set_font_providers(vec![provider(load(&path).unwrap())]);
        draw("犬.mp4");
        draw("犬.mp4");
    }
}
