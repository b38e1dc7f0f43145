//! Looked for: IPv6 addresses before the query and in it, with a zone and without brackets; brackets that are not balanced or hold
//! something else; empty hosts; characters no host has; ports and addresses that are too many, too few or no numbers.

use tokio_postgres::config::SslNegotiation;

use super::*;

#[test]
fn hosts_have_no_brackets_and_nothing_else_is_taken_for_one() {
    for (place, hosts, ports) in [
        ("@[::1]/d", &["::1"][..], &[5432_u16][..]),
        ("@[::1]:1/d", &["::1"], &[1]),
        ("@[fe80::1%25eth0]/d", &["fe80::1%eth0"], &[5432]),
        (
            "@[::1]:1,[2001:db8::2],db_3.example.com:3/d",
            &["::1", "2001:db8::2", "db_3.example.com"],
            &[1, 5432, 3],
        ),
        ("@/d?host=::1", &["::1"], &[5432]),
        ("@/d?host=[::1]&port=7", &["::1"], &[7]),
        ("@/d?host=%5B::1%5D,b&port=7", &["::1", "b"], &[7]),
        ("@a,b/d?port=7,8", &["a", "b"], &[7, 8]),
        ("@a,b/d?port=7,", &["a", "b"], &[7, 5432]),
        ("@%2Frun%2Fpostgresql:7/d", &["/run/postgresql"], &[7]),
        ("@/d?host=/cloudsql/project:region:name", &["/cloudsql/project:region:name"], &[5432]),
    ] {
        let url = parse(&format!("postgres://u{place}")).unwrap();
        assert_eq!(names(&url), hosts, "{place}");
        assert_eq!(url.postgres().get_ports(), ports, "{place}");
    }
    for (place, advice) in [
        ("@[::1/d", "[::1]"),
        ("@::1]/d", "[::1]"),
        ("@[::1]x/d", "[::1]"),
        ("@[::1]x:1/d", "[::1]"),
        ("@x[::1]:1/d", "[::1]"),
        ("@[]/d", "[::1]"),
        ("@[]:1/d", "[::1]"),
        ("@[[::1]]/d", "[::1]"),
        ("@[127.0.0.1]/d", "[::1]"),
        ("@[localhost]/d", "[::1]"),
        ("@::1/d", "[::1]"),
        ("@2001:db8::5:5432/d", "[::1]"),
        ("@a:1:2/d", "[::1]"),
        ("@a%40b/d", "no name"),
        ("@a,b%20c/d", "no name"),
        ("@a#b/d", "no name"),
        ("@a,,b/d", "is empty"),
        ("@:5432/d", "has no host"),
        ("@/d", "has no host"),
        ("@/d?hostaddr=127.0.0.1", "has no host"),
        ("@a:x/d", "port must be"),
        ("@a:0/d", "port must be"),
        ("@a:-1/d", "port must be"),
        ("@a,b,c/d?port=1,2", "one for each host"),
        ("@a,b/d?hostaddr=127.0.0.1", "an address for each"),
        ("@a/d?hostaddr=example.com", "IP address"),
        ("@a/d?hostaddr=[::1]", "IP address"),
    ] {
        let text = refused(&format!("postgres://u{place}"));
        assert!(text.contains(advice), "{place}: {text}");
    }
}

#[test]
fn a_host_can_read_all_that_it_has_to_keep_or_to_refuse() {
    let url = "postgres://u@one,two/d?hostaddr=203.0.113.5,2001:db8::1&target_session_attrs=read-only&connect_timeout=7\
        &sslnegotiation=direct&load_balance_hosts=random&keepalives=0&keepalives_idle=1&keepalives_interval=2&keepalives_count=3";
    let url = parse(url).unwrap();
    let postgres = url.postgres();
    let addresses: Vec<String> = postgres.get_hostaddrs().iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["203.0.113.5", "2001:db8::1"]);
    assert_eq!(postgres.get_target_session_attrs(), TargetSessionAttrs::ReadOnly);
    assert_eq!(postgres.get_connect_timeout(), Some(&Duration::from_secs(7)));
    assert_eq!(postgres.get_ssl_negotiation(), SslNegotiation::Direct);
    assert_eq!(postgres.get_load_balance_hosts(), LoadBalanceHosts::Random);
    assert!(!postgres.get_keepalives());
    assert_eq!(postgres.get_keepalives_idle(), Duration::from_secs(1));
    assert_eq!(postgres.get_keepalives_interval(), Some(Duration::from_secs(2)));
    assert_eq!(postgres.get_keepalives_retries(), Some(3));
    let nothing =
        parse("postgres://u@h/d?connect_timeout=0&keepalives_count=0&keepalives_interval=-1").unwrap();
    assert_eq!(nothing.postgres().get_connect_timeout(), None);
    assert_eq!(nothing.postgres().get_keepalives_retries(), None);
    assert_eq!(nothing.postgres().get_keepalives_interval(), None);
}
