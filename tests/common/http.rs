//! A small HTTP/1.1 server on localhost that misbehaves on request.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// What the server does with one request.
#[derive(Clone)]
pub struct Reply {
    status: u16,
    body: Vec<u8>,
    headers: Vec<(&'static str, String)>,
    ranges: bool,
    length: bool,
    cut: Option<usize>,
    stall: Option<usize>,
    delay: Duration,
}

impl Reply {
    /// 200 with the whole body, or 206 with the rest of it when a range is asked for.
    pub fn file(body: &[u8]) -> Self {
        Self {
            status: 200,
            body: body.to_vec(),
            headers: Vec::new(),
            ranges: true,
            length: true,
            cut: None,
            stall: None,
            delay: Duration::ZERO,
        }
    }

    /// A bare status.
    pub fn status(status: u16) -> Self {
        Self {
            status,
            ranges: false,
            ..Self::file(b"an explanation that is no data")
        }
    }

    /// 302 to `location`.
    pub fn redirect(location: &str) -> Self {
        Self {
            headers: vec![("Location", location.to_owned())],
            ..Self::status(302)
        }
    }

    /// Answers every request with the whole body.
    pub fn without_ranges(self) -> Self {
        Self {
            ranges: false,
            ..self
        }
    }

    /// Says nothing of the length: the body ends with the connection.
    pub fn without_length(self) -> Self {
        Self {
            length: false,
            ..self
        }
    }

    /// Announces the whole length, sends `bytes` of it and closes the connection.
    pub fn cut_after(self, bytes: usize) -> Self {
        Self {
            cut: Some(bytes),
            ..self
        }
    }

    /// Announces the whole length, sends `bytes` of it and keeps silent.
    pub fn stall_after(self, bytes: usize) -> Self {
        Self {
            stall: Some(bytes),
            ..self
        }
    }

    /// Waits before it answers.
    pub fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    /// Adds a header.
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

/// What was asked and answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub path: String,
    /// First byte of the range asked for.
    pub range: Option<usize>,
    /// Bytes of the body that were sent.
    pub sent: usize,
}

#[derive(Default)]
struct State {
    scripts: Mutex<HashMap<String, Vec<Reply>>>,
    records: Mutex<Vec<Record>>,
    stop: AtomicBool,
}

/// A server that lives as long as this value.
pub struct Server {
    address: SocketAddr,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a server that knows no path yet.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port on localhost");
        let address = listener.local_addr().expect("its address");
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if shared.stop.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&shared);
                // A client may go away at any time: that is what these tests are about.
                std::thread::spawn(move || answer(stream, &shared).ok());
            }
        });
        Self {
            address,
            state,
            thread: Some(thread),
        }
    }

    /// Answers requests for `path` with `replies` in turn, the last one for ever.
    pub fn on(&self, path: &str, replies: impl IntoIterator<Item = Reply>) -> &Self {
        let replies = replies.into_iter().collect();
        guard(&self.state.scripts).insert(path.to_owned(), replies);
        self
    }

    /// The address of `path` on this server.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Every request so far, in order.
    pub fn records(&self) -> Vec<Record> {
        guard(&self.state.records).clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for a connection.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn answer(mut stream: TcpStream, state: &State) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut range = None;
    for line in lines {
        let line = line?.to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("range: bytes=") {
            range = value.trim_end_matches('-').parse::<usize>().ok();
        }
    }
    let reply = {
        let mut scripts = guard(&state.scripts);
        match scripts.get_mut(&path) {
            Some(replies) if replies.len() > 1 => replies.remove(0),
            Some(replies) => replies[0].clone(),
            None => Reply::status(404),
        }
    };
    let total = reply.body.len();
    let (status, start) = match range.filter(|_| reply.ranges) {
        Some(start) if start < total => (206, start),
        Some(_) => (416, total),
        None => (reply.status, 0),
    };
    let body = &reply.body[start..];
    let sent = reply
        .cut
        .or(reply.stall)
        .unwrap_or(body.len())
        .min(body.len());
    // Before anything is sent, so that the record is there when the client is done.
    guard(&state.records).push(Record { path, range, sent });
    std::thread::sleep(reply.delay);

    write!(
        stream,
        "HTTP/1.1 {status} Scripted\r\nConnection: close\r\n"
    )?;
    if reply.length {
        write!(stream, "Content-Length: {}\r\n", body.len())?;
    }
    if status == 206 {
        write!(
            stream,
            "Content-Range: bytes {start}-{}/{total}\r\n",
            total - 1
        )?;
    }
    for (name, value) in &reply.headers {
        write!(stream, "{name}: {value}\r\n")?;
    }
    write!(stream, "\r\n")?;
    stream.write_all(&body[..sent])?;
    if reply.stall.is_some() {
        stream.set_read_timeout(Some(Duration::from_millis(50)))?;
        // Until the client gives up or the test is over.
        loop {
            let left = matches!(stream.read(&mut [0]), Ok(0));
            if left || state.stop.load(Ordering::SeqCst) {
                break;
            }
        }
    }
    Ok(())
}
