//! The clients' descriptors of those in flight. They stand in the one table that the supervisor and its children share until each child has
//! its own; from there on the client's can go. A child that is about to take its own table closes those that have gathered, before it does,
//! and the supervisor closes the rest once it looks: the kernel's work of ending a connection is shared by the processors, as that of
//! beginning one is, and on one processor it is not the supervisor's time. Owns who may close which: a number that was closed is somebody
//! else's a moment later. Raw calls and atomics only, since children run here ([`crate::raw`]).

use crate::farewell::let_go;
use crate::flight::MOST_IN_FLIGHT;
use std::ffi::c_int;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering, fence};

/// A child closes so many at once, or none. Each that is closed wakes whoever is at the other end, so that by ones it costs more than
/// it saves (benches/README.md). Of sixteen in flight two crowds are closed so, and two are left
/// to the supervisor.
pub(crate) const GATHERED: usize = (MOST_IN_FLIGHT - 1) / 2;

/// Nobody's.
const FREE: u32 = 0;
/// Its child has no table of its own yet.
const NEEDED: u32 = 1;
/// To be closed here, by whoever takes it.
const NEEDLESS: u32 = 2;
/// Somebody took it. Where that was a child that was killed between this and its close, it stays open: whether the number is still this
/// client's nobody could say. The child is there before it takes its program's ids, so who can do that can do worse to us.
const TAKEN: u32 = 3;

/// One for each that can be in flight.
#[derive(Debug)]
pub(crate) struct Lent([Loan; MOST_IN_FLIGHT]);

#[derive(Debug)]
struct Loan {
    state: AtomicU32,
    number: AtomicI32,
}

impl Lent {
    /// It is never freed, since children refer to it: one of each [`crate::spawn::Spawner`], of which a supervisor has one.
    pub(crate) fn leaked() -> &'static Self {
        let free = |_| Loan { state: AtomicU32::new(FREE), number: AtomicI32::new(-1) };
        Box::leak(Box::new(Self(std::array::from_fn(free))))
    }

    /// The client's descriptor becomes the `index`-th; who has it must not close it any more, unless it is [`Lent::taken_back`].
    pub(crate) fn lend(&'static self, index: usize, number: c_int) -> Option<Borrower> {
        let own = self.0.get(index)?;
        own.number.store(number, Ordering::Relaxed);
        own.state.store(NEEDED, Ordering::Release);
        Some(Borrower { all: self, own })
    }

    /// No child has come to be: the descriptor is the caller's again.
    pub(crate) fn taken_back(&self, index: usize) {
        if let Some(loan) = self.0.get(index) {
            loan.state.store(FREE, Ordering::Relaxed);
        }
    }

    /// Closes the `index`-th if its child does not need it any more, as one that `has_left` does not.
    pub(crate) fn settle(&self, index: usize, has_left: bool) {
        let Some(loan) = self.0.get(index) else { return };
        if has_left {
            // It may have been killed before it could say so.
            let _ = loan.state.compare_exchange(NEEDED, NEEDLESS, Ordering::Relaxed, Ordering::Relaxed);
        }
        loan.close_if_needless();
    }

    /// Nobody is in flight.
    pub(crate) fn clear(&self) {
        for loan in &self.0 {
            loan.state.store(FREE, Ordering::Relaxed);
        }
    }
}

/// What a child in flight knows of them.
#[derive(Debug)]
pub(crate) struct Borrower {
    all: &'static Lent,
    own: &'static Loan,
}

impl Borrower {
    /// The child's way from our table to its own, which is `take`: before, it closes what has gathered, and afterwards it needs ours no
    /// more, whether it has got one or not.
    pub(crate) fn leave_table<T>(&self, take: impl FnOnce() -> T) -> T {
        self.close_gathered();
        let taken = take();
        self.own.state.store(NEEDLESS, Ordering::Release);
        // Before the kernel says that we have left: then the supervisor lends all of them again.
        fence(Ordering::SeqCst);
        taken
    }

    fn close_gathered(&self) {
        let needless = |loan: &&Loan| loan.state.load(Ordering::Relaxed) == NEEDLESS;
        if self.all.0.iter().filter(needless).count() < GATHERED {
            return;
        }
        for loan in &self.all.0 {
            loan.close_if_needless();
        }
    }
}

impl Loan {
    fn close_if_needless(&self) {
        if let Some(number) = self.take() {
            let_go(number);
            self.state.store(FREE, Ordering::Release);
        }
    }

    /// The descriptor, for one alone to close.
    fn take(&self) -> Option<c_int> {
        if self.state.load(Ordering::Relaxed) != NEEDLESS {
            return None;
        }
        let taken = self.state.compare_exchange(NEEDLESS, TAKEN, Ordering::Acquire, Ordering::Relaxed);
        taken.is_ok().then(|| self.number.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd, RawFd};
    use std::time::{Duration, Instant};

    /// The other end of a pipe that is lent, and its number.
    fn lend(lent: &'static Lent, index: usize) -> (File, RawFd, Borrower) {
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let number = write.into_raw_fd();
        (read.into(), number, lent.lend(index, number).unwrap())
    }

    fn is_closed(mut read: &File) -> bool {
        rustix::io::ioctl_fionbio(read, true).unwrap();
        read.read(&mut [0]).is_ok_and(|length| length == 0)
    }

    /// A process that another test starts has all that is open here until it executes its program.
    fn comes(what: impl Fn() -> bool) -> bool {
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end {
            if what() {
                return true;
            }
            std::thread::yield_now();
        }
        false
    }

    #[test]
    fn whoever_took_it_closes_it_and_nobody_else() {
        let lent = Lent::leaked();
        let (needed, _, borrower) = lend(lent, 0);
        lent.settle(0, false);
        assert!(!is_closed(&needed), "its child has no table yet");
        borrower.leave_table(|| {
            lent.settle(0, false);
            assert!(!is_closed(&needed), "it is about to take one");
        });
        lent.settle(0, false);
        assert!(comes(|| is_closed(&needed)));
        assert_eq!(borrower.own.state.load(Ordering::Relaxed), FREE);
        let (killed, _, _borrower) = lend(lent, 1);
        lent.settle(1, true);
        assert!(comes(|| is_closed(&killed)), "it has left without a word");
        let (taken, number, borrower) = lend(lent, 2);
        let (back, again, _borrower) = lend(lent, 3);
        borrower.own.state.store(TAKEN, Ordering::Relaxed);
        lent.taken_back(3);
        for index in 2..4 {
            lent.settle(index, true);
        }
        assert!(!is_closed(&taken) && !is_closed(&back));
        lent.clear();
        for number in [number, again] {
            // SAFETY: they were not closed, and are this test's.
            drop(unsafe { OwnedFd::from_raw_fd(number) });
        }
    }

    #[test]
    fn a_child_closes_many_or_none() {
        let lent = Lent::leaked();
        let (clients, borrowers): (Vec<_>, Vec<_>) =
            (0..MOST_IN_FLIGHT).map(|index| lend(lent, index)).map(|(read, _, who)| (read, who)).unzip();
        let closed = || clients.iter().filter(|read| is_closed(read)).count();
        for (number, borrower) in borrowers.iter().enumerate() {
            // It closes those before it, and then it is one of them.
            borrower.leave_table(|| {});
            assert!(comes(|| closed() == number / GATHERED * GATHERED), "{}", closed());
        }
        for index in 0..MOST_IN_FLIGHT {
            lent.settle(index, true);
        }
        assert!(comes(|| closed() == MOST_IN_FLIGHT), "{}", closed());
    }

    /// Whoever is the second to close a number closes somebody else's.
    #[test]
    fn of_two_that_come_at_once_one_takes_it() {
        let loan = Loan { state: AtomicU32::new(FREE), number: AtomicI32::new(7) };
        let rounds = 20_000;
        let turn = std::sync::Barrier::new(2);
        let taken = AtomicU32::new(0);
        let come = |opens: bool| {
            for _ in 0..rounds {
                if opens {
                    loan.state.store(NEEDLESS, Ordering::SeqCst);
                }
                turn.wait();
                if let Some(number) = loan.take() {
                    assert_eq!(number, 7);
                    taken.fetch_add(1, Ordering::SeqCst);
                }
                turn.wait();
                assert_eq!(loan.take(), None);
                turn.wait();
            }
        };
        std::thread::scope(|both| {
            both.spawn(|| come(true));
            both.spawn(|| come(false));
        });
        assert_eq!(taken.load(Ordering::SeqCst), rounds);
    }
}
