#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lanpeer::fuzz::passphrase(data));
