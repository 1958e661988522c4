//! Pickles of Python with bytes changed: what both sides still read, they read alike.

use lanpeer::Dynamic;

use super::PEERPY;
use super::common::wire::{Wire, data};
use super::common::{peer, receive};
use super::dice::Dice;
use super::plain::Plain;
use super::python::{from_hex, hex, values};

#[test]
fn what_both_read_they_read_alike() {
    let Some(lines) = values(&["write", "7", "150"], String::new()) else {
        return;
    };
    let mut dice = Dice::new(1);
    let mut mutants = Vec::new();
    for line in &lines {
        let pickle = from_hex(line.split(' ').nth(1).expect("a pickle"));
        // Long ones are mostly text.
        if pickle.len() > 400 {
            continue;
        }
        for _ in 0..8 {
            let mut mutant = pickle.clone();
            for _ in 0..=dice.below(2) {
                let at = dice.below(mutant.len());
                match dice.below(4) {
                    0 => mutant[at] = dice.below(256) as u8,
                    1 => mutant[at] ^= 1 << dice.below(8),
                    2 => mutant.insert(at, pickle[dice.below(pickle.len())]),
                    _ => drop(mutant.remove(at)),
                }
                if mutant.is_empty() {
                    mutant = pickle.clone();
                }
            }
            mutants.push(mutant);
        }
    }
    let input = mutants.iter().map(|mutant| hex(mutant) + "\n").collect();
    let theirs = values(&["check"], input).expect("there is Python");
    assert_eq!(theirs.len(), mutants.len());
    let bob = peer();
    let (mut wire, conn) = Wire::accepted::<Dynamic>(&bob, PEERPY);
    let (mut read, mut compared, mut refused) = (0, 0, 0);
    for (mutant, theirs) in mutants.iter().zip(theirs) {
        wire.write(&data("raw", mutant));
        match receive(&conn).decode::<Plain>() {
            Ok(ours) => {
                read += 1;
                // Whether keys can be hashed, and which of equal ones count, is Python's concern;
                // so is the order of its sets.
                if theirs != "refused" && !theirs.contains(['{', '<']) {
                    compared += 1;
                    assert_eq!(ours.to_string(), theirs, "{}", hex(mutant));
                }
            }
            Err(_) => refused += 1,
        }
    }
    println!("{read} are still read, {compared} of them compared, {refused} refused");
    assert!(compared > 100 && refused > 100);
}
