//! A quote with only the fields of the Python connector, and the forms of one publication. Owns
//! that each form is made once for all clients; knows no client.

use arrayvec::ArrayVec;

use crate::fanout::delivery::outbox::{FrameId, FramePool};
use crate::fanout::delivery::turn_buffer::{Part, TurnBuffer};
use crate::fanout::frame::FrameMeta;
use crate::fanout::series::Interest;
use crate::limits::SERIES_SPELLINGS_MAX;
use crate::wire::write_text_frame;

/// The basic form of the latest quote; empty if no client wants it.
#[derive(Debug, Default)]
pub(crate) struct BasicFrame {
    payload: Vec<u8>,
    frame: Vec<u8>,
}

impl BasicFrame {
    /// Takes the basic fields of a quote: an object without its closing brace.
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

/// One publication in one form: the same bytes for every client that wants that form.
#[derive(Debug)]
pub(crate) struct Form<'a> {
    pub(crate) bytes: &'a [u8],
    /// Whether few clients want it.
    is_apart: bool,
    /// Number of clients that it was sent to.
    pub(crate) sent: usize,
    /// Its place in the turn's buffer; the inner `None`: there was no room.
    part: Option<Option<Part>>,
    owed: Option<FrameId>,
}

impl<'a> Form<'a> {
    /// A form that was sent to no client yet.
    fn new(bytes: &'a [u8], is_apart: bool) -> Self {
        Self { bytes, is_apart, sent: 0, part: None, owed: None }
    }

    /// The whole form and the basic one, and both under each other spelling of the series.
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

    /// Its place in the turn's buffer, if there is room. The first client has it put there.
    pub(crate) fn part(&mut self, turn: &mut TurnBuffer) -> Option<Part> {
        *self.part.get_or_insert_with(|| match self.is_apart {
            false => turn.push(self.bytes),
            true => turn.push_basic(self.bytes),
        })
    }

    /// Its place among the owed frames. The first client has it put there.
    pub(crate) fn owed(&mut self, frames: &mut FramePool, meta: FrameMeta) -> FrameId {
        *self.owed.get_or_insert_with(|| frames.insert(self.bytes, Some(meta)))
    }
}

/// Returns whether a client gets the basic form of a quote. A client that wants the whole form by
/// another subscription gets that, once.
pub(crate) fn is_basic(interests: &[Interest], meta: &FrameMeta) -> bool {
    interests.iter().filter(|interest| interest.wants(meta)).all(|interest| interest.is_basic)
}
