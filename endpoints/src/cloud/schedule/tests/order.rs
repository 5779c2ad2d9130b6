//! The order on a virtual clock: costs are what the test says they are.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use tensorwire_protocol::Time;

use crate::cloud::schedule::Sizes;
use crate::cloud::schedule::queue::{AHEAD, BUSY, Group, Job, LaneId, Queue};

const MS: Duration = Duration::from_millis(1);

fn at(ms: u64) -> Time {
    Time::from_millis(ms)
}

fn job<T>(due: Time, item: T) -> Job<T> {
    Job {
        due: Some(due),
        group: None,
        item,
    }
}

/// Workers that take what the queue gives them, for as long as it costs.
struct World {
    queue: Queue<u64>,
    now: Time,
    workers: usize,
    /// What is at work: when it ends, and the lanes and costs of its parts.
    busy: Vec<(Time, Vec<(LaneId, Duration)>)>,
    cost: BTreeMap<LaneId, Duration>,
    /// In the order in which they began: when, and what.
    begun: Vec<(Time, LaneId, u64)>,
    served: BTreeMap<LaneId, Duration>,
}

impl World {
    fn new(workers: usize) -> Self {
        Self {
            queue: Queue::new(workers),
            now: at(0),
            workers,
            busy: vec![],
            cost: BTreeMap::new(),
            begun: vec![],
            served: BTreeMap::new(),
        }
    }

    fn open(&mut self, cost: Duration) -> LaneId {
        let id = self.queue.open();
        self.cost.insert(id, cost);
        self.served.insert(id, Duration::ZERO);
        id
    }

    /// Gives work to every free worker, and says what each got.
    fn begin(&mut self) -> Vec<Vec<(LaneId, u64)>> {
        let mut runs = vec![];
        while self.busy.len() < self.workers {
            let ready = self.queue.is_ready();
            let Some(run) = self.queue.next(self.now) else {
                assert!(!ready, "a worker is idle beside work");
                break;
            };
            let parts: Vec<_> = run.iter().map(|(id, _)| (*id, self.cost[id])).collect();
            let total: Duration = parts.iter().map(|(_, cost)| *cost).sum();
            for (id, item) in &run {
                let at_work = |(_, parts): &(Time, Vec<(LaneId, Duration)>)| {
                    parts.iter().any(|(lane, _)| lane == id)
                };
                assert!(!self.busy.iter().any(at_work), "two of a lane at once");
                self.begun.push((self.now, *id, *item));
            }
            self.busy.push((self.now + total, parts));
            runs.push(run);
        }
        runs
    }

    /// Lets the clock go on to the end of what ends first, or to `until`, and says whether it is there.
    fn pass(&mut self, until: Time) -> bool {
        self.busy.sort_by_key(|(end, _)| *end);
        match self.busy.first() {
            Some((end, _)) if *end <= until => {
                let (end, parts) = self.busy.remove(0);
                self.now = end;
                for (id, cost) in parts {
                    *self.served.get_mut(&id).unwrap() += cost;
                    self.queue.done(id, cost);
                }
                false
            }
            _ => {
                self.now = until;
                true
            }
        }
    }

    fn run_until(&mut self, until: Time) {
        loop {
            self.begin();
            if self.pass(until) {
                return;
            }
        }
    }
}

proptest! {
    /// Whatever comes when: all of it is done, once, in the order of its lane, and no worker is idle beside
    /// work (asserted as it runs).
    #[test]
    fn everything_is_done_once_in_the_order_of_its_session(
        workers in 1_usize..4,
        costs in prop::collection::vec(0_u32..30, 1..6),
        arrivals in prop::collection::vec((0_u64..400, 0_usize..6, 0_u64..300, any::<bool>()), 1..80),
        closed in prop::option::of((0_u64..400, 0_usize..6)),
    ) {
        let mut world = World::new(workers);
        let lanes: Vec<_> = costs.iter().map(|cost| world.open(MS * *cost)).collect();
        let mut arrivals = arrivals;
        arrivals.sort_by_key(|arrival| arrival.0);
        let group = Group { id: 7, sizes: Sizes::NONE.with(2).with(4) };
        let (mut pushed, mut left) = (vec![], 0);
        let mut closing = closed;
        for (number, (time, lane, due, grouped)) in arrivals.into_iter().enumerate() {
            if let Some((when, lane)) = closing.filter(|(when, _)| *when <= time) {
                world.run_until(at(when));
                left += world.queue.close(lanes[lane % lanes.len()]).len();
                closing = None;
            }
            world.run_until(at(time));
            let id = lanes[lane % lanes.len()];
            // A fifth costs nothing and goes first.
            let due = (due >= 60).then(|| at(time + due));
            let group = grouped.then_some(group);
            let item = number as u64;
            match world.queue.push(id, Job { due, group, item }) {
                Ok(()) => pushed.push((id, item)),
                Err(job) => prop_assert_eq!(job.item, item, "only a closed lane refuses"),
            }
        }
        world.run_until(at(100_000));
        prop_assert!(world.queue.is_idle());
        prop_assert_eq!(world.begun.len() + left, pushed.len());
        for lane in lanes {
            let of_lane = |items: &[(LaneId, u64)]| -> Vec<u64> {
                items.iter().filter(|(id, _)| *id == lane).map(|(_, item)| *item).collect()
            };
            let begun: Vec<_> = world.begun.iter().map(|(_, id, item)| (*id, *item)).collect();
            let (begun, pushed) = (of_lane(&begun), of_lane(&pushed));
            prop_assert_eq!(&pushed[..begun.len()], &begun[..]);
        }
    }

    /// While sessions are within their shares and can be served in time, deadlines alone decide.
    #[test]
    fn the_earliest_deadline_goes_first(
        cost in 1_u32..20,
        dues in prop::collection::vec(prop::collection::vec(0_u64..10_000, 1..=AHEAD as usize), 1..8),
    ) {
        let mut world = World::new(1);
        let mut expected = vec![];
        for mut dues in dues {
            let id = world.open(MS * cost);
            dues.sort_unstable();
            for due in dues {
                // Late enough for all of them.
                let due = 1_000_000 + due;
                world.queue.push(id, job(at(due), due)).unwrap();
                expected.push((due, id));
            }
        }
        expected.sort_unstable();
        world.run_until(at(1_000_000));
        let order: Vec<_> = world.begun.iter().map(|(_, id, due)| (*due, *id)).collect();
        prop_assert_eq!(order, expected);
    }

    /// Sessions that always have work are served for equal times, whatever their deadlines (the first one's
    /// have passed before it comes, the second one's are the earliest) and however slow their tensors.
    #[test]
    fn sessions_that_ask_for_too_much_get_equal_shares(
        workers in 1_u32..3,
        costs in prop::collection::vec(1_u32..40, 3..7),
        deadlines in prop::collection::vec(0_u32..500, 7),
    ) {
        // With as many workers as lanes, each has one to itself.
        let mut world = World::new(workers as usize);
        let lanes: Vec<_> = costs.iter().map(|cost| world.open(MS * *cost)).collect();
        let due = |lane: usize, now: Time| match lane {
            0 => at(0),
            1 => now + MS * 100_000,
            lane => now + MS * (200_000 + deadlines[lane]),
        };
        for (lane, id) in lanes.iter().enumerate() {
            for _ in 0..3 {
                world.queue.push(*id, job(due(lane, at(0)), 0)).unwrap();
            }
        }
        let largest = MS * *costs.iter().max().unwrap();
        let mut begun = 0;
        while world.now < at(4_000) {
            world.begin();
            // As many come as go.
            for (_, id, _) in world.begun.split_off(begun) {
                let lane = lanes.iter().position(|lane| *lane == id).unwrap();
                world.queue.push(id, job(due(lane, world.now), 0)).unwrap();
            }
            begun = world.begun.len();
            world.pass(at(4_000));
            // Nobody can be served for longer than the clock runs.
            let longest = world.served.values().max().unwrap();
            let least = world.served.values().min().unwrap();
            let ahead = largest * (AHEAD + 1);
            prop_assert!(*longest - *least <= ahead + largest, "{:?}", world.served);
        }
        let total: Duration = world.served.values().sum();
        prop_assert!(total + largest * workers >= MS * 4_000 * workers);
    }

    /// A session that asks for less than its share gets all of it, soon, beside others that bring as many
    /// tensors as they can with deadlines that are always earlier.
    #[test]
    fn a_modest_session_is_not_starved(
        greedy in 1_u32..6,
        cost in 1_u32..20,
        own in 1_u32..20,
        passed in any::<bool>(),
    ) {
        let mut world = World::new(1);
        let others: Vec<_> = (0..greedy).map(|_| world.open(MS * cost)).collect();
        let modest = world.open(MS * own);
        for id in &others {
            for _ in 0..400 {
                world.queue.push(*id, job(at(20_000), 0)).unwrap();
            }
        }
        // Half of its share.
        let interval = own * (greedy + 1) * 2;
        let bound = MS * cost * (AHEAD + 2) * greedy + MS * 2 * own;
        let mut sent = vec![];
        for item in 0..20 {
            let time = at(100) + MS * interval * item;
            if world.queue.waiting() < 60 {
                break;
            }
            world.run_until(time);
            let due = if passed { at(0) } else { at(1_000_000) };
            world.queue.push(modest, job(due, 1)).unwrap();
            sent.push(time);
        }
        world.run_until(at(1_000_000));
        let begun = world.begun.iter().filter(|(_, id, _)| *id == modest);
        let begun: Vec<Time> = begun.map(|(time, ..)| *time).collect();
        prop_assert_eq!(begun.len(), sent.len());
        for (sent, begun) in sent.iter().zip(&begun) {
            let queued = sent.as_micros() / 1_000;
            prop_assert!(*begun - *sent <= bound, "came at {queued} ms: {:?}", *begun - *sent);
        }
    }

    /// A run has the size of its group, one tensor of a lane, and only what a worker's part of the work is;
    /// and single ones go until the workers have been busy for a while.
    #[test]
    fn tensors_run_together_as_their_group_allows(
        workers in 1_usize..4,
        ready in prop::collection::vec((0_u64..3, 0_u64..1_000), 1..60),
    ) {
        let sizes = Sizes::NONE.with(2).with(4).with(8);
        let mut world = World::new(workers);
        let mut count: BTreeMap<u64, usize> = BTreeMap::new();
        let mut groups = BTreeMap::new();
        let mut begun = 0;
        for (group, due) in ready {
            let id = world.open(MS);
            groups.insert(id, group);
            *count.entry(group).or_default() += 1;
            let group = Group { id: group, sizes };
            let job = Job { due: Some(at(1_000_000 + due)), group: Some(group), item: due };
            world.queue.push(id, job).unwrap();
        }
        while !world.queue.is_idle() {
            for run in world.begin() {
                let group = groups[&run[0].0];
                prop_assert!(run.iter().all(|(id, _)| groups[id] == group));
                let of_group = count.get_mut(&group).unwrap();
                let part = of_group.div_ceil(workers);
                let size = if begun < BUSY { 1 } else { sizes.largest_within(part) };
                prop_assert_eq!(run.len(), size);
                *of_group -= run.len();
                begun += run.len();
                // The most urgent of the group, in their order.
                prop_assert!(run.is_sorted_by_key(|(id, due)| (*due, *id)));
            }
            world.pass(at(1_000_000));
        }
    }
}

#[test]
fn what_is_too_late_goes_after_what_is_not() {
    let mut world = World::new(1);
    let [late, timely, first] = [MS * 10; 3].map(|cost| world.open(cost));
    // Known costs.
    for id in [late, timely, first] {
        world.queue.push(id, job(at(500), 0)).unwrap();
    }
    world.run_until(at(100));
    world.begun.clear();
    world.queue.push(late, job(at(109), 1)).unwrap();
    world.queue.push(timely, job(at(130), 2)).unwrap();
    world.queue.push(first, job(at(120), 3)).unwrap();
    world.run_until(at(200));
    let order: Vec<_> = world.begun.iter().map(|(_, id, _)| *id).collect();
    assert_eq!(order, [first, timely, late]);
}

#[test]
fn a_run_does_not_make_its_first_late() {
    let sizes = Sizes::NONE.with(2).with(4);
    for (due, expected) in [(139, 2), (140, 4), (109, 4), (119, 1)] {
        let mut world = World::new(1);
        let lanes = [MS * 10; 4].map(|cost| world.open(cost));
        for id in lanes {
            world.queue.push(id, job(at(500), 0)).unwrap();
        }
        world.run_until(at(100));
        let other = world.open(Duration::ZERO);
        for _ in 0..BUSY {
            world.queue.push(other, job(at(100), 0)).unwrap();
            assert_eq!(world.queue.next(at(100)).unwrap(), [(other, 0)]);
            world.queue.done(other, Duration::ZERO);
        }
        for id in lanes {
            let due = if id == lanes[0] { due } else { 1_000 };
            let group = Some(Group { id: 1, sizes });
            let due = Some(at(due));
            world
                .queue
                .push(
                    id,
                    Job {
                        due,
                        group,
                        item: 0,
                    },
                )
                .unwrap();
        }
        let run = world.queue.next(at(100)).unwrap();
        assert_eq!(run.len(), expected, "due at {due} ms");
    }
}

#[test]
fn idle_times_are_no_credit() {
    let mut world = World::new(1);
    let [busy, idle] = [MS * 10; 2].map(|cost| world.open(cost));
    for _ in 0..50 {
        world.queue.push(busy, job(at(0), 0)).unwrap();
    }
    world.run_until(at(400));
    for _ in 0..50 {
        world.queue.push(idle, job(at(0), 0)).unwrap();
    }
    let before = world.served[&busy];
    world.run_until(at(400) + MS * 10 * (2 * AHEAD + 6));
    // Not all of it went to the one that came later.
    assert!(world.served[&busy] - before >= MS * 10 * 3);
    assert!(world.queue.served(idle) <= world.queue.served(busy) + MS * 10 * (AHEAD + 1));
}
