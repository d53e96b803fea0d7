package cli

import (
	"fmt"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/pipeline"
)

// runView shows a run's events as lines on stderr: elapsed time, stage, what
// happened. It says nothing with colour alone.
type runView struct {
	app   *App
	start time.Time
	// percent is the last progress shown, so that a line is not repeated for
	// every percent.
	percent int
	step    string
}

var eventMarks = map[string]string{"started": "▶", "finished": "✔", "failed": "✘", "cached": "●", "progress": " ", "log": " "}

func (v *runView) show(e pipeline.Event) {
	if e.Kind == "progress" && e.Step == v.step && e.Percent < v.percent+20 {
		return
	}
	v.percent, v.step = e.Percent, e.Step
	line := strings.TrimSpace(e.Step + "  " + e.Message)
	switch {
	case e.Kind == "cached":
		line += "  (from the cache)"
	case e.Kind == "progress":
		line += fmt.Sprintf("  %d %%", e.Percent)
	}
	fmt.Fprintf(v.app.Err, "%8s  %-8s %s %s\n", elapsed(e.Time.Sub(v.start)), e.Stage, eventMarks[e.Kind], line)
}

func elapsed(d time.Duration) string {
	d = max(0, d).Round(time.Second)
	return fmt.Sprintf("%d:%02d", int(d.Minutes()), int(d.Seconds())%60)
}

// summary is the last thing that a build says.
func (v *runView) summary(run *pipeline.Run) {
	w := v.app.Err
	fmt.Fprintln(w)
	for _, stage := range run.Stages {
		if stage.StartTime.IsZero() {
			continue
		}
		fmt.Fprintf(w, "  %-9s %-11s %7s  %s\n", stage.Name, stage.Status, elapsed(stage.EndTime.Sub(stage.StartTime)), firstLine(stage.Message))
	}
	if run.Tests != nil {
		for _, t := range run.Tests.Failed() {
			fmt.Fprintf(w, "  ✘ %s: %s\n", t.Name, t.Message)
		}
		fmt.Fprintf(w, "  %d tests, %d failed\n", len(run.Tests.Results), len(run.Tests.Failed()))
	}
	if run.Version != "" {
		fmt.Fprintf(w, "  version %s  %s\n", run.Version, run.VersionID)
	}
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}
