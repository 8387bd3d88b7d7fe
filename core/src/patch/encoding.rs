//! Base64 in pieces, so that a piece which never changes is encoded only once.

use base64::{Engine, engine::general_purpose::STANDARD};

/// Base64 turns three bytes into four characters, so text can be encoded in pieces of whole units.
const UNIT: usize = 3;

/// Pads JSON to whole units with blanks, which JSON allows between any two tokens.
pub(super) fn pad(json: &mut Vec<u8>) {
    json.resize(json.len().next_multiple_of(UNIT), b' ');
}

/// Returns the length of this many bytes in base64.
pub(super) fn encoded_len(bytes: usize) -> usize {
    bytes.div_ceil(UNIT) * 4
}

/// Appends bytes in base64.
pub(super) fn push_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let from = out.len();
    out.resize(from + encoded_len(bytes.len()), 0);
    if let Some(room) = out.get_mut(from..) {
        // The room is exactly what it takes.
        let _ = STANDARD.encode_slice(bytes, room);
    }
}
