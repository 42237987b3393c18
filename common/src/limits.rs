//! Every bound of the product, with its unit and its reason. Relations are asserted at compile time.

use crate::units::{ByteSize, Duration};

// --- Frames -------------------------------------------------------------------------------------

/// Bytes of a frame's header: type, length, timestamp.
pub const FRAME_HEADER_BYTES: usize = 16;
/// DATA of a frame before the peer has proved who it is: a login or an enrolment request fits,
/// and a thousand strangers cost little memory.
pub const FRAME_DATA_BYTES_MAX_BEFORE_LOGIN: usize = 16 << 10;
/// DATA of a frame of an authenticated peer: the largest submit fits.
pub const FRAME_DATA_BYTES_MAX: usize = 16 << 20;
/// Bytes of program output that one frame carries, so that bulk never holds up control for long.
pub const OUTPUT_CHUNK_BYTES_MAX: usize = 64 << 10;
/// Output that a slave may have sent and the master not yet stored, for each stream: one part comes while another is
/// synced, and a sync costs the same for much as for little.
pub const OUTPUT_CREDIT_BYTES: u64 = 8 << 20;

// --- Connections --------------------------------------------------------------------------------

/// Time for TLS and the first message; a peer slower than this is cut.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Time from accepting a connection to its login or enrolment. Long enough for passwords that wait
/// for their turn to be hashed, short enough that strangers do not keep the places of others.
pub const LOGIN_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections that have not proved who they are, at once.
pub const CONNECTIONS_BEFORE_LOGIN_MAX: usize = 512;
/// Of these, from one address: half, so that no single machine shuts out the others, and many
/// slaves behind one address still come back together.
pub const CONNECTIONS_BEFORE_LOGIN_PER_ADDRESS_MAX: usize = 256;
/// Connected slaves.
pub const SLAVES_MAX: usize = 20_000;
/// Connected clients.
pub const CLIENTS_MAX: usize = 4_000;
/// Sessions that one user may have open at once.
pub const CLIENTS_PER_USER_MAX: usize = 256;
/// A PING goes out when nothing was sent for this long.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);
/// A peer that was silent for this long is taken for gone. Three heartbeats, so that one lost
/// to a busy machine cuts nothing.
pub const SILENCE_MAX: Duration = Duration::from_secs(15);
/// Frames waiting to be written to one peer. A watcher that falls behind further is cut. The answers
/// to all open requests of a client may come in one batch, with changes between them.
pub const OUTBOUND_FRAMES_MAX: usize = 65_536;
/// Bytes waiting to be written to one peer.
pub const OUTBOUND_BYTES_MAX: usize = 32 << 20;
/// A submit that waited for longer than this before the master came to it is refused as busy: refusing early
/// keeps the answers to the others fast.
pub const BUSY_AFTER: Duration = Duration::from_millis(500);
/// When a client that was refused as busy should try again.
pub const BUSY_RETRY: Duration = Duration::from_secs(2);
/// Requests of one client that wait for an answer (follow and wait included).
pub const REQUESTS_OPEN_MAX: usize = 4_096;
/// Slave's part of the lease: cut off for longer than this, it kills its programs.
pub const LEASE_SLAVE: Duration = Duration::from_secs(30);
/// Master's part of the lease: a slave away for longer has lost its programs. Later than the
/// slave's part by more than the time to notice a dead connection, so two attempts never overlap.
pub const LEASE_MASTER: Duration = Duration::from_secs(50);

// --- Programs -----------------------------------------------------------------------------------

/// Bytes of a source text.
pub const SOURCE_BYTES_MAX: usize = 4 << 20;
/// Bytes of standard input sent with a submit.
pub const STDIN_BYTES_MAX: usize = 8 << 20;
/// Arguments of one program.
pub const ARGUMENTS_MAX: usize = 131_072;
/// Items of a list in a submit that are read before its own bound is looked at.
pub const ITEMS_DECODED_MAX: usize = 1 << 20;
/// Bytes of all arguments together; about what execve takes.
pub const ARGUMENTS_BYTES_MAX: usize = 2 << 20;
/// Environment variables given at submission.
pub const ENVIRONMENT_MAX: usize = 1_024;
/// Bytes of all given environment variables together.
pub const ENVIRONMENT_BYTES_MAX: usize = 128 << 10;
/// Bytes of a program's name.
pub const NAME_BYTES_MAX: usize = 256;
/// Bytes of a user's or a slave's name.
pub const PEER_NAME_BYTES_MAX: usize = 64;
/// Copies that one submit request makes; larger counts are sent in several requests.
pub const COPIES_PER_REQUEST_MAX: usize = 4_096;
/// Copies that `--count` accepts.
pub const COPIES_MAX: u32 = 1_000_000;
/// Entries that one submit request brings; more are sent in several requests, so that nobody holds a whole list.
pub const ENTRIES_PER_REQUEST_MAX: usize = 1_000;
/// Bytes of an entry; what Linux gives a program as one argument, without the NUL behind it.
pub const ENTRY_BYTES_MAX: usize = (128 << 10) - 1;
/// Bytes of the entries that a client puts into one request; a single entry may have more.
pub const ENTRIES_BYTES_PER_REQUEST: usize = 1 << 20;
/// Programs waiting or running on one master.
pub const PROGRAMS_ALIVE_MAX: usize = 2_000_000;
/// Different needs (language, slave) of programs that wait at once: each is a line of its own, and the scheduler
/// looks at the head of each. One for each slave that programs may be meant for.
pub const QUEUE_LINES_MAX: usize = SLAVES_MAX;
/// Starts after the first that `--retry` may ask for.
pub const RETRY_MAX: u32 = 100;
/// Attempts of one program that may end with the loss of their slave; then it is not tried again, so that a
/// program that brings down its slave does not bring down all of them. HyperQueue's crash limit is 5 as well.
pub const CRASHES_MAX: u32 = 5;
/// Programs of one user that wait or run, unless the configuration says otherwise: half of all, so that one
/// user cannot shut out the others.
pub const PROGRAMS_PER_USER_MAX: usize = PROGRAMS_ALIVE_MAX / 2;
/// Priority is 0 (last) to this (first).
pub const PRIORITY_MAX: u8 = 100;
/// Priority when none is given.
pub const PRIORITY_DEFAULT: u8 = 50;
/// Bytes of an outcome's detail.
pub const DETAIL_BYTES_MAX: usize = 4 << 10;
/// Bytes of the last line of output that the history shows.
pub const LAST_LINE_BYTES_MAX: usize = 120;
/// Bytes of a log message that any module records (R5).
pub const LOG_MESSAGE_BYTES_MAX: usize = 128;

/// Wall time when none is given: long enough for lab work, short enough that a forgotten loop ends.
pub const WALL_TIME_DEFAULT: Duration = Duration::from_secs(600);
/// Longest wall time that may be asked for.
pub const WALL_TIME_MAX: Duration = Duration::from_secs(30 * 86_400);
/// Memory when none is given.
pub const MEMORY_DEFAULT: ByteSize = ByteSize(1 << 30);
/// Least memory that may be asked for; below it not even a shell starts.
pub const MEMORY_MIN: ByteSize = ByteSize(1 << 20);
/// Processes and threads when none is given; a Java or Node program starts dozens of threads.
pub const PROCESSES_DEFAULT: u32 = 256;
/// Most processes that may be asked for.
pub const PROCESSES_MAX: u32 = 32_768;
/// Standard output and error together when none is given.
pub const OUTPUT_DEFAULT: ByteSize = ByteSize(16 << 20);
/// Most output that may be asked for.
pub const OUTPUT_MAX: ByteSize = ByteSize(4 << 30);
/// Size of any one file when none is given.
pub const FILE_SIZE_DEFAULT: ByteSize = ByteSize(1 << 30);
/// Working folder when none is given: twice the largest single file.
pub const DISK_DEFAULT: ByteSize = ByteSize(2 << 30);
/// Open files of one process when none is given; what Linux gives a process by itself.
pub const OPEN_FILES_DEFAULT: u32 = 1_024;
/// Least open files that may be asked for: the dynamic loader needs a few.
pub const OPEN_FILES_MIN: u32 = 16;
/// Most open files that may be asked for; a slave may allow fewer.
pub const OPEN_FILES_MAX: u32 = 65_536;
/// Input files of one program.
pub const INPUT_FILES_MAX: usize = 1_024;
/// Bytes of one input file.
pub const INPUT_FILE_BYTES_MAX: ByteSize = ByteSize(16 << 30);
/// Bytes of a file's name; what Linux takes.
pub const FILE_NAME_BYTES_MAX: usize = 255;
/// Bytes of an input file that are sent ahead of what the receiver has asked for.
pub const INPUT_WINDOW_BYTES: u64 = 1 << 20;
/// Patterns of files that are brought back.
pub const COLLECT_PATTERNS_MAX: usize = 64;
/// Bytes of one such pattern.
pub const COLLECT_PATTERN_BYTES_MAX: usize = 1_024;
/// Files that one program brings back.
pub const COLLECTED_FILES_MAX: usize = 4_096;
/// Bytes that one program brings back, of all files together.
pub const COLLECTED_BYTES_MAX: ByteSize = ByteSize(4 << 30);
/// Bytes of a path within the working folder; what Linux takes.
pub const PATH_BYTES_MAX: usize = 4_096;
/// Bytes of live input that one request carries.
pub const INPUT_CHUNK_BYTES_MAX: usize = 64 << 10;
/// Live input for one program that the master holds until its slave has taken it.
pub const INPUT_PENDING_BYTES_MAX: usize = 256 << 10;
/// Wall time of the compile step.
pub const COMPILE_WALL_TIME: Duration = Duration::from_secs(120);
/// Memory of the compile step.
pub const COMPILE_MEMORY: ByteSize = ByteSize(2 << 30);
/// Bytes kept of what the compiler prints.
pub const COMPILE_OUTPUT_BYTES_MAX: usize = 256 << 10;
/// Time between the polite and the forced end of a cancelled program.
pub const CANCEL_GRACE: Duration = Duration::from_secs(2);

// --- Slaves -------------------------------------------------------------------------------------

/// Attempts in a row that a slave fails to run by its own fault, before it is given nothing new.
pub const SLAVE_FAILURES_MAX: u32 = 5;
/// How long a slave that failed everything is set aside before one program tries it again; doubled with each
/// failure, up to an hour.
pub const ASIDE_FIRST: Duration = Duration::from_secs(60);
/// Slots of one slave.
pub const SLOTS_MAX: u32 = 1_024;
/// Languages that one slave may offer.
pub const LANGUAGES_PER_SLAVE_MAX: usize = 256;
/// Results that a slave holds while the master is away, before it starts nothing new.
pub const OUTBOX_RESULTS_MAX: usize = 100_000;
/// Assignments, reports or acknowledgements in one frame.
pub const BATCH_MAX: usize = 1_024;
/// Output that travels inside the report of a finished program instead of in frames of its own.
pub const INLINE_OUTPUT_BYTES_MAX: usize = 16 << 10;

// --- Views --------------------------------------------------------------------------------------

/// Rows of one page of history.
pub const PAGE_ROWS_MAX: u32 = 1_000;
/// Deltas to one watcher go out at most this often.
pub const DELTA_INTERVAL: Duration = Duration::from_millis(50);
/// Changed rows in one delta; more are told as "ask again".
pub const DELTA_ROWS_MAX: usize = 500;

// --- Login --------------------------------------------------------------------------------------

/// Bytes of a password.
pub const PASSWORD_BYTES_MAX: usize = 1_024;
/// Least characters of a password.
pub const PASSWORD_CHARS_MIN: usize = 8;
/// Password hashes computed at once; each takes 19 MiB.
pub const PASSWORD_HASHES_AT_ONCE_MAX: usize = 2;
/// Life of a session token.
pub const SESSION_LIFE: Duration = Duration::from_secs(30 * 86_400);
/// Life of a slave's certificate. It is renewed when two thirds are over, so a slave may be away for days.
pub const SLAVE_CERTIFICATE_LIFE: Duration = Duration::from_secs(7 * 86_400);
/// Longest life of a join string.
pub const JOIN_LIFE_MAX: Duration = Duration::from_secs(7 * 86_400);
/// Most uses of a join string.
pub const JOIN_USES_MAX: u32 = 1_000;

const _: () = {
    assert!(FRAME_DATA_BYTES_MAX_BEFORE_LOGIN < FRAME_DATA_BYTES_MAX);
    assert!(
        SOURCE_BYTES_MAX
            + STDIN_BYTES_MAX
            + ARGUMENTS_BYTES_MAX
            + ENVIRONMENT_BYTES_MAX
            + INPUT_FILES_MAX * (FILE_NAME_BYTES_MAX + 64)
            + COLLECT_PATTERNS_MAX * COLLECT_PATTERN_BYTES_MAX
            < FRAME_DATA_BYTES_MAX
    );
    assert!(ARGUMENTS_MAX < ITEMS_DECODED_MAX);
    assert!(OUTPUT_CHUNK_BYTES_MAX < FRAME_DATA_BYTES_MAX / 16);
    assert!(HEARTBEAT_INTERVAL.0 * 3 <= SILENCE_MAX.0);
    assert!(LEASE_SLAVE.0 + SILENCE_MAX.0 < LEASE_MASTER.0);
    assert!(COPIES_PER_REQUEST_MAX * 17 < FRAME_DATA_BYTES_MAX / 4);
    assert!(ENTRIES_BYTES_PER_REQUEST + ENTRY_BYTES_MAX < FRAME_DATA_BYTES_MAX / 8);
    assert!(ENTRY_BYTES_MAX < ARGUMENTS_BYTES_MAX);
    assert!(OUTBOUND_BYTES_MAX >= 2 * FRAME_DATA_BYTES_MAX);
    assert!(OUTBOUND_FRAMES_MAX >= 4 * REQUESTS_OPEN_MAX);
    assert!(HANDSHAKE_TIMEOUT.0 < LOGIN_TIMEOUT.0);
    assert!(CONNECTIONS_BEFORE_LOGIN_PER_ADDRESS_MAX * 2 <= CONNECTIONS_BEFORE_LOGIN_MAX);
};
