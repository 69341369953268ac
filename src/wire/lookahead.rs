//! Examines frames as they arrive, before the codec, which gets only whole frames. Finds where the
//! whole frames end, and whether the part of the next frame that has arrived already makes its
//! message invalid. Owns the bound on fragments and the early check of texts (RFC 6455, section
//! 8.1: at once, not at the end of the frame). The codec checks everything else about a frame.
//! Keeps no bytes.

use std::ops::Range;

/// The position in the stream of frames.
#[derive(Debug, Default)]
pub(super) struct Lookahead {
    /// The message that still lacks its last fragment.
    message: Option<Fragmented>,
    /// Payload bytes of the frame under way that were checked.
    checked: usize,
    /// The text of the message so far.
    text: PartialText,
    /// Payload bytes of the longest fragment since [`Self::forget_fragments`].
    longest_fragment: usize,
}

#[derive(Clone, Copy, Debug)]
struct Fragmented {
    is_text: bool,
    fragments: usize,
}

/// Why a message is invalid before it is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// A text that no further byte can make valid UTF-8. Close 1007.
    Text,
    /// More fragments than its size allows. Close 1009.
    Fragments,
}

impl Lookahead {
    /// Number of bytes at the front of `unread` that the codec gets: the whole frames. If the next
    /// frame is longer than `message_bytes_max`, the codec gets all bytes, and refuses the frame by
    /// its head.
    pub(super) fn whole_frames(&mut self, unread: &[u8], message_bytes_max: usize) -> usize {
        let mut whole = 0;
        while let Some(head) = Head::parse(&unread[whole..]) {
            if head.payload_bytes > message_bytes_max as u64 {
                return unread.len();
            }
            let payload_bytes = usize::try_from(head.payload_bytes).unwrap_or(usize::MAX);
            let payload_at = whole + head.bytes;
            let Some(payload) = unread[payload_at..].get(..payload_bytes) else { break };
            self.pass(&head, payload);
            whole = payload_at + payload_bytes;
        }
        whole
    }

    /// Where in `unread` the payload of its first frame is, if that is a whole text message from a
    /// server in the usual encoding. `None`: the codec must read it.
    pub(super) fn plain_text(
        &mut self,
        unread: &[u8],
        message_bytes_max: usize,
    ) -> Option<Range<usize>> {
        let head = Head::parse(unread)?;
        let payload_bytes = usize::try_from(head.payload_bytes).ok()?;
        let is_shortest = match head.bytes {
            2 => true,
            4 => payload_bytes >= 126,
            _ => false,
        };
        let is_plain = unread[0] == FINAL_TEXT && is_shortest && head.mask.is_none();
        if !is_plain || self.message.is_some() || payload_bytes > message_bytes_max {
            return None;
        }
        let range = head.bytes..head.bytes + payload_bytes;
        let payload = unread.get(range.clone())?;
        self.pass(&head, payload);
        Some(range)
    }

    /// Checks the incomplete frame at the front of `unread`, and its message. Called after the
    /// codec has got all whole frames.
    pub(super) fn judge(&mut self, unread: &[u8], message_bytes_max: usize) -> Result<(), Broken> {
        let fragments_max = message_bytes_max / FRAGMENT_BYTES_MEAN_MIN;
        if self.message.is_some_and(|message| message.fragments > fragments_max) {
            return Err(Broken::Fragments);
        }
        let Some(head) = Head::parse(unread).filter(|head| self.is_text(head)) else {
            return Ok(());
        };
        let payload = &unread[head.bytes..];
        let result = head.unmasked(payload, self.checked, |bytes| self.text.push(bytes));
        self.checked = payload.len();
        result.map_err(|()| Broken::Text)
    }

    /// A whole frame goes to the codec. Notes what matters for the next frames.
    fn pass(&mut self, head: &Head, payload: &[u8]) {
        let checked = std::mem::take(&mut self.checked);
        if head.is_control() {
            return;
        }
        if !head.is_final || self.message.is_some() {
            self.longest_fragment = self.longest_fragment.max(payload.len());
        }
        if head.is_final {
            self.message = None;
            self.text = PartialText::default();
            return;
        }
        if self.is_text(head) {
            // The codec reports what is wrong with a whole fragment.
            let _judged = head.unmasked(payload, checked, |bytes| self.text.push(bytes));
        }
        let is_text = self.is_text(head);
        let message = self.message.get_or_insert(Fragmented { is_text, fragments: 0 });
        message.fragments += 1;
    }

    /// Payload bytes of the longest fragment that the codec has got. Messages of one frame, and
    /// fragments of an incomplete message, do not count.
    pub(super) fn longest_fragment(&self) -> usize {
        if self.message.is_some() { 0 } else { self.longest_fragment }
    }

    /// Notes that the codec has freed the memory of the fragments.
    pub(super) fn forget_fragments(&mut self) {
        self.longest_fragment = 0;
    }

    fn is_text(&self, head: &Head) -> bool {
        match head.opcode {
            OPCODE_TEXT => true,
            OPCODE_CONTINUATION => self.message.is_some_and(|message| message.is_text),
            _ => false,
        }
    }
}

/// A frame's first byte: final, no reserved bit, text.
const FINAL_TEXT: u8 = 0x81;

/// A message may have one fragment for each of this number of bytes. Source: the smallest
/// fragments that the Autobahn suite cuts its largest messages into have 64.
const FRAGMENT_BYTES_MEAN_MIN: usize = 16;

/// The head of a frame. Source: RFC 6455, section 5.2.
struct Head {
    is_final: bool,
    opcode: u8,
    mask: Option<[u8; 4]>,
    payload_bytes: u64,
    /// Bytes of the head itself.
    bytes: usize,
}

const OPCODE_CONTINUATION: u8 = 0;
const OPCODE_TEXT: u8 = 1;

impl Head {
    /// `None`: the head is not complete.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (&[first, second], rest) = bytes.split_first_chunk()?;
        let (payload_bytes, length_bytes) = match second & 0x7F {
            126 => (u64::from(u16::from_be_bytes(*rest.first_chunk()?)), 2),
            127 => (u64::from_be_bytes(*rest.first_chunk()?), 8),
            short => (u64::from(short), 0),
        };
        let is_masked = second & 0x80 != 0;
        let mask = if is_masked { Some(*rest[length_bytes..].first_chunk()?) } else { None };
        Some(Self {
            is_final: first & 0x80 != 0,
            opcode: first & 0x0F,
            mask,
            payload_bytes,
            bytes: 2 + length_bytes + if is_masked { 4 } else { 0 },
        })
    }

    fn is_control(&self) -> bool {
        self.opcode & 0x08 != 0
    }

    /// Passes the payload after its first `skip` bytes to `take`, unmasked, piece by piece.
    fn unmasked(
        &self,
        payload: &[u8],
        skip: usize,
        mut take: impl FnMut(&[u8]) -> Result<(), ()>,
    ) -> Result<(), ()> {
        let mask = self.mask.unwrap_or_default();
        let mut chunk = [0; CHUNK_BYTES];
        let mut at = skip;
        for piece in payload[skip..].chunks(CHUNK_BYTES) {
            for (out, &byte) in chunk.iter_mut().zip(piece) {
                *out = byte ^ mask[at % mask.len()];
                at += 1;
            }
            take(&chunk[..piece.len()])?;
        }
        Ok(())
    }
}

const CHUNK_BYTES: usize = 512;

/// A text that arrives in pieces. Keeps the character that the last piece has cut in two.
#[derive(Debug, Default)]
struct PartialText {
    cut: [u8; 4],
    cut_bytes: usize,
}

impl PartialText {
    /// Takes the next piece. `Err`: the text cannot become UTF-8 any more. The next piece then
    /// begins a new text.
    fn push(&mut self, piece: &[u8]) -> Result<(), ()> {
        let result = self.take(piece);
        if result.is_err() {
            *self = Self::default();
        }
        result
    }

    fn take(&mut self, mut piece: &[u8]) -> Result<(), ()> {
        while let (1.., Some((&byte, rest))) = (self.cut_bytes, piece.split_first()) {
            self.cut[self.cut_bytes] = byte;
            self.cut_bytes += 1;
            piece = rest;
            if cut_of(&self.cut[..self.cut_bytes])?.is_none() {
                self.cut_bytes = 0;
            }
        }
        if let Some(cut) = cut_of(piece)? {
            self.cut[..cut.len()].copy_from_slice(cut);
            self.cut_bytes = cut.len();
        }
        Ok(())
    }
}

/// The character that the end of `bytes` cuts in two, one to three bytes; `None` if it cuts none.
fn cut_of(bytes: &[u8]) -> Result<Option<&[u8]>, ()> {
    match std::str::from_utf8(bytes) {
        Ok(_) => Ok(None),
        Err(error) if error.error_len().is_none() => Ok(Some(&bytes[error.valid_up_to()..])),
        Err(_) => Err(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAX: usize = 64 * 1024;

    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [7, 0, 255, 9];
        let mut out = vec![first, 0x80 | u8::try_from(payload.len()).unwrap()];
        out.extend(mask);
        out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        out
    }

    /// Feeds `bytes` one by one; where the first verdict fell, if one did.
    fn first_verdict(bytes: &[u8]) -> Option<(usize, Broken)> {
        let mut lookahead = Lookahead::default();
        let mut start = 0;
        for end in 1..=bytes.len() {
            start += lookahead.whole_frames(&bytes[start..end], MAX);
            if let Err(broken) = lookahead.judge(&bytes[start..end], MAX) {
                return Some((end, broken));
            }
        }
        None
    }

    #[test]
    fn a_text_is_broken_at_the_byte_that_breaks_it() {
        let text = "κόσμε".as_bytes();
        let breaking = [text, b"\xF4\x90", b"\x80\x80edited"].concat();
        let at = 6 + text.len() + 2;
        assert_eq!(first_verdict(&masked(0x81, &breaking)), Some((at, Broken::Text)));
        // The same over two fragments, with a ping between them.
        let (one, two) = breaking.split_at(3);
        let frames = [masked(0x01, one), masked(0x89, b"\xFF"), masked(0x80, two)].concat();
        assert_eq!(first_verdict(&frames), Some((at + 7 + 6, Broken::Text)));
    }

    #[test]
    fn what_is_no_text_is_not_read_as_one() {
        let frames = [masked(0x02, b"\xFF"), masked(0x80, b"\xFF"), masked(0x81, b"ok")].concat();
        assert_eq!(first_verdict(&frames), None);
        assert_eq!(first_verdict(&masked(0x82, b"\xFF\xFF")), None);
    }

    #[test]
    fn fragments_without_end_are_too_many_before_they_are_too_long() {
        let mut lookahead = Lookahead::default();
        let opening = masked(0x01, b"");
        assert_eq!(lookahead.whole_frames(&opening, MAX), opening.len());
        let more = masked(0x00, b"").repeat(MAX / FRAGMENT_BYTES_MEAN_MIN - 1);
        assert_eq!(lookahead.whole_frames(&more, MAX), more.len());
        assert_eq!(lookahead.judge(&[], MAX), Ok(()));
        lookahead.whole_frames(&masked(0x00, b""), MAX);
        assert_eq!(lookahead.judge(&[], MAX), Err(Broken::Fragments));
    }

    #[test]
    fn a_frame_that_is_too_long_goes_to_the_codec_at_its_head() {
        let head = [&[0x81, 0x80 | 127][..], &(1u64 << 40).to_be_bytes(), &[0; 4]].concat();
        let mut lookahead = Lookahead::default();
        assert_eq!(lookahead.whole_frames(&head[..13], MAX), 0);
        assert_eq!(lookahead.whole_frames(&head, MAX), head.len());
    }

    proptest! {
        #[test]
        fn texts_in_pieces_are_judged_as_the_whole(
            bytes in proptest::collection::vec(prop_oneof![
                0u8..=255, 0xC0u8..=0xF5, 0x80u8..=0xBF
            ], 0..12),
            cuts in proptest::collection::vec(0usize..12, 0..4),
        ) {
            let mut text = PartialText::default();
            let end = bytes.len();
            let mut cuts: Vec<usize> = cuts.iter().map(|&cut| cut.min(end)).collect();
            cuts.extend([0, end]);
            cuts.sort_unstable();
            let mut pieces = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]);
            let judged = pieces.try_for_each(|piece| text.push(piece));
            let whole = std::str::from_utf8(&bytes);
            let is_hopeless = whole.is_err_and(|error| error.error_len().is_some());
            prop_assert_eq!(judged.is_err(), is_hopeless);
            prop_assert_eq!(judged.is_ok() && text.cut_bytes == 0, whole.is_ok());
        }

        #[test]
        fn arbitrary_frames_never_panic(
            frames in proptest::collection::vec(
                (any::<u8>(), proptest::collection::vec(0x80u8..=0xFF, 0..9)), 0..20
            ),
            cut in any::<proptest::sample::Index>(),
        ) {
            let frames: Vec<u8> =
                frames.iter().flat_map(|(first, payload)| masked(*first, payload)).collect();
            first_verdict(&frames);
            let mut lookahead = Lookahead::default();
            let end = cut.index(frames.len() + 1);
            let whole = lookahead.whole_frames(&frames[..end], MAX);
            let _judged = lookahead.judge(&frames[whole..end], MAX);
        }
    }
}
