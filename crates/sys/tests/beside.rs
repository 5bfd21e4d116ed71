//! Commands beside a program that treats its children as it likes: it ignores them, or reaps all that it can get. A
//! process of its own, since both are settings of the whole process.

use portreeve_sys::beside::{End, run};
use std::ffi::CString;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

fn shell(command: &str) -> End {
    let arguments = ["sh", "-c", command].map(|word| CString::new(word).expect("no NUL"));
    run(c"/bin/sh", &arguments).expect("a process").end
}

#[test]
fn the_host_neither_loses_nor_notices_a_command() {
    // SAFETY: SIG_IGN runs nothing; nobody else in this process waits for children yet.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    for status in [0, 1, 77] {
        assert_eq!(shell(&format!("exit {status}")), End::Status(status), "children are ignored");
    }
    assert_eq!(shell("kill -9 $$"), End::Signal(9));
    // The shell itself does not ignore its children: it would not learn how they end.
    assert_eq!(shell("(exit 5); exit $?"), End::Status(5));

    // SAFETY: as above.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    let (stop, stolen) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                // SAFETY: no status is asked for.
                if unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } > 0 {
                    stolen.fetch_add(1, Ordering::Relaxed);
                }
                std::thread::yield_now();
            }
        });
        for status in 0..30 {
            assert_eq!(shell(&format!("exit {status}")), End::Status(status), "somebody reaps all children");
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(stolen.load(Ordering::Relaxed), 0, "no child of the host was seen");
}
