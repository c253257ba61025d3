package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// fieldsFile says of each field of each message that a real agent sent how often it was set. Tests run in their package's
// directory.
const fieldsFile = "../tests/data/agent/fields.tsv"

// seen is in how many messages a field could be, and in how many it was set.
type seen struct{ all, set int }

// fields are those of a real agent's requests, by call and path.
var fields = sync.OnceValues(func() (map[string]map[string]seen, error) {
	text, err := os.ReadFile(fieldsFile)
	if err != nil {
		return nil, err
	}
	fields := map[string]map[string]seen{}
	for line := range strings.Lines(string(text)) {
		columns := strings.Split(line, "\t")
		// What is in a configuration is the job's.
		if len(columns) < 5 || columns[1] != "request" || strings.Contains(columns[2], "/") {
			continue
		}
		all, err := strconv.Atoi(columns[3])
		if err != nil {
			return nil, err
		}
		set, err := strconv.Atoi(columns[4])
		if err != nil {
			return nil, err
		}
		if fields[columns[0]] == nil {
			fields[columns[0]] = map[string]seen{}
		}
		fields[columns[0]][columns[2]] = seen{all, set}
	}
	return fields, nil
})

// before is what an agent has asked before it makes a call.
var before = map[string][]string{
	"Init":              {"SetConfig|PluginInfo"},
	"Fingerprint":       {"Init"},
	"TaskEvents":        {"Init"},
	"StartTask":         {"TaskConfigSchema", "Capabilities"},
	"RecoverTask":       {"TaskConfigSchema", "Capabilities"},
	"CreateNetwork":     {"Capabilities"},
	"ExecTaskStreaming": {"Capabilities"},
}

// shutdown is what an agent gives Driver.Shutdown. No other call has a deadline.
const shutdown = 2 * time.Second

type beyond struct{}

// Beyond marks calls that the protocol has and that no agent makes so.
func Beyond(ctx context.Context) context.Context { return context.WithValue(ctx, beyond{}, true) }

// habits notes what these tests do otherwise than a real agent.
type habits struct {
	found *Violations
	lock  sync.Mutex
	asked []string
}

func (h *habits) options() []grpc.DialOption {
	unary := func(
		ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption,
	) error {
		h.called(ctx, method)
		h.sent(ctx, method, request)
		return invoke(ctx, method, request, reply, conn, options...)
	}
	stream := func(
		ctx context.Context, description *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, options ...grpc.CallOption,
	) (grpc.ClientStream, error) {
		h.called(ctx, method)
		stream, err := open(ctx, description, conn, method, options...)
		return &watched{stream, h, method}, err
	}
	return []grpc.DialOption{grpc.WithUnaryInterceptor(unary), grpc.WithStreamInterceptor(stream)}
}

type watched struct {
	grpc.ClientStream
	habits *habits
	method string
}

func (w *watched) SendMsg(message any) error {
	w.habits.sent(w.Context(), w.method, message)
	return w.ClientStream.SendMsg(message)
}

// ofNomad says whether a call is one of Nomad's services, by its short name.
func ofNomad(ctx context.Context, method string) (string, bool) {
	return path.Base(method), strings.HasPrefix(method, "/hashicorp.nomad.") && ctx.Value(beyond{}) == nil
}

func (h *habits) called(ctx context.Context, method string) {
	call, ok := ofNomad(ctx, method)
	if !ok {
		return
	}
	deadline, has := ctx.Deadline()
	if has && (call != "Shutdown" || time.Until(deadline) > shutdown) {
		h.found.Note(fmt.Errorf("no agent gives %s this deadline", call))
	}
	h.lock.Lock()
	defer h.lock.Unlock()
	for _, wanted := range before[call] {
		if !slices.ContainsFunc(strings.Split(wanted, "|"), func(one string) bool { return slices.Contains(h.asked, one) }) {
			h.found.Note(fmt.Errorf("an agent asks %s before it calls %s", wanted, call))
		}
	}
	h.asked = append(h.asked, call)
}

func (h *habits) sent(ctx context.Context, method string, request any) {
	if call, ok := ofNomad(ctx, method); ok {
		h.found.Note(Unlike(call, request.(proto.Message)))
	}
}

// Unlike says what is set in a request and no agent sets, and what is not and every agent does.
func Unlike(call string, request proto.Message) error {
	fields, err := fields()
	if err != nil {
		return err
	}
	known, ok := fields[call]
	if !ok {
		return fmt.Errorf("no agent calls %s", call)
	}
	set := map[string]bool{"(message)": true, "": true}
	collect(request.ProtoReflect(), "", set)
	var unlike []error
	for field := range set {
		if field != "" && field != "(message)" && known[field].set == 0 && !isKey(field) {
			unlike = append(unlike, fmt.Errorf("%s sets %s, which no agent does", call, field))
		}
	}
	for field, seen := range known {
		of, all := parent(field), seen.all
		if isKey(field) {
			all = known[of].all
		}
		// Of a duration, zero is a value as well.
		if seen.set == all && all > 0 && set[of] && !set[field] && !strings.HasSuffix(field, ".seconds") && field != "(message)" {
			unlike = append(unlike, fmt.Errorf("%s does not set %s, which every agent does", call, field))
		}
	}
	slices.SortFunc(unlike, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(unlike...)
}

// isKey says whether a path is that of a map's key.
func isKey(field string) bool {
	return strings.HasSuffix(field, "}") && !strings.HasSuffix(field, "{}")
}

// parent is the path of what a field is part of, which is empty for the message itself.
func parent(field string) string {
	if isKey(field) {
		return field[:strings.LastIndex(field, "{")] + "{}"
	}
	return field[:max(0, strings.LastIndex(field, "."))]
}

func collect(message protoreflect.Message, prefix string, set map[string]bool) {
	message.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		at := prefix + string(field.Name())
		switch {
		case field.IsMap():
			set[at+"{}"] = true
			value.Map().Range(func(key protoreflect.MapKey, _ protoreflect.Value) bool {
				set[at+"{"+key.String()+"}"] = true
				return true
			})
		case field.IsList():
			set[at+"[]"] = true
			for i := range value.List().Len() {
				if field.Message() != nil {
					collect(value.List().Get(i).Message(), at+"[].", set)
				}
			}
		default:
			set[at] = true
			if field.Message() != nil {
				collect(value.Message(), at+".", set)
			}
		}
		return true
	})
}
