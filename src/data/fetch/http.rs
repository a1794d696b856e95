//! One attempt at one address: ask for the rest of a file and append what comes.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;

use indicatif::{HumanCount, ProgressBar};
use ureq::http::{HeaderMap, StatusCode, header};

use super::{FetchOptions, unwritable};
use crate::data::{DataError, RemoteFile};

/// Why an attempt did not bring the whole file.
#[derive(Debug)]
pub(super) enum Failure {
    /// The connection broke: the same address may deliver the rest.
    Again(String),
    /// The address has nothing for us: the next one may.
    Next(String),
    /// The trouble is on this side: no address helps.
    Local(DataError),
}

impl From<DataError> for Failure {
    fn from(error: DataError) -> Self {
        Self::Local(error)
    }
}

/// An address and how patiently it is asked.
pub(super) struct Client<'a> {
    agent: ureq::Agent,
    url: &'a str,
    options: &'a FetchOptions,
}

impl<'a> Client<'a> {
    /// A client for `url`. Proxies come from the usual environment variables.
    pub(super) fn new(url: &'a str, options: &'a FetchOptions) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .user_agent(concat!("encoder-flow/", env!("CARGO_PKG_VERSION")))
            // The sums are of the files as stored: nothing may be packed or unpacked on the way.
            .accept_encoding("identity")
            .timeout_resolve(Some(options.connect_timeout))
            .timeout_connect(Some(options.connect_timeout))
            .timeout_recv_response(Some(options.stall_timeout))
            // Starts anew with every read, unlike ureq's total for the body: a slow download
            // may take an hour, a silent one may not.
            .timeout_per_read(Some(options.stall_timeout))
            .build();
        Self {
            agent: config.new_agent(),
            url,
            options,
        }
    }

    /// Brings `part` to `file.bytes` bytes, continuing behind those it has. Nothing is verified
    /// but the size.
    pub(super) fn download(
        &self,
        part: &Path,
        file: &RemoteFile,
        bar: &ProgressBar,
    ) -> Result<(), Failure> {
        let mut have = length(part)?;
        if have > file.bytes {
            remove(part)?;
            have = 0;
        }
        if have == file.bytes {
            return Ok(());
        }
        let mut request = self.agent.get(self.url);
        if have > 0 {
            request = request.header(header::RANGE, format!("bytes={have}-"));
        }
        let response = request.call().map_err(|error| self.no_answer(error))?;
        let status = response.status();
        let headers = response.headers();
        let (start, total) = match status {
            StatusCode::OK => (0, content_length(headers)),
            StatusCode::PARTIAL_CONTENT => match content_range(headers) {
                Some((start, total)) if start == have => (start, total),
                _ => {
                    remove(part)?;
                    return Err(Failure::Again(
                        "sends another part than asked for".to_owned(),
                    ));
                }
            },
            StatusCode::RANGE_NOT_SATISFIABLE => {
                remove(part)?;
                return Err(Failure::Again(format!(
                    "has nothing behind byte {have} ({status})"
                )));
            }
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                return Err(Failure::Again(format!("answers {status}")));
            }
            _ if status.is_server_error() => {
                return Err(Failure::Again(format!("answers {status}")));
            }
            _ => return Err(Failure::Next(format!("answers {status}"))),
        };
        if let Some(total) = total.filter(|total| *total != file.bytes) {
            return Err(Failure::Next(format!(
                "has {} bytes under this name, the official file has {}",
                HumanCount(total),
                HumanCount(file.bytes)
            )));
        }
        self.receive(response.into_body().into_reader(), part, start, file, bar)
    }

    /// Writes `body` behind the first `start` bytes of `part`.
    fn receive(
        &self,
        mut body: impl Read,
        part: &Path,
        start: u64,
        file: &RemoteFile,
        bar: &ProgressBar,
    ) -> Result<(), Failure> {
        let on_disk = |error| unwritable(part, error);
        let mut out = open_at(part, start).map_err(on_disk)?;
        let mut done = start;
        bar.set_position(done);
        bar.reset_eta();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let count = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.broken(error, done, file.bytes)),
            };
            if done + count as u64 > file.bytes {
                drop(out);
                remove(part)?;
                return Err(Failure::Next(format!(
                    "sends more than the {} bytes of the official file",
                    HumanCount(file.bytes)
                )));
            }
            out.write_all(&buffer[..count]).map_err(on_disk)?;
            done += count as u64;
            bar.set_position(done);
        }
        out.sync_all().map_err(on_disk)?;
        if done < file.bytes {
            return Err(Failure::Again(format!(
                "ends {}",
                progress(done, file.bytes)
            )));
        }
        Ok(())
    }

    /// A server that could not be reached is not asked again; one that broke off may be.
    fn no_answer(&self, error: ureq::Error) -> Failure {
        use ureq::Timeout;
        match error {
            ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect) => Failure::Next(format!(
                "cannot be reached within {:?}",
                self.options.connect_timeout
            )),
            ureq::Error::Timeout(_) => Failure::Again(self.stalled()),
            ureq::Error::Io(error)
                if matches!(
                    error.kind(),
                    ErrorKind::ConnectionReset
                        | ErrorKind::ConnectionAborted
                        | ErrorKind::BrokenPipe
                        | ErrorKind::UnexpectedEof
                ) =>
            {
                Failure::Again(format!("the connection broke: {error}"))
            }
            ureq::Error::Io(error) => Failure::Next(format!("cannot be reached: {error}")),
            error => Failure::Next(error.to_string()),
        }
    }

    /// A body that broke off after `done` of `total` bytes.
    fn broken(&self, error: std::io::Error, done: u64, total: u64) -> Failure {
        let stalled = match ureq::Error::from(error) {
            ureq::Error::Timeout(_) => self.stalled(),
            error => format!("the connection broke ({error})"),
        };
        Failure::Again(format!("{stalled} {}", progress(done, total)))
    }

    fn stalled(&self) -> String {
        format!("no byte came for {:?}", self.options.stall_timeout)
    }
}

/// Size of the file at `path` in bytes, 0 when there is none.
pub(super) fn length(path: &Path) -> Result<u64, DataError> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.len()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
        Err(error) => Err(DataError::io(path)(error)),
    }
}

/// Deletes the file at `path` where there is one.
pub(super) fn remove(path: &Path) -> Result<(), DataError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(unwritable(path, error)),
        _ => Ok(()),
    }
}

/// Opens `path` for writing behind its first `start` bytes and drops what lies after them.
fn open_at(path: &Path, start: u64) -> std::io::Result<File> {
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)?;
    file.set_len(start)?;
    file.seek(SeekFrom::Start(start))?;
    Ok(file)
}

fn progress(done: u64, total: u64) -> String {
    format!("after {} of {} bytes", HumanCount(done), HumanCount(total))
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()
}

/// First byte and, where the server knows it, total size: `bytes 400-999/1000` (RFC 9110, 14.4).
fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let text = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    let total = match total {
        "*" => None,
        total => Some(total.parse().ok()?),
    };
    Some((start.trim().parse().ok()?, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_range_is_read_or_refused() {
        let read = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_RANGE, text.parse().unwrap());
            content_range(&headers)
        };
        assert_eq!(read("bytes 400-999/1000"), Some((400, Some(1000))));
        assert_eq!(read("bytes 0-9/*"), Some((0, None)));
        for wrong in [
            "bytes */1000",
            "400-999/1000",
            "bytes 4-9",
            "bytes -1-9/10",
            "",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
