//! What the sensor sees, as the supervisor has it: who scans, for people, the log and the ledger, and as evidence that may be forged.
//! Owns the list of scanners and what is said of them in a minute; whether somebody is banned is for `evidence`, and whom we have met
//! for policy's `scans`.
//!
//! It runs where `watch_scans = yes` stands in `defaults`. When it dies its counters and its memory are gone, and nobody is banned or
//! let off for it; the list here stays.

use crate::json::Json;
use crate::staff::{Presence, Staff};
use crate::supervisor::Supervisor;
use portreeve_conf::Level;
use portreeve_policy::evidence::{Evidence, Grade, Kind};
use portreeve_policy::{MOST_SCANS, Met, Prefix, Scans, Seen};
use portreeve_workers::SENSOR_BOUNDS;
use portreeve_workers::protocol::{Event, EventKind, FromSensor, Scan, ScanKinds, ToSensor, Watched, Worker};
use rustix::fd::OwnedFd;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Lines, and events, about scans in a minute. What a flood of forged senders makes beyond it is counted and said in one line.
const LINES: u32 = 20;
const MINUTE: Duration = Duration::from_secs(60);
/// From which ports this host connects, where the kernel does not say.
const EPHEMERAL: (u16, u16) = (32_768, 60_999);

/// What is known of the sensor and from it.
#[derive(Debug, Default)]
pub struct Sensor {
    /// `watch_scans`.
    pub wanted: bool,
    /// Who scans.
    pub scans: Scans,
    watched: Option<Watched>,
    /// Why it cannot watch; empty when it can.
    trouble: String,
    minute: Duration,
    said: u32,
    unsaid: u32,
    /// The table was said to be full.
    full_said: Option<Duration>,
}

impl Supervisor {
    /// The configuration says whether scans are watched for.
    pub fn want_sensor(&mut self, wanted: bool) {
        self.sensor.wanted = wanted;
        if wanted {
            self.need_worker(Worker::Sensor);
        } else if self.staff.link(Worker::Sensor).presence != Presence::Off {
            self.staff.retire_link(Staff::index(Worker::Sensor));
            self.sensor.watched = None;
            self.sensor.trouble.clear();
        }
    }

    /// It is confined and waits for its sockets. They are made here, since it has no capability to make them.
    pub fn sensor_ready(&mut self) {
        match self.hand_sensor_sockets() {
            Ok(()) => self.sensor.trouble.clear(),
            Err(error) => {
                self.sensor.trouble = crate::machine::percent_m(&error);
                let text = format!("scans are not watched for: {}", self.sensor.trouble);
                self.say(Level::Error, &text);
            }
        }
    }

    fn hand_sensor_sockets(&mut self) -> io::Result<()> {
        use portreeve_sys::{addresses, packets, sock_diag};
        let sockets: [(ToSensor, OwnedFd); 3] = [
            (ToSensor::Packets, packets::open()?),
            (ToSensor::Sockets, sock_diag::asking()?),
            (ToSensor::Addresses, addresses::asking()?),
        ];
        for (message, fd) in sockets {
            self.tell_sensor(&message, Some(fd));
        }
        let forwards = ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"]
            .iter()
            .any(|name| setting(name).is_some_and(|text| text.trim() != "0"));
        let range = setting("net/ipv4/ip_local_port_range").and_then(|text| {
            let mut words = text.split_whitespace().map(|word| word.parse().ok());
            Some((words.next()??, words.next()??))
        });
        let (from, to) = range.unwrap_or(EPHEMERAL);
        // Whoever connects through this host may have any high port.
        let to = if forwards { u16::MAX } else { to };
        self.tell_sensor(&ToSensor::Watch { ephemeral: (from, to), forwards }, None);
        Ok(())
    }

    fn tell_sensor(&mut self, message: &ToSensor, fd: Option<OwnedFd>) {
        let mut bytes = Vec::new();
        if message.encode(&mut bytes).is_ok() {
            self.tell(Worker::Sensor, bytes, fd.map(Into::into));
        }
    }

    /// It is gone, and what it had counted.
    pub fn sensor_lost(&mut self) {
        self.sensor.watched = None;
    }

    /// It has spoken.
    pub fn heard_sensor(&mut self, message: FromSensor) {
        match message {
            FromSensor::Ready { .. } => {}
            FromSensor::Watching(watched) => {
                let before = self.sensor.watched.replace(watched).unwrap_or_default();
                let now = self.stamp.mono();
                if watched.turned_away > before.turned_away
                    && self.sensor.full_said.is_none_or(|said| now.saturating_sub(said) >= MINUTE)
                {
                    self.sensor.full_said = Some(now);
                    let text = format!(
                        "scans: so many senders at once that not all are remembered ({} were not); a slow scan may go unseen",
                        watched.turned_away
                    );
                    self.say(Level::Warning, &text);
                }
            }
            FromSensor::Scans(scans) => scans.into_iter().for_each(|scan| self.scan_seen(scan)),
        }
    }

    fn scan_seen(&mut self, scan: Scan) {
        let now = self.stamp.mono();
        let Scan { network, kinds, company, sources, targets, ports, since } = scan;
        let seen = Seen { kinds: kinds.0, company, sources, targets, ports };
        let new = self.sensor.scans.note(network, seen.clone(), Duration::from_secs(since.into()), now);
        if self.may_say_scan(now) {
            self.say(Level::Notice, &line(&network, &seen));
            let id = self.announcer.ledger.id();
            let reason = words(kinds);
            self.announcer.ledger.note(&Event {
                kind: EventKind::Scan,
                id,
                at: now,
                service: "",
                peer: Some(SocketAddr::new(network.address(), 0)),
                reason: &reason,
                rule: None,
                pid: 0,
                count: targets,
                ended: None,
                banned: None,
            });
        }
        // A wider network is nobody's address.
        if network == Prefix::subscriber(network.address()) {
            self.weigh_evidence(&Evidence {
                source: network.address(),
                grade: Grade::Forgeable,
                kind: Kind::Scan,
                service: "",
                count: new,
                proxied: false,
            });
        }
    }

    /// Whether this one is among those of a minute that are said one by one.
    fn may_say_scan(&mut self, now: Duration) -> bool {
        if now.saturating_sub(self.sensor.minute) >= MINUTE {
            let unsaid = std::mem::take(&mut self.sensor.unsaid);
            (self.sensor.minute, self.sensor.said) = (now, 0);
            if unsaid > 0 {
                self.say(Level::Notice, &format!("scans: {unsaid} more were seen in the minute before"));
            }
        }
        if self.sensor.said < LINES {
            self.sensor.said += 1;
            return true;
        }
        self.sensor.unsaid += 1;
        false
    }

    /// A client has completed a handshake with a service.
    pub fn scanner_at_service(&mut self, source: IpAddr) {
        let now = self.stamp.mono();
        self.sensor.scans.meet(source, Met::Service, now);
    }

    /// A client has tripped a sensor, and is banned for it.
    pub fn scanner_at_trap(&mut self, source: IpAddr) {
        let now = self.stamp.mono();
        self.sensor.scans.meet(source, Met::Trap, now);
    }

    /// A client has completed a handshake with a trap: that is proven, and so is what it has scanned.
    /// What a proxy says of its client is judged by itself, and proves no packet.
    pub fn trapped(&mut self, source: IpAddr, service: &str, proxied: bool) {
        let now = self.stamp.mono();
        let piece = |kind, count| Evidence { source, grade: Grade::Proven, kind, service, count, proxied };
        self.weigh_evidence(&piece(Kind::Trap, 1));
        if proxied {
            return;
        }
        if let Some(targets) = self.sensor.scans.meet(source, Met::Trap, now) {
            self.weigh_evidence(&piece(Kind::Scan, targets));
        }
    }

    /// For `status`.
    pub fn sensor_view(&self, j: &mut Json) {
        let sensor = &self.sensor;
        let state = match (sensor.wanted, self.staff.link(Worker::Sensor).presence) {
            (false, _) => "off",
            (true, _) if !sensor.trouble.is_empty() => "refused",
            (true, Presence::Ready) if sensor.watched.is_some_and(|w| w.fault != 0) => "half blind",
            // After an upgrade it has not spoken yet, and watches.
            (true, Presence::Ready) => "watching",
            (true, Presence::Off | Presence::Starting) => "starting",
            (true, Presence::Down) => "down",
        };
        let watched = sensor.watched.unwrap_or_default();
        let fault = io::Error::from_raw_os_error(watched.fault.into());
        j.map("sensor", |j| {
            j.text("state", state);
            j.text(
                "why",
                match watched.fault {
                    0 => sensor.trouble.clone(),
                    _ => format!(
                        "the kernel does not tell what listens: {}",
                        crate::machine::percent_m(&fault)
                    ),
                },
            );
            j.plain("packets", watched.packets);
            j.plain("dropped_by_kernel", watched.dropped);
            j.plain("probes", watched.probes);
            j.plain("unjudged", watched.unjudged);
            j.plain("sources", watched.sources);
            j.plain("most_sources", SENSOR_BOUNDS.0);
            j.plain("networks", watched.networks);
            j.plain("most_networks", SENSOR_BOUNDS.1);
            j.plain("evicted", watched.evicted);
            j.plain("turned_away", watched.turned_away);
            j.plain("untold", watched.untold);
            j.plain("scans", sensor.scans.len());
            j.plain("most_scans", MOST_SCANS);
            j.plain("forgotten", sensor.scans.forgotten);
        });
    }

    /// The answer to `scans`.
    pub fn list_scans(&mut self) -> String {
        let now = self.stamp.mono();
        self.sensor.scans.expire(now);
        Json::object(|j| {
            j.plain("ok", true);
            self.sensor_view(j);
            j.list("scans", |j| {
                for (network, one) in self.sensor.scans.iter() {
                    j.item(|j| {
                        j.text("network", network);
                        j.list("kinds", |j| ScanKinds(one.seen.kinds).iter().for_each(|k| j.word(k.word())));
                        j.plain("targets", one.seen.targets);
                        j.plain("sources", one.seen.sources);
                        j.plain("decoys", one.seen.company);
                        j.list("ports", |j| one.seen.ports.iter().for_each(|port| j.number(port)));
                        j.plain("first_seconds", now.saturating_sub(one.first).as_secs());
                        j.plain("last_seconds", now.saturating_sub(one.last).as_secs());
                        j.text(
                            "proof",
                            match one.met {
                                Met::Nowhere => "none",
                                Met::Service => "address",
                                Met::Trap => "trap",
                            },
                        );
                        j.plain("banned", self.host.denied.contains(network.address(), now));
                    });
                }
            });
        })
    }
}

fn setting(name: &str) -> Option<String> {
    std::fs::read_to_string(std::path::Path::new("/proc/sys").join(name)).ok()
}

fn words(kinds: ScanKinds) -> String {
    kinds.iter().map(portreeve_workers::protocol::ScanKind::word).collect::<Vec<_>>().join(",")
}

/// A scan in one line.
fn line(network: &Prefix, seen: &Seen) -> String {
    let kinds = words(ScanKinds(seen.kinds));
    let whose = match (seen.sources, seen.company) {
        (2.., _) => format!("{} addresses of it, each with little", seen.sources),
        (_, true) => "others did the same at the same moments: at most one of them is real".to_owned(),
        (_, false) => "its address may be forged".to_owned(),
    };
    let ports = match seen.ports.iter().map(u16::to_string).collect::<Vec<_>>() {
        ports if ports.is_empty() => String::new(),
        ports => format!(", first {}", ports.join(" ")),
    };
    format!("scan ({kinds}) from {network}: {} ports where nothing is{ports}; {whose}", seen.targets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_is_known_and_no_more() {
        let seen =
            |sources, company| Seen { kinds: 0b10_0001, company, sources, targets: 8, ports: vec![1, 23] };
        let host = "192.0.2.1".parse().unwrap();
        assert_eq!(
            line(&host, &seen(1, false)),
            "scan (syn,ack) from 192.0.2.1: 8 ports where nothing is, first 1 23; its address may be forged"
        );
        assert!(line(&host, &seen(1, true)).contains("at most one of them is real"));
        let net = "192.0.2.0/24".parse().unwrap();
        assert!(
            line(&net, &Seen { ports: vec![], ..seen(9, true) })
                .ends_with("nothing is; 9 addresses of it, each with little")
        );
    }
}
