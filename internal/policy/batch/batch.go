// Package batch answers streams of requests, one JSON object a line, one answer
// a line in the same order: policies over resources (Policies) and expressions
// (Expressions). It is the engine's interface for test suites and pipelines;
// commands use it, and nothing else.
//
// A request that is broken is answered with an error; it does not end the stream.
package batch

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"hallmark.dev/hallmark/internal/expr/value"
	"hallmark.dev/hallmark/internal/policy"
	"hallmark.dev/hallmark/internal/policy/alias"
)

// MaxLine is the longest request in bytes.
const MaxLine = 64 << 20

// each calls answer for every line that is not blank and writes what it returns,
// followed by a line feed.
func each(r io.Reader, w io.Writer, answer func(line string, into []byte) []byte) error {
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, 64<<10), MaxLine)
	out := bufio.NewWriterSize(w, 64<<10)
	var buffer []byte
	for in.Scan() {
		line := bytes.TrimSpace(in.Bytes())
		if len(line) == 0 {
			continue
		}
		buffer = append(answer(string(line), buffer[:0]), '\n')
		if _, err := out.Write(buffer); err != nil {
			return fmt.Errorf("write an answer: %w", err)
		}
	}
	if err := in.Err(); err != nil {
		return errors.Join(fmt.Errorf("read a request (a line of at most %d bytes): %w", MaxLine, err), out.Flush())
	}
	return out.Flush()
}

// Policies reads requests {id, definition | policyRule, parameters, resource,
// aliases, apiVersion, context, related} and answers {id, state: "effect" |
// "none" | "error", effect, details, error: {code, message, path}}.
//
// A definition or rule is JSON, or a string that holds its text. Without aliases
// the table is used, with null the document is addressed directly, else aliases
// is a provider list in Azure's format.
func Policies(r io.Reader, w io.Writer, table *alias.Table) error {
	s := &session{table: table, tables: map[string]*alias.Table{}, programs: map[string]*policy.Program{}}
	return each(r, w, s.answer)
}

// session keeps what requests of one stream share.
type session struct {
	table    *alias.Table
	tables   map[string]*alias.Table
	programs map[string]*policy.Program
}

func (s *session) answer(line string, b []byte) []byte {
	p := value.Parser{KeepDuplicates: true}
	request, err := p.Parse(line)
	if err != nil {
		return appendError(begin(b, value.Value{}), policy.Problem{Code: policy.InvalidJSON, Message: "the request: " + err.Error()})
	}
	get := func(key string) value.Value { return request.Get(key) }
	b = begin(b, get("id"))
	program, err := s.program(request)
	if err != nil {
		return appendError(b, err)
	}
	if get("resource").IsUndefined() {
		return appendError(b, policy.Problem{Code: "InvalidRequest", Path: "resource", Message: "resource is missing"})
	}
	verdict := program.Evaluate(policy.Input{
		Resource: policy.NewResource(get("resource").AsResource(), get("apiVersion").Str()),
		Context:  get("context").AsPlain(),
		Related:  Answers(get("related")),
	})
	return appendVerdict(b, verdict)
}

// program compiles the request's rule, or finds it among those of earlier
// requests.
func (s *session) program(request value.Value) (*policy.Program, error) {
	const most = 4096
	definition, rule := request.Get("definition"), request.Get("policyRule")
	parameters, aliases := request.Get("parameters"), request.Get("aliases")
	key := definition.JSON() + "\x00" + rule.JSON() + "\x00" + parameters.JSON() + "\x00" + aliases.JSON()
	if aliases.IsUndefined() {
		key += "default"
	}
	if program, ok := s.programs[key]; ok {
		return program, nil
	}
	table, err := s.aliases(aliases)
	if err != nil {
		return nil, err
	}
	def, err := parse(definition, rule)
	if err != nil {
		return nil, err
	}
	program, err := policy.Compile(def, policy.Options{Aliases: table, Parameters: parameters.AsPlain()})
	if err != nil {
		return nil, err
	}
	if len(s.programs) >= most {
		clear(s.programs)
	}
	s.programs[key] = program
	return program, nil
}

func (s *session) aliases(v value.Value) (*alias.Table, error) {
	switch v.Kind() {
	case value.Undefined:
		return s.table, nil
	case value.Null:
		return nil, nil
	}
	key := v.JSON()
	if table, ok := s.tables[key]; ok {
		return table, nil
	}
	list, err := alias.FromValue(v)
	if err != nil {
		return nil, policy.Problem{Code: "InvalidRequest", Path: "aliases", Message: err.Error()}
	}
	if len(s.tables) >= 16 {
		clear(s.tables)
	}
	s.tables[key] = alias.New(list...)
	return s.tables[key], nil
}

func parse(definition, rule value.Value) (*policy.Definition, error) {
	switch {
	case definition.Kind() == value.String:
		return policy.ParseDefinition(definition.Str())
	case !definition.IsNothing():
		return policy.DefinitionFromValue(definition, "")
	case rule.Kind() == value.String:
		return policy.ParseRule(rule.Str())
	case !rule.IsNothing():
		return policy.RuleFromValue(rule, "")
	}
	return nil, policy.Problem{Code: "InvalidRequest", Path: "definition", Message: "neither definition nor policyRule is given"}
}

// Answers returns what answers existence lookups in order: each element is a
// resource, null for none, or an array of several. It serves one evaluation.
func Answers(v value.Value) policy.Related {
	a := &answers{}
	switch v.Kind() {
	case value.Array:
		a.all = v.Elems()
	case value.Object:
		a.all = []value.Value{v}
	}
	return a
}

type answers struct {
	all  []value.Value
	next int
}

// FindRelated implements policy.Related.
func (a *answers) FindRelated(policy.Query) ([]*policy.Resource, error) {
	if a.next >= len(a.all) {
		return nil, nil
	}
	v := a.all[a.next]
	a.next++
	var found []*policy.Resource
	switch v.Kind() {
	case value.Object:
		found = append(found, policy.NewResource(v.AsResource(), ""))
	case value.Array:
		for _, e := range v.Elems() {
			if e.Kind() == value.Object {
				found = append(found, policy.NewResource(e.AsResource(), ""))
			}
		}
	}
	return found, nil
}

// Repeat lets an explanation ask the same again.
func (a *answers) Repeat() policy.Related { return &answers{all: a.all} }

func begin(b []byte, id value.Value) []byte {
	return id.AppendJSON(append(b, `{"id":`...))
}

func appendVerdict(b []byte, v policy.Verdict) []byte {
	switch v.State {
	case policy.Failed:
		return appendError(b, *v.Problem)
	case policy.Hit:
		b = value.AppendQuoted(append(b, `,"state":"effect","effect":`...), v.Effect)
		if !v.Details.IsUndefined() {
			b = v.Details.AppendJSON(append(b, `,"details":`...))
		}
		return append(b, '}')
	}
	return append(b, `,"state":"none"}`...)
}

// appendError writes the first problem's code and path, and every message.
func appendError(b []byte, err error) []byte {
	var many policy.Problems
	var first policy.Problem
	message := err.Error()
	switch {
	case errors.As(err, &many) && len(many) > 0:
		first = many[0]
		message = position(first) + first.Message
		for _, p := range many[1:] {
			message += "; " + p.Error()
		}
	case errors.As(err, &first):
		message = position(first) + first.Message
	default:
		first.Code = "InternalError"
	}
	b = value.AppendQuoted(append(b, `,"state":"error","error":{"code":`...), string(first.Code))
	b = value.AppendQuoted(append(b, `,"message":`...), message)
	b = value.AppendQuoted(append(b, `,"path":`...), first.Path)
	return append(b, "}}"...)
}

func position(p policy.Problem) string {
	if p.Line == 0 {
		return ""
	}
	return fmt.Sprintf("line %d, column %d: ", p.Line, p.Column)
}
