//! A TCP relay that holds back what it passes on, as a long way does, and counts it. It stands in for the kernel's
//! netem, which many kernels lack.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

const PIECE: usize = 64 * 1024;
/// How many pieces may be on the way: more than a link of some hundred Mbit/s holds.
const ON_THE_WAY: usize = 256;

/// Bytes that went from servers to clients.
#[derive(Default)]
pub struct Count {
    to_pod: AtomicU64,
    to_others: AtomicU64,
}

impl Count {
    /// Those to the pod.
    pub fn to_pod(&self) -> u64 {
        self.to_pod.load(Ordering::Relaxed)
    }

    /// Those to anything else, such as a mirror.
    pub fn to_others(&self) -> u64 {
        self.to_others.load(Ordering::Relaxed)
    }
}

/// Passes on what comes to `listener`, `delay` later in each direction. It ends with the process.
pub fn start(
    listener: TcpListener,
    server: SocketAddr,
    delay: Duration,
    pod: Ipv4Addr,
) -> Arc<Count> {
    let count = Arc::new(Count::default());
    let counted = Arc::clone(&count);
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let count = Arc::clone(&counted);
            thread::spawn(move || {
                // An error ends one connection: its ends see that.
                let _ = pass_on(&client, server, delay, pod, &count);
            });
        }
    });
    count
}

fn pass_on(
    client: &TcpStream,
    server: SocketAddr,
    delay: Duration,
    pod: Ipv4Addr,
    count: &Arc<Count>,
) -> std::io::Result<()> {
    // The handshake of the long way.
    thread::sleep(2 * delay);
    let server = TcpStream::connect(server)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let is_pod = client.peer_addr()?.ip() == IpAddr::V4(pod);
    let down = {
        let (from, to, count) = (server.try_clone()?, client.try_clone()?, Arc::clone(count));
        thread::spawn(move || {
            one_way(from, to, delay, |bytes| {
                let counter = if is_pod {
                    &count.to_pod
                } else {
                    &count.to_others
                };
                counter.fetch_add(bytes, Ordering::Relaxed);
            });
        })
    };
    one_way(client.try_clone()?, server, delay, |_| ());
    let _ = down.join();
    Ok(())
}

fn one_way(from: TcpStream, to: TcpStream, delay: Duration, counted: impl Fn(u64)) {
    let (sender, receiver) = sync_channel(ON_THE_WAY);
    let writer = thread::spawn(move || write(to, &receiver, delay));
    read(from, &sender, counted);
    drop(sender);
    let _ = writer.join();
}

fn read(mut from: TcpStream, sender: &SyncSender<(Instant, Vec<u8>)>, counted: impl Fn(u64)) {
    loop {
        let mut piece = vec![0; PIECE];
        match from.read(&mut piece) {
            Ok(0) | Err(_) => return,
            Ok(length) => {
                piece.truncate(length);
                counted(length as u64);
                if sender.send((Instant::now(), piece)).is_err() {
                    let _ = from.shutdown(Shutdown::Read);
                    return;
                }
            }
        }
    }
}

fn write(mut to: TcpStream, receiver: &Receiver<(Instant, Vec<u8>)>, delay: Duration) {
    for (read, piece) in receiver {
        thread::sleep((read + delay).saturating_duration_since(Instant::now()));
        if to.write_all(&piece).is_err() {
            return;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
