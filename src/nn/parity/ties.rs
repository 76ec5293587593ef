//! Target-specific tokens that two crops could represent equally well. A cluster of two has its centre half-way between
//! them, so rounding alone decides which is nearer: two devices, or two orders of a sum, choose differently and are both
//! right. Leaves k-means itself to [`crate::nn::tsf`].

use candle_core::{Result, Tensor};

use crate::nn::tsf::k_means;

/// `got` with the reference's choice wherever the two are the only members of a cluster of `tokens (n, h)`.
pub(super) fn settled(
    tokens: &Tensor,
    got: &[i64],
    want: &[i64],
    (k, iterations): (usize, usize),
) -> Result<Vec<i64>> {
    let samples: Vec<Vec<f32>> = tokens.to_vec2()?;
    let found = k_means(&samples, k, iterations);
    let last = found.assignments.last();
    let tied = |a: i64, b: i64| {
        let Some(last) = last else { return false };
        let cluster = |i: i64| last.get(i as usize);
        cluster(a) == cluster(b) && last.iter().filter(|c| Some(*c) == cluster(a)).count() == 2
    };
    Ok(got
        .iter()
        .zip(want)
        .map(|(&got, &want)| if tied(got, want) { want } else { got })
        .collect())
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn only_the_two_of_a_pair_stand_for_each_other() -> Result<()> {
        let tokens = Tensor::new(
            &[[0.0_f32], [1.0], [10.0], [10.5], [11.5], [20.0]],
            &Device::Cpu,
        )?;
        // Clusters {0, 1}, {10, 10.5, 11.5}, {20}.
        let settle = |got: &[i64], want: &[i64]| settled(&tokens, got, want, (3, 8));
        assert_eq!(settle(&[0, 3, 5], &[1, 3, 5])?, [1, 3, 5]);
        assert_eq!(settle(&[0, 3, 5], &[0, 4, 5])?, [0, 3, 5]);
        assert_eq!(settle(&[0, 3, 5], &[3, 3, 5])?, [0, 3, 5]);
        Ok(())
    }
}
