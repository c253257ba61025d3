package hashicorp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"longshore/conformance/hashicorp/agent"
	"longshore/conformance/hashicorp/gen/drivers"
	"longshore/conformance/hashicorp/gen/structs"
	"longshore/conformance/hashicorp/schema"
	"longshore/conformance/hashicorp/state"
)

const unknownTask = "task not found for given id"

// waiting is a task that says when it is ready, answers USR1, and ends on TERM with code 7.
const waiting = `trap 'echo got USR1' USR1; trap 'echo bye; exit 7' TERM; echo ready; echo to stderr >&2; while :; do sleep 0.05; done`

func healthy(fingerprint *drivers.FingerprintResponse) bool {
	return fingerprint.Health == drivers.FingerprintResponse_HEALTHY
}

// One driver's life, in the order of an agent's calls, its two streams open all the while.
func TestTheThirdLaunchGoesThroughATasksWholeLife(whole *testing.T) {
	f := launch(whole, `disable_log_collection = false`)
	task := f.task(whole, "web", agent.Shell(waiting))
	id := task.Config.Id

	steps := []struct {
		name string
		step func(t *testing.T)
	}{
		{"Fingerprint says at once that the driver is healthy, and what it has", func(t *testing.T) {
			fingerprint, err := f.streams.Fingerprints.Wait(healthy)
			must(t, err)
			equal(t, "the description", fingerprint.HealthDescription, "Healthy")
			equal(t, "driver.docker", fingerprint.Attributes["driver.docker"].GetBoolVal(), true)
			version := fingerprint.Attributes["driver.docker.version"].GetStringVal()
			equal(t, "driver.docker.version", version, docker(t, "version", "--format", "{{.Server.Version}}"))
		}},
		{"Capabilities are the built-in driver's", func(t *testing.T) {
			capabilities, err := f.Capabilities()
			must(t, err)
			expected := &drivers.DriverCapabilities{
				SendSignals: true,
				Exec:        true,
				FsIsolation: drivers.DriverCapabilities_IMAGE,
				NetworkIsolationModes: []drivers.NetworkIsolationSpec_NetworkIsolationMode{
					drivers.NetworkIsolationSpec_HOST, drivers.NetworkIsolationSpec_GROUP, drivers.NetworkIsolationSpec_TASK,
				},
				MustCreateNetwork: true,
			}
			if !proto.Equal(capabilities, expected) {
				t.Errorf("they are %v", capabilities)
			}
		}},
		{"TaskConfigSchema becomes HashiCorp's decoder, which wants an image", func(t *testing.T) {
			_, err := schema.Decoder(f.tasks)
			must(t, err)
			if _, err := schema.Encode(f.tasks, ""); err == nil || !strings.Contains(err.Error(), `"image" is required`) {
				t.Errorf("of no text it says %v", err)
			}
		}},
		{"StartTask takes a configuration made of HCL text", func(t *testing.T) {
			started, err := f.StartTask(task.Config)
			must(t, err)
			handle := started.Handle
			equal(t, "the handle's version", handle.Version, 1)
			equal(t, "the handle's state", handle.State, drivers.TaskState_UNKNOWN)
			if !proto.Equal(handle.Config, task.Config) {
				t.Errorf("the echo of the configuration is %v", handle.Config)
			}
		}},
		{"what the task writes comes through its pipes", func(t *testing.T) {
			must(t, task.Stdout.WaitFor("ready\n"))
			must(t, task.Stderr.WaitFor("to stderr\n"))
		}},
		{"InspectTask says that it runs, since when, and in which container", func(t *testing.T) {
			inspected, err := f.InspectTask(id)
			must(t, err)
			equal(t, "the id", inspected.Task.Id, id)
			equal(t, "the name", inspected.Task.Name, "web")
			equal(t, "the state", inspected.Task.State, drivers.TaskState_RUNNING)
			container := docker(t, "inspect", "--format", "{{.Id}} {{.State.StartedAt}}", task.Container())
			since := inspected.Task.StartedAt.AsTime().Format(time.RFC3339Nano)
			equal(t, "container and start", inspected.Driver.Attributes["container_id"]+" "+since, container)
			// The year 1, which is Go's zero time.
			equal(t, "the end", inspected.Task.CompletedAt.Seconds, -62135596800)
		}},
		{"TaskStats come at the interval", func(t *testing.T) {
			ctx, cancel := agent.Patient()
			defer cancel()
			next, err := f.Stats(ctx, id, time.Second)
			must(t, err)
			first, err := next()
			must(t, err)
			second, err := next()
			must(t, err)
			if !second.Timestamp.AsTime().After(first.Timestamp.AsTime()) {
				t.Errorf("the second sample's time is %v, the first one's %v", second.Timestamp, first.Timestamp)
			}
			if second.AggResourceUsage.Memory.Usage == 0 {
				t.Error("it uses no memory")
			}
			// An agent's table of statistics has no column for it.
			cpu := second.AggResourceUsage.Cpu
			if slices.Contains(cpu.MeasuredFields, drivers.CPUUsage_TOTAL_TICKS) {
				t.Errorf("what is measured has the ticks: %v", cpu.MeasuredFields)
			}
			if !slices.Contains(cpu.MeasuredFields, drivers.CPUUsage_PERCENT) {
				t.Errorf("what is measured has no percent: %v", cpu.MeasuredFields)
			}
			cancel()
			if _, err := next(); status.Code(err) != codes.Canceled {
				t.Errorf("cancelled, it ended with %v", err)
			}
		}},
		{"SignalTask reaches the task", func(t *testing.T) {
			must(t, f.SignalTask(id, "SIGUSR1"))
			must(t, task.Stdout.WaitFor("got USR1\n"))
		}},
		{"ExecTask returns both outputs and the code", func(t *testing.T) {
			got, err := f.ExecTask(id, "/bin/sh", "-c", "echo out; echo err >&2; exit 3")
			must(t, err)
			equal(t, "stdout", string(got.Stdout), "out\n")
			equal(t, "stderr", string(got.Stderr), "err\n")
			equal(t, "the code", got.Result.ExitCode, 3)
		}},
		{"ExecTaskStreaming without a terminal keeps the outputs apart and ends with the command", func(t *testing.T) {
			exec, err := f.StartExec(id, false, "/bin/sh", "-c", "cat; echo err >&2; exit 4")
			must(t, err)
			must(t, exec.Beat())
			must(t, exec.Send([]byte("hello ")))
			must(t, exec.Send(nil))
			must(t, exec.Send([]byte("world")))
			must(t, exec.CloseStdin())
			code, err := exec.Wait()
			must(t, err)
			equal(t, "stdout", string(exec.Stdout), "hello world")
			equal(t, "stderr", string(exec.Stderr), "err\n")
			equal(t, "the code", code, 4)
		}},
		{"ExecTaskStreaming with a terminal has its size and its line discipline", func(t *testing.T) {
			exec, err := f.StartExec(id, true, "/bin/sh", "-c", "read line; stty size; exit 5")
			must(t, err)
			must(t, exec.Resize(33, 77))
			must(t, exec.Send([]byte("go\n")))
			code, err := exec.Wait()
			must(t, err)
			equal(t, "the output", string(exec.Stdout), "go\r\n33 77\r\n")
			equal(t, "stderr", string(exec.Stderr), "")
			equal(t, "the code", code, 5)
		}},
		{"ExecTaskStreaming without setup is refused", func(t *testing.T) {
			ctx, cancel := agent.Patient()
			defer cancel()
			stream, err := f.Driver.ExecTaskStreaming(agent.Beyond(ctx))
			must(t, err)
			must(t, stream.Send(&drivers.ExecTaskStreamingRequest{}))
			_, err = stream.Recv()
			said(t, err, "first message should always be setup")
		}},
		{"a second StartTask of the same task is refused", func(t *testing.T) {
			_, err := f.StartTask(task.Config)
			said(t, err, fmt.Sprintf("task with ID %q already started", id))
		}},
		{"DestroyTask of a running task is refused without force", func(t *testing.T) {
			said(t, f.DestroyEndedTask(id), "must call StopTask for the given task before Destroy or set force to true")
		}},
		{"StopTask ends it by its signal, and WaitTask answers with its code", func(t *testing.T) {
			ended := make(chan *drivers.WaitTaskResponse)
			go func() {
				got, _ := f.WaitTask(id)
				ended <- got
			}()
			must(t, f.StopTask(id, agent.Deadline, "SIGTERM"))
			got := <-ended
			equal(t, "the code", got.GetResult().GetExitCode(), 7)
			equal(t, "the error", got.GetErr(), "Docker container exited with non-zero exit code: 7")
			must(t, task.Stdout.WaitFor("bye\n"))
		}},
		{"WaitTask answers again after the end", func(t *testing.T) {
			got, err := f.WaitTask(id)
			must(t, err)
			equal(t, "the code", got.Result.ExitCode, 7)
		}},
		{"StopTask of an ended task is no error, by whatever signal", func(t *testing.T) {
			must(t, f.StopTask(id, time.Second, ""))
			must(t, f.StopTask(id, time.Second, "SIGINT"))
		}},
		{"InspectTask has the end's time", func(t *testing.T) {
			inspected, err := f.InspectTask(id)
			must(t, err)
			if inspected.Task.CompletedAt.AsTime().Before(inspected.Task.StartedAt.AsTime()) {
				t.Errorf("it ended at %v", inspected.Task.CompletedAt)
			}
		}},
		{"TaskStats of an ended task end in order, without a sample", func(t *testing.T) {
			ctx, cancel := agent.Patient()
			defer cancel()
			next, err := f.Stats(ctx, id, time.Second)
			must(t, err)
			if sample, err := next(); !errors.Is(err, io.EOF) {
				t.Errorf("it ended with %v, after %v", err, sample)
			}
		}},
		{"DestroyTask removes its container", func(t *testing.T) {
			must(t, f.DestroyEndedTask(id))
			f.destroyed(t, task)
		}},
		{"Shutdown is answered", func(t *testing.T) {
			must(t, f.Shutdown())
		}},
		{"Fingerprint and TaskEvents are open all the while, and the driver ends in time", func(t *testing.T) {
			f.end(t)
		}},
	}
	for _, step := range steps {
		if !whole.Run(step.name, step.step) {
			break
		}
	}
}

func TestCapabilitiesSayThatLogCollectionIsDisabled(t *testing.T) {
	f := launch(t, "disable_log_collection = true")

	capabilities, err := f.Capabilities()
	must(t, err)

	equal(t, "disable_log_collection", capabilities.DisableLogCollection, true)
}

// recoverable reads what the error says of another attempt, from the bytes that hosts look at.
func recoverable(t *testing.T, err error) bool {
	t.Helper()
	equal(t, "the error's code", status.Code(err), codes.FailedPrecondition)
	details := status.Convert(err).Proto().GetDetails()
	if len(details) != 1 {
		t.Fatalf("%v has %d details", err, len(details))
	}
	detail := details[0]
	equal(t, "the detail's type", detail.TypeUrl, "type.googleapis.com/hashicorp.nomad.plugins.shared.structs.RecoverableError")
	var read structs.RecoverableError
	must(t, proto.Unmarshal(detail.Value, &read))
	var bytes []byte
	if read.Recoverable {
		bytes = protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 1)
	}
	equal(t, "the detail's bytes", string(detail.Value), string(bytes))
	return read.Recoverable
}

func TestEachCallOfATaskThatIsUnknownIsRefusedWithTheSameText(t *testing.T) {
	f := launch(t, "")
	unknown := map[string]func() error{
		"WaitTask":    func() error { _, err := f.WaitTask("nobody"); return err },
		"InspectTask": func() error { _, err := f.InspectTask("nobody"); return err },
		"StopTask":    func() error { return f.StopTask("nobody", time.Second, "") },
		"DestroyTask": func() error { return f.DestroyTask("nobody") },
		"SignalTask":  func() error { return f.SignalTask("nobody", "SIGHUP") },
		"ExecTask":    func() error { _, err := f.ExecTask("nobody", "true"); return err },
		"TaskStats": func() error {
			next, err := f.Stats(context.Background(), "nobody", time.Second)
			must(t, err)
			_, err = next()
			return err
		},
		"ExecTaskStreaming": func() error {
			exec, err := f.StartExec("nobody", false, "true")
			must(t, err)
			_, err = exec.Wait()
			return err
		},
	}
	for call, unknown := range unknown {
		t.Run(call, func(t *testing.T) {
			err := unknown()

			said(t, err, unknownTask)
			equal(t, "the code", status.Code(err), codes.Unknown)
		})
	}
}

func TestAnImageThatIsNowhereIsAnErrorThatAnotherAttemptMayMend(t *testing.T) {
	f := launch(t, "")
	task := f.task(t, "web", `image = "localhost:1/longshore-test/nowhere:1"`)

	_, err := f.StartTask(task.Config)

	if err == nil || !strings.HasPrefix(status.Convert(err).Message(), "Failed to pull `localhost:1/longshore-test/nowhere:1`: ") {
		t.Errorf("the error is %v", err)
	}
	equal(t, "recoverable", recoverable(t, err), true)
	event, err := f.streams.Events.Wait(func(event *drivers.DriverTaskEvent) bool { return event.TaskId == task.Config.Id })
	must(t, err)
	equal(t, "the event", event.Message, "Downloading image")
	equal(t, "its annotation", event.Annotations["image"], "localhost:1/longshore-test/nowhere:1")
	equal(t, "its allocation", event.AllocId, task.Config.AllocId)
	equal(t, "its task", event.TaskName, "web")
}

func TestAMistakeInATasksConfigurationIsAnErrorWithoutDetails(t *testing.T) {
	f := launch(t, "")
	task := f.task(t, "web", agent.Shell("true")+"\nprivileged = true")

	_, err := f.StartTask(task.Config)

	equal(t, "the code", status.Code(err), codes.Unknown)
	equal(t, "the details", len(status.Convert(err).Details()), 0)
	if !strings.Contains(status.Convert(err).Message(), "Docker privileged mode is disabled on this Nomad agent") {
		t.Errorf("the error is %v", err)
	}
}

// The HCL that the schema is to take: each way to write a map, numbers, truths, blocks.
func TestATaskGetsWhatItsHclTextSays(t *testing.T) {
	f := launch(t, "")
	task, _ := f.run(t, "web", agent.Shell("sleep 1000")+`
		hostname  = "box"
		work_dir  = "/tmp"
		shm_size  = 1048576
		init      = true
		cap_drop  = ["chown"]
		pids_limit = 50
		sysctl    = [{ "net.core.somaxconn" = "100" }, { "net.core.somaxconn" = "200" }]
		ulimit    = [{ nofile = "100:200" }]
		extra_hosts = ["there:10.0.0.1"]
		healthchecks { disable = true }
		logging {
			type   = "json-file"
			config = [{ max-size = "3m" }]
		}
		mount {
			type   = "tmpfs"
			target = "/scratch"
			tmpfs_options {
				size = 65536
				mode = 511
			}
		}
	`)

	told := docker(t, "inspect", "--format", strings.Join([]string{
		"{{.Config.Hostname}}", "{{.Config.WorkingDir}}", "{{.HostConfig.ShmSize}}", "{{.HostConfig.Init}}",
		"{{.HostConfig.PidsLimit}}", `{{index .HostConfig.Sysctls "net.core.somaxconn"}}`,
		"{{(index .HostConfig.Ulimits 0).Hard}}", "{{.HostConfig.ExtraHosts}}", "{{.Config.Healthcheck.Test}}",
		`{{index .HostConfig.LogConfig.Config "max-size"}}`,
		`{{range .HostConfig.Mounts}}{{if eq .Type "tmpfs"}}{{.TmpfsOptions.SizeBytes}}{{end}}{{end}}`,
	}, "|"), task.Container())

	equal(t, "what Docker was told", told, "box|/tmp|1048576|true|50|200|200|[there:10.0.0.1]|[NONE]|3m|65536")
	f.destroy(t, task)
}

func TestATaskStartsFromTheOtherMsgpackDialect(t *testing.T) {
	f := launch(t, "")
	task, err := agent.NewTask(f.root, "web")
	must(t, err)
	t.Cleanup(task.Close)
	// Longer than 31 bytes: the old form has raw16 here, the newer one str8.
	script := "echo \"hello from $HOSTNAME, which is a long line\"; exit 9"
	task.Config.MsgpackDriverConfig, err = state.Encode(&state.TaskConfig{
		Image: agent.Image(), Command: "/bin/sh", Args: []string{"-c", script}, NetworkMode: "none", Hostname: "box",
		Labels: []map[string]string{{agent.Label: task.Config.AllocId}},
	})
	must(t, err)
	if !slices.Contains(task.Config.MsgpackDriverConfig, 0xda) {
		t.Fatal("the encoder has no raw16, so this is not the old dialect")
	}

	_, err = f.StartTask(task.Config)
	must(t, err)
	got, err := f.WaitTask(task.Config.Id)
	must(t, err)

	equal(t, "the code", got.Result.ExitCode, 9)
	must(t, task.Stdout.WaitFor("hello from box, which is a long line\n"))
	f.destroy(t, task)
}

func TestTheStateOfATaskIsReadByTheBuiltInDriversShape(t *testing.T) {
	f := launch(t, "")
	text := strings.Replace(agent.Shell("sleep 1000"), `"none"`, `"bridge"`, 1)
	task, handle := f.run(t, "web", text)

	read, err := state.Decode(handle.DriverState)
	must(t, err)

	equal(t, "the container", read.ContainerID, docker(t, "inspect", "--format", "{{.Id}}", task.Container()))
	if read.ReattachConfig != nil {
		t.Errorf("the log's forwarder is %v, and there is none", read.ReattachConfig)
	}
	if read.DriverNetwork == nil {
		t.Fatal("there is no network")
	}
	address := docker(t, "inspect", "--format", "{{.NetworkSettings.IPAddress}}", task.Container())
	equal(t, "the address", read.DriverNetwork.IP, address)
	equal(t, "auto advertise", read.DriverNetwork.AutoAdvertise, false)
	if !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(read.ContainerID) {
		t.Errorf("the id is %q", read.ContainerID)
	}
	f.destroy(t, task)
}

func TestStatisticsEndInOrderWithTheTask(t *testing.T) {
	f := launch(t, "")
	task, _ := f.run(t, "web", agent.Shell("sleep 1000"))
	ctx, cancel := agent.Patient()
	defer cancel()
	next, err := f.Stats(ctx, task.Config.Id, time.Second)
	must(t, err)
	_, err = next()
	must(t, err)

	must(t, f.StopTask(task.Config.Id, 0, ""))

	for err == nil {
		_, err = next()
	}
	if !errors.Is(err, io.EOF) {
		t.Errorf("it ended with %v", err)
	}
	f.destroy(t, task)
}

func TestACommandWhoseCallIsCancelledEndsWithItsChildren(t *testing.T) {
	f := launch(t, "")
	task, _ := f.run(t, "web", agent.Shell("exec sleep 1000"))
	sleepers := func() int {
		return strings.Count(docker(t, "top", task.Container(), "-eo", "pid,comm"), "sleep")
	}

	exec, err := f.StartExec(task.Config.Id, false, "/bin/sh", "-c", "sleep 1000 & echo ready; sleep 1000")
	must(t, err)
	must(t, exec.Until(func(stdout []byte) bool { return string(stdout) == "ready\n" }))
	eventually(t, "the command and its child sleep", func() bool { return sleepers() == 3 })
	exec.Cancel()

	eventually(t, "the task alone sleeps", func() bool { return sleepers() == 1 })
	f.destroy(t, task)
}

func TestFingerprintsComeEveryHalfMinuteOnTheSameStream(t *testing.T) {
	t.Parallel()
	f := launch(t, "")

	count := 0
	_, err := f.streams.Fingerprints.Wait(func(*drivers.FingerprintResponse) bool {
		count++
		return count == 2
	})

	must(t, err)
}
