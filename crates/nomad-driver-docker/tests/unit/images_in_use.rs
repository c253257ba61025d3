//! An image that is in use is never removed, whatever else happens.

use std::{collections::BTreeSet, time::Duration};

use fake_engine::{Image, Reply};
use futures_util::StreamExt;
use nomad_plugin::{
    driver::{Driver, Force, TaskConfig, TaskHandle},
    msgpack::Value,
};
use proptest::prelude::*;

use crate::case::{Case, object, paused, text};

/// Fewer than the tasks, so that some tasks share an image.
const IMAGES: usize = 2;
const TASKS: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    /// A task starts with an image.
    Start { task: usize, image: usize },
    /// The same, with an engine that is slow to create the container.
    StartSlowly { task: usize, image: usize },
    /// A task is destroyed.
    Destroy { task: usize },
    /// Somebody gives an image another name.
    Tag { image: usize },
    /// The driver is killed; another process recovers the tasks.
    KillDriver,
    /// The engine is restarted.
    RestartEngine,
    /// Minutes pass.
    Time { minutes: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (task, image) = (0..TASKS, 0..IMAGES);
    let step = prop_oneof![
        3 => (task.clone(), image.clone()).prop_map(|(task, image)| Step::Start { task, image }),
        1 => (task.clone(), image.clone()).prop_map(|(task, image)| Step::StartSlowly { task, image }),
        3 => task.prop_map(|task| Step::Destroy { task }),
        1 => image.prop_map(|image| Step::Tag { image }),
        1 => Just(Step::KillDriver),
        1 => Just(Step::RestartEngine),
        3 => (1u64..8).prop_map(|minutes| Step::Time { minutes }),
    ];
    prop::collection::vec(step, 1..16)
}

fn name(image: usize) -> String {
    format!("registry.test/app{image}:1")
}

/// The state of the images' users.
struct Users {
    case: Case,
    /// The image and the handle of each running task.
    running: Vec<Option<(usize, TaskHandle)>>,
}

impl Users {
    async fn new() -> Self {
        let case = Case::with([("gc", object([("image_delay", text("3m")), ("container", Value::Bool(true))]))]).await;
        for image in 0..IMAGES {
            case.engine.add_to_registry(Image::named(&name(image)));
        }
        let users = Self { case, running: vec![None; TASKS] };
        users.begin().await;
        users
    }

    /// Images are removed from the first fingerprint on.
    async fn begin(&self) {
        let mut fingerprints = self.case.driver.fingerprint().await.unwrap();
        fingerprints.next().await.unwrap();
    }

    fn task(&self, task: usize, image: usize) -> TaskConfig {
        self.case.task_with(&format!("task{task}"), [("image", text(&name(image)))])
    }

    /// The images that are in use.
    fn used(&self) -> BTreeSet<usize> {
        self.running.iter().flatten().map(|(image, _)| *image).collect()
    }

    async fn start(&mut self, task: usize, image: usize) {
        let started = self.case.start(&self.task(task, image)).await;
        self.running[task] = Some((image, started.handle));
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Start { task, image } if self.running[task].is_none() => self.start(task, image).await,
            Step::StartSlowly { task, image } if self.running[task].is_none() => {
                let slowly = Reply::usual().delayed(Duration::from_secs(240));
                self.case.engine.on("POST /containers/create").once(slowly);
                self.start(task, image).await;
            }
            Step::Destroy { task } => {
                if let Some((_, handle)) = self.running[task].take() {
                    self.case.driver.destroy_task(handle.config.id, Force::Yes).await.unwrap();
                }
            }
            Step::Tag { image } => {
                let id = Image::named(&name(image)).id;
                if self.case.engine.images().iter().any(|known| known.id == id) {
                    self.case.engine.tag(&id, "somebody:else");
                }
            }
            Step::KillDriver => {
                self.case.kill_driver().await;
                self.begin().await;
                for (_, handle) in self.running.iter().flatten() {
                    self.case.driver.recover_task(handle.clone()).await.unwrap();
                }
            }
            Step::RestartEngine => self.case.engine.restart(),
            Step::Time { minutes } => self.case.pass(Duration::from_secs(60 * minutes)).await,
            Step::Start { .. } | Step::StartSlowly { .. } => {}
        }
    }

    /// The images whose removal was requested since the last call, by name or id.
    fn removals(&self) -> BTreeSet<usize> {
        let asked = self.case.requests("DELETE /images/*");
        self.case.engine.forget_requests();
        let is_of =
            |path: &str, image: usize| path.ends_with(&name(image)) || path.ends_with(&Image::named(&name(image)).id);
        (0..IMAGES).filter(|image| asked.iter().any(|request| is_of(&request.path, *image))).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 50, ..ProptestConfig::default() })]

    #[test]
    fn whatever_tasks_drivers_and_engines_do(steps in steps()) {
        paused(async {
            let mut users = Users::new().await;
            for step in steps {
                let before = users.used();
                users.step(step.clone()).await;
                let after = users.used();

                let removed = users.removals();
                let wrong: Vec<usize> = before.intersection(&after).filter(|image| removed.contains(image)).copied().collect();
                prop_assert!(wrong.is_empty(), "{wrong:?} at {step:?}");
                for image in after {
                    prop_assert!(users.case.engine.images().iter().any(|known| known.tags.contains(&name(image))));
                }
            }
            Ok(())
        })?;
    }
}

#[tokio::test(start_paused = true)]
async fn an_image_that_nobody_uses_any_more_is_removed_when_its_time_is_over() {
    let mut users = Users::new().await;
    users.start(0, 0).await;
    users.step(Step::Time { minutes: 8 }).await;
    assert_eq!(users.removals(), BTreeSet::new());
    users.step(Step::Destroy { task: 0 }).await;

    users.step(Step::Time { minutes: 2 }).await;
    assert_eq!(users.removals(), BTreeSet::new());
    users.step(Step::Time { minutes: 2 }).await;

    assert_eq!(users.removals(), BTreeSet::from([0]));
    assert!(!users.case.engine.images().iter().any(|image| image.tags.contains(&name(0))));
}

#[tokio::test(start_paused = true)]
async fn an_image_is_in_use_while_its_container_is_being_made() {
    let mut users = Users::new().await;
    users.start(0, 0).await;
    users.step(Step::Destroy { task: 0 }).await;

    users.step(Step::StartSlowly { task: 1, image: 0 }).await;

    assert_eq!(users.removals(), BTreeSet::new());
    assert!(users.case.container_of(&users.task(1, 0)).is_running());
}
