//! `verify_server`: whether a program is started whose content nobody answers for. Words alone; the daemon looks at programs.

use crate::service::{Action, Service};

/// What becomes of a program that is not in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// It is not looked at.
    No,
    /// It is started, and the log says so.
    Warn,
    /// It is not started.
    Refuse,
}

impl Verify {
    /// In the order of the table's words.
    pub(crate) const ALL: [Verify; 3] = [Verify::No, Verify::Warn, Verify::Refuse];

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Verify::No => "no",
            Verify::Warn => "warn",
            Verify::Refuse => "refuse",
        }
    }
}

/// Programs that are there to execute another.
const EXECUTE_ANOTHER: [&str; 8] = ["tcpd", "env", "sh", "bash", "dash", "sudo", "setpriv", "python3"];

/// What is verified is the file that is executed, and nothing that it executes in turn: said where it is known to.
pub(crate) fn beyond(service: &Service) -> Option<String> {
    let Action::External { server, .. } = &service.action else { return None };
    let name = server.rsplit('/').next().unwrap_or_default();
    (service.verify != Verify::No && EXECUTE_ANOTHER.contains(&name)).then(|| {
        format!(
            "`verify_server` of service `{}` looks at `{server}`, and not at what this one executes",
            service.id
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_in_the_order_of_the_table() {
        assert_eq!(Verify::ALL.map(Verify::word), crate::attributes::VERIFY);
    }
}
