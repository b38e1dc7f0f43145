//! What libpq reads besides the URL: variables of the environment (`PG…`) and the password file.
//!
//! Source: PostgreSQL documentation, 34.15 "Environment Variables" and 34.16 "The Password File".

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use pgspan::{ConnectionUrl, Result};
use tokio_postgres::config::Host;

/// The URL with what it lacks taken from the environment and from the password file, as libpq does; `None` if there is
/// neither a URL nor `PGHOST`. `lookup` finds a variable by its name.
///
/// What the URL says wins over `PGHOST`, `PGPORT`, `PGUSER`, `PGPASSWORD`, `PGDATABASE`, `PGAPPNAME`, `PGOPTIONS`, `PGSSLMODE`,
/// `PGSSLROOTCERT`, `PGSSLCERT`, `PGSSLKEY`, `PGCHANNELBINDING` and `PGTARGETSESSIONATTRS`. A password that is in neither is
/// looked for in the file that `PGPASSFILE` names, else in `~/.pgpass`; with several hosts, the first that is found there
/// is for all of them. A file that others may read is left alone, with a warning.
///
/// # Errors
///
/// [`Kind::Config`](pgspan::Kind::Config), as [`ConnectionUrl`]'s parsing, and without the URL.
pub fn complete(url: Option<&str>, lookup: impl Fn(&str) -> Option<String>) -> Result<Option<String>> {
    let variable = |name: &str| lookup(name).filter(|value| !value.is_empty());
    let mut parts = match (url, variable("PGHOST")) {
        (None, None) => return Ok(None),
        (None, Some(_)) => Parts::of("postgresql://"),
        (Some(url), _) => match url.starts_with("postgres://") || url.starts_with("postgresql://") {
            true => Parts::of(url),
            false => return url.parse::<ConnectionUrl>().map(|_| None), // which says what is wrong
        },
    };
    if let Some(port) = variable("PGPORT") {
        parts.default_port(&port);
    }
    for (key, name) in VARIABLES {
        if let Some(value) = variable(name).filter(|_| !parts.have(key)) {
            parts.add(key, &value);
        }
    }
    let parsed: ConnectionUrl = parts.url.parse()?;
    let file = variable("PGPASSFILE").map(PathBuf::from);
    let file = file.or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(".pgpass")));
    if let (None, Some(file)) = (parsed.postgres().get_password(), file)
        && let Some(password) = read_password(&file, &parsed)
    {
        parts.add("password", &password);
    }
    Ok(Some(parts.url))
}

/// Whether its owner alone may use the file, as libpq asks of files with secrets.
pub(crate) fn is_private(path: impl AsRef<std::path::Path>) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o077 == 0)
}

const VARIABLES: [(&str, &str); 12] = [
    ("host", "PGHOST"),
    ("user", "PGUSER"),
    ("password", "PGPASSWORD"),
    ("dbname", "PGDATABASE"),
    ("application_name", "PGAPPNAME"),
    ("options", "PGOPTIONS"),
    ("sslmode", "PGSSLMODE"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("sslcert", "PGSSLCERT"),
    ("sslkey", "PGSSLKEY"),
    ("channel_binding", "PGCHANNELBINDING"),
    ("target_session_attrs", "PGTARGETSESSIONATTRS"),
];

/// A URL to which parts are added.
struct Parts {
    url: String,
}

impl Parts {
    fn of(url: &str) -> Parts {
        Parts { url: url.to_owned() }
    }

    /// User and password, hosts, database, and the query, as they are written.
    fn split(&self) -> (Option<&str>, &str, &str, &str) {
        let rest = self.url.split_once("://").map_or("", |(_, rest)| rest);
        let (base, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = base.split_once('/').unwrap_or((base, ""));
        match authority.rsplit_once('@') {
            Some((login, hosts)) => (Some(login), hosts, database, query),
            None => (None, authority, database, query),
        }
    }

    fn have(&self, key: &str) -> bool {
        let (login, hosts, database, query) = self.split();
        let login = login.map(|login| login.split_once(':').unwrap_or((login, "")));
        let mut keys = query.split('&').filter_map(|pair| pair.split('=').next());
        match key {
            "host" if !hosts.is_empty() => true,
            "host" => keys.any(|found| found == "host" || found == "hostaddr"),
            "user" if login.is_some_and(|(user, _)| !user.is_empty()) => true,
            "password" if login.is_some_and(|(_, password)| !password.is_empty()) => true,
            "dbname" if !database.is_empty() => true,
            _ => keys.any(|found| found == key),
        }
    }

    fn add(&mut self, key: &str, value: &str) {
        self.url.push(if self.url.contains('?') { '&' } else { '?' });
        self.url.push_str(key);
        self.url.push('=');
        for byte in value.bytes() {
            match byte.is_ascii_alphanumeric() {
                true => self.url.push(char::from(byte)),
                false => self.url.push_str(&format!("%{byte:02X}")),
            }
        }
    }

    /// A port for the hosts that have none.
    fn default_port(&mut self, port: &str) {
        let (_, hosts, _, _) = self.split();
        if hosts.is_empty() {
            if !self.have("port") {
                self.add("port", port);
            }
            return;
        }
        let bare = |host: &str| !host.rsplit(']').next().unwrap_or_default().contains(':');
        let ported = |host: &str| if bare(host) { format!("{host}:{port}") } else { host.to_owned() };
        if !self.have("port") && port.bytes().all(|byte| byte.is_ascii_digit()) {
            let all: Vec<String> = hosts.split(',').map(ported).collect();
            let start = hosts.as_ptr() as usize - self.url.as_ptr() as usize;
            let end = start + hosts.len();
            self.url.replace_range(start..end, &all.join(","));
        }
    }
}

/// The password for this user and database on the first of the hosts that the file knows.
fn read_password(file: &std::path::Path, url: &ConnectionUrl) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    if !is_private(file) {
        tracing::warn!("the password file is not used: others may read it (chmod 0600)");
        return None;
    }
    let config = url.postgres();
    let user = config.get_user()?;
    let database = config.get_dbname().unwrap_or(user);
    let ports = config.get_ports();
    config.get_hosts().iter().enumerate().find_map(|(position, host)| {
        let host = match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(folder) if is_default(folder) => "localhost".to_owned(),
            Host::Unix(folder) => folder.to_string_lossy().into_owned(),
        };
        let port = ports.get(position).or(ports.first()).map_or("5432".to_owned(), u16::to_string);
        find_password(&text, &[&host, &port, database, user])
    })
}

/// The folders that PostgreSQL and its packages have their sockets in.
fn is_default(folder: &std::path::Path) -> bool {
    ["/tmp", "/var/run/postgresql", "/run/postgresql"]
        .iter()
        .any(|known| folder == std::path::Path::new(known))
}

/// The fifth field of the first line whose other four are these, or `*`.
fn find_password(text: &str, wanted: &[&str; 4]) -> Option<String> {
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let fields = fields(line);
        let (password, keys) = fields.split_last()?;
        let fits = |(field, wanted): (&String, &&str)| field == "*" || field == wanted;
        (keys.len() == 4 && keys.iter().zip(wanted).all(fits)).then(|| password.clone())
    })
}

/// The fields of a line, five at most: a backslash makes the next character an ordinary one.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        let count = fields.len();
        let Some(field) = fields.last_mut() else { break };
        match character {
            '\\' => field.extend(characters.next()),
            ':' if count < 5 => fields.push(String::new()),
            other => field.push(other),
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(url: Option<&str>, variables: &[(&str, &str)]) -> Result<Option<String>> {
        complete(url, |name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn variables_stand_in_for_what_the_url_lacks_and_never_override_it() {
        let all = [
            ("PGHOST", "db.example.com"),
            ("PGPORT", "6432"),
            ("PGUSER", "alice"),
            ("PGPASSWORD", "s:e/c?r&et"),
            ("PGDATABASE", "shop"),
            ("PGAPPNAME", "till 1"),
        ];
        let url: ConnectionUrl = completed(None, &all).unwrap().unwrap().parse().unwrap();
        let config = url.postgres();
        assert_eq!(config.get_hosts(), [Host::Tcp("db.example.com".to_owned())]);
        assert_eq!((config.get_ports(), config.get_user()), (&[6432][..], Some("alice")));
        assert_eq!((config.get_password(), config.get_dbname()), (Some(&b"s:e/c?r&et"[..]), Some("shop")));
        assert_eq!(config.get_application_name(), Some("till 1"));

        let full = "postgres://bob:pw@127.0.0.1:5433/d?application_name=x";
        assert_eq!(completed(Some(full), &all).unwrap().as_deref(), Some(full));
        let url: ConnectionUrl =
            completed(Some("postgres://bob@[::1],127.0.0.1:7/d"), &all).unwrap().unwrap().parse().unwrap();
        assert_eq!((url.postgres().get_ports(), url.postgres().get_user()), (&[6432, 7][..], Some("bob")));
    }

    #[test]
    fn without_a_url_and_a_host_there_is_nothing_to_connect_to() {
        assert_eq!(completed(None, &[("PGUSER", "alice")]).unwrap(), None);
        assert!(completed(Some("mysql://u:CANARY@h/d"), &[]).is_err());
        let error = completed(Some("postgres://u:CANARY@db.example.com/d"), &[("PGSSLMODE", "prefer")]);
        let text = error.unwrap_err().to_string();
        assert!(text.contains("verify-full") && !text.contains("CANARY"), "{text}");
    }

    #[test]
    fn the_first_line_of_a_password_file_that_fits_has_the_password() {
        let text = "# a:b:c:d:comment\n\ndb:5432:shop:alice:first\n*:*:*:alice:an\\:y\\\\one\nbroken:line\n::1:5:6:7";
        let find = |wanted| find_password(text, wanted);
        assert_eq!(find(&["db", "5432", "shop", "alice"]).as_deref(), Some("first"));
        assert_eq!(find(&["db", "5433", "shop", "alice"]).as_deref(), Some("an:y\\one"));
        assert_eq!(find(&["db", "5432", "shop", "bob"]), None);
        assert_eq!(fields("a\\:b:c:d:e:f:g"), ["a:b", "c", "d", "e", "f:g"]);
    }

    #[test]
    fn a_password_file_is_used_only_if_its_owner_alone_can_read_it() {
        let file = std::env::temp_dir().join(format!("pgspan-pgpass-{}", std::process::id()));
        std::fs::write(&file, "localhost:5432:d:u:CANARY").unwrap();
        let path = file.display().to_string();
        let url = Some("postgres://u@localhost/d");
        for (mode, found) in [(0o644, false), (0o640, false), (0o600, true)] {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            let completed = completed(url, &[("PGPASSFILE", &path)]).unwrap().unwrap();
            assert_eq!(completed.contains("CANARY"), found, "{mode:o}");
        }
        std::fs::remove_file(&file).unwrap();
        assert_eq!(completed(url, &[("PGPASSFILE", &path)]).unwrap().as_deref(), url);
    }
}
