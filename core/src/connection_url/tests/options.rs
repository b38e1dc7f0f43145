//! Looked for: every option of libpq, a wrong value of each that is kept, other drivers' options, misspelt names, options without
//! a value, an empty value, the same option twice, in the query and before it.

use super::*;

#[test]
fn a_wrong_value_is_answered_with_the_option_and_what_it_can_be_but_not_with_the_value() {
    for (option, advice) in [
        (
            "target_session_attrs=primary",
            "target_session_attrs must be any, read-write or read-only; primary",
        ),
        ("target_session_attrs=standby", "not supported"),
        ("target_session_attrs=prefer-standby", "not supported"),
        ("target_session_attrs=CANARY", "target_session_attrs must be any, read-write or read-only"),
        ("load_balance_hosts=CANARY", "load_balance_hosts must be disable or random"),
        ("sslmode=CANARY", "sslmode must be disable, require, verify-ca or verify-full"),
        ("sslnegotiation=CANARY", "sslnegotiation must be postgres or direct"),
        ("channel_binding=CANARY", "channel_binding must be disable, prefer or require"),
        ("require_auth=CANARY", "require_auth must be scram-sha-256"),
        ("connect_timeout=5s", "connect_timeout must be a whole number of seconds"),
        ("connect_timeout=9223372036854775807", "connect_timeout must be a whole number of seconds"),
        ("tcp_user_timeout=CANARY", "tcp_user_timeout must be a whole number of milliseconds"),
        ("keepalives=CANARY", "keepalives must be 0 or 1"),
        ("keepalives_idle=CANARY", "keepalives_idle must be a whole number of seconds"),
        ("keepalives_interval=CANARY", "keepalives_interval must be a whole number of seconds"),
        ("keepalives_count=CANARY", "keepalives_count must be a whole number of probes"),
        ("keepalives_retries=CANARY", "keepalives_count must be a whole number of probes"),
        ("port=CANARY", "port must be a number"),
        ("hostaddr=CANARY", "hostaddr must be an IP address"),
        ("host=CANARY!", "host is set twice"),
        ("options=%FF", "is not percent-encoded UTF-8"),
    ] {
        let text = refused(&format!("postgres://u:CANARY@h/d?{option}"));
        assert!(
            text.contains(advice) && !text.contains("CANARY") && !text.contains("5s"),
            "{option}: {text}"
        );
    }
}

#[test]
fn every_option_of_libpq_is_kept_or_has_no_effect_or_is_refused_by_its_name() {
    for option in [
        "passfile=%2Fp",
        "fallback_application_name=a",
        "client_encoding=UTF8",
        "client_encoding=utf-8",
        "client_encoding=auto",
        "replication=false",
        "gssencmode=disable",
        "gssencmode=prefer",
        "sslcompression=0",
        "sslcertmode=allow",
        "sslsni=1",
        "ssl_min_protocol_version=TLSv1.2",
        "ssl_max_protocol_version=tlsv1.3",
        "min_protocol_version=3.0",
        "max_protocol_version=latest",
        "krbsrvname=postgres",
        "gsslib=gssapi",
        "gssdelegation=1",
        "sslcrl=",
    ] {
        let url = format!("postgres://u@h/d?{option}");
        assert!(parse(&url).is_ok(), "{option}: {}", refused(&url));
    }
    for option in [
        "client_encoding=LATIN1",
        "replication=database",
        "gssencmode=require",
        "requiressl=1",
        "sslcompression=1",
        "sslkeylogfile=CANARY",
        "sslpassword=CANARY",
        "sslcertmode=require",
        "sslcrl=CANARY",
        "sslcrldir=CANARY",
        "sslsni=0",
        "requirepeer=CANARY",
        "ssl_min_protocol_version=TLSv1.3",
        "ssl_max_protocol_version=TLSv1.2",
        "min_protocol_version=3.2",
        "scram_client_key=CANARY",
        "scram_server_key=CANARY",
        "service=CANARY",
        "oauth_issuer=CANARY",
        "oauth_client_id=CANARY",
        "oauth_client_secret=CANARY",
        "oauth_scope=CANARY",
    ] {
        let text = refused(&format!("postgres://u@h/d?{option}"));
        let name = option.split('=').next().unwrap();
        assert!(
            text.contains(&format!("DATABASE_URL: {name} can")) && !text.contains("CANARY"),
            "{option}: {text}"
        );
    }
    let name = |url: &str| parse(url).unwrap().postgres().get_application_name().map(str::to_owned);
    assert_eq!(name("postgres://u@h/d?fallback_application_name=a").as_deref(), Some("a"));
    assert_eq!(name("postgres://u@h/d?fallback_application_name=a&application_name=b").as_deref(), Some("b"));
}

#[test]
fn another_driver_s_option_or_a_misspelt_one_is_answered_with_what_to_write() {
    for (option, advice) in [
        ("pgbouncer=true", "`pgbouncer`: set DATABASE_POOLER=transaction instead"),
        ("schema=x", "options=-c%20search_path%3DNAME"),
        ("currentSchema=x", "options=-c%20search_path%3DNAME"),
        ("connection_limit=1", "POOL_SIZE"),
        ("pool_timeout=1", "ACQUIRE_TIMEOUT_MS"),
        ("sslaccept=strict", "sslmode=verify-full"),
        ("ssl=true", "sslmode=verify-full"),
        ("statement_cache_size=0", "DATABASE_PREPARE"),
        ("statement-cache-capacity=0", "DATABASE_PREPARE"),
        ("prepareThreshold=0", "DATABASE_PREPARE"),
        ("statement_timeout=1", "STATEMENT_TIMEOUT_MS"),
        ("sslMode=require", "`sslMode`: did you mean sslmode?"),
        ("ssl_mode=require", "did you mean sslmode?"),
        ("connect_timout=1", "did you mean connect_timeout?"),
        ("ApplicationName=a", "did you mean application_name?"),
        ("tcp_user_timeuot=1", "did you mean tcp_user_timeout?"),
        ("pasword=CANARY", "did you mean password?"),
        ("nonsense=CANARY", "unknown option `nonsense`"),
        ("=CANARY", "unknown option"),
        ("%C3%A9=CANARY", "unknown option;"),
    ] {
        let text = refused(&format!("postgres://u:CANARY@h/d?{option}"));
        assert!(text.contains(advice) && !text.contains("CANARY"), "{option}: {text}");
    }
    for far in ["nonsense=1", "xy=1", "a=1", "=1"] {
        let text = refused(&format!("postgres://u@h/d?{far}"));
        assert!(!text.contains("did you mean"), "{far}: {text}");
    }
}

#[test]
fn an_option_that_is_set_twice_is_refused_wherever_the_two_stand() {
    for (url, name) in [
        ("postgres://u@h/d?sslmode=verify-full&sslmode=disable", "sslmode"),
        ("postgres://u@h/d?user=v", "user"),
        ("postgres://u:p@h/d?password=q", "password"),
        ("postgres://u@h/d?host=i", "host"),
        ("postgres://u@h:1/d?port=2", "port"),
        ("postgres://u@h/d?dbname=e", "dbname"),
        ("postgres://u@h/d?keepalives_count=1&keepalives_retries=1", "keepalives_count"),
        ("postgres://u@h/d?krbsrvname=1&krbsrvname=1", "krbsrvname"),
        ("postgres://u@h/d?gssencmode=prefer&gssencmode=disable", "gssencmode"),
    ] {
        assert!(refused(url).contains(&format!("{name} is set twice")), "{url}");
    }
    // an empty one sets nothing
    let url = parse("postgres://:@:/?user=u&host=&host=h&dbname=d&port=1&password=").unwrap();
    assert_eq!((url.postgres().get_user(), names(&url)), (Some("u"), vec!["h".to_owned()]));
    for url in
        ["postgres://u@h/d?sslmode", "postgres://u@h/d?&sslmode=require", "postgres://u@h/d?sslmode=require&"]
    {
        assert!(refused(url).contains("name=value"), "{url}");
    }
    assert!(parse("postgres://u@h/d?").is_ok());
}
