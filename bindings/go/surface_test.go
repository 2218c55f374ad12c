package rstmdb

import (
	"context"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

type operationType struct {
	name            string
	request, result any
}

type optionFunction struct {
	option   string
	function any
}

type member struct {
	Name, Type string
	Required   bool
}

type surface struct {
	Operations []struct {
		Name     string
		WireName string `json:"wire_name"`
		Number   int32
		Access   string
		Request  []member
		Result   []member
	}
	Types []struct {
		Name, Kind string
		Members    []member
	}
	Options []struct {
		Name, For string
		Default   json.RawMessage
	}
	ErrorCodes   []struct{ Code string } `json:"error_codes"`
	ErrorKinds   []struct{ Kind string } `json:"error_kinds"`
	ErrorReasons []struct {
		Reason string
	} `json:"error_reasons"`
}

func readSurface(t *testing.T) surface {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "tests", "conformance", "surface.json"))
	if err != nil {
		t.Fatal(err)
	}
	var s surface
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestEveryOperationHasAMethodWithItsMembers(t *testing.T) {
	database := reflect.TypeFor[*Database]()
	known := []string{"Close", "Call", "AdvanceClock", "AllInstances"}
	s := readSurface(t)
	if len(s.Operations) != len(operationTypes) {
		t.Fatalf("%d operations, and types for %d", len(s.Operations), len(operationTypes))
	}
	for i, operation := range s.Operations {
		types := operationTypes[i]
		op := Operation(operation.Number)
		if op.String() != operation.WireName || op.IsWrite() != (operation.Access == "write") {
			t.Errorf("operation %d is %v, write %t", operation.Number, op, op.IsWrite())
		}
		if snake := snakeOf(types.name); snake != operation.Name {
			t.Errorf("%s is %s of the table", types.name, operation.Name)
		}
		known = append(known, types.name)
		method, found := database.MethodByName(types.name)
		if !found {
			t.Errorf("there is no method %s", types.name)
			continue
		}
		signature := method.Type
		if signature.In(1) != reflect.TypeFor[context.Context]() || signature.Out(signature.NumOut()-1) != reflect.TypeFor[error]() {
			t.Errorf("%s is %v", types.name, signature)
		}
		checkMembers(t, types.request, operation.Request)
		if reflect.TypeOf(types.result).Kind() == reflect.Struct {
			checkMembers(t, types.result, operation.Result)
		}
	}
	for i := range database.NumMethod() {
		if name := database.Method(i).Name; !slices.Contains(known, name) {
			t.Errorf("the method %s is no operation", name)
		}
	}
}

func snakeOf(name string) string {
	name = strings.ReplaceAll(name, "WAL", "Wal")
	words := regexp.MustCompile(`[A-Z][a-z]*`).FindAllString(name, -1)
	return strings.ToLower(strings.Join(words, "_"))
}

// checkMembers compares the fields of a struct with the members of the table: names, order, types.
func checkMembers(t *testing.T, structure any, members []member) {
	t.Helper()
	kind := reflect.TypeOf(structure)
	var fields []reflect.StructField
	for i := range kind.NumField() {
		if field := kind.Field(i); field.IsExported() && field.Tag.Get("json") != "-" {
			fields = append(fields, field)
		}
	}
	if len(fields) != len(members) {
		t.Errorf("%v has %d fields for %d members", kind, len(fields), len(members))
		return
	}
	for i, member := range members {
		name, _, _ := strings.Cut(fields[i].Tag.Get("json"), ",")
		if name != member.Name {
			t.Errorf("%v.%s is %q in JSON, expected %q", kind, fields[i].Name, name, member.Name)
		}
		if expected, known := goTypes[member.Type]; known && fields[i].Type != expected {
			t.Errorf("%v.%s is a %v for %s", kind, fields[i].Name, fields[i].Type, member.Type)
		}
	}
}

var goTypes = map[string]reflect.Type{
	"Text": reflect.TypeFor[string](), "bool": reflect.TypeFor[bool](), "u32": reflect.TypeFor[uint32](),
	"u64": reflect.TypeFor[uint64](), "Offset": reflect.TypeFor[uint64](), "Vec<Text>": reflect.TypeFor[[]string](),
	"Vec<InstanceEvent>": reflect.TypeFor[[]InstanceEvent](), "Limits": reflect.TypeFor[Limits](),
}

func TestEveryOptionOfTheTableHasItsFunction(t *testing.T) {
	s := readSurface(t)
	if len(s.Options) != len(optionFunctions) {
		t.Fatalf("%d options, and functions for %d", len(s.Options), len(optionFunctions))
	}
	var defaults []Option
	for i, row := range s.Options {
		if optionFunctions[i].option != row.Name {
			t.Fatalf("the function for %s is for %s", optionFunctions[i].option, row.Name)
		}
		function := reflect.ValueOf(optionFunctions[i].function)
		made := function.Call([]reflect.Value{reflect.Zero(function.Type().In(0))})
		found := &settings{values: map[string]any{}}
		if err := made[0].Interface().(Option).set(found); err != nil {
			t.Errorf("%s: %v", row.Name, err)
		}
		if _, set := found.values[row.Name]; !set || len(found.values) != 1 {
			t.Errorf("the function for %s sets %v", row.Name, found.values)
		}
		switch {
		case row.For == "server":
			var refused *Error
			_, err := Open(t.Context(), "mem:", WithSetting(row.Name, 1))
			if !errors.As(err, &refused) || refused.Reason != ReasonInvalidOption {
				t.Errorf("%s: %v", row.Name, err)
			}
		default:
			defaults = append(defaults, WithSetting(row.Name, row.Default))
		}
	}
	db, err := Open(t.Context(), "mem:", defaults...)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}

func TestEveryErrorOfTheTableHasItsConstant(t *testing.T) {
	s := readSurface(t)
	constants := constantsOf(t, "errors.gen.go")
	expect := func(prefix, value string) {
		if !slices.Contains(constants[prefix], value) {
			t.Errorf("there is no %s constant for %q", prefix, value)
		}
	}
	for _, row := range s.ErrorCodes {
		expect("Code", row.Code)
	}
	for _, row := range s.ErrorKinds {
		expect("Kind", row.Kind)
	}
	for _, row := range s.ErrorReasons {
		expect("Reason", row.Reason)
	}
	if len(constants["Code"]) != len(s.ErrorCodes) || len(constants["Reason"]) != len(s.ErrorReasons) {
		t.Errorf("more constants than rows")
	}
}

// constantsOf gives the values of string constants by what their names begin with.
func constantsOf(t *testing.T, path string) map[string][]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]string{}
	ast.Inspect(file, func(node ast.Node) bool {
		if spec, ok := node.(*ast.ValueSpec); ok && len(spec.Values) == 1 {
			if literal, ok := spec.Values[0].(*ast.BasicLit); ok {
				prefix := regexp.MustCompile(`^[A-Z][a-z]+`).FindString(spec.Names[0].Name)
				found[prefix] = append(found[prefix], strings.Trim(literal.Value, `"`))
			}
		}
		return true
	})
	return found
}

func TestTheLibraryIsTheOneOfTheHeader(t *testing.T) {
	if err := checkLibrary(); err != nil {
		t.Error(err)
	}
	if Version() == "" {
		t.Error("the library has no version")
	}
}
