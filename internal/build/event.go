package build

import "time"

// EventKind is what an Event reports.
type EventKind string

const (
	Started  EventKind = "started"
	Log      EventKind = "log"
	Progress EventKind = "progress"
	Cached   EventKind = "cached"
	Finished EventKind = "finished"
	Failed   EventKind = "failed"
)

// Stages of a build, in order.
const (
	StageBase      = "base"
	StageCustomize = "customize"
	StageSeal      = "seal"
)

// Event is one line of a build's story. Messages are free of secrets.
type Event struct {
	Time    time.Time     `json:"time"`
	Run     string        `json:"run"`
	Stage   string        `json:"stage"`
	Step    string        `json:"step,omitempty"`
	Kind    EventKind     `json:"kind"`
	Message string        `json:"message,omitempty"`
	Elapsed time.Duration `json:"elapsed,omitempty"` // nanoseconds; on cached, finished, failed
	Percent int           `json:"percent,omitempty"` // of the whole build's steps
}
