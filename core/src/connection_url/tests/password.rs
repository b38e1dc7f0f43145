//! A URL whose login is not percent-encoded is read exactly or refused, and shows no secret.
//!
//! Looked for: `@ / ? # : % & = + [ ] ,` and white space in the password, the same in the user, a password in the query, a URL
//! without a user or without a host, several hosts with one bad, a `%` that begins no escape, `%00`, invalid UTF-8.

use proptest::prelude::*;

use super::*;

#[test]
fn a_password_that_is_not_percent_encoded_is_refused_with_advice_and_never_shown() {
    for url in [
        "postgres://alice:pa@CANARY@host/d",
        "postgres://alice:pa@CANARY@[::1]:1/d",
        "postgres://alice@CANARY:pw@host/d",
        "postgres://alice:CANARY?x@127.0.0.1/d?sslmode=require",
        "postgres://alice:12?CANARY@127.0.0.1/d?sslmode=require",
        "postgres://alice:12?user=CANARY@127.0.0.1/d",
        "postgres://alice:CANARY/x@127.0.0.1/d",
        "postgres://alice:12/CANARY@127.0.0.1/d",
        "postgres://alice:CANARY%x@127.0.0.1/d",
        "postgres://alice:CANARY%@127.0.0.1/d",
        "postgres://alice:CANARY%%41@127.0.0.1/d",
        "postgres://alice:CANARY x@127.0.0.1/d",
        "postgres://alice:CANARY\nx@127.0.0.1/d",
        "postgres://alice@127.0.0.1/d?password=CANARY@x",
        "postgres://alice@127.0.0.1/d?password=x&CANARY&sslmode=disable",
        "postgres://alice@127.0.0.1/d?password=x&CANARY=&sslmode=disable",
        "postgres://alice@127.0.0.1/d?password=&CANARY=",
        "postgres://alice@127.0.0.1/d?sslpassword=CANARY",
        "postgres://alice@127.0.0.1/d?password=CANARY&",
    ] {
        let text = refused(url);
        assert!(
            text.contains("percent-encode") || text.contains("is %26") || text.contains("leave"),
            "{url}: {text}"
        );
        assert!(!text.contains("CANARY"), "{url}: {text}");
    }
    for url in [
        "postgres://alice:CANARY",
        "postgres://alice:12?CANARY=x",
        "postgres://:CANARY@127.0.0.1/d",
        "postgres://alice:CANARY%00@127.0.0.1/d",
        "postgres://alice:CANARY%FF@127.0.0.1/d",
        "postgres://alice:CANARY@one,/d",
        "postgres://alice:CANARY@one,two#/d",
        "postgres://alice:CANARY@one,two:0/d",
        "postgres://alice:CANARY@one,two:65536/d",
        "postgres://alice:CANARY@one,[::1/d",
        "CANARY",
        "",
    ] {
        let text = refused(url);
        assert!(!text.contains("CANARY"), "{url}: {text}");
    }
}

#[test]
fn a_login_is_read_as_libpq_reads_it() {
    for (login, user, password) in [
        ("alice:a:b", "alice", "a:b"),
        ("alice:a#b", "alice", "a#b"),
        ("alice:a+b%2B", "alice", "a+b+"),
        ("alice:%20a%20", "alice", " a "),
        ("alice:[a],=&b", "alice", "[a],=&b"),
        ("a%40b%3Ac:%40%2F%3F%25", "a@b:c", "@/?%"),
        ("é:漢", "é", "漢"),
    ] {
        let url = parse(&format!("postgres://{login}@127.0.0.1/d")).unwrap();
        assert_eq!(url.postgres().get_user(), Some(user), "{login}");
        assert_eq!(url.postgres().get_password(), Some(password.as_bytes()), "{login}");
        assert_eq!(names(&url), ["127.0.0.1"], "{login}");
    }
    assert_eq!(parse("postgres://alice:@127.0.0.1/d").unwrap().postgres().get_password(), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_password_is_read_exactly_or_the_url_is_refused_and_no_part_of_it_is_shown(
        password in password(),
        place in 0_usize..6,
    ) {
        let (url, hosts) = match place {
            0 => (format!("postgres://alice:{password}@127.0.0.1/d"), vec!["127.0.0.1"]),
            1 => (format!("postgres://alice:{password}@localhost:5433,[::1]:5434/d?sslmode=disable"), vec!["localhost", "::1"]),
            2 => (format!("postgresql://alice:{password}@[::1]/d?connect_timeout=2"), vec!["::1"]),
            3 => (format!("postgresql://alice:{password}@/d?host=db.example.com"), vec!["db.example.com"]),
            4 => (format!("postgres://alice@db.example.com:1/d?password={password}&connect_timeout=2"), vec!["db.example.com"]),
            _ => (format!("postgres://127.0.0.1/d?user=alice&password={password}&connect_timeout=2"), vec!["127.0.0.1"]),
        };
        match parse(&url) {
            Ok(parsed) => {
                // what looks like an escape is one
                let meant: Vec<u8> = percent_encoding::percent_decode_str(&password).collect();
                prop_assert_eq!(parsed.postgres().get_password(), Some(&meant[..]), "{}", url);
                prop_assert_eq!(parsed.postgres().get_user(), Some("alice"), "{}", url);
                prop_assert_eq!(parsed.postgres().get_dbname(), Some("d"), "{}", url);
                prop_assert_eq!(names(&parsed), hosts, "{}", url);
                let shown = format!("{parsed:?} {:?}", parsed.postgres());
                prop_assert!(!shows_it(&shown), "{}: {}", url, shown);
            }
            Err(error) => {
                let shown = format!("{error} {error:?}");
                prop_assert!(!shows_it(&shown), "{}: {}", url, shown);
            }
        }
    }

    #[test]
    fn a_percent_encoded_password_is_always_read(password in "[^\0]{1,24}") {
        let encoded = percent_encoding::utf8_percent_encode(&password, percent_encoding::NON_ALPHANUMERIC);
        for url in [
            format!("postgres://alice:{encoded}@127.0.0.1/d"),
            format!("postgres://alice@127.0.0.1/d?password={encoded}"),
        ] {
            let parsed = parse(&url).unwrap();
            prop_assert_eq!(parsed.postgres().get_password(), Some(password.as_bytes()));
            prop_assert_eq!(names(&parsed), ["127.0.0.1"]);
        }
    }

    #[test]
    fn a_user_that_is_not_percent_encoded_leads_to_no_other_host(user in password()) {
        let url = format!("postgres://{user}:PASSWORD@127.0.0.1/d");
        let shown = match parse(&url) {
            Ok(parsed) => {
                prop_assert_eq!(names(&parsed), ["127.0.0.1"], "{}", url);
                prop_assert_eq!(parsed.postgres().get_dbname(), Some("d"), "{}", url);
                format!("{parsed:?}{:?}", parsed.postgres())
            }
            Err(error) => format!("{error} {error:?}"),
        };
        prop_assert!(!shown.contains("PASSWORD"), "{}: {}", url, shown);
    }
}

/// What people's and machines' passwords are made of. The capital letters are in no text that is shown otherwise.
fn password() -> impl Strategy<Value = String> {
    "[QXZJ@/?#:%&=+,;'\"\\[\\] \\t\\né漢.0-9A-C-]{1,24}"
}

fn shows_it(text: &str) -> bool {
    text.contains(['Q', 'X', 'Z', 'J', 'é', '漢'])
}

#[test]
fn white_space_at_the_ends_is_trimmed_and_inside_is_refused() {
    for url in ["postgres://u:p@127.0.0.1/d\n", " \t\r\npostgres://u:p@127.0.0.1/d\r\n"] {
        let parsed = parse(url).unwrap();
        assert_eq!(parsed.postgres().get_dbname(), Some("d"), "{url:?}");
    }
    for url in [
        "postgres://u:p@127.0.0.1/d\n?sslmode=disable",
        "postgres://u:p@127.0.0.1 /d",
        "postgres://u:p@127.0.0.1/d?application_name=my app",
        "postgres://u :p@127.0.0.1/d",
        "postgres://u:p@127.0.0.1/d\0e",
    ] {
        assert!(refused(url).contains("white space"), "{url:?}");
    }
    let kept = parse("postgres://u:%20p%0A@127.0.0.1/d%20?application_name=%09").unwrap();
    let postgres = kept.postgres();
    assert_eq!(postgres.get_password(), Some(&b" p\n"[..]));
    assert_eq!((postgres.get_dbname(), postgres.get_application_name()), (Some("d "), Some("\t")));
}
