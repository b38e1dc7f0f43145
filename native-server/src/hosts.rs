//! The hosts of a URL: each as a configuration of its own, and the share of the time that each has.

use std::io;
use std::net::IpAddr;

use pgspan::{Error, Kind, Result};
use tokio::net::lookup_host;
use tokio::time::Instant;
use tokio_postgres::Config;
use tokio_postgres::config::Host;

use crate::passfile::Passwords;

/// One host of a URL.
pub(crate) struct Server {
    config: Config,
    host: Host,
    port: u16,
    /// What is to be looked up before it can be connected to: neither a folder's nor a given address is.
    name: Option<(String, u16)>,
}

impl Server {
    /// The hosts of this configuration, in its order.
    pub(crate) fn all_of(config: &Config) -> Result<Vec<Server>> {
        let (hosts, addresses, ports) = (config.get_hosts(), config.get_hostaddrs(), config.get_ports());
        if !addresses.is_empty() && addresses.len() != hosts.len() {
            return Err(Error::new(
                Kind::Config,
                "DATABASE_URL: hostaddr must have an address for each host",
            ));
        }
        if ports.len() > 1 && ports.len() != hosts.len() {
            return Err(Error::new(Kind::Config, "DATABASE_URL: port must be one, or one for each host"));
        }
        let server = |(position, host): (usize, &Host)| {
            let port = ports.get(position).or(ports.first()).copied().unwrap_or(5432);
            let mut config = without_hosts(config);
            config.port(port);
            let name = match host {
                Host::Tcp(name) => {
                    config.host(name); // also where the address is given: it is the name in the certificate
                    Some(name)
                }
                Host::Unix(folder) => {
                    config.host_path(folder);
                    None
                }
            };
            match addresses.get(position) {
                Some(address) => {
                    config.hostaddr(*address);
                    Server { config, host: host.clone(), port, name: None }
                }
                None => {
                    let name = name.map(|name| (name.clone(), port));
                    Server { config, host: host.clone(), port, name }
                }
            }
        };
        Ok(hosts.iter().enumerate().map(server).collect())
    }

    /// Its own password in these. One host's is not told to another.
    pub(crate) fn password(&self, passwords: &Passwords) -> Option<String> {
        passwords.find(&self.host, self.port, &self.config)
    }

    /// A configuration for each of its addresses.
    pub(crate) async fn addresses(&self) -> io::Result<Vec<Config>> {
        match &self.name {
            None => Ok(vec![self.config.clone()]),
            Some((name, port)) => {
                let found = lookup_host((name.as_str(), *port)).await?;
                Ok(found.map(|address| self.at(address.ip())).collect())
            }
        }
    }

    pub(crate) fn at(&self, address: IpAddr) -> Config {
        let mut config = self.config.clone();
        config.hostaddr(address);
        config
    }
}

/// Each with the end of its time: those that are left share what is left until `end`.
pub(crate) fn shares<T>(all: Vec<T>, end: Instant) -> impl Iterator<Item = (T, Instant)> {
    let mut left = u32::try_from(all.len()).unwrap_or(u32::MAX);
    all.into_iter().map(move |one| {
        let now = Instant::now();
        let share = end.saturating_duration_since(now) / left.max(1);
        left = left.saturating_sub(1);
        (one, now + share)
    })
}

/// tokio-postgres can add a host to a configuration, but can't take one away.
fn without_hosts(from: &Config) -> Config {
    let mut to = Config::new();
    to.ssl_mode(from.get_ssl_mode());
    to.ssl_negotiation(from.get_ssl_negotiation());
    to.channel_binding(from.get_channel_binding());
    to.target_session_attrs(from.get_target_session_attrs());
    to.load_balance_hosts(from.get_load_balance_hosts());
    to.keepalives(from.get_keepalives());
    to.keepalives_idle(from.get_keepalives_idle());
    from.get_keepalives_interval().map(|interval| to.keepalives_interval(interval));
    from.get_keepalives_retries().map(|retries| to.keepalives_retries(retries));
    from.get_connect_timeout().map(|timeout| to.connect_timeout(*timeout));
    from.get_tcp_user_timeout().map(|timeout| to.tcp_user_timeout(*timeout));
    from.get_user().map(|user| to.user(user));
    from.get_password().map(|password| to.password(password));
    from.get_dbname().map(|name| to.dbname(name));
    from.get_options().map(|options| to.options(options));
    from.get_application_name().map(|name| to.application_name(name));
    to
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_host_alone_has_all_that_the_url_says() {
        let url = "postgres://u:p@h:1/d?options=o&application_name=a&sslmode=require&sslnegotiation=direct\
            &connect_timeout=2&tcp_user_timeout=3&keepalives=0&keepalives_idle=4&keepalives_interval=5\
            &keepalives_retries=6&target_session_attrs=read-write&channel_binding=require\
            &load_balance_hosts=random&hostaddr=127.0.0.9";
        let all: Config = url.parse().unwrap();
        let servers = Server::all_of(&all).unwrap();
        let alone = &servers[0].config;
        assert_eq!(format!("{alone:?}"), format!("{all:?}"));
        assert_eq!(alone.get_ssl_negotiation(), all.get_ssl_negotiation());
        assert_eq!(alone.get_password(), all.get_password());
    }

    #[test]
    fn each_host_has_its_own_port_and_address() {
        let of = |url: &str| Server::all_of(&url.parse().unwrap());
        let two = of("postgres://u@a:1,b:2/d").unwrap();
        let ports: Vec<_> = two.iter().map(|server| server.config.get_ports().to_vec()).collect();
        assert_eq!(ports, [[1], [2]]);
        assert_eq!(two[1].name, Some(("b".to_owned(), 2)));
        let given = of("postgres://u@a:1/d?hostaddr=127.0.0.9").unwrap();
        assert_eq!((&given[0].name, given[0].config.get_hosts().len()), (&None, 1));
        assert_eq!(of("postgres://u@%2Frun/d").unwrap()[0].name, None);
        for url in ["postgres://u@a,b/d?hostaddr=127.0.0.9", "postgres://u@/d?host=a&host=b&host=c&port=1,2"]
        {
            assert_eq!(of(url).err().map(|error| error.kind()), Some(Kind::Config), "{url}");
        }
    }

    #[test]
    fn each_host_is_told_its_own_password_and_no_other() {
        let file = std::env::temp_dir().join(format!("pgspan-hosts-{}", std::process::id()));
        std::fs::write(&file, "a:1:*:u:first\nb:2:*:u:second\n").unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let url = format!("postgres://u@a:1,b:2,c:3/d?passfile={}", file.display());
        let url: pgspan::ConnectionUrl = url.parse().unwrap();
        let (servers, passwords) = (Server::all_of(url.postgres()).unwrap(), Passwords::of(&url));
        std::fs::remove_file(&file).unwrap();
        let found: Vec<_> = servers.iter().map(|server| server.password(&passwords)).collect();
        assert_eq!(found, [Some("first".to_owned()), Some("second".to_owned()), None]);
    }

    #[test]
    fn those_that_are_left_share_the_time_that_is_left() {
        let started = Instant::now();
        let ends: Vec<Duration> = shares(vec![(); 3], started + Duration::from_secs(3))
            .map(|((), end)| end.duration_since(started))
            .collect();
        for (end, expected) in ends.iter().zip([1000, 1500, 3000]) {
            assert!(end.abs_diff(Duration::from_millis(expected)) < Duration::from_millis(100), "{ends:?}");
        }
    }
}
