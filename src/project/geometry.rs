//! Places in a video frame. All coordinates are pixels of the video as displayed (rotation applied), x right, y down.

use serde::{Deserialize, Serialize};

/// Width and height of a frame in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Size {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl Size {
    /// A size of `width` columns and `height` rows.
    pub fn new(width: u32, height: u32) -> Self {
        Self { width, height }
    }

    /// Number of pixels.
    pub fn area(self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }
}

/// A point in pixels of the displayed video.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PointPx {
    /// Columns from the left edge.
    pub x: f32,
    /// Rows from the top edge.
    pub y: f32,
}

/// A half-open box `[x1, x2) × [y1, y2)` in pixels of the displayed video.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BoxPx {
    /// Left edge.
    pub x1: f32,
    /// Top edge.
    pub y1: f32,
    /// Right edge (exclusive).
    pub x2: f32,
    /// Bottom edge (exclusive).
    pub y2: f32,
}

impl BoxPx {
    /// A box from two corners in any order.
    pub fn from_corners(a: PointPx, b: PointPx) -> Self {
        Self {
            x1: a.x.min(b.x),
            y1: a.y.min(b.y),
            x2: a.x.max(b.x),
            y2: a.y.max(b.y),
        }
    }

    /// Width, 0 if inverted.
    pub fn width(self) -> f32 {
        (self.x2 - self.x1).max(0.0)
    }

    /// Height, 0 if inverted.
    pub fn height(self) -> f32 {
        (self.y2 - self.y1).max(0.0)
    }

    /// Area in square pixels.
    pub fn area(self) -> f32 {
        self.width() * self.height()
    }

    /// Intersection over union, 0 if both are empty.
    pub fn iou(self, other: Self) -> f32 {
        let inter = Self {
            x1: self.x1.max(other.x1),
            y1: self.y1.max(other.y1),
            x2: self.x2.min(other.x2),
            y2: self.y2.min(other.y2),
        }
        .area();
        let union = self.area() + other.area() - inter;
        if union > 0.0 { inter / union } else { 0.0 }
    }

    /// The part of the box that lies inside a frame of `size`.
    pub fn clamped(self, size: Size) -> Self {
        let (w, h) = (size.width as f32, size.height as f32);
        Self {
            x1: self.x1.clamp(0.0, w),
            y1: self.y1.clamp(0.0, h),
            x2: self.x2.clamp(0.0, w),
            y2: self.y2.clamp(0.0, h),
        }
    }

    /// `[x1, y1, x2, y2]`.
    pub fn to_array(self) -> [f32; 4] {
        [self.x1, self.y1, self.x2, self.y2]
    }

    /// From `[x1, y1, x2, y2]`.
    pub fn from_array([x1, y1, x2, y2]: [f32; 4]) -> Self {
        Self { x1, y1, x2, y2 }
    }
}
