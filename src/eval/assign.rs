//! The assignment problem: which prediction goes with which truth so that the sum is best.
//!
//! The shortest-augmenting-path method for rectangular matrices (D. F. Crouse, "On implementing 2D rectangular
//! assignment algorithms", 2016), visiting columns in the same order as `scipy.optimize.linear_sum_assignment`: among
//! equally good assignments it finds the same one, so tables of per-object scores come out in the same order.

/// Best assignment of a `rows × columns` score matrix (row-major): `(row, column)` pairs in row order, `min(rows,
/// columns)` of them, with the largest possible sum. Scores that are not finite count as very bad.
pub fn best_assignment(scores: &[f64], rows: usize, columns: usize) -> Vec<(usize, usize)> {
    if rows == 0 || columns == 0 || scores.len() != rows * columns {
        return Vec::new();
    }
    let cost = |score: f64| if score.is_finite() { -score } else { 1e12 };
    if rows <= columns {
        let costs: Vec<f64> = scores.iter().map(|&s| cost(s)).collect();
        solve(&costs, rows, columns)
            .into_iter()
            .enumerate()
            .collect()
    } else {
        let costs: Vec<f64> = (0..columns)
            .flat_map(|c| (0..rows).map(move |r| (r, c)))
            .map(|(r, c)| cost(scores[r * columns + c]))
            .collect();
        let mut pairs: Vec<(usize, usize)> = solve(&costs, columns, rows)
            .into_iter()
            .enumerate()
            .map(|(c, r)| (r, c))
            .collect();
        pairs.sort_unstable();
        pairs
    }
}

/// For each of `n` rows its column among `m ≥ n`, at the least total of finite `costs`.
fn solve(costs: &[f64], n: usize, m: usize) -> Vec<usize> {
    let (mut u, mut v) = (vec![0.0; n], vec![0.0; m]);
    let mut column_of: Vec<Option<usize>> = vec![None; n];
    let mut row_of: Vec<Option<usize>> = vec![None; m];
    for row in 0..n {
        let mut path = vec![0; m];
        let mut shortest = vec![f64::INFINITY; m];
        let (mut seen_row, mut seen_column) = (vec![false; n], vec![false; m]);
        // Downwards, so that a constant matrix gives the identity.
        let mut remaining: Vec<usize> = (0..m).rev().collect();
        let mut i = row;
        let mut least = 0.0;
        let sink = loop {
            seen_row[i] = true;
            let mut lowest = f64::INFINITY;
            let mut index = 0;
            for (k, &j) in remaining.iter().enumerate() {
                let r = least + costs[i * m + j] - u[i] - v[j];
                if r < shortest[j] {
                    path[j] = i;
                    shortest[j] = r;
                }
                if shortest[j] < lowest || (shortest[j] == lowest && row_of[j].is_none()) {
                    lowest = shortest[j];
                    index = k;
                }
            }
            least = lowest;
            let j = remaining.swap_remove(index);
            seen_column[j] = true;
            match row_of[j] {
                Some(owner) => i = owner,
                None => break j,
            }
        };
        u[row] += least;
        for i in (0..n).filter(|&i| seen_row[i] && i != row) {
            if let Some(j) = column_of[i] {
                u[i] += least - shortest[j];
            }
        }
        for j in (0..m).filter(|&j| seen_column[j]) {
            v[j] -= least - shortest[j];
        }
        let mut j = sink;
        loop {
            let i = path[j];
            row_of[j] = Some(i);
            let before = column_of[i].replace(j);
            match before {
                Some(next) if i != row => j = next,
                _ => break,
            }
        }
    }
    column_of
        .into_iter()
        .map(|c| c.expect("every row was given a column: there are at least as many"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against every permutation.
    #[test]
    fn the_sum_is_the_best_there_is() {
        fn best(scores: &[f64], rows: usize, columns: usize, row: usize, used: u32) -> f64 {
            if row == rows {
                return 0.0;
            }
            (0..columns)
                .filter(|c| used >> c & 1 == 0)
                .map(|c| {
                    scores[row * columns + c] + best(scores, rows, columns, row + 1, used | 1 << c)
                })
                .fold(f64::NEG_INFINITY, f64::max)
        }
        let mut state = 1_u64;
        let mut random = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            ((state >> 33) % 100) as f64 / 10.0
        };
        for (rows, columns) in [(1, 1), (2, 3), (3, 3), (4, 6), (5, 5), (6, 6)] {
            for _ in 0..30 {
                let scores: Vec<f64> = (0..rows * columns).map(|_| random()).collect();
                let pairs = best_assignment(&scores, rows, columns);
                let sum: f64 = pairs.iter().map(|(r, c)| scores[r * columns + c]).sum();
                assert!((sum - best(&scores, rows, columns, 0, 0)).abs() < 1e-9);
                // The same problem standing up.
                let turned: Vec<f64> = (0..columns)
                    .flat_map(|c| (0..rows).map(move |r| (r, c)))
                    .map(|(r, c)| scores[r * columns + c])
                    .collect();
                let tall = best_assignment(&turned, columns, rows);
                let tall_sum: f64 = tall.iter().map(|(c, r)| turned[c * rows + r]).sum();
                assert!((sum - tall_sum).abs() < 1e-9);
                assert_eq!(tall.len(), rows);
            }
        }
    }

    #[test]
    fn ties_and_nonsense() {
        assert_eq!(
            best_assignment(&[1.0; 9], 3, 3),
            vec![(0, 0), (1, 1), (2, 2)]
        );
        assert_eq!(best_assignment(&[], 0, 3), vec![]);
        assert_eq!(best_assignment(&[1.0], 1, 3), vec![]);
        let pairs = best_assignment(&[f64::NAN, 1.0, 1.0, f64::NAN], 2, 2);
        assert_eq!(pairs, vec![(0, 1), (1, 0)]);
    }
}
