//! A bound on the bytes in flight between reader and writer.

use std::sync::{Condvar, Mutex};

/// Bytes that may be taken until some are given back.
pub(super) struct Budget {
    max_bytes: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    taken: usize,
    closed: bool,
}

impl Budget {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { max_bytes, state: Mutex::default(), changed: Condvar::new() }
    }

    /// Waits until `bytes` more fit; more than fit at all are taken when nothing else is. False once it is closed.
    pub(super) fn take(&self, bytes: usize) -> bool {
        let state = self.state.lock().expect(NO_PANIC);
        let full = |state: &mut State| !state.closed && state.taken > 0 && state.taken + bytes > self.max_bytes;
        let mut state = self.changed.wait_while(state, full).expect(NO_PANIC);
        state.taken += bytes;
        !state.closed
    }

    pub(super) fn give_back(&self, bytes: usize) {
        self.state.lock().expect(NO_PANIC).taken -= bytes;
        self.changed.notify_all();
    }

    /// Ends all waiting: nobody will give anything back any more.
    pub(super) fn close(&self) {
        self.state.lock().expect(NO_PANIC).closed = true;
        self.changed.notify_all();
    }
}

const NO_PANIC: &str = "no thread panics with the budget";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_taken_while_they_fit_and_any_number_alone() {
        let budget = Budget::new(10);
        assert!(budget.take(25));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| budget.take(4) && budget.take(6));
            std::thread::sleep(std::time::Duration::from_millis(20));
            assert!(!waiting.is_finished());
            budget.give_back(25);
            assert!(waiting.join().unwrap());
            let refused = scope.spawn(|| budget.take(1));
            std::thread::sleep(std::time::Duration::from_millis(20));
            assert!(!refused.is_finished());
            budget.close();
            assert!(!refused.join().unwrap());
        });
    }
}
