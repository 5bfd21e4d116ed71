//! inetd in miniature, for one client: what tcpd needs to be called by. Runs in the probe executable, inside of a world, and
//! knows nothing of what a test expects.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, recv};
use std::fs::File;
use std::io::Write;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

/// `KIND ADDRESS EXECUTABLE ARGV0 ARGUMENT...`: waits for one client, starts the executable with it on descriptors 0, 1 and 2,
/// waits for the end and prints `STATUS LEFT`: exit status (-1 for a signal) and how many datagrams wait. KIND is tcp, udp,
/// or file, which is `/dev/null` instead of a client.
pub fn run(words: &[String]) -> ExitCode {
    let [kind, address, executable, called, arguments @ ..] = words else { return ExitCode::from(2) };
    // A session of this world: the one that it was started in is not to be seen from here.
    let _ = rustix::process::setsid();
    match serve(kind, address, executable, called, arguments) {
        Ok((status, left)) => {
            let _ = writeln!(std::io::stdout(), "{status} {left}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "inetd: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(
    kind: &str,
    address: &str,
    executable: &str,
    called: &str,
    arguments: &[String],
) -> std::io::Result<(i32, usize)> {
    let client: OwnedFd = match kind {
        "tcp" => TcpListener::bind(address)?.accept()?.0.into(),
        "udp" => {
            let socket = UdpSocket::bind(address)?;
            let patience = Timespec { tv_sec: 30, tv_nsec: 0 };
            poll(&mut [PollFd::new(&socket, PollFlags::IN)], Some(&patience))?;
            // The second datagram of a test follows the first at once; it is to be there too.
            std::thread::sleep(std::time::Duration::from_millis(200));
            socket.into()
        }
        _ => File::options().read(true).write(true).open("/dev/null")?.into(),
    };
    let (one, two) = (client.try_clone()?, client.try_clone()?);
    // As after accept in inetd: nobody but the program holds a stream client.
    let kept = (kind == "udp").then(|| client.try_clone()).transpose()?;
    let mut command = Command::new(executable);
    command.arg0(called).args(arguments);
    command.stdin(Stdio::from(client)).stdout(Stdio::from(one)).stderr(Stdio::from(two));
    let mut child = command.spawn()?;
    drop(command);
    let status = child.wait()?;
    let mut left = 0;
    if let Some(socket) = kept {
        let mut place = [0_u8; 64];
        while recv(socket.as_fd(), &mut place[..], RecvFlags::DONTWAIT).is_ok() {
            left += 1;
        }
    }
    Ok((status.code().unwrap_or(-1), left))
}
