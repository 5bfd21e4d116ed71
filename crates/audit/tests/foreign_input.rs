//! What others wrote, changed at will: the rules of AIDE and Tripwire and a database of AIDE are read or refused, and what is carried over
//! can be read again as ours.

use portreeve_audit::sealed::aide_database;
use portreeve_audit::sealed::carried::{aide, tripwire};
use portreeve_audit::sealed::rules::Rules;
use proptest::prelude::*;

const AIDE: &str = "@@define D /srv\\nX = p+u+sha256\\n/etc X\\n!/etc/mtab$\\n=/run p\\n/@@{D}/www f X-s\\n@@ifdef D\\n@@endif\\n\
                    /var/log/.*\\\\.log$ LOG\\n@@include /x\\n";
const TRIPWIRE: &str = "@@section FS\nR = $(ReadOnly) +S -m ;\n( rulename = \"a b\", severity = 66 )\n{\n  /etc -> $(R) (recurse = 1) ;\n\
                        !/etc/mtab ;\n  \"/a b\" -> +pinugsm ;\n}\n@@ifhost x\n@@else\n@@endif\n";
const DATABASE: &str = "@@begin_db\n@@db_spec name lname perm uid gid size mtime inode sha256 acl xattrs\n\
                        /t 0 40755 0 0 4096 MTc5NTg4MjA3NA== 7 0 0 0\n\
                        /t/a%20b 0 100644 0 7 3 MTc5NTg4MjA3NA== 8 mOpuTyFvL7S2n/+bOkSELDhobKaF8/VdxIxdP7EQe+Q= 0 1,user.x,aGVsbG8=\n\
                        @@end_db\n";

/// A cut, a piece of the text again, or other text, at some places.
fn changed(base: &'static str) -> impl Strategy<Value = String> {
    let pieces = prop_oneof![
        "\\PC{0,6}",
        "[\"'\\\\{}()$@=;!%/\\-> \n\t,0]{0,8}",
        (0usize..base.len(), 0usize..40)
            .prop_map(move |(at, long)| { base.chars().skip(at).take(long).collect::<String>() }),
    ];
    proptest::collection::vec((0usize..base.len(), 0usize..12, pieces), 0..8).prop_map(move |changes| {
        let mut text: Vec<char> = base.chars().collect();
        for (at, gone, new) in changes {
            let at = at.min(text.len());
            let end = (at + gone).min(text.len());
            text.splice(at..end, new.chars());
        }
        text.into_iter().collect()
    })
}

fn reads_again(toml: &str) -> Result<(), TestCaseError> {
    match Rules::read("integrity.toml", toml) {
        Ok(_) => Ok(()),
        // All that was carried over is left out.
        Err(why) if why.to_string().contains("names nothing to look at") => Ok(()),
        Err(why) => Err(TestCaseError::fail(format!("{why}\n{toml}"))),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn rules_of_aide(text in changed(AIDE)) {
        let carried = aide(&text);
        if !carried.rules.is_empty() {
            reads_again(&carried.toml())?;
        }
    }

    #[test]
    fn rules_of_tripwire(text in changed(TRIPWIRE)) {
        let carried = tripwire(&text);
        if !carried.rules.is_empty() {
            reads_again(&carried.toml())?;
        }
    }

    #[test]
    fn databases_of_aide(text in changed(DATABASE)) {
        if let Err(why) = aide_database::read(text.as_bytes()) {
            prop_assert!(!why.is_empty() && !why.chars().any(char::is_control), "{why:?}");
        }
    }
}
