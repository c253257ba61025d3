// Dockerlogger does what the process does that forwards a task's log for the driver built into Nomad: a plugin of its own,
// found by the word `docker_logger` in its command line, that follows the container's log through the engine.
//
// It forwards from the start, to the pipes that LONGSHORE_LOGGER_STDOUT and _STDERR name, the container that
// LONGSHORE_LOGGER_CONTAINER names, from its first line or, with LONGSHORE_LOGGER_NEW, from what is written next. With LONGSHORE_LOGGER_DEAF it takes no notice of any wish that it end.
package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"longshore/conformance/hashicorp/agent"
)

var isDeaf = os.Getenv("LONGSHORE_LOGGER_DEAF") != ""

func main() {
	if len(os.Args) != 2 || os.Args[1] != "docker_logger" {
		fmt.Fprintln(os.Stderr, "the one argument is docker_logger")
		os.Exit(2)
	}
	ctx, stop := context.WithCancel(context.Background())
	forwarded := make(chan struct{})
	go func() {
		defer close(forwarded)
		if err := forward(ctx); err != nil && ctx.Err() == nil {
			fmt.Fprintln(os.Stderr, "forwarding ended:", err)
		}
	}()
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: agent.Handshake,
		Plugins: plugin.PluginSet{"docker_logger": &logger{stop: func() {
			stop()
			<-forwarded
		}}},
		GRPCServer: plugin.DefaultGRPCServer,
		Logger:     hclog.NewNullLogger(),
	})
	if isDeaf {
		time.Sleep(time.Hour)
	}
}

type logger struct {
	plugin.NetRPCUnsupportedPlugin
	stop func()
}

// DockerLogger are the service's calls.
type DockerLogger interface {
	Start(context.Context) error
	Stop(context.Context) error
}

// Start is called by the driver that starts the logger; this one has begun by itself.
func (*logger) Start(context.Context) error { return nil }

// Stop ends forwarding; what is read of the engine and not yet written is lost, as in the built-in driver's.
func (l *logger) Stop(context.Context) error {
	if !isDeaf {
		l.stop()
	}
	return nil
}

func (l *logger) GRPCServer(_ *plugin.GRPCBroker, server *grpc.Server) error {
	method := func(name string, call func(DockerLogger, context.Context) error) grpc.MethodDesc {
		return grpc.MethodDesc{MethodName: name, Handler: func(
			served any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor,
		) (any, error) {
			if err := decode(&emptypb.Empty{}); err != nil {
				return nil, err
			}
			return &emptypb.Empty{}, call(served.(DockerLogger), ctx)
		}}
	}
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "hashicorp.nomad.drivers.docker.docklog.proto.DockerLogger",
		HandlerType: (*DockerLogger)(nil),
		Methods:     []grpc.MethodDesc{method("Start", DockerLogger.Start), method("Stop", DockerLogger.Stop)},
	}, l)
	return nil
}

func (*logger) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, errors.New("this is the plugin's end")
}

// forward follows the container's log into the pipes until it ends.
func forward(ctx context.Context) error {
	var outputs [3]*os.File
	for stream, variable := range map[int]string{1: "LONGSHORE_LOGGER_STDOUT", 2: "LONGSHORE_LOGGER_STDERR"} {
		output, err := os.OpenFile(os.Getenv(variable), os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer output.Close()
		outputs[stream] = output
	}
	engine := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", "/var/run/docker.sock")
		},
	}}
	url := fmt.Sprintf("http://docker/containers/%s/logs?follow=1&stdout=1&stderr=1", os.Getenv("LONGSHORE_LOGGER_CONTAINER"))
	if os.Getenv("LONGSHORE_LOGGER_NEW") != "" {
		url += "&tail=0"
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := engine.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	// Each piece is headed by its stream, three zeros and its size.
	var header [8]byte
	for {
		if _, err := io.ReadFull(response.Body, header[:]); err != nil {
			return err
		}
		size := int64(binary.BigEndian.Uint32(header[4:]))
		if _, err := io.CopyN(outputs[header[0]], response.Body, size); err != nil {
			return err
		}
	}
}
