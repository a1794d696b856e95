//! Downloading against a server that cuts, stalls, lies and redirects.

#[path = "common/http.rs"]
mod http;
#[path = "fetch/program.rs"]
mod program;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use encoder_flow::data::{Checksum, DataError, FetchOptions, RemoteFile, fetch};
use http::{Record, Reply, Server};
use tempfile::TempDir;

/// No test may take longer, however slow the machine; none needs more than a second or two.
const PATIENCE: Duration = Duration::from_secs(60);

/// The file that the tests download: long enough to be cut in two.
fn body() -> Vec<u8> {
    (0..200_000_u32).map(|index| (index % 251) as u8).collect()
}

/// SHA-256 and MD5 of [`body`], computed with Python's hashlib.
const SHA256: &str = "e24bc62381f1224fbbb74688663f8f9743b9680b193edd666835e97b06e730eb";
const MD5: &str = "415d6e662118c229c6ad3f950c24702a";

fn file(urls: &[String]) -> RemoteFile {
    RemoteFile {
        name: "data.bin".to_owned(),
        bytes: 200_000,
        checksums: vec![
            Checksum::Md5(MD5.to_owned()),
            Checksum::Sha256(SHA256.to_owned()),
        ],
        urls: urls.to_vec(),
    }
}

fn options() -> FetchOptions {
    FetchOptions {
        quiet: true,
        retries: 2,
        pause: Duration::from_millis(10),
        ..FetchOptions::default()
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Fetches from `paths` on `server` and checks that the file is whole and alone.
fn fetch_good(server: &Server, paths: &[&str], dir: &Path, options: &FetchOptions) {
    let urls: Vec<_> = paths.iter().map(|path| server.url(path)).collect();
    let path = fetch(&file(&urls), dir, options).unwrap();
    assert_eq!(path, dir.join("data.bin"));
    assert!(
        fs::read(path).unwrap() == body(),
        "the file is not what was served"
    );
    assert_eq!(files_in(dir), ["data.bin"]);
}

/// Names of the files in a folder, without the lock.
fn files_in(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort();
    names
}

fn record(path: &str, range: Option<usize>, sent: usize) -> Record {
    Record {
        path: path.to_owned(),
        range,
        sent,
    }
}

#[test]
fn a_file_is_downloaded_once() {
    let (server, dir) = (Server::start(), folder());
    server.on("/a", [Reply::file(&body())]);
    let deep = dir.path().join("not/there/yet");
    fetch_good(&server, &["/a"], &deep, &options());
    fetch_good(&server, &["/a"], &deep, &options());
    assert_eq!(server.records(), [record("/a", None, 200_000)]);
}

#[test]
fn a_cut_download_is_resumed() {
    let (server, dir) = (Server::start(), folder());
    let whole = Reply::file(&body());
    server.on("/a", [whole.clone().cut_after(120_000), whole]);
    fetch_good(&server, &["/a"], dir.path(), &options());
    assert_eq!(
        server.records(),
        [
            record("/a", None, 120_000),
            record("/a", Some(120_000), 80_000)
        ]
    );
}

#[test]
fn a_stopped_program_is_resumed() {
    let (server, dir) = (Server::start(), folder());
    fs::write(dir.path().join("data.bin.part"), &body()[..150_000]).unwrap();
    server.on("/a", [Reply::file(&body())]);
    fetch_good(&server, &["/a"], dir.path(), &options());
    assert_eq!(server.records(), [record("/a", Some(150_000), 50_000)]);
}

#[test]
fn a_part_that_does_not_fit_is_downloaded_anew() {
    for part in [vec![0; 150_000], vec![0; 200_000], vec![0; 300_000]] {
        let (server, dir) = (Server::start(), folder());
        fs::write(dir.path().join("data.bin.part"), part).unwrap();
        server.on("/a", [Reply::file(&body())]);
        fetch_good(&server, &["/a"], dir.path(), &options());
        assert_eq!(server.records().last(), Some(&record("/a", None, 200_000)));
    }
}

#[test]
fn a_server_without_ranges_starts_over() {
    let (server, dir) = (Server::start(), folder());
    let whole = Reply::file(&body()).without_ranges();
    server.on("/a", [whole.clone().cut_after(120_000), whole]);
    fetch_good(&server, &["/a"], dir.path(), &options());
    assert_eq!(server.records()[1], record("/a", Some(120_000), 200_000));
}

#[test]
fn a_server_that_refuses_the_range_starts_over() {
    let (server, dir) = (Server::start(), folder());
    let whole = Reply::file(&body());
    let refusal = Reply::status(416);
    server.on("/a", [whole.clone().cut_after(120_000), refusal, whole]);
    fetch_good(&server, &["/a"], dir.path(), &options());
    assert_eq!(server.records()[2], record("/a", None, 200_000));
}

#[test]
fn a_server_that_always_cuts_at_the_same_byte_is_given_up() {
    let (server, dir) = (Server::start(), folder());
    let whole = Reply::file(&body());
    server.on("/cuts", [whole.clone().without_ranges().cut_after(120_000)]);
    server.on("/good", [whole]);
    fetch_good(&server, &["/cuts", "/good"], dir.path(), &options());
    let cuts = server
        .records()
        .iter()
        .filter(|record| record.path == "/cuts")
        .count();
    assert_eq!(cuts, 4, "one that brought something and three that did not");
    // What the first address brought is not asked of the second.
    assert_eq!(
        server.records().last(),
        Some(&record("/good", Some(120_000), 80_000))
    );
}

#[test]
fn wrong_bytes_send_us_to_the_mirror() {
    let mut wrong = body();
    wrong[77] ^= 1;
    let long = [body(), vec![0; 10]].concat();
    let short = &body()[..10];
    for (reply, requests) in [
        (Reply::file(&wrong), 2),
        (Reply::file(short), 2),
        (Reply::file(&long), 2),
        (Reply::file(&long).without_length(), 2),
        (Reply::status(404), 2),
        (Reply::status(403), 2),
        // May be better in a moment, so it is asked three times.
        (Reply::status(503), 4),
    ] {
        let (server, dir) = (Server::start(), folder());
        server
            .on("/wrong", [reply])
            .on("/good", [Reply::file(&body())]);
        fetch_good(&server, &["/wrong", "/good"], dir.path(), &options());
        assert_eq!(server.records().len(), requests);
    }
}

#[test]
fn a_wrong_beginning_from_one_address_does_not_spoil_the_next() {
    let (server, dir) = (Server::start(), folder());
    let wrong = vec![1; 200_000];
    server.on(
        "/wrong",
        [Reply::file(&wrong).cut_after(120_000), Reply::status(404)],
    );
    server.on("/good", [Reply::file(&body())]);
    fetch_good(&server, &["/wrong", "/good"], dir.path(), &options());
}

#[test]
fn when_all_fail_every_address_is_named() {
    let (server, dir) = (Server::start(), folder());
    let urls = ["/wrong", "/absent", "/loop"].map(|path| server.url(path));
    server.on("/wrong", [Reply::file(&vec![1; 200_000])]);
    server.on("/loop", [Reply::redirect("/loop")]);
    let nobody = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}/", listener.local_addr().unwrap())
    };
    let urls = [&urls[..], &[nobody]].concat();
    let error = fetch(&file(&urls), dir.path(), &options()).unwrap_err();
    assert!(matches!(error, DataError::Download(_)));
    let text = error.to_string();
    for url in &urls {
        assert!(text.contains(url), "{text}");
    }
    for reason in [
        "has the MD5",
        "404",
        "too many redirects",
        "cannot be reached",
    ] {
        assert!(text.contains(reason), "{text}");
    }
    assert!(files_in(dir.path()).is_empty());
}

#[test]
fn redirects_are_followed_and_the_mirror_comes_first() {
    let (server, dir) = (Server::start(), folder());
    server.on("/mirror/data.bin", [Reply::redirect("/elsewhere")]);
    server.on("/elsewhere", [Reply::file(&body())]);
    let options = FetchOptions {
        mirror: Some(server.url("/mirror/")),
        ..options()
    };
    fetch_good(&server, &["/official"], dir.path(), &options);
    let paths: Vec<_> = server
        .records()
        .into_iter()
        .map(|record| record.path)
        .collect();
    assert_eq!(paths, ["/mirror/data.bin", "/elsewhere"]);
}

/// Some servers mark `.gz` files as packed on the way; ours must arrive as they are stored. This
/// needs ureq without its feature `gzip`, which unpacks them whatever was asked for.
#[test]
fn nothing_is_unpacked_on_the_way() {
    let (server, dir) = (Server::start(), folder());
    server.on(
        "/a",
        [Reply::file(&body()).header("Content-Encoding", "gzip")],
    );
    fetch_good(&server, &["/a"], dir.path(), &options());
}

#[test]
fn a_silent_server_is_resumed_and_then_left() {
    let (server, dir) = (Server::start(), folder());
    let whole = Reply::file(&body());
    server.on(
        "/a",
        [
            whole.clone().stall_after(120_000),
            whole.clone().stall_after(0),
        ],
    );
    server.on("/b", [whole]);
    let options = FetchOptions {
        stall_timeout: Duration::from_millis(200),
        ..options()
    };
    let begin = Instant::now();
    fetch_good(&server, &["/a", "/b"], dir.path(), &options);
    assert!(begin.elapsed() < PATIENCE);
    assert_eq!(server.records()[1], record("/a", Some(120_000), 0));
    assert_eq!(
        server.records().last(),
        Some(&record("/b", Some(120_000), 80_000))
    );
}

#[test]
fn offline_touches_no_socket() {
    let (server, dir) = (Server::start(), folder());
    server.on("/a", [Reply::file(&body())]);
    let options = FetchOptions {
        offline: true,
        ..options()
    };
    let file = file(&[server.url("/a")]);
    let error = fetch(&file, dir.path(), &options).unwrap_err();
    assert!(matches!(error, DataError::Missing(_)));
    let text = error.to_string();
    for part in [
        "data.bin",
        &dir.path().display().to_string(),
        &server.url("/a"),
    ] {
        assert!(text.contains(part), "{text}");
    }
    fs::write(dir.path().join("data.bin"), body()).unwrap();
    fetch(&file, dir.path(), &options).unwrap();
    assert!(server.records().is_empty());
}

#[test]
fn two_runs_download_once() {
    let (server, dir) = (Server::start(), folder());
    server.on(
        "/a",
        [Reply::file(&body()).after(Duration::from_millis(300))],
    );
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| fetch_good(&server, &["/a"], dir.path(), &options()));
        }
    });
    assert_eq!(server.records().len(), 1);
}

#[test]
fn a_wrong_file_in_place_is_never_overwritten() {
    let (server, dir) = (Server::start(), folder());
    server.on("/a", [Reply::file(&body())]);
    for content in [&b"mine"[..], &vec![7; 200_000]] {
        fs::write(dir.path().join("data.bin"), content).unwrap();
        let error = fetch(&file(&[server.url("/a")]), dir.path(), &options()).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("data.bin") && text.contains("move it away"),
            "{text}"
        );
        assert_eq!(fs::read(dir.path().join("data.bin")).unwrap(), content);
    }
    assert!(server.records().is_empty());
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let (server, dir) = (Server::start(), folder());
    server.on("/a", [Reply::file(&body())]);
    let mut folders = vec![dir.path().join("file").join("data")];
    fs::write(dir.path().join("file"), "in the way").unwrap();
    folders.extend(read_only(dir.path()));
    for folder in folders {
        let error = fetch(&file(&[server.url("/a")]), &folder, &options()).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&folder.display().to_string()), "{text}");
        assert!(text.contains("--data-dir"), "{text}");
    }
    assert!(server.records().is_empty());
}

/// A read-only folder, where the user of the tests is bound by that (root is not).
fn read_only(parent: &Path) -> Option<PathBuf> {
    let dir = parent.join("read-only");
    fs::create_dir(&dir).unwrap();
    let mut permissions = fs::metadata(&dir).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&dir, permissions).unwrap();
    fs::write(dir.join("probe"), "").is_err().then_some(dir)
}
