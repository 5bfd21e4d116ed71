//! TLS in a section: what it comes to, and that no mistake ends in the clear or without the check that was asked for.

use super::{codes, left_out, reading, service, stream};

#[test]
fn certificates_and_keys_come_in_pairs() {
    let paths = |more: &str| {
        let tls = service(more).tls.clone().unwrap();
        let pairs = tls.pairs.iter().map(|(cert, key)| format!("{} {}", cert.value, key.value));
        (pairs.collect::<Vec<_>>(), tls.client_ca.map(|ca| ca.value), tls.alpn)
    };
    assert_eq!(paths("\ttls_cert = /a.pem\n"), (vec!["/a.pem /a.pem".to_owned()], None, vec![]));
    let more = "\ttls_cert = /a /b\n\ttls_key = /c /d\n\ttls_client_ca = /e\n\ttls_alpn = h2 http/1.1\n";
    let wanted = (
        vec!["/a /c".to_owned(), "/b /d".to_owned()],
        Some("/e".to_owned()),
        vec!["h2".to_owned(), "http/1.1".to_owned()],
    );
    assert_eq!(paths(more), wanted);
    assert_eq!(service("").tls, None);
    let place = service("\ttls_cert = /a.pem\n").tls.clone().unwrap().pairs[0].0.place.clone().unwrap();
    assert_eq!((place.line, place.column), (10, 13));
}

#[test]
fn a_target_is_spoken_to_by_tls_where_that_is_written() {
    let tls = service("\tredirect = 192.0.2.1 443\n\ttls = connect\n\ttls_ca = /ca\n").tls.clone().unwrap();
    assert_eq!(tls.pairs, []);
    assert_eq!(tls.connect.unwrap().ca.unwrap().value, "/ca");
}

/// Each of these would be served in the clear, or to clients nobody has checked, if the line were only ignored.
#[test]
fn a_mistake_never_ends_in_the_clear() {
    for lines in [
        "\ttls_cert = a.pem\n",
        "\ttls_cert =\n",
        "\ttls_cert += /a.pem\n",
        "\ttls_cert = /a\n\ttls_cert = /b\n",
        "\ttls_cert = /a\n\ttls_client_ca = /b /c\n",
        "\ttls_cert = /a\n\ttls_client_ca =\n",
        "\ttls_cert = /a\n\ttls_clent_ca = /b\n",
        "\ttls_cer = /a\n",
        "\ttls_cert = /a /b\n\ttls_key = /a\n",
        "\ttls_key = /a\n",
        "\ttls_client_ca = /a\n",
        "\ttls_alpn = h2\n",
        "\ttls = connect\n",
        "\tredirect = 192.0.2.1 443\n\ttls = conect\n",
        "\tredirect = 192.0.2.1 443\n\ttls_ca = /ca\n",
    ] {
        left_out(lines);
        let reading = reading(stream("s1", 2000, lines));
        assert!(reading.diagnostics.iter().any(|d| d.severity == crate::Severity::Error), "{lines}");
    }
    let defaults = format!("defaults\n{{\n\ttls_cert = /a\n}}\n{}", stream("s1", 2000, ""));
    assert_eq!(reading(defaults).services, []);
}

#[test]
fn what_cannot_stand_behind_tls_is_named() {
    let section = |more: &str| {
        format!("service s1\n{{\n\ttype = UNLISTED\n\tport = 2\n\tuser = nobody\n\ttls_cert = /a\n{more}}}\n")
    };
    for more in [
        "\tsocket_type = stream\n\tprotocol = tcp\n\twait = yes\n\tserver = /bin/sh\n",
        "\tsocket_type = dgram\n\tprotocol = udp\n\twait = yes\n\tserver = /bin/sh\n",
        "\tsocket_type = stream\n\tprotocol = tcp\n\twait = no\n\tserver = /bin/sh\n\tflags = SENSOR\n",
    ] {
        let reading = reading(section(more));
        assert_eq!(reading.services, [], "{more}");
        assert!(codes(&reading).contains(&"tls-conflict"), "{:?}", codes(&reading));
    }
}
