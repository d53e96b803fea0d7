package compute

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

// Jobs runs scripts in guests that outlive this process: extensions and managed run
// commands. Every call may be repeated. All answer ErrAgent while the guest's agent does not.
type Jobs interface {
	// Begin starts a job in the machine and returns. A job that has been begun, in whatever
	// process, is not begun again.
	Begin(ctx context.Context, machine string, j Job) error
	// Look says how a job stands.
	Look(ctx context.Context, machine string, j Job) (JobState, error)
	// Forget ends what still runs of a job and removes its folder from the guest.
	Forget(ctx context.Context, machine string, j Job) error
}

// Job is a script in a guest, run once.
type Job struct {
	ID string // a UUID
	// Dir is the job's folder in the guest and where the script is run: absolute. Files
	// stdout and stderr in it have all output. What is there is replaced.
	Dir    string
	Script string // its first line may say who reads it; /bin/sh otherwise
	User   string // "" is root
}

// JobState is what a guest says of a job, and as trustworthy as the guest.
type JobState struct {
	Known bool // it has been begun in this guest
	Done  bool // it has ended, with ExitCode
	// Lost: it was begun, did not end, and does not run: the guest was restarted, or
	// something has killed it.
	Lost           bool
	ExitCode       int
	Began, Ended   time.Time
	Stdout, Stderr string // their ends, 4096 bytes each
}

// jobProgress is what a document remembers of the job that it wants run.
type jobProgress struct {
	// ID is decided before the guest hears of the job.
	ID    string    `json:"id,omitempty"`
	Since time.Time `json:"since,omitzero"`  // when it was decided
	Begun bool      `json:"begun,omitempty"` // the guest has had it, and must not get it again
	Seen  bool      `json:"seen,omitempty"`  // the guest has had it
}

const (
	// bootPatience is how long a job waits for the guest's agent: an emulated guest on a
	// busy host boots for minutes.
	bootPatience = 30 * time.Minute
	// jobPoll is how often a job is looked at at first, jobPollMost at last.
	jobPoll, jobPollMost = 500 * time.Millisecond, 5 * time.Second
	// turnPoll is how often one that waits for its machine, or its turn, looks again.
	turnPoll = time.Second
)

// guest is the machine that a child document belongs to.
type guest struct {
	doc   *store.Document
	state vmState
}

// errNoGuest: the machine is going, and the document with it.
var errNoGuest = errors.New("the machine is being deleted")

func guestOf(ctx context.Context, w *provider.Work) (guest, error) {
	doc, err := store.Get(ctx, w.Store, w.ID.Parent().Key())
	if errors.Is(err, store.ErrNotFound) || err == nil && doc.Deleting {
		return guest{}, errNoGuest
	}
	if err != nil {
		return guest{}, err
	}
	_, p := readVM(doc)
	return guest{doc, p}, nil
}

// mustRun is Azure's refusal of what needs a running machine; what is "extensions" or "run
// commands".
func mustRun(target, what string) *arm.Error {
	return arm.Conflict("OperationNotAllowed", target, "Cannot modify %s in the VM when the VM is not running. Start it, and try again.", what)
}

// wantsToRun is for Commit: whether a machine is, or will be, there to run a job.
func wantsToRun(tx store.ReadTx, w *provider.Write, what string) error {
	d, err := tx.Get(w.ID.Parent().Key())
	if errors.Is(err, store.ErrNotFound) {
		return nil // the pipeline says so
	}
	if err != nil {
		return err
	}
	if _, p := readVM(d); p.Want != running {
		return mustRun(w.ID.String(), what)
	}
	return nil
}

// step takes a job one step further. It answers with the job's state once that has ended, or
// with how long to wait before the next look; a refusal ends the job without a result. A job
// that the guest has had is not begun again, even where the guest has forgotten it.
func (s *service) step(ctx context.Context, g guest, j Job, p jobProgress, now time.Time) (state JobState, again time.Duration, err error) {
	if !g.doc.State().Terminal() {
		return state, turnPoll, nil
	}
	if !s.Machines.Running(g.state.Machine) {
		return state, 0, mustRun(g.doc.ID, "what runs")
	}
	state, err = s.Jobs.Look(ctx, g.state.Machine, j)
	if err == nil && !state.Known && p.Begun {
		return JobState{Known: true, Lost: true}, 0, nil
	}
	if err == nil && !state.Known {
		err = s.Jobs.Begin(ctx, g.state.Machine, j)
		if err == nil {
			state, err = s.Jobs.Look(ctx, g.state.Machine, j)
		}
	}
	switch {
	case errors.Is(err, ErrAgent) && now.Sub(p.Since) < p.patience():
		return state, turnPoll, nil
	case errors.Is(err, ErrAgent):
		return state, 0, arm.Errorf(409, "VMAgentStatusCommunicationError", "VM '%s' has not reported status for VM agent or extensions for %s: %v. "+
			"Make sure that it has booted, and that its image has qemu-guest-agent.", g.doc.ARMID().Name(), p.patience(), err)
	case err != nil:
		return state, 0, err
	case state.Done || state.Lost:
		return state, 0, nil
	}
	return state, min(max(now.Sub(state.Began)/8, jobPoll), jobPollMost), nil
}

// patience is how long the guest's agent may be silent: until it has booted, or, once it has the
// job, as long as a job may take.
func (p jobProgress) patience() time.Duration {
	if p.Seen {
		return commandTimeout
	}
	return bootPatience
}

// begun decides a job's name, before anything is done.
func begun(now time.Time) jobProgress { return jobProgress{ID: uuid.NewString(), Since: now} }

// output is how Azure shows what a script has written.
func (j JobState) output() string {
	return fmt.Sprintf("[stdout]\n%s\n[stderr]\n%s", strings.TrimRight(j.Stdout, "\n"), strings.TrimRight(j.Stderr, "\n"))
}
