package policyinsights

import (
	"testing"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/policy"
)

// What Azure's documentation says of evaluationDelay.
func TestUntil(t *testing.T) {
	written := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	const look, drop, poll = "look", "drop", "poll"
	for _, test := range []struct {
		delay string
		after time.Duration
		state arm.ProvisioningState
		want  string
	}{
		{"", 0, "", look},
		{"", 0, "Creating", poll},
		{"", 9 * time.Hour, "Creating", poll},
		{"", 0, "Succeeded", look},
		{"", 0, "Failed", drop},
		{"PT0M", 0, "Succeeded", look},
		{"PT15M", 0, "Succeeded", "15m0s"},
		{"PT15M", 10 * time.Minute, "", "5m0s"},
		{"PT15M", 15 * time.Minute, "Succeeded", look},
		{"PT15M", 15 * time.Minute, "Failed", look},
		{"PT15M", 15 * time.Minute, "Updating", poll},
		{"PT6H", time.Hour, "Succeeded", "5h0m0s"},
		{"AfterProvisioning", 0, "Creating", poll},
		{"AfterProvisioning", 0, "Succeeded", look},
		{"AfterProvisioning", 0, "Canceled", look},
		{"AfterProvisioning", 6 * time.Hour, "Creating", look},
		{"afterprovisioningsuccess", 0, "Creating", poll},
		{"AfterProvisioningSuccess", 0, "Succeeded", look},
		{"AfterProvisioningSuccess", 0, "Failed", drop},
		{"AfterProvisioningSuccess", 6 * time.Hour, "Creating", drop},
		{"AfterProvisioningFailure", 0, "Creating", poll},
		{"AfterProvisioningFailure", 0, "Succeeded", drop},
		{"AfterProvisioningFailure", 0, "", drop},
		{"AfterProvisioningFailure", 0, "Failed", look},
		{"AfterProvisioningFailure", 6*time.Hour + time.Second, "Creating", look},
	} {
		d, err := policy.ParseDelay(test.delay)
		if err != nil {
			t.Fatal(err)
		}
		wait, dropped := until(d, written, written.Add(test.after), test.state)
		got := look
		switch {
		case dropped:
			got = drop
		case wait == dueAgain:
			got = poll
		case wait > 0:
			got = wait.String()
		}
		if got != test.want {
			t.Errorf("%+v: %s", test, got)
		}
	}
}
