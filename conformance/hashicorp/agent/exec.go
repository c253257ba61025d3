package agent

import (
	"context"
	"errors"
	"fmt"
	"io"

	"longshore/conformance/hashicorp/checks"
	"longshore/conformance/hashicorp/gen/drivers"
)

// Exec is a command that runs in a task with its streams attached. As an agent's, its requests are never half-closed.
type Exec struct {
	stream drivers.Driver_ExecTaskStreamingClient
	cancel context.CancelFunc
	// Stdout is what came so far.
	Stdout []byte
	// Stderr is what came so far.
	Stderr []byte

	stdoutClosed, stderrClosed bool
}

// StartExec runs a command.
func (a *Agent) StartExec(id string, tty bool, command ...string) (*Exec, error) {
	if _, err := a.Capabilities(); err != nil {
		return nil, err
	}
	ctx, cancel := Patient()
	stream, err := a.Driver.ExecTaskStreaming(ctx)
	if err != nil {
		cancel()
		return nil, err
	}
	exec := &Exec{stream: stream, cancel: cancel}
	setup := &drivers.ExecTaskStreamingRequest_Setup{TaskId: id, Command: command, Tty: tty}
	return exec, exec.send(&drivers.ExecTaskStreamingRequest{Setup: setup})
}

// Send is the command's input.
func (e *Exec) Send(data []byte) error {
	return e.send(&drivers.ExecTaskStreamingRequest{Stdin: &drivers.ExecTaskStreamingIOOperation{Data: data}})
}

// CloseStdin is the end of the command's input.
func (e *Exec) CloseStdin() error {
	return e.send(&drivers.ExecTaskStreamingRequest{Stdin: &drivers.ExecTaskStreamingIOOperation{Close: true}})
}

// Resize sets the size of the terminal.
func (e *Exec) Resize(height, width int32) error {
	size := &drivers.ExecTaskStreamingRequest_TerminalSize{Height: height, Width: width}
	return e.send(&drivers.ExecTaskStreamingRequest{TtySize: size})
}

// Beat sends the message without content with which a connection is kept.
func (e *Exec) Beat() error { return e.send(&drivers.ExecTaskStreamingRequest{}) }

func (e *Exec) send(request *drivers.ExecTaskStreamingRequest) error {
	// At EOF the reason comes with the next answer.
	if err := e.stream.Send(request); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// Cancel gives the call up, as an agent does whose client has gone.
func (e *Exec) Cancel() { e.cancel() }

// Until receives output until it is as wanted.
func (e *Exec) Until(wanted func(stdout []byte) bool) error {
	for !wanted(e.Stdout) {
		got, err := e.stream.Recv()
		if err != nil {
			return err
		}
		if got.Exited {
			return fmt.Errorf("the command exited with %v and this output: %q", got.Result, e.Stdout)
		}
		e.take(got)
	}
	return nil
}

// Wait receives the rest and returns the exit code. The order of the last messages is a host's: both outputs' ends, the
// exit, and the end of the stream.
func (e *Exec) Wait() (int32, error) {
	defer e.cancel()
	for {
		got, err := e.stream.Recv()
		if err != nil {
			return 0, err
		}
		if !got.Exited {
			e.take(got)
			continue
		}
		if !e.stdoutClosed || !e.stderrClosed {
			return 0, errors.New("the command's exit came before the end of its output")
		}
		if got.Result == nil {
			return 0, &checks.Violation{Rule: checks.Complete, What: "ExecTaskStreaming answers without result"}
		}
		if _, err := e.stream.Recv(); !errors.Is(err, io.EOF) {
			return 0, fmt.Errorf("after the exit came %v instead of the stream's end", err)
		}
		return got.Result.ExitCode, nil
	}
}

func (e *Exec) take(got *drivers.ExecTaskStreamingResponse) {
	e.Stdout = append(e.Stdout, got.GetStdout().GetData()...)
	e.Stderr = append(e.Stderr, got.GetStderr().GetData()...)
	e.stdoutClosed = e.stdoutClosed || got.GetStdout().GetClose()
	e.stderrClosed = e.stderrClosed || got.GetStderr().GetClose()
}
