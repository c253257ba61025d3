package hashicorp_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"longshore/conformance/hashicorp/agent"
	"longshore/conformance/hashicorp/gen/base"
	"longshore/conformance/hashicorp/gen/drivers"
)

// agentMode makes this test binary the agent that is to be killed.
const agentMode = "LONGSHORE_AGENT_TO_BE_KILLED"

// left is what an agent has on its disk of a driver and its tasks.
type left struct {
	Pid     int
	Socket  string
	Handles [][]byte
}

// runAgentToBeKilled starts the driver exactly as an agent does, and the tasks that it reads; tells what it would have on
// its disk; and goes on until it is killed.
func runAgentToBeKilled() {
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	var tasks [][]byte
	input := json.NewDecoder(os.Stdin)
	fail(input.Decode(&tasks))
	started, err := agent.StartAsAgents(os.Getenv("LONGSHORE_DRIVER"))
	fail(err)
	fail(started.SetConfig([]byte{0x80}, nomadConfig()))
	fail(started.Init())
	_, err = started.OpenStreams()
	fail(err)
	found := left{Pid: started.Pid(), Socket: started.Socket()}
	for _, bytes := range tasks {
		task := &drivers.TaskConfig{}
		fail(proto.Unmarshal(bytes, task))
		got, err := started.StartTask(task)
		fail(err)
		// What an agent holds on each task's behalf while it lives.
		go func() {
			_, _ = started.Driver.WaitTask(context.Background(), &drivers.WaitTaskRequest{TaskId: task.Id})
		}()
		next, err := started.Stats(context.Background(), task.Id, time.Second)
		fail(err)
		go func() {
			for _, err := next(); err == nil; _, err = next() {
			}
		}()
		handle, err := proto.Marshal(got.Handle)
		fail(err)
		found.Handles = append(found.Handles, handle)
	}
	for _, violation := range started.Found.All() {
		fail(violation)
	}
	fail(json.NewEncoder(os.Stdout).Encode(found))
	_, _ = io.Copy(io.Discard, os.Stdin) // for ever, unless the test itself is gone
	os.Exit(1)
}

// killedAgent runs an agent with these tasks, and kills it with SIGKILL when they run.
func killedAgent(t *testing.T, tasks ...*agent.Task) (left, []*drivers.TaskHandle) {
	t.Helper()
	own, err := os.Executable()
	must(t, err)
	command := exec.Command(own)
	command.Env = append(os.Environ(), agentMode+"=1", "LONGSHORE_DRIVER="+driverBinary(t))
	command.Stderr = os.Stderr
	input, err := command.StdinPipe()
	must(t, err)
	output, err := command.StdoutPipe()
	must(t, err)
	must(t, command.Start())
	var configs [][]byte
	for _, task := range tasks {
		config, err := proto.Marshal(task.Config)
		must(t, err)
		configs = append(configs, config)
	}
	must(t, json.NewEncoder(input).Encode(configs))
	var found left
	must(t, json.NewDecoder(output).Decode(&found))
	must(t, command.Process.Kill())
	if err := command.Wait(); err == nil {
		t.Fatal("the agent ended by itself")
	}
	input.Close()
	// The orphan's end must be seen by its new parent, or it is a zombie, which counts as a living process.
	go func() { _, _ = unix.Wait4(found.Pid, nil, 0, nil) }()
	t.Cleanup(func() { _ = os.Remove(found.Socket) })
	var handles []*drivers.TaskHandle
	for _, bytes := range found.Handles {
		handle := &drivers.TaskHandle{}
		must(t, proto.Unmarshal(bytes, handle))
		handles = append(handles, handle)
	}
	return found, handles
}

func TestADriverWhoseAgentWasKilledIsFoundAgainAndWorksOn(t *testing.T) {
	// A task's configuration is made with a schema, and this agent has no driver yet.
	schemas := launch(t, "")
	web := schemas.task(t, "web", agent.Shell(waiting))
	quick := schemas.task(t, "quick", agent.Shell("exit 6"))

	found, handles := killedAgent(t, web, quick)
	must(t, web.Stdout.WaitFor("ready\n"))
	connected, err := agent.Reattach(found.Pid, found.Socket)
	must(t, err)
	t.Cleanup(connected.CleanUp)
	// No SetConfig.
	info, err := connected.PluginInfo()
	must(t, err)
	equal(t, "the plugin's type", info.Type, base.PluginType_DRIVER)
	f := use(t, connected, schemas.root)
	_, err = f.streams.Fingerprints.Wait(healthy)
	must(t, err)
	for _, handle := range handles {
		must(t, f.RecoverTask(handle))
	}
	id := web.Config.Id

	inspected, err := f.InspectTask(id)
	must(t, err)
	equal(t, "the state", inspected.Task.State, drivers.TaskState_RUNNING)
	must(t, f.SignalTask(id, "SIGUSR1"))
	must(t, web.Stdout.WaitFor("got USR1\n"))
	executed, err := f.ExecTask(id, "echo", "inside")
	must(t, err)
	equal(t, "the command's output", string(executed.Stdout), "inside\n")
	must(t, f.StopTask(id, agent.Deadline, ""))
	ended, err := f.WaitTask(id)
	must(t, err)
	equal(t, "the code", ended.Result.ExitCode, 7)
	ended, err = f.WaitTask(quick.Config.Id)
	must(t, err)
	equal(t, "the code of the one that ended meanwhile", ended.Result.ExitCode, 6)
	equal(t, "what it wrote", web.Stdout.Text(), "ready\ngot USR1\nbye\n")
	f.destroy(t, web)
	f.destroy(t, quick)
	f.end(t)
	if err := unix.Kill(found.Pid, 0); err == nil {
		t.Error("the driver's process is left")
	}
}

func TestANewDriverTakesTasksBackFromHandlesWithoutAConfiguration(t *testing.T) {
	first := launch(t, "")
	web, handle := first.run(t, "web", agent.Shell(waiting))
	quick, quickHandle := first.run(t, "quick", agent.Shell("read line </proc/1/comm; sleep 0.3; exit 6"))
	gone, goneHandle := first.run(t, "gone", agent.Shell("sleep 1000"))
	must(t, web.Stdout.WaitFor("ready\n"))
	first.destroy(t, gone)
	first.kill(t)

	f := launch(t, "")
	// All at once, and those as well that were destroyed long ago.
	recovered := map[*drivers.TaskHandle]chan error{handle: make(chan error), quickHandle: make(chan error), goneHandle: make(chan error)}
	for handle, result := range recovered {
		go func() { result <- f.RecoverTask(handle) }()
	}
	must(t, <-recovered[handle])
	must(t, <-recovered[quickHandle])
	if err := <-recovered[goneHandle]; err == nil || !strings.Contains(err.Error(), "failed to inspect container for id ") {
		t.Errorf("the error of a task that was destroyed is %v", err)
	}
	must(t, f.RecoverTask(handle)) // known by now
	f.await(web)

	must(t, f.SignalTask(web.Config.Id, "SIGUSR1"))
	must(t, web.Stdout.WaitFor("got USR1\n"))
	ended, err := f.WaitTask(quick.Config.Id)
	must(t, err)
	equal(t, "the code of the one that ended meanwhile", ended.Result.ExitCode, 6)
	must(t, f.StopTask(web.Config.Id, agent.Deadline, ""))
	equal(t, "what it wrote", web.Stdout.Text(), "ready\ngot USR1\nbye\n")
	f.destroy(t, web)
	f.destroy(t, quick)
}

func TestAHandleThatCannotBeReadIsRefused(t *testing.T) {
	f := launch(t, "")
	for name, problem := range map[string][2]string{
		"no msgpack":   {"\xc1", "failed to decode driver task state: "},
		"no container": {"\x80", "failed to decode driver task state: "},
		"a container that is gone": {
			"\x81\xabContainerID\xa4gone", `failed to inspect container for id "gone": `,
		},
	} {
		t.Run(name, func(t *testing.T) {
			task := f.task(t, "x", agent.Shell("true"))
			handle := &drivers.TaskHandle{Version: 1, Config: task.Config, DriverState: []byte(problem[0])}

			err := f.RecoverTask(handle)

			if err == nil || !strings.Contains(err.Error(), problem[1]) {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

// A credential helper runs while the driver ends: whatever becomes of it, it must not hold the driver's output, for the
// agent waits for that before the driver is over.
func TestACredentialHelperThatRunsOnDoesNotHoldTheDriversOutput(t *testing.T) {
	bin := directory(t)
	began := bin + "/began"
	helper := fmt.Sprintf("#!/bin/sh\necho $$ >%s.new\nmv %s.new %s\nexec sleep 1000\n", began, began, began)
	must(t, os.WriteFile(bin+"/docker-credential-longshore", []byte(helper), 0o755))
	f := launch(t, `auth { helper = "longshore" }`, "PATH="+bin+":"+os.Getenv("PATH"))
	task := f.task(t, "web", `image = "localhost:1/longshore-test/nowhere:1"`)
	go func() { _, _ = f.StartTask(task.Config) }()
	eventually(t, "the helper runs", func() bool { _, err := os.Stat(began); return err == nil })

	f.end(t)
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, met func() bool) {
	t.Helper()
	deadline := time.Now().Add(agent.Deadline)
	for !met() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", agent.Deadline, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
