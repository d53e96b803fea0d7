package arm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// MaxDepth is how deep a document may nest. Azure's own templates stay far below.
const MaxDepth = 64

// CheckJSON refuses what would make two readers of a document see different things
// or do a reader harm: text that is not one JSON value in UTF-8, NUL
// characters, nesting beyond MaxDepth, and two properties of one object whose names
// differ in case only (a policy might read one and a provider the other).
func CheckJSON(body []byte) error {
	if !utf8.Valid(body) {
		return badJSON("", "The request body is not valid UTF-8.")
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	c := checker{dec: dec}
	if err := c.value(0); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return badJSON("", "The request body has something after the end of its JSON document.")
	}
	return nil
}

type checker struct {
	dec  *json.Decoder
	path []string
}

func (c *checker) value(depth int) error {
	tok, err := c.dec.Token()
	if err != nil {
		return c.syntax(err)
	}
	switch t := tok.(type) {
	case string:
		return c.text(t)
	case json.Delim:
		if depth >= MaxDepth {
			return badJSON(c.at(), "The request body nests deeper than %d levels.", MaxDepth)
		}
		if t == '{' {
			return c.object(depth)
		}
		return c.array(depth)
	}
	return nil
}

func (c *checker) object(depth int) error {
	seen := map[string]bool{}
	for c.dec.More() {
		tok, err := c.dec.Token()
		if err != nil {
			return c.syntax(err)
		}
		name, _ := tok.(string)
		c.path = append(c.path, name)
		if err := c.text(name); err != nil {
			return err
		}
		if folded := strings.ToLower(name); seen[folded] {
			return badJSON(c.at(), "The property '%s' appears twice. Names do not differ by case.", clip(name))
		} else {
			seen[folded] = true
		}
		if err := c.value(depth + 1); err != nil {
			return err
		}
		c.path = c.path[:len(c.path)-1]
	}
	return c.close()
}

func (c *checker) array(depth int) error {
	for i := 0; c.dec.More(); i++ {
		c.path = append(c.path, fmt.Sprintf("[%d]", i))
		if err := c.value(depth + 1); err != nil {
			return err
		}
		c.path = c.path[:len(c.path)-1]
	}
	return c.close()
}

func (c *checker) close() error {
	if _, err := c.dec.Token(); err != nil {
		return c.syntax(err)
	}
	return nil
}

func (c *checker) text(s string) error {
	if strings.ContainsRune(s, 0) {
		return badJSON(c.at(), "The request body has a NUL character in a text.")
	}
	return nil
}

func (c *checker) syntax(err error) error {
	return badJSON(c.at(), "The request body is not valid JSON at byte %d: %v.", c.dec.InputOffset(), err).Because(err)
}

func (c *checker) at() string {
	return clip(strings.ReplaceAll(strings.Join(c.path, "."), ".[", "["))
}

func badJSON(target, format string, args ...any) *Error {
	return BadRequest(CodeInvalidRequestContent, target, format, args...)
}

// EachMember calls f for the properties of an object in order; it returns an error
// when doc is not an object.
func EachMember(doc json.RawMessage, f func(name string, value json.RawMessage)) error {
	ms, err := members(doc)
	for _, m := range ms {
		f(m.name, m.value)
	}
	return err
}

// Arrange puts the named top-level properties first, in this order and spelling, and
// leaves the others as they were.
func Arrange(doc json.RawMessage, first ...string) (json.RawMessage, error) {
	ms, err := members(doc)
	if err != nil {
		return nil, err
	}
	var out []member
	for _, name := range first {
		if i := index(ms, name); i >= 0 {
			out = append(out, member{name, ms[i].value})
			ms = append(ms[:i], ms[i+1:]...)
		}
	}
	return write(append(out, ms...)), nil
}
