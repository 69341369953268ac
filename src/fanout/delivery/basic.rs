//! A quote with the fields of the Python connector only, and what one publication is in each of its
//! two forms. Owns that both are made once for all clients; knows no client.

use arrayvec::ArrayVec;

use crate::limits::SERIES_SPELLINGS_MAX;
use crate::wire::write_text_frame;

use crate::fanout::delivery::outbox::{FrameId, FramePool};
use crate::fanout::delivery::turn_buffer::{Part, TurnBuffer};
use crate::fanout::frame::FrameMeta;
use crate::fanout::series::Interest;

/// The basic form of the latest quote; empty where nobody wants it.
#[derive(Debug, Default)]
pub(crate) struct BasicFrame {
    payload: Vec<u8>,
    frame: Vec<u8>,
}

impl BasicFrame {
    /// Takes the basic fields of a quote, which is an object without its end.
    pub(crate) fn set(&mut self, fields: &[u8], is_wanted: bool) {
        self.frame.clear();
        if is_wanted {
            self.payload.clear();
            self.payload.extend_from_slice(fields);
            self.payload.push(b'}');
            write_text_frame(&mut self.frame, &self.payload);
        }
    }

    /// The frame.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.frame
    }
}

/// One publication in all its forms: the number of a form is [`Interest::form`].
pub(crate) type Forms<'a> = ArrayVec<Form<'a>, { 2 + 2 * SERIES_SPELLINGS_MAX }>;

/// One publication in one form: the same bytes for all who want that form.
#[derive(Debug)]
pub(crate) struct Form<'a> {
    pub(crate) bytes: &'a [u8],
    /// Whether few want it.
    is_apart: bool,
    /// Clients that were sent it.
    pub(crate) sent: usize,
    /// Where it stands in the run; the inner `None`: there was no room.
    part: Option<Option<Part>>,
    owed: Option<FrameId>,
}

impl<'a> Form<'a> {
    /// A form that nobody was sent yet.
    fn new(bytes: &'a [u8], is_apart: bool) -> Self {
        Self { bytes, is_apart, sent: 0, part: None, owed: None }
    }

    /// The whole form and the basic one, and both under each other name of the series.
    pub(crate) fn all(
        whole: &'a [u8],
        basic: &'a [u8],
        respelled: impl Iterator<Item = &'a [Vec<u8>; 2]>,
    ) -> Forms<'a> {
        let mut forms = Forms::new();
        forms.extend([Self::new(whole, false), Self::new(basic, true)]);
        forms.extend(respelled.flatten().map(|frame| Self::new(frame, true)));
        forms
    }

    /// Its place in the run, if there is room; put there for the first client.
    pub(crate) fn part(&mut self, run: &mut TurnBuffer) -> Option<Part> {
        *self.part.get_or_insert_with(|| match self.is_apart {
            false => run.push(self.bytes),
            true => run.push_basic(self.bytes),
        })
    }

    /// Its place among the frames owed; put there for the first client.
    pub(crate) fn owed(&mut self, frames: &mut FramePool, meta: FrameMeta) -> FrameId {
        *self.owed.get_or_insert_with(|| frames.insert(self.bytes, Some(meta)))
    }
}

/// Whether a quote is wanted with its basic fields only. A client that wants all of them by another
/// subscription gets all, once.
pub(crate) fn is_basic(interests: &[Interest], meta: &FrameMeta) -> bool {
    interests.iter().filter(|interest| interest.wants(meta)).all(|interest| interest.is_basic)
}
