//! The names under which clients have asked for a series, where these are not ours: Hyperliquid's
//! coins as the Python connector spelled them, and OKX's contract types, which it did not look at.
//! Every message about the series carries its client's own. Owns how a name is put into a message;
//! what names mean is the market's to say.

use crate::wire::{text_frame_payload, write_text_frame};

use crate::fanout::protocol::encode::{Labels, Spelling};

/// The frames of the latest publication under the other names of its series, in both forms. Their
/// storage is kept.
#[derive(Debug, Default)]
pub(crate) struct Respelled {
    frames: Vec<[Vec<u8>; 2]>,
    payload: Vec<u8>,
    count: usize,
}

impl Respelled {
    /// Makes the frames of a message, `payload` and, where it is wanted, the frame `basic`.
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
