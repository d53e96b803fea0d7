package audit

import (
	"encoding/csv"
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"time"
)

// writeJSON streams the findings and ends with the summary.
func writeJSON(w io.Writer, r *Report) error {
	out := &lines{w: w}
	out.printf("{\n  \"time\": %s,\n  \"findings\": [", mustJSON(r.Now.UTC().Format(time.RFC3339)))
	separator := "\n    "
	for f := range r.Findings {
		data, err := json.Marshal(f)
		if err != nil {
			return err
		}
		out.printf("%s%s", separator, data)
		separator = ",\n    "
	}
	problems := r.Problems
	if problems == nil {
		problems = []string{}
	}
	out.printf("\n  ],\n  \"problems\": %s,\n  \"summary\": %s\n}\n", mustJSON(problems), mustJSON(r.Summary))
	return out.err
}

// mustJSON is for our own plain types, which always have a JSON form.
func mustJSON(v any) string {
	data, _ := json.Marshal(v)
	return string(data)
}

// CSVHeader are the columns of the CSV report. New ones are added at the end.
func CSVHeader() []string {
	return []string{
		"id", "name", "type", "location", "subscription", "resourceGroup", "team", "image", "version", "state", "verdict", "reason",
		"advice", "command", "latestVersion", "versionsBehind", "publishedDate", "daysSincePublished", "endOfLifeDate", "source",
		"approvedAzureMachineImageInUse", "ruleExplanation",
	}
}

func writeCSV(w io.Writer, r *Report) error {
	out := csv.NewWriter(w)
	if err := out.Write(CSVHeader()); err != nil {
		return err
	}
	for f := range r.Findings {
		if err := out.Write(csvRow(f)); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

func csvRow(f Finding) []string {
	l := f.Lineage
	rule, explanation := "", ""
	if f.Rule != nil {
		rule, explanation = map[bool]string{true: "pass", false: "fail"}[f.Rule.Pass], f.Rule.Explanation
	}
	row := []string{
		f.ID, f.Name, f.Type, f.Location, f.Subscription, f.ResourceGroup, f.Team, f.Image, f.Version, string(f.State), string(f.Verdict), f.Reason,
		f.Advice, f.Command, l.LatestVersion, strconv.Itoa(l.VersionsBehind), day(l.PublishedDate), strconv.Itoa(l.DaysSincePublished), day(l.EndOfLifeDate), l.Source,
		rule, explanation,
	}
	for i, cell := range row {
		row[i] = defuse(plain(cell))
	}
	return row
}

func day(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.Format(time.DateOnly)
}

// defuse keeps a spreadsheet from running a cell as a formula: a tag's value or
// a machine's name may come from anybody.
func defuse(cell string) string {
	if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
		return "'" + cell
	}
	return cell
}
