package image

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// TestEveryFieldIsDocumented: a field that docs/recipe.md does not name does
// not exist for a user.
func TestEveryFieldIsDocumented(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "..", "docs", "recipe.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(allFields(reflect.TypeFor[Recipe]()), StandardTestNames()...) {
		if !strings.Contains(string(data), "`"+name+"`") && !strings.Contains(string(data), "."+name+"`") && !strings.Contains(string(data), "`"+name+":") {
			t.Errorf("docs/recipe.md does not name %s", name)
		}
	}
	for _, key := range TattooKeys() {
		if !strings.Contains(string(data), "`"+key+"`") {
			t.Errorf("docs/recipe.md does not name the tattoo's key %s", key)
		}
	}
}

func allFields(t reflect.Type) []string {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		return allFields(t.Elem())
	case reflect.Struct:
	default:
		return nil
	}
	names := fieldNames(t)
	for i := range t.NumField() {
		names = append(names, allFields(t.Field(i).Type)...)
	}
	return names
}

// TestDocumentedExampleParses: the small recipe of the docs is a recipe.
func TestDocumentedExampleParses(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "..", "docs", "recipe.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(data), "## A small one\n\n```yaml\n")
	example, _, ok := strings.Cut(after, "```")
	if !ok {
		t.Fatal("there is no example")
	}
	if _, err := ParseRecipe([]byte(example), ParseOptions{}); err != nil {
		t.Error(err)
	}
}
