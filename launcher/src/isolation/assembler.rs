//! Puts together the small programs by which the kernel judges system calls. Two rules of ours are more than the
//! usual crate can say: an error number for each call rather than one for all, and numbers of another calling
//! convention (x32) that share the processor's word. And its list is searched from the front; the kernel tries a
//! filter for every call there is whenever one is entered, so that ours is searched by halves, in ranges.

use libc::sock_filter;

/// Offsets in what the kernel shows of a call.
const NUMBER: u32 = 0;
const PROCESSOR: u32 = 4;
const ARGUMENTS: u32 = 16;

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Allow,
    /// It fails with this number.
    Fail(i32),
    /// The whole process ends.
    Kill,
}

impl Verdict {
    fn word(self) -> u32 {
        match self {
            Self::Allow => libc::SECCOMP_RET_ALLOW,
            Self::Fail(errno) => libc::SECCOMP_RET_ERRNO | (errno.cast_unsigned() & libc::SECCOMP_RET_DATA),
            Self::Kill => libc::SECCOMP_RET_KILL_PROCESS,
        }
    }
}

/// What is asked of the low half of an argument, as the calls that are judged here take no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Test {
    /// One of these bits is set.
    AnyBit(u32),
    /// With the bits outside of the mask taken away it is one of these.
    OneOf { mask: u32, values: Vec<u32> },
    /// It and others are these, whole. They are compared all at once: who measures how long the answer takes learns
    /// nothing of a part.
    Secret(Vec<(u8, u64)>),
}

/// One way in which a call is judged: all tests must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) tests: Vec<(u8, Test)>,
    pub(super) verdict: Verdict,
}

/// A call and how it is judged: the first rule that holds, else the verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) number: u32,
    pub(super) rules: Vec<Rule>,
    pub(super) otherwise: Verdict,
}

const fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

const fn jump(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: (libc::BPF_JMP | code | libc::BPF_K) as u16, jt, jf, k }
}

const fn load(offset: u32) -> sock_filter {
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset)
}

fn answer(verdict: Verdict) -> sock_filter {
    statement(libc::BPF_RET | libc::BPF_K, verdict.word())
}

/// The program for calls of `processor`; numbers from `foreign` on belong to another convention. What is not in
/// `calls` is allowed.
pub(super) fn assemble(processor: u32, foreign: Option<u32>, mut calls: Vec<Call>) -> Vec<sock_filter> {
    calls.sort_by_key(|call| call.number);
    let mut program = vec![load(PROCESSOR), jump(libc::BPF_JEQ, processor, 1, 0), answer(Verdict::Kill), load(NUMBER)];
    if let Some(first) = foreign {
        program.extend([jump(libc::BPF_JGE, first, 0, 1), answer(Verdict::Fail(libc::ENOSYS))]);
    }
    program.extend(search(&ranges(&calls)));
    program
}

/// Numbers from `first` on, up to the next range, are judged alike.
struct Range<'a> {
    first: u32,
    rules: &'a [Rule],
    otherwise: Verdict,
}

impl Range<'_> {
    fn is_like(&self, other: &Self) -> bool {
        self.otherwise == other.otherwise && self.rules.is_empty() && other.rules.is_empty()
    }
}

/// All numbers there are, in as few ranges as possible.
fn ranges(calls: &[Call]) -> Vec<Range<'_>> {
    let allowed = |first| Range { first, rules: &[], otherwise: Verdict::Allow };
    let mut ranges = vec![allowed(0)];
    for call in calls {
        if ranges.last().is_some_and(|last| last.first == call.number) {
            ranges.pop();
        }
        ranges.push(Range { first: call.number, rules: &call.rules, otherwise: call.otherwise });
        ranges.push(allowed(call.number + 1));
    }
    ranges.dedup_by(|later, earlier| later.is_like(earlier));
    ranges
}

/// Judges the number that is loaded.
fn search(ranges: &[Range<'_>]) -> Vec<sock_filter> {
    let [range] = ranges else {
        let (low, high) = ranges.split_at(ranges.len() / 2);
        let first = high.first().map_or(0, |range| range.first);
        let low = search(low);
        // A jump that depends on something reaches 255 instructions; the other one reaches any.
        let mut program = match u8::try_from(low.len()) {
            Ok(over) => vec![jump(libc::BPF_JGE, first, over, 0)],
            Err(_) => {
                let over = u32::try_from(low.len()).unwrap_or(u32::MAX);
                vec![jump(libc::BPF_JGE, first, 0, 1), statement(libc::BPF_JMP | libc::BPF_JA, over)]
            }
        };
        program.extend(low);
        program.extend(search(high));
        return program;
    };
    judge(range)
}

/// Judges the calls of one range; every way through ends with an answer.
fn judge(call: &Range<'_>) -> Vec<sock_filter> {
    let mut program = Vec::new();
    for rule in call.rules {
        let mut body = vec![answer(rule.verdict)];
        for (argument, test) in rule.tests.iter().rev() {
            body = test_then(*argument, test, body);
        }
        program.extend(body);
    }
    program.push(answer(call.otherwise));
    program
}

/// `body` where the test holds, else what follows it.
fn test_then(argument: u8, test: &Test, body: Vec<sock_filter>) -> Vec<sock_filter> {
    let low_half = if cfg!(target_endian = "little") { 0 } else { 4 };
    let over = u8::try_from(body.len()).unwrap_or(u8::MAX);
    let mut program = Vec::new();
    match test {
        Test::AnyBit(_) | Test::OneOf { .. } => program.push(load(ARGUMENTS + 8 * u32::from(argument) + low_half)),
        Test::Secret(_) => {}
    }
    match test {
        Test::AnyBit(bits) => program.push(jump(libc::BPF_JSET, *bits, 0, over)),
        Test::OneOf { mask, values } => {
            program.push(statement(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, *mask));
            let count = values.len();
            for (index, value) in values.iter().enumerate() {
                let behind = u8::try_from(count - index - 1).unwrap_or(u8::MAX);
                let last = index + 1 == count;
                program.push(jump(libc::BPF_JEQ, *value, behind, if last { over } else { 0 }));
            }
        }
        Test::Secret(values) => {
            program.extend(differences(values, low_half));
            program.push(jump(libc::BPF_JEQ, 0, 0, over));
        }
    }
    program.extend(body);
    program
}

/// Leaves zero when all these arguments have these values, and something else when one bit differs.
fn differences(values: &[(u8, u64)], low_half: u32) -> Vec<sock_filter> {
    let (memory, index) = (libc::BPF_MEM, libc::BPF_LDX | libc::BPF_MEM);
    let mut program = vec![statement(libc::BPF_LD | libc::BPF_IMM, 0), statement(libc::BPF_ST, 0)];
    for (argument, value) in values {
        let place = ARGUMENTS + 8 * u32::from(*argument);
        for (offset, half) in [(place + low_half, *value as u32), (place + 4 - low_half, (*value >> 32) as u32)] {
            program.extend([
                load(offset),
                statement(libc::BPF_ALU | libc::BPF_XOR | libc::BPF_K, half),
                statement(index, 0),
                statement(libc::BPF_ALU | libc::BPF_OR | libc::BPF_X, 0),
                statement(libc::BPF_ST, 0),
            ]);
        }
    }
    program.push(statement(libc::BPF_LD | memory, 0));
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program as the kernel does.
    fn run(program: &[sock_filter], processor: u32, number: u32, arguments: [u64; 6]) -> u32 {
        let (mut at, mut word, mut index, mut memory) = (0, 0_u32, 0_u32, [0_u32; 16]);
        loop {
            let step = program[at];
            at += 1;
            match u32::from(step.code) {
                code if code == libc::BPF_LD | libc::BPF_W | libc::BPF_ABS => {
                    word = match step.k {
                        NUMBER => number,
                        PROCESSOR => processor,
                        offset => {
                            let place = (offset - ARGUMENTS) as usize;
                            let bytes: Vec<u8> = arguments.iter().flat_map(|value| value.to_ne_bytes()).collect();
                            u32::from_ne_bytes(bytes[place..place + 4].try_into().unwrap())
                        }
                    };
                }
                code if code == libc::BPF_ALU | libc::BPF_AND | libc::BPF_K => word &= step.k,
                code if code == libc::BPF_ALU | libc::BPF_XOR | libc::BPF_K => word ^= step.k,
                code if code == libc::BPF_ALU | libc::BPF_OR | libc::BPF_X => word |= index,
                code if code == libc::BPF_LD | libc::BPF_IMM => word = step.k,
                code if code == libc::BPF_LD | libc::BPF_MEM => word = memory[step.k as usize],
                code if code == libc::BPF_LDX | libc::BPF_MEM => index = memory[step.k as usize],
                code if code == libc::BPF_ST => memory[step.k as usize] = word,
                code if code == libc::BPF_RET | libc::BPF_K => return step.k,
                code if code == libc::BPF_JMP | libc::BPF_JA => at += step.k as usize,
                code => {
                    let holds = match code & 0xf0 {
                        libc::BPF_JEQ => word == step.k,
                        libc::BPF_JGE => word >= step.k,
                        libc::BPF_JSET => word & step.k != 0,
                        other => panic!("unknown code {other}"),
                    };
                    at += usize::from(if holds { step.jt } else { step.jf });
                }
            }
        }
    }

    #[test]
    fn i4_each_call_is_judged_by_its_own_rules() {
        let plain = |number| Call { number, rules: Vec::new(), otherwise: Verdict::Fail(libc::EPERM) };
        let mut calls: Vec<Call> = (100..160).map(plain).collect();
        let one_of = Test::OneOf { mask: 0xf, values: vec![1, 2, 7] };
        let tests = vec![(1, one_of), (0, Test::AnyBit(0x30))];
        let rules = vec![Rule { tests, verdict: Verdict::Fail(libc::EACCES) }];
        calls.push(Call { number: 7, rules, otherwise: Verdict::Allow });
        let program = assemble(9, Some(1_000), calls);
        let fails = |errno: i32| Verdict::Fail(errno).word();
        for (number, arguments, expected) in [
            (99, [0; 6], libc::SECCOMP_RET_ALLOW),
            (100, [0; 6], fails(libc::EPERM)),
            (131, [0; 6], fails(libc::EPERM)),
            (159, [0; 6], fails(libc::EPERM)),
            (160, [0; 6], libc::SECCOMP_RET_ALLOW),
            (999, [0; 6], libc::SECCOMP_RET_ALLOW),
            (1_000, [0; 6], fails(libc::ENOSYS)),
            (7, [0x10, 1, 0, 0, 0, 0], fails(libc::EACCES)),
            (7, [0x20, 0xf2, 0, 0, 0, 0], fails(libc::EACCES)),
            (7, [0x20, 7, 0, 0, 0, 0], fails(libc::EACCES)),
            (7, [0x20, 3, 0, 0, 0, 0], libc::SECCOMP_RET_ALLOW),
            (7, [0x40, 1, 0, 0, 0, 0], libc::SECCOMP_RET_ALLOW),
        ] {
            assert_eq!(run(&program, 9, number, arguments), expected, "{number} {arguments:?}");
        }
        assert_eq!(run(&program, 8, 99, [0; 6]), libc::SECCOMP_RET_KILL_PROCESS);
    }

    #[test]
    fn i4_a_secret_lets_through_as_a_whole_and_nothing_but_it() {
        let values = vec![(5, 0x0123_4567_89ab_cdef), (4, 0xfedc_ba98_7654_3210)];
        let tests = vec![(0, Test::OneOf { mask: u32::MAX, values: vec![7] }), (0, Test::Secret(values))];
        let rules = vec![Rule { tests, verdict: Verdict::Allow }];
        let program = assemble(9, None, vec![Call { number: 5, rules, otherwise: Verdict::Fail(libc::EPERM) }]);
        let right = [7, 0, 0, 0, 0xfedc_ba98_7654_3210, 0x0123_4567_89ab_cdef];
        let fails = Verdict::Fail(libc::EPERM).word();
        assert_eq!(run(&program, 9, 5, right), libc::SECCOMP_RET_ALLOW);
        assert_eq!(run(&program, 9, 5, [8, 0, 0, 0, right[4], right[5]]), fails);
        assert_eq!(run(&program, 9, 5, [7, 0, 0, 0, 0, 0]), fails);
        for argument in [4, 5] {
            for bit in 0..64 {
                let mut wrong = right;
                wrong[argument] ^= 1 << bit;
                assert_eq!(run(&program, 9, 5, wrong), fails, "{argument} {bit}");
            }
        }
    }
}
