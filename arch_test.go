package hallmark_test

import (
	"bufio"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "hallmark.dev/hallmark/"

// TestImportsFollowTheTable keeps the arrows between packages deliberate: a new
// one has to be written into ARCHITECTURE.md, where a reviewer sees it.
func TestImportsFollowTheTable(t *testing.T) {
	table := readImportTable(t)
	packages := readPackages(t)
	for path, p := range packages {
		allowed, ok := table[path]
		if !ok {
			t.Errorf("package %s has no row in ARCHITECTURE.md's import table", path)
			continue
		}
		for _, imported := range p.imports {
			if !slices.Contains(allowed, "*") && !slices.Contains(allowed, strings.TrimPrefix(imported, "internal/")) {
				t.Errorf("package %s imports %s, an arrow that ARCHITECTURE.md's import table lacks", path, imported)
			}
		}
		if p.comments != 1 {
			t.Errorf("package %s has %d package comments, want exactly 1", path, p.comments)
		}
	}
	for path := range table {
		if _, ok := packages[path]; !ok {
			t.Errorf("ARCHITECTURE.md's import table has a row for %s, which does not exist", path)
		}
	}
}

func readImportTable(t *testing.T) map[string][]string {
	t.Helper()
	f, err := os.Open("ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	table := map[string][]string{}
	inside := false
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line := lines.Text()
		if strings.HasPrefix(line, "```") {
			inside = line == "```imports"
			continue
		}
		if path, arrows, ok := strings.Cut(line, ":"); inside && ok {
			table[path] = strings.Fields(arrows)
		}
	}
	return table
}

type packageFacts struct {
	imports  []string
	comments int
}

// readPackages parses every non-test file of cmd/ and internal/.
func readPackages(t *testing.T) map[string]*packageFacts {
	t.Helper()
	packages := map[string]*packageFacts{}
	for _, root := range []string{"cmd", "internal"} {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly|parser.ParseComments)
			if err != nil {
				return err
			}
			dir := filepath.ToSlash(filepath.Dir(path))
			if packages[dir] == nil {
				packages[dir] = &packageFacts{}
			}
			packages[dir].add(file)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return packages
}

func (p *packageFacts) add(file *ast.File) {
	if file.Doc != nil {
		p.comments++
	}
	for _, spec := range file.Imports {
		path, _ := strconv.Unquote(spec.Path.Value)
		if imported, ok := strings.CutPrefix(path, module); ok && !slices.Contains(p.imports, imported) {
			p.imports = append(p.imports, imported)
		}
	}
}
