// Package state has the shape of what the driver built into Nomad keeps of a task: go-msgpack of structs without tags.
package state

import "github.com/hashicorp/go-msgpack/v2/codec"

// TaskState is what is kept of a task.
type TaskState struct {
	ReattachConfig *ReattachConfig
	ContainerID    string
	DriverNetwork  *DriverNetwork
}

// ReattachConfig finds the process that forwards the task's log.
type ReattachConfig struct {
	Protocol string
	Network  string
	Addr     string
	Pid      int
}

// DriverNetwork is the task's address.
type DriverNetwork struct {
	PortMap       map[string]int
	IP            string
	AutoAdvertise bool
}

// Encode writes a value as the built-in driver does: every field, strings in the old form.
func Encode(value any) ([]byte, error) {
	var bytes []byte
	err := codec.NewEncoderBytes(&bytes, handle()).Encode(value)
	return bytes, err
}

// Decode reads a state as the built-in driver does; a field that it does not know is an error.
func Decode(bytes []byte) (*TaskState, error) {
	strict := handle()
	strict.ErrorIfNoField = true
	var state TaskState
	err := codec.NewDecoderBytes(bytes, strict).Decode(&state)
	return &state, err
}

func handle() *codec.MsgpackHandle {
	handle := &codec.MsgpackHandle{}
	handle.RawToString = true
	handle.TimeNotBuiltin = true
	return handle
}
