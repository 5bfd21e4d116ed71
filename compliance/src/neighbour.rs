//! A second host: a network namespace beside a world's own, joined to it by a wire (veth). For what loopback cannot show:
//! packets with a forged source, a peer whose kernel is not the server's.

use crate::world::{Ended, World};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::os::fd::AsFd;

/// The world's own address on the wire.
pub const HERE: &str = "10.7.0.1";
/// The neighbour's interface on the wire.
pub const WIRE: &str = "wire1";

/// The neighbour of a world; it ends with the world.
pub struct Neighbour<'a> {
    world: &'a World,
}

impl World {
    /// Makes the neighbour, with these addresses of 10.7.0.0/24; the first is what its programs call from.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn neighbour(&self, addresses: &[&str]) -> Neighbour<'_> {
        let mut script = format!(
            "set -e; ip netns add next; ip link add wire0 type veth peer name {WIRE} netns next; \
             ip address add {HERE}/24 dev wire0; ip link set wire0 up; \
             ip -n next link set lo up; ip -n next link set {WIRE} up"
        );
        for address in addresses {
            script.push_str(&format!("; ip -n next address add {address}/24 dev {WIRE}"));
        }
        let (how, output) = self.run(&["/bin/sh", "-c", &script], PATH);
        assert_eq!(how, Ended::Status(0), "{output}");
        Neighbour { world: self }
    }
}

const PATH: &[&str] = &["PATH=/usr/sbin:/usr/bin:/sbin:/bin"];

impl Neighbour<'_> {
    /// Runs a program there to its end; gives what it printed.
    ///
    /// # Panics
    /// When it does not end with status 0.
    pub fn run(&self, words: &[&str]) -> String {
        let mut argv = vec!["/bin/sh", "-c", "exec ip netns exec next \"$0\" \"$@\""];
        argv.extend(words);
        let (how, output) = self.world.run(&argv, PATH);
        assert_eq!(how, Ended::Status(0), "{words:?}: {output}");
        output
    }

    /// Does something there, in a thread of its own: sockets that it opens are the neighbour's.
    ///
    /// # Panics
    /// When `body` does.
    pub fn within<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        let network = File::open(self.world.inside("/run/netns/next")).expect("the neighbour's network");
        std::thread::scope(|scope| {
            let there = scope.spawn(|| {
                move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("to enter it");
                body()
            });
            there.join().expect("what is done there")
        })
    }
}
