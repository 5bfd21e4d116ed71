//! What `portreeve check` says of the files of TLS, each where its attribute stands. Looks at the files as whoever calls.

use crate::finding::Finding;
use portreeve_conf::{Place, Reading, Service, Set, Severity};
use portreeve_tls::{Complaint, Weight, inspect_authorities, inspect_pair};
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// All there is to say, in the order of the services; and the ids of those that would be held, since their TLS cannot be served.
pub fn findings(reading: &Reading) -> (Vec<Finding>, BTreeSet<String>) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let mut lines = Lines::default();
    let (mut found, mut held) = (Vec::new(), BTreeSet::new());
    if let Some((service, gate, places)) = unserved(reading) {
        let shown = |path: &Path| crate::escape::os(path.as_os_str());
        let complaint = Complaint {
            of_key: false,
            weight: Weight::Unusable,
            text: format!(
                "no TLS is served: `{}` would execute `portreeve`, which is neither {}",
                shown(&gate),
                places.iter().map(|path| shown(path)).collect::<Vec<_>>().join(" nor ")
            ),
            help: "install both executables in one directory",
        };
        let sealed = reading.services.iter().filter(|service| service.tls.is_some());
        held.extend(sealed.map(|service| service.id.to_string()));
        found.push(Finding {
            code: "tls-program".to_owned(),
            message: complaint.text.clone(),
            ..finding(service, &of(service), &complaint, &mut lines)
        });
    }
    for service in &reading.services {
        let Some(tls) = &service.tls else { continue };
        for (certificate, key) in &tls.pairs {
            for complaint in inspect_pair(Path::new(&certificate.value), Path::new(&key.value), now) {
                let file = if complaint.of_key { key } else { certificate };
                held.extend((complaint.weight == Weight::Unusable).then(|| service.id.to_string()));
                found.push(finding(service, file, &complaint, &mut lines));
            }
        }
        let target_ca = tls.connect.as_ref().and_then(|connect| connect.ca.as_ref());
        for file in tls.client_ca.iter().chain(target_ca) {
            for complaint in inspect_authorities(Path::new(&file.value), now) {
                held.extend((complaint.weight == Weight::Unusable).then(|| service.id.to_string()));
                found.push(finding(service, file, &complaint, &mut lines));
            }
        }
    }
    (found, held)
}

/// The first service behind TLS, where the gate would find nobody to serve it; and where it would look.
fn unserved(reading: &Reading) -> Option<(&Service, PathBuf, Vec<PathBuf>)> {
    let service = reading.services.iter().find(|service| service.tls.is_some())?;
    let (gate, places) = crate::gate::without_companion()?;
    Some((service, gate, places))
}

/// Where the TLS of a service is written.
fn of(service: &Service) -> Set<String> {
    let pair = service.tls.as_ref().and_then(|tls| tls.pairs.first());
    pair.map_or_else(|| Set { value: String::new(), place: None }, |(certificate, _)| certificate.clone())
}

fn finding(service: &Service, file: &Set<String>, complaint: &Complaint, lines: &mut Lines) -> Finding {
    let place = file.place.as_ref().unwrap_or(&service.place);
    let (severity, code) = match complaint.weight {
        Weight::Error | Weight::Unusable => (Severity::Error, "tls-file"),
        Weight::Warning => (Severity::Warning, "tls-file-warning"),
    };
    Finding {
        severity,
        code: code.to_owned(),
        file: place.file.to_string(),
        line: place.line,
        column: place.column.into(),
        length: place.length.into(),
        message: format!("`{}`: {}", file.value, complaint.text),
        help: Some(complaint.help.to_owned()),
        source_line: lines.line(place),
        service: Some(service.id.to_string()),
        classic: None,
        replacement: None,
    }
}

/// The lines of configuration files, each file read once.
#[derive(Default)]
struct Lines(HashMap<String, Option<String>>);

impl Lines {
    fn line(&mut self, place: &Place) -> Option<String> {
        let file = self.0.entry(place.file.to_string()).or_insert_with(|| {
            // As the configuration was read: what is no UTF-8 is shown as far as it goes.
            std::fs::read(&*place.file).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        });
        let at = usize::try_from(place.line).ok()?.checked_sub(1)?;
        file.as_ref()?.lines().nth(at).map(str::to_owned)
    }
}
