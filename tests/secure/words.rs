//! Secrets that were made of passphrases, for tests and benches.

/// As `reveal` writes them. What Argon2 takes a fifth of a second for is done.
pub const WORDS: [&str; 8] = [
    "000G-40R4-0M30-E209-185G-R38E-1Y05",
    "208H-44RM-2MB1-E60S-38DH-R78Y-3YFQ",
    "40GJ-48S4-4MK2-EA19-58NJ-RB9E-5YT4",
    "60RK-4CSM-6MV3-EE1S-78XK-RF9Y-7YNP",
    "810M-4GT4-8N34-EJ29-995M-RKAE-9YV9",
    "A18N-4MTM-ANB5-EP2S-B9DN-RQAY-BYMV",
    "C1GP-4RV4-CNK6-ET39-D9NP-RVBE-DY18",
    "E1RQ-4WVM-ENV7-EY3S-F9XQ-RZBY-FYET",
];
