//! How a name of Rust becomes a name of PostgreSQL: the values of `rename_all`.

/// A way to join words into a name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Case {
    Snake,
    Lower,
    Kebab,
    ScreamingSnake,
    Camel,
    Pascal,
}

impl Case {
    /// All of them, by the name that `rename_all` knows them by.
    pub(crate) const ALL: [(&'static str, Self); 6] = [
        ("snake_case", Self::Snake),
        ("lowercase", Self::Lower),
        ("kebab-case", Self::Kebab),
        ("SCREAMING_SNAKE_CASE", Self::ScreamingSnake),
        ("camelCase", Self::Camel),
        ("PascalCase", Self::Pascal),
    ];

    /// A field's or a variant's name in this case.
    pub(crate) fn apply(self, name: &str) -> String {
        let words = words(name);
        match self {
            Self::Snake => words.join("_"),
            Self::Lower => name.to_lowercase(), // underscores stay, as serde has it
            Self::Kebab => words.join("-"),
            Self::ScreamingSnake => words.join("_").to_uppercase(),
            Self::Pascal => words.iter().map(|word| capitalized(word)).collect(),
            Self::Camel => {
                let mut words = words.into_iter();
                let first = words.next().unwrap_or_default();
                words.fold(first, |name, word| name + &capitalized(&word))
            }
        }
    }
}

/// The words of a name, in lower case: `very_happy`, `VeryHappy` and `veryHappy` have the same two.
///
/// A word begins behind an underscore, with a capital behind a small letter or digit (`Utf8Text`), and with
/// the last of several capitals if a small letter follows it (`HTTPError`).
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = None;
    let mut letters = name.chars().peekable();
    while let Some(letter) = letters.next() {
        let small_follows = letters.peek().is_some_and(|next| next.is_lowercase());
        let begins = letter.is_uppercase()
            && before.is_some_and(|before: char| !before.is_uppercase() || small_follows);
        if begins || letter == '_' {
            words.push(String::new());
        }
        if letter != '_'
            && let Some(word) = words.last_mut()
        {
            word.extend(letter.to_lowercase());
        }
        before = Some(letter);
    }
    words.retain(|word| !word.is_empty());
    words
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_every_case() {
        let names = Case::ALL.map(|(_, case)| case.apply("VeryHappy"));
        assert_eq!(names, ["very_happy", "veryhappy", "very-happy", "VERY_HAPPY", "veryHappy", "VeryHappy"]);
    }

    #[test]
    fn a_field_and_a_variant_of_the_same_words_are_the_same_name() {
        for name in ["very_happy", "VeryHappy", "veryHappy", "VERY_HAPPY", "_very__happy_"] {
            assert_eq!(Case::Snake.apply(name), "very_happy", "{name}");
            assert_eq!(Case::Camel.apply(name), "veryHappy", "{name}");
        }
    }

    #[test]
    fn a_run_of_capitals_is_one_word() {
        assert_eq!(Case::Snake.apply("HTTPError"), "http_error");
        assert_eq!(Case::Snake.apply("LastHTTP"), "last_http");
        assert_eq!(Case::Snake.apply("A"), "a");
        assert_eq!(Case::Snake.apply("PlanB"), "plan_b");
    }

    #[test]
    fn digits_stay_with_the_word_before_them() {
        assert_eq!(Case::Snake.apply("Iso8601"), "iso8601");
        assert_eq!(Case::Snake.apply("Utf8Text"), "utf8_text");
    }

    #[test]
    fn letters_beyond_ascii_have_cases_too() {
        assert_eq!(Case::Snake.apply("SehrGlücklichÜberall"), "sehr_glücklich_überall");
        assert_eq!(Case::Pascal.apply("über_all"), "ÜberAll");
    }

    #[test]
    fn lowercase_keeps_underscores_as_serde_does() {
        for (name, lower) in
            [("unit_price", "unit_price"), ("UnitPrice", "unitprice"), ("Unit_Price", "unit_price")]
        {
            assert_eq!(Case::Lower.apply(name), lower);
        }
    }

    #[test]
    fn a_name_without_letters_is_no_panic() {
        assert_eq!(Case::ALL.map(|(_, case)| case.apply("__")), ["", "__", "", "", "", ""]);
    }
}
