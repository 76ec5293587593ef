//! The emissions in the timeline: a dot on every frame that was asked about, under the objects' lanes and always in view.

use std::collections::BTreeMap;

use egui::{Align2, Rect, Role, Ui, WidgetInfo, pos2, vec2};

use super::{
    super::{
        command::{Command, Out},
        state::State,
        theme::{self, space},
        time_view::Scale,
    },
    timeline::{BETWEEN, LANE, lane_row, scrub},
};
use crate::project::Emission;

/// The place of the objects' lanes, and of the emissions right under them, which stay in view however many objects there are.
/// Where there is no room for one of each, they go with the lanes.
pub(super) fn with_emissions(state: &State, all: Rect) -> (Rect, Option<Rect>) {
    let doc = state.session.as_ref().map(|s| &s.doc);
    let are_some = doc.is_some_and(|d| !d.emissions.is_empty());
    if !are_some || all.height() < 2.0 * LANE + BETWEEN {
        return (all, None);
    }
    let under = all.top() + state.lanes.len() as f32 * (LANE + BETWEEN);
    let top = under.min(all.bottom() - LANE);
    let row = Rect::from_min_size(pos2(all.left(), top), vec2(all.width(), LANE));
    (all.with_max_y(top - BETWEEN), Some(row))
}

pub(super) fn emissions_ui(ui: &mut Ui, state: &State, scale: Scale, out: &mut Out) {
    let Some(session) = &state.session else {
        return;
    };
    if session.doc.emissions.is_empty() {
        return;
    }
    let p = theme::palette(ui);
    let id = ui.scope_id().with("emissions");
    let (names, body, response) = lane_row(ui, id, scale);
    response.widget_info(|| WidgetInfo::labeled(Role::Slider, true, "Emissions"));
    ui.painter().text(
        pos2(names.left() + space::L, body.center().y),
        Align2::LEFT_CENTER,
        "emissions",
        theme::regular(12.5),
        p.text_faint,
    );
    let painter = ui.painter_at(body.expand(7.0));
    let pointer = response.hover_pos();
    let mut near = None;
    for (frame, emissions) in by_frame(&session.doc.emissions) {
        let at = pos2(scale.x(frame), body.center().y);
        if !body.x_range().contains(at.x) {
            continue;
        }
        let here = frame == state.frame;
        if emissions.len() > 1 {
            painter.circle_filled(at, 8.0, p.accent);
            painter.text(
                at,
                Align2::CENTER_CENTER,
                emissions.len().to_string(),
                theme::semibold(10.5),
                p.on_accent,
            );
        } else {
            let radius = if here { 5.0 } else { 4.0 };
            painter.circle_filled(at, radius, p.accent);
        }
        if pointer.is_some_and(|x| (x.x - at.x).abs() < 8.0) {
            near = Some((frame, emissions));
        }
    }
    if let Some((frame, emissions)) = near {
        if response.clicked() {
            out.send(Command::Seek(frame));
        }
        response.on_hover_text_at_pointer(emissions_text(frame, &emissions));
    } else {
        scrub(ui, state, scale, &response, out);
    }
}

/// Emissions by their frame, each frame's newest first.
fn by_frame(emissions: &[Emission]) -> BTreeMap<u32, Vec<&Emission>> {
    let mut frames: BTreeMap<u32, Vec<&Emission>> = BTreeMap::new();
    for emission in emissions.iter().rev() {
        frames.entry(emission.frame.0).or_default().push(emission);
    }
    frames
}

/// What was asked on a frame and how many proposals were kept, a line for each emission.
fn emissions_text(frame: u32, emissions: &[&Emission]) -> String {
    let lines = emissions.iter().map(|emission| {
        let kept = emission.proposals.iter().filter(|p| p.selected).count();
        format!("frame {frame}: “{}”, {kept} kept", emission.phrase)
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        project::{ObjectId, Size},
        ui::{fixture::emission, lanes::Lane, session::Session, settings::Settings},
    };

    /// They left the panel with the fourth object.
    #[test]
    fn the_emissions_stay_in_view_however_many_objects_there_are() {
        let mut doc = crate::ui::fixture::document(Size::new(4, 4), 20);
        let mut state = State::new(Settings::default(), "nano".into(), "cpu".into());
        let all = Rect::from_min_max(pos2(0.0, 100.0), pos2(600.0, 216.0));
        let lanes = |state: &mut State, count: u32| {
            let mut object =
                crate::ui::fixture::document(Size::new(4, 4), 20).new_object("a horse");
            state.lanes.clear();
            for id in 0..count {
                object.id = ObjectId(id + 1);
                state.lanes.push(Lane::new(&object));
            }
        };
        lanes(&mut state, 2);
        assert_eq!(with_emissions(&state, all), (all, None), "no document");
        doc.emissions.push(emission(0, "a"));
        state.session = Some(Session::read_only(doc, "clip.sparrow".into()));
        let (above, row) = with_emissions(&state, all);
        assert_eq!(row.map(|r| r.top()), Some(156.0), "right under the lanes");
        assert!(above.bottom() < 156.0);
        for count in [4, 40] {
            lanes(&mut state, count);
            let (above, row) = with_emissions(&state, all);
            let row = row.unwrap();
            assert!(all.contains_rect(row) && above.bottom() < row.top());
        }
        let low = all.with_max_y(130.0);
        assert_eq!(with_emissions(&state, low), (low, None));
    }

    #[test]
    fn several_emissions_of_a_frame_are_one_dot_that_names_them_all() {
        let all = [emission(0, "a"), emission(7, "b"), emission(0, "c")];
        let frames = by_frame(&all);
        assert_eq!(frames.len(), 2);
        let text = emissions_text(0, &frames[&0]);
        assert_eq!(text, "frame 0: “c”, 0 kept\nframe 0: “a”, 0 kept");
    }
}
