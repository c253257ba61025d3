// Package hashicorp_test drives a driver binary, given by LONGSHORE_DRIVER, with HashiCorp's own plugin client, schema
// decoder and msgpack, as a Nomad agent does.
package hashicorp_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/status"

	"longshore/conformance/hashicorp/agent"
	"longshore/conformance/hashicorp/gen/base"
	"longshore/conformance/hashicorp/gen/drivers"
	"longshore/conformance/hashicorp/gen/hclspec"
	"longshore/conformance/hashicorp/schema"
)

func TestMain(main *testing.M) {
	if os.Getenv(agentMode) != "" {
		runAgentToBeKilled()
	}
	// A plugin whose agent was killed becomes this process's child: it alone can tell the kernel that its end was seen.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, "no subreaper:", err)
		os.Exit(1)
	}
	code := main.Run()
	if builtDirectory != "" {
		os.RemoveAll(builtDirectory)
	}
	os.Exit(code)
}

// driverBinary is the driver under test.
func driverBinary(t *testing.T) string {
	t.Helper()
	path := os.Getenv("LONGSHORE_DRIVER")
	if path == "" {
		t.Fatal("LONGSHORE_DRIVER is not set: it is the path of the driver to test")
	}
	path, err := filepath.Abs(path)
	must(t, err)
	return path
}

var (
	building       sync.Mutex
	builtDirectory string
)

// program builds a program of this module, once, and returns its path.
func program(t *testing.T, name string) string {
	t.Helper()
	building.Lock()
	defer building.Unlock()
	if builtDirectory == "" {
		directory, err := os.MkdirTemp("", "longshore-programs-")
		must(t, err)
		builtDirectory = directory
	}
	path := filepath.Join(builtDirectory, name)
	if _, err := os.Stat(path); err == nil {
		return path
	}
	if output, err := exec.Command("go", "build", "-buildvcs=false", "-o", path, "./"+name).CombinedOutput(); err != nil {
		t.Fatalf("go build ./%s: %v\n%s", name, err, output)
	}
	return path
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// said asks that a call failed with a text.
func said(t *testing.T, err error, text string) {
	t.Helper()
	if got := status.Convert(err).Message(); err == nil || got != text {
		t.Errorf("the error is %q instead of %q", got, text)
	}
}

func equal[T comparable](t *testing.T, what string, got, wanted T) {
	t.Helper()
	if got != wanted {
		t.Errorf("%s is %v instead of %v", what, got, wanted)
	}
}

// docker runs Docker's command line.
func docker(t *testing.T, args ...string) string {
	t.Helper()
	output, err := exec.Command("docker", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("docker %v: %v\n%s", args, err, output)
	}
	return strings.TrimSpace(string(output))
}

// directory makes a directory with a short name: a socket's path has at most 107 bytes.
func directory(t *testing.T) string {
	t.Helper()
	path, err := os.MkdirTemp("", "longshore-go-")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(path) })
	return path
}

// stateDirectories are those of the tests, by name.
var stateDirectories sync.Map

// stateDirectory is where the drivers of a test keep their state: those of one node, one after the other.
func stateDirectory(t *testing.T) string {
	t.Helper()
	if known, ok := stateDirectories.Load(t.Name()); ok {
		return known.(string)
	}
	made := directory(t)
	stateDirectories.Store(t.Name(), made)
	t.Cleanup(func() { stateDirectories.Delete(t.Name()) })
	return made
}

// fixture is a driver in the state in which an agent uses it: configured, its two streams open.
type fixture struct {
	*agent.Agent
	streams *agent.Streams
	root    string
	// tasks is the schema of a task's configuration.
	tasks *hclspec.Spec
}

// nomadConfig is what an agent tells a driver of itself and its machine.
func nomadConfig() *base.NomadConfig {
	core := func(id uint32) *base.ClientTopologyCore { return &base.ClientTopologyCore{CoreId: id, BaseSpeed: 2000} }
	return &base.NomadConfig{Driver: &base.NomadDriverConfig{
		ClientMinPort: 14000,
		ClientMaxPort: 14512,
		Topology: &base.ClientTopology{
			NodeIds:   []uint32{0},
			Distances: &base.ClientTopologySLIT{},
			Cores:     []*base.ClientTopologyCore{core(0), core(1)},
		},
	}}
}

var (
	schemaOnce sync.Once
	pluginSpec *hclspec.Spec
)

// configSchema is the schema of the plugin's configuration, of which an agent asks another process of the plugin.
func configSchema(t *testing.T) *hclspec.Spec {
	t.Helper()
	schemaOnce.Do(func() {
		plugin := start(t, "base")
		var err error
		pluginSpec, err = plugin.ConfigSchema()
		must(t, err)
		ends(t, plugin)
	})
	return pluginSpec
}

// launch starts the driver as an agent's third launch does. Text is the `config` block of its plugin block.
func launch(t *testing.T, text string, env ...string) *fixture {
	t.Helper()
	root := directory(t)
	started, err := agent.Start(agent.Launch{
		Program: driverBinary(t), Kind: "driver", SocketDirectory: root, Env: env,
	})
	must(t, err)
	t.Cleanup(started.CleanUp)
	spec := configSchema(t)
	// What a driver keeps, it keeps with the test's files: drivers of several agents must not share a directory.
	if _, has := spec.GetObject().GetAttributes()["state_dir"]; has {
		text += fmt.Sprintf("\nstate_dir = %q\n", stateDirectory(t))
	}
	config, err := schema.Encode(spec, text)
	must(t, err)
	must(t, started.SetConfig(config, nomadConfig()))
	return use(t, started, root)
}

// use does with a connected driver what agents do with a new one and with one that they found again.
func use(t *testing.T, connected *agent.Agent, root string) *fixture {
	t.Helper()
	must(t, connected.Init())
	streams, err := connected.OpenStreams()
	must(t, err)
	tasks, err := connected.TaskConfigSchema()
	must(t, err)
	fixture := &fixture{Agent: connected, streams: streams, root: root, tasks: tasks}
	t.Cleanup(func() { fixture.end(t) })
	return fixture
}

// end ends the driver as an agent does, and asks what it broke in all that time.
func (f *fixture) end(t *testing.T) {
	t.Helper()
	if f.streams == nil {
		return
	}
	f.streams.Close(f.Found)
	f.streams = nil
	// In the same moment, and beside calls that wait for the ends of tasks.
	must(t, f.Shutdown())
	f.Kill()
	f.judge(t)
}

// judge asks what the driver broke.
func (f *fixture) judge(t *testing.T) {
	t.Helper()
	for _, violation := range slices.Concat(f.Found.All(), f.Habits.All()) {
		t.Error(violation)
	}
	if t.Failed() && f.Process != nil {
		t.Logf("the driver's log:\n%s", f.Process.Log())
	}
}

// kill ends the driver's process with SIGKILL; its tasks go on.
func (f *fixture) kill(t *testing.T) {
	t.Helper()
	must(t, unix.Kill(f.Process.Pid(), unix.SIGKILL))
	<-f.Process.Exited()
	f.streams = nil
	f.CleanUp()
	f.judge(t)
}

// task makes a task from the text of its `config` block; it is gone when the test is.
func (f *fixture) task(t *testing.T, name, text string) *agent.Task {
	t.Helper()
	task, err := agent.NewTask(f.root, name)
	must(t, err)
	must(t, task.Configure(f.tasks, text))
	t.Cleanup(func() {
		task.Close()
		left := docker(t, "ps", "--all", "--quiet", "--filter", "label="+agent.Label+"="+task.Config.AllocId)
		equal(t, "what is left of a task", left, "")
	})
	return task
}

// run starts a task.
func (f *fixture) run(t *testing.T, name, text string) (*agent.Task, *drivers.TaskHandle) {
	t.Helper()
	task := f.task(t, name, text)
	started, err := f.StartTask(task.Config)
	must(t, err)
	f.await(task)
	return task, started.Handle
}

// await leaves a call open that waits for a task's end, as an agent has it for each.
func (f *fixture) await(task *agent.Task) {
	go func() {
		_, _ = f.Driver.WaitTask(context.Background(), &drivers.WaitTaskRequest{TaskId: task.Config.Id})
	}()
}

// destroy removes a task and asks that its container is gone.
func (f *fixture) destroy(t *testing.T, task *agent.Task) {
	t.Helper()
	must(t, f.DestroyTask(task.Config.Id))
	f.destroyed(t, task)
}

// destroyed asks that a task's container is gone.
func (*fixture) destroyed(t *testing.T, task *agent.Task) {
	t.Helper()
	left := docker(t, "ps", "--all", "--quiet", "--filter", "name=^/"+task.Container()+"$")
	equal(t, "the container after DestroyTask", left, "")
}
