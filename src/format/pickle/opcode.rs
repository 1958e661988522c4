//! The opcodes, with the names that Python's pickletools gives them.

macro_rules! opcodes {
    ($($name:ident = $byte:expr),* $(,)?) => {
        $(pub(super) const $name: u8 = $byte;)*
    };
}

// Plain data: these are read.
opcodes! {
    PROTO = 0x80, FRAME = 0x95, STOP = b'.',
    NONE = b'N', NEWTRUE = 0x88, NEWFALSE = 0x89,
    INT = b'I', LONG = b'L', BININT = b'J', BININT1 = b'K', BININT2 = b'M', LONG1 = 0x8a,
    LONG4 = 0x8b, FLOAT = b'F', BINFLOAT = b'G',
    UNICODE = b'V', SHORT_BINUNICODE = 0x8c, BINUNICODE = b'X', BINUNICODE8 = 0x8d,
    SHORT_BINBYTES = b'C', BINBYTES = b'B', BINBYTES8 = 0x8e, BYTEARRAY8 = 0x96,
    EMPTY_LIST = b']', LIST = b'l', APPEND = b'a', APPENDS = b'e',
    EMPTY_TUPLE = b')', TUPLE = b't', TUPLE1 = 0x85, TUPLE2 = 0x86, TUPLE3 = 0x87,
    EMPTY_DICT = b'}', DICT = b'd', SETITEM = b's', SETITEMS = b'u',
    EMPTY_SET = 0x8f, ADDITEMS = 0x90, FROZENSET = 0x91,
    MARK = b'(', POP = b'0', POP_MARK = b'1', DUP = b'2',
    PUT = b'p', BINPUT = b'q', LONG_BINPUT = b'r', MEMOIZE = 0x94,
    GET = b'g', BINGET = b'h', LONG_BINGET = b'j',
    GLOBAL = b'c', STACK_GLOBAL = 0x93, REDUCE = b'R',
}

// Refused, whatever their arguments are.
opcodes! {
    INST = b'i', OBJ = b'o', NEWOBJ = 0x81, NEWOBJ_EX = 0x92, BUILD = b'b',
    EXT1 = 0x82, EXT2 = 0x83, EXT4 = 0x84, PERSID = b'P', BINPERSID = b'Q',
    NEXT_BUFFER = 0x97, READONLY_BUFFER = 0x98,
    STRING = b'S', BINSTRING = b'T', SHORT_BINSTRING = b'U',
}

/// An opcode that is refused: its name, and what it would do.
pub(super) fn refused(opcode: u8) -> Option<(&'static str, &'static str)> {
    const OBJECT: &str = "make an object";
    const REGISTERED: &str = "make an object of a registered kind";
    const ASK: &str = "ask the program for an object";
    const BUFFER: &str = "take a buffer that is not in the pickle";
    const PYTHON2: &str = "make a text of Python 2, whose encoding it does not say";
    Some(match opcode {
        INST => ("INST", OBJECT),
        OBJ => ("OBJ", OBJECT),
        NEWOBJ => ("NEWOBJ", OBJECT),
        NEWOBJ_EX => ("NEWOBJ_EX", OBJECT),
        BUILD => ("BUILD", "set the state of an object"),
        EXT1 => ("EXT1", REGISTERED),
        EXT2 => ("EXT2", REGISTERED),
        EXT4 => ("EXT4", REGISTERED),
        PERSID => ("PERSID", ASK),
        BINPERSID => ("BINPERSID", ASK),
        NEXT_BUFFER => ("NEXT_BUFFER", BUFFER),
        READONLY_BUFFER => ("READONLY_BUFFER", BUFFER),
        STRING => ("STRING", PYTHON2),
        BINSTRING => ("BINSTRING", PYTHON2),
        SHORT_BINSTRING => ("SHORT_BINSTRING", PYTHON2),
        _ => return None,
    })
}
