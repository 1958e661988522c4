//! A type for each direction: `Json<Out, In>` and `Raw<Out, In>`, the other side the other way round,
//! and what happens where it is not.

use std::sync::mpsc;

use crate::peers::*;
use lanpeer::{
    CloseReason, ConnectOptions, Connection, DataType, Dynamic, Encode, Format, Json, Message, Raw,
};
use serde::{Deserialize, Serialize};

/// What one side sends; it need not be able to receive it.
#[derive(Debug, Serialize)]
enum Order<'a> {
    Measure(&'a str),
    Stop,
}

/// The same as the other side receives it, which never sends it.
#[derive(Debug, PartialEq, Deserialize)]
enum Command {
    Measure(String),
    Stop,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Reading {
    place: String,
    celsius: f64,
}

fn reading(place: &str) -> Reading {
    Reading {
        place: place.to_owned(),
        celsius: 21.5,
    }
}

/// Commands one way, readings the other.
fn converse<A, B>(options: &ConnectOptions, data_type: DataType)
where
    A: Format<Item = Reading>,
    B: Format<Item = Command>,
    Order<'static>: Encode<A>,
    Reading: Encode<B>,
{
    let (alice, bob) = (peer(), peer());
    let (to_bob, to_alice) = link_as::<A, B>(options, &alice, &bob);
    assert_eq!(to_bob.data_type(), data_type);
    assert_eq!(to_alice.data_type(), data_type);
    for place in ["roof", "cellar"] {
        to_bob.send(&Order::Measure(place)).unwrap();
        assert_eq!(next(&to_alice), Command::Measure(place.to_owned()));
        to_alice.send(&reading(place)).unwrap();
        assert_eq!(next(&to_bob), reading(place));
    }
    to_bob.send(&Order::Stop).unwrap();
    to_bob.close().unwrap();
    assert_eq!(to_alice.iter().collect::<Vec<_>>(), [Command::Stop]);
    assert_eq!(ended(&to_alice), CloseReason::ClosedThere);
}

#[test]
fn each_direction_has_its_type() {
    test(|| {
        let options = ConnectOptions::new();
        converse::<Json<Order<'static>, Reading>, Json<Reading, Command>>(&options, DataType::Json);
        converse::<Raw<Order<'static>, Reading>, Raw<Reading, Command>>(&options, DataType::Raw);
    });
}

#[test]
fn one_name_is_both_directions() {
    test(|| {
        // The same type, not one that behaves so.
        let (_alice, _bob, to_bob, _to_alice) = pair::<Json<u32>>();
        let same: Connection<Json<u32, u32>> = to_bob;
        same.send(&1).unwrap();
        let (_alice, _bob, to_bob, _to_alice) = pair::<Raw<u32>>();
        let same: Connection<Raw<u32, u32>> = to_bob;
        same.send(&1).unwrap();
        assert_eq!(
            Json::<Order<'static>, Reading>::DATA_TYPE,
            Some(DataType::Json)
        );
        assert_eq!(Json::<String>::DATA_TYPE, Some(DataType::Json));
    });
}

#[test]
fn what_is_sent_may_be_borrowed() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        let (to_bob, to_alice) = link_as::<Json<String, Vec<u8>>, Json<Vec<u8>, String>>(
            &ConnectOptions::new(),
            &alice,
            &bob,
        );
        to_bob.send("text").unwrap();
        assert_eq!(next(&to_alice), "text");
        to_alice.send(&[1, 2][..]).unwrap();
        assert_eq!(next(&to_bob), [1, 2]);
    });
}

#[test]
fn handlers_receive_one_type_and_send_the_other() {
    test(|| {
        type Asks = Raw<Order<'static>, Reading>;
        type Answers = Raw<Reading, Command>;
        let (alice, bob) = (peer(), peer());
        let offers = bob.offers();
        let accepting = Call::start("accept_with", move || {
            let offer = offers.recv().expect("an offer");
            offer.accept_with::<Answers>(|conn, command| match command {
                Command::Measure(place) => conn.send(&reading(&place)).unwrap(),
                Command::Stop => conn.close().unwrap(),
            })
        });
        let (told, heard) = mpsc::channel();
        let to_bob = alice
            .connect_with::<Asks>(bob.local_addr(), move |_, reading| {
                told.send(reading).unwrap();
            })
            .unwrap();
        let _ = accepting.finish().unwrap();
        to_bob.send(&Order::Measure("roof")).unwrap();
        assert_eq!(heard.recv_timeout(SOON).unwrap(), reading("roof"));
        to_bob.send(&Order::Stop).unwrap();
        assert_eq!(ended(&to_bob), CloseReason::ClosedThere);
    });
}

#[test]
fn streams_and_loose_connections_too() {
    test(|| {
        let (alice, bob) = (peer(), peer());
        // Both are one byte as MessagePack.
        let options = ConnectOptions::new().stream_of(1);
        let (to_bob, to_alice) = link_as::<Raw<bool, u8>, Raw<u8, bool>>(&options, &alice, &bob);
        to_bob.send(&true).unwrap();
        assert!(next(&to_alice));
        to_alice.send(&7).unwrap();
        assert_eq!(next(&to_bob), 7);

        let options = ConnectOptions::new().strict(false);
        let (to_bob, to_alice) =
            link_as::<Json<Order<'static>, Reading>, Dynamic>(&options, &alice, &bob);
        to_bob.send(&Order::Stop).unwrap();
        assert_eq!(next(&to_alice).decode::<Command>().unwrap(), Command::Stop);
        to_alice
            .send(&Message::raw(&reading("roof")).unwrap())
            .unwrap();
        assert_eq!(next(&to_bob), reading("roof"));
    });
}

#[test]
fn broadcast_sends_the_first_type() {
    test(|| {
        type Asks = Json<Order<'static>, Reading>;
        let (alice, bob, carol) = (peer(), peer(), peer());
        let options = ConnectOptions::new();
        let (_to_bob, from_alice) = link_as::<Asks, Json<Reading, Command>>(&options, &alice, &bob);
        let (_to_carol, raw) =
            link_as::<Raw<u8, Reading>, Raw<Reading, u8>>(&options, &alice, &carol);
        let report = alice.broadcast::<Asks>(&Order::Stop).unwrap();
        assert_eq!(report.sent.len(), 1);
        assert_eq!(report.sent[0].peer_addr(), bob.local_addr());
        assert_eq!(next(&from_alice), Command::Stop);
        assert!(raw.try_recv().is_err());
    });
}

#[test]
fn the_wrong_order_in_another_program_ends_with_a_reason_that_names_both_types() {
    #[derive(Debug, Serialize, Deserialize)]
    struct Job {
        number: u32,
    }

    test(|| {
        let (alice, bob) = (peer(), peer());
        let options = ConnectOptions::new();
        // Both name what they send first as the other's.
        let (to_bob, to_alice) =
            link_as::<Json<Job, Reading>, Json<Job, Reading>>(&options, &alice, &bob);
        to_bob.send(&Job { number: 7 }).unwrap();
        assert!(to_alice.recv_timeout(SOON).is_err());
        let CloseReason::Malformed(text) = ended(&to_alice) else {
            panic!("{:?}", to_alice.close_reason());
        };
        assert!(
            text.starts_with("malformed json message: missing field `place`"),
            "{text}"
        );
        assert!(
            text.contains("; this side receives `behaviour::two_types::Reading` and sends `behaviour::two_types::"),
            "{text}"
        );
        assert!(text.ends_with("::Job`"), "{text}");

        let (to_bob, to_alice) =
            link_as::<Raw<Job, Reading>, Raw<Job, Reading>>(&options, &alice, &bob);
        to_bob.send(&Job { number: 7 }).unwrap();
        let CloseReason::Malformed(text) = ended(&to_alice) else {
            panic!("{:?}", to_alice.close_reason());
        };
        assert!(
            text.contains("this side receives `behaviour::two_types::Reading`"),
            "{text}"
        );

        // With one type there is no order, and nothing is said of it.
        let (to_bob, to_alice) = link_as::<Json<Job>, Json<Reading>>(&options, &alice, &bob);
        to_bob.send(&Job { number: 7 }).unwrap();
        let text = ended(&to_alice).to_string();
        assert!(!text.contains("this side"), "{text}");
    });
}
