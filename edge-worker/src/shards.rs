//! Which object answers a request.

use pgspan::{Error, Kind};

use crate::variables::number;

/// So many objects at most. 64: a thread each, and 320 connections.
const SHARDS_MOST: u32 = 64;
/// Where Cloudflare places an object when asked to.
const PLACES: [&str; 9] = ["wnam", "enam", "sam", "weur", "eeur", "apac", "oc", "afr", "me"];

/// The objects that share the load. `entry.mjs` chooses by the same settings, and takes one object where they are wrong: that
/// says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shards {
    count: u32,
    pub(crate) place: Option<String>,
}

impl Shards {
    /// From `POOL_SHARDS` and `POOL_LOCATION_HINT`.
    pub(crate) fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Shards, Vec<Error>> {
        let (count, mut faults) = match number(&lookup, "POOL_SHARDS", 1, 1..=SHARDS_MOST) {
            Ok(count) => (count, Vec::new()),
            Err(fault) => (1, vec![fault]),
        };
        let place = lookup("POOL_LOCATION_HINT");
        if place.as_deref().is_some_and(|place| !PLACES.contains(&place)) {
            let text = "POOL_LOCATION_HINT: must be wnam, enam, sam, weur, eeur, apac, oc, afr or me";
            faults.push(Error::new(Kind::Config, text));
        }
        if faults.is_empty() { Ok(Shards { count, place }) } else { Err(faults) }
    }

    /// One object, wherever it is created.
    pub(crate) const ONE: Shards = Shards { count: 1, place: None };

    /// The name of one of the objects, by chance (a number from 0 to below 1). An object stays where it was created, so the
    /// place is part of its name: where the setting changes, another object is created there.
    pub(crate) fn name(&self, chance: f64) -> String {
        let numbers = 0..self.count;
        let number =
            numbers.rev().find(|number| f64::from(*number) <= chance * f64::from(self.count)).unwrap_or(0);
        match &self.place {
            Some(place) => format!("pool-{place}-{number}"),
            None => format!("pool-{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shards(count: &str, place: &str) -> Result<Shards, Vec<Error>> {
        Shards::read(|name| {
            let value = if name == "POOL_SHARDS" { count } else { place };
            Some(value.to_owned()).filter(|value| !value.is_empty())
        })
    }

    #[test]
    fn each_object_is_chosen_and_its_place_is_part_of_its_name() {
        let three = shards("3", "weur").unwrap();
        let names = [0.0, 0.33, 0.34, 0.66, 0.67, 0.999_999].map(|chance| three.name(chance));
        let [a, b, c] = ["pool-weur-0", "pool-weur-1", "pool-weur-2"];
        assert_eq!(names, [a, a, b, b, c, c]);
        assert_eq!(shards("", "").unwrap().name(0.999), "pool-0");
        assert!(shards("64", "me").is_ok());
    }

    #[test]
    fn nonsense_is_refused_and_named() {
        for count in ["three", "-2", "0", "65", "1000000000", "1.5", "true", " 3"] {
            let faults = shards(count, "").unwrap_err();
            assert!(
                faults.len() == 1 && faults[0].to_string().contains("POOL_SHARDS"),
                "{count}: {faults:?}"
            );
        }
        for place in ["europe", "WEUR", "weur "] {
            let faults = shards("-1", place).unwrap_err();
            assert!(faults.len() == 2 && faults[1].to_string().contains("POOL_LOCATION_HINT"), "{faults:?}");
        }
    }
}
