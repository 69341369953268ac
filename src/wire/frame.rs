//! Whole frames as a server sends them: written once, sent to many. The codec reads frames.

/// The type of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// UTF-8.
    Text,
    /// Any bytes.
    Binary,
}

/// Appends `payload` as one unmasked text frame, as a server sends it.
pub fn write_text_frame(out: &mut Vec<u8>, payload: &[u8]) {
    write_frame(out, MessageKind::Text, payload);
}

/// Appends `payload` as one unmasked frame of a message of this `kind`, as a server sends it.
#[allow(clippy::cast_possible_truncation)]
pub fn write_frame(out: &mut Vec<u8>, kind: MessageKind, payload: &[u8]) {
    let first: u8 = match kind {
        MessageKind::Text => 0x81,
        MessageKind::Binary => 0x82,
    };
    match payload.len() {
        length @ ..126 => out.extend_from_slice(&[first, length as u8]),
        length @ ..65_536 => {
            out.extend_from_slice(&[first, 126]);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.extend_from_slice(&[first, 127]);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}

/// The payload of a frame that [`write_text_frame`] made.
///
/// # Panics
/// If `frame` is shorter than its head.
pub fn text_frame_payload(frame: &[u8]) -> &[u8] {
    let head = match frame[1] {
        ..126 => 2,
        126 => 4,
        _ => 10,
    };
    &frame[head..]
}
