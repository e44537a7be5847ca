//! The short fuzz run of every test run: the targets of `fuzz/`, on the pinned toolchain, over mutations of valid input.
//!
//! Seeded: the same seed gives the same inputs. `SKYWAVE_FUZZ_SEED` and `SKYWAVE_FUZZ_ITERATIONS` (per target) vary it; a failure
//! prints both the seed and the input.
#![allow(clippy::unwrap_used)]

mod strategies;
#[path = "../fuzz/targets/mod.rs"]
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use skywave_protocol::websocket::{FrameHeader, Opcode, unmask};
use skywave_protocol::{binary, json};

const ITERATIONS: u64 = 60_000;
/// Valid inputs a target starts from.
const CORPUS: usize = 48;
/// Longest input.
const INPUT_BYTES: usize = 4096;

#[test]
fn json_client() {
    fuzz("json_client", &corpus(strategies::client_message(), json::encode_client));
}

#[test]
fn json_server() {
    fuzz("json_server", &corpus(strategies::server_message(), json::encode_server));
}

#[test]
fn binary_client() {
    fuzz("binary_client", &corpus(strategies::client_message(), binary::encode_client));
}

#[test]
fn binary_server() {
    fuzz("binary_server", &corpus(strategies::server_message(), binary::encode_server));
}

#[test]
fn inner() {
    let mut inputs = corpus(strategies::live(), |m, out| out.extend_from_slice(&m.encode()));
    inputs.extend(corpus(strategies::log_record(), |m, out| out.extend_from_slice(&m.encode())));
    inputs.extend(corpus(strategies::core_request(), |m, out| out.extend_from_slice(&m.encode())));
    inputs.extend(corpus(strategies::core_reply(), |m, out| out.extend_from_slice(&m.encode())));
    inputs.extend(corpus(strategies::excerpt(), |m, out| out.extend_from_slice(&m.encode())));
    inputs.extend(corpus(strategies::notice(), |m, out| out.extend_from_slice(&m.encode())));
    inputs.extend(corpus(strategies::cell_news(), |m, out| out.extend_from_slice(&m.encode())));
    inputs.extend(corpus(strategies::node_beat(), |m, out| out.extend_from_slice(&m.encode())));
    inputs.extend(corpus(strategies::core_beat(), |m, out| out.extend_from_slice(&m.encode())));
    fuzz("inner", &inputs);
}

#[test]
fn websocket() {
    let frame = |fin, rsv1, opcode, mask: Option<[u8; 4]>, payload: &[u8]| {
        let mut out = Vec::new();
        FrameHeader { fin, rsv1, opcode, mask, length: payload.len() as u64 }.encode(&mut out);
        let start = out.len();
        out.extend_from_slice(payload);
        unmask(&mut out[start..], mask.unwrap_or_default());
        out
    };
    let mut inputs = Vec::new();
    for (options, mask) in [(0, Some([1, 2, 3, 4])), (1, None), (2, Some([0, 0, 0, 0])), (3, None)] {
        for size in [0, 1, 7, 63] {
            let compressed = options >= 2;
            let stream = [
                frame(true, false, Opcode::Text, mask, "grüße 😀".as_bytes()),
                frame(false, false, Opcode::Text, mask, b"a\xf0\x9f"),
                frame(true, false, Opcode::Ping, mask, b"?"),
                frame(true, false, Opcode::Continuation, mask, b"\x98\x80z"),
                frame(true, compressed, Opcode::Binary, mask, &[0xc1; 300]),
                frame(true, false, Opcode::Close, mask, b"\x03\xe8bye"),
            ];
            inputs.push([vec![options, size], stream.concat()].concat());
            inputs.extend(stream.map(|frame| [vec![options, size], frame].concat()));
        }
    }
    fuzz("websocket", &inputs);
}

#[test]
fn names() {
    let mut inputs: Vec<Vec<u8>> = [
        "chat:room/1.2",
        "a=2Eb",
        "sw.reply.n1.7",
        "é",
        ":",
        "a:b:c",
        "$SYS.>",
        "0123456789abcdef",
        "*",
        "=",
    ]
    .map(Vec::from)
    .into();
    inputs.push("/".repeat(255).into());
    fuzz("names", &inputs);
}

fn corpus<S: Strategy>(strategy: S, encode: impl Fn(&S::Value, &mut Vec<u8>)) -> Vec<Vec<u8>> {
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let mut one = || {
        let mut out = Vec::new();
        encode(&strategy.new_tree(&mut runner).unwrap().current(), &mut out);
        out
    };
    (0..CORPUS).map(|_| one()).collect()
}

/// Runs a target over the corpus and over mutations of it.
fn fuzz(name: &str, corpus: &[Vec<u8>]) {
    let setting = |name, default| std::env::var(name).map_or(default, |value| value.parse().unwrap());
    let seed = setting("SKYWAVE_FUZZ_SEED", 1);
    let iterations = setting("SKYWAVE_FUZZ_ITERATIONS", ITERATIONS);
    let (_, target) = targets::ALL.iter().find(|(known, _)| *known == name).unwrap();
    let mut random = Random(seed);
    let mutations = (0..iterations).map(|_| mutate(&mut random, corpus));
    for input in corpus.iter().cloned().chain(mutations) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(&input))) {
            eprintln!("target {name}, seed {seed}, input {:?}", String::from_utf8_lossy(&input));
            eprintln!("bytes {input:?}");
            resume_unwind(panic);
        }
    }
}

/// A small generator (SplitMix64): good enough to spread mutations, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 .. below (0 when there is nothing to choose from).
    fn below(&mut self, below: usize) -> usize {
        (self.next() % below.max(1) as u64) as usize
    }
}

/// Bytes that mean something to one of the decoders.
const TELLING: &[u8] = b"\0\x01\x7d\x7e\x7f\x80\x81\xff\"\\{}[],:\n\r 0-.eu\xc3\xed\xf4=*>./";

fn mutate(random: &mut Random, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut input = corpus[random.below(corpus.len())].clone();
    for _ in 0..=random.below(4) {
        let at = random.below(input.len() + 1);
        let end = (at + random.below(16)).min(input.len());
        let telling = TELLING[random.below(TELLING.len())];
        match random.below(9) {
            0 => input.truncate(at),
            1 => drop(input.drain(at..end)),
            2 => input.insert(at, telling),
            3 => input.extend_from_within(at..end),
            4 => {
                let other = &corpus[random.below(corpus.len())];
                let from = random.below(other.len());
                let part = other[from..].to_vec();
                input.splice(at..end, part);
            }
            5 => {
                let other = corpus[random.below(corpus.len())].clone();
                input.push(b'\n');
                input.extend(other);
            }
            6 if at < input.len() => input[at] ^= 1 << random.below(8),
            7 if at < input.len() => input[at] = random.next() as u8,
            _ if at < input.len() => input[at] = telling,
            _ => input.push(telling),
        }
        input.truncate(INPUT_BYTES);
    }
    input
}
