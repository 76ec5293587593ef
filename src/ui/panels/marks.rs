//! What is drawn over the picture: proposals with their scores, clicks and boxes of a prompt.

use egui::{Align2, Color32, Painter, Rect, Shape, Stroke, StrokeKind, Ui, vec2};

use super::{
    super::{
        outline::{CLOSES_WITHIN, FEWEST, Outline},
        state::{State, Tool},
        theme::{self},
        widgets::{tag, two_digits},
    },
    canvas::Place,
};
use crate::project::{BoxPx, PointPx};

/// So many proposals that are not kept are drawn, the best ones; the others show in the table and on hover.
const MOST_FAINT: usize = 8;

/// Indices of the proposals that are drawn, faint ones first.
fn drawn(state: &State) -> Vec<usize> {
    let Some((_, emission)) = state.emission_here() else {
        return Vec::new();
    };
    let proposals = &emission.proposals;
    let sorted = |selected: bool| {
        let mut all: Vec<usize> = (0..proposals.len())
            .filter(|&i| proposals[i].selected == selected)
            .collect();
        all.sort_by(|&a, &b| proposals[a].confidence.total_cmp(&proposals[b].confidence));
        all
    };
    // The best last, so that it is drawn over the others.
    let mut faint = sorted(false);
    faint.drain(..faint.len().saturating_sub(MOST_FAINT));
    faint.extend(sorted(true));
    if let Some(hovered) = state.hovered_proposal.filter(|&h| h < proposals.len()) {
        faint.retain(|&i| i != hovered);
        faint.push(hovered);
    }
    faint
}

pub(crate) fn proposals(painter: &Painter, ui: &Ui, state: &State, place: Place) {
    let Some((_, emission)) = state.emission_here() else {
        return;
    };
    if !state.show_proposals && state.hovered_proposal.is_none() {
        return;
    }
    let p = theme::palette(ui);
    // Drawn over video, so the same in both themes.
    let kept_colour = Color32::from_rgb(0x3d, 0xcf, 0x8e);
    for index in drawn(state) {
        let Some(proposal) = emission.proposals.get(index) else {
            continue;
        };
        let hovered = state.hovered_proposal == Some(index);
        if !state.show_proposals && !hovered {
            continue;
        }
        let rect = place.rect(proposal.box_px);
        let score = two_digits(proposal.confidence);
        let above = rect.left_top() - vec2(0.0, 9.0);
        if proposal.selected {
            painter.rect_stroke(rect, 1, Stroke::new(2.0, kept_colour), StrokeKind::Outside);
            let back = Color32::from_rgb(0x14, 0x5c, 0x3d);
            let text = format!("kept {score}");
            tag(painter, above - vec2(2.0, 3.0), &text, back, Color32::WHITE);
        } else if hovered {
            painter.rect_stroke(
                rect,
                1,
                Stroke::new(1.5, Color32::WHITE),
                StrokeKind::Outside,
            );
            let back = Color32::from_black_alpha(200);
            tag(
                painter,
                above - vec2(1.0, 3.0),
                &score,
                back,
                Color32::WHITE,
            );
        } else {
            dashed(painter, rect, Color32::from_white_alpha(105));
            // Under a kept box the number would only be in the way; the table has it.
            let covered = emission
                .proposals
                .iter()
                .any(|k| k.selected && k.box_px.iou(proposal.box_px) > 0.4);
            if rect.width() > 30.0 && proposal.confidence >= 0.05 && !covered {
                shadowed_text(painter, rect.left_top() + vec2(4.0, 3.0), &score);
            }
        }
        if hovered && proposal.selected {
            painter.rect_filled(rect, 1, theme::faded(p.good, 0.12));
        }
    }
}

fn dashed(painter: &Painter, rect: Rect, colour: Color32) {
    let path = [
        rect.left_top(),
        rect.right_top(),
        rect.right_bottom(),
        rect.left_bottom(),
        rect.left_top(),
    ];
    painter.extend(Shape::dashed_line(
        &path,
        Stroke::new(1.0, colour),
        4.0,
        4.0,
    ));
}

fn shadowed_text(painter: &Painter, at: egui::Pos2, text: &str) {
    let font = theme::regular(11.0);
    let shadow = Color32::from_black_alpha(190);
    painter.text(
        at + vec2(1.0, 1.0),
        Align2::LEFT_TOP,
        text,
        font.clone(),
        shadow,
    );
    painter.text(
        at,
        Align2::LEFT_TOP,
        text,
        font,
        Color32::from_white_alpha(220),
    );
}

/// Clicks and the box of the prompt on this frame.
pub(crate) fn prompts(painter: &Painter, ui: &Ui, state: &State, place: Place) {
    let Some(prompting) = &state.prompting else {
        return;
    };
    if prompting.frame != state.here() || !prompting.by_hand {
        return;
    }
    let p = theme::palette(ui);
    if let Some(area) = prompting.box_px {
        let stroke = Stroke::new(1.5, p.accent);
        painter.rect_stroke(place.rect(area), 1, stroke, StrokeKind::Middle);
    }
    for &(point, on) in &prompting.points {
        let at = place.to_screen(point);
        let fill = if on {
            Color32::from_rgb(0x2e, 0xb8, 0x74)
        } else {
            Color32::from_rgb(0xe0, 0x4f, 0x4f)
        };
        painter.circle(at, 6.5, fill, Stroke::new(1.5, Color32::WHITE));
        let line = Stroke::new(1.6, Color32::WHITE);
        painter.hline(at.x - 3.0..=at.x + 3.0, at.y, line);
        if on {
            painter.vline(at.x, at.y - 3.0..=at.y + 3.0, line);
        }
    }
}

/// The polygon that is being drawn, with a line to the pointer.
pub(crate) fn outline(painter: &Painter, ui: &Ui, state: &State, place: Place) {
    let here = |o: &&Outline| o.frame == state.here() && state.tool == Tool::Polygon;
    let Some(outline) = state.outline.as_ref().filter(here) else {
        return;
    };
    let p = theme::palette(ui);
    let mut path: Vec<_> = outline
        .corners
        .iter()
        .map(|c| place.to_screen(*c))
        .collect();
    let corners = path.len();
    let pointer = ui.input(|i| i.pointer.hover_pos());
    path.extend(pointer.filter(|at| painter.clip_rect().contains(*at)));
    let dark = Stroke::new(3.0, Color32::from_black_alpha(120));
    painter.add(Shape::line(path.clone(), dark));
    painter.add(Shape::line(path.clone(), Stroke::new(1.5, p.accent)));
    for (i, at) in path.into_iter().take(corners).enumerate() {
        // A click on the first one closes, once there are enough.
        let closes = i == 0 && corners >= FEWEST;
        let radius = CLOSES_WITHIN * if closes { 0.6 } else { 0.4 };
        painter.circle(at, radius, Color32::WHITE, Stroke::new(1.5, p.accent));
    }
}

/// The proposal whose rim is within `near` pixels of a point; of several, the smallest.
pub(crate) fn rim_under(state: &State, at: PointPx, near: f32) -> Option<usize> {
    let (_, emission) = state.emission_here()?;
    drawn(state)
        .into_iter()
        .filter(|&i| on_rim(emission.proposals[i].box_px, at, near))
        .min_by(|&a, &b| {
            let area = |i: usize| emission.proposals[i].box_px.area();
            area(a).total_cmp(&area(b))
        })
}

fn on_rim(b: BoxPx, at: PointPx, near: f32) -> bool {
    let outer =
        at.x >= b.x1 - near && at.x <= b.x2 + near && at.y >= b.y1 - near && at.y <= b.y2 + near;
    let inner =
        at.x > b.x1 + near && at.x < b.x2 - near && at.y > b.y1 + near && at.y < b.y2 - near;
    outer && !inner
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rim_is_neither_inside_nor_outside() {
        let b = BoxPx::from_array([10.0, 10.0, 50.0, 40.0]);
        let at = |x, y| on_rim(b, PointPx { x, y }, 3.0);
        assert!(at(10.0, 20.0) && at(12.0, 12.0) && at(30.0, 42.0));
        assert!(!at(30.0, 25.0) && !at(60.0, 20.0) && !at(30.0, 44.0));
    }
}
