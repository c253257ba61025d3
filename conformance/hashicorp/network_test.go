package hashicorp_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"longshore/conformance/hashicorp/agent"
	"longshore/conformance/hashicorp/gen/drivers"
)

// pauseImage makes an image of the test image that runs a command; the test image's own does not wait.
func pauseImage(t *testing.T, command string) string {
	t.Helper()
	name := "longshore-test/pause-go:" + agent.NewAllocID()[:8]
	container := docker(t, "create", "--label", agent.Label+"=pause", agent.Image())
	docker(t, "commit", "--change", "CMD "+command, container, name)
	docker(t, "rm", container)
	t.Cleanup(func() { docker(t, "rmi", name) })
	return name
}

func TestTheTasksOfAGroupShareTheNetworkThatIsMadeForThem(t *testing.T) {
	f := launch(t, fmt.Sprintf("infra_image = %q", pauseImage(t, `["sleep", "1000000"]`)))
	task := f.task(t, "web", strings.Replace(agent.Shell("hostname; sleep 1000"), "network_mode = \"none\"", "", 1))
	alloc := task.Config.AllocId
	// Should the test fail in between; it is gone as a rule.
	t.Cleanup(func() { _ = exec.Command("docker", "rm", "--force", "nomad_init_"+alloc).Run() })

	made, err := f.CreateNetwork(alloc, "web-1")
	must(t, err)
	found, err := f.CreateNetwork(alloc, "web-1")
	must(t, err)
	spec := made.IsolationSpec
	container := docker(t, "inspect", "--format", "{{.Id}}", "nomad_init_"+alloc)
	sandbox := docker(t, "inspect", "--format", "{{.NetworkSettings.SandboxKey}}", "nomad_init_"+alloc)
	equal(t, "created", made.Created, true)
	equal(t, "created the second time", found.Created, false)
	equal(t, "the mode", spec.Mode, drivers.NetworkIsolationSpec_GROUP)
	equal(t, "the container", spec.Labels["docker_sandbox_container_id"], container)
	// A driver may have names of its own for a namespace.
	named, err := os.Stat(spec.Path)
	must(t, err)
	namespace, err := os.Stat(sandbox)
	must(t, err)
	equal(t, "the path is the namespace's", os.SameFile(named, namespace), true)
	equal(t, "the hostname", spec.Labels["docker_sandbox_hostname"], "web-1")

	// As an agent does with the labels and the address that its network plugin gave.
	spec.HostsConfig = &drivers.HostsConfig{Hostname: "web-1", Address: "192.0.2.7"}
	task.Config.NetworkIsolationSpec = spec
	_, err = f.StartTask(task.Config)
	must(t, err)
	mode := docker(t, "inspect", "--format", "{{.HostConfig.NetworkMode}}", task.Container())
	equal(t, "the task's network", mode, "container:"+spec.Labels["docker_sandbox_container_id"])
	must(t, task.Stdout.WaitFor("web-1\n"))
	hosts, err := os.ReadFile(filepath.Join(task.Config.AllocDir, "hosts"))
	must(t, err)
	if !strings.Contains(string(hosts), "192.0.2.7 web-1") {
		t.Errorf("/etc/hosts is %q", hosts)
	}

	f.destroy(t, task)
	must(t, f.DestroyNetwork(alloc, spec))
	equal(t, "what is left", docker(t, "ps", "--all", "--quiet", "--filter", "name=nomad_init_"+alloc), "")
}

func TestANetworkThatWasNeverMadeIsDestroyedWithoutAWord(t *testing.T) {
	f := launch(t, "")

	must(t, f.DestroyNetwork(agent.NewAllocID(), &drivers.NetworkIsolationSpec{
		Mode: drivers.NetworkIsolationSpec_GROUP, Path: "/run/netns/gone", Labels: map[string]string{"docker_sandbox_container_id": "gone"},
	}))
}

func TestAPauseImageWhoseNameIsNoneIsNamed(t *testing.T) {
	f := launch(t, `infra_image = "No Image"`)

	_, err := f.CreateNetwork(agent.NewAllocID(), "")

	if err == nil || !strings.Contains(err.Error(), `unable to pull infra docker image "No Image": `) {
		t.Errorf("the error is %v", err)
	}
}

func TestAPauseContainerThatDoesNotStartIsRemoved(t *testing.T) {
	f := launch(t, fmt.Sprintf("infra_image = %q", pauseImage(t, `["/nowhere"]`)))
	alloc := agent.NewAllocID()

	_, err := f.CreateNetwork(alloc, "")

	if err == nil || !strings.Contains(err.Error(), "/nowhere") {
		t.Errorf("the error is %v", err)
	}
	equal(t, "what is left", docker(t, "ps", "--all", "--quiet", "--filter", "name=nomad_init_"+alloc), "")
}
