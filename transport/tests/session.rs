//! Connections between honest peers over the loopback.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod support;

use common::{
    ErrorCode, UserError,
    frame::FrameError,
    limits::{
        FRAME_DATA_BYTES_MAX_BEFORE_LOGIN, HANDSHAKE_TIMEOUT, LOGIN_TIMEOUT, OUTPUT_CHUNK_BYTES_MAX, SILENCE_MAX,
    },
    message::{Alert, Data, Heartbeat, Message},
};
use std::time::Duration;
use support::{Master, notice, output, slave_id, within};
use tokio::time::{Instant, timeout};
use transport::{
    Connection, Listener, Opening, PeerIdentity, ReceiveError, SendError, connect, connect_saying, fetch_pin, testing,
};

async fn assert_echoes(mut dialled: Connection, mut accepted: Connection) {
    accepted.authenticated();
    dialled.authenticated();
    // Small ones again after the large one: its buffer is given back in between.
    for size in [0, 1, 100, 10_000, 1_000_000, 1, 500_000, 0] {
        let message = notice(&"é".repeat(size));
        dialled.sender.send(message.clone()).unwrap();
        let received = within(accepted.receiver.next()).await.unwrap();
        accepted.sender.send(received).unwrap();
        assert_eq!(within(dialled.receiver.next()).await.unwrap(), message);
    }
}

#[tokio::test]
async fn e5_messages_pass_both_ways_without_an_identity() {
    let master = Master::start().await;
    let (dialled, accepted) = master.pair().await;
    assert_eq!(accepted.peer, PeerIdentity::Anonymous);
    assert_eq!(dialled.address, master.address());
    assert_echoes(dialled, accepted).await;
}

#[tokio::test]
async fn e5_what_is_said_with_the_handshake_comes_first_and_in_order() {
    let master = Master::start().await;
    let mut opening = Opening::default();
    let size = FRAME_DATA_BYTES_MAX_BEFORE_LOGIN / 4;
    let said: Vec<_> = (b'a'..=b'd').map(|letter| notice(&char::from(letter).to_string().repeat(size))).collect();
    let fit = said.iter().take_while(|message| opening.push(message)).count();
    assert_eq!(fit, 3, "the fourth is beyond what a stranger may say");
    let (address, pin) = (master.address().to_string(), master.authority.pin());
    let accept = async { master.listener.accept().await.handshake().await.unwrap() };
    let (dialled, mut accepted) =
        within(async { tokio::join!(connect_saying(&address, pin, None, &opening), accept) }).await;
    let dialled = dialled.unwrap();
    dialled.sender.send(said[3].clone()).unwrap();
    for message in said {
        assert_eq!(within(accepted.receiver.next()).await.unwrap(), message);
    }
    assert_echoes(dialled, accepted).await;
}

#[tokio::test]
async fn e5_a_slave_is_known_by_its_certificate() {
    let master = Master::start().await;
    let identity = testing::enrolled_slave(&master.authority, slave_id(5), "s5", "").unwrap();
    let (dialled, accepted) = testing::connected(&master.listener, &master.authority, Some(&identity)).await.unwrap();
    assert_eq!(accepted.peer, PeerIdentity::Slave(slave_id(5)));
    assert_echoes(dialled, accepted).await;
}

#[tokio::test]
async fn e5_it_works_over_ipv6_and_by_name() {
    let master = Master::start().await;
    let listener = Listener::bind("[::1]:0", &master.authority).await.unwrap();
    assert!(listener.local_address().is_ipv6());
    let (dialled, accepted) = testing::connected(&listener, &master.authority, None).await.unwrap();
    assert_echoes(dialled, accepted).await;
    // `localhost` may be ::1 first, where nobody listens: the next address is tried.
    let by_name = format!("localhost:{}", master.address().port());
    let accept = async { master.listener.accept().await.handshake().await };
    let (dialled, accepted) = tokio::join!(connect(&by_name, master.authority.pin(), None), accept);
    assert_echoes(dialled.unwrap(), accepted.unwrap()).await;
}

#[tokio::test]
async fn e5_the_pin_can_be_learned() {
    let master = Master::start().await;
    let address = master.address().to_string();
    let accept = async { master.listener.accept().await.handshake().await };
    let (pin, accepted) = tokio::join!(fetch_pin(&address), accept);
    assert_eq!(pin.unwrap(), master.authority.pin());
    assert!(matches!(within(accepted.unwrap().receiver.next()).await, Err(ReceiveError::Closed)));
}

#[tokio::test]
async fn f12_only_answers_to_the_callers_own_heartbeats_are_given_out() {
    let master = Master::start().await;
    let (mut dialled, mut accepted) = master.pair().await;
    dialled.sender.heartbeat(1).unwrap();
    dialled.sender.heartbeat(2).unwrap();
    // Answers that nobody asked for, of this side's numbers and of the other kind.
    for sequence in [1, (1 << 63) | 3, u64::MAX] {
        accepted.sender.send(Message::Pong(Heartbeat { sequence })).unwrap();
    }
    accepted.sender.send(notice("begin")).unwrap();
    dialled.sender.send(notice("hello")).unwrap();
    // The other side answers while it receives.
    assert_eq!(within(accepted.receiver.next()).await.unwrap(), notice("hello"));
    accepted.sender.send(notice("end")).unwrap();
    assert_eq!(within(dialled.receiver.next()).await.unwrap(), notice("begin"));
    for number in [1, 2] {
        let answer = Message::Pong(Heartbeat { sequence: number });
        assert_eq!(within(dialled.receiver.next()).await.unwrap(), answer);
    }
    assert_eq!(within(dialled.receiver.next()).await.unwrap(), notice("end"));
}

#[tokio::test]
async fn e5_control_overtakes_bulk_and_neither_overtakes_itself() {
    let master = Master::start().await;
    let (dialled, mut accepted) = master.pair().await;
    accepted.authenticated();
    let chunks = 100;
    for number in 0..chunks {
        dialled.sender.send(output(number, OUTPUT_CHUNK_BYTES_MAX)).unwrap();
    }
    dialled.sender.send_all((0..10).map(|number| notice(&number.to_string()))).unwrap();
    let (mut bulk, mut control) = (0, 0);
    while bulk < chunks || control < 10 {
        let message = within(accepted.receiver.next()).await.unwrap();
        if let Message::Data(Data::Output { offset, .. }) = message {
            assert_eq!(offset, bulk);
            bulk += 1;
        } else {
            assert_eq!(message, notice(&control.to_string()));
            assert!(bulk <= 2, "{bulk} pieces of bulk came before control");
            control += 1;
        }
    }
    assert_eq!(dialled.sender.queued_bytes(), 0);
}

#[tokio::test]
async fn s_a_peer_that_never_reads_is_cut_when_too_much_waits() {
    let master = Master::start().await;
    let (dialled, accepted) = master.pair().await;
    let fill = async {
        let mut offset = 0;
        loop {
            if let Err(error) = dialled.sender.send(output(offset, OUTPUT_CHUNK_BYTES_MAX)) {
                return error;
            }
            offset += 1;
            tokio::task::yield_now().await;
        }
    };
    assert_eq!(within(fill).await, SendError::Full);
    timeout(Duration::from_secs(1), dialled.sender.closed()).await.expect("it is cut at once");
    assert_eq!(dialled.sender.send(notice("more")), Err(SendError::Closed));
    drop(accepted);
}

#[tokio::test]
async fn e5_what_waits_is_delivered_before_a_clean_close() {
    let master = Master::start().await;
    let (mut dialled, mut accepted) = master.pair().await;
    dialled.sender.send_all((0..10_000).map(|number| notice(&number.to_string()))).unwrap();
    dialled.sender.close();
    assert_eq!(dialled.sender.send(notice("late")), Err(SendError::Closed));
    for number in 0..10_000 {
        assert_eq!(within(accepted.receiver.next()).await.unwrap(), notice(&number.to_string()));
    }
    assert!(matches!(within(accepted.receiver.next()).await, Err(ReceiveError::Closed)));
    assert!(matches!(within(dialled.receiver.next()).await, Err(ReceiveError::Closed)));
    within(accepted.sender.closed()).await;
    within(dialled.sender.closed()).await;
}

#[tokio::test]
async fn e5_a_dropped_receiver_closes_and_a_lost_peer_is_closed() {
    let master = Master::start().await;
    let (dialled, mut accepted) = master.pair().await;
    let Connection { sender, receiver, .. } = dialled;
    sender.send(notice("last")).unwrap();
    drop(receiver);
    assert_eq!(within(accepted.receiver.next()).await.unwrap(), notice("last"));
    assert!(matches!(within(accepted.receiver.next()).await, Err(ReceiveError::Closed)));
    // Without TLS's goodbye.
    let (raw, mut accepted) = master.raw_pair().await;
    drop(raw);
    assert!(matches!(within(accepted.receiver.next()).await, Err(ReceiveError::Closed)));
    within(accepted.sender.closed()).await;
}

#[tokio::test]
async fn e9_a_refused_peer_reads_why_even_while_it_is_sending() {
    let master = Master::start().await;
    let (mut dialled, accepted) = master.pair().await;
    // What is never read would make a careless close lose the reason.
    for offset in 0..20 {
        dialled.sender.send(output(offset, OUTPUT_CHUNK_BYTES_MAX)).unwrap();
    }
    let reason = UserError::new(ErrorCode::Busy, "the master is busy");
    // The reason is read only after the master has done all it does.
    within(accepted.sender.refuse(reason.clone())).await;
    let refused = within(dialled.receiver.next()).await;
    assert_eq!(refused.unwrap(), Alert::Refused(reason).into());
    assert!(matches!(within(dialled.receiver.next()).await, Err(ReceiveError::Closed)));
}

#[tokio::test]
async fn b1_large_frames_are_accepted_only_after_login() {
    let master = Master::start().await;
    let large = notice(&"x".repeat(FRAME_DATA_BYTES_MAX_BEFORE_LOGIN + 1));
    let (dialled, mut accepted) = master.pair().await;
    dialled.sender.send(large.clone()).unwrap();
    let refused = within(accepted.receiver.next()).await;
    assert!(matches!(refused, Err(ReceiveError::Frame(FrameError::TooLong { .. }))), "{refused:?}");
    let (dialled, mut accepted) = master.pair().await;
    accepted.receiver.accept_large_frames();
    dialled.sender.send(large.clone()).unwrap();
    assert_eq!(within(accepted.receiver.next()).await.unwrap(), large);
    // Nobody would accept this one, and the connection goes on without it.
    assert_eq!(dialled.sender.send(notice(&"x".repeat(17 << 20))), Err(SendError::TooLarge));
    dialled.sender.send(notice("next")).unwrap();
    assert_eq!(within(accepted.receiver.next()).await.unwrap(), notice("next"));
}

#[tokio::test]
async fn e5_heartbeats_keep_an_idle_connection_and_nobody_sees_them() {
    let master = Master::start().await;
    let (mut dialled, mut accepted) = master.pair().await;
    accepted.authenticated();
    tokio::time::pause();
    let minute = Duration::from_secs(60);
    let (one, other) =
        tokio::join!(timeout(minute, dialled.receiver.next()), timeout(minute, accepted.receiver.next()));
    assert!(one.is_err() && other.is_err(), "{one:?} {other:?}");
    dialled.sender.send(notice("alive")).unwrap();
    assert_eq!(accepted.receiver.next().await.unwrap(), notice("alive"));
}

#[tokio::test]
async fn e5_a_silent_peer_is_taken_for_gone() {
    let master = Master::start().await;
    let (_raw, mut accepted) = master.raw_pair().await;
    accepted.authenticated();
    tokio::time::pause();
    let start = Instant::now();
    assert!(matches!(accepted.receiver.next().await, Err(ReceiveError::Silent)));
    assert!(start.elapsed() <= SILENCE_MAX.to_std() + Duration::from_secs(1), "{:?}", start.elapsed());
    assert!(start.elapsed() + Duration::from_secs(1) >= SILENCE_MAX.to_std(), "{:?}", start.elapsed());
    accepted.sender.closed().await;
}

#[tokio::test]
async fn b2_a_peer_has_little_time_for_its_first_message_and_for_its_login() {
    let master = Master::start().await;
    // Each connection sends heartbeats, which are no message.
    let (mut dialled, mut accepted) = master.pair().await;
    let (mut talker, mut listener) = master.pair().await;
    talker.sender.send(notice("hello")).unwrap();
    within(listener.receiver.next()).await.unwrap();
    tokio::time::pause();
    let start = Instant::now();
    let minute = Duration::from_secs(60);
    let (mute, _, unauthenticated, _) = tokio::join!(
        async { (timeout(minute, accepted.receiver.next()).await.unwrap(), start.elapsed()) },
        timeout(minute, dialled.receiver.next()),
        async { (timeout(minute, listener.receiver.next()).await.unwrap(), start.elapsed()) },
        timeout(minute, talker.receiver.next()),
    );
    for ((result, elapsed), limit) in [(mute, HANDSHAKE_TIMEOUT), (unauthenticated, LOGIN_TIMEOUT)] {
        assert!(matches!(result, Err(ReceiveError::Silent)), "{result:?}");
        assert!(elapsed.abs_diff(limit.to_std()) < Duration::from_secs(2), "{elapsed:?} for {limit}");
    }
}

#[tokio::test]
async fn e5_a_dropped_wait_loses_nothing() {
    let master = Master::start().await;
    let (dialled, mut accepted) = master.pair().await;
    let sender = dialled.sender.clone();
    let sending = async {
        for number in 0..2_000 {
            sender.send(notice(&number.to_string())).unwrap();
            tokio::task::yield_now().await;
        }
    };
    let receiving = async {
        let mut number = 0;
        while number < 2_000 {
            tokio::select! {
                biased;
                () = tokio::task::yield_now() => {}
                message = accepted.receiver.next() => {
                    assert_eq!(message.unwrap(), notice(&number.to_string()));
                    number += 1;
                }
            }
        }
    };
    within(async { tokio::join!(sending, receiving) }).await;
}
