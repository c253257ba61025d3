package agent

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"longshore/conformance/hashicorp/checks"
)

// pipeGraceMillis is how long a child that dies with the plugin may take to let go of its output.
const pipeGraceMillis = 2000

// Process runs a plugin for HashiCorp's client, and sees what the client's own runner does not tell: the raw lines of
// standard error, who holds the pipes after the exit, and whether the client had to kill it.
type Process struct {
	command *exec.Cmd
	found   *Violations
	stdout  *os.File
	lines   *io.PipeReader
	exited  chan struct{}
	ended   error
	checked chan struct{}
	killed  atomic.Bool
	log     lockedText
}

// newProcess prepares a command; what it violates is noted in found.
func newProcess(command *exec.Cmd, found *Violations) *Process {
	return &Process{command: command, found: found, exited: make(chan struct{}), checked: make(chan struct{})}
}

// Start starts the process in a group of its own, so that what it leaves behind can be ended with it.
func (p *Process) Start(context.Context) error {
	stdout, stdoutOfPlugin, err := os.Pipe()
	if err != nil {
		return err
	}
	stderr, stderrOfPlugin, err := os.Pipe()
	if err != nil {
		return err
	}
	p.command.Stdout, p.command.Stderr = stdoutOfPlugin, stderrOfPlugin
	p.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err = p.command.Start()
	stdoutOfPlugin.Close()
	stderrOfPlugin.Close()
	if err != nil {
		return err
	}
	p.stdout = stdout
	lines, toClient := io.Pipe()
	p.lines = lines
	go p.readStderr(stderr, toClient)
	go p.watch(stdout, stderr)
	return nil
}

// readStderr looks at each line before HashiCorp's client does, and keeps from it what would make it panic.
func (p *Process) readStderr(stderr io.Reader, toClient *io.PipeWriter) {
	defer toClient.Close()
	reader := bufio.NewReader(stderr)
	for {
		line, err := reader.ReadBytes('\n')
		if len(line) > 0 {
			p.log.add(line)
			violation := checks.StderrLine(trimNewline(line))
			p.found.Note(violation)
			if violation == nil {
				if _, err := toClient.Write(line); err != nil {
					return
				}
			}
		}
		if err != nil {
			return
		}
	}
}

func trimNewline(line []byte) []byte {
	if last := len(line) - 1; line[last] == '\n' {
		return line[:last]
	}
	return line
}

// watch waits for the exit, and then asks the kernel who still holds the pipes.
func (p *Process) watch(stdout, stderr *os.File) {
	p.ended = p.command.Wait()
	close(p.exited)
	for name, pipe := range map[string]*os.File{"stdout": stdout, "stderr": stderr} {
		violation := checks.PipeReleased(name, hasNoWriter(pipe))
		p.found.Note(violation)
		if violation != nil {
			// Or the client would wait for its end for ever, as an agent does.
			pipe.Close()
		}
	}
	close(p.checked)
}

func hasNoWriter(pipe *os.File) bool {
	raw, err := pipe.SyscallConn()
	if err != nil {
		return true // closed by its reader, at its end
	}
	released := true
	_ = raw.Control(func(descriptor uintptr) {
		state := []unix.PollFd{{Fd: int32(descriptor)}}
		for {
			_, err := unix.Poll(state, pipeGraceMillis)
			if err != unix.EINTR {
				break
			}
		}
		released = state[0].Revents&unix.POLLHUP != 0
	})
	return released
}

// Wait waits for the exit.
func (p *Process) Wait(context.Context) error {
	<-p.checked
	return p.ended
}

// Kill is what the client does when the process did not end by itself.
func (p *Process) Kill(context.Context) error {
	select {
	case <-p.exited:
		return nil
	default:
	}
	p.killed.Store(true)
	return p.command.Process.Kill()
}

// endGroup ends what the process left behind in its group.
func (p *Process) endGroup() {
	if process := p.command.Process; process != nil {
		_ = unix.Kill(-process.Pid, unix.SIGKILL)
	}
}

// Pid is the process's number.
func (p *Process) Pid() int { return p.command.Process.Pid }

// Exited is closed when the process has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Log is what came on standard error so far.
func (p *Process) Log() string { return p.log.text() }

// Stdout is for the client alone.
func (p *Process) Stdout() io.ReadCloser { return untilClosed{p.stdout} }

// Stderr is for the client alone.
func (p *Process) Stderr() io.ReadCloser { return p.lines }

// Name is the program.
func (p *Process) Name() string { return p.command.Path }

// ID is the process's number, for the client.
func (p *Process) ID() string {
	if p.command.Process == nil {
		return ""
	}
	return fmt.Sprint(p.command.Process.Pid)
}

// Diagnose tells what the process said before it ended.
func (p *Process) Diagnose(context.Context) string { return p.Log() }

// PluginToHost leaves the address as it is.
func (p *Process) PluginToHost(network, address string) (string, string, error) {
	return network, address, nil
}

// HostToPlugin leaves the address as it is.
func (p *Process) HostToPlugin(network, address string) (string, string, error) {
	return network, address, nil
}

// untilClosed makes an end of what was closed beneath a reader.
type untilClosed struct{ *os.File }

func (u untilClosed) Read(buffer []byte) (int, error) {
	count, err := u.File.Read(buffer)
	if err != nil {
		err = io.EOF
	}
	return count, err
}

type lockedText struct {
	lock  sync.Mutex
	bytes []byte
}

func (l *lockedText) add(bytes []byte) {
	l.lock.Lock()
	defer l.lock.Unlock()
	l.bytes = append(l.bytes, bytes...)
}

func (l *lockedText) text() string {
	l.lock.Lock()
	defer l.lock.Unlock()
	return string(l.bytes)
}
