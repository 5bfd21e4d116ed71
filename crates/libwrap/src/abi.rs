//! The structures of `tcpd.h`, byte for byte: programs allocate them and read their members.

use std::ffi::{c_int, c_void};

/// Size of each text member, with its NUL.
pub(crate) const STRING_LENGTH: usize = 128;

/// A text member.
pub(crate) type Chars = [u8; STRING_LENGTH];

/// Looks something up and writes it into the structure.
pub(crate) type HostMethod = unsafe extern "C" fn(*mut HostInfo);

/// One end.
#[repr(C)]
pub(crate) struct HostInfo {
    pub(crate) name: Chars,
    pub(crate) addr: Chars,
    pub(crate) sin: *mut libc::sockaddr,
    pub(crate) unit: *mut c_void,
    pub(crate) request: *mut RequestInfo,
}

/// One request.
#[repr(C)]
pub(crate) struct RequestInfo {
    pub(crate) fd: c_int,
    pub(crate) user: Chars,
    pub(crate) daemon: Chars,
    pub(crate) pid: [u8; 10],
    pub(crate) client: HostInfo,
    pub(crate) server: HostInfo,
    pub(crate) sink: Option<unsafe extern "C" fn(c_int)>,
    pub(crate) hostname: Option<HostMethod>,
    pub(crate) hostaddr: Option<HostMethod>,
    pub(crate) cleanup: Option<unsafe extern "C" fn(*mut RequestInfo)>,
    pub(crate) config: *mut c_void,
}

/// `struct tcpd_context`.
#[repr(C)]
pub(crate) struct Context {
    pub(crate) file: *const std::ffi::c_char,
    pub(crate) line: c_int,
}

#[cfg(target_pointer_width = "64")]
const _: () = {
    use std::mem::{offset_of, size_of};
    assert!(size_of::<HostInfo>() == 280 && size_of::<RequestInfo>() == 872 && size_of::<Context>() == 16);
    assert!(offset_of!(HostInfo, addr) == 128 && offset_of!(HostInfo, sin) == 256);
    assert!(offset_of!(HostInfo, unit) == 264 && offset_of!(HostInfo, request) == 272);
    assert!(offset_of!(RequestInfo, user) == 4 && offset_of!(RequestInfo, daemon) == 132);
    assert!(offset_of!(RequestInfo, pid) == 260 && offset_of!(RequestInfo, client) == 272);
    assert!(offset_of!(RequestInfo, server) == 552 && offset_of!(RequestInfo, sink) == 832);
    assert!(offset_of!(RequestInfo, hostname) == 840 && offset_of!(RequestInfo, hostaddr) == 848);
    assert!(offset_of!(RequestInfo, cleanup) == 856 && offset_of!(RequestInfo, config) == 864);
};
