//! The window's own work, with the bundled model at work behind it: `cargo bench --bench window`. Without a display; what
//! the graphics card does is not in it. Never a test, never a gate.
//!
//! With a display the program itself is started, too, and timed from the start of its process to its first picture. The
//! last part tracks a short and a long clip and says what memory each needed; `-- --minutes 10` makes the long one as long.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench reports on stdout and may stop at the first error"
)]

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use candle_core::Device;
use egui_kittest::{Harness, kittest::Queryable as _};
use sparrow::{
    infer::{Clip, Engine, LoadedModel, PropagateOptions, model::ModelSource},
    project::{
        Bitmap, BoxPx, DriftSignal, FrameIndex, FrameMask, Object, ObjectId, Provenance, Rle, Size,
    },
    task::{Mode, Progress, PropagateDirection},
    ui::{App, Options},
    video::SyntheticSource,
    worker::{InferBackend, Worker},
};

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/sample.mp4");
/// Frames a second of the clips that are tracked.
const FPS: f64 = 25.0;

struct Window {
    harness: Harness<'static, Option<App>>,
}

impl Window {
    fn open(clip: &Path) -> Self {
        let mut waiting = Some(Options {
            open: Some(clip.to_owned()),
            model: "nano".to_owned(),
            device: "cpu".to_owned(),
            sample: None,
            worker: Box::new(|wake| Worker::spawn(|| Ok(InferBackend::default()), wake)),
            settings: None,
        });
        let harness = Harness::builder()
            .with_size([1440.0, 900.0])
            .with_step_dt(1.0 / 60.0)
            .build_ui_state(
                move |ui, app: &mut Option<App>| {
                    let app = app.get_or_insert_with(|| {
                        App::new(ui.ctx(), waiting.take().unwrap()).unwrap()
                    });
                    let ctx = ui.ctx().clone();
                    app.run_logic(&ctx);
                    app.draw(ui);
                },
                None,
            );
        Self { harness }
    }

    fn app(&self) -> &App {
        self.harness.state().as_ref().unwrap()
    }

    /// Steps until `done`, at sixty frames a second; milliseconds of the window's own work in each.
    fn step_until(&mut self, done: impl Fn(&App) -> bool) -> Vec<f32> {
        let mut own = Vec::new();
        while !done(self.app()) {
            self.harness.step();
            own.push(self.app().own_ms());
            std::thread::sleep(Duration::from_millis(12));
        }
        own
    }
}

fn row(name: &str, mut ms: Vec<f32>) {
    ms.sort_by(f32::total_cmp);
    let at = |part: usize| ms[(ms.len() * part / 100).min(ms.len() - 1)];
    println!(
        "{name:44} {:5} times   median {:7.2} ms   99 % {:7.2} ms   most {:7.2} ms",
        ms.len(),
        at(50),
        at(99),
        at(100)
    );
}

/// Opening, scrubbing through what is decoded, and a phrase carried over the whole clip.
fn work_of_the_window() {
    let dir = tempfile::tempdir().unwrap();
    let clip = dir.path().join("sample.mp4");
    std::fs::copy(SAMPLE, &clip).unwrap();
    let start = Instant::now();
    let mut window = Window::open(&clip);
    window.step_until(|app| app.is_showing());
    println!(
        "{:44} {:7.0} ms",
        "started, first picture of a clip",
        start.elapsed().as_secs_f64() * 1e3
    );
    window.step_until(App::is_settled);
    let last = window.app().document().unwrap().video.frames - 1;
    let scrub = |window: &mut Window, key: egui::Key| {
        let mut ms = Vec::new();
        for _ in 0..last {
            window.harness.key_press(key);
            let start = Instant::now();
            window.harness.step();
            while !window.app().is_showing() {
                window.harness.step();
            }
            ms.push(start.elapsed().as_secs_f32() * 1e3);
        }
        ms
    };
    scrub(&mut window, egui::Key::ArrowRight);
    let back = scrub(&mut window, egui::Key::ArrowLeft);
    row("to a decoded frame, until it is in view", back);
    let harness = &mut window.harness;
    harness.get_by_label("Phrase").focus();
    harness.step();
    harness.get_by_label("Phrase").type_text("the green star");
    harness.step();
    harness.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::Enter);
    // The key is seen in the one, the job is there in the other.
    harness.run_steps(2);
    let own = window.step_until(App::is_settled);
    let carried = window.app().document().unwrap().objects.first();
    let carried = carried.map_or(0, |o| o.frames.len());
    row(
        &format!("work in a frame while {carried} masks come in"),
        own,
    );
}

/// From the start of the process to its first picture, on a real display.
fn start_of_the_program() {
    if std::env::var_os("DISPLAY").is_none() && std::env::var_os("WAYLAND_DISPLAY").is_none() {
        println!("{:44} no display: not timed", "the program, up");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let clip = dir.path().join("sample.mp4");
    std::fs::copy(SAMPLE, &clip).unwrap();
    let start = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_sparrow"))
        .arg(&clip)
        .env("RUST_LOG", "sparrow::ui=debug")
        .env("XDG_CONFIG_HOME", dir.path())
        .env("XDG_DATA_HOME", dir.path())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut up = [None; 2];
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        for (i, sign) in ["first frame drawn", "first picture of the clip drawn"]
            .iter()
            .enumerate()
        {
            if line.contains(sign) {
                up[i].get_or_insert(start.elapsed().as_secs_f64() * 1e3);
            }
        }
        if up[1].is_some() {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    for (name, ms) in ["the program, up", "the program, first picture of a clip"]
        .iter()
        .zip(up)
    {
        println!("{name:44} {:7.0} ms", ms.unwrap_or(f64::NAN));
    }
}

/// Bytes that this process holds now, or `None` where the system does not say.
fn held() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kilobytes << 10)
}

/// Tracking a box over clips of these lengths: what is held at the end of each.
fn memory(lengths: [f64; 2]) {
    let size = Size::new(1280, 720);
    let source = ModelSource::find("nano").unwrap();
    let engine = Engine::new(LoadedModel::load(&source, &Device::Cpu).unwrap());
    for secs in lengths {
        let frames = (secs * FPS) as u32;
        let mut clip = Clip::new(Box::new(SyntheticSource::new(size, frames, FPS)));
        let mask = Bitmap::from_box(size, BoxPx::from_array([500.0, 200.0, 800.0, 500.0]));
        let mask = FrameMask {
            rle: Rle::from_bitmap(&mask),
            score: 1.0,
            iou: 1.0,
            provenance: Provenance::Human,
            anchor: true,
            drift: DriftSignal::default(),
        };
        let object = Object {
            id: ObjectId(1),
            name: "object 1".into(),
            phrase: String::new(),
            colour: 0,
            visible: true,
            locked: false,
            frames: [(FrameIndex(0), mask)].into(),
        };
        let options = PropagateOptions {
            range: 0..=frames - 1,
            direction: PropagateDirection::Forward,
            mode: Mode::Track,
            emissions: vec![],
        };
        let mut done = 0_u32;
        engine
            .propagate(
                &mut clip,
                &[object],
                &options,
                &mut Progress::silent(),
                &mut |_, _, _| done += 1,
            )
            .unwrap();
        let held = held().map_or_else(|| "unknown".to_owned(), |b| format!("{} MiB", b >> 20));
        println!("{:44} {held}", format!("held after tracking {done} frames"));
    }
}

fn main() {
    let mut args = std::env::args().skip_while(|a| a != "--minutes").skip(1);
    let minutes: f64 = args.next().map_or(1.0, |m| m.parse().unwrap());
    work_of_the_window();
    start_of_the_program();
    memory([10.0, 60.0 * minutes]);
}
