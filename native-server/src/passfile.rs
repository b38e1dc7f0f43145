//! The password file: each host's password.
//!
//! Source: PostgreSQL documentation, 34.16 "The Password File".

use std::path::Path;

use pgspan::ConnectionUrl;
use tokio_postgres::Config;
use tokio_postgres::config::Host;

use crate::private_file::{PRIVATE, is_private};

/// The lines of a password file.
#[derive(Default)]
pub(crate) struct Passwords(String);

impl Passwords {
    /// Those of the file that the URL names; none if it has a password itself. A file that can't be used is left alone, as
    /// libpq does, and a warning says so.
    pub(crate) fn of(url: &ConnectionUrl) -> Passwords {
        let has_password = url.postgres().get_password().is_some_and(|password| !password.is_empty());
        match url.passfile() {
            Some(file) if !has_password => Passwords::read(file),
            _ => Passwords::default(),
        }
    }

    fn read(file: &str) -> Passwords {
        let found = match is_private(file) {
            Some(false) => Err(format!("it must be {PRIVATE}")),
            _ => std::fs::read_to_string(file).map_err(|error| format!("it can't be read: {}", error.kind())),
        };
        found.map(Passwords).unwrap_or_else(|why| {
            warn(&why);
            Passwords::default()
        })
    }

    /// The password for the user and the database of this configuration on this host.
    pub(crate) fn find(&self, host: &Host, port: u16, config: &Config) -> Option<String> {
        let user = config.get_user()?;
        let database = config.get_dbname().unwrap_or(user);
        let host = match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(folder) if is_default(folder) => "localhost".to_owned(),
            Host::Unix(folder) => folder.to_string_lossy().into_owned(),
        };
        find_password(&self.0, &[&host, &port.to_string(), database, user])
    }
}

/// In the log; where nobody keeps one, as `check` and `migrate` do not, on standard error.
fn warn(why: &str) {
    match tracing::enabled!(tracing::Level::WARN) {
        true => tracing::warn!("the password file is not used: {why}"),
        false => eprintln!("pgspan-server: the password file is not used: {why}"),
    }
}

/// The folders that PostgreSQL and its packages have their sockets in.
fn is_default(folder: &Path) -> bool {
    ["/tmp", "/var/run/postgresql", "/run/postgresql"].iter().any(|known| folder == Path::new(known))
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
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

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
    fn a_password_file_is_used_only_if_nobody_else_can_read_it() {
        let file = std::env::temp_dir().join(format!("pgspan-pgpass-{}", std::process::id()));
        std::fs::write(&file, "localhost:5432:d:u:secret").unwrap();
        let url: ConnectionUrl =
            format!("postgres://u@localhost/d?passfile={}", file.display()).parse().unwrap();
        let find = |url| Passwords::of(url).find(&Host::Tcp("localhost".to_owned()), 5432, url.postgres());
        // root's may be a group's to read; that of anybody else is his alone
        let group = std::fs::metadata(&file).unwrap().uid() == 0;
        for (mode, is_used) in [(0o644, false), (0o660, false), (0o640, group), (0o440, group), (0o600, true)]
        {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(find(&url).as_deref(), is_used.then_some("secret"), "{mode:o}");
        }
        if group {
            std::os::unix::fs::chown(&file, Some(65_534), None).unwrap();
            for (mode, is_used) in [(0o640, false), (0o440, false), (0o600, true)] {
                std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
                assert_eq!(find(&url).as_deref(), is_used.then_some("secret"), "{mode:o}");
            }
        }
        let own: ConnectionUrl =
            format!("postgres://u:own@localhost/d?passfile={}", file.display()).parse().unwrap();
        assert_eq!(find(&own), None, "the URL's password wins");
        std::fs::remove_file(&file).unwrap();
        assert_eq!(find(&url), None);
    }
}
