//! Icons as strokes in a 16 × 16 box, drawn by egui's painter: sharp at every scale, coloured like text, no files.

use egui::{Color32, Painter, Pos2, Rect, Shape, Stroke, StrokeKind, Vec2, pos2, vec2};

/// What is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Icon {
    Arrow,
    Box,
    Point,
    Polygon,
    Brush,
    Eraser,
    Hand,
    Eye,
    EyeOff,
    Lock,
    Unlock,
    Play,
    Pause,
    ToStart,
    ToEnd,
    StepBack,
    StepForward,
    Plus,
    Close,
    Trash,
    Fit,
    Heat,
    Boxes,
    Help,
    Sun,
    Moon,
    Undo,
    Redo,
    Film,
    CarryBack,
    CarryForward,
    CarryBoth,
    Search,
}

struct Pen<'a> {
    painter: &'a Painter,
    origin: Pos2,
    unit: f32,
    colour: Color32,
}

impl Pen<'_> {
    fn at(&self, x: f32, y: f32) -> Pos2 {
        self.origin + vec2(x, y) * self.unit
    }

    fn stroke(&self) -> Stroke {
        Stroke::new(1.4 * self.unit.max(0.9), self.colour)
    }

    fn line(&self, points: &[(f32, f32)]) {
        let points = points.iter().map(|&(x, y)| self.at(x, y)).collect();
        self.painter.add(Shape::line(points, self.stroke()));
    }

    fn closed(&self, points: &[(f32, f32)]) {
        let points = points.iter().map(|&(x, y)| self.at(x, y)).collect();
        self.painter.add(Shape::closed_line(points, self.stroke()));
    }

    fn filled(&self, points: &[(f32, f32)]) {
        let points = points.iter().map(|&(x, y)| self.at(x, y)).collect();
        self.painter
            .add(Shape::convex_polygon(points, self.colour, Stroke::NONE));
    }

    fn rect(&self, x1: f32, y1: f32, x2: f32, y2: f32) {
        self.painter.rect_stroke(
            Rect::from_min_max(self.at(x1, y1), self.at(x2, y2)),
            1.5 * self.unit,
            self.stroke(),
            StrokeKind::Middle,
        );
    }

    fn circle(&self, x: f32, y: f32, r: f32) {
        self.painter
            .circle_stroke(self.at(x, y), r * self.unit, self.stroke());
    }

    fn dot(&self, x: f32, y: f32, r: f32) {
        self.painter
            .circle_filled(self.at(x, y), r * self.unit, self.colour);
    }

    fn arc(&self, x: f32, y: f32, r: f32, from: f32, to: f32) {
        let points = (0..=14)
            .map(|i| {
                let a = (from + (to - from) * i as f32 / 14.0).to_radians();
                self.at(x + r * a.cos(), y + r * a.sin())
            })
            .collect();
        self.painter.add(Shape::line(points, self.stroke()));
    }
}

impl Icon {
    /// Draws the icon in the middle of `rect`, `size` points wide.
    pub(crate) fn paint(self, painter: &Painter, rect: Rect, size: f32, colour: Color32) {
        let corner = rect.center() - Vec2::splat(size / 2.0);
        let p = Pen {
            painter,
            origin: corner,
            unit: size / 16.0,
            colour,
        };
        match self {
            Self::Eye
            | Self::EyeOff
            | Self::Lock
            | Self::Unlock
            | Self::Trash
            | Self::Plus
            | Self::Close
            | Self::Help
            | Self::Sun
            | Self::Moon
            | Self::Undo
            | Self::Redo
            | Self::Film
            | Self::Search => self.paint_sign(&p),
            Self::Play
            | Self::Pause
            | Self::ToStart
            | Self::ToEnd
            | Self::StepBack
            | Self::StepForward
            | Self::CarryBack
            | Self::CarryForward
            | Self::CarryBoth => self.paint_transport(&p),
            _ => self.paint_tool(&p),
        }
    }

    fn paint_tool(self, p: &Pen<'_>) {
        match self {
            Self::Arrow => p.closed(&[(3.5, 2.5), (12.5, 8.0), (8.4, 9.0), (6.2, 13.2)]),
            Self::Box => {
                p.rect(2.5, 3.5, 13.5, 12.5);
                for (x, y) in [(2.5, 3.5), (13.5, 3.5), (2.5, 12.5), (13.5, 12.5)] {
                    p.dot(x, y, 1.5);
                }
            }
            Self::Point => {
                p.circle(8.0, 8.0, 5.5);
                p.line(&[(8.0, 5.4), (8.0, 10.6)]);
                p.line(&[(5.4, 8.0), (10.6, 8.0)]);
            }
            Self::Polygon => {
                let corners = [
                    (8.0, 2.2),
                    (14.0, 6.6),
                    (11.7, 13.4),
                    (4.3, 13.4),
                    (2.0, 6.6),
                ];
                p.closed(&corners);
                for (x, y) in corners {
                    p.dot(x, y, 1.4);
                }
            }
            Self::Brush => {
                p.line(&[(13.5, 2.5), (7.2, 8.8)]);
                p.closed(&[(7.2, 8.6), (4.6, 9.6), (3.0, 13.2), (6.6, 12.0), (7.8, 9.4)]);
            }
            Self::Eraser => {
                p.closed(&[
                    (9.5, 2.8),
                    (13.4, 6.7),
                    (8.2, 11.9),
                    (5.4, 11.9),
                    (3.0, 9.4),
                ]);
                p.line(&[(6.1, 6.3), (9.9, 10.1)]);
                p.line(&[(5.0, 14.0), (13.0, 14.0)]);
            }
            Self::Hand => {
                p.line(&[(8.0, 2.0), (8.0, 14.0)]);
                p.line(&[(2.0, 8.0), (14.0, 8.0)]);
                p.line(&[(6.2, 3.8), (8.0, 2.0), (9.8, 3.8)]);
                p.line(&[(6.2, 12.2), (8.0, 14.0), (9.8, 12.2)]);
                p.line(&[(3.8, 6.2), (2.0, 8.0), (3.8, 9.8)]);
                p.line(&[(12.2, 6.2), (14.0, 8.0), (12.2, 9.8)]);
            }
            Self::Fit => {
                p.line(&[(2.5, 6.0), (2.5, 2.5), (6.0, 2.5)]);
                p.line(&[(10.0, 2.5), (13.5, 2.5), (13.5, 6.0)]);
                p.line(&[(13.5, 10.0), (13.5, 13.5), (10.0, 13.5)]);
                p.line(&[(6.0, 13.5), (2.5, 13.5), (2.5, 10.0)]);
            }
            Self::Heat => {
                p.circle(8.0, 8.0, 6.0);
                p.circle(8.0, 8.0, 3.2);
                p.dot(8.0, 8.0, 1.2);
            }
            _ => {
                p.rect(2.0, 2.0, 9.5, 8.5);
                p.rect(6.5, 6.5, 14.0, 14.0);
            }
        }
    }

    fn paint_transport(self, p: &Pen<'_>) {
        match self {
            Self::Play => p.filled(&[(4.5, 2.8), (13.0, 8.0), (4.5, 13.2)]),
            Self::Pause => {
                p.filled(&[(4.0, 3.0), (6.8, 3.0), (6.8, 13.0), (4.0, 13.0)]);
                p.filled(&[(9.2, 3.0), (12.0, 3.0), (12.0, 13.0), (9.2, 13.0)]);
            }
            Self::ToStart => {
                p.line(&[(3.5, 3.5), (3.5, 12.5)]);
                p.filled(&[(12.5, 3.5), (12.5, 12.5), (5.5, 8.0)]);
            }
            Self::ToEnd => {
                p.line(&[(12.5, 3.5), (12.5, 12.5)]);
                p.filled(&[(3.5, 3.5), (10.5, 8.0), (3.5, 12.5)]);
            }
            Self::StepBack => p.line(&[(10.0, 3.5), (5.5, 8.0), (10.0, 12.5)]),
            Self::StepForward => p.line(&[(6.0, 3.5), (10.5, 8.0), (6.0, 12.5)]),
            Self::CarryBack => {
                p.line(&[(13.5, 8.0), (3.0, 8.0)]);
                p.line(&[(6.5, 4.5), (3.0, 8.0), (6.5, 11.5)]);
            }
            Self::CarryForward => {
                p.line(&[(2.5, 8.0), (13.0, 8.0)]);
                p.line(&[(9.5, 4.5), (13.0, 8.0), (9.5, 11.5)]);
            }
            _ => {
                p.line(&[(2.5, 8.0), (13.5, 8.0)]);
                p.line(&[(5.2, 5.2), (2.5, 8.0), (5.2, 10.8)]);
                p.line(&[(10.8, 5.2), (13.5, 8.0), (10.8, 10.8)]);
            }
        }
    }

    fn paint_sign(self, p: &Pen<'_>) {
        match self {
            Self::Eye | Self::EyeOff => {
                p.arc(8.0, 12.2, 7.4, 214.0, 326.0);
                p.arc(8.0, 3.8, 7.4, 34.0, 146.0);
                if self == Self::Eye {
                    p.dot(8.0, 8.0, 2.1);
                } else {
                    p.line(&[(3.0, 13.0), (13.0, 3.0)]);
                }
            }
            Self::Lock | Self::Unlock => {
                p.rect(3.5, 7.5, 12.5, 13.5);
                let x = if self == Self::Lock { 0.0 } else { 2.6 };
                p.arc(8.0 + x, 5.6, 2.7, 180.0, 360.0);
                p.line(&[(5.3 + x, 5.6), (5.3 + x, 7.5)]);
                if self == Self::Lock {
                    p.line(&[(10.7, 5.6), (10.7, 7.5)]);
                    p.dot(8.0, 10.5, 1.1);
                }
            }
            Self::Trash => {
                p.line(&[(3.0, 4.5), (13.0, 4.5)]);
                p.line(&[(6.3, 4.3), (6.3, 2.7), (9.7, 2.7), (9.7, 4.3)]);
                p.line(&[(4.3, 4.7), (5.0, 13.4), (11.0, 13.4), (11.7, 4.7)]);
            }
            Self::Plus => {
                p.line(&[(8.0, 3.0), (8.0, 13.0)]);
                p.line(&[(3.0, 8.0), (13.0, 8.0)]);
            }
            Self::Close => {
                p.line(&[(4.0, 4.0), (12.0, 12.0)]);
                p.line(&[(12.0, 4.0), (4.0, 12.0)]);
            }
            Self::Help => {
                p.arc(8.0, 5.8, 3.0, 180.0, 385.0);
                p.line(&[(10.6, 7.2), (8.2, 8.9), (8.0, 10.6)]);
                p.dot(8.0, 13.2, 1.1);
            }
            Self::Sun => {
                p.circle(8.0, 8.0, 3.0);
                for i in 0..8 {
                    let (s, c) = (std::f32::consts::FRAC_PI_4 * i as f32).sin_cos();
                    p.line(&[
                        (8.0 + 5.2 * c, 8.0 + 5.2 * s),
                        (8.0 + 6.8 * c, 8.0 + 6.8 * s),
                    ]);
                }
            }
            Self::Moon => {
                p.arc(8.0, 8.0, 5.6, 40.0, 290.0);
                p.arc(11.4, 6.0, 5.0, 92.0, 230.0);
            }
            Self::Undo => {
                p.line(&[(5.8, 3.0), (2.8, 6.0), (5.8, 9.0)]);
                p.line(&[(3.0, 6.0), (9.5, 6.0)]);
                p.arc(9.5, 9.5, 3.5, -90.0, 90.0);
                p.line(&[(9.5, 13.0), (6.0, 13.0)]);
            }
            Self::Redo => {
                p.line(&[(10.2, 3.0), (13.2, 6.0), (10.2, 9.0)]);
                p.line(&[(13.0, 6.0), (6.5, 6.0)]);
                p.arc(6.5, 9.5, 3.5, 270.0, 90.0);
                p.line(&[(6.5, 13.0), (10.0, 13.0)]);
            }
            Self::Film => {
                p.rect(2.0, 3.0, 14.0, 13.0);
                p.line(&[(5.2, 3.0), (5.2, 13.0)]);
                p.line(&[(10.8, 3.0), (10.8, 13.0)]);
            }
            _ => {
                p.circle(7.0, 7.0, 4.4);
                p.line(&[(10.2, 10.2), (13.8, 13.8)]);
            }
        }
    }
}

/// A ring, the sign of a frame where a person says that the object is not to be seen.
pub(crate) fn absence_mark(painter: &Painter, centre: Pos2, radius: f32, colour: Color32) {
    painter.circle_stroke(centre, radius, Stroke::new(1.5, colour));
}

/// A rhombus with a dark rim, the sign of an anchor.
pub(crate) fn anchor_mark(
    painter: &Painter,
    centre: Pos2,
    radius: f32,
    fill: Color32,
    rim: Color32,
) {
    painter.add(Shape::convex_polygon(
        vec![
            pos2(centre.x, centre.y - radius),
            pos2(centre.x + radius, centre.y),
            pos2(centre.x, centre.y + radius),
            pos2(centre.x - radius, centre.y),
        ],
        fill,
        Stroke::new(1.0, rim),
    ));
}
