//! Values that are numbers: how many, how fast, how much, how long.

use super::{Bad, Line};
use crate::attribute::Id;
use crate::codes;
use crate::draft::Draft;
use crate::number;
use crate::service::{Limit, OnRemove, Overload, Stop};

fn unlimited(text: &str) -> bool {
    text.eq_ignore_ascii_case("UNLIMITED")
}

pub(super) fn instances(draft: &mut Draft, line: &Line<'_>) -> Result<(), Bad> {
    let text = line.text(0);
    let limit: Limit = if unlimited(text) {
        None
    } else {
        let number =
            number::within(text, 0, i64::from(i32::MAX)).and_then(|number| u32::try_from(number).ok());
        Some(number.ok_or_else(|| {
            let what = if line.attribute.id == Id::Instances { "instances" } else { "per source instances" };
            let bad =
                Bad::new(format!("`{text}` is no limit"), format!("Number of {what} is invalid: {text}"));
            bad.help("a number from 0, or UNLIMITED")
        })?)
    };
    let set = line.set(limit);
    if line.attribute.id == Id::Instances {
        draft.instances = set;
    } else {
        draft.per_source = set;
    }
    Ok(())
}

pub(super) fn per_source_prefix(draft: &mut Draft, line: &Line<'_>) -> Result<(), Bad> {
    let length = |index: usize, most: i64| {
        let text = line.text(index);
        let number = number::within(text, 1, most).and_then(|number| u8::try_from(number).ok());
        number.ok_or_else(|| Bad::ours(format!("`{text}` is no length from 1 to {most}")).word(index))
    };
    draft.per_source_prefix = line.set((length(0, 32)?, length(1, 128)?));
    Ok(())
}

/// More are not remembered: policy keeps twice as many starts.
pub(crate) const MOST_STARTS: u32 = 32_768;

pub(super) fn starts_per_minute(draft: &mut Draft, line: &Line<'_>) -> Result<(), Bad> {
    let text = line.text(0);
    let limit: Limit = if unlimited(text) {
        None
    } else {
        let number = number::unsigned(text).filter(|number| (1..=MOST_STARTS).contains(number));
        let bad = || Bad::ours(format!("`{text}` is neither a number from 1 to {MOST_STARTS} nor UNLIMITED"));
        Some(number.ok_or_else(bad)?)
    };
    let set = line.set(limit);
    match line.attribute.id {
        Id::StartsPerMinute => draft.starts_per_minute = set,
        _ => draft.source_starts_per_minute = set,
    }
    Ok(())
}

pub(super) fn cps(draft: &mut Draft, line: &Line<'_>) -> Result<(), Bad> {
    let number = |index: usize, classic: &str| {
        let text = line.text(index);
        number::unsigned(text).ok_or_else(|| {
            // xinetd takes a negative rate for a huge one, so that there is no limit; it has a message for it all the same.
            let negative = number::integer(text).is_some_and(|number| number < 0);
            let classic = if negative { "cps arguments invalid" } else { classic };
            let bad = Bad::new(format!("`{text}` is no number from 0"), classic).word(index);
            bad.help("connections a second, then seconds to wait; `0 0` switches the limit off")
        })
    };
    draft.cps =
        line.set((number(0, "cps argument not a number")?, number(1, "cps time argument not a number")?));
    Ok(())
}

pub(super) fn max_load(draft: &mut Draft, line: &mut Line<'_>) -> Result<(), Bad> {
    let text = line.text(0);
    let (load, more) = number::leading_decimal(text)
        .ok_or_else(|| Bad::new(format!("`{text}` is no load"), "error reading max_load argument"))?;
    if load == 0.0 {
        return Err(
            Bad::new("a load of 0 is no limit", "error parsing max_load argument").help("a number above 0")
        );
    }
    if more {
        line.remark(&codes::EXTRA_WORDS, 0, format!("only {load} of `{text}` is used"), None);
    }
    draft.max_load = line.set(load);
    Ok(())
}

pub(super) fn idle_timeout(draft: &mut Draft, line: &Line<'_>) -> Result<(), Bad> {
    let text = line.text(0);
    let seconds = number::within(text, 1, 86_400).and_then(|number| u32::try_from(number).ok());
    let bad = || Bad::ours(format!("`{text}` is no number of seconds from 1 to 86400"));
    draft.idle_timeout = Some(seconds.ok_or_else(bad)?);
    Ok(())
}

/// Our own attributes that choose one of two.
pub(super) fn choice(draft: &mut Draft, line: &Line<'_>) -> Result<(), Bad> {
    let first = line.word_index(0).ok_or_else(|| line.unknown_word(0, None))? == 0;
    match line.attribute.id {
        Id::Overload => draft.overload = line.set(if first { Overload::Fair } else { Overload::Close }),
        Id::OnRemove => draft.on_remove = Some(if first { OnRemove::Kill } else { OnRemove::Drain }),
        _ => draft.stop = Some(if first { Stop::End } else { Stop::Leave }),
    }
    Ok(())
}

/// Limits that xinetd does not have. 0 is a limit of 0.
pub(super) fn rlimit_of_ours(draft: &mut Draft, line: &Line<'_>) -> Result<(), Bad> {
    let text = line.text(0);
    let limits = &mut draft.rlimits;
    let field = match line.attribute.id {
        Id::RlimitCore => &mut limits.core,
        Id::RlimitFsize => &mut limits.file_size,
        Id::RlimitNproc => &mut limits.processes,
        Id::RlimitMemlock => &mut limits.locked_memory,
        Id::RlimitLocks => &mut limits.locks,
        Id::RlimitSigpending => &mut limits.signals,
        Id::RlimitMsgqueue => &mut limits.queues,
        Id::RlimitNice => &mut limits.nice,
        Id::RlimitRtprio => &mut limits.realtime,
        _ => &mut limits.realtime_time,
    };
    let value = if unlimited(text) { None } else { number::size(text) };
    if value.is_none() && !unlimited(text) {
        let help = "a number with k, M or nothing behind it, or UNLIMITED";
        return Err(Bad::ours(format!("`{text}` is no limit")).help(help));
    }
    *field = Some(value);
    Ok(())
}

pub(super) fn rlimit(draft: &mut Draft, line: &Line<'_>) -> Result<(), Bad> {
    let text = line.text(0);
    let seconds = line.attribute.id == Id::RlimitCpu;
    let (what, field) = match line.attribute.id {
        Id::RlimitAs => ("Address space", &mut draft.rlimits.address_space),
        Id::RlimitCpu => ("CPU", &mut draft.rlimits.cpu_seconds),
        Id::RlimitData => ("Data", &mut draft.rlimits.data),
        Id::RlimitRss => ("RSS", &mut draft.rlimits.rss),
        Id::RlimitStack => ("Stack", &mut draft.rlimits.stack),
        _ => ("Max files", &mut draft.rlimits.files),
    };
    if unlimited(text) {
        *field = Some(None);
        return Ok(());
    }
    let value = if seconds { number::large(text) } else { number::size(text) };
    let value = value.ok_or_else(|| {
        // xinetd cuts the suffix off before it shows the text.
        let shown = if seconds { text } else { number::without_suffix(text).0 };
        let bad = Bad::new(format!("`{text}` is no limit"), format!("{what} limit is invalid: {shown}"));
        bad.help(if seconds {
            "seconds, or UNLIMITED"
        } else {
            "a number with k, M or nothing behind it, or UNLIMITED"
        })
    })?;
    // 0 is how xinetd marks a limit that is not set.
    *field = (value > 0).then_some(Some(value));
    Ok(())
}
