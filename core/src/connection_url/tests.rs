//! What a URL becomes: its encryption, its session, and what is shown of it.

mod hosts;
mod options;
mod password;

use tokio_postgres::config::Host;

use super::*;
use crate::error::Kind;
use crate::settings::Pooler;

fn parse(url: &str) -> Result<ConnectionUrl> {
    url.parse()
}

#[test]
fn tls_is_decided_by_configuration() {
    for (url, tls) in [
        ("postgres://u@127.0.0.1/d", Tls::Disable),
        ("postgres://u@[::1]:5432/d", Tls::Disable),
        ("postgres://u@localhost/d?sslmode=verify-full", Tls::VerifyFull),
        ("postgresql://u:p@db.example.com/d", Tls::VerifyFull),
        ("postgres://u@db.example.com/d?sslmode=require", Tls::VerifyFull),
        ("postgres://u@db.example.com/d?sslmode=verify-ca&sslrootcert=%2Fca.pem", Tls::VerifyCa),
        ("postgres://u@%2Frun%2Fpostgresql/d", Tls::Disable),
    ] {
        let parsed = parse(url).unwrap();
        assert_eq!(parsed.tls(), tls, "{url}");
        let mode = if tls == Tls::Disable { SslMode::Disable } else { SslMode::Require };
        assert_eq!(parsed.postgres().get_ssl_mode(), mode, "{url}");
    }
}

#[test]
fn what_would_be_unsafe_or_makes_no_sense_is_refused_with_advice_and_without_the_secret() {
    for (url, advice) in [
        ("postgres://u:CANARY@db.example.com/d?sslmode=prefer", "verify-full"),
        ("postgres://u:CANARY@db.example.com/d?sslmode=allow", "verify-full"),
        ("postgres://u:CANARY@db.example.com/d?sslmode=disable", "verify-full"),
        ("postgres://u:CANARY@db.example.com/d?sslmode=maybe", "must be"),
        ("postgres://u:CANARY@127.0.0.1/d?channel_binding=require", "needs TLS"),
        ("postgres://u:CANARY@127.0.0.1/d?sslnegotiation=direct", "needs TLS"),
        ("postgres://u:CANARY@127.0.0.1/d?tcp_user_timeout=2s", "milliseconds"),
        ("postgres://u:CANARY@127.0.0.1/d?sslrootcert=a", "no meaning"),
        ("postgres://u:CANARY@127.0.0.1/d?sslcert=a&sslkey=b", "no meaning"),
        ("postgres://u:CANARY@db.example.com/d?sslcert=a", "need each other"),
        ("postgres://u:CANARY@localhost/d?hostaddr=203.0.113.5&sslmode=disable", "verify-full"),
        ("postgres://u:CANARY@127.0.0.1,db.example.com/d?sslmode=disable", "verify-full"),
        ("postgres://u:CANARY@127.0.0.1/d?require_auth=md5", "scram-sha-256"),
        ("postgres://u:CANARY@127.0.0.1/d?nonsense=CANARY", "unknown option"),
        ("postgres://u:CANARY@127.0.0.1:port/d", "port must be"),
        ("postgres://:CANARY@/d", "no "),
        ("mysql://u:CANARY@127.0.0.1/d", "must be a URL"),
        ("host=127.0.0.1 password=CANARY", "must be a URL"),
    ] {
        let error = parse(url).unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(text.contains(advice) && !text.contains("CANARY"), "{url}: {text}");
        assert_eq!(error.kind(), Kind::Config);
    }
}

#[test]
fn a_url_is_shown_without_user_and_password() {
    let shown = format!("{:?}", parse("postgres://alice:CANARY@127.0.0.1:5433/d").unwrap());
    assert!(shown.contains("5433") && !shown.contains("alice") && !shown.contains("CANARY"), "{shown}");
}

#[test]
fn several_hosts_and_a_client_certificate_are_let_through() {
    let url = "postgres://u@a:1,b:2/d?target_session_attrs=read-write&sslcert=%2Fc.pem&sslkey=%2Fk.pem";
    let url = parse(url).unwrap();
    assert_eq!((url.postgres().get_hosts().len(), url.postgres().get_ports()), (2, &[1, 2][..]));
    let wanted = url.postgres().get_target_session_attrs();
    assert_eq!(wanted, tokio_postgres::config::TargetSessionAttrs::ReadWrite);
    assert_eq!(url.client_certificate(), Some(("/c.pem", "/k.pem")));
}

#[test]
fn the_time_until_a_peer_must_have_acknowledged_is_in_milliseconds_as_libpq_has_it() {
    let timeout = |url: &str| parse(url).unwrap().postgres().get_tcp_user_timeout().copied();
    let expected = Some(Duration::from_millis(2500));
    assert_eq!(timeout("postgres://u@127.0.0.1/d?tcp_user_timeout=2500"), expected);
    assert_eq!(timeout("postgres://u@127.0.0.1/d?tcp_user_timeout=0"), None);
}

#[test]
fn a_password_file_can_be_named() {
    let url = parse("postgres://u@127.0.0.1/d?passfile=%2Fsecrets%2Fpgpass").unwrap();
    assert_eq!(url.passfile(), Some("/secrets/pgpass"));
}

#[test]
fn scram_can_be_required() {
    assert!(parse("postgres://u@127.0.0.1/d?require_auth=scram-sha-256").unwrap().requires_scram());
    assert!(!parse("postgres://u@127.0.0.1/d").unwrap().requires_scram());
}

#[test]
fn limits_travel_as_start_up_options_but_not_through_a_pooler() {
    let url = parse("postgres://u@127.0.0.1/d?options=-c%20statement_timeout%3D1").unwrap();
    let options = url.configure(&Settings::default()).get_options().unwrap().to_owned();
    assert!(options.starts_with("-c statement_timeout=5000 -c lock_timeout=2000"), "{options}");
    assert!(options.ends_with("-c statement_timeout=1"), "{options}");
    let pooled = Settings { pooler: Some(Pooler::Transaction), ..Settings::default() };
    assert_eq!(pooled.startup_options(), None);
    assert_eq!(pooled.transaction_limits().len(), 3);
}

fn refused(url: &str) -> String {
    let error = parse(url).expect_err(url);
    assert_eq!(error.kind(), Kind::Config, "{url}");
    format!("{error} {error:?}")
}

fn names(url: &ConnectionUrl) -> Vec<String> {
    let name = |host: &Host| match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(folder) => folder.display().to_string(),
    };
    url.postgres().get_hosts().iter().map(name).collect()
}
