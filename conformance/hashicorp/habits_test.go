package hashicorp_test

import (
	"strings"
	"testing"

	"longshore/conformance/hashicorp/agent"
	"longshore/conformance/hashicorp/gen/drivers"
)

func TestWhatNoAgentSetsAndWhatEveryAgentSetsIsReported(t *testing.T) {
	task, err := agent.NewTask(directory(t), "web")
	must(t, err)
	t.Cleanup(task.Close)
	task.Config.MsgpackDriverConfig = []byte{0x80}
	must(t, agent.Unlike("StartTask", &drivers.StartTaskRequest{Task: task.Config}))
	handle := &drivers.TaskHandle{Version: 1, Config: task.Config, DriverState: []byte{0x80}}
	must(t, agent.Unlike("RecoverTask", &drivers.RecoverTaskRequest{Handle: handle}))

	task.Config.ParentJobId = "parent"
	task.Config.Resources.LinuxResources.CpusetCgroup = ""
	delete(task.Config.Env, "NOMAD_DC")
	for text, unlike := range map[string]error{
		"RecoverTask sets task_id, which no agent does": agent.Unlike("RecoverTask", &drivers.RecoverTaskRequest{
			TaskId: "id", Handle: &drivers.TaskHandle{Version: 1, DriverState: []byte{0x80}},
		}),
		"StartTask sets task.parent_job_id, which no agent does": agent.Unlike("StartTask", &drivers.StartTaskRequest{Task: task.Config}),
		"no agent calls InspectTask":                             agent.Unlike("InspectTask", &drivers.InspectTaskRequest{}),
		"DestroyTask does not set force, which every agent does": agent.Unlike("DestroyTask", &drivers.DestroyTaskRequest{TaskId: "id"}),
	} {
		contains(t, unlike, text)
	}
	started := agent.Unlike("StartTask", &drivers.StartTaskRequest{Task: task.Config})
	contains(t, started, "StartTask does not set task.env{NOMAD_DC}, which every agent does")
	contains(t, started, "StartTask does not set task.resources.linux_resources.cpuset_cgroup, which every agent does")
}

func contains(t *testing.T, err error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("%q is not in %v", text, err)
	}
}
