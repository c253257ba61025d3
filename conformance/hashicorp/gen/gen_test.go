// Package gen_test holds that the code under gen is what the project's .proto files say.
package gen_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/linker"
	_ "github.com/hashicorp/go-plugin" // registers HashiCorp's own descriptors of the package `plugin`
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

const (
	module      = "longshore/conformance/hashicorp"
	driverFiles = "../../../crates/nomad-plugin/proto"
	pluginFiles = "../../../crates/go-plugin/proto"
)

// The Go package that each file's messages are in.
var packages = map[string]string{
	"attribute.proto": "structs",
	"base.proto":      "base",
	"driver.proto":    "drivers",
	"error.proto":     "structs",
	"hclspec.proto":   "hclspec",
}

func compile(t *testing.T, directory string) linker.Files {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(directory, "*.proto"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no .proto files in %s: %v", directory, err)
	}
	names := make([]string, len(paths))
	for i, path := range paths {
		names[i] = filepath.Base(path)
	}
	compiler := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: []string{directory}}),
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	files, err := compiler.Compile(context.Background(), names...)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// What protoc would hand to its plugins: imports come before the files that need them.
func request(files linker.Files) *pluginpb.CodeGeneratorRequest {
	parameters := []string{"module=" + module}
	for file, name := range packages {
		parameters = append(parameters, fmt.Sprintf("M%s=%s/gen/%s", file, module, name))
	}
	request := &pluginpb.CodeGeneratorRequest{Parameter: proto.String(strings.Join(parameters, ","))}
	seen := map[string]bool{}
	var add func(file protoreflect.FileDescriptor)
	add = func(file protoreflect.FileDescriptor) {
		if seen[file.Path()] {
			return
		}
		seen[file.Path()] = true
		for i := range file.Imports().Len() {
			add(file.Imports().Get(i).FileDescriptor)
		}
		request.ProtoFile = append(request.ProtoFile, protodesc.ToFileDescriptorProto(file))
	}
	for _, file := range files {
		add(file)
		request.FileToGenerate = append(request.FileToGenerate, file.Path())
	}
	return request
}

func TestGeneratedCodeIsWhatTheProtoFilesSay(t *testing.T) {
	input, err := proto.Marshal(request(compile(t, driverFiles)))
	if err != nil {
		t.Fatal(err)
	}
	fresh := map[string]string{}
	for _, generator := range []string{"protoc-gen-go", "protoc-gen-go-grpc"} {
		command := exec.Command("go", "tool", generator)
		command.Stdin = bytes.NewReader(input)
		command.Stderr = os.Stderr
		output, err := command.Output()
		if err != nil {
			t.Fatalf("%s: %v", generator, err)
		}
		var response pluginpb.CodeGeneratorResponse
		if err := proto.Unmarshal(output, &response); err != nil || response.Error != nil {
			t.Fatalf("%s: %v %s", generator, err, response.GetError())
		}
		for _, file := range response.File {
			fresh[strings.TrimPrefix(file.GetName(), "gen/")] = file.GetContent()
		}
	}

	for name, text := range fresh {
		if os.Getenv("LONGSHORE_REGENERATE") != "" {
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if committed, _ := os.ReadFile(name); string(committed) != text {
			t.Errorf("gen/%s is stale: run LONGSHORE_REGENERATE=1 go test ./gen", name)
		}
	}
	committed, _ := filepath.Glob("*/*.go")
	for _, name := range committed {
		if _, wanted := fresh[name]; !wanted {
			t.Errorf("gen/%s comes from no .proto file", name)
		}
	}
}

// The package `plugin` is HashiCorp's, so there is no need of a second copy of its code: its descriptors are in the library.
func TestTheLibrarysOwnMessagesAndServicesAreOurProtoFiles(t *testing.T) {
	_ = grpc_health_v1.Health_ServiceDesc
	for _, file := range compile(t, pluginFiles) {
		t.Run(file.Path(), func(t *testing.T) {
			ours := protodesc.ToFileDescriptorProto(file)
			if len(ours.MessageType)+len(ours.Service) == 0 {
				t.Fatal("the file says nothing")
			}
			for i := range file.Messages().Len() {
				message := file.Messages().Get(i)
				theirs, ok := find(t, message.FullName()).(protoreflect.MessageDescriptor)
				if !ok {
					t.Fatalf("%s is no message", message.FullName())
				}
				same(t, message.FullName(), protodesc.ToDescriptorProto(message), protodesc.ToDescriptorProto(theirs))
			}
			for i := range file.Services().Len() {
				ours := file.Services().Get(i)
				theirs, ok := find(t, ours.FullName()).(protoreflect.ServiceDescriptor)
				if !ok {
					t.Fatalf("%s is no service", ours.FullName())
				}
				for i := range ours.Methods().Len() {
					ours := ours.Methods().Get(i)
					theirs := theirs.Methods().ByName(ours.Name())
					if theirs == nil {
						t.Fatalf("the library has no method %s", ours.FullName())
					}
					same(t, ours.FullName(), protodesc.ToMethodDescriptorProto(ours), protodesc.ToMethodDescriptorProto(theirs))
				}
			}
		})
	}
}

func find(t *testing.T, name protoreflect.FullName) protoreflect.Descriptor {
	t.Helper()
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(name)
	if err != nil {
		t.Fatalf("the library has no %s: %v", name, err)
	}
	return found
}

func same(t *testing.T, name protoreflect.FullName, ours, theirs proto.Message) {
	t.Helper()
	for _, message := range []proto.Message{ours, theirs} {
		if method, ok := message.(*descriptorpb.MethodDescriptorProto); ok {
			method.Options = nil
		}
	}
	if !proto.Equal(ours, theirs) {
		t.Errorf("%s is not the library's:\nours   %v\ntheirs %v", name, ours, theirs)
	}
}
