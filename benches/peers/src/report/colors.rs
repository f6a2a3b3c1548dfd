//! One colour for each peer: ours strong, rivals of middle tones, yardsticks grey.

use plotters::style::RGBColor;

use crate::peers::PeerId;

/// The colour of a bar: of what kind the peer is.
pub(super) fn of_kind(peer: PeerId) -> RGBColor {
    match peer {
        PeerId::Threaded | PeerId::Coalescing => RGBColor(0xd9, 0x2b, 0x04),
        PeerId::Local | PeerId::LocalCoalescing => RGBColor(0xf2, 0x7a, 0x1a),
        peer if peer.is_global() => RGBColor(0xd3, 0xd6, 0xda),
        _ => RGBColor(0x8f, 0xa7, 0xbf),
    }
}

/// The colour of a line: the peer's own.
pub(super) fn of_peer(peer: PeerId) -> RGBColor {
    match peer {
        PeerId::Mimalloc => RGBColor(0x1f, 0x77, 0xb4),
        PeerId::JemallocArena => RGBColor(0x2c, 0xa0, 0x2c),
        PeerId::JemallocCached => RGBColor(0x98, 0xc3, 0x79),
        PeerId::RustyAlloc => RGBColor(0x8c, 0x56, 0x4b),
        PeerId::Dlmalloc => RGBColor(0x94, 0x67, 0xbd),
        PeerId::Rlsf => RGBColor(0x17, 0xbe, 0xcf),
        PeerId::Bumpalo => RGBColor(0xbc, 0xbd, 0x22),
        PeerId::System => RGBColor(0x7f, 0x7f, 0x7f),
        PeerId::MimallocGlobal => RGBColor(0xae, 0xc7, 0xe8),
        PeerId::JemallocGlobal => RGBColor(0xb5, 0xb5, 0xb5),
        ours => of_kind(ours),
    }
}
