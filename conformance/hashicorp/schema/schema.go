// Package schema makes HashiCorp's HCL decoder of a schema that came over the wire, and msgpack of HCL text with it, as
// an agent does.
package schema

import (
	"fmt"
	"maps"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hcldec"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/msgpack"

	"longshore/conformance/hashicorp/gen/hclspec"
)

// Encode decodes the text of a configuration block with a received schema and encodes it as an agent does.
func Encode(spec *hclspec.Spec, text string) ([]byte, error) {
	value, err := Value(spec, text)
	if err != nil {
		return nil, err
	}
	return msgpack.Marshal(value, value.Type())
}

// Value decodes the text of a configuration block with a received schema.
func Value(spec *hclspec.Spec, text string) (cty.Value, error) {
	decoder, err := Decoder(spec)
	if err != nil {
		return cty.NilVal, err
	}
	file, problems := hclparse.NewParser().ParseHCL([]byte(text), "config.hcl")
	if problems.HasErrors() {
		return cty.NilVal, problems
	}
	value, problems := hcldec.Decode(file.Body, decoder, nil)
	if problems.HasErrors() {
		return cty.NilVal, problems
	}
	return value, nil
}

// Decoder makes a decoder of a schema. A schema with a hole, an unknown type or a bad literal is an error.
func Decoder(spec *hclspec.Spec) (hcldec.Spec, error) {
	switch block := spec.GetBlock().(type) {
	case *hclspec.Spec_Object:
		object := hcldec.ObjectSpec{}
		for _, name := range slices.Sorted(maps.Keys(block.Object.Attributes)) {
			child, err := Decoder(block.Object.Attributes[name])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			object[name] = child
		}
		return object, nil
	case *hclspec.Spec_Array:
		tuple := hcldec.TupleSpec{}
		for _, value := range block.Array.Values {
			child, err := Decoder(value)
			if err != nil {
				return nil, err
			}
			tuple = append(tuple, child)
		}
		return tuple, nil
	case *hclspec.Spec_Attr:
		kind, err := typeOf(block.Attr.Type)
		return &hcldec.AttrSpec{Name: block.Attr.Name, Type: kind, Required: block.Attr.Required}, err
	case *hclspec.Spec_BlockValue:
		nested, err := Decoder(block.BlockValue.Nested)
		return &hcldec.BlockSpec{TypeName: block.BlockValue.Name, Nested: nested, Required: block.BlockValue.Required}, err
	case *hclspec.Spec_BlockAttrs:
		kind, err := typeOf(block.BlockAttrs.Type)
		return &hcldec.BlockAttrsSpec{
			TypeName: block.BlockAttrs.Name, ElementType: kind, Required: block.BlockAttrs.Required,
		}, err
	case *hclspec.Spec_BlockList:
		nested, err := Decoder(block.BlockList.Nested)
		return &hcldec.BlockListSpec{
			TypeName: block.BlockList.Name, Nested: nested,
			MinItems: int(block.BlockList.MinItems), MaxItems: int(block.BlockList.MaxItems),
		}, err
	case *hclspec.Spec_BlockSet:
		nested, err := Decoder(block.BlockSet.Nested)
		return &hcldec.BlockSetSpec{
			TypeName: block.BlockSet.Name, Nested: nested,
			MinItems: int(block.BlockSet.MinItems), MaxItems: int(block.BlockSet.MaxItems),
		}, err
	case *hclspec.Spec_BlockMap:
		nested, err := Decoder(block.BlockMap.Nested)
		return &hcldec.BlockMapSpec{TypeName: block.BlockMap.Name, LabelNames: block.BlockMap.Labels, Nested: nested}, err
	case *hclspec.Spec_Default:
		primary, err := Decoder(block.Default.Primary)
		if err != nil {
			return nil, err
		}
		fallback, err := Decoder(block.Default.Default)
		return &hcldec.DefaultSpec{Primary: primary, Default: fallback}, err
	case *hclspec.Spec_Literal:
		value, err := literal(block.Literal.Value)
		return &hcldec.LiteralSpec{Value: value}, err
	default:
		return nil, fmt.Errorf("a part of the schema is of the unknown kind %T", block)
	}
}

func typeOf(text string) (cty.Type, error) {
	expression, problems := hclsyntax.ParseExpression([]byte(text), "type", hcl.InitialPos)
	if problems.HasErrors() {
		return cty.NilType, problems
	}
	kind, problems := typeexpr.TypeConstraint(expression)
	if problems.HasErrors() {
		return cty.NilType, problems
	}
	return kind, nil
}

func literal(text string) (cty.Value, error) {
	expression, problems := hclsyntax.ParseExpression([]byte(text), "literal", hcl.InitialPos)
	if problems.HasErrors() {
		return cty.NilVal, problems
	}
	value, problems := expression.Value(nil)
	if problems.HasErrors() {
		return cty.NilVal, problems
	}
	return value, nil
}
