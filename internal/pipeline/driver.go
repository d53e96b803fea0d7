package pipeline

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/attest"
	"hallmark.dev/hallmark/internal/azure"
	"hallmark.dev/hallmark/internal/image"
)

// Cloud is the ARM endpoint that a pipeline acts on; *azure.Client is one.
type Cloud interface {
	Do(ctx context.Context, r azure.Request, into any) error
	DoAndWait(ctx context.Context, r azure.Request, into any) error
	List(ctx context.Context, r azure.Request, each func(json.RawMessage) error) error
}

// Signer signs what a pipeline asserts. Signatures are detached, in the text
// form that the tattoo's own signature file has; a statement becomes a DSSE
// envelope.
type Signer interface {
	SignTattoo(content []byte) (signature []byte, err error)
	SignStatement(statement attest.Statement) (attest.Envelope, error)
}

// Place is where on the endpoint a pipeline works.
type Place struct {
	Subscription string
	// Group holds the gallery.
	Group string
	// BuildGroup holds the templates and machines of builds; policies that
	// restrict images leave it out.
	BuildGroup string
	// Location is where images are built and tested.
	Location string
}

// Within is the same place, moved to the first of the regions that an image is
// published to if it is in none of them: a version's own location has to be one
// of its regions, and it is found out too late after hours of building.
func (p Place) Within(regions []string) Place {
	here := func(region string) bool { return regionName(region) == regionName(p.Location) }
	if len(regions) > 0 && !slices.ContainsFunc(regions, here) {
		p.Location = regions[0]
	}
	return p
}

// regionName is a region's name; Azure takes its display name as well.
func regionName(text string) string { return strings.ToLower(strings.ReplaceAll(text, " ", "")) }

// Driver carries runs forward. It has no state of its own.
type Driver struct {
	Cloud  Cloud
	Signer Signer
	Place  Place
	// Recipe is what to build, complete with its inputs.
	Recipe *image.Recipe
	// Secrets are the recipe's secrets by name; they are sent with the request
	// that starts the build and are kept nowhere.
	Secrets map[string]string
	// Portable makes templates that Azure's own Image Builder can run.
	Portable bool
	// Identity is the identity that templates run as, as ARM has it; Azure
	// demands one, the embedded control plane does not.
	Identity any
	// Log receives what goes on, for the run's log.
	Log func(Event)
	Now func() time.Time
}

// Event is one line of a run's log.
type Event struct {
	Time    time.Time `json:"time"`
	Stage   string    `json:"stage"`
	Step    string    `json:"step,omitempty"`
	Kind    string    `json:"kind"` // started, log, progress, cached, finished, failed
	Message string    `json:"message,omitempty"`
	Percent int       `json:"percent,omitempty"`
}

// again is how soon a stage that waits for the endpoint looks again.
const again = time.Second

// maxAttempts is how many consecutive errors of the endpoint a stage bears
// before the run fails. With RetryAfter this spans some minutes.
const maxAttempts = 12

// longestRetry bounds RetryAfter.
const longestRetry = 30 * time.Second

// RetryAfter is how long to wait before a run's next step after Step has
// returned an error: twice as long each time.
func RetryAfter(run *Run) time.Duration {
	stage := run.current()
	if stage == nil || stage.Attempts < 1 {
		return again
	}
	return min(again<<(stage.Attempts-1), longestRetry)
}

// errWait says that a stage has to wait for the endpoint.
var errWait = errors.New("wait")

// Step takes a run one step further. It returns how soon to call it again, or
// zero when the run has ended. An error is the endpoint's, already counted in
// the run, which the caller stores all the same.
func (d *Driver) Step(ctx context.Context, run *Run) (time.Duration, error) {
	stage := run.current()
	if run.Status.Final() || stage == nil {
		return 0, nil
	}
	d.begin(stage)
	if run.Cancel && run.Outcome == "" {
		d.settle(run, Canceled, failure("Canceled", "", "The run was canceled."), "run it again: finished steps are reused")
		return again, nil
	}
	err := d.stages()[stage.Name](ctx, run, stage)
	return d.conclude(ctx, run, stage, err)
}

func (d *Driver) stages() map[string]func(context.Context, *Run, *Stage) error {
	return map[string]func(context.Context, *Run, *Stage) error{
		StageResolve:  d.resolve,
		StageBuild:    d.build,
		StageStage:    d.stage,
		StageValidate: d.validate,
		StagePromote:  d.promote,
		StageAge:      d.age,
		StageClean:    d.clean,
	}
}

func (d *Driver) begin(stage *Stage) {
	if stage.Status == "" {
		stage.Status, stage.StartTime = Running, d.Now().UTC()
		d.log(stage, "started", "")
	}
}

// conclude turns how a stage went into the run's next state.
func (d *Driver) conclude(ctx context.Context, run *Run, stage *Stage, err error) (time.Duration, error) {
	var failed *Failure
	switch {
	case errors.Is(err, errWait):
		stage.Attempts = 0
		return again, nil
	case err == nil:
		d.finish(run, stage)
		if run.Status.Final() {
			return 0, nil
		}
		return time.Nanosecond, nil
	case ctx.Err() != nil: // the process stops; the run goes on after its next start
		return again, err
	case errors.As(err, &failed):
		d.settle(run, cmp.Or(failed.outcome, Failed), failed, run.Next)
		return d.next(run), nil
	}
	stage.Attempts++
	stage.Message = azure.Message(err)
	if stage.Attempts >= maxAttempts || permanent(err) {
		d.settle(run, Failed, failure(codeOf(err), stage.Name, "%s", azure.Message(err)), run.Next)
		return d.next(run), nil
	}
	d.log(stage, "log", "the endpoint has refused, and is asked again: "+stage.Message)
	return again, err
}

// next is how soon a run goes on; never, once it has ended.
func (d *Driver) next(run *Run) time.Duration {
	if run.Status.Final() {
		return 0
	}
	return again
}

// permanent says whether the endpoint refused for good: asking again would get
// the same answer.
func permanent(err error) bool {
	switch azure.Code(err) {
	case "", "OperationNotAllowed", "TooManyRequests", "ResourceNotFound", "Conflict", "AnotherOperationInProgress":
		return false
	}
	return !azure.IsConflict(err) && !azure.IsServerError(err)
}

func codeOf(err error) string {
	if code := azure.Code(err); code != "" {
		return code
	}
	return "EndpointUnreachable"
}

func (d *Driver) finish(run *Run, stage *Stage) {
	stage.Status, stage.EndTime, stage.Attempts, stage.Percent = Succeeded, d.Now().UTC(), 0, 0
	d.log(stage, "finished", stage.Message)
	if stage.Name == StageClean {
		run.Status = cmp.Or(run.Outcome, Succeeded)
	}
}

// settle decides a run's outcome; what is left to do is to clean up.
func (d *Driver) settle(run *Run, outcome Status, why *Failure, next string) {
	if run.Stage(StageClean).Status == Running { // that does not change how the run went
		d.giveUpCleaning(run, why)
		return
	}
	run.Outcome, run.Error, run.Next = outcome, why, next
	for i := range run.Stages {
		stage := &run.Stages[i]
		if stage.Name == StageClean || stage.Status == Succeeded {
			continue
		}
		if stage.Status == Running {
			stage.Status, stage.EndTime = outcome, d.Now().UTC()
			if why != nil {
				stage.Message = why.Message
				d.log(stage, "failed", why.Message)
			}
			continue
		}
		stage.Status = Canceled // never begun
	}
}

// giveUpCleaning ends a run whose remains cannot be removed, and says so.
func (d *Driver) giveUpCleaning(run *Run, why *Failure) {
	stage := run.Stage(StageClean)
	stage.Status, stage.EndTime, stage.Message = Failed, d.Now().UTC(), why.Message
	run.Status = cmp.Or(run.Outcome, Succeeded)
	d.log(stage, "failed", why.Message)
}

func (d *Driver) log(stage *Stage, kind, message string) {
	d.Log(Event{Time: d.Now().UTC(), Stage: stage.Name, Kind: kind, Message: message, Percent: stage.Percent})
}
