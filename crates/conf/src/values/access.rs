//! Values that say who is admitted and when: address lists, hours, the time a sensor denies.

use super::{Bad, Line, needs_a_value};
use crate::address::{Doubt, Parsed, Pattern, parse};
use crate::ast::Operator;
use crate::attribute::Id;
use crate::codes;
use crate::diagnostic::Level;
use crate::draft::{AddressSet, Draft};
use crate::number;
use crate::service::{DenyTime, Window};

pub(super) fn addresses(draft: &mut Draft, line: &mut Line<'_>) -> Result<(), Bad> {
    let list = match line.attribute.id {
        Id::OnlyFrom => &mut draft.only_from,
        Id::NoAccess => &mut draft.no_access,
        Id::ProxyFrom => &mut draft.proxy_from,
        _ => &mut draft.protect,
    };
    let addresses_only = matches!(line.attribute.id, Id::Protect | Id::ProxyFrom);
    // Set even if nothing comes of it: an empty only_from refuses everybody.
    let set = list
        .get_or_insert_with(|| AddressSet { place: Some(line.name.place.clone()), ..AddressSet::default() });
    if line.operator == Operator::Set {
        *set = AddressSet { place: Some(line.name.place.clone()), ..AddressSet::default() };
    }
    for (index, word) in line.values.iter().enumerate() {
        let text = &word.text;
        if text.contains(',') && !text.contains('{') {
            let classic = format!("Address: {text} has a comma in it - remove the comma");
            return Err(bad_address(text, classic, index).help("separate entries by blanks, without commas"));
        }
        match parse(text, line.host) {
            Parsed::Patterns(patterns, doubt) => {
                if addresses_only && patterns.iter().any(|p| matches!(p, Pattern::Name(_))) {
                    let name = line.attribute.name;
                    return Err(
                        Bad::ours(format!("`{text}` is a host name; {name} takes addresses")).word(index)
                    );
                }
                if let Some(doubt) = doubt {
                    doubtful(line, index, &doubt);
                }
                for pattern in patterns {
                    match line.operator {
                        Operator::Remove => set.entries.retain(|(old, ..)| !old.same(&pattern)),
                        _ => set.entries.push((pattern, text.clone(), word.place.clone())),
                    }
                }
            }
            Parsed::Nothing if addresses_only => {
                return Err(Bad::ours(format!("`{text}` is no address and no network")).word(index));
            }
            Parsed::Nothing => nothing(line, index),
            Parsed::Error(classic) => {
                return Err(bad_address(text, classic, index).then(format!("Failed adding: {text}")));
            }
        }
    }
    Ok(())
}

fn bad_address(text: &str, classic: String, index: usize) -> Bad {
    Bad::new(format!("`{text}` is no address"), classic).code(&codes::BAD_ADDRESS).word(index)
}

fn nothing(line: &mut Line<'_>, index: usize) {
    let text = line.text(index);
    let message =
        format!("`{text}` is no address, no network, and no host name that resolves; it is left out");
    let help = match text {
        "ALL" | "all" | "*" | "any" => Some("write `0.0.0.0/0 ::/0` for everybody"),
        _ if text.ends_with('.') => Some("write a network with its length, e.g. `127.0.0.0/8`"),
        _ if text.starts_with('#') => Some("`#` does not start a comment in a list"),
        _ if text.contains('/') => Some("write ADDRESS/LENGTH, e.g. `10.0.0.0/8`"),
        _ => None,
    };
    let classic = format!("failed to parse {text}");
    line.remark_classic(&codes::ADDRESS_UNREADABLE, index, message, help, (Level::Error, &classic));
}

fn doubtful(line: &mut Line<'_>, index: usize, doubt: &Doubt) {
    let text = line.text(index);
    let (code, message, help) = match doubt {
        Doubt::Short(address) => {
            let message = format!("`{text}` is the single address {address}, no prefix");
            let message = if text.contains('/') {
                format!("`{text}` starts from the address {address}")
            } else {
                message
            };
            (
                &codes::ADDRESS_SHORT,
                message,
                Some("write four numbers and a length, e.g. `10.1.0.0/16`".to_owned()),
            )
        }
        Doubt::Mask(address) => {
            let message = format!("`{text}` is the single address {address}");
            let length = text.rsplit('/').next().and_then(mask_length);
            let help = match length {
                Some(length) => format!("write `{}/{length}`", text.split('/').next().unwrap_or_default()),
                None => "write the number of fixed bits behind the `/`".to_owned(),
            };
            (&codes::ADDRESS_MASK, message, Some(help))
        }
        Doubt::Odd(what) => (&codes::ADDRESS_ODD, format!("`{text}`: {what}"), None),
        Doubt::Wildcard => (
            &codes::ADDRESS_WILDCARD,
            "`::` is every IPv6 address".to_owned(),
            Some("write `::/0`".to_owned()),
        ),
        Doubt::Network(address) => {
            let message = format!("the network name `{text}` stands for the single address {address}");
            (&codes::NETWORK_NAME, message, Some("write the network with its length".to_owned()))
        }
    };
    line.remark(code, index, message, help);
}

/// The length of a dotted mask, if it is one.
fn mask_length(text: &str) -> Option<u32> {
    let mask = u32::from(text.parse::<std::net::Ipv4Addr>().ok()?);
    (mask.leading_ones() + mask.trailing_zeros().min(32) == 32).then(|| mask.leading_ones())
}

pub(super) fn access_times(draft: &mut Draft, line: &Line<'_>) -> Result<(), Bad> {
    needs_a_value(line)?;
    let window = |(index, word): (usize, &crate::ast::Word)| {
        window(&word.text).map_err(|classic| {
            let help =
                "H:MM-H:MM, from 0:00 to 23:59, start before end; a window cannot pass midnight, write two";
            Bad::new(format!("`{}` is no window of time", word.text), classic).word(index).help(help)
        })
    };
    draft.access_times = line.set(line.values.iter().enumerate().map(window).collect::<Result<_, _>>()?);
    Ok(())
}

/// `hour:minute-hour:minute`, or xinetd's message for what is wrong with it.
fn window(text: &str) -> Result<Window, String> {
    let mut rest = text;
    let mut part = |most: u16, stop: Option<char>| {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, behind) = rest.split_at(digits);
        let mut behind = behind.chars();
        if behind.next() != stop {
            return Err("incorrect time interval".to_owned());
        }
        rest = behind.as_str();
        let number = if number.is_empty() { Some(0) } else { number.parse().ok() };
        number.filter(|&number| number <= most).ok_or_else(|| "invalid time interval".to_owned())
    };
    let from = part(23, Some(':'))? * 60 + part(59, Some('-'))?;
    let to = part(23, Some(':'))? * 60 + part(59, None)?;
    if from >= to { Err(format!("invalid time interval: {text}")) } else { Ok(Window { from, to }) }
}

pub(super) fn deny_time(draft: &mut Draft, line: &Line<'_>) -> Result<(), Bad> {
    let text = line.text(0);
    let minutes = number::within(text, -1, i64::from(i32::MAX));
    let time = match (text.to_ascii_uppercase().as_str(), minutes) {
        ("FOREVER", _) | (_, Some(-1)) => DenyTime::Forever,
        ("NEVER", _) | (_, Some(0)) => DenyTime::Never,
        (_, Some(minutes)) => DenyTime::Minutes(u32::try_from(minutes).unwrap_or(u32::MAX)),
        (_, None) => {
            let bad = Bad::new(format!("`{text}` is no time"), format!("Error parsing: {text}"));
            return Err(bad.help("minutes, FOREVER or NEVER"));
        }
    };
    draft.deny_time = line.set(time);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows() {
        let of = |text| window(text).map(|window| (window.from, window.to));
        assert_eq!(of("2:00-8:59"), Ok((120, 539)));
        assert_eq!(of("00:00-23:59"), Ok((0, 1439)));
        assert_eq!(of(":30-4:"), Ok((30, 240)));
        for (text, message) in [
            ("22:00-02:00", "invalid time interval: 22:00-02:00"),
            ("8:00-8:00", "invalid time interval: 8:00-8:00"),
            ("00:00-24:00", "invalid time interval"),
            ("8:60-9:00", "invalid time interval"),
            ("99999999999:0-1:0", "invalid time interval"),
            ("8-9", "incorrect time interval"),
            ("8:00-9:00x", "incorrect time interval"),
            ("#", "incorrect time interval"),
            ("", "incorrect time interval"),
        ] {
            assert_eq!(of(text), Err(message.to_owned()), "{text}");
        }
    }

    #[test]
    fn masks_have_a_length() {
        assert_eq!(mask_length("255.0.0.0"), Some(8));
        assert_eq!(mask_length("255.255.255.255"), Some(32));
        assert_eq!(mask_length("0.0.0.0"), Some(0));
        assert_eq!(mask_length("255.0.255.0"), None);
        assert_eq!(mask_length("255"), None);
    }
}
