package agent

import (
	"context"
	"fmt"
	"sync"
	"time"

	"longshore/conformance/hashicorp/checks"
	"longshore/conformance/hashicorp/gen/drivers"
)

// Streams are the two that an agent keeps open for as long as it has the driver.
type Streams struct {
	Fingerprints Stream[*drivers.FingerprintResponse]
	Events       Stream[*drivers.DriverTaskEvent]
	close        context.CancelFunc
}

// OpenStreams opens both.
func (a *Agent) OpenStreams() (*Streams, error) {
	ctx, cancel := context.WithCancel(context.Background())
	streams := &Streams{close: cancel}
	fingerprints, err := a.Driver.Fingerprint(ctx, &drivers.FingerprintRequest{})
	if err != nil {
		cancel()
		return nil, err
	}
	events, err := a.Driver.TaskEvents(ctx, &drivers.TaskEventsRequest{})
	if err != nil {
		cancel()
		return nil, err
	}
	streams.Fingerprints.read(fingerprints.Recv)
	streams.Events.read(func() (*drivers.DriverTaskEvent, error) {
		event, err := events.Recv()
		if err == nil {
			a.Found.Note(checks.TaskEvent(event))
		}
		return event, err
	})
	return streams, nil
}

// Close asks whether both are still open, notes it, and closes them.
func (s *Streams) Close(found *Violations) {
	ended, with := s.Fingerprints.Ended()
	found.Note(checks.StreamOpen(checks.FingerprintOpen, ended, with))
	ended, with = s.Events.Ended()
	found.Note(checks.StreamOpen(checks.TaskEventsOpen, ended, with))
	s.close()
}

// Stream keeps all that came on a stream.
type Stream[T any] struct {
	lock    sync.Mutex
	came    []T
	ended   bool
	with    error
	changed chan struct{}
}

func (s *Stream[T]) read(receive func() (T, error)) {
	s.changed = make(chan struct{})
	go func() {
		for {
			message, err := receive()
			s.lock.Lock()
			if err != nil {
				s.ended, s.with = true, err
			} else {
				s.came = append(s.came, message)
			}
			close(s.changed)
			s.changed = make(chan struct{})
			s.lock.Unlock()
			if err != nil {
				return
			}
		}
	}()
}

// Ended says whether the stream has ended, and with what.
func (s *Stream[T]) Ended() (bool, error) {
	s.lock.Lock()
	defer s.lock.Unlock()
	return s.ended, s.with
}

// Wait waits for a message that is wanted; what came before counts.
func (s *Stream[T]) Wait(wanted func(T) bool) (T, error) {
	seen := 0
	return waitFor(s, func() (T, bool) {
		for ; seen < len(s.came); seen++ {
			if wanted(s.came[seen]) {
				return s.came[seen], true
			}
		}
		var none T
		return none, false
	})
}

// WaitEnded waits until the stream has ended.
func (s *Stream[T]) WaitEnded() error {
	_, err := waitFor(s, func() (bool, bool) { return s.ended, s.ended })
	if s.ended {
		return nil
	}
	return err
}

func waitFor[T, R any](s *Stream[T], done func() (R, bool)) (R, error) {
	deadline := time.After(Deadline)
	for {
		s.lock.Lock()
		result, ok := done()
		ended, with, changed := s.ended, s.with, s.changed
		s.lock.Unlock()
		if ok {
			return result, nil
		}
		if ended {
			return result, fmt.Errorf("the stream ended: %w", with)
		}
		select {
		case <-changed:
		case <-deadline:
			return result, fmt.Errorf("it did not come within %s", Deadline)
		}
	}
}
