package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jmespath-community/go-jmespath"
)

// column is one column of a table: its heading and the JMESPath of its value
// in each row's JSON.
type column struct{ heading, path string }

// print writes a value in the format that the user asked for. columns say how
// a table shows it; a value that is not a list is a table of one row.
func (a *App) print(value any, columns ...column) error {
	plain, err := toPlain(value)
	if err != nil {
		return err
	}
	if a.query != "" {
		if plain, err = jmespath.Search(a.query, plain); err != nil {
			return usage("--query %q: %w", a.query, err)
		}
		columns = nil
	}
	switch a.output {
	case "json":
		return writeJSON(a.Out, plain)
	case "yaml":
		return yaml.NewEncoder(a.Out).Encode(whole(plain))
	case "tsv":
		return writeTSV(a.Out, plain, columns)
	case "table":
		return writeTable(a.Out, plain, columns)
	}
	return usage("--output %q: want table, json, yaml or tsv", a.output)
}

// toPlain turns any value into maps, lists and scalars by way of JSON, so that
// every format and --query see the same names.
func toPlain(value any) (any, error) {
	raw, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("encode the output: %w", err)
	}
	var plain any
	return plain, json.Unmarshal(raw, &plain)
}

// whole makes integers of numbers that are: JSON knows one kind of number only, and
// YAML would write 3.0.
func whole(value any) any {
	switch v := value.(type) {
	case float64:
		if n := int64(v); float64(n) == v && math.Abs(v) < 1<<53 {
			return n
		}
	case []any:
		for i := range v {
			v[i] = whole(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = whole(v[k])
		}
	}
	return value
}

func writeJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

func writeTSV(w io.Writer, value any, columns []column) error {
	for _, row := range rows(value) {
		cells := cellsOf(row, columns)
		for i := range cells {
			cells[i] = strings.NewReplacer("\t", " ", "\n", " ").Replace(cells[i])
		}
		if _, err := fmt.Fprintln(w, strings.Join(cells, "\t")); err != nil {
			return err
		}
	}
	return nil
}

func writeTable(w io.Writer, value any, columns []column) error {
	all := rows(value)
	if len(all) == 0 {
		return nil
	}
	if len(columns) == 0 {
		columns = inferColumns(all[0])
	}
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(plainStyle())
	header := table.Row{}
	for _, c := range columns {
		header = append(header, c.heading)
	}
	t.AppendHeader(header)
	for _, row := range all {
		line := table.Row{}
		for _, cell := range cellsOf(row, columns) {
			line = append(line, cell)
		}
		t.AppendRow(line)
	}
	t.Render()
	return nil
}

// plainStyle is az's: headings over dashes, two spaces between columns.
func plainStyle() table.Style {
	return table.Style{
		Options: table.Options{SeparateHeader: true, SeparateColumns: true},
		Box:     table.BoxStyle{MiddleHorizontal: "-", MiddleSeparator: "  ", MiddleVertical: "  "},
	}
}

func rows(value any) []any {
	switch v := value.(type) {
	case nil:
		return nil
	case []any:
		return v
	}
	return []any{value}
}

// inferColumns shows a row's scalar fields in order of their names; a row that
// is a scalar itself is one column.
func inferColumns(row any) []column {
	object, ok := row.(map[string]any)
	if !ok {
		return []column{{"Result", "@"}}
	}
	var columns []column
	for name, value := range object {
		switch value.(type) {
		case map[string]any, []any:
		default:
			columns = append(columns, column{strings.ToUpper(name[:1]) + name[1:], `"` + name + `"`})
		}
	}
	slices.SortFunc(columns, func(x, y column) int { return strings.Compare(x.heading, y.heading) })
	return columns
}

func cellsOf(row any, columns []column) []string {
	if len(columns) == 0 {
		columns = inferColumns(row)
	}
	cells := make([]string, len(columns))
	for i, c := range columns {
		value, err := jmespath.Search(c.path, row)
		if err == nil {
			cells[i] = cell(value)
		}
	}
	return cells
}

func cell(value any) string {
	switch v := value.(type) {
	case nil:
		return ""
	case string:
		return v
	case float64, bool:
		return fmt.Sprint(v)
	}
	raw, _ := json.Marshal(value)
	return string(raw)
}
