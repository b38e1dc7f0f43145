//! The hosts of a URL, their addresses and ports.

use std::net::{IpAddr, Ipv6Addr};

use tokio_postgres::Config;
use tokio_postgres::config::Host;

use super::fault::fault;
use super::options::Options;
use crate::error::Result;

/// Sets the hosts, without the brackets of an IPv6 address; one port or one for each; and no address or one for each.
pub(super) fn set_hosts(config: &mut Config, options: &Options) -> Result<()> {
    let hosts: Vec<&str> = options.value("host").ok_or_else(|| fault("has no host"))?.split(',').collect();
    for host in &hosts {
        config.host(name(host)?);
    }
    let ports: Vec<&str> = options.value("port").unwrap_or_default().split(',').collect();
    if ports.len() > 1 && ports.len() != hosts.len() {
        return Err(fault("port must be one, or one for each host"));
    }
    for port in ports {
        config.port(number(port)?);
    }
    let addresses: Vec<&str> =
        options.value("hostaddr").map(|list| list.split(',').collect()).unwrap_or_default();
    if !addresses.is_empty() && addresses.len() != hosts.len() {
        return Err(fault("hostaddr must have an address for each host"));
    }
    for address in addresses {
        let address: Result<IpAddr, _> = address.parse();
        config.hostaddr(
            address.map_err(|_| fault("hostaddr must be an IP address, or several separated by commas"))?,
        );
    }
    Ok(())
}

/// Whether no byte leaves this machine. An address goes before the host's name (`hostaddr`), so it decides too.
pub(super) fn is_local(config: &Config) -> bool {
    let near = |host: &Host| match host {
        Host::Tcp(name) => {
            name == "localhost" || name.parse().is_ok_and(|address: IpAddr| address.is_loopback())
        }
        #[allow(unreachable_patterns, reason = "tokio-postgres has unix sockets on unix alone")]
        _ => true,
    };
    config.get_hosts().iter().all(near) && config.get_hostaddrs().iter().all(IpAddr::is_loopback)
}

/// A host's name, an address, or the folder of a unix socket. Nothing else, so that no part of a password can be taken for one.
fn name(host: &str) -> Result<&str> {
    if host.starts_with('/') {
        return Ok(host);
    }
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) if is_ipv6(address) => Ok(address),
        None if is_ipv6(host) || is_name(host) => Ok(host),
        _ if host.is_empty() => Err(fault("one of its hosts is empty")),
        _ => Err(fault(
            "one of its hosts is no name of letters, digits, hyphens and dots, and no address (an IPv6 address is written [::1])",
        )),
    }
}

fn is_ipv6(text: &str) -> bool {
    let (address, zone) = text.split_once('%').unwrap_or((text, "0"));
    address.parse::<Ipv6Addr>().is_ok() && is_name(zone)
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

fn number(port: &str) -> Result<u16> {
    match port.parse() {
        _ if port.is_empty() => Ok(5432),
        Ok(0) | Err(_) => Err(fault("port must be a number from 1 to 65535")),
        Ok(port) => Ok(port),
    }
}
