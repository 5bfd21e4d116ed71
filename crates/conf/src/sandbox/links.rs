//! A path without links, step by step as the kernel walks. What the links are is told by the caller, who alone looks at files.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

/// As the kernel.
const MOST_LINKS: usize = 40;

/// The place that a path names, although its end may not be there yet. `link` tells where a place leads that is a link; an absolute one
/// leads from the root that `path` begins at, and no way leads above that. `None` where it cannot be told: too many links, or no text.
pub fn without_links(path: &str, link: &dyn Fn(&Path) -> Option<PathBuf>) -> Option<String> {
    let parts = |path: &Path| -> Vec<OsString> {
        let named = |part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        };
        path.components().filter_map(named).collect()
    };
    let mut left: VecDeque<OsString> = parts(Path::new(path)).into();
    let (mut place, mut links) = (PathBuf::from("/"), 0);
    while let Some(part) = left.pop_front() {
        if part == ".." {
            place.pop();
            continue;
        }
        place.push(part);
        if let Some(target) = link(&place) {
            links += 1;
            if links > MOST_LINKS {
                return None;
            }
            if target.is_absolute() {
                place = PathBuf::from("/");
            } else {
                place.pop();
            }
            parts(&target).into_iter().rev().for_each(|part| left.push_front(part));
        }
    }
    String::from_utf8(place.into_os_string().into_vec()).ok()
}
