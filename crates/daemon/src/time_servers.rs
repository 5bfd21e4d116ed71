//! Whom this host has its time from: the addresses in the configuration of chrony, ntpd and systemd-timesyncd, and those that their
//! processes are connected with. Names are not looked up: while a daemon uses one, it is connected with its address.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

/// chrony, ntpd, ntpsec.
const BY_LINES: [&str; 4] =
    ["etc/chrony.conf", "etc/chrony/chrony.conf", "etc/ntp.conf", "etc/ntpsec/ntp.conf"];
/// Directories with more of it, and how their files end.
const MORE_BY_LINES: [(&str, &str); 4] = [
    ("etc/chrony/sources.d", ".sources"),
    ("etc/chrony/conf.d", ".conf"),
    ("etc/chrony.d", ".conf"),
    ("run/chrony-dhcp", ".sources"),
];
const TIMESYNCD: &str = "etc/systemd/timesyncd.conf";
const MORE_OF_TIMESYNCD: (&str, &str) = ("etc/systemd/timesyncd.conf.d", ".conf");
/// Their users; root is one of them as well.
const USERS: [&str; 6] = ["_chrony", "chrony", "ntp", "ntpsec", "ntpd", "systemd-timesync"];
/// Files of a directory that are read at most.
const MOST_FILES: usize = 32;
/// Addresses that are taken at most.
const MOST: usize = 256;
const NTP_PORT: u16 = 123;

/// Whom this host has its time from. `read` reads a file below `root`.
pub fn time_servers(root: &Path, read: &dyn Fn(&str) -> String) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for path in BY_LINES {
        found.extend(by_lines(&read(path)));
    }
    for (directory, end) in MORE_BY_LINES {
        for path in files(root, directory, end) {
            found.extend(by_lines(&read(&path)));
        }
    }
    let (directory, end) = MORE_OF_TIMESYNCD;
    for path in std::iter::once(TIMESYNCD.to_owned()).chain(files(root, directory, end)) {
        found.extend(by_keys(&read(&path)));
    }
    let users = users(&read("etc/passwd"));
    for path in ["proc/net/udp", "proc/net/udp6"] {
        found.extend(connected(&read(path), &users));
    }
    found.truncate(MOST);
    found
}

fn files(root: &Path, directory: &str, end: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(root.join(directory)) else { return Vec::new() };
    let names =
        entries.take(4 * MOST_FILES).flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let ours = names.filter(|name| name.ends_with(end)).take(MOST_FILES);
    ours.map(|name| format!("{directory}/{name}")).collect()
}

/// `server ADDRESS ...`, and its like.
fn by_lines(text: &str) -> Vec<IpAddr> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        ["server", "peer", "pool"].contains(&words.next()?).then_some(())?;
        words.find(|word| *word != "-4" && *word != "-6")?.parse().ok()
    };
    text.lines().filter_map(server).collect()
}

/// `NTP=ADDRESS ...` and `FallbackNTP=`.
fn by_keys(text: &str) -> Vec<IpAddr> {
    let values = text.lines().filter_map(|line| {
        let (key, value) = line.split_once('=')?;
        ["NTP", "FallbackNTP"].contains(&key.trim()).then_some(value)
    });
    values.flat_map(str::split_whitespace).filter_map(|word| word.parse().ok()).collect()
}

fn users(passwd: &str) -> Vec<u32> {
    let uid = |line: &str| {
        let mut fields = line.split(':');
        USERS.contains(&fields.next()?).then(|| fields.nth(1)?.parse().ok())?
    };
    passwd.lines().filter_map(uid).chain([0]).collect()
}

/// The far ends at the port of NTP, of sockets that these users have: `sl local remote st queues tr retrnsmt uid ...`.
fn connected(table: &str, users: &[u32]) -> Vec<IpAddr> {
    let far = |line: &str| {
        let mut fields = line.split_whitespace();
        let (address, port) = fields.nth(2)?.split_once(':')?;
        let uid: u32 = fields.nth(4)?.parse().ok()?;
        let ours = u16::from_str_radix(port, 16) == Ok(NTP_PORT) && users.contains(&uid);
        ours.then(|| kernel_address(address)).flatten().filter(|ip| !ip.is_unspecified())
    };
    table.lines().skip(1).filter_map(far).collect()
}

/// As /proc/net has it: words of 32 bits in the machine's own order.
fn kernel_address(text: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let digits = text.get(at * 8..at * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    match text.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for (at, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(at)?);
            }
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn servers_stand_in_the_files_of_each_daemon() {
        let chrony = "# server 192.0.2.9\nserver 192.0.2.1 iburst\npool pool.example iburst\npeer -6 2001:db8::1 key 3\nserverx 192.0.2.8\nserver\n";
        assert_eq!(by_lines(chrony), ips(&["192.0.2.1", "2001:db8::1"]));
        let timesyncd = "[Time]\n#NTP=192.0.2.9\nNTP=192.0.2.1 ntp.example 2001:db8::2\nFallbackNTP = 192.0.2.3\nRootDistance=5\n";
        assert_eq!(by_keys(timesyncd), ips(&["192.0.2.1", "2001:db8::2", "192.0.2.3"]));
    }

    #[test]
    fn whom_a_time_daemon_is_connected_with_counts_and_no_other() {
        let users = users("root:x:0:0::/:\n_chrony:x:107:1::/:\neve:x:1000:1::/:\n");
        assert_eq!(users, [107, 0]);
        let words = |ip: &str| match ip.parse().unwrap() {
            IpAddr::V4(v4) => format!("{:08X}", u32::from_ne_bytes(v4.octets())),
            IpAddr::V6(v6) => v6
                .octets()
                .chunks_exact(4)
                .map(|part| format!("{:08X}", u32::from_ne_bytes(part.try_into().unwrap())))
                .collect(),
        };
        let line = |ip: &str, port: u16, uid: u32| {
            format!(
                " 7: 00000000:A000 {}:{port:04X} 01 00000000:00000000 00:00000000 00000000 {uid:5} 0 1 2\n",
                words(ip)
            )
        };
        let table = [
            "  sl  local_address rem_address st tx_queue tr tm->when retrnsmt   uid\n".to_owned(),
            line("192.0.2.1", 123, 107),
            line("192.0.2.2", 123, 1000),
            line("192.0.2.3", 53, 0),
            line("0.0.0.0", 123, 0),
            line("2001:db8::7", 123, 0),
            "short\n".to_owned(),
        ];
        assert_eq!(connected(&table.concat(), &users), ips(&["192.0.2.1", "2001:db8::7"]));
    }

    #[test]
    fn the_files_below_a_root_are_read() {
        let root = std::env::temp_dir().join(format!("portreeve-time-servers-{}", std::process::id()));
        fs::create_dir_all(root.join("etc/chrony/sources.d")).unwrap();
        fs::write(root.join("etc/chrony/sources.d/a.sources"), "server 192.0.2.5\n").unwrap();
        fs::write(root.join("etc/chrony/sources.d/b.off"), "server 192.0.2.6\n").unwrap();
        fs::write(root.join("etc/ntp.conf"), "server 192.0.2.7\n").unwrap();
        let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
        assert_eq!(time_servers(&root, &read), ips(&["192.0.2.7", "192.0.2.5"]));
        fs::remove_dir_all(&root).unwrap();
    }
}
