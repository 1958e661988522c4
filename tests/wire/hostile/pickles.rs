//! Pickles that name functions, are cut, are of no protocol, or mean more than they say.

use lanpeer::Raw;
use serde_json::Value;

use super::arena::Arena;
use super::{MILLION, Nested, Point};
use crate::common::receive;
use crate::common::wire::{Wire, data};
use crate::peers::stride;

const PEERPY: &str = "data_type=raw&strict=1";

#[track_caller]
fn refused(arena: &Arena, pickle: &[u8], word: &str) {
    let words = arena.malformed::<Raw<Value>>(PEERPY, &data("raw", pickle));
    assert!(words.starts_with("malformed raw message: "), "{words}");
    assert!(words.contains(word), "{words}");
}

#[test]
fn pickles_that_name_functions() {
    let arena = Arena::new();
    for (pickle, word) in [
        // os.system('echo'), as every protocol has it.
        (
            &b"cposix\nsystem\n(Vecho\ntR."[..],
            "GLOBAL would look up `system`",
        ),
        (
            b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00echo\x85R.",
            "`posix`",
        ),
        (
            b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04echo\x85R.",
            "STACK_GLOBAL",
        ),
        (b"(Vecho\niposix\nsystem\n.", "INST would look up `system`"),
        (b"(cbuiltins\neval\nV1\no.", "`eval`"),
        (b"cbuiltins\ngetattr\n.", "`getattr`"),
        (b"c_codecs\ndecode\n.", "`decode`"),
        (
            b"c_codecs\nencode\n(V1\nVzip\ntR.",
            "REDUCE would call Encode",
        ),
        (b"ccollections\nOrderedDict\n)R.", "`OrderedDict`"),
        (b"cdecimal\nDecimal\n(V1\ntR.", "`Decimal`"),
        (b"c__main__\nThing\n)\x81}b.", "`Thing`"),
        (b"c\x1b[2J\n\x1b[2J\n.", "GLOBAL would look up"),
        (b"}}b.", "BUILD would"),
        (b"(Vx\no.", "OBJ would"),
        (b"})\x81.", "NEWOBJ would"),
        (b"})}\x92.", "NEWOBJ_EX would"),
        (b"\x82\x01.", "EXT1 would"),
        (b"\x83\x01\x00.", "EXT2 would"),
        (b"\x84\x01\x00\x00\x00.", "EXT4 would"),
        (b"Pid\n.", "PERSID would"),
        (b"NQ.", "BINPERSID would"),
        (b"\x97.", "NEXT_BUFFER would"),
        (b"\x98.", "READONLY_BUFFER would"),
        (b"S'x'\n.", "STRING would"),
        (b"T\x01\x00\x00\x00x.", "BINSTRING would"),
        (b"U\x01x.", "SHORT_BINSTRING would"),
    ] {
        refused(&arena, pickle, word);
    }
    let long = [
        &b"c"[..],
        &b"a".repeat(MILLION),
        b"\n",
        &b"b".repeat(MILLION),
        b"\n.",
    ]
    .concat();
    refused(&arena, &long, "GLOBAL would look up");
}

#[test]
fn pickles_of_any_protocol_number() {
    let arena = Arena::new();
    for version in (6..=255).step_by(stride()) {
        refused(
            &arena,
            &[0x80, version, b'N', b'.'],
            &format!("protocol {version}"),
        );
    }
}

#[test]
fn unknown_opcodes() {
    let arena = Arena::new();
    let known = b"\x80\x95.NIJKMLFG\x8a\x8b\x88\x89VX\x8c\x8dBC\x8e\x96]lae)t\x85\x86\x87}dsu\x8f\
        \x90\x91(012pqr\x94ghjc\x93RioQPb\x81\x92\x82\x83\x84\x97\x98STU";
    let unknown = (0..=255).filter(|opcode| !known.contains(opcode));
    for opcode in unknown.step_by(stride()) {
        refused(
            &arena,
            &[opcode, b'N', b'.'],
            &format!("unknown opcode 0x{opcode:02x}"),
        );
    }
}

#[test]
fn pickles_cut_anywhere() {
    let arena = Arena::new();
    // [None, 1, 'ä', b'x', {1.5: ()}, {2}], of protocols 0 and 4.
    for pickle in [
        &b"(lp0\nNaI1\naV\xe4\np1\nac_codecs\nencode\np2\n(Vx\np3\nVlatin1\np4\ntp5\nRp6\na(dp7\n\
            F1.5\n(tsac__builtin__\nset\np8\n((lp9\nI2\natp10\nRp11\na."[..],
        b"\x80\x04\x95#\x00\x00\x00\x00\x00\x00\x00]\x94(NK\x01\x8c\x02\xc3\xa4\x94C\x01x\x94}\x94\
            G?\xf8\x00\x00\x00\x00\x00\x00)s\x8f\x94(K\x02\x90e.",
    ] {
        for end in (1..pickle.len()).step_by(stride()) {
            refused(&arena, &pickle[..end], "the pickle is cut");
        }
        // Whole, it is only of another type.
        refused(&arena, pickle, "invalid type: byte array");
    }
}

#[test]
fn pickles_that_are_not_of_this_type() {
    let arena = Arena::new();
    for pickle in [
        &b"N."[..],
        b"}.",
        b"}\x8c\x01xM\x00\x01s.",
        b"}\x8c\x01yK\x01s.",
        b"C\x01x.",
    ] {
        arena.malformed::<Raw<Point>>(PEERPY, &data("raw", pickle));
    }
    let twice = data("raw", b"}(\x8c\x01xK\x01\x8c\x01xK\x02u.");
    let words = arena.malformed::<Raw<Point>>(PEERPY, &twice);
    assert!(words.contains("duplicate field"), "{words}");
}

#[test]
fn pickles_nested_a_million_deep() {
    let arena = Arena::new();
    let lists = [
        b"]".repeat(MILLION),
        b"a".repeat(MILLION - 1),
        b".".to_vec(),
    ]
    .concat();
    let tuples = [b"N".to_vec(), b"\x85".repeat(MILLION), b".".to_vec()].concat();
    let dicts = [
        b"}N".repeat(MILLION),
        b"N".to_vec(),
        b"s".repeat(MILLION),
        b".".to_vec(),
    ]
    .concat();
    let keys = [
        b"}".repeat(MILLION),
        b"Ns".repeat(MILLION - 1),
        b".".to_vec(),
    ]
    .concat();
    // As deep as may be, on the stack of a reader's thread, in debug builds too.
    let deepest = [b"]".repeat(128), b"a".repeat(127), b".".to_vec()].concat();
    let (mut wire, conn) = Wire::accepted::<Raw<Value>>(&arena.bob, PEERPY);
    wire.write(&data("raw", &deepest));
    assert!(receive(&conn).is_array());
    let (mut wire, conn) = Wire::accepted::<Raw<Nested>>(&arena.bob, PEERPY);
    wire.write(&data("raw", &deepest));
    receive(&conn);
    for pickle in [lists, tuples] {
        refused(&arena, &pickle, "nested more than 128 deep");
        arena.malformed::<Raw<Nested>>(PEERPY, &data("raw", &pickle));
        arena.malformed::<Raw<u8>>(PEERPY, &data("raw", &pickle));
    }
    for pickle in [dicts, keys] {
        arena.malformed::<Raw<Value>>(PEERPY, &data("raw", &pickle));
    }
    refused(&arena, &b"(".repeat(MILLION), "the pickle is cut");
    refused(
        &arena,
        &[b"]".repeat(MILLION), b".".to_vec()].concat(),
        "more than one value",
    );
}

#[test]
fn pickles_that_double() {
    let arena = Arena::new();
    let doubled = |first: &[u8], again: &[u8]| [first, &again.repeat(30), b"."].concat();
    refused(
        &arena,
        &doubled(b"]", b"q\x000(h\x00h\x00l"),
        "become more than",
    );
    refused(&arena, &doubled(b"]", b"\x942\x86"), "become more than");
    refused(
        &arena,
        &doubled(b"\x8c\x01a", b"q\x000(h\x00h\x00l"),
        "become more than",
    );
    refused(&arena, b"\x80\x04]\x94h\x00a.", "contains itself");
    refused(&arena, b"\x80\x04]\x94(h\x00h\x00e.", "contains itself");
    // Where nobody wants it, it is passed over.
    let unwanted = doubled(b"]", b"q\x000(h\x00h\x00l");
    let unwanted = &unwanted[..unwanted.len() - 1];
    let beside = [b"}(\x8c\x01xK\x01\x8c\x01y", unwanted, b"u."].concat();
    let (mut wire, conn) = Wire::accepted::<Raw<Point>>(&arena.bob, PEERPY);
    wire.write(&data("raw", &beside));
    assert_eq!(receive(&conn).x, 1);
    arena.is_untouched();
}
