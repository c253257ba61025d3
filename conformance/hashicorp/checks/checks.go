// Package checks has what hosts rely on without looking: each broken reliance makes an agent panic, spin or hang.
//
// The suite asks them of every answer of the driver under test; the deliberately wrong plugin in ../faulty shows that each
// of them sees its fault.
package checks

import (
	"encoding/json"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"longshore/conformance/hashicorp/gen/drivers"
)

// Rule names what a host relies on.
type Rule string

// What hosts rely on.
const (
	// Complete: the parts of an answer that the host dereferences are there.
	Complete Rule = "complete answer"
	// LogLine: the three keys of a log line are strings. The host asserts the type, and panics.
	LogLine Rule = "log line"
	// FingerprintOpen: the stream goes on. The host opens an ended one anew at once, without end.
	FingerprintOpen Rule = "open Fingerprint stream"
	// TaskEventsOpen: the stream goes on, for the same reason.
	TaskEventsOpen Rule = "open TaskEvents stream"
	// PipesReleased: nobody holds the plugin's output after its exit. The host waits for its end before the plugin is over.
	PipesReleased Rule = "released pipes"
	// ExitInTime: the process ends within 2 s of GRPCController.Shutdown. The host kills it then.
	ExitInTime Rule = "exit in time"
)

// TimestampForm is the form of `@timestamp`, of which the host knows no other.
const TimestampForm = "2006-01-02T15:04:05.000000Z07:00"

// Violation is a broken rule.
type Violation struct {
	Rule Rule
	What string
}

func (v *Violation) Error() string { return fmt.Sprintf("%s: %s", v.Rule, v.What) }

func broken(rule Rule, format string, values ...any) error {
	return &Violation{Rule: rule, What: fmt.Sprintf(format, values...)}
}

// absent reports the first part that is not there.
func absent(call string, parts ...part) error {
	for _, part := range parts {
		if !part.there {
			return broken(Complete, "%s answers without %s", call, part.name)
		}
	}
	return nil
}

type part struct {
	name  string
	there bool
}

// StartTask asks for what the host keeps of a started task: its id for all later calls, the rest for a recovery.
func StartTask(sent *drivers.TaskConfig, got *drivers.StartTaskResponse) error {
	echo := got.GetHandle().GetConfig()
	return absent("StartTask",
		part{"handle", got.GetHandle() != nil},
		part{"handle.config", echo != nil},
		part{"handle.config.id", echo.GetId() == sent.GetId()},
		part{"handle.config.name", echo.GetName() == sent.GetName()},
		part{"handle.config.alloc_id", echo.GetAllocId() == sent.GetAllocId()},
		part{"handle.config.alloc_dir", echo.GetAllocDir() == sent.GetAllocDir()},
		part{"handle.config.stdout_path", echo.GetStdoutPath() == sent.GetStdoutPath()},
		part{"handle.config.stderr_path", echo.GetStderrPath() == sent.GetStderrPath()},
		part{"handle.driver_state", len(got.GetHandle().GetDriverState()) > 0},
		part{"network_override", got.GetNetworkOverride() != nil},
	)
}

// InspectTask asks for the two times and the result.
func InspectTask(got *drivers.InspectTaskResponse) error {
	task := got.GetTask()
	return absent("InspectTask",
		part{"task", task != nil},
		part{"task.started_at", isTime(task.GetStartedAt())},
		part{"task.completed_at", isTime(task.GetCompletedAt())},
		part{"task.result", task.GetResult() != nil},
		part{"driver", got.GetDriver() != nil},
	)
}

// WaitTask asks for the result.
func WaitTask(got *drivers.WaitTaskResponse) error {
	return absent("WaitTask", part{"result", got.GetResult() != nil})
}

// ExecTask asks for the result.
func ExecTask(got *drivers.ExecTaskResponse) error {
	return absent("ExecTask", part{"result", got.GetResult() != nil})
}

// TaskStats asks for the sample, its time and what it measured.
func TaskStats(got *drivers.TaskStatsResponse) error {
	stats := got.GetStats()
	return absent("TaskStats",
		part{"stats", stats != nil},
		part{"stats.timestamp", isTime(stats.GetTimestamp())},
		part{"stats.agg_resource_usage", stats.GetAggResourceUsage() != nil},
		part{"stats.agg_resource_usage.cpu", stats.GetAggResourceUsage().GetCpu() != nil},
		part{"stats.agg_resource_usage.memory", stats.GetAggResourceUsage().GetMemory() != nil},
	)
}

// Capabilities asks for the capabilities.
func Capabilities(got *drivers.CapabilitiesResponse) error {
	return absent("Capabilities", part{"capabilities", got.GetCapabilities() != nil})
}

// CreateNetwork asks for the network that tasks are to join.
func CreateNetwork(got *drivers.CreateNetworkResponse) error {
	return absent("CreateNetwork", part{"isolation_spec", got.GetIsolationSpec() != nil})
}

// TaskEvent asks for the event's time.
func TaskEvent(got *drivers.DriverTaskEvent) error {
	return absent("TaskEvents", part{"timestamp", isTime(got.GetTimestamp())})
}

func isTime(time *timestamppb.Timestamp) bool { return time.CheckValid() == nil }

// StderrLine asks that a line of the plugin's standard error does not make the host panic, and is seen as what it is.
func StderrLine(line []byte) error {
	var fields map[string]any
	if err := json.Unmarshal(line, &fields); err != nil {
		return broken(LogLine, "%q is no JSON object", line)
	}
	for _, key := range []string{"@message", "@level", "@timestamp"} {
		if value, ok := fields[key].(string); !ok {
			return broken(LogLine, "%s is no string but %T", key, fields[key])
		} else if key == "@timestamp" {
			if _, err := time.Parse(TimestampForm, value); err != nil {
				return broken(LogLine, "@timestamp %q has not the form %s", value, TimestampForm)
			}
		}
	}
	return nil
}

// StreamOpen asks that a stream has not ended; the error is what it ended with.
func StreamOpen(rule Rule, ended bool, with error) error {
	if !ended {
		return nil
	}
	return broken(rule, "it ended: %v", with)
}

// PipeReleased asks that an output of a plugin that has exited has no writer any more.
func PipeReleased(name string, released bool) error {
	if released {
		return nil
	}
	return broken(PipesReleased, "%s is held after the exit", name)
}

// EndedItself asks that the host did not have to kill the process.
func EndedItself(killed bool) error {
	if !killed {
		return nil
	}
	return broken(ExitInTime, "the process was killed 2 s after it was asked to end")
}
