//! A unix socket as the first fields of a line of inetd.conf: a path alone where it is the daemon's own, as every inetd reads it,
//! else FreeBSD's `:user:group:mode:/path`. Knows nothing of the other fields.

use super::account::{Account, Stop};

/// The first field, the socket type and the protocol.
pub(super) fn socket(account: &mut Account<'_>) -> Result<(String, (&'static str, String)), Stop> {
    let path = account.value("bind").unwrap_or_default();
    if !path.starts_with('/') || path.contains([' ', '\t', '"', '\'']) {
        return Stop::new(
            "bind",
            format!("`{path}` is not the path of one unix socket, which is what a line can have"),
        );
    }
    for name in ["port", "protocol", "v6only"] {
        if account.take(name).is_some() {
            return Stop::new(name, format!("`{name}` beside a unix socket is an error"));
        }
    }
    let socket = account.value("socket_type").map(str::to_ascii_lowercase);
    let socket = match socket.as_deref() {
        Some("stream") => "stream",
        Some("dgram") => "dgram",
        Some("seqpacket") => "seqpacket",
        _ => return Stop::new("socket_type", "a unix socket has stream, seqpacket or dgram"),
    };
    let rights = ["socket_owner", "socket_group", "socket_mode"].map(|name| account.value(name));
    let name = match rights {
        [None, None, None] => path.to_owned(),
        [owner, group, mode] => {
            let odd = |word: &str| word.contains([':', '/', '"', '\'']);
            if [owner, group].into_iter().flatten().any(odd) {
                return Stop::new("socket_owner", "owner or group reads as something else in a line");
            }
            let own = ("root", "600");
            let (owner, group, mode) =
                (owner.unwrap_or(own.0), group.unwrap_or(own.0), mode.unwrap_or(own.1));
            format!(":{owner}:{group}:{mode}:{path}")
        }
    };
    if account.value("socket_mode").and_then(crate::number::octal) != Some(0o666) {
        account.told(
            "socket_mode",
            "openbsd-inetd lets everybody connect (mode 666), whatever stands before the path",
        );
    }
    Ok((name, (socket, "unix".to_owned())))
}
