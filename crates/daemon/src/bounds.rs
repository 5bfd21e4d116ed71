//! What a control group's controllers keep, as the texts that the kernel's files take: amounts, quotas, weights. Knows the files and what
//! this machine has; where the group is, and whether there is such a controller, it does not.

use portreeve_conf::{Amount, Group, Weight};
use portreeve_sys::cgroup;
use rustix::fd::OwnedFd;
use rustix::io::Errno;

/// What of a setting is written, each file with its value; without the setting, what is no bound.
pub fn files(key: &str, wanted: &Group) -> Vec<(&'static str, String)> {
    let most = |amount: Option<Amount>, controller| {
        amount.map_or_else(|| "max".to_owned(), |amount| number(amount, controller).to_string())
    };
    let one = |file, value| vec![(file, value)];
    match key {
        "MemoryMax" => one("memory.max", most(wanted.memory_max, "memory")),
        "MemoryHigh" => one("memory.high", most(wanted.memory_high, "memory")),
        "MemorySwapMax" => one("memory.swap.max", most(wanted.swap_max, "memory")),
        "TasksMax" => one("pids.max", most(wanted.tasks_max, "pids")),
        "CPUQuota" => {
            let text = wanted.cpu_quota.map(|quota| format!("{} {}", quota.time, quota.period));
            one("cpu.max", text.unwrap_or_else(|| "max 100000".to_owned()))
        }
        "CPUWeight" => match wanted.cpu_weight.unwrap_or(Weight::DEFAULT) {
            Weight::Idle => one("cpu.idle", "1".to_owned()),
            // Whoever is idle has no weight.
            Weight::Of(weight) => vec![("cpu.idle", "0".to_owned()), ("cpu.weight", weight.to_string())],
        },
        "IOWeight" => match wanted.io_weight.unwrap_or(Weight::DEFAULT) {
            Weight::Idle => Vec::new(),
            Weight::Of(weight) => {
                vec![("io.bfq.weight", bfq(weight).to_string()), ("io.weight", format!("default {weight}"))]
            }
        },
        _ => Vec::new(),
    }
}

/// That scheduler's weights go to 1000, and 100 is the middle of both.
fn bfq(weight: u16) -> u16 {
    if weight <= 100 {
        weight
    } else {
        100 + u16::try_from(u32::from(weight - 100) * 900 / 9_900).unwrap_or(900)
    }
}

/// Kernels differ in which of the files there are; one of them must be.
pub fn write(dir: &OwnedFd, files: &[(&'static str, String)]) -> std::io::Result<()> {
    let mut kept = Err(Errno::NOENT.into());
    for (file, value) in files {
        match cgroup::write(dir, file, value) {
            Ok(()) => kept = Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    kept
}

/// How much it is on this machine.
fn number(amount: Amount, controller: &str) -> u64 {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let first = |text: &str| text.split_ascii_whitespace().next().and_then(|n| n.parse::<u64>().ok());
    let (share, all) = match amount {
        Amount::Number(number) => return number,
        Amount::Percent(share) if controller == "memory" => {
            let text = read("/proc/meminfo");
            let total = text.lines().find_map(|line| first(line.strip_prefix("MemTotal:")?));
            (share, total.unwrap_or(u64::MAX).saturating_mul(1024))
        }
        Amount::Percent(share) => {
            let most =
                ["/proc/sys/kernel/threads-max", "/proc/sys/kernel/pid_max"].map(|path| first(&read(path)));
            (share, most.into_iter().flatten().min().unwrap_or(u64::MAX))
        }
    };
    u64::try_from(u128::from(all) * u128::from(share) / 100).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bound_has_its_files() {
        let nothing = Group::default();
        for (key, controller, _) in nothing.bounds() {
            let files = files(key, &nothing);
            let own = |(file, _): &(&str, String)| file.starts_with(&format!("{controller}."));
            assert!(!files.is_empty() && files.iter().all(own), "{key}: {files:?}");
        }
        let group = Group {
            cpu_quota: Some(portreeve_conf::Quota { time: 20_000, period: 100_000 }),
            cpu_weight: Some(Weight::Idle),
            io_weight: Some(Weight::Of(10_000)),
            ..nothing
        };
        let of = |key| {
            files(key, &group).iter().map(|(file, value)| format!("{file}={value}")).collect::<Vec<_>>()
        };
        assert_eq!(of("CPUQuota"), ["cpu.max=20000 100000"]);
        assert_eq!(of("CPUWeight"), ["cpu.idle=1"]);
        assert_eq!(of("IOWeight"), ["io.bfq.weight=1000", "io.weight=default 10000"]);
        assert_eq!([1, 50, 100, 200].map(bfq), [1, 50, 100, 109]);
    }
}
