//! The released selection rule: from confidences to kept proposals. Thresholds are the caller's.

/// For each row of confidences the proposals to keep.
///
/// Kept are the valid ones at or above `threshold`, by index; if there is none, the best valid one; if more than `cap`,
/// the best `cap` of them, best first. Where no proposal is valid the reference still answers with the first, and so
/// does this; without proposals the answer is empty. A `cap` of 0 counts as 1.
pub fn select(
    confidence: &[Vec<f32>],
    valid: &[bool],
    threshold: f32,
    cap: usize,
) -> Vec<Vec<usize>> {
    confidence
        .iter()
        .map(|row| select_row(row, valid, threshold, cap.max(1)))
        .collect()
}

fn select_row(row: &[f32], valid: &[bool], threshold: f32, cap: usize) -> Vec<usize> {
    let usable: Vec<usize> = (0..row.len())
        .filter(|&j| valid.get(j).copied().unwrap_or(false) && !row[j].is_nan())
        .collect();
    let good: Vec<usize> = usable
        .iter()
        .copied()
        .filter(|&j| row[j] >= threshold)
        .collect();
    let kept = if good.is_empty() {
        best(row, &usable, 1)
    } else {
        best(row, &good, cap)
    };
    if kept.is_empty() && !row.is_empty() {
        return vec![0];
    }
    kept
}

/// `among` itself if it has at most `cap` entries, else its best, best first (earlier first among equals).
pub(super) fn best(values: &[f32], among: &[usize], cap: usize) -> Vec<usize> {
    let mut kept = among.to_vec();
    if kept.len() > cap {
        kept.sort_by(|&i, &j| values[j].total_cmp(&values[i]));
        kept.truncate(cap);
    }
    kept
}

/// Which of `sets` box sets each of `tokens` mask tokens takes: its own, or the last where there are fewer sets; nothing
/// without sets.
pub fn align(sets: usize, tokens: usize) -> Vec<usize> {
    match sets.checked_sub(1) {
        Some(last) => (0..tokens).map(|i| i.min(last)).collect(),
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(row: &[f32], valid: &[bool], threshold: f32, cap: usize) -> Vec<usize> {
        select(&[row.to_vec()], valid, threshold, cap).remove(0)
    }

    #[test]
    fn order_is_by_index_until_the_cap_bites() {
        let row = [0.5, 0.9, 0.4, 0.7, 0.39];
        let valid = [true; 5];
        assert_eq!(one(&row, &valid, 0.4, 4), [0, 1, 2, 3]);
        assert_eq!(one(&row, &valid, 0.4, 3), [1, 3, 0]);
        assert_eq!(one(&row, &valid, 0.95, 3), [1]);
        assert_eq!(one(&row, &[true, false, true, true, true], 0.95, 3), [3]);
    }

    #[test]
    fn without_a_valid_proposal_the_first_is_kept_and_without_any_none() {
        assert_eq!(one(&[0.1, 0.9], &[false, false], 0.4, 3), [0]);
        assert_eq!(one(&[f32::NAN], &[true], 0.4, 3), [0]);
        assert!(one(&[], &[], 0.4, 3).is_empty());
        assert_eq!(one(&[0.8, 0.9], &[true, true], 0.4, 0), [1]);
    }

    #[test]
    fn tokens_beyond_the_sets_take_the_last() {
        assert_eq!(align(2, 4), [0, 1, 1, 1]);
        assert_eq!(align(3, 2), [0, 1]);
        assert!(align(0, 3).is_empty());
    }
}
