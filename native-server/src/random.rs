//! Chance, where nothing secret depends on it.

use std::hash::{BuildHasher, Hasher, RandomState};

/// A number from 0 to 1.
pub(crate) fn fraction() -> f64 {
    // each RandomState has keys of its own
    let bits = RandomState::new().build_hasher().finish() >> 32;
    f64::from(u32::try_from(bits).unwrap_or_default()) / f64::from(u32::MAX)
}

/// 32 hexadecimal digits, to tell one thing from another.
#[cfg(feature = "serve")]
pub(crate) fn hex() -> String {
    let half = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", half(), half())
}

#[cfg(test)]
mod tests {
    use super::fraction;

    #[test]
    fn fractions_differ_and_stay_within_their_bounds() {
        let drawn: Vec<f64> = (0..100).map(|_| fraction()).collect();
        assert!(drawn.iter().all(|drawn| (0.0..=1.0).contains(drawn)));
        assert!(drawn.windows(2).any(|pair| pair[0] != pair[1]));
    }
}
