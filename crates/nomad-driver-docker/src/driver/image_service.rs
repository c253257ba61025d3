//! The image service: reports and manages this driver's images, for hosts that use it beside the plugin protocol.

use std::{path::PathBuf, sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream};
use image_service::{BoxStream, ImageService, Listed, Outcome, Prefetched, Pull, Step, TaskOf};
use nomad_plugin::{
    driver::{DriverError, TaskConfig},
    text::short,
};
use tokio::{
    sync::watch,
    time::{Instant, interval},
};

use crate::{
    config::TaskOptions,
    container,
    image::{Freshness, ImageRequest, Images, LocalImage, PullState},
    session::Session,
    settings::CurrentSettings,
    task::TaskStore,
};

/// How often watchers are notified of changes: as often as a person can notice.
const PERIOD: Duration = Duration::from_millis(100);

/// The images of a driver.
pub struct DriverImages {
    sessions: watch::Receiver<Arc<Session>>,
    settings: CurrentSettings,
    tasks: TaskStore,
}

impl DriverImages {
    /// For a driver with these tasks, whose sessions follow one another.
    pub fn new(sessions: watch::Receiver<Arc<Session>>, settings: CurrentSettings, tasks: TaskStore) -> Self {
        Self { sessions, settings, tasks }
    }

    fn images(&self) -> Arc<Images> {
        self.sessions.borrow().images.clone()
    }
}

impl ImageService for DriverImages {
    async fn list(&self, state_dirs: Vec<PathBuf>) -> Result<Vec<Listed>, String> {
        let listed = self.images().list(self.settings.now().state_dir(), state_dirs).await;
        let mut listed = listed.map_err(|error| error.to_string())?;
        for task in self.tasks.started() {
            let Some(lease) = task.image() else { continue };
            let TaskConfig { job_id, alloc_id, name, .. } = &task.config;
            let user = TaskOf { job: job_id.clone(), alloc: alloc_id.to_string(), name: name.clone() };
            let own = listed.iter_mut().filter(|listed| listed.state_dir.is_none());
            for listed in own.filter(|listed| listed.image.id == lease.id()) {
                listed.image.tasks.push(user.clone());
            }
        }
        Ok(listed)
    }

    async fn pin(&self, names: Vec<String>) {
        self.images().pin(&names).await;
    }

    fn prefetch(&self, configs: Vec<Vec<u8>>) -> Result<BoxStream<Prefetched>, String> {
        let settings = self.settings.now();
        let mut requests: Vec<ImageRequest> = Vec::new();
        for config in configs {
            let options = TaskOptions::parse(&config).map_err(|errors| short(&errors.to_string()))?;
            container::check_image(&options.image, &settings.plugin).map_err(|error| short(&error.to_string()))?;
            let request = ImageRequest::of_task(&TaskConfig::default(), &options, &settings.plugin);
            let request = ImageRequest { owner: None, ..request };
            if !requests.contains(&request) {
                requests.push(request);
            }
        }
        let images = self.images();
        let fetches = requests.into_iter().map(move |request| fetch(images.clone(), request));
        Ok(stream::select_all(fetches).boxed())
    }

    fn watch(&self) -> BoxStream<Vec<Pull>> {
        let images = self.images();
        let now =
            move || -> Vec<Pull> { images.pulls().into_iter().map(|(image, state)| pull(image, &state)).collect() };
        stream::unfold((now, interval(PERIOD), Vec::new()), |(now, mut ticks, reported)| async move {
            loop {
                ticks.tick().await;
                let pulls = now();
                if pulls != reported {
                    return Some((pulls.clone(), (now, ticks, pulls)));
                }
            }
        })
        .boxed()
    }
}

/// Fetches one image. Dropping the stream cancels it.
fn fetch(images: Arc<Images>, request: ImageRequest) -> BoxStream<Prefetched> {
    let name = request.image.written().to_owned();
    let (reported, states) = watch::channel(None);
    let work = async move {
        if request.archive.is_some() {
            return Outcome::Archived;
        }
        let begin = Instant::now();
        let fetched = images.ensure_watched(&request, Some(&reported)).await;
        outcome(fetched, &request, begin.elapsed())
    };
    let steps = stream::unfold(Some((work.boxed(), states)), move |fetching| next(name.clone(), fetching));
    steps.boxed()
}

type Fetching = (BoxFuture<'static, Outcome>, watch::Receiver<Option<PullState>>);

async fn next(image: String, fetching: Option<Fetching>) -> Option<(Prefetched, Option<Fetching>)> {
    let (mut work, mut states) = fetching?;
    loop {
        tokio::select! {
            biased;
            outcome = &mut work => return Some((Prefetched { image, step: Step::Ended(outcome) }, None)),
            Ok(()) = states.changed() => {}
        }
        let state = states.borrow_and_update().clone();
        if let Some(state) = state {
            let step = Step::Pulling(pull(image.clone(), &state));
            return Some((Prefetched { image, step }, Some((work, states))));
        }
    }
}

fn outcome(fetched: Result<LocalImage, DriverError>, request: &ImageRequest, took: Duration) -> Outcome {
    match fetched {
        Ok(LocalImage { downloaded: Some(bytes), .. }) => Outcome::Pulled { bytes, took },
        Ok(LocalImage { downloaded: None, .. }) => {
            Outcome::Present { asked: request.image.is_latest() || request.freshness == Freshness::Pulled }
        }
        Err(error) => Outcome::Failed(short(&error.message)),
    }
}

fn pull(image: String, state: &PullState) -> Pull {
    match state {
        PullState::Queued { place } => Pull { image, place: u32::try_from(*place).ok(), layers: Vec::new() },
        PullState::Pulling { progress, .. } => Pull { image, place: None, layers: progress.layers.clone() },
    }
}
