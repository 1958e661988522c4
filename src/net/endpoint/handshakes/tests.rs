use super::*;
use crate::net::handshake::io::SLOW;

const MS: Duration = Duration::from_millis(1);
const EVIL: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 66);
const BOB: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

/// Those who were let in have their numbers as what they are.
struct Table {
    handshakes: Handshakes<u64>,
    next: u64,
    now: Instant,
}

impl Table {
    fn new(files: usize) -> Table {
        Table {
            handshakes: Handshakes::new(Some(files)),
            next: 0,
            now: Instant::now(),
        }
    }

    /// One more from there; who has to go for it. `Err`: there is no room.
    fn come(&mut self, ip: Ipv4Addr) -> Result<Option<u64>, Room<u64>> {
        let gone = match self.handshakes.room(ip, self.now, |_| false) {
            Room::Free => None,
            Room::Instead(id) => Some(id),
            none => return Err(none),
        };
        self.next += 1;
        let table = &mut self.handshakes;
        table.insert(self.next, self.next, ip, Stage::UnderWay, self.now);
        assert!(table.entries.len() <= table.most);
        Ok(gone)
    }

    fn come_and(&mut self, ip: Ipv4Addr, stage: Stage) -> u64 {
        assert!(self.come(ip).is_ok());
        self.handshakes.heard(self.next, self.now);
        self.handshakes.set_stage(self.next, stage, self.now);
        self.next
    }

    fn count(&self, ip: Ipv4Addr) -> usize {
        self.handshakes.count(|entry| entry.ip == ip)
    }
}

#[test]
fn the_bound_is_a_part_of_the_files() {
    for (files, most) in [
        (None, 256),
        (Some(usize::MAX), 256),
        (Some(1024), 256),
        (Some(256), 64),
        (Some(64), 16),
        (Some(10), 8),
    ] {
        assert_eq!(Handshakes::<()>::new(files).most(), most);
    }
}

#[test]
fn the_silent_ones_of_an_address_have_their_share_and_the_oldest_go() {
    let mut table = Table::new(1024);
    for number in 1..=1100 {
        let gone = table.come(EVIL).expect("room");
        assert_eq!(gone, (number > 32).then(|| number - 32));
        table.now += MUTE;
    }
    assert_eq!(table.count(EVIL), 32);
    assert_eq!(table.come(BOB), Ok(None));
}

#[test]
fn who_comes_in_one_moment_is_silent_soon() {
    let mut table = Table::new(1024);
    for _ in 0..256 {
        assert_eq!(table.come(EVIL), Ok(None));
    }
    // There is room at once for whoever may have more to say.
    assert_eq!(table.come(BOB), Ok(Some(1)));
    assert_eq!(table.come(EVIL), Ok(Some(2)));
    table.now += MUTE;
    assert_eq!(table.come(EVIL), Ok(Some(3)));
    // A thread that waits for one of them notices that there are too many.
    table.now += SLOW;
    let gone = table.handshakes.quiet(table.next, table.now, |_| false);
    assert_eq!((gone.len(), table.count(EVIL)), (255 - 32, 32));
    assert_eq!(table.count(BOB), 1);
}

#[test]
fn who_makes_progress_stays() {
    let mut table = Table::new(1024);
    let busy: Vec<u64> = (0..256)
        .map(|_| table.come_and(EVIL, Stage::UnderWay))
        .collect();
    for _ in 0..100 {
        table.now += SLOW - MS;
        busy.iter()
            .for_each(|id| table.handshakes.heard(*id, table.now));
        assert_eq!(table.come(EVIL), Err(Room::None));
    }
    assert_eq!(table.count(EVIL), 256);
    // Their threads have not run for long, which is not their fault.
    table.now += 100 * SLOW;
    assert_eq!(table.come(EVIL), Err(Room::None));
    let gone = busy.iter().flat_map(|id| {
        let (table, now) = (&mut table.handshakes, table.now);
        table.quiet(*id, now, |_| false)
    });
    assert_eq!(gone.count(), 256 - 32);
    assert!(matches!(table.come(EVIL), Ok(Some(_))));
}

/// What waits to be read has been said.
#[test]
fn who_waits_to_be_heard_stays() {
    let mut table = Table::new(1024);
    (0..256).for_each(|_| assert_eq!(table.come(EVIL), Ok(None)));
    table.now += 10 * MUTE;
    let (ip, now) = (EVIL, table.now);
    assert_eq!(table.handshakes.room(ip, now, |_| true), Room::None);
    let room = table.handshakes.room(ip, now, |id| *id != 7);
    assert_eq!(room, Room::Instead(7));
}

#[test]
fn offers_go_last_and_only_those_above_the_share() {
    let mut table = Table::new(1024);
    let first = table.come_and(EVIL, Stage::Offered);
    for _ in 1..255 {
        table.come_and(EVIL, Stage::Offered);
    }
    let silent = table.come_and(BOB, Stage::UnderWay);
    table.now += SLOW;
    let now = table.now;
    assert!(table.handshakes.quiet(silent, now, |_| false).is_empty());
    assert_eq!(
        table.come(BOB),
        Ok(Some(silent)),
        "its own, which is silent"
    );
    assert_eq!(table.come(BOB), Ok(Some(first)), "there is none");
    table.handshakes.set_stage(257, Stage::Offered, table.now);
    table.handshakes.set_stage(258, Stage::Offered, table.now);
    assert_eq!(table.come(EVIL), Err(Room::None), "it has more than enough");
    // Nobody has more than the share.
    let mut table = Table::new(64);
    for host in 0..16 {
        table.come_and(Ipv4Addr::new(10, 0, 1, host), Stage::Offered);
    }
    assert_eq!(table.come(BOB), Err(Room::None));
}

#[test]
fn who_was_told_no_goes_first_and_own_connections_do_not_count() {
    let mut table = Table::new(64);
    for id in 1000..1100 {
        let (table, now) = (&mut table.handshakes, table.now);
        table.insert(id, id, EVIL, Stage::Asking, now);
        assert_eq!(table.remove(id), Some(id));
        table.insert(id, id, EVIL, Stage::Asking, now);
    }
    table.handshakes.most += 100; // for what `come` looks at
    let told = table.come_and(EVIL, Stage::Leaving);
    let other = table.come_and(EVIL, Stage::Leaving);
    table.handshakes.most = 16;
    let gone = [table.handshakes.room(EVIL, table.now, |_| false), {
        table.handshakes.room(EVIL, table.now, |_| false)
    }];
    assert_eq!(gone, [Room::Instead(told), Room::Free]);
    assert!(table.handshakes.contains(other));
    table.now += 100 * SLOW;
    assert_eq!(table.count(EVIL), 101);
}
