//! Whether a JPEG is all there, and one as cameras and programs write them.
//!
//! Its decoder shows as much as it can, as browsers do: what is missing within a scan becomes grey,
//! without a word. A JPEG has no checksum either. But its structure tells: segments say how long they
//! are, the data of a scan go on to the next marker, restart markers can be counted, every block takes
//! some bits, and the last marker says that this is the end. And what nobody writes does not reach the
//! decoder. Sections and tables are those of ITU-T T.81.

/// Markers of table B.1, each after a byte 0xff.
const EOI: u8 = 0xd9;
const SOS: u8 = 0xda;
const DRI: u8 = 0xdd;
/// Baseline and extended sequential frames, and progressive ones, in Huffman codes.
const SEQUENTIAL: [u8; 2] = [0xc0, 0xc1];
const PROGRESSIVE: u8 = 0xc2;
/// Bytes of a length.
const LENGTH: usize = 2;

/// What was looked at: the image's size in pixels, and how its components are sampled, each across and down.
#[derive(Debug, PartialEq)]
pub(super) struct Shape {
    pub(super) size: [usize; 2],
    pub(super) sampling: Vec<[usize; 2]>,
}

/// Checks that nothing is missing; the error says what is.
pub(super) fn check(bytes: &[u8]) -> Result<Shape, String> {
    let mut reader = Reader { rest: bytes };
    let mut frame = Frame::default();
    let mut scans = 0;
    loop {
        match reader.marker()? {
            EOI if scans == 0 => return Err("it has no image data".into()),
            EOI => return Ok(frame.shape()),
            SOS if frame.components.is_empty() => {
                return Err("its data come before its frame".into());
            }
            SOS => {
                let header = reader.segment()?;
                scans += 1;
                frame.check(header, &reader.scan())?;
            }
            DRI => frame.interval = reader.segment()?.first_chunk().map_or(0, |n| number(*n)),
            kind if SEQUENTIAL.contains(&kind) || kind == PROGRESSIVE => {
                frame.read(reader.segment()?, kind == PROGRESSIVE)?;
            }
            kind @ (0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf) => {
                return Err(format!(
                    "it is coded in a way (SOF{}) that is not read: baseline, sequential and progressive \
                 JPEG in Huffman codes are; save it as one of these, or as PNG",
                    kind - 0xc0
                ));
            }
            // Markers that stand alone.
            0x01 | 0xd0..=0xd8 => {}
            _ => drop(reader.segment()?),
        }
    }
}

fn cut_short() -> String {
    "it ends in the middle of the image: the file is cut short".into()
}

fn number(bytes: [u8; 2]) -> usize {
    usize::from(u16::from_be_bytes(bytes))
}

struct Reader<'a> {
    rest: &'a [u8],
}

/// What lies between two markers that are no restarts.
struct Scan {
    bytes: usize,
    restarts: usize,
}

impl<'a> Reader<'a> {
    /// The next marker. Whatever is before it belongs to nothing, and decoders skip it.
    fn marker(&mut self) -> Result<u8, String> {
        let is_marker = |pair: &[u8]| pair[0] == 0xff && !matches!(pair[1], 0x00 | 0xff);
        let at = self.rest.windows(2).position(is_marker).ok_or_else(cut_short)?;
        let kind = self.rest[at + 1];
        self.rest = &self.rest[at + 2..];
        Ok(kind)
    }

    /// What a marker segment holds after its length.
    fn segment(&mut self) -> Result<&'a [u8], String> {
        let length = number(*self.rest.first_chunk().ok_or_else(cut_short)?);
        let (segment, rest) = self.rest.split_at_checked(length).ok_or_else(cut_short)?;
        self.rest = rest;
        segment.get(LENGTH..).ok_or_else(|| "a segment has no length".into())
    }

    /// Skips the data of a scan, to the marker after it or to the end of the file.
    fn scan(&mut self) -> Scan {
        let mut scan = Scan { bytes: self.rest.len(), restarts: 0 };
        for (at, pair) in self.rest.windows(2).enumerate() {
            match pair {
                [0xff, 0xd0..=0xd7] => scan.restarts += 1,
                [0xff, 0x00 | 0xff] | [0x00..=0xfe, _] => {}
                [0xff, _] => {
                    scan.bytes = at;
                    break;
                }
                _ => {}
            }
        }
        self.rest = &self.rest[scan.bytes..];
        scan
    }
}

/// What the frame header says (B.2.2), and the restart interval, 0 without restarts.
#[derive(Default)]
struct Frame {
    progressive: bool,
    width: usize,
    height: usize,
    components: Vec<Component>,
    interval: usize,
}

#[derive(Clone, Copy)]
struct Component {
    id: u8,
    horizontal: usize,
    vertical: usize,
}

impl Frame {
    /// Reads a header, of the only frame that there is.
    fn read(&mut self, header: &[u8], progressive: bool) -> Result<(), String> {
        let [precision, h1, h0, w1, w0, _, components @ ..] = header else {
            return Err("its frame has no size".into());
        };
        if !self.components.is_empty() {
            return Err("it has more than one frame".into());
        }
        if *precision != 8 {
            return Err(format!("its samples have {precision} bits, and only those of 8 are read"));
        }
        let component = |c: &[u8; 3]| Component {
            id: c[0],
            horizontal: usize::from(c[1] >> 4),
            vertical: usize::from(c[1] & 15),
        };
        self.progressive = progressive;
        (self.width, self.height) = (number([*w1, *w0]), number([*h1, *h0]));
        if self.width == 0 || self.height == 0 {
            return Err(format!("it says that it has {}x{} pixels", self.width, self.height));
        }
        self.components = components.as_chunks().0.iter().map(component).collect();
        self.check_sampling()
    }

    fn shape(&self) -> Shape {
        let sampling = self.components.iter().map(|c| [c.horizontal, c.vertical]).collect();
        Shape { size: [self.width, self.height], sampling }
    }

    /// Whether it is grey, or of three or four components, of which the first is sampled as finely as any
    /// and the fourth as the first.
    fn check_sampling(&self) -> Result<(), String> {
        let sides = |c: &Component| [c.horizontal, c.vertical];
        let is_within = |c: &Component, first: &Component| {
            c.horizontal <= first.horizontal && c.vertical <= first.vertical
        };
        let is_usual = match self.components.as_slice() {
            [_] => true,
            [first, second, third, fourth @ ..] if fourth.len() <= 1 => {
                [second, third].iter().all(|c| is_within(c, first))
                    && fourth.iter().all(|c| sides(c) == sides(first))
            }
            _ => false,
        };
        if is_usual && self.components.iter().flat_map(sides).all(|n| matches!(n, 1 | 2 | 4)) {
            return Ok(());
        }
        let sampling = self.components.iter().map(|c| format!("{}x{}", c.horizontal, c.vertical));
        Err(format!(
            "its components are sampled in a way that is not read ({}); save it again, or as PNG",
            sampling.collect::<Vec<_>>().join(", ")
        ))
    }

    /// Checks that the data of a scan can be all of it.
    fn check(&self, header: &[u8], scan: &Scan) -> Result<(), String> {
        let (units, blocks) = self.size(header);
        let restarts = units.div_ceil(self.interval.max(1)).saturating_sub(1);
        let restarts = if self.interval == 0 { 0 } else { restarts };
        let least = (blocks * self.bits_of_block(header)).div_ceil(8);
        if scan.restarts < restarts || scan.bytes < least {
            return Err(format!(
                "a scan of {blocks} blocks has {} bytes and {} of {restarts} restarts: a part of it \
                 is missing",
                scan.bytes, scan.restarts
            ));
        }
        Ok(())
    }

    /// How many minimum coded units and blocks a scan has (A.2).
    fn size(&self, header: &[u8]) -> (usize, usize) {
        let listed = header.get(1..).unwrap_or_default().as_chunks::<2>().0;
        let count = header.first().map_or(0, |n| usize::from(*n)).min(listed.len());
        let ids: Vec<u8> = listed[..count].iter().map(|[id, _]| *id).collect();
        let most = |of: fn(&Component) -> usize| self.components.iter().map(of).max().unwrap_or(0);
        let (across, down) = (most(|c| c.horizontal).max(1), most(|c| c.vertical).max(1));
        let scanned = self.components.iter().filter(|c| ids.contains(&c.id));
        match scanned.copied().collect::<Vec<_>>().as_slice() {
            [c] => {
                let width = (self.width * c.horizontal).div_ceil(across);
                let height = (self.height * c.vertical).div_ceil(down);
                let blocks = width.div_ceil(8) * height.div_ceil(8);
                (blocks, blocks)
            }
            all => {
                let units = self.width.div_ceil(8 * across) * self.height.div_ceil(8 * down);
                (units, units * all.iter().map(|c| c.horizontal * c.vertical).sum::<usize>())
            }
        }
    }

    /// Bits that a block takes at least: one of its first coefficient, and in sequential frames one
    /// that says that the others are zero.
    fn bits_of_block(&self, header: &[u8]) -> usize {
        // After the components (B.2.3).
        let first = header.first().and_then(|n| header.get(1 + 2 * usize::from(*n)));
        match (self.progressive, first) {
            (false, _) => 2,
            (true, Some(0)) => 1,
            (true, _) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A grey image of 16 x 16 pixels: four blocks of two bits each.
    const GREY: [u8; 31] = [
        0xff, 0xd8, 0xff, 0xc0, 0, 11, 8, 0, 16, 0, 16, 1, 1, 0x11, 0, 0xff, 0xda, 0, 8, 1, 1, 0,
        0, 63, 0, 0x5a, 0xff, 0x00, 0xff, 0xff, EOI,
    ];

    #[test]
    fn every_beginning_of_an_image_is_refused() {
        check(&GREY).unwrap();
        for end in 0..GREY.len() {
            assert!(check(&GREY[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn scans_without_all_of_their_blocks_are_refused() {
        let cut = [&GREY[..25], &[0xff, EOI]].concat();
        assert!(check(&cut).unwrap_err().contains("4 blocks has 0 bytes"));
        let interval = [0xff, DRI, 0, 4, 0, 2];
        let restarting =
            |data: &[u8]| [&GREY[..2], &interval, &GREY[2..25], data, &[0xff, EOI]].concat();
        check(&restarting(&[0x5a, 0xff, 0xd0, 0x5a])).unwrap();
        let error = check(&restarting(&[0x5a, 0x5a])).unwrap_err();
        assert!(error.contains("0 of 1 restarts"), "{error}");
    }

    /// A frame of components that are sampled like this, of a kind and a precision.
    fn frame(kind: u8, precision: u8, sampling: &[u8]) -> Vec<u8> {
        let count = sampling.len() as u8;
        let mut frame = vec![0xff, kind, 0, 8 + 3 * count, precision, 0, 16, 0, 16, count];
        let components = (1..).zip(sampling).flat_map(|(id, sampling)| [id, *sampling, 0]);
        frame.extend(components);
        frame
    }

    /// What is said of an image that begins with these frames and has no more.
    fn said(frames: &[Vec<u8>]) -> String {
        check(&[&[0xff, 0xd8], frames.concat().as_slice(), &[0xff, EOI]].concat()).unwrap_err()
    }

    #[test]
    fn what_nobody_writes_does_not_reach_the_decoder() {
        let usual = "it has no image data";
        for sampling in [
            &[0x11][..],
            &[0x22],
            &[0x22, 0x11, 0x11],
            &[0x41, 0x11, 0x11],
            &[0x22, 0x11, 0x11, 0x22],
        ] {
            assert_eq!(said(&[frame(0xc0, 8, sampling)]), usual, "{sampling:x?}");
        }
        for sampling in [
            &[0x11, 0x22, 0x11][..],
            &[0x11, 0x11, 0x24, 0x11],
            &[0x22, 0x11, 0x11, 0x11],
            &[0x33, 0x11, 0x11],
            &[0x11, 0x11],
            &[0x01],
            &[0x10, 0x11, 0x11],
            &[],
        ] {
            let error = said(&[frame(0xc2, 8, sampling)]);
            assert!(error.contains("sampled in a way that is not read"), "{sampling:x?}: {error}");
        }
        let scan = vec![0xff, SOS, 0, 6, 0, 0, 63, 0];
        assert_eq!(said(&[scan]), "its data come before its frame");
        for [height, width] in [[0, 16], [16, 0]] {
            let mut empty = frame(0xc0, 8, &[0x11, 0x11, 0x11, 0x11]);
            (empty[6], empty[8]) = (height, width);
            assert!(said(&[empty]).contains(&format!("{width}x{height} pixels")));
        }
        assert!(said(&[frame(0xc1, 12, &[0x11])]).contains("12 bits"));
        assert!(said(&[frame(0xc0, 8, &[0x11]), frame(0xc0, 8, &[0x11])]).contains("one frame"));
        for (kind, name) in [(0xc3, "SOF3"), (0xc9, "SOF9"), (0xcf, "SOF15")] {
            assert!(said(&[frame(kind, 8, &[0x11])]).contains(name));
        }
    }
}
