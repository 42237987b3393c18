//! What comes over a socket, or from a program that runs.

use crate::whatever;
use common::{
    collected::{self, HEAD_LENGTH_BYTES, Head},
    escape::{Lines, visible},
    frame::{FrameHeader, FrameType, decode_record, encode_record},
    limits,
    message::{Command, Message, Reply, Report, Request, Status, Stream},
    units::Timestamp,
};
use launcher::{
    Socket, Wait,
    protocol::{FromKeeper, FromLauncher, ToKeeper, ToLauncher},
};
use serde::{Serialize, de::DeserializeOwned};
use std::os::{fd::OwnedFd, unix::net::UnixDatagram};

/// As a connection does: header after header, each with its data.
pub(crate) fn frames(bytes: &[u8]) {
    let mut rest = bytes;
    let mut limit = limits::FRAME_DATA_BYTES_MAX_BEFORE_LOGIN;
    while let Some((header, after)) = rest.split_first_chunk() {
        let Ok(header) = FrameHeader::decode(*header, limit) else { return };
        assert!(header.length <= limit, "a length over the limit is refused before anything is read");
        let Some((data, after)) = after.split_at_checked(header.length) else { return };
        let Ok(message) = Message::decode(header, data) else { return };
        survives(&message, header.timestamp);
        if matches!(message, Message::Command(_)) {
            limit = limits::FRAME_DATA_BYTES_MAX;
        }
        rest = after;
    }
}

/// What was read is written and read again as the same.
fn survives(message: &Message, timestamp: Timestamp) {
    let mut again = Vec::new();
    message.encode(timestamp, &mut again);
    let (header, data) = again.split_first_chunk().expect("a frame has a header");
    let header = FrameHeader::decode(*header, again.len()).expect("a header of our own");
    assert_eq!(header.timestamp, timestamp);
    let read = Message::decode(header, data).expect("a message of our own");
    // Not a number is not equal to itself: the bytes are.
    let mut twice = Vec::new();
    read.encode(timestamp, &mut twice);
    assert_eq!(twice, again);
}

fn family(frame_type: FrameType, data: &[u8]) -> Option<Message> {
    let header = FrameHeader { frame_type, length: data.len(), timestamp: Timestamp(7) };
    let message = Message::decode(header, data).ok()?;
    survives(&message, header.timestamp);
    Some(message)
}

pub(crate) fn heartbeat(bytes: &[u8]) {
    family(FrameType::Ping, bytes);
    family(FrameType::Pong, bytes);
}

pub(crate) fn data(bytes: &[u8]) {
    family(FrameType::Data, bytes);
}

pub(crate) fn alert(bytes: &[u8]) {
    family(FrameType::Alert, bytes);
}

pub(crate) fn command(bytes: &[u8]) {
    let Some(Message::Command(command)) = family(FrameType::Command, bytes) else { return };
    if let Command::Hello(hello) = &command {
        whatever(hello.agree());
    }
    if let Command::Request { request: Request::SubmitEntries { spec, entries, first, first_index, .. }, .. } = &command
    {
        if spec.validate().is_ok() && spec.check_entries(entries, 0).is_ok() {
            for entry in entries {
                assert!(spec.with_entry(entry).validate().is_ok(), "what is accepted can be run");
            }
        }
        if let Some(id) = first.nth(u64::from(*first_index)) {
            assert_eq!(id.after(*first), Some(u64::from(*first_index)));
        }
    }
    if let Command::Request {
        request: Request::Submit { spec, .. } | Request::SubmitCopies { spec, .. } | Request::SubmitEntries { spec, .. },
        ..
    } = &command
    {
        if spec.validate().is_ok() {
            assert!(spec.arguments.len() <= limits::ARGUMENTS_MAX);
            assert!(spec.arguments.iter().all(|argument| !argument.0.contains(&0)));
            assert!(spec.inputs.iter().all(|input| !input.name.0.contains(&b'/') && input.name.0 != b".."));
        }
        whatever(spec.limits.beyond(&common::ResourceLimits::MOST));
    }
}

pub(crate) fn status(bytes: &[u8]) {
    let Some(Message::Status(status)) = family(FrameType::Status, bytes) else { return };
    if let Status::Report(Report::Finished(ends)) = &status {
        for end in ends {
            whatever(end.outcome.sentence());
        }
    }
    if let Status::Reply { result: Ok(Reply::Ended { programs, .. }), .. } = &status {
        for (_, outcome) in programs {
            whatever((outcome.sentence(), outcome.exit_code()));
        }
    }
}

pub(crate) fn collected_head(bytes: &[u8]) {
    if let Some((length, _)) = bytes.split_first_chunk::<HEAD_LENGTH_BYTES>() {
        assert!(Head::length(*length).is_err() || Head::length(*length) <= Ok(collected::HEAD_BYTES_MAX));
    }
    match Head::decode(bytes) {
        Ok(head) => {
            assert!(head.files.len() <= limits::COLLECTED_FILES_MAX);
            for file in &head.files {
                let path = &file.path.0;
                assert!(!path.starts_with(b"/") && !path.contains(&0), "{}", file.path);
                assert!(path.split(|byte| *byte == b'/').all(|name| !matches!(name, b"" | b"." | b"..")));
            }
            let again = head.encode();
            assert_eq!(Head::decode(&again[HEAD_LENGTH_BYTES..]), Ok(head));
        }
        Err(reason) => is_harmless(&reason),
    }
}

/// A sentence of ours about hostile bytes has nothing in it that a terminal obeys.
pub(crate) fn is_harmless(sentence: &str) {
    assert_eq!(visible(sentence.as_bytes(), Lines::Keep), sentence);
}

pub(crate) fn patterns(bytes: &[u8]) {
    let place = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let (pattern, path) = bytes.split_at(place);
    let Ok(pattern) = std::str::from_utf8(pattern) else { return };
    let path = path.strip_prefix(&[0]).unwrap_or(path);
    match collected::check_pattern(pattern) {
        Ok(()) => {
            assert!(collected::is_path_within(pattern.as_bytes()));
            if !pattern.contains(['*', '?']) {
                assert_eq!(collected::matches(pattern, path), pattern.as_bytes() == path);
            }
            assert!(collected::matches("**", path) || path.is_empty());
        }
        Err(reason) => is_harmless(&reason),
    }
    whatever(collected::matches(pattern, path));
}

/// A packet that another process of the slave may send; the first byte says which end reads it.
pub(crate) fn launcher(bytes: &[u8]) {
    let Some((end, packet)) = bytes.split_first() else { return };
    match end % 4 {
        0 => receives::<ToLauncher>(packet),
        1 => receives::<FromLauncher>(packet),
        2 => receives::<ToKeeper>(packet),
        _ => receives::<FromKeeper>(packet),
    }
}

fn receives<M: Serialize + DeserializeOwned>(packet: &[u8]) {
    // A packet of no bytes is the end of the other side.
    let Ok((ours, mut theirs)) = Socket::pair() else { return };
    let ours = UnixDatagram::from(OwnedFd::from(ours));
    if packet.is_empty() || ours.send(packet).is_err() {
        return;
    }
    if let Ok(Some(received)) = theirs.receive::<M>(Wait::No) {
        let once = encode_record(&received.message);
        let again = decode_record::<M>(&once).expect("a message of our own");
        assert_eq!(encode_record(&again), once);
    }
}

pub(crate) fn kept(bytes: &[u8]) {
    slave::fuzzing::kept(bytes);
}

pub(crate) fn stat(bytes: &[u8]) {
    whatever(launcher::fuzzing::stat(bytes));
}

pub(crate) fn mounts(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (mountinfo, own) = text.split_once('\0').unwrap_or((&text, "0::/\n4:memory:/a\n"));
    launcher::fuzzing::mounts(mountinfo, own);
}

pub(crate) fn progress(bytes: &[u8]) {
    if let Some((percent, text)) = slave::fuzzing::progress(bytes) {
        assert!((0.0..=100.0).contains(&percent));
        assert!(text.len() <= limits::LAST_LINE_BYTES_MAX.max('…'.len_utf8()));
        assert_eq!(visible(text.as_bytes(), Lines::Escape), text);
    }
}

pub(crate) fn version(bytes: &[u8]) {
    if let Some(version) = slave::fuzzing::version(&String::from_utf8_lossy(bytes)) {
        assert!((1..=32).contains(&version.len()));
        assert!(version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'));
    }
    // There are as many streams as a sealed output has places.
    assert_eq!(Stream::ALL.len(), Stream::COUNT);
}
