//! Interleaved rounds: everyone once, then everyone again, so that a machine that drifts (a
//! neighbor, a warming disk cache) drifts for all alike.

use crate::error::Failure;
use crate::note;

/// One contestant: its name, and a round of it, which returns its figure.
pub(crate) struct Contestant<'a> {
    name: &'static str,
    round: Box<dyn FnMut() -> Result<f64, Failure> + 'a>,
}

impl<'a> Contestant<'a> {
    /// A contestant of this name.
    pub(crate) fn new(
        name: &'static str,
        round: impl FnMut() -> Result<f64, Failure> + 'a,
    ) -> Self {
        Self {
            name,
            round: Box::new(round),
        }
    }

    /// Its name.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }
}

/// Runs `count` rounds, in each everyone once in turn. Returns each contestant's figures.
///
/// # Errors
/// The first [`Failure`].
pub(crate) fn interleave(
    figure: &str,
    count: usize,
    contestants: &mut [Contestant<'_>],
) -> Result<Vec<Vec<f64>>, Failure> {
    let mut figures = vec![Vec::with_capacity(count); contestants.len()];
    for round in 1..=count {
        for (contestant, figures) in contestants.iter_mut().zip(&mut figures) {
            note::progress(&format!(
                "{figure}: {}, round {round} of {count}",
                contestant.name
            ));
            figures.push((contestant.round)()?);
        }
    }
    note::done();
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn rounds_alternate() {
        let order = RefCell::new(Vec::new());
        let contestant = |name: &'static str, value: f64| {
            let order = &order;
            Contestant::new(name, move || {
                order.borrow_mut().push(name);
                Ok(value)
            })
        };
        let mut both = [contestant("a", 1.0), contestant("b", 2.0)];
        let figures = interleave("test", 2, &mut both).unwrap();
        assert_eq!(figures, [[1.0, 1.0], [2.0, 2.0]]);
        assert_eq!(*order.borrow(), ["a", "b", "a", "b"]);
    }
}
