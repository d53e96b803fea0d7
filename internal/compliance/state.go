package compliance

import (
	"strings"

	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/expr/value"
	"hallmark.dev/hallmark/internal/policy"
)

// State is what a resource is to one policy, in Azure's spelling.
type State string

// The states. A resource that a policy does not look at has none.
const (
	NonCompliant State = "NonCompliant"
	Compliant    State = "Compliant"
	Failed       State = "Error" // the rule could not be evaluated
	Conflict     State = "Conflict"
	Protected    State = "Protected" // denyAction holds
	Exempt       State = "Exempt"
	Unknown      State = "Unknown" // manual, not attested
)

// rank is the order in which states decide for a whole: the first that occurs wins.
var rank = []State{NonCompliant, Compliant, Failed, Conflict, Protected, Exempt, Unknown}

// Worse reports whether a decides over b when several states are rolled up. "" is
// below all.
func Worse(a, b State) bool {
	for _, s := range rank {
		if s == a || s == b {
			return s == a && a != b
		}
	}
	return false
}

// Counts reports whether a state adds to the compliant part of a percentage:
// (Compliant + Exempt + Unknown + Protected) / all.
func (s State) Counts() bool {
	return s == Compliant || s == Exempt || s == Unknown || s == Protected
}

// weigh evaluates one unit on one subject: its state, "" if the unit does not look at
// it, and the verdict behind it, where there was one.
func weigh(u *assignment.Unit, s *assignment.Subject) (state State, v policy.Verdict, err error) {
	if !u.Looks(s.Type, s.Location) {
		return "", v, nil
	}
	return consider(u, s)
}

// consider is weigh for a unit that looks at the subject.
func consider(u *assignment.Unit, s *assignment.Subject) (state State, v policy.Verdict, err error) {
	if u.Problem != nil {
		return Failed, v, nil
	}
	effect := u.Effect(s.Type, s.Location)
	if strings.EqualFold(effect, string(policy.Disabled)) {
		v.Reason = "the effect is disabled"
		return "", v, nil
	}
	v, asked, err := u.Evaluate(s)
	if err != nil {
		return "", v, err
	}
	return classify(v, effect, asked, u, s), v, nil
}

func classify(v policy.Verdict, effect string, asked bool, u *assignment.Unit, s *assignment.Subject) State {
	switch v.State {
	case policy.Failed:
		return Failed
	case policy.Hit:
		return hit(v, u, s)
	case policy.None:
		// Existence checks are about resources that the rule holds for; others
		// comply when the rule that would object to them does not hold.
		switch family := policy.EffectNamed(effect); {
		case asked:
			return Compliant
		case effect == "" || v.Reason != "":
			return ""
		case family == policy.AuditIfNotExists || family == policy.DeployIfNotExists || family == policy.Manual || family == policy.DenyAction || family == policy.Other:
			return ""
		}
		return Compliant
	}
	return ""
}

func hit(v policy.Verdict, u *assignment.Unit, s *assignment.Subject) State {
	switch v.Family {
	case policy.Manual:
		d := u.Program(s.Type, s.Location).Definition().Details.Find(value.NewKey("defaultState")).Str()
		for _, known := range []State{Compliant, NonCompliant} {
			if strings.EqualFold(d, string(known)) {
				return known
			}
		}
		return Unknown
	case policy.DenyAction:
		return Protected
	case policy.Other:
		return "" // a data plane's business
	}
	return NonCompliant
}
