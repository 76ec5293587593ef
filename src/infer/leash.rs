//! Keeps a small model's masks where their object can be: inside the box that prompted them, and near where the object was a
//! frame ago. Nano paints whatever looks like the object, and on real footage half of the background does.
//!
//! Off unless a model's description asks for it; SAM2 at full size needs none. Leaves decoding to [`super::masks`] and
//! memory to [`super::propagate`].

use serde::{Deserialize, Serialize};

use super::{
    masks::{CERTAIN, LowRes},
    preprocess::Bounds,
};

/// How far masks may reach.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeashConfig {
    /// Beyond a prompting box, in parts of its sides.
    pub prompted: f32,
    /// Beyond the box of the frame before, in parts of the image.
    pub carried: f32,
    /// By which factor, 1 or more, a side may grow or shrink from frame to frame.
    pub growth: f32,
}

/// Where one carried object can be on the next frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Leash {
    config: LeashConfig,
    /// Where it was seen last; `None`: never, then it may be anywhere.
    last: Option<Bounds>,
    /// Frames since.
    unseen: u32,
}

impl Leash {
    /// Of an object that was seen in `last`, in parts of the image.
    pub(super) fn new(config: LeashConfig, last: Option<Bounds>) -> Self {
        Self {
            config,
            last,
            unseen: 0,
        }
    }

    /// The same after so many frames more on which it was not seen.
    pub(super) fn unseen_for(self, frames: u32) -> Self {
        Self {
            unseen: self.unseen.saturating_add(frames),
            ..self
        }
    }

    /// Takes from `mask` what the object cannot have reached, and remembers where it is now. An object that is not seen
    /// may be farther off with every frame. Says whether anything is left.
    pub(super) fn hold(&mut self, mask: &mut LowRes) -> bool {
        let reach = self.config.carried * (self.unseen + 1) as f32;
        if let Some([x1, y1, x2, y2]) = self.last {
            confine(mask, [x1 - reach, y1 - reach, x2 + reach, y2 + reach]);
        }
        self.seen(mask)
    }

    /// Remembers where the object is on the next frame. Says whether it is anywhere.
    pub(super) fn seen(&mut self, mask: &LowRes) -> bool {
        let Some(now) = tight(mask) else {
            self.unseen += 1;
            return false;
        };
        self.last = Some(match self.last {
            None => now,
            Some(before) => {
                let most = self
                    .config
                    .growth
                    .max(1.0)
                    .powi(self.unseen.min(99) as i32 + 1);
                let (x1, x2) = grown((before[0], before[2]), (now[0], now[2]), most);
                let (y1, y2) = grown((before[1], before[3]), (now[1], now[3]), most);
                [x1, y1, x2, y2]
            }
        });
        self.unseen = 0;
        true
    }
}

/// `now` around its middle, but at most `most` times as long as `before` and at least as much shorter: what is hidden but
/// for a sliver is as large as ever when it comes back.
fn grown(before: (f32, f32), now: (f32, f32), most: f32) -> (f32, f32) {
    let was = before.1 - before.0;
    let half = 0.5 * (now.1 - now.0).clamp(was / most, was * most);
    let middle = f32::midpoint(now.0, now.1);
    (middle - half, middle + half)
}

/// Takes from the mask of a box what lies beyond it.
pub(super) fn within_box(mask: &mut LowRes, [x1, y1, x2, y2]: Bounds, config: LeashConfig) {
    let (x, y) = (config.prompted * (x2 - x1), config.prompted * (y2 - y1));
    confine(mask, [x1 - x, y1 - y, x2 + x, y2 + y]);
}

/// Marks every cell whose centre lies outside as certainly not the object, and with it every piece that lies mostly
/// outside: the end of a lawn that reaches into the box is lawn.
fn confine(mask: &mut LowRes, [x1, y1, x2, y2]: Bounds) {
    let (rows, columns) = (mask.rows, mask.columns);
    let inside = |i: usize| {
        let x = ((i % columns) as f32 + 0.5) / columns as f32;
        let y = ((i / columns) as f32 + 0.5) / rows as f32;
        x >= x1 && x <= x2 && y >= y1 && y <= y2
    };
    let pieces = pieces(mask);
    let within = |piece: &Vec<usize>| piece.iter().filter(|&&i| inside(i)).count();
    let belongs = |piece: &Vec<usize>| 2 * within(piece) >= piece.len();
    // Where every piece reaches far out, they are all that there is to choose from.
    if pieces.iter().any(belongs) {
        for &i in pieces.iter().filter(|p| !belongs(p)).flatten() {
            mask.logits[i] = -CERTAIN;
        }
    }
    for (i, v) in mask.logits.iter_mut().enumerate() {
        if !inside(i) {
            *v = v.min(-CERTAIN);
        }
    }
}

/// Leaves the connected pieces of a mask that hold one of `places`, in parts of the image; all, where none does.
pub(super) fn holding(mask: &mut LowRes, places: &[[f32; 2]]) {
    let (rows, columns) = (mask.rows, mask.columns);
    let cell = |v: f32, n: usize| ((v.max(0.0) * n as f32) as usize).min(n.saturating_sub(1));
    let held: Vec<usize> = places
        .iter()
        .map(|[x, y]| cell(*y, rows) * columns + cell(*x, columns))
        .collect();
    let pieces = pieces(mask);
    let holds = |piece: &Vec<usize>| held.iter().any(|i| piece.contains(i));
    if pieces.iter().any(holds) {
        for &i in pieces.iter().filter(|p| !holds(p)).flatten() {
            mask.logits[i] = -CERTAIN;
        }
    }
}

/// The connected pieces of a mask, as the cells of each; cells touch along their sides.
fn pieces(mask: &LowRes) -> Vec<Vec<usize>> {
    let columns = mask.columns;
    let mut free: Vec<bool> = mask.logits.iter().map(|v| *v > 0.0).collect();
    let mut found = Vec::new();
    for start in 0..free.len() {
        if !std::mem::take(&mut free[start]) {
            continue;
        }
        let mut piece = vec![start];
        let mut next = 0;
        while let Some(&i) = piece.get(next) {
            next += 1;
            let (x, last) = (i % columns, columns - 1);
            let sides = [
                (x > 0).then(|| i - 1),
                (x < last).then(|| i + 1),
                i.checked_sub(columns),
                (i + columns < free.len()).then(|| i + columns),
            ];
            for j in sides.into_iter().flatten() {
                if std::mem::take(&mut free[j]) {
                    piece.push(j);
                }
            }
        }
        found.push(piece);
    }
    found
}

/// The box around the mask's cells; `None` if it has none.
fn tight(mask: &LowRes) -> Option<Bounds> {
    let mut found: Option<[usize; 4]> = None;
    for (i, _) in mask.logits.iter().enumerate().filter(|(_, v)| **v > 0.0) {
        let (x, y) = (i % mask.columns, i / mask.columns);
        let b = found.get_or_insert([x, y, x + 1, y + 1]);
        *b = [b[0].min(x), b[1].min(y), b[2].max(x + 1), b[3].max(y + 1)];
    }
    let [x1, y1, x2, y2] = found?;
    let (w, h) = (mask.columns as f32, mask.rows as f32);
    Some([x1 as f32 / w, y1 as f32 / h, x2 as f32 / w, y2 as f32 / h])
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: LeashConfig = LeashConfig {
        prompted: 0.1,
        carried: 0.1,
        growth: 1.1,
    };

    /// A mask on 20 × 20 cells that covers the given boxes.
    fn mask(boxes: &[Bounds]) -> LowRes {
        let mut logits = vec![-3.0; 400];
        for (i, v) in logits.iter_mut().enumerate() {
            let (x, y) = (
                ((i % 20) as f32 + 0.5) / 20.0,
                ((i / 20) as f32 + 0.5) / 20.0,
            );
            let inside = |b: &Bounds| x > b[0] && x < b[2] && y > b[1] && y < b[3];
            if boxes.iter().any(inside) {
                *v = 3.0;
            }
        }
        LowRes {
            logits,
            rows: 20,
            columns: 20,
            score: 1.0,
            iou: 1.0,
        }
    }

    fn near(a: Option<Bounds>, b: Bounds) -> bool {
        a.is_some_and(|a| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 0.011))
    }

    #[test]
    fn what_leaks_out_of_a_box_is_cut() {
        let mut m = mask(&[[0.2, 0.2, 0.6, 0.6], [0.5, 0.5, 1.0, 0.55]]);
        within_box(&mut m, [0.2, 0.2, 0.6, 0.6], CONFIG);
        assert!(near(tight(&m), [0.2, 0.2, 0.65, 0.6]), "{:?}", tight(&m));
    }

    #[test]
    fn an_object_moves_and_grows_and_its_leak_does_not_creep() {
        let mut leash = Leash::new(CONFIG, Some([0.2, 0.2, 0.4, 0.4]));
        let mut moved = mask(&[[0.25, 0.25, 0.45, 0.45], [0.8, 0.8, 0.9, 0.9]]);
        leash.hold(&mut moved);
        assert!(near(tight(&moved), [0.25, 0.25, 0.45, 0.45]));
        // Everything at once: the leash lengthens by a tenth a frame and no more.
        for _ in 0..3 {
            let mut all = mask(&[[0.0, 0.0, 1.0, 1.0]]);
            leash.hold(&mut all);
            let [x1, _, x2, _] = tight(&all).unwrap();
            assert!(x2 - x1 <= 0.5, "{x1} {x2}");
        }
    }

    #[test]
    fn what_was_hidden_may_come_back_farther_off() {
        let start = Some([0.1, 0.1, 0.2, 0.2]);
        let far = mask(&[[0.4, 0.1, 0.5, 0.2]]);
        let mut leash = Leash::new(CONFIG, start);
        leash.hold(&mut far.clone());
        assert_eq!(leash.last, start, "too far for one frame");
        for _ in 0..3 {
            leash.hold(&mut mask(&[]));
        }
        assert_eq!(leash, Leash::new(CONFIG, start).unseen_for(4));
        let mut back = far.clone();
        leash.hold(&mut back);
        assert!(near(tight(&back), [0.4, 0.1, 0.5, 0.2]));
        assert!(leash.last.unwrap()[0] > 0.35);
        let mut free = Leash::new(CONFIG, None);
        let mut anywhere = far;
        free.hold(&mut anywhere);
        assert!(near(tight(&anywhere), [0.4, 0.1, 0.5, 0.2]));
    }

    #[test]
    fn a_piece_that_lies_mostly_outside_goes_as_a_whole() {
        let lawn = [0.0, 0.5, 1.0, 0.6];
        let swan = [0.3, 0.2, 0.5, 0.45];
        let drawn = [0.25, 0.2, 0.55, 0.6];
        let mut m = mask(&[swan, lawn]);
        within_box(&mut m, drawn, CONFIG);
        assert!(near(tight(&m), swan), "{:?}", tight(&m));
        let mut alone = mask(&[lawn]);
        within_box(&mut alone, drawn, CONFIG);
        assert!(tight(&alone).is_some(), "something was drawn around");
    }

    #[test]
    fn of_a_mask_in_pieces_those_stay_that_were_clicked_on() {
        let (left, right, far) = (
            [0.1, 0.1, 0.3, 0.3],
            [0.5, 0.1, 0.7, 0.3],
            [0.5, 0.6, 0.9, 0.9],
        );
        let mut m = mask(&[left, right, far]);
        holding(&mut m, &[[0.2, 0.2], [0.6, 0.2]]);
        assert!(near(tight(&m), [0.1, 0.1, 0.7, 0.3]), "{:?}", tight(&m));
        // A click beside everything says nothing of the pieces.
        holding(&mut m, &[[0.4, 0.5], [1.0, 1.0]]);
        assert!(near(tight(&m), [0.1, 0.1, 0.7, 0.3]));
        holding(&mut m, &[]);
        assert!(near(tight(&m), [0.1, 0.1, 0.7, 0.3]));
    }

    #[test]
    fn what_was_seen_as_a_sliver_comes_back_whole() {
        let whole = [0.2, 0.2, 0.6, 0.6];
        let mut leash = Leash::new(CONFIG, Some(whole));
        for _ in 0..3 {
            assert!(leash.hold(&mut mask(&[[0.2, 0.2, 0.25, 0.6]])));
        }
        let mut back = mask(&[whole]);
        leash.hold(&mut back);
        let [x1, _, x2, _] = tight(&back).unwrap();
        assert!(x2 - x1 > 0.25, "{x1} {x2}");
    }
}
