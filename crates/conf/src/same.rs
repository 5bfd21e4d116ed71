//! Whether two readings of a service are one service to its clients: all is equal but where it stands in the files.

use crate::seldom::Seldom;
use crate::service::Service;
use crate::usual::{Limits, Usual};
use std::rc::Rc;

/// Whether the fields that are named after `in` are equal. Those after `but` are left out; a field that is named nowhere does not compile.
macro_rules! equal {
    ($kind:ident $one:ident $other:ident in $($field:ident)*; but $($left_out:ident)*) => {{
        let $kind { $($left_out: _,)* $($field: _,)* } = $one;
        $($one.$field == $other.$field)&&*
    }};
}

impl Service {
    /// Whether clients are served the same by both: all is equal but where it stands in the files. Values and words of lists are
    /// compared without their places.
    pub fn serves_as(&self, other: &Service) -> bool {
        equal!(Service self other in name id action listen wrap_name; but place action_place limits usual)
            && (Rc::ptr_eq(&self.limits, &other.limits) || self.limits.serves_as(&other.limits))
            && (Rc::ptr_eq(&self.usual, &other.usual) || self.usual.serves_as(&other.usual))
    }
}

impl Limits {
    fn serves_as(&self, other: &Limits) -> bool {
        equal!(Limits self other in instances per_source cps only_from; but only_from_place)
    }
}

impl Usual {
    fn serves_as(&self, other: &Usual) -> bool {
        equal!(Usual self other in types flags mux wait noretry nolibwrap ids nice umask rlimits log_type log_success log_failure
            on_remove stop transparent idle_timeout verify evidence protect_only_from; but seldom)
            && self.seldom.serves_as(&other.seldom)
    }
}

impl Seldom {
    fn serves_as(&self, other: &Seldom) -> bool {
        let confined = match (&self.sandbox, &other.sandbox) {
            (Some(own), Some(other)) => {
                let mut moved = other.clone();
                moved.place.clone_from(&own.place);
                *own == moved
            }
            (None, None) => true,
            _ => false,
        };
        confined
            && equal!(Seldom self other in rpc proxy_from proxy_protocol per_source_prefix starts_per_minute source_starts_per_minute
                overload max_load access_times no_access deny_time environment env_added passenv banner banner_success banner_fail
                listen_fds tls; but sandbox)
    }
}
