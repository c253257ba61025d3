package schema

import (
	"strings"
	"testing"

	"github.com/zclconf/go-cty/cty"

	"longshore/conformance/hashicorp/gen/hclspec"
)

func attr(name, kind string, required bool) *hclspec.Spec {
	return &hclspec.Spec{Block: &hclspec.Spec_Attr{Attr: &hclspec.Attr{Name: name, Type: kind, Required: required}}}
}

func literalOf(text string) *hclspec.Spec {
	return &hclspec.Spec{Block: &hclspec.Spec_Literal{Literal: &hclspec.Literal{Value: text}}}
}

func object(attributes map[string]*hclspec.Spec) *hclspec.Spec {
	return &hclspec.Spec{Block: &hclspec.Spec_Object{Object: &hclspec.Object{Attributes: attributes}}}
}

var every = object(map[string]*hclspec.Spec{
	"name": attr("name", "string", true),
	"maps": attr("maps", "list(map(string))", false),
	"pair": {Block: &hclspec.Spec_Array{Array: &hclspec.Array{Values: []*hclspec.Spec{
		attr("first", "number", false), literalOf("[1, true]"),
	}}}},
	"delay": {Block: &hclspec.Spec_Default{Default: &hclspec.Default{
		Primary: attr("delay", "string", false), Default: literalOf(`"3m"`),
	}}},
	"one": {Block: &hclspec.Spec_BlockValue{BlockValue: &hclspec.Block{
		Name: "one", Nested: object(map[string]*hclspec.Spec{"on": attr("on", "bool", false)}),
	}}},
	"free": {Block: &hclspec.Spec_BlockAttrs{BlockAttrs: &hclspec.BlockAttrs{Name: "free", Type: "string"}}},
	"list": {Block: &hclspec.Spec_BlockList{BlockList: &hclspec.BlockList{
		Name: "list", Nested: attr("x", "number", false), MaxItems: 2,
	}}},
	"set": {Block: &hclspec.Spec_BlockSet{BlockSet: &hclspec.BlockSet{Name: "set", Nested: attr("x", "number", false)}}},
	"map": {Block: &hclspec.Spec_BlockMap{BlockMap: &hclspec.BlockMap{
		Name: "map", Labels: []string{"key"}, Nested: attr("x", "number", false),
	}}},
})

func TestEveryKindOfSpecDecodesHcl(t *testing.T) {
	value, err := Value(every, `
		name  = "a"
		maps  = [{ k = "v" }]
		first = 2.5
		one { on = true }
		free { any = "thing" }
		list { x = 1 }
		list { x = 2 }
		set { x = 3 }
		map "m" { x = 4 }
	`)
	if err != nil {
		t.Fatal(err)
	}

	expected := cty.ObjectVal(map[string]cty.Value{
		"name":  cty.StringVal("a"),
		"maps":  cty.ListVal([]cty.Value{cty.MapVal(map[string]cty.Value{"k": cty.StringVal("v")})}),
		"pair":  cty.TupleVal([]cty.Value{cty.NumberFloatVal(2.5), cty.TupleVal([]cty.Value{cty.NumberIntVal(1), cty.True})}),
		"delay": cty.StringVal("3m"),
		"one":   cty.ObjectVal(map[string]cty.Value{"on": cty.True}),
		"free":  cty.MapVal(map[string]cty.Value{"any": cty.StringVal("thing")}),
		"list":  cty.ListVal([]cty.Value{cty.NumberIntVal(1), cty.NumberIntVal(2)}),
		"set":   cty.SetVal([]cty.Value{cty.NumberIntVal(3)}),
		"map":   cty.MapVal(map[string]cty.Value{"m": cty.NumberIntVal(4)}),
	})
	if !value.RawEquals(expected) {
		t.Fatalf("got %#v", value)
	}
}

func TestMsgpackHasEveryAttributeSortedAndNilWhereUnset(t *testing.T) {
	spec := object(map[string]*hclspec.Spec{"b": attr("b", "number", false), "a": attr("a", "string", false)})

	bytes, err := Encode(spec, `b = 1`)
	if err != nil {
		t.Fatal(err)
	}

	if string(bytes) != "\x82\xa1a\xc0\xa1b\x01" {
		t.Fatalf("got % x", bytes)
	}
}

func TestWhatDoesNotFitTheSchemaIsAnError(t *testing.T) {
	for text, said := range map[string]string{
		`maps = []`:                               `"name" is required`,
		"name = \"a\"\nother = 1":                 `"other" is not expected here`,
		"name = \"a\"\nfirst = \"x\"":             "a number is required",
		"name = \"a\"\nlist {}\nlist {}\nlist {}": "No more than 2",
	} {
		if _, err := Value(every, text); err == nil || !strings.Contains(err.Error(), said) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestASchemaWithAHoleOrAnUnknownTypeIsAnError(t *testing.T) {
	for _, spec := range []*hclspec.Spec{
		nil, {}, attr("a", "nonsense", false), literalOf("["), object(map[string]*hclspec.Spec{"a": nil}),
	} {
		if _, err := Decoder(spec); err == nil {
			t.Errorf("%v became a decoder", spec)
		}
	}
}
