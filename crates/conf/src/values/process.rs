//! Values that say what is started and how: the program, its arguments, ids, umask, nice and environment.

use super::{Bad, Line, needs_a_value};
use crate::ast::Operator;
use crate::codes;
use crate::diagnostic::Level;
use crate::draft::Draft;
use crate::host::User;
use crate::number;
use std::path::Path;

pub(super) fn server(draft: &mut Draft, line: &Line<'_>) -> Result<(), Bad> {
    let text = line.text(0);
    let classic = format!("Server {text} is not executable");
    if !text.starts_with('/') {
        let message = format!("the path `{text}` does not start with `/`");
        return Err(Bad::new(message, classic).code(&codes::RELATIVE_PATH));
    }
    let path = Path::new(text);
    if draft.rooted {
        // Where that leads in there is seen when it is started, and by `check`.
        draft.server = line.set(line.kept(0));
        return Ok(());
    }
    if let Err(error) = line.host.executable(path) {
        let message = format!("the program `{text}` cannot be executed: {}", error.text);
        return Err(Bad::new(message, classic).code(&codes::NOT_EXECUTABLE));
    }
    if line.host.is_directory(path) == Ok(true) {
        return Err(Bad::new(format!("`{text}` is a directory"), classic).code(&codes::SERVER_IS_DIRECTORY));
    }
    draft.server = line.set(line.kept(0));
    Ok(())
}

pub(super) fn server_args(draft: &mut Draft, line: &mut Line<'_>) -> Result<(), Bad> {
    needs_a_value(line)?;
    if let Some(index) = line.values.iter().position(|word| word.text == "#") {
        let message = "`#` and the words behind it are arguments of the program".to_owned();
        line.remark(&codes::HASH_IN_ARGUMENTS, index, message, None);
    }
    draft.args = Some(line.values.iter().map(|word| word.text.clone()).collect());
    Ok(())
}

pub(crate) fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// An id as a number. The highest one means "unchanged" to the kernel and cannot be had.
fn id(text: &str, what: &str) -> Result<u32, Bad> {
    number::unsigned(text).filter(|&id| id != u32::MAX).ok_or_else(|| {
        let message = format!("`{text}` is too large for a {what} id");
        Bad::new(message, format!("Error parsing {what} as a number: {text}"))
    })
}

pub(super) fn user(draft: &mut Draft, line: &Line<'_>) -> Result<(), Bad> {
    let text = line.text(0);
    draft.user_is_number = is_number(text);
    if draft.user_is_number {
        let uid = id(text, "user")?;
        let name = line.host.user_by_id(uid).map_or_else(|| text.to_owned(), |user| user.name);
        draft.user = Some(User { name, uid, gid: uid });
        return Ok(());
    }
    let user = line.host.user(text).ok_or_else(|| {
        let bad = Bad::new(format!("there is no user `{text}`"), format!("Unknown user: {text}"));
        bad.code(&codes::UNKNOWN_USER)
    })?;
    draft.user = Some(user);
    Ok(())
}

pub(super) fn group(draft: &mut Draft, line: &Line<'_>) -> Result<(), Bad> {
    draft.group = Some(group_id(line)?);
    Ok(())
}

/// A group by name or number.
pub(super) fn group_id(line: &Line<'_>) -> Result<u32, Bad> {
    let text = line.text(0);
    if is_number(text) {
        return id(text, "group");
    }
    line.host.group(text).ok_or_else(|| {
        let bad = Bad::new(format!("there is no group `{text}`"), format!("Unknown group: {text}"));
        bad.code(&codes::UNKNOWN_GROUP)
    })
}

pub(super) fn socket_owner(draft: &mut Draft, line: &Line<'_>) -> Result<(), Bad> {
    let text = line.text(0);
    let owner =
        if is_number(text) { Some(id(text, "user")?) } else { line.host.user(text).map(|user| user.uid) };
    let unknown = || Bad::ours(format!("there is no user `{text}`")).code(&codes::UNKNOWN_USER);
    draft.rights.owner = Some(owner.ok_or_else(unknown)?);
    Ok(())
}

pub(super) fn socket_mode(draft: &mut Draft, line: &Line<'_>) -> Result<(), Bad> {
    let text = line.text(0);
    let mode = number::octal(text).filter(|&mode| mode <= 0o777);
    let bad = || Bad::ours(format!("`{text}` is no mode")).help("octal, from 0 to 777, as in `660`");
    draft.rights.mode = Some(mode.ok_or_else(bad)?);
    Ok(())
}

/// The name of descriptors as systemd allows it (systemd.socket(5), FileDescriptorName=).
pub(super) fn listen_fds(draft: &mut Draft, line: &Line<'_>) -> Result<(), Bad> {
    const LONGEST: usize = 255;
    let text = line.text(0);
    if text.is_empty() || text.len() > LONGEST || text.chars().any(|c| c.is_control() || c == ':') {
        let bad = Bad::ours(format!("`{text}` is no name of descriptors"));
        return Err(bad.help("one word without `:`, of at most 255 bytes"));
    }
    draft.listen_fds = Some(line.kept(0));
    Ok(())
}

pub(super) fn umask(draft: &mut Draft, line: &Line<'_>) -> Result<(), Bad> {
    let text = line.text(0);
    let umask = number::octal(text).filter(|&umask| umask <= 0o777);
    let umask = umask.ok_or_else(|| {
        let bad = Bad::new(format!("`{text}` is no umask"), "umask argument is invalid.");
        bad.help("octal, from 0 to 777")
    })?;
    draft.umask = Some(umask);
    Ok(())
}

pub(super) fn nice(draft: &mut Draft, line: &Line<'_>) -> Result<(), Bad> {
    let text = line.text(0);
    let nice = number::integer(text).and_then(|number| i32::try_from(number).ok());
    let nice =
        nice.ok_or_else(|| Bad::new(format!("`{text}` is no number"), format!("Error parsing: {text}")))?;
    draft.nice = Some(nice);
    Ok(())
}

pub(super) fn env(draft: &mut Draft, line: &mut Line<'_>) -> Result<(), Bad> {
    if line.operator == Operator::Remove {
        let classic = "operator '-=' not supported for env attribute";
        let bad = Bad::new("`env` knows `=` and `+=`, not `-=`", classic).level(Level::Warning);
        return Err(bad);
    }
    let variables = draft.env.get_or_insert_default();
    if line.operator == Operator::Set {
        variables.clear();
    }
    for (index, word) in line.values.iter().enumerate() {
        let pair = word.text.split_once('=').ok_or_else(|| {
            let bad =
                Bad::new(format!("`{}` is not NAME=VALUE", word.text), format!("{} has no '='", word.text));
            bad.word(index)
                .help("a value cannot hold white space, quotes do not help, and `#` starts no comment here")
        })?;
        variables.push((pair.0.to_owned(), pair.1.to_owned()));
    }
    if let Some(index) = line.values.iter().position(|word| word.text.starts_with('#')) {
        let message = format!("`{}` is the name of a variable here, no comment", line.text(index));
        line.remark(&codes::HASH_IN_ARGUMENTS, index, message, None);
    }
    Ok(())
}

pub(super) fn passenv(draft: &mut Draft, line: &mut Line<'_>) -> Result<(), Bad> {
    let mut names = draft.passenv.take().unwrap_or_default();
    if line.operator == Operator::Set {
        names.clear();
    }
    for (index, word) in line.values.iter().enumerate() {
        let known = names.iter().position(|name| name.eq_ignore_ascii_case(&word.text));
        match (line.operator, known) {
            (Operator::Remove, Some(at)) => drop(names.remove(at)),
            (Operator::Remove, None) | (_, Some(_)) => {}
            (_, None) if line.host.variable(&word.text).is_some() => names.push(word.text.to_string()),
            (_, None) => {
                let text = format!("undefined environment variable: {}", word.text);
                let message = format!("the daemon has no variable `{}`", word.text);
                line.remark_classic(
                    &codes::UNDEFINED_VARIABLE,
                    index,
                    message,
                    None,
                    (Level::Warning, &text),
                );
            }
        }
    }
    draft.passenv = Some(names);
    Ok(())
}
