//! A service that cannot be served: says why, once for people and once for the log, and remembers the reason. Every rule
//! of `fill`, `check` and `refuse` speaks through this.

use crate::codes::Code;
use crate::diagnostic::{Classic, Level};
use crate::draft::Draft;
use crate::place::Place;
use crate::report::{AFTER, Finding, Report};

/// What a rule needs to know and to say.
pub(crate) struct Bench<'a> {
    pub(crate) host: &'a dyn crate::host::Host,
    pub(crate) report: &'a mut Report,
    /// The section's first line.
    pub(crate) place: &'a Place,
    /// There is a directory for the log of `defaults`.
    pub(crate) log_is_there: &'a mut bool,
}

/// The service is out; the reason in one sentence.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) String);

impl Bench<'_> {
    /// Refuses with xinetd's own message.
    pub(crate) fn refuse<T>(
        &mut self,
        code: &'static Code,
        draft: &Draft,
        message: String,
        classic: String,
        help: Option<&str>,
    ) -> Result<T, Refused> {
        let finding = self.finding(code, draft, message, help).classic(Classic::new(Level::Error, classic));
        Err(self.out(finding))
    }

    /// Refuses where xinetd does not.
    pub(crate) fn refuse_ourselves<T>(
        &mut self,
        code: &'static Code,
        draft: &Draft,
        message: String,
        help: Option<&str>,
    ) -> Result<T, Refused> {
        let finding = self.finding(code, draft, message, help);
        Err(self.out(finding))
    }

    fn out(&mut self, finding: Finding) -> Refused {
        let reason = finding.message().to_owned();
        self.report.add(AFTER, finding);
        Refused(reason)
    }

    /// Says something about a service that stays.
    pub(crate) fn say(&mut self, finding: Finding) {
        self.report.add(AFTER, finding);
    }

    /// A finding about the service as a whole.
    pub(crate) fn finding(
        &self,
        code: &'static Code,
        draft: &Draft,
        message: String,
        help: Option<&str>,
    ) -> Finding {
        Finding::new(code, self.place.clone(), message).maybe_help(help).service(draft.id())
    }
}
