//! Texts for tests: what nobody would write, the same in every run.

/// A few thousand texts of up to a dozen fragments.
pub(crate) fn generated(fragments: &[&str]) -> impl Iterator<Item = String> {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap() % below
    };
    (0..4000).map(move |_| (0..random(12)).map(|_| fragments[random(fragments.len())]).collect())
}

/// What a reader of SQL could trip over. `7` is a number, or in quotes or a comment, and never part of a word.
pub(crate) const TRICKY: &[&str] = &[
    "'",
    "''",
    "E'",
    "e'",
    "U&'",
    "U&\"",
    "\"",
    "\"\"",
    "\\",
    "\\'",
    "$",
    "$$",
    "$q$",
    "$1",
    "$12",
    " 7",
    " 7.",
    "é",
    "😀",
    "\u{a0}",
    "--",
    "/*",
    "*/",
    "\n",
    "\r",
    "\0",
    " ",
    " ",
    ";",
    "(",
    ")",
    "[",
    "]",
    ",",
    ".",
    "=",
    ">",
    "{",
    "}",
    "a",
    " SET ",
    " LOCAL ",
    " TO ",
    "statement_timeout",
    "'1.5s'",
    " RESET ",
    " DISCARD ",
    " ALL ",
    " DO ",
    " LANGUAGE ",
    " CREATE ",
    " OR ",
    " REPLACE ",
    " TEMP ",
    " INTO ",
    " INSERT ",
    " UPDATE ",
    " ONLY ",
    "pg_settings",
    "pg_temp",
    "set_config",
    "set_config('a','b',true)",
    " WITH ",
    " HOLD ",
    " FOR ",
    " UESCAPE ",
    " true ",
    " EXECUTE ",
    " BEGIN ",
];
