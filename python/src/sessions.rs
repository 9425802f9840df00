//! Inferences of one program that run at the same time.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use cardinal_runtime::{Pool, Program, RunError, Session, cpu};

/// Sessions of one program and one pool, made when they are needed. No more inferences run at once than the
/// machine has threads: more would only take memory. Whoever comes later waits.
pub(crate) struct Sessions {
    program: Arc<Program>,
    pool: Arc<Pool>,
    most: usize,
    state: Mutex<State>,
    returned: Condvar,
}

#[derive(Default)]
struct State {
    idle: Vec<Session>,
    /// Sessions that there are, idle or not.
    made: usize,
}

impl Sessions {
    /// With one session, so that want of memory is known at once.
    pub(crate) fn new(program: Arc<Program>, pool: Arc<Pool>) -> Result<Sessions, RunError> {
        let first = Session::with_pool(Arc::clone(&program), Arc::clone(&pool))?;
        let most = cpu::available_threads().get();
        let state = Mutex::new(State { idle: vec![first], made: 1 });
        Ok(Sessions { program, pool, most, state, returned: Condvar::new() })
    }

    pub(crate) fn program(&self) -> &Arc<Program> {
        &self.program
    }

    pub(crate) fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// Runs one inference. Waits for a session where there are enough; not to be called with the GIL.
    pub(crate) fn run(&self, inputs: Vec<&[u8]>, outputs: Vec<&mut [u8]>) -> Result<(), RunError> {
        let mut session = self.take()?;
        let done = session.run_slices(inputs, outputs);
        self.lock().idle.push(session);
        self.returned.notify_one();
        done
    }

    fn take(&self) -> Result<Session, RunError> {
        let mut state = self.lock();
        loop {
            if let Some(session) = state.idle.pop() {
                return Ok(session);
            }
            if state.made < self.most {
                let (program, pool) = (Arc::clone(&self.program), Arc::clone(&self.pool));
                let session = Session::with_pool(program, pool)?;
                state.made += 1;
                return Ok(session);
            }
            state = self.returned.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
