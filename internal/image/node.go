package image

import (
	"errors"
	"strings"
)

// Limits on documents from outside. A recipe is written by hand; a template
// arrives through ARM, whose own limit for a request is 4 MiB.
const (
	maxYAMLBytes = 1 << 20
	maxJSONBytes = 4 << 20
	maxDepth     = 32
	maxNodes     = 100_000
	maxProblems  = 200
)

type kind int

const (
	kindNull kind = iota
	kindBool
	kindNumber
	kindString
	kindList
	kindMap
)

func (k kind) String() string {
	return [...]string{"nothing", "true or false", "a number", "text", "a list", "a mapping"}[k]
}

// node is one value of a document, YAML or JSON, with its place. Scalars keep
// the text they were written with, so that 0644 stays 0644.
type node struct {
	kind     kind
	text     string
	pos      Position
	items    []*node
	fields   []field
	replaced bool // text came from a variable, so it may stand for any scalar
}

type field struct {
	key   string
	pos   Position
	value *node
}

func (n *node) field(key string) *node {
	for _, f := range n.fields {
		if f.key == key {
			return f.value
		}
	}
	return nil
}

// budget bounds what a document may make us build.
type budget struct{ nodes int }

var (
	errTooDeep  = errors.New("the document is nested too deeply")
	errTooLarge = errors.New("the document has too many values")
)

func (b *budget) spend(depth int) error {
	if b.nodes++; b.nodes > maxNodes {
		return errTooLarge
	}
	if depth > maxDepth {
		return errTooDeep
	}
	return nil
}

// parseNode reads a document: JSON if it begins with a brace, else YAML.
func parseNode(data []byte) (*node, Problems) {
	if trimmed := strings.TrimLeft(string(data[:min(len(data), 4096)]), " \t\r\n\ufeff"); strings.HasPrefix(trimmed, "{") {
		return parseJSON(data)
	}
	return parseYAML(data)
}
