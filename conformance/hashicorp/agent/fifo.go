package agent

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Fifo is one of a task's outputs as an agent's log collector has it: a named pipe, and the file that it is copied to.
type Fifo struct {
	Path string
	pipe *os.File
	copy *os.File

	lock    sync.Mutex
	came    []byte
	changed chan struct{}
}

// NewFifo makes the pipe and reads it in the background, into a file as well.
func NewFifo(path, copyTo string) (*Fifo, error) {
	if err := unix.Mkfifo(path, 0o600); err != nil {
		return nil, err
	}
	// Open for writing as well: it lives on while no driver does.
	descriptor, err := unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	kept, err := os.Create(copyTo)
	if err != nil {
		return nil, err
	}
	fifo := &Fifo{Path: path, pipe: os.NewFile(uintptr(descriptor), path), copy: kept, changed: make(chan struct{})}
	go fifo.read()
	return fifo, nil
}

func (f *Fifo) read() {
	buffer := make([]byte, 256<<10)
	for {
		count, err := f.pipe.Read(buffer)
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

// Close ends reading.
func (f *Fifo) Close() {
	f.pipe.Close()
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
