package state

import (
	"reflect"
	"strings"
	"testing"
)

func TestAStateHasTheBuiltInDriversBytes(t *testing.T) {
	bytes, err := Encode(&TaskState{ContainerID: "ab", DriverNetwork: &DriverNetwork{}})
	if err != nil {
		t.Fatal(err)
	}

	// The same bytes are read in crates/nomad-driver-docker/src/task/state.rs.
	expected := "\x83\xabContainerID\xa2ab\xadDriverNetwork\x83\xadAutoAdvertise\xc2\xa2IP\xa0\xa7PortMap\xc0\xaeReattachConfig\xc0"
	if string(bytes) != expected {
		t.Fatalf("got %q", bytes)
	}
}

func TestAStateIsReadAsItWasWritten(t *testing.T) {
	state := &TaskState{
		ReattachConfig: &ReattachConfig{Protocol: "grpc", Network: "unix", Addr: "/tmp/plugin1", Pid: 77},
		ContainerID:    strings.Repeat("0123456789abcdef", 4), // 64 characters: in the other dialect a str8, here a raw16
		DriverNetwork:  &DriverNetwork{PortMap: map[string]int{"http": 80}, IP: "172.17.0.2", AutoAdvertise: true},
	}

	bytes, err := Encode(state)
	if err != nil {
		t.Fatal(err)
	}
	read, err := Decode(bytes)
	if err != nil {
		t.Fatal(err)
	}

	if !reflect.DeepEqual(read, state) {
		t.Fatalf("got %+v", read)
	}
	if !strings.Contains(string(bytes), "\xda\x00\x40") {
		t.Fatalf("the container's id is no raw16: %q", bytes)
	}
}

func TestAFieldThatTheBuiltInDriverDoesNotKnowIsAnError(t *testing.T) {
	bytes, err := Encode(map[string]string{"ContainerID": "ab", "Position": "7"})
	if err != nil {
		t.Fatal(err)
	}

	if _, err := Decode(bytes); err == nil {
		t.Fatal("it was read")
	}
}
