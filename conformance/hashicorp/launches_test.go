package hashicorp_test

import (
	"context"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"longshore/conformance/hashicorp/agent"
	"longshore/conformance/hashicorp/gen/base"
	"longshore/conformance/hashicorp/schema"
)

// start starts the driver without configuring it.
func start(t *testing.T, kind string, env ...string) *agent.Agent {
	t.Helper()
	started, err := agent.Start(agent.Launch{
		Program: driverBinary(t), Kind: kind, SocketDirectory: directory(t), Env: env,
	})
	must(t, err)
	t.Cleanup(started.CleanUp)
	return started
}

// ends asks that the driver ends as it should, and what it broke.
func ends(t *testing.T, started *agent.Agent) {
	t.Helper()
	started.Kill()
	for _, violation := range slices.Concat(started.Found.All(), started.Habits.All()) {
		t.Error(violation)
	}
}

func TestTheFirstLaunchTellsWhoThePluginIsAndWhatConfiguresIt(t *testing.T) {
	plugin := start(t, "base")

	info, err := plugin.PluginInfo()
	must(t, err)
	spec, err := plugin.ConfigSchema()
	must(t, err)
	ends(t, plugin)

	equal(t, "the type", info.Type, base.PluginType_DRIVER)
	equal(t, "the name", info.Name, "docker")
	// A lower one would lose against the driver that is built in.
	equal(t, "the version", info.PluginVersion, "0.1.0")
	if !slices.Contains(info.PluginApiVersions, agent.APIVersion) {
		t.Errorf("the API versions are %v", info.PluginApiVersions)
	}
	if _, err := schema.Decoder(spec); err != nil {
		t.Errorf("HashiCorp's decoder refuses the schema: %v", err)
	}
}

// everyOption is the text of a plugin block's `config` with each option that there is.
const everyOption = `
	endpoint = "unix:///nowhere/docker.sock"
	auth {
		config = "/nowhere/config.json"
		helper = "nowhere"
	}
	tls {
		cert = "/nowhere/cert.pem"
		key  = "/nowhere/key.pem"
		ca   = "/nowhere/ca.pem"
	}
	extra_labels = ["job_name", "task*"]
	logging {
		type = "json-file"
		config { max-size = "1m" }
	}
	gc {
		image       = true
		image_delay = "1h"
		container   = false
		dangling_containers {
			enabled        = true
			period         = "10m"
			creation_grace = "20m"
			dry_run        = true
		}
	}
	volumes {
		enabled      = true
		selinuxlabel = "z"
	}
	allow_privileged          = true
	allow_caps                = ["chown", "net_raw"]
	nvidia_runtime            = "nvidia"
	allow_runtimes            = ["runc"]
	infra_image               = "pause:1"
	infra_image_pull_timeout  = "1m"
	image_pull_timeout        = "2m"
	container_exists_attempts = 3
	oom_score_adj             = 5
	pull_activity_timeout     = "3m"
	pids_limit                = 100
	disable_log_collection    = true
	windows_allow_insecure_container_admin = true
	allowed_modes {
		pid    = ["host"]
		ipc    = ["shareable"]
		userns = ["host"]
		uts    = ["host"]
	}
`

func TestTheSecondLaunchTakesAConfigurationTwiceWithoutADockerd(t *testing.T) {
	for name, text := range map[string]string{
		"every option": everyOption,
		"no option":    "",
		"blocks that are empty": `
			auth {}
			tls {}
			logging {}
			gc {
				dangling_containers {}
			}
			volumes {}
			allowed_modes {}
		`,
	} {
		t.Run(name, func(t *testing.T) {
			plugin := start(t, "driver", "DOCKER_HOST=unix:///nowhere/docker.sock")
			spec, err := plugin.ConfigSchema()
			must(t, err)
			config, err := schema.Encode(spec, text)
			must(t, err)

			must(t, plugin.SetConfig(config, nil))
			must(t, plugin.SetConfig(config, nil))
			ends(t, plugin)
		})
	}
}

func TestAConfigurationThatIsWrongIsRefusedWithItsText(t *testing.T) {
	for text, problem := range map[string]string{
		`gc { image_delay = "1d" }`:            "SetConfig failed: ",
		`pull_activity_timeout = "1s"`:         "SetConfig failed: pull_activity_timeout is less than minimum, 1m0s",
		`allowed_modes { pid = ["nonsense"] }`: `SetConfig failed: cannot apply allowed_modes configuration, "nonsense" is not a valid pid_mode`,
	} {
		t.Run(text, func(t *testing.T) {
			plugin := start(t, "driver")
			spec, err := plugin.ConfigSchema()
			must(t, err)
			config, err := schema.Encode(spec, text)
			must(t, err)

			err = plugin.SetConfig(config, nil)
			ends(t, plugin)

			if got := status.Convert(err).Message(); err == nil || !strings.HasPrefix(got, problem) {
				t.Errorf("the error is %q", got)
			}
		})
	}
}

func TestWithoutTheCookieTheDriverExplainsItselfAndExits(t *testing.T) {
	command := exec.Command(driverBinary(t))
	output, err := command.CombinedOutput()

	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(output), "plugin") {
		t.Errorf("it ended with %v and said %q", err, output)
	}
}

func TestAnInterruptAtTheAgentsTerminalLeavesTheDriverAlone(t *testing.T) {
	plugin := start(t, "base")

	must(t, unix.Kill(-plugin.Process.Pid(), unix.SIGINT))
	must(t, unix.Kill(-plugin.Process.Pid(), unix.SIGINT))

	_, err := plugin.PluginInfo()
	must(t, err)
	ends(t, plugin)
}

func TestHealthIsServingUnderTheNamePluginAndCanBeWatched(t *testing.T) {
	plugin := start(t, "base")
	must(t, plugin.Ping())
	ctx, cancel := agent.Patient()
	defer cancel()

	watch, err := grpc_health_v1.NewHealthClient(plugin.Conn).
		Watch(ctx, &grpc_health_v1.HealthCheckRequest{Service: "plugin"})
	must(t, err)
	health, err := watch.Recv()
	must(t, err)
	ends(t, plugin)

	equal(t, "the health", health.Status, grpc_health_v1.HealthCheckResponse_SERVING)
}

// openStream opens one of the library's own streams; its messages are empty ones.
func openStream(t *testing.T, ctx context.Context, plugin *agent.Agent, method string) grpc.ClientStream {
	t.Helper()
	description := &grpc.StreamDesc{StreamName: method, ServerStreams: true, ClientStreams: true}
	stream, err := plugin.Conn.NewStream(ctx, description, method)
	must(t, err)
	// Where the answer came first, io.EOF says that it is there to be received.
	if err := stream.SendMsg(&emptypb.Empty{}); !errors.Is(err, io.EOF) {
		must(t, err)
	}
	return stream
}

func TestTheBrokersAndTheStdioStreamStayOpenUntilTheEnd(t *testing.T) {
	plugin := start(t, "base")
	ctx, cancel := agent.Patient()
	defer cancel()
	ended := make(chan error, 2)
	for _, method := range []string{"/plugin.GRPCBroker/StartStream", "/plugin.GRPCStdio/StreamStdio"} {
		stream := openStream(t, ctx, plugin, method)
		if strings.HasSuffix(method, "Stdio") {
			must(t, stream.CloseSend())
		}
		go func() { ended <- stream.RecvMsg(&emptypb.Empty{}) }()
	}

	// Ten answers later both must still be there.
	for range 10 {
		must(t, plugin.Ping())
	}
	select {
	case err := <-ended:
		t.Errorf("a stream ended: %v", err)
	default:
	}
	ends(t, plugin)

	for range 2 {
		if err := <-ended; err == nil {
			t.Error("a stream brought a message")
		}
	}
}

func TestShutdownOfTheControllerEndsTheProcessAndItsSocketInTime(t *testing.T) {
	plugin := start(t, "base")
	socket := plugin.Socket()

	ctx, cancel := agent.Patient()
	defer cancel()
	must(t, plugin.Conn.Invoke(ctx, "/plugin.GRPCController/Shutdown", &emptypb.Empty{}, &emptypb.Empty{}))

	select {
	case <-plugin.Process.Exited():
	case <-time.After(2 * time.Second):
		t.Error("it runs 2 s later")
	}
	if left, _ := filepath.Glob(socket); len(left) > 0 {
		t.Errorf("the socket is left: %v", left)
	}
}

func TestTheDriverIsSpokenToOverMutualTls(t *testing.T) {
	plugin, err := agent.Start(agent.Launch{
		Program: driverBinary(t), Kind: "base", SocketDirectory: directory(t), AutoMTLS: true,
	})
	must(t, err)
	t.Cleanup(plugin.CleanUp)

	info, err := plugin.PluginInfo()
	must(t, err)
	ends(t, plugin)

	equal(t, "the name", info.Name, "docker")
}

func TestMultiplexingOfTheBrokerIsDeclinedInTheHandshake(t *testing.T) {
	_, err := agent.Start(agent.Launch{
		Program: driverBinary(t), Kind: "base", SocketDirectory: directory(t), Multiplex: true,
	})

	if err == nil || !strings.Contains(err.Error(), "multiplexing") {
		t.Errorf("the client says %v", err)
	}
}

func TestWhatNoAgentAsksForIsUnimplemented(t *testing.T) {
	plugin := start(t, "base")
	ctx, cancel := agent.Patient()
	defer cancel()

	list := plugin.Conn.Invoke(ctx, "/grpc.health.v1.Health/List", &emptypb.Empty{}, &emptypb.Empty{})
	reflection := openStream(t, ctx, plugin, "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo").RecvMsg(&emptypb.Empty{})
	ends(t, plugin)

	equal(t, "the code of Health.List", status.Code(list), codes.Unimplemented)
	equal(t, "the code of reflection", status.Code(reflection), codes.Unimplemented)
}
