package audit

import (
	"encoding/xml"
	"fmt"
	"io"

	"hallmark.dev/hallmark/internal/junit"
)

// writeJUnit writes one test case a machine. The counts stand at the front, as
// readers of the format expect, and come from the summary.
func writeJUnit(w io.Writer, r *Report) error {
	s := &r.Summary
	counts := fmt.Sprintf(`tests="%d" failures="%d" errors="%d" skipped="0"`, s.Total, s.NonCompliant, s.Unknown)
	out := &lines{w: w}
	out.printf("%s<testsuites name=\"hallmark audit\" %s>\n<testsuite name=\"images in use\" %s timestamp=\"%s\">\n",
		xml.Header, counts, counts, r.Now.UTC().Format("2006-01-02T15:04:05"))
	for f := range r.Findings {
		data, err := xml.Marshal(newJUnitCase(f))
		if err != nil {
			return err
		}
		out.printf("%s\n", data)
	}
	out.printf("</testsuite>\n</testsuites>\n")
	return out.err
}

func newJUnitCase(f Finding) junit.Case {
	c := junit.Case{Name: f.Name, ClassName: f.Subscription + "/" + f.ResourceGroup}
	detail := &junit.Detail{Message: f.Reason, Type: string(f.State), Text: f.ID + "\n" + f.Reason + "\n" + f.Advice + "\n" + f.Command + "\n"}
	switch f.Verdict {
	case NonCompliant:
		c.Failure = detail
	case UnknownIf:
		c.Error = detail
	default:
		c.Output = string(f.State) + ": " + f.Reason
	}
	return c
}
