// Package clients drives Hallmark with clients that others wrote, unchanged:
// the real Azure CLI and azure-sdk-for-go. commands.tsv says which commands are
// served, what each is to do, and which test sees from outside that it did.
package clients_test

import (
	"os"
	"strings"
	"testing"

	"hallmark.dev/hallmark/test/outside"
)

func TestMain(m *testing.M) { outside.Main(m) }

// suite is one control plane and the Azure CLI in front of it. Its parts build on
// each other: machines are expensive.
type suite struct {
	plane    *outside.Instance
	endpoint *outside.Endpoint
	az       *outside.Az
	ran      [][]string // every command line of az

	golden string // the id of a published gallery version
}

func TestAzureCLI(t *testing.T) {
	s := &suite{plane: outside.New(t, "127.0.0.1")}
	s.plane.Up(t)
	s.endpoint = s.plane.Endpoint(t)
	s.az = outside.NewAz(t, s.plane)
	s.ran = [][]string{{"cloud", "register"}, {"cloud", "set"}} // by NewAz
	s.az.Ran = func(arguments []string) { s.ran = append(s.ran, arguments) }
	s.az.SignIn(t, s.endpoint)
	only := os.Getenv("HALLMARK_AZ_PARTS") // while working on some of them
	for _, part := range []struct {
		name string
		do   func(*testing.T)
	}{
		{"accounts and groups", s.accounts},
		{"management groups", s.managementGroups},
		{"marketplace", s.marketplace},
		{"surface", s.surface},
		{"network", s.network},
		{"policy", s.policy},
		{"graph", s.graph},
		{"golden image", s.goldenImage},
		{"gallery", s.gallery},
		{"image builder", s.imageBuilder},
		{"seed commands", s.seeds},
		{"a machine", s.vm},
		{"an agent by policy", s.agentByPolicy},
		{"scale sets", s.scaleSets},
	} {
		if only != "" && !strings.Contains(","+only+",", ","+part.name+",") {
			continue
		}
		if !t.Run(part.name, part.do) {
			t.Logf("the server's log ends with\n%s", s.plane.LogEnd())
			if part.name == "golden image" {
				t.FailNow() // there is nothing to make machines from
			}
		}
	}
	if only == "" {
		s.tableAgrees(t)
	}
}

// expect wants the words that a query of a command line prints.
func (s *suite) expect(t *testing.T, want, query string, arguments ...string) {
	t.Helper()
	if got := s.az.Query(t, query, arguments...); got != want {
		t.Errorf("az %s --query %q: %q, want %q", strings.Join(arguments, " "), query, got, want)
	}
}

// refused wants a command line to fail and to say all of these.
func (s *suite) refused(t *testing.T, code int, texts []string, arguments ...string) {
	t.Helper()
	r := s.az.Try(t, arguments...)
	if r.Code != code {
		t.Errorf("az %s: exit code %d, want %d\n%s", strings.Join(arguments, " "), r.Code, code, r)
	}
	for _, text := range texts {
		if !strings.Contains(r.String(), text) {
			t.Errorf("az %s does not say %q:\n%s", strings.Join(arguments, " "), text, r)
		}
	}
}

// wait repeats a command line until a query of it prints these words, or a state
// that nothing follows.
func (s *suite) wait(t *testing.T, want, query string, arguments ...string) {
	t.Helper()
	outside.Until(t, strings.Join(arguments, " ")+" prints "+want, func() bool {
		got := s.az.Query(t, query, arguments...)
		if got != want && (got == "Failed" || got == "Succeeded" || got == "Canceled") {
			t.Fatalf("az %s: %s\n%s", strings.Join(arguments, " "), got, s.az.Run(t, arguments...))
		}
		return got == want
	})
}
