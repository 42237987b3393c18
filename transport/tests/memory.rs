//! What strangers cost in memory. Alone in its process, so that nothing else is counted.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod support;

use common::{ErrorCode, UserError, frame::FrameError};
use std::{fs, time::Duration};
use support::{Master, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use transport::ReceiveError;

/// Resident memory of this process, in bytes.
fn resident_bytes() -> usize {
    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    pages.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4_096
}

#[tokio::test]
async fn b1_a_false_length_closes_at_once_and_allocates_nothing() {
    let master = Master::start().await;
    drop(master.raw_pair().await);
    let before = resident_bytes();
    let mut open = Vec::new();
    for (length, logged_in) in [(u32::MAX, false), (u32::MAX, true), (0x8000_0000, false), (16 << 20, false)].repeat(25)
    {
        let (mut raw, mut accepted) = master.raw_pair().await;
        if logged_in {
            accepted.authenticated();
        }
        let header = [&3_u32.to_be_bytes()[..], &length.to_be_bytes(), &[0; 8], &[1; 64]].concat();
        raw.write_all(&header).await.unwrap();
        let error = within(accepted.receiver.next()).await.unwrap_err();
        assert!(matches!(error, ReceiveError::Frame(FrameError::TooLong { .. })), "{error:?}");
        assert!(UserError::from(&error).is(ErrorCode::ProtocolError));
        drop(accepted);
        let mut rest = Vec::new();
        within(raw.read_to_end(&mut rest)).await.unwrap();
        assert_eq!(rest, b"");
        open.push(raw);
    }
    // Within the limit after login, but the bytes never come: nothing is set aside for them.
    let mut half_open = Vec::new();
    for _ in 0..25 {
        let (mut raw, mut accepted) = master.raw_pair().await;
        accepted.authenticated();
        let header = [&3_u32.to_be_bytes()[..], &(16_u32 << 20).to_be_bytes(), &[0; 8], &[1; 64]].concat();
        raw.write_all(&header).await.unwrap();
        let waiting = tokio::time::timeout(Duration::from_millis(20), accepted.receiver.next()).await;
        assert!(waiting.is_err(), "{waiting:?}");
        half_open.push((raw, accepted));
    }
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 24 << 20, "125 connections took {grown} bytes");
}
