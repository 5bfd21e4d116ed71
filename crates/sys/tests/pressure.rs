//! What the kernel refuses when a user may have no more processes. Alone in its file, because the limit holds for
//! the whole test process.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod skip;

use portreeve_sys::spawn::{Ids, ImageBuilder, SpawnError, Spawner, Stage, Stdio};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, Uid, WaitOptions, getrlimit, setrlimit, waitpid};
use std::os::fd::AsFd;

#[test]
fn too_many_processes_is_reported_where_the_kernel_says_it() {
    if !skip::is_root() {
        return;
    }
    const USER: u32 = 64_321; // owns nothing on a machine that is in order
    let maximum = getrlimit(Resource::Nproc).maximum;
    setrlimit(Resource::Nproc, Rlimit { current: Some(0), maximum }).unwrap();
    let null = std::fs::File::options().read(true).write(true).open("/dev/null").unwrap();
    let builder =
        || ImageBuilder { path: c"/bin/true".into(), argv: vec![c"true".into()], ..Default::default() };

    // One process of the user takes him over his limit of none.
    let mut holder = builder();
    holder.path = c"/bin/sleep".into();
    holder.argv = vec![c"sleep".into(), c"60".into()];
    holder.ids = Some(Ids { uid: USER, gid: USER, groups: vec![] });
    let holder = Spawner::new().unwrap().spawn(&holder.build(), &[], Stdio::Client(null.as_fd())).unwrap();

    // Root may clone, and setuid only marks the child; execve refuses.
    let mut image = builder();
    image.ids = Some(Ids { uid: USER, gid: USER, groups: vec![] });
    let image = image.build();
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let mut spawner = Spawner::new().unwrap();
    let before = descriptors();
    for _ in 0..20 {
        match spawner.spawn(&image, &[], Stdio::Client(null.as_fd())) {
            Err(SpawnError::Child { pid, stage: Stage::Exec, errno: Errno::AGAIN }) => {
                let (_, status) = waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap();
                assert_eq!(status.exit_status(), Some(1));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(descriptors(), before, "a failed start left a descriptor");

    // The same supervisor without root is refused at clone. This thread alone gives up root.
    std::thread::spawn(move || {
        let uid = Uid::from_raw(USER);
        rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
        let mut spawner = Spawner::new().unwrap();
        let refused = spawner.spawn(&builder().build(), &[], Stdio::Client(null.as_fd()));
        assert_eq!(refused, Err(SpawnError::Clone(Errno::AGAIN)));
    })
    .join()
    .unwrap();
    rustix::process::kill_process(holder, rustix::process::Signal::KILL).unwrap();
    waitpid(Some(holder), WaitOptions::empty()).unwrap();
}
