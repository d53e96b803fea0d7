package image

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// parseYAML builds the tree of a YAML document.
func parseYAML(data []byte) (*node, Problems) {
	if len(data) > maxYAMLBytes {
		return nil, Problems{{Message: fmt.Sprintf("the document has %d bytes; %d are allowed", len(data), maxYAMLBytes), Hint: "put large content into a file beside the recipe and name it with sourceUri"}}
	}
	if p := hostileYAML(data); p != nil {
		return nil, Problems{*p}
	}
	file, err := parseYAMLFile(data)
	if err != nil {
		return nil, Problems{yamlProblem(err)}
	}
	bodies := documents(file)
	switch {
	case len(bodies) == 0:
		return nil, Problems{{Position: Position{1, 1}, Message: "the document is empty"}}
	case len(bodies) > 1:
		return nil, Problems{{Position: positionOf(bodies[1]), Message: "there is a second document in this file", Hint: "one recipe per file"}}
	}
	r := yamlReader{}
	return r.value(bodies[0], 0), r.problems
}

func documents(file *ast.File) []ast.Node {
	var bodies []ast.Node
	for _, doc := range file.Docs {
		if doc != nil && doc.Body != nil && doc.Body.Type() != ast.CommentType && doc.Body.Type() != ast.CommentGroupType {
			bodies = append(bodies, doc.Body)
		}
	}
	return bodies
}

// parseYAMLFile keeps a parser's panic on hostile input from ending the server.
func parseYAMLFile(data []byte) (file *ast.File, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the YAML parser gave up on this document: %v", r)
		}
	}()
	return parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
}

// maxYAMLPairs keeps the parser's time bounded: it grows with the square of a
// mapping's size.
const maxYAMLPairs = 10_000

// pairPattern finds at least every place where a mapping has a pair.
var pairPattern = regexp.MustCompile(`:[ \t\r\n]|["']:|:$`)

// hostileYAML refuses, before parsing, what would make a recursive parser
// exhaust the stack (brackets, or block entries on one line, nested without
// end) or run for minutes.
func hostileYAML(data []byte) *Problem {
	for number, line := range bytes.Split(data, []byte("\n")) {
		if i := bytes.IndexByte(line, 0); i >= 0 {
			return &Problem{Position: Position{number + 1, i + 1}, Message: "there is a NUL byte in the document"}
		}
		indent := len(line) - len(bytes.TrimLeft(line, " -?:\t[{&*!"))
		if indent > 4*maxDepth && !inlineText(line) {
			return &Problem{Position: Position{number + 1, 1}, Message: errTooDeep.Error()}
		}
	}
	if len(pairPattern.FindAllIndex(data, maxYAMLPairs+1)) > maxYAMLPairs {
		return &Problem{Position: Position{1, 1}, Message: errTooLarge.Error()}
	}
	if depth := bracketDepth(data); depth > maxDepth*4 {
		return &Problem{Position: Position{1, 1}, Message: errTooDeep.Error()}
	}
	return nil
}

// inlineText says that a line is deeply indented text (of a block scalar, or
// blank), not structure.
func inlineText(line []byte) bool {
	rest := bytes.TrimLeft(line, " \t")
	return len(rest) == 0 || bytes.IndexByte([]byte("-?:[{&*!"), rest[0]) < 0
}

func bracketDepth(data []byte) int {
	depth, deepest := 0, 0
	for _, c := range data {
		switch c {
		case '[', '{':
			depth++
			deepest = max(deepest, depth)
		case ']', '}':
			depth = max(depth-1, 0)
		}
	}
	return deepest
}

func yamlProblem(err error) Problem {
	var syntax *yaml.SyntaxError
	if errors.As(err, &syntax) && syntax.Token != nil {
		return Problem{Position: tokenPosition(syntax.Token), Message: "not valid YAML: " + syntax.Message}
	}
	message, _, _ := strings.Cut(err.Error(), "\n")
	return Problem{Position: Position{1, 1}, Message: "not valid YAML: " + message}
}

type yamlReader struct {
	budget   budget
	problems Problems
}

func (r *yamlReader) report(n ast.Node, message, hint string) {
	if len(r.problems) < maxProblems {
		r.problems = append(r.problems, Problem{Position: positionOf(n), Message: message, Hint: hint})
	}
}

func (r *yamlReader) value(n ast.Node, depth int) *node {
	if err := r.budget.spend(depth); err != nil {
		if len(r.problems) == 0 || r.problems[len(r.problems)-1].Message != err.Error() {
			r.report(n, err.Error(), "")
		}
		return &node{}
	}
	out := &node{pos: positionOf(n)}
	switch v := n.(type) {
	case nil, *ast.NullNode, *ast.CommentGroupNode:
		out.kind = kindNull
	case *ast.BoolNode:
		out.kind, out.text = kindBool, fmt.Sprint(v.Value)
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		out.kind, out.text = kindNumber, n.GetToken().Value
	case *ast.StringNode:
		out.kind, out.text = kindString, v.Value
	case *ast.LiteralNode:
		out.kind = kindString
		if v.Value != nil {
			out.text = v.Value.Value
		}
	case *ast.SequenceNode:
		out.kind = kindList
		for _, item := range v.Values {
			out.items = append(out.items, r.value(item, depth+1))
		}
	case *ast.MappingNode:
		out.kind = kindMap
		for _, pair := range v.Values {
			out.fields = append(out.fields, r.pair(pair, depth))
		}
	case *ast.MappingValueNode:
		out.kind = kindMap
		out.fields = append(out.fields, r.pair(v, depth))
	default:
		r.report(n, "anchors, aliases, merge keys and tags are not supported here", "use variables instead")
	}
	return out
}

func (r *yamlReader) pair(pair *ast.MappingValueNode, depth int) field {
	f := field{pos: positionOf(pair)}
	switch key := pair.Key.(type) {
	case *ast.StringNode:
		f.key = key.Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode:
		f.key = key.GetToken().Value
	default:
		r.report(pair, "this cannot be a field name", "a field name is plain text")
	}
	f.value = r.value(pair.Value, depth+1)
	return f
}

func positionOf(n ast.Node) Position {
	switch v := n.(type) {
	case nil:
		return Position{}
	case *ast.MappingValueNode:
		if v.Key != nil {
			return tokenPosition(v.Key.GetToken())
		}
	case *ast.MappingNode:
		if !v.IsFlowStyle && len(v.Values) > 0 {
			return positionOf(v.Values[0])
		}
	}
	return tokenPosition(n.GetToken())
}

func tokenPosition(t *token.Token) Position {
	if t == nil || t.Position == nil {
		return Position{}
	}
	return Position{Line: t.Position.Line, Column: t.Position.Column}
}
