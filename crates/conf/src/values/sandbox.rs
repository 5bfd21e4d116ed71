//! Words of `sandbox`. A word that is none makes the service one that is not served: it would run with more than was meant.

use super::{Bad, Line};
use crate::ast::Operator;
use crate::codes;
use crate::draft::Draft;
use crate::sandbox::{OFF, word};
use crate::service::Set;

/// The most words of one service.
const MOST: usize = 1024;

pub(super) fn sandbox(draft: &mut Draft, line: &Line<'_>) -> Result<(), Bad> {
    if line.values.is_empty() {
        let bad = Bad::ours("`sandbox` needs a value").code(&codes::SANDBOX_VOID);
        return Err(bad.help("`sandbox = off` confines a program to nothing"));
    }
    let mut words = draft.sandbox.take().map(|set| set.value).unwrap_or_default();
    if line.operator == Operator::Set {
        words.clear();
    }
    for (index, given) in line.values.iter().enumerate() {
        if given.text.eq_ignore_ascii_case(OFF) && line.operator != Operator::Remove {
            words.clear();
            continue;
        }
        let word = word(&given.text).map_err(|fault| {
            Bad::ours(fault.message).code(&codes::SANDBOX_VOID).help(fault.help).word(index)
        })?;
        match line.operator {
            Operator::Remove => words.retain(|known| *known != word),
            _ if words.len() >= MOST => {
                let bad = Bad::ours(format!("at most {MOST} words")).code(&codes::SANDBOX_VOID);
                return Err(bad.word(index));
            }
            _ => words.push(word),
        }
    }
    draft.sandbox = Some(Set { value: words, place: Some(line.name.place.clone()) });
    Ok(())
}
