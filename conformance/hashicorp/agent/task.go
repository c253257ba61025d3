package agent

import (
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"longshore/conformance/hashicorp/gen/drivers"
	"longshore/conformance/hashicorp/gen/hclspec"
	"longshore/conformance/hashicorp/schema"
)

// Label is on everything that the tests make.
const Label = "longshore.test"

// Image is what the tests run: busybox.
func Image() string {
	if image := os.Getenv("LONGSHORE_TEST_IMAGE"); image != "" {
		return image
	}
	return "longshore-test/busybox:1"
}

// Task is a task to start, with the directories and pipes that an agent makes for it.
type Task struct {
	Config *drivers.TaskConfig
	Stdout *Fifo
	Stderr *Fifo
}

// NewTask makes a task's directories and pipes under root. Its configuration is yet to be set.
func NewTask(root, name string) (*Task, error) {
	alloc := NewAllocID()
	directory := filepath.Join(root, alloc)
	logs := filepath.Join(directory, "alloc", "logs")
	for _, part := range []string{
		"alloc/logs", "alloc/data", "alloc/tmp", name + "/local", name + "/secrets", name + "/tmp",
	} {
		if err := os.MkdirAll(filepath.Join(directory, part), 0o755); err != nil {
			return nil, err
		}
	}
	fifo := func(stream string) (*Fifo, error) {
		pipe := filepath.Join(logs, fmt.Sprintf(".%s.%s.fifo", name, stream))
		return NewFifo(pipe, filepath.Join(logs, fmt.Sprintf("%s.%s.0", name, stream)))
	}
	stdout, err := fifo("stdout")
	if err != nil {
		return nil, err
	}
	stderr, err := fifo("stderr")
	if err != nil {
		return nil, err
	}
	return &Task{Stdout: stdout, Stderr: stderr, Config: &drivers.TaskConfig{
		Id:            alloc + "/" + name + "/" + NewAllocID()[:8],
		Name:          name,
		AllocId:       alloc,
		AllocDir:      directory,
		JobId:         "job",
		JobName:       "job",
		TaskGroupName: "group",
		Namespace:     "default",
		NodeId:        "node-id",
		NodeName:      "node",
		StdoutPath:    stdout.Path,
		StderrPath:    stderr.Path,
		Env: map[string]string{
			"NOMAD_ALLOC_DIR":      "/alloc",
			"NOMAD_ALLOC_ID":       alloc,
			"NOMAD_ALLOC_INDEX":    "0",
			"NOMAD_ALLOC_NAME":     "job.group[0]",
			"NOMAD_CPU_CORES":      " ",
			"NOMAD_CPU_LIMIT":      "100",
			"NOMAD_DC":             "dc1",
			"NOMAD_GROUP_NAME":     "group",
			"NOMAD_JOB_ID":         "job",
			"NOMAD_JOB_NAME":       "job",
			"NOMAD_MEMORY_LIMIT":   "64",
			"NOMAD_NAMESPACE":      "default",
			"NOMAD_PARENT_CGROUP":  "nomad.slice",
			"NOMAD_REGION":         "global",
			"NOMAD_SECRETS_DIR":    "/secrets",
			"NOMAD_SHORT_ALLOC_ID": alloc[:8],
			"NOMAD_TASK_DIR":       "/local",
			"NOMAD_TASK_NAME":      name,
		},
		Resources: &drivers.Resources{
			AllocatedResources: &drivers.AllocatedTaskResources{
				Cpu:    &drivers.AllocatedCpuResources{CpuShares: 100},
				Memory: &drivers.AllocatedMemoryResources{MemoryMb: 64},
			},
			LinuxResources: &drivers.LinuxResources{
				CpuShares: 100, PercentTicks: 0.1, MemoryLimitBytes: 64 << 20, CpusetCgroup: "/sys/fs/cgroup/cpuset/nomad/share",
			},
		},
	}}, nil
}

// Configure sets the task's configuration from HCL text, decoded with the driver's schema. The tests' label is added.
func (t *Task) Configure(spec *hclspec.Spec, text string) error {
	config, err := schema.Encode(spec, fmt.Sprintf("%s\nlabels = [{ %q = %q }]", text, Label, t.Config.AllocId))
	t.Config.MsgpackDriverConfig = config
	return err
}

// Shell is the text of a configuration that runs a shell script.
func Shell(script string) string {
	return fmt.Sprintf("image = %q\nnetwork_mode = \"none\"\ncommand = \"/bin/sh\"\nargs = [\"-c\", <<-SCRIPT\n%s\nSCRIPT\n]", Image(), script)
}

// Container is the name of the task's container.
func (t *Task) Container() string { return t.Config.Name + "-" + t.Config.AllocId }

// Close removes what was made of the task, however its test ended.
func (t *Task) Close() {
	// It is gone already, as a rule.
	_ = exec.Command("docker", "rm", "--force", "--volumes", t.Container()).Run()
	t.Stdout.Close()
	t.Stderr.Close()
}

// NewAllocID makes the id of an allocation.
func NewAllocID() string {
	bytes := make([]byte, 16)
	_, _ = rand.Read(bytes) // never fails
	return fmt.Sprintf("%x-%x-%x-%x-%x", bytes[:4], bytes[4:6], bytes[6:8], bytes[8:10], bytes[10:])
}
