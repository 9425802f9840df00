//! Where channels lie when some places are left for zeros.

use crate::machine::BLOCK;

/// Places in a row, each of a channel or of none: equal segments of channels, each filled up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Places {
    segments: usize,
    /// Channels of a segment.
    channels: usize,
    /// Places of a segment.
    places: usize,
}

impl Places {
    /// One for each channel.
    pub(crate) fn all(channels: usize) -> Places {
        Places { segments: 1, channels, places: channels }
    }

    /// Segments filled up to whole blocks.
    pub(crate) fn in_blocks(channels: usize, segments: usize) -> Places {
        let channels = channels / segments.max(1);
        Places { segments, channels, places: channels.next_multiple_of(BLOCK) }
    }

    pub(crate) fn len(self) -> usize {
        self.segments * self.places
    }

    /// The channel in a place.
    pub(crate) fn get(self, at: usize) -> Option<usize> {
        if self.channels == self.places {
            return Some(at);
        }
        let (segment, at) = (at / self.places, at % self.places);
        (at < self.channels).then_some(segment * self.channels + at)
    }

    /// The channel in each place.
    pub(crate) fn iter(self) -> impl ExactSizeIterator<Item = Option<usize>> {
        (0..self.len()).map(move |at| self.get(at))
    }
}
