//! Who asks, as log lines and `%c` name it: nothing is looked up for it.

use hosts_access::{Host, Request};

/// The host: its name where it is known already, else its address.
#[must_use]
pub fn host(host: &Host) -> &[u8] {
    if host.has_name() { host.name.as_bytes() } else { host.address() }
}

/// `user@host` where the user is known already, else the host.
#[must_use]
pub fn client(request: &Request) -> Vec<u8> {
    let host = host(&request.client);
    if request.user.is_empty() || request.user.as_bytes().eq_ignore_ascii_case(b"unknown") {
        host.to_vec()
    } else {
        [request.user.as_bytes(), b"@", host].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hosts_access::Field;

    #[test]
    fn only_what_is_known_is_named() {
        let mut request = Request::default();
        assert_eq!(client(&request), b"unknown");
        request.client.addr = Field::from("10.0.0.1");
        request.user = Field::from("UNKNOWN");
        for (name, user, wanted) in [
            ("", "", "10.0.0.1"),
            ("paranoid", "unknown", "10.0.0.1"),
            ("a.example", "", "a.example"),
            ("a.example", "joe", "joe@a.example"),
            ("unknown", "joe", "joe@10.0.0.1"),
        ] {
            request.client.name = Field::from(name);
            request.user = Field::from(user);
            assert_eq!(client(&request), wanted.as_bytes());
        }
    }
}
