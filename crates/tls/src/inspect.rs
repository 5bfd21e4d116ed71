//! What `portreeve check` says of the files of TLS: unreadable, broken, not belonging together, out of date, open to others.
//! Opens them as whoever asks; changes nothing.

use crate::certificate::{date, facts};
use crate::keys::{self, Fault, LONGEST_FILE};
use rustix::fs::{FileType, Mode, OFlags};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// A certificate that ends within this many days is named.
const SOON: i64 = 21;
const DAY: i64 = 86_400;

/// How grave a complaint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// It is served, and clients will complain one day.
    Warning,
    /// It is served, and clients will refuse it.
    Error,
    /// It cannot be served as it is.
    Unusable,
}

/// Something about a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// It is about the file of the key, not about that of the certificate.
    pub of_key: bool,
    /// How grave.
    pub weight: Weight,
    /// What, as the rest of a sentence that starts with the file.
    pub text: String,
    /// What to do about it.
    pub help: &'static str,
}

impl Complaint {
    fn new(of_key: bool, weight: Weight, text: impl Into<String>, help: &'static str) -> Self {
        Self { of_key, weight, text: text.into(), help }
    }
}

/// Looks at a certificate and its key. `now` in seconds since 1970.
pub fn inspect_pair(certificate: &Path, key: &Path, now: i64) -> Vec<Complaint> {
    let mut said = Vec::new();
    let chain_pem = read(certificate, false, &mut said);
    let key_pem = if key == certificate { chain_pem.clone() } else { read(key, true, &mut said) };
    let holds_key = |pem: &Vec<u8>| pem.windows(MARK.len()).any(|window| window == MARK);
    if key_pem.as_ref().is_some_and(holds_key) {
        open_to_others(key, &mut said);
    }
    let Some(chain_pem) = chain_pem else { return said };
    match keys::chain(&chain_pem) {
        Ok(chain) => {
            for (at, certificate) in chain.iter().enumerate() {
                validity(certificate, at, now, &mut said);
            }
        }
        Err(fault) => said.push(Complaint::new(false, Weight::Unusable, fault.to_string(), BAD_CERTIFICATE)),
    }
    let Some(key_pem) = key_pem else { return said };
    match keys::pair(&chain_pem, &key_pem) {
        Ok(_) | Err(Fault::NoCertificate) => {}
        Err(Fault::BadCertificate) if !said.is_empty() => {}
        Err(fault @ (Fault::BadCertificate | Fault::NoAuthority)) => {
            said.push(Complaint::new(false, Weight::Unusable, fault.to_string(), BAD_CERTIFICATE));
        }
        Err(fault @ Fault::Mismatch) => {
            let help = "name the key that the certificate was made for";
            said.push(Complaint::new(true, Weight::Unusable, fault.to_string(), help));
        }
        Err(fault @ Fault::EncryptedKey) => {
            let help = "store the key without a passphrase, readable by root alone";
            said.push(Complaint::new(true, Weight::Unusable, fault.to_string(), help));
        }
        Err(fault) => {
            let help = "name a file with the private key in PEM";
            said.push(Complaint::new(true, Weight::Unusable, fault.to_string(), help));
        }
    }
    said
}

/// Looks at a file of authorities.
pub fn inspect_authorities(file: &Path, now: i64) -> Vec<Complaint> {
    let mut said = Vec::new();
    let Some(pem) = read(file, false, &mut said) else { return said };
    if let Err(fault) = keys::authorities(&pem, true) {
        said.push(Complaint::new(false, Weight::Unusable, fault.to_string(), BAD_CERTIFICATE));
        return said;
    }
    for (at, certificate) in keys::chain(&pem).unwrap_or_default().iter().enumerate() {
        validity(certificate, at, now, &mut said);
    }
    said
}

/// What the first line of every kind of private key in PEM has.
const MARK: &[u8] = b"PRIVATE KEY-----";

const BAD_CERTIFICATE: &str = "name a file with certificates in PEM";

fn validity(certificate: &[u8], at: usize, now: i64, said: &mut Vec<Complaint>) {
    let which = match at {
        0 => "its certificate".to_owned(),
        _ => format!("certificate number {} in it", at + 1),
    };
    let Some(facts) = facts(certificate) else {
        let text = format!("{which} cannot be read");
        said.push(Complaint::new(false, Weight::Error, text, BAD_CERTIFICATE));
        return;
    };
    let (text, weight, help) = if now > facts.not_after {
        let text = format!("{which} has expired on {}", date(facts.not_after));
        (text, Weight::Error, "renew it, then reload")
    } else if now < facts.not_before {
        let text = format!("{which} is not valid before {}", date(facts.not_before));
        (text, Weight::Error, "wait, or look at this machine's clock")
    } else if facts.not_after - now < SOON * DAY {
        let days = (facts.not_after - now) / DAY;
        let plural = if days == 1 { "" } else { "s" };
        let text = format!("{which} expires on {}, in {days} day{plural}", date(facts.not_after));
        (text, Weight::Warning, "renew it, then reload")
    } else {
        return;
    };
    said.push(Complaint::new(false, weight, text, help));
}

fn read(path: &Path, of_key: bool, said: &mut Vec<Complaint>) -> Option<Vec<u8>> {
    let mut complain = |text: String| {
        let help = "correct the path, or the permissions of the file";
        said.push(Complaint::new(of_key, Weight::Unusable, text, help));
        None
    };
    // A pipe would wait for its writer.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(fd) => File::from(fd),
        Err(error) => return complain(format!("cannot be read: {}", text_of(error))),
    };
    if !file.metadata().is_ok_and(|data| data.is_file()) {
        return complain("is no regular file".to_owned());
    }
    let mut bytes = Vec::new();
    match file.take(LONGEST_FILE as u64 + 1).read_to_end(&mut bytes) {
        Ok(_) if bytes.len() > LONGEST_FILE => complain("is longer than 1 MiB".to_owned()),
        Ok(_) => Some(bytes),
        Err(error) => complain(format!("cannot be read: {error}")),
    }
}

fn text_of(error: rustix::io::Errno) -> String {
    let text = std::io::Error::from(error).to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

fn open_to_others(key: &Path, said: &mut Vec<Complaint>) {
    let Ok(data) = rustix::fs::stat(key) else { return };
    let mode = Mode::from_raw_mode(data.st_mode);
    if FileType::from_raw_mode(data.st_mode) != FileType::RegularFile {
        return;
    }
    let what = match mode {
        _ if mode.contains(Mode::WOTH) => "can be written by everybody",
        _ if mode.contains(Mode::ROTH) => "can be read by everybody",
        _ if mode.contains(Mode::WGRP) => "can be written by its group",
        _ => return,
    };
    let text = format!("{what} (mode {:04o}), and holds a private key", mode.bits() & 0o7777);
    let help = "chmod 0600, or 0640 where a group must read it; change the key if others may have read it";
    said.push(Complaint::new(true, Weight::Warning, text, help));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A file that everybody can read is complained about where it holds a key, and only there.
    #[test]
    fn what_is_no_key_may_be_read() {
        let path = std::env::temp_dir().join(format!("portreeve-inspect-{}", std::process::id()));
        let open = |text: &str| {
            std::fs::write(&path, text).expect("to write");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("to open");
            let said = inspect_pair(&path, &path, 0);
            said.iter().any(|complaint| complaint.text.contains("can be read by everybody"))
        };
        assert!(!open(""));
        assert!(!open("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"));
        assert!(open("-----BEGIN EC PRIVATE KEY-----\n-----END EC PRIVATE KEY-----\n"));
        std::fs::remove_file(&path).expect("to remove");
    }
}
