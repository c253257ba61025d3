package hashicorp_test

import (
	"context"
	"testing"
	"time"

	"longshore/conformance/hashicorp/agent"
	"longshore/conformance/hashicorp/checks"
	"longshore/conformance/hashicorp/gen/drivers"
)

// tour calls what the checks are about, and returns what they found.
func tour(t *testing.T, fault string, during func(*agent.Streams) error) []error {
	t.Helper()
	plugin, err := agent.Start(agent.Launch{
		Program: program(t, "faulty"), Kind: "driver", SocketDirectory: directory(t),
		Env: []string{"LONGSHORE_FAULT=" + fault},
	})
	must(t, err)
	defer plugin.CleanUp()
	must(t, plugin.SetConfig(nil, nil))
	_, err = plugin.Capabilities()
	must(t, err)
	streams, err := plugin.OpenStreams()
	must(t, err)
	_, err = streams.Fingerprints.Wait(func(*drivers.FingerprintResponse) bool { return true })
	must(t, err)
	_, err = plugin.CreateNetwork("alloc", "")
	must(t, err)
	_, err = plugin.StartTask(&drivers.TaskConfig{Id: "task"})
	must(t, err)
	_, err = plugin.InspectTask("task")
	must(t, err)
	_, err = plugin.ExecTask("task", "true")
	must(t, err)
	next, err := plugin.Stats(context.Background(), "task", time.Second)
	must(t, err)
	_, err = next()
	must(t, err)
	_, err = plugin.WaitTask("task")
	must(t, err)
	must(t, during(streams))
	streams.Close(plugin.Found)
	plugin.Kill()
	return plugin.Found.All()
}

func nothing(*agent.Streams) error { return nil }

func TestAPluginWithoutFaultPassesAllChecks(t *testing.T) {
	if found := tour(t, "", nothing); len(found) > 0 {
		t.Fatalf("found %v", found)
	}
}

func TestEachCheckReportsItsFaultAndNoOther(t *testing.T) {
	fingerprintEnded := func(s *agent.Streams) error { return s.Fingerprints.WaitEnded() }
	eventsEnded := func(s *agent.Streams) error { return s.Events.WaitEnded() }
	faults := []struct {
		name   string
		rule   checks.Rule
		what   string
		during func(*agent.Streams) error
	}{
		{"StartTask handle", checks.Complete, "StartTask answers without handle", nothing},
		{"StartTask config", checks.Complete, "StartTask answers without handle.config", nothing},
		{"StartTask id", checks.Complete, "StartTask answers without handle.config.id", nothing},
		{"StartTask network_override", checks.Complete, "StartTask answers without network_override", nothing},
		{"InspectTask task", checks.Complete, "InspectTask answers without task", nothing},
		{"InspectTask started_at", checks.Complete, "InspectTask answers without task.started_at", nothing},
		{"InspectTask completed_at", checks.Complete, "InspectTask answers without task.completed_at", nothing},
		{"InspectTask result", checks.Complete, "InspectTask answers without task.result", nothing},
		{"InspectTask driver", checks.Complete, "InspectTask answers without driver", nothing},
		{"ExecTask result", checks.Complete, "ExecTask answers without result", nothing},
		{"WaitTask result", checks.Complete, "WaitTask answers without result", nothing},
		{"TaskStats stats", checks.Complete, "TaskStats answers without stats", nothing},
		{"TaskStats timestamp", checks.Complete, "TaskStats answers without stats.timestamp", nothing},
		{"TaskStats agg_resource_usage", checks.Complete, "TaskStats answers without stats.agg_resource_usage", nothing},
		{"Capabilities capabilities", checks.Complete, "Capabilities answers without capabilities", nothing},
		{"CreateNetwork isolation_spec", checks.Complete, "CreateNetwork answers without isolation_spec", nothing},
		{"@message", checks.LogLine, "@message is no string but float64", nothing},
		{"@level", checks.LogLine, "@level is no string but bool", nothing},
		{"@timestamp", checks.LogLine, "@timestamp is no string but float64", nothing},
		{"no JSON", checks.LogLine, `"configured" is no JSON object`, nothing},
		{"ended Fingerprint stream", checks.FingerprintOpen, "it ended: EOF", fingerprintEnded},
		{"ended TaskEvents stream", checks.TaskEventsOpen, "it ended: EOF", eventsEnded},
		{"held stdout", checks.PipesReleased, "stdout is held after the exit", nothing},
		{"held stderr", checks.PipesReleased, "stderr is held after the exit", nothing},
		{"slow exit", checks.ExitInTime, "the process was killed 2 s after it was asked to end", nothing},
	}
	for _, fault := range faults {
		t.Run(fault.name, func(t *testing.T) {
			t.Parallel()
			expected := checks.Violation{Rule: fault.rule, What: fault.what}

			found := tour(t, fault.name, fault.during)

			if len(found) != 1 || found[0].Error() != expected.Error() {
				t.Errorf("found %q instead of %q alone", found, expected.Error())
			}
		})
	}
}

func TestATimestampInAnotherFormIsReported(t *testing.T) {
	found := tour(t, "@timestamp form", nothing)

	if len(found) != 1 {
		t.Fatalf("found %v", found)
	}
	violation, ok := found[0].(*checks.Violation)
	if !ok || violation.Rule != checks.LogLine {
		t.Fatalf("found %v", found)
	}
}
