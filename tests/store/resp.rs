//! As much of the server's protocol, RESP2, as the tests speak.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
};

/// A connection that sends each command once.
pub(crate) struct Connection(BufReader<UnixStream>);

/// What a server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Integer(i64),
    Bytes(Vec<u8>),
    Nothing,
    List(Vec<Self>),
    Error(String),
}

impl Connection {
    pub(crate) fn to(socket: &Path) -> io::Result<Self> {
        Ok(Self(BufReader::new(UnixStream::connect(socket)?)))
    }

    /// Sends a command of some words, and reads the answer.
    pub(crate) fn ask(&mut self, words: &[&[u8]]) -> Answer {
        let mut sent = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            sent.extend(format!("${}\r\n", word.len()).as_bytes());
            sent.extend_from_slice(word);
            sent.extend(b"\r\n");
        }
        self.0.get_mut().write_all(&sent).expect("the server reads");
        self.answer()
    }

    fn answer(&mut self) -> Answer {
        let line = self.line();
        let (kind, rest) = line.split_at(1);
        let number = || rest.parse::<i64>().expect("a number");
        match kind {
            "+" => Answer::Bytes(rest.as_bytes().to_vec()),
            "-" => Answer::Error(rest.to_owned()),
            ":" => Answer::Integer(number()),
            "$" => usize::try_from(number()).map_or(Answer::Nothing, |length| {
                let mut bytes = vec![0; length + 2];
                self.0.read_exact(&mut bytes).expect("the server writes");
                bytes.truncate(length);
                Answer::Bytes(bytes)
            }),
            "*" => usize::try_from(number()).map_or(Answer::Nothing, |length| {
                Answer::List((0..length).map(|_| self.answer()).collect())
            }),
            _ => panic!("the server answers {line:?}"),
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("the server writes");
        assert!(line.ends_with("\r\n"), "the server hung up");
        line.truncate(line.len() - 2);
        line
    }
}
