// Faulty is a driver plugin that does nothing, and does it right, unless LONGSHORE_FAULT names a fault that it is to have.
// It shows that each check of the suite sees its fault, and sees none where there is none.
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"longshore/conformance/hashicorp/agent"
	"longshore/conformance/hashicorp/checks"
	"longshore/conformance/hashicorp/gen/base"
	"longshore/conformance/hashicorp/gen/drivers"
)

var (
	fault = os.Getenv("LONGSHORE_FAULT")
	// HashiCorp's server replaces os.Stdout and os.Stderr when it has served its handshake.
	stdout, stderr = os.Stdout, os.Stderr
)

func main() {
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: agent.Handshake,
		Plugins:         plugin.PluginSet{"base": &served{}, "driver": &served{}},
		GRPCServer:      plugin.DefaultGRPCServer,
		Logger:          hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: stderr, JSONFormat: true}),
	})
	if fault == "slow exit" {
		time.Sleep(time.Hour)
	}
}

type served struct{ plugin.NetRPCUnsupportedPlugin }

func (*served) GRPCServer(_ *plugin.GRPCBroker, server *grpc.Server) error {
	if _, both := server.GetServiceInfo()[base.BasePlugin_ServiceDesc.ServiceName]; !both {
		base.RegisterBasePluginServer(server, &driver{})
		drivers.RegisterDriverServer(server, &driver{})
	}
	return nil
}

func (*served) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, fmt.Errorf("this is the plugin's end")
}

type driver struct {
	base.UnimplementedBasePluginServer
	drivers.UnimplementedDriverServer
}

// unless returns a part of an answer, but nil for the fault of that name.
func unless[T any](name string, part *T) *T {
	if fault == name {
		return nil
	}
	return part
}

func (*driver) SetConfig(context.Context, *base.SetConfigRequest) (*base.SetConfigResponse, error) {
	message, level, at := any("configured"), any("info"), any(time.Now().Format(checks.TimestampForm))
	switch fault {
	case "@message":
		message = 1
	case "@level":
		level = true
	case "@timestamp":
		at = time.Now().Unix()
	case "@timestamp form":
		at = time.Now().Format(time.RFC3339Nano)
	case "no JSON":
		fmt.Fprintln(stderr, "configured")
		return &base.SetConfigResponse{}, nil
	case "held stdout":
		return &base.SetConfigResponse{}, hold(func(child *exec.Cmd) { child.Stdout = stdout })
	case "held stderr":
		return &base.SetConfigResponse{}, hold(func(child *exec.Cmd) { child.Stderr = stderr })
	}
	text := func(value any) string {
		if text, ok := value.(string); ok {
			return fmt.Sprintf("%q", text)
		}
		return fmt.Sprint(value)
	}
	fmt.Fprintf(stderr, `{"@message":%s,"@level":%s,"@timestamp":%s}`+"\n", text(message), text(level), text(at))
	return &base.SetConfigResponse{}, nil
}

// hold starts a child that inherits an output, and outlives this process.
func hold(inherit func(*exec.Cmd)) error {
	child := exec.Command("sleep", "3600")
	inherit(child)
	return child.Start()
}

func (*driver) Fingerprint(_ *drivers.FingerprintRequest, stream grpc.ServerStreamingServer[drivers.FingerprintResponse]) error {
	if err := stream.Send(&drivers.FingerprintResponse{Health: drivers.FingerprintResponse_HEALTHY}); err != nil {
		return err
	}
	return keepUnless("ended Fingerprint stream", stream.Context())
}

func (*driver) TaskEvents(_ *drivers.TaskEventsRequest, stream grpc.ServerStreamingServer[drivers.DriverTaskEvent]) error {
	return keepUnless("ended TaskEvents stream", stream.Context())
}

func keepUnless(name string, ctx context.Context) error {
	if fault != name {
		<-ctx.Done()
	}
	return nil
}

func (*driver) StartTask(_ context.Context, request *drivers.StartTaskRequest) (*drivers.StartTaskResponse, error) {
	config := request.Task
	if fault == "StartTask id" {
		config.Id = ""
	}
	return &drivers.StartTaskResponse{
		Handle: unless("StartTask handle", &drivers.TaskHandle{
			Version: 1, Config: unless("StartTask config", config), DriverState: []byte{0x80},
		}),
		NetworkOverride: unless("StartTask network_override", &drivers.NetworkOverride{}),
	}, nil
}

func (*driver) WaitTask(context.Context, *drivers.WaitTaskRequest) (*drivers.WaitTaskResponse, error) {
	return &drivers.WaitTaskResponse{Result: unless("WaitTask result", &drivers.ExitResult{})}, nil
}

func (*driver) InspectTask(context.Context, *drivers.InspectTaskRequest) (*drivers.InspectTaskResponse, error) {
	return &drivers.InspectTaskResponse{
		Task: unless("InspectTask task", &drivers.TaskStatus{
			StartedAt:   unless("InspectTask started_at", timestamppb.Now()),
			CompletedAt: unless("InspectTask completed_at", timestamppb.Now()),
			Result:      unless("InspectTask result", &drivers.ExitResult{}),
		}),
		Driver: unless("InspectTask driver", &drivers.TaskDriverStatus{}),
	}, nil
}

func (*driver) ExecTask(context.Context, *drivers.ExecTaskRequest) (*drivers.ExecTaskResponse, error) {
	return &drivers.ExecTaskResponse{Result: unless("ExecTask result", &drivers.ExitResult{})}, nil
}

func (*driver) TaskStats(_ *drivers.TaskStatsRequest, stream grpc.ServerStreamingServer[drivers.TaskStatsResponse]) error {
	return stream.Send(&drivers.TaskStatsResponse{Stats: unless("TaskStats stats", &drivers.TaskStats{
		Timestamp: unless("TaskStats timestamp", timestamppb.Now()),
		AggResourceUsage: unless("TaskStats agg_resource_usage", &drivers.TaskResourceUsage{
			Cpu: &drivers.CPUUsage{}, Memory: &drivers.MemoryUsage{},
		}),
	})})
}

func (*driver) TaskConfigSchema(context.Context, *drivers.TaskConfigSchemaRequest) (*drivers.TaskConfigSchemaResponse, error) {
	return &drivers.TaskConfigSchemaResponse{}, nil
}

func (*driver) Capabilities(context.Context, *drivers.CapabilitiesRequest) (*drivers.CapabilitiesResponse, error) {
	return &drivers.CapabilitiesResponse{Capabilities: unless("Capabilities capabilities", &drivers.DriverCapabilities{})}, nil
}

func (*driver) CreateNetwork(context.Context, *drivers.CreateNetworkRequest) (*drivers.CreateNetworkResponse, error) {
	return &drivers.CreateNetworkResponse{
		IsolationSpec: unless("CreateNetwork isolation_spec", &drivers.NetworkIsolationSpec{}),
	}, nil
}
