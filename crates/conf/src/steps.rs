//! What is done with a client once it is admitted, step by step, with the lines that say so: for `explain`. Decides nothing.

use crate::place::Place;
use crate::redirect::{ProxyVersion, Target};
use crate::service::{Action, Service};
use crate::text::Text;
use crate::verify::Verify;

/// The step about the program's content.
pub const VERIFIED: &str = "verify_server";

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The attribute that orders it.
    pub name: &'static str,
    /// What is done, for a person.
    pub detail: String,
    /// The line.
    pub place: Option<Place>,
}

impl Service {
    /// The steps in their order. A sensor has none: it admits nobody.
    pub fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        let pair = self.tls.as_ref().and_then(|tls| Some((tls, tls.pairs.first()?)));
        if let Some((tls, (certificate, _))) = pair {
            let others = match tls.pairs.len() - 1 {
                0 => String::new(),
                more => format!(" and {more} more, by the name that it asks for"),
            };
            let detail = format!("it must shake hands; it is shown {}{others}", certificate.value);
            steps.push(Step { name: "tls_cert", detail, place: certificate.place.clone() });
            if let Some(ca) = &tls.client_ca {
                let detail = format!("it must have a certificate of an authority in {}", ca.value);
                steps.push(Step { name: "tls_client_ca", detail, place: ca.place.clone() });
            }
        }
        let place = Some(self.action_place.clone().unwrap_or_else(|| self.place.clone()));
        match &self.action {
            Action::External { server, argv } => {
                let words: Vec<&str> =
                    [server.as_str()].into_iter().chain(argv.iter().skip(1).map(Text::as_str)).collect();
                steps.push(Step { name: "server", detail: words.join(" "), place });
                if self.verify != Verify::No {
                    let detail = format!(
                        "{}: its SHA-256 must be in the list of trusted programs",
                        self.verify.word()
                    );
                    steps.push(Step { name: VERIFIED, detail, place: None });
                }
                if let Some(sandbox) = &self.sandbox {
                    let place = sandbox.place.clone();
                    steps.push(Step { name: "sandbox", detail: sandbox.words.join(" "), place });
                }
            }
            Action::Redirect(targets) => {
                steps.push(Step { name: "redirect", detail: self.carried(targets), place });
            }
            Action::Internal(_) => {
                steps.push(Step { name: "built-in", detail: format!("{} answers", self.name), place });
            }
            Action::Mux => {
                steps.push(Step { name: "tcpmux", detail: "it names a service".to_owned(), place });
            }
            Action::Sensor => {}
        }
        steps
    }

    fn carried(&self, targets: &[Target]) -> String {
        let all: Vec<String> = targets.iter().map(Target::to_string).collect();
        let mut text = format!("to {}", all.join(", else "));
        if let Some(connect) = self.tls.as_ref().and_then(|tls| tls.connect.as_ref()) {
            let by = connect.ca.as_ref().map_or("the system's authorities", |ca| ca.value.as_str());
            text.push_str(&format!(", by TLS, checked by {by}"));
        }
        match self.proxy_protocol.and_then(|proxy| proxy.send) {
            Some(ProxyVersion::V1) => text.push_str(", behind a PROXY header of version 1"),
            Some(ProxyVersion::V2) => text.push_str(", behind a PROXY header of version 2"),
            None => {}
        }
        text
    }
}
