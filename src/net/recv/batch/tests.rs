use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const MAKE: Make<Vec<u8>> = Some(<[u8]>::to_vec);

/// What is done with a batch.
#[derive(Clone, Debug)]
enum Step {
    /// A decoded item.
    Item(u8),
    /// Plain messages of these sizes, with heads of so many bytes.
    Run(usize, Vec<usize>),
    /// So many are taken.
    Take(usize),
    /// The other batch is put behind this one; what follows goes into the other again.
    Append,
    Clear,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => any::<u8>().prop_map(Step::Item),
        3 => (0..3usize, prop::collection::vec(0..9usize, 0..5)).prop_map(|(n, all)| Step::Run(n, all)),
        4 => (0..7usize).prop_map(Step::Take),
        2 => Just(Step::Append),
        1 => Just(Step::Clear),
    ];
    prop::collection::vec(step, 0..40)
}

/// A queue of the plainest kind, and what its messages weigh.
#[derive(Default)]
struct Plain(VecDeque<Vec<u8>>);

impl Plain {
    fn amount(&self) -> Amount {
        let sizes = self.0.iter().map(|item| item.len() + size_of::<Vec<u8>>());
        Amount {
            messages: self.0.len(),
            bytes: sizes.sum(),
        }
    }
}

proptest! {
    #[test]
    fn what_goes_in_comes_out_in_order(steps in steps()) {
        let (mut front, mut fresh) = (Batch::default(), Batch::default());
        let (mut told, mut waiting) = (Plain::default(), Plain::default());
        let mut number = 0u8;
        for step in steps {
            match step {
                Step::Item(byte) => {
                    let item = vec![byte; 3];
                    fresh.push(item.clone(), item.len() + size_of::<Vec<u8>>());
                    waiting.0.push_back(item);
                }
                Step::Run(head, sizes) => {
                    let mut bytes = Vec::new();
                    let run = fresh.push_run(|spans| {
                        for size in &sizes {
                            number = number.wrapping_add(1);
                            spans.extend(Span::new(head, *size));
                            bytes.resize(bytes.len() + head, 0xff);
                            bytes.resize(bytes.len() + size, number);
                            waiting.0.push_back(vec![number; *size]);
                        }
                        &bytes
                    });
                    prop_assert_eq!(run.messages, sizes.len());
                }
                Step::Take(count) => {
                    for _ in 0..count {
                        let mut item = None;
                        let size = front.pop(MAKE, &mut item);
                        prop_assert_eq!(&item, &told.0.pop_front());
                        prop_assert_eq!(size, item.map(|item| item.len() + size_of::<Vec<u8>>()));
                    }
                }
                Step::Append => {
                    front.append(&mut fresh);
                    told.0.append(&mut waiting.0);
                    prop_assert_eq!(fresh.len(), 0);
                }
                Step::Clear => {
                    fresh.clear();
                    waiting.0.clear();
                }
            }
            prop_assert_eq!(front.amount(), told.amount());
            prop_assert_eq!(fresh.amount(), waiting.amount());
        }
    }
}
