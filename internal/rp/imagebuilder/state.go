package imagebuilder

import (
	"encoding/json"
	"fmt"
	"time"

	"hallmark.dev/hallmark/internal/identity"
	"hallmark.dev/hallmark/internal/store"
)

// Azure's words for how a run goes.
const (
	runRunning            = "Running"
	runSucceeded          = "Succeeded"
	runPartiallySucceeded = "PartiallySucceeded"
	runFailed             = "Failed"
	runCanceling          = "Canceling"
	runCanceled           = "Canceled"

	subQueued       = "Queued"
	subBuilding     = "Building" // the source is brought here
	subCustomizing  = "Customizing"
	subValidating   = "Validating"
	subDistributing = "Distributing"
)

// runStatus is properties.lastRunStatus.
type runStatus struct {
	StartTime   time.Time  `json:"startTime"`
	EndTime     *time.Time `json:"endTime,omitempty"`
	RunState    string     `json:"runState"`
	RunSubState string     `json:"runSubState,omitempty"`
	Message     string     `json:"message"`
	RunID       string     `json:"runId,omitempty"` // Hallmark's own: which log
}

// state is a template's Private.
type state struct {
	Run *run `json:"run,omitempty"` // the last one
}

// run is what a run has decided and done, recorded before each step that depends
// on it.
type run struct {
	ID        string             `json:"id"`
	Principal identity.Principal `json:"principal"` // whose rights it has
	Start     time.Time          `json:"start"`
	Cancel    bool               `json:"cancel,omitempty"`
	Ended     bool               `json:"ended,omitempty"`
	NoCache   bool               `json:"noCache,omitempty"`
	// Secrets: it was given some, and they are in memory only.
	Secrets bool `json:"secrets,omitempty"`
	// SourceVersion is the exact version that the source turned out to be.
	SourceVersion string             `json:"sourceVersion,omitempty"`
	OwnBoot       bool               `json:"ownBoot,omitempty"`  // see tagBoot
	Artifact      string             `json:"artifact,omitempty"` // URI of the finished image
	Outputs       map[string]*output `json:"outputs,omitempty"`  // by runOutputName
	Machine       bool               `json:"machine,omitempty"`  // one may exist for validations, see machineID
	Validated     bool               `json:"validated,omitempty"`
	Invalid       string             `json:"invalid,omitempty"` // which validation failed, and how
}

// output is one distribution.
type output struct {
	ID    string `json:"id,omitempty"`  // of the version or image; reserved before it is made
	URI   string `json:"uri,omitempty"` // of the VHD
	Begun bool   `json:"begun,omitempty"`
	Done  bool   `json:"done,omitempty"`
	Error string `json:"error,omitempty"`
}

func readState(d *store.Document) (s state, err error) {
	if len(d.Private) > 0 {
		if err := json.Unmarshal(d.Private, &s); err != nil {
			return s, fmt.Errorf("reading the state of %s: %w", d.ID, err)
		}
	}
	return s, nil
}

// active reports whether there is a run that has not ended.
func (s state) active() bool { return s.Run != nil && !s.Run.Ended }

func (r *run) output(name string) *output {
	if r.Outputs == nil {
		r.Outputs = map[string]*output{}
	}
	if r.Outputs[name] == nil {
		r.Outputs[name] = &output{}
	}
	return r.Outputs[name]
}
