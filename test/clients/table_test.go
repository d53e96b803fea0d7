package clients_test

import (
	"encoding/csv"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// row is one line of commands.tsv.
type row struct {
	command string // "az vm create"
	served  bool
	effect  string // what it is to do; or why it is not served
	seen    string // what sees that effect from outside
}

func readTable(t *testing.T) []row {
	t.Helper()
	f, err := os.Open("commands.tsv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.Comma, r.LazyQuotes = '\t', true
	lines, err := r.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var rows []row
	for _, l := range lines[1:] {
		rows = append(rows, row{command: l[0], served: l[1] == "yes", effect: l[2], seen: l[3]})
	}
	return rows
}

// TestCommandsTable holds the table to its own rules; whether it is true is
// what TestAzureCLI finds out.
func TestCommandsTable(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range readTable(t) {
		switch {
		case !strings.HasPrefix(r.command, "az "):
			t.Errorf("%q is no az command", r.command)
		case seen[r.command]:
			t.Errorf("%q is there twice", r.command)
		case r.effect == "":
			t.Errorf("%q says neither what it does nor why it is not served", r.command)
		case r.served == (r.seen == ""):
			t.Errorf("%q: served commands, and no others, say what sees their effect", r.command)
		}
		seen[r.command] = true
		if folder, test := r.elsewhere(); folder != "" && !hasTest(t, folder, test) {
			t.Errorf("%q: there is no %s in %s", r.command, test, folder)
		}
	}
}

// elsewhere is the folder and the name of a test of another package that drives the
// command: against a control plane in its own process, where that shows as much.
func (r row) elsewhere() (folder, test string) {
	folder, rest, _ := strings.Cut(r.seen, " ")
	if !strings.HasPrefix(folder, "internal/") {
		return "", ""
	}
	test, _, _ = strings.Cut(rest, ":")
	return folder, test
}

func hasTest(t *testing.T, folder, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "..", folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(files, func(file string) bool {
		text, err := os.ReadFile(file)
		return err == nil && strings.Contains(string(text), "func "+name+"(t *testing.T)")
	})
}

// tableAgrees compares the table with what has been run: what it calls served has been
// driven, and what has been driven is in it.
func (s *suite) tableAgrees(t *testing.T) {
	rows := readTable(t)
	for _, r := range rows {
		if folder, _ := r.elsewhere(); r.served && folder == "" && !slices.ContainsFunc(s.ran, r.matches) {
			t.Errorf("commands.tsv says that %q is served, and no test ran it", r.command)
		}
	}
	for _, arguments := range s.ran {
		if !slices.ContainsFunc(rows, func(r row) bool { return r.served && r.matches(arguments) }) {
			t.Errorf("commands.tsv lacks az %s", strings.Join(arguments, " "))
		}
	}
}

func (r row) matches(arguments []string) bool {
	words := strings.Fields(r.command)[1:]
	return len(arguments) >= len(words) && slices.Equal(arguments[:len(words)], words)
}
