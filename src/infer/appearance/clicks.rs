//! What a person says by clicking: this is the object, this is not. Leaves what follows from it to [`super::boxed`] and
//! [`super::mended`].

use std::collections::BTreeMap;

/// Cells around a click, each way, that it speaks of.
const CLICK: isize = 2;

/// A person's word on a place in parts of the image: the object, or not.
pub(in crate::infer) type Click = ([f32; 2], bool);

/// The cell that a click lies on.
pub(super) fn cell([x, y]: [f32; 2], side: usize) -> (usize, usize) {
    let at = |v: f32| ((v * side as f32) as usize).min(side - 1);
    (at(x), at(y))
}

/// What the clicks say of each cell near them: the nearest click counts, of equally near ones the last.
pub(super) fn said(clicks: &[Click], side: usize) -> Vec<(usize, bool)> {
    let mut said: BTreeMap<usize, (isize, bool)> = BTreeMap::new();
    for &(place, on) in clicks {
        let (cx, cy) = cell(place, side);
        for (dx, dy) in (-CLICK..=CLICK).flat_map(|y| (-CLICK..=CLICK).map(move |x| (x, y))) {
            let far = dx * dx + dy * dy;
            let x = cx.checked_add_signed(dx).filter(|x| *x < side);
            let y = cy.checked_add_signed(dy).filter(|y| *y < side);
            let (Some(x), Some(y)) = (x, y) else { continue };
            let nearest = said.entry(y * side + x).or_insert((far, on));
            if far <= nearest.0 {
                *nearest = (far, on);
            }
        }
    }
    said.into_iter().map(|(i, (_, on))| (i, on)).collect()
}
