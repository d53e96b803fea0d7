package pipeline

import (
	"fmt"
	"time"

	"hallmark.dev/hallmark/internal/attest"
	"hallmark.dev/hallmark/internal/image"
)

// Status is where a run is.
type Status string

// The statuses of a run; all but Running are final.
const (
	Running     Status = "Running"
	Succeeded   Status = "Succeeded"
	UpToDate    Status = "UpToDate"    // an existing version is what a build would make
	NeedsRepair Status = "NeedsRepair" // built and staged, but a test failed
	Failed      Status = "Failed"
	Canceled    Status = "Canceled"
)

// Final says whether a run in this status goes no further.
func (s Status) Final() bool { return s != Running && s != "" }

// The stages of a run, in order.
const (
	StageResolve  = "Resolve"
	StageBuild    = "Build"
	StageStage    = "Stage"
	StageValidate = "Validate"
	StagePromote  = "Promote"
	StageAge      = "Age"
	StageClean    = "Clean"
)

// Stage is one stage of a run. Times are UTC; zero means not yet.
type Stage struct {
	Name      string    `json:"name"`
	Status    Status    `json:"status,omitempty"`
	StartTime time.Time `json:"startTime,omitzero"`
	EndTime   time.Time `json:"endTime,omitzero"`
	Message   string    `json:"message,omitempty"`
	Percent   int       `json:"percent,omitempty"`
	// Attempts counts consecutive errors of the endpoint in this stage.
	Attempts int `json:"attempts,omitempty"`
}

// Order is what somebody asked of a run.
type Order struct {
	// Version publishes exactly this version; empty takes the next one.
	Version string `json:"version,omitempty"`
	// Force builds although an existing version is what the build would make.
	Force bool `json:"force,omitempty"`
	// NoCache runs every step again.
	NoCache bool `json:"noCache,omitempty"`
	// IfBaseChanged builds only when the source, resolved now, differs from what
	// the newest published version was made from, or MaxAge has passed.
	IfBaseChanged bool `json:"ifBaseChanged,omitempty"`
	// MaxAge, with IfBaseChanged, is the age in seconds of the newest published
	// version beyond which it is built anew in any case; zero means never.
	MaxAge int64 `json:"maxAgeSeconds,omitempty"`
	// GitCommit is recorded in the tattoo.
	GitCommit string `json:"gitCommit,omitempty"`
}

// Failure says why a run ended without a version, in ARM's terms.
type Failure struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Target  string `json:"target,omitempty"`

	// outcome is what the run becomes; empty means Failed.
	outcome Status
}

func (f *Failure) Error() string { return f.Code + ": " + f.Message }

func failure(code, target, format string, arguments ...any) *Failure {
	return &Failure{Code: code, Target: target, Message: fmt.Sprintf(format, arguments...)}
}

// Run is everything that is known of one run. It is plain data, stored by the
// caller between steps, and shown to users as it is.
type Run struct {
	ID     string  `json:"runId"`
	Status Status  `json:"status"`
	Order  Order   `json:"order"`
	Stages []Stage `json:"stages"`

	Source       image.ResolvedSource `json:"source,omitzero"`
	Version      string               `json:"version,omitempty"`
	VersionID    string               `json:"imageVersionId,omitempty"`
	ImageDigest  string               `json:"imageDigest,omitempty"`
	RecipeDigest string               `json:"recipeDigest,omitempty"`
	PlanDigest   string               `json:"planDigest,omitempty"`

	// Tests are the results of the tests in the booted machine, and how long it
	// took to boot.
	Tests   *image.TestReport `json:"testReport,omitempty"`
	Console string            `json:"consoleLogUri,omitempty"`
	// Tattoo and Signature are what the image holds, as text.
	Tattoo    string `json:"tattoo,omitempty"`
	Signature string `json:"tattooSignature,omitempty"`
	// Statement is the signed evidence: a DSSE envelope whose in-toto statement
	// names the image's digest.
	Statement *attest.Envelope `json:"statement,omitempty"`

	Error *Failure `json:"error,omitempty"`
	// Next says what to do about the run's outcome.
	Next string `json:"next,omitempty"`

	// OSID and OSVersion are the source's operating system, as far as its
	// catalogue says.
	OSID      string `json:"osId,omitempty"`
	OSVersion string `json:"osVersion,omitempty"`
	// BuildRunID is what the embedded image builder calls its part of the run; a
	// failed step's state is kept under it.
	BuildRunID string `json:"buildRunId,omitempty"`
	// LogOffset is how far the build's own log has been taken over.
	LogOffset int64 `json:"logOffset,omitempty"`
	// Outcome is what the run ends with once it has cleaned up.
	Outcome Status `json:"outcome,omitempty"`
	// Cancel asks the run to stop at the next step.
	Cancel bool `json:"cancel,omitempty"`
}

// NewRun is a run before its first step.
func NewRun(id string, order Order) *Run {
	run := &Run{ID: id, Status: Running, Order: order}
	for _, name := range []string{StageResolve, StageBuild, StageStage, StageValidate, StagePromote, StageAge, StageClean} {
		run.Stages = append(run.Stages, Stage{Name: name})
	}
	return run
}

// Stage finds a stage by its name; nil where there is none.
func (r *Run) Stage(name string) *Stage {
	for i := range r.Stages {
		if r.Stages[i].Name == name {
			return &r.Stages[i]
		}
	}
	return nil
}

// current is the first stage that has not ended.
func (r *Run) current() *Stage {
	for i := range r.Stages {
		if !r.Stages[i].Status.Final() {
			return &r.Stages[i]
		}
	}
	return nil
}
