//! Random moments, which a seed gives again.

use std::time::{Duration, SystemTime};

/// What happens at which moment.
pub(crate) struct Moments(u64);

impl Moments {
    /// Those of `CARDINAL_SEED`, or others each time.
    pub(crate) fn new() -> Moments {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let seed = std::env::var("CARDINAL_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or(now.as_nanos() as u64 | 1);
        println!("CARDINAL_SEED={seed}");
        Moments(seed)
    }

    /// Somewhere within `most`.
    pub(crate) fn next(&mut self, most: Duration) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        most.mul_f64((self.0 >> 11) as f64 / (1u64 << 53) as f64)
    }
}
