package audit

import (
	"strings"

	"hallmark.dev/hallmark/internal/lineage"
)

// Verdict is whether a finding complies.
type Verdict string

// The verdicts.
const (
	Compliant    Verdict = "compliant"
	NonCompliant Verdict = "non-compliant"
	UnknownIf    Verdict = "unknown"
)

// Finding is what is known of one machine, scale set or disk.
type Finding struct {
	ID            string `json:"id"`
	Name          string `json:"name"`
	Type          string `json:"type"`
	Location      string `json:"location,omitempty"`
	Subscription  string `json:"subscription,omitempty"`
	ResourceGroup string `json:"resourceGroup,omitempty"`
	Team          string `json:"team,omitempty"`

	Image   string          `json:"image,omitempty"` // as a person calls it
	Version string          `json:"version,omitempty"`
	State   lineage.State   `json:"state"`
	Verdict Verdict         `json:"verdict"`
	Reason  string          `json:"reason"`
	Advice  string          `json:"advice,omitempty"`  // what to do, in words
	Command string          `json:"command,omitempty"` // and as a command
	Lineage lineage.Lineage `json:"lineage"`

	// Rule is the well-known rule's verdict on a virtual machine.
	Rule *RuleResult `json:"approvedAzureMachineImageInUse,omitempty"`
}

// VerdictOf is the verdict on a state.
func VerdictOf(s lineage.State) Verdict {
	switch s {
	case lineage.ApprovedCurrent, lineage.ApprovedOutdated:
		return Compliant
	case lineage.Unknown:
		return UnknownIf
	}
	return NonCompliant
}

// severity orders states for reports that have levels: 0 is nothing, 5 is the
// worst. The numbers are OCSF's severity ids, less one.
func severity(s lineage.State) int {
	switch s {
	case lineage.Revoked:
		return 4
	case lineage.EndOfLife, lineage.UnapprovedCustom:
		return 3
	case lineage.UnapprovedMarketplace, lineage.StagedOnly, lineage.Aged:
		return 2
	case lineage.Unknown, lineage.ApprovedOutdated:
		return 1
	}
	return 0
}

// judge makes findings; it holds what all of them share.
type judge struct {
	estate   *Estate
	approved []lineage.Approved
}

func newJudge(e *Estate) *judge {
	return &judge{estate: e, approved: e.catalog.Approved(e.options.lineage())}
}

// finding judges one subject. ok is false if it has no image by nature.
func (j *judge) finding(s *subject) (Finding, bool) {
	l, ok := j.estate.catalog.Resolve(s.Subject, j.estate.options.lineage())
	if !ok {
		return Finding{}, false
	}
	f := Finding{
		ID: s.ID, Name: s.Name, Type: s.Type, Location: s.Location, Team: s.team,
		Subscription: segment(s.ID, "subscriptions"), ResourceGroup: segment(s.ID, "resourcegroups"),
		Image: l.Reference.String(), Version: l.Reference.Version,
		State: l.State, Verdict: VerdictOf(l.State), Reason: l.Why, Lineage: l,
	}
	f.Advice, f.Command = j.advice(s, &f)
	if s.Kind == lineage.KindVM {
		f.Rule = approvedMachineImage(s.RawID, f.Verdict)
	}
	return f, true
}

func segment(id, name string) string {
	parts := strings.Split(strings.Trim(id, "/"), "/")
	for i := 0; i+1 < len(parts); i += 2 {
		if strings.EqualFold(parts[i], name) {
			return parts[i+1]
		}
	}
	return ""
}
