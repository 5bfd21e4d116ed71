//! What a matched rule orders, put into effect once the verdict stands: banners and socket options here, commands beside the
//! server by `hooks`, and for the program or the command instead of it the changes that `launch` makes.

use crate::admit::Client;
use crate::launch;
use crate::slot::{Slot, SlotId};
use crate::supervisor::Supervisor;
use hosts_access::Act;
use portreeve_conf::Level;
use portreeve_sys::socket;
use portreeve_sys::spawn::{Ids, Image};
use rustix::net::sockopt;
use std::net::IpAddr;
use std::time::Duration;

/// The orders of a rule.
#[derive(Debug, Default)]
pub struct Orders {
    /// Commands beside the server.
    pub spawn: Vec<Vec<u8>>,
    /// A command instead of the server.
    pub twist: Option<Vec<u8>>,
    /// Bytes for the client.
    pub banners: Vec<u8>,
    /// Facility and severity of what is logged of this client.
    pub severity: Option<i32>,
    /// SO_KEEPALIVE.
    pub keepalive: bool,
    /// SO_LINGER, seconds; 0 is off.
    pub linger: Option<i32>,
    /// What nice(2) adds.
    pub nice: i32,
    /// umask of the program.
    pub umask: Option<u32>,
    /// Variables of the program.
    pub variables: Vec<(Vec<u8>, Vec<u8>)>,
    /// Ids of the program.
    pub ids: Option<Ids>,
    /// The client, for log lines.
    pub client: String,
}

impl Orders {
    /// The acts of a rule, in their order; a later one of the same kind replaces an earlier one, niceness adds up.
    pub fn new(acts: Vec<Act>, ids: Option<Ids>, banners: Vec<u8>, client: String) -> Self {
        let mut orders = Self { ids, banners, client, ..Self::default() };
        for act in acts {
            match act {
                Act::Spawn(command) => orders.spawn.push(command),
                Act::Twist(command) => orders.twist = Some(command),
                Act::Severity(severity) => orders.severity = Some(severity),
                Act::Keepalive => orders.keepalive = true,
                Act::Linger(seconds) => orders.linger = Some(seconds),
                Act::Nice(by) => orders.nice = orders.nice.saturating_add(by),
                Act::Umask(mask) => orders.umask = Some(mask),
                Act::Setenv(name, value) => {
                    orders.variables.retain(|(other, _)| *other != name);
                    orders.variables.push((name, value));
                }
                Act::Aclexec(_) | Act::Banners(_) | Act::User { .. } | Act::Group(_) => {}
            }
        }
        orders
    }

    /// Whether the program is started otherwise than the service's plan says.
    fn change_the_program(&self) -> bool {
        self.nice != 0 || self.umask.is_some() || !self.variables.is_empty() || self.ids.is_some()
    }
}

impl Supervisor {
    /// Carries out what is due whatever the verdict is; once for a client, however often it is judged.
    pub fn carry_out(&mut self, client: &mut Client) {
        let Some(consulted) = &client.consulted else { return };
        if std::mem::replace(&mut client.acted, true) {
            return;
        }
        let orders = &consulted.orders;
        if !orders.banners.is_empty() {
            // What the socket does not take at once is dropped: nobody waits for a client that does not read.
            let _ = socket::send_now(&client.fd, &orders.banners);
        }
        let mut failed = Vec::new();
        if orders.keepalive
            && let Err(errno) = sockopt::set_socket_keepalive(&client.fd, true)
        {
            failed.push(format!("warning: setsockopt SO_KEEPALIVE: {errno}"));
        }
        if let Some(seconds) = orders.linger {
            let seconds = u64::try_from(seconds).unwrap_or(0);
            let linger = (seconds > 0).then(|| Duration::from_secs(seconds));
            if let Err(errno) = sockopt::set_socket_linger(&client.fd, linger) {
                failed.push(format!("warning: setsockopt SO_LINGER: {errno}"));
            }
        }
        for text in failed {
            self.say(Level::Error, &text);
        }
        self.spawn_beside(client.slot, client.peer.source(), client.orders());
    }

    /// Starts the commands beside the server.
    pub fn spawn_beside(&mut self, id: SlotId, source: IpAddr, orders: Option<&Orders>) {
        let Some(orders) = orders else { return };
        for command in &orders.spawn {
            self.start_hook(id, source, command, orders, None);
        }
    }

    /// What is started instead of the service's program as it is: a command, or the program with other attributes; `None`
    /// where the rule orders neither.
    pub fn changed_program(&self, slot: &Slot, orders: &Orders) -> Option<Image> {
        if let Some(command) = &orders.twist {
            let ids = self.hook_ids(slot);
            let shell = launch::shell(&slot.service, &self.inherited, ids, command, orders);
            // It answers the client in the place of the program.
            let joining = launch::joined(slot, &self.inherited);
            return Some(launch::confined(&slot.service, joining, shell).build());
        }
        if !orders.change_the_program() {
            return None;
        }
        launch::altered(slot, &self.inherited, orders)
    }
}
