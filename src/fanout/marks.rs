//! Interval ends, for clients that want them: how many series of a market closed, which did not,
//! and why. Owns when an interval ends: when its last series has closed, or [`MARK_PATIENCE`] after
//! the first.

use crate::clock::{MonoNs, Now, UnixMs};
use crate::fanout::protocol::candle_source::SeriesGroup;
use crate::fanout::protocol::messages::{Mark, write_mark};
use crate::fanout::series::Series;
use crate::fanout::{ClientId, Fanout, Timer};
use crate::limits::{MARK_ABSENT_MAX, MARK_PATIENCE};
use crate::market::{ClosedWindow, InstrumentId};

/// The subscriptions that want marks, and the state of each group of series.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    boards: Vec<Board>,
}

#[derive(Debug)]
struct Board {
    of: SeriesGroup,
    /// Client and subscription.
    wanted_by: Vec<(ClientId, u32)>,
    /// The window that is ending.
    ending: Option<Ending>,
    /// The newest window that was marked.
    marked: Option<UnixMs>,
}

#[derive(Clone, Copy, Debug)]
struct Ending {
    open_time: UnixMs,
    /// Number of series with nothing published for this window yet.
    awaited: usize,
    until: MonoNs,
}

impl Marks {
    /// Adds a subscription that wants the marks of its series.
    pub(crate) fn add(&mut self, of: SeriesGroup, client: ClientId, key: u32) {
        match self.boards.iter_mut().find(|board| board.of == of) {
            Some(board) => board.wanted_by.push((client, key)),
            None => {
                let wanted_by = vec![(client, key)];
                self.boards.push(Board { of, wanted_by, ending: None, marked: None });
            }
        }
    }

    /// Removes a subscription that has ended.
    pub(crate) fn remove(&mut self, client: ClientId, key: u32) {
        for board in &mut self.boards {
            board.wanted_by.retain(|&wanted| wanted != (client, key));
        }
        self.boards.retain(|board| !board.wanted_by.is_empty());
    }

    /// Returns whether no subscription wants marks.
    pub(crate) fn is_empty(&self) -> bool {
        self.boards.is_empty()
    }
}

impl Fanout {
    /// Notes that everything up to the newest window of `id` is published.
    pub(crate) fn advance_marks(&mut self, id: InstrumentId, open_time: UnixMs, now: Now) {
        let Some(of) = self.hub.group_of(id) else { return };
        let Some(at) = self.marks.boards.iter().position(|board| board.of == of) else { return };
        let board = &mut self.marks.boards[at];
        if board.marked >= Some(open_time) {
            return;
        }
        match &mut board.ending {
            Some(ending) if ending.open_time == open_time => {
                ending.awaited = ending.awaited.saturating_sub(1);
            }
            Some(ending) if ending.open_time > open_time => return,
            earlier => {
                let awaited = self.hub.count_behind(of, open_time);
                let until = now.mono.after(MARK_PATIENCE);
                let is_unmarked = earlier.replace(Ending { open_time, awaited, until });
                if let Some(unmarked) = is_unmarked {
                    self.mark(at, unmarked.open_time, now);
                }
                self.timers.push(std::cmp::Reverse((until, Timer::Marks)));
            }
        }
        let ending = self.marks.boards[at].ending;
        // Series may have begun or ended meanwhile: at zero they are counted again.
        if ending.is_some_and(|ending| ending.awaited == 0) {
            match self.hub.count_behind(of, open_time) {
                0 => self.end_mark(at, now),
                behind => {
                    let ending = &mut self.marks.boards[at].ending;
                    ending.iter_mut().for_each(|ending| ending.awaited = behind);
                }
            }
        }
    }

    /// Marks the windows with an expired wait.
    pub(crate) fn marks_timeout(&mut self, now: Now) {
        for at in 0..self.marks.boards.len() {
            let ending = self.marks.boards[at].ending;
            if ending.is_some_and(|ending| ending.until <= now.mono) {
                self.end_mark(at, now);
            }
        }
    }

    fn end_mark(&mut self, at: usize, now: Now) {
        if let Some(ending) = self.marks.boards[at].ending.take() {
            self.mark(at, ending.open_time, now);
        }
    }

    /// Sends every client that wants it how a window ended.
    fn mark(&mut self, at: usize, open_time: UnixMs, now: Now) {
        let board = &mut self.marks.boards[at];
        board.marked = board.marked.max(Some(open_time));
        let (of, mut clients) = (board.of, board.wanted_by.clone());
        clients.dedup_by_key(|(client, _)| *client);
        let mut mark = Mark { open_time, closed: 0, empty: 0, absent: Vec::new(), absent_count: 0 };
        for (symbol, stream) in self.hub.members(of, open_time) {
            match fate(stream, open_time) {
                Fate::Closed => mark.closed += 1,
                Fate::Empty => mark.empty += 1,
                Fate::Absent(why) => {
                    mark.absent_count += 1;
                    if mark.absent.len() < MARK_ABSENT_MAX {
                        mark.absent.push((symbol, why));
                    }
                }
            }
        }
        self.payload.clear();
        write_mark(&mut self.payload, of, &mark, now);
        for (client, _) in clients {
            self.send_payload(client);
            self.offer(client);
        }
    }
}

enum Fate {
    Closed,
    Empty,
    Absent(&'static str),
}

fn fate(stream: &Series, open_time: UnixMs) -> Fate {
    if stream.history.newest() < Some(open_time) {
        return Fate::Absent(if stream.is_lost() { "session_lost" } else { "not_received" });
    }
    match stream.history.at(open_time) {
        Some(ClosedWindow::Candle(_)) => Fate::Closed,
        Some(ClosedWindow::Empty { .. }) => Fate::Empty,
        None => Fate::Absent("gap"),
    }
}
