//! The order of backfills, where many clients share what an exchange allows one address. Clients
//! take turns; those that resume come before those that look back. Each client's part of a window
//! is bounded, so that a client that comes later is served too. Owns the order and the shares;
//! `backfill` owns the windows to fetch.

use std::collections::{HashMap, VecDeque};

use crate::clock::MonoNs;
use crate::feed::limits::budget::RESERVED_PART;
use crate::market::InstrumentId;
use crate::messages::Wish;

/// A wish for a series: the subject of one request.
pub(crate) type Turn = (InstrumentId, Wish);

/// The wishes that wait at one exchange.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    resuming: Line,
    others: Line,
    /// When each request of the newest window leaves the window, and its client; ascending.
    usage: VecDeque<(MonoNs, u32)>,
    /// Number of those requests of each client.
    counts: HashMap<u32, usize>,
    /// No waiting client has any of its share left before this time.
    until: MonoNs,
}

/// Clients in the order of their turns, each with its wishes.
#[derive(Debug, Default)]
struct Line {
    order: VecDeque<u32>,
    wishes: HashMap<u32, VecDeque<Turn>>,
}

impl Line {
    fn push(&mut self, turn: Turn) {
        let client = turn.1.client;
        let wishes = self.wishes.entry(client).or_default();
        if wishes.is_empty() {
            self.order.push_back(client);
        }
        wishes.push_back(turn);
    }

    /// Puts a wish before all others.
    fn put_back(&mut self, turn: Turn) {
        let client = turn.1.client;
        self.order.retain(|&other| other != client);
        self.order.push_front(client);
        self.wishes.entry(client).or_default().push_front(turn);
    }

    /// The next wish of the first client for which `may` holds. That client's next turn is last.
    fn pop(&mut self, may: impl Fn(u32) -> bool) -> Option<Turn> {
        let at = self.order.iter().position(|&client| may(client))?;
        let client = self.order.remove(at)?;
        let wishes = self.wishes.get_mut(&client)?;
        let turn = wishes.pop_front();
        match wishes.is_empty() {
            true => drop(self.wishes.remove(&client)),
            false => self.order.push_back(client),
        }
        turn
    }
}

impl Turns {
    /// Queues a wish.
    pub(crate) fn push(&mut self, turn: Turn) {
        self.line(turn.1).push(turn);
        self.until = MonoNs(0);
    }

    /// Puts back a wish that may not be fetched now, although it was its turn.
    pub(crate) fn put_back(&mut self, turn: Turn) {
        self.line(turn.1).put_back(turn);
        self.until = MonoNs(0);
    }

    fn line(&mut self, wish: Wish) -> &mut Line {
        if wish.resumes { &mut self.resuming } else { &mut self.others }
    }

    /// The next wish of a client that has some of its share left. `allowed` is the number of
    /// requests in a window for all new claims.
    pub(crate) fn pop(&mut self, allowed: usize, now: MonoNs) -> Option<Turn> {
        if self.until > now {
            return None;
        }
        self.forget_old(now);
        let Self { resuming, others, counts, usage, .. } = self;
        let may = |client: u32| {
            let own = counts.get(&client).copied().unwrap_or(0);
            let left = allowed.saturating_sub(usage.len() - own);
            own < left - left / RESERVED_PART
        };
        let turn = resuming.pop(may).or_else(|| others.pop(may));
        if let (None, Some(&(free_at, _))) = (turn, usage.front()) {
            self.until = free_at;
        }
        turn
    }

    /// Counts a request for `client`, which leaves the window at `free_at`.
    pub(crate) fn spend(&mut self, client: u32, free_at: MonoNs) {
        let is_newest = self.usage.back().is_none_or(|&(newest, _)| newest <= free_at);
        assert!(is_newest, "requests leave the window in the order in which they were sent");
        self.usage.push_back((free_at, client));
        *self.counts.entry(client).or_default() += 1;
    }

    fn forget_old(&mut self, now: MonoNs) {
        while let Some(&(_, client)) = self.usage.front().filter(|(free_at, _)| *free_at <= now) {
            self.usage.pop_front();
            if let Some(count) = self.counts.get_mut(&client) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&client);
                }
            }
        }
    }

    /// When the next waiting client may have a turn, as far as shares go; `None` if none waits.
    pub(crate) fn next_at(&self) -> Option<MonoNs> {
        let is_empty = self.resuming.order.is_empty() && self.others.order.is_empty();
        (!is_empty).then_some(self.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(client: u32, ticket: u64, resumes: bool) -> Turn {
        (InstrumentId(client), Wish { client, ticket, resumes })
    }

    /// The clients and tickets in the order of their turns, with `allowed` requests in a window of
    /// 60.
    fn all(turns: &mut Turns, allowed: usize, now: u64) -> Vec<(u32, u64)> {
        let next = || {
            let (_, wish) = turns.pop(allowed, MonoNs(now))?;
            turns.spend(wish.client, MonoNs(now + 60));
            Some((wish.client, wish.ticket))
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn clients_take_turns_and_those_that_resume_come_first() {
        let mut turns = Turns::default();
        (1..4).for_each(|ticket| turns.push(turn(7, ticket, false)));
        turns.push(turn(8, 4, false));
        turns.push(turn(9, 5, true));
        let first = turns.pop(90, MonoNs(1)).unwrap();
        assert_eq!(first.1.client, 9);
        turns.put_back(first);
        assert_eq!(all(&mut turns, 90, 1), [(9, 5), (7, 1), (8, 4), (7, 2), (7, 3)]);
        assert_eq!(turns.next_at(), None);
    }

    #[test]
    fn one_client_leaves_a_third_of_what_is_left_to_others() {
        let mut turns = Turns::default();
        (0..100).for_each(|ticket| turns.push(turn(1, ticket, true)));
        assert_eq!(all(&mut turns, 30, 1).len(), 20);
        assert_eq!(
            turns.next_at(),
            Some(MonoNs(61)),
            "it waits for its oldest to leave the window"
        );
        (0..100).for_each(|ticket| turns.push(turn(2, ticket, false)));
        assert_eq!(turns.next_at(), Some(MonoNs(0)), "another need not wait");
        assert_eq!(all(&mut turns, 30, 2).len(), 7);
        turns.push(turn(3, 0, false));
        assert_eq!(all(&mut turns, 30, 3), [(3, 0)]);
        assert_eq!(all(&mut turns, 30, 60), []);
        assert!(all(&mut turns, 30, 61).len() >= 15);
    }

    #[test]
    fn of_one_request_a_window_everybody_has_it_in_turn() {
        let mut turns = Turns::default();
        (0..2).for_each(|ticket| turns.push(turn(1, ticket, false)));
        turns.push(turn(2, 0, false));
        assert_eq!(all(&mut turns, 1, 1), [(1, 0)]);
        assert_eq!(all(&mut turns, 1, 61), [(2, 0)]);
        assert_eq!(all(&mut turns, 1, 121), [(1, 1)]);
    }
}
