package policy

import (
	"fmt"
	"time"

	"hallmark.dev/hallmark/internal/expr"
	"hallmark.dev/hallmark/internal/expr/value"
)

// Outcome is which ends of a resource's provisioning an existence check waits for.
type Outcome uint8

// The outcomes. Unstated is that of a policy that does not say.
const (
	Unstated Outcome = iota
	Any
	Success
	Failure
	Timed // none: a time after the request
)

// Delay is when the related resources of what was written are looked for:
// details.evaluationDelay.
type Delay struct {
	After Outcome
	For   time.Duration // if Timed
}

// MaxDelay is the longest one. Provisioning that takes longer counts as failed.
const MaxDelay = 360 * time.Minute

// ParseDelay reads details.evaluationDelay; "" is the zero Delay.
func ParseDelay(text string) (Delay, error) {
	for name, after := range map[string]Outcome{"": Unstated, "AfterProvisioning": Any, "AfterProvisioningSuccess": Success, "AfterProvisioningFailure": Failure} {
		if value.EqualASCII(name, text) {
			return Delay{After: after}, nil
		}
	}
	d, err := expr.ParseDuration(text)
	if err != nil || d < 0 || d > MaxDelay {
		return Delay{}, fmt.Errorf("evaluationDelay is %q; it must be AfterProvisioning, AfterProvisioningSuccess, AfterProvisioningFailure, or an ISO 8601 duration from PT0M to PT360M", text)
	}
	return Delay{Timed, d}, nil
}
