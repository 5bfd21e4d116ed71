//! How a program is started: the plan made when the configuration is read, and what only the connection knows.
//! Everything that can block is done in the plan; the start itself is one clone and one execve (ARCHITECTURE §5).

use crate::dynamic_users;
use crate::groups::{self, Joining};
use crate::hosts::Orders;
use crate::sandbox;
use crate::slot::Slot;
use portreeve_conf::{Action, Service, Verify};
use portreeve_sys::spawn::{Ids, Image, ImageBuilder, RlimitKind};
use std::cell::OnceCell;
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

/// A program, ready to be started.
#[derive(Debug)]
pub struct LaunchPlan {
    /// What sys starts; a start that is under way holds it, whatever becomes of the plan.
    pub image: Rc<Image>,
    /// Path, for messages.
    pub server: String,
    /// What of its sandbox is not kept on this machine, and why.
    pub unkept: Vec<String>,
    /// The way into its control group, for what is started in its place.
    pub joining: Joining,
    /// The name of its descriptors, where it gets its sockets as systemd hands them over.
    pub listen_fds: Option<CString>,
}

/// The plan of a service, made when it is first asked for: of a thousand services few are called within the hour, and one is made in
/// microseconds. What may be slow (a sandbox has paths, and filters to compile) is made when the configuration is read.
#[derive(Debug, Default)]
pub struct Plan(OnceCell<Option<Rc<LaunchPlan>>>);

impl Plan {
    /// For a service as it was read; `number` is that of its control group.
    pub fn of(service: &Service, number: u32, inherited: &Inherited) -> Self {
        let plan = Self::default();
        if service.sandbox.is_some() {
            plan.get(service, number, inherited);
        }
        plan
    }

    /// The plan; `None` when the service starts no program.
    pub fn get(&self, service: &Service, number: u32, inherited: &Inherited) -> Option<Rc<LaunchPlan>> {
        self.0.get_or_init(|| plan(service, number, inherited).map(Rc::new)).clone()
    }
}

/// What the supervisor found about itself at the start, for its children.
#[derive(Clone, Copy, Debug)]
pub struct Inherited {
    /// umask, already OR 022.
    pub umask: u32,
    /// RLIMIT_NOFILE of children: the hard limit the supervisor was started with, 4096 where it is unlimited.
    pub files: u64,
    /// Whether it is root, which it stays.
    pub root: bool,
}

/// Variables that describe the client. They are removed from what is inherited, so that nobody believes a stale one.
const CLIENT_VARIABLES: &[&str] = &[
    "REMOTE_HOST",
    "REMOTE_PORT",
    "PROTO",
    "TCPLOCALIP",
    "TCPLOCALPORT",
    "TCPREMOTEIP",
    "TCPREMOTEPORT",
    "UNIXLOCALPATH",
    "UNIXREMOTEPID",
    "UNIXREMOTEEUID",
    "UNIXREMOTEEGID",
    "TLS_PROTOCOL",
    "TLS_SERVER_NAME",
    "TLS_ALPN",
    "TLS_CLIENT_SUBJECT",
    crate::witnesses::VARIABLE,
];

/// What a service manager says to the supervisor alone.
const OUR_VARIABLES: &[&str] = &[
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "FDSTORE",
    groups::GIVEN_BACK,
];

fn plan(service: &Service, number: u32, inherited: &Inherited) -> Option<LaunchPlan> {
    let Action::External { server, .. } = &service.action else { return None };
    let joining = group(service, number);
    let mut used = joining.again();
    let unkept = std::mem::take(&mut used.unkept);
    let builder = confined(service, used, program(service, inherited, &Orders::default())?);
    let listen_fds = service.listen_fds.as_ref().map(|name| c_string(name.as_bytes()));
    Some(LaunchPlan {
        image: Rc::new(builder.build()),
        server: server.to_string(),
        unkept,
        joining,
        listen_fds,
    })
}

/// The program of a service, with the changes that hosts.allow or hosts.deny order; `None` when it starts none.
pub fn altered(slot: &Slot, inherited: &Inherited, orders: &Orders) -> Option<Image> {
    let program = program(&slot.service, inherited, orders)?;
    Some(confined(&slot.service, joined(slot, inherited), program).build())
}

/// The group of a service as its plan has it: nothing is made or set for one client.
pub fn joined(slot: &Slot, inherited: &Inherited) -> Joining {
    let plan = slot.service.sandbox.as_ref().and_then(|_| slot.plan(inherited));
    plan.map_or_else(|| group(&slot.service, slot.group), |plan| plan.joining.again())
}

fn group(service: &Service, number: u32) -> Joining {
    let wanted = service.sandbox.as_ref().map(|sandbox| &sandbox.group);
    wanted.map_or_else(Joining::default, |wanted| groups::join(&service.id, number, wanted))
}

fn program(service: &Service, inherited: &Inherited, orders: &Orders) -> Option<ImageBuilder> {
    let Action::External { server, argv } = &service.action else { return None };
    let argv = argv.iter().map(|word| c_string(word.as_bytes())).collect();
    let path = c_string(server.as_bytes());
    Some(image(service, inherited, ids(service), path, argv, orders))
}

/// A command that hosts.allow or hosts.deny order, as `ids` of the service. In no sandbox: root wrote it, to look at the client from
/// outside or to tell of it.
pub fn shell(
    service: &Service,
    inherited: &Inherited,
    ids: Option<Ids>,
    command: &[u8],
    orders: &Orders,
) -> ImageBuilder {
    let argv = vec![c"sh".to_owned(), c"-c".to_owned(), c_string(command)];
    image(service, inherited, ids, c"/bin/sh".to_owned(), argv, orders)
}

fn image(
    service: &Service,
    inherited: &Inherited,
    ids: Option<Ids>,
    path: CString,
    argv: Vec<CString>,
    orders: &Orders,
) -> ImageBuilder {
    let nice = service.nice.unwrap_or(0).saturating_add(orders.nice);
    ImageBuilder {
        path,
        argv,
        env: environment(service, &orders.variables),
        ids: orders.ids.clone().or(ids),
        umask: Some(orders.umask.or(service.umask).unwrap_or(inherited.umask)),
        nice: Some(nice),
        rlimits: rlimits(service, inherited),
        dir: c"/".to_owned(),
        new_session: true,
        cgroup_procs: None,
        onward: None,
        sandbox: None,
    }
}

/// The same in the sandbox of the service, which is what answers its clients.
pub fn confined(service: &Service, mut joining: Joining, image: ImageBuilder) -> ImageBuilder {
    let Some(sandbox) = &service.sandbox else { return image };
    // Who has no ids of its own runs as we do.
    let own = || (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let ids = image.ids.as_ref().map_or_else(own, |ids| (ids.uid, ids.gid));
    if sandbox.dynamic_user
        && let Err(why) = dynamic_users::of(&service.id)
    {
        joining.refused = Some(format!("DynamicUser: {why}"));
    }
    let prepared = match service.verify {
        Verify::Refuse => sandbox::prepare(&sandbox::with_execveat(sandbox), ids, joining.refused),
        Verify::No | Verify::Warn => sandbox::prepare(sandbox, ids, joining.refused),
    };
    ImageBuilder {
        sandbox: Some(Box::new(prepared)),
        cgroup_procs: joining.procs,
        onward: joining.onward,
        ..image
    }
}

/// Without root `sys` leaves the supplementary groups alone, as xinetd does.
pub fn ids(service: &Service) -> Option<Ids> {
    /// Who may nothing: in the place of a number that cannot be had, where no program is started anyway.
    const NOBODY: u32 = 65_534;
    if service.sandbox.as_ref().is_some_and(|sandbox| sandbox.dynamic_user) {
        let id = dynamic_users::of(&service.id).unwrap_or(NOBODY);
        return Some(Ids { uid: id, gid: id, groups: Vec::new() });
    }
    let user = service.ids.user.as_ref()?;
    let gid = service.ids.gid.unwrap_or(user.gid);
    Some(Ids { uid: user.uid, gid, groups: service.ids.groups.clone() })
}

fn rlimits(service: &Service, inherited: &Inherited) -> Vec<(RlimitKind, u64, u64)> {
    let configured = &service.rlimits;
    let mut limits = Vec::new();
    let mut add = |kind, limit: Option<Option<u64>>| {
        if let Some(value) = limit {
            let value = value.unwrap_or(u64::MAX);
            limits.push((kind, value, value));
        }
    };
    add(RlimitKind::Nofile, Some(Some(inherited.files)).filter(|_| configured.files.is_none()));
    add(RlimitKind::Nofile, configured.files);
    add(RlimitKind::As, configured.address_space);
    add(RlimitKind::Cpu, configured.cpu_seconds);
    add(RlimitKind::Data, configured.data);
    add(RlimitKind::Rss, configured.rss);
    add(RlimitKind::Stack, configured.stack);
    add(RlimitKind::Core, configured.core);
    add(RlimitKind::Fsize, configured.file_size);
    add(RlimitKind::Nproc, configured.processes);
    add(RlimitKind::Memlock, configured.locked_memory);
    add(RlimitKind::Locks, configured.locks);
    add(RlimitKind::Sigpending, configured.signals);
    add(RlimitKind::Msgqueue, configured.queues);
    add(RlimitKind::Nice, configured.nice);
    add(RlimitKind::Rtprio, configured.realtime);
    add(RlimitKind::Rttime, configured.realtime_time);
    limits
}

fn environment(service: &Service, ordered: &[(Vec<u8>, Vec<u8>)]) -> Vec<CString> {
    let mut variables: Vec<(Vec<u8>, Vec<u8>)> = match &service.environment {
        Some(list) => list.iter().map(|(k, v)| (k.clone().into_bytes(), v.clone().into_bytes())).collect(),
        None => std::env::vars_os()
            .filter(|(k, _)| !OUR_VARIABLES.iter().any(|name| k == name))
            .map(|(k, v)| (k.as_bytes().to_vec(), v.as_bytes().to_vec()))
            .collect(),
    };
    if service.environment.is_none() {
        for (key, value) in &service.env_added {
            variables.retain(|(k, _)| k != key.as_bytes());
            variables.push((key.clone().into_bytes(), value.clone().into_bytes()));
        }
    }
    for (key, value) in ordered {
        variables.retain(|(k, _)| k != key);
        variables.push((key.clone(), value.clone()));
    }
    if service.listen_fds.is_some() {
        // Its own, whatever else the configuration says.
        variables.retain(|(k, _)| !k.starts_with(b"LISTEN_"));
    }
    variables
        .retain(|(k, _)| !CLIENT_VARIABLES.iter().any(|name| OsStr::new(name).as_bytes() == k.as_slice()));
    variables
        .into_iter()
        .map(|(mut key, value)| {
            key.push(b'=');
            key.extend_from_slice(&value);
            c_string(&key)
        })
        .collect()
}

/// The reader of the configuration ends a line at a NUL, so there is none here; should one come, it ends the word.
fn c_string(bytes: &[u8]) -> CString {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    CString::new(&bytes[..end]).unwrap_or_default()
}
