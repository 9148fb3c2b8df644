//! What happened: a bounded ring in memory. Events are not durable yet: a server that starts again begins with none.

use hyphae_api::v1::Event;
use std::collections::VecDeque;
use std::sync::Mutex;
use tokio::sync::watch;

/// Older ones are forgotten.
const EVENTS_MAX: usize = 10_000;
/// Longer texts are cut.
const TEXT_CHARS_MAX: usize = 2_000;

/// The ring.
pub(super) struct Events {
    ring: Mutex<Ring>,
    /// The number of the next event; wakes followers up.
    next: watch::Sender<u64>,
}

#[derive(Default)]
struct Ring {
    /// The number of the first event that is kept.
    first: u64,
    events: VecDeque<Event>,
}

impl Default for Events {
    fn default() -> Self {
        Self { ring: Mutex::default(), next: watch::Sender::new(0) }
    }
}

impl Events {
    pub(super) fn push(&self, mut event: Event) {
        if let Some((end, _)) = event.text.char_indices().nth(TEXT_CHARS_MAX) {
            event.text.truncate(end);
        }
        let next = {
            let mut ring = self.ring.lock().expect("nothing panics while it holds the lock");
            if ring.events.len() == EVENTS_MAX {
                ring.events.pop_front();
                ring.first += 1;
            }
            ring.events.push_back(event);
            ring.first + ring.events.len() as u64
        };
        self.next.send_replace(next);
    }

    /// Up to `max` events from this number on, and the number to go on with. Events that are forgotten are skipped.
    pub(super) fn from(&self, number: u64, max: usize) -> (Vec<Event>, u64) {
        let ring = self.ring.lock().expect("nothing panics while it holds the lock");
        let skip = usize::try_from(number.saturating_sub(ring.first)).unwrap_or(usize::MAX);
        let events: Vec<Event> = ring.events.iter().skip(skip).take(max).cloned().collect();
        let next = number.max(ring.first) + events.len() as u64;
        (events, next)
    }

    /// Changes when there are more.
    pub(super) fn more(&self) -> watch::Receiver<u64> {
        self.next.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: usize) -> Event {
        Event { text: number.to_string(), ..Event::default() }
    }

    #[test]
    fn the_ring_forgets_the_oldest_and_readers_go_on_behind_them() {
        let events = Events::default();
        for number in 0..EVENTS_MAX + 5 {
            events.push(event(number));
        }
        let (first, next) = events.from(0, 2);
        assert_eq!(first, [event(5), event(6)]);
        let (rest, end) = events.from(next, usize::MAX);
        assert_eq!((rest.len(), end), (EVENTS_MAX - 2, EVENTS_MAX as u64 + 5));
        assert_eq!(events.from(end, 1), (vec![], end));
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let events = Events::default();
        events.push(Event { text: "ü".repeat(TEXT_CHARS_MAX + 1), ..Event::default() });
        assert_eq!(events.from(0, 1).0[0].text.chars().count(), TEXT_CHARS_MAX);
    }
}
