//! What the other language must know of a daemon: the name that the tables use, and its port or unit.

/// One daemon on one port, as `--daemon` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The process name.
    pub daemon: String,
    /// Port and protocol, if they were given.
    pub port: Option<(u16, &'static str)>,
    /// systemd's unit, if it was given.
    pub unit: Option<String>,
}

impl Service {
    /// The unit: as given, or named as the daemon.
    pub fn unit(&self) -> String {
        self.unit.clone().unwrap_or_else(|| format!("{}.service", self.daemon))
    }
}

/// Reads `NAME=PORT/PROTOCOL`, `NAME=UNIT.service`, or `NAME`.
///
/// # Errors
/// What was expected.
pub(super) fn parse(text: &str) -> Result<Service, String> {
    let (daemon, rest) = text.split_once('=').map_or((text, None), |(name, rest)| (name, Some(rest)));
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '@');
    if daemon.is_empty() || !daemon.chars().all(plain) {
        return Err("expected NAME=PORT/tcp, NAME=PORT/udp or NAME=UNIT.service".to_owned());
    }
    let mut service = Service { daemon: daemon.to_owned(), port: None, unit: None };
    match rest {
        None => {}
        Some(unit) if unit.contains(".service") || unit.ends_with(".socket") => {
            if !unit.chars().all(plain) || unit.starts_with('.') {
                return Err(format!("`{unit}` names no unit"));
            }
            service.unit = Some(unit.to_owned());
        }
        Some(port) => {
            let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
            let protocol = match protocol {
                "tcp" => "tcp",
                "udp" => "udp",
                other => return Err(format!("`{other}` is no protocol: expected tcp or udp")),
            };
            let number = number.parse::<u16>().ok().filter(|number| *number > 0);
            let number =
                number.ok_or_else(|| format!("`{port}` is no port: expected PORT/tcp or PORT/udp"))?;
            service.port = Some((number, protocol));
        }
    }
    Ok(service)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn daemons_are_read() {
        let service =
            |port, unit: Option<&str>| Service { daemon: "sshd".into(), port, unit: unit.map(str::to_owned) };
        assert_eq!(parse("sshd=22/tcp"), Ok(service(Some((22, "tcp")), None)));
        assert_eq!(parse("sshd=22"), Ok(service(Some((22, "tcp")), None)));
        assert_eq!(parse("sshd=ssh.service"), Ok(service(None, Some("ssh.service"))));
        assert_eq!(parse("sshd").map(|s| s.unit()), Ok("sshd.service".to_owned()));
        for wrong in
            ["", "=22", "a b=22", "d=0/tcp", "d=65536", "d=22/sctp", "d=x", "d=../x.service", "d\n=22", "d="]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
