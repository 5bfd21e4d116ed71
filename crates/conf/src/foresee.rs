//! Which names a configuration will ask for, as far as its lines alone tell: users and groups, which nearly every service has. Decides
//! nothing and says nothing; what is asked in vain costs a question.

use crate::attribute::Id;
use crate::attributes;
use crate::host::Host;
use crate::inclusion::Found;
use crate::number;
use crate::values::process::is_number;
use std::collections::BTreeSet;

/// The attributes that name somebody.
const NAMES: [&str; 4] = ["user", "group", "socket_owner", "socket_group"];

/// Asks for each of them once.
pub(crate) fn foresee(host: &dyn Host, found: &[Found]) {
    let mut asked = BTreeSet::new();
    for assignment in found.iter().flat_map(|found| &found.entry.assignments) {
        let name = &assignment.name.text;
        // Most lines are told by their length: this looks at all of them.
        if !NAMES.iter().any(|known| known.len() == name.len()) {
            continue;
        }
        let (Some(attribute), Some(value)) = (attributes::find(name), assignment.values.first()) else {
            continue;
        };
        let names_somebody = matches!(attribute.id, Id::User | Id::Group | Id::SocketOwner | Id::SocketGroup);
        if !names_somebody || !value.utf8 || !asked.insert((attribute.id, value.text.as_str())) {
            continue;
        }
        match (attribute.id, is_number(&value.text)) {
            (Id::User, true) => drop(number::unsigned(&value.text).map(|uid| host.user_by_id(uid))),
            (Id::User | Id::SocketOwner, false) => drop(host.user(&value.text)),
            (Id::Group | Id::SocketGroup, false) => drop(host.group(&value.text)),
            _ => {}
        }
    }
}
