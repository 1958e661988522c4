use super::*;

fn hex<const N: usize>(text: &str) -> [u8; N] {
    let digits: String = text.split_whitespace().collect();
    assert_eq!(digits.len(), 2 * N);
    std::array::from_fn(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap())
}

/// A scalar below the order, as 64 bytes that are reduced to it.
fn wide(scalar: [u8; 32]) -> [u8; 64] {
    std::array::from_fn(|at| scalar.get(at).copied().unwrap_or(0))
}

/// The draft's own, of its appendix for ristretto255 and SHA-512.
#[test]
fn the_vectors_of_the_draft() {
    let session: [u8; 16] = hex("7e4b4791d6a8ef019b936c79fb7f2c57");
    let generator = generator(b"Password", b"oc\x0bB_responder\x0bA_initiator", &session);
    assert_eq!(
        generator.compress().to_bytes(),
        hex("a6fc82c3b8968fbb2e06fee81ca858586dea50d248f0c7ca6a18b0902a30b36b")
    );
    let of = |scalar| Share::of(&generator, Some(&wide(hex(scalar)))).unwrap();
    let a = of("da3d23700a9e5699258aef94dc060dfda5ebb61f02a5ea77fad53f4ff0976d08");
    let b = of("d2316b454718c35362d83d69df6320f38578ed5984651435e2949762d900b80d");
    assert_eq!(
        a.public,
        hex("d40fb265a7abeaee7939d91a585fe59f7053f982c296ec413c624c669308f87a")
    );
    assert_eq!(
        b.public,
        hex("08bcf6e9777a9c313a3db6daa510f2d398403319c2341bd506a92e672eb7e307")
    );
    let agreed: [u8; 32] = hex("e22b1ef7788f661478f3cddd4c600774fc0f41e6b711569190ff88fa0e607e09");
    assert_eq!(*a.agree(&element(&b.public).unwrap()), agreed);
    assert_eq!(*b.agree(&element(&a.public).unwrap()), agreed);
    let key = key(&session, &agreed, (&a.public, b"ADa"), (&b.public, b"ADb"));
    assert_eq!(
        *key,
        hex(
            "4c5469a16b2364c4b944ebc1a79e51d1674ad47db26e8718154f59faebfaa52d
             8346f30aa58377117eb20d527f2cbc5c76381f7fd372e89df8239f87f2e02ed1"
        )
    );
}

const SESSION: &[u8] = &[7; 32];

fn shares(passwords: &[&[u8]]) -> Vec<Share> {
    let share = |password: &&[u8]| Share::new(password, SESSION, None).unwrap();
    passwords.iter().map(share).collect()
}

fn said(shares: &[Share]) -> Vec<u8> {
    shares.iter().flat_map(|share| share.public).collect()
}

/// Which of Bob's passwords, these, comes to the key of one that asks with hers.
fn fits(bobs: &[&[u8]], alices: &[u8]) -> Vec<usize> {
    let shares = shares(bobs);
    let (answer, psk) = answer(alices, SESSION, &said(&shares), None).unwrap();
    assert_eq!(answer.len(), answer_len(shares.len()));
    let psks = unwrap(&shares, SESSION, &answer).unwrap();
    let numbered = psks.iter().enumerate();
    numbered
        .filter(|(_, other)| ***other == *psk)
        .map(|(number, _)| number)
        .collect()
}

#[test]
fn whoever_has_the_password_comes_to_the_same_key() {
    let passwords: Vec<[u8; 16]> = (0..8).map(|seed| [seed; 16]).collect();
    let all: Vec<&[u8]> = passwords.iter().map(|password| &password[..]).collect();
    for count in 1..=8 {
        for alices in 0..8 {
            let expected: &[usize] = if alices < count { &[alices] } else { &[] };
            assert_eq!(fits(&all[..count], all[alices]), expected);
        }
    }
    assert_eq!(fits(&[all[3], all[3]], all[3]), [0, 1]);
}

#[test]
fn another_session_leads_to_other_keys() {
    let shares = shares(&[b"the same"]);
    let (answer, psk) = answer(b"the same", &[8; 32], &said(&shares), None).unwrap();
    let psks = unwrap(&shares, SESSION, &answer).unwrap();
    assert_ne!(*psks[0], *psk);
}

#[test]
fn each_byte_of_the_answer_counts() {
    let shares = shares(&[b"one", b"two", b"three"]);
    let (right, psk) = answer(b"two", SESSION, &said(&shares), None).unwrap();
    for at in 0..right.len() {
        let mut wrong = right.clone();
        wrong[at] ^= 1 << (at % 8);
        // Her share may be none any more; what is left must not lead to her key.
        let psks = unwrap(&shares, SESSION, &wrong).unwrap_or_default();
        assert!(psks.iter().all(|other| **other != *psk), "byte {at}");
    }
    // And each of his shares.
    let said = said(&shares);
    for at in ELEMENT..2 * ELEMENT {
        let mut wrong = said.clone();
        wrong[at] ^= 1 << (at % 8);
        if let Ok((answer, psk)) = answer(b"two", SESSION, &wrong, None) {
            let psks = unwrap(&shares, SESSION, &answer).unwrap();
            assert!(psks.iter().all(|other| **other != *psk), "byte {at}");
        }
    }
}

/// RFC 9496 has these as encodings that are not to be decoded (appendix A.3), of each kind.
#[test]
fn what_is_no_element_is_refused() {
    let none = [
        // Written in another way.
        "00ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "f3ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        // Negative.
        "0100000000000000000000000000000000000000000000000000000000000000",
        "01ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "ed57ffd8c914fb201471d1c3d245ce3c746fcbe63a3679d51b6a516ebebe0e20",
        // No square.
        "26948d35ca62e643e26a83177332e6b6afeb9d08e4268b650f1f5bbd8d81d371",
        "4eac077a713c57b4f4397629a4145982c661f48044dd3f96427d40b147d9742f",
        // X25519's keys of a low order; another of them is the name of an element, of the group's own order.
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];
    let shares = shares(&[b"one", b"two"]);
    let refused = |bytes: [u8; 32]| {
        let mut said = said(&shares);
        said[ELEMENT..].copy_from_slice(&bytes);
        let alices = answer(b"one", SESSION, &said, None).map(drop).unwrap_err();
        let bytes = [&bytes[..], &[0; 64]].concat();
        let bobs = unwrap(&shares, SESSION, &bytes).map(drop).unwrap_err();
        assert_eq!(alices, bobs);
        bobs
    };
    for text in none {
        assert_eq!(refused(hex(text)), Broken::NoElement, "{text}");
    }
    assert_eq!(refused([0; 32]), Broken::Neutral);
    for cut in 0..ELEMENT {
        let cut = unwrap(&shares, SESSION, &[9; ELEMENT][..cut]);
        assert_eq!(cut.map(drop), Err(Broken::Forged));
    }
}

/// For tests of the handshake.
impl Share {
    pub fn again(&self) -> Share {
        Share {
            scalar: self.scalar.clone(),
            public: self.public,
        }
    }

    /// With the same scalar, of another password.
    pub fn of_word(&self, password: &[u8], session: &[u8]) -> Share {
        let generator = generator(password, CHANNEL, session);
        Share {
            scalar: self.scalar.clone(),
            public: (generator * **self.scalar).compress().to_bytes(),
        }
    }
}
