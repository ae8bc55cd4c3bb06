//! Random histories of the scheduler against a model of three plain queues.

use std::collections::{BTreeMap, VecDeque};

use ledger_core::event::Priority;
use proptest::prelude::*;

use super::super::decide::{MAX_LOST, retry};
use super::{World, exited, id, outcome};

/// Something that happens in a random history; the number picks whom it happens to.
#[derive(Debug, Clone, Copy)]
enum Happening {
    Submit(Priority),
    Dispatch,
    End(usize, i32),
    Lose(usize),
    Cancel(usize),
    Retry(usize),
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let priority = prop::sample::select(Priority::ALL.to_vec());
    let one = prop_oneof![
        4 => priority.prop_map(Happening::Submit),
        4 => Just(Happening::Dispatch),
        3 => (any::<usize>(), 0..2).prop_map(|(n, code)| Happening::End(n, code)),
        1 => any::<usize>().prop_map(Happening::Lose),
        1 => any::<usize>().prop_map(Happening::Cancel),
        1 => any::<usize>().prop_map(Happening::Retry),
    ];
    prop::collection::vec(one, 0..120)
}

/// Three plain queues and who runs: all that dispatch may depend on.
#[derive(Default)]
struct Model {
    queues: [VecDeque<String>; 3],
    running: Vec<String>,
    cancelling: Vec<String>,
    dead: Vec<String>,
    lost: BTreeMap<String, u32>,
    queue_of: BTreeMap<String, usize>,
}

impl Model {
    fn requeue(&mut self, task: String) {
        let queue = self.queue_of[&task];
        self.queues[queue].push_back(task);
    }

    fn open(&self) -> Vec<String> {
        [self.running.clone(), self.cancelling.clone()].concat()
    }

    fn close(&mut self, task: &str) {
        self.running.retain(|t| t != task);
        self.cancelling.retain(|t| t != task);
    }
}

fn pick(from: &[String], n: usize) -> Option<String> {
    (!from.is_empty()).then(|| from[n % from.len()].clone())
}

/// One happening in both; they must agree on what came of it.
fn step(world: &mut World, model: &mut Model, max_running: usize, what: Happening) {
    match what {
        Happening::Submit(priority) => {
            let task = format!("t{}", model.queue_of.len());
            world.submit(&task, priority);
            model
                .queue_of
                .insert(task.clone(), usize::from(priority.level()));
            model.requeue(task);
        }
        Happening::Dispatch => {
            let started = world.dispatch(max_running).map(|(task, _)| task);
            let room = model.open().len() < max_running;
            let expected = room
                .then(|| model.queues.iter_mut().find_map(VecDeque::pop_front))
                .flatten();
            assert_eq!(started, expected);
            model.running.extend(expected);
        }
        Happening::End(n, code) => {
            let Some(task) = pick(&model.open(), n) else {
                return;
            };
            world.end(&task, &outcome(exited(code), None));
            model.close(&task);
            if code != 0 {
                model.dead.push(task);
            }
        }
        Happening::Lose(n) => {
            let Some(task) = pick(&model.open(), n) else {
                return;
            };
            let unwanted = model.cancelling.contains(&task);
            world.lose(&task);
            model.close(&task);
            let times = model.lost.entry(task.clone()).or_default();
            if unwanted {
                return;
            }
            *times += 1;
            if *times > MAX_LOST {
                model.dead.push(task);
            } else {
                model.requeue(task);
            }
        }
        Happening::Cancel(n) => {
            let waiting: Vec<_> = model.queues.iter().flatten().cloned().collect();
            let Some(task) = pick(&[waiting, model.running.clone()].concat(), n) else {
                return;
            };
            world.cancel(&task).unwrap();
            if model.running.contains(&task) {
                model.close(&task);
                model.cancelling.push(task);
            } else {
                model
                    .queues
                    .iter_mut()
                    .for_each(|queue| queue.retain(|t| *t != task));
            }
        }
        Happening::Retry(n) => {
            let Some(task) = pick(&model.dead, n) else {
                return;
            };
            let decided = retry(&world.tasks, &id(&task)).unwrap();
            world.apply(decided);
            model.dead.retain(|t| *t != task);
            model.lost.remove(&task);
            model.requeue(task);
        }
    }
}

proptest! {
    #[test]
    fn dispatch_agrees_with_plain_queues(
        max_running in 1_usize..5,
        history in happenings(),
    ) {
        let (mut world, mut model) = (World::default(), Model::default());
        for what in history {
            step(&mut world, &mut model, max_running, what);
            prop_assert!(world.tasks.open_count() <= max_running);
            prop_assert_eq!(world.tasks.open_count(), model.open().len());
            for priority in Priority::ALL {
                let queue = &model.queues[usize::from(priority.level())];
                prop_assert_eq!(world.tasks.queued_count(priority), queue.len());
                let first = world.tasks.first_queued(priority).map(|t| t.id.to_string());
                prop_assert_eq!(first.as_ref(), queue.front());
            }
        }
        // Whatever waits is run in the end, queue by queue.
        let waiting: Vec<_> = model.queues.iter().flatten().cloned().collect();
        let mut order = Vec::new();
        for task in model.open() {
            world.end(&task, &outcome(exited(0), None));
        }
        while let Some((task, _)) = world.dispatch(1) {
            world.end(&task, &outcome(exited(0), None));
            order.push(task);
        }
        prop_assert_eq!(order, waiting);
    }
}
