//! Numbers on the command line: each in its bounds, or one sentence about what it should be. A minus sign reaches them only where
//! the option says `allow_negative_numbers`.

/// A frame, counted from 0.
pub(super) fn frame(text: &str) -> Result<u32, String> {
    text.trim()
        .parse()
        .map_err(|_no_number| "frames are whole numbers, counted from 0".to_owned())
}

/// A time in minutes, above 0.
pub(super) fn minutes(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(minutes) if minutes.is_finite() && minutes > 0.0 => Ok(minutes),
        _ => Err("give a number of minutes above 0, like 30 or 0.5".to_owned()),
    }
}

/// A share of a whole, from 0 to 1.
pub(super) fn share(text: &str) -> Result<f32, String> {
    match text.trim().parse::<f32>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("give a part of the whole, from 0 to 1, like 0.5".to_owned()),
    }
}

/// 0 or 1.
pub(super) fn none_or_one(text: &str) -> Result<u32, String> {
    match text.trim() {
        "0" => Ok(0),
        "1" => Ok(1),
        _ => Err("there is one or none: give 0 or 1".to_owned()),
    }
}

/// A number of things, 1 or more.
pub(super) fn some(text: &str) -> Result<u64, String> {
    match text.trim().parse() {
        Ok(n) if n > 0 => Ok(n),
        _ => Err("give a whole number, 1 or more".to_owned()),
    }
}

/// A seed, 0 or more.
pub(super) fn seed(text: &str) -> Result<u64, String> {
    text.trim()
        .parse()
        .map_err(|_no_number| format!("seeds are whole numbers from 0 to {}", u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_out_of_bounds_are_refused() {
        for bad in ["-1", "nan", "inf", "1e999", "", "x"] {
            assert!(minutes(bad).is_err() && share(bad).is_err(), "{bad}");
            assert!(frame(bad).is_err() && none_or_one(bad).is_err(), "{bad}");
            assert!(some(bad).is_err() && seed(bad).is_err(), "{bad}");
        }
        assert!(minutes("0").is_err() && share("2").is_err() && some("0").is_err());
        assert_eq!(
            (minutes("0.5"), share("1"), frame("0")),
            (Ok(0.5), Ok(1.0), Ok(0))
        );
        assert_eq!(
            (none_or_one("1"), some("3"), seed("0")),
            (Ok(1), Ok(3), Ok(0))
        );
    }
}
