//! Whether what is to be stopped carries the session that asks for it. Reads /proc; decides on names and numbers alone.

use std::path::Path;

/// What carries this session: units and names of the processes above this one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Session {
    /// Units, sessions' scopes aside.
    pub units: Vec<String>,
    /// Short names.
    pub names: Vec<String>,
    /// The port that an ssh client came to.
    pub port: Option<u16>,
}

/// The programs by which people log in.
const LOGINS: [&str; 6] = ["sshd", "ssh", "dropbear", "in.telnetd", "telnetd", "sshd-session"];

impl Session {
    /// Looks at the processes above this one, up to 64.
    pub fn look() -> Session {
        let mut session = Session::default();
        let connection = std::env::var("SSH_CONNECTION").unwrap_or_default();
        session.port = connection.split(' ').nth(3).and_then(|port| port.parse().ok());
        let mut pid = std::process::id();
        for _ in 0..64 {
            let Some(process) = portreeve_audit::process::read(Path::new("/proc"), pid) else { break };
            session.units.extend(process.home.unit.filter(|unit| unit.ends_with(".service")));
            session.names.push(process.name);
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // Behind the name, which may hold anything: the state and the parent.
            let parent =
                stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
            match parent {
                Some(parent) if parent > 1 => pid = parent,
                _ => break,
            }
        }
        session
    }

    /// Whether stopping these units, a script or an entry of this name, or this port would end the session.
    pub fn is_carried_by(&self, units: &[String], name: &str, port: Option<u16>) -> bool {
        let base = |unit: &str| unit.split(['@', '.']).next().unwrap_or_default().to_owned();
        let over_login = self.port.is_some() || self.names.iter().any(|name| LOGINS.contains(&name.as_str()));
        let login = |name: &str| over_login && LOGINS.contains(&name);
        // An instance of a socket is `ssh@4711.service`.
        units.iter().any(|unit| self.units.iter().any(|own| base(own) == base(unit)) || login(&base(unit)))
            || login(name)
            || (port.is_some() && port == self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_session_is_known_by_its_unit_its_program_and_its_port() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let session = Session {
            units: words(&["ssh@12-x.service"]),
            names: words(&["bash", "sshd"]),
            port: Some(2222),
        };
        assert!(session.is_carried_by(&words(&["ssh.socket"]), "", None));
        assert!(session.is_carried_by(&[], "sshd", None));
        assert!(session.is_carried_by(&[], "", Some(2222)));
        assert!(!session.is_carried_by(&words(&["nginx.service"]), "nginx", Some(80)));
        let console = Session { names: words(&["bash", "login"]), ..Session::default() };
        assert!(!console.is_carried_by(&words(&["ssh.service"]), "sshd", Some(22)));
        assert!(!Session::look().names.is_empty());
    }
}
