package hashicorp_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"golang.org/x/sys/unix"

	"longshore/conformance/hashicorp/agent"
	"longshore/conformance/hashicorp/gen/drivers"
	"longshore/conformance/hashicorp/state"
)

// counting writes numbered lines to standard output, for every tenth one to standard error, and ends on TERM, never between the two.
const counting = `trap 'asked=1' TERM; n=0; until [ "$asked" ]; do n=$((n+1)); echo "a $n"; [ $((n%10)) = 0 ] && echo "e $((n/10))" >&2; usleep 500; done; echo end; echo end >&2`

// builtIn is a running task as the driver built into Nomad leaves it: with its state, and its logger at work.
type builtIn struct {
	task   *agent.Task
	handle *drivers.TaskHandle
	logger *plugin.Client
	pid    int
}

// builtInTask makes such a task. It is started by a driver that collects no log, whose place the logger takes.
func builtInTask(t *testing.T, root, text string, env ...string) *builtIn {
	t.Helper()
	starter := launch(t, "disable_log_collection = true")
	task, err := agent.NewTask(root, "web")
	must(t, err)
	t.Cleanup(task.Close)
	must(t, task.Configure(starter.tasks, text))
	started, err := starter.StartTask(task.Config)
	must(t, err)
	starter.end(t)

	built := &builtIn{task: task, handle: started.Handle}
	built.startLogger(t, env...)
	built.handle.DriverState = built.state(t)
	return built
}

// startLogger starts a logger for the task, as the built-in driver does.
func (b *builtIn) startLogger(t *testing.T, env ...string) {
	t.Helper()
	container := docker(t, "inspect", "--format", "{{.Id}}", b.task.Container())
	command := exec.Command(program(t, "dockerlogger"), "docker_logger")
	command.Env = append(append(os.Environ(), env...), "LONGSHORE_LOGGER_CONTAINER="+container,
		"LONGSHORE_LOGGER_STDOUT="+b.task.Stdout.Path, "LONGSHORE_LOGGER_STDERR="+b.task.Stderr.Path)
	b.logger = plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  agent.Handshake,
		Plugins:          agent.Plugins("docker_logger"),
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		Cmd:              command,
		StartTimeout:     agent.Deadline,
		Logger:           hclog.NewNullLogger(),
	})
	t.Cleanup(func() { _ = command.Process.Kill() })
	_, err := b.logger.Start()
	must(t, err)
	b.pid = b.logger.ReattachConfig().Pid
}

// state is what the built-in driver keeps of the task.
func (b *builtIn) state(t *testing.T) []byte {
	t.Helper()
	found := b.logger.ReattachConfig()
	bytes, err := state.Encode(&state.TaskState{
		ReattachConfig: &state.ReattachConfig{
			Protocol: string(found.Protocol), Network: found.Addr.Network(), Addr: found.Addr.String(), Pid: found.Pid,
		},
		ContainerID:   docker(t, "inspect", "--format", "{{.Id}}", b.task.Container()),
		DriverNetwork: &state.DriverNetwork{PortMap: map[string]int{"http": 80}},
	})
	must(t, err)
	return bytes
}

// isGone asks whether the logger's process has ended.
func (b *builtIn) isGone() bool { return b.logger.Exited() || unix.Kill(b.pid, 0) != nil }

// wrote waits until more than so many lines have come, and tells the last one's number.
func (b *builtIn) wrote(t *testing.T, lines int) int {
	t.Helper()
	must(t, b.task.Stdout.Wait("the next lines", func(text string) bool { return lastLine(text, "a") > lines }))
	return lastLine(b.task.Stdout.Text(), "a")
}

// ended stops the task and waits for its last line, of each stream.
func (b *builtIn) ended(t *testing.T, f *fixture) {
	t.Helper()
	must(t, f.StopTask(b.task.Config.Id, agent.Deadline, "SIGTERM"))
	_, err := f.WaitTask(b.task.Config.Id)
	must(t, err)
	must(t, b.task.Stdout.WaitFor("end\n"))
	must(t, b.task.Stderr.WaitFor("end\n"))
}

// allCame asks that every line came once and in order.
func (b *builtIn) allCame(t *testing.T) {
	t.Helper()
	out, _ := strings.CutSuffix(b.task.Stdout.Text(), "end\n")
	last := lastLine(out, "a")
	equal(t, "stdout", judge(out, "a", 1, last), allThere)
	errors, _ := strings.CutSuffix(b.task.Stderr.Text(), "end\n")
	equal(t, "stderr", judge(errors, "e", 1, last/10), allThere)
}

// upgraded takes the task over, lets it write on for a while, and judges its log.
func upgraded(t *testing.T, b *builtIn, f *fixture) {
	t.Helper()
	b.wrote(t, 200)

	must(t, f.RecoverTask(b.handle))

	if !b.isGone() {
		t.Error("the logger of the built-in driver runs on")
	}
	b.wrote(t, lastLine(b.task.Stdout.Text(), "a")+200)
	b.ended(t, f)
	b.allCame(t)
	f.destroy(t, b.task)
}

func TestATaskOfTheBuiltInDriverIsTakenOverAndNoLineIsLostOrDoubled(t *testing.T) {
	for attempt := range 3 {
		t.Run(fmt.Sprintf("attempt %d", attempt+1), func(t *testing.T) {
			t.Parallel()
			f := launch(t, "")
			upgraded(t, builtInTask(t, f.root, agent.Shell(counting)), f)
		})
	}
}

func TestALoggerThatDoesNotEndWhenAskedIsKilledBeforeOursForwards(t *testing.T) {
	t.Parallel()
	f := launch(t, "")
	upgraded(t, builtInTask(t, f.root, agent.Shell(counting), "LONGSHORE_LOGGER_DEAF=1"), f)
}

func TestALoggerThatAnswersNothingIsKilledBeforeOursForwards(t *testing.T) {
	t.Parallel()
	f := launch(t, "")
	b := builtInTask(t, f.root, agent.Shell(counting))
	b.wrote(t, 200)
	must(t, unix.Kill(b.pid, unix.SIGSTOP))

	upgraded(t, b, f)
}

func TestALoggerThatDiedLongAgoLeavesNoGap(t *testing.T) {
	t.Parallel()
	f := launch(t, "")
	b := builtInTask(t, f.root, agent.Shell(counting))
	b.wrote(t, 200)
	must(t, unix.Kill(b.pid, unix.SIGKILL))
	eventually(t, "the logger is gone", b.logger.Exited)
	// The agent's own restart, without which no other driver comes.
	b.task.Stdout.Reopen()
	b.task.Stderr.Reopen()

	upgraded(t, b, f)
}

func TestATaskThatFloodsItsLogIsTakenOverAndNoLineIsLostOrDoubled(t *testing.T) {
	t.Parallel()
	f := launch(t, "")
	const last = 200000
	script := fmt.Sprintf(`awk 'BEGIN { for (n = 1; n <= %d; n++) print "a " n }'; echo end; exec sleep 1000`, last)
	// Larger than the whole log: the engine's own API, by which the old logger reads, loses lines when files are rotated.
	whole := "\nlogging {\n type = \"json-file\"\n config = [{ max-size = \"100m\" }]\n}"
	b := builtInTask(t, f.root, agent.Shell(script)+whole)
	came := b.wrote(t, 20000)

	must(t, f.RecoverTask(b.handle))
	must(t, b.task.Stdout.WaitFor("end\n"))

	if came >= last {
		t.Log("the flood was over before the driver came")
	}
	out, _ := strings.CutSuffix(b.task.Stdout.Text(), "end\n")
	equal(t, "stdout", judge(out, "a", 1, last), allThere)
	f.destroy(t, b.task)
}

// A way back and forth: the built-in driver starts a logger for a task of ours, and no record of the task names it.
func TestALoggerThatNoStateNamesIsEndedBeforeOursForwards(t *testing.T) {
	t.Parallel()
	f := launch(t, "")
	task, handle := f.run(t, "web", agent.Shell(counting))
	b := &builtIn{task: task, handle: handle}
	b.wrote(t, 200)
	f.kill(t)
	// What of ours was still in the pipe comes before this.
	must(t, os.WriteFile(b.task.Stdout.Path, []byte("killed\n"), 0))
	must(t, b.task.Stdout.WaitFor("killed\n"))
	ours := b.task.Stdout.Text()
	b.startLogger(t, "LONGSHORE_LOGGER_NEW=1")
	// By its number the first line after the gap might do, which is too short to be looked up.
	must(t, b.task.Stdout.Wait("the logger's lines", func(text string) bool {
		return strings.Count(text[len(ours):], "\n") > 200
	}))
	last := lastLine(b.task.Stdout.Text(), "a")

	f = launch(t, "")
	must(t, f.RecoverTask(handle))

	if !b.isGone() {
		t.Error("the logger of the built-in driver runs on")
	}
	b.wrote(t, last+200)
	b.ended(t, f)
	// From the built-in driver's first whole line on: what it leaves out before is its own.
	out, _ := strings.CutSuffix(b.task.Stdout.Text(), "end\n")
	theirs := strings.TrimPrefix(out, ours)
	first, _ := numberOf(theirs[:strings.IndexByte(theirs, '\n')+1], "a")
	equal(t, "stdout", judge(theirs, "a", first, lastLine(theirs, "a")), allThere)
	f.destroy(t, task)
}

// Where the engine keeps the log in another form, where the old logger left off cannot be looked up.
func TestALogInAnotherFormIsTakenOverWithoutDoublingALine(t *testing.T) {
	t.Parallel()
	f := launch(t, "")
	local := "\nlogging {\n type = \"local\"\n}"
	b := builtInTask(t, f.root, agent.Shell(counting)+local)
	b.wrote(t, 200)

	must(t, f.RecoverTask(b.handle))

	b.wrote(t, lastLine(b.task.Stdout.Text(), "a")+200)
	b.ended(t, f)
	out, _ := strings.CutSuffix(b.task.Stdout.Text(), "end\n")
	if judged := judge(out, "a", 1, lastLine(out, "a")); !strings.HasSuffix(judged, " missing, 0 doubled, 0 out of order, 0 foreign") {
		t.Errorf("stdout is %s", judged)
	}
	event, err := f.streams.Events.Wait(func(event *drivers.DriverTaskEvent) bool { return event.TaskId == b.task.Config.Id })
	must(t, err)
	equal(t, "the event", event.Message,
		"earlier log lines are not collected: there is no record of what was collected before")
	f.destroy(t, b.task)
}
