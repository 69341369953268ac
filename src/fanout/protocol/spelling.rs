//! The spellings of a series that clients use, if they are not ours: Hyperliquid's coins as the
//! Python connector wrote them, and OKX's contract types, which it did not check. Every message
//! about the series carries the client's own spelling. Owns how a spelling is put into a message;
//! the market decides what a name means.

use crate::fanout::protocol::encode::{Labels, Spelling};
use crate::wire::{text_frame_payload, write_text_frame};

/// The frames of the latest publication under the other spellings of its series, in both forms.
/// Their storage is kept.
#[derive(Debug, Default)]
pub(crate) struct Respelled {
    frames: Vec<[Vec<u8>; 2]>,
    payload: Vec<u8>,
    count: usize,
}

impl Respelled {
    /// Makes the frames of a message: of `payload`, and of the frame `basic` if it is not empty.
    pub(crate) fn set<'a>(
        &mut self,
        labels: &Labels,
        spellings: impl Iterator<Item = Option<&'a Spelling>>,
        (payload, basic): (&[u8], &[u8]),
    ) {
        self.count = 0;
        for spelling in spellings {
            if self.count == self.frames.len() {
                self.frames.push(Default::default());
            }
            let frames = &mut self.frames[self.count];
            self.count += 1;
            let texts = [Some(payload), (!basic.is_empty()).then(|| text_frame_payload(basic))];
            for (frame, text) in frames.iter_mut().zip(texts) {
                frame.clear();
                let (Some(text), Some(spelling)) = (text, spelling) else { continue };
                self.payload.clear();
                self.payload.extend_from_slice(text);
                labels.respell(&mut self.payload, spelling);
                write_text_frame(frame, &self.payload);
            }
        }
    }

    /// The frames, by [`crate::fanout::series::Interest::spelling`] less one.
    pub(crate) fn frames(&self) -> impl Iterator<Item = &[Vec<u8>; 2]> {
        self.frames.iter().take(self.count)
    }
}
