package check

import (
	"fmt"
	"slices"
	"strings"

	"hallmark.dev/hallmark/internal/policy"
)

// State is what a check of one resource against one policy came to.
type State string

// The states. What is not applicable is not reported.
const (
	Compliant    State = "compliant"
	NonCompliant State = "non-compliant"
	Changes      State = "changes" // a policy would add to the resource, or deploy beside it
	Unknown      State = "unknown" // it depends on what is not known yet
	Exempt       State = "exempt"
	Failed       State = "error" // the policy is broken, or failed while evaluating
)

// Finding is the outcome for one resource and one policy.
type Finding struct {
	State  State         `json:"state"`
	Effect string        `json:"effect,omitempty"` // in Azure's spelling
	Family policy.Effect `json:"-"`
	// Enforced says that the assignment enforces the effect (enforcementMode).
	Enforced bool `json:"enforced"`

	Resource string `json:"resource,omitempty"` // as the source calls it
	ID       string `json:"id,omitempty"`
	Type     string `json:"type,omitempty"`
	File     string `json:"file,omitempty"`
	Line     int    `json:"line,omitempty"`

	Policy      string              `json:"policy"` // display name, or the last part of the id
	Definition  string              `json:"policyDefinitionId"`
	Reference   string              `json:"policyDefinitionReferenceId,omitempty"`
	Assignment  string              `json:"policyAssignmentId"`
	Message     string              `json:"message"`
	Reasons     []string            `json:"reasons,omitempty"`
	Unknown     []policy.Doubt      `json:"unknown,omitempty"`
	Explanation *policy.Explanation `json:"explanation,omitempty"`
}

// Report is the outcome of a check.
type Report struct {
	Findings []Finding `json:"findings"`
	// Notes say what was not looked at, and why.
	Notes   []string `json:"notes,omitempty"`
	Summary Summary  `json:"summary"`
}

// Summary counts.
type Summary struct {
	Resources    int `json:"resources"`
	Evaluations  int `json:"evaluations"` // of a policy that looks at the resource
	Compliant    int `json:"compliant"`
	NonCompliant int `json:"nonCompliant"`
	Changes      int `json:"changes"`
	Unknown      int `json:"unknown"`
	Exempt       int `json:"exempt"`
	Errors       int `json:"errors"`
}

func (s *Summary) count(state State) {
	s.Evaluations++
	*map[State]*int{Compliant: &s.Compliant, NonCompliant: &s.NonCompliant, Changes: &s.Changes, Unknown: &s.Unknown, Exempt: &s.Exempt, Failed: &s.Errors}[state]++
}

// failOn are the words for --fail-on.
var failOn = []string{"deny", "audit", "change", "unknown", "error", "any", "none"}

// FailOnWords are what ParseFailOn knows.
func FailOnWords() []string { return failOn }

// DefaultFailOn is what fails a check if nobody says otherwise.
const DefaultFailOn = "deny,audit,error"

// FailOn is a set of words.
type FailOn []string

// ParseFailOn reads words between commas.
func ParseFailOn(text string) (FailOn, error) {
	var set FailOn
	for word := range strings.SplitSeq(text, ",") {
		word = strings.ToLower(strings.TrimSpace(word))
		if !slices.Contains(failOn, word) {
			return nil, fmt.Errorf("--fail-on does not know %q; it knows %s", word, strings.Join(failOn, ", "))
		}
		set = append(set, word)
	}
	return set, nil
}

// Fails reports whether a finding makes the check fail.
func (set FailOn) Fails(f *Finding) bool {
	word := f.word()
	return word != "" && (slices.Contains(set, word) || slices.Contains(set, "any"))
}

// word is what a finding is, in the words of --fail-on.
func (f *Finding) word() string {
	switch f.State {
	case Failed:
		return "error"
	case Unknown:
		return "unknown"
	case Changes:
		return "change"
	case NonCompliant:
		if f.denies() {
			return "deny"
		}
		return "audit"
	}
	return ""
}

// denies reports whether the resource will be refused.
func (f *Finding) denies() bool { return f.Family == policy.Deny && f.Enforced }
