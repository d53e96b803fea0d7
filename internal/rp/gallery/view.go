package gallery

import (
	"context"
	"encoding/json"
	"slices"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
)

type replicationStatus struct {
	AggregatedState string           `json:"aggregatedState"`
	Summary         []regionalStatus `json:"summary"`
}

type regionalStatus struct {
	Region   string `json:"region"`
	State    string `json:"state"`
	Details  string `json:"details"`
	Progress int    `json:"progress"`
}

// viewVersion adds properties.replicationStatus under ?$expand=ReplicationStatus.
func viewVersion(_ context.Context, v *provider.View) (json.RawMessage, error) {
	if !slices.Contains(v.Expand, "replicationstatus") {
		return v.Doc.Body, nil
	}
	st, err := readState(v.Doc)
	if err != nil {
		return nil, err
	}
	b, err := readVersion(v.Doc)
	if err != nil {
		return nil, err
	}
	return arm.Set(v.Doc.Body, "properties.replicationStatus", summarise(b, st))
}

func summarise(b versionBody, st state) replicationStatus {
	r := replicationStatus{AggregatedState: completed, Summary: []regionalStatus{}}
	for _, t := range b.targets() {
		one, begun := st.Regions[t.location()]
		if !begun {
			one.State = unknown
		}
		r.Summary = append(r.Summary, regionalStatus{Region: t.Name, State: one.State, Details: one.Details, Progress: one.Progress})
		switch {
		case one.State == failed:
			r.AggregatedState = failed
		case one.State != completed && r.AggregatedState == completed:
			r.AggregatedState = "InProgress"
		}
	}
	return r
}
