//! Any bytes as a command, options and a banner for any request: expansion is bounded and lets nothing of the request through
//! that could mean something to a shell.

use crate::tables::{AnyWorld, parts, request};
use hosts_access::{LONGEST_EXPANSION, Settings, banner, expand, is_clean, process_options};

/// One input: a text and the request, parted by 0xff.
pub fn run(input: &[u8]) {
    let [text, who, list, _] = parts(input);
    let world = || AnyWorld::new(who, list);
    if let Ok(expanded) = expand(text, &mut request(who), &mut world(), None) {
        assert!(expanded.len() <= LONGEST_EXPANSION);
        let foreign = expanded.iter().filter(|byte| !is_clean(**byte)).count();
        let own = text.iter().filter(|byte| !is_clean(**byte)).count();
        assert!(foreign <= own, "the request brought in what could mean something to a shell");
    }
    let mut asked = request(who);
    let _ = banner(text, |line| expand(line, &mut asked, &mut world(), None));
    let settings = Settings { options: true, verbose: 1, resident: false };
    let _ = process_options(text, None, &mut request(who), &mut world(), &settings);
}
