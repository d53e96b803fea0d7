package audit

import (
	_ "embed"
	"html/template"
	"io"

	"hallmark.dev/hallmark/internal/lineage"
)

//go:embed report.html
var htmlText string

// writeHTML renders one file that needs nothing from outside: no script, no
// font, no image. The template ranges over the findings, so they are written as
// they are made.
func writeHTML(w io.Writer, r *Report) error {
	functions := template.FuncMap{
		"states":      lineage.States,
		"description": func(s lineage.State) string { return descriptions()[s] },
		"names":       sortedKeys,
		"plain":       plain,
	}
	page, err := template.New("report").Funcs(functions).Parse(htmlText)
	if err != nil {
		return err
	}
	return page.Execute(w, r)
}
