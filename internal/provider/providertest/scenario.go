package providertest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// Scenarios runs each txtar file that matches the pattern as a test of its own against
// what start starts. A file is a sequence of requests and answers:
//
//	-- request --
//	PUT {{rg}}/providers/Test.Toy/wheels/w?api-version=2024-01-01
//	If-Match: *
//
//	{"location":"local"}
//	-- answer --
//	201
//	Azure-AsyncOperation: {{op}}
//
//	{"name":"w","properties":{"provisioningState":"Creating"}}
//	-- settle --
//	-- request --
//	GET {{op}}
//
// An answer names the status, and headers and properties that must be there: objects
// may have more, arrays may not, "*" is any value, null is absent or null. {{name}} alone
// as a value remembers it; anywhere else it is replaced by what was remembered. {{sub}} and
// {{rg}} are there from the start. "settle" waits for the controllers.
func Scenarios(t *testing.T, pattern string, start func(t *testing.T) *Server) {
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios match %s: %v", pattern, err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txtar"), func(t *testing.T) {
			raw, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			newScenario(start(t)).run(t, txtar.Parse(raw))
		})
	}
}

type scenario struct {
	s    *Server
	vars map[string]string

	status int // of the last request
	header http.Header
	body   []byte
	asked  string
}

func newScenario(s *Server) *scenario {
	return &scenario{s: s, vars: map[string]string{"sub": "/subscriptions/" + Subscription, "rg": Group().String(), "url": s.URL}}
}

func (c *scenario) run(t *testing.T, a *txtar.Archive) {
	for _, f := range a.Files {
		text := string(f.Data)
		switch f.Name {
		case "request":
			c.request(t, c.replace(text))
		case "answer":
			c.answer(t, text)
		case "settle":
			c.s.Settle(t)
		default:
			t.Fatalf("a section named %q; want request, answer or settle", f.Name)
		}
	}
}

var variable = regexp.MustCompile(`\{\{(\w+)\}\}`)

func (c *scenario) replace(text string) string {
	return variable.ReplaceAllStringFunc(text, func(v string) string {
		if known, ok := c.vars[v[2:len(v)-2]]; ok {
			return known
		}
		return v
	})
}

// parts are the first line, the headers and the body.
func parts(text string) (first string, h [][2]string, body string) {
	head, body, _ := strings.Cut(text, "\n\n")
	lines := strings.Split(strings.TrimSpace(head), "\n")
	for _, l := range lines[1:] {
		k, v, _ := strings.Cut(l, ":")
		h = append(h, [2]string{k, strings.TrimSpace(v)})
	}
	return lines[0], h, strings.TrimSpace(body)
}

func (c *scenario) request(t *testing.T, text string) {
	t.Helper()
	first, h, body := parts(text)
	method, target, _ := strings.Cut(first, " ")
	c.asked = first
	if !strings.HasPrefix(target, "https://") {
		target = c.s.URL + target
	}
	r, err := http.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range h {
		r.Header.Set(kv[0], kv[1])
	}
	c.status, c.header, c.body = c.s.roundTrip(t, r)
}

func (c *scenario) answer(t *testing.T, text string) {
	t.Helper()
	first, h, body := parts(text)
	if want, _ := strconv.Atoi(first); want != c.status {
		t.Fatalf("%s: answered %d, want %s\n%s", c.asked, c.status, first, c.body)
	}
	for _, kv := range h {
		if err := c.match(kv[1], c.header.Get(kv[0]), kv[0]); err != nil {
			t.Errorf("%s: header %v", c.asked, err)
		}
	}
	if body == "" {
		return
	}
	var want, got any
	if err := json.Unmarshal([]byte(body), &want); err != nil {
		t.Fatalf("%s: the wanted answer: %v", c.asked, err)
	}
	if err := json.Unmarshal(c.body, &got); err != nil {
		t.Fatalf("%s: answered %q: %v", c.asked, c.body, err)
	}
	if err := c.match(want, got, "$"); err != nil {
		t.Errorf("%s: %v\n%s", c.asked, err, c.body)
	}
}

// match reports where got is not what want asks for.
func (c *scenario) match(want, got any, at string) error {
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			return fmt.Errorf("%s is %v, want an object", at, got)
		}
		for k, v := range w {
			if err := c.match(v, g[k], at+"."+k); err != nil {
				return err
			}
		}
		return nil
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(w) {
			return fmt.Errorf("%s is %v, want %d items", at, got, len(w))
		}
		for i := range w {
			if err := c.match(w[i], g[i], fmt.Sprintf("%s[%d]", at, i)); err != nil {
				return err
			}
		}
		return nil
	case string:
		return c.matchText(w, got, at)
	}
	if !reflect.DeepEqual(want, got) {
		return fmt.Errorf("%s is %v, want %v", at, got, want)
	}
	return nil
}

func (c *scenario) matchText(want string, got any, at string) error {
	g, isText := got.(string)
	if want == "*" && got != nil && got != "" {
		return nil
	}
	if m := variable.FindString(want); m == want && m != "" && isText && g != "" {
		if _, known := c.vars[m[2:len(m)-2]]; !known {
			c.vars[m[2:len(m)-2]] = g
			return nil
		}
	}
	if want = c.replace(want); !isText || want != g {
		return fmt.Errorf("%s is %v, want %q", at, got, want)
	}
	return nil
}
