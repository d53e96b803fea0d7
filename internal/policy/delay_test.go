package policy

import (
	"testing"
	"time"
)

func TestParseDelay(t *testing.T) {
	for text, want := range map[string]Delay{
		"": {}, "afterProvisioning": {After: Any}, "AfterProvisioningSuccess": {After: Success}, "AfterProvisioningFailure": {After: Failure},
		"PT0M": {Timed, 0}, "PT30M": {Timed, 30 * time.Minute}, "PT1H30M": {Timed, 90 * time.Minute}, "PT360M": {Timed, MaxDelay}, "PT6H": {Timed, MaxDelay},
	} {
		if got, err := ParseDelay(text); err != nil || got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"PT361M", "P1D", "-PT1M", "10", "PT", "Later", "PT5", "[parameters('x')]"} {
		if got, err := ParseDelay(text); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}
