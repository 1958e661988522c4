//! What is only claimed reserves nothing. Measured where the system tells, in /proc.

#![cfg(target_os = "linux")]

use std::collections::BTreeMap;

use lanpeer::{Bytes, CloseReason, Format, Raw};
use serde_json::Value;

use super::arena::Arena;
use super::{BYTES, Nested, RAW};
use crate::common::wire::{Wire, data, data_header};
use crate::common::{builder, ended, receive};
use crate::peers::alone;

/// Kilobytes, by their names in /proc/self/status.
pub fn kilobytes(name: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc/self/status");
    let line = status
        .lines()
        .find(|line| line.starts_with(name))
        .expect("the line");
    line.split_whitespace()
        .nth(1)
        .and_then(|n| n.parse().ok())
        .expect("a number")
}

/// What is only reserved counts too: the system gives memory when it is touched, but what is
/// measured here is what was asked for.
#[test]
fn the_measure_of_memory_sees_what_is_reserved() {
    alone(
        "hostile::memory::the_measure_of_memory_sees_what_is_reserved",
        || {
            let _arena = Arena::new();
            let (before, resident) = (kilobytes("VmData:"), kilobytes("VmRSS:"));
            let reserved: Vec<u8> = Vec::with_capacity(256 << 20);
            let after = kilobytes("VmData:");
            drop(std::hint::black_box(reserved));
            assert!(after >= before + (250 << 10), "{before} and {after} kB");
            assert!(kilobytes("VmRSS:") < resident + (64 << 10));
        },
    );
}

#[test]
fn claimed_sizes_reserve_nothing() {
    alone("hostile::memory::claimed_sizes_reserve_nothing", || {
        const CLAIM: usize = 64 << 20;
        let arena = Arena::with(builder().max_message_size(CLAIM));
        let stream = format!("data_type=bytes&stream=1&data_size={CLAIM}&v=1");
        let mut claims = Vec::new();
        for _ in 0..12 {
            // A message before it, so that everything a connection needs anyway is there.
            for keys in [
                BYTES,
                "data_type=bytes&strict=1",
                "data_type=bytes&stream=1&v=1",
            ] {
                let (mut wire, conn) = Wire::accepted::<Bytes>(&arena.bob, keys);
                if !keys.contains("stream") {
                    wire.write(&data("bytes", b"first"));
                    assert_eq!(receive(&conn), b"first");
                }
                claims.push((wire, conn, true));
            }
            let (wire, conn) = Wire::accepted::<Bytes>(&arena.bob, &stream);
            claims.push((wire, conn, false));
        }
        let before = kilobytes("VmData:");
        for (wire, _, with_header) in &mut claims {
            if *with_header {
                wire.write(&data_header(CLAIM, "bytes"));
            }
            wire.write(&[1; 100]);
        }
        // The claims stand while the other connection goes on, which is time enough to reserve.
        for _ in 0..30 {
            arena.is_untouched();
            let grown = kilobytes("VmData:").saturating_sub(before);
            assert!(
                grown < CLAIM >> 10,
                "{grown} kB for {} claims",
                claims.len()
            );
        }
        let grown = kilobytes("VmData:").saturating_sub(before);
        println!(
            "{} claims of {} MiB each: {grown} kB",
            claims.len(),
            CLAIM >> 20
        );
        for (wire, conn, _) in claims {
            wire.fin();
            assert_eq!(ended(&conn), CloseReason::Truncated);
        }
    });
}

#[test]
fn claimed_elements_reserve_nothing() {
    alone("hostile::memory::claimed_elements_reserve_nothing", || {
        fn claim<F: Format>(arena: &Arena, payload: &[u8]) {
            arena.malformed::<F>(RAW, &data("raw", payload));
        }
        let arena = Arena::new();
        claim::<Raw<u8>>(&arena, b"\xc1"); // what the first one needs anyway
        let (peak, resident) = (kilobytes("VmPeak:"), kilobytes("VmHWM:"));
        for head in [b"\xdd", b"\xdf", b"\xdb", b"\xc6", b"\xc9"] {
            for size in [u32::MAX, 1 << 31, 1 << 27] {
                // array, map, string, bytes, extension
                let mut payload = head.to_vec();
                payload.extend(size.to_be_bytes());
                payload.extend([1; 40]);
                claim::<Raw<Vec<u64>>>(&arena, &payload);
                claim::<Raw<Vec<()>>>(&arena, &payload);
                claim::<Raw<BTreeMap<String, u64>>>(&arena, &payload);
                claim::<Raw<String>>(&arena, &payload);
                claim::<Raw<Value>>(&arena, &payload);
                claim::<Raw<Nested>>(&arena, &payload);
                let mut list = b"\x92".to_vec();
                list.extend(&payload);
                claim::<Raw<Value>>(&arena, &list);
            }
        }
        let (peak, resident) = (kilobytes("VmPeak:") - peak, kilobytes("VmHWM:") - resident);
        println!("peak of address space +{peak} kB, of resident memory +{resident} kB");
        // Far below the smallest claim; a thread's own arena of the allocator is 64 to 128 MiB.
        assert!(peak < 512 << 10, "{peak} kB");
        assert!(resident < 32 << 10, "{resident} kB");
    });
}
