package hashicorp_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	_ "github.com/hashicorp/go-plugin" // registers the services of the package `plugin`
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"longshore/conformance/hashicorp/gen/base"
	"longshore/conformance/hashicorp/gen/drivers"
)

// rows are the cells of the table under a heading of docs/compatibility.md.
func rows(t *testing.T, heading string) [][]string {
	t.Helper()
	text, err := os.ReadFile("../../docs/compatibility.md")
	must(t, err)
	_, section, found := strings.Cut(string(text), "\n## "+heading+"\n")
	if !found {
		t.Fatalf("no heading %q", heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var rows [][]string
	for line := range strings.Lines(section) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if strings.HasPrefix(line, "|") && !strings.HasPrefix(line, "|---") {
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			rows = append(rows, cells)
		}
	}
	return rows[1:]
}

func TestTheTableOfCallsHasEveryCallOfTheProtocol(t *testing.T) {
	var listed []string
	for _, row := range rows(t, "The plugin protocol") {
		listed = append(listed, row[0])
	}
	for _, name := range []string{
		base.BasePlugin_ServiceDesc.ServiceName, drivers.Driver_ServiceDesc.ServiceName,
		grpc_health_v1.Health_ServiceDesc.ServiceName, "plugin.GRPCController", "plugin.GRPCBroker", "plugin.GRPCStdio",
	} {
		found, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name))
		must(t, err)
		service := found.(protoreflect.ServiceDescriptor)
		for i := range service.Methods().Len() {
			call := string(service.Name() + "." + service.Methods().Get(i).Name())
			if !slices.Contains(listed, call) {
				t.Errorf("docs/compatibility.md says nothing of %s", call)
			}
		}
	}
}

func TestTheTableOfCallsNamesTestsThatExistAndReasonsWhereSomethingDiffers(t *testing.T) {
	known := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^\s*(?:async )?(?:fn|func) (\w+)\(`)
	for _, root := range []string{".", "../tests", "../../crates"} {
		must(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") && !strings.HasSuffix(path, ".rs") {
				return err
			}
			text, err := os.ReadFile(path)
			for _, match := range declared.FindAllStringSubmatch(string(text), -1) {
				known[match[1]] = true
			}
			return err
		}))
	}

	for _, row := range rows(t, "The plugin protocol") {
		if len(row) != 4 || !slices.Contains([]string{"same", "differs", "refused"}, row[1]) {
			t.Errorf("this row is not in order: %q", row)
			continue
		}
		if row[1] != "same" && row[2] == "" {
			t.Errorf("%s differs without a reason", row[0])
		}
		tests := regexp.MustCompile("`(\\w+)`").FindAllStringSubmatch(row[3], -1)
		if len(tests) == 0 {
			t.Errorf("%s is held by no test", row[0])
		}
		for _, test := range tests {
			if !known[test[1]] {
				t.Errorf("%s is held by %s, which is no test", row[0], test[1])
			}
		}
	}
}
