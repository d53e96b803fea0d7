package audit

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"hallmark.dev/hallmark/internal/lineage"
)

// Counts are numbers of findings.
type Counts struct {
	Total        int `json:"total"`
	Compliant    int `json:"compliant"`
	NonCompliant int `json:"nonCompliant"`
	Unknown      int `json:"unknown"`
}

func (c *Counts) add(v Verdict) {
	c.Total++
	switch v {
	case Compliant:
		c.Compliant++
	case NonCompliant:
		c.NonCompliant++
	default:
		c.Unknown++
	}
}

// Summary counts an estate's findings in several ways.
type Summary struct {
	Counts
	ByState         map[lineage.State]int `json:"byState"`
	ByTeam          map[string]*Counts    `json:"byTeam"`
	ByResourceGroup map[string]*Counts    `json:"byResourceGroup"` // subscription/group
	BySubscription  map[string]*Counts    `json:"bySubscription"`
	RulePassed      int                   `json:"approvedAzureMachineImageInUsePassed"`
	RuleFailed      int                   `json:"approvedAzureMachineImageInUseFailed"`
}

func newSummary() Summary {
	return Summary{ByState: map[lineage.State]int{}, ByTeam: map[string]*Counts{}, ByResourceGroup: map[string]*Counts{}, BySubscription: map[string]*Counts{}}
}

// nobody stands for resources without the tag, group or subscription.
const nobody = "(none)"

func (s *Summary) add(f Finding) {
	s.Counts.add(f.Verdict)
	s.ByState[f.State]++
	count(s.ByTeam, f.Team, f.Verdict)
	count(s.ByResourceGroup, strings.ToLower(f.Subscription+"/"+f.ResourceGroup), f.Verdict)
	count(s.BySubscription, strings.ToLower(f.Subscription), f.Verdict)
	if f.Rule != nil && f.Rule.Pass {
		s.RulePassed++
	} else if f.Rule != nil {
		s.RuleFailed++
	}
}

func count(by map[string]*Counts, name string, v Verdict) {
	if strings.Trim(name, "/") == "" {
		name = nobody
	}
	if by[name] == nil {
		by[name] = &Counts{}
	}
	by[name].add(v)
}

// Exit codes of an audit.
const (
	ExitClean    = 0
	ExitProblems = 1 // documents could not be read
	ExitFindings = 4 // there are findings that --fail-on names
)

// FailOn are the words of --fail-on.
type FailOn []string

// FailOnWords are the words that ParseFailOn accepts.
func FailOnWords() []string {
	words := []string{string(NonCompliant), "unapproved", "unknown", "outdated", "none"}
	for _, s := range lineage.States() {
		if !slices.Contains(words, string(s)) {
			words = append(words, string(s))
		}
	}
	return words
}

// ParseFailOn reads words separated by commas; an empty text means
// non-compliant.
func ParseFailOn(text string) (FailOn, error) {
	if strings.TrimSpace(text) == "" {
		return FailOn{string(NonCompliant)}, nil
	}
	var out FailOn
	for word := range strings.SplitSeq(text, ",") {
		word = strings.ToLower(strings.TrimSpace(word))
		if !slices.Contains(FailOnWords(), word) {
			return nil, fmt.Errorf("--fail-on: %q is none of %s", word, strings.Join(FailOnWords(), ", "))
		}
		out = append(out, word)
	}
	return out, nil
}

// ExitCode is the exit code of an audit with these findings and problems.
// Findings win over problems: what was found stands, whatever was not seen.
func ExitCode(r *Report, on FailOn) int {
	for _, word := range on {
		if r.Summary.matching(word) > 0 {
			return ExitFindings
		}
	}
	if len(r.Problems) > 0 {
		return ExitProblems
	}
	return ExitClean
}

func (s *Summary) matching(word string) int {
	switch word {
	case string(NonCompliant):
		return s.NonCompliant
	case "unapproved":
		return s.ByState[lineage.UnapprovedMarketplace] + s.ByState[lineage.UnapprovedCustom]
	case "outdated":
		return s.ByState[lineage.ApprovedOutdated]
	case "none":
		return 0
	}
	return s.ByState[lineage.State(word)]
}

func sortedKeys(m map[string]*Counts) []string { return slices.Sorted(maps.Keys(m)) }
