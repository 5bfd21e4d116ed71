//! What a limit leaves of the datagrams that wait together.

use super::*;

/// A datagram each of twelve sources waits before the rules come; how many are served, refused, and left until there are no rules.
fn left_waiting(rules: &Rules) -> [u64; 3] {
    let worker = Worker::usual();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    // Of one source each, or the others would be refused with the first that has more than its share.
    for n in 10..22 {
        let client = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, n), 0)).unwrap();
        client.send_to(b"all at once", socket.local_addr().unwrap()).unwrap();
    }
    worker
        .tell(&ToBuiltin::Datagrams { slot: 1, kind: BuiltinKind::Echo, more: false }, Some(socket.as_fd()));
    worker.rules(1, rules);
    let (mut served, mut refused, mut before) = (0, 0, None);
    while served + refused < 12 {
        match worker.hear() {
            FromBuiltin::Datagrams(said) => {
                (served, refused) = (served + said.served_count, refused + said.refused_count);
            }
            FromBuiltin::Rate { note: RateNote::Paused { .. } | RateNote::Full { .. }, .. } => {}
            _ => continue,
        }
        if refused > 0 && before.is_none() {
            before = Some(served);
            worker.rules(1, &unlimited());
        }
    }
    let before = before.unwrap();
    [before, refused, served - before]
}

#[test]
fn what_a_limit_leaves_waits_in_the_kernel() {
    // Whoever brings the pause about is refused; whoever stands behind waits, and is not.
    assert_eq!(left_waiting(&Rules { cps: (5, 60), ..Rules::default() }), [5, 1, 6]);
    let minute = Rules { cps: (0, 0), starts_per_minute: Some(5), ..Rules::default() };
    assert_eq!(left_waiting(&minute), [5, 1, 6]);
}
