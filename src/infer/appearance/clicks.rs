//! What a person says by clicking: this is the object, this is not. Leaves what follows from it to [`super::boxed`] and
//! [`super::mended`].

use std::collections::BTreeMap;

/// Cells around a click, each way, that it speaks of.
const CLICK: isize = 2;

/// A person's word on a place in parts of the image: the object, or not.
pub(in crate::infer) type Click = ([f32; 2], bool);

/// The cell that a click lies on.
pub(super) fn cell([x, y]: [f32; 2], side: usize) -> (isize, isize) {
    let at = |v: f32| ((v * side as f32) as isize).clamp(0, side as isize - 1);
    (at(x), at(y))
}

/// What the clicks say of each cell near them: the nearest click counts, of equally near ones the last.
pub(super) fn said(clicks: &[Click], side: usize) -> Vec<(usize, bool)> {
    let mut said: BTreeMap<usize, (isize, bool)> = BTreeMap::new();
    for &(place, on) in clicks {
        let (cx, cy) = cell(place, side);
        for (dx, dy) in (-CLICK..=CLICK).flat_map(|y| (-CLICK..=CLICK).map(move |x| (x, y))) {
            let (x, y, far) = (cx + dx, cy + dy, dx * dx + dy * dy);
            let inside = |v: isize| (0..side as isize).contains(&v);
            if inside(x) && inside(y) {
                let cell = said.entry(y as usize * side + x as usize);
                let nearest = cell.or_insert((far, on));
                if far <= nearest.0 {
                    *nearest = (far, on);
                }
            }
        }
    }
    said.into_iter().map(|(i, (_, on))| (i, on)).collect()
}
