//! Programs that try a dictionary on what they have seen of a handshake, as an attacker writes them. What
//! Argon2 makes of each word is in the dictionary already: it depends on nothing that a handshake has.

use super::*;

/// All that was said, and what the attacker has said himself in Bob's place.
struct Seen<'a> {
    keys: Keys,
    first: &'a [u8],
    second: &'a [u8],
    /// The private half of Bob's ephemeral key, if he was Bob.
    ephemeral: Option<[u8; 32]>,
    /// What he has made his shares with, if he was Bob.
    shares: Vec<Share>,
}

impl Seen<'_> {
    /// Would Bob take the second message, if this were the pre-shared key?
    fn opens_with(&self, psk: &[u8; 32]) -> bool {
        let answer = pake::answer_len((self.first.len() - PUBLIC - TAG) / ELEMENT);
        let (_, second) = self.second.split_at(answer);
        let (bobs, shares) = self.first.split_first_chunk().unwrap();
        let (alices, sealed) = second.split_first_chunk().unwrap();
        let mut state = Symmetric::new(pattern(self.keys), Suite::ChaCha, &[HELLO, ACCEPT]);
        state.mix_public(bobs);
        state.decrypt(shares).unwrap();
        state.mix_public(alices);
        match &self.ephemeral {
            Some(private) => {
                let agreed = Ephemeral::new(Some(private)).unwrap().agree(alices);
                state.mix_key(&agreed.unwrap()[..]);
            }
            // Who only listens does not know what the two have agreed on, whatever the secret is.
            None => state.mix_key(&[0; 32]),
        }
        state.mix_secret(psk);
        let sealed = if self.keys.alices {
            &sealed[..SEALED]
        } else {
            sealed
        };
        state.decrypt(sealed).is_ok()
    }

    /// The words that what was seen fits.
    fn dictionary(&self, words: &[Secret]) -> Vec<usize> {
        let mut state = Symmetric::new(pattern(self.keys), Suite::ChaCha, &[HELLO, ACCEPT]);
        state.mix_public(self.first.first_chunk().unwrap());
        let exchange = state.hash();
        let count = (self.first.len() - PUBLIC - TAG) / ELEMENT;
        let (answer, _) = self.second.split_at(pake::answer_len(count));
        let fits = |word: &Secret| {
            // The word itself, as where no exchange is made.
            let mut psks = vec![word.psk()];
            if count > 0 {
                // Shares of this word in place of those that were sent, with scalars that anybody can choose; and
                // with those that he has chosen, where he has.
                let mut scalars = [[0; 64], [1; 64]];
                scalars[0][0] = 1;
                let guessed = scalars
                    .iter()
                    .map(|scalar| Share::new(word.password(), &exchange, Some(scalar)).unwrap());
                for share in guessed {
                    let shares: Vec<_> = (0..count).map(|_| share.again()).collect();
                    psks.extend(pake::unwrap(&shares, &exchange, answer).unwrap());
                }
                for share in &self.shares {
                    let with_word = share.of_word(word.password(), &exchange);
                    let shares: Vec<_> = (0..count).map(|_| with_word.again()).collect();
                    psks.extend(pake::unwrap(&shares, &exchange, answer).unwrap());
                }
            }
            psks.iter().any(|psk| self.opens_with(psk))
        };
        let numbered = words.iter().enumerate();
        numbered
            .filter(|(_, word)| fits(word))
            .map(|(number, _)| number)
            .collect()
    }
}

/// The passphrases' own, and the same bytes as keys.
fn words() -> (Vec<Secret>, Vec<Secret>) {
    let passphrases: Vec<Secret> = P.iter().map(|text| text.parse().unwrap()).collect();
    let as_key = |number: usize| {
        let bytes: [u8; 16] = passphrases[number].password().try_into().unwrap();
        Secret::of_bytes(bytes)
    };
    let keys = (0..P.len()).map(as_key).collect();
    (passphrases, keys)
}

fn alone(secret: &Secret) -> Trust {
    let mut trust = trust(&[A]);
    trust.set(secret.clone());
    trust
}

/// Plays Bob to Alice, who has `secret`, with shares of these words; what is seen of it goes to `look`.
fn as_bob<T>(keys: Keys, secret: &Secret, words: &[Secret], look: impl FnOnce(Seen<'_>) -> T) -> T {
    let mut pretended = trust(&[A]);
    for (number, word) in words.iter().enumerate() {
        match number {
            0 => pretended.set(word.clone()),
            _ => pretended.accept(word.clone()),
        }
    }
    let ephemeral = [77; 32];
    let scalars: Vec<[u8; 64]> = (1..=8).map(|seed| [seed; 64]).collect();
    let fixed = Fixed {
        ephemeral,
        scalars,
        word: [0; 32],
    };
    let beginning = Beginning {
        suite: Suite::ChaCha,
        keys,
        passphrase: secret.is_passphrase(),
        hello: HELLO,
        accept: ACCEPT,
    };
    let (asked, first) = beginning.begin_with(&pretended, Some(&fixed)).unwrap();
    let alice = alone(secret);
    let joining = joining(Suite::ChaCha, keys, &alice, &pretended);
    let (second, _) = joining.answer(&first, b"who").unwrap_or_else(|_| panic!());
    look(Seen {
        keys,
        first: &first,
        second: &second,
        ephemeral: Some(ephemeral),
        shares: asked.shares,
    })
}

/// A false listener, to which Alice connects once. Where she proves a key, the whole dictionary can be tried
/// on what she has said, as it could where passphrases were proved like keys. Where she proves a passphrase,
/// only the word fits that he has bet on before.
#[test]
fn a_false_listener_has_nothing_to_try_a_dictionary_on() {
    let (passphrases, as_keys) = words();
    for keys in [NOBODY, keys(true, true)] {
        for right in [0, 5, 7] {
            let found = as_bob(keys, &as_keys[right], &as_keys[..1], |seen| {
                seen.dictionary(&as_keys)
            });
            assert_eq!(
                found,
                [right],
                "that the program finds what there is to find"
            );
            // With one share, and with more: as many bets as shares, and not one word beyond.
            for bets in (0..8)
                .map(|bet| bet..bet + 1)
                .chain((2..=8).map(|count| 0..count))
            {
                let found = as_bob(
                    keys,
                    &passphrases[right],
                    &passphrases[bets.clone()],
                    |seen| seen.dictionary(&passphrases),
                );
                let expected: &[usize] = if bets.contains(&right) { &[right] } else { &[] };
                assert_eq!(found, expected, "{right}, with a bet on {bets:?}");
            }
        }
    }
}

/// Who plays Alice to Bob hears his shares, and one word.
#[test]
fn a_false_client_has_one_guess_at_each() {
    let bob = trust(&P[..3]);
    let (passphrases, _) = words();
    for (number, word) in passphrases.iter().enumerate() {
        let (_, bob) = run(Suite::ChaCha, NOBODY, &alone(word), &bob, |_, _| ());
        assert_eq!(bob.is_ok(), number < 3);
    }
}

/// Who only listens sees the same, whatever the passphrase is: nothing of what was said fits one word more
/// than another.
#[test]
fn who_listens_has_nothing_to_try_a_dictionary_on() {
    let (passphrases, _) = words();
    for keys in [NOBODY, keys(true, true)] {
        for right in [0, 3] {
            let alice = alone(&passphrases[right]);
            let bob = trust(&P[..4]);
            let mut said = Vec::new();
            let (_, met) = run(Suite::ChaCha, keys, &alice, &bob, |_, bytes| {
                said.push(bytes.to_vec());
            });
            assert!(met.is_ok());
            let seen = Seen {
                keys,
                first: &said[0],
                second: &said[1],
                ephemeral: None,
                shares: Vec::new(),
            };
            let fit = seen.dictionary(&passphrases);
            println!(
                "{keys:?}, number {right} is right: of {} words {} fit",
                passphrases.len(),
                fit.len()
            );
            assert_eq!(fit, [0; 0]);
        }
    }
}

/// Neither kind is proved in the other's way, whoever asks for it.
#[test]
fn a_passphrase_is_not_proved_as_a_key() {
    let (passphrases, as_keys) = words();
    let (passphrase, key) = (alone(&passphrases[0]), alone(&as_keys[0]));
    for (alice, shares, bob) in [(&passphrase, 0, &key), (&key, 1, &passphrase)] {
        let beginning = Beginning {
            suite: Suite::Aes,
            keys: NOBODY,
            passphrase: shares > 0,
            hello: HELLO,
            accept: ACCEPT,
        };
        let (_, first) = beginning.begin(bob).unwrap_or_else(|_| panic!());
        for announced in [0, 1] {
            let joining = Joining {
                shares: announced,
                ..joining(Suite::Aes, NOBODY, alice, alice)
            };
            assert!(joining.answer(&first, b"").is_err(), "{shares} {announced}");
        }
    }
    assert!(passphrases[0].id() != as_keys[0].id());
}
