//! What a later step lies over, in a file system that was just made for this child: a directory, or an empty file. Nothing is ever made in
//! what the host has. Raw calls; no allocation. Nobody else is in there, so nothing on the way is a link.

use super::call;
use super::mounts::{Mount, MountKind, NONE, Place, is_directory, pointer};
use std::ffi::{CStr, CString, c_int};
use std::sync::atomic::Ordering;

/// A place that is to be made. Its paths begin where the new file system is.
#[derive(Clone, Debug)]
pub struct Point {
    /// The step that lies over it.
    pub step: usize,
    /// The directories above it, shallower ones first.
    pub above: Vec<CString>,
    /// It.
    pub path: CString,
}

impl Point {
    /// That of a step; `below` is its path below the new file system, without a slash before it. `None` of one that holds a NUL.
    #[must_use]
    pub fn new(step: usize, below: &str) -> Option<Self> {
        let ends = below.match_indices('/').filter_map(|(at, _)| below.get(..at));
        let above = ends.map(CString::new).collect::<Result<_, _>>().ok()?;
        Some(Self { step, above, path: CString::new(below).ok()? })
    }
}

/// Makes them in `place`; `at` is told of the step that each is for.
pub(super) fn make(
    points: &[Point],
    steps: &[Mount],
    place: &Place,
    at: &impl Fn(usize),
) -> Result<(), c_int> {
    if points.is_empty() {
        return Ok(());
    }
    let mask = call(libc::SYS_umask, [0, 0, 0, 0, 0])?;
    let made = points.iter().try_for_each(|point| {
        at(point.step);
        point.make(steps, place.0 as usize)
    });
    call(libc::SYS_umask, [mask as usize, 0, 0, 0, 0])?;
    made
}

impl Point {
    fn make(&self, steps: &[Mount], place: usize) -> Result<(), c_int> {
        let Some(step) = steps.get(self.step) else { return Ok(()) };
        let directory = match (&step.kind, step.tree.load(Ordering::Relaxed)) {
            // Its source is not there, and need not be.
            (MountKind::Bind { .. }, NONE) => return Ok(()),
            (MountKind::Bind { .. }, tree) => is_directory(tree)?,
            _ => true,
        };
        for path in &self.above {
            make_directory(place, path)?;
        }
        if directory {
            return make_directory(place, &self.path);
        }
        let mode = (libc::S_IFREG | 0o644) as usize;
        or_there(call(libc::SYS_mknodat, [place, pointer(&self.path), mode, 0, 0]))
    }
}

fn make_directory(place: usize, path: &CStr) -> Result<(), c_int> {
    or_there(call(libc::SYS_mkdirat, [place, pointer(path), 0o755, 0, 0]))
}

fn or_there<T>(made: Result<T, c_int>) -> Result<(), c_int> {
    match made {
        Ok(_) | Err(libc::EEXIST) => Ok(()),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::Point;

    #[test]
    fn what_lies_above_comes_first() {
        let point = Point::new(3, "lib/app/data").unwrap();
        let above: Vec<_> = point.above.iter().map(|path| path.to_str().unwrap()).collect();
        assert_eq!((above, point.path.to_str()), (vec!["lib", "lib/app"], Ok("lib/app/data")));
        assert!(Point::new(0, "a").unwrap().above.is_empty());
        assert!(Point::new(0, "a\0b").is_none());
    }
}
