// Package agent does with a driver what a Nomad agent does, with HashiCorp's own plugin client.
package agent

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"

	"longshore/conformance/hashicorp/checks"
	"longshore/conformance/hashicorp/gen/base"
	"longshore/conformance/hashicorp/gen/drivers"
)

// Deadline is how long anything may take before it counts as failed.
const Deadline = 60 * time.Second

// Handshake is what agents and their plugins agree on.
var Handshake = plugin.HandshakeConfig{
	ProtocolVersion:  2,
	MagicCookieKey:   "NOMAD_PLUGIN_MAGIC_COOKIE",
	MagicCookieValue: "e4327c2e01eabfd75a8a67adb114fb34a757d57eee7728d857a8cec6e91a7255",
}

// Launch is how a plugin is started.
type Launch struct {
	// Program is the plugin's path.
	Program string
	// Kind is what is dispensed: `base` or `driver`.
	Kind string
	// Env are additions to the environment.
	Env []string
	// SocketDirectory is where the directory for its socket is made.
	SocketDirectory string
	// AutoMTLS encrypts the connection; agents leave it out.
	AutoMTLS bool
	// Multiplex asks for the broker's streams on the one connection; agents leave it out.
	Multiplex bool
}

// Agent is a connected plugin.
type Agent struct {
	Base   base.BasePluginClient
	Driver drivers.DriverClient
	// Conn is the connection itself, for calls that have no client.
	Conn *grpc.ClientConn
	// Process is nil when the plugin was found again and not started.
	Process *Process
	// Found are the rules that the plugin broke.
	Found *Violations
	// Habits are those of the tests that no real agent has.
	Habits *Violations

	client   *plugin.Client
	protocol plugin.ClientProtocol
	log      *lockedText
}

// Plugins are the names that agents know, each with the clients that it gets.
func Plugins(kinds ...string) plugin.PluginSet {
	set := plugin.PluginSet{}
	for _, kind := range kinds {
		set[kind] = &dispensed{}
	}
	return set
}

type dispensed struct {
	plugin.NetRPCUnsupportedPlugin
}

func (*dispensed) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error { return nil }

func (*dispensed) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return conn, nil
}

// Start launches a plugin and dispenses it.
func Start(launch Launch) (*Agent, error) {
	agent := &Agent{Found: &Violations{}, Habits: &Violations{}, log: &lockedText{}}
	config := agent.config(launch.Kind)
	config.UnixSocketConfig = &plugin.UnixSocketConfig{TempDir: launch.SocketDirectory}
	config.AutoMTLS = launch.AutoMTLS
	config.GRPCBrokerMultiplex = launch.Multiplex
	config.RunnerFunc = func(_ hclog.Logger, prepared *exec.Cmd, _ string) (runner.Runner, error) {
		command := exec.Command(launch.Program)
		command.Env = append(prepared.Env, launch.Env...)
		agent.Process = newProcess(command, agent.Found)
		return agent.Process, nil
	}
	return agent.connect(config, launch.Kind)
}

// StartAsAgents launches a driver with HashiCorp's own process runner, so that nothing stands between the two.
func StartAsAgents(program string) (*Agent, error) {
	agent := &Agent{Found: &Violations{}, Habits: &Violations{}, log: &lockedText{}}
	config := agent.config("driver")
	config.Cmd = exec.Command(program)
	return agent.connect(config, "driver")
}

// Reattach finds a driver again by its process and its socket.
func Reattach(pid int, socket string) (*Agent, error) {
	agent := &Agent{Found: &Violations{}, Habits: &Violations{}, log: &lockedText{}}
	config := agent.config("driver")
	config.Reattach = &plugin.ReattachConfig{
		Protocol: plugin.ProtocolGRPC,
		Addr:     &net.UnixAddr{Net: "unix", Name: socket},
		Pid:      pid,
	}
	return agent.connect(config, "driver")
}

func (a *Agent) config(kind string) *plugin.ClientConfig {
	return &plugin.ClientConfig{
		HandshakeConfig:  Handshake,
		Plugins:          Plugins(kind),
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		GRPCDialOptions:  (&habits{found: a.Habits}).options(),
		StartTimeout:     Deadline,
		Logger:           hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: (*logWriter)(a.log)}),
	}
}

func (a *Agent) connect(config *plugin.ClientConfig, kind string) (*Agent, error) {
	a.client = plugin.NewClient(config)
	protocol, err := a.client.Client()
	if err != nil {
		a.client.Kill()
		return nil, fmt.Errorf("failed to start the plugin: %w", err)
	}
	raw, err := protocol.Dispense(kind)
	if err != nil {
		a.client.Kill()
		return nil, fmt.Errorf("failed to dispense %s: %w", kind, err)
	}
	a.protocol = protocol
	a.Conn = raw.(*grpc.ClientConn)
	a.Base = base.NewBasePluginClient(a.Conn)
	a.Driver = drivers.NewDriverClient(a.Conn)
	return a, nil
}

// Ping asks for the plugin's health.
func (a *Agent) Ping() error { return a.protocol.Ping() }

// Socket is where the plugin listens.
func (a *Agent) Socket() string { return a.client.ReattachConfig().Addr.String() }

// Pid is the plugin's process, unless a runner of ours has it.
func (a *Agent) Pid() int { return a.client.ReattachConfig().Pid }

// Kill ends the plugin as an agent does: it is asked, and killed after 2 s.
func (a *Agent) Kill() {
	a.client.Kill()
	a.Found.Note(checks.EndedItself(a.wasKilled()))
}

func (a *Agent) wasKilled() bool {
	if a.Process != nil {
		return a.Process.killed.Load()
	}
	return strings.Contains(a.log.text(), "plugin failed to exit gracefully")
}

// CleanUp ends what is left of a plugin, however its test ended.
func (a *Agent) CleanUp() {
	a.client.Kill()
	if a.Process != nil {
		a.Process.endGroup()
	}
}

type logWriter lockedText

func (w *logWriter) Write(bytes []byte) (int, error) {
	(*lockedText)(w).add(bytes)
	return len(bytes), nil
}
