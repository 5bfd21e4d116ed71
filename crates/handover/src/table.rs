//! THE table of what is handed over: every record, its fields in their order, and since which version each is there.
//!
//! A field is never removed, moved or given another meaning; a new one is put at the end of its record with the next
//! [`VERSION`]. So this version reads all former ones (what did not exist yet has its default), and a former one refuses this one's.

use crate::wire::{Bad, Bytes, Fd, Field, Reader, SocketAddrField, Writer};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The version that is written.
pub const VERSION: u32 = 10;
/// What a state begins with.
pub(crate) const MAGIC: &[u8; 12] = b"portreeve\0st";

macro_rules! records {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $since:literal $field:ident: $kind:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $kind,)*
        }
        impl Field for $name {
            fn write(&self, to: &mut Writer) {
                $(self.$field.write(to);)*
            }
            fn read(from: &mut Reader<'_>) -> Result<Self, Bad> {
                Ok(Self {
                    $($field: if from.version >= $since { Field::read(from)? } else { <$kind>::default() },)*
                })
            }
        }
    )*};
}

mod asked;
mod bans;
mod found;
pub use asked::*;
pub use bans::*;
pub use found::*;

records! {
    /// Everything. Times are the monotonic clock's, which goes on over an exec.
    State {
        /// The version of the program that wrote.
        1 version: String,
        /// Where the executable was that the supervisor was started from, and where the next is looked for.
        1 executable: Bytes,
        /// The running executable, to go back to.
        1 back: Option<Fd>,
        /// When serving began.
        1 since: Duration,
        /// How many configurations were applied.
        1 generation: u64,
        /// How often the executable was replaced.
        1 upgrades: u64,
        /// Ends of unknown processes.
        1 strangers: u64,
        /// The next slot's number.
        1 next_slot: u32,
        /// The last ticket.
        1 last_ticket: u64,
        /// The file with our process number.
        1 pidfile: Option<Bytes>,
        /// RLIMIT_NOFILE of children.
        1 files: u64,
        /// What the configurations in force were read from.
        1 readings: Vec<ReadingState>,
        /// The latest of them.
        1 current: Option<u32>,
        /// The services.
        1 slots: Vec<SlotState>,
        /// The programs that run.
        1 programs: Vec<ProgramState>,
        /// The sessions in the builtin worker.
        1 sessions: Vec<SessionState>,
        /// The connections in the proxy worker.
        1 carried: Vec<SessionState>,
        /// Clients that were accepted and are not served yet.
        1 clients: Vec<ClientState>,
        /// The sources that are denied.
        1 denied: Vec<DeniedState>,
        /// The commands of hosts.allow and hosts.deny that run.
        1 hooks: Vec<HookState>,
        /// Commands started, dropped, killed.
        1 hook_counts: Vec<u64>,
        /// The worker processes.
        1 workers: Vec<WorkerState>,
        /// Workers that were killed and have not been reaped.
        1 retired: Vec<i32>,
        /// The control socket.
        1 control: Option<ControlState>,
        /// The control client that asked for the upgrade.
        1 asked_by: Option<u32>,
        /// The channel to the watcher.
        1 watcher: Option<Fd>,
        /// What the service manager's store has, by name.
        1 stored: Vec<String>,
        /// The connections in workers that serve TLS.
        3 sealed: Vec<SealedState>,
        /// Workers that finish what they have and get nothing more.
        3 leaving: Vec<LeavingState>,
        /// Where the process that steps in if nobody stands listens.
        3 guard: Option<Fd>,
        /// The journal of events.
        4 ledger: Option<LedgerState>,
        /// Connections whose header was awaited and that made room.
        6 headers_given_up: u64,
        /// Clients of TLS that had not shaken hands and made room.
        6 shaking_given_up: u64,
        /// What the workers' lives hang on: the end from which each gets its own, and the one that is kept.
        7 lifeline: Option<(Fd, Fd)>,
        /// The policy of bans for evidence, as lines; empty is the usual one.
        7 ban_policy: String,
        /// What is held against whom.
        7 scores: Vec<ScoreState>,
        /// Former bans that count, and until when.
        7 strikes: Vec<StrikeState>,
        /// The policy of bans was being read, and is to be read again.
        8 settings_awaited: bool,
        /// The tables were asked for what xinetd answers in its own process, which from then on may not `twist`.
        9 tables_asked: bool,
        /// Numbers of services that systemd must not give to others.
        9 dynamic_users: Vec<DynamicUserState>,
        /// As many sockets as the service manager can give back.
        9 store_room: Option<u64>,
        /// Programs that lie where somebody else answers, as they were read.
        9 elsewhere: Vec<ElsewhereState>,
    }
    /// A service.
    SlotState {
        /// Its number.
        1 id: u32,
        /// The reading it comes from.
        1 reading: u32,
        /// Its id there.
        1 service: String,
        /// Which of those with this id, from 0.
        1 nth: u32,
        /// Its open sockets, in the order of its addresses.
        1 listeners: Vec<ListenerState>,
        /// What the listener does: 0 active, 1 paused, 2 closed, 3 suspended, 4 no worker, 5 retrying, 6 removed.
        1 status: u8,
        /// Until when it is paused or closed.
        1 until: Duration,
        /// Tries to open it.
        1 attempt: u32,
        /// Why it is paused or retried.
        1 why: String,
        /// By order: 0 serve, 1 hold, 2 drain, 3 stop.
        1 duty: u8,
        /// Reloads do not end the order.
        1 keep: bool,
        /// Clients admitted.
        1 accepted: u64,
        /// Clients refused, by the word of the reason.
        1 refused: Vec<(String, u64)>,
        /// Programs that could not be started.
        1 start_failures: u64,
        /// Records lost.
        1 lost: u64,
        /// The last refused datagram source and when.
        1 last_refused: Option<(SocketAddr, Duration)>,
        /// An overload was said and its end was not.
        1 overloaded: bool,
        /// Its filter does not fit.
        1 unfiltered: bool,
        /// A refusal of wait=yes was logged.
        1 hold_logged: bool,
        /// The state of cps.
        1 rate: RateState,
        /// Clients that had reset their connection before they were taken, in an overload.
        3 gone: u64,
        /// The starts of the last minute, the oldest first, for whom they were.
        3 starts: Vec<(Duration, Option<IpAddr>)>,
        /// Flows of datagrams that made room.
        6 crowded: u64,
        /// Its targets that are names.
        9 names: Vec<TargetNameState>,
        /// The number of its control group among those of its id.
        9 group: Option<u32>,
    }
    /// An open socket of a service.
    ListenerState {
        /// It.
        1 fd: Fd,
        /// Whether it is polled.
        1 polled: bool,
        /// What it is for, as `portreeve_conf::Endpoint` writes it.
        1 place: String,
        /// The file of a unix socket, where it is ours to remove.
        4 file: Option<FileState>,
    }
    /// The state of cps; see `portreeve_policy::SavedRate`.
    RateState {
        /// First second of the window.
        1 window_start: u64,
        /// Connections in it.
        1 window_count: u64,
        /// Sources with their connections, and whether they are refused.
        1 sources: Vec<(IpAddr, (u32, bool))>,
        /// What all sources have that did not fit.
        1 overflow: Option<(u32, bool)>,
        /// 0 open, 1 throttled, 2 paused, 3 closed.
        1 phase: u8,
        /// The end of the overload.
        1 until: Duration,
        /// The end of the pause.
        1 resume: Duration,
        /// The rate that tripped.
        1 tripped_at: u32,
        /// A change that was not told yet: 0 none, 1 throttled, 2 resumed.
        1 owed: u8,
    }
    /// A seat, where one is taken.
    SeatState {
        /// Whose.
        1 source: Option<IpAddr>,
    }
    /// A running program.
    ProgramState {
        /// Its process number.
        1 pid: i32,
        /// Of which slot.
        1 slot: u32,
        /// Its seat.
        1 seat: Option<SeatState>,
        /// Its start.
        1 started: Duration,
        /// Its start, seconds since 1970.
        1 started_wall: i64,
        /// The client.
        1 peer: Option<SocketAddr>,
        /// It has the slot's socket.
        1 holds_socket: bool,
        /// When it is to be killed.
        1 kill_at: Option<Duration>,
        /// No EXIT line follows.
        1 forgotten: bool,
        /// It is no child of this process.
        3 orphan: bool,
        /// The number of its start in the ledger.
        4 event: u64,
        /// The client, if it is a process of this host.
        4 local: Option<LocalState>,
        /// A pidfd, where it is no child of this process.
        7 watched: Option<Fd>,
        /// By which it tells of its client.
        7 witness: Option<WitnessState>,
    }
    /// A session in a worker.
    SessionState {
        /// Its ticket.
        1 ticket: u64,
        /// Of which slot.
        1 slot: u32,
        /// Its seat.
        1 seat: Option<SeatState>,
        /// Its start.
        1 started: Duration,
        /// Its start, seconds since 1970.
        1 started_wall: i64,
        /// The client.
        1 peer: Option<SocketAddr>,
        /// Where it was tried to be carried, if it is: an address, or the path of a unix socket.
        1 tried: Option<Vec<(Option<SocketAddr>, String)>>,
        /// Since when the queue of its unix socket is full.
        1 busy: Option<Duration>,
        /// Whether an EXIT line follows.
        1 logs_exit: bool,
        /// A worker of TLS carries it.
        3 sealed: bool,
        /// The worker that has it is leaving: its number.
        3 leaving: Option<u32>,
        /// The number of its start in the ledger.
        4 event: u64,
        /// The client, if it is a process of this host.
        4 local: Option<LocalState>,
    }
    /// A connection in a worker that serves TLS.
    SealedState {
        /// Its ticket.
        3 ticket: u64,
        /// The worker: its place among those that serve TLS.
        3 worker: u32,
        /// Of which slot.
        3 slot: u32,
        /// The client, while it shakes hands.
        3 client: Option<ClientState>,
        /// What each target is told first.
        3 head: Bytes,
        /// That worker is leaving: its number.
        3 leaving: Option<u32>,
    }
    /// A worker that is leaving.
    LeavingState {
        /// Its name.
        3 name: String,
        /// Its number among those that leave.
        3 number: u32,
        /// Its process number.
        3 pid: i32,
        /// The version of the messages that it understands.
        3 protocol: u32,
        /// What its confinement lacks, as bits.
        3 missing: u32,
        /// The channel.
        3 channel: Fd,
        /// Messages for it.
        3 waiting: Vec<MessageState>,
        /// A pidfd, where it is no child of this process.
        7 watched: Option<Fd>,
    }
    /// An accepted client.
    ClientState {
        /// At which slot.
        1 slot: u32,
        /// Its socket.
        1 fd: Fd,
        /// Its address.
        1 peer: SocketAddrField,
        /// Starts that the kernel refused.
        1 attempts: u32,
        /// The rate has counted it.
        1 counted: bool,
        /// What the tables order was carried out.
        1 acted: bool,
        /// Its PROXY header: 0 not read, 1 the proxy spoke for itself, 2 it named the client.
        1 front: u32,
        /// When it is tried again, if it waits for a process.
        1 at: Option<Duration>,
        /// Its seat, if it is admitted and only its ident server was asked, or while its header is awaited.
        1 seat: Option<SeatState>,
        /// Where the client that its PROXY header named had connected to.
        2 destination: Option<SocketAddr>,
        /// What tcpmux owes it: 0 nothing, 1 a refusal, 2 that or that it starts.
        2 owed: u8,
        /// What the header worker reads in front of it.
        2 awaited: Option<AwaitedState>,
        /// What it has shown in its TLS handshake.
        3 shield: Option<ShieldState>,
        /// The number in the ledger of what tcpmux began for it.
        4 event: u64,
        /// Who it is, if it is a process of this host.
        4 local: Option<LocalState>,
    }
    /// What a client has shown in its TLS handshake.
    ShieldState {
        /// The mark of its connection in the worker.
        3 ticket: u64,
        /// Variables of the program's environment.
        3 variables: Vec<Bytes>,
    }
    /// A header or line that is awaited. The worker goes on under the same ticket.
    AwaitedState {
        /// Under which the worker answers.
        2 ticket: u64,
        /// 0 a PROXY header, 1 a line of tcpmux.
        2 what: u8,
        /// Start in seconds since 1970.
        2 since: i64,
        /// When it is late.
        2 until: Duration,
        /// Workers that died over it.
        2 tries: u32,
        /// The worker that reads it is leaving: its number.
        3 leaving: Option<u32>,
    }
    /// A command of hosts.allow or hosts.deny.
    HookState {
        /// Its process number.
        1 pid: i32,
        /// For which slot.
        1 slot: u32,
        /// For which source.
        1 source: Option<IpAddr>,
        /// When it is late.
        1 until: Duration,
        /// It was late and was killed.
        1 killed: bool,
        /// A pidfd, where it is no child of this process.
        7 watched: Option<Fd>,
    }
    /// A worker process.
    WorkerState {
        /// Its name.
        1 name: String,
        /// The version of the messages that it understands.
        1 protocol: u32,
        /// 0 off, 1 starting, 2 ready, 3 down.
        1 presence: u8,
        /// Its process number.
        1 pid: i32,
        /// How often it was started again.
        1 restarts: u32,
        /// What its confinement lacks, as bits.
        1 missing: u32,
        /// Messages given up.
        1 dropped: u64,
        /// The channel.
        1 channel: Option<Fd>,
        /// Messages for it, with what travels beside them.
        1 waiting: Vec<MessageState>,
        /// When it was started.
        1 started: Duration,
        /// How often it died soon.
        1 failures: u32,
        /// Of TLS: the certificates that it serves.
        3 set: Option<SetState>,
        /// Of TLS: whether it can: 0 it has not said, 1 it can, 2 it cannot.
        3 keyed: u8,
        /// And why not, or why it cannot with its newest files.
        3 wrong: String,
        /// A pidfd, where it is no child of this process.
        7 watched: Option<Fd>,
    }
    /// What one worker of TLS serves.
    SetState {
        /// Files of certificates and their keys.
        3 pairs: Vec<(String, String)>,
        /// The file of the authorities of clients.
        3 client_ca: Option<String>,
        /// Protocols.
        3 alpn: Vec<String>,
        /// Whether it speaks TLS with targets, and the file of their authorities.
        3 connect: Option<Option<String>>,
    }
    /// The journal of events. What waits for it is with its worker.
    LedgerState {
        /// 0 off, 1 wanted, 2 open, 3 failed.
        4 journal: u8,
        /// Where it is, or why there is none.
        4 place: String,
        /// The most bytes of it.
        4 most_bytes: u64,
        /// For how many seconds events are kept.
        4 keep_seconds: u64,
        /// Bytes that it has.
        4 bytes: u64,
        /// Events written.
        4 written: u64,
        /// Events lost.
        4 dropped: u64,
        /// Of these, those that it does not know of.
        4 untold: u64,
        /// The last event's number.
        4 last_id: u64,
        /// What was sent and not answered: events, and lost ones that were told with them.
        4 sent: Vec<(u64, u64)>,
        /// The list of bans has learned what the store has.
        5 recalled: bool,
        /// It has been asked for its store of bans, and has not told all of it.
        10 asked: bool,
        /// Why that store is not what the list of bans is; empty when it is.
        10 not_kept: String,
    }
    /// A message that waits for a worker.
    MessageState {
        /// It.
        1 bytes: Bytes,
        /// Its descriptor.
        1 fd: Option<Fd>,
    }
    /// The control socket and its clients.
    ControlState {
        /// Its name.
        1 path: Bytes,
        /// It.
        1 listener: Fd,
        /// The next client's number.
        1 next: u32,
        /// Who is connected.
        1 clients: Vec<ControlClientState>,
    }
    /// A control client.
    ControlClientState {
        /// Its number.
        1 number: u32,
        /// Its connection.
        1 fd: Fd,
        /// Whether it may change anything.
        1 may_change: bool,
        /// What it has asked so far.
        1 request: Bytes,
        /// What of the answer it has not taken.
        1 answer: Option<Bytes>,
        /// Its time.
        1 until: Duration,
    }
}

#[cfg(test)]
mod tests;
