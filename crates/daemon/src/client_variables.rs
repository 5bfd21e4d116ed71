//! What a program is told of its client in its environment: xinetd's REMOTE_HOST, and the names of ucspi-tcp and ucspi-unix. Made for each
//! connection, so without formatting and in one piece of memory. Where the variables go, `launch` and `passing` say.

use portreeve_conf::Endpoint;
use portreeve_policy::{AddressText, Peer};
use std::ffi::CStr;
use std::net::{IpAddr, SocketAddr};

/// The ends of a connection, as far as they are known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ends<'a> {
    /// The client.
    pub peer: Option<Peer>,
    /// Our address.
    pub local: Option<SocketAddr>,
    /// Our unix socket.
    pub path: Option<&'a Endpoint>,
}

/// The variables of one client, one behind the other: of each connection they are made anew, so they have one piece of memory.
#[derive(Clone, Debug, Default)]
pub struct ClientVariables(Vec<u8>);

/// What those of most clients take, in bytes.
const USUAL: usize = 192;

impl ClientVariables {
    /// As a start takes them.
    pub fn iter(&self) -> impl Iterator<Item = &CStr> {
        self.0.split_inclusive(|&byte| byte == 0).filter_map(|word| CStr::from_bytes_with_nul(word).ok())
    }

    /// A word of the configuration ends at a NUL, so there is none in what is said; should one come, it ends the variable.
    fn add(&mut self, name: &str, value: &[u8]) {
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend(value.iter().take_while(|&&byte| byte != 0));
        self.0.push(0);
    }

    fn number(&mut self, name: &str, value: impl Into<i64>) {
        let mut digits = [0; 20];
        let value = value.into();
        let mut rest = value.unsigned_abs();
        let mut at = digits.len();
        while let Some(place) = at.checked_sub(1).and_then(|at| digits.get_mut(at)) {
            *place = b'0' + (rest % 10) as u8;
            (at, rest) = (at - 1, rest / 10);
            if rest == 0 {
                break;
            }
        }
        if value < 0
            && let Some(place) = at.checked_sub(1).and_then(|at| digits.get_mut(at))
        {
            (*place, at) = (b'-', at - 1);
        }
        self.add(name, digits.get(at..).unwrap_or_default());
    }

    fn address(&mut self, name: &str, ip: IpAddr) {
        self.add(name, AddressText::of(ip).as_str().as_bytes());
    }
}

/// The variables of one client. REMOTE_HOST comes last, as in xinetd; the others are ours (docs/guide/differences.md):
/// REMOTE_PORT and the names of ucspi-tcp and ucspi-unix. A process of this host has no REMOTE_HOST.
pub fn client_variables(ends: &Ends<'_>, tcp: bool) -> ClientVariables {
    let mut variables = ClientVariables(Vec::with_capacity(USUAL));
    if let Some(path) = ends.path {
        variables.add("PROTO=", b"UNIX");
        variables.add("UNIXLOCALPATH=", path.to_string().as_bytes());
        if let Some(Peer::Local(who)) = ends.peer {
            // Of a process in another namespace the kernel tells no number.
            if who.pid != 0 {
                variables.number("UNIXREMOTEPID=", who.pid);
            }
            variables.number("UNIXREMOTEEUID=", who.uid);
            variables.number("UNIXREMOTEEGID=", who.gid);
        }
        return variables;
    }
    let (peer, local) = (ends.peer.and_then(Peer::address), ends.local);
    if tcp {
        variables.add("PROTO=", b"TCP");
        if let Some(local) = local {
            variables.address("TCPLOCALIP=", local.ip().to_canonical());
            variables.number("TCPLOCALPORT=", local.port());
        }
        if let Some(peer) = peer {
            variables.address("TCPREMOTEIP=", peer.ip().to_canonical());
            variables.number("TCPREMOTEPORT=", peer.port());
        }
    }
    match peer {
        Some(peer) => {
            variables.number("REMOTE_PORT=", peer.port());
            variables.address("REMOTE_HOST=", peer.ip());
        }
        None => variables.add("REMOTE_HOST=", b"<no address>"),
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remote_host_comes_last_and_as_the_socket_names_it() {
        let peer = "[::ffff:127.0.0.1]:4000".parse().ok().map(Peer::Inet);
        let local = "[::ffff:127.0.0.1]:7".parse().ok();
        let all = client_variables(&Ends { peer, local, path: None }, true);
        let text: Vec<_> = all.iter().map(|v| v.to_str().unwrap()).collect();
        assert_eq!(
            text,
            [
                "PROTO=TCP",
                "TCPLOCALIP=127.0.0.1",
                "TCPLOCALPORT=7",
                "TCPREMOTEIP=127.0.0.1",
                "TCPREMOTEPORT=4000",
                "REMOTE_PORT=4000",
                "REMOTE_HOST=::ffff:127.0.0.1"
            ]
        );
        let mut numbers = ClientVariables::default();
        for value in [0, 7, 65_535, i64::from(u32::MAX), -1, i64::MIN] {
            numbers.number("N=", value);
        }
        numbers.add("TEXT=", b"a\0b");
        let wanted =
            [c"N=0", c"N=7", c"N=65535", c"N=4294967295", c"N=-1", c"N=-9223372036854775808", c"TEXT=a"];
        assert_eq!(numbers.iter().collect::<Vec<_>>(), wanted);
        assert_eq!(
            client_variables(&Ends::default(), false).iter().collect::<Vec<_>>(),
            [c"REMOTE_HOST=<no address>"]
        );
    }
}
