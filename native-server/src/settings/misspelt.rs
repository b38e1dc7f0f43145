//! Settings that are misspelt: they would be ignored without a word.

/// A line for each of these names that nearly is the name of a setting.
pub(super) fn misspelt(given: impl Iterator<Item = String>, known: &[&str]) -> Vec<String> {
    let mut lines: Vec<String> = given
        .filter(|name| !known.contains(&name.as_str()))
        .filter_map(|name| {
            let near = known.iter().filter(|setting| is_near(&name, setting));
            near.min_by_key(|setting| strsim::osa_distance(&name, setting))
                .map(|setting| format!("{name} is no setting and is ignored: is it {setting}?"))
        })
        .collect();
    lines.sort();
    lines
}

/// One slip, or two in a long name; none in one as short as `HTTP2`, which `HTTPS` is not.
fn is_near(name: &str, setting: &str) -> bool {
    let slips = match setting.len() {
        ..7 => 0,
        7..9 => 1,
        _ => 2,
    };
    strsim::osa_distance(&name.to_ascii_uppercase(), setting) <= slips
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_told_and_what_belongs_to_others_is_not() {
        let known = ["POOL_SIZE", "LISTEN_ADDR", "HTTP2", "DATABASE_URL", "DATABASE_URL_FILE"];
        let told = |name: &str| misspelt([name.to_owned()].into_iter(), &known);
        for (slip, setting) in [
            ("POOL_SZIE", "POOL_SIZE"),
            ("POOLSIZE", "POOL_SIZE"),
            ("pool_size", "POOL_SIZE"),
            ("LISTEN_ADDRES", "LISTEN_ADDR"),
            ("DATABSE_URL", "DATABASE_URL"),
        ] {
            assert_eq!(told(slip), [format!("{slip} is no setting and is ignored: is it {setting}?")]);
        }
        for other in ["POOL_SIZE", "PATH", "HTTPS", "HTTP_PROXY", "DATABASE_HOST", "LISTEN_FDS", "POOL"] {
            assert!(told(other).is_empty(), "{other}");
        }
    }
}
