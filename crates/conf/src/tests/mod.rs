//! Tests of the whole reader, by subject, on a machine made of tables.

mod accepted;
mod address_lists;
mod comments;
mod defaults;
mod documents;
mod findings;
mod inclusion;
mod properties;
mod refused;
mod sandbox;
mod syntax;
mod tls;
mod unix;
mod values;

use crate::testing::FakeHost;
use crate::{Reading, Service, read};
use std::path::Path;

const MAIN: &str = "/etc/xinetd.conf";

/// Reads a file on the small Debian.
fn reading(text: impl AsRef<[u8]>) -> Reading {
    reading_on(FakeHost::debian(), text)
}

fn reading_on(mut host: FakeHost, text: impl AsRef<[u8]>) -> Reading {
    host.file(MAIN, text);
    read(&host, Path::new(MAIN))
}

/// A service that is served, with further lines.
fn stream(name: &str, port: u16, more: &str) -> String {
    format!(
        "service {name}\n{{\n\ttype = UNLISTED\n\tsocket_type = stream\n\tprotocol = tcp\n\tport = {port}\n\
         \twait = no\n\tuser = nobody\n\tserver = /bin/sh\n{more}}}\n"
    )
}

/// A service whose own line for this attribute is replaced by this one, or which has it in addition.
fn with_line(line: &str) -> String {
    let name = line.split([' ', '+', '-']).next().unwrap_or_default();
    let own = |other: &&str| other.trim_start().split(' ').next() == Some(name);
    let text = stream("s1", 2000, "");
    let kept: Vec<&str> = text.lines().filter(|other| !own(other) && *other != "}").collect();
    format!("{}\n\t{line}\n}}\n", kept.join("\n"))
}

/// The only service of a file with these further lines; the test fails if it is not served.
fn service(more: &str) -> Service {
    let reading = reading(stream("s1", 2000, more));
    assert_eq!(reading.left_out, [], "{more}: {:#?}", reading.diagnostics);
    Service::clone(&reading.services[0])
}

/// Why the only service of a file with these further lines is not served.
fn left_out(more: &str) -> String {
    let reading = reading(stream("s1", 2000, more));
    assert_eq!(reading.services, [], "{more}");
    assert!(!reading.left_out[0].intended);
    reading.left_out[0].reason.clone()
}

fn names(reading: &Reading) -> Vec<&str> {
    reading.services.iter().map(|service| service.name.as_str()).collect()
}

fn log(reading: &Reading) -> Vec<String> {
    reading.log.iter().map(|line| format!("{:?}: {}", line.level, line.text)).collect()
}

/// The words of the findings, in order.
fn codes(reading: &Reading) -> Vec<&'static str> {
    reading.diagnostics.iter().map(|finding| finding.code).collect()
}
