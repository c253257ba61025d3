//! What of the host, and which volumes, a task sees.

use conformance::{
    Fixture, LABEL,
    docker::{docker, inspect},
};
use serde_json::json;

#[tokio::test]
async fn a_task_sees_its_directories_and_writes_where_it_may() {
    let fixture = Fixture::start().await;
    let script = "echo a > /alloc/data/a; echo b > /local/b; echo c > /secrets/c; \
                  touch /alloc/logs/x 2>&1; cat /in/file /short/file; touch /short/x 2>&1; \
                  df -k /mem | tail -1 | awk '{ print $2 }'; stat -c %a /mem";
    let config = r#"
        mount {
          type     = "bind"
          source   = "local/in"
          target   = "/in"
          readonly = true
        }
        mounts  = [{ type = "tmpfs", target = "/mem", tmpfs_options = { size = 1048576, mode = 448 } }]
        volumes = ["local/in:/short:ro"]
    "#;
    let task = fixture.job("web", script, config).await;
    let own = task.alloc_dir().join("web");
    std::fs::create_dir_all(own.join("local/in")).unwrap();
    std::fs::write(own.join("local/in/file"), "from the host\n").unwrap();

    let said = fixture.output(&task).await;

    let read = |path: &str| std::fs::read_to_string(task.alloc_dir().join(path)).unwrap();
    assert_eq!(
        (read("alloc/data/a"), read("web/local/b"), read("web/secrets/c")),
        ("a\n".into(), "b\n".into(), "c\n".into())
    );
    let expected = [
        "touch: /alloc/logs/x: Read-only file system",
        "from the host",
        "from the host",
        "touch: /short/x: Read-only file system",
        "1024",
        "700",
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
    fixture.end().await;
}

#[tokio::test]
async fn volumes_of_every_form_are_there_where_they_are_enabled() {
    let fixture = Fixture::configured("volumes {\n  enabled = true\n  selinuxlabel = \"z\"\n}").await;
    let [named, driven] = ["named", "driven"].map(|kind| format!("longshore-test-{kind}-{}", std::process::id()));
    docker(&["volume", "create", "--label", LABEL, &driven]);
    let config = format!(
        r#"
        volumes = ["/etc:/host-etc:ro"]
        mount {{
          source = "{named}"
          target = "/v"
          volume_options {{
            no_copy = true
            labels  = {{ "{LABEL}" = "volume", team = "web" }}
            driver_config {{
              name    = "local"
              options = {{ type = "tmpfs", device = "tmpfs", o = "size=1m" }}
            }}
          }}
        }}
        "#
    );
    let task = fixture.job("web", "df -k /v | tail -1 | awk '{ print $2 }'; ls /host-etc/passwd", &config).await;
    let by_driver = format!("volume_driver = \"local\"\nvolumes = [\"{driven}:/v\"]");
    let by_driver = fixture.job("driven", "echo kept > /v/file; cat /v/file", &by_driver).await;

    assert_eq!(fixture.output(&task).await, "1024\n/host-etc/passwd\n");
    assert_eq!(fixture.output(&by_driver).await, "kept\n");

    let inspected = inspect(&task.container());
    assert_eq!(inspected["HostConfig"]["Binds"][4], "/etc:/host-etc:ro,z");
    let mount = &inspected["HostConfig"]["Mounts"][0]["VolumeOptions"];
    assert_eq!((&mount["NoCopy"], &mount["Labels"]["team"]), (&json!(true), &json!("web")));
    let inspected = inspect(&by_driver.container());
    assert_eq!(inspected["HostConfig"]["VolumeDriver"], "local");
    let mounts = inspected["Mounts"].clone();
    let found = mounts.as_array().unwrap().iter().any(|mount| mount["Name"] == driven.as_str());
    assert!(found, "{mounts}");
    let nobodys = format!("volume_driver = \"longshore-nobodys\"\nvolumes = [\"{driven}-2:/v\"]");
    let refused = fixture.attempt(&fixture.job("refused", "true", &nobodys).await).await.err().unwrap().to_string();
    assert!(refused.contains("longshore-nobodys"), "{refused}");
    fixture.end().await;
    docker(&["volume", "rm", &named, &driven]);
}

#[tokio::test]
async fn the_way_in_which_mounts_spread_is_dockers_to_judge() {
    let fixture = Fixture::start().await;
    let mount = |propagation: &str| {
        format!(
            "mount {{\n type = \"bind\"\n source = \"local\"\n target = \"/x\"\n bind_options {{\n propagation = \"{propagation}\"\n }}\n}}"
        )
    };
    let private = fixture.job("private", "exec sleep 1000", &mount("rprivate")).await;
    fixture.run(&private).await;
    let slave = fixture.job("slave", "exec sleep 1000", &mount("rslave")).await;

    // Only from a mount of the host that is shared; the engine says so where it is not.
    match fixture.attempt(&slave).await {
        Ok(_) => {
            let options = inspect(&slave.container())["HostConfig"]["Mounts"][0]["BindOptions"].clone();
            assert_eq!(options, json!({ "Propagation": "rslave" }));
        }
        Err(error) => assert!(error.to_string().contains("not a shared or slave mount"), "{error}"),
    }
    let options = inspect(&private.container())["HostConfig"]["Mounts"][0]["BindOptions"].clone();
    assert_eq!(options, json!({ "Propagation": "rprivate" }));
    fixture.end().await;
}
