package build

import (
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrBaseDigest means that the base image is not the one that was named.
	ErrBaseDigest = errors.New("the base image's digest is not the expected one")
	// ErrTimeout means that a step or a build took longer than it may.
	ErrTimeout = errors.New("took longer than its limit")
	// ErrDiskFull means that the image's own file system ran out of space.
	ErrDiskFull = errors.New("the image's disk is full")
	// ErrHostFull means that this host ran out of space for layers.
	ErrHostFull = errors.New("this host's disk is full")
	// ErrNeedsVM means that a step cannot run in a container on this image.
	ErrNeedsVM = errors.New("needs isolation: vm")
	// ErrNoFailedState means that a run left no state to look into.
	ErrNoFailedState = errors.New("no failed state is kept for this run")
	// ErrInUse means that somebody else works on it at this moment.
	ErrInUse = errors.New("in use")
)

// StepError says everything that a person needs to go on after a failed step.
// Its text is free of secrets.
type StepError struct {
	Run      string
	Stage    string
	Step     string
	Index    int    // in Plan.Steps; -1 for the build's own steps
	Command  string // what ran, shortened
	ExitCode int    // -1 when it did not exit by itself
	Output   string // the end of it
	LogFile  string
	Hint     string // the next thing to do
	Err      error
}

func (e *StepError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "step %q failed: %v", e.Step, e.Err)
	if e.Command != "" {
		fmt.Fprintf(&b, "\n  command: %s", e.Command)
	}
	if out := strings.TrimSpace(e.Output); out != "" {
		fmt.Fprintf(&b, "\n  end of its output:\n    %s", strings.ReplaceAll(out, "\n", "\n    "))
	}
	if e.LogFile != "" {
		fmt.Fprintf(&b, "\n  whole output: %s", e.LogFile)
	}
	if e.Hint != "" {
		fmt.Fprintf(&b, "\n  next: %s", e.Hint)
	}
	return b.String()
}

func (e *StepError) Unwrap() error { return e.Err }

// hint is the next thing to do for a kind of failure, where no failed state is
// kept.
func hint(err error) string {
	switch {
	case errors.Is(err, ErrDiskFull):
		return "raise osDiskSizeGB in the recipe's vmProfile, or delete what the step does not need"
	case errors.Is(err, ErrHostFull):
		return "free space, for example with `hallmark cache prune`, and build again; finished steps are kept"
	case errors.Is(err, ErrTimeout):
		return "raise the step's timeout or buildTimeoutInMinutes"
	case errors.Is(err, ErrNeedsVM):
		return "set `isolation: vm` on the step"
	case errors.Is(err, ErrBaseDigest):
		return "fetch the base image again; if it changed on purpose, correct its digest"
	}
	return "repair the recipe and build again; it goes on after the last good step"
}

// hintKept is hint with the way into the failed state that is kept.
func hintKept(err error, run string) string {
	return "look into the failed state with `hallmark image shell " + run + "`; " + hint(err)
}
