//! Where channels lie when some places are left for zeros.

use super::super::tile::BLOCK;

/// Places in a row, each of a channel or of none: equal segments of channels, each filled up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places {
    segments: usize,
    /// Channels of a segment.
    channels: usize,
    /// Places of a segment.
    places: usize,
}

impl Places {
    /// One for each channel.
    pub(super) fn all(channels: usize) -> Places {
        Places { segments: 1, channels, places: channels }
    }

    /// Segments filled up to whole blocks.
    pub(super) fn in_blocks(channels: usize, segments: usize) -> Places {
        let channels = channels / segments.max(1);
        Places { segments, channels, places: channels.next_multiple_of(BLOCK) }
    }

    pub(super) fn len(self) -> usize {
        self.segments * self.places
    }

    /// The channel in a place.
    pub(super) fn get(self, at: usize) -> Option<usize> {
        if self.channels == self.places {
            return Some(at);
        }
        let (segment, at) = (at / self.places, at % self.places);
        (at < self.channels).then_some(segment * self.channels + at)
    }

    /// The channel in each place.
    pub(super) fn iter(self) -> impl ExactSizeIterator<Item = Option<usize>> {
        (0..self.len()).map(move |at| self.get(at))
    }
}
