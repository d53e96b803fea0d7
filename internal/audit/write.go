package audit

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// writers are the formats of a report. Each writes finding by finding.
var writers = []struct {
	name  string
	write func(io.Writer, *Report) error
}{
	{"table", writeTable}, {"json", writeJSON}, {"csv", writeCSV}, {"sarif", writeSARIF},
	{"junit", writeJUnit}, {"ocsf", writeOCSF}, {"html", writeHTML},
}

// Formats are the names that Write knows.
func Formats() []string {
	names := make([]string, len(writers))
	for i, w := range writers {
		names[i] = w.name
	}
	return names
}

// Write renders a report.
func Write(w io.Writer, format string, r *Report) error {
	for _, known := range writers {
		if known.name != format {
			continue
		}
		buffered := bufio.NewWriterSize(w, 64<<10)
		if err := known.write(buffered, r); err != nil {
			return fmt.Errorf("write the %s report: %w", format, err)
		}
		if err := buffered.Flush(); err != nil {
			return fmt.Errorf("write the %s report: %w", format, err)
		}
		return nil
	}
	return fmt.Errorf("there is no report format %q: choose %s", format, strings.Join(Formats(), ", "))
}
