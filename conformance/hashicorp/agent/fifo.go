package agent

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Fifo is one of a task's outputs as an agent's log collector has it: a named pipe, opened for reading alone, once, and copied
// to a file up to the end of file.
type Fifo struct {
	Path string
	copy *os.File
	// done is closed when reading has ended.
	done chan struct{}

	lock    sync.Mutex
	pipe    *os.File
	closed  bool
	came    []byte
	changed chan struct{}
}

// NewFifo makes the pipe and reads it in the background, into a file as well.
func NewFifo(path, copyTo string) (*Fifo, error) {
	if err := unix.Mkfifo(path, 0o600); err != nil {
		return nil, err
	}
	kept, err := os.Create(copyTo)
	if err != nil {
		return nil, err
	}
	fifo := &Fifo{Path: path, copy: kept, done: make(chan struct{}), changed: make(chan struct{})}
	go fifo.read()
	return fifo, nil
}

func (f *Fifo) read() {
	defer close(f.done)
	// Returns when there is a writer.
	pipe, err := os.OpenFile(f.Path, os.O_RDONLY, 0)
	if err != nil {
		return
	}
	defer pipe.Close()
	f.lock.Lock()
	f.pipe = pipe
	closed := f.closed
	f.lock.Unlock()
	buffer := make([]byte, 256<<10)
	for !closed {
		count, err := pipe.Read(buffer)
		if err != nil {
			return
		}
		// A full disk is no reason to stop reading.
		_, _ = f.copy.Write(buffer[:count])
		f.lock.Lock()
		f.came = append(f.came, buffer[:count]...)
		close(f.changed)
		f.changed = make(chan struct{})
		f.lock.Unlock()
	}
}

// Reopen reads on, as an agent does that starts anew. The end of file must have come.
func (f *Fifo) Reopen() {
	<-f.done
	f.done = make(chan struct{})
	go f.read()
}

// Close ends reading.
func (f *Fifo) Close() {
	f.lock.Lock()
	f.closed = true
	if f.pipe != nil {
		f.pipe.Close()
	}
	f.lock.Unlock()
	for {
		// A reader that waits for a writer finds this one.
		if writer, err := unix.Open(f.Path, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0); err == nil {
			unix.Close(writer)
		} else if err == unix.ENOENT {
			break
		}
		select {
		case <-f.done:
		case <-time.After(time.Millisecond):
			continue
		}
		break
	}
	f.copy.Close()
}

// Text is what came so far.
func (f *Fifo) Text() string {
	f.lock.Lock()
	defer f.lock.Unlock()
	return string(f.came)
}

// Wait waits until what came is as wanted.
func (f *Fifo) Wait(what string, wanted func(text string) bool) error {
	deadline := time.After(Deadline)
	for {
		f.lock.Lock()
		text, changed := string(f.came), f.changed
		f.lock.Unlock()
		if wanted(text) {
			return nil
		}
		select {
		case <-changed:
		case <-deadline:
			return fmt.Errorf("%s did not come within %s, but %q", what, Deadline, text[max(0, len(text)-300):])
		}
	}
}

// WaitFor waits for a text.
func (f *Fifo) WaitFor(text string) error {
	return f.Wait(fmt.Sprintf("%q", text), func(came string) bool { return strings.Contains(came, text) })
}
