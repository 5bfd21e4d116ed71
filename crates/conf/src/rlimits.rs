//! The resource limits of a program: data only.

use crate::rare::Nothing;

/// Resource limits; soft = hard = value. `None` = untouched, `Some(None)` = UNLIMITED.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Rlimits {
    pub address_space: Option<Option<u64>>,
    pub cpu_seconds: Option<Option<u64>>,
    pub data: Option<Option<u64>>,
    pub rss: Option<Option<u64>>,
    pub stack: Option<Option<u64>>,
    pub files: Option<Option<u64>>,
    pub core: Option<Option<u64>>,
    pub file_size: Option<Option<u64>>,
    pub processes: Option<Option<u64>>,
    pub locked_memory: Option<Option<u64>>,
    pub locks: Option<Option<u64>>,
    pub signals: Option<Option<u64>>,
    pub queues: Option<Option<u64>>,
    pub nice: Option<Option<u64>>,
    pub realtime: Option<Option<u64>>,
    pub realtime_time: Option<Option<u64>>,
}

impl Nothing for Rlimits {
    const NOTHING: &'static Self = &Self::NONE;
}

impl Rlimits {
    /// No limit is touched.
    pub const NONE: Self = Self {
        address_space: None,
        cpu_seconds: None,
        data: None,
        rss: None,
        stack: None,
        files: None,
        core: None,
        file_size: None,
        processes: None,
        locked_memory: None,
        locks: None,
        signals: None,
        queues: None,
        nice: None,
        realtime: None,
        realtime_time: None,
    };
}
