//! Chance, where nothing secret depends on it.

use std::hash::{BuildHasher, Hasher, RandomState};

/// A number from 0 to 1.
pub(crate) fn fraction() -> f64 {
    // each RandomState has keys of its own
    let bits = RandomState::new().build_hasher().finish() >> 32;
    f64::from(u32::try_from(bits).unwrap_or_default()) / f64::from(u32::MAX)
}

/// Puts them in any order.
pub(crate) fn shuffle<T>(all: &mut [T]) {
    all.sort_by_cached_key(|_| RandomState::new().build_hasher().finish());
}

/// 32 hexadecimal digits, to tell one thing from another.
#[cfg(feature = "serve")]
pub(crate) fn hex() -> String {
    let half = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", half(), half())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_differ_and_stay_within_their_bounds() {
        let drawn: Vec<f64> = (0..100).map(|_| fraction()).collect();
        assert!(drawn.iter().all(|drawn| (0.0..=1.0).contains(drawn)));
        assert!(drawn.windows(2).any(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn what_is_shuffled_comes_in_every_order() {
        let orders: std::collections::HashSet<[u8; 3]> = (0..1000)
            .map(|_| {
                let mut all = [1, 2, 3];
                shuffle(&mut all);
                all
            })
            .collect();
        assert_eq!(orders.len(), 6);
    }
}
