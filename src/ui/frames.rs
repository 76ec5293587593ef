//! The clip's way in: opening, decoded frames, film strip, playing. Part of `logic`.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use egui::{ColorImage, TextureOptions};

use super::{
    actions::Action,
    app::{App, Hashing, Opening},
    dialogs::{PathForm, Purpose},
    leaving::Leaving,
    logic::sentence,
    opener::{self, Refusal, Resolved, Target},
    panels::top_bar::MOST_LETTERS,
    session::{Saving, Session},
    state::{CanvasView, Clip, Dialog, JobKind, Weight},
    time_view::TimeView,
};
use crate::{
    formats,
    project::{Document, Edit, FrameIndex, Size, VideoInfo},
    render::{FrameImage, PixelsRef},
    store::VideoChange,
    task::{CancelToken, Progress, Request},
    video::{Decoder, Frame, Pixels, content_hash},
};

/// Bytes of decoded frames that are kept.
const CACHE_BYTES: usize = 512 << 20;
/// Film strip pictures that become textures in one frame.
const THUMBNAILS_PER_FRAME: usize = 4;

/// The frames that playing goes round in, first and last, if a range of more than one is set.
fn looped((start, end): (Option<u32>, Option<u32>), last: u32) -> Option<(u32, u32)> {
    if start.is_none() && end.is_none() {
        return None;
    }
    let (start, end) = (start.unwrap_or(0), end.unwrap_or(last).min(last));
    (start < end).then_some((start, end))
}

/// A decoded frame, as the renderer wants it.
pub(super) struct Shown(pub(super) Arc<Frame>);

impl FrameImage for Shown {
    fn coded_size(&self) -> Size {
        self.0.coded_size
    }

    fn rotation(&self) -> u8 {
        self.0.rotation
    }

    fn pixels(&self) -> PixelsRef<'_> {
        match &self.0.pixels {
            Pixels::Yuv420 {
                y,
                u,
                v,
                full_range,
                bt709,
            } => PixelsRef::Yuv420 {
                y,
                u,
                v,
                full_range: *full_range,
                bt709: *bt709,
            },
            Pixels::Rgb(rgb) => PixelsRef::Rgb(rgb),
        }
    }
}

/// Keeps where the project's video was found; a path that was not known came with a guess at the frame rate. One that was
/// accepted although it differs is the project's from now on: its length is known, and its hash will be.
fn note_place(session: &mut Session, video: &Path, info: &VideoInfo, is_accepted: bool) {
    let recorded = &session.doc.video;
    let path = video.display().to_string();
    let video = Box::new(if is_accepted {
        VideoInfo {
            path,
            hash: String::new(),
            ..info.clone()
        }
    } else if recorded.path.is_empty() {
        VideoInfo {
            path,
            fps: info.fps,
            ..recorded.clone()
        }
    } else {
        VideoInfo {
            path,
            ..recorded.clone()
        }
    });
    if let Err(error) = session.note(Edit::SetVideo { video }) {
        tracing::warn!("the video's place was not kept: {error}");
    }
}

impl App {
    pub(super) fn open(&mut self, path: PathBuf) {
        self.open_target(Target::Path(path));
    }

    pub(super) fn open_sample(&mut self) {
        if let Some(sample) = self.services.sample.clone() {
            self.open_target(Target::Sample(sample));
        }
    }

    pub(super) fn open_target(&mut self, target: Target) {
        let title = match &target {
            Target::Path(path) | Target::Fresh(path) => path.file_name().map_or_else(
                || path.display().to_string(),
                |name| name.to_string_lossy().into_owned(),
            ),
            Target::Sample(_) => "the sample clip".to_owned(),
            Target::Located { project, .. } => formats::file_name(project),
            Target::Sequence { name, .. } => name.clone(),
        };
        self.start_opening(target, title);
    }

    fn start_opening(&mut self, target: Target, title: String) {
        if self.asks_before_leaving(&Leaving::Open(target.clone())) {
            return;
        }
        let session = self.state.session.as_ref();
        let open = self.state.clip.as_ref().map(|clip| opener::Open {
            video: clip.path.clone(),
            project: session.and_then(|s| s.path()).map(PathBuf::from),
        });
        let closed = self.services.closed.clone();
        match opener::start(target, open, closed, self.services.wake.clone()) {
            Ok(answer) => {
                // They were about what was open; what goes wrong from here on is about what will be.
                self.forget_errors();
                self.state.opening = Some(title);
                self.services.opening = Some(Opening::Resolving(answer));
            }
            Err(error) => self.say(
                Weight::Error,
                format!("{title} could not be opened: {error}"),
            ),
        }
    }

    /// Leaves the clip. The store's writer is waited for on a thread of its own.
    pub(super) fn close_clip(&mut self) {
        self.cancel_all();
        self.services.decoder = None;
        self.services.hashing = None;
        self.services.chooser.forget_project_place();
        self.state.clip = None;
        let closed = &mut self.services.closed;
        closed.retain(|c| c.try_recv() == Err(crossbeam_channel::TryRecvError::Empty));
        if let Some(session) = self.state.session.take() {
            let (end, wait) = crossbeam_channel::bounded(0);
            let closing = std::thread::Builder::new().name("sparrow-close".to_owned());
            let close = move || {
                drop(session);
                drop(end);
            };
            match closing.spawn(close) {
                Ok(_) => closed.push(wait),
                Err(error) => {
                    tracing::warn!("the project was closed in the window's thread: {error}");
                }
            }
        }
        let state = &mut self.state;
        state.frame = 0;
        state.playing = None;
        state.range = (None, None);
        state.time_view = TimeView::default();
        state.selected = None;
        state.renaming = None;
        state.painting = None;
        state.prompting = None;
        state.outline = None;
        state.outline_cuts = false;
        state.compare_held = false;
        state.view = CanvasView::default();
        state.overlay = None;
        state.heat = None;
        state.lanes.clear();
        state.lanes_of = 0;
        state.rows.clear();
        state.hovered_proposal = None;
        state.chosen_emission = None;
        state.dialog = None;
        state.told_trouble = false;
    }

    /// Looks whether the clip on its way in has come a step further.
    pub(super) fn poll_opening(&mut self) {
        match self.services.opening.take() {
            None => {}
            Some(Opening::Resolving(answer)) => match answer.try_recv() {
                Ok(Ok(resolved)) => {
                    let wake = self.services.wake.clone();
                    let decoder = Decoder::open(
                        resolved.video.clone(),
                        CACHE_BYTES,
                        Box::new(move || wake()),
                    );
                    self.services.opening = Some(Opening::Decoding {
                        decoder,
                        resolved: Box::new(resolved),
                    });
                }
                Ok(Err(Refusal::AlreadyOpen)) => {
                    self.state.opening = None;
                    self.say(Weight::Info, "It is open already.");
                }
                Ok(Err(Refusal::Fault(why))) => self.opening_failed(&why),
                Ok(Err(Refusal::Again(target))) => {
                    self.state.opening = None;
                    self.state.leaving = Some(Leaving::Open(target));
                }
                Ok(Err(refusal)) => self.ask_about_opening(refusal),
                Err(crossbeam_channel::TryRecvError::Empty) => {
                    self.services.opening = Some(Opening::Resolving(answer));
                }
                Err(crossbeam_channel::TryRecvError::Disconnected) => {
                    self.opening_failed("the file could not be read");
                }
            },
            Some(Opening::Decoding { decoder, resolved }) => {
                let session = self.state.session.as_ref();
                let waits = session.is_some_and(|s| s.saving() == Saving::Waiting);
                let (size, most) = (decoder.info().map(|i| i.size), self.state.texture_side);
                let too_large = size.filter(|s| s.width.max(s.height) > most);
                if let Some(Size { width, height }) = too_large {
                    self.opening_failed(&format!(
                        "Frames of {width}×{height} pixels are larger than the graphics card can show ({most} a side); scale the clip down first"
                    ));
                } else if decoder.info().is_some() && waits {
                    // What goes wrong on the way to the disk must be told while the document is still there, and then
                    // it stays. A propagation would give the disk more to do with each frame, also one that comes due.
                    self.drop_queued();
                    self.cancel_propagations();
                    self.services.opening = Some(Opening::Decoding { decoder, resolved });
                } else if decoder.info().is_some() {
                    self.opened(decoder, *resolved);
                } else if let Some(why) = decoder.error() {
                    self.opening_failed(&why);
                } else {
                    self.services.opening = Some(Opening::Decoding { decoder, resolved });
                }
            }
        }
    }

    fn opening_failed(&mut self, why: &str) {
        self.state.opening = None;
        self.say(Weight::Error, why.to_owned());
    }

    /// Asks what only a person knows.
    fn ask_about_opening(&mut self, refusal: Refusal) {
        self.state.opening = None;
        self.state.dialog = match refusal {
            Refusal::NoVideo {
                project,
                place,
                why,
            } => Some(Dialog::Path(PathForm {
                purpose: Purpose::LocateVideo(project),
                text: place,
                note: Some(why),
            })),
            Refusal::WhichSequence { dataset, names } => Some(Dialog::Sequences {
                dataset,
                names,
                query: String::new(),
            }),
            Refusal::OtherVideo {
                project,
                video,
                why,
            } => Some(Dialog::OtherVideo {
                project,
                video,
                why,
            }),
            Refusal::OtherProject {
                project,
                video,
                why,
            } => Some(Dialog::OtherProject {
                project,
                video,
                why,
            }),
            Refusal::AlreadyOpen | Refusal::Again(_) | Refusal::Fault(_) => None,
        };
    }

    fn opened(&mut self, decoder: Decoder, resolved: Resolved) {
        let Some(info) = decoder.info() else {
            return;
        };
        if let Some(refusal) = resolved.objection(&info) {
            if let Some(fact) = resolved.fact {
                self.say(Weight::Info, fact);
            }
            self.ask_about_opening(refusal);
            return;
        }
        self.state.opening = None;
        // Asked before already, but much may have been done since.
        let again = Leaving::Open(resolved.again.clone());
        if self.asks_before_leaving(&again) {
            return;
        }
        // What the document before was to be left for is no wish about this one.
        self.state.leaving.take_if(|how| *how != Leaving::Quit);
        // What does not come any more is said, as is what was kept.
        self.drop_queued();
        self.cancel_propagations();
        self.close_clip();
        for warning in decoder.warnings() {
            self.say(Weight::Look, warning);
        }
        if let Some(fact) = resolved.fact {
            self.say(Weight::Info, fact);
        }
        if let Some(notice) = resolved.notice {
            self.say(Weight::Look, notice);
        }
        let session = match resolved.project {
            Some(project) => {
                let can_note = project.writer.is_some();
                let mut opened = match project.writer {
                    Some(writer) => Session::saved(project.doc, writer, project.path),
                    None => Session::read_only(project.doc, project.path),
                };
                opened.hold(project.claim);
                if resolved.is_located && can_note {
                    note_place(&mut opened, &resolved.video, &info, resolved.is_accepted);
                } else if resolved.is_accepted {
                    // Nothing of it can be kept, but the clip is as long as it is.
                    opened.doc.video.frames = info.frames;
                }
                opened
            }
            None => {
                let mut places = resolved.places;
                places.retain(|p| p.file_name().is_some());
                let model = self.state.model.id.clone();
                let doc = Document::new(info.clone(), model, self.state.model.thresholds);
                Session::unsaved(doc, places, self.services.wake.clone())
            }
        };
        let path = resolved.video;
        let title = path.file_name().map_or_else(
            || info.path.clone(),
            |name| name.to_string_lossy().into_owned(),
        );
        // What was typed for another clip says nothing of this one.
        let last = session.doc.emissions.last();
        let last = last.map_or("", |e| e.phrase.as_str());
        self.state.phrase = last.chars().take(MOST_LETTERS).collect();
        self.state.selected = session.doc.objects.first().map(|o| o.id);
        self.state.settings.remember(&resolved.remember);
        self.services.settings.save(&self.state.settings);
        self.start_hashing(path.clone());
        decoder.request(FrameIndex(0));
        self.services.decoder = Some(decoder);
        self.state.session = Some(session);
        self.submit(
            Request::OpenClip {
                path: path.display().to_string(),
            },
            JobKind::OpenClip,
        );
        self.state.clip = Some(Clip {
            title,
            path,
            shown: None,
            shown_key: 0,
            pts_secs: 0.0,
            thumbnails: std::collections::BTreeMap::new(),
            thumbnails_wanted: Vec::new(),
            trouble: None,
            failed: std::collections::BTreeSet::new(),
        });
        self.state.focus_phrase = true;
    }

    /// Reads the video once on a thread of its own, so that the project knows it again.
    fn start_hashing(&mut self, path: PathBuf) {
        let (send, answer) = crossbeam_channel::bounded(1);
        let cancel = CancelToken::default();
        let mut progress = Progress::new(cancel.clone(), |_, _, _| {});
        let wake = self.services.wake.clone();
        let thread = std::thread::Builder::new().name("sparrow-hash".to_owned());
        let spawned = thread.spawn(move || match content_hash(&path, &mut progress) {
            Ok(hash) => {
                // The clip may have been closed meanwhile.
                send.send(hash).ok();
                wake();
            }
            Err(error) => tracing::debug!("no content hash: {error}"),
        });
        match spawned {
            Ok(_) => self.services.hashing = Some(Hashing { answer, cancel }),
            Err(error) => tracing::debug!("no content hash: {error}"),
        }
    }

    pub(super) fn poll_hash(&mut self) {
        let (Some(hashing), Some(session)) = (&self.services.hashing, &mut self.state.session)
        else {
            return;
        };
        let Ok(hash) = hashing.answer.try_recv() else {
            return;
        };
        self.services.hashing = None;
        let recorded = &session.doc.video.hash;
        if !recorded.is_empty() {
            if *recorded != hash {
                // What the masks were made on stays on record, so that it is said the next time, too.
                let text = format!(
                    "The video has changed: {}. Masks may be off; “{}” takes another one.",
                    VideoChange::Content,
                    Action::LocateVideo.label()
                );
                self.say(Weight::Look, text);
            }
            return;
        }
        let video = Box::new(VideoInfo {
            hash,
            ..session.doc.video.clone()
        });
        if let Err(error) = session.note(Edit::SetVideo { video }) {
            tracing::warn!("the video's hash was not kept: {error}");
        }
    }

    /// Shows a frame; ends what belongs to the frame before.
    pub(super) fn seek(&mut self, frame: u32) {
        let frame = frame.min(self.state.frames() - 1);
        if frame == self.state.frame {
            return;
        }
        self.end_paint();
        self.finish_prompt();
        self.state.frame = frame;
        self.state.finished = None;
        self.state.time_view = self.state.time_view.around(self.state.frames(), frame);
        self.state.hovered_proposal = None;
        // Now, not when the decoder rings: the number in view and its time are drawn before that.
        self.show_here();
    }

    /// Asks for the frame in view, and takes its time and, if it is there, its picture.
    fn show_here(&mut self) {
        let here = self.state.here();
        let fps = self.state.session.as_ref().map_or(1.0, |s| s.doc.video.fps);
        let (Some(decoder), Some(clip)) = (&self.services.decoder, &mut self.state.clip) else {
            return;
        };
        decoder.request(here);
        if let Some(frame) = decoder.get(here).or_else(|| decoder.newest()) {
            clip.show(frame, &mut self.state.next_key);
        }
        let pts = decoder.pts_secs(here);
        clip.pts_secs = pts.unwrap_or_else(|| f64::from(here.0) / fps.max(1.0));
    }

    /// Plays on, and takes what the decoder has.
    pub(super) fn poll_frames(&mut self, ctx: &egui::Context) {
        let now = ctx.input(|i| i.time);
        if let (Some((since, from)), Some(session)) = (self.state.playing, &self.state.session) {
            let secs = (now - since).max(0.0) * f64::from(self.state.speed);
            let last = self.state.frames() - 1;
            let fps = session.doc.video.fps.clamp(1.0, 240.0);
            let decoder = self.services.decoder.as_ref();
            let after = |secs: f64| {
                let timed = decoder.and_then(|d| d.frame_after(FrameIndex(from), secs));
                timed.map_or_else(|| from.saturating_add((secs * fps) as u32), |f| f.0)
            };
            let frame = after(secs);
            let range = looped(self.state.range, last).filter(|(_, end)| from <= *end);
            // No frame comes after the clip's last one to end its time.
            let over = |end: u32| {
                let before = secs - 1.0 / fps;
                frame > end || (frame >= last && before >= 0.0 && after(before) >= last)
            };
            if let Some((start, _)) = range.filter(|(_, end)| over(*end)) {
                self.seek(start);
                self.state.playing = Some((now, start));
                ctx.request_repaint();
            } else {
                self.seek(frame.min(last));
            }
            if range.is_none() && frame >= last {
                self.state.playing = None;
            } else {
                ctx.request_repaint();
            }
        }
        self.show_here();
        let here = self.state.here();
        let (Some(decoder), Some(clip)) = (&self.services.decoder, &mut self.state.clip) else {
            return;
        };
        let trouble = decoder.error();
        let is_new = trouble.is_some()
            && trouble != clip.trouble
            && decoder
                .failed_frame()
                .is_none_or(|frame| clip.is_first_of_run(frame.0));
        clip.trouble.clone_from(&trouble);
        let flaw = decoder.flaw(here);
        let flaw = flaw.filter(|_| clip.is_first_of_run(here.0));
        let mut made = 0;
        for &wanted in &clip.thumbnails_wanted {
            if clip.thumbnails.contains_key(&wanted) {
                continue;
            }
            let Some(picture) = decoder.thumbnail(FrameIndex(wanted)) else {
                continue;
            };
            if made == THUMBNAILS_PER_FRAME {
                ctx.request_repaint();
                break;
            }
            made += 1;
            let size = [picture.size.width as usize, picture.size.height as usize];
            if size[0] * size[1] * 3 != picture.data.len() {
                continue;
            }
            let image = ColorImage::from_rgb(size, &picture.data);
            let texture =
                ctx.load_texture(format!("frame {wanted}"), image, TextureOptions::LINEAR);
            clip.thumbnails.insert(wanted, texture);
        }
        if let (Some(why), true) = (trouble, is_new) {
            self.say(Weight::Error, format!("{}.", sentence(&why)));
        }
        if let Some(why) = flaw {
            self.say(Weight::Look, format!("{why}."));
        }
    }

    /// Plays faster or slower, from the frame in view on.
    pub(super) fn set_speed(&mut self, ctx: &egui::Context, speed: f32) {
        self.state.speed = speed;
        if self.state.playing.is_some() {
            let now = ctx.input(|i| i.time);
            self.state.playing = Some((now, self.state.frame));
        }
    }

    /// Passes the film strip's wishes on.
    pub(super) fn want_thumbnails(&mut self, frames: Vec<u32>, height: u32) {
        let (Some(decoder), Some(clip), Some(session)) = (
            &self.services.decoder,
            &mut self.state.clip,
            &self.state.session,
        ) else {
            return;
        };
        if clip.thumbnails_wanted == frames {
            return;
        }
        let video = session.doc.video.size;
        let width = height * video.width / video.height.max(1);
        let width = width.min(self.state.texture_side);
        let indices: Vec<FrameIndex> = frames.iter().map(|&f| FrameIndex(f)).collect();
        decoder.request_thumbnails(&indices, Size::new(width.max(1), height.max(1)));
        clip.thumbnails.retain(|frame, _| frames.contains(frame));
        clip.thumbnails_wanted = frames;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::time::Instant;

    #[test]
    fn what_was_typed_for_another_clip_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let mut app = App::without_model(&egui::Context::default());
        for name in ["one", "two"] {
            let clip = dir.path().join(name);
            std::fs::create_dir(&clip).unwrap();
            let picture = image::RgbImage::new(4, 4);
            picture.save(clip.join("1.png")).unwrap();
            app.open(clip);
            let start = Instant::now();
            while app.state.opening.is_some() {
                assert!(start.elapsed().as_secs() < 120);
                app.poll_opening();
                std::thread::yield_now();
            }
            assert_eq!(app.state.clip.as_ref().unwrap().title, name);
            assert_eq!(app.state.phrase, "");
            app.state.phrase = "the red ball".to_owned();
        }
    }

    /// The number of the new frame stood beside the time of the one before.
    #[test]
    fn the_time_is_that_of_the_frame_in_view_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let clip = dir.path().join("clip");
        std::fs::create_dir(&clip).unwrap();
        for frame in 0..3 {
            let picture = image::RgbImage::new(4, 4);
            picture.save(clip.join(format!("{frame}.png"))).unwrap();
        }
        let mut app = App::without_model(&egui::Context::default());
        app.open(clip);
        let start = Instant::now();
        while app.state.opening.is_some() {
            assert!(start.elapsed().as_secs() < 120);
            app.poll_opening();
            std::thread::yield_now();
        }
        app.seek(2);
        let decoder = app.services.decoder.as_ref().unwrap();
        let time = decoder.pts_secs(FrameIndex(2)).unwrap();
        assert!(time > 0.0);
        assert_eq!(app.state.clip.as_ref().unwrap().pts_secs, time);
    }

    /// A window on a clip of 100 frames at 25 a second, without a decoder, that has played for a second from frame 3.
    fn playing(speed: f32, range: (Option<u32>, Option<u32>)) -> App {
        let ctx = egui::Context::default();
        let mut app = App::without_model(&ctx);
        let doc = crate::ui::fixture::document(Size::new(4, 4), 100);
        app.state.session = Some(Session::read_only(doc, "clip.sparrow".into()));
        app.state.frame = 3;
        app.state.speed = speed;
        app.state.range = range;
        app.state.playing = Some((ctx.input(|i| i.time) - 1.0, 3));
        app.poll_frames(&ctx);
        app
    }

    #[test]
    fn a_clip_plays_slower_and_faster() {
        for (speed, frame) in [(0.25, 9), (1.0, 28), (2.0, 53)] {
            let app = playing(speed, (None, None));
            assert_eq!(
                (app.state.frame, app.state.playing.is_some()),
                (frame, true)
            );
        }
    }

    #[test]
    fn playing_goes_round_in_the_range() {
        let app = playing(1.0, (Some(2), Some(10)));
        assert_eq!(app.state.frame, 2);
        assert_eq!(app.state.playing.map(|(_, from)| from), Some(2));
        let app = playing(1.0, (Some(2), Some(40)));
        assert_eq!(app.state.frame, 28);
        // Begun behind the range, it ends with the clip.
        let app = playing(8.0, (None, Some(1)));
        assert_eq!((app.state.frame, app.state.playing), (99, None));
        assert_eq!(looped((Some(7), Some(7)), 99), None);
        assert_eq!(looped((Some(7), None), 99), Some((7, 99)));
    }

    #[test]
    fn a_range_that_ends_with_the_clip_shows_its_last_frame_for_its_time() {
        let ctx = egui::Context::default();
        let mut app = playing(1.0, (Some(98), Some(99)));
        let mut shown = |secs: f64| {
            app.state.playing = Some((ctx.input(|i| i.time) - secs, 98));
            app.poll_frames(&ctx);
            let from = app.state.playing.map(|(_, from)| from);
            (app.state.frame, from)
        };
        assert_eq!(shown(0.03), (98, Some(98)));
        assert_eq!(shown(0.05), (99, Some(98)));
        assert_eq!(shown(0.07), (99, Some(98)));
        assert_eq!(shown(0.09), (98, Some(98)), "round again");
    }
}
