//! A server of our own: on a socket in a temporary folder, without files, with a clock that the
//! test moves.

use std::{
    env,
    fs::{self, File},
    io::{BufRead, BufReader},
    os::unix::fs::FileExt,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
};

use evenkeel::store::{Script, ScriptCall, ScriptReply, StoreTime};
use tempfile::TempDir;

use super::resp::{Answer, Connection};

/// The servers that are tested: `EVENKEEL_STORE_SERVERS=redis-server,/usr/bin/valkey-server`.
pub(crate) fn programs() -> Vec<String> {
    let set = env::var("EVENKEEL_STORE_SERVERS").unwrap_or_else(|_| "redis-server".to_owned());
    set.split(',').map(str::to_owned).collect()
}

/// A running server, which ends with the test.
pub(crate) struct Server {
    child: Child,
    clock: File,
    connection: Connection,
    digests: Vec<(Script, Vec<u8>)>,
    /// How often a script was not there.
    pub(crate) lost_scripts: usize,
    _folder: TempDir,
}

/// All keys, with their ends and their contents.
pub(crate) type Copy = Vec<(Vec<u8>, i64, Vec<u8>)>;

impl Server {
    /// Starts a server whose clock stands at 1970.
    pub(crate) fn start(program: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        fs::write(path("clock"), 0_i64.to_ne_bytes()).expect("a clock");
        let clock = File::options().write(true).open(path("clock"));
        build_clock(&path("clock.so"));
        let mut child = Command::new(program)
            .args(["--port", "0", "--save", "", "--enable-debug-command", "yes"])
            .arg("--unixsocket")
            .arg(path("socket"))
            .arg("--dir")
            .arg(folder.path())
            .env("LD_PRELOAD", path("clock.so"))
            .env("STORE_CLOCK", path("clock"))
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{program}: {error}: the Debian package redis-server has it")
            });
        let mut log = BufReader::new(child.stdout.take().expect("a log")).lines();
        let mut said = Vec::new();
        while !said
            .iter()
            .any(|line: &String| line.contains("eady to accept connections"))
        {
            let line = log.next().and_then(Result::ok);
            said.push(line.unwrap_or_else(|| panic!("{program} ended: {said:#?}")));
        }
        thread::spawn(move || log.for_each(drop));
        let connection = Connection::to(&path("socket")).expect("a server");
        let mut server = Self {
            child,
            clock: clock.expect("a clock"),
            connection,
            digests: Vec::new(),
            lost_scripts: 0,
            _folder: folder,
        };
        // Else what ends would be gone at some time, and not when it is looked at.
        server.ask(&["DEBUG", "SET-ACTIVE-EXPIRE", "0"]);
        server
    }

    /// Moves the clock.
    pub(crate) fn set_clock(&self, now: StoreTime) {
        let written = self.clock.write_all_at(&now.as_micros().to_ne_bytes(), 0);
        written.expect("a clock");
    }

    /// Calls a script by its digest, and by its text where the server has lost it.
    pub(crate) fn call(&mut self, call: &ScriptCall) -> ScriptReply {
        let known = self
            .digests
            .iter()
            .find(|(script, _)| *script == call.script);
        let digest = if let Some((_, digest)) = known {
            digest.clone()
        } else {
            let digest = bytes(self.ask(&["SCRIPT", "LOAD", call.script.text()]));
            self.digests.push((call.script, digest.clone()));
            digest
        };
        let mut answer = self.run(b"EVALSHA", &digest, call);
        if matches!(&answer, Answer::Error(error) if error.starts_with("NOSCRIPT")) {
            self.lost_scripts += 1;
            answer = self.run(b"EVAL", call.script.text().as_bytes(), call);
        }
        reply(answer)
    }

    fn run(&mut self, command: &[u8], script: &[u8], call: &ScriptCall) -> Answer {
        let keys = call.keys.len().to_string();
        let mut words = vec![command, script, keys.as_bytes()];
        words.extend(call.keys.iter().map(String::as_bytes));
        words.extend(call.arguments.iter().map(Vec::as_slice));
        self.connection.ask(&words)
    }

    /// Sends a command.
    pub(crate) fn ask<W: AsRef<[u8]>>(&mut self, words: &[W]) -> Answer {
        let words: Vec<_> = words.iter().map(AsRef::as_ref).collect();
        match self.connection.ask(&words) {
            Answer::Error(error) => panic!("{}: {error}", words[0].escape_ascii()),
            answer => answer,
        }
    }

    /// The bytes of a key.
    pub(crate) fn get(&mut self, key: &str) -> Option<Vec<u8>> {
        match self.ask(&["GET", key]) {
            Answer::Nothing => None,
            answer => Some(bytes(answer)),
        }
    }

    /// Copies all keys.
    pub(crate) fn copy(&mut self) -> Copy {
        let Answer::List(keys) = self.ask(&["KEYS", "*"]) else {
            panic!("KEYS answers no list");
        };
        let mut copy = Vec::new();
        for key in keys.into_iter().map(bytes) {
            let Answer::Integer(ends_at) = self.ask(&[b"PEXPIRETIME", &*key]) else {
                panic!("PEXPIRETIME answers no number");
            };
            let dump = bytes(self.ask(&[b"DUMP", &*key]));
            copy.push((key, ends_at, dump));
        }
        copy
    }

    /// Goes on with a copy, as the same server.
    pub(crate) fn restore(&mut self, copy: &Copy) {
        self.ask(&["FLUSHALL"]);
        for (key, ends_at, dump) in copy {
            let ends_at = (*ends_at).max(0).to_string();
            self.ask(&[b"RESTORE", &**key, ends_at.as_bytes(), dump, b"ABSTTL"]);
        }
    }

    /// Becomes a replica and the primary again, which gives its data another history.
    pub(crate) fn promote(&mut self) {
        self.ask(&["REPLICAOF", "127.0.0.1", "1"]);
        self.ask(&["REPLICAOF", "NO", "ONE"]);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn build_clock(library: &Path) {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/store/clock.c");
    let built = Command::new("cc")
        .args(["-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o"])
        .arg(library)
        .arg(source)
        .status();
    assert!(built.expect("cc").success(), "{source} does not build");
}

fn bytes(answer: Answer) -> Vec<u8> {
    match answer {
        Answer::Bytes(bytes) => bytes,
        other => panic!("the server answers {other:?}"),
    }
}

fn reply(answer: Answer) -> ScriptReply {
    match answer {
        Answer::Integer(number) => ScriptReply::Integer(number),
        Answer::Bytes(bytes) => ScriptReply::Bytes(bytes),
        Answer::List(items) => ScriptReply::List(items.into_iter().map(reply).collect()),
        Answer::Nothing | Answer::Error(_) => panic!("a script answers {answer:?}"),
    }
}
