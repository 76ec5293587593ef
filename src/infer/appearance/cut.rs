//! The cheapest division of a grid of pixels into object and background: a minimum cut, found by growing a search tree
//! from either side and mending it after every augmented path (Boykov and Kolmogorov, PAMI 2004). Leaves what a pixel or a
//! border costs to the caller.

use std::collections::VecDeque;

/// The neighbours of a pixel as `(columns, rows)`; each is followed by its opposite, so that `d ^ 1` leads back.
pub(super) const NEIGHBOURS: [(isize, isize); 8] = [
    (1, 0),
    (-1, 0),
    (0, 1),
    (0, -1),
    (1, 1),
    (-1, -1),
    (-1, 1),
    (1, -1),
];

const NO_PARENT: u8 = 255;
const TERMINAL: u8 = 254;
const ORPHAN: u8 = 253;

/// Costs of a grid of pixels, in whole numbers, so that the same costs give the same division.
///
/// Inside, the grid has a rim of pixels that nothing flows through, so that every pixel has eight neighbours at fixed steps.
pub(super) struct Grid {
    columns: usize,
    rows: usize,
    /// From a pixel to each of its neighbours.
    steps: [isize; 8],
    /// What remains of each border towards the neighbour of that number.
    borders: Vec<[i32; 8]>,
    /// What remains from the source (positive) or to the sink (negative).
    terminals: Vec<i32>,
    /// Direction of the parent in the search tree, or one of the three above.
    parents: Vec<u8>,
    of_sink: Vec<bool>,
    /// When the distance to the tree's root was last known to be right, and that distance.
    checked: Vec<u32>,
    distances: Vec<u32>,
    active: VecDeque<usize>,
    queued: Vec<bool>,
    orphans: VecDeque<usize>,
    time: u32,
}

impl Grid {
    /// No pixel costs anything yet.
    pub(super) fn new(columns: usize, rows: usize) -> Self {
        let stride = columns + 2;
        let n = stride * (rows + 2);
        Self {
            columns,
            rows,
            steps: NEIGHBOURS.map(|(dx, dy)| dy * stride as isize + dx),
            borders: vec![[0; 8]; n],
            terminals: vec![0; n],
            parents: vec![NO_PARENT; n],
            of_sink: vec![false; n],
            checked: vec![0; n],
            distances: vec![0; n],
            active: VecDeque::new(),
            queued: vec![false; n],
            orphans: VecDeque::new(),
            time: 0,
        }
    }

    /// Where the pixel of that number, row by row, lies among those with a rim.
    fn place(&self, pixel: usize) -> usize {
        (pixel / self.columns + 1) * (self.columns + 2) + pixel % self.columns + 1
    }

    /// How much better the pixel is as object than as background; negative: worse.
    pub(super) fn prefer(&mut self, pixel: usize, object: i32) {
        let at = self.place(pixel);
        self.terminals[at] = object;
    }

    /// What it costs to divide the pixel from its neighbour in `direction`, 0 or more. Nothing where there is none.
    pub(super) fn border(&mut self, pixel: usize, direction: usize, cost: i32) {
        let (dx, dy) = NEIGHBOURS[direction];
        let x = (pixel % self.columns).checked_add_signed(dx);
        let y = (pixel / self.columns).checked_add_signed(dy);
        if x.is_some_and(|x| x < self.columns) && y.is_some_and(|y| y < self.rows) {
            let at = self.place(pixel);
            let other = self.neighbour(at, direction);
            self.borders[at][direction] = cost;
            self.borders[other][direction ^ 1] = cost;
        }
    }

    /// Of a place that is not on the rim.
    fn neighbour(&self, at: usize, direction: usize) -> usize {
        at.wrapping_add_signed(self.steps[direction])
    }

    /// The parent of a pixel that has one.
    fn up(&self, at: usize) -> usize {
        self.neighbour(at, usize::from(self.parents[at]))
    }

    fn activate(&mut self, pixel: usize) {
        if !self.queued[pixel] {
            self.queued[pixel] = true;
            self.active.push_back(pixel);
        }
    }

    /// Divides: which pixels are object. What costs the same either way is background.
    pub(super) fn divide(mut self) -> Vec<bool> {
        for pixel in 0..self.terminals.len() {
            if self.terminals[pixel] != 0 {
                self.parents[pixel] = TERMINAL;
                self.of_sink[pixel] = self.terminals[pixel] < 0;
                self.distances[pixel] = 1;
                self.activate(pixel);
            }
        }
        while let Some(&pixel) = self.active.front() {
            if self.parents[pixel] != NO_PARENT
                && let Some(path) = self.grow(pixel)
            {
                self.time += 1;
                self.augment(path);
                while let Some(orphan) = self.orphans.pop_front() {
                    self.adopt(orphan);
                }
                // The same pixel may reach the other tree on another way.
                continue;
            }
            self.active.pop_front();
            self.queued[pixel] = false;
        }
        (0..self.columns * self.rows)
            .map(|pixel| self.place(pixel))
            .map(|at| self.parents[at] != NO_PARENT && !self.of_sink[at])
            .collect()
    }

    /// What can still flow through the border between a pixel and its neighbour, away from the source.
    fn open(&self, pixel: usize, direction: usize, other: usize) -> bool {
        if self.of_sink[pixel] {
            self.borders[other][direction ^ 1] > 0
        } else {
            self.borders[pixel][direction] > 0
        }
    }

    /// Takes free neighbours into the pixel's tree. Finds a border to the other tree: its pixel on the source's side and
    /// the direction across.
    fn grow(&mut self, pixel: usize) -> Option<(usize, usize)> {
        for direction in 0..8 {
            let other = self.neighbour(pixel, direction);
            if !self.open(pixel, direction, other) {
                continue;
            }
            if self.parents[other] == NO_PARENT {
                self.of_sink[other] = self.of_sink[pixel];
                self.join(other, direction ^ 1, pixel);
                self.activate(other);
            } else if self.of_sink[other] != self.of_sink[pixel] {
                return Some(if self.of_sink[pixel] {
                    (other, direction ^ 1)
                } else {
                    (pixel, direction)
                });
            } else if self.checked[other] <= self.checked[pixel]
                && self.distances[other] > self.distances[pixel] + 1
            {
                // Shorter trees make shorter paths.
                self.join(other, direction ^ 1, pixel);
            }
        }
        None
    }

    fn join(&mut self, pixel: usize, direction: usize, parent: usize) {
        self.parents[pixel] = direction as u8;
        self.checked[pixel] = self.checked[parent];
        self.distances[pixel] = self.distances[parent] + 1;
    }

    /// Sends as much as the path through this border takes.
    fn augment(&mut self, (source_side, direction): (usize, usize)) {
        let sink_side = self.neighbour(source_side, direction);
        let mut most = self.borders[source_side][direction];
        let mut at = source_side;
        while self.parents[at] != TERMINAL {
            let up = self.up(at);
            most = most.min(self.borders[up][usize::from(self.parents[at]) ^ 1]);
            at = up;
        }
        most = most.min(self.terminals[at]);
        at = sink_side;
        while self.parents[at] != TERMINAL {
            most = most.min(self.borders[at][usize::from(self.parents[at])]);
            at = self.up(at);
        }
        most = most.min(-self.terminals[at]);

        self.borders[source_side][direction] -= most;
        self.borders[sink_side][direction ^ 1] += most;
        at = source_side;
        while self.parents[at] != TERMINAL {
            let (up, d) = (self.up(at), usize::from(self.parents[at]));
            self.borders[at][d] += most;
            self.borders[up][d ^ 1] -= most;
            if self.borders[up][d ^ 1] == 0 {
                self.orphan(at);
            }
            at = up;
        }
        self.terminals[at] -= most;
        if self.terminals[at] == 0 {
            self.orphan(at);
        }
        at = sink_side;
        while self.parents[at] != TERMINAL {
            let (up, d) = (self.up(at), usize::from(self.parents[at]));
            self.borders[at][d] -= most;
            self.borders[up][d ^ 1] += most;
            if self.borders[at][d] == 0 {
                self.orphan(at);
            }
            at = up;
        }
        self.terminals[at] += most;
        if self.terminals[at] == 0 {
            self.orphan(at);
        }
    }

    fn orphan(&mut self, pixel: usize) {
        self.parents[pixel] = ORPHAN;
        self.orphans.push_back(pixel);
    }

    /// Finds another parent in the same tree, the one nearest to its root, or lets the pixel and its children go.
    fn adopt(&mut self, pixel: usize) {
        let mut best: Option<(u32, usize)> = None;
        for direction in 0..8 {
            let other = self.neighbour(pixel, direction);
            if self.parents[other] == NO_PARENT || self.of_sink[other] != self.of_sink[pixel] {
                continue;
            }
            if !self.open(other, direction ^ 1, pixel) {
                continue;
            }
            if let Some(distance) = self.rooted(other)
                && best.is_none_or(|(d, _)| distance < d)
            {
                best = Some((distance, direction));
            }
        }
        if let Some((distance, direction)) = best {
            self.parents[pixel] = direction as u8;
            self.checked[pixel] = self.time;
            self.distances[pixel] = distance + 1;
            return;
        }
        self.parents[pixel] = NO_PARENT;
        for direction in 0..8 {
            let other = self.neighbour(pixel, direction);
            if self.parents[other] == NO_PARENT || self.of_sink[other] != self.of_sink[pixel] {
                continue;
            }
            if self.open(other, direction ^ 1, pixel) {
                self.activate(other);
            }
            if usize::from(self.parents[other]) == direction ^ 1 {
                self.orphan(other);
            }
        }
    }

    /// Distance of a pixel from its tree's root; `None` if the way there is broken. Remembers what it finds on the way.
    fn rooted(&mut self, pixel: usize) -> Option<u32> {
        let (mut at, mut steps) = (pixel, 0);
        let total = loop {
            if self.checked[at] == self.time {
                break steps + self.distances[at];
            }
            steps += 1;
            match self.parents[at] {
                TERMINAL => {
                    self.checked[at] = self.time;
                    self.distances[at] = 1;
                    break steps;
                }
                ORPHAN | NO_PARENT => return None,
                _ => at = self.up(at),
            }
        };
        let (mut at, mut distance) = (pixel, total);
        while self.checked[at] != self.time {
            self.checked[at] = self.time;
            self.distances[at] = distance;
            distance -= 1;
            at = self.up(at);
        }
        Some(total)
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Four of the eight directions name every border once.
    const ONCE: [usize; 4] = [0, 2, 4, 6];

    fn next_to(i: usize, d: usize, columns: usize, rows: usize) -> Option<usize> {
        let (dx, dy) = NEIGHBOURS[d];
        let x = (i % columns).checked_add_signed(dx)?;
        let y = (i / columns).checked_add_signed(dy)?;
        (x < columns && y < rows).then(|| y * columns + x)
    }

    struct Case {
        columns: usize,
        rows: usize,
        wants: Vec<i32>,
        borders: Vec<[i32; 4]>,
    }

    impl Case {
        fn draw(rng: &mut ChaCha8Rng, columns: usize, rows: usize) -> Self {
            let n = columns * rows;
            Self {
                columns,
                rows,
                wants: (0..n).map(|_| rng.random_range(-9..10)).collect(),
                borders: (0..n)
                    .map(|_| [0; 4].map(|_| rng.random_range(0..7)))
                    .collect(),
            }
        }

        fn grid(&self) -> Grid {
            let mut grid = Grid::new(self.columns, self.rows);
            for (i, (want, borders)) in self.wants.iter().zip(&self.borders).enumerate() {
                grid.prefer(i, *want);
                for (d, cost) in ONCE.into_iter().zip(borders) {
                    grid.border(i, d, *cost);
                }
            }
            grid
        }

        fn cost(&self, object: &[bool]) -> i32 {
            let mut cost = 0;
            for (i, (want, borders)) in self.wants.iter().zip(&self.borders).enumerate() {
                cost += if object[i] {
                    -want.min(&0)
                } else {
                    *want.max(&0)
                };
                for (d, border) in ONCE.into_iter().zip(borders) {
                    if next_to(i, d, self.columns, self.rows)
                        .is_some_and(|j| object[i] != object[j])
                    {
                        cost += border;
                    }
                }
            }
            cost
        }
    }

    #[test]
    fn no_division_of_a_small_grid_is_cheaper() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        for (columns, rows) in [(1, 1), (4, 1), (1, 5), (3, 3), (4, 3)] {
            for _ in 0..40 {
                let case = Case::draw(&mut rng, columns, rows);
                let found = case.cost(&case.grid().divide());
                let n = columns * rows;
                let best = (0..1_u32 << n)
                    .map(|bits| {
                        let object: Vec<bool> = (0..n).map(|i| bits >> i & 1 == 1).collect();
                        case.cost(&object)
                    })
                    .min();
                assert_eq!(Some(found), best, "{columns}×{rows}");
            }
        }
    }

    #[test]
    fn a_large_division_cannot_be_bettered_by_a_pixel_or_a_row() {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let case = Case::draw(&mut rng, 60, 40);
        let object = case.grid().divide();
        let cost = case.cost(&object);
        assert!(object.contains(&true) && object.contains(&false));
        for i in 0..object.len() {
            let mut other = object.clone();
            other[i] = !other[i];
            assert!(case.cost(&other) >= cost);
        }
        for row in 0..40 {
            for value in [false, true] {
                let mut other = object.clone();
                other[row * 60..(row + 1) * 60].fill(value);
                assert!(case.cost(&other) >= cost);
            }
        }
    }
}
