//! The name service, against entries that every Debian machine has.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod skip;

use portreeve_sys::names::{self, Family, NameError};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

#[test]
fn users_and_groups() {
    let root = names::user("root").unwrap();
    assert_eq!((root.uid, root.gid, root.home.as_str()), (0, 0, "/root"));
    assert_eq!(names::user_by_id(0).unwrap(), root);
    assert_eq!(names::user("no-such-user-here"), Err(NameError::NotFound));
    assert_eq!(names::user_by_id(3_999_999_999), Err(NameError::NotFound));
    let daemon = names::group("daemon").unwrap();
    assert_eq!((daemon.name.as_str(), daemon.gid), ("daemon", 1));
    assert_eq!(names::group("no-such-group-here"), Err(NameError::NotFound));
    assert!(names::group_list("root", 0).unwrap().contains(&0));
    assert_eq!(names::group_list("no-such-user-here", 77).unwrap(), [77]);
}

#[test]
fn services_and_numbers() {
    if !std::path::Path::new("/etc/services").exists() {
        return skip::skip(skip::Reason::absent("netbase"));
    }
    assert_eq!(names::service_port("ssh", "tcp"), Ok(22));
    assert_eq!(names::service_port("tftp", "udp"), Ok(69));
    assert_eq!(names::service_port("tftp", "tcp"), Err(NameError::NotFound));
    assert_eq!(names::protocol("tcp"), Ok(6));
    assert_eq!(names::protocol("no-such-protocol"), Err(NameError::NotFound));
    assert_eq!(names::rpc_number("portmapper"), Ok(100_000));
    assert_eq!(names::rpc_number("no-such-program"), Err(NameError::NotFound));
    assert_eq!(names::network("loopback"), Ok(0x7f00_0000));
}

#[test]
fn addresses_of_this_host() {
    let v4 = names::addresses("localhost", Family::V4).unwrap();
    assert_eq!(v4, [IpAddr::V4(Ipv4Addr::LOCALHOST)]);
    assert!(names::addresses("localhost", Family::Any).unwrap().contains(&v4[0]));
    assert_eq!(names::addresses("::1", Family::V6).unwrap(), [IpAddr::V6(Ipv6Addr::LOCALHOST)]);
    assert!(names::addresses("::1", Family::V4).is_err());
    assert!(names::reverse(v4[0]).unwrap().starts_with("localhost"));
}

#[test]
fn a_failing_name_service_is_not_a_missing_name() {
    // A name that no file has goes to DNS, which may be unreachable or say no; it must not be found either way.
    let error = names::addresses("no-such-host.invalid", Family::Any).unwrap_err();
    assert!(matches!(error, NameError::NotFound | NameError::Temporary(_)), "{error}");
    assert!(!NameError::Temporary(names::Cause::Eai(libc::EAI_AGAIN)).to_string().is_empty());
}

#[test]
fn what_is_not_a_name_is_not_asked_for() {
    for name in ["", "root\0", "\0"] {
        assert_eq!(names::user(name), Err(NameError::Invalid));
        assert_eq!(names::group(name), Err(NameError::Invalid));
        assert_eq!(names::group_list(name, 0), Err(NameError::Invalid));
        assert_eq!(names::service_port(name, "tcp"), Err(NameError::Invalid));
        assert_eq!(names::service_port("ssh", name), Err(NameError::Invalid));
        assert_eq!(names::protocol(name), Err(NameError::Invalid));
        assert_eq!(names::rpc_number(name), Err(NameError::Invalid));
        assert_eq!(names::network(name), Err(NameError::Invalid));
        assert_eq!(names::addresses(name, Family::Any), Err(NameError::Invalid));
    }
}
