//! Memory that knows where it ends.

/// Regions at addresses of their own. Nothing is anywhere else.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Memory {
    /// In no order; none of them overlap.
    pub regions: Vec<Region>,
}

/// A range of memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// What it is called in errors.
    pub name: &'static str,
    /// Of its first byte.
    pub address: u64,
    /// What it holds.
    pub bytes: Vec<u8>,
    /// What may be done with it.
    pub permission: Permission,
}

/// What may be done with a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// Read it.
    Read,
    /// Read and write it.
    ReadWrite,
}

/// What an instruction does with memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AccessKind {
    /// Reads bytes.
    Read,
    /// Writes bytes.
    Write,
    /// Brings the line of an address into the first-level cache.
    PrefetchT0,
    /// Brings it into the second-level cache.
    PrefetchT1,
    /// Brings it into the cache to be written.
    PrefetchWrite,
}

/// An access to memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// What is done.
    pub kind: AccessKind,
    /// The first byte.
    pub address: u64,
    /// How many bytes; 0 for a prefetch, which is of whatever line it is.
    pub bytes: usize,
}

/// An access that is not allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misuse {
    /// Not all of it is in one region; the nearest one is named.
    #[error("{:?} of {} bytes at {:#x}, {from} bytes from the start of {near}", .access.kind, .access.bytes, .access.address)]
    Outside {
        /// The access.
        access: Access,
        /// The region that it is nearest to, and its length.
        near: String,
        /// The distance from that region's start.
        from: i128,
    },
    /// A write to what may only be read.
    #[error("{} bytes are written at {:#x}, in `{region}`, which may only be read", .access.bytes, .access.address)]
    ReadOnly {
        /// The access.
        access: Access,
        /// The region's name.
        region: &'static str,
    },
    /// Elements lie at multiples of their size.
    #[error("{:?} at {:#x}, which is no place of an element", .0.kind, .0.address)]
    Unaligned(Access),
}

/// Bytes of an element.
pub(super) const ELEMENT: usize = 4;

impl Region {
    /// One with these elements.
    pub fn of(
        name: &'static str,
        address: u64,
        elements: &[f32],
        permission: Permission,
    ) -> Region {
        let bytes = elements.iter().flat_map(|x| x.to_le_bytes()).collect();
        Region { name, address, bytes, permission }
    }

    /// Its elements.
    pub fn elements(&self) -> Vec<f32> {
        let (elements, _) = self.bytes.as_chunks::<ELEMENT>();
        elements.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    }

    /// The distance from its start.
    fn distance(&self, address: u64) -> i128 {
        i128::from(address) - i128::from(self.address)
    }

    /// How far an address is from any byte of it.
    fn apart(&self, address: u64) -> u128 {
        let from = self.distance(address);
        from.abs_diff(from.clamp(0, self.bytes.len() as i128))
    }
}

impl Memory {
    /// The bytes that an access reads.
    pub(super) fn read(&self, access: Access) -> Result<&[u8], Misuse> {
        let (region, at) = self.find(access)?;
        Ok(&self.regions[region].bytes[at..][..access.bytes])
    }

    /// The bytes that an access writes.
    pub(super) fn write(&mut self, access: Access) -> Result<&mut [u8], Misuse> {
        let (region, at) = self.find(access)?;
        let region = &mut self.regions[region];
        match region.permission {
            Permission::Read => Err(Misuse::ReadOnly { access, region: region.name }),
            Permission::ReadWrite => Ok(&mut region.bytes[at..][..access.bytes]),
        }
    }

    /// The region that an access is in, and where in it.
    fn find(&self, access: Access) -> Result<(usize, usize), Misuse> {
        if !access.address.is_multiple_of(ELEMENT as u64) {
            return Err(Misuse::Unaligned(access));
        }
        let inside = |region: &Region| {
            let at = usize::try_from(access.address.checked_sub(region.address)?).ok()?;
            (at.checked_add(access.bytes)? <= region.bytes.len()).then_some(at)
        };
        let mut all = self.regions.iter().enumerate();
        all.find_map(|(i, region)| Some((i, inside(region)?))).ok_or_else(|| self.outside(access))
    }

    fn outside(&self, access: Access) -> Misuse {
        let nearest = self.regions.iter().min_by_key(|region| region.apart(access.address));
        let (near, from) = match nearest {
            Some(r) => {
                let near = format!("`{}`, which has {}", r.name, r.bytes.len());
                (near, r.distance(access.address))
            }
            None => ("memory, which is empty".into(), i128::from(access.address)),
        };
        Misuse::Outside { access, near, from }
    }
}
