package cli

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/pipeline"
)

// runView shows a run's events as lines on stderr: elapsed time, stage, what
// happened. It says nothing with colour alone.
type runView struct {
	app   *App
	start time.Time
	// verbose shows every line that steps print; otherwise they are kept, and
	// the last are shown when a step fails.
	verbose bool
	kept    []string
	// percent is the last progress shown, so that a line is not repeated for
	// every percent.
	percent int
	step    string
}

// linesKept is how much of a step's output is shown when it fails.
const linesKept = 20

var eventMarks = map[string]string{"started": "▶", "finished": "✔", "failed": "✘", "cached": "●", "progress": " ", "log": " "}

func (v *runView) show(e pipeline.Event) {
	switch e.Kind {
	case "log":
		if v.kept = append(v.kept, e.Message); len(v.kept) > linesKept {
			v.kept = v.kept[1:]
		}
		// What a build's step prints is its own affair; what a stage says is the run's.
		if e.Stage == pipeline.StageBuild && e.Step != "" && !v.verbose {
			return
		}
	case "progress":
		if e.Step == v.step && e.Percent < v.percent+20 {
			return
		}
		v.percent, v.step = e.Percent, e.Step
	case "started":
		v.kept = nil
	case "failed":
		if e.Stage == pipeline.StageBuild {
			v.showKept()
		}
	}
	fmt.Fprintf(v.app.Err, "%8s  %-8s %s %s\n", elapsed(e.Time.Sub(v.start)), e.Stage, eventMarks[e.Kind], v.line(e))
}

var digest = regexp.MustCompile(`sha256:([0-9a-f]{12})[0-9a-f]{52}`)

func (v *runView) line(e pipeline.Event) string {
	line := strings.TrimSpace(e.Step + "  " + digest.ReplaceAllString(e.Message, "$1"))
	switch e.Kind {
	case "cached":
		line += "  (from the cache)"
	case "progress":
		line += fmt.Sprintf("  %d %%", e.Percent)
	}
	return line
}

func (v *runView) showKept() {
	if v.verbose {
		return
	}
	for _, line := range v.kept {
		fmt.Fprintf(v.app.Err, "%8s  %-8s   | %s\n", "", "", line)
	}
	v.kept = nil
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
		fmt.Fprintf(w, "  %-9s %-11s %7s  %s\n", stage.Name, stage.Status, elapsed(stage.EndTime.Sub(stage.StartTime)), digest.ReplaceAllString(firstLine(stage.Message), "$1"))
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
