//! Who may use a private image that is on the disk already.

use conformance::{
    Fixture, Task,
    docker::{docker, has_containerd_store},
    object,
    registry::{Access, PASSWORD, Registry, USERNAME, build_with_layer},
    text,
};
use nomad_plugin::driver::Recoverability;

use crate::{never_said, task};

/// A private image that was pulled to this node with another task's password.
struct Private {
    /// Before the registry, which removes the image when it is dropped.
    fixture: Fixture,
    registry: Registry,
    image: String,
}

impl Private {
    async fn start(config: &str) -> Self {
        let mut registry = Registry::start(Access::Password);
        let image = registry.push_new("private:1");
        let fixture = Fixture::configured(config).await;
        let private = Self { fixture, registry, image };
        private.fixture.run(&private.with(PASSWORD)).await;
        private
    }

    fn with(&self, password: &str) -> Task {
        let auth = object(&[("username", text(USERNAME)), ("password", text(password))]);
        task(&self.fixture, &self.image).option("auth", auth)
    }
}

#[tokio::test]
async fn a_private_image_on_disk_is_for_those_to_whom_the_registry_gives_it() {
    let mut private = Private::start("verify_cached_image_access = true").await;
    let Private { fixture, image, .. } = &private;
    let id = docker(&["image", "inspect", "--format", "{{.Id}}", image]);
    let renamed = format!("longshore-test/renamed:{}", std::process::id());
    docker(&["tag", image, &renamed]);

    let without = fixture.refused(&task(fixture, image)).await;
    let wrong = fixture.refused(&private.with("sword-of-damocles")).await;
    let by_id = fixture.refused(&task(fixture, id.trim())).await;
    let by_another_name = fixture.refused(&task(fixture, &renamed)).await;
    fixture.run(&private.with(PASSWORD)).await;
    docker(&["rmi", &renamed]);
    private.registry.stop();
    let unreachable = private.fixture.refused(&private.with(PASSWORD)).await;

    for (rejection, image) in [
        (&without, private.image.as_str()),
        (&wrong, private.image.as_str()),
        (&by_id, id.trim()),
        (&by_another_name, renamed.as_str()),
    ] {
        let expected = format!("no access to image `{image}`, which is on this node: its registry ");
        assert!(rejection.message.starts_with(&expected), "{}", rejection.message);
        assert_eq!(rejection.recoverability, Recoverability::Recoverable);
        assert!(!rejection.message.contains("sword"), "{}", rejection.message);
    }
    assert!(wrong.message.contains("its registry refuses it to this task: "), "{}", wrong.message);
    let said = ["its registry does not confirm that this task may use it: ", "connection refused"];
    assert!(said.iter().all(|said| unreachable.message.contains(said)), "{}", unreachable.message);
    assert_eq!(unreachable.recoverability, Recoverability::Recoverable);
    assert!(never_said(&private.fixture, "sword"));
    private.fixture.end().await;
}

#[tokio::test]
async fn the_operators_credentials_and_images_of_no_registry_pass_where_access_is_verified() {
    let mut registry = Registry::start(Access::Password);
    let private = registry.push_new("private:1");
    let auth = format!("auth {{\n  config = {:?}\n}}", registry.auth_config());
    let fixture = Fixture::configured(&format!("verify_cached_image_access = true\n{auth}")).await;
    let built = format!("longshore-test/built:{}", std::process::id());
    build_with_layer(&built, 1);

    fixture.run(&task(&fixture, &private)).await;
    registry.stop();
    let unreachable = fixture.refused(&task(&fixture, &private)).await;
    // There it has a digest as if it had been pulled.
    if has_containerd_store() {
        let built = fixture.refused(&task(&fixture, &built)).await;
        assert!(built.message.contains("its registry does not confirm"), "{}", built.message);
    } else {
        fixture.run(&task(&fixture, &built)).await;
    }

    assert!(unreachable.message.contains("its registry does not confirm"), "{}", unreachable.message);
    fixture.end().await;
    docker(&["rmi", &built]);
}

#[tokio::test]
async fn a_private_image_on_disk_is_for_all_unless_the_operator_says_otherwise() {
    let mut private = Private::start("").await;
    private.registry.stop();

    private.fixture.run(&task(&private.fixture, &private.image)).await;

    private.fixture.end().await;
}
