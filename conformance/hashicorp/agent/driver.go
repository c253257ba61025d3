package agent

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"longshore/conformance/hashicorp/checks"
	"longshore/conformance/hashicorp/gen/base"
	"longshore/conformance/hashicorp/gen/drivers"
	"longshore/conformance/hashicorp/gen/hclspec"
)

// Patient gives a call up after the common deadline. As an agent's, the call itself has none.
func Patient() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	timer := time.AfterFunc(Deadline, cancel)
	return ctx, func() {
		timer.Stop()
		cancel()
	}
}

// call makes a call, and asks the checks of its answer.
func call[Q, R any](
	a *Agent,
	rpc func(context.Context, *Q, ...grpc.CallOption) (*R, error),
	request *Q,
	asked ...func(*R) error,
) (*R, error) {
	ctx, cancel := Patient()
	defer cancel()
	return callIn(ctx, a, rpc, request, asked...)
}

func callIn[Q, R any](
	ctx context.Context,
	a *Agent,
	rpc func(context.Context, *Q, ...grpc.CallOption) (*R, error),
	request *Q,
	asked ...func(*R) error,
) (*R, error) {
	got, err := rpc(ctx, request)
	if err == nil {
		for _, check := range asked {
			a.Found.Note(check(got))
		}
	}
	return got, err
}

// APIVersion is the version of the driver interface that agents ask for.
const APIVersion = "v0.1.0"

// PluginInfo asks who the plugin is.
func (a *Agent) PluginInfo() (*base.PluginInfoResponse, error) {
	return call(a, a.Base.PluginInfo, &base.PluginInfoRequest{})
}

// ConfigSchema asks for the schema of the plugin's configuration.
func (a *Agent) ConfigSchema() (*hclspec.Spec, error) {
	got, err := call(a, a.Base.ConfigSchema, &base.ConfigSchemaRequest{})
	return got.GetSpec(), err
}

// SetConfig configures the driver; nomad is nil when an agent only validates a configuration.
func (a *Agent) SetConfig(config []byte, nomad *base.NomadConfig) error {
	_, err := call(a, a.Base.SetConfig, &base.SetConfigRequest{
		MsgpackConfig: config, NomadConfig: nomad, PluginApiVersion: APIVersion,
	})
	return err
}

// Init tells the driver that it is in use; agents older than 2.0.4 do not.
func (a *Agent) Init() error {
	_, err := call(a, a.Driver.Init, &drivers.InitRequest{})
	return err
}

// Shutdown tells the driver that its agent ends in order.
func (a *Agent) Shutdown() error {
	ctx, cancel := context.WithTimeout(context.Background(), shutdown)
	defer cancel()
	_, err := callIn(ctx, a, a.Driver.Shutdown, &drivers.ShutdownRequest{})
	return err
}

// Capabilities asks what the driver can do.
func (a *Agent) Capabilities() (*drivers.DriverCapabilities, error) {
	got, err := call(a, a.Driver.Capabilities, &drivers.CapabilitiesRequest{}, checks.Capabilities)
	return got.GetCapabilities(), err
}

// TaskConfigSchema asks for the schema of a task's configuration.
func (a *Agent) TaskConfigSchema() (*hclspec.Spec, error) {
	got, err := call(a, a.Driver.TaskConfigSchema, &drivers.TaskConfigSchemaRequest{})
	return got.GetSpec(), err
}

// prepare asks what an agent asks before each task.
func (a *Agent) prepare() error {
	if _, err := a.TaskConfigSchema(); err != nil {
		return err
	}
	_, err := a.Capabilities()
	return err
}

// StartTask starts a task.
func (a *Agent) StartTask(task *drivers.TaskConfig) (*drivers.StartTaskResponse, error) {
	if err := a.prepare(); err != nil {
		return nil, err
	}
	whole := func(got *drivers.StartTaskResponse) error { return checks.StartTask(task, got) }
	return call(a, a.Driver.StartTask, &drivers.StartTaskRequest{Task: task}, whole)
}

// RecoverTask takes a task back. Its id is in the handle alone. As in an agent's database, that has no driver
// configuration.
func (a *Agent) RecoverTask(handle *drivers.TaskHandle) error {
	if err := a.prepare(); err != nil {
		return err
	}
	kept := proto.CloneOf(handle)
	kept.Config.MsgpackDriverConfig = nil
	_, err := call(a, a.Driver.RecoverTask, &drivers.RecoverTaskRequest{Handle: kept})
	return err
}

// WaitTask waits for a task's end.
func (a *Agent) WaitTask(id string) (*drivers.WaitTaskResponse, error) {
	return call(a, a.Driver.WaitTask, &drivers.WaitTaskRequest{TaskId: id}, checks.WaitTask)
}

// InspectTask asks for a task's state, as no agent does.
func (a *Agent) InspectTask(id string) (*drivers.InspectTaskResponse, error) {
	ctx, cancel := Patient()
	defer cancel()
	return callIn(Beyond(ctx), a, a.Driver.InspectTask, &drivers.InspectTaskRequest{TaskId: id}, checks.InspectTask)
}

// Stats opens the stream of samples; what it returns receives the next one.
func (a *Agent) Stats(ctx context.Context, id string, interval time.Duration) (func() (*drivers.TaskStats, error), error) {
	request := &drivers.TaskStatsRequest{TaskId: id, CollectionInterval: durationpb.New(interval)}
	stream, err := a.Driver.TaskStats(ctx, request)
	if err != nil {
		return nil, err
	}
	return func() (*drivers.TaskStats, error) {
		got, err := stream.Recv()
		if err == nil {
			a.Found.Note(checks.TaskStats(got))
		}
		return got.GetStats(), err
	}, nil
}

// SignalTask sends a signal.
func (a *Agent) SignalTask(id, signal string) error {
	_, err := call(a, a.Driver.SignalTask, &drivers.SignalTaskRequest{TaskId: id, Signal: signal})
	return err
}

// ExecTask runs a command in a task.
func (a *Agent) ExecTask(id string, command ...string) (*drivers.ExecTaskResponse, error) {
	return call(a, a.Driver.ExecTask, &drivers.ExecTaskRequest{
		TaskId: id, Command: command, Timeout: durationpb.New(Deadline),
	}, checks.ExecTask)
}

// StopTask stops a task; an empty signal is the image's own.
func (a *Agent) StopTask(id string, grace time.Duration, signal string) error {
	_, err := call(a, a.Driver.StopTask, &drivers.StopTaskRequest{
		TaskId: id, Timeout: durationpb.New(grace), Signal: signal,
	})
	return err
}

// DestroyTask removes a task.
func (a *Agent) DestroyTask(id string) error {
	_, err := call(a, a.Driver.DestroyTask, &drivers.DestroyTaskRequest{TaskId: id, Force: true})
	return err
}

// DestroyEndedTask removes a task without force, as no agent does.
func (a *Agent) DestroyEndedTask(id string) error {
	ctx, cancel := Patient()
	defer cancel()
	_, err := callIn(Beyond(ctx), a, a.Driver.DestroyTask, &drivers.DestroyTaskRequest{TaskId: id})
	return err
}

// CreateNetwork makes the network of an allocation.
func (a *Agent) CreateNetwork(alloc, hostname string) (*drivers.CreateNetworkResponse, error) {
	if _, err := a.Capabilities(); err != nil {
		return nil, err
	}
	request := &drivers.CreateNetworkRequest{AllocId: alloc, Hostname: hostname}
	return call(a, a.Driver.CreateNetwork, request, checks.CreateNetwork)
}

// DestroyNetwork removes it.
func (a *Agent) DestroyNetwork(alloc string, network *drivers.NetworkIsolationSpec) error {
	_, err := call(a, a.Driver.DestroyNetwork, &drivers.DestroyNetworkRequest{AllocId: alloc, IsolationSpec: network})
	return err
}
