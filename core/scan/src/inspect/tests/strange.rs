//! Texts that nobody would write.

use crate::cursor::PASSED;
use crate::generated::{TRICKY, generated};
use crate::inspect;

#[test]
fn no_text_makes_it_panic() {
    let mut seen = [0; 3];
    for text in generated(TRICKY) {
        let places: Vec<usize> = text.match_indices('$').map(|(place, _)| place).collect();
        let inspection = inspect(&text, &places);
        assert_eq!(inspection.by_hand, None, "every dollar is ours: {text:?}");
        inspect(&text, &[]);
        seen[inspection.effect as usize] += 1;
    }
    assert!(seen[0] > 100 && seen[2] > 100, "the generator makes always the same: {seen:?}");
}

#[test]
fn the_cost_of_a_text_is_linear_in_its_length() {
    let nested = "set_config(".repeat(1000) + "1" + &",2,true)".repeat(1000);
    let long_comment = format!("UPDATE /*{}*/ ", "x".repeat(1000));
    for fragment in TRICKY.iter().copied().chain([
        "set_config(",
        "set_config('a',",
        "set_config('a','b',true) ",
        "set_config(1,(2,",
        "UPDATE.",
        "UPDATE(",
        "E'' ",
        "E''\n",
        "$a",
        "$a$",
        "/*",
        "INTO LOCAL ",
        "U&\"a",
        "1e",
        "1.",
        &nested,
        &long_comment,
    ]) {
        for start in ["", "(", "DO $x$", "DO '", "SET ", "CREATE OR "] {
            let text = start.to_owned() + &fragment.repeat(20_000 / fragment.len());
            let before = PASSED.get();
            inspect(&text, &[]);
            let passed = PASSED.get() - before;
            let shown: String = text.chars().take(40).collect();
            assert!(passed < 20 * text.len(), "{shown:?}…: {passed} bytes passed for {}", text.len());
        }
    }
}
